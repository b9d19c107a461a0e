"""Scalar steps of specs/arithmetic.md for compiled code: fused multiply-add, rounding, saturation, in float32.

`runtime.arithmetic` says the same in numpy; the two are compared bit for bit in the tests. Every function here is
callable from numba code in nopython mode only. None may be compiled with fastmath: rounding is the definition.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir as llvm
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _fma32(_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c rounded once to float32 (the operands are converted to float32 first)."""
    if not all(isinstance(each, types.Number) for each in (a, b, c)):
        return None
    signature = types.float32(types.float32, types.float32, types.float32)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return signature, generate


def _rint32(_context: Any, x: Any) -> Any:
    """The nearest integral float32, halves to the even one (the operand is converted to float32 first)."""
    if not isinstance(x, types.Number):
        return None

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function_type = llvm.FunctionType(llvm.FloatType(), [llvm.FloatType()])
        insert: Any = cgutils.get_or_insert_function  # untyped in numba
        function = insert(builder.module, function_type, "llvm.rint.f32")
        return builder.call(function, arguments)

    return types.float32(types.float32), generate


def _bits_of_float32(_context: Any, x: Any) -> Any:
    """The bit pattern of a float32, as a uint32."""
    if x != types.float32:
        return None

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], llvm.IntType(32))

    return types.uint32(types.float32), generate


def _float32_of_bits(_context: Any, bits: Any) -> Any:
    """The float32 with this bit pattern (the operand is converted to uint32 first)."""
    if not isinstance(bits, types.Integer):
        return None

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], llvm.FloatType())

    return types.float32(types.uint32), generate


# Bound as Any: for numba's stubs an intrinsic keeps the context as a parameter, which compiled callers do not pass.
fma32: Any = intrinsic(_fma32)
rint32: Any = intrinsic(_rint32)
bits_of_float32: Any = intrinsic(_bits_of_float32)
float32_of_bits: Any = intrinsic(_float32_of_bits)


@numba.njit(inline="always")
def saturate_float32(rounded: Any, zero_point: Any, low: Any, high: Any) -> Any:
    """min(max(rounded + zero_point, low), high) as an int64; `rounded` is an integral float32 of any size or NaN.

    NaN gives `low`, as the conversions of the reference do.
    """
    # Both bounds are exact in float64 (at most 33 bits), so that the comparison decides as integers would.
    value = np.float64(rounded)
    if value >= np.float64(high - zero_point):
        return np.int64(high)
    if value > np.float64(low - zero_point):
        return np.int64(value) + np.int64(zero_point)
    return np.int64(low)


@numba.njit(inline="always")
def requantize_scalar(accumulator: Any, multiplier: Any, zero_point: Any, low: Any, high: Any) -> Any:
    """saturate(rint(float32(accumulator) * multiplier) + zero_point): specs/arithmetic.md, requantize."""
    return saturate_float32(rint32(np.float32(accumulator) * np.float32(multiplier)), zero_point, low, high)


@numba.njit(inline="always")
def quantize_scalar(value: Any, scale: Any, zero_point: Any, low: Any, high: Any) -> Any:
    """saturate(rint(value / scale) + zero_point): specs/arithmetic.md, quantize. A division, not a product."""
    return saturate_float32(rint32(np.float32(value) / np.float32(scale)), zero_point, low, high)


@numba.njit(inline="always")
def qadd_scalar(a: Any, b: Any, ra: Any, rb: Any, base: Any) -> Any:
    """rint(fma(a, ra, fma(b, rb, base))) as an integral float32, not yet saturated; a and b are codes."""
    return rint32(fma32(np.float32(a), ra, fma32(np.float32(b), rb, base)))


@numba.njit(inline="always")
def wrap_scalar(exact: Any, bits: Any) -> Any:
    """The two's-complement value of the low `bits` (1..64) of an int64."""
    if bits == 64:
        return np.int64(exact)
    shift = 64 - bits
    return (np.int64(exact) << shift) >> shift


@numba.njit(inline="always")
def bf16_from_float32(value: Any) -> Any:
    """The bfloat16 nearest to a float32, halves to even, as a uint16 bit pattern; a NaN stays a quiet NaN."""
    bits = bits_of_float32(np.float32(value))
    if (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
        return np.uint16((bits >> np.uint32(16)) | np.uint32(0x0040))
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.uint16(rounded >> np.uint32(16))


@numba.njit(inline="always")
def float32_from_bf16(bits: Any) -> Any:
    """The float32 equal to a bfloat16 bit pattern."""
    return float32_of_bits(np.uint32(bits) << np.uint32(16))
