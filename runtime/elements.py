"""Typed elements of local memory: gathered into blocks of float64, and written back. Compiled.

One working type for all: float64 holds every element type exactly (64-bit integers up to 2^53), so that each function
is compiled once. Arithmetic of floats is float32 all the same: see `product`, `vector` and `post`.

Callers have checked that every address lies inside local memory and that elements of whole bytes are aligned; bases are
in bits, offsets in elements.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .access import (
    load_f32,
    load_i8,
    load_i16,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    store_f32,
    store_i8,
    store_i16,
    store_i32,
    store_i64,
)
from .fma import bf16_from_float32, bits_of_float32, float32_from_bf16, float32_of_bits, wrap_scalar
from .layout import (
    K_BF16,
    K_F16,
    K_F32,
    K_I8,
    K_I16,
    K_I32,
    K_I64,
    K_PACKED_I,
    K_PACKED_U,
    K_U8,
    K_U16,
    Integers,
)

BLOCK = 256  # points and columns of a product's block
PIECE = 128  # reduce counters of a product's block: all blocks together stay in a second-level cache
LANES = 2048  # elements of a block of elementwise work
EXACT = 2.0**53  # integers up to here are exact in float64; commands whose sums could leave this range are refused


class Local(NamedTuple):
    """Local memory as one array of bytes. `marks` has a bit for each bit of it: 1 where an element begins that a load
    filled in for a position outside its tensor (elements of several bytes: in each of them). `ends` is one past the
    last byte of each memory, in address order, `words` the bytes of its words. `tags` has a 1 likewise where an element
    lies in a block of zeros that was not loaded; it is empty where a program skips nothing."""

    data: NDArray[np.uint8]
    marks: NDArray[np.uint8]
    tags: NDArray[np.uint8]
    ends: Integers
    words: Integers


def local_memory(capacities: list[int], word_bytes: list[int], tagged: bool = False) -> Local:
    """Zeroed local memories, one after another, aligned and padded to 8 bytes; `tagged`: elements may be."""
    size = sum(capacities)
    data = np.zeros(-(-size // 8), np.int64).view(np.uint8)
    ends = np.cumsum(np.array(capacities, np.int64))
    tags = np.zeros(size if tagged else 0, np.uint8)
    return Local(data, np.zeros(size, np.uint8), tags, ends, np.array(word_bytes, np.int64))


class Blocks(NamedTuple):
    """Where compiled code works; the contents mean nothing between commands: blocks of operands and results of
    products, rows of LANES for elementwise work and for offsets, short rows for counters.

    Compiled code allocates nothing and uses no numpy expression on arrays: each would be compiled with its errors.
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]
    total: NDArray[np.float64]
    left32: NDArray[np.float32]
    right32: NDArray[np.float32]
    part32: NDArray[np.float32]
    rows: NDArray[np.float64]
    offsets: Integers
    counters: Integers


def work_blocks() -> Blocks:
    return Blocks(
        left=np.zeros((BLOCK, PIECE)),
        right=np.zeros((PIECE, BLOCK)),
        total=np.zeros((BLOCK, BLOCK)),
        left32=np.zeros((BLOCK, PIECE), np.float32),
        right32=np.zeros((PIECE, BLOCK), np.float32),
        part32=np.zeros((BLOCK, BLOCK), np.float32),
        rows=np.zeros((3, 1, LANES)),
        offsets=np.zeros((8, LANES), np.int64),
        counters=np.zeros((8, 16), np.int64),
    )


@compiled
def read_bits(data: NDArray[np.uint8], at: int, bits: int) -> int:
    """The unsigned number of 2 to 16 bits from bit `at` on, the least significant first."""
    byte, shift = at >> 3, at & 7
    value = np.int64(data[byte]) >> shift
    if shift + bits > 8:
        value |= np.int64(data[byte + 1]) << (8 - shift)
    if shift + bits > 16:
        value |= np.int64(data[byte + 2]) << (16 - shift)
    return int(value & ((np.int64(1) << bits) - 1))


@compiled
def write_bits(data: NDArray[np.uint8], at: int, bits: int, value: int) -> None:
    """Write the low `bits` bits, 1 to 16, of a number from bit `at` on; their neighbours stay."""
    byte, shift = at >> 3, at & 7
    mask = ((np.int64(1) << bits) - 1) << shift
    pattern = (np.int64(value) << shift) & mask
    while mask:
        data[byte] = (np.int64(data[byte]) & ~mask | pattern) & 0xFF
        mask >>= 8
        pattern >>= 8
        byte += 1


@compiled
def packed_value(kind: int, pattern: int, bits: int) -> int:
    """The integer that a pattern of `bits` bits stands for."""
    if kind == K_PACKED_I and pattern >> (bits - 1):
        return pattern - (1 << bits)
    return pattern


@compiled
def float32_from_f16(bits: Any) -> Any:
    """The float32 equal to a float16 bit pattern: exponents are rebased by an exact product with 2^112."""
    magnitude = float32_of_bits(np.uint32(bits & 0x7FFF) << np.uint32(13)) * np.float32(2.0**112)
    pattern = bits_of_float32(magnitude)
    if pattern >= np.uint32(0x47800000):  # 65536 and above stand for infinity and NaN
        pattern |= np.uint32(0x7F800000)
    return float32_of_bits(pattern | (np.uint32(bits & 0x8000) << np.uint32(16)))


@compiled
def f16_from_float32(value: Any) -> Any:
    """The float16 nearest to a float32, halves to even, as a bit pattern."""
    pattern = bits_of_float32(np.float32(value))
    sign = pattern & np.uint32(0x80000000)
    pattern = pattern ^ sign
    if pattern >= np.uint32(0x47800000):  # 65536 and above
        result = np.uint32(0x7E00) if pattern > np.uint32(0x7F800000) else np.uint32(0x7C00)
    elif pattern < np.uint32(0x38800000):  # below 2^-14: adding 0.5 leaves multiples of 2^-24, rounded to even
        half = np.float32(0.5)
        result = bits_of_float32(float32_of_bits(pattern) + half) - bits_of_float32(half)
    else:
        odd = (pattern >> np.uint32(13)) & np.uint32(1)
        result = (pattern - np.uint32(0x38000000) + np.uint32(0xFFF) + odd) >> np.uint32(13)
    return np.uint32(result | (sign >> np.uint32(16)))


@compiled
def float_pattern(value: Any, kind: int) -> int:
    """The bit pattern of a float32 as a float of `kind`, rounded to nearest even."""
    if kind == K_F32:
        return int(bits_of_float32(value))
    if kind == K_BF16:
        return int(bf16_from_float32(value))
    return int(f16_from_float32(value))


@compiled
def fill_offsets(
    extents: Integers,
    strides: Integers,
    order: Integers,
    axes: int,
    start: int,
    first: int,
    index: Integers,
    out: Integers,
) -> None:
    """out[j] = start + the offset of the (first + j)-th position of the box of the counters order[0..axes), the last
    one fastest. `index` is room for one number an axis."""
    count = len(out)
    rest = first
    for place in range(axes - 1, -1, -1):
        extent = extents[order[place]]
        index[place] = rest % extent
        rest //= extent
    offset = start
    for place in range(axes):
        offset += index[place] * strides[order[place]]
    if axes == 0:
        for j in range(count):
            out[j] = start
        return
    inner = axes - 1
    inner_extent, inner_stride = extents[order[inner]], strides[order[inner]]
    done = 0
    while done < count:
        run = min(count - done, inner_extent - index[inner])
        for j in range(run):
            out[done + j] = offset + j * inner_stride
        done += run
        index[inner] += run
        offset += run * inner_stride
        place = inner
        while place > 0 and index[place] == extents[order[place]]:
            offset -= index[place] * strides[order[place]]
            index[place] = 0
            place -= 1
            index[place] += 1
            offset += strides[order[place]]


@compiled
def _gather_row(
    data: NDArray[np.uint8],
    kind: int,
    bits: int,
    start_bit: int,
    shift: float,
    columns: Integers,
    out: NDArray[np.float64],
    i: int,
) -> None:
    """Row i of `gather`, from `start_bit` on. A loop for each type: one for all would take twice the time."""
    count, start = len(columns), start_bit >> 3
    if kind == K_I8:
        for j in range(count):
            out[i, j] = np.float64(load_i8(data, start + columns[j])) - shift
    elif kind == K_U8:
        for j in range(count):
            out[i, j] = np.float64(load_u8(data, start + columns[j])) - shift
    elif kind == K_I16:
        for j in range(count):
            out[i, j] = np.float64(load_i16(data, start + 2 * columns[j])) - shift
    elif kind == K_U16:
        for j in range(count):
            out[i, j] = np.float64(load_u16(data, start + 2 * columns[j])) - shift
    elif kind == K_I32:
        for j in range(count):
            out[i, j] = np.float64(load_i32(data, start + 4 * columns[j])) - shift
    elif kind == K_I64:
        for j in range(count):
            out[i, j] = np.float64(load_i64(data, start + 8 * columns[j])) - shift
    elif kind == K_F32:
        for j in range(count):
            out[i, j] = load_f32(data, start + 4 * columns[j])
    elif kind == K_BF16:
        for j in range(count):
            out[i, j] = float32_from_bf16(load_u16(data, start + 2 * columns[j]))
    elif kind == K_F16:
        for j in range(count):
            out[i, j] = float32_from_f16(load_u16(data, start + 2 * columns[j]))
    elif kind in (K_PACKED_U, K_PACKED_I):
        for j in range(count):
            value = packed_value(kind, read_bits(data, start_bit + bits * columns[j], bits), bits)
            out[i, j] = np.float64(value) - shift


@compiled
def gather(
    local: Local,
    kind: int,
    bits: int,
    base: int,
    zero: int,
    rows: Integers,
    columns: Integers,
    out: NDArray[np.float64],
) -> None:
    """out[i, j] = the element at bit `base` + bits * (rows[i] + columns[j]), minus `zero` where it is an integer.

    Every type is exact in float64 but 64-bit integers beyond EXACT.
    """
    for i in range(len(rows)):
        _gather_row(local.data, kind, bits, base + bits * rows[i], float(zero), columns, out, i)


@compiled
def scatter(
    local: Local, kind: int, bits: int, base: int, rows: Integers, columns: Integers, values: NDArray[np.float64]
) -> int:
    """Write values[i, j] to the element at bit `base` + bits * (rows[i] + columns[j]): integers reduced to `bits` in
    two's complement, or rounded to float32. Returns how many integers did not fit."""
    overflows = 0
    for i in range(len(rows)):
        start = base + bits * rows[i]
        for j in range(len(columns)):
            at = start + bits * columns[j]
            if kind == K_F32:
                store_f32(local.data, at >> 3, values[i, j])
            else:
                exact = np.int64(values[i, j])
                kept = wrap_scalar(exact, bits)
                overflows += kept != exact
                if bits == 32:
                    store_i32(local.data, at >> 3, kept)
                elif bits == 16:
                    store_i16(local.data, at >> 3, kept)
                elif bits == 8:
                    store_i8(local.data, at >> 3, kept)
                elif bits == 64:
                    store_i64(local.data, at >> 3, kept)
                else:
                    write_bits(local.data, at, bits, kept)
    return overflows


@compiled
def largest(block: NDArray[np.float64], rows: int, columns: int) -> float:
    """The greatest absolute value of a block."""
    found = 0.0
    for i in range(rows):
        for j in range(columns):
            found = max(found, abs(block[i, j]))
    return found


@compiled
def any_mark(local: Local, low: int, high: int) -> bool:
    """Whether something in bytes low..high-1 is marked as padding."""
    found = 0
    for j in range(low, high):
        found |= local.marks[j]
    return found != 0


@compiled
def count_unmarked(local: Local, bits: int, base: int, rows: Integers, columns: Integers, out: Integers) -> None:
    """out[j] = how many of the elements at bit `base` + bits * (rows[i] + columns[j]) are not padding."""
    for j in range(len(columns)):
        out[j] = 0
    for i in range(len(rows)):
        for j in range(len(columns)):
            at = base + bits * (rows[i] + columns[j])
            out[j] += 1 - ((local.marks[at >> 3] >> (at & 7)) & 1)
