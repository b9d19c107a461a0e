"""How values travel between this process and the one that runs host regions: a JSON header and raw bytes. No pickle.

A value is what onnxruntime takes and gives: an array (of numbers, booleans or strings), a list (sequence), a dict (map)
or None (an empty optional). A message is a JSON object with values in it, preceded by the lengths of its two parts.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

HEADER = struct.Struct("<QQ")  # bytes of JSON, bytes of data
_NUMBERS = "?bBhHiIlLqQefdgFD"
_TYPE = re.compile(r"[<|][a-z]\d{1,2}")
_DEEPEST = 16

Buffer = bytes | memoryview


class BadMessage(Exception):
    """The other process sent what no message is."""


class TooLarge(Exception):
    """A message has more bytes than there is room for."""


def encode(message: dict[str, Any], values: list[Any]) -> list[Buffer]:
    """The parts of a message; `values` come back as the second result of `decode`. Arrays are not copied: the parts are
    to be sent before any of them changes."""
    buffers: list[Buffer] = []
    trees = [_tree(value, buffers) for value in values]
    text = json.dumps({"message": message, "values": trees}).encode()
    return [HEADER.pack(len(text), sum(len(each) for each in buffers)), text, *buffers]


def _tree(value: Any, buffers: list[Buffer]) -> dict[str, Any]:
    if value is None:
        return {"kind": "none"}
    if isinstance(value, dict):
        keys = [key.item() if isinstance(key, np.generic) else key for key in value]
        return {"kind": "map", "keys": keys, "items": [_tree(each, buffers) for each in value.values()]}
    if isinstance(value, list | tuple):
        return {"kind": "list", "items": [_tree(each, buffers) for each in value]}
    if isinstance(value, str | int | float | bool):
        return {"kind": "plain", "value": value}
    array = np.asarray(value)
    if array.dtype.char not in _NUMBERS:
        return {"kind": "strings", "shape": array.shape, "items": [_text(each) for each in array.flat]}
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    if little.size:
        buffers.append(little.reshape(-1).view(np.uint8).data)
    return {"kind": "array", "type": little.dtype.str, "shape": array.shape}


def _text(value: Any) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def filling(stream: io.BufferedIOBase) -> Callable[[memoryview], None]:
    """What `decode` reads with from a stream; it raises EOFError where the stream ends too soon."""

    def read_into(buffer: memoryview) -> None:
        while buffer:
            count = stream.readinto(buffer)
            if not count:
                raise EOFError
            buffer = buffer[count:]

    return read_into


def decode(read_into: Callable[[memoryview], None], largest: int) -> tuple[dict[str, Any], list[Any]]:
    """The message of which `read_into(buffer)` yields the next bytes, as many as the buffer has. Each array is read to
    its place. Raises BadMessage for what is no message, TooLarge for one of more than `largest` bytes."""
    text_bytes, data_bytes = HEADER.unpack(_read(read_into, HEADER.size))
    if text_bytes + data_bytes > largest:
        raise TooLarge(f"{text_bytes + data_bytes} bytes")
    try:
        tree = json.loads(_read(read_into, text_bytes))
        reader = _Arrays(read_into, data_bytes)
        values = [_value(each, reader, 0) for each in tree["values"]]
        if reader.left:
            raise ValueError(f"{reader.left} bytes belong to no value")
        return dict(tree["message"]), values
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadMessage(str(error)) from error


def _read(read_into: Callable[[memoryview], None], count: int) -> bytearray:
    data = bytearray(count)
    read_into(memoryview(data))
    return data


class _Arrays:
    """Reads the arrays of a message one after another; `left` are the bytes that are still to come."""

    def __init__(self, read_into: Callable[[memoryview], None], left: int) -> None:
        self._read_into = read_into
        self.left = left

    def read(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        count = dtype.itemsize
        for extent in shape:
            if extent < 0:
                raise ValueError("a negative extent")
            count *= extent
        if count > self.left:
            raise ValueError(f"an array of {count} bytes, of which {self.left} are there")
        self.left -= count
        array = np.empty(shape, dtype)
        if count:
            self._read_into(array.reshape(-1).view(np.uint8).data)
        return array


def _value(tree: dict[str, Any], arrays: _Arrays, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("values are nested too deeply")
    kind = tree["kind"]
    if kind == "none":
        return None
    if kind == "plain":
        return tree["value"]
    if kind == "list":
        return [_value(each, arrays, depth + 1) for each in tree["items"]]
    if kind == "map":
        items = [_value(each, arrays, depth + 1) for each in tree["items"]]
        return dict(zip(tree["keys"], items, strict=True))
    if not all(type(each) is int for each in tree["shape"]):
        raise ValueError("an extent that is no whole number")
    shape = tuple(tree["shape"])
    if kind == "strings":
        return np.array([str(each) for each in tree["items"]], dtype=object).reshape(shape)
    if not _TYPE.fullmatch(tree["type"]):
        raise ValueError("no type of numbers")
    dtype = np.dtype(tree["type"])
    if dtype.char not in _NUMBERS:
        raise ValueError(f"no type of numbers: {dtype}")
    return arrays.read(shape, dtype)
