"""Stores: accumulator elements, the steps of the post chain, the stored type, main or local memory. Compiled.

A block of positions at a time. The running value is an integer or a float32, held in float64; which one follows from
the accumulator type and the steps before. That the chain is sound is checked once a command.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .block_unit import BITS, TESTED, BlockUnit, is_held, test_blocks
from .elements import LANES, Blocks, Local, fill_offsets, float_pattern, gather, read_bits, write_bits
from .faults import (
    BAD_POST,
    BLOCK_OUTSIDE,
    BOX_TOO_LARGE,
    FAULT_CODE,
    MISALIGNED,
    NOT_CONFIGURED,
    OK,
    OUTSIDE_MAIN,
    STOPPED,
    TABLE_INDEX,
    fail,
)
from .fma import (
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
    STORE_AUX_BIT,
    STORE_EXTENT,
    STORE_LOCAL,
    STORE_LOCAL_STRIDE,
    STORE_MAIN,
    STORE_MAIN_BIT,
    STORE_MAIN_STRIDE,
    STORE_STEPS,
    STORE_TARGET,
    STORE_TYPE,
    TYPE_BITS,
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
            bad = bad or real or type_real or TYPES[step[POST_TYPE], TYPE_BITS] > 8
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
def _aux_bit(row: Integers, slot: int) -> int:
    """The first bit of the operand of a step."""
    return int(8 * row[STORE_AUX + slot] + row[STORE_AUX_BIT + slot])


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
    bits, target = TYPES[store[STORE_TYPE], TYPE_BITS], 8 * row[STORE_MAIN] + row[STORE_MAIN_BIT]
    is_local = store[STORE_TARGET] != 0
    limit = 8 * (local.ends[-1] if is_local else main_size) // min(8, bits)
    positions = box_positions(extents, limit)
    plan[PLAN_POSITIONS] = positions
    if positions < 0:
        return fail(fault, BOX_TOO_LARGE, limit, 0, 0, 0)
    if positions == 0:
        return OK
    for axis in range(AXES):
        zeros[axis] = 0
    main_stride = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
    low, high = main_range(extents, zeros, main_stride, target, bits)
    if is_local:
        plan[PLAN_TARGET] = check_local(local, low, high, bits, fault)
        if plan[PLAN_TARGET] < 0:
            return int(fault[FAULT_CODE])
    elif low < 0 or high > 8 * main_size:
        return fail(fault, OUTSIDE_MAIN, low >> 3, (high - 1) >> 3, main_size, 0)
    elif bits % 8 == 0 and target & 7:
        return fail(fault, MISALIGNED, row[STORE_MAIN], target & 7, bits, 0)
    bits = TYPES[store[STORE_ACCUMULATOR], TYPE_BITS]
    start = 8 * row[STORE_LOCAL]
    reach = span(extents, store[STORE_LOCAL_STRIDE : STORE_LOCAL_STRIDE + AXES])
    plan[PLAN_MEMORY] = check_local(local, start, start + bits * (reach + 1), bits, fault)
    if plan[PLAN_MEMORY] < 0:
        return int(fault[FAULT_CODE])
    for number in range(store[STORE_STEPS]):
        step = config[CONFIG_POST + number]
        if step[POST_SLOT] < SLOTS:
            bits = TYPES[step[POST_OPERAND_TYPE], TYPE_BITS]
            reach = 0
            if step[POST_OP] != P_TABLE:
                reach = span(extents, step[POST_STRIDE : POST_STRIDE + AXES])
            start = _aux_bit(row, step[POST_SLOT])
            memory = check_local(local, start, start + bits * (reach + 1), bits, fault)
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
    """v = the entry of v in the table from bit `base` on; returns the index of an entry that no table has, else -1."""
    bits, high = TYPES[step[POST_TYPE], TYPE_BITS], TYPES[step[POST_TYPE], TYPE_HIGH]
    for j in range(count):
        entry = np.int64(v[0, j]) - step[POST_LOW]
        if entry < 0 or entry >= TABLE_ENTRIES or base + bits * (entry + 1) > 8 * len(local.marks):
            return int(entry if entry >= 0 else TABLE_ENTRIES - entry)
        found = read_bits(local.data, base + bits * entry, bits)
        v[0, j] = found - (1 << bits) if found > high else found
    return -1


@compiled
def _write(
    memory: NDArray[np.uint8], kind: int, bits: int, base: int, offsets: Integers, v: NDArray[np.float64]
) -> None:
    """Store the running values at element offsets from bit `base` of a memory, floats rounded to nearest even."""
    size = bits >> 3
    for j in range(len(offsets)):
        if kind in (K_F32, K_BF16, K_F16):
            pattern = np.int64(float_pattern(np.float32(v[0, j]), kind))
        else:
            pattern = np.int64(v[0, j])
        at = base + bits * offsets[j]
        if bits % 8:
            write_bits(memory, at, bits, int(pattern))
            continue
        for k in range(size):
            memory[(at >> 3) + k] = (pattern >> (8 * k)) & 0xFF


@compiled
def _unmark(marks: NDArray[np.uint8], bits: int, base: int, offsets: Integers) -> None:
    """What a store has written is no padding."""
    for j in range(len(offsets)):
        at = base + bits * offsets[j]
        if bits % 8:
            write_bits(marks, at, 1, 0)
            continue
        for k in range(bits >> 3):
            marks[(at >> 3) + k] = 0


@compiled
def run_store(
    main: NDArray[np.uint8],
    local: Local,
    blocks: Blocks,
    unit: BlockUnit,
    config: Integers,
    row: Integers,
    plan: Integers,
    counters: Integers,
    stop: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Carry out one store that `check_store` has passed. `counters` are the layer's, of the blocks that are tested."""
    store, positions = config[CONFIG_STORE], plan[PLAN_POSITIONS]
    extents = row[STORE_EXTENT : STORE_EXTENT + AXES]
    order, index = blocks.counters[0], blocks.counters[1]
    for axis in range(AXES):
        order[axis] = axis
    code, accumulator = store[STORE_TYPE], store[STORE_ACCUMULATOR]
    wide = TYPES[accumulator, TYPE_BITS] == 64
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
        gather(
            local,
            TYPES[accumulator, TYPE_KIND],
            TYPES[accumulator, TYPE_BITS],
            8 * row[STORE_LOCAL],
            0,
            origin,
            offsets,
            v,
        )
        for number in range(store[STORE_STEPS]):
            step = config[CONFIG_POST + number]
            op, slot = step[POST_OP], step[POST_SLOT]
            if op == P_TABLE:
                wrong = _look_up(local, _aux_bit(row, slot), step, v, count)
                if wrong >= 0:
                    return fail(fault, TABLE_INDEX, number, wrong, 0, 0)
                continue
            if slot < SLOTS:
                fill_offsets(extents, step[POST_STRIDE : POST_STRIDE + AXES], order, AXES, 0, first, index, offsets)
                kind, bits = TYPES[step[POST_OPERAND_TYPE], TYPE_KIND], TYPES[step[POST_OPERAND_TYPE], TYPE_BITS]
                gather(local, kind, bits, _aux_bit(row, slot), 0, origin, offsets, x)
            else:
                for j in range(count):
                    x[0, j] = scalar_of(step[POST_SCALAR])
            real = yields_float(op, real)
            if real:
                _float_step(op, step, v, x, count)
            else:
                _integer_step(op, step, wide, v, x, count)
        if unit.state[TESTED] >= 0:
            for j in range(count):
                unit.codes[first + j] = np.int32(v[0, j])
            continue
        strides = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
        fill_offsets(extents, strides, order, AXES, 0, first, index, offsets)
        kind, bits, base = TYPES[code, TYPE_KIND], TYPES[code, TYPE_BITS], 8 * row[STORE_MAIN] + row[STORE_MAIN_BIT]
        if store[STORE_TARGET]:
            _write(local.data, kind, bits, base, offsets, v)
            _unmark(local.marks, bits, base, offsets)
            if len(local.tags):
                _unmark(local.tags, bits, base, offsets)
        else:
            _write(main, kind, bits, base, offsets, v)
    if positions and unit.state[TESTED] >= 0:
        return _store_blocks(main, blocks, unit, config, row, positions, counters, fault)
    return OK


@compiled
def _store_blocks(
    main: NDArray[np.uint8],
    blocks: Blocks,
    unit: BlockUnit,
    config: Integers,
    row: Integers,
    positions: int,
    counters: Integers,
    fault: Integers,
) -> int:
    """Test the codes that a store has made, and write those of blocks whose positions the cache does not hold."""
    store, order, index = config[CONFIG_STORE], blocks.counters[0], blocks.counters[1]
    extents = row[STORE_EXTENT : STORE_EXTENT + AXES]
    strides = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
    kind, bits = TYPES[store[STORE_TYPE], TYPE_KIND], TYPES[store[STORE_TYPE], TYPE_BITS]
    base, slot, v = 8 * row[STORE_MAIN] + row[STORE_MAIN_BIT], unit.state[TESTED], blocks.rows[0]
    if store[STORE_TARGET] or bits != unit.geometry[slot, BITS]:
        return fail(fault, BLOCK_OUTSIDE, 0, 0, 0, 0)
    offsets = blocks.offsets[0]
    code = test_blocks(unit, extents, strides, base, positions, order, index, offsets, counters, fault)
    if code != OK:
        return code
    for first in range(0, positions, LANES):
        count, kept = min(LANES, positions - first), 0
        fill_offsets(extents, strides, order, AXES, 0, first, index, offsets[:count])
        for j in range(count):
            if not is_held(unit, slot, base + bits * offsets[j]):
                v[0, kept], offsets[kept] = unit.codes[first + j], offsets[j]
                kept += 1
        _write(main, kind, bits, base, offsets[:kept], v)
    return OK
