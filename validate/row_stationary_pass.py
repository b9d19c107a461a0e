"""Row-stationary passes as loop trees: what Eyeriss computes at a time, and in which order.

An element of the array slides a row of a filter over a row of the input. A set of R x e elements makes e rows of an
output; r sets add up r groups of q channels, t sets make t groups of p outputs; n images follow one another. From pass
to pass filters change first (m outputs), then channels, then rows.
"""

from __future__ import annotations

from ..ir.affine import Affine
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy
from ..ir.loop_tree import Keep, LoopNode, LoopTree, Operand, OperandAxis, Spatial, Temporal, Workload
from .networks import Conv

_A = Affine.of
_INPUT, _WEIGHT, _OUTPUT = OPERAND_ROLES


@dataclass(frozen=True, slots=True)
class Pass:
    """The parameters of the mapping, by the names of the paper."""

    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int


def stored_workload(layer: Conv, batch: int, bits: int = 16) -> Workload:
    """The convolution of `batch` images whose padding lies in memory, as the chip has it."""
    k, stride = layer.kernel, layer.stride
    dims = {"n": batch, "m": layer.m, "p": layer.p, "q": layer.q, "c": layer.c, "r": k, "s": k}

    def plain(*names: str) -> list[OperandAxis]:
        return [OperandAxis(_A({name: 1}), dims[name]) for name in names]

    window = [
        OperandAxis(_A({out: stride, tap: 1}), stride * (dims[out] - 1) + k) for out, tap in (("p", "r"), ("q", "s"))
    ]
    operands = (
        Operand(_INPUT, (*plain("n", "c"), *window), bits),
        Operand(_WEIGHT, tuple(plain("m", "c", "r", "s")), bits),
        Operand(_OUTPUT, tuple(plain("n", "m", "p", "q")), bits),
    )
    return Workload(layer.name, tuple(dims.items()), operands)


def pass_tree(workload: Workload, machine: Hierarchy, chosen: Pass) -> LoopTree:
    """The loop tree of a layer whose passes are `chosen`, on a machine with a buffer and scratchpads on either
    side of one fan-out. Where all of a dimension is less than a parameter, that is what there is.

    Raises OurBug where the sets do not fit the array.
    """
    left = workload.extents
    nodes: list[LoopNode] = [Keep(machine.levels[0].name, OPERAND_ROLES)]
    buffers = {role: next(each for each in machine.stores[1:] if role in each.holds).name for role in OPERAND_ROLES}
    spads = {role: [each for each in machine.stores if role in each.holds][-1].name for role in OPERAND_ROLES}

    def loop(dim: str, size: int) -> None:
        if size < left[dim]:
            nodes.append(Temporal(dim, size))
            left[dim] = size

    loop("n", chosen.n)
    loop("m", chosen.m)
    loop("p", chosen.e)
    nodes.append(Keep(buffers[_OUTPUT], (_OUTPUT,)))
    loop("c", chosen.q * chosen.r)
    nodes.append(Keep(buffers[_INPUT], (_INPUT,)))
    loop("m", chosen.p * chosen.t)
    nodes.append(Keep(buffers[_WEIGHT], (_WEIGHT,)))
    nodes += _sets(left, machine, chosen)
    nodes.append(Keep(spads[_WEIGHT], (_WEIGHT,)))
    loop("n", 1)
    loop("q", 1)
    nodes += [Keep(spads[_INPUT], (_INPUT,)), Keep(spads[_OUTPUT], (_OUTPUT,))]
    for dim in ("c", "s", "m"):
        loop(dim, 1)
    return LoopTree(tuple(nodes))


def _sets(left: dict[str, int], machine: Hierarchy, chosen: Pass) -> list[LoopNode]:
    """The sets on the array: rows of outputs along its columns, those that do not fit and the taps of a filter's column
    along its rows; sets of channels and outputs above one another, or outputs beside one another."""
    (array,) = machine.fanouts
    nodes: list[LoopNode] = []
    free = {"rows": array.rows, "cols": array.cols}

    def spread(dim: str, size: int, axis: str) -> None:
        size = min(size, left[dim])
        count = -(-left[dim] // size)
        if count > 1:
            ensure(count <= free[axis], f"{count} pieces of {dim} along {free[axis]} {axis}")
            free[axis] //= count
            nodes.append(Spatial(dim, size, array.name, axis))
            left[dim] = size

    above = -(-min(chosen.e, left["p"]) // array.cols) * left["r"] * chosen.r
    spread("m", chosen.p, "rows" if above * chosen.t <= array.rows else "cols")
    spread("c", chosen.q, "rows")
    spread("p", min(array.cols, left["p"]), "rows")
    spread("r", 1, "rows")
    spread("p", 1, "cols")
    return nodes


def sets_fit(array: FanOut, e: int, above: int, t: int) -> bool:
    """Whether `t` sets of `above` x `e` elements fit: above one another or, if a row holds e, side by side."""
    lines = -(-e // array.cols) * above
    return lines * t <= array.rows or (lines <= array.rows and e * t <= array.cols)
