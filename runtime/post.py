"""Stores: accumulator elements, the steps of the post chain, the stored type, main or local memory. Compiled.

A block of positions at a time. The running value is an integer or a float32, held in float64; which one follows from
the accumulator type and the steps before. That the chain is sound is checked once a command.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .elements import LANES, Blocks, Local, f16_from_float32, fill_offsets, gather
from .faults import BAD_POST, BOX_TOO_LARGE, FAULT_CODE, NOT_CONFIGURED, OK, OUTSIDE_MAIN, STOPPED, TABLE_INDEX, fail
from .fma import (
    bf16_from_float32,
    bits_of_float32,
    float32_of_bits,
    qadd_scalar,
    quantize_scalar,
    requantize_scalar,
    saturate_float32,
)
from .layout import (
    CONFIG_POST,
    CONFIG_STORE,
    K_BF16,
    K_F16,
    K_F32,
    K_I8,
    OP_CONFIGURE_POST,
    OP_CONFIGURE_STORE,
    P_ADD,
    P_BIAS,
    P_CLAMP,
    P_DEQUANTIZE,
    P_DIVIDE,
    P_LEAKY,
    P_MUL,
    P_QADD,
    P_QUANTIZE,
    P_REQUANTIZE,
    P_SATURATE,
    P_SCALE,
    P_TABLE,
    PLAN_MEMORY,
    PLAN_POSITIONS,
    PLAN_STEP_MEMORY,
    PLAN_TARGET,
    POST_HIGH,
    POST_LOW,
    POST_OP,
    POST_OPERAND_TYPE,
    POST_SCALAR,
    POST_SLOT,
    POST_STRIDE,
    POST_TYPE,
    POST_ZERO,
    SLOTS,
    STORE_ACCUMULATOR,
    STORE_AUX,
    STORE_EXTENT,
    STORE_LOCAL,
    STORE_LOCAL_STRIDE,
    STORE_MAIN,
    STORE_MAIN_STRIDE,
    STORE_STEPS,
    STORE_TARGET,
    STORE_TYPE,
    TYPE_BYTES,
    TYPE_FLOAT,
    TYPE_HIGH,
    TYPE_KIND,
    TYPE_LOW,
    TYPES,
    Integers,
)
from .transfer import AXES, box_positions, check_local, main_range, span

TABLE_ENTRIES = 256


@compiled
def scalar_of(bits: int) -> np.float32:
    value: np.float32 = float32_of_bits(np.uint32(bits))
    return value


@compiled
def needs_operand(op: int) -> bool:
    return op in (P_BIAS, P_ADD, P_MUL, P_TABLE, P_QADD)


@compiled
def yields_float(op: int, real: bool) -> bool:
    """Whether the running value is a float after a step; `real` is whether it was one before."""
    if op in (P_BIAS, P_CLAMP):
        return real
    return op in (P_ADD, P_MUL, P_SCALE, P_DIVIDE, P_LEAKY, P_DEQUANTIZE)


@compiled
def check_chain(config: Integers, fault: Integers) -> int:
    """Whether the configured steps fit together and the stored type: a code or OK."""
    store = config[CONFIG_STORE]
    real = TYPES[store[STORE_ACCUMULATOR], TYPE_FLOAT] != 0
    if real and TYPES[store[STORE_ACCUMULATOR], TYPE_KIND] != K_F32:
        return fail(fault, BAD_POST, 0, -1, 0, 0)
    for number in range(store[STORE_STEPS]):
        step = config[CONFIG_POST + number]
        if step[0] != OP_CONFIGURE_POST:
            return fail(fault, NOT_CONFIGURED, -1, -1, number, 0)
        op, slot = step[POST_OP], step[POST_SLOT]
        operand_real = TYPES[step[POST_OPERAND_TYPE], TYPE_FLOAT] != 0
        type_real = TYPES[step[POST_TYPE], TYPE_FLOAT] != 0
        bad = needs_operand(op) and slot >= SLOTS
        if op == P_BIAS:
            bad = bad or (not real and operand_real)
        elif op in (P_REQUANTIZE, P_QUANTIZE, P_QADD):
            bad = bad or type_real
        elif op == P_TABLE:
            bad = bad or real or type_real or TYPES[step[POST_TYPE], TYPE_BYTES] != 1
        elif op == P_SATURATE:
            bad = bad or type_real or real
        elif op == P_DEQUANTIZE:
            bad = bad or real
        real = yields_float(op, real)
        if bad:
            return fail(fault, BAD_POST, number, op, 0, 0)
    if real and not TYPES[store[STORE_TYPE], TYPE_FLOAT]:
        return fail(fault, BAD_POST, store[STORE_STEPS], -1, 0, 0)
    return OK


@compiled
def check_store(
    main_size: int, local: Local, config: Integers, row: Integers, plan: Integers, zeros: Integers, fault: Integers
) -> int:
    """Whether the post chain is sound and all accesses of a store lie inside the memories: a fault's code or OK.

    Notes in `plan` the positions, the accumulators' memory, that of each step's operand and that which is written,
    where it is local. `zeros` is room for one number an axis.
    """
    store = config[CONFIG_STORE]
    if store[0] != OP_CONFIGURE_STORE:
        return fail(fault, NOT_CONFIGURED, -1, -1, -1, 0)
    if check_chain(config, fault) != OK:
        return int(fault[FAULT_CODE])
    extents = row[STORE_EXTENT : STORE_EXTENT + AXES]
    size = TYPES[store[STORE_TYPE], TYPE_BYTES]
    is_local = store[STORE_TARGET] != 0
    limit = local.ends[-1] if is_local else main_size
    positions = box_positions(extents, limit)
    plan[PLAN_POSITIONS] = positions
    if positions < 0:
        return fail(fault, BOX_TOO_LARGE, limit, 0, 0, 0)
    if positions == 0:
        return OK
    for axis in range(AXES):
        zeros[axis] = 0
    main_stride = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
    low, high = main_range(extents, zeros, main_stride, row[STORE_MAIN], size)
    if is_local:
        plan[PLAN_TARGET] = check_local(local, low, high, size, fault)
        if plan[PLAN_TARGET] < 0:
            return int(fault[FAULT_CODE])
    elif low < 0 or high > main_size:
        return fail(fault, OUTSIDE_MAIN, low, high - 1, main_size, 0)
    size = TYPES[store[STORE_ACCUMULATOR], TYPE_BYTES]
    start = row[STORE_LOCAL]
    reach = span(extents, store[STORE_LOCAL_STRIDE : STORE_LOCAL_STRIDE + AXES])
    plan[PLAN_MEMORY] = check_local(local, start, start + size * (reach + 1), size, fault)
    if plan[PLAN_MEMORY] < 0:
        return int(fault[FAULT_CODE])
    for number in range(store[STORE_STEPS]):
        step = config[CONFIG_POST + number]
        if step[POST_SLOT] < SLOTS:
            size = TYPES[step[POST_OPERAND_TYPE], TYPE_BYTES]
            reach = 0
            if step[POST_OP] != P_TABLE:
                reach = span(extents, step[POST_STRIDE : POST_STRIDE + AXES])
            start = row[STORE_AUX + step[POST_SLOT]]
            memory = check_local(local, start, start + size * (reach + 1), size, fault)
            if memory < 0:
                return int(fault[FAULT_CODE])
            plan[PLAN_STEP_MEMORY + number] = memory
    return OK


@compiled
def _float_step(op: int, step: Integers, v: NDArray[np.float64], x: NDArray[np.float64], count: int) -> None:
    """v = the step of v and x in float32, for the steps that yield a float."""
    s0, s1 = scalar_of(step[POST_SCALAR]), scalar_of(step[POST_SCALAR + 1])
    zero = step[POST_ZERO]
    for j in range(count):
        value, operand = np.float32(v[0, j]), np.float32(x[0, j])
        if op in (P_BIAS, P_ADD):
            value = value + operand
        elif op in (P_MUL, P_SCALE):
            value = value * operand
        elif op == P_DIVIDE:
            value = value / operand
        elif op == P_LEAKY:
            if not value >= 0:
                value = value * s0
        elif op == P_DEQUANTIZE:
            value = np.float32(v[0, j] - zero) * s0
        elif op == P_CLAMP:
            if value < s0:  # noqa: PLR1730 - a NaN stays
                value = s0
            if value > s1:  # noqa: PLR1730
                value = s1
        v[0, j] = value


@compiled
def _integer_step(
    op: int, step: Integers, wide: bool, v: NDArray[np.float64], x: NDArray[np.float64], count: int
) -> None:
    """v = the step of v (an integer or a float32) and x, for the steps that yield an integer."""
    s0, s1, s2 = scalar_of(step[POST_SCALAR]), scalar_of(step[POST_SCALAR + 1]), scalar_of(step[POST_SCALAR + 2])
    zero = step[POST_ZERO]
    low, high = TYPES[step[POST_TYPE], TYPE_LOW], TYPES[step[POST_TYPE], TYPE_HIGH]
    if op == P_CLAMP:
        low, high = step[POST_LOW], step[POST_HIGH]
    for j in range(count):
        value, operand = np.float32(v[0, j]), np.float32(x[0, j])
        if op == P_BIAS:
            total = np.int64(v[0, j]) + np.int64(x[0, j])
            v[0, j] = total if wide else np.int64(np.int32(total))
        elif op in (P_CLAMP, P_SATURATE):
            v[0, j] = min(max(np.int64(v[0, j]), low), high)
        elif op == P_REQUANTIZE:
            v[0, j] = requantize_scalar(value, operand, zero, low, high)
        elif op == P_QUANTIZE:
            v[0, j] = quantize_scalar(value, s0, zero, low, high)
        elif op == P_QADD:
            v[0, j] = saturate_float32(qadd_scalar(value, operand, s0, s1, s2), 0, low, high)


@compiled
def _look_up(local: Local, base: int, step: Integers, v: NDArray[np.float64], count: int) -> int:
    """v = the table's entry of v; returns the index of an entry that no table has, else -1."""
    signed = TYPES[step[POST_TYPE], TYPE_KIND] == K_I8
    for j in range(count):
        entry = np.int64(v[0, j]) - step[POST_LOW]
        if entry < 0 or entry >= TABLE_ENTRIES or base + entry >= len(local.marks):
            return int(entry if entry >= 0 else TABLE_ENTRIES - entry)
        found = local.data[base + entry]
        v[0, j] = np.int8(found) if signed else found
    return -1


@compiled
def _write(memory: NDArray[np.uint8], kind: int, size: int, offsets: Integers, v: NDArray[np.float64]) -> None:
    """Store the running values at byte offsets of a memory, floats rounded to nearest even."""
    for j in range(len(offsets)):
        value = np.float32(v[0, j])
        if kind == K_F32:
            pattern = np.int64(bits_of_float32(value))
        elif kind == K_BF16:
            pattern = np.int64(bf16_from_float32(value))
        elif kind == K_F16:
            pattern = np.int64(f16_from_float32(value))
        else:
            pattern = np.int64(v[0, j])
        for k in range(size):
            memory[offsets[j] + k] = (pattern >> (8 * k)) & 0xFF


@compiled
def _unmark(marks: NDArray[np.uint8], size: int, offsets: Integers) -> None:
    """What a store has written is no padding."""
    for j in range(len(offsets)):
        for k in range(size):
            marks[offsets[j] + k] = 0


@compiled
def run_store(
    main: NDArray[np.uint8],
    local: Local,
    blocks: Blocks,
    config: Integers,
    row: Integers,
    plan: Integers,
    stop: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Carry out one store that `check_store` has passed."""
    store, positions = config[CONFIG_STORE], plan[PLAN_POSITIONS]
    extents = row[STORE_EXTENT : STORE_EXTENT + AXES]
    order, index = blocks.counters[0], blocks.counters[1]
    for axis in range(AXES):
        order[axis] = axis
    code, accumulator = store[STORE_TYPE], store[STORE_ACCUMULATOR]
    wide = TYPES[accumulator, TYPE_BYTES] == 8
    origin = blocks.offsets[1, :1]
    origin[0] = 0
    v, x = blocks.rows[0], blocks.rows[1]
    for first in range(0, positions, LANES):
        if stop[0]:
            return fail(fault, STOPPED, 0, 0, 0, 0)
        count = min(LANES, positions - first)
        offsets = blocks.offsets[0, :count]
        fill_offsets(
            extents, store[STORE_LOCAL_STRIDE : STORE_LOCAL_STRIDE + AXES], order, AXES, 0, first, index, offsets
        )
        real = TYPES[accumulator, TYPE_FLOAT] != 0
        gather(local, TYPES[accumulator, TYPE_KIND], row[STORE_LOCAL], 0, origin, offsets, v)
        for number in range(store[STORE_STEPS]):
            step = config[CONFIG_POST + number]
            op, slot = step[POST_OP], step[POST_SLOT]
            if op == P_TABLE:
                wrong = _look_up(local, row[STORE_AUX + slot], step, v, count)
                if wrong >= 0:
                    return fail(fault, TABLE_INDEX, number, wrong, 0, 0)
                continue
            if slot < SLOTS:
                fill_offsets(extents, step[POST_STRIDE : POST_STRIDE + AXES], order, AXES, 0, first, index, offsets)
                kind = TYPES[step[POST_OPERAND_TYPE], TYPE_KIND]
                gather(local, kind, row[STORE_AUX + slot], 0, origin, offsets, x)
            else:
                for j in range(count):
                    x[0, j] = scalar_of(step[POST_SCALAR])
            real = yields_float(op, real)
            if real:
                _float_step(op, step, v, x, count)
            else:
                _integer_step(op, step, wide, v, x, count)
        strides = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
        fill_offsets(extents, strides, order, AXES, row[STORE_MAIN], first, index, offsets)
        kind, size = TYPES[code, TYPE_KIND], TYPES[code, TYPE_BYTES]
        if store[STORE_TARGET]:
            _write(local.data, kind, size, offsets, v)
            _unmark(local.marks, size, offsets)
        else:
            _write(main, kind, size, offsets, v)
    return OK
