"""The array's command `compute`: out[c] += a * b over blocks of points, columns and reduce counters. Compiled.

Integers are exact: products and sums are integers that float64 holds, whatever their order (operands of up to 16 bits
give less than 2^53 in any command; wider ones are watched). Floats are float32 in exactly the order of specs/isa.md,
section 4.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .elements import (
    BLOCK,
    EXACT,
    PIECE,
    Blocks,
    Local,
    any_mark,
    count_unmarked,
    fill_offsets,
    gather,
    largest,
    scatter,
)
from .faults import BAD_CLASS, BEYOND_53_BITS, OK, SHARED_OUTPUT, STOPPED, fail
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
    OPERAND_STRIDE,
    OPERAND_TYPE,
    OPERAND_ZERO,
    PLAN_MACS,
    PLAN_OVERFLOWS,
    POINT,
    REDUCE,
    TYPE_BITS,
    TYPE_FLOAT,
    TYPE_HIGH,
    TYPE_KIND,
    TYPE_LOW,
    TYPES,
    Integers,
)
from .transfer import span

COUNTERS = 10
MAX_POINTS = 1 << 44


class Operand(NamedTuple):
    """One operand of a command: its element type, first bit, what is subtracted, and element strides per counter."""

    kind: int
    bits: int
    base: int
    zero: int
    largest: int  # of |element - zero| of an integer, as its type allows
    strides: Integers
    marked: bool  # whether some of its elements may be padding


@compiled
def operand_of(local: Local, config: Integers, base: int, raw: bool, extents: Integers) -> Operand:
    """The operand that `config` (configure.a or .b), a base in bits and the extents of the counters describe."""
    code = config[OPERAND_TYPE]
    kind, bits = TYPES[code, TYPE_KIND], TYPES[code, TYPE_BITS]
    zero = 0 if raw or TYPES[code, TYPE_FLOAT] else config[OPERAND_ZERO]
    low, high = max(TYPES[code, TYPE_LOW], -(1 << 62)), min(TYPES[code, TYPE_HIGH], 1 << 62)
    strides = config[OPERAND_STRIDE : OPERAND_STRIDE + COUNTERS]
    marked = any_mark(local, base >> 3, (base + bits * (span(extents, strides) + 1) + 7) >> 3)
    return Operand(kind, bits, base, zero, max(abs(low - zero), abs(high - zero)), strides, marked)


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
def _narrow(wide: NDArray[np.float64], rows: int, columns: int, out: NDArray[np.float32]) -> None:
    for i in range(rows):
        for j in range(columns):
            out[i, j] = np.float32(wide[i, j])


@compiled
def _multiply_floats(
    blocks: Blocks, rows: int, columns: int, k0: int, length: int, reduces: int, run: int, chunk: int
) -> None:
    """The products k0 .. k0 + length - 1 of all `reduces`, in float32. A sum starts anew at every multiple of `run` and
    within a run every `chunk`; finished sums are added to the total in order."""
    part, total = blocks.part32, blocks.total
    _narrow(blocks.left, rows, length, blocks.left32)
    _narrow(blocks.right, length, columns, blocks.right32)
    k = 0
    while k < length:
        place = (k0 + k) % run
        if place % chunk == 0:
            for i in range(rows):
                for j in range(columns):
                    part[i, j] = np.float32(0.0)
        end = min(length, k + min(chunk - place % chunk, run - place))
        multiply(blocks.left32, blocks.right32, rows, k, end, columns, part)
        if (k0 + end) % run % chunk == 0 or k0 + end == reduces:
            for i in range(rows):
                for j in range(columns):
                    total[i, j] = np.float32(total[i, j]) + part[i, j]
        k = end


@compiled
def _count_valid(
    local: Local,
    left: Operand,
    right: Operand,
    left_rows: Integers,
    left_columns: Integers,
    right_rows: Integers,
    right_columns: Integers,
    offsets: Integers,
) -> int:
    """How many products of a block have operands that are no padding."""
    rows, columns, length = len(left_rows), len(right_columns), len(left_columns)
    if not left.marked and not right.marked:
        return rows * columns * length
    seen_left, seen_right = offsets[6], offsets[7]
    for k in range(length):
        seen_left[k], seen_right[k] = rows, columns
    if left.marked:
        count_unmarked(local, left.bits, left.base, left_rows, left_columns, seen_left)
    if right.marked:
        # The same count with the roles of rows and columns exchanged: offsets only add up.
        count_unmarked(local, right.bits, right.base, right_columns, right_rows, seen_right)
    valid = 0
    for k in range(length):
        valid += seen_left[k] * seen_right[k]
    return valid


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
    c_base, flow, row_counter = 8 * row[COMPUTE_C], config_c[C_DATAFLOW], config_c[C_ROW]
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
    run, chunk = reduces, reduces
    if flow != FLOW_OS:
        run, chunk = (extents[row_counter] if row_counter < COUNTERS else 1), array_rows
    # A narrow block of columns beside many points is computed transposed, so that the inner loop is long.
    transposed = columns < 32 and points > columns
    left, right = (b, a) if transposed else (a, b)
    left_axes, right_axes = (column_axes, point_axes) if transposed else (point_axes, column_axes)
    left_order, right_order = (orders[2], orders[1]) if transposed else (orders[1], orders[2])
    left_extent, right_extent = (columns, points) if transposed else (points, columns)
    careful = not real and float(a.largest) * float(b.largest) * reduces + 2.0**32 > EXACT
    offsets, one, total = blocks.offsets, blocks.offsets[0, :1], blocks.total
    overflows = valid = 0
    for group in range(groups):
        fill_offsets(extents, left.strides, orders[0], group_axes, 0, group, index, one)
        left_start = one[0]
        fill_offsets(extents, right.strides, orders[0], group_axes, 0, group, index, one)
        right_start = one[0]
        fill_offsets(extents, c_strides, orders[0], group_axes, 0, group, index, one)
        c_start = one[0]
        for i0 in range(0, left_extent, BLOCK):
            rows = min(BLOCK, left_extent - i0)
            left_rows, c_rows = offsets[0, :rows], offsets[1, :rows]
            fill_offsets(extents, left.strides, left_order, left_axes, left_start, i0, index, left_rows)
            fill_offsets(extents, c_strides, left_order, left_axes, c_start, i0, index, c_rows)
            for j0 in range(0, right_extent, BLOCK):
                width = min(BLOCK, right_extent - j0)
                right_columns, c_columns = offsets[2, :width], offsets[3, :width]
                fill_offsets(extents, right.strides, right_order, right_axes, right_start, j0, index, right_columns)
                fill_offsets(extents, c_strides, right_order, right_axes, 0, j0, index, c_columns)
                if row[COMPUTE_ACCUMULATE]:
                    gather(local, kind, bits, c_base, 0, c_rows, c_columns, total)
                else:
                    for i in range(rows):
                        for j in range(width):
                            total[i, j] = 0.0
                bound = largest(total, rows, width) if careful else 0.0
                for k0 in range(0, reduces, PIECE):
                    if stop[0]:
                        return fail(fault, STOPPED, 0, 0, 0, 0)
                    length = min(PIECE, reduces - k0)
                    left_columns, right_rows = offsets[4, :length], offsets[5, :length]
                    fill_offsets(extents, left.strides, orders[3], reduce_axes, 0, k0, index, left_columns)
                    fill_offsets(extents, right.strides, orders[3], reduce_axes, 0, k0, index, right_rows)
                    gather(local, left.kind, left.bits, left.base, left.zero, left_rows, left_columns, blocks.left)
                    gather(
                        local, right.kind, right.bits, right.base, right.zero, right_rows, right_columns, blocks.right
                    )
                    if careful:
                        bound += largest(blocks.left, rows, length) * largest(blocks.right, length, width) * length
                        if bound > EXACT:
                            return fail(fault, BEYOND_53_BITS, 0, 0, 0, 0)
                    valid += _count_valid(
                        local, left, right, left_rows, left_columns, right_rows, right_columns, offsets
                    )
                    if real:
                        _multiply_floats(blocks, rows, width, k0, length, reduces, run, chunk)
                    else:
                        multiply(blocks.left, blocks.right, rows, 0, length, width, total)
                overflows += scatter(local, kind, bits, c_base, c_rows, c_columns, total)
    plan[PLAN_OVERFLOWS] = overflows
    plan[PLAN_MACS] = valid
    return OK
