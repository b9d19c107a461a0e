"""Mappings of machines with levels inside the array that earlier commands proved best, in the user's cache.

A key is the SHA-256 of everything that decides a mapping: the workload without its name, the machine without what is
told about it, the objective, and the sources that search and count. Only what no time limit stopped is kept. An entry
is checked: one whose tree is not legal, or has other figures than it claims, is ignored and searched for anew; the
bound is taken on trust, as from a folder that nobody else writes to (ir/content_cache.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from math import isclose, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.cost.levels.cost import cost
from ...ir.content_cache import ContentCache, folder_of_user, sources_digest
from ...ir.diagnostics import CompileError
from ...ir.hierarchy import Hierarchy
from ...ir.loop_tree import Workload
from ...ir.loop_tree_rules import loop_tree_faults
from ...ir.loop_tree_text import parse_loop_tree, print_loop_tree
from ..objective import Objective
from .mapper import LevelMapping, map_levels

FORMAT = 1
MOST_ENTRIES = 4096
MOST_BYTES = 64 << 20
LARGEST_ENTRY_BYTES = 1 << 16
MOST_POINTS = 500  # of an entry
MOST_WORKERS = 8


def map_all(
    workloads: Sequence[Workload],
    machine: Hierarchy,
    objective: Objective,
    time_limit_s: float = float("inf"),
    report: Callable[[str], object] = lambda _: None,
    kept: ContentCache | None = None,
) -> list[LevelMapping | CompileError | None]:
    """What map_levels gives for each workload, or its error. Those that `kept` (the user's) does not know are searched
    for on all cores: compiled code leaves the interpreter to one another."""
    kept = of_user() if kept is None else kept

    def one(workload: Workload) -> LevelMapping | CompileError | None:
        key = _key(workload, machine, objective) if kept.folder is not None else ""
        known = _restored(workload, machine, objective, kept.read(key))
        if known is not None:
            return known
        report(f"map {workload.name}")
        try:
            found = map_levels(workload, machine, objective, time_limit_s=time_limit_s)
        except CompileError as error:
            return error
        if found is not None and not found.stopped:
            found = replace(found, points=_some(found.points))
            kept.write(key, _entry(found))
        return found

    workers = min(len(workloads), os.cpu_count() or 1, MOST_WORKERS)
    try:
        if workers < 2:
            return [one(each) for each in workloads]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(one, workloads))
    finally:
        kept.close()


def of_user() -> ContentCache:
    """The user's cache, as the environment says; none where the sources cannot be read."""
    return ContentCache(
        folder_of_user("levels") if _sources_digest() else None, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES
    )


def _key(workload: Workload, machine: Hierarchy, objective: Objective) -> str:
    bare = replace(machine, name="", text="", digest="", sources=(), file="")
    text = "\n".join(map(str, [FORMAT, np.__version__, _sources_digest(), replace(workload, name=""), bare, objective]))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _sources_digest() -> str:
    passes, ir, backend = (Path(__file__).parents[2] / name for name in ("passes", "ir", "backends/cost"))
    return sources_digest(passes, passes / "levels", ir, backend, backend / "levels")


def _some(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """At most MOST_POINTS different ones, at equal distances in the order in which they were found."""
    different = tuple(dict.fromkeys(points))
    return different[:: -(-len(different) // MOST_POINTS) or 1]


def _entry(found: LevelMapping) -> dict[str, Any]:
    return {
        "tree": print_loop_tree(found.tree),
        "objective": found.objective,
        "lower_bound": found.lower_bound,
        "bounds": found.bounds,
        "evaluated": found.evaluated,
        "points": [list(each) for each in found.points],
    }


def _restored(workload: Workload, machine: Hierarchy, objective: Objective, entry: Any) -> LevelMapping | None:
    match entry:
        case {
            "tree": str(text),
            "objective": float(value),
            "lower_bound": float(bound),
            "bounds": int(bounds),
            "evaluated": int(evaluated),
            "points": list(points),
        }:
            pass
        case _:
            return None
    try:
        tree = parse_loop_tree(text)
    except CompileError:
        return None
    if next(iter(loop_tree_faults(workload, machine, tree)), None) is not None:
        return None
    figures = cost(workload, machine, tree)
    own = objective.of(figures.total_energy_pj, figures.cycles.total)
    if not isclose(own, value, rel_tol=1e-9) or not bound <= value or not all(map(_is_point, points)):
        return None
    pairs = tuple((float(energy_pj), float(cycles)) for energy_pj, cycles in points)
    return LevelMapping(tree, figures, value, bound, bounds, evaluated, False, pairs)


def _is_point(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(each, int | float) and isfinite(each) for each in point)
    )
