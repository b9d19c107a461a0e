"""The reference machine: runs a program, function and time in one pass, and counts what it does.

`run_program` is what other folders call. The instructions are executed by `interpreter`, host regions by `host`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.encoding import Columns, decode_columns
from ..ir.program import MNEMONICS, ROLE_CODES, Opcode, Program
from ..ir.program_rules import limited
from ..ir.stats import LayerCounts, Transfer
from ..ir.types import ElementType
from . import layout
from .elements import local_memory, work_blocks
from .faults import AT_HOST, FAULT_FIELDS, NO_REGION, OK, STOPPED, RunError, fault_error
from .host import HostRunner
from .interpreter import EVENT_FIELDS, READ, WRITE, State, host_done, step
from .race import Race, find_races
from .units import unit_faults
from .values import byte_count, check_inputs, read_tensor, write_tensor

BATCH_INSTRUCTIONS = 1 << 14  # between two looks at the keyboard
UNASSIGNED = "(no layer)"
_LARGEST_PARAMETER = 1 << 44
_LARGEST_LOCAL_BYTES = 1 << 31
_RUN_BYTES = 3 << 29
_RUN_COPIES = 16


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is bounded and what else it reports.

    `memory_limit_bytes` is for memories, values and host regions together, without the interpreter and its libraries;
    None stands for `default_memory_limit_bytes`. `trace_events` is the number of commands whose times are kept for a
    trace. With `count_overflows` an accumulator overflow is only counted; else it fails the run, after its end.
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
    the first `trace_events` commands; `commands` is how many there were.
    """

    outputs: dict[str, Any]
    layers: tuple[LayerCounts, ...]
    cycles: int
    overflows: int
    races: tuple[Race, ...] = ()
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
    deadline = time.monotonic() + options.time_limit_s
    _check_program(program, arch)
    host_memory_bytes = _host_memory_bytes(program, arch, options)
    columns = decode_columns(program.code)
    _check_units(program, arch, columns)
    values = check_inputs(program, inputs)
    table = layout.instruction_table(columns)
    state = _initial_state(program, arch, table, options)
    placements = {each.name: each for each in program.placements}
    host_values: dict[str, Any] = {}
    for name, value in values.items():
        if placements[name].address is None:
            host_values[name] = value
        else:
            write_tensor(state.main, placements[name], value)
    host_bytes: dict[int, tuple[int, int]] = {}
    with HostRunner(program, deadline, host_memory_bytes) as host:
        _run(program, arch, state, host, host_values, host_bytes, host_memory_bytes, deadline, options)
    races = find_races(program, table, arch, deadline) if options.check_races else ()
    layers = _layers(program, arch, state, host_bytes)
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
    return RunResult(
        outputs,
        layers,
        sum(layer.cycles or 0 for layer in layers),
        sum(layer.overflows for layer in layers),
        races,
        state.events[: min(len(state.events), int(state.event_count[0]))],
        int(state.event_count[0]),
    )


def default_memory_limit_bytes(program: Program) -> int:
    """In proportion to the program, so that a small file cannot ask for all the memory that there is."""
    return _RUN_BYTES + _RUN_COPIES * (len(program.code) + sum(len(blob) for blob in program.blobs.values()))


def _host_memory_bytes(program: Program, arch: Arch, options: RunOptions) -> int:
    """What memories and values leave of the limit, two thirds of it: a result is held by the process of host regions
    and by this one. Raises CompileError where they leave nothing."""
    limit = options.memory_limit_bytes or default_memory_limit_bytes(program)
    local = sum(memory.capacity_bytes for memory in arch.local)
    placed = [each for each in program.placements if each.address is not None and isinstance(each.type, ElementType)]
    edge = sum(byte_count(each) for each in placed if each.name in program.inputs or each.name in program.outputs)
    needed = program.main_bytes + 2 * local + edge
    if needed >= limit:
        message = f"a run takes {needed} bytes (main memory {program.main_bytes}, local memories twice {local}, inputs "
        message += f"and outputs {edge}); the limit is {limit}"
        raise CompileError(Diagnostic(message, help="--memory-limit sets another limit"))
    return (limit - needed) * 2 // 3


# --- What must hold before the first instruction ------------------------------------------------------------------


def _check_program(program: Program, arch: Arch) -> None:
    """Every range that the program states must lie inside the machine; raises CompileError with all that do not."""
    faults: list[str] = []
    size = program.main_bytes
    if not 0 <= size <= arch.main.capacity_bytes:
        faults.append(f"the program needs {size} bytes of main memory; {arch.name!r} has {arch.main.capacity_bytes}")
    local = sum(memory.capacity_bytes for memory in arch.local)
    if local > _LARGEST_LOCAL_BYTES or not arch.local:
        faults.append(f"local memories of {local} bytes; at least 1 and at most {_LARGEST_LOCAL_BYTES} can be run")
    for reference in {constant for _, constant in program.constants} | {call.model for call in program.host_calls}:
        if reference not in program.blobs:
            faults.append(f"the blob {reference} is missing")
    for address, constant in program.constants:
        if constant in program.blobs and not 0 <= address <= size - len(program.blobs[constant]):
            faults.append(f"a constant of {len(program.blobs[constant])} bytes at {address} lies outside main memory")
    placements = {each.name: each for each in program.placements}
    for each in program.placements:
        faults += _placement_faults(each.name, each.type, each.shape, each.order, each.address, size)
    used = [*program.inputs, *program.outputs]
    for call in program.host_calls:
        used += [*call.inputs, *call.outputs]
    faults += [f"{name!r} has no placement" for name in dict.fromkeys(used) if name and name not in placements]
    end = -1
    for region in program.regions:
        if not end < region.first <= region.last + 1 <= program.instruction_count:
            faults.append(f"layer {region.name!r} has instructions {region.first}..{region.last}, which do not fit")
        end = max(end, region.last)
    for name, value in _parameters(arch).items():
        least = 0 if name in _MAY_BE_ZERO else 1
        if not least <= value <= _LARGEST_PARAMETER:
            faults.append(f"{name} of the machine is {value}; it must be {least} to {_LARGEST_PARAMETER}")
    if faults:
        raise CompileError([Diagnostic(fault) for fault in faults])


def _check_units(program: Program, arch: Arch, columns: Columns) -> None:
    """The units of `arch` execute every command of the program; raises CompileError with all that they do not."""
    layers = [*(region.name for region in program.regions), UNASSIGNED]
    layer_of = region_of_instructions(program)
    faults = [
        Diagnostic(f"instruction {number} of layer {layers[layer_of[number]]!r}: {message}", help=help)
        for number, message, help in unit_faults(columns, arch)
    ]
    if faults:
        raise CompileError(limited(faults))


def _placement_faults(
    name: str,
    kind: object,
    shape: tuple[int, ...] | None,
    order: tuple[int, ...] | None,
    address: int | None,
    size: int,
) -> list[str]:
    if shape is not None and (any(extent < 0 for extent in shape) or len(shape) > 64):
        return [f"{name!r} has the impossible shape {list(shape)[:64]}"]
    if order is not None and (shape is None or sorted(order) != list(range(len(shape)))):
        return [f"{name!r} has the storage order {list(order)[:64]}, which is no order of its axes"]
    if address is None:
        return []
    if not isinstance(kind, ElementType) or shape is None:
        return [f"{name!r} lies in main memory but has no type or shape of the accelerator"]
    count = kind.bytes
    for extent in shape:
        count *= extent
    return [] if 0 <= address <= size - count else [f"{name!r} ({count} bytes at {address}) lies outside main memory"]


_MAY_BE_ZERO = {
    "array drain_cycles", "vector startup_cycles", "command_cycles", "dispatch_cycles", "latency_cycles",
    "host call_cycles",
}  # fmt: skip


def _parameters(arch: Arch) -> dict[str, int]:
    vector = arch.vector
    return {
        "array rows": arch.array.rows,
        "array cols": arch.array.cols,
        "array drain_cycles": arch.array.drain_cycles,
        "vector lanes": vector.lanes if vector else 1,
        "vector startup_cycles": vector.startup_cycles if vector else 0,
        "post lanes": arch.post.lanes,
        "command_cycles": arch.queues.command_cycles,
        "dispatch_cycles": arch.queues.dispatch_cycles,
        "load queue": arch.queues.load,
        "execute queue": arch.queues.execute,
        "store queue": arch.queues.store,
        "bus_bytes": arch.dma.bus_bytes,
        "burst_bytes": arch.dma.burst_bytes,
        "latency_cycles": arch.dma.latency_cycles,
        "requests_in_flight": arch.dma.requests_in_flight,
        "clock_hz": arch.clock_hz,
        "bandwidth_bytes_per_second": arch.dma.bandwidth_bytes_per_second,
        "host bytes_per_second": arch.host.bytes_per_second,
        "host call_cycles": arch.host.call_cycles,
    }


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
    values[layout.A_CLOCK] = arch.clock_hz // reduced
    values[layout.A_BANDWIDTH] = arch.dma.bandwidth_bytes_per_second // reduced
    return values


def region_of_instructions(program: Program) -> NDArray[np.int32]:
    """Number of the layer that each instruction belongs to; len(regions) where it belongs to none."""
    numbers = np.full(program.instruction_count, len(program.regions), np.int32)
    for number, region in enumerate(program.regions):
        numbers[region.first : region.last + 1] = number
    return numbers


def _initial_state(program: Program, arch: Arch, table: layout.Integers, options: RunOptions) -> State:
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
        region=region_of_instructions(program),
        main=main,
        local=local_memory([memory.capacity_bytes for memory in arch.local]),
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
    )


# --- The run ------------------------------------------------------------------------------------------------------


def _run(
    program: Program,
    arch: Arch,
    state: State,
    host: HostRunner,
    host_values: dict[str, Any],
    host_bytes: dict[int, tuple[int, int]],
    host_memory_bytes: int,
    deadline: float,
    options: RunOptions,
) -> None:
    """Run all instructions; `host_bytes` receives what each host call read and wrote in main memory, by layer."""
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), lambda: state.stop.__setitem__(0, 1))
    watch.daemon = True
    watch.start()
    position = 0
    try:
        while position < len(state.table):
            end = min(len(state.table), position + BATCH_INSTRUCTIONS)
            code = step(state, position, end)
            if code == OK:
                position = end
                continue
            number = int(state.fault[5])
            if code != AT_HOST:
                raise _fault(program, state, code, number, options)
            region = int(state.table[number, layout.HOST_REGION])
            if region >= len(program.host_calls):
                state.fault[1] = region
                raise _fault(program, state, NO_REGION, number, options)
            read, written = _call_host(program, state, host, host_values, region)
            _refuse_hoard(host_values, host_memory_bytes, program.host_calls[region].name)
            layer = int(state.region[number])
            before = host_bytes.get(layer, (0, 0))
            host_bytes[layer] = (before[0] + read, before[1] + written)
            moved = (read + written) * arch.clock_hz
            host_done(state, number, arch.host.call_cycles + -(-moved // arch.host.bytes_per_second))
            position = number + 1
    finally:
        watch.cancel()


def _fault(program: Program, state: State, code: int, number: int, options: RunOptions) -> RunError:
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
    return fault_error(code, [int(each) for each in state.fault[1:5]], number, mnemonic, name)


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
    for name, value in host.run(call, feeds).items():
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


def _refuse_hoard(values: Mapping[str, Any], limit: int, name: str) -> None:
    """The values that have no place in main memory must not grow call by call; raises RunError."""
    held = sum(value.nbytes for value in values.values() if isinstance(value, np.ndarray))
    if held > limit:
        raise RunError(
            Diagnostic(
                f"after host region {name!r} the values that only the host has take {held} bytes; the limit is {limit}",
                help="--memory-limit sets another limit",
            )
        )


# --- Counts -------------------------------------------------------------------------------------------------------


def _layers(
    program: Program, arch: Arch, state: State, host_bytes: Mapping[int, tuple[int, int]]
) -> tuple[LayerCounts, ...]:
    memories = [memory.name for memory in arch.memories]
    layers = []
    for number in range(len(program.regions) + 1):
        counts = _layer_counts(state, number, memories, *host_bytes.get(number, (0, 0)))
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


def _layer_counts(state: State, number: int, memories: list[str], host_read: int, host_written: int) -> LayerCounts:
    moved = state.traffic[number].copy()
    moved[0, layout.ROLE_INPUT, READ] += host_read
    moved[0, layout.ROLE_OUTPUT, WRITE] += host_written
    traffic = {
        memory: roles
        for place, memory in enumerate(memories)
        if (
            roles := {
                role: Transfer(int(moved[place, code, READ]), int(moved[place, code, WRITE]))
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
        "host.byte": host_read + host_written,
    }
    instructions = {MNEMONICS[each]: int(state.instructions[number, each]) for each in Opcode}
    return LayerCounts(
        name=UNASSIGNED,
        op="",
        where="accelerator",
        macs=counters[layout.N_MACS],
        macs_issued=counters[layout.N_MACS_ISSUED],
        cycles=counters[layout.N_CYCLES],
        instructions={name: count for name, count in instructions.items() if count},
        traffic=traffic,
        actions={name: count for name, count in actions.items() if count},
        overflows=counters[layout.N_OVERFLOWS],
    )
