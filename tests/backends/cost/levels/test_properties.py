"""What holds of the figures of every mapping, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import product
from math import inf
from random import Random
from typing import Any

import pytest
from dnnc.backends.cost.levels import steps
from dnnc.backends.cost.levels.accesses import NATIVE, TIMELOOP, Accesses, Convention
from dnnc.backends.cost.levels.cost import LevelCost, cost
from dnnc.backends.cost.levels.counts import LevelCounts, count
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import Keep, LoopTree, Operand, Spatial, Temporal, Workload
from dnnc.ir.nest import Role
from dnnc.runtime.level_walker import walk
from support.random_levels import Case, plain, random_case, workload

SEEDS = range(1000, 1050)
CONVENTIONS = pytest.mark.parametrize("convention", [NATIVE, TIMELOOP], ids=lambda each: each.name)


def _cases() -> Iterator[Case]:
    return map(random_case, SEEDS)


def _few_cases() -> Iterator[Case]:
    return map(random_case, SEEDS[::3])


def _costed(case: Case, convention: Convention = NATIVE) -> LevelCost:
    return cost(case.workload, case.machine, case.tree, convention)


# ---------------------------------------------------------------------------------------------- sane


def _touched(work: Workload, operand: Operand) -> int:
    """Elements of an operand that some point needs."""
    points = product(*[range(extent) for _, extent in work.dims])
    found = {
        tuple(axis.index.at(dict(zip(work.extents, point, strict=True))) for axis in operand.axes) for point in points
    }
    extents = [axis.extent for axis in operand.axes]
    return sum(all(0 <= at < extent for at, extent in zip(element, extents, strict=True)) for element in found)


@CONVENTIONS
def test_traffic_is_at_least_compulsory(convention: Convention) -> None:
    for case in _cases():
        counts = _costed(case, convention).counts
        for operand in case.workload.operands:
            least = _touched(case.workload, operand)
            for boundary in (each for each in counts.boundaries if each.role is operand.role):
                assert boundary.shared.total >= least
                assert boundary.each.total >= boundary.shared.total or convention.by_hull


def test_lanes_work_no_more_than_they_can() -> None:
    for case in _few_cases():
        costed = _costed(case)
        walked = walk(case.workload, case.machine, case.tree)
        assert costed.utilization == walked.points / (walked.steps * case.machine.lanes) <= 1
        assert costed.counts.lanes <= case.machine.lanes
        assert costed.cycles.total >= costed.counts.steps


def test_the_busiest_instance_does_its_share_at_least() -> None:
    """What one instance moves, padding counted, is the mean or more."""
    for case in _cases():
        for each in count(case.workload, case.machine, case.tree).boundaries:
            instances = case.machine.instances(each.outer)
            assert each.shared.busiest * instances >= each.shared.total
            inner = case.machine.instances(each.inner) if each.inner else case.machine.lanes
            assert each.each.busiest * inner >= each.each.total


def _chains(costed: LevelCost) -> Iterator[tuple[Accesses, Accesses]]:
    """Stores of an operand that follow one another."""
    for outer, inner in zip(costed.accesses, costed.accesses[1:], strict=False):
        if outer.role is inner.role:
            yield outer, inner


def test_what_enters_a_store_leaves_it() -> None:
    """Outputs that an inner store is handed are read outside; what it takes over all it gives up; none is lost."""
    for case in _cases():
        costed = _costed(case)
        given = {(each.role, each.inner): each for each in costed.counts.boundaries}
        for outer, inner in _chains(costed):
            if outer.role is Role.OUTPUT:
                assert inner.fills.total == outer.reads.total
                assert outer.updates.total == outer.reads.total + given[Role.OUTPUT, inner.store].distinct.total
                assert inner.drains.total == given[Role.OUTPUT, inner.store].each.total >= outer.updates.total
            else:
                assert inner.fills.total == given[inner.role, inner.store].each.total >= outer.reads.total
        for role in (Role.INPUT, Role.WEIGHT):
            consumed = [each for each in costed.counts.boundaries if each.role is role and each.inner is None]
            assert all(each.each.total <= costed.counts.points for each in consumed)


# ---------------------------------------------------------------------------------------------- names and orders


def _renamed(case: Case, names: Mapping[str, str], rng: Random) -> Case:
    """The same case with other names of dimensions, and everything that has no order in another one."""
    dims = [(names[dim], extent) for dim, extent in case.workload.dims]
    operands = []
    for operand in case.workload.operands:
        axes = [
            replace(axis, index=Affine.of({names[dim]: c for dim, c in axis.index.terms}, axis.index.constant))
            for axis in operand.axes
        ]
        operands.append(replace(operand, axes=tuple(rng.sample(axes, len(axes)))))
    nodes = [
        replace(node, roles=tuple(rng.sample(node.roles, len(node.roles))))
        if isinstance(node, Keep)
        else replace(node, dim=names[node.dim])
        for node in case.tree.nodes
    ]
    levels = [
        replace(level, holds=tuple(rng.sample(level.holds, len(level.holds))))
        if isinstance(level, Store)
        else replace(level, multicast=tuple(rng.sample(level.multicast, len(level.multicast))))
        for level in case.machine.levels
    ]
    work = Workload("renamed", tuple(rng.sample(dims, len(dims))), tuple(rng.sample(operands, len(operands))))
    return Case(work, replace(case.machine, levels=tuple(levels)), LoopTree(tuple(nodes)))


def _comparable(costed: LevelCost) -> tuple[object, ...]:
    counts = costed.counts
    return (
        (counts.points, counts.steps, counts.lanes, sorted(counts.tiles, key=str), sorted(counts.boundaries, key=str)),
        sorted(costed.words, key=str),
        costed.cycles,
        costed.actions,
    )


def test_names_and_orders_change_nothing() -> None:
    for seed, case in zip(SEEDS, _cases(), strict=True):
        rng = Random(seed)
        names = dict(zip(case.workload.extents, rng.sample("uvwxyz", len(case.workload.dims)), strict=True))
        assert _comparable(_costed(_renamed(case, names, rng))) == _comparable(_costed(case))


# ---------------------------------------------------------------------------------------------- monotone


def _faster(machine: Hierarchy, name: str, factor: float) -> Hierarchy:
    def times(rate: float | None) -> float | None:
        return None if rate is None or factor == inf else rate * factor

    levels = tuple(
        replace(
            level,
            read_words_per_cycle=times(level.read_words_per_cycle),
            write_words_per_cycle=times(level.write_words_per_cycle),
            shared_words_per_cycle=times(level.shared_words_per_cycle),
        )
        if isinstance(level, Store) and level.name == name
        else level
        for level in machine.levels
    )
    return replace(machine, levels=levels)


@CONVENTIONS
def test_more_bandwidth_takes_no_more_cycles(convention: Convention) -> None:
    for case in _few_cases():
        cycles = _costed(case, convention).cycles.total
        for store in case.machine.stores:
            for factor in (1.3, 2, inf):
                faster = replace(case, machine=_faster(case.machine, store.name, factor))
                assert _costed(faster, convention).cycles.total <= cycles


def test_networks_that_share_more_read_no_more() -> None:
    for case in _cases():
        sharing = [
            replace(level, multicast=(Role.INPUT, Role.WEIGHT), reduce=True) if isinstance(level, FanOut) else level
            for level in case.machine.levels
        ]
        shared = replace(case, machine=replace(case.machine, levels=tuple(sharing)))
        for less, more in zip(_costed(shared).counts.boundaries, _costed(case).counts.boundaries, strict=True):
            assert less.shared.total <= more.shared.total
            assert less.each == more.each


# ---------------------------------------------------------------------------------------------- large


def _figures(value: object) -> Iterator[object]:
    if is_dataclass(value):
        for field in fields(value):
            yield from _figures(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _figures(each)
    elif isinstance(value, Mapping):
        yield from _figures(list(value.values()))
    elif not isinstance(value, str | Role | type(None)):
        yield value


def test_figures_are_whole_numbers() -> None:
    for case in _cases():
        costed = _costed(case)
        for part in (costed.counts, costed.accesses, costed.words, costed.cycles, costed.actions):
            assert {type(each) for each in _figures(part)} == {int}


RF = Store("rf", OPERAND_ROLES, 8)
PE = FanOut("pe", 16, 16)
LARGE = Hierarchy(
    "large", 10**9, (Store("dram", OPERAND_ROLES, 64), PE, RF), tuple((each, 8) for each in OPERAND_ROLES)
)


def _product_counts(m: int, k: int, n: int) -> LevelCounts:
    e = {"m": m, "k": k, "n": n}
    work = workload("product", e, [plain("m", e), plain("k", e)], [plain("k", e), plain("n", e)],
                    [plain("m", e), plain("n", e)])  # fmt: skip
    tree = LoopTree(
        (
            Keep("dram", OPERAND_ROLES),
            Temporal("n", min(n, 1000)),
            Temporal("m", 16),
            Temporal("k", 16),
            Spatial("m", 1, "pe", "rows"),
            Spatial("k", 1, "pe", "cols"),
            Keep("rf", OPERAND_ROLES),
            Temporal("n", 1),
        )
    )
    return count(work, LARGE, tree)


def _classes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A counter of the pieces that the closed form looks at."""
    looked = [0]
    piece = steps._piece

    def counting(*given: Any) -> steps.Pair:
        looked[0] += 1
        return piece(*given)

    monkeypatch.setattr(steps, "_piece", counting)
    return looked


def test_work_grows_with_loops_not_with_extents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 10^18 + 5 points a side: exact, and with as many pieces looked at as for 10^4 + 5."""
    looked = _classes(monkeypatch)
    _product_counts(10**4 + 5, 10**4 + 5, 10**4 + 5)
    small, looked[0] = looked[0], 0
    side = 10**18 + 5
    counts = _product_counts(side, side, side)
    assert looked[0] == small < 2000
    assert counts.points == side**3
    groups = -(-side // 16)
    assert counts.steps == groups * groups * side
    by_role = {each.role: each for each in counts.boundaries if each.inner == "rf"}
    pieces = -(-side // 1000)
    # Inputs come again for each piece of n, weights for each piece of m; outputs stay until they are complete.
    assert by_role[Role.INPUT].shared.total == side * side * pieces
    assert by_role[Role.WEIGHT].shared.total == side * side * groups
    assert by_role[Role.OUTPUT].shared.total == by_role[Role.OUTPUT].distinct.total == side * side


def test_windows_of_any_length_take_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 3-tap convolution with padding along 10^18 points, diagonals on the array."""
    looked = _classes(monkeypatch)
    side = 10**18
    e = {"m": 7, "p": side, "r": 3}
    work = workload("conv", e, [(Affine.of({"p": 1, "r": 1}, -1), side)], [plain("m", e), plain("r", e)],
                    [plain("m", e), plain("p", e)])  # fmt: skip
    tree = LoopTree(
        (
            Keep("dram", OPERAND_ROLES),
            Temporal("p", 14),
            Temporal("m", 1),
            Spatial("r", 1, "pe", "rows"),
            Spatial("p", 1, "pe", "cols"),
            Keep("rf", OPERAND_ROLES),
        )
    )
    counts = count(work, LARGE, tree)
    assert looked[0] < 10_000
    inputs, weights, outputs = [each for each in counts.boundaries if each.inner == "rf"]
    tiles = -(-side // 14)
    # 14 positions and 3 taps take 16 inputs, of which the array keeps none from tile to tile; the last tile has fewer.
    last = side - 14 * (tiles - 1)
    assert inputs.shared.total == 16 * (tiles - 1) + last + 2 - 2  # one element of padding at either end
    assert outputs.shared.total == outputs.distinct.total == 7 * side
    assert weights.shared.total == 7 * 3 * tiles


@pytest.mark.parametrize(
    ("positions", "taps", "message"),
    [
        (1000, 10**6, "combinations of pieces that padding or lanes tell apart\nhelp: at most 100000"),
        (10**6, 10**9, "999999 pieces of 1 points lie where a window may meet padding\nhelp: at most 10000"),
    ],
)
def test_places_that_matter_are_bounded(positions: int, taps: int, message: str) -> None:
    """Windows so long that each of many taps may meet padding at many positions."""
    e = {"p": positions, "r": taps}
    work = workload("long", e, [(Affine.of({"p": 1, "r": 1}, -1), taps)], [plain("r", e)], [plain("p", e)])
    tree = LoopTree((Keep("dram", OPERAND_ROLES), Temporal("p", 1), Temporal("r", 1)))
    with pytest.raises(CompileError, match=message):
        count(work, LARGE, tree)
