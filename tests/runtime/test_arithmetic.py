"""Every formula of specs/arithmetic.md against onnxruntime: equal on every element, halves and odd shapes included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dnnc.ir.types import ElementType as T
from dnnc.runtime import arithmetic
from dnnc.runtime.arithmetic import Scale, Window
from numpy.typing import NDArray
from support.reference import MICROSOFT, run_operator

F32 = np.float32
ELEMENT = {np.int8: T.I8, np.uint8: T.U8, np.int16: T.I16, np.uint16: T.U16}
PAIRS = [(np.uint8, np.int8), (np.int8, np.int8), (np.uint8, np.uint8)]
# Ratios of these are often exact halves, thirds or fifths, where the order of roundings shows.
SCALES = [0.5, 0.25, 1.0, 0.1, 0.3, 0.02, 0.7 / 3, 0.0371]


class Draw:
    """Random codes, zero points and scales of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def codes(self, code: Any, *shape: int, limit: int = 1 << 16) -> NDArray[Any]:
        """With `limit` 64, products of int8 weights do not saturate in kernels without VNNI."""
        info = np.iinfo(code)
        return self.rng.integers(max(info.min, -limit), min(info.max, limit) + 1, shape).astype(code)

    def zero_point(self, code: Any) -> Any:
        return self.codes(code)[()]

    def scale(self) -> Any:
        return F32(self.rng.choice(SCALES))


@pytest.mark.parametrize("code", ELEMENT)
def test_quantize_and_dequantize(code: Any) -> None:
    draw = Draw(3)
    for _ in range(4):
        scale, zero = draw.scale(), draw.zero_point(code)
        span = 40_000 if np.iinfo(code).bits == 16 else 300
        halves = (draw.rng.integers(-span, span, 3000) + 0.5 * draw.rng.integers(0, 2, 3000)).astype(F32) * scale
        values = np.concatenate([halves, np.array([np.nan, np.inf, -np.inf, 3e38, -3e38], F32)])
        codes = run_operator("QuantizeLinear", [values, scale, zero], code, constants=2)
        assert np.array_equal(arithmetic.quantize(values, scale, int(zero), ELEMENT[code]), codes)
        real = run_operator("DequantizeLinear", [codes, scale, zero], F32, constants=2)
        assert np.array_equal(arithmetic.dequantize(codes, scale, int(zero)), real)


# kernel, strides, dilations, pads, image, group, channels a group, outputs a group
CONVOLUTIONS = [
    ((3,), (1,), (1,), (1, 0), (9,), 1, 5, 3),
    ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (7, 5), 1, 17, 9),
    ((3, 3), (2, 1), (1, 2), (1, 0, 2, 3), (9, 8), 1, 3, 5),
    ((2, 3), (3, 2), (1, 1), (1, 2, 0, 1), (8, 9), 3, 2, 3),
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (7, 6), 19, 1, 1),
    ((2, 2, 3), (1, 2, 1), (1, 1, 1), (0, 1, 1, 1, 0, 2), (4, 5, 6), 1, 3, 4),
]


def attributes_of(window: Window, group: int) -> dict[str, Any]:
    """How ONNX spells a convolution's window."""
    return {
        "kernel_shape": window.kernel,
        "strides": window.strides,
        "dilations": window.dilations,
        "pads": window.pads,
        "group": group,
    }


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("case", range(len(CONVOLUTIONS)))
@pytest.mark.parametrize("per_channel", [False, True])
def test_qlinear_conv(pair: tuple[Any, Any], case: int, per_channel: bool) -> None:
    kernel, strides, dilations, pads, image, group, c, m = CONVOLUTIONS[case]
    code, weight = pair
    draw = Draw(case)
    window = Window(kernel, strides, dilations, pads)
    x = draw.codes(code, 2, group * c, *image)
    w = draw.codes(weight, group * m, c, *kernel, limit=64)
    bias = draw.rng.integers(-9000, 9000, group * m).astype(np.int32)
    zx, zy = draw.zero_point(code), draw.zero_point(code)
    zw = weight(0) if weight is np.int8 else draw.zero_point(weight)
    sx, sw = draw.scale(), draw.scale()
    channel = (-1,) + (1,) * len(kernel)
    total = arithmetic.conv_sum(arithmetic.centred(x, zx), arithmetic.centred(w, zw), window, group)
    sy = F32(sx * sw * max(1.0, total.std()) / 50)
    if per_channel:
        sw = sw * draw.rng.choice([0.5, 1, 1 / 3], group * m).astype(F32)
        zw = np.full(group * m, zw)
    attributes = attributes_of(window, group)
    expected = run_operator("QLinearConv", [x, sx, zx, w, sw, zw, sy, zy, bias], code, constants=8, **attributes)
    accumulators, overflows = arithmetic.wrap(total + bias.reshape(channel), T.I32)
    factor = arithmetic.multiplier(sx, sw.reshape(channel) if per_channel else sw, sy)
    assert overflows == 0
    assert np.array_equal(arithmetic.requantize(accumulators, factor, int(zy), ELEMENT[code]), expected)
    if code is np.uint8 and not per_channel:
        sums = run_operator("ConvInteger", [x, w, zx, zw], np.int32, constants=3, **attributes)
        assert np.array_equal(total, sums)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("batched", [False, True])
def test_qlinear_matmul(pair: tuple[Any, Any], batched: bool) -> None:
    code, weight = pair
    draw = Draw(5)
    a = draw.codes(code, 3, 7, 61)
    b = draw.codes(weight, *((3,) if batched else ()), 61, 19, limit=64)
    za, zb, zy = draw.zero_point(code), weight(5), draw.zero_point(code)
    sa, sb = draw.scale(), draw.scale()
    total = arithmetic.matmul_sum(arithmetic.centred(a, za), arithmetic.centred(b, zb))
    sy = F32(sa * sb * total.std() / 40)
    expected = run_operator("QLinearMatMul", [a, sa, za, b, sb, zb, sy, zy], code, constants=5)
    assert np.array_equal(
        arithmetic.requantize(total, arithmetic.multiplier(sa, sb, sy), int(zy), ELEMENT[code]), expected
    )
    assert np.array_equal(total, run_operator("MatMulInteger", [a, b, za, zb], np.int32))


@pytest.mark.parametrize("pair", PAIRS)
def test_qgemm(pair: tuple[Any, Any]) -> None:
    code, weight = pair
    draw = Draw(6)
    a, b = draw.codes(code, 13, 37), draw.codes(weight, 11, 37, limit=64)
    bias = draw.rng.integers(-9999, 9999, 11).astype(np.int32)
    za, zb, zy = draw.zero_point(code), weight(3), draw.zero_point(code)
    sa, sb = draw.scale(), draw.scale()
    total = arithmetic.matmul_sum(arithmetic.centred(a, za), arithmetic.centred(b.T, zb)) + bias
    sy = F32(sa * sb * total.std() / 40)
    operands: list[Any] = [a, sa, za, b, sb, zb, bias, sy, zy]
    expected = run_operator("QGemm", operands, code, domain=MICROSOFT, constants=8, transB=1)
    assert np.array_equal(
        arithmetic.requantize(total, arithmetic.multiplier(sa, sb, sy), int(zy), ELEMENT[code]), expected
    )


BROADCASTS = [
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 3, 4, 5), (1, 3, 1, 1)),
    ((1, 3, 1, 1), (2, 3, 4, 5)),
    ((17, 1), (1, 31)),
    ((31,), (17, 31)),
    ((4, 5, 1), (4, 1, 1)),
    ((4, 1, 1), (4, 5, 1)),
    ((1, 1), (1,)),
]


@pytest.mark.parametrize("shapes", BROADCASTS)
@pytest.mark.parametrize("code", [np.int8, np.uint8])
def test_qlinear_add_and_mul(code: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    draw = Draw(8)
    for _ in range(12):
        a, b = draw.codes(code, *shapes[0]), draw.codes(code, *shapes[1])
        sy = draw.scale()
        sa, sb = (F32(sy * F32(draw.rng.integers(1, 8)) / F32(draw.rng.choice([2, 4, 6, 10]))) for _ in range(2))
        za, zb, zy = (draw.zero_point(code) for _ in range(3))
        operands: list[Any] = [a, sa, za, b, sb, zb, sy, zy]
        scales = (Scale(float(sa), int(za)), Scale(float(sb), int(zb)), Scale(float(sy), int(zy)))
        for op, formula in (("QLinearAdd", arithmetic.qlinear_add), ("QLinearMul", arithmetic.qlinear_mul)):
            expected = run_operator(op, operands, code, domain=MICROSOFT)
            assert np.array_equal(formula(a, b, *scales, ELEMENT[code]), expected)


POOLS = [
    ((3,), (2,), (1, 1), (9,)),
    ((2, 3), (1, 2), (1, 0, 0, 2), (7, 8)),
    ((3, 3), (3, 1), (2, 2, 2, 2), (6, 5)),
    ((2, 2, 2), (1, 2, 1), (0, 1, 1, 1, 0, 1), (4, 4, 5)),
]


@pytest.mark.parametrize("case", range(len(POOLS)))
@pytest.mark.parametrize("code", [np.int8, np.uint8])
@pytest.mark.parametrize("include_pad", [False, True])
def test_pools(code: Any, case: int, include_pad: bool) -> None:
    kernel, strides, pads, image = POOLS[case]
    draw = Draw(case)
    window = Window(kernel, strides, (1,) * len(kernel), pads)
    x = draw.codes(code, 2, 5, *image)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    assert np.array_equal(arithmetic.max_pool(x, window), run_operator("MaxPool", [x], code, **attributes))
    real = x.astype(F32)
    mean = run_operator("AveragePool", [real], F32, count_include_pad=int(include_pad), **attributes)
    assert np.allclose(arithmetic.average_pool(real, window, include_pad), mean, rtol=1e-6)
    for sy in (F32(0.02), draw.scale()):  # once with the input's own scale: halves everywhere
        sx, zx, zy = F32(0.02), draw.zero_point(code), draw.zero_point(code)
        operands: list[Any] = [x, sx, zx, sy, zy]
        expected = run_operator(
            "QLinearAveragePool", operands, code, domain=MICROSOFT, count_include_pad=int(include_pad), **attributes
        )
        got = arithmetic.qlinear_average_pool(
            x, window, include_pad, Scale(float(sx), int(zx)), Scale(float(sy), int(zy)), ELEMENT[code]
        )
        assert np.array_equal(got, expected)


@pytest.mark.parametrize("code", [np.int8, np.uint8])
@pytest.mark.parametrize("image", [(1, 1), (4, 4), (7, 5), (12, 1)])
def test_qlinear_global_average_pool(code: Any, image: tuple[int, int]) -> None:
    draw = Draw(11)
    for channels_last in (0, 1):
        x = draw.codes(code, 2, 37, *image)
        sx, sy, zx, zy = draw.scale(), draw.scale(), draw.zero_point(code), draw.zero_point(code)
        given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if channels_last else x
        operands: list[Any] = [given, sx, zx, sy, zy]
        expected = run_operator(
            "QLinearGlobalAveragePool", operands, code, domain=MICROSOFT, channels_last=channels_last
        )
        got = arithmetic.qlinear_global_average_pool(
            x, Scale(float(sx), int(zx)), Scale(float(sy), int(zy)), ELEMENT[code]
        )
        assert np.array_equal(got, expected.transpose(0, 3, 1, 2) if channels_last else expected)


@pytest.mark.parametrize("case", range(len(CONVOLUTIONS)))
def test_float_conv_and_its_transpose(case: int) -> None:
    kernel, strides, dilations, pads, image, group, c, m = CONVOLUTIONS[case]
    rng = np.random.default_rng(case)
    window = Window(kernel, strides, dilations, pads)
    attributes = attributes_of(window, group)
    x = rng.standard_normal((2, group * c, *image)).astype(F32)
    w = rng.standard_normal((group * m, c, *kernel)).astype(F32)
    expected = run_operator("Conv", [x, w], F32, **attributes)
    assert np.allclose(arithmetic.conv_sum(x, w, window, group), expected, rtol=1e-4, atol=1e-4)
    wt = rng.standard_normal((group * c, m, *kernel)).astype(F32)
    expected = run_operator("ConvTranspose", [x, wt], F32, **attributes)
    got = arithmetic.conv_transpose_sum(x, wt, window, group)
    assert got.shape == expected.shape == (2, group * m, *window.transposed_outputs(image))
    assert np.allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_transposed_convolution_with_negative_padding_extends_with_zeros() -> None:
    x, w = np.array([[[1, 2]]]), np.array([[[1, 1, 1]]])
    window = Window((3,), (2,), (1,), (0, -2))
    assert arithmetic.conv_transpose_sum(x, w, window, 1).tolist() == [[[1, 1, 3, 2, 2, 0, 0]]]


def test_padding_that_cuts_more_than_there_was_keeps_what_it_adds() -> None:
    assert arithmetic.padded(np.array([[7]]), (-2, 2), 1).tolist() == [[1]]
    assert arithmetic.padded(np.array([[7, 8]]), (2, -3), 1).tolist() == [[1]]


def test_integer_sums_are_exact_beyond_float64() -> None:
    a = np.array([[2**31 - 1, 1]])
    assert arithmetic.matmul_sum(a, a.T).tolist() == [[(2**31 - 1) ** 2 + 1]]


def test_clamp_of_codes_is_the_clamp_of_their_values() -> None:
    x = np.arange(-128, 128).astype(np.int8)
    for scale in SCALES:
        real = np.clip(arithmetic.dequantize(x, scale, -3), F32(0.1), F32(6.0))
        expected = arithmetic.quantize(real, scale, -3, T.I8)
        assert np.array_equal(arithmetic.clamp_codes(x, 0.1, 6.0, Scale(scale, -3), T.I8), expected)
