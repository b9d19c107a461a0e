"""The literal counter of loop trees on cases that are small enough to be counted by hand."""

from __future__ import annotations

import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import Keep, LoopNode, LoopTree, Spatial, Temporal, Workload
from dnnc.ir.nest import Role
from dnnc.runtime.level_walker import Walked, walk
from support.random_levels import plain, workload

DRAM = Store("dram", OPERAND_ROLES, 64)
RF = Store("rf", OPERAND_ROLES, 16)
OUTSIDE = Keep("dram", OPERAND_ROLES)
PE = FanOut("pe", 4, 4)


def _machine(*levels: Store | FanOut) -> Hierarchy:
    return Hierarchy("m", 10**9, (DRAM, *levels), tuple((role, 8) for role in OPERAND_ROLES))


def _crossing(
    work: Workload, machine: Hierarchy, nodes: tuple[LoopNode, ...], role: Role, outer: str = "dram"
) -> Walked:
    walked = walk(work, machine, LoopTree((OUTSIDE, *nodes)))
    (found,) = [each for each in walked.boundaries if (each.role, each.outer) == (role, outer)]
    return found


def _window(p: int, r: int, *, before: int = 0, extent: int | None = None) -> Workload:
    """o[p] += i[p + r - before] * w[r]"""
    e = {"p": p, "r": r}
    axis = (Affine.of({"p": 1, "r": 1}, -before), extent or p + r - 1)
    return workload("window", e, [axis], [plain("r", e)], [plain("p", e)])


def test_a_window_takes_what_is_new() -> None:
    """Windows of 3 of 6 elements: the first takes 3, each of the three others 1; the weights stay."""
    nodes = (Temporal("p", 1), Keep("rf", OPERAND_ROLES), Temporal("r", 1))
    machine = _machine(RF)
    taken = _crossing(_window(4, 3), machine, nodes, Role.INPUT)
    assert (taken.shared, taken.each, taken.inner) == ((6, 6), (6, 6), "rf")
    assert _crossing(_window(4, 3), machine, nodes, Role.WEIGHT).shared == (3, 3)
    # The multipliers keep nothing: an input at each of the 4 x 3 points.
    assert _crossing(_window(4, 3), machine, nodes, Role.INPUT, "rf").shared == (12, 12)


def test_a_box_covers_every_position_between_its_ends() -> None:
    """With the taps outside, a tile of all 4 positions slides by one: 4 elements, then 1 for each of two taps."""
    nodes = (Temporal("r", 1), Keep("rf", OPERAND_ROLES), Temporal("p", 1))
    assert _crossing(_window(4, 3), _machine(RF), nodes, Role.INPUT).shared == (6, 6)
    assert walk(_window(4, 3), _machine(RF), LoopTree((OUTSIDE, *nodes))).tiles == (
        ("dram", Role.INPUT, 6),
        ("rf", Role.INPUT, 4),
        ("dram", Role.WEIGHT, 3),
        ("rf", Role.WEIGHT, 1),
        ("dram", Role.OUTPUT, 4),
        ("rf", Role.OUTPUT, 4),
    )


def test_padding_is_not_moved() -> None:
    """Positions -1 .. 4 of which 0 .. 3 are stored: 2 at first, then 1, 1, and none for the last."""
    nodes = (Temporal("p", 1), Keep("rf", OPERAND_ROLES), Temporal("r", 1))
    assert _crossing(_window(4, 3, before=1, extent=4), _machine(RF), nodes, Role.INPUT).each == (4, 4)


def test_steps_of_strides_leave_gaps_out() -> None:
    """o[p] += i[2 p]: no tap reaches the odd positions, no tile covers them."""
    e = {"p": 3}
    work = workload("strided", e, [(Affine.of({"p": 2}), 6)], None, [plain("p", e)])
    nodes = (Keep("rf", (Role.INPUT,)), Temporal("p", 1))
    assert _crossing(work, _machine(RF), nodes, Role.INPUT).each == (3, 3)


def test_lanes_on_a_diagonal_take_the_same() -> None:
    """3 x 2 lanes take p + r = 0 .. 3: six inputs in all, four different ones."""
    nodes = (Spatial("p", 1, "pe", "rows"), Spatial("r", 1, "pe", "cols"))
    work = _window(3, 2)
    taken = _crossing(work, _machine(PE), nodes, Role.INPUT)
    assert (taken.shared, taken.each, taken.network) == ((4, 4), (6, 1), (("pe", 4),))
    assert _crossing(work, _machine(PE), nodes, Role.WEIGHT).shared == (2, 2)
    # Three outputs, added up over the two lanes along r; each lane gives one.
    given = _crossing(work, _machine(PE), nodes, Role.OUTPUT)
    assert (given.shared, given.each, given.distinct) == ((3, 3), (6, 1), (3, 3))
    apart = FanOut("pe", 4, 4, multicast=(), reduce=False)
    assert _crossing(work, _machine(apart), nodes, Role.INPUT).shared == (6, 6)
    assert _crossing(work, _machine(apart), nodes, Role.OUTPUT).shared == (6, 6)


def test_fan_outs_one_inside_of_the_other() -> None:
    """Two clusters along p with two lanes along r each: inputs 0, 1 and 1, 2. Clusters do not share, lanes do."""
    clusters, lanes = FanOut("clusters", 2, 1, multicast=()), FanOut("lanes", 2, 1)
    nodes = (Spatial("p", 1, "clusters", "rows"), Spatial("r", 1, "lanes", "rows"))
    taken = _crossing(_window(2, 2), _machine(clusters, lanes), nodes, Role.INPUT)
    assert (taken.shared, taken.network) == ((4, 4), (("clusters", 4), ("lanes", 4)))
    # Clusters that share: what enters them is 0, 1 (for both) and 2; each has its own network inside.
    taken = _crossing(_window(2, 2), _machine(PE, lanes), (Spatial("p", 1, "pe", "rows"), nodes[1]), Role.INPUT)
    assert (taken.shared, taken.network) == ((3, 3), (("pe", 3), ("lanes", 4)))


def test_sharing_is_judged_by_hulls_where_that_is_asked() -> None:
    """Two clusters take the hulls 0 .. 1 and 1 .. 2, which differ: four elements, of which element 1 counts twice."""
    lanes = FanOut("lanes", 2, 1)
    tree = LoopTree((OUTSIDE, Spatial("p", 1, "pe", "rows"), Spatial("r", 1, "lanes", "rows")))
    (taken,) = [
        each
        for each in walk(_window(2, 2), _machine(PE, lanes), tree, by_hull=True).boundaries
        if each.role is Role.INPUT
    ]
    assert (taken.shared, taken.each, taken.network) == ((4, 4), (4, 1), (("pe", 3), ("lanes", 4)))


def _scalar_weight() -> Workload:
    """o[n, p] += i[n, p] * w: the weight is one element."""
    e = {"n": 2, "p": 3}
    return workload("scaled", e, [plain("n", e), plain("p", e)], [], [plain("n", e), plain("p", e)])


def test_an_idle_instance_forgets() -> None:
    """Pieces of 2 and 1 points of p on two lanes: the second is idle at every second step, takes the weight twice."""
    nodes = (Temporal("n", 1), Temporal("p", 2), Spatial("p", 1, "pe", "rows"), Keep("rf", (Role.WEIGHT,)))
    taken = _crossing(_scalar_weight(), _machine(PE, RF), nodes, Role.WEIGHT)
    assert taken.each == (3, 1)
    # The first lane has it still when the second one takes it again.
    assert taken.shared == (1, 1)


def test_an_instance_that_waits_keeps_what_it_has() -> None:
    """Lanes with 2 and 1 points of p, one after the other: the second waits while the first takes its second point."""
    nodes = (Temporal("n", 2), Spatial("p", 2, "pe", "rows"), Temporal("p", 1), Keep("rf", (Role.INPUT,)))
    e = {"n": 2, "p": 3}
    work = workload("rows", e, [plain("p", e)], [], [plain("n", e), plain("p", e)])
    machine = _machine(PE, RF)
    assert _crossing(work, machine, (*nodes, Temporal("n", 1)), Role.INPUT).each == (3, 2)
    repeated = (Temporal("n", 1), *nodes[1:])
    # The first lane takes both points again for the second n; the second lane has its point still.
    assert _crossing(work, machine, repeated, Role.INPUT).each == (5, 4)
    walked = walk(work, machine, LoopTree((OUTSIDE, *repeated)))
    assert (walked.points, walked.steps, walked.lanes) == (6, 4, 2)


def test_outputs_come_back_for_each_piece_of_a_sum() -> None:
    """o[m] += i[m, k]: with k outside, both outputs are given three times."""
    e = {"m": 2, "k": 3}
    work = workload("sums", e, [plain("m", e), plain("k", e)], None, [plain("m", e)])
    nodes = (Temporal("k", 1), Temporal("m", 1), Keep("rf", (Role.OUTPUT,)))
    given = _crossing(work, _machine(RF), nodes, Role.OUTPUT)
    assert (given.shared, given.each, given.distinct) == ((6, 6), (6, 6), (2, 2))
    nodes = (Temporal("m", 1), Keep("rf", (Role.OUTPUT,)), Temporal("k", 1))
    assert _crossing(work, _machine(RF), nodes, Role.OUTPUT).shared == (2, 2)


def test_more_than_can_be_walked_is_refused() -> None:
    e = {"m": 10**6, "k": 3}
    work = workload("large", e, [plain("m", e), plain("k", e)], None, [plain("m", e)])
    with pytest.raises(CompileError, match=r"'large' has up to 3000000 steps x multipliers\nhelp: .* at most 2000000"):
        walk(work, _machine(), LoopTree((OUTSIDE, Temporal("m", 1), Temporal("k", 1))))
