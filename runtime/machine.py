"""The reference machine: runs a program, function and time in one pass, and counts what it does.

`run_program` is what other folders call. The instructions are executed by `interpreter`, host regions by `host`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.diagnostics import Diagnostic
from ..ir.encoding import decode_columns
from ..ir.frozen import dataclass
from ..ir.program import MNEMONICS, ROLE_CODES, Opcode, Program
from ..ir.stats import BlockCounts, LayerCounts, Transfer, WeightBlocks
from . import layout
from .block_setup import RoomSize, UnitSize, block_unit, masks_of, room_of, room_size, skips_blocks, unit_size
from .elements import local_memory, work_blocks
from .faults import (
    AT_HOST,
    FAULT_DETAILS,
    FAULT_FIELDS,
    FAULT_INSTRUCTION,
    NO_REGION,
    OK,
    STOPPED,
    TOO_LONG,
    RunError,
    fault_error,
)
from .host import HostRunner
from .interpreter import EVENT_FIELDS, State, host_done, step
from .program_checks import check_program, check_units, host_memory
from .race import Race, find_races
from .timing import LIMIT
from .values import byte_count, check_inputs, read_tensor, value_bytes, write_tensor

BATCH_INSTRUCTIONS = 1 << 14  # between two looks at the keyboard
UNASSIGNED = "(no layer)"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is bounded and what else it reports.

    `memory_limit_bytes` is for memories, values, notes of blocks and of work left out and host regions together,
    without the interpreter and its libraries; None stands for `default_memory_limit_bytes`. Half of what the
    machine's memories leave is for the process of host regions, half for their values in this one. `trace_events`
    is the number of commands whose times are kept for a trace. With `count_overflows` an accumulator overflow is
    only counted; else it fails the run, after its end.
    """

    time_limit_s: float = 600.0
    memory_limit_bytes: int | None = None
    check_races: bool = False
    trace_events: int = 0
    count_overflows: bool = False


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run yields: outputs by name, counts per layer in program order, and the total time.

    `events` has a row per command (instruction, dispatched, started, resource free, completed), in program order, of
    the first `trace_events` commands; `commands` is how many there were. `masks` says by the name of each layer that
    tests blocks what became of them (`block_setup.masks_of`).
    """

    outputs: dict[str, Any]
    layers: tuple[LayerCounts, ...]
    cycles: int
    overflows: int
    races: tuple[Race, ...] = ()
    masks: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    events: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, EVENT_FIELDS), np.int64))
    commands: int = 0


def run_program(
    program: Program, arch: Arch, inputs: Mapping[str, Any], options: RunOptions | None = None
) -> RunResult:
    """Run `program` on the machine `arch` with `inputs` by name.

    Raises CompileError where the inputs or the program are wrong, with all faults that are seen before the start;
    RunError where the program leaves its memories, overflows an accumulator or exceeds a limit while it runs.
    """
    options = options or RunOptions()
    return carried_out(program, arch, inputs, options, time.monotonic() + options.time_limit_s)[0]


def carried_out(
    program: Program, arch: Arch, inputs: Mapping[str, Any], options: RunOptions, deadline: float
) -> tuple[RunResult, State]:
    """`run_program`, up to a `deadline` in the time of time.monotonic(), and the machine as it stands at the end."""
    check_program(program, arch)
    columns = decode_columns(program.code)
    names = layers_of_instructions(program)
    check_units(arch, columns, names)
    values = check_inputs(program, inputs)
    table = layout.instruction_table(columns)
    room = room_size(table, skips_blocks(table))
    unit = unit_size(program, arch, table)
    memory = host_memory(program, arch, options.memory_limit_bytes, room.bytes + unit.bytes)
    state = _initial_state(program, arch, table, options, room, unit)
    placements = {each.name: each for each in program.placements}
    host_values: dict[str, Any] = {}
    for name, value in values.items():
        if placements[name].address is None:
            host_values[name] = value
        else:
            write_tensor(state.main, placements[name], value)
    with HostRunner(program, deadline, memory) as host, _stopped_at(deadline, state):
        _run(program, arch, state, host, host_values, options)
    races = find_races(program, table, arch, deadline) if options.check_races else ()
    tested = [names[number] for number in np.flatnonzero(table[:, 0] == layout.OP_CONFIGURE_PRUNE)]
    masks = masks_of(state.unit, tested)
    layers = tuple(_with_blocks(each, masks.get(each.name)) for each in _layers(program, arch, state))
    overflowed = [layer for layer in layers if layer.overflows]
    if overflowed and not options.count_overflows:
        raise RunError(
            [
                Diagnostic(
                    f"{layer.overflows} accumulator values of layer {layer.name!r} overflowed",
                    help="use a wider accumulator, or narrower operands (--precision)",
                )
                for layer in overflowed
            ]
        )
    outputs: dict[str, Any] = {}
    for name in program.outputs:
        placement = placements[name]
        if placement.address is None and name not in host_values:
            raise RunError(Diagnostic(f"the program ends without having computed its output {name!r}"))
        outputs[name] = host_values[name] if placement.address is None else read_tensor(state.main, placement)
    result = RunResult(
        outputs,
        layers,
        sum(layer.cycles or 0 for layer in layers),
        sum(layer.overflows for layer in layers),
        races,
        masks,
        state.events[: min(len(state.events), int(state.event_count[0]))],
        int(state.event_count[0]),
    )
    return result, state


def _with_blocks(layer: LayerCounts, mask: NDArray[np.uint8] | None) -> LayerCounts:
    """The counts of a layer with those of the blocks that it tests."""
    if mask is None:
        return layer
    entered = layer.actions.get("block_cache.write_entry", 0)
    zero, created = np.count_nonzero(mask == 2), np.count_nonzero(mask == 1)
    return replace(layer, blocks=BlockCounts(mask.size, int(zero), int(created), entered))


# --- State --------------------------------------------------------------------------------------------------------


def arch_array(arch: Arch) -> layout.Integers:
    """The parameters of the machine as compiled code takes them (see `layout`, A_...)."""
    values = np.zeros(layout.A_FIELDS, np.int64)
    reduced = gcd(arch.clock_hz, arch.dma.bandwidth_bytes_per_second)
    values[layout.A_ROWS], values[layout.A_COLS] = arch.array.rows, arch.array.cols
    values[layout.A_DRAIN] = arch.array.drain_cycles
    values[layout.A_LANES] = arch.vector.lanes if arch.vector else 0
    values[layout.A_STARTUP] = arch.vector.startup_cycles if arch.vector else 0
    values[layout.A_POST_LANES] = arch.post.lanes
    values[layout.A_COMMAND], values[layout.A_DISPATCH] = arch.queues.command_cycles, arch.queues.dispatch_cycles
    values[layout.A_BUS], values[layout.A_BURST] = arch.dma.bus_bytes, arch.dma.burst_bytes
    values[layout.A_LATENCY], values[layout.A_REQUESTS] = arch.dma.latency_cycles, arch.dma.requests_in_flight
    if arch.converter is not None:
        values[layout.A_CONVERTER_LANES] = arch.converter.lanes
        values[layout.A_CONVERTER_LATENCY] = arch.converter.latency_cycles
        values[layout.A_CONVERTER_SWITCH] = arch.converter.switch_cycles
    values[layout.A_BLOCK_LANES] = arch.block_unit.lanes if arch.block_unit else 0
    values[layout.A_CLOCK] = arch.clock_hz // reduced
    values[layout.A_BANDWIDTH] = arch.dma.bandwidth_bytes_per_second // reduced
    return values


def layers_of_instructions(program: Program) -> list[str]:
    """The name of the layer that each instruction belongs to."""
    names = [*(region.name for region in program.regions), UNASSIGNED]
    return [names[number] for number in _region_of_instructions(program)]


def _region_of_instructions(program: Program) -> NDArray[np.int32]:
    """Number of the layer that each instruction belongs to; len(regions) where it belongs to none."""
    numbers = np.full(program.instruction_count, len(program.regions), np.int32)
    for number, region in enumerate(program.regions):
        numbers[region.first : region.last + 1] = number
    return numbers


def _initial_state(
    program: Program, arch: Arch, table: layout.Integers, options: RunOptions, room: RoomSize, unit: UnitSize
) -> State:
    main = np.zeros(program.main_bytes, np.uint8)
    for address, constant in program.constants:
        blob = program.blobs[constant]
        main[address : address + len(blob)] = np.frombuffer(blob, np.uint8)
    queues = np.array([arch.queues.load, arch.queues.execute, arch.queues.store], np.int64)
    # A queue longer than the program never fills.
    queues = np.minimum(queues, len(table) + 1)
    layers = len(program.regions) + 1
    return State(
        table=table,
        region=_region_of_instructions(program),
        main=main,
        local=local_memory(
            [each.capacity_bytes for each in arch.local],
            [each.word_bytes for each in arch.local],
            tagged=skips_blocks(table),
        ),
        arch=arch_array(arch),
        queues=queues,
        config=np.zeros((layout.CONFIG_ROWS, layout.WIDTH), np.int64),
        clock=np.zeros(layout.T_FIELDS, np.int64),
        started=np.zeros((layout.ENGINES, max(layout.HISTORY, int(queues.max()))), np.int64),
        completed=np.zeros((layout.ENGINES, layout.HISTORY), np.int64),
        issued=np.zeros(layout.ENGINES, np.int64),
        traffic=np.zeros((layers, len(arch.memories), layout.ROLES, 2), np.int64),
        instructions=np.zeros((layers, layout.OPCODES), np.int64),
        counters=np.zeros((layers, layout.N_COUNTERS), np.int64),
        events=np.zeros((min(options.trace_events, len(table)), EVENT_FIELDS), np.int64),
        event_count=np.zeros(1, np.int64),
        fault=np.zeros(FAULT_FIELDS, np.int64),
        stop=np.zeros(1, np.uint8),
        plan=np.zeros(layout.PLAN_FIELDS, np.int64),
        blocks=work_blocks(),
        unit=block_unit(arch, unit),
        room=room_of(room),
    )


# --- The run ------------------------------------------------------------------------------------------------------


@contextmanager
def _stopped_at(deadline: float, state: State) -> Iterator[None]:
    """At the deadline compiled code is asked to stop."""
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), lambda: state.stop.__setitem__(0, 1))
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _run(
    program: Program, arch: Arch, state: State, host: HostRunner, host_values: dict[str, Any], options: RunOptions
) -> None:
    """Run all instructions."""
    position = 0
    while position < len(state.table):
        end = min(len(state.table), position + BATCH_INSTRUCTIONS)
        code = step(state, position, end)
        if code == OK:
            position = end
            continue
        if code != AT_HOST:
            raise _fault(program, state, code, options)
        number = int(state.fault[FAULT_INSTRUCTION])
        region = int(state.table[number, layout.HOST_REGION])
        if region >= len(program.host_calls):
            state.fault[FAULT_DETAILS] = region
            raise _fault(program, state, NO_REGION, options)
        read, written = _call_host(program, state, host, host_values, region)
        layer = state.region[number]
        state.traffic[layer, layout.MAIN_MEMORY, layout.ROLE_INPUT, layout.READ] += 8 * read
        state.traffic[layer, layout.MAIN_MEMORY, layout.ROLE_OUTPUT, layout.WRITE] += 8 * written
        state.counters[layer, layout.N_HOST_BYTES] += read + written
        moved = (read + written) * arch.clock_hz
        cycles = arch.host.call_cycles + -(-moved // arch.host.bytes_per_second)
        operations = 0
        if (rate := arch.host.operations_per_second) is not None:
            operations = program.host_calls[region].operations
            cycles += -(-operations * arch.clock_hz // rate)
        counted = int(state.counters[layer, layout.N_HOST_OPERATIONS]) + operations
        if max(int(state.clock[layout.T_DISPATCH]) + cycles, counted) > LIMIT:
            raise _fault(program, state, TOO_LONG, options)
        state.counters[layer, layout.N_HOST_OPERATIONS] = counted
        host_done(state, number, cycles)
        position = number + 1


def _fault(program: Program, state: State, code: int, options: RunOptions) -> RunError:
    number = int(state.fault[FAULT_INSTRUCTION])
    if code == STOPPED:
        return RunError(
            Diagnostic(
                f"the run took longer than {options.time_limit_s:g} s (it stood at instruction {number})",
                help="--time-limit sets another limit",
            )
        )
    layer = int(state.region[number])
    name = program.regions[layer].name if layer < len(program.regions) else UNASSIGNED
    mnemonic = MNEMONICS[Opcode(int(state.table[number, 0]))]
    details = [int(each) for each in state.fault[FAULT_DETAILS:FAULT_INSTRUCTION]]
    return fault_error(code, details, number, mnemonic, name)


def _call_host(
    program: Program, state: State, host: HostRunner, host_values: dict[str, Any], region: int
) -> tuple[int, int]:
    """Carry out a host call; returns the bytes that it read and wrote in main memory."""
    call = program.host_calls[region]
    placements = {each.name: each for each in program.placements}
    read = written = 0
    feeds: dict[str, Any] = {}
    for name in call.inputs:
        placement = placements[name]
        if placement.address is not None:
            feeds[name] = read_tensor(state.main, placement)
            read += byte_count(placement)
        elif name in host_values:
            feeds[name] = host_values[name]
        else:
            raise RunError(Diagnostic(f"host region {call.name!r} reads {name!r}, which nothing has written"))
    held = sum(map(value_bytes, host_values.values())) + read
    for name, value in host.run(call, feeds, held).items():
        placement = placements[name]
        if placement.address is None:
            host_values[name] = value
            continue
        shape = getattr(value, "shape", None)
        if shape != placement.shape:
            found = "no tensor" if shape is None else f"shape {list(shape)}"
            raise RunError(
                Diagnostic(
                    f"host region {call.name!r} yields {found} for {name!r}",
                    help=f"expected {list(placement.shape or ())}",
                )
            )
        write_tensor(state.main, placement, value)
        written += byte_count(placement)
    return read, written


# --- Counts -------------------------------------------------------------------------------------------------------


def _layers(program: Program, arch: Arch, state: State) -> tuple[LayerCounts, ...]:
    memories = [memory.name for memory in arch.memories]
    layers = []
    for number in range(len(program.regions) + 1):
        counts = layer_counts(state, number, memories)
        if number < len(program.regions):
            region = program.regions[number]
            layers.append(
                replace(
                    counts,
                    name=region.name,
                    op=region.op,
                    where=region.where,
                    dataflow=region.dataflow,
                    im2col=region.im2col,
                )
            )
        elif counts.instructions:
            layers.append(counts)
    return tuple(layers)


def layer_counts(state: State, number: int, memories: list[str]) -> LayerCounts:
    """What a run has counted for layer `number`."""
    moved = state.traffic[number]
    traffic = {
        memory: roles
        for place, memory in enumerate(memories)
        if (
            roles := {
                role: Transfer(int(moved[place, code, layout.READ]), int(moved[place, code, layout.WRITE]))
                for code, role in enumerate(ROLE_CODES)
                if moved[place, code].any()
            }
        )
    }
    counters = [int(each) for each in state.counters[number]]
    actions = {
        "array.mac": counters[layout.N_ARRAY_MACS],
        "vector.op": counters[layout.N_VECTOR_POINTS],
        "post.element": counters[layout.N_POST_ELEMENTS],
        "converter.element": counters[layout.N_CONVERTED],
        "block_unit.element": counters[layout.N_TESTED],
        "block_unit.block": counters[layout.N_BLOCKS] + counters[layout.N_BLOCKS_LOADED],
        "block_cache.read_entry": counters[layout.N_LOOKUPS],
        "block_cache.write_entry": counters[layout.N_HELD],
        "host.byte": counters[layout.N_HOST_BYTES],
        "host.operation": counters[layout.N_HOST_OPERATIONS],
    }
    loaded = counters[layout.N_BLOCKS_LOADED], counters[layout.N_BLOCKS_ABSENT]
    instructions = {MNEMONICS[each]: int(state.instructions[number, each]) for each in Opcode}
    return LayerCounts(
        name=UNASSIGNED,
        op="",
        where="accelerator",
        macs=counters[layout.N_MACS],
        macs_issued=counters[layout.N_MACS_ISSUED],
        macs_skipped=counters[layout.N_MACS_SKIPPED],
        cycles=counters[layout.N_CYCLES],
        instructions={name: count for name, count in instructions.items() if count},
        traffic=traffic,
        actions={name: count for name, count in actions.items() if count},
        overflows=counters[layout.N_OVERFLOWS],
        weight_blocks=WeightBlocks(*loaded) if any(loaded) else None,
    )
