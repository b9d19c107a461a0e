"""The codes of a product's constant weights, and what they stand for.

Symmetric weights have the zero point 0, and the largest magnitude of a channel (or of the tensor) is the greatest code.
Others share one zero point, which a MAC can subtract, with a scale for each channel that covers its ends: of real ends
low <= 0 <= high, s = max(high / (most - z), low / (least - z)). (Jacob et al., CVPR 2018; Wu et al. 2020, section 4.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.graph import Node
from ..ir.histogram import Histogram
from ..ir.precision import LayerPrecision
from ..ir.types import ElementType, Quantization
from .codes import codes_of

F32 = np.float32
Array = NDArray[Any]
INT8 = LayerPrecision()
# Candidate scales of the mean-square method: hundredths of that which cuts nothing.
_PARTS = np.arange(5, 101) / 100


def channel_axis(node: Node, array: Array) -> int | None:
    """The axis of a product's weights that its output channels run along; None where weights have no such axis."""
    if node.op == "matmul":
        return None if array.ndim != 2 else 0 if node.attribute("transpose_b") else 1
    if node.op == "conv_transpose":
        return 1 if node.attribute("group") == 1 else None
    return 0


def rounded_weights(
    node: Node, array: NDArray[np.float32], layer: LayerPrecision = INT8, type: ElementType = ElementType.I8
) -> tuple[NDArray[np.generic], Quantization]:
    """Codes and parameters of a product's weights, of finite values."""
    axis = channel_axis(node, array) if layer.per_channel else None
    parameters = weight_parameters(array, axis, layer, type)
    return codes_of(array, parameters, type), parameters


def weight_parameters(
    array: NDArray[np.float32], axis: int | None, layer: LayerPrecision = INT8, type: ElementType = ElementType.I8
) -> Quantization:
    """The parameters of weights, with a scale for each slice along `axis`, or one for all."""
    rows = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    low, high = _ends(rows, layer)
    if layer.symmetric_weights:
        zero_point = 0
        scale = np.asarray(np.maximum(-low, high), F32) / F32(type.maximum)
    else:
        bottom, top = float(low.min(initial=0.0)), float(high.max(initial=0.0))
        share = -bottom / (top - bottom) if top > bottom else 0.0
        zero_point = type.minimum + int(np.rint(share * (type.maximum - type.minimum)))
        scale = _covering(low, high, zero_point, type)
    scale = np.where(scale < np.finfo(F32).tiny, F32(1), scale).astype(F32)
    if layer.weight_calibration == "mse":
        least = -type.maximum if layer.symmetric_weights else type.minimum
        scale = _least_error(rows, scale, zero_point, least, type.maximum)
    return Quantization(tuple(map(float, scale)), (zero_point,) * len(scale), axis)


def _covering(low: Array, high: Array, zero_point: int, type: ElementType) -> Array:
    above, below = type.maximum - zero_point, zero_point - type.minimum
    upper = high / above if above else np.zeros_like(high)
    lower = -low / below if below else np.zeros_like(low)
    return np.asarray(np.maximum(upper, lower), F32)


def _ends(rows: NDArray[np.float32], layer: LayerPrecision) -> tuple[Array, Array]:
    """The ends of each row's range, 0 between them, as the layer's method finds them; those of least square error are
    sought from the extremes inwards."""
    low, high = rows.min(axis=1, initial=0.0), rows.max(axis=1, initial=0.0)
    method = layer.weight_calibration
    if method in ("minmax", "mse") or not rows.size:
        return low, high
    found = np.empty((2, len(rows)))
    for number, row in enumerate(rows):
        seen = Histogram()
        seen.add(row, bins=True)
        found[:, number] = seen.range_for(method, layer.weights, layer.symmetric_weights)
    return np.minimum(found[0], 0.0), np.maximum(found[1], 0.0)


def _least_error(rows: NDArray[np.float32], scale: Array, zero_point: int, least: int, most: int) -> Array:
    """Of each row's scale, the part of it at which its square error is least."""
    best, smallest = scale, np.full(len(rows), np.inf)
    for part in _PARTS:
        tried = (scale * F32(part))[:, None]
        codes = np.clip(np.rint(rows / tried), least - zero_point, most - zero_point)
        error = ((codes * tried - rows) ** 2).sum(axis=1)
        best = np.where(error <= smallest, tried[:, 0], best)
        smallest = np.minimum(error, smallest)
    return best
