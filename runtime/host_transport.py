"""How values travel between this process and the one that runs host regions: a JSON header and raw bytes. No pickle.

A value is what onnxruntime takes and gives: an array (of numbers, booleans or strings), a list (sequence), a dict (map)
or None (an empty optional). A message is a JSON object with values in it, preceded by the lengths of its two parts.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

HEADER = struct.Struct("<QQ")  # bytes of JSON, bytes of data
_NUMBERS = "?bBhHiIlLqQefdgFD"
_DEEPEST = 16


class BadMessage(Exception):
    """The other process sent what no message is."""


def encode(message: dict[str, Any], values: list[Any]) -> list[bytes]:
    """The parts of a message; `values` come back as the second result of `decode`."""
    buffers: list[bytes] = []
    trees = [_tree(value, buffers) for value in values]
    text = json.dumps({"message": message, "values": trees}).encode()
    return [HEADER.pack(len(text), sum(len(each) for each in buffers)), text, *buffers]


def _tree(value: Any, buffers: list[bytes]) -> dict[str, Any]:
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
    buffers.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return {"kind": "array", "type": array.dtype.newbyteorder("<").str, "shape": array.shape}


def _text(value: Any) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


def decode(read: Callable[[int], bytes], largest: int) -> tuple[dict[str, Any], list[Any]]:
    """The message that `read(count)` yields. Raises BadMessage where it is none or larger than `largest` bytes."""
    text_bytes, data_bytes = HEADER.unpack(read(HEADER.size))
    if text_bytes + data_bytes > largest:
        raise BadMessage(f"a message of {text_bytes + data_bytes} bytes")
    try:
        tree = json.loads(read(text_bytes))
        data = memoryview(read(data_bytes))
        place = [0]
        values = [_value(each, data, place, 0) for each in tree["values"]]
        return dict(tree["message"]), values
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadMessage(str(error)) from error


def _value(tree: dict[str, Any], data: memoryview, place: list[int], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("values are nested too deeply")
    kind = tree["kind"]
    if kind == "none":
        return None
    if kind == "plain":
        return tree["value"]
    if kind == "list":
        return [_value(each, data, place, depth + 1) for each in tree["items"]]
    if kind == "map":
        items = [_value(each, data, place, depth + 1) for each in tree["items"]]
        return dict(zip(tree["keys"], items, strict=True))
    shape = tuple(int(each) for each in tree["shape"])
    if kind == "strings":
        return np.array([str(each) for each in tree["items"]], dtype=object).reshape(shape)
    dtype = np.dtype(tree["type"])
    if dtype.char not in _NUMBERS:
        raise ValueError(f"no type of numbers: {dtype}")
    count = dtype.itemsize
    for extent in shape:
        if extent < 0:
            raise ValueError("a negative extent")
        count *= extent
    part = data[place[0] : place[0] + count]
    place[0] += count
    return np.frombuffer(part, dtype).reshape(shape).copy()
