"""Row-stationary passes as loop trees: what Eyeriss computes at a time, and in which order.

An element of the array slides a row of a filter over a row of the input. A set of R x e elements makes e rows of an
output; r sets add up r groups of q channels, t sets make t groups of p outputs; n images follow one another. From pass
to pass filters change first (m outputs), then channels, then rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.affine import Affine
from ..ir.diagnostics import ensure
from ..ir.hierarchy import OPERAND_ROLES, Hierarchy
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
    """The loop tree of a layer whose passes are `chosen`, on a machine with the levels of `eyeriss`. Where all of a
    dimension is less than a parameter, that is what there is.

    Raises OurBug where the sets do not fit the array.
    """
    left = workload.extents
    nodes: list[LoopNode] = [Keep("dram", OPERAND_ROLES)]

    def loop(dim: str, size: int) -> None:
        if size < left[dim]:
            nodes.append(Temporal(dim, size))
            left[dim] = size

    loop("n", chosen.n)
    loop("m", chosen.m)
    loop("p", chosen.e)
    nodes.append(Keep("glb", (_OUTPUT,)))
    loop("c", chosen.q * chosen.r)
    nodes.append(Keep("glb", (_INPUT,)))
    loop("m", chosen.p * chosen.t)
    if any(store.name == "filters" for store in machine.stores):
        nodes.append(Keep("filters", (_WEIGHT,)))
    nodes += _sets(left, machine, chosen)
    nodes.append(Keep("filter_spad", (_WEIGHT,)))
    loop("n", 1)
    loop("q", 1)
    nodes += [Keep("ifmap_spad", (_INPUT,)), Keep("psum_spad", (_OUTPUT,))]
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
