"""The interpreter of instructions: function, time and counts in one compiled pass (specs/isa.md, specs/counts.md).

`step` runs instructions until a host call, a fault, the end of its share or a request to stop. Every range is checked
before a command touches memory, so that no program can reach outside the machine's memories.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled, compiled_entry
from ..ir.program import INSTRUCTION_BYTES, STREAMS
from .block_unit import OWNER, TESTED, BlockUnit, begin_tests, empty
from .elements import Blocks, Local
from .expand import load_tile, tally_tile
from .faults import (
    AT_HOST,
    BAD_COUNTER,
    BAD_TYPES,
    FAULT_CODE,
    FAULT_INSTRUCTION,
    LATE_CONFIGURE,
    NO_CORE,
    NOT_CONFIGURED,
    NOT_EXPANDED,
    OK,
    STOPPED,
    TOO_MANY_POINTS,
    fail,
)
from .layout import (
    A_CONVERTER_LATENCY,
    A_CONVERTER_SWITCH,
    A_LATENCY,
    A_ROWS,
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
    CONFIG_CONVERT,
    CONFIG_ENCODE,
    CONFIG_EXPAND,
    CONFIG_POST,
    CONFIG_ROWS,
    CONFIG_SCALARS,
    CONFIG_SKIP,
    CONFIG_STORE,
    CONFIG_STREAMS,
    CONVERT_OF,
    EXECUTE,
    EXPAND_STREAM,
    FLOW_IS,
    FLOW_OS,
    FORM_RAW,
    HISTORY,
    K_BF16,
    K_F16,
    K_PACKED_U,
    K_U8,
    K_U16,
    LOAD,
    LOAD_KEPT,
    LOAD_STREAM,
    MAIN_MEMORY,
    N_CYCLES,
    OP_COMPUTE,
    OP_CONFIGURE_A,
    OP_CONFIGURE_B,
    OP_CONFIGURE_C,
    OP_CONFIGURE_CONVERT,
    OP_CONFIGURE_EXPAND,
    OP_CONFIGURE_LOAD,
    OP_CONFIGURE_POST,
    OP_CONFIGURE_PRUNE,
    OP_CONFIGURE_SCALARS,
    OP_CONFIGURE_SKIP,
    OP_CONFIGURE_STORE,
    OP_FENCE,
    OP_HOST,
    OP_LOAD,
    OP_STORE,
    OP_VECTOR,
    OPERAND_STRIDE,
    OPERAND_TYPE,
    PLAN_MEMORY,
    PLAN_MEMORY_A,
    PLAN_MEMORY_B,
    PLAN_POSITIONS,
    PLAN_SKIPS,
    POST_NUMBER,
    READ,
    REDUCE,
    ROLE_INSTRUCTION,
    SKIP_LAST,
    SKIP_STREAM,
    SKIP_TABLE,
    STORE,
    STORE_TARGET,
    STREAM_NUMBER,
    T_BUS,
    T_DISPATCH,
    T_EXECUTION,
    T_POST,
    T_REGION_START,
    T_SINCE_FENCE,
    TYPE_BITS,
    TYPE_FLOAT,
    TYPE_KIND,
    TYPES,
    Integers,
)
from .left_out import Room, any_tag, left_out
from .post import check_store, run_store
from .product import (
    COUNTERS,
    Operand,
    check_classes,
    check_injective,
    count_points,
    operand_of,
    run_compute,
)
from .tally import tally_execute, tally_load, tally_store
from .timing import (
    dispatch,
    issue,
    now,
    ready_time,
)
from .transfer import check_local, load_box, span
from .vector import run_vector, uses_b

EVENT_FIELDS = 5  # instruction, dispatched, started, resource free, completed


class State(NamedTuple):
    """Everything that a run changes, and what it needs to know.

    table[instruction] is decoded (see `layout`), region[instruction] the layer that it counts for. `config` holds the
    last configure instruction of each kind. `started` and `completed` remember times per engine, `issued` how many
    commands it took. traffic[layer, memory, role, read or write] is in bits. `events` receives the times of the first
    commands, event_count[0] says how many. Setting stop[0] ends the run at the next block.
    `plan` is what the checks of one command found out about it (see `layout`, PLAN_...).
    """

    table: Integers
    region: NDArray[np.int32]
    main: NDArray[np.uint8]
    local: Local
    arch: Integers
    queues: Integers
    config: Integers
    clock: Integers
    started: Integers
    completed: Integers
    issued: Integers
    traffic: Integers
    instructions: Integers
    counters: Integers
    events: Integers
    event_count: Integers
    fault: Integers
    stop: NDArray[np.uint8]
    plan: Integers
    blocks: Blocks
    unit: BlockUnit
    room: Room


@compiled
def keep_configuration(config: Integers, row: Integers) -> None:
    """Carry out a configure instruction but that of the block unit's tests, which has a state of its own."""
    opcode = row[0]
    if opcode == OP_CONFIGURE_PRUNE:
        return
    if opcode == OP_CONFIGURE_LOAD:
        place = CONFIG_STREAMS + row[STREAM_NUMBER]
    elif opcode == OP_CONFIGURE_CONVERT:
        place = CONFIG_CONVERT + row[CONVERT_OF] if row[CONVERT_OF] < STREAMS else CONFIG_ENCODE
    elif opcode == OP_CONFIGURE_SKIP:
        place = CONFIG_SKIP + row[SKIP_STREAM]
    elif opcode == OP_CONFIGURE_EXPAND:
        place = CONFIG_EXPAND + row[EXPAND_STREAM]
    elif opcode == OP_CONFIGURE_A:
        place = CONFIG_A
    elif opcode == OP_CONFIGURE_B:
        place = CONFIG_B
    elif opcode == OP_CONFIGURE_C:
        place = CONFIG_C
    elif opcode == OP_CONFIGURE_SCALARS:
        place = CONFIG_SCALARS
    elif opcode == OP_CONFIGURE_STORE:
        place = CONFIG_STORE
    else:
        place = CONFIG_POST + row[POST_NUMBER]
    for field in range(len(row)):
        config[place, field] = row[field]


@compiled
def _end_layer(config: Integers, unit: BlockUnit) -> None:
    """A fence ends what the number converter and the block unit were made ready for."""
    for place in range(CONFIG_SKIP, CONFIG_EXPAND):
        if config[place, 0] and config[place, SKIP_LAST]:
            empty(unit, config[place, SKIP_TABLE])
    for place in range(CONFIG_CONVERT, CONFIG_ROWS):
        config[place, 0] = 0
    unit.state[TESTED] = -1


@compiled
def _decodes(config: Integers) -> bool:
    """Whether the number converter is made ready for a stream."""
    found = False
    for place in range(CONFIG_CONVERT, CONFIG_ENCODE):
        found = found or config[place, 0] != 0
    return found


@compiled
def _note_event(
    events: Integers, event_count: Integers, number: int, dispatched: int, start: int, busy: int, finish: int
) -> None:
    place = event_count[0]
    if place < len(events):
        events[place, 0] = number
        events[place, 1] = dispatched
        events[place, 2] = start
        events[place, 3] = start + busy
        events[place, 4] = finish
    event_count[0] = place + 1


@compiled
def _timed(state: State, number: int, engine: int, resource: int, ready: int, duration: int, latency: int) -> int:
    """The times of a command that has been dispatched; `resource` is the place in the clock of what it holds."""
    code = issue(
        state.clock, resource, state.started, state.completed, state.issued, engine, ready, duration, latency,
        state.fault,
    )  # fmt: skip
    if code == OK and len(state.events):
        last = state.issued[engine] - 1
        start = state.started[engine, last % state.started.shape[1]]
        finish = state.completed[engine, last % HISTORY]
        _note_event(state.events, state.event_count, number, state.clock[T_DISPATCH], start, duration, finish)
    return code


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
def _plan_execute(
    local: Local, config: Integers, row: Integers, plan: Integers, room: Integers, fault: Integers
) -> int:
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
def _operands(local: Local, config: Integers, row: Integers) -> tuple[Operand, Operand]:
    """Both operands of a command that `_plan_execute` has passed; b is a where the body has none."""
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
def _are_tagged(local: Local, config: Integers, row: Integers, a: Operand, b: Operand) -> bool:
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


@compiled
def _close_region(
    region: NDArray[np.int32], number: int, clock: Integers, completed: Integers, issued: Integers, counters: Integers
) -> None:
    """Give the layer of an instruction its cycles if the next instruction belongs to another one."""
    if number + 1 == len(region) or region[number + 1] != region[number]:
        time = now(clock, completed, issued)
        counters[region[number], N_CYCLES] += time - clock[T_REGION_START]
        clock[T_REGION_START] = time


@compiled_entry
def host_done(state: State, number: int, cycles: int) -> None:
    """Advance the clock past the host call at instruction `number`."""
    start = state.clock[T_DISPATCH]
    state.clock[T_DISPATCH] += cycles
    if len(state.events):
        _note_event(state.events, state.event_count, number, start, start, cycles, state.clock[T_DISPATCH])
    _close_region(state.region, number, state.clock, state.completed, state.issued, state.counters)


@compiled
def _dispatched(state: State, row: Integers, before: int) -> int:
    """Dispatch an instruction, and carry it out where that is all: OK, AT_HOST or a fault's code. `before` is the
    opcode of the one before it."""
    opcode = row[0]
    if state.stop[0]:
        return fail(state.fault, STOPPED, 0, 0, 0, 0)
    if row[1] != 0:
        return fail(state.fault, NO_CORE, row[1], 0, 0, 0)
    engine = -1
    if opcode == OP_LOAD:
        engine = LOAD
    elif opcode == OP_STORE:
        engine = STORE
    elif opcode in (OP_COMPUTE, OP_VECTOR):
        engine = EXECUTE
    dispatch(state.arch, state.queues, state.clock, state.started, state.issued, engine)
    if opcode == OP_CONFIGURE_CONVERT and before != OP_CONFIGURE_CONVERT:
        state.clock[T_DISPATCH] += state.arch[A_CONVERTER_SWITCH]
    if opcode <= OP_CONFIGURE_POST or opcode >= OP_CONFIGURE_CONVERT:
        if state.clock[T_SINCE_FENCE]:
            return fail(state.fault, LATE_CONFIGURE, 0, 0, 0, 0)
        if opcode == OP_CONFIGURE_PRUNE:
            begin_tests(state.unit)
        keep_configuration(state.config, row)
    if opcode in (OP_FENCE, OP_HOST):
        state.clock[T_DISPATCH] = now(state.clock, state.completed, state.issued)
        state.clock[T_SINCE_FENCE] = 0
        _end_layer(state.config, state.unit)
    return AT_HOST if opcode == OP_HOST else OK


@compiled_entry
def step(state: State, first: int, last: int) -> int:
    """Run instructions first..last-1; fault[FAULT_INSTRUCTION] is the number of the instruction that it stopped at.

    Returns OK, AT_HOST (the clock stands at the call's start: the caller carries it out and says `host_done`), STOPPED
    or the code of a fault.
    """
    config, plan, arch, fault = state.config, state.plan, state.arch, state.fault
    for number in range(first, last):
        row = state.table[number]
        opcode, region = row[0], state.region[number]
        fault[FAULT_INSTRUCTION] = number
        traffic, counters = state.traffic[region], state.counters[region]
        state.instructions[region, opcode] += 1
        traffic[MAIN_MEMORY, ROLE_INSTRUCTION, READ] += 8 * INSTRUCTION_BYTES
        code = _dispatched(state, row, state.table[number - 1, 0] if number else 0)
        if code == OK and OP_LOAD <= opcode <= OP_STORE:
            engine, resource, duration, latency = EXECUTE, T_BUS, 0, arch[A_LATENCY]
            ready = ready_time(row, state.completed, state.issued, fault)
            if ready < 0:
                code = int(fault[FAULT_CODE])
            elif opcode == OP_LOAD:
                stream, convert = config[CONFIG_STREAMS + row[LOAD_STREAM]], config[CONFIG_CONVERT + row[LOAD_STREAM]]
                skip, slot = config[CONFIG_SKIP + row[LOAD_STREAM]], -1
                if skip[0]:
                    slot = state.unit.tables[skip[SKIP_TABLE], OWNER]
                expand = config[CONFIG_EXPAND + row[LOAD_STREAM]]
                if expand[0]:
                    is_alone = skip[0] == 0 and convert[0] == 0
                    code = load_tile(
                        state.main, state.local, stream, expand, is_alone, row, plan, state.blocks.counters, state.stop,
                        fault,
                    )  # fmt: skip
                elif row[LOAD_KEPT]:
                    code = fail(fault, NOT_EXPANDED, row[LOAD_STREAM], row[LOAD_KEPT], 0, 0)
                else:
                    code = load_box(
                        state.main, state.local, stream, convert, state.unit, slot, row, plan, state.blocks.counters,
                        state.stop, fault,
                    )  # fmt: skip
                if code == OK:
                    engine = LOAD
                    if expand[0]:
                        duration = tally_tile(stream, row, plan, arch, traffic, counters)
                    else:
                        duration = tally_load(
                            stream, convert, state.unit, slot, state.blocks, row, plan, arch, traffic, counters
                        )
                    if _decodes(config):
                        latency += arch[A_CONVERTER_LATENCY]
            elif opcode == OP_STORE:
                code = check_store(len(state.main), state.local, config, row, plan, state.blocks.counters[0], fault)
                if code == OK:
                    code = run_store(
                        state.main,
                        state.local,
                        state.blocks,
                        state.unit,
                        config,
                        row,
                        plan,
                        counters,
                        state.stop,
                        fault,
                    )
                if code == OK:
                    engine = STORE
                    duration = tally_store(
                        row, state.local, state.unit, state.blocks, config, plan, arch, traffic, counters
                    )
                    if config[CONFIG_STORE, STORE_TARGET]:
                        resource, latency = T_POST, 0
                    if config[CONFIG_ENCODE, 0]:
                        latency += arch[A_CONVERTER_LATENCY]
            else:
                resource = T_EXECUTION
                code = _plan_execute(state.local, config, row, plan, state.blocks.counters[0], fault)
                if code == OK and plan[PLAN_POSITIONS]:
                    a, b = _operands(state.local, config, row)
                    if opcode == OP_COMPUTE:
                        code = run_compute(
                            state.local,
                            state.blocks,
                            config[CONFIG_C],
                            a,
                            b,
                            row,
                            arch[A_ROWS],
                            plan,
                            state.stop,
                            fault,
                        )
                    else:
                        code = run_vector(state.local, state.blocks, config, a, b, row, plan, state.stop, fault)
                    plan[PLAN_SKIPS] = 0
                    if code == OK and _are_tagged(state.local, config, row, a, b):
                        code = left_out(
                            state.local, state.room, a, b, config[CONFIG_C], row, arch, opcode == OP_COMPUTE, plan,
                            state.blocks.counters, state.blocks.offsets, fault,
                        )  # fmt: skip
                if code == OK:
                    duration, latency = tally_execute(row, config, plan, arch, traffic, counters)
            if code == OK:
                code = _timed(state, number, engine, resource, ready, duration, latency)
        if code != OK:
            return code
        _close_region(state.region, number, state.clock, state.completed, state.issued, state.counters)
    return OK
