"""The interpreter of instructions: function, time and counts in one compiled pass (specs/isa.md, specs/counts.md).

`step` runs instructions until a host call, a fault, the end of its share or a request to stop. Every range is checked
before a command touches memory, so that no program can reach outside the machine's memories.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled, compiled_entry
from ..ir.program import INSTRUCTION_BYTES
from .block_unit import OWNER, BlockUnit, begin_tests
from .configuration import decodes, end_layer, keep_configuration
from .elements import Blocks, Local
from .expand import load_tile, tally_tile
from .faults import (
    AT_HOST,
    FAULT_CODE,
    FAULT_INSTRUCTION,
    LATE_CONFIGURE,
    NO_CORE,
    NOT_EXPANDED,
    OK,
    STOPPED,
    fail,
)
from .layout import (
    A_CONVERTER_LATENCY,
    A_CONVERTER_SWITCH,
    A_LATENCY,
    A_ROWS,
    CONFIG_C,
    CONFIG_CONVERT,
    CONFIG_ENCODE,
    CONFIG_EXPAND,
    CONFIG_SKIP,
    CONFIG_STORE,
    CONFIG_STREAMS,
    EXECUTE,
    HISTORY,
    LOAD,
    LOAD_KEPT,
    LOAD_STREAM,
    MAIN_MEMORY,
    N_CYCLES,
    OP_COMPUTE,
    OP_CONFIGURE_CONVERT,
    OP_CONFIGURE_POST,
    OP_CONFIGURE_PRUNE,
    OP_FENCE,
    OP_HOST,
    OP_LOAD,
    OP_STORE,
    OP_VECTOR,
    PLAN_POSITIONS,
    PLAN_SKIPS,
    READ,
    ROLE_INSTRUCTION,
    SKIP_TABLE,
    STORE,
    STORE_TARGET,
    T_BUS,
    T_DISPATCH,
    T_EXECUTION,
    T_POST,
    T_REGION_START,
    T_SINCE_FENCE,
    Integers,
)
from .left_out import Room, left_out
from .operands import are_tagged, operands, plan_execute
from .post import check_store, run_store
from .product import (
    run_compute,
)
from .tally import tally_execute, tally_load, tally_store
from .timing import (
    dispatch,
    issue,
    now,
    ready_time,
)
from .transfer import load_box
from .vector import run_vector

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
        end_layer(state.config, state.unit)
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
                    if decodes(config):
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
                code = plan_execute(state.local, config, row, plan, state.blocks.counters[0], fault)
                if code == OK and plan[PLAN_POSITIONS]:
                    a, b = operands(state.local, config, row)
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
                    if code == OK and are_tagged(state.local, config, row, a, b):
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
