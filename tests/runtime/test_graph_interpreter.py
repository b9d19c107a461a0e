"""Graphs: each operator against onnxruntime, post chains against separate nodes, nests and host regions among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.graph import HostRegion, Stage, ValueType
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization, Tensor
from dnnc.runtime import arithmetic
from dnnc.runtime.graph_interpreter import run_graph, run_module
from numpy.typing import NDArray
from support.graphs import Graph
from support.machines import machine
from support.nests import conv_nest
from support.reference import MICROSOFT, run_operator

Array = NDArray[Any]
F32 = np.float32
QX, QY = Quantization((0.02,), (7,)), Quantization((0.37,), (-5,))
RELU = Stage("relu", ValueType(T.I8, QY))


def no_host(_region: HostRegion, _values: list[Any]) -> list[Any]:
    raise AssertionError("this module has no host region")


def run(graph: Graph, *arrays: Array, output: str = "y") -> Array:
    result: Array = run_graph(graph.module([output]), dict(zip(graph.inputs, arrays, strict=True)), no_host)[output]
    return result


def codes(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def conv_graph(
    y: T, quantization: Quantization | None, post: tuple[Stage, ...] = (), value: ValueType | None = None
) -> Graph:
    graph = Graph()
    graph.input("x", (2, 6, 5, 7), T.I8, QX)
    scales = tuple(float(F32(0.01 * (i + 1))) for i in range(4))
    graph.constant("w", codes(1, 4, 3, 3, 3) // 2, T.I8, Quantization(scales, (0,) * 4, 0))
    graph.constant("b", np.arange(-200, 200, 100).astype(np.int32), T.I32)
    graph.tensor("y", (2, 4, 3, 4), y, quantization)
    graph.conv(["x", "w", "b"], "y", stride=2, pad=1, group=2, post=post, value=value)
    return graph


def conv_reference(x: Array) -> Array:
    attributes: dict[str, Any] = {"strides": (2, 2), "pads": (1,) * 4, "group": 2}
    w, b = codes(1, 4, 3, 3, 3) // 2, np.arange(-200, 200, 100).astype(np.int32)
    scales = np.array([F32(0.01 * (i + 1)) for i in range(4)], F32)
    operands: list[Any] = [x, F32(0.02), np.int8(7), w, scales, np.zeros(4, np.int8), F32(0.37), np.int8(-5), b]
    return run_operator("QLinearConv", operands, np.int8, constants=8, **attributes)


def test_quantised_convolution() -> None:
    x = codes(0, 2, 6, 5, 7)
    assert np.array_equal(run(conv_graph(T.I8, QY), x), conv_reference(x))


def test_convolution_with_int32_and_float_results() -> None:
    x = codes(0, 2, 6, 5, 7)
    sums = run(conv_graph(T.I32, None), x)
    real = run(conv_graph(T.F32, None), x)
    scales = np.array([F32(0.01 * (i + 1)) for i in range(4)], F32).reshape(1, 4, 1, 1)
    assert np.array_equal(real, sums.astype(F32) * (F32(0.02) * scales))
    codes_again = arithmetic.requantize(sums, arithmetic.multiplier(0.02, scales, 0.37), -5, T.I8)
    assert np.array_equal(codes_again, conv_reference(x))
    assert sums.dtype == np.int32


@pytest.mark.parametrize("transpose_b", [False, True])
def test_quantised_product_with_two_zero_points(transpose_b: bool) -> None:
    a, b = codes(2, 3, 5, 11), codes(3, 11, 6) // 2
    graph = Graph()
    graph.input("a", a.shape, T.I8, QX)
    graph.constant("b", b.T if transpose_b else b, T.I8, Quantization((0.05,), (3,)))
    graph.tensor("y", (3, 5, 6), T.I8, QY)
    graph.node("matmul", ["a", "b"], "y", transpose_a=False, transpose_b=transpose_b)
    operands: list[Any] = [a, F32(0.02), np.int8(7), b, F32(0.05), np.int8(3), F32(0.37), np.int8(-5)]
    assert np.array_equal(run(graph, a), run_operator("QLinearMatMul", operands, np.int8, constants=7))


@pytest.mark.parametrize(("op", "name"), [("add", "QLinearAdd"), ("mul", "QLinearMul")])
@pytest.mark.parametrize("exchanged", [False, True])
def test_quantised_elementwise_with_broadcasting(op: str, name: str, exchanged: bool) -> None:
    wide, narrow = codes(4, 2, 3, 4, 5), codes(5, 1, 3, 1, 1)
    a, b = (narrow, wide) if exchanged else (wide, narrow)
    graph = Graph()
    graph.input("a", a.shape, T.I8, QX)
    graph.input("b", b.shape, T.I8, Quantization((0.03,), (-2,)))
    graph.tensor("y", wide.shape, T.I8, QY)
    graph.node(op, ["a", "b"], "y")
    operands: list[Any] = [a, F32(0.02), np.int8(7), b, F32(0.03), np.int8(-2), F32(0.37), np.int8(-5)]
    assert np.array_equal(run(graph, a, b), run_operator(name, operands, np.int8, domain=MICROSOFT))


@pytest.mark.parametrize("kind", ["max", "average", "global_average"])
def test_quantised_pools(kind: str) -> None:
    x = codes(6, 2, 3, 6, 6)
    graph = Graph()
    graph.input("x", x.shape, T.I8, QX)
    shape = (2, 3, 1, 1) if kind == "global_average" else (2, 3, 3, 3)
    result = QX if kind == "max" else Quantization((0.02,), (4,))
    graph.tensor("y", shape, T.I8, result)
    kernel = (6, 6) if kind == "global_average" else (2, 2)
    graph.node(
        "pool",
        ["x"],
        "y",
        kind=kind,
        kernel=kernel,
        strides=(2, 2),
        dilations=(1, 1),
        pads=(0,) * 4,
        count_include_pad=False,
    )
    window: dict[str, Any] = {"kernel_shape": (2, 2), "strides": (2, 2)}
    operands: list[Any] = [x, F32(0.02), np.int8(7), F32(0.02), np.int8(4)]
    if kind == "max":
        expected = run_operator("MaxPool", [x], np.int8, **window)
    elif kind == "average":
        expected = run_operator("QLinearAveragePool", operands, np.int8, domain=MICROSOFT, **window)
    else:
        expected = run_operator("QLinearGlobalAveragePool", operands, np.int8, domain=MICROSOFT, channels_last=0)
    assert np.array_equal(run(graph, x), expected)


def test_a_post_chain_is_its_operators_one_after_the_other() -> None:
    x, residual = codes(0, 2, 6, 5, 7), codes(7, 2, 4, 3, 4)
    table = codes(8, 256)
    q_sum, q_table = Quantization((0.4,), (11,)), Quantization((0.5,), (1,))
    chained = conv_graph(
        T.F32,
        None,
        (
            RELU,
            Stage("clip", ValueType(T.I8, QY), attributes=(("minimum", 0.0), ("maximum", 30.0))),
            Stage("add", ValueType(T.I8, q_sum), "r"),
            Stage("table", ValueType(T.I8, q_table), "t"),
            Stage("dequantize", ValueType(T.F32)),
            Stage("leaky_relu", ValueType(T.F32), attributes=(("alpha", 0.1),)),
        ),
        ValueType(T.I8, QY),
    )
    separate = conv_graph(T.I8, QY)
    for graph in (chained, separate):
        graph.input("r", residual.shape, T.I8, Quantization((0.11,), (-3,)))
        graph.constant("t", table, T.I8)
    shape = residual.shape
    for name, element, quantization in [
        ("relu", T.I8, QY),
        ("clip", T.I8, QY),
        ("sum", T.I8, q_sum),
        ("looked_up", T.I8, q_table),
        ("real", T.F32, None),
        ("leaky", T.F32, None),
    ]:
        separate.tensor(name, shape, element, quantization)
    separate.node("relu", ["y"], "relu")
    separate.node("clip", ["relu"], "clip", minimum=0.0, maximum=30.0)
    separate.node("add", ["clip", "r"], "sum")
    separate.node("table", ["sum", "t"], "looked_up")
    separate.node("dequantize", ["looked_up"], "real")
    separate.node("leaky_relu", ["real"], "leaky", alpha=0.1)
    got = run(chained, x, residual)
    assert got.dtype == F32
    assert np.array_equal(got, run(separate, x, residual, output="leaky"))


def test_im2col_and_a_product_of_one_tap_are_the_convolution() -> None:
    x, w = codes(9, 2, 4, 6, 5), codes(10, 6, 4, 3, 2)
    whole = Graph()
    whole.input("x", x.shape, T.I8, QX)
    whole.constant("w", w, T.I8, Quantization((1.0,), (0,)))
    whole.tensor("y", (2, 6, 3, 6), T.I32)
    window: dict[str, Any] = {"strides": (2, 1), "dilations": (1, 1), "pads": (1, 1, 0, 1)}
    whole.node("conv", ["x", "w"], "y", group=1, **window)
    parts = Graph()
    parts.input("x", x.shape, T.I8, QX)
    parts.tensor("c", (2, 24, 3, 6), T.I8, QX)
    parts.constant("w", w.transpose(0, 2, 3, 1).reshape(6, 24, 1, 1), T.I8, Quantization((1.0,), (0,)))
    parts.tensor("y", (2, 6, 3, 6), T.I32)
    parts.node("im2col", ["x"], "c", kernel=(3, 2), **window)
    parts.conv(["c", "w"], "y")
    assert np.array_equal(run(whole, x), run(parts, x))


def test_transposed_convolution_per_channel() -> None:
    x, w = codes(11, 1, 4, 5), codes(12, 4, 3, 3)
    graph = Graph()
    graph.input("x", x.shape, T.I8, QX)
    graph.constant("w", w, T.I8, Quantization((0.5, 0.25, 2.0), (0,) * 3, 1))
    graph.tensor("y", (1, 6, 11), T.F32)
    graph.node("conv_transpose", ["x", "w"], "y", strides=(2,), dilations=(1,), pads=(0, 0), group=2)
    real_x = arithmetic.dequantize(x, 0.02, 7)
    real_w = w * np.array([0.5, 0.25, 2.0], F32).reshape(1, 3, 1)
    expected = run_operator("ConvTranspose", [real_x, real_w.astype(F32)], F32, strides=(2,), group=2)
    assert np.allclose(run(graph, x), expected, rtol=1e-4, atol=1e-3)


def test_bf16_is_rounded_at_every_value_and_leaves_as_float32() -> None:
    rng = np.random.default_rng(13)
    a, b = rng.standard_normal((3, 8)).astype(F32), rng.standard_normal((8, 4)).astype(F32)
    graph = Graph()
    graph.input("a", a.shape)
    graph.tensor("a16", a.shape, T.BF16)
    graph.tensors["b"] = Tensor("b", T.BF16, b.shape, None, graph.blobs.add_array(arithmetic.bf16_bits(b)))
    graph.tensor("y", (3, 4), T.BF16)
    graph.node("quantize", ["a"], "a16")
    graph.node("matmul", ["a16", "b"], "y", transpose_a=False, transpose_b=False)
    y = run(graph, a)
    rounded = [arithmetic.bf16_values(arithmetic.bf16_bits(each)).astype(np.float64) for each in (a, b)]
    assert y.dtype == F32
    assert np.array_equal(y, arithmetic.bf16_values(arithmetic.bf16_bits(rounded[0] @ rounded[1])))


def test_int32_values_are_requantised() -> None:
    sums = np.random.default_rng(14).integers(-9000, 9000, (5, 6)).astype(np.int32)
    graph = Graph()
    graph.input("x", sums.shape, T.I32, Quantization((0.004,), (0,)))
    graph.tensor("y", sums.shape, T.I8, QY)
    graph.node("requantize", ["x"], "y")
    assert np.array_equal(run(graph, sums), arithmetic.requantize(sums, F32(0.004) / F32(0.37), -5, T.I8))


def test_a_host_region_and_a_nest_between_nodes() -> None:
    """relu node -> host region (a negation) -> nest (the convolution of support.nests), against one conv node."""
    nest = conv_nest(machine(), n=1, m=4, p=5, q=4, c=3, pad=1, zx=7, zy=-5)
    nest = replace(nest, post=nest.post[:2])
    x = codes(15, 1, 3, 5, 4)
    w, b, scale = codes(16, 4, 3, 3, 3), np.arange(4, dtype=np.int32) * 50, np.full(4, 0.004, F32)
    graph = Graph()
    graph.input("x", x.shape, T.I8, QX)
    graph.tensor("relu", x.shape, T.I8, QX)
    graph.node("relu", ["x"], "relu")
    mixed = graph.module(["y"])
    by_name = {
        "x": Tensor("x", T.I8, x.shape, QX, None, (0, 2, 3, 1)),
        "conv_in": Tensor("conv_in", T.I8, x.shape, QX, None, (0, 2, 3, 1)),
        "w": Tensor("w", T.I8, w.shape, None, mixed.blobs.add_array(w.transpose(2, 3, 1, 0)), (2, 3, 1, 0)),
        "bias": Tensor("bias", T.I32, (4,), None, mixed.blobs.add_array(b)),
        "scale": Tensor("scale", T.F32, (4,), None, mixed.blobs.add_array(scale)),
        "y": Tensor("y", T.I8, (1, 4, 5, 4), QY, None, (0, 2, 3, 1)),
        "relu": mixed.tensor("relu"),
    }
    negate = HostRegion("negate", ("relu",), ("conv_in",), mixed.blobs.add(b"unused"))
    reads = tuple(replace(a, tensor="conv_in") if a.tensor == "x" else a for a in nest.reads)
    operations = (*mixed.operations, negate, replace(nest, reads=reads))
    mixed = replace(mixed, tensors=tuple(by_name.values()), operations=operations)
    seen: list[Array] = []

    def host(region: HostRegion, values: list[Any]) -> list[Any]:
        assert region is negate
        seen.extend(values)
        return [(-values[0].astype(np.int32)).clip(-128, 127).astype(np.int8)]

    got = run_module(mixed, {"x": x}, host)["y"]
    assert np.array_equal(seen[0], np.maximum(x, 7))
    turned = (-np.maximum(x, 7).astype(np.int32)).clip(-128, 127).astype(np.int8)
    window = arithmetic.Window((3, 3), (1, 1), (1, 1), (1,) * 4)
    total = arithmetic.conv_sum(arithmetic.centred(turned, 7), w.astype(np.int64), window, 1) + b.reshape(1, 4, 1, 1)
    assert np.array_equal(got, arithmetic.requantize(total, F32(0.004), -5, T.I8))
    with pytest.raises(AssertionError):
        run_graph(mixed, {"x": x}, host)


def test_values_are_in_logical_order_whatever_their_storage() -> None:
    x = codes(17, 2, 3, 4, 5)
    graph = Graph()
    graph.input("x", x.shape, T.I8, QX)
    graph.tensor("t", (2, 5, 3, 4), T.I8, QX)
    graph.tensor("y", (2, 60), T.I8, QX)
    graph.node("transpose", ["x"], "t", permutation=(0, 3, 1, 2))
    graph.node("reshape", ["t"], "y")
    assert np.array_equal(run(graph, x), x.transpose(0, 3, 1, 2).reshape(2, 60))


def test_a_missing_input_is_a_key_error() -> None:
    module: Module = conv_graph(T.I8, QY).module(["y"])
    with pytest.raises(KeyError):
        run_graph(module, {}, no_host)
