"""Biases are corrected by exactly the mean error of rounded weights, and by nothing where no mean is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.types import constant_array
from dnnc.passes.canonicalise import canonicalise
from dnnc.passes.codes import dequantised
from dnnc.passes.correct_bias import product_inputs, with_corrected_biases
from dnnc.passes.partition import acceptance
from dnnc.passes.quantise import quantise
from dnnc.passes.ranges import with_ranges
from dnnc.passes.weights import rounded_weights
from dnnc.runtime.graph_interpreter import run_graph
from support.graphs import Graph

RNG = np.random.default_rng(11)
N = 6  # samples

Shape = tuple[int, ...]
Attributes = dict[str, Any]


def window(strides: Shape, dilations: Shape, pads: Shape, group: int = 1) -> Attributes:
    return {"strides": strides, "dilations": dilations, "pads": pads, "group": group}


PLAIN = {"transpose_a": False, "transpose_b": False}

# operator, shape of x, of w, of the result, attributes
PRODUCTS: dict[str, tuple[str, Shape, Shape, Shape, Attributes]] = {
    "matmul": ("matmul", (N, 5), (5, 4), (N, 4), PLAIN),
    "rows": ("matmul", (N, 3, 5), (4, 5), (N, 3, 4), {**PLAIN, "transpose_b": True}),
    "conv": ("conv", (N, 4, 7, 6), (6, 2, 3, 2), (N, 6, 4, 5), window((2, 1), (1, 2), (1, 0, 1, 1), 2)),
    "depthwise": ("conv", (N, 3, 4), (3, 1, 3), (N, 3, 4), window((1,), (1,), (1, 1), 3)),
    "transposed": ("conv_transpose", (N, 4, 3, 3), (4, 3, 3, 2), (N, 3, 5, 8), window((2, 3), (1, 1), (1, 0, 1, 0))),
    "cropped": ("conv_transpose", (N, 2, 3), (2, 3, 3), (N, 3, 8), window((2,), (1,), (-1, 0))),
}


def product(case: str, bias: bool) -> Graph:
    op, x, w, y, attributes = PRODUCTS[case]
    graph = Graph()
    graph.input("x", x)
    graph.tensor("y", y)
    operands = ["x", graph.constant("w", RNG.normal(size=w))]
    if bias:
        operands.append(graph.constant("b", RNG.normal(size=y[1] if op != "matmul" else y[-1])))
    graph.node(op, operands, "y", **attributes)
    return graph


def corrected(module: Module, means: dict[str, Any], arch: Arch | None = None) -> Module:
    return with_corrected_biases(module, means, acceptance(arch or load_arch("gemmini16"), "int8"))


def value(module: Module, x: np.ndarray) -> np.ndarray:
    return np.asarray(run_graph(module, {"x": x}, lambda *_: [])["y"], np.float64)


def with_rounded_weights(module: Module) -> Module:
    """The module whose weights have been rounded to int8, in float."""
    node = module.operations[0]
    assert isinstance(node, Node)
    weights = module.tensor(node.inputs[1])
    rounded = dequantised(*rounded_weights(node, constant_array(weights, module.blobs).astype(np.float32)))
    tensor = replace(weights, constant=module.blobs.add_array(rounded))
    return replace(module, tensors=tuple(tensor if each is weights else each for each in module.tensors))


def channel_means(case: str, result: np.ndarray) -> np.ndarray:
    axis = result.ndim - 1 if PRODUCTS[case][0] == "matmul" else 1
    return np.asarray(np.moveaxis(result, axis, 0).reshape(result.shape[axis], -1).mean(axis=1))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", PRODUCTS)
def test_the_mean_error_of_every_channel_is_zero(case: str, bias: bool) -> None:
    before = product(case, bias).module(["y"])
    x = (RNG.normal(size=PRODUCTS[case][1]) + 3).astype(np.float32)
    assert product_inputs(before) == {"x"}
    after = with_rounded_weights(corrected(before, {"x": x.mean(axis=0, dtype=np.float64)}))
    expected = channel_means(case, value(before, x))
    uncorrected = np.abs(channel_means(case, value(with_rounded_weights(before), x)) - expected)
    error = np.abs(channel_means(case, value(after, x)) - expected)
    assert error.max() < 2e-6 * np.abs(expected).max()
    assert uncorrected.max() > 100 * error.max()


@pytest.mark.parametrize("case", ["conv", "transposed", "matmul"])
def test_it_holds_with_scales_that_are_folded_later(case: str) -> None:
    graph = product(case, True)
    shape = PRODUCTS[case][3]
    per_channel = (shape[1], *(1,) * (len(shape) - 2)) if case != "matmul" else (shape[-1],)
    for name in ("u", "v"):
        graph.tensor(name, shape)
    graph.node("mul", ["y", graph.constant("s", RNG.normal(size=per_channel))], "u")
    graph.node("add", ["u", graph.constant("t", RNG.normal(size=per_channel))], "v")
    before = graph.module(["v"])
    x = (RNG.normal(size=PRODUCTS[case][1]) + 3).astype(np.float32)
    after = canonicalise(corrected(before, {"x": x.mean(axis=0, dtype=np.float64)}))
    assert len(after.operations) == 1
    found, expected = (
        channel_means(case, np.asarray(run_graph(each, {"x": x}, lambda *_: [])["v"], np.float64))
        for each in (with_rounded_weights(after), before)
    )
    np.testing.assert_allclose(found, expected, atol=5e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    "means", [{}, {"x": np.zeros(4)}, {"x": np.full(5, np.nan)}, {"y": np.ones(4)}], ids=["no", "shape", "nan", "other"]
)
def test_without_a_usable_mean_nothing_changes(means: dict[str, Any]) -> None:
    before = product("matmul", True).module(["y"])
    assert corrected(before, means) == before


def test_weights_with_one_scale_for_all_channels_are_left() -> None:
    """Scales that are folded into them change how they are rounded."""
    graph = Graph()
    graph.input("x", (1, 4, 3))
    graph.tensor("y", (1, 6, 5))
    weights = graph.constant("w", RNG.normal(size=(4, 3, 3)))
    graph.node("conv_transpose", ["x", weights], "y", **window((1,), (1,), (0, 0), 2))
    before = graph.module(["y"])
    assert product_inputs(before) == set()
    assert corrected(before, {"x": np.ones((4, 3))}) == before


def test_computed_weights_are_left() -> None:
    graph = Graph()
    for name, shape in {"x": (2, 3), "w": (3, 4)}.items():
        graph.input(name, shape)
    graph.tensor("y", (2, 4))
    graph.node("matmul", ["x", "w"], "y", **PLAIN)
    before = graph.module(["y"])
    assert product_inputs(before) == set()
    assert corrected(before, {"x": np.ones(3)}) == before


def test_a_product_stays_as_it_is_where_the_machine_adds_no_bias() -> None:
    arch = load_arch("gemmini16")
    without = replace(arch, post=replace(arch.post, ops=tuple(each for each in arch.post.ops if each != "bias")))
    before = product("conv", False).module(["y"])
    mean = np.ones(PRODUCTS["conv"][1][1:])
    assert corrected(before, {"x": mean}, without) == before
    assert corrected(before, {"x": mean}, arch) != before


@pytest.mark.parametrize("case", ["conv", "matmul", "transposed"])
def test_the_mean_holds_in_integers(case: str) -> None:
    """Operands without an error of their own: what is left of the mean error is the rounding of the bias to i32."""
    graph = product(case, True)
    shape = PRODUCTS[case][1]
    x = RNG.integers(-128, 128, shape).astype(np.float32)
    x.reshape(-1)[:2] = -128, 127  # in codes of scale 1
    before = with_ranges(graph.module(["y"]), {"x": (-128.0, 127.0), "y": (-1000.0, 1000.0)})
    after = quantise(corrected(before, {"x": x.mean(axis=0, dtype=np.float64)}), load_arch("gemmini16"), "int8")
    error = channel_means(case, value(after, x)) - channel_means(case, value(before, x))
    weights = constant_array(before.tensor("w"), before.blobs)
    node = before.operations[0]
    assert isinstance(node, Node)
    bias_steps = np.asarray(rounded_weights(node, weights.astype(np.float32))[1].scale)
    assert (np.abs(error) <= 0.501 * bias_steps + 1e-5).all()
