"""Mappings of machines with levels inside the array that earlier commands proved best, in the user's cache.

A key is the SHA-256 of everything that decides a mapping: the workload without its name, the machine as far as the
search reads it, the objective, and the sources that search and count. Only what no time limit stopped is kept. An entry
is checked: one whose tree is not legal, whose counts are not of such a tree, or whose figures have another objective
than it claims, is ignored and searched for anew; counts that may be the tree's, and the bound, are taken on trust, as
from a folder that nobody else writes to (ir/content_cache.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.cost.levels.buses import BusLoad, timed_fanouts
from ...backends.cost.levels.cost import costed
from ...backends.cost.levels.counts import LevelCounts
from ...ir.content_cache import ContentCache, folder_of_user, sources_digest
from ...ir.diagnostics import CompileError
from ...ir.frozen import dataclass
from ...ir.hierarchy import ASSUMED_HOST, Hierarchy
from ...ir.kept_figures import as_json, of_json
from ...ir.loop_tree import LoopTree, Workload
from ...ir.loop_tree_rules import loop_tree_faults
from ...ir.loop_tree_text import parse_loop_tree, print_loop_tree
from ..objective import Objective
from .mapper import LevelMapping, map_levels

FORMAT = 2
MOST_ENTRIES = 4096
MOST_BYTES = 64 << 20
LARGEST_ENTRY_BYTES = 1 << 16
MOST_POINTS = 500  # of an entry
MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class _Entry:
    """A LevelMapping as far as it does not follow from the rest; `tree` is its text."""

    tree: str
    counts: LevelCounts
    loads: tuple[BusLoad, ...]
    objective: float
    lower_bound: float
    bounds: int
    evaluated: int
    points: tuple[tuple[float, float], ...]


def map_all(
    workloads: Sequence[Workload],
    machine: Hierarchy,
    objective: Objective,
    time_limit_s: float = float("inf"),
    report: Callable[[str], object] = lambda _: None,
    kept: ContentCache | None = None,
    threads: int | None = None,
) -> list[LevelMapping | CompileError | None]:
    """What map_levels gives for each workload, or its error. Those that `kept` (the user's) does not know are searched
    for on all cores, or by so many `threads`: compiled code leaves the interpreter to one another."""
    kept = of_user() if kept is None else kept
    keys = _keys(workloads, machine, objective) if kept.folder is not None else [""] * len(workloads)
    found: list[LevelMapping | CompileError | None] = [
        _restored(workload, machine, objective, kept.read(key)) for workload, key in zip(workloads, keys, strict=True)
    ]

    def search(place: int) -> LevelMapping | CompileError | None:
        report(f"map {workloads[place].name}")
        try:
            best = map_levels(workloads[place], machine, objective, time_limit_s=time_limit_s)
        except CompileError as error:
            return error
        if best is not None and not best.stopped:
            best = replace(best, points=_some(best.points))
            kept.write(keys[place], _entry(best))
        return best

    unknown = [place for place, each in enumerate(found) if each is None]
    workers = min(len(unknown), threads or os.cpu_count() or 1, MOST_WORKERS)
    try:
        if workers < 2:
            searched = list(map(search, unknown))
        else:
            from concurrent.futures import ThreadPoolExecutor  # what the cache has does without

            with ThreadPoolExecutor(workers) as pool:
                searched = list(pool.map(search, unknown))
    finally:
        kept.close()
    for place, each in zip(unknown, searched, strict=True):
        found[place] = each
    return found


def of_user() -> ContentCache:
    """The user's cache, as the environment says; none where the sources cannot be read."""
    return ContentCache(
        folder_of_user("levels") if _sources_digest() else None, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES
    )


def _keys(workloads: Sequence[Workload], machine: Hierarchy, objective: Objective) -> list[str]:
    # What the search does not read: what is told about a machine, areas, and what prices layers beside their products.
    told = replace(machine, name="", text="", digest="", sources=(), file="", area=(), leakage=())
    energy = tuple(replace(row, source="") for row in machine.energy)
    bare = replace(told, energy=energy, clock_hz=1, vector_lanes=1, host=ASSUMED_HOST)
    setting = "\n".join(map(str, [FORMAT, np.__version__, _sources_digest(), bare, objective]))
    digest = hashlib.sha256(setting.encode())
    keys = []
    for workload in workloads:
        own = digest.copy()
        own.update(f"\n{replace(workload, name='')}".encode())
        keys.append(own.hexdigest())
    return keys


@cache
def _sources_digest() -> str:
    passes, ir, backend = (Path(__file__).parents[2] / name for name in ("passes", "ir", "backends/cost"))
    return sources_digest(passes, passes / "levels", ir, backend, backend / "levels")


def _some(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """At most MOST_POINTS different ones, at equal distances in the order in which they were found."""
    different = tuple(dict.fromkeys(points))
    return different[:: -(-len(different) // MOST_POINTS) or 1]


def _entry(found: LevelMapping) -> Any:
    figures = found.cost
    rest = (found.objective, found.lower_bound, found.bounds, found.evaluated, found.points)
    return as_json(_Entry(print_loop_tree(found.tree), figures.counts, figures.loads, *rest))


def _restored(workload: Workload, machine: Hierarchy, objective: Objective, read: Any) -> LevelMapping | None:
    entry = of_json(_Entry, read)
    if entry is None:
        return None
    try:
        tree = parse_loop_tree(entry.tree)
    except CompileError:
        return None
    if next(iter(loop_tree_faults(workload, machine, tree)), None) is not None:
        return None
    if not _may_be_counts(entry, workload, machine, tree):
        return None
    figures = costed(workload, machine, entry.counts, entry.loads)
    value = objective.of(figures.total_energy_pj, figures.cycles.total)
    if not isclose(value, entry.objective, rel_tol=1e-9) or not entry.lower_bound <= entry.objective:
        return None
    rest = (entry.objective, entry.lower_bound, entry.bounds, entry.evaluated, False, entry.points)
    return LevelMapping(tree, figures, *rest)


def _may_be_counts(entry: _Entry, workload: Workload, machine: Hierarchy, tree: LoopTree) -> bool:
    """Whether an entry counts this workload, at the boundaries of a legal tree, and on buses that there are."""
    stores = {each.role: [name for _, name in tree.keeps(each.role)] for each in workload.operands}
    tiles = [(store, role) for role, names in stores.items() for store in names]
    boundaries = [
        (role, outer, inner, machine.fanouts_between(outer, inner))
        for role, names in stores.items()
        for outer, inner in zip(names, [*names[1:], None], strict=True)
    ]
    counts = entry.counts
    crossed = [(each.role, each.outer, each.inner, [name for name, _ in each.network]) for each in counts.boundaries]
    return (
        counts.points == workload.points
        and counts.steps > 0
        and [(store, role) for store, role, _ in counts.tiles] == tiles
        and crossed == boundaries
        and {each.fanout for each in entry.loads} <= timed_fanouts(machine).keys()
    )
