"""Convolutions and matrix products with constant weights as functions on batches; None where they have no fast form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...ir.types import ElementType, Tensor, constant_array
from ...runtime import arithmetic
from ...runtime.arithmetic import F32, Window
from .codes import arranged, held_order, is_code
from .operands import (
    Fast,
    are_codes,
    as_images,
    flat_again,
    in_two_axes,
    is_channels_last,
    kind_of,
    least_of,
    parameters_of,
    window_of,
)
from .plain import Plain
from .products import Weighted, product
from .sessions import Sessions

Array = NDArray[Any]


def conv(plain: Plain, sessions: Sessions) -> Fast | None:
    """Of codes, channels last, along one or two spatial axes."""
    x, w, *more = plain.operands
    assert x is not None and w is not None
    if w.constant is None or not (is_channels_last(x) and is_channels_last(plain.result)) or not are_codes(x):
        return None
    window = window_of(plain.node, (w.shape or ())[2:])
    weights = _centred(plain, w)
    if weights is None or len(window.kernel) > 2:
        return None
    if len(window.kernel) == 1:
        weights = weights[:, :, None]
    group = cast(int, plain.node.attribute("group"))
    found = _product(plain, sessions, x, w, weights, more[0] if more else None, in_two_axes(window), group=group)
    if found is None:
        return None
    run = found
    return lambda values: flat_again(run(as_images(values[0])), values[0])


def _centred(plain: Plain, w: Tensor) -> Array | None:
    """Weights less their zero points; None where they are no codes."""
    if not isinstance(w.type, ElementType) or not is_code(w.type) or w.quantization is None:
        return None
    zero = np.array(w.quantization.zero_point, np.int64)
    if w.quantization.axis is not None:
        shape = [1] * len(w.shape or ())
        shape[w.quantization.axis] = -1
        zero = zero.reshape(shape)
    return arithmetic.centred(constant_array(w, plain.blobs), zero)


def _product(
    plain: Plain,
    sessions: Sessions,
    x: Tensor,
    w: Tensor,
    weights: Array,
    bias: Tensor | None,
    window: Window,
    *,
    group: int = 1,
    channel_axis: int = 0,
) -> Callable[[Array], Array] | None:
    """The product with weights [M, C/group, R, S], where its operands and result have a fast form; `channel_axis` is
    that of output channels in `w`, the tensor that they come from."""
    y = kind_of(plain.result)
    legal = y.type in (ElementType.I32, ElementType.F32) or are_codes(plain.result)
    if bias is not None and (bias.constant is None or bias.elements not in (1, len(weights))):
        legal = False
    if not legal or 0 in weights.shape:
        return None
    assert w.quantization is not None
    if w.quantization.axis not in (None, channel_axis):
        return None
    added = None
    if bias is not None:
        added = np.broadcast_to(constant_array(bias, plain.blobs).reshape(-1), len(weights))
    scales = np.array(w.quantization.scale, F32)
    return product(Weighted(weights, scales, added, window, group, kind_of(x), kind_of(w).type.bits, y), sessions)


def matmul(plain: Plain, sessions: Sessions) -> Fast | None:
    """Of codes with a constant matrix."""
    a, b, *more = plain.operands
    assert a is not None and b is not None
    if b.constant is None or len(b.shape or ()) != 2 or plain.node.attribute("transpose_a") or not are_codes(a):
        return None
    weights = _centred(plain, b)
    if weights is None:
        return None
    columns_axis = 0 if plain.node.attribute("transpose_b") else 1
    if columns_axis == 1:
        weights = np.ascontiguousarray(weights.T)
    bias = more[0] if more else None
    point = Window((1, 1), (1, 1), (1, 1), (0,) * 4)
    found = _product(plain, sessions, a, b, weights[:, :, None, None], bias, point, channel_axis=columns_axis)
    if found is None:
        return None
    run = found

    rank = len(a.shape or ())
    before, after, in_order = held_order(a), held_order(plain.result), tuple(range(rank))

    def rows(values: Sequence[Array]) -> Array:
        x = arranged(values[0], before, in_order)
        y = run(x.reshape(1, 1, -1, x.shape[-1]))
        return arranged(y.reshape(*x.shape[:-1], y.shape[-1]), in_order, after)

    return rows


def conv_transpose(plain: Plain, sessions: Sessions) -> Fast | None:
    """A convolution of images with zero points between their positions, by the turned kernel."""
    x, w, *more = plain.operands
    assert x is not None and w is not None
    if w.constant is None or not (is_channels_last(x) and is_channels_last(plain.result)) or not are_codes(x):
        return None
    window = window_of(plain.node, (w.shape or ())[2:])
    weights = _centred(plain, w)
    group = cast(int, plain.node.attribute("group"))
    assert w.quantization is not None
    if weights is None or len(window.kernel) != 2 or (group > 1 and not w.quantization.per_tensor):
        return None
    deep = weights.shape[0] // group
    turned = weights[:, :, ::-1, ::-1].reshape(group, deep, weights.shape[1], *window.kernel).swapaxes(1, 2)
    turned = np.ascontiguousarray(turned.reshape(-1, deep, *window.kernel))
    pads = tuple(window.reach(axis % 2) - 1 - window.pads[axis] for axis in range(4))
    spread = Window(window.kernel, (1, 1), window.dilations, pads)
    found = _product(plain, sessions, x, w, turned, more[0] if more else None, spread, group=group, channel_axis=1)
    if found is None:
        return None
    run, zero = found, parameters_of(x).zero_point - least_of(x)
    down, across = window.strides

    def spaced(values: Sequence[Array]) -> Array:
        (value,) = values
        n, height, width, channels = value.shape
        wide = np.full((n, (height - 1) * down + 1, (width - 1) * across + 1, channels), zero, value.dtype)
        wide[:, ::down, ::across] = value
        return run(wide)

    return spaced
