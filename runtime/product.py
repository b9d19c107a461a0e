"""The array's command `compute`: out[c] += a * b over blocks of points, columns and reduce counters. Compiled.

Integers are exact: where blocks of at least 64 products are sure to stay below 2^24 they are summed in float32 (every
partial sum is an integer that float32 holds), and the blocks in int64; else all in int64. Floats are float32 in exactly
the order of specs/isa.md, section 4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .elements import BLOCK, Blocks, Local, any_mark, count_unmarked, fill_offsets, gather, scatter
from .faults import BAD_CLASS, BEYOND_64_BITS, OK, SHARED_OUTPUT, STOPPED, fail
from .layout import (
    BATCH,
    C_CLASS,
    C_DATAFLOW,
    C_ROW,
    C_STRIDE,
    C_TYPE,
    COLUMN,
    COMPUTE_ACCUMULATE,
    COMPUTE_C,
    COMPUTE_EXTENT,
    FLOW_OS,
    K_I64,
    K_U8,
    K_U16,
    OPERAND_STRIDE,
    OPERAND_TYPE,
    OPERAND_ZERO,
    PLAN_MACS,
    PLAN_OVERFLOWS,
    POINT,
    REDUCE,
    TYPE_BITS,
    TYPE_BYTES,
    TYPE_FLOAT,
    TYPE_KIND,
    TYPES,
    Integers,
)
from .transfer import span

COUNTERS = 10
MAX_POINTS = 1 << 44
EXACT_FLOAT32 = (1 << 24) - 1
SHORTEST_FLOAT32_BLOCK = 64
GUARD = 2.0**62  # sums of integers beyond this are refused: they could leave 64 bits


class Operand(NamedTuple):
    """One operand of a command: its element type, first byte, what is subtracted, and element strides per counter."""

    kind: int
    size: int
    base: int
    zero: int
    largest: int  # of |element - zero| of an integer, as its container allows
    strides: Integers
    marked: bool  # whether some of its elements may be padding


@compiled
def operand_of(local: Local, config: Integers, base: int, raw: bool, extents: Integers) -> Operand:
    """The operand that `config` (configure.a or .b), a base address and the extents of the counters describe."""
    code = config[OPERAND_TYPE]
    kind, size = TYPES[code, TYPE_KIND], TYPES[code, TYPE_BYTES]
    zero = 0 if raw or TYPES[code, TYPE_FLOAT] else config[OPERAND_ZERO]
    container = 8 * size
    if kind in (K_U8, K_U16):
        low, high = 0, (1 << container) - 1
    elif TYPES[code, TYPE_FLOAT]:
        low, high = 0, 0
    elif size <= 4:
        low, high = -(1 << (container - 1)), (1 << (container - 1)) - 1
    else:
        low, high = -(1 << 62), 1 << 62
    strides = config[OPERAND_STRIDE : OPERAND_STRIDE + COUNTERS]
    marked = any_mark(local, base, base + size * (span(extents, strides) + 1))
    return Operand(kind, size, base, zero, max(abs(low - zero), abs(high - zero)), strides, marked)


@compiled
def members(extents: Integers, classes: Integers, wanted: int, last: int, order: Integers) -> int:
    """Counters of a class with more than one value, in counter order but `last` at the end; returns how many."""
    count = 0
    for counter in range(COUNTERS):
        if classes[counter] == wanted and extents[counter] > 1 and counter != last:
            order[count] = counter
            count += 1
    if last < COUNTERS and classes[last] == wanted and extents[last] > 1:
        order[count] = last
        count += 1
    return count


@compiled
def class_extent(extents: Integers, classes: Integers, wanted: int) -> int:
    total = 1
    for counter in range(COUNTERS):
        if classes[counter] == wanted:
            total *= extents[counter]
    return total


@compiled
def check_classes(
    extents: Integers, classes: Integers, on_array: bool, a: Integers, b: Integers, c: Integers, fault: Integers
) -> int:
    """A reduce counter must not move the output; on the array no class may move what it does not name."""
    for counter in range(COUNTERS):
        if extents[counter] > 1:
            each = classes[counter]
            if on_array and each == COLUMN and a[counter]:
                return fail(fault, BAD_CLASS, counter, 0, 0, 0)
            if on_array and each == POINT and b[counter]:
                return fail(fault, BAD_CLASS, counter, 1, 0, 0)
            if each == REDUCE and c[counter]:
                return fail(fault, BAD_CLASS, counter, 2, 0, 0)
    return OK


@compiled
def check_injective(extents: Integers, classes: Integers, strides: Integers, done: Integers, fault: Integers) -> int:
    """No two output elements of a command share an address: each stride lies beyond all that smaller ones reach.
    `done` is room for one number a counter."""
    for counter in range(COUNTERS):
        done[counter] = 0
    reach = 0
    for _ in range(COUNTERS):
        least = -1
        for counter in range(COUNTERS):
            waits = done[counter] == 0 and extents[counter] > 1 and classes[counter] != REDUCE
            if waits and (least < 0 or strides[counter] < strides[least]):
                least = counter
        if least < 0:
            return OK
        if strides[least] <= reach:
            return fail(fault, SHARED_OUTPUT, least, 0, 0, 0)
        done[least] = 1
        reach += (extents[least] - 1) * strides[least]
    return OK


@compiled
def count_points(extents: Integers) -> int:
    """Product of all extents, -1 where it exceeds MAX_POINTS."""
    for counter in range(COUNTERS):
        if extents[counter] == 0:
            return 0
    total = 1
    for counter in range(COUNTERS):
        total *= extents[counter]
        if total > MAX_POINTS:
            return -1
    return total


@compiled
def clear(block: Any, rows: int, columns: int) -> None:
    for i in range(rows):
        for j in range(columns):
            block[i, j] = 0


@compiled
def multiply(a: Any, b: Any, rows: int, first: int, last: int, columns: int, out: Any) -> None:
    """out[i, j] += sum over k in first..last-1 of a[i, k] * b[k, j], added one after another in the order of k."""
    i = 0
    while i + 2 <= rows:
        k = first
        while k + 4 <= last:
            a00, a01, a02, a03 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            a10, a11, a12, a13 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
            for j in range(columns):
                b0, b1, b2, b3 = b[k, j], b[k + 1, j], b[k + 2, j], b[k + 3, j]
                out[i, j] = (((out[i, j] + a00 * b0) + a01 * b1) + a02 * b2) + a03 * b3
                out[i + 1, j] = (((out[i + 1, j] + a10 * b0) + a11 * b1) + a12 * b2) + a13 * b3
            k += 4
        while k < last:
            a00, a10 = a[i, k], a[i + 1, k]
            for j in range(columns):
                out[i, j] += a00 * b[k, j]
                out[i + 1, j] += a10 * b[k, j]
            k += 1
        i += 2
    if i < rows:
        for k in range(first, last):
            a00 = a[i, k]
            for j in range(columns):
                out[i, j] += a00 * b[k, j]


@compiled
def add_block(part: Any, rows: int, columns: int, real: bool, f_total: NDArray[np.float32], i_total: Integers) -> None:
    """Add a finished part, which is integral where the total is an integer."""
    for i in range(rows):
        if real:
            for j in range(columns):
                f_total[i, j] += np.float32(part[i, j])
        else:
            for j in range(columns):
                i_total[i, j] += np.int64(part[i, j])


@compiled
def largest(block: Any, rows: int, columns: int) -> float:
    """The greatest absolute value, as a float."""
    found = 0.0
    for i in range(rows):
        for j in range(columns):
            found = max(found, abs(float(block[i, j])))
    return found


@compiled
def _products(
    local: Local,
    left: Operand,
    right: Operand,
    left_rows: Integers,
    right_columns: Integers,
    extents: Integers,
    offsets: Integers,
    index: Integers,
    reduce_order: Integers,
    reduce_axes: int,
    reduces: int,
    piece: int,
    run: int,
    chunk: int,
    guarded: bool,
    stop: NDArray[np.uint8],
    a: Any,
    b: Any,
    part: Any,
    real: bool,
    f_total: NDArray[np.float32],
    i_total: Integers,
) -> int:
    """f_total (where `real`) or i_total += the products of one block of rows and columns over all reduce counters;
    returns the products whose operands are no padding, -1 where a sum could exceed 64 bits.

    Reduce counters are taken `piece` at a time. A sum starts anew at every multiple of `run` and within a run every
    `chunk`; finished sums are added to the total in order.
    """
    rows, columns = len(left_rows), len(right_columns)
    left_offsets, right_offsets, seen_left, seen_right = offsets[4], offsets[5], offsets[6], offsets[7]
    valid = 0
    bound = 0.0
    k0 = 0
    while k0 < reduces and not stop[0]:
        length = min(piece, reduces - k0)
        left_columns, right_rows = left_offsets[:length], right_offsets[:length]
        fill_offsets(extents, left.strides, reduce_order, reduce_axes, 0, k0, index, left_columns)
        fill_offsets(extents, right.strides, reduce_order, reduce_axes, 0, k0, index, right_rows)
        gather(local, left.kind, left.base, left.zero, left_rows, left_columns, a)
        gather(local, right.kind, right.base, right.zero, right_rows, right_columns, b)
        if guarded:
            bound += largest(a, rows, length) * largest(b, length, columns) * length
            if bound > GUARD:
                return -1
        if left.marked or right.marked:
            for k in range(length):
                seen_left[k], seen_right[k] = rows, columns
            if left.marked:
                count_unmarked(local, left.size, left.base, left_rows, left_columns, seen_left)
            if right.marked:
                # The same count with the roles of rows and columns exchanged: offsets only add up.
                count_unmarked(local, right.size, right.base, right_columns, right_rows, seen_right)
            for k in range(length):
                valid += seen_left[k] * seen_right[k]
        else:
            valid += rows * columns * length
        k = 0
        while k < length:
            place = (k0 + k) % run
            if place % chunk == 0:
                clear(part, rows, columns)
            end = min(length, k + min(chunk - place % chunk, run - place))
            multiply(a, b, rows, k, end, columns, part)
            after = (k0 + end) % run
            if after % chunk == 0 or k0 + end == reduces:
                add_block(part, rows, columns, real, f_total, i_total)
            k = end
        k0 += length
    return valid


@compiled
def _start(local: Local, kind: int, base: int, accumulate: int, rows: Integers, columns: Integers, total: Any) -> None:
    """What a block of sums starts from: the output elements, or 0."""
    if accumulate:
        gather(local, kind, base, 0, rows, columns, total)
    else:
        clear(total, len(rows), len(columns))


@compiled
def run_compute(
    local: Local,
    blocks: Blocks,
    config_c: Integers,
    a: Operand,
    b: Operand,
    row: Integers,
    array_rows: int,
    plan: Integers,
    stop: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Carry out the sums of one array command whose ranges have been checked: a fault's code or OK. Notes in `plan` the
    overflows and the products whose operands are no padding."""
    c_base, flow, row_counter = row[COMPUTE_C], config_c[C_DATAFLOW], config_c[C_ROW]
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    classes = config_c[C_CLASS : C_CLASS + COUNTERS]
    c_strides = config_c[C_STRIDE : C_STRIDE + COUNTERS]
    code = config_c[C_TYPE]
    kind, bits = TYPES[code, TYPE_KIND], TYPES[code, TYPE_BITS]
    real = TYPES[code, TYPE_FLOAT] != 0
    orders, index = blocks.counters[:4], blocks.counters[4]
    group_axes = members(extents, classes, BATCH, COUNTERS, orders[0])
    point_axes = members(extents, classes, POINT, COUNTERS, orders[1])
    column_axes = members(extents, classes, COLUMN, COUNTERS, orders[2])
    groups, points = class_extent(extents, classes, BATCH), class_extent(extents, classes, POINT)
    columns, reduces = class_extent(extents, classes, COLUMN), class_extent(extents, classes, REDUCE)
    # The row counter runs fastest on ws and is; on os the array has no blocks along it.
    reduce_axes = members(extents, classes, REDUCE, COUNTERS if flow == FLOW_OS else row_counter, orders[3])
    piece = BLOCK
    exact_in_32 = False
    if real:
        run = reduces if flow == FLOW_OS else (extents[row_counter] if row_counter < COUNTERS else 1)
        chunk = run if flow == FLOW_OS else array_rows
    else:
        longest = EXACT_FLOAT32 // (a.largest * b.largest) if a.largest < 1 << 24 and b.largest < 1 << 24 else 0
        exact_in_32 = longest >= SHORTEST_FLOAT32_BLOCK
        if exact_in_32:
            piece = min(BLOCK, longest)
        run = chunk = piece
    guarded = float(a.largest) * float(b.largest) * reduces > GUARD
    # A narrow block of columns beside many points is computed transposed, so that the inner loop is long.
    transposed = columns < 32 and points > columns
    f_left, f_right, f_part, f_total = blocks.floats[0], blocks.floats[1], blocks.floats[2], blocks.floats[3]
    i_left, i_right, i_part, i_total = blocks.integers[0], blocks.integers[1], blocks.integers[2], blocks.integers[3]
    overflows = valid = 0
    offsets, one = blocks.offsets, blocks.offsets[0, :1]
    for group in range(groups):
        fill_offsets(extents, a.strides, orders[0], group_axes, 0, group, index, one)
        a_group = one[0]
        fill_offsets(extents, b.strides, orders[0], group_axes, 0, group, index, one)
        b_group = one[0]
        fill_offsets(extents, c_strides, orders[0], group_axes, 0, group, index, one)
        c_group = one[0]
        for p0 in range(0, points, BLOCK):
            p_size = min(BLOCK, points - p0)
            for m0 in range(0, columns, BLOCK):
                if stop[0]:
                    return fail(fault, STOPPED, 0, 0, 0, 0)
                m_size = min(BLOCK, columns - m0)
                a_points, b_columns = offsets[0, :p_size], offsets[1, :m_size]
                c_points, c_cols = offsets[2, :p_size], offsets[3, :m_size]
                fill_offsets(extents, a.strides, orders[1], point_axes, a_group, p0, index, a_points)
                fill_offsets(extents, b.strides, orders[2], column_axes, b_group, m0, index, b_columns)
                fill_offsets(extents, c_strides, orders[1], point_axes, c_group, p0, index, c_points)
                fill_offsets(extents, c_strides, orders[2], column_axes, 0, m0, index, c_cols)
                if transposed:
                    left, right, left_rows, right_columns, out_rows, out_columns = (
                        b, a, b_columns, a_points, c_cols, c_points,
                    )  # fmt: skip
                else:
                    left, right, left_rows, right_columns, out_rows, out_columns = (
                        a, b, a_points, b_columns, c_points, c_cols,
                    )  # fmt: skip
                if real:
                    _start(local, kind, c_base, row[COMPUTE_ACCUMULATE], out_rows, out_columns, f_total)
                else:
                    _start(local, kind, c_base, row[COMPUTE_ACCUMULATE], out_rows, out_columns, i_total)
                    if kind == K_I64 and largest(i_total, len(out_rows), len(out_columns)) > GUARD:
                        return fail(fault, BEYOND_64_BITS, 0, 0, 0, 0)
                if real or exact_in_32:
                    found = _products(
                        local, left, right, left_rows, right_columns, extents, offsets, index, orders[3],
                        reduce_axes, reduces, piece, run, chunk, False, stop, f_left, f_right, f_part,
                        real, f_total, i_total,
                    )  # fmt: skip
                else:
                    found = _products(
                        local, left, right, left_rows, right_columns, extents, offsets, index, orders[3],
                        reduce_axes, reduces, piece, run, chunk, guarded, stop, i_left, i_right, i_part,
                        real, f_total, i_total,
                    )  # fmt: skip
                if found < 0:
                    return fail(fault, BEYOND_64_BITS, 0, 0, 0, 0)
                if real:
                    scatter(local, kind, bits, c_base, out_rows, out_columns, f_total)
                else:
                    overflows += scatter(local, kind, bits, c_base, out_rows, out_columns, i_total)
                valid += found
    if stop[0]:
        return fail(fault, STOPPED, 0, 0, 0, 0)
    plan[PLAN_OVERFLOWS] = overflows
    plan[PLAN_MACS] = valid
    return OK
