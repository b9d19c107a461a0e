"""Random machines with levels inside the array, workloads and legal loop trees, small enough to be walked step by step.

All of it comes from one `random.Random`, so that a case is named by its seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from random import Random

from dnnc.ir.affine import Affine
from dnnc.ir.hierarchy import OPERAND_ROLES, Buffering, FanOut, Hierarchy, Packing, Store
from dnnc.ir.loop_tree import Keep, LoopNode, LoopTree, Operand, OperandAxis, Spatial, Temporal, Workload
from dnnc.ir.nest import Role

POINTS = 600  # of a workload at most, so that walks take milliseconds
LANES = 24  # of a machine at most


@dataclass(frozen=True, slots=True)
class Case:
    """A workload, a machine and a legal mapping of the one on the other."""

    workload: Workload
    machine: Hierarchy
    tree: LoopTree


def random_case(seed: int, machine: Hierarchy | None = None) -> Case:
    """The case that `seed` names, on a machine of its own if none is given. The tree minds neither constraints nor
    capacities, which random machines do not have."""
    rng = Random(seed)
    workload = random_workload(rng)
    chosen = machine or random_machine(rng)
    return Case(workload, chosen, random_tree(rng, workload, chosen))


def uneven_case(seed: int, machine: Hierarchy | None = None) -> Case:
    """As `random_case`, where every tile begins at a place of its own: those of stores next to one another in any order
    that keeps each operand's stores in the machine's."""
    rng = Random(seed)
    workload = random_workload(rng)
    chosen = machine or random_machine(rng)
    return Case(workload, chosen, uneven_tree(rng, workload, chosen))


# ---------------------------------------------------------------------------------------------- workloads


def random_workload(rng: Random) -> Workload:
    """A convolution with strides, dilation and padding, plain, grouped or depthwise, a product of matrices, a pooling,
    a long window along one axis, or axes of any kind."""
    kind = rng.choice(tuple(_WORKLOADS))
    while True:
        workload = _WORKLOADS[kind](rng)
        if workload.points <= POINTS:
            return workload


def workload(
    name: str,
    dims: Mapping[str, int],
    inputs: Sequence[tuple[Affine, int]],
    weights: Sequence[tuple[Affine, int]] | None,
    outputs: Sequence[tuple[Affine, int]],
    *,
    dense: bool = False,
) -> Workload:
    """A workload from the axes of its operands, 8 bits an element."""
    operands = [(Role.INPUT, inputs), (Role.WEIGHT, weights), (Role.OUTPUT, outputs)]
    return Workload(
        name,
        tuple(dims.items()),
        tuple(
            Operand(role, tuple(OperandAxis(index, extent, dense) for index, extent in axes), 8)
            for role, axes in operands
            if axes is not None
        ),
    )


def plain(dim: str, extents: Mapping[str, int]) -> tuple[Affine, int]:
    """An axis that is a dimension."""
    return Affine.of({dim: 1}), extents[dim]


def _window(rng: Random, p: str, r: str, extents: Mapping[str, int]) -> tuple[Affine, int]:
    """An axis that a window slides along; what it does not find there is padding, before and behind."""
    stride, dilation, before = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2)), rng.choice((0, 0, 1, 2, 3))
    reach = stride * (extents[p] - 1) + dilation * (extents[r] - 1) + 1
    return Affine.of({p: stride, r: dilation}, -before), max(1, reach - before - rng.choice((0, 0, 1, 2, 3)))


def _extents(rng: Random, dims: str, most: int = 7) -> dict[str, int]:
    return {dim: rng.randint(1, most) for dim in dims}


def _conv(rng: Random) -> Workload:
    e = _extents(rng, "mcpr")
    inputs = [plain("c", e), _window(rng, "p", "r", e)]
    return workload("conv", e, inputs, [plain("m", e), plain("c", e), plain("r", e)], [plain("m", e), plain("p", e)])


def _conv2d(rng: Random) -> Workload:
    e = _extents(rng, "mpqrs", 4)
    inputs = [_window(rng, "p", "r", e), _window(rng, "q", "s", e)]
    weights = [plain("m", e), plain("r", e), plain("s", e)]
    return workload("conv2d", e, inputs, weights, [plain("m", e), plain("p", e), plain("q", e)])


def _grouped(rng: Random) -> Workload:
    e = _extents(rng, "gcpr", 5)
    channel = (Affine.of({"g": e["c"], "c": 1}), e["g"] * e["c"])
    weights = [plain("g", e), plain("c", e), plain("r", e)]
    return workload("grouped", e, [channel, _window(rng, "p", "r", e)], weights, [plain("g", e), plain("p", e)])


def _depthwise(rng: Random) -> Workload:
    e = _extents(rng, "gpr")
    inputs = [plain("g", e), _window(rng, "p", "r", e)]
    return workload("depthwise", e, inputs, [plain("g", e), plain("r", e)], [plain("g", e), plain("p", e)])


def _matmul(rng: Random) -> Workload:
    e = _extents(rng, "mkn", 9)
    inputs, weights = [plain("m", e), plain("k", e)], [plain("k", e), plain("n", e)]
    return workload("matmul", e, inputs, weights, [plain("m", e), plain("n", e)])


def _pool(rng: Random) -> Workload:
    e = _extents(rng, "cpr")
    return workload("pool", e, [plain("c", e), _window(rng, "p", "r", e)], None, [plain("c", e), plain("p", e)])


def _window_alone(rng: Random) -> Workload:
    """One axis, on which many lanes of both dimensions take the same tiles."""
    e = {"p": rng.randint(2, 16), "r": rng.randint(2, 9), "n": rng.choice((1, 1, 2))}
    if rng.random() < 0.5:
        e = dict(reversed(e.items()))
    return workload(
        "window", e, [plain("n", e), _window(rng, "p", "r", e)], [plain("r", e)], [plain("n", e), plain("p", e)]
    )


def _affine(rng: Random) -> Workload:
    """Inputs and weights with axes of up to three dimensions each, some of which occur in several; outputs of the
    first dimensions."""
    e = _extents(rng, "abcd")

    def axis() -> tuple[Affine, int]:
        dims = rng.sample("abcd", rng.randint(0, 3))
        index = Affine.of({dim: rng.choice((1, 1, 2, 3, 6)) for dim in dims}, rng.choice((0, 0, 0, 1, -1, -4)))
        reach = index.at({dim: points - 1 for dim, points in e.items()}) + 1
        return index, max(1, reach - rng.choice((0, 0, 1, 3)))

    inputs, weights = ([axis() for _ in range(rng.randint(1, 2))] for _ in range(2))
    outputs = [plain(dim, e) for dim in "abcd"[: rng.randint(0, 3)]]
    return workload("affine", e, inputs, weights, outputs, dense=rng.random() < 0.3)


_WORKLOADS = {
    "conv": _conv,
    "conv2d": _conv2d,
    "grouped": _grouped,
    "depthwise": _depthwise,
    "matmul": _matmul,
    "pool": _pool,
    "window": _window_alone,
    "affine": _affine,
}


# ---------------------------------------------------------------------------------------------- machines


def random_machine(rng: Random) -> Hierarchy:
    """Main memory, then up to five levels in any order: stores of some roles and of any packing, fan-outs that share or
    do not."""
    levels: list[Store | FanOut] = [Store("dram", OPERAND_ROLES, rng.choice((8, 16, 64)), latency_cycles=3)]
    lanes = 1
    for number in range(rng.randint(0, 5)):
        if rng.random() < 0.5:
            levels.append(_store(rng, f"s{number}"))
            continue
        fanout = _fanout(rng, f"f{number}")
        if lanes * fanout.instances <= LANES:
            lanes *= fanout.instances
            levels.append(fanout)
    bits = tuple((role, 8) for role in OPERAND_ROLES)
    return Hierarchy("random", 10**9, tuple(levels), bits, partial_bits=rng.choice((None, 24)))


def _store(rng: Random, name: str) -> Store:
    return Store(
        name,
        tuple(rng.sample(OPERAND_ROLES, rng.randint(1, 3))),
        rng.choice((4, 8, 20, 64)),
        packing=rng.choice(tuple(Packing)),
        buffering=rng.choice(tuple(Buffering)),
        read_words_per_cycle=rng.choice((None, 0.5, 1.0, 4.0)),
        write_words_per_cycle=rng.choice((None, 0.5, 1.0, 4.0)),
        shared_words_per_cycle=rng.choice((None, 0.75, 2.0)),
        latency_cycles=rng.choice((0, 0, 5)),
    )


def _fanout(rng: Random, name: str) -> FanOut:
    return FanOut(
        name,
        rng.randint(1, 4),
        rng.randint(1, 6),
        multicast=tuple(rng.sample((Role.INPUT, Role.WEIGHT), rng.randint(0, 2))),
        reduce=rng.random() < 0.6,
        link_bits=rng.choice((8, 16, 20)),
    )


# ---------------------------------------------------------------------------------------------- loop trees


def random_tree(rng: Random, workload: Workload, machine: Hierarchy) -> LoopTree:
    """A legal mapping. Pieces need not divide, stores may be passed by, and a store may keep its roles from different
    loops inwards."""
    left = workload.extents
    nodes: list[LoopNode] = []
    roles = tuple(each.role for each in workload.operands)
    for number, level in enumerate(machine.levels):
        if isinstance(level, FanOut):
            nodes += _spatial(rng, level, left)
            continue
        kept = [role for role in roles if role in level.holds and (not number or rng.random() < 0.75)]
        apart = rng.randint(0, len(kept)) if number else 0
        for group in (kept[:apart], kept[apart:]):
            if group:
                nodes.append(Keep(level.name, tuple(group)))
                nodes += _temporal(rng, left, rng.randint(0, 3))
    rest = [dim for dim, points in left.items() if points > 1]
    rng.shuffle(rest)
    return LoopTree((*nodes, *(Temporal(dim, 1) for dim in rest)))


def uneven_tree(rng: Random, workload: Workload, machine: Hierarchy) -> LoopTree:
    """A legal mapping with loops between all nodes that keep something."""
    left = workload.extents
    roles = tuple(each.role for each in workload.operands)
    nodes: list[LoopNode] = [Keep(machine.levels[0].name, roles), *_temporal(rng, left, rng.randint(0, 2))]
    waiting: dict[Role, list[str]] = {role: [] for role in roles}  # stores since the last fan-out

    def begin() -> None:
        while some := [role for role in roles if waiting[role]]:
            role = rng.choice(some)
            nodes.append(Keep(waiting[role].pop(0), (role,)))
            nodes.extend(_temporal(rng, left, rng.randint(0, 2)))

    for level in machine.levels[1:]:
        if isinstance(level, FanOut):
            begin()
            nodes += _spatial(rng, level, left)
            continue
        for role in roles:
            if role in level.holds and rng.random() < 0.75:
                waiting[role].append(level.name)
    begin()
    rest = [dim for dim, points in left.items() if points > 1]
    rng.shuffle(rest)
    return LoopTree((*nodes, *(Temporal(dim, 1) for dim in rest)))


def _smaller(rng: Random, points: int, least: int = 1) -> int:
    """A size of pieces, at least `least`: one that divides a third of the time."""
    sizes = range(least, points + 1)
    dividing = [size for size in sizes if points % size == 0]
    return rng.choice(dividing if dividing and rng.random() < 0.3 else sizes)


def _temporal(rng: Random, left: dict[str, int], count: int) -> list[LoopNode]:
    found: list[LoopNode] = []
    for _ in range(count):
        dim = rng.choice(tuple(left))
        left[dim] = _smaller(rng, left[dim])
        found.append(Temporal(dim, left[dim]))
    return found


def _spatial(rng: Random, fanout: FanOut, left: dict[str, int]) -> list[LoopNode]:
    free = {"rows": fanout.rows, "cols": fanout.cols}
    found: list[LoopNode] = []
    for _ in range(rng.randint(0, 4)):
        axis, dim = rng.choice(tuple(free)), rng.choice(tuple(left))
        if free[axis] == 1 and rng.random() < 0.8:
            continue
        size = _smaller(rng, left[dim], -(-left[dim] // free[axis]))
        free[axis] //= -(-left[dim] // size)
        left[dim] = size
        found.append(Spatial(dim, size, fanout.name, axis))
    return found


def steps_times_lanes(case: Case) -> int:
    """About how much there is to walk."""
    return case.workload.points * max(1, prod(each.instances for each in case.machine.fanouts))
