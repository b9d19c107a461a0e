"""Pools and operators that move values as functions on batches; None where they have no fast form."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...ir.types import Tensor
from ...runtime import arithmetic
from ...runtime.arithmetic import F32
from . import kernels
from .codes import arranged, held_dtype, held_order
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
from .products import bounds, geometry, windows

Array = NDArray[Any]


def pool(plain: Plain) -> Fast | None:
    """Of codes, channels last: the greatest, the average of windows or of images."""
    (x,) = plain.operands
    assert x is not None and x.shape is not None
    result, kind = plain.result, plain.node.attribute("kind")
    if not are_codes(x, result) or not (is_channels_last(x) and is_channels_last(result)):
        return None
    dtype = held_dtype(kind_of(result).type)
    if kind == "global_average":
        return _global_average(x, result)
    window = in_two_axes(window_of(plain.node, cast(tuple[int, ...], plain.node.attribute("kernel"))))
    if len(window.kernel) != 2:
        return None
    image = (1, *x.shape[2:])[-2:]
    taps, places, outputs = geometry(window, image)
    shape = (*(outputs[-1:] if len(x.shape) == 3 else outputs), x.shape[1])
    zero = parameters_of(x).zero_point - least_of(x)
    if kind == "max":
        if kind_of(x) != kind_of(result):
            return None

        def greatest(values: Sequence[Array]) -> Array:
            y = np.empty((len(values[0]), *shape), dtype)
            kernels.greatest(as_images(values[0]), as_images(y), taps, places)
            return y

        return greatest
    counts = arithmetic.pool_counts(image, window, bool(plain.node.attribute("count_include_pad"))).astype(F32)
    of_x, of_y = parameters_of(x), parameters_of(result)
    scales = np.array([of_x.scale, of_y.scale, of_y.zero_point], F32)
    low, high = F32(least_of(result)), F32(kind_of(result).type.maximum)

    def averaged(values: Sequence[Array]) -> Array:
        y = np.empty((len(values[0]), *shape), dtype)
        total = np.empty(y.shape[-1], F32)
        kernels.averaged(as_images(values[0]), as_images(y), total, counts, taps, places, zero, scales, low, high)
        return y

    return averaged


def _global_average(x: Tensor, result: Tensor) -> Fast:
    assert x.shape is not None
    of_x, of_y = parameters_of(x), parameters_of(result)
    factor = arithmetic.global_average_multiplier(of_x.scale, of_y.scale, prod(x.shape[2:]))
    low, high = bounds(kind_of(result))
    zero = of_x.zero_point - least_of(x)
    ones = (1,) * (len(x.shape) - 2)

    def run(values: Sequence[Array]) -> Array:
        (value,) = values
        n, channels = len(value), value.shape[-1]
        y = np.empty((n, channels), held_dtype(kind_of(result).type))
        total = np.empty(channels, np.int64)
        kernels.averaged_globally(value.reshape(n, -1, channels), y, total, zero, factor, low, high)
        return y.reshape(n, *ones, channels)

    return run


def im2col(plain: Plain) -> Fast | None:
    """Of codes, channels last."""
    (x,) = plain.operands
    assert x is not None
    window = window_of(plain.node, cast(tuple[int, ...], plain.node.attribute("kernel")))
    if not are_codes(x) or len(window.kernel) > 2 or not (is_channels_last(x) and is_channels_last(plain.result)):
        return None
    zero = parameters_of(x).zero_point - least_of(x)
    flat = in_two_axes(window)
    return lambda values: flat_again(windows(as_images(values[0]), flat, zero), values[0])


def reshape(plain: Plain) -> Fast | None:
    """In logical order, whatever the order of storage."""
    (x,) = plain.operands
    assert x is not None
    before, after, shape = held_order(x), held_order(plain.result), plain.result.shape
    assert shape is not None and x.shape is not None
    first, rows = x.shape[0], shape[0]

    def run(values: Sequence[Array]) -> Array:
        rowwise = arranged(values[0], before, tuple(range(len(before))))
        return arranged(rowwise.reshape(len(rowwise) // first * rows, *shape[1:]), tuple(range(len(shape))), after)

    return run


def transpose(plain: Plain) -> Fast | None:
    """Straight from one order of storage to the other."""
    (x,) = plain.operands
    assert x is not None
    permutation = cast(tuple[int, ...], plain.node.attribute("permutation"))
    before, after = held_order(x), held_order(plain.result)
    wanted = tuple(permutation[axis] for axis in after)
    return lambda values: arranged(values[0], before, wanted)
