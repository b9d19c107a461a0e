"""The vector unit's command: elementwise bodies and reductions, a block of output elements at a time. Compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .elements import LANES, Blocks, Local, count_unmarked, fill_offsets, gather, scatter
from .faults import BEYOND_64_BITS, OK, STOPPED, fail
from .fma import float32_of_bits, qadd_scalar
from .layout import (
    BODY_ADD,
    BODY_COPY,
    BODY_MAC,
    BODY_MAX,
    BODY_MUL,
    BODY_QADD,
    BODY_SUB,
    BODY_SUM,
    C_BODY,
    C_CLASS,
    C_STRIDE,
    C_TYPE,
    COMPUTE_ACCUMULATE,
    COMPUTE_C,
    COMPUTE_EXTENT,
    CONFIG_C,
    CONFIG_SCALARS,
    PLAN_MACS,
    PLAN_OVERFLOWS,
    REDUCE,
    SCALARS,
    TYPE_BITS,
    TYPE_FLOAT,
    TYPE_HIGH,
    TYPE_KIND,
    TYPE_LOW,
    TYPES,
    Integers,
)
from .product import COUNTERS, GUARD, Operand, largest


@compiled
def uses_b(body: int) -> bool:
    return body not in (BODY_SUM, BODY_MAX, BODY_COPY)


@compiled
def reduces_output(body: int) -> bool:
    """Whether the body reads its output element (mac, sum, max) instead of overwriting it."""
    return body in (BODY_MAC, BODY_SUM, BODY_MAX)


@compiled
def _rounded_code(value: float, low: int, high: int) -> int:
    """An integral float32 of any size as an integer: one past the range where it lies outside (an overflow; at 64 bits
    the bound itself); NaN gives `low`."""
    past = 0 if high >= 1 << 62 else 1
    if value >= float(high) + 1.0:
        return high + past
    if value >= float(low):
        return int(value)
    return low if np.isnan(value) else low - past


@compiled
def _apply(body: int, a: Any, b: Any, c: Any, count: int, scalars: NDArray[np.float32], low: int, high: int) -> None:
    """c op= body(a, b) for one point of each output element of the block."""
    number = c.dtype.type
    if body == BODY_MAC:
        for j in range(count):
            c[0, j] += a[0, j] * b[0, j]
    elif body == BODY_SUM:
        for j in range(count):
            c[0, j] += a[0, j]
    elif body == BODY_MAX:
        for j in range(count):
            x = a[0, j]
            if x > c[0, j] or x != x:  # noqa: PLR0124 - a NaN wins and stays
                c[0, j] = x
    elif body == BODY_COPY:
        for j in range(count):
            c[0, j] = a[0, j]
    elif body == BODY_ADD:
        for j in range(count):
            c[0, j] = a[0, j] + b[0, j]
    elif body == BODY_SUB:
        for j in range(count):
            c[0, j] = a[0, j] - b[0, j]
    elif body == BODY_MUL:
        for j in range(count):
            c[0, j] = a[0, j] * b[0, j]
    else:
        for j in range(count):
            rounded = qadd_scalar(a[0, j], b[0, j], scalars[0], scalars[1], scalars[2])
            c[0, j] = number(rounded) if high == 0 else number(_rounded_code(rounded, low, high))


@compiled
def _reduce_block(
    local: Local,
    body: int,
    a: Operand,
    b: Operand,
    extents: Integers,
    order: Integers,
    axes: int,
    reduces: int,
    offsets: Integers,
    index: Integers,
    a_offsets: Integers,
    b_offsets: Integers,
    scalars: NDArray[np.float32],
    low: int,
    high: int,
    stop: NDArray[np.uint8],
    x: Any,
    y: Any,
    z: Any,
) -> int:
    """All points of one block of output elements, in the order of the reduce counters; z holds the results. Returns
    the points of a mac whose operands are no padding, -1 where an integer could exceed 64 bits."""
    count = len(a_offsets)
    a_row, b_row, seen_a, seen_b = offsets[3, :1], offsets[4, :1], offsets[5], offsets[6]
    valid = 0
    bound = largest(z, 1, count)
    may_grow = high != 0 and body not in (BODY_MAX, BODY_COPY, BODY_QADD)
    guarded = may_grow and float(a.largest) * float(max(1, b.largest)) * reduces + bound > GUARD
    for k in range(reduces):
        if stop[0]:
            return valid
        fill_offsets(extents, a.strides, order, axes, 0, k, index, a_row)
        gather(local, a.kind, a.base, a.zero, a_row, a_offsets, x)
        if uses_b(body):
            fill_offsets(extents, b.strides, order, axes, 0, k, index, b_row)
            gather(local, b.kind, b.base, b.zero, b_row, b_offsets, y)
        if guarded:
            scale = largest(y, 1, count) if body in (BODY_MAC, BODY_MUL) else 1.0
            bound += largest(x, 1, count) * scale
            if body in (BODY_ADD, BODY_SUB):
                bound += largest(y, 1, count)
            if bound > GUARD:
                return -1
        _apply(body, x, y, z, count, scalars, low, high)
        if body == BODY_MAC:
            if a.marked or b.marked:
                count_unmarked(local, a.size, a.base, a_row, a_offsets, seen_a)
                count_unmarked(local, b.size, b.base, b_row, b_offsets, seen_b)
                for j in range(count):
                    valid += seen_a[j] * seen_b[j]
            else:
                valid += count
    return valid


@compiled
def run_vector(
    local: Local,
    blocks: Blocks,
    config: Integers,
    a: Operand,
    b: Operand,
    row: Integers,
    plan: Integers,
    stop: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Carry out one vector command whose ranges have been checked: a fault's code or OK. Notes in `plan` the overflows
    and the points of a mac whose operands are no padding."""
    config_c, c_base = config[CONFIG_C], row[COMPUTE_C]
    scalars = blocks.floats[0, 0]
    for k in range(3):
        scalars[k] = float32_of_bits(np.uint32(config[CONFIG_SCALARS, SCALARS + k]))
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    classes = config_c[C_CLASS : C_CLASS + COUNTERS]
    c_strides = config_c[C_STRIDE : C_STRIDE + COUNTERS]
    code, body = config_c[C_TYPE], config_c[C_BODY]
    kind, bits = TYPES[code, TYPE_KIND], TYPES[code, TYPE_BITS]
    real = TYPES[code, TYPE_FLOAT] != 0
    low, high = TYPES[code, TYPE_LOW], TYPES[code, TYPE_HIGH]
    out_order, reduce_order, index = blocks.counters[0], blocks.counters[1], blocks.counters[2]
    out_axes = reduce_axes = 0
    outputs = reduces = 1
    for counter in range(COUNTERS):
        if classes[counter] == REDUCE:
            reduces *= extents[counter]
            if extents[counter] > 1:
                reduce_order[reduce_axes] = counter
                reduce_axes += 1
        else:
            outputs *= extents[counter]
            if extents[counter] > 1:
                out_order[out_axes] = counter
                out_axes += 1
    start_from_output = row[COMPUTE_ACCUMULATE] != 0 and reduces_output(body)
    offsets, base_row = blocks.offsets, blocks.offsets[7, :1]
    base_row[0] = 0
    floats, integers = blocks.float_rows, blocks.integer_rows
    overflows = valid = 0
    for first in range(0, outputs, LANES):
        count = min(LANES, outputs - first)
        a_offsets, b_offsets, c_offsets = offsets[0, :count], offsets[1, :count], offsets[2, :count]
        fill_offsets(extents, a.strides, out_order, out_axes, 0, first, index, a_offsets)
        fill_offsets(extents, b.strides, out_order, out_axes, 0, first, index, b_offsets)
        fill_offsets(extents, c_strides, out_order, out_axes, 0, first, index, c_offsets)
        if real:
            if start_from_output:
                gather(local, kind, c_base, 0, base_row, c_offsets, floats[2])
            else:
                least = np.float32(-np.inf) if body == BODY_MAX else np.float32(0.0)
                for j in range(count):
                    floats[2, 0, j] = least
            found = _reduce_block(
                local, body, a, b, extents, reduce_order, reduce_axes, reduces, offsets, index, a_offsets, b_offsets,
                scalars, 0, 0, stop, floats[0], floats[1], floats[2],
            )  # fmt: skip
            scatter(local, kind, bits, c_base, base_row, c_offsets, floats[2])
        else:
            if start_from_output:
                gather(local, kind, c_base, 0, base_row, c_offsets, integers[2])
            else:
                for j in range(count):
                    integers[2, 0, j] = low if body == BODY_MAX else 0
            found = _reduce_block(
                local, body, a, b, extents, reduce_order, reduce_axes, reduces, offsets, index, a_offsets, b_offsets,
                scalars, low, high, stop, integers[0], integers[1], integers[2],
            )  # fmt: skip
            overflows += scatter(local, kind, bits, c_base, base_row, c_offsets, integers[2])
        if stop[0]:
            return fail(fault, STOPPED, 0, 0, 0, 0)
        if found < 0:
            return fail(fault, BEYOND_64_BITS, 0, 0, 0, 0)
        valid += found
    plan[PLAN_OVERFLOWS] = overflows
    plan[PLAN_MACS] = valid
    return OK
