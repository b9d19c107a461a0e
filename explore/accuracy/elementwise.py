"""Elementwise operators as functions on batches; None where they have no fast form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.types import ElementType, Tensor, constant_array
from ...runtime import arithmetic
from ...runtime.arithmetic import F32
from . import kernels
from .codes import arranged, held_dtype, held_order, hold, is_code
from .operands import Fast, are_codes, empty_like, kind_of, least_of, parameters_of
from .plain import Plain
from .products import bounds

Array = NDArray[Any]


def activation(plain: Plain) -> Fast | None:
    """`relu` and `clip` of codes whose parameters stay."""
    x = plain.operands[0]
    if not are_codes(x) or x is None or kind_of(x) != kind_of(plain.result):
        return None
    kind, of_x = kind_of(x).type, parameters_of(x)
    low, high = of_x.zero_point, kind.maximum
    if plain.node.op == "clip":
        ends = np.array([plain.node.attribute("minimum"), plain.node.attribute("maximum")], F32)
        codes = arithmetic.quantize(ends, of_x.scale, of_x.zero_point, kind)
        low, high = int(codes[0]), int(codes[1])
    dtype = held_dtype(kind)
    least, most = dtype.type(low - kind.minimum), dtype.type(high - kind.minimum)
    return lambda values: np.minimum(np.maximum(values[0], least), most)


def table(plain: Plain) -> Fast | None:
    """Of codes, which are held as their place in the table."""
    x, entries = plain.operands[0], plain.operands[1]
    if x is None or entries is None or entries.constant is None or not is_code(kind_of(x).type):
        return None
    kind = kind_of(plain.result).type
    held_entries = hold(np.ascontiguousarray(constant_array(entries, plain.blobs)), kind)
    return lambda values: held_entries.take(values[0])


def requantize(plain: Plain) -> Fast | None:
    """Of int32 with one scale."""
    (x,) = plain.operands
    if x is None or kind_of(x).type is not ElementType.I32 or not are_codes(plain.result):
        return None
    if x.quantization is not None and not x.quantization.per_tensor:
        return None
    scale = 1.0 if x.quantization is None else x.quantization.scale[0]
    factors = arithmetic.multiplier(scale, 1.0, parameters_of(plain.result).scale).reshape(1)
    low, high = bounds(kind_of(plain.result))

    def run(values: Sequence[Array]) -> Array:
        y = empty_like(values[0], plain.result)
        kernels.requantised(values[0].reshape(-1, 1), y.reshape(-1, 1), factors, low, high)
        return y

    return run


def quantize(plain: Plain) -> Fast | None:
    """Of float32."""
    (x,) = plain.operands
    if x is None or kind_of(x).type is not ElementType.F32 or not are_codes(plain.result):
        return None
    scale = F32(parameters_of(plain.result).scale)
    low, high = bounds(kind_of(plain.result))

    def run(values: Sequence[Array]) -> Array:
        y = empty_like(values[0], plain.result)
        kernels.quantised(values[0].reshape(-1), y.reshape(-1), scale, low, high)
        return y

    return run


def dequantize(plain: Plain) -> Fast | None:
    """To float32."""
    (x,) = plain.operands
    if x is None or not are_codes(x) or kind_of(plain.result).type is not ElementType.F32:
        return None
    of_x = parameters_of(x)
    scale, offset = F32(of_x.scale), least_of(x) - of_x.zero_point

    def run(values: Sequence[Array]) -> Array:
        y = np.empty(values[0].shape, F32)
        kernels.dequantised(values[0].reshape(-1), y.reshape(-1), scale, offset)
        return y

    return run


def pairwise(plain: Plain) -> Fast | None:
    """`add` and `mul` of codes, with broadcasting."""
    a, b = plain.operands[0], plain.operands[1]
    if not are_codes(a, b, plain.result):
        return None
    assert a is not None and b is not None
    sides = [_side(plain, each) for each in (a, b)]
    formula = _addition(plain) if plain.node.op == "add" else _multiplication(plain)

    def run(values: Sequence[Array]) -> Array:
        given = iter(values)
        found = [next(given) if constant is None else constant for constant in sides]
        shape = np.broadcast_shapes(*(each.shape for each in found))
        wide = [np.ascontiguousarray(np.broadcast_to(each, shape)).reshape(-1) for each in found]
        y = np.empty(shape, held_dtype(kind_of(plain.result).type))
        formula(wide[0], wide[1], y.reshape(-1))
        return y

    return run


def _side(plain: Plain, tensor: Tensor) -> Array | None:
    """A constant operand as it is held in the order of the result, whose axes it gets; None for any other."""
    if tensor.constant is None:
        return None
    order = held_order(plain.result)
    codes = constant_array(tensor, plain.blobs)
    wide = codes.reshape((1,) * (len(order) - codes.ndim) + codes.shape)
    return hold(arranged(wide, tuple(range(len(order))), order), kind_of(tensor).type)


def _addition(plain: Plain) -> Callable[[Array, Array, Array], None]:
    a, b = plain.operands[0], plain.operands[1]
    assert a is not None and b is not None and a.shape is not None and b.shape is not None
    swaps = arithmetic.qadd_exchanges(a.shape, b.shape)
    first, second = (b, a) if swaps else (a, b)
    ra, rb, base = arithmetic.qadd_scalars(parameters_of(first), parameters_of(second), parameters_of(plain.result))
    low, high = F32(least_of(plain.result)), F32(kind_of(plain.result).type.maximum)
    offsets = least_of(first), least_of(second)

    def run(of_a: Array, of_b: Array, y: Array) -> None:
        left, right = (of_b, of_a) if swaps else (of_a, of_b)
        kernels.added(left, right, y, *offsets, ra, rb, base, low, high)

    return run


def _multiplication(plain: Plain) -> Callable[[Array, Array, Array], None]:
    a, b = plain.operands[0], plain.operands[1]
    assert a is not None and b is not None
    of_a, of_b, of_y = parameters_of(a), parameters_of(b), parameters_of(plain.result)
    factor = F32(arithmetic.multiplier(of_a.scale, of_b.scale, of_y.scale))
    offsets = least_of(a) - of_a.zero_point, least_of(b) - of_b.zero_point
    low, high = F32(least_of(plain.result)), F32(kind_of(plain.result).type.maximum)
    return lambda x, z, y: kernels.multiplied(x, z, y, *offsets, factor, F32(of_y.zero_point), low, high)
