"""What a loop tree's workload is made of."""

from __future__ import annotations

from dnnc.ir.affine import Affine
from dnnc.ir.loop_tree import Operand, OperandAxis, workload_of
from dnnc.ir.nest import Access, Body, BodyOp, Dim, Nest, Role
from dnnc.ir.types import ElementType as T
from support.machines import machine
from support.nests import conv_nest


def _axis(extent: int, constant: int = 0, **terms: int) -> OperandAxis:
    return OperandAxis(Affine.of(terms, constant), extent)


def test_a_grouped_convolution_has_an_axis_for_groups_and_one_for_channels() -> None:
    dims = tuple(Dim(name, extent) for name, extent in dict(g=2, m=4, p=5, c=3, r=3).items())
    of = Affine.of
    nest = Nest(
        "grouped",
        dims,
        (
            Access("x", "x", Role.INPUT, T.I8, (6, 5), (of({"g": 3, "c": 1}), of({"p": 1, "r": 1}, -1)), pad=0),
            Access("w", "w", Role.WEIGHT, T.I8, (2, 3, 3, 4), tuple(of({dim: 1}) for dim in "gcrm")),
        ),
        Access("y", "y", Role.OUTPUT, T.I8, (8, 5), (of({"g": 4, "m": 1}), of({"p": 1}))),
        Body(BodyOp.MAC, "x", "w"),
        T.I32,
    )
    workload = workload_of(nest, {Role.WEIGHT: 4})
    assert workload.dims == (("g", 2), ("m", 4), ("p", 5), ("c", 3), ("r", 3))
    assert workload.operands == (
        Operand(Role.INPUT, (_axis(2, g=1), _axis(3, c=1), _axis(5, -1, p=1, r=1)), 8),
        Operand(Role.WEIGHT, (_axis(2, g=1), _axis(3, c=1), _axis(3, r=1), _axis(4, m=1)), 4),
        Operand(Role.OUTPUT, (_axis(2, g=1), _axis(4, m=1), _axis(5, p=1)), 8),
    )


def test_windows_that_do_not_overlap_have_an_axis_for_places_and_one_for_taps() -> None:
    patches = workload_of(conv_nest(machine(), p=3, q=2, r=4, s=4, stride=4, pad=0))
    assert patches.operand(Role.INPUT).axes[1:3] == (_axis(3, p=1), _axis(4, r=1))
    overlapping = workload_of(conv_nest(machine(), p=3, q=2, r=4, s=4, stride=3, pad=0))
    assert overlapping.operand(Role.INPUT).axes[1] == _axis(10, p=3, r=1)
