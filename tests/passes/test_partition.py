"""What the machine runs and what it refuses: a refusal for each rule, and needs that are those of lowering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.arch import Arch
from dnnc.ir.graph import Node, Stage, ValueType
from dnnc.ir.module import Module
from dnnc.ir.nest import BodyOp
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import HostType, Quantization, Tensor
from dnnc.passes import partition
from dnnc.passes.lower import lower
from dnnc.passes.partition import acceptance, refusals
from dnnc.passes.partition_needs import bodies_needed, post_steps_needed
from dnnc.passes.partition_question import question_of
from dnnc.passes.partition_units import spelled
from support.convolutions import conv_graph
from support.elementwise import CODE, OTHER, REAL, chain_graph, pool_graph
from support.graphs import Graph
from support.lowering import CODES, FLOATS, RAW, nests_of, q


def conv(**options: Any) -> Graph:
    graph = conv_graph(**options)
    assert graph is not None
    return graph


def pool(*arguments: Any, **options: Any) -> Graph:
    graph = pool_graph(*arguments, **options)
    assert graph is not None
    return graph


def unary(op: str, x: ValueType, y: ValueType, shape: tuple[int, ...] = (3, 7), **attributes: Any) -> Graph:
    graph = Graph()
    graph.input("x", shape, x.type, x.quantization)
    names = ["x"]
    if op == "table":
        entries = attributes.pop("entries", 256)
        assert isinstance(entries, int)
        names.append(graph.constant("entries", np.arange(entries), T.U8))
    graph.tensor("y", shape, y.type, y.quantization)
    graph.node(op, names, "y", **attributes)
    return graph


def windows() -> Graph:
    """Windows of a batch, whose taps are no neighbours in memory."""
    graph = unary("im2col", CODE, CODE, (2, 2, 5, 5), kernel=(2, 2), strides=(1, 1), dilations=(2, 2), pads=(0,) * 4)
    graph.tensor("y", (2, 8, 3, 3), CODE.type, CODE.quantization)
    return graph


def binary(op: str, a: ValueType, b: ValueType, y: ValueType, *, constant: bool = False, rank: int = 2) -> Graph:
    graph = Graph()
    shape = (2,) * rank
    graph.input("a", shape, a.type, a.quantization)
    if constant:
        graph.constant("b", np.ones(shape), b.type, b.quantization)
    else:
        graph.input("b", shape, b.type, b.quantization)
    graph.tensor("y", shape, y.type, y.quantization)
    graph.node(op, ["a", "b"], "y")
    return graph


def matmul(k: int = 7, *, a: ValueType = CODE, b: ValueType = CODE, constant: bool = True, batch: int = 0) -> Graph:
    graph = Graph()
    lead = (2,) * batch
    graph.input("a", (*lead, 5, k), a.type, a.quantization)
    if constant:
        graph.constant("b", np.ones((*lead, k, 3)), b.type, b.quantization)
    else:
        graph.input("b", (*lead, k, 3), b.type, b.quantization)
    kind = CODE if a.type.is_integer else REAL
    graph.tensor("y", (*lead, 5, 3), kind.type, kind.quantization)
    graph.node("matmul", ["a", "b"], "y", transpose_a=False, transpose_b=False)
    return graph


def judged(graph: Graph, arch: Arch = CODES, precision: str = "keep", *, blobs: bool = True) -> str:
    module = graph.module(["y"])
    (node,) = [each for each in module.operations if isinstance(each, Node)]
    return acceptance(arch, precision)(node, module.tensor_by_name, module.blobs if blobs else None)


WIDE = ValueType(T.I32, q(0.5))
SLICED = Quantization((0.5,) * 3, (0,) * 3, 1)
NO_VECTOR = replace(CODES, vector=None)
SCALARS = ("bias", "saturate", "clamp")


def no_vector_op(name: str) -> Arch:
    assert CODES.vector is not None
    return replace(CODES, vector=replace(CODES.vector, ops=tuple(op for op in CODES.vector.ops if op != name)))


def with_tensor(graph: Graph, name: str, change: Callable[[Tensor], Tensor]) -> Graph:
    graph.tensors[name] = change(graph.tensors[name])
    return graph


# (what is refused, on what, under which precision, what the reason says)
REFUSALS: Mapping[str, tuple[Graph, Arch, str, str]] = {
    "host type": (
        with_tensor(unary("relu", REAL, REAL), "x", lambda t: replace(t, type=HostType("tensor(string)"))),
        CODES,
        "keep",
        "'x' has type tensor(string), which only the host knows",
    ),
    "dynamic": (
        with_tensor(unary("relu", REAL, REAL), "x", lambda t: replace(t, shape=None)),
        CODES,
        "keep",
        "the shape of 'x' is known only at run time",
    ),
    "empty": (unary("relu", REAL, REAL, (0, 3)), CODES, "keep", "has no elements"),
    "4-D image": (
        conv(image=(2,) * 4, kernel=(1,) * 4, strides=(1,) * 4, dilations=(1,) * 4, pads=(0,) * 8),
        CODES,
        "keep",
        "4 spatial axes",
    ),
    "rank": (binary("add", REAL, REAL, REAL, rank=6), CODES, "keep", "6 axes longer than 1"),
    "batch axes": (matmul(batch=4), CODES, "keep", "axes"),
    "array type": (conv(kind=T.F32), CODES, "keep", "f32 is not among small's array types i8, u8, i4, u4; with --pre"),
    "mixed product": (matmul(a=REAL), FLOATS, "keep", "multiplies f32 with i8"),
    "float product to codes": (
        with_tensor(matmul(a=REAL, b=REAL), "y", lambda t: replace(t, type=T.I8, quantization=q())),
        FLOATS,
        "keep",
        "a product of floats has a float result",
    ),
    "float bias": (
        with_tensor(conv(), "b", lambda t: replace(t, type=T.F32)),
        CODES,
        "keep",
        "its bias is f32; a product of integers takes i32",
    ),
    "integer bias": (
        with_tensor(conv(kind=T.F32), "b", lambda t: replace(t, type=T.I32)),
        FLOATS,
        "keep",
        "its bias is i32; a product of floats takes a float",
    ),
    "computed bias": (
        with_tensor(conv(kind=T.F32), "b", lambda t: replace(t, constant=None)),
        CODES,
        "auto",
        "its bias is computed",
    ),
    "no vector unit": (
        binary("add", CODE, OTHER, CODE),
        NO_VECTOR,
        "keep",
        "small has no vector unit, which add needs",
    ),
    "no such body": (binary("add", CODE, OTHER, CODE), no_vector_op("qadd"), "keep", "vector unit has no qadd"),
    "vector type": (
        unary("relu", ValueType(T.F16), ValueType(T.F16)),
        CODES,
        "keep",
        "f16 is not among the types of small's vector unit",
    ),
    "no such step": (
        conv(),
        replace(CODES, post=replace(CODES.post, ops=SCALARS)),
        "keep",
        "small's post unit has no requantize",
    ),
    "mixed addition": (binary("add", CODE, REAL, CODE), CODES, "keep", "mixes floats and integers"),
    "difference of codes": (binary("sub", CODE, CODE, CODE), CODES, "keep", "no subtraction"),
    "integers without scales": (
        binary("add", ValueType(T.I8), ValueType(T.I8), ValueType(T.I8)),
        CODES,
        "keep",
        "add of integers without scales",
    ),
    "wide codes": (binary("mul", WIDE, WIDE, CODE), CODES, "keep", "at most 16 bits"),
    "computed difference": (binary("sub", REAL, REAL, REAL), CODES, "auto", "unless a constant is subtracted"),
    "computed product": (binary("mul", REAL, REAL, REAL), CODES, "auto", "is not narrowed to i8"),
    "float sum of a quantised model": (conv(kind=T.F32), FLOATS, "exact", "added in another order"),
    "sliced data": (
        with_tensor(conv(), "x", lambda t: replace(t, quantization=SLICED)),
        CODES,
        "keep",
        "'x' has a scale for each slice",
    ),
    "sliced result": (
        with_tensor(conv(), "y", lambda t: replace(t, quantization=Quantization((0.5, 0.5), (0, 0), 1))),
        CODES,
        "keep",
        "its result has a scale for each slice",
    ),
    "weight scales along inputs": (
        with_tensor(conv(), "w", lambda t: replace(t, quantization=SLICED)),
        CODES,
        "keep",
        "run along axis 1; output channels are axis 0",
    ),
    "weights with a zero point": (conv(zw=3), RAW, "keep", "MACs multiply stored codes"),
    "computed weights": (
        matmul(constant=False, b=ValueType(T.I8, q())),
        RAW,
        "keep",
        "its weights are computed; raw",
    ),
    "zero points too far apart": (
        with_tensor(conv(), "w", lambda t: replace(t, quantization=Quantization((0.5, 0.5), (-128, 127), 0))),
        CODES,
        "keep",
        "a zero point for each channel",
    ),
    "int32 overflows": (matmul(200000, constant=False), CODES, "keep", "and i32 holds up to 2147483647"),
    "float32 is not exact": (matmul(2000, constant=False), FLOATS, "keep", "exact in f32 only below 16777216"),
    "global average overflows": (
        pool("global_average", (5000, 5000), (5000, 5000), (1, 1), (0,) * 4),
        CODES,
        "keep",
        "it adds 25000000 elements",
    ),
    "computed bias on a float accumulator": (
        with_tensor(conv(), "b", lambda t: replace(t, constant=None)),
        FLOATS,
        "keep",
        "its bias is computed",
    ),
    "wide table": (unary("table", ValueType(T.I16, q()), CODE), CODES, "keep", "at most 8 bits, not i16"),
    "short table": (unary("table", CODE, CODE, entries=16), CODES, "keep", "16 entries; i8 has 256 codes"),
    "table of a chain": (
        chain_graph([Stage("table", CODE, "t")], CODE, CODE, {"t": CODE}),
        CODES,
        "keep",
        "entries; i8 has 256 codes",
    ),
    "scale is missing": (unary("quantize", REAL, ValueType(T.I8)), CODES, "keep", "without a scale"),
    "wide quantisation": (unary("quantize", REAL, WIDE), CODES, "keep", "it quantises to i32"),
    "requantised codes": (unary("requantize", CODE, CODE), CODES, "keep", "what is not an i32 with a scale"),
    "shifted sums": (
        unary("requantize", ValueType(T.I32, q(1.0, 3)), CODE),
        CODES,
        "keep",
        "its sums have a zero point",
    ),
    "converting move": (unary("reshape", CODE, REAL), CODES, "keep", "a reshape does not convert i8 to f32"),
    "rescaling move": (unary("reshape", CODE, OTHER), CODES, "keep", "does not change what codes stand for"),
    "maximum of unknown codes": (
        with_tensor(pool("max", (4,), (2,), (1,), (0, 0)), "x", lambda t: replace(t, quantization=None)),
        CODES,
        "keep",
        "its operand has no scale and its result has one",
    ),
    "dequantised mean without floats": (
        pool("average", (4,), (2,), (1,), (0, 0)),
        replace(CODES, vector=replace(CODES.vector, inputs=(T.I8,))),
        "keep",
        "f32 is not among the types of small's vector unit, i8",
    ),
    "correction without bias": (
        conv(bias=False),
        replace(RAW, post=replace(RAW.post, ops=tuple(op for op in RAW.post.ops if op != "bias"))),
        "keep",
        "post unit has no bias",
    ),
    "im2col of a batch": (
        windows(),
        CODES,
        "keep",
        "its copy has",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_why(case: str) -> None:
    graph, arch, precision, words = REFUSALS[case]
    reason = judged(graph, arch, precision)
    assert words in reason
    assert "\n" not in reason


def test_each_rule_refuses_something() -> None:
    silent = set(partition.RULES)
    for graph, arch, precision, _ in REFUSALS.values():
        module = graph.module(["y"])
        (node,) = module.operations
        assert isinstance(node, Node)
        if any(
            module.tensor(name).shape is None or isinstance(module.tensor(name).type, HostType)
            for name in "xy"
            if name in module.tensor_by_name
        ):
            continue
        question = question_of(node, module.tensor_by_name, arch, precision, module.blobs)
        silent -= {rule for rule in silent if list(rule(question))}
    assert not silent


ACCEPTED: Mapping[str, tuple[Graph, Arch, str]] = {
    "codes": (conv(), CODES, "keep"),
    "raw codes": (conv(), RAW, "keep"),
    "float on an integer machine": (conv(kind=T.F32), CODES, "auto"),
    "float on a float machine": (conv(kind=T.F32), FLOATS, "keep"),
    "few integers on a float machine": (conv(), FLOATS, "keep"),
    "both computed": (matmul(constant=False), CODES, "keep"),
    "float sum": (binary("add", REAL, REAL, REAL), CODES, "auto"),
    "float times constant": (binary("mul", REAL, REAL, REAL, constant=True), CODES, "auto"),
    "float less constant": (binary("sub", REAL, REAL, REAL, constant=True), CODES, "auto"),
    "float leaky relu": (unary("leaky_relu", REAL, REAL, alpha=0.1), CODES, "auto"),
    "many axes of one": (unary("relu", CODE, CODE, (1, 1, 2, 3, 1, 4, 1)), CODES, "keep"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_the_machine_runs(case: str) -> None:
    assert judged(*ACCEPTED[case]) == ""


def test_known_constants_bound_the_sums_tighter_than_types() -> None:
    graph = matmul(1000, b=ValueType(T.I8, q()))
    assert judged(graph, FLOATS) == ""
    assert "16777216" in judged(graph, FLOATS, blobs=False)


def test_all_reasons_are_given_at_once() -> None:
    reason = judged(binary("add", REAL, REAL, REAL, rank=6), NO_VECTOR)
    assert "axes" in reason
    assert "no vector unit" in reason


def test_refusals_of_a_module_name_the_node() -> None:
    module = conv(kind=T.F32).module(["y"])
    (found,) = refusals(module, CODES)
    assert found.message.startswith("conv 'y_conv': f32 is not among")
    assert refusals(module, CODES, "auto") == []


def test_types_are_spelled_as_ranges() -> None:
    assert spelled((T.I2, T.I3, T.I4, T.U8, T.F32)) == "i2..i4, u8, f32"
    assert spelled((T.I8, T.U8, T.I4)) == "i8, u8, i4"


def lowered(graph: Graph, arch: Arch) -> tuple[Module, Module]:
    module = graph.module(["y"])
    return module, lower(module, arch)


UNSIGNED = ValueType(T.U8, q(0.3, 100))
NEEDS: Mapping[str, Graph] = {
    "conv": conv(),
    "conv without bias": conv(bias=False),
    "float conv": conv(kind=T.F32),
    "sums": with_tensor(conv(), "y", lambda t: replace(t, type=T.I32, quantization=None)),
    "real sums": with_tensor(conv(), "y", lambda t: replace(t, type=T.F32, quantization=None)),
    "matmul": matmul(),
    **{
        f"{kind} {x} to {y}": pool(kind, (4, 4), (4, 4), (1, 1), (0,) * 4, element=x, result=y)
        for kind in ("max", "average", "global_average")
        for x in (T.I8, T.F32)
        for y in (T.I8, T.F32)
    },
    "max same": pool("max", (4, 4), (2, 2), (1, 1), (0,) * 4, same=True),
    "qadd": binary("add", CODE, OTHER, CODE),
    "qmul": binary("mul", CODE, OTHER, CODE),
    "fadd": binary("add", REAL, REAL, REAL),
    "fsub": binary("sub", REAL, REAL, REAL),
    "fmul to codes": binary("mul", REAL, REAL, CODE),
    **{
        f"{op} {name}": unary(op, x, y, (3, 7), **({"alpha": 0.5} if op == "leaky_relu" else {}))
        for op in ("relu", "leaky_relu")
        for name, (x, y) in {"same": (CODE, CODE), "other": (CODE, UNSIGNED), "real": (REAL, REAL)}.items()
    },
    "table": unary("table", CODE, UNSIGNED),
    "quantize": unary("quantize", REAL, CODE),
    "dequantize": unary("dequantize", CODE, REAL),
    "requantize": unary("requantize", WIDE, CODE),
    "chain": chain_graph(
        [
            Stage("relu", CODE),
            Stage("add", OTHER, "r"),
            Stage("dequantize", REAL),
            Stage("add", REAL, "s"),
            Stage("quantize", CODE),
        ],
        CODE,
        CODE,
        {"r": UNSIGNED, "s": REAL},
    ),
    "reshape": unary("reshape", CODE, CODE),
}


@pytest.mark.parametrize("case", NEEDS)
@pytest.mark.parametrize("arch", [CODES, FLOATS], ids=["codes", "floats"])
def test_needs_are_those_of_lowering(case: str, arch: Arch) -> None:
    module, after = lowered(NEEDS[case], arch)
    (node,) = module.operations
    assert isinstance(node, Node)
    nests = nests_of(after)
    bodies = {nest.body.op.value for nest in nests if nest.body.op is not BodyOp.MAC}
    assert bodies == set(bodies_needed(node, module.tensor_by_name))
    steps = {step.op.value for nest in nests for step in nest.post}
    assert steps == set(post_steps_needed(node, module.tensor_by_name, arch.array.accumulator.is_float))
