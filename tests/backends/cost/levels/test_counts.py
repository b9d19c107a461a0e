"""The closed form against the literal counter on random mappings (benchmarks/levels_equal_walk.py runs many more)."""

from __future__ import annotations

from collections import Counter

import pytest
from dnnc.backends.cost.levels.accesses import NATIVE, TIMELOOP, Convention
from dnnc.backends.cost.levels.counts import count
from dnnc.ir.hierarchy import FanOut, Store
from dnnc.ir.loop_tree import Keep, Spatial, Temporal
from support.level_witnesses import differences
from support.random_levels import Case, random_case, uneven_case

CASES = 120
# Sharing along diagonals where lanes have pieces of different sizes, so that some wait and some are idle.
HARD = (4700, 6370, 100331)


@pytest.mark.parametrize("convention", [NATIVE, TIMELOOP], ids=lambda each: each.name)
def test_closed_form_equals_walk(convention: Convention) -> None:
    seeds = (*HARD, *range(convention is TIMELOOP, CASES, 2))
    assert [(seed, each) for seed in seeds for each in differences(random_case(seed), convention)] == []


@pytest.mark.parametrize("convention", [NATIVE, TIMELOOP], ids=lambda each: each.name)
def test_closed_form_equals_walk_where_each_operand_has_its_own_levels(convention: Convention) -> None:
    cases = [uneven_case(seed) for seed in range(convention is TIMELOOP, 2 * CASES, 2)]
    assert [each for case in cases for each in differences(case, convention)] == []
    apart = [case for case in cases if _stores_kept_twice(case)]
    assert len(apart) >= CASES // 5


def _stores_kept_twice(case: Case) -> bool:
    stores = [node.store for node in case.tree.nodes if isinstance(node, Keep)]
    return len(set(stores)) < len(stores)


def test_the_cases_cover_what_is_claimed() -> None:
    cases = [random_case(seed) for seed in range(CASES)]
    seen: Counter[str] = Counter()
    for case in cases:
        seen.update(_features(case))
    assert {name for name, times in seen.items() if times >= 5} == {
        "a store passed by",
        "an element that comes back",
        "fan-outs one inside of the other",
        "idle lanes",
        "lanes that share a box of two dimensions",
        "networks that do not share",
        "padding",
        "ragged pieces",
        "several dimensions along an axis",
    }


def _features(case: Case) -> set[str]:
    extents, nodes = case.workload.extents, case.tree.nodes
    spatial = [node for node in nodes if isinstance(node, Spatial)]
    counts = count(case.workload, case.machine, case.tree)
    found = set()
    left = dict(extents)
    for node in nodes:
        if isinstance(node, Temporal | Spatial):
            if left[node.dim] % node.size:
                found.add("ragged pieces")
            left[node.dim] = node.size
    axes = Counter((node.fanout, node.axis) for node in spatial if extents[node.dim] > 1)
    if any(times > 1 for times in axes.values()):
        found.add("several dimensions along an axis")
    if len({node.fanout for node in spatial}) > 1:
        found.add("fan-outs one inside of the other")
    if counts.lanes * counts.steps > counts.points:
        found.add("idle lanes")
    kept = {(each.outer, each.role) for each in counts.boundaries}
    if any(
        (level.name, role) not in kept
        for level in case.machine.levels
        if isinstance(level, Store)
        for role in level.holds
    ):
        found.add("a store passed by")
    used = {node.fanout for node in spatial}
    if any(isinstance(level, FanOut) and level.name in used and not level.reduce for level in case.machine.levels):
        found.add("networks that do not share")
    for operand in case.workload.operands:
        for axis in operand.axes:
            last = axis.index.at({dim: extent - 1 for dim, extent in extents.items()})
            if axis.index.constant < 0 or last >= axis.extent:
                found.add("padding")
            if len({node.dim for node in spatial} & {dim for dim, _ in axis.index.terms}) > 1:
                found.add("lanes that share a box of two dimensions")
    if any(each.shared.total > each.distinct.total > 0 for each in counts.boundaries):
        found.add("an element that comes back")
    return found
