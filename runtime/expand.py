"""Loads of constants that are stored without their blocks of zeros (ir/compressed.py; specs/isa.md, section 7).
Compiled.

The bitmap is read before anything is written: a tile that is not what its load says leaves local memory as it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .elements import Local, read_bits, write_bits
from .faults import (
    BAD_BITMAP,
    BAD_BLOCK,
    BAD_EXPAND,
    BAD_ZERO,
    BOX_TOO_LARGE,
    FAULT_CODE,
    MISALIGNED,
    NOT_CONFIGURED,
    OK,
    OUTSIDE_MAIN,
    PADDED_TILE,
    STOPPED,
    fail,
)
from .layout import (
    A_BURST,
    A_BUS,
    A_COMMAND,
    EXPAND_BLOCK,
    EXPAND_ZERO,
    LOAD_AFTER,
    LOAD_BEFORE,
    LOAD_EXTENT,
    LOAD_KEPT,
    LOAD_LOCAL,
    LOAD_LOCAL_BIT,
    LOAD_MAIN,
    LOAD_MAIN_BIT,
    LOAD_STREAM,
    MAIN_MEMORY,
    N_BLOCKS_ABSENT,
    N_BLOCKS_LOADED,
    OP_CONFIGURE_LOAD,
    PLAN_ABSENT,
    PLAN_LOADED,
    PLAN_MEMORY,
    PLAN_POSITIONS,
    READ,
    STREAM_BITS,
    STREAM_LOCAL_STRIDE,
    STREAM_ROLE,
    WRITE,
    Integers,
)
from .timing import bus_time, ceil_div
from .transfer import AXES, box_positions, check_local, span

MOST_BITS = 16  # of an element that is expanded


@compiled
def bitmap_bits(blocks: int) -> int:
    """Bits of the whole bytes that hold one for each block."""
    return 8 * ceil_div(blocks, 8)


@compiled
def blocks_of(row: Integers, expand: Integers) -> int:
    """How many blocks the tile of a load is cut into, whose extents are at least 1."""
    blocks = 1
    for axis in range(AXES):
        blocks *= ceil_div(row[LOAD_EXTENT + axis], expand[EXPAND_BLOCK + axis])
    return int(blocks)


@compiled
def _block(row: Integers, expand: Integers, number: int, first: Integers, count: Integers) -> int:
    """Where a block of a tile begins along each axis, and its extents; returns its elements."""
    elements = 1
    for axis in range(AXES - 1, -1, -1):
        extent, size = row[LOAD_EXTENT + axis], expand[EXPAND_BLOCK + axis]
        blocks = ceil_div(extent, size)
        first[axis] = number % blocks * size
        count[axis] = min(size, extent - first[axis])
        elements *= count[axis]
        number //= blocks
    return int(elements)


@compiled
def load_tile(
    main: NDArray[np.uint8],
    local: Local,
    stream: Integers,
    expand: Integers,
    is_alone: bool,
    row: Integers,
    plan: Integers,
    counters: Integers,
    stop: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Check and carry out the load of a compressed tile: a fault's code or OK. Notes in `plan` the tile's positions,
    its blocks, those that are left out and the target memory. `is_alone`: nothing else is configured for the stream.
    `counters` is room to work in."""
    if stream[0] != OP_CONFIGURE_LOAD:
        return fail(fault, NOT_CONFIGURED, row[LOAD_STREAM], -1, -1, 0)
    bits = stream[STREAM_BITS]
    if bits > MOST_BITS or not is_alone:
        return fail(fault, BAD_EXPAND, row[LOAD_STREAM], bits, 0, 0)
    zero = expand[EXPAND_ZERO]
    if not -(1 << (bits - 1)) <= zero < (1 << bits):
        return fail(fault, BAD_ZERO, zero, bits, 0, 0)
    extents, strides = counters[0, :AXES], counters[1, :AXES]
    first, count = counters[2, :AXES], counters[3, :AXES]
    for axis in range(AXES):
        extents[axis], strides[axis] = row[LOAD_EXTENT + axis], stream[STREAM_LOCAL_STRIDE + axis]
        if row[LOAD_BEFORE + axis] or row[LOAD_AFTER + axis]:
            return fail(fault, PADDED_TILE, axis, row[LOAD_BEFORE + axis], row[LOAD_AFTER + axis], 0)
        if expand[EXPAND_BLOCK + axis] < 1:
            return fail(fault, BAD_BLOCK, axis, 0, 0, 0)
    limit = 8 * local.ends[-1] // min(8, bits)
    positions = box_positions(extents, limit)
    plan[PLAN_POSITIONS], plan[PLAN_LOADED], plan[PLAN_ABSENT] = positions, 0, 0
    if positions < 0:
        return fail(fault, BOX_TOO_LARGE, limit, 0, 0, 0)
    if positions == 0:
        return OK if row[LOAD_KEPT] == 0 else fail(fault, BAD_BITMAP, 0, row[LOAD_KEPT], 0, 0)
    target = 8 * row[LOAD_LOCAL] + row[LOAD_LOCAL_BIT]
    plan[PLAN_MEMORY] = check_local(local, target, target + bits * (span(extents, strides) + 1), bits, fault)
    if plan[PLAN_MEMORY] < 0:
        return int(fault[FAULT_CODE])
    blocks, start = blocks_of(row, expand), row[LOAD_MAIN]
    if row[LOAD_MAIN_BIT]:
        return fail(fault, MISALIGNED, start, row[LOAD_MAIN_BIT], 8, 0)
    at = 8 * start + bitmap_bits(blocks)
    end = at + bits * row[LOAD_KEPT]
    if start < 0 or end > 8 * len(main):
        return fail(fault, OUTSIDE_MAIN, start, (end - 1) >> 3, len(main), 0)
    kept = absent = spare = 0
    for number in range(blocks):
        if main[start + (number >> 3)] >> (number & 7) & 1:
            kept += _block(row, expand, number, first, count)
        else:
            absent += 1
    for number in range(blocks, bitmap_bits(blocks)):
        spare += main[start + (number >> 3)] >> (number & 7) & 1
    if kept != row[LOAD_KEPT] or spare:
        return fail(fault, BAD_BITMAP, kept, row[LOAD_KEPT], spare, 0)
    plan[PLAN_LOADED], plan[PLAN_ABSENT] = blocks, absent
    for number in range(blocks):
        if stop[0]:
            return fail(fault, STOPPED, 0, 0, 0, 0)
        there = main[start + (number >> 3)] >> (number & 7) & 1
        _block(row, expand, number, first, count)
        at = _write_block(main, local, bits, zero, there != 0, at, target, first, count, strides)
    return OK


@compiled
def _write_block(
    main: NDArray[np.uint8],
    local: Local,
    bits: int,
    zero: int,
    there: bool,
    at: int,
    target: int,
    first: Integers,
    count: Integers,
    strides: Integers,
) -> int:
    """Write the elements of a block to local memory, from bit `at` of main memory on if it is there; returns the bit
    after them. Those of a block that is not are tagged."""
    marked = bits if bits % 8 == 0 else 1  # of an element of whole bytes each of them may be marked
    for i0 in range(first[0], first[0] + count[0]):
        for i1 in range(first[1], first[1] + count[1]):
            for i2 in range(first[2], first[2] + count[2]):
                for i3 in range(first[3], first[3] + count[3]):
                    here = i0 * strides[0] + i1 * strides[1] + i2 * strides[2] + i3 * strides[3]
                    for i4 in range(first[4], first[4] + count[4]):
                        to = target + bits * (here + i4 * strides[4])
                        write_bits(local.data, to, bits, read_bits(main, at, bits) if there else zero)
                        write_bits(local.marks, to, marked, 0)
                        write_bits(local.tags, to, 1, 0 if there else 1)
                        if there:
                            at += bits
    return int(at)


@compiled
def tally_tile(
    stream: Integers, row: Integers, plan: Integers, arch: Integers, traffic: Integers, counters: Integers
) -> int:
    """Cycles that the load of a compressed tile which `load_tile` has carried out holds the bus: one run of the bitmap
    and the elements that are there. What it moved is added to the layer's traffic and counters."""
    if plan[PLAN_POSITIONS] == 0:
        return int(arch[A_COMMAND])
    kept = row[LOAD_KEPT] * stream[STREAM_BITS]
    moved = bitmap_bits(plan[PLAN_LOADED]) + kept
    traffic[MAIN_MEMORY, stream[STREAM_ROLE], READ] += moved
    traffic[1 + plan[PLAN_MEMORY], stream[STREAM_ROLE], WRITE] += kept
    counters[N_BLOCKS_LOADED] += plan[PLAN_LOADED]
    counters[N_BLOCKS_ABSENT] += plan[PLAN_ABSENT]
    beats, requests = ceil_div(moved, 8 * arch[A_BUS]), ceil_div(moved, 8 * arch[A_BURST])
    return int(arch[A_COMMAND] + bus_time(arch, beats, requests))
