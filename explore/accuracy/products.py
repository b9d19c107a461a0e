"""Convolutions and matrix products of codes with constant weights, on batches of held codes.

All are one form: images [N, H, W, C], weights [M, C/group, R, S], results [N, H', W', M]. Operands and results of at
most 8 bits take onnxruntime's QLinearConv, channels last. All others are sums of products of words of 16 bits (`tile`),
wrapped to 32 bits as the accumulator is, and what the result's type asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ...ir.diagnostics import ensure
from ...ir.frozen import dataclass
from ...ir.graph import ValueType
from ...ir.types import ElementType
from ...runtime import arithmetic
from ...runtime.arithmetic import F32, Window
from . import kernels
from .codes import held_dtype, is_code
from .sessions import MICROSOFT, Operand, Sessions
from .tile import LANES

Array = NDArray[Any]
Product = Callable[[Array], Array]
_LARGEST_BYTE = 255
_WORD_BITS = 16
_LARGEST_SUM = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Weighted:
    """What a product computes. `weights` are less their zero points (of a type of `w_bits`), `scales` one or one per
    output channel; the operand's type has at most 16 bits and one scale, the result is codes of one scale, i32 or f32.

    The accumulator has 32 bits where both operands have at most 8, else as many as the sums need."""

    weights: Array
    scales: Array
    bias: Array | None
    window: Window
    group: int
    x: ValueType
    w_bits: int
    y: ValueType


def product(of: Weighted, sessions: Sessions) -> Product:
    """A function from held images to held results."""
    low, high = int(of.weights.min()), int(of.weights.max())
    bytes_only = low >= -128 and high <= 127 and of.x.type.bits <= 8 and is_code(of.y.type) and of.y.type.bits <= 8
    if bytes_only and min(of.window.pads) >= 0 and _is_short(of, of.weights):
        return _byte_product(of, sessions)
    if of.group > 1 and of.group == of.weights.shape[0] and of.weights.shape[1] == 1:
        return _finished(of, _depthwise_sums(of))
    return _finished(of, _sums(of))


def _zero_point(kind: ValueType) -> int:
    """The zero point as it is held."""
    assert kind.quantization is not None
    return kind.quantization.zero_point[0] - kind.type.minimum


def _scale(kind: ValueType) -> np.float32:
    assert kind.quantization is not None
    return F32(kind.quantization.scale[0])


def _byte_product(of: Weighted, sessions: Sessions) -> Product:
    channels = len(of.weights)
    bias = np.zeros(channels, np.int32) if of.bias is None else of.bias.astype(np.int32)
    operands = [
        Operand("x_scale", np.asarray(_scale(of.x))),
        Operand("x_zero_point", np.asarray(_zero_point(of.x), np.uint8), True),
        Operand("w", of.weights.astype(np.int8), True),
        Operand("w_scale", np.broadcast_to(of.scales.reshape(-1), channels)),
        Operand("w_zero_point", np.zeros(channels, np.int8), True),
        Operand("y_scale", np.asarray(_scale(of.y))),
        Operand("y_zero_point", np.asarray(_zero_point(of.y), np.uint8)),
        Operand("bias", bias, True),
    ]
    window = of.window
    attributes = {
        "kernel_shape": window.kernel,
        "strides": window.strides,
        "dilations": window.dilations,
        "pads": window.pads,
        "group": of.group,
        "channels_last": 1,
    }
    extents = [None, *(None for _ in window.kernel), of.weights.shape[1] * of.group]
    conv = sessions.operator(
        "QLinearConv", operands, extents, np.dtype(np.uint8), domain=MICROSOFT, attributes=attributes
    )
    largest = (1 << of.y.type.bits) - 1
    if largest == _LARGEST_BYTE:
        return conv

    def run(x: Array) -> Array:
        y = conv(x)
        return np.minimum(y, np.uint8(largest), out=y)  # the least code is 0, where bytes saturate on their own

    return run


def geometry(window: Window, image: tuple[int, ...]) -> tuple[Array, Array, tuple[int, ...]]:
    """Of a window on images of two axes: the position of each tap, strides and what leads to the first tap, and the
    extents of the result."""
    taps = [[tap[axis] * window.dilations[axis] for axis in range(2)] for tap in window.taps()]
    places = [*window.strides, -window.pads[0], -window.pads[1]]
    return np.array(taps, np.int64), np.array(places, np.int64), window.outputs(image)


def windows(x: Array, window: Window, fill: int) -> Array:
    """The windows of held images [N, H, W, C] as [N, H', W', taps * C]; `fill` is what padding holds."""
    image = _padded(x, window.pads, fill)
    n, down, across, one = image.strides
    shape = (len(x), *window.outputs(x.shape[1:3]), *window.kernel, x.shape[3])
    steps = (n, down * window.strides[0], across * window.strides[1], down * window.dilations[0])
    seen = as_strided(image, shape, (*steps, across * window.dilations[1], one), writeable=False)
    found: Array = np.ascontiguousarray(seen).reshape(*shape[:3], -1)
    return found


def _padded(x: Array, pads: tuple[int, ...], fill: int) -> Array:
    """Images [N, H, W, C] with `pads` around them, contiguous. (numpy's own way takes as long as the product.)"""
    if min(pads) < 0:
        turned = arithmetic.padded(x.transpose(0, 3, 1, 2), pads, fill).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(turned)
    top, left, bottom, right = pads
    n, height, width, channels = x.shape
    image = np.full((n, top + height + bottom, left + width + right, channels), fill, x.dtype)
    image[:, top : top + height, left : left + width] = x
    return image


def _is_pointwise(window: Window) -> bool:
    return window.kernel == (1, 1) and window.strides == (1, 1) and not any(window.pads)


def _sums(of: Weighted) -> Product:
    """Sums of products [N, H', W', columns], of which the first M count: words times words, in int32 or int64. Groups
    are one dense product with zeros between them."""
    channels, deep = of.weights.shape[0], of.weights.shape[1] * of.group
    dense: Array = np.zeros((channels, deep, *of.window.kernel), np.int64)
    for g in range(of.group):
        rows, seen = (slice(g * each // of.group, (g + 1) * each // of.group) for each in (channels, deep))
        dense[rows, seen] = of.weights[rows]
    zero = _zero_point(of.x)
    # Codes of 16 bits become words by lying 2^15 lower than they are held, in the padding, too: it is the zero point.
    below = 1 << 15 if of.x.type.bits == 16 else 0
    constant = _bias(of) + (below - zero) * dense.reshape(channels, -1).sum(axis=1)
    is_short = _is_short(of, dense)
    bits, planes = (_WORD_BITS, [dense]) if is_short and _fits_words(dense) else _planes(dense, of.x.type.bits)
    packed = _packed(np.concatenate(planes))
    initial = np.zeros(LANES * len(packed), np.int32)
    if len(planes) == 1:
        initial[:channels] = _wrapped(constant)
    strides, pointwise = np.array(of.window.strides, np.int64), _is_pointwise(of.window)

    def run(x: Array) -> Array:
        outputs = of.window.outputs(x.shape[1:3])
        image = _words(x.reshape(1, 1, -1, x.shape[3]) if pointwise else x, of.window.pads, zero, below)
        parts = np.empty((len(x), *outputs, len(initial)), np.int32)
        seen = parts.reshape(1, 1, -1, len(initial)) if pointwise else parts
        kernels.products(image, packed, initial, seen, _offsets(of.window, image), strides)
        if len(planes) == 1:
            return parts
        y = np.empty((len(x), *outputs, channels), np.int32 if is_short else np.int64)
        kernels.planes_joined(parts.reshape(-1, len(initial)), y.reshape(-1, channels), len(planes), bits, constant)
        return y

    return run


def _is_short(of: Weighted, weights: Array) -> bool:
    """Whether int32 holds the sums, or they wrap to it: the accumulator of operands of at most 8 bits has 32."""
    if max(of.x.type.bits, of.w_bits) <= 8:
        return True
    zero, most = _zero_point(of.x), (1 << of.x.type.bits) - 1
    reach = np.abs(weights).reshape(len(weights), -1).sum(axis=1) * max(zero, most - zero) + np.abs(_bias(of))
    return int(reach.max()) <= _LARGEST_SUM


def _fits_words(weights: Array) -> bool:
    return int(weights.min()) >= -(1 << 15) and int(weights.max()) < 1 << 15


def _planes(weights: Array, x_bits: int) -> tuple[int, list[Array]]:
    """Weights as digits, w = plane 0 + 2^bits * plane 1 + ..., of as many bits as keep the sums of each plane, of words
    of x, within int32; and how many bits these are."""
    largest_word = 1 << min(x_bits, 15)
    for bits in range(_WORD_BITS - 1, 1, -1):
        planes = _digits(weights, bits)
        sums = max(int(np.abs(each).reshape(len(each), -1).sum(axis=1).max()) for each in planes)
        if sums * largest_word <= _LARGEST_SUM:
            break
    else:
        ensure(False, "sums of digits of two bits leave int32")
    return bits, planes


def _digits(weights: Array, bits: int) -> list[Array]:
    """The digits of weights to the base 2^bits, the least first; all lie within half of it around 0."""
    rest, digits, half = weights, list[Array](), 1 << bits - 1
    while rest.min() < -half or rest.max() >= half:
        digits.append((rest + half & (1 << bits) - 1) - half)
        rest = rest - digits[-1] >> bits
    return [*digits, rest]


def _packed(words: Array) -> Array:
    """Weights [M, C, R, S] as [blocks of 16 channels, taps, pairs of C, 16, 2] words, zeros where there are none."""
    channels, deep = words.shape[:2]
    blocks, pairs, taps = -(-channels // LANES), -(-deep // 2), prod(words.shape[2:])
    whole = np.zeros((blocks * LANES, pairs * 2, taps), np.int16)
    whole[:channels, :deep] = words.reshape(channels, deep, taps)
    parted = whole.reshape(blocks, LANES, pairs, 2, taps)
    packed: Array = np.ascontiguousarray(parted.transpose(0, 4, 2, 1, 3))
    return packed


def _words(x: Array, pads: tuple[int, ...], zero: int, below: int) -> Array:
    """Held images as words, `below` lower, with the zero point around them and an even number of channels."""
    channels = x.shape[3] + x.shape[3] % 2
    if min(pads) < 0:
        x, pads = _padded(x, pads, zero), (0, 0, 0, 0)
    top, left, bottom, right = pads
    n, height, width, deep = x.shape
    image = np.full((n, top + height + bottom, left + width + right, channels), zero - below, np.int16)
    # Modulo 2^16 the highest bit is all that 2^15 changes.
    image[:, top : top + height, left : left + width, :deep] = (x ^ x.dtype.type(below)).view(np.int16) if below else x
    return image


def _offsets(window: Window, image: Array) -> Array:
    """Bytes from a window's first position to each of its taps."""
    taps = [tap[0] * window.dilations[0] * image.shape[2] + tap[1] * window.dilations[1] for tap in window.taps()]
    return np.array([each * image.shape[3] * image.itemsize for each in taps], np.int64)


def _bias(of: Weighted) -> Array:
    bias: Array = np.zeros(len(of.weights), np.int64) if of.bias is None else of.bias.astype(np.int64)
    return bias


def _wrapped(exact: Array) -> Array:
    wrapped: Array = arithmetic.wrap(exact, ElementType.I32)[0].astype(np.int32)
    return wrapped


def _depthwise_sums(of: Weighted) -> Product:
    weights = np.ascontiguousarray(of.weights.reshape(len(of.weights), -1).T.astype(np.int32))
    is_short = _is_short(of, of.weights)
    bias, zero = (_wrapped(_bias(of)) if is_short else _bias(of)), _zero_point(of.x)

    def run(x: Array) -> Array:
        taps, places, outputs = geometry(of.window, x.shape[1:3])
        y = np.empty((len(x), *outputs, len(bias)), bias.dtype)
        kernels.depthwise(x, weights, bias, y, taps, places, zero)
        return y

    return run


def _finished(of: Weighted, sums: Product) -> Product:
    """What the result's type asks for: the sum itself (i32), its real value (f32) or a requantisation."""
    channels = len(of.weights)
    if of.y.type is ElementType.I32:
        return lambda x: sums(x)[..., :channels].astype(np.int32)  # which wraps
    if of.y.type is ElementType.F32:
        real = np.ascontiguousarray(np.broadcast_to(_scale(of.x) * of.scales.reshape(-1), channels), F32)

        def run_real(x: Array) -> Array:
            found = sums(x)
            y = np.empty((*found.shape[:3], channels), F32)
            kernels.scaled(found.reshape(-1, found.shape[3]), y.reshape(-1, channels), real)
            return y

        return run_real
    factors = arithmetic.multiplier(_scale(of.x), of.scales.reshape(-1), _scale(of.y))
    factors = np.ascontiguousarray(np.broadcast_to(factors, channels))
    low, high = bounds(of.y)

    def run(x: Array) -> Array:
        found = sums(x)
        y = np.empty((*found.shape[:3], channels), held_dtype(of.y.type))
        kernels.requantised(found.reshape(-1, found.shape[3]), y.reshape(-1, channels), factors, low, high)
        return y

    return run


def bounds(kind: ValueType) -> tuple[np.float32, np.float32]:
    """The least and the greatest code less the zero point."""
    assert kind.quantization is not None
    zero = kind.quantization.zero_point[0]
    return F32(kind.type.minimum - zero), F32(kind.type.maximum - zero)
