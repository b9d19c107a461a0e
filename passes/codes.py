"""Codes of real numbers and back: quantisation parameters, rounding, bfloat16. (specs/arithmetic.md, section 2.)"""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import ensure
from ..ir.types import ElementType, Quantization

_LARGEST = float(np.finfo(np.float32).max)


def activation_parameters(minimum: float, maximum: float, type: ElementType, symmetric: bool = False) -> Quantization:
    """Scale and zero point that map [minimum, maximum], widened to hold 0, onto all codes of `type`; of symmetric
    codes the greatest magnitude is the greatest code. Ends beyond float32 are its greatest; both must be finite."""
    ensure(isfinite(minimum) and isfinite(maximum), f"codes of values from {minimum} to {maximum}")
    low, high = max(min(minimum, 0.0), -_LARGEST), min(max(maximum, 0.0), _LARGEST)
    levels = type.maximum if symmetric else type.maximum - type.minimum
    scale = np.float32((max(-low, high) if symmetric else high - low) / levels)
    if scale < np.finfo(np.float32).tiny:
        scale = np.float32(1.0)
    if symmetric:
        return Quantization((float(scale),), (0,))
    zero_point = int(np.clip(np.rint(type.minimum - low / float(scale)), type.minimum, type.maximum))
    return Quantization((float(scale),), (zero_point,))


def codes_of(array: NDArray[np.float32], quantization: Quantization, type: ElementType) -> NDArray[np.generic]:
    """saturate(rint(x / scale) + zero point) in the container of `type`."""
    scale = np.asarray(quantization.scale, np.float32)
    zero_point = np.asarray(quantization.zero_point, np.float64)
    if quantization.axis is not None:
        shape = [1] * array.ndim
        shape[quantization.axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    rounded = np.rint(array / scale) + zero_point
    codes: NDArray[np.generic] = np.clip(rounded, type.minimum, type.maximum).astype(type.container)
    return codes.reshape(array.shape)  # a scalar has met a scale of shape [1]


def dequantised(codes: NDArray[np.generic], parameters: Quantization) -> NDArray[np.float32]:
    """The real values of codes."""
    shape = [1] * codes.ndim
    if parameters.axis is not None:
        shape[parameters.axis] = -1
    centred = codes.astype(np.float32) - np.asarray(parameters.zero_point, np.float32).reshape(shape)
    return np.asarray(centred * np.asarray(parameters.scale, np.float32).reshape(shape))


def leaky_entries(
    alpha: float, source: ElementType, before: Quantization, result: ElementType, after: Quantization
) -> NDArray[np.generic]:
    """What leaky_relu makes of each code of `source`, from the least on."""
    codes = np.arange(source.minimum, source.maximum + 1)
    reals = (codes - before.zero_point[0]).astype(np.float32) * np.float32(before.scale[0])
    mapped = np.where(reals >= 0, reals, reals * np.float32(alpha)).astype(np.float32)
    return codes_of(mapped, after, result)


def bf16_pattern(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Bit patterns of the nearest bfloat16 values, ties to even; a NaN stays a NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).reshape(np.shape(array))  # scalars stay scalars
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(array), np.uint32(0x7FC0), rounded).astype(np.uint16)
