"""One wrong module, and one wrong operator, for each rule of the verifier, and the sound ones around them."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.graph import Attribute, HostRegion, Node, Stage, ValueType
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Dim
from dnnc.ir.types import BlobRef, HostType, Quantization, Tensor
from dnnc.ir.verifier import verify
from support.faults import (
    MACHINE,
    NEST,
    T,
    assert_fault,
    read,
    small,
)
from support.graphs import Graph
from support.machines import float_machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.values import module_of

# ---------------------------------------------------------------------------------------------- sound modules


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_sound_nests_have_no_faults(dataflow: str, stride: int) -> None:
    for nest in (
        conv_nest(MACHINE, dataflow=dataflow, stride=stride, tiles=(("m", 4), ("p", 4), ("c", 4))),
        matmul_nest(MACHINE, dataflow=dataflow, g=3, tiles=(("g", 1), ("p", 2), ("k", 4))),
        max_pool_nest(MACHINE, tiles=(("p", 2),)),
    ):
        assert verify(module_of(nest), MACHINE) == []
        assert verify(module_of(nest)) == []


def test_float_nests_are_sound_on_float_machines() -> None:
    nest = matmul_nest(float_machine(), element=T.F32, accumulator=T.F32)
    assert verify(module_of(nest), float_machine()) == []
    assert_fault(module_of(nest), "takes no inputs of type f32")


def test_islpy_is_not_imported_for_ordinary_nests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "islpy", None)  # importing it is an error from here
    assert verify(module_of(conv_nest(MACHINE)), MACHINE) == []
    mixed = small((Affine.of({"a": 2, "b": 1}),), (6,), (Dim("a", 2), Dim("b", 3)))
    with pytest.raises(ImportError, match="islpy"):
        verify(module_of(mixed))


# ---------------------------------------------------------------------------------------------- modules


def graph() -> Graph:
    g = Graph()
    g.input("x", (1, 3, 6, 6))
    g.constant("w", np.ones((4, 3, 3, 3), np.float32))
    g.tensor("y", (1, 4, 4, 4))
    g.conv(["x", "w"], "y")
    g.tensor("z", (1, 4, 4, 4))
    g.node("relu", ["y"], "z")
    return g


SOUND = graph().module(["z"])


def test_the_graph_that_is_broken_below_is_sound() -> None:
    assert verify(SOUND, MACHINE) == []


def with_tensor(name: str, **changes: Any) -> Module:
    tensors = tuple(replace(each, **changes) if each.name == name else each for each in SOUND.tensors)
    return replace(SOUND, tensors=tensors)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (replace(SOUND, tensors=(*SOUND.tensors, SOUND.tensors[0])), "tensor 'x' is given twice"),
        (replace(SOUND, operations=SOUND.operations * 2), "operation 'y_conv' is given twice"),
        (replace(SOUND, inputs=("x", "x")), "input 'x' is given twice"),
        (replace(SOUND, inputs=("q",)), "an input of the module names %q"),
        (replace(SOUND, outputs=("q",)), "an output of the module names %q"),
        (replace(SOUND, addresses=(("q", 0),)), "an address of the module names %q"),
        (replace(SOUND, tensors=SOUND.tensors[1:]), "names %x, which is no tensor"),
        (with_tensor("x", shape=(1, -3, 6, 6)), "shape [1, -3, 6, 6]"),
        (with_tensor("x", order=(0, 1, 2, 2)), "order [0, 1, 2, 2]"),
        (with_tensor("x", minimum=1.0, maximum=0.0), "its range is 1.0 to 0.0"),
        (with_tensor("x", minimum=float("-inf"), maximum=0.0), "its minimum is -inf"),
        (with_tensor("x", minimum=0.0, maximum=float("nan")), "its maximum is nan"),
        (with_tensor("x", quantization=Quantization((1.0,), (0,))), "type f32 has a quantisation"),
        (with_tensor("x", type=T.I8, quantization=Quantization((1.0,), (0,), 4)), "quantised along axis 4"),
        (with_tensor("x", type=T.I8, quantization=Quantization((1.0,) * 2, (0,) * 3, 1)), "2 scales and 3 zero points"),
        (with_tensor("x", type=T.I8, quantization=Quantization((0.1,), (0,))), "a scale is 0.1"),
        (with_tensor("x", type=T.I8, quantization=Quantization((-1.0,), (0,))), "a scale is -1.0"),
        (with_tensor("x", type=T.I8, quantization=Quantization((1.0,), (200,))), "a zero point is 200"),
        (with_tensor("w", constant=BlobRef("0" * 64)), "the value of constant %w is missing"),
        (with_tensor("w", shape=(4, 3, 3, 2)), "the value of constant %w has 432 B"),
        (with_tensor("w", type=T.I4, shape=(4, 3, 3, 12)), "constant %w has values from"),
        (replace(SOUND, operations=SOUND.operations[::-1]), "reads %y before 'y_conv' writes it"),
        (replace(SOUND, operations=SOUND.operations[1:]), "reads %y, which nothing writes"),
        (replace(SOUND, operations=SOUND.operations[:1]), "nothing writes %z, an output"),
        (replace(SOUND, inputs=("x", "y")), "writes %y, which is an input"),
        (replace(SOUND, header=replace(SOUND.header, batch=0)), "a batch of 0"),
        (replace(SOUND, addresses=(("x", 1 << 32),)), "%x lies at 4294967296"),
        (replace(SOUND, operations=(*SOUND.operations, HostRegion("h", (), (), BlobRef("1" * 64)))), "model of 'h'"),
    ],
)
def test_faults_of_modules(module: Module, message: str) -> None:
    assert_fault(module, message)


def test_two_operators_may_not_write_one_value() -> None:
    first = SOUND.operations[0]
    assert isinstance(first, Node)
    assert_fault(replace(SOUND, operations=(first, replace(first, name="again"), SOUND.operations[1])), "has written")


def test_a_module_for_another_machine_is_refused() -> None:
    module = replace(SOUND, header=Header("m", "small", "1" * 64))
    assert verify(module, MACHINE) == []  # a machine without a digest does not tell
    assert_fault(module, "made for another small", replace(MACHINE, digest="2" * 64))


def test_host_values_have_no_addresses() -> None:
    module = with_tensor("x", type=HostType("tensor(int64)"))
    assert_fault(module, "%x is a value of the host")
    module = replace(
        SOUND, tensors=(*SOUND.tensors, Tensor("s", HostType("tensor(string)"), None)), addresses=(("s", 0),)
    )
    assert_fault(module, "%s is a value of the host and has an address")


# ---------------------------------------------------------------------------------------------- operators


def one_node(
    op: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], type: T = T.F32, **attributes: Attribute
) -> Module:
    """An operator on operands of these shapes, all of one type."""
    g = Graph()
    names = [g.input(f"x{number}", shape, type) for number, shape in enumerate(shapes)]
    g.tensor("y", result, type)
    g.node(op, names, "y", **attributes)
    return g.module(["y"])


WINDOW: dict[str, Attribute] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}


@pytest.mark.parametrize(
    ("op", "shapes", "result", "attributes"),
    [
        (
            "conv",
            [(2, 4, 9, 7), (6, 2, 3, 3), (6,)],
            (2, 6, 5, 3),
            WINDOW | {"strides": (2, 2), "pads": (1, 0, 1, 0), "group": 2},
        ),
        ("conv", [(1, 1, 2, 2), (1, 1, 5, 5)], (1, 1, 0, 0), WINDOW | {"group": 1}),
        ("conv", [(1, 2, 9), (3, 2, 3)], (1, 3, 5), {"strides": (1,), "dilations": (2,), "pads": (0, 0), "group": 1}),
        (
            "conv_transpose",
            [(1, 4, 3, 3), (4, 2, 3, 3)],
            (1, 4, 6, 5),
            WINDOW | {"strides": (2, 2), "pads": (1, 1, 0, 1), "group": 2},
        ),
        ("matmul", [(5, 1, 3, 4), (2, 4, 6), (6,)], (5, 2, 3, 6), {"transpose_a": False, "transpose_b": False}),
        ("matmul", [(4, 3), (6, 4)], (3, 6), {"transpose_a": True, "transpose_b": True}),
        ("matmul", [(4,), (2, 4, 6)], (2, 6), {"transpose_a": False, "transpose_b": False}),
        ("matmul", [(4,), (4,)], (), {"transpose_a": False, "transpose_b": False}),
        (
            "pool",
            [(1, 3, 7, 7)],
            (1, 3, 4, 4),
            WINDOW
            | {"kind": "max", "kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 1, 1), "count_include_pad": False},
        ),
        ("add", [(3, 1, 5), (4, 1)], (3, 4, 5), {}),
        ("mul", [(), (0, 2)], (0, 2), {}),
        ("sub", [(2,), (2,)], (2,), {}),
        ("clip", [(2,)], (2,), {"minimum": 0.0, "maximum": 6.0}),
        ("reshape", [(2, 3)], (3, 2, 1), {}),
        ("transpose", [(2, 3, 4)], (4, 2, 3), {"permutation": (2, 0, 1)}),
        ("im2col", [(1, 4, 5, 5)], (1, 36, 3, 3), WINDOW | {"kernel": (3, 3)}),
    ],
)
def test_shapes_of_operators(
    op: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], attributes: dict[str, Attribute]
) -> None:
    assert verify(one_node(op, shapes, result, **attributes)) == []
    wrong = (*result, 7)
    message = "do not make the shape" if op == "reshape" else f"the result has shape {list(wrong)}"
    assert_fault(one_node(op, shapes, wrong, **attributes), message)


PRUNE: dict[str, Attribute] = {"criterion": "sum", "threshold": 512, "rows": 4, "cols": 4}


def prune(
    attributes: dict[str, Attribute], shape: tuple[int, ...] = (2, 6, 9), type: T = T.I8, order: str = "xy"
) -> Module:
    """A prune of a stored tensor; `order` names the tensors that have a storage order."""
    g = Graph()
    g.input("x", shape, type, None if type.is_float else Quantization((0.5,), (3,)))
    g.tensor("y", shape, type, g.tensors["x"].quantization)
    for name in ("x", "y"):
        g.tensors[name] = replace(g.tensors[name], order=tuple(range(len(shape))) if name in order else None)
    g.node("prune", ["x"], "y", **(PRUNE | attributes))
    return g.module(["y"])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (prune({"criterion": "sums"}), "there is no criterion 'sums'"),
        (prune({"threshold": -1}), "the threshold is -1"),
        (prune({"threshold": 1 << 40}), "the threshold is 1099511627776"),
        (prune({"rows": 0}), "blocks have 0 x 4 elements"),
        (prune({"rows": 1 << 10, "cols": 1 << 10}), "blocks have 1024 x 1024 elements"),
        (prune({}, (7,)), "at least two axes"),
        (prune({}, type=T.F32), "blocks of f32"),
        (prune({}, type=T.I32), "blocks of i32"),
        (prune({}, type=T.F32), "has no scale, or several"),
        (prune({}, order=""), "the storage orders do not agree"),
        (prune({}, order="x"), "the storage orders do not agree"),
    ],
)
def test_prunes_that_are_none(module: Module, message: str) -> None:
    assert verify(prune({})) == []
    found = verify(module)
    assert any(message in f"{each.message} {each.help}" for each in found), found


MATMUL: dict[str, Attribute] = {"transpose_a": False, "transpose_b": False}


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (one_node("cnov", [(1,)], (1,)), "there is no such operator"),
        (one_node("add", [(1,)], (1,)), "1 operands"),
        (one_node("relu", [(1,), (1,)], (1,)), "2 operands"),
        (one_node("clip", [(1,)], (1,), minimum=0.0), "attribute 'maximum' is missing"),
        (one_node("clip", [(1,)], (1,), minimum=0.0, maximum=6), "attribute 'maximum' is 6"),
        (one_node("relu", [(1,)], (1,), alpha=1.0), "it has no attribute 'alpha'"),
        (
            one_node("conv", [(1, 3, 4, 4), (2, 2, 1, 1)], (1, 2, 4, 4), **WINDOW, group=1),
            "3 channels are not 1 groups of 2",
        ),
        (one_node("conv", [(1, 4, 4, 4), (3, 2, 1, 1)], (1, 3, 4, 4), **WINDOW, group=2), "3 output channels"),
        (
            one_node("conv", [(1, 1, 4, 4), (3, 1, 1, 1), (4,)], (1, 3, 4, 4), **WINDOW, group=1),
            "the bias has shape [4]",
        ),
        (one_node("conv", [(1, 1, 4), (3, 1, 1, 1)], (1, 3, 4), **WINDOW, group=1), "ranks 3 and 4"),
        (one_node("conv", [(1, 1, 4), (3, 1, 1)], (1, 3, 4), **WINDOW, group=1), "attribute 'strides' has 2 entries"),
        (
            one_node("conv", [(1, 1, 4, 4), (3, 1, 1, 1)], (1, 3, 4, 4), **(WINDOW | {"strides": (0, 1)}), group=1),
            "strides and dilations are at least 1",
        ),
        (one_node("conv_transpose", [(1, 3, 4, 4), (2, 2, 1, 1)], (1, 2, 4, 4), **WINDOW, group=1), "2 input channels"),
        (one_node("matmul", [(2, 3), (4, 5)], (2, 5), **MATMUL), "inner extents 3 and 4 differ"),
        (one_node("matmul", [(2, 3), (3, 5), (4,)], (2, 5), **MATMUL), "do not broadcast"),
        (one_node("matmul", [(2, 3), (3, 5), (7, 1, 5)], (2, 5), **MATMUL), "the bias does not broadcast"),
        (one_node("add", [(2, 3), (4, 3)], (2, 3)), "do not broadcast"),
        (one_node("transpose", [(2, 3)], (3, 2), permutation=(1, 1)), "no permutation"),
        (
            one_node(
                "pool", [(1, 1, 4, 4)], (1, 1, 4, 4), **WINDOW, kind="mean", kernel=(1, 1), count_include_pad=True
            ),
            "kind 'mean'",
        ),
        (one_node("sub", [(2,), (2,)], (2,), T.I8), "a result of type i8"),
        (one_node("quantize", [(2,)], (2,), T.I8), "from i8 to i8"),
        (one_node("dequantize", [(2,)], (2,), T.I8), "to i8"),
        (one_node("table", [(2,), (16,)], (2,), T.I8), "the table has shape [16]"),
        (one_node("table", [(2,), (16,)], (2,), T.I32), "a table is looked up by i32"),
    ],
)
def test_faults_of_operators(module: Module, message: str) -> None:
    assert_fault(module, message)


def test_types_of_operands_agree() -> None:
    g = Graph()
    g.input("a", (2, 2))
    g.input("b", (2, 2), T.I8)
    g.tensor("y", (2, 2), T.I8)
    g.node("add", ["a", "b"], "y")
    assert_fault(g.module(["y"]), "operands of types f32 and i8")
    g = Graph()
    g.input("a", (2, 2))
    g.tensor("y", (2, 2), T.I8)
    g.node("add", ["a", "a"], "y")
    assert_fault(g.module(["y"]), "floats make a result of type i8")
    g = Graph()
    g.input("a", (2, 2))
    g.tensor("y", (4,), T.I8)
    g.node("reshape", ["a"], "y")
    assert_fault(g.module(["y"]), "another type or quantisation")


F32 = ValueType(T.F32)


@pytest.mark.parametrize(
    ("post", "value", "message"),
    [
        ((), F32, "a value without a post chain"),
        ((Stage("relu", F32),), None, "a post chain without a value"),
        ((Stage("rleu", F32),), F32, "there is no stage 'rleu'"),
        ((Stage("relu", F32, "r"),), F32, "stage relu takes no operand"),
        ((Stage("add", F32),), F32, "stage add needs an operand"),
        ((Stage("add", F32, "q"),), F32, "names %q, which is no tensor"),
        ((Stage("add", F32, "wide"),), F32, "operand %wide does not broadcast"),
        ((Stage("clip", F32, None, (("minimum", 0.0),)),), F32, "attribute 'maximum' is missing"),
        ((Stage("relu", ValueType(T.BF16)),), F32, "the last stage makes another type"),
        ((Stage("dequantize", ValueType(T.I8)),), F32, "stage dequantize makes i8"),
        ((Stage("table", F32, "wide"),), F32, "a table is looked up by f32"),
    ],
)
def test_faults_of_post_chains_of_operators(post: tuple[Stage, ...], value: ValueType | None, message: str) -> None:
    g = Graph()
    g.input("x", (2, 2))
    g.input("r", (2,))
    g.input("wide", (3, 2, 2))
    g.tensor("y", (2, 2))
    g.node("add", ["x", "x"], "y", post, value)
    assert_fault(g.module(["y"]), message)


def test_a_sound_post_chain() -> None:
    g = Graph()
    g.input("x", (2, 2))
    g.input("r", (2,))
    g.tensor("y", (2, 2))
    g.node("add", ["x", "x"], "y", (Stage("add", F32, "r"), Stage("relu", F32)), F32)
    assert verify(g.module(["y"]), MACHINE) == []


def test_all_faults_are_reported_at_once() -> None:
    nest = replace(read("x", pad=200)(NEST), accumulator=T.I16)
    faults = verify(replace(module_of(NEST), operations=(nest, replace(nest, name="other"))), MACHINE)
    assert len([fault for fault in faults if "the pad of %x is 200" in fault.message]) == 2
    assert any("a sum may reach" in fault.message for fault in faults)
