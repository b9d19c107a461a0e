"""The vector unit's command: elementwise bodies and reductions, a block of output elements at a time. Compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .elements import EXACT, LANES, Blocks, Local, count_unmarked, fill_offsets, gather, largest, scatter
from .faults import BEYOND_53_BITS, OK, STOPPED, fail
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
from .product import COUNTERS, Operand


@compiled
def uses_b(body: int) -> bool:
    return body not in (BODY_SUM, BODY_MAX, BODY_COPY)


@compiled
def reduces_output(body: int) -> bool:
    """Whether the body reads its output element (mac, sum, max) instead of overwriting it."""
    return body in (BODY_MAC, BODY_SUM, BODY_MAX)


@compiled
def _rounded_code(value: float, low: int, high: int) -> float:
    """A rounded qadd as an integer that an accumulator of low..high takes: one past the range (an overflow) where it
    lies outside; `low` for NaN."""
    if np.isnan(value):
        return float(low)
    return min(max(value, float(low) - 1.0), float(high) + 1.0)


@compiled
def _apply_floats(
    body: int,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    count: int,
    scalars: NDArray[np.float32],
) -> None:
    """z op= body(x, y) in float32 for one point of each output element of the block."""
    for j in range(count):
        a, b, c = np.float32(x[0, j]), np.float32(y[0, j]), np.float32(z[0, j])
        if body == BODY_MAC:
            c = c + a * b
        elif body == BODY_SUM:
            c = c + a
        elif body == BODY_MAX:
            if a > c or np.isnan(a):  # a NaN wins and stays
                c = a
        elif body == BODY_COPY:
            c = a
        elif body == BODY_ADD:
            c = a + b
        elif body == BODY_SUB:
            c = a - b
        elif body == BODY_MUL:
            c = a * b
        else:
            c = qadd_scalar(a, b, scalars[0], scalars[1], scalars[2])
        z[0, j] = c


@compiled
def _apply_integers(
    body: int,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    count: int,
    scalars: NDArray[np.float32],
    low: int,
    high: int,
) -> None:
    """The same for integers, exact."""
    for j in range(count):
        a, b, c = x[0, j], y[0, j], z[0, j]
        if body == BODY_MAC:
            c = c + a * b
        elif body == BODY_SUM:
            c = c + a
        elif body == BODY_MAX:
            c = max(a, c)
        elif body == BODY_COPY:
            c = a
        elif body == BODY_ADD:
            c = a + b
        elif body == BODY_SUB:
            c = a - b
        elif body == BODY_MUL:
            c = a * b
        else:
            c = _rounded_code(float(qadd_scalar(a, b, scalars[0], scalars[1], scalars[2])), low, high)
        z[0, j] = c


@compiled
def _growth(body: int, x: float, y: float) -> float:
    """How much larger one point can make an integer result, given the largest operands."""
    if body in (BODY_MAC, BODY_MUL):
        return x * y
    return x + y


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
    and the points of a mac whose operands are no padding.

    Every reduction goes over its counters in counter order.
    """
    config_c, c_base = config[CONFIG_C], 8 * row[COMPUTE_C]
    scalars = blocks.part32[0]
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
    start = 0.0
    if body == BODY_MAX:
        start = -np.inf if real else float(low)
    start_from_output = row[COMPUTE_ACCUMULATE] != 0 and reduces_output(body)
    wide = float(a.largest) * float(max(1, b.largest)) * reduces + 2.0**32 > EXACT
    careful = wide and not real and body != BODY_QADD
    offsets, origin, a_row, b_row = blocks.offsets, blocks.offsets[7, :1], blocks.offsets[3, :1], blocks.offsets[4, :1]
    origin[0] = 0
    x, y, z = blocks.rows[0], blocks.rows[1], blocks.rows[2]
    overflows = valid = 0
    for first in range(0, outputs, LANES):
        count = min(LANES, outputs - first)
        a_offsets, b_offsets, c_offsets = offsets[0, :count], offsets[1, :count], offsets[2, :count]
        fill_offsets(extents, a.strides, out_order, out_axes, 0, first, index, a_offsets)
        fill_offsets(extents, b.strides, out_order, out_axes, 0, first, index, b_offsets)
        fill_offsets(extents, c_strides, out_order, out_axes, 0, first, index, c_offsets)
        if start_from_output:
            gather(local, kind, bits, c_base, 0, origin, c_offsets, z)
        else:
            for j in range(count):
                z[0, j] = start
        bound = largest(z, 1, count) if careful and body != BODY_MAX else 0.0
        for k in range(reduces):
            if stop[0]:
                return fail(fault, STOPPED, 0, 0, 0, 0)
            fill_offsets(extents, a.strides, reduce_order, reduce_axes, 0, k, index, a_row)
            gather(local, a.kind, a.bits, a.base, a.zero, a_row, a_offsets, x)
            if uses_b(body):
                fill_offsets(extents, b.strides, reduce_order, reduce_axes, 0, k, index, b_row)
                gather(local, b.kind, b.bits, b.base, b.zero, b_row, b_offsets, y)
            if careful:
                bound += _growth(body, largest(x, 1, count), largest(y, 1, count) if uses_b(body) else 0.0)
                if bound > EXACT:
                    return fail(fault, BEYOND_53_BITS, 0, 0, 0, 0)
            if real:
                _apply_floats(body, x, y, z, count, scalars)
            else:
                _apply_integers(body, x, y, z, count, scalars, low, high)
            if body == BODY_MAC:
                valid += _valid_points(local, a, b, a_row, a_offsets, b_row, b_offsets, offsets)
        overflows += scatter(local, kind, bits, c_base, origin, c_offsets, z)
    plan[PLAN_OVERFLOWS] = overflows
    plan[PLAN_MACS] = valid
    return OK


@compiled
def _valid_points(
    local: Local,
    a: Operand,
    b: Operand,
    a_row: Integers,
    a_offsets: Integers,
    b_row: Integers,
    b_offsets: Integers,
    offsets: Integers,
) -> int:
    """How many points of one step of a mac have operands that are no padding."""
    count = len(a_offsets)
    if not a.marked and not b.marked:
        return count
    seen_a, seen_b = offsets[5], offsets[6]
    count_unmarked(local, a.bits, a.base, a_row, a_offsets, seen_a)
    count_unmarked(local, b.bits, b.base, b_row, b_offsets, seen_b)
    valid = 0
    for j in range(count):
        valid += seen_a[j] * seen_b[j]
    return valid
