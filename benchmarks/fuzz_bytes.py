"""Mutations of bytes, for `fuzz`, and the values that all mutations put in.

Every mutation is a function of its argument and of a seeded generator, and of nothing else.
"""

from __future__ import annotations

import random
import struct

Rng = random.Random

INTEGERS = (0, 1, -1, 2, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))


def mutate_bytes(data: bytes, rng: Rng) -> bytes:
    """One to three of: cut short, flip bits, insert, delete, duplicate, zero, overwrite with 0xFF or an integer."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_BYTES)(data, rng)
    return data


def _span(data: bytes | bytearray, rng: Rng) -> tuple[int, int]:
    """A random piece, mostly a short one."""
    if not data:
        return 0, 0
    start = rng.randrange(len(data))
    size = rng.randint(1, rng.choice((1, 2, 4, 8, 64, len(data))))
    return start, min(len(data), start + size)


def _truncate(data: bytes, rng: Rng) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(data: bytes, rng: Rng) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 8, 100))) + data[at:]


def _delete(data: bytes, rng: Rng) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _duplicate(data: bytes, rng: Rng) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 50)) + data[end:]


def _fill(data: bytes, rng: Rng) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.choice((b"\0", b"\xff", b" ", b"9")) * (end - start) + data[end:]


def _number(data: bytes, rng: Rng) -> bytes:
    value = struct.pack("<q", rng.choice(INTEGERS))[: rng.choice((1, 2, 4, 8))]
    at = rng.randrange(len(data) + 1)
    return data[:at] + value + data[at + len(value) :]


_BYTES = (_truncate, _flip, _insert, _delete, _duplicate, _fill, _number)
