"""quantise: parameters, bounds of the error, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType as T
from dnnc.passes.codes import activation_parameters, bf16_pattern
from dnnc.passes.quantise import quantise
from dnnc.passes.weights import weight_parameters
from dnnc.runtime.graph_interpreter import run_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Graph
from support.machines import float_machine, machine

RNG = np.random.default_rng(3)


def small_network(ranges: bool = True) -> Module:
    """conv+leaky, conv+relu, max pool, reshape, matmul: f32 in and out."""
    graph = Graph()

    def wide(low: float, high: float) -> tuple[float, float] | None:
        return (low, high) if ranges else None

    graph.input("x", (2, 3, 8, 8), range=wide(-3, 3))
    graph.tensor("a", (2, 8, 8, 8), range=wide(-1, 4))
    graph.tensor("b", (2, 8, 8, 8), range=wide(0, 6))
    graph.tensor("c", (2, 8, 4, 4), range=wide(0, 6))
    graph.tensor("d", (2, 128), range=wide(0, 6))
    graph.tensor("y", (2, 5), range=wide(-4, 4))
    from dnnc.ir.graph import Stage, ValueType

    floats = ValueType(T.F32)
    w1 = graph.constant("w1", RNG.normal(size=(8, 3, 3, 3)) * 0.2)
    graph.conv(
        ["x", w1, graph.constant("b1", RNG.normal(size=8) * 0.1)],
        "a",
        pad=1,
        post=[Stage("leaky_relu", floats, None, (("alpha", 0.1),))],
        value=floats,
    )
    graph.conv(
        ["a", graph.constant("w2", RNG.normal(size=(8, 8, 3, 3)) * 0.1)],
        "b",
        pad=1,
        post=[Stage("relu", floats)],
        value=floats,
    )
    graph.node(
        "pool",
        ["b"],
        "c",
        kind="max",
        kernel=(2, 2),
        strides=(2, 2),
        dilations=(1, 1),
        pads=(0,) * 4,
        count_include_pad=False,
    )
    graph.node("reshape", ["c"], "d")
    w3 = graph.constant("w3", RNG.normal(size=(128, 5)) * 0.1)
    graph.node("matmul", ["d", w3, graph.constant("b3", RNG.normal(size=5))], "y", transpose_a=False, transpose_b=False)
    return graph.module(["y"])


def outputs(module: Module, x: np.ndarray) -> np.ndarray:
    return np.asarray(run_graph(module, {"x": x}, lambda *_: [])["y"])


def test_int8_form_stays_near_and_ends_in_floats() -> None:
    before = small_network()
    after = quantise(before, machine(), "auto")
    assert [each.op for each in after.operations] == ["quantize", "conv", "conv", "pool", "reshape", "matmul"]
    x = np.clip(RNG.normal(size=(2, 3, 8, 8)), -3, 3).astype(np.float32)
    expected = outputs(before, x)
    assert np.abs(outputs(after, x) - expected).max() < 0.05 * np.abs(expected).max()
    pool = next(each for each in after.operations if isinstance(each, Node) and each.op == "pool")
    assert after.tensor(pool.inputs[0]).quantization == after.tensor(pool.outputs[0]).quantization


def test_every_tensor_without_a_range_is_named() -> None:
    with pytest.raises(CompileError) as caught:
        quantise(small_network(ranges=False), machine(), "auto")
    text = str(caught.value)
    assert all(f"'{name}'" in text for name in "xab")
    assert "--calibrate" in text


@pytest.mark.parametrize(("arch", "precision"), [(machine(), "keep"), (float_machine(), "auto")])
def test_what_needs_no_narrowing_is_left(arch: Any, precision: str) -> None:
    before = small_network()
    assert quantise(before, arch, precision).operations == before.operations


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32))
@settings(deadline=None, max_examples=200)
def test_the_range_fits_and_zero_is_exact(first: float, second: float) -> None:
    low, high = min(first, second, 0.0), max(first, second, 0.0)
    q = activation_parameters(low, high, T.I8)
    (scale,), (zero_point,) = q.scale, q.zero_point
    assert scale == float(np.float32(scale)) > 0
    assert -128 <= zero_point <= 127
    if high - low > 1e-30:
        assert (-128 - zero_point) * scale <= low + 0.51 * scale
        assert (127 - zero_point) * scale >= high - 0.51 * scale


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=300)
def test_bf16_is_the_nearest_value_ties_to_even(pattern: int) -> None:
    value = np.array([pattern], np.uint32).view(np.float32)
    code = int(bf16_pattern(value)[0])
    rounded = np.array([code << 16], np.uint32).view(np.float32)[0]
    if np.isnan(value[0]):
        assert np.isnan(rounded)
        return
    neighbours = [np.array([((code + step) << 16) & 0xFFFFFFFF], np.uint32).view(np.float32)[0] for step in (-1, 1)]
    if np.isfinite(rounded):
        distance = abs(float(value[0]) - float(rounded))
        for other in neighbours:
            if np.isfinite(other):
                gap = abs(float(value[0]) - float(other))
                assert distance < gap or (distance == gap and code % 2 == 0)


def test_bf16_of_a_scalar_is_a_scalar() -> None:
    assert bf16_pattern(np.array(1.0, np.float32)).shape == ()


def test_weight_scales_map_the_largest_magnitude_to_127() -> None:
    array = RNG.normal(size=(4, 3, 2)).astype(np.float32)
    array[2] = 0
    q = weight_parameters(array, 0)
    assert len(q.scale) == 4
    assert q.scale[2] == 1.0
    assert np.rint(np.abs(array[1]).max() / q.scale[1]) == 127


def test_a_computed_bias_is_read_as_a_float() -> None:
    graph = Graph()
    graph.input("x", (2, 3))
    graph.input("c", (4,))
    graph.tensor("b", (4,))
    graph.tensor("y", (2, 4))
    graph.node("mul", ["c", graph.constant("beta", np.array([2.0]))], "b")
    weights = graph.constant("w", RNG.normal(size=(3, 4)))
    graph.node("matmul", ["x", weights, "b"], "y", transpose_a=False, transpose_b=False)
    before = graph.module(["y"])
    after = quantise(before, machine(types=(T.BF16,), accumulator=T.F32), "auto")
    operators = [each.op for each in after.operations if isinstance(each, Node)]
    assert operators == ["quantize", "mul", "dequantize", "quantize", "matmul"]
    feeds = {"x": np.ones((2, 3), np.float32), "c": np.arange(4, dtype=np.float32)}
    found, expected = (run_graph(module, feeds, lambda *_: [])["y"] for module in (after, before))
    np.testing.assert_allclose(found, expected, atol=0.03)
