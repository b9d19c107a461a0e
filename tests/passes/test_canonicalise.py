"""canonicalise keeps meaning, folds what it says, and leaves every quantise point."""

from __future__ import annotations

import numpy as np
import pytest
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from dnnc.passes.canonicalise import canonicalise
from dnnc.runtime.graph_interpreter import run_graph
from support.graphs import Graph

RNG = np.random.default_rng(7)


def no_host(region: object, values: list[object]) -> list[object]:
    raise AssertionError("there is no host region here")


def results(module: Module, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = run_graph(module, inputs, no_host)
    return {name: values[name] for name in module.outputs}


def kinds(module: Module) -> list[str]:
    return [operation.op for operation in module.operations if isinstance(operation, Node)]


@pytest.mark.parametrize("op", ["conv", "conv_transpose", "matmul"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_normalisation_and_activation_fold_into_a_product(op: str, with_bias: bool) -> None:
    graph = Graph()
    channels = 6
    if op == "matmul":
        graph.input("x", (5, 4))
        inputs = ["x", graph.constant("w", RNG.normal(size=(4, channels)))]
        shape, per_channel = (5, channels), (channels,)
    else:
        graph.input("x", (1, 4, 5, 5))
        kernel = (channels, 2, 3, 3) if op == "conv" else (4, channels // 2, 3, 3)
        inputs = ["x", graph.constant("w", RNG.normal(size=kernel))]
        extent = 3 if op == "conv" else 7
        shape, per_channel = (1, channels, extent, extent), (channels, 1, 1)
    if with_bias:
        inputs.append(graph.constant("b", RNG.normal(size=channels)))
    for name in "tuvy":
        graph.tensor(name, shape)
    if op == "matmul":
        graph.node(op, inputs, "t", transpose_a=False, transpose_b=False)
    else:
        graph.node(op, inputs, "t", strides=(1, 1), dilations=(1, 1), pads=(0,) * 4, group=2)
    graph.node("mul", ["t", graph.constant("s", RNG.normal(size=per_channel))], "u")
    graph.node("add", [graph.constant("h", RNG.normal(size=per_channel)), "u"], "v")
    graph.node("relu", ["v"], "y")
    before = graph.module(["y"])
    after = canonicalise(before)
    assert kinds(after) == [op]
    assert [stage.op for stage in after.operations[0].post] == ["relu"]
    x = {"x": RNG.normal(size=before.tensor("x").shape).astype(np.float32)}
    np.testing.assert_allclose(results(after, x)["y"], results(before, x)["y"], rtol=1e-4, atol=1e-5)


def test_a_value_that_is_read_twice_is_not_folded() -> None:
    graph = Graph()
    graph.input("x", (1, 2, 4, 4))
    for name in "ty":
        graph.tensor(name, (1, 2, 4, 4))
    graph.conv(["x", graph.constant("w", RNG.normal(size=(2, 2, 1, 1)))], "t")
    graph.node("relu", ["t"], "y")
    assert kinds(canonicalise(graph.module(["y", "t"]))) == ["conv", "relu"]


def test_an_activation_that_requantises_stays() -> None:
    graph = Graph()
    q, finer = Quantization((0.5,), (1,)), Quantization((0.25,), (1,))
    graph.input("x", (1, 2, 4, 4), T.I8, q)
    graph.tensor("t", (1, 2, 4, 4), T.I8, q)
    graph.tensor("y", (1, 2, 4, 4), T.I8, finer)
    weights = graph.constant("w", RNG.integers(-9, 9, (2, 2, 1, 1)), T.I8, Quantization((0.1,), (0,)))
    graph.conv(["x", weights], "t")
    graph.node("relu", ["t"], "y")
    assert kinds(canonicalise(graph.module(["y"]))) == ["conv", "relu"]


def test_idle_reshapes_go_and_others_stay() -> None:
    graph = Graph()
    graph.input("x", (2, 6))
    graph.tensor("t", (2, 6))
    graph.tensor("u", (3, 4))
    graph.tensor("y", (3, 4))
    graph.node("reshape", ["x"], "t")
    graph.node("reshape", ["t"], "u")
    graph.node("relu", ["u"], "y")
    after = canonicalise(graph.module(["y"]))
    assert kinds(after) == ["reshape", "relu"]
    assert after.operations[0].inputs == ("x",)
