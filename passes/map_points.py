"""Mappings that the search of a layer evaluated, by cycles and energy, for pictures.

A mapping itself, in a module or in the cache, does not hold them. So the search is made again, which finds the same in
the same order, with what it evaluates kept (passes/map_seen.py; for later commands in passes/kept_points.py). It is
known again by its counts of bounds and of evaluated mappings: a layer whose certificate comes of another search has no
points.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from ..backends.cost.module import nameless
from ..ir.arch import Arch
from ..ir.clock import clock_s
from ..ir.diagnostics import NOWHERE
from ..ir.module import Module
from ..ir.nest import Nest
from .compress_weights import dense
from .dataflow import dataflows_for
from .kept_points import KeptPoints, Point, Searched, mapping_digest
from .mapper import MOST_WORKERS
from .mapping import MappingOptions, Pin
from .objective import parse_objective

MOST_POINTS = 500  # of a search
_Search = tuple[Nest, Pin, str]  # a nest without names and schedule, its pin and its im2col


def points_by_layer(
    module: Module, arch: Arch, options: MappingOptions, report: Callable[[str], object] = lambda _: None
) -> dict[str, list[Point]]:
    """Cycles and pJ (without leakage) of what the search of each layer evaluated, at most MOST_POINTS of each search;
    where values stay in local memory, those are the mappings of the layer by itself, before that was decided.

    `options` are those that the module was mapped with. Layers that run in stripes, and those of which no search is
    known again or whose search takes longer than the time limit, are not there. What earlier commands searched for is
    known without a search.
    """
    pins = dict(options.pins)
    searches: dict[_Search, list[tuple[Nest, Nest]]] = {}  # with their nests, and those without names
    for nest in module.operations:
        if isinstance(nest, Nest) and nest.stripe is None and nest.schedule is not None and nest.schedule.evaluated:
            pin = replace(pins.get(nest.name, Pin()), span=NOWHERE, places=())
            bare = nameless(dense(nest))  # as it was when it was searched for
            search = replace(bare, schedule=None), pin, nest.schedule.im2col
            searches.setdefault(search, []).append((nest, bare))
    kept = KeptPoints.of_user()
    setting = kept.setting(arch, options)
    keys = {each: kept.key(setting, *each) for each in searches}
    known = {each: kept.read_search(key) for each, key in keys.items()}
    unknown = [each for each, found in known.items() if found is None]
    if unknown:
        report("search again, for the pictures of what was evaluated")
        for each, found in zip(unknown, _searched(unknown, arch, options), strict=True):
            known[each] = found
            if found is not None:
                kept.write_search(keys[each], found)
        kept.close()
    points: dict[str, list[Point]] = {}
    for each, nests in searches.items():
        if (found := known[each]) is not None:
            points |= {nest.layer: list(found.points) for nest, bare in nests if _is_same(found, nest, bare)}
    return points


def _searched(searches: list[_Search], arch: Arch, options: MappingOptions) -> list[Searched | None]:
    """What each search evaluates; nothing where it cannot be made, or is not done within the time limit."""
    from concurrent.futures import ThreadPoolExecutor

    from .map_limits import search_within  # compiled code, which what is kept does without
    from .map_search import Found

    deadline = float("inf") if options.time_limit_s is None else clock_s() + options.time_limit_s

    def again(key: _Search) -> Searched | None:
        nest, pin, label = key
        flows, _ = dataflows_for(nest, arch, pin.dataflow or options.dataflow, pinned=pin.dataflow is not None)
        goal = parse_objective(options.objective)
        if not flows:
            return None
        found = search_within(nest, arch, flows, pin, goal, label, deadline=deadline, most_points=MOST_POINTS)
        if not isinstance(found, Found) or found.stopped:
            return None
        different = tuple((cycles, energy_pj) for energy_pj, cycles in dict.fromkeys(found.points))
        mapping = mapping_digest(nameless(replace(nest, schedule=found.schedule)))
        return Searched(found.bounds, found.evaluated, mapping, different)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_WORKERS)) as pool:
        return list(pool.map(again, searches))


def _is_same(found: Searched, nest: Nest, bare: Nest) -> bool:
    """Whether the search is the one that the schedule of `nest` (`bare` without its names) is from, or from which that
    was made: to stay, or with others tried for want of room beside what stays (passes/keep_plan.py)."""
    schedule = nest.schedule
    assert schedule is not None
    if found.bounds != schedule.bounds or found.evaluated > schedule.evaluated:
        return False
    stays = schedule.target is not None or any(buffer.is_whole for buffer in schedule.buffers)
    if stays or found.evaluated < schedule.evaluated:
        return True
    return found.mapping == mapping_digest(bare)
