"""Pools, elementwise operators and post chains mean the same as nests."""

from __future__ import annotations

import numpy as np
import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import Stage, ValueType
from dnnc.ir.nest import BodyOp, PostOp
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from dnnc.passes.lower_post import exchanged, qadd_scalars
from dnnc.runtime import arithmetic
from hypothesis import given, settings
from hypothesis import strategies as st
from support.elementwise import CODE, OTHER, REAL, chain_graph, pool_graph
from support.graphs import Graph
from support.lowering import CODES, FLOATS, nests_of, q, same_meaning


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_pools_keep_their_meaning(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))

    def each(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(count))

    kernel = each(1, 3)
    pads = tuple(data.draw(st.integers(0, k - 1)) for k in (*kernel, *kernel))
    graph = pool_graph(
        data.draw(st.sampled_from(["max", "average"])),
        each(2, 6),
        kernel,
        each(1, 3),
        pads,
        each(1, 2),
        data.draw(st.booleans()),
        element=(element := data.draw(st.sampled_from([T.I8, T.U8, T.F32]))),
        result=data.draw(st.sampled_from([element, T.F32])),
        same=data.draw(st.booleans()),
    )
    if graph is not None:
        same_meaning(graph, ["y"])


@pytest.mark.parametrize("element", [T.I8, T.F32])
@pytest.mark.parametrize("result", [T.I8, T.F32])
def test_global_average_pools(element: T, result: T) -> None:
    graph = pool_graph("global_average", (7, 5), (7, 5), (1, 1), (0, 0, 0, 0), element=element, result=result)
    assert graph is not None
    same_meaning(graph, ["y"])


BROADCASTS = [
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((2, 3, 4, 5), (5,)),
    ((2, 3, 4, 5), ()),
    ((1, 3, 1, 1), (2, 3, 4, 5)),
    ((4, 1), (1, 6)),
    ((1,), (1,)),
]


@pytest.mark.parametrize(("a", "b"), BROADCASTS)
@pytest.mark.parametrize("op", ["add", "sub", "mul"])
@pytest.mark.parametrize("element", [T.I8, T.U8, T.F32])
def test_elementwise_with_broadcasting(a: tuple[int, ...], b: tuple[int, ...], op: str, element: T) -> None:
    if op == "sub" and element.is_integer:
        return
    integer = element.is_integer
    graph = Graph()
    graph.input("a", a, element, q(0.1, 9) if integer else None)
    graph.input("b", b, element, q(0.07, 20) if integer else None)
    graph.tensor("y", np.broadcast_shapes(a, b), element, q(0.5, 31) if integer else None)
    graph.node(op, ["a", "b"], "y")
    lowered = same_meaning(graph, ["y"], seed=3)
    (nest,) = nests_of(lowered)
    assert len(nest.domain) <= 4


def test_equal_shapes_become_one_flat_dimension() -> None:
    graph = Graph()
    for name in ("a", "b"):
        graph.input(name, (2, 3, 4, 5), T.I8, q(0.1, 3))
    graph.tensor("y", (2, 3, 4, 5), T.I8, q(0.2, 3))
    graph.node("add", ["a", "b"], "y")
    (nest,) = nests_of(same_meaning(graph, ["y"]))
    assert [dim.extent for dim in nest.domain] == [120]


def test_a_tensor_added_to_itself() -> None:
    graph = Graph()
    graph.input("a", (2, 3), T.F32)
    graph.tensor("y", (2, 3), T.F32)
    graph.node("add", ["a", "a"], "y")
    same_meaning(graph, ["y"])


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("relu", {}), ("clip", {"minimum": -0.33, "maximum": 0.61}), ("leaky_relu", {"alpha": 0.1})],
)
@pytest.mark.parametrize("kind", ["f32", "same", "other", "to_f32"])
def test_activations(op: str, attributes: dict[str, float], kind: str) -> None:
    graph = Graph()
    element = T.F32 if kind == "f32" else T.I8
    graph.input("x", (3, 7), element, None if kind == "f32" else q(0.01, 4))
    result = {"f32": (T.F32, None), "same": (T.I8, q(0.01, 4)), "other": (T.U8, q(0.007, 8)), "to_f32": (T.F32, None)}
    graph.tensor("y", (3, 7), *result[kind])
    graph.node(op, ["x"], "y", **attributes)
    same_meaning(graph, ["y"])


def test_tables_quantisation_and_requantisation() -> None:
    graph = Graph()
    graph.input("x", (3, 7), T.F32)
    graph.tensor("codes", (3, 7), T.U8, q(0.02, 99))
    graph.node("quantize", ["x"], "codes")
    graph.constant("entries", np.random.default_rng(0).permutation(256) - 128, T.I8)
    graph.tensor("mapped", (3, 7), T.I8, q(0.1, 2))
    graph.node("table", ["codes", "entries"], "mapped")
    graph.tensor("real", (3, 7), T.F32)
    graph.node("dequantize", ["mapped"], "real")
    graph.input("sums", (2, 3, 4, 4), T.I32, Quantization((0.5, 0.25, 0.125), (0, 0, 0), 1))
    graph.tensor("narrow", (2, 3, 4, 4), T.I8, q(2.0, 5))
    graph.node("requantize", ["sums"], "narrow")
    graph.tensor("wide", (2, 3, 4, 4), T.F32)
    graph.node("dequantize", ["sums"], "wide")
    same_meaning(graph, ["codes", "mapped", "real", "narrow", "wide"])


def test_dequantising_channels_with_zero_points() -> None:
    graph = Graph()
    graph.input("x", (2, 3, 4, 4), T.I8, Quantization((0.5, 0.25, 0.125), (1, -5, 7), 1))
    graph.tensor("y", (2, 3, 4, 4), T.F32)
    graph.node("dequantize", ["x"], "y")
    same_meaning(graph, ["y"])


@settings(max_examples=200, deadline=None)
@given(
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e3),
    st.integers(-128, 255),
    st.integers(-128, 255),
    st.integers(-128, 255),
)
def test_scalars_of_quantised_additions(a: float, b: float, y: float, za: int, zb: int, zy: int) -> None:
    want = arithmetic.qadd_scalars(arithmetic.Scale(a, za), arithmetic.Scale(b, zb), arithmetic.Scale(y, zy))
    have = qadd_scalars("sum", q(a, za), q(b, zb), q(y, zy))
    assert [np.float32(each) for each in have.values()] == list(want)


@pytest.mark.parametrize(("a", "b", "y"), [(1.0, 1e37, 1e-1), (1e37, 1.0, 1e-1), (2e36, 2e36, 1.0), (1.0, 1e30, 1e-30)])
def test_scales_whose_ratios_are_no_floats_are_told(a: float, b: float, y: float) -> None:
    with pytest.raises(CompileError, match="the addition 'sum' takes scales of"):
        qadd_scalars("sum", q(a, 100), q(b, 100), q(y, 0))


def test_the_order_of_quantised_addition_is_the_references() -> None:
    shapes = [(1,), (3,), (1, 3), (2, 1), (2, 3), (1, 1), ()]
    for a in shapes:
        for b in shapes:
            assert exchanged(a, b) == arithmetic.qadd_exchanges(a, b)


@pytest.mark.parametrize("group", [1, 2, 4])
def test_chains_on_codes(group: int) -> None:
    stages = [
        Stage("relu", CODE),
        Stage("add", OTHER, "r"),
        Stage("clip", OTHER, None, (("minimum", -3.0), ("maximum", 5.5))),
        Stage("table", CODE, "table"),
        Stage("dequantize", REAL),
        Stage("leaky_relu", REAL, None, (("alpha", 0.2),)),
        Stage("quantize", OTHER),
        Stage("leaky_relu", CODE, None, (("alpha", 0.2),)),
    ]
    operands = {"r": ValueType(T.U8, q(0.3, 100)), "table": ValueType(T.I8)}
    nests = nests_of(same_meaning(chain_graph(stages, CODE, CODE, operands, group), ["y"]))
    assert len(nests) == 1


@pytest.mark.parametrize("group", [1, 2, 4])
def test_chains_on_reals(group: int) -> None:
    stages = [
        Stage("add", REAL, "r"),
        Stage("relu", REAL),
        Stage("mul", REAL, "s"),
        Stage("clip", REAL, None, (("minimum", -3.0), ("maximum", 5.5))),
        Stage("quantize", CODE),
    ]
    graph = chain_graph(stages, CODE, REAL, {"r": REAL, "s": REAL}, group)
    same_meaning(graph, ["y"])
    same_meaning(graph, ["y"], FLOATS)


def test_a_chain_that_the_store_path_has_no_step_for_goes_on_in_a_nest_of_its_own() -> None:
    stages = [Stage("mul", OTHER, "r"), Stage("relu", OTHER)]
    graph = chain_graph(stages, OTHER, CODE, {"r": ValueType(T.I8, q(0.3, 10))})
    nests = nests_of(same_meaning(graph, ["y"]))
    assert [nest.body.op for nest in nests] == [BodyOp.MAC, BodyOp.MUL]
    tables = [Stage("table", CODE, f"table{i}") for i in range(5)]
    graph = chain_graph(tables, CODE, CODE, {f"table{i}": ValueType(T.I8) for i in range(5)})
    assert len(nests_of(same_meaning(graph, ["y"]))) > 1


def test_each_quantise_point_of_a_chain_is_a_step() -> None:
    stages = [Stage("dequantize", REAL), Stage("relu", REAL), Stage("quantize", OTHER)]
    (nest,) = nests_of(same_meaning(chain_graph(stages, OTHER, CODE, {}), ["y"]))
    assert [step.op for step in nest.post] == [
        PostOp.REQUANTIZE,
        PostOp.DEQUANTIZE,
        PostOp.CLAMP,
        PostOp.QUANTIZE,
    ]


def test_im2col_is_a_copy() -> None:
    graph = Graph()
    graph.input("x", (2, 2, 5, 6), T.I8, q(0.1, 7))
    graph.tensor("y", (2, 6 * 2, 3, 6), T.I8, q(0.1, 7))
    graph.node("im2col", ["x"], "y", kernel=(3, 2), strides=(2, 1), dilations=(1, 1), pads=(1, 0, 1, 1))
    (copy,) = nests_of(same_meaning(graph, ["y"], CODES))
    assert [dim.name for dim in copy.domain] == ["n", "p", "q", "r", "k"], "tap and channel are one dimension"


def test_im2col_with_a_dilation() -> None:
    graph = Graph()
    graph.input("x", (1, 2, 5, 6), T.I8, q(0.1, 7))
    graph.tensor("y", (1, 6 * 2, 3, 4), T.I8, q(0.1, 7))
    graph.node("im2col", ["x"], "y", kernel=(3, 2), strides=(2, 1), dilations=(1, 2), pads=(1, 0, 1, 0))
    same_meaning(graph, ["y"], CODES)
