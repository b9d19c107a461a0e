"""What must hold of a program before its first instruction, and the memory that a run may take."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.encoding import Columns
from ..ir.frozen import dataclass
from ..ir.program import Placement, Program
from ..ir.program_rules import limited
from ..ir.types import ElementType
from .units import unit_faults
from .values import byte_count

_LARGEST_PARAMETER = 1 << 44
_LARGEST_LOCAL_BYTES = 1 << 31
# What a run may take where no limit is given: this, and a multiple of the program's bytes.
_BASE_BYTES = 3 << 29
_COPIES = 16


def check_program(program: Program, arch: Arch) -> None:
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
        faults += _placement_faults(each, size)
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


def check_units(arch: Arch, columns: Columns, layer_names: Sequence[str]) -> None:
    """The units of `arch` execute every command; raises CompileError with all that they do not. `layer_names` are those
    of the instructions' layers."""
    faults = [
        Diagnostic(f"instruction {number} of layer {layer_names[number]!r}: {message}", help=help)
        for number, message, help in unit_faults(columns, arch)
    ]
    if faults:
        raise CompileError(limited(faults))


def _placement_faults(placement: Placement, main_bytes: int) -> list[str]:
    name, shape, order, address = placement.name, placement.shape, placement.order, placement.address
    if shape is not None and (any(extent < 0 for extent in shape) or len(shape) > 64):
        return [f"{name!r} has the impossible shape {list(shape)[:64]}"]
    if order is not None and (shape is None or sorted(order) != list(range(len(shape)))):
        return [f"{name!r} has the storage order {list(order)[:64]}, which is no order of its axes"]
    if address is None:
        return []
    if not isinstance(placement.type, ElementType) or shape is None:
        return [f"{name!r} lies in main memory but has no type or shape of the accelerator"]
    count = byte_count(placement)
    fits = 0 <= address <= main_bytes - count
    return [] if fits else [f"{name!r} ({count} bytes at {address}) lies outside main memory"]


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
        "host operations_per_second": 1 if arch.host.operations_per_second is None else arch.host.operations_per_second,
    }


def default_memory_limit_bytes(program: Program) -> int:
    """In proportion to the program, so that a small file cannot ask for all the memory that there is."""
    return _BASE_BYTES + _COPIES * (len(program.code) + sum(len(blob) for blob in program.blobs.values()))


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Of a run's limit, `share_bytes` are for the process of host regions, and as much again for values of the host in
    this one."""

    limit_bytes: int
    share_bytes: int

    @property
    def help(self) -> str:
        return f"--memory-limit {_mebibytes(2 * self.limit_bytes)}, say; it is {_mebibytes(self.limit_bytes)} MiB"


def host_memory(program: Program, arch: Arch, limit: int | None, noted: int = 0) -> HostMemory:
    """What the machine's memories, the values at the program's edge and the `noted` bytes about blocks and work that is
    left out take, is not there for the host: the rest of `limit` (None: the default) is. Raises CompileError where that
    is not enough for what host regions are known to read and write; the program is checked."""
    if limit is None:
        limit = default_memory_limit_bytes(program)
    local = sum(memory.capacity_bytes for memory in arch.local)
    placed = {each.name: byte_count(each) for each in program.placements if each.address is not None}
    edge = sum(count for name, count in placed.items() if name in {*program.inputs, *program.outputs})
    calls = [sum(placed.get(name, 0) for name in (*call.inputs, *call.outputs)) for call in program.host_calls]
    machine = program.main_bytes + 2 * local + edge + noted
    needed = machine + 2 * max(calls, default=0)
    if needed >= limit:
        message = f"a run takes {_mebibytes(needed)} MiB (main memory {_mebibytes(program.main_bytes)}, twice the local"
        message += f" memories {_mebibytes(2 * local)}, inputs and outputs {_mebibytes(edge)}, twice the largest host"
        message += f" region's {_mebibytes(2 * max(calls, default=0))}"
        message += f", blocks and work left out {_mebibytes(noted)}" if noted else ""
        message += f"); the limit is {_mebibytes(limit)} MiB"
        enough = _mebibytes(needed + needed // 4)
        raise CompileError(Diagnostic(message, help=f"--memory-limit {enough} or more"))
    return HostMemory(limit, (limit - machine) // 2)


def _mebibytes(count: int) -> int:
    return -(-count // (1 << 20))
