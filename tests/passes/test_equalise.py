"""Equalisation: the same function, ranges that agree, and nothing where a factor could not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.graph import Node, Stage, ValueType
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType, constant_array
from dnnc.passes.equalise import equalise
from dnnc.runtime.graph_interpreter import run_graph
from support.graphs import Graph

FLOATS = ValueType(ElementType.F32)
RELU = Stage("relu", FLOATS)
LEAKY = Stage("leaky_relu", FLOATS, None, (("alpha", 0.1),))
CLIP = Stage("clip", FLOATS, None, (("minimum", 0.0), ("maximum", 6.0)))
POOL = {"strides": (2, 2), "dilations": (1, 1), "pads": (0, 0, 0, 0), "count_include_pad": False}
PLAIN = {"transpose_a": False, "transpose_b": False}


def weights(graph: Graph, name: str, *shape: int) -> str:
    """With channels of very different magnitudes."""
    rng = np.random.default_rng(len(name) + sum(shape))
    spread = 10.0 ** rng.uniform(-2, 2, (shape[0], *[1] * (len(shape) - 1)))
    return graph.constant(name, rng.normal(size=shape) * spread)


def chain(stage: Stage, kind: str = "", second_group: int = 1) -> Graph:
    """conv 3 -> 4 with a stage, perhaps a pool, conv 4 -> 4."""
    graph = Graph()
    graph.input("x", (2, 3, 6, 6))
    graph.tensor("a", (2, 4, 6, 6))
    graph.tensor("y", (2, 4, 3, 3) if kind else (2, 4, 6, 6))
    bias = graph.constant("b", np.array([1.0, -2.0, 3.0, 0.5]))
    graph.conv(["x", weights(graph, "w1", 4, 3, 3, 3), bias], "a", pad=1, post=[stage], value=FLOATS)
    read = "a"
    if kind:
        graph.tensor("p", (2, 4, 3, 3))
        graph.node("pool", ["a"], "p", kind=kind, kernel=(2, 2), **POOL)  # type: ignore[arg-type]
        read = "p"
    graph.conv([read, weights(graph, "w2", 4, 4 // second_group, 3, 3)], "y", pad=1, group=second_group)
    return graph


def outputs(module: Module) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=module.tensor("x").shape).astype(np.float32)
    return run_graph(module, {"x": x}, lambda *_: [])


def reaches(module: Module) -> tuple[Any, Any]:
    """The greatest magnitude of each channel's weights in the first layer and in the second."""
    first, second = (
        constant_array(module.tensor(each.inputs[1]), module.blobs)
        for each in module.operations
        if isinstance(each, Node) and each.op in ("conv", "matmul")
    )
    if first.ndim == 2:
        return np.abs(first).max(axis=0), np.abs(second).max(axis=1)
    return np.abs(first).max(axis=(1, 2, 3)), np.abs(second).max(axis=(0, 2, 3))


def same(before: Module, after: Module) -> None:
    for name, value in outputs(before).items():
        np.testing.assert_allclose(outputs(after)[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


@pytest.mark.parametrize("stage", [RELU, LEAKY], ids=["relu", "leaky_relu"])
@pytest.mark.parametrize("kind", ["", "max", "average"])
def test_ranges_agree_and_the_function_stays(stage: Stage, kind: str) -> None:
    before = chain(stage, kind).module(["y"])
    found = equalise(before)
    same(before, found.module)
    first, second = reaches(found.module)
    np.testing.assert_allclose(first, second, rtol=1e-2)
    assert set(found.factors) == ({"a", "p"} if kind else {"a"})
    ratios = reaches(before)[0] / reaches(before)[1]
    assert ratios.max() > 10 * ratios.min()


@pytest.mark.parametrize("group", [2, 4])
def test_grouped_and_depthwise_layers(group: int) -> None:
    before = chain(RELU, second_group=group).module(["y"])
    found = equalise(before)
    same(before, found.module)
    assert set(found.factors) == {"a"}


def test_factors_are_what_values_are_divided_by() -> None:
    before = chain(RELU).module(["y", "a"])
    assert equalise(before).factors == {}  # `a` is an output: its value must stay
    graph = chain(RELU)
    found = equalise(graph.module(["y"]))
    x = outputs(chain(RELU).module(["a", "y"]))["a"]
    node = found.module.operations[0]
    assert isinstance(node, Node)
    again = outputs(replace(found.module, operations=(node,), outputs=("a",)))
    np.testing.assert_allclose(again["a"], x / found.factors["a"], rtol=1e-4, atol=1e-5)


def test_matrix_products() -> None:
    graph = Graph()
    graph.input("x", (5, 3))
    graph.tensor("a", (5, 4))
    graph.tensor("y", (5, 2))
    graph.node("matmul", ["x", weights(graph, "w1", 3, 4)], "a", [RELU], FLOATS, **PLAIN)
    graph.node("matmul", ["a", weights(graph, "w2", 4, 2)], "y", **PLAIN)
    before = graph.module(["y"])
    found = equalise(before)
    same(before, found.module)
    np.testing.assert_allclose(*reaches(found.module), rtol=1e-2)


def test_a_chain_settles() -> None:
    graph = chain(RELU)
    graph.tensor("z", (2, 2, 6, 6))
    graph.conv(["y", weights(graph, "w3", 2, 4, 1, 1)], "z")
    before = graph.module(["z"])
    found = equalise(before)
    same(before, found.module)
    assert set(found.factors) == {"a", "y"}


def _another_reader(graph: Graph) -> list[str]:
    graph.tensor("other", (2, 4, 6, 6))
    graph.node("relu", ["a"], "other")
    return ["y", "other"]


def test_nothing_changes_where_a_factor_cannot_pass() -> None:
    clipped = chain(CLIP).module(["y"])
    assert equalise(clipped).module == clipped
    graph = chain(RELU)
    names = _another_reader(graph)
    shared = graph.module(names)
    assert equalise(shared).factors == {}


def test_a_channel_of_zeros_stays() -> None:
    graph = chain(RELU)
    zeroed = np.array(constant_array(graph.tensors["w1"], graph.blobs))
    zeroed[2] = 0
    graph.constant("w1", zeroed)
    before = graph.module(["y"])
    found = equalise(before)
    same(before, found.module)
    assert found.factors["a"][2] == 1
