"""One wrong module for each rule of the verifier, and the sound ones around it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.arch import Arch
from dnnc.ir.graph import Attribute, HostRegion, Node, Stage, ValueType
from dnnc.ir.isl_questions import IslQuestions
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import (
    Access,
    Body,
    BodyOp,
    Buffer,
    Dataflow,
    Dim,
    Loop,
    Nest,
    Post,
    PostOp,
    Role,
    Schedule,
)
from dnnc.ir.nest_rules import sum_bound
from dnnc.ir.types import BlobRef, Blobs, ElementType, HostType, Quantization, Tensor
from dnnc.ir.verifier import verify
from support.graphs import Graph
from support.machines import float_machine, machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.values import module_of

T = ElementType
A = Affine.of
MACHINE = machine()


def assert_fault(module: Module, message: str, arch: Arch | None = MACHINE, help: str = "") -> None:
    faults = verify(module, arch)
    assert any(message in fault.message and help in fault.help for fault in faults), "\n".join(map(str, faults))


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


def test_islpy_is_not_imported_for_ordinary_nests() -> None:
    loaded = "islpy" in sys.modules
    verify(module_of(conv_nest(MACHINE)), MACHINE)
    assert loaded or "islpy" not in sys.modules


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
        (with_tensor("x", quantization=Quantization((1.0,), (0,))), "type f32 has a quantisation"),
        (with_tensor("x", type=T.I8, quantization=Quantization((1.0,), (0,), 4)), "quantised along axis 4"),
        (with_tensor("x", type=T.I8, quantization=Quantization((1.0,) * 2, (0,) * 3, 1)), "2 scales and 3 zero points"),
        (with_tensor("x", type=T.I8, quantization=Quantization((0.1,), (0,))), "a scale is 0.1"),
        (with_tensor("x", type=T.I8, quantization=Quantization((-1.0,), (0,))), "a scale is -1.0"),
        (with_tensor("x", type=T.I8, quantization=Quantization((1.0,), (200,))), "a zero point is 200"),
        (with_tensor("w", constant=BlobRef("0" * 64)), "the value of constant %w is missing"),
        (with_tensor("w", shape=(4, 3, 3, 2)), "the value of constant %w has 432 B"),
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
        ("im2col", [(1, 4, 5, 5)], (1, 2, 9, 18), WINDOW | {"kernel": (3, 3), "group": 2}),
    ],
)
def test_shapes_of_operators(
    op: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], attributes: dict[str, Attribute]
) -> None:
    assert verify(one_node(op, shapes, result, **attributes)) == []
    wrong = (*result, 7)
    message = "do not make the shape" if op == "reshape" else f"the result has shape {list(wrong)}"
    assert_fault(one_node(op, shapes, wrong, **attributes), message)


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


# ---------------------------------------------------------------------------------------------- nests

NEST = conv_nest(MACHINE, tiles=(("m", 4), ("p", 3)))
assert NEST.schedule is not None
SCHEDULE = NEST.schedule
Change = Callable[[Nest], Nest]


def read(name: str, **changes: Any) -> Change:
    return lambda nest: replace(
        nest, reads=tuple(replace(each, **changes) if each.operand == name else each for each in nest.reads)
    )


def write(**changes: Any) -> Change:
    return lambda nest: replace(nest, write=replace(nest.write, **changes))


def nest_with(**changes: Any) -> Change:
    return lambda nest: replace(nest, **changes)


def body(**changes: Any) -> Change:
    return lambda nest: replace(nest, body=replace(nest.body, **changes))


def post(*steps: Post) -> Change:
    return lambda nest: replace(nest, post=(*nest.post, *steps))


def only(*steps: Post) -> Change:
    return lambda nest: replace(
        nest,
        post=steps,
        reads=tuple(each for each in nest.reads if each.operand in ("x", "w", *(s.operand for s in steps))),
    )


FLOAT_CLAMP = (("minimum", 0.0), ("maximum", 1.0))
I8 = ("type", "i8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nest_with(domain=(*NEST.domain, Dim("c", 2))), "dimension 'c' is declared 2 times"),
        (nest_with(domain=(*NEST.domain, Dim("z", -1))), "dimension 'z' has extent -1"),
        (nest_with(domain=(*NEST.domain, Dim("value", 2))), "a dimension is named 'value'"),
        (nest_with(reads=(*NEST.reads, NEST.reads[0])), "2 operands are named %x"),
        (body(a="q"), "there is no operand %q"),
        (nest_with(reads=(*NEST.reads, replace(NEST.reads[0], operand="q"))), "operand %q is read and not used"),
        (read("x", index=NEST.reads[0].index[1:]), "%x has 3 indices for 4 axes"),
        (read("bias", index=(A({"z": 1}),)), "%bias is indexed by 'z', which is no dimension"),
        (read("bias", index=(A({"value": 1}),)), "%bias is indexed by 'value', which is no dimension"),
        (read("bias", index=(A({"m": -1}, 7),)), "%bias is indexed by -m + 7"),
        (read("bias", shape=(-8,)), "%bias has shape [-8]"),
        (read("x", role=Role.OUTPUT), "%x has role output"),
        (write(role=Role.INPUT), "the output has role input"),
        (nest_with(domain=(*NEST.domain, *(Dim(f"d{k}", 1) for k in range(4)))), "11 dimensions"),
        (nest_with(post=NEST.post + NEST.post[2:] * 10), "13 post steps"),
        (nest_with(post=NEST.post[:2] * 3), "6 post steps with an operand"),
        (read("bias", shape=(8,) + (1,) * 5, index=(A({"m": 1}),) + (A(),) * 5), "6 axes of %bias"),
        (read("bias", tensor="q"), "names %q, which is no tensor"),
        (read("bias", shape=(9,)), "the view [9] of %bias has 9 elements"),
        (read("bias", type=T.I16), "%bias reads i16, %bias holds i32"),
        (read("x", pad=200), "the pad of %x is 200"),
        (read("x", zero_point=-129), "the zero point of %x is -129"),
        (read("scale", zero_point=1), "the zero point of %scale is 1"),
        (read("x", pad=None), "axis 1 of %x is indexed from -1 to 6"),
        (write(pad=0), "the output has a pad value"),
        (write(index=(A(), A({"p": 1}, 1), A({"q": 1}), A({"m": 1}))), "axis 1 of %y is indexed from 1 to 6"),
        (body(b=None), "body mac takes two operands"),
        (body(form=""), "body mac has form ''"),
        (body(multiplier="mul8s"), "there is no multiplier 'mul8s'"),
        (body(attributes=(("ra", 1.0),)), "body mac has scalars ['ra']"),
        (body(op=BodyOp.MUL, form=""), "body mul overwrites, but the output does not depend on 'r'"),
        (nest_with(accumulator=T.F32), "post step 0 (bias): operand %bias is of type i32"),
        (post(Post(PostOp.BIAS)), "(bias): it has no operand"),
        (post(Post(PostOp.CLAMP, "bias", NEST.post[2].attributes)), "(clamp): it has an operand"),
        (post(Post(PostOp.CLAMP, None, (("minimum", 0),))), "(clamp): it has attributes minimum"),
        (post(Post(PostOp.SATURATE, None, (("type", "i88"),))), "there is no type 'i88'"),
        (
            post(Post(PostOp.REQUANTIZE, None, (I8, ("zero_point", 0)))),
            "(requantize): it has attributes type, zero_point",
        ),
        (post(Post(PostOp.REQUANTIZE, "scale", (I8, ("zero_point", 0.0)))), "attribute 'zero_point' is 0.0"),
        (post(Post(PostOp.SCALE, None, (("multiplier", 0.1),))), "attribute 'multiplier' is 0.1"),
        (post(Post(PostOp.SCALE, "bias")), "operand %bias is of type i32"),
        (post(Post(PostOp.CLAMP, None, FLOAT_CLAMP)), "attribute 'minimum' is 0.0"),
        (post(Post(PostOp.LEAKY, None, (("alpha", 0.5),))), "(leaky): the running value is an integer"),
        (
            post(Post(PostOp.SCALE, "scale"), Post(PostOp.SATURATE, None, (I8,))),
            "(saturate): the running value is a float",
        ),
        (post(Post(PostOp.SCALE, "scale")), "the post chain makes a float, i8 is stored"),
        (only(Post(PostOp.SCALE, "scale"), Post(PostOp.BIAS, "bias")), "(bias): operand %bias is of type i32"),
        (
            nest_with(post=(*NEST.post, Post(PostOp.TABLE, "bias", (("minimum", 0), ("type", "i32"))))),
            "is not indexed by",
        ),
        (read("bias", shape=(3,), index=(A({"r": 1}),)), "%bias depends on r, the output does not"),
        (write(index=(A(), A({"p": 1, "q": 1}), A(), A({"m": 1}))), "several points write"),
    ],
)
def test_faults_of_nests(change: Change, message: str) -> None:
    changed = change(NEST)
    module = module_of(changed) if message.startswith("%bias depends") else module_of(NEST)
    assert_fault(replace(module, operations=(changed,)), message)


def small(index: tuple[Affine, ...], shape: tuple[int, ...], dims: tuple[Dim, ...], name: str = "copy") -> Nest:
    """A copy of `x` to `y` with this output index."""
    x = Access("x", "x", Role.INPUT, T.I8, tuple(d.extent for d in dims), tuple(A({d.name: 1}) for d in dims))
    return Nest(name, dims, (x,), Access("y", "y", Role.OUTPUT, T.I8, shape, index), Body(BodyOp.COPY, "x"), T.I32)


def test_writes_are_injective_by_isl_where_radices_do_not_decide() -> None:
    dims = (Dim("a", 2), Dim("b", 3))
    is_injective = IslQuestions().is_injective
    assert is_injective((A({"a": 3, "b": 2}),), (("a", 2), ("b", 3)))  # 0 2 4 3 5 7
    assert not is_injective((A({"a": 2, "b": 1}),), (("a", 2), ("b", 3)))  # 2 twice
    assert_fault(module_of(small((A({"a": 2, "b": 1}),), (6,), dims)), "several points write one element")
    assert verify(module_of(small((A({"a": 3, "b": 1}),), (6,), dims))) == []
    assert is_injective((A({"a": 1, "b": 1}), A({"b": 1})), (("a", 2), ("b", 3)))


def test_outputs_have_no_gaps() -> None:
    nest = small((A({"a": 4, "b": 1}),), (8,), (Dim("a", 2), Dim("b", 3)))
    assert_fault(module_of(nest), "leave gaps: 6 points, 7 positions")


def test_a_nest_without_points_writes_nothing() -> None:
    dims = (Dim("a", 3), Dim("k", 0))
    x = Access("x", "x", Role.INPUT, T.I8, (3, 0), (A({"a": 1}), A({"k": 1})))
    y = Access("y", "y", Role.OUTPUT, T.I8, (3,), (A({"a": 1}),))
    assert_fault(module_of(Nest("sum", dims, (x,), y, Body(BodyOp.SUM, "x"), T.I32)), "k has no points")
    assert verify(module_of(small((A({"a": 1}),), (0,), (Dim("a", 0),)))) == []


def phases(*nests: Nest) -> Module:
    module = module_of(*nests)
    tensors = {each.name: each for each in module.tensors}
    return replace(module, tensors=tuple(tensors.values()))


def test_several_nests_write_one_value_in_disjoint_parts() -> None:
    dims = (Dim("a", 4), Dim("b", 3))
    even = small((A({"a": 2}), A({"b": 1})), (8, 3), dims, "even")
    odd = small((A({"a": 2}, 1), A({"b": 1})), (8, 3), dims, "odd")
    assert verify(phases(even, odd)) == []
    assert_fault(phases(even), "12 elements of %y are written by 1 nests")
    assert_fault(phases(even, replace(even, name="again")), "'even' writes some of the same elements")
    left = small((A({"a": 1}), A({"b": 1})), (8, 3), dims, "left")
    right = small((A({"a": 1}, 4), A({"b": 1})), (8, 3), dims, "right")
    assert verify(phases(left, right)) == []
    flat = small((A({"a": 3, "b": 1}, 12),), (24,), dims, "flat")  # the same bytes as `right`, seen flat
    assert verify(phases(left, flat)) == []
    assert_fault(phases(right, flat), "'right' writes some of the same elements")


def test_sums_fit_the_accumulator() -> None:
    big = matmul_nest(machine(spad_bytes=1 << 22), k=140_000)
    assert sum_bound(module_of(big), big) == 140_000 * 128 * 128
    assert_fault(module_of(big), "a sum may reach 2293760000, i32 holds 2147483647", None)
    on_floats = matmul_nest(float_machine(), k=1025, accumulator=T.F32)
    assert_fault(module_of(on_floats), "a sum may reach 16793600, f32 holds 16777216", None)
    assert not any("a sum" in fault.message for fault in verify(module_of(matmul_nest(MACHINE, k=131_071))))


def test_sums_of_constants_are_bounded_by_their_values() -> None:
    nest = matmul_nest(MACHINE, k=140_000)
    module = module_of(nest)
    blobs = Blobs()
    weights = blobs.add_array(np.ones((1, 140_000, 6), np.int8))
    tensors = tuple(replace(each, constant=weights) if each.name == "b" else each for each in module.tensors)
    constant = replace(module, tensors=tensors, inputs=("a",), blobs=blobs)
    assert sum_bound(constant, nest) == 140_000 * 128
    assert not any("a sum" in fault.message for fault in verify(constant))


# ---------------------------------------------------------------------------------------------- schedules


def loops(*changed: Loop) -> Schedule:
    return replace(SCHEDULE, loops=changed)


def buffers(**changes: dict[str, Any]) -> Schedule:
    return replace(SCHEDULE, buffers=tuple(replace(each, **changes.get(each.operand, {})) for each in SCHEDULE.buffers))


DRAM, INNER = SCHEDULE.loops[:2], SCHEDULE.loops[2:]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (loops(Loop("dram", ("z",), 1), *INNER), "there is no dimension 'z'"),
        (loops(Loop("dram", (), 1), *INNER), "runs over no dimension"),
        (loops(Loop("spad", ("p", "p"), 1), *INNER), "names a dimension twice"),
        (loops(Loop("dram", ("p",), 0), *INNER), "has tiles of 0 points"),
        (loops(Loop("dram", ("p",), 7), *INNER), "has tiles of 7 points"),
        (loops(*INNER, *DRAM), "is inside of a loop of a command"),
        (loops(Loop("dram", ("p", "q"), 1), *INNER), "is spatial or over a product"),
        (loops(*DRAM, DRAM[0], *INNER), "is the second one over m"),
        (replace(SCHEDULE, im2col="implict"), "there is no im2col 'implict'"),
        (replace(SCHEDULE, buffers=SCHEDULE.buffers[1:]), "%x has 0 buffers"),
        (replace(SCHEDULE, buffers=(*SCHEDULE.buffers, Buffer("q", "spad"))), "a buffer is for %q"),
        (buffers(x={"copies": 3}), "the buffer of %x has 3 copies"),
        (buffers(x={"order": (0, 1, 2)}), "the order [0, 1, 2] of %x"),
        (loops(*DRAM, *INNER[:-1]), "the loops leave tiles of 3 points of p"),
        (loops(Loop("dram", ("c",), 4), *DRAM, *INNER), "the loop over m at dram is inside of the loop over c"),
        (loops(*DRAM, *INNER, Loop("array", ("r",), 2, "rows")), "two loops are spread over rows"),
        (loops(*DRAM, *INNER, Loop("array", ("r",), 2, "lanes")), "a loop is spread over 'lanes'"),
        (replace(SCHEDULE, dataflow=Dataflow.OS), "c is a reduce dimension and lies along rows"),
        (loops(*DRAM, *INNER[:4], Loop("array", ("r", "c"), 4, "rows"), *INNER[5:]), "a product of dimensions"),
        (loops(*DRAM, *INNER[:4], Loop("array", ("c",), 5, "rows"), *INNER[5:]), "c is spread over 5 rows"),
        (loops(*DRAM, Loop("spd", ("r",), 1), *INNER), "has no level 'spd'"),
        (buffers(x={"memory": "spd"}), "has no local memory 'spd'"),
        (buffers(x={"memory": "acc"}), "%x has role input, 'acc' holds no such operands"),
        (buffers(x={"address": 0}), "the buffer of %w has no address"),
        (buffers(x={"address": -4}), "the buffer of %x lies at -4"),
        (buffers(x={"address": 2}), "the buffer of %x begins at 2"),
        (buffers(y={"address": 0}), "the buffer of %y lies at 0"),
        (buffers(x={"address": 0}, w={"address": 8}), "the buffers of %x and %w overlap at 8"),
    ],
)
def test_faults_of_schedules(schedule: Schedule, message: str) -> None:
    assert verify(module_of(NEST), MACHINE) == []
    assert_fault(module_of(replace(NEST, schedule=schedule)), message)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (machine(spad_bytes=512), "buffers need"),
        (replace(MACHINE, array=replace(MACHINE.array, dataflows=("os",))), "does not run dataflow ws"),
        (replace(MACHINE, array=replace(MACHINE.array, mac_forms=("raw",))), "has no form 'subtract'"),
        (replace(MACHINE, array=replace(MACHINE.array, weights=(T.U8,))), "takes no weights of type i8 (%w)"),
        (replace(MACHINE, array=replace(MACHINE.array, accumulator=T.I64)), "sums are held in i32"),
        (replace(MACHINE, post=replace(MACHINE.post, ops=("bias", "clamp"))), "has no post step 'requantize'"),
    ],
)
def test_faults_of_machines_with_the_array(arch: Arch, message: str) -> None:
    assert_fault(module_of(NEST), message, arch)


def test_dataflows_that_turn_operands_need_a_transposer() -> None:
    arch = replace(MACHINE, array=replace(MACHINE.array, transposer=False))
    assert verify(module_of(NEST), arch) == []
    assert_fault(module_of(conv_nest(MACHINE, dataflow="os")), "has no transposer", arch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (None, "has no vector unit"),
        ({"ops": ("copy",)}, "does not run max"),
        ({"inputs": (T.U8,)}, "does not read i8 (%x)"),
        ({"lanes": 2}, "c is spread over 4 lanes"),
    ],
)
def test_faults_of_machines_with_the_vector_unit(changes: dict[str, Any] | None, message: str) -> None:
    assert MACHINE.vector is not None
    arch = replace(MACHINE, vector=None if changes is None else replace(MACHINE.vector, **changes))
    assert_fault(module_of(max_pool_nest(MACHINE)), message, arch)


def test_the_array_runs_products_only() -> None:
    nest = max_pool_nest(MACHINE)
    assert nest.schedule is not None
    schedule = replace(nest.schedule, dataflow=Dataflow.WS, loops=(Loop("array", ("p", "q", "c", "r", "s"), 1),))
    assert_fault(module_of(replace(nest, schedule=schedule)), "the array runs body max")


def test_tiles_of_outputs_have_no_gaps() -> None:
    """a and b together are dense, but a tile of two of a and one of b is not."""
    nest = small((A({"a": 3, "b": 1}),), (12,), (Dim("a", 4), Dim("b", 3)))
    inner = (Loop("vector", ("a",), 1), Loop("vector", ("b",), 4, "lanes"))
    held = (Buffer("x", "spad"), Buffer("y", "acc"))
    for tiles, sound in (((Loop("dram", ("a",), 2),), True), ((Loop("dram", ("b",), 1),), False)):
        scheduled = replace(nest, schedule=Schedule(Dataflow.VECTOR, "none", (*tiles, *inner), held))
        if sound:
            assert verify(module_of(scheduled), MACHINE) == []
        else:
            assert_fault(module_of(scheduled), "a tile has 4 points along output axis 0, its box has 10 positions")


def test_post_operands_follow_the_output() -> None:
    nest = small((A({"a": 3, "b": 1}),), (12,), (Dim("a", 4), Dim("b", 3)))
    bias = Access("s", "s", Role.BIAS, T.I32, (3,), (A({"b": 1}),))
    with_bias = replace(nest, reads=(*nest.reads, bias), post=(Post(PostOp.BIAS, "s"),))
    assert_fault(module_of(with_bias), "%s does not move with the output along a, b")


def test_commands_fit_the_fields_of_instructions() -> None:
    nest = small((A({"a": 1}),), (70_000,), (Dim("a", 70_000),))
    schedule = Schedule(
        Dataflow.VECTOR, "none", (Loop("vector", ("a",), 4, "lanes"),), (Buffer("x", "spad"), Buffer("y", "acc"))
    )
    assert_fault(module_of(replace(nest, schedule=schedule)), "a tile has 70000 points of a")
    assert_fault(module_of(replace(nest, schedule=schedule)), "has 70000 positions along axis 0")


def test_nests_need_addresses_once_there_are_some() -> None:
    assert_fault(replace(module_of(NEST), addresses=(("x", 0),)), "%w has no address, others have")


def test_all_faults_are_reported_at_once() -> None:
    nest = replace(read("x", pad=200)(NEST), accumulator=T.I16)
    faults = verify(replace(module_of(NEST), operations=(nest, replace(nest, name="other"))), MACHINE)
    assert len([fault for fault in faults if "the pad of %x is 200" in fault.message]) == 2
    assert any("a sum may reach" in fault.message for fault in faults)


def test_whole_numbers_of_a_post_chain_fit_their_fields() -> None:
    nest = conv_nest(MACHINE)
    bias, requantize, clamp = nest.post
    wide = (("type", "i8"), ("zero_point", 1 << 40))
    post = (
        bias,
        replace(requantize, attributes=wide),
        replace(clamp, attributes=(("minimum", -(1 << 40)), ("maximum", 1))),
    )
    for value in (1 << 40, -(1 << 40)):
        assert_fault(module_of(replace(nest, post=post)), str(value))
