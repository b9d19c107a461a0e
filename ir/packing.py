"""Elements as bits without gaps: how tensors lie in the machine's memories and in programs.

Bit i of a tensor is bit i mod 8 of byte i div 8; element k takes the bits from k * bits on, its least significant bit
first, integers in two's complement. So n elements take ceil(n * bits / 8) bytes, and types of whole bytes lie
little-endian. What is left of the last byte is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .types import ElementType


def packed(array: NDArray[np.generic], type: ElementType) -> bytes:
    """The elements of `array` (containers of `type`, in row-major order) without gaps."""
    if type.bits == 8 * type.container_bytes:
        return np.ascontiguousarray(array).tobytes()
    stored = np.ascontiguousarray(array, type.container).reshape(-1, 1).view(np.uint8)
    bits = np.unpackbits(stored, axis=1, count=type.bits, bitorder="little")
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def unpacked(data: NDArray[np.uint8], elements: int, type: ElementType) -> NDArray[np.generic]:
    """A new array of the first `elements` elements of `data`, in the containers of `type`."""
    if type.bits == 8 * type.container_bytes:
        return data[: elements * type.container_bytes].copy().view(type.container)
    bits = np.unpackbits(data, count=elements * type.bits, bitorder="little").reshape(elements, type.bits)
    container_bits = 8 * type.container_bytes
    wide = np.zeros((elements, container_bits), np.uint8)
    wide[:, : type.bits] = bits
    if type.is_signed:
        wide[:, type.bits :] = bits[:, -1:]
    stored = np.packbits(wide.reshape(-1), bitorder="little")
    return stored.view(type.container)
