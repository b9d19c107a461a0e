"""Loads and stores of one element at a byte address, for compiled code.

An array's `view` and an index into it say the same, but numba compiles a page of checks for each.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

_BYTES = types.Array(types.uint8, 1, "C")


def _pointer(context: Any, builder: Any, element: Any, data: Any, address: Any) -> Any:
    array = context.make_array(_BYTES)(context, builder, data)
    return builder.bitcast(builder.gep(array.data, [address]), context.get_value_type(element).as_pointer())


def _load(element: Any) -> Any:
    """load(data, address): the element at byte `address` of an array of bytes. Its size divides the address, and all
    of it lies inside: nothing is checked."""

    def load(_context: Any, data: Any, address: Any) -> Any:
        if data != _BYTES or not isinstance(address, types.Integer):
            return None

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.load(_pointer(context, builder, element, *arguments))

        return element(_BYTES, types.int64), generate

    return intrinsic(load)


def _store(element: Any) -> Any:
    """store(data, address, value): the same the other way; the value is converted to the element's type first."""

    def store(_context: Any, data: Any, address: Any, value: Any) -> Any:
        if data != _BYTES or not isinstance(address, types.Integer) or not isinstance(value, types.Number):
            return None

        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            data, address, value = arguments
            builder.store(value, _pointer(context, builder, element, data, address))
            return context.get_dummy_value()

        return types.void(_BYTES, types.int64, element), generate

    return intrinsic(store)


load_i8, load_u8, load_i16, load_u16, load_i32, load_i64, load_f32 = map(
    _load, (types.int8, types.uint8, types.int16, types.uint16, types.int32, types.int64, types.float32)
)
store_i8, store_i16, store_i32, store_i64, store_f32 = map(
    _store, (types.int8, types.int16, types.int32, types.int64, types.float32)
)
