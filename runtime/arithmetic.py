"""The numpy model of specs/arithmetic.md: one function an operator, vectorised, for codes and for real numbers.

Arrays are in the model's own (ONNX) axis order. Codes are held in integer arrays of any width, real numbers in float32;
bfloat16 values are held as float32 that a bfloat16 can represent. Every formula below was found equal to onnxruntime
1.31 (CPU, session.x64quantprecision=1) on every element of the measurements that specs/arithmetic.md lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..ir.frozen import dataclass
from ..ir.types import ElementType

Array = NDArray[Any]
F32 = np.float32


# --- Rounding -----------------------------------------------------------------------------------------------------


def fma32(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> NDArray[np.float32]:
    """a * b + c, rounded once to float32.

    The product of two float32 is exact in float64. The sum is rounded to odd there (an inexact result gets its last bit
    set), and then rounding to float32, which has more than two bits fewer, gives the rounding of the exact value
    (Boldo and Melquiond, "Emulation of FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd", 2008).
    """
    with np.errstate(all="ignore"):
        left = np.asarray(a, F32).astype(np.float64) * np.asarray(b, F32).astype(np.float64)
        right = np.asarray(c, F32).astype(np.float64)
        total = np.asarray(left + right)
        virtual = total - left
        error = (left - (total - virtual)) + (right - virtual)  # Knuth's TwoSum: left + right = total + error, exactly
        even = (total.view(np.int64) & 1) == 0
        towards = np.where(error > 0, np.inf, -np.inf)
        total = np.where(np.isfinite(total) & (error != 0) & even, np.nextafter(total, towards), total)
        return total.astype(F32)


def bf16_bits(values: ArrayLike) -> NDArray[np.uint16]:
    """The bfloat16 nearest to each float32, halves to even, as its bit pattern; a NaN stays a quiet NaN."""
    bits = np.ascontiguousarray(values, F32).view(np.uint32).reshape(np.shape(values))
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x0040
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, quiet, rounded).astype(np.uint16)


def bf16_values(bits: ArrayLike) -> NDArray[np.float32]:
    """The float32 equal to each bfloat16 bit pattern."""
    return np.asarray(np.asarray(bits, np.uint16).astype(np.uint32) << 16, np.uint32).view(F32)


def to_container(values: ArrayLike, element: ElementType) -> Array:
    """Values as `element` stores them: bf16 as bit patterns, floats rounded to nearest even, integers unchanged.

    Integers must lie in the range of `element`.
    """
    if element is ElementType.BF16:
        return bf16_bits(values)
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(element.container)


def from_container(stored: Array, element: ElementType) -> Array:
    """What a stored array means: float32 for every float type, the integers themselves otherwise."""
    if element is ElementType.BF16:
        return bf16_values(stored)
    return stored.astype(F32) if element.is_float else stored


def wrap(exact: Array, element: ElementType) -> tuple[Array, int]:
    """Exact integers reduced to the width of `element` in two's complement, and how many of them did not fit."""
    if element.bits == 64:
        return exact.astype(np.int64), 0
    low, high = element.minimum, element.maximum
    overflows = int(np.count_nonzero((exact < low) | (exact > high)))
    return ((exact.astype(np.int64) - low) & ((1 << element.bits) - 1)) + low, overflows


def saturate(rounded: ArrayLike, zero_point: ArrayLike, element: ElementType) -> Array:
    """min(max(rounded + zero_point, minimum), maximum) for integral float32; a NaN gives the minimum."""
    with np.errstate(invalid="ignore"):
        shifted = np.asarray(rounded, F32).astype(np.float64) + np.asarray(zero_point, np.float64)
    bounded = np.where(np.isnan(shifted), element.minimum, np.clip(shifted, element.minimum, element.maximum))
    return bounded.astype(element.container)


# --- Quantisation -------------------------------------------------------------------------------------------------


def quantize(values: ArrayLike, scale: ArrayLike, zero_point: ArrayLike, element: ElementType) -> Array:
    """QuantizeLinear: saturate(rint(x / scale) + zero_point). A division; halves to even before the zero point."""
    with np.errstate(all="ignore"):
        return saturate(np.rint(np.asarray(values, F32) / np.asarray(scale, F32)), zero_point, element)


def dequantize(codes: ArrayLike, scale: ArrayLike, zero_point: ArrayLike) -> NDArray[np.float32]:
    """DequantizeLinear: float32(code - zero_point) * scale, the difference exact."""
    difference = np.asarray(codes).astype(np.int64) - np.asarray(zero_point, np.int64)
    with np.errstate(all="ignore"):
        return np.asarray(difference.astype(F32) * np.asarray(scale, F32), F32)


def multiplier(x_scale: ArrayLike, w_scale: ArrayLike, y_scale: ArrayLike) -> NDArray[np.float32]:
    """float32(sx) * float32(sw) / float32(sy), each step rounded: what requantisation multiplies by."""
    with np.errstate(all="ignore"):
        return np.asarray(np.asarray(x_scale, F32) * np.asarray(w_scale, F32) / np.asarray(y_scale, F32), F32)


def requantize(accumulators: ArrayLike, factor: ArrayLike, zero_point: ArrayLike, element: ElementType) -> Array:
    """saturate(rint(float32(accumulator) * factor) + zero_point)."""
    with np.errstate(all="ignore"):
        return saturate(np.rint(np.asarray(accumulators).astype(F32) * np.asarray(factor, F32)), zero_point, element)


# --- Sums ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel moves over an image: per spatial axis; `pads` are the begins, then the ends, and may be negative."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    def outputs(self, image: Sequence[int]) -> tuple[int, ...]:
        """Output positions per spatial axis: floor((image + pads - reach) / stride) + 1, at least 0."""
        rank = len(self.kernel)
        spans = [n + self.pads[i] + self.pads[rank + i] - self.reach(i) for i, n in enumerate(image)]
        return tuple(max(0, span // stride + 1) for span, stride in zip(spans, self.strides, strict=True))

    def transposed_outputs(self, image: Sequence[int]) -> tuple[int, ...]:
        """Output positions of a transposed convolution: (image - 1) * stride + reach - pads."""
        rank = len(self.kernel)
        return tuple(
            max(0, ((n - 1) * self.strides[i] + self.reach(i) if n else 0) - self.pads[i] - self.pads[rank + i])
            for i, n in enumerate(image)
        )

    def reach(self, axis: int) -> int:
        """Image positions that a kernel spans."""
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1

    def taps(self) -> Iterator[tuple[int, ...]]:
        """Kernel positions, row-major: the order in which a pool adds."""
        return product(*(range(k) for k in self.kernel))


def padded(x: Array, pads: Sequence[int], value: Any) -> Array:
    """`x` with its trailing axes extended by `pads` (begins, ends) of `value`; negative pads cut."""
    rank = len(pads) // 2
    grow = [(0, 0)] * (x.ndim - rank) + [(max(0, pads[i]), max(0, pads[rank + i])) for i in range(rank)]
    x = np.pad(x, grow, constant_values=value)  # first: a cut may be longer than the axis was
    cut: list[Any] = [slice(max(0, -pads[i]), max(0, x.shape[i - rank] + min(0, pads[rank + i]))) for i in range(rank)]
    return x[..., *cut]


def tap_values(image: Array, tap: Sequence[int], window: Window, outputs: Sequence[int]) -> Array:
    """What each output position sees of the padded `image` at one kernel position."""
    index: list[Any] = [
        slice(start := k * d, start + s * (n - 1) + 1 if n else start, s)
        for k, d, s, n in zip(tap, window.dilations, window.strides, outputs, strict=True)
    ]
    return image[..., *index]


def at_tap(weights: Array, tap: Sequence[int]) -> Array:
    """The weights at one kernel position; the kernel's axes are the last."""
    return weights[(slice(None),) * (weights.ndim - len(tap)) + tuple(tap)]


def _working_type(a: Array, b: Array, terms: int) -> type[np.float64] | type[np.int64]:
    """float64 for real numbers, and for integers whose sums stay exact in it (below 2^53); else int64."""
    if a.dtype.kind == "f" or a.size == 0 or b.size == 0:
        return np.float64
    largest = max(abs(int(a.min())), abs(int(a.max()))) * max(abs(int(b.min())), abs(int(b.max())))
    return np.float64 if terms * largest < 2**53 else np.int64


def _summed(total: Array, real: bool) -> Array:
    """Sums of real numbers rounded once to float32; sums of integers as exact int64."""
    with np.errstate(over="ignore"):
        return total.astype(F32 if real else np.int64)


def conv_sum(x: Array, w: Array, window: Window, group: int) -> Array:
    """Cross-correlation of x [N,C,spatial] with w [M,C/group,kernel]: exact int64, or float32 rounded once.

    Integers must have their zero points subtracted; then padding is 0.
    """
    n, c, m = x.shape[0], x.shape[1], w.shape[0]
    outputs = window.outputs(x.shape[2:])
    work = _working_type(x, w, w[0].size if m else 0)
    image = padded(x.astype(work), window.pads, 0)
    weights = w.astype(work).reshape(group, m // group, c // group, *window.kernel)
    total: Array = np.zeros((n, group, m // group, prod(outputs)), work)
    if total.size:
        for tap in window.taps():
            seen = tap_values(image, tap, window, outputs).reshape(n, group, c // group, -1)
            total += at_tap(weights, tap) @ seen
    return _summed(total.reshape(n, m, *outputs), x.dtype.kind == "f")


def conv_transpose_sum(x: Array, w: Array, window: Window, group: int) -> Array:
    """Transposed convolution of x [N,C,spatial] with w [C,M/group,kernel]; as `conv_sum`."""
    n, c = x.shape[:2]
    m = w.shape[1] * group
    rank = len(window.kernel)
    work = _working_type(x, w, (c // group) * prod(window.kernel))
    full = [(size - 1) * window.strides[i] + window.reach(i) if size else 0 for i, size in enumerate(x.shape[2:])]
    total: Array = np.zeros((n, m, *full), work)
    weights = w.astype(work).reshape(group, c // group, m // group, *window.kernel)
    image = x.astype(work).reshape(n, group, c // group, -1)
    if image.size:
        for tap in window.taps():
            spread = (at_tap(weights, tap).swapaxes(1, 2) @ image).reshape(n, m, *x.shape[2:])
            tap_values(total, tap, window, x.shape[2:])[...] += spread
    return _summed(padded(total, [-p for p in window.pads[: 2 * rank]], 0), x.dtype.kind == "f")


def matmul_sum(a: Array, b: Array) -> Array:
    """numpy matmul over the last two axes: exact int64, or float32 rounded once. Zero points are subtracted before."""
    work = _working_type(a, b, a.shape[-1])
    return _summed(a.astype(work) @ b.astype(work), a.dtype.kind == "f")


def centred(codes: Array, zero_point: ArrayLike) -> Array:
    """code - zero_point, exact."""
    return codes.astype(np.int64) - np.asarray(zero_point, np.int64)


# --- Elementwise and pools ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """A tensor's quantisation, one for all elements."""

    scale: float
    zero_point: int


def qadd_scalars(a: Scale, b: Scale, y: Scale) -> tuple[np.float32, np.float32, np.float32]:
    """ra = sa / sy, rb = sb / sy, base = zy - fma(za, ra, rb * zb), all float32."""
    ra, rb = F32(a.scale) / F32(y.scale), F32(b.scale) / F32(y.scale)
    base = F32(y.zero_point) - fma32(F32(a.zero_point), ra, rb * F32(b.zero_point))
    return ra, rb, F32(base)


def qadd_exchanges(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether QLinearAdd of these shapes adds b first: where a is the one that is broadcast along the innermost axis.

    Both being a single element counts as that too. Then `a` and `b` trade places in the whole formula.
    """
    rank = max(len(a), len(b))
    wide_a, wide_b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    for of_a, of_b in zip(reversed(wide_a), reversed(wide_b), strict=True):
        if max(of_a, of_b) > 1:
            return of_a == 1
    return True


def qlinear_add(a: Array, b: Array, sa: Scale, sb: Scale, sy: Scale, element: ElementType) -> Array:
    """com.microsoft.QLinearAdd: saturate(rint(fma(a, ra, fma(b, rb, base)))), where neither is broadcast inside."""
    if qadd_exchanges(a.shape, b.shape):
        a, b, sa, sb = b, a, sb, sa
    ra, rb, base = qadd_scalars(sa, sb, sy)
    return saturate(np.rint(fma32(a.astype(F32), ra, fma32(b.astype(F32), rb, base))), 0, element)


def qlinear_mul(a: Array, b: Array, sa: Scale, sb: Scale, sy: Scale, element: ElementType) -> Array:
    """com.microsoft.QLinearMul: saturate(rint(float32((a - za) * (b - zb)) * m + zy)): zero point before rounding."""
    exact = centred(a, sa.zero_point) * centred(b, sb.zero_point)
    scaled = exact.astype(F32) * multiplier(sa.scale, sb.scale, sy.scale) + F32(sy.zero_point)
    return saturate(np.rint(scaled), 0, element)


def pool_counts(image: Sequence[int], window: Window, include_pad: bool) -> Array:
    """How many elements each output position of an average pool divides by."""
    outputs = window.outputs(image)
    if include_pad:
        return np.full(outputs, prod(window.kernel), np.int64)
    inside = padded(np.ones(tuple(image), np.int64), window.pads, 0)
    counts = np.zeros(outputs, np.int64)
    if counts.size:
        for tap in window.taps():
            counts += tap_values(inside, tap, window, outputs)
    return counts


def max_pool(x: Array, window: Window) -> Array:
    """The greatest element of each window, on codes or on real numbers; padding never wins."""
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    outputs = window.outputs(x.shape[2:])
    image = padded(x, window.pads, least)
    greatest = np.full((*x.shape[:2], *outputs), least, x.dtype)
    if greatest.size:
        for tap in window.taps():
            greatest = np.maximum(greatest, tap_values(image, tap, window, outputs))
    return greatest


def average_pool(x: Array, window: Window, include_pad: bool) -> NDArray[np.float32]:
    """The mean of each window of real numbers, summed exactly enough (float64) and rounded once."""
    outputs = window.outputs(x.shape[2:])
    image = padded(x.astype(np.float64), window.pads, 0)
    total = np.zeros((*x.shape[:2], *outputs))
    if total.size:
        for tap in window.taps():
            total += tap_values(image, tap, window, outputs)
    with np.errstate(all="ignore"):
        return (total / pool_counts(x.shape[2:], window, include_pad)).astype(F32)


def qlinear_average_pool(
    x: Array, window: Window, include_pad: bool, sx: Scale, sy: Scale, element: ElementType
) -> Array:
    """com.microsoft.QLinearAveragePool: saturate(rint(sum / count / sy + zy)) in float32.

    The sum is over dequantised values, row-major over the window, each addition rounded; the zero point is added before
    rounding. (Unlike the global pool, which requantises an integer sum.)
    """
    outputs = window.outputs(x.shape[2:])
    image = padded(dequantize(x, sx.scale, sx.zero_point), window.pads, 0)
    total = np.zeros((*x.shape[:2], *outputs), F32)
    if total.size:
        for tap in window.taps():
            total = total + tap_values(image, tap, window, outputs)
    with np.errstate(all="ignore"):
        mean = total / pool_counts(x.shape[2:], window, include_pad).astype(F32)
        return saturate(np.rint(mean / F32(sy.scale) + F32(sy.zero_point)), 0, element)


def global_average_multiplier(x_scale: float, y_scale: float, count: int) -> np.float32:
    """float32(sx) / (float32(sy) * float32(count))."""
    return F32(F32(x_scale) / (F32(y_scale) * F32(count)))


def qlinear_global_average_pool(x: Array, sx: Scale, sy: Scale, element: ElementType) -> Array:
    """com.microsoft.QLinearGlobalAveragePool of x [N,C,spatial]: the integer sum, requantised."""
    axes = tuple(range(2, x.ndim))
    total = centred(x, sx.zero_point).sum(axis=axes, keepdims=True)
    return requantize(total, global_average_multiplier(sx.scale, sy.scale, prod(x.shape[2:])), sy.zero_point, element)


def table(x: Array, entries: Array, element: ElementType) -> Array:
    """entries[x - minimum of x's type]."""
    chosen: Array = entries[x.astype(np.int64) - element.minimum]
    return chosen


def clamp_codes(x: Array, low: float, high: float, quantisation: Scale, element: ElementType) -> Array:
    """Clip to low..high in real numbers, on codes: quantising is monotonic, so the bounds are quantised instead."""
    bounds = quantize(np.array([low, high], F32), quantisation.scale, quantisation.zero_point, element)
    return np.asarray(np.minimum(np.maximum(x, bounds[0]), bounds[1]))


def leaky_relu(x: Array, alpha: float) -> NDArray[np.float32]:
    """x where x >= 0, else x * alpha, one rounding."""
    return np.where(x >= 0, x, x * F32(alpha)).astype(F32)
