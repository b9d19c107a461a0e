"""Give every buffer an address in its local memory and every tensor one in main memory.

before:  buffer x spad x2                     tensors without addresses
after:   buffer x spad x2 at 0x40             addresses x 0x0, w 0x1000, ...

A value that is kept in local memory (`store y to spad whole`) takes its bytes from the end of that memory downwards,
from the first nest that writes it to the last that reads it; tiles take theirs from the beginning upwards.

Requires: every nest is scheduled, and has a buffer for each of its operands.
Ensures:  addresses are aligned (local ones to the memory's word, main ones to 64 bytes); the copies of all buffers of a
          nest lie apart, each inside its memory; two tensors share bytes of main memory only if they are the same
          constant, or one is dead before the other is written. Equal modules get equal addresses. Running the pass
          again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.module import Module, Operation
from ..ir.nest import Nest
from ..ir.nest_layout import local_layout, whole_bytes
from ..ir.types import BlobRef, ElementType, Tensor

ALIGNMENT_BYTES = 64
_NOTHING: Mapping[str, int] = {}


def allocate(module: Module, arch: Arch) -> Module:
    """The module with all addresses. Raises CompileError for every memory that is too small, and says by how much."""
    faults: list[Diagnostic] = []
    operations: list[Operation] = []
    faults += [fault for each in module.operations if isinstance(each, Nest) for fault in _unscheduled(each, arch)]
    if faults:
        raise CompileError(faults)
    kept = place_kept(module, arch)
    for number, operation in enumerate(module.operations):
        if isinstance(operation, Nest):
            room = kept.room(number)
            found = list(_too_small(operation, arch, room))
            faults += found
            operations.append(operation if found else allocate_buffers(operation, arch, kept.addresses))
        else:
            operations.append(operation)
    if oversized := list(larger_than_main_memory(module, arch)):
        raise CompileError(faults + oversized)
    addresses = allocate_tensors(module)
    needed = max((address + module.main_bytes(module.tensor(name)) for name, address in addresses.items()), default=0)
    if needed > arch.main.capacity_bytes:
        faults.append(
            Diagnostic(
                f"the tensors need {needed} B, `{arch.main.name}` has {arch.main.capacity_bytes} B",
                help="use a smaller batch, or a machine with more main memory",
            )
        )
    if faults:
        raise CompileError(faults)
    return replace(module, operations=tuple(operations), addresses=tuple(sorted(addresses.items())))


def larger_than_main_memory(module: Module, arch: Arch) -> Iterator[Diagnostic]:
    """Tensors that fit nowhere. A shape is the user's: its product may exceed any fixed width."""
    for tensor in module.tensors:
        if in_main_memory(tensor) and module.main_bytes(tensor) > arch.main.capacity_bytes:
            yield Diagnostic(
                f"tensor {tensor.name!r} needs {module.main_bytes(tensor)} B, "
                f"`{arch.main.name}` has {arch.main.capacity_bytes} B",
                help="use a smaller batch, or a machine with more main memory",
            )


@dataclass(frozen=True, slots=True)
class Kept:
    """Where kept values lie. `addresses` is by name; `lives` has memory, first and last operation, and first byte;
    `ends` is one past the last byte of each local memory."""

    addresses: Mapping[str, int]
    lives: tuple[tuple[str, int, int, int], ...]
    ends: Mapping[str, int]

    def room(self, number: int) -> dict[str, int]:
        """One past the last byte of each local memory that tiles of operation `number` may take."""
        ends = dict(self.ends)
        for memory, first, last, address in self.lives:
            if first <= number <= last:
                ends[memory] = min(ends[memory], address)
        return ends


def place_kept(module: Module, arch: Arch) -> Kept:
    """Addresses of the values that stay in local memory; those of a memory that is too small are below its start."""
    ends = {each.name: arch.base_address(each.name) + each.capacity_bytes for each in arch.local}
    found: dict[str, tuple[str, Lifetime]] = {}
    for number, nest in enumerate(module.operations):
        if not isinstance(nest, Nest) or nest.schedule is None:
            continue
        for name, place, size in kept_bytes(nest, arch):
            first = found[name][1].first if name in found else number
            found[name] = place, Lifetime(name, size, first, number)
    addresses: dict[str, int] = {}
    for memory in arch.local:
        here = [life for place, life in found.values() if place == memory.name]
        word = memory.word_bytes
        top = arch.base_address(memory.name) + memory.capacity_bytes // word * word
        offsets = pack_lifetimes(here, word)
        addresses |= {life.name: top - offsets[life.name] - life.bytes for life in here}
    lives = tuple((place, life.first, life.last, addresses[life.name]) for place, life in found.values())
    return Kept(addresses, lives, ends)


def kept_bytes(nest: Nest, arch: Arch) -> Iterator[tuple[str, str, int]]:
    """Every kept value that a scheduled nest writes or reads: its name, its memory and its bytes there."""
    schedule = nest.schedule
    assert schedule is not None
    for buffer in schedule.buffers:
        if buffer.is_whole:
            layout = local_layout(nest, buffer.operand, arch.memory(buffer.memory).word_bytes)
            yield nest.access(buffer.operand).tensor, buffer.memory, layout.tile_bytes
    if (target := schedule.target) is not None:
        word = arch.memory(target.memory).word_bytes
        size = whole_bytes(target.shape, target.margins, nest.write.type.bits, word)
        yield nest.write.tensor, target.memory, size


def buffer_bytes(nest: Nest, arch: Arch) -> dict[str, int]:
    """Bytes per buffer of a scheduled nest, all copies, by operand; operands that are there whole have none."""
    assert nest.schedule is not None
    return {
        buffer.operand: buffer.copies
        * local_layout(nest, buffer.operand, arch.memory(buffer.memory).word_bytes).tile_bytes
        for buffer in nest.schedule.buffers
        if not buffer.is_whole
    }


def allocate_buffers(nest: Nest, arch: Arch, kept: Mapping[str, int] = _NOTHING) -> Nest:
    """The nest with an address for each buffer: one after the other in each memory, in the order of the schedule, and
    for kept values those in `kept`, by name.

    A tile takes whole words (`ir.nest.local_layout`), so that every copy starts at a word of its memory.
    """
    schedule = nest.schedule
    assert schedule is not None
    sizes = buffer_bytes(nest, arch)
    free = {memory.name: arch.base_address(memory.name) for memory in arch.local}
    buffers = []
    for buffer in schedule.buffers:
        if buffer.is_whole:
            buffers.append(replace(buffer, address=kept[nest.access(buffer.operand).tensor]))
            continue
        buffers.append(replace(buffer, address=free[buffer.memory]))
        free[buffer.memory] += sizes[buffer.operand]
    target = schedule.target
    if target is not None:
        target = replace(target, address=kept[nest.write.tensor])
    return replace(nest, schedule=replace(schedule, buffers=tuple(buffers), target=target))


def _unscheduled(nest: Nest, arch: Arch) -> Iterator[Diagnostic]:
    if nest.schedule is None:
        yield Diagnostic(f"nest {nest.name!r} has no schedule", nest.span, help="schedule it before it is allocated")
        return
    held = [buffer.operand for buffer in nest.schedule.buffers]
    for access in (*nest.reads, nest.write):
        if held.count(access.operand) != 1:
            message = f"nest {nest.name!r} has {held.count(access.operand)} buffers for {access.operand!r}; it needs 1"
            yield Diagnostic(message, nest.span)
    local = [memory.name for memory in arch.local]
    for buffer in nest.schedule.buffers:
        if buffer.memory not in local:
            message = f"nest {nest.name!r}: {arch.name} has no local memory {buffer.memory!r}"
            yield Diagnostic(message, nest.span, help=f"local memories are: {', '.join(local)}")


def _too_small(nest: Nest, arch: Arch, room: Mapping[str, int]) -> Iterator[Diagnostic]:
    """The memories that do not hold the buffers of a nest beside kept values, with what each buffer takes."""
    assert nest.schedule is not None
    sizes = buffer_bytes(nest, arch)
    for memory in arch.local:
        here = [each for each in nest.schedule.buffers if each.memory == memory.name and not each.is_whole]
        needed = sum(sizes[buffer.operand] for buffer in here)
        left = room[memory.name] - arch.base_address(memory.name)
        if needed > left:
            beside = (
                "" if left == memory.capacity_bytes else f", {memory.capacity_bytes - left} B of it for kept values"
            )
            parts = ", ".join(f"{each.operand} {each.copies} x {sizes[each.operand] // each.copies} B" for each in here)
            yield Diagnostic(
                f"nest {nest.name!r} needs {needed} B, `{memory.name}` has {memory.capacity_bytes} B{beside}",
                nest.span,
                help=f"its buffers are: {parts}",
            )


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A tensor occupies its bytes from operation `first` to operation `last`, both included; -1 is before all."""

    name: str
    bytes: int
    first: int
    last: int


def lifetimes(module: Module) -> list[Lifetime]:
    """Of every tensor in main memory that is no constant, in the module's order.

    Inputs of the module live from before the first operation, its outputs to after the last. A tensor that several
    nests write in part lives from the first of them.
    """
    end = len(module.operations)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for name in module.inputs:
        first[name] = last[name] = -1
    for number, operation in enumerate(module.operations):
        for name in (*operation.inputs, *operation.outputs):
            if name not in module.kept:
                first.setdefault(name, number)
                last[name] = number
    for name in module.outputs:
        first.setdefault(name, -1)
        last[name] = end
    return [
        Lifetime(tensor.name, tensor.bytes, first[tensor.name], last[tensor.name])
        for tensor in module.tensors
        if tensor.name in first and in_main_memory(tensor) and tensor.constant is None
    ]


def in_main_memory(tensor: Tensor) -> bool:
    """Whether a tensor can have an address: its type is the accelerator's and its size is known."""
    return isinstance(tensor.type, ElementType) and tensor.shape is not None


def allocate_tensors(module: Module) -> dict[str, int]:
    """Main-memory addresses: constants first, equal ones once, then all others by liveness."""
    used = {name for operation in module.operations for name in (*operation.inputs, *operation.outputs)}
    used.update(module.inputs, module.outputs)
    addresses: dict[str, int] = {}
    of_blob: dict[tuple[BlobRef, str], int] = {}
    end = 0
    for tensor in module.tensors:
        if tensor.constant is None or tensor.name not in used or not in_main_memory(tensor):
            continue
        # What is compressed has bytes of its own.
        stored = tensor.constant, tensor.name if tensor.name in module.compressed_bytes else ""
        if stored not in of_blob:
            of_blob[stored] = end
            end = _aligned(end + module.main_bytes(tensor))
        addresses[tensor.name] = of_blob[stored]
    return addresses | {name: end + offset for name, offset in pack_lifetimes(lifetimes(module)).items()}


def pack_lifetimes(tensors: list[Lifetime], alignment: int = ALIGNMENT_BYTES) -> Mapping[str, int]:
    """Offsets, multiples of `alignment`, such that tensors that live at the same time lie apart: the largest first,
    each into the smallest gap that holds it, else at the end (Pisarchyk and Lee, "Efficient Memory Management for Deep
    Neural Net Inference", 2020, greedy by size)."""
    offsets: dict[str, int] = {}
    for part in _together(tensors):
        start = min(each.first for each in part)
        lives = tuple((each.bytes, each.first - start, each.last - start) for each in part)
        offsets |= zip((each.name for each in part), _packed(lives, alignment), strict=True)
    return offsets


def _together(tensors: list[Lifetime]) -> Iterator[list[Lifetime]]:
    """The parts of a list between which no tensor lives, each in the list's order: they are packed by themselves."""
    end, number = -2, -1
    parts: dict[int, int] = {}
    for k in sorted(range(len(tensors)), key=lambda k: tensors[k].first):
        number += tensors[k].first > end
        end = max(end, tensors[k].last)
        parts[k] = number
    found: list[list[Lifetime]] = [[] for _ in range(number + 1)]
    for k, tensor in enumerate(tensors):
        found[parts[k]].append(tensor)
    yield from found


@lru_cache(maxsize=4096)
def _packed(lives: tuple[tuple[int, int, int], ...], alignment: int) -> tuple[int, ...]:
    """The offsets of tensors by their bytes, first and last operation; stripes of layers ask the same again."""
    order = sorted(range(len(lives)), key=lambda k: (-lives[k][0], lives[k][1], k))
    first = np.array([lives[k][1] for k in order], dtype=np.int64)
    last = np.array([lives[k][2] for k in order], dtype=np.int64)
    begins = np.zeros(len(order), dtype=np.int64)
    ends = np.zeros(len(order), dtype=np.int64)
    offsets = [0] * len(order)
    for placed, k in enumerate(order):
        alive = np.flatnonzero((first[:placed] <= last[placed]) & (last[:placed] >= first[placed]))
        alive = alive[np.argsort(begins[alive], kind="stable")]
        size = _aligned(lives[k][0], alignment)
        offset = _best_fit(begins[alive], ends[alive], size)
        begins[placed], ends[placed] = offset, offset + size
        offsets[k] = offset
    return tuple(offsets)


def _best_fit(begins: NDArray[np.int64], ends: NDArray[np.int64], size: int) -> int:
    """Where `size` bytes fit best among occupied intervals in ascending order of `begins`."""
    if not len(begins):
        return 0
    occupied = np.maximum.accumulate(ends)  # everything before a gap ends here
    gap_starts = np.concatenate(([0], occupied[:-1]))
    gaps = begins - gap_starts
    fitting = np.flatnonzero(gaps >= max(size, 1))
    if not len(fitting):
        return int(occupied[-1])
    return int(gap_starts[fitting[np.argmin(gaps[fitting])]])


def _aligned(size: int, alignment: int = ALIGNMENT_BYTES) -> int:
    return -(-size // alignment) * alignment
