"""The operands of compute and vector commands: every range and type is checked before memory is touched."""

from __future__ import annotations

from ..ir.compiled import compiled
from .elements import Local
from .faults import BAD_COUNTER, BAD_TYPES, FAULT_CODE, NOT_CONFIGURED, OK, TOO_MANY_POINTS, fail
from .layout import (
    BODY_COPY,
    BODY_MAC,
    BODY_MAX,
    BODY_QADD,
    C_BODY,
    C_CLASS,
    C_COL,
    C_DATAFLOW,
    C_FORM,
    C_ROW,
    C_STRIDE,
    C_TYPE,
    COLUMN,
    COMPUTE_A,
    COMPUTE_A_BIT,
    COMPUTE_B,
    COMPUTE_B_BIT,
    COMPUTE_C,
    COMPUTE_EXTENT,
    CONFIG_A,
    CONFIG_B,
    CONFIG_C,
    CONFIG_SCALARS,
    FLOW_IS,
    FLOW_OS,
    FORM_RAW,
    K_BF16,
    K_F16,
    K_PACKED_U,
    K_U8,
    K_U16,
    OP_COMPUTE,
    OPERAND_STRIDE,
    OPERAND_TYPE,
    PLAN_MEMORY,
    PLAN_MEMORY_A,
    PLAN_MEMORY_B,
    PLAN_POSITIONS,
    REDUCE,
    TYPE_BITS,
    TYPE_FLOAT,
    TYPE_KIND,
    TYPES,
    Integers,
)
from .left_out import any_tag
from .product import COUNTERS, Operand, check_classes, check_injective, count_points, operand_of
from .transfer import check_local, span
from .vector import uses_b


@compiled
def _check_types(fault: Integers, a_code: int, b_code: int, c_code: int) -> int:
    """Integers accumulate in signed integers, anything in float32."""
    kind = TYPES[c_code, TYPE_KIND]
    unsigned = kind in (K_U8, K_U16, K_PACKED_U)
    mixed = TYPES[c_code, TYPE_FLOAT] == 0 and (TYPES[a_code, TYPE_FLOAT] != 0 or TYPES[b_code, TYPE_FLOAT] != 0)
    if unsigned or kind in (K_BF16, K_F16) or mixed:
        return fail(fault, BAD_TYPES, a_code, b_code, c_code, 0)
    return OK


@compiled
def _operand_memory(local: Local, base: int, code: int, extents: Integers, strides: Integers, fault: Integers) -> int:
    """Number of the memory that an operand of a command lies in, from bit `base` on, or -1 after a fault."""
    bits = TYPES[code, TYPE_BITS]
    return check_local(local, base, base + bits * (span(extents, strides) + 1), bits, fault)


@compiled
def plan_execute(local: Local, config: Integers, row: Integers, plan: Integers, room: Integers, fault: Integers) -> int:
    """Check a compute or vector command and note in `plan` where its operands lie: a fault's code or OK. `room` is for
    one number a counter."""
    on_array = row[0] == OP_COMPUTE
    config_a, config_b, config_c = config[CONFIG_A], config[CONFIG_B], config[CONFIG_C]
    body, flow, c_code = config_c[C_BODY], config_c[C_DATAFLOW], config_c[C_TYPE]
    has_b = uses_b(body)
    missing = -1
    if config_c[0] == 0:
        missing = 2
    elif config_a[0] == 0:
        missing = 0
    elif has_b and config_b[0] == 0:
        missing = 1
    elif body == BODY_QADD and config[CONFIG_SCALARS, 0] == 0:
        missing = 3
    if missing >= 0:
        return fail(fault, NOT_CONFIGURED, -1, missing, -1, 0)
    a_code = config_a[OPERAND_TYPE]
    b_code = config_b[OPERAND_TYPE] if has_b else a_code
    if _check_types(fault, a_code, b_code, c_code) != OK:
        return int(fault[FAULT_CODE])
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    plan[PLAN_POSITIONS] = count_points(extents)
    if plan[PLAN_POSITIONS] < 0:
        return fail(fault, TOO_MANY_POINTS, 0, 0, 0, 0)
    if plan[PLAN_POSITIONS] == 0:
        return OK
    classes = config_c[C_CLASS : C_CLASS + COUNTERS]
    a_strides = config_a[OPERAND_STRIDE : OPERAND_STRIDE + COUNTERS]
    c_strides = config_c[C_STRIDE : C_STRIDE + COUNTERS]
    b_strides = config_b[OPERAND_STRIDE : OPERAND_STRIDE + COUNTERS] if has_b else a_strides
    if check_classes(extents, classes, on_array, a_strides, b_strides, c_strides, fault) != OK:
        return int(fault[FAULT_CODE])
    if check_injective(extents, classes, c_strides, room, fault) != OK:
        return int(fault[FAULT_CODE])
    if on_array and flow != FLOW_OS and config_c[C_ROW] < COUNTERS and classes[config_c[C_ROW]] != REDUCE:
        return fail(fault, BAD_COUNTER, config_c[C_ROW], 0, 0, 0)
    if on_array and flow != FLOW_IS and config_c[C_COL] < COUNTERS and classes[config_c[C_COL]] != COLUMN:
        return fail(fault, BAD_COUNTER, config_c[C_COL], 0, 0, 0)
    plan[PLAN_MEMORY] = _operand_memory(local, 8 * row[COMPUTE_C], c_code, extents, c_strides, fault)
    plan[PLAN_MEMORY_A] = _operand_memory(
        local, 8 * row[COMPUTE_A] + row[COMPUTE_A_BIT], a_code, extents, a_strides, fault
    )
    plan[PLAN_MEMORY_B] = 0
    if has_b:
        plan[PLAN_MEMORY_B] = _operand_memory(
            local, 8 * row[COMPUTE_B] + row[COMPUTE_B_BIT], b_code, extents, b_strides, fault
        )
    if min(plan[PLAN_MEMORY], plan[PLAN_MEMORY_A], plan[PLAN_MEMORY_B]) < 0:
        return int(fault[FAULT_CODE])
    return OK


@compiled
def operands(local: Local, config: Integers, row: Integers) -> tuple[Operand, Operand]:
    """Both operands of a command that `plan_execute` has passed; b is a where the body has none."""
    config_c = config[CONFIG_C]
    body = config_c[C_BODY]
    as_codes = config_c[C_FORM] == FORM_RAW or not _subtracts(body)
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    a = operand_of(local, config[CONFIG_A], 8 * row[COMPUTE_A] + row[COMPUTE_A_BIT], as_codes, extents)
    b = a
    if uses_b(body):
        b = operand_of(local, config[CONFIG_B], 8 * row[COMPUTE_B] + row[COMPUTE_B_BIT], as_codes, extents)
    return a, b


@compiled
def are_tagged(local: Local, config: Integers, row: Integers, a: Operand, b: Operand) -> bool:
    """Whether a product has elements that were skipped when they were loaded."""
    if len(local.tags) == 0 or config[CONFIG_C, C_BODY] != BODY_MAC:
        return False
    extents, found = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS], False
    for operand in (a, b):
        high = operand.base + operand.bits * (span(extents, operand.strides) + 1)
        found = found or any_tag(local, operand.base >> 3, (high + 7) >> 3)
    return found


@compiled
def _subtracts(body: int) -> bool:
    """Whether a vector body takes operands with their zero points subtracted."""
    return body not in (BODY_MAX, BODY_COPY, BODY_QADD)
