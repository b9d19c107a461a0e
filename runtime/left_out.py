"""What the array and the vector unit leave out of a product because an operand's elements are tagged: blocks of zeros
that were never loaded (specs/isa.md, section 7). Compiled.

Values need nothing: what is left out adds nothing. Here is what it does to cycles, reads, writes and counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .elements import Local, fill_offsets, packed_value, read_bits
from .faults import NO_ZERO, OK, fail
from .layout import (
    A_COLS,
    A_LANES,
    A_ROWS,
    BATCH,
    C_CLASS,
    C_COL,
    C_DATAFLOW,
    C_ROW,
    COLUMN,
    COMPUTE_ACCUMULATE,
    COMPUTE_EXTENT,
    FLOW_IS,
    FLOW_OS,
    FLOW_WS,
    K_I8,
    K_I16,
    K_PACKED_I,
    PLAN_BUSY,
    PLAN_LEFT_OUT,
    PLAN_READ_BACK,
    PLAN_READS_A,
    PLAN_READS_B,
    PLAN_SKIPPED,
    PLAN_SKIPS,
    PLAN_WRITES,
    POINT,
    REDUCE,
    Integers,
)
from .product import COUNTERS, Operand, class_extent, members

LANES = 2048  # offsets that are made at a time


class Room(NamedTuple):
    """Where the work of a command is noted: for each point and each element along the reduce counters whether a's
    element is tagged, and whether it is no padding; the same of b for each column; how often each output is added to;
    and how many operands of a block are no padding at each element along the reduce counters."""

    a_tagged: NDArray[np.uint8]
    a_valid: NDArray[np.uint8]
    b_tagged: NDArray[np.uint8]
    b_valid: NDArray[np.uint8]
    times: NDArray[np.int32]
    partners: NDArray[np.int32]


@compiled
def any_tag(local: Local, low: int, high: int) -> bool:
    """Whether something in bytes low..high-1 is tagged."""
    found = 0
    for j in range(low, high):
        found |= local.tags[j]
    return found != 0


@compiled
def _is_tagged(local: Local, at: int) -> int:
    return int((local.tags[at >> 3] >> (at & 7)) & 1)


@compiled
def _is_marked(local: Local, at: int) -> int:
    return int((local.marks[at >> 3] >> (at & 7)) & 1)


@compiled
def _code(local: Local, operand: Operand, at: int) -> int:
    """The code at a bit of local memory; of at most 16 bits, as all that can be tagged."""
    value = read_bits(local.data, at, operand.bits)
    if operand.kind in (K_I8, K_I16, K_PACKED_I):
        value = packed_value(K_PACKED_I, value, operand.bits)
    return value


@compiled
def _note(
    local: Local,
    operand: Operand,
    number: int,
    extents: Integers,
    outer: Integers,
    outer_axes: int,
    outers: int,
    inner: Integers,
    inner_axes: int,
    inners: int,
    start: int,
    index: Integers,
    offsets: Integers,
    tagged: NDArray[np.uint8],
    valid: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Note which elements of an operand are tagged, and which are no padding, `inners` of them for each of `outers`.
    A fault where a tagged one is not its zero point."""
    row = offsets[0, :1]
    for i in range(outers):
        fill_offsets(extents, operand.strides, outer, outer_axes, start, i, index, row)
        base = row[0]
        for first in range(0, inners, LANES):
            count = min(LANES, inners - first)
            line = offsets[1, :count]
            fill_offsets(extents, operand.strides, inner, inner_axes, base, first, index, line)
            for j in range(count):
                at = operand.base + operand.bits * line[j]
                place = i * inners + first + j
                tagged[place] = _is_tagged(local, at)
                valid[place] = 1 - _is_marked(local, at)
                if tagged[place] and _code(local, operand, at) != operand.zero:
                    return fail(fault, NO_ZERO, _code(local, operand, at), operand.zero, number, 0)
    return OK


@compiled
def left_out(
    local: Local,
    room: Room,
    a: Operand,
    b: Operand,
    config_c: Integers,
    row: Integers,
    arch: Integers,
    on_array: bool,
    plan: Integers,
    counters: Integers,
    offsets: Integers,
    fault: Integers,
) -> int:
    """Work out what a product leaves out, into `plan`: a fault's code or OK. `counters` and `offsets` are room to work
    in."""
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    classes = config_c[C_CLASS : C_CLASS + COUNTERS]
    for place in range(PLAN_BUSY, PLAN_LEFT_OUT + 1):
        plan[place] = 0
    plan[PLAN_SKIPS] = 1
    if not on_array:
        return _on_vector_unit(local, a, b, config_c, row, arch, plan, counters, offsets, fault)
    flow = config_c[C_DATAFLOW]
    orders, index = counters[:4], counters[4]
    row_counter = COUNTERS if flow == FLOW_OS else config_c[C_ROW]
    col_counter = config_c[C_COL] if flow != FLOW_IS else COUNTERS
    group_axes = members(extents, classes, BATCH, COUNTERS, orders[0])
    point_axes = members(extents, classes, POINT, COUNTERS, orders[1])
    column_axes = members(extents, classes, COLUMN, col_counter, orders[2])
    reduce_axes = members(extents, classes, REDUCE, row_counter, orders[3])
    groups, points = class_extent(extents, classes, BATCH), class_extent(extents, classes, POINT)
    columns, reduces = class_extent(extents, classes, COLUMN), class_extent(extents, classes, REDUCE)
    row_extent = extents[row_counter] if row_counter < COUNTERS else 1
    col_extent = extents[col_counter] if col_counter < COUNTERS else 1
    accumulates = row[COMPUTE_ACCUMULATE] != 0
    start = offsets[2, :1]
    for group in range(groups):
        fill_offsets(extents, a.strides, orders[0], group_axes, 0, group, index, start)
        a_start = start[0]
        fill_offsets(extents, b.strides, orders[0], group_axes, 0, group, index, start)
        b_start = start[0]
        code = _note(
            local, a, 0, extents, orders[1], point_axes, points, orders[3], reduce_axes, reduces, a_start, index,
            offsets, room.a_tagged, room.a_valid, fault,
        )  # fmt: skip
        if code == OK:
            code = _note(
                local, b, 1, extents, orders[2], column_axes, columns, orders[3], reduce_axes, reduces, b_start, index,
                offsets, room.b_tagged, room.b_valid, fault,
            )  # fmt: skip
        if code != OK:
            return code
        if flow == FLOW_OS:
            _outputs_held(room, points, columns, reduces, col_extent, arch, accumulates, plan)
        elif flow == FLOW_WS:
            _operand_held(
                room.a_tagged, room.a_valid, room.b_tagged, room.b_valid, room, points, columns, reduces,
                row_extent, col_extent, arch, accumulates, True, plan,
            )  # fmt: skip
        else:
            _operand_held(
                room.b_tagged, room.b_valid, room.a_tagged, room.a_valid, room, columns, points, reduces,
                row_extent, points, arch, accumulates, False, plan,
            )  # fmt: skip
    return OK


@compiled
def _next_block(place: int, extent: int, size: int, total: int) -> int:
    """The end of the block that begins at `place`: blocks of `size` start anew at every multiple of `extent`."""
    return int(min(place + size - place % extent % size, place - place % extent + extent, total))


@compiled
def _operand_held(
    stream_tagged: NDArray[np.uint8],
    stream_valid: NDArray[np.uint8],
    held_tagged: NDArray[np.uint8],
    held_valid: NDArray[np.uint8],
    room: Room,
    streamed: int,
    held: int,
    reduces: int,
    row_extent: int,
    held_extent: int,
    arch: Integers,
    accumulates: bool,
    is_ws: bool,
    plan: Integers,
) -> None:
    """One operand is held in the array, block by block (b on ws, a on is), the other streams against it."""
    rows, cols, times, partners = arch[A_ROWS], arch[A_COLS], room.times, room.partners
    h0 = 0
    while h0 < held:
        h1 = _next_block(h0, held_extent, cols, held)
        for s in range(streamed):
            times[s] = 0
        k0 = 0
        while k0 < reduces:
            k1 = _next_block(k0, row_extent, rows, reduces)
            whole = True
            for k in range(k0, k1):
                partners[k] = 0
            for h in range(h0, h1):
                for k in range(k0, k1):
                    whole = whole and held_tagged[h * reduces + k] != 0
                    partners[k] += held_valid[h * reduces + k]
            active = 0
            for s in range(streamed):
                gone = True
                for k in range(k0, k1):
                    gone = gone and stream_tagged[s * reduces + k] != 0
                if whole or gone:
                    plan[PLAN_LEFT_OUT] += (k1 - k0) * (h1 - h0)
                    for k in range(k0, k1):
                        plan[PLAN_SKIPPED] += stream_valid[s * reduces + k] * partners[k]
                else:
                    active += 1
                    times[s] += 1
            if active:
                plan[PLAN_BUSY] += max(active, k1 - k0)
                streams, holds = active * (k1 - k0), (k1 - k0) * (h1 - h0)
                plan[PLAN_READS_A] += streams if is_ws else holds
                plan[PLAN_READS_B] += holds if is_ws else streams
            k0 = k1
        for s in range(streamed):
            _count_sums(times[s], h1 - h0, accumulates, plan)
        h0 = h1


@compiled
def _count_sums(times: int, outputs: int, accumulates: bool, plan: Integers) -> None:
    """Accesses of `outputs` accumulators that are added to `times` times."""
    plan[PLAN_WRITES] += outputs * (times if accumulates else max(times, 1))
    plan[PLAN_READ_BACK] += outputs * (times if accumulates else max(times - 1, 0))


@compiled
def _outputs_held(
    room: Room,
    points: int,
    columns: int,
    reduces: int,
    col_extent: int,
    arch: Integers,
    accumulates: bool,
    plan: Integers,
) -> None:
    """Blocks of outputs are held in the array, both operands stream."""
    rows, cols = arch[A_ROWS], arch[A_COLS]
    c0 = 0
    while c0 < columns:
        c1 = _next_block(c0, col_extent, cols, columns)
        for p0 in range(0, points, rows):
            p1 = min(p0 + rows, points)
            active = 0
            for k in range(reduces):
                a_gone = b_gone = True
                a_valid = b_valid = 0
                for p in range(p0, p1):
                    a_gone = a_gone and room.a_tagged[p * reduces + k] != 0
                    a_valid += room.a_valid[p * reduces + k]
                for c in range(c0, c1):
                    b_gone = b_gone and room.b_tagged[c * reduces + k] != 0
                    b_valid += room.b_valid[c * reduces + k]
                if a_gone or b_gone:
                    plan[PLAN_LEFT_OUT] += (p1 - p0) * (c1 - c0)
                    plan[PLAN_SKIPPED] += a_valid * b_valid
                else:
                    active += 1
            if active:
                plan[PLAN_BUSY] += max(active, p1 - p0)
                plan[PLAN_READS_A] += active * (p1 - p0)
                plan[PLAN_READS_B] += active * (c1 - c0)
            outputs = (p1 - p0) * (c1 - c0)
            plan[PLAN_WRITES] += outputs
            plan[PLAN_READ_BACK] += outputs if accumulates else 0
        c0 = c1


@compiled
def _on_vector_unit(
    local: Local,
    a: Operand,
    b: Operand,
    config_c: Integers,
    row: Integers,
    arch: Integers,
    plan: Integers,
    counters: Integers,
    offsets: Integers,
    fault: Integers,
) -> int:
    """Groups of lanes of which one operand is all tagged take no cycle."""
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    order, index, col = counters[0], counters[1], config_c[C_COL]
    axes, total = 0, 1
    for counter in range(COUNTERS):
        total *= extents[counter]
        if counter != col and extents[counter] > 1:
            order[axes] = counter
            axes += 1
    width = 1
    if col < COUNTERS:
        width = extents[col]
        if width > 1:
            order[axes] = col
            axes += 1
    lanes = arch[A_LANES]
    for line in range(0, total, width):
        for first in range(0, width, lanes):
            code = _lane_group(
                local, a, b, extents, order, axes, line + first, min(lanes, width - first), index, offsets, plan, fault
            )
            if code != OK:
                return code
    return OK


@compiled
def _lane_group(
    local: Local,
    a: Operand,
    b: Operand,
    extents: Integers,
    order: Integers,
    axes: int,
    start: int,
    lanes: int,
    index: Integers,
    offsets: Integers,
    plan: Integers,
    fault: Integers,
) -> int:
    """One group of lanes, from point `start` on."""
    a_line, b_line = offsets[0], offsets[1]
    a_gone = b_gone = True
    valid = 0
    for first in range(0, lanes, LANES):
        count = min(LANES, lanes - first)
        fill_offsets(extents, a.strides, order, axes, 0, start + first, index, a_line[:count])
        fill_offsets(extents, b.strides, order, axes, 0, start + first, index, b_line[:count])
        for j in range(count):
            a_at, b_at = a.base + a.bits * a_line[j], b.base + b.bits * b_line[j]
            a_tagged, b_tagged = _is_tagged(local, a_at), _is_tagged(local, b_at)
            if a_tagged and _code(local, a, a_at) != a.zero:
                return fail(fault, NO_ZERO, _code(local, a, a_at), a.zero, 0, 0)
            if b_tagged and _code(local, b, b_at) != b.zero:
                return fail(fault, NO_ZERO, _code(local, b, b_at), b.zero, 1, 0)
            a_gone, b_gone = a_gone and a_tagged != 0, b_gone and b_tagged != 0
            valid += (1 - _is_marked(local, a_at)) * (1 - _is_marked(local, b_at))
    if a_gone or b_gone:
        plan[PLAN_LEFT_OUT] += lanes
        plan[PLAN_SKIPPED] += valid
    else:
        plan[PLAN_BUSY] += 1
        plan[PLAN_READS_A] += lanes
        plan[PLAN_READS_B] += lanes
    return OK
