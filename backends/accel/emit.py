"""Scheduled and allocated nests to instructions, as specs/isa.md, section 5, says; a module to its program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...ir.arch import Arch
from ...ir.diagnostics import CompileError, Diagnostic, ensure
from ...ir.encoding import Words, pack
from ...ir.frozen import dataclass
from ...ir.graph import HostRegion, Node
from ...ir.module import Module
from ...ir.nest import BodyOp, Dataflow, Nest
from ...ir.nest_layout import filled_boxes
from ...ir.packing import packed
from ...ir.program import (
    AUX_SLOTS,
    BOX_AXES,
    COUNTERS,
    INSTRUCTION_BYTES,
    HostCall,
    Opcode,
    Placement,
    Program,
    Region,
)
from ...ir.types import BlobRef, ElementType, Tensor
from .compressed import StoredTiles, stored_constants, tile_numbers
from .configure import configure
from .tiles import Boxes, Integers, Tiles, Versions, boxes, target_boxes, tiles_of, versions

FARTHEST = 255  # the greatest distance of a wait

# Phases of an iteration in program order (specs/isa.md, 5.3 a to e).
_EARLY_LOADS, _COMPUTE, _LATE_LOADS, _STORE, _POST_LOADS = range(5)
_PHASES = 5
_NO_CONSTANTS: Mapping[str, StoredTiles] = {}
_FILLS = 2 * BOX_AXES  # boxes of pad values around a whole operand, at most


def emit_nest(
    nest: Nest, arch: Arch, addresses: Mapping[str, int], constants: Mapping[str, StoredTiles] = _NO_CONSTANTS
) -> bytes:
    """The instructions of one layer, its fence included. `addresses` are those of the tensors in main memory,
    `constants` are those that are compressed; the nest's buffers are allocated. Work is linear in the number of tiles.
    """
    fence = pack(Opcode.FENCE, 1, {})
    if nest.is_empty:
        return fence.tobytes()
    head = configure(nest, arch, addresses)
    commands = _Commands(nest, arch, addresses, constants)
    body = np.empty((commands.count, INSTRUCTION_BYTES // 8), dtype="<u8")
    for rows, words in (commands.loads(), commands.computes(), commands.stores()):
        body[rows] = words
    return b"".join(words.tobytes() for words in (*head, body, fence))


@dataclass(frozen=True, slots=True, eq=False)
class _Loads:
    """The loads of one read: one for each version of its tile. `keys` order them among all commands of the nest."""

    stream: int
    operand: str
    versions: Versions
    keys: Integers


@dataclass(frozen=True, slots=True, eq=False)
class _Fills:
    """The loads of pad values around a whole operand, before iteration 0: boxes that lie outside the tensor."""

    stream: int
    operand: str
    extents: Integers
    bit: Integers
    keys: Integers


class _Commands:
    """The load, compute and store commands of a nest. Each has a key that is ascending in program order, so that the
    number of commands of a kind before another is a binary search."""

    def __init__(
        self, nest: Nest, arch: Arch, addresses: Mapping[str, int], constants: Mapping[str, StoredTiles]
    ) -> None:
        self.nest = nest
        self.addresses, self.constants = addresses, constants
        self.post_operands = [post.operand for post in nest.post if post.operand is not None]
        self.body_operands = [nest.body.a] + ([nest.body.b] if nest.body.b is not None else [])
        self.tiles: Tiles = tiles_of(nest)
        self.versions = {each.operand: versions(self.tiles, each.operand, arch) for each in (*nest.reads, nest.write)}
        self.output = self.versions[nest.write.operand]
        assert nest.schedule is not None
        whole = [nest.schedule.buffer(read.operand).is_whole for read in nest.reads]
        streams = [(stream, read.operand) for stream, read in enumerate(nest.reads)]
        self.reads = [self._loads_of(*each) for each, kept in zip(streams, whole, strict=True) if not kept]
        self.fills = [self._fills_of(*each) for each, kept in zip(streams, whole, strict=True) if kept]
        keys = [*(each.keys for each in self.reads), *(each.keys for each in self.fills)]
        self.load_keys = np.sort(np.concatenate([*keys, np.empty(0, dtype=np.int64)]))
        self.compute_keys = self._key(np.arange(self.tiles.count, dtype=np.int64), _COMPUTE)
        self.store_keys = self._key(self.output.last, _STORE)
        self.count = len(self.load_keys) + len(self.compute_keys) + len(self.store_keys)

    def _key(self, iteration: Integers, phase: int | Integers, stream: int = 0) -> Integers:
        return (((iteration + 1) * _PHASES + phase) * len(self.nest.reads) + stream) * _FILLS

    def _loads_of(self, stream: int, operand: str) -> _Loads:
        each = self.versions[operand]
        phase = _EARLY_LOADS if each.copies > 1 else _POST_LOADS if operand in self.post_operands else _LATE_LOADS
        phases = np.full(len(each.first), phase, dtype=np.int64)
        phases[0] = _EARLY_LOADS  # before iteration 0
        return _Loads(stream, operand, each, self._key(each.first - 1, phases, stream))

    def _fills_of(self, stream: int, operand: str) -> _Fills:
        nest = self.nest
        assert nest.schedule is not None
        buffer, access = nest.schedule.buffer(operand), nest.access(operand)
        assert buffer.address is not None
        around = filled_boxes(nest, operand)
        extents = np.ones((len(around), BOX_AXES), dtype=np.int64)
        if around:
            extents[:, BOX_AXES - len(access.shape) :] = [box for box, _ in around]
        first = np.array([place for _, place in around], dtype=np.int64)
        keys = self._key(np.full(len(around), -1, dtype=np.int64), _EARLY_LOADS, stream)
        bit = 8 * buffer.address + access.local_type.bits * first
        return _Fills(stream, operand, extents, bit, keys + np.arange(len(around), dtype=np.int64))

    def _rows(self, keys: Integers) -> Integers:
        """Positions in program order."""
        return sum((np.searchsorted(every, keys) for every in self._all_keys()), np.zeros(len(keys), dtype=np.int64))

    def _all_keys(self) -> tuple[Integers, Integers, Integers]:
        return self.load_keys, self.compute_keys, self.store_keys

    def loads(self) -> tuple[Integers, Words]:
        """Rows and words of all loads."""
        rows, words = [], []
        for read in self.reads:
            access = self.nest.access(read.operand)
            box = boxes(self.tiles, read.operand, read.versions.first)
            execute, store = self._load_waits(read)
            first_bit, kept = 8 * self.addresses[access.tensor] + access.type.bits * box.offset, 0 * box.offset
            if access.compressed is not None:
                stored = self.constants[access.tensor]
                number = tile_numbers(self.tiles, access, read.versions.first)
                first_bit = 8 * (self.addresses[access.tensor] + stored.first_byte[number])
                kept = stored.kept_elements[number]
            fields: dict[str, ArrayLike] = {
                "wait_execute": execute,
                "wait_store": store,
                "stream": read.stream,
                "kept": kept,
                **_at("main", first_bit),
                **_at("local", read.versions.bit),
                "extent": box.extent,
                "before": box.before,
                "after": box.after,
            }
            rows.append(self._rows(read.keys))
            words.append(pack(Opcode.LOAD, len(read.keys), fields))
        for fill in self.fills:
            fields = {"stream": fill.stream, "extent": fill.extents, "before": fill.extents, **_at("local", fill.bit)}
            rows.append(self._rows(fill.keys))
            words.append(pack(Opcode.LOAD, len(fill.keys), fields))
        none = np.empty((0, INSTRUCTION_BYTES // 8), dtype="<u8")
        return np.concatenate([*rows, self.load_keys[:0]]), np.concatenate([*words, none])

    def _load_waits(self, read: _Loads) -> tuple[Integers, Integers]:
        """A load waits until nobody reads what lies in its copy any more: version v - copies."""
        execute = np.zeros(len(read.keys), dtype=np.int64)
        store = np.zeros(len(read.keys), dtype=np.int64)
        copies = read.versions.copies
        keys, first, last = read.keys[copies:], read.versions.first[:-copies], read.versions.last[:-copies]
        if read.operand in self.body_operands:
            execute[copies:] = _distance(np.searchsorted(self.compute_keys, keys) - last)
        if read.operand in self.post_operands:
            # The last store at or before the version's last iteration, if the version still had it then.
            target = np.searchsorted(self.output.last, last, side="right") - 1
            had = (target >= 0) & (self.output.last[target] >= first)
            store[copies:] = np.where(had, _distance(np.searchsorted(self.store_keys, keys) - target), 0)
        return execute, store

    def computes(self) -> tuple[Integers, Words]:
        """Rows and words of all computes."""
        nest, tiles, output = self.nest, self.tiles, self.output
        assert nest.schedule is not None
        extent = np.ones((tiles.count, COUNTERS), dtype=np.int64)
        for k, dim in enumerate(nest.domain):
            extent[:, k] = tiles.sizes[dim.name]
        accumulate = np.ones(tiles.count, dtype=np.int64)
        accumulate[output.first] = 0
        a, b = self.versions[nest.body.a], self.versions[nest.body.b] if nest.body.b is not None else None
        fields: dict[str, ArrayLike] = {
            "wait_load": self._compute_load_waits(),
            "wait_store": self._compute_store_waits(),
            "accumulate": accumulate,
            "c": output.bit[output.of] // 8,
            "extent": extent,
            **_at("a", a.bit[a.of]),
        }
        if b is not None:
            fields |= _at("b", b.bit[b.of])
        opcode = Opcode.VECTOR if nest.schedule.dataflow is Dataflow.VECTOR else Opcode.COMPUTE
        return self._rows(self.compute_keys), pack(opcode, tiles.count, fields)

    def _compute_load_waits(self) -> Integers:
        """On the last load that brings a tile of this iteration; loads are in the order of the iterations served."""
        served = np.zeros(self.tiles.count, dtype=np.int64)
        for read in self.reads:
            served[read.versions.first] += 1
        served[0] += sum(len(fill.keys) for fill in self.fills)
        before = np.searchsorted(self.load_keys, self.compute_keys)
        return np.where(served > 0, _distance(before - (np.cumsum(served) - 1)), 0)

    def _compute_store_waits(self) -> Integers:
        """Where the output's tile changes: on the store of the version that was in this copy before."""
        waits = np.zeros(self.tiles.count, dtype=np.int64)
        starts = self.output.first[self.output.copies :]
        before = np.searchsorted(self.store_keys, self.compute_keys[starts])
        waits[starts] = _distance(before - np.arange(len(starts)))
        return waits

    def stores(self) -> tuple[Integers, Words]:
        """Rows and words of all stores: one for each version of the output's tile, after its last compute."""
        last = self.output.last
        assert self.nest.schedule is not None
        target = self.nest.schedule.target
        box: Boxes = boxes(self.tiles, self.nest.write.operand, last)
        if target is None:
            first_byte = self.addresses[self.nest.write.tensor]
        else:
            box = target_boxes(self.tiles, target, last)
            assert target.address is not None
            first_byte = target.address
        ensure(not (box.before.any() or box.after.any()), f"{self.nest.name}: the output leaves its view")
        aux = np.zeros((len(last), AUX_SLOTS), dtype=np.int64)
        for slot, operand in enumerate(self.post_operands):
            held = self.versions[operand]
            aux[:, slot] = held.bit[held.of[last]]
        fields: dict[str, ArrayLike] = {
            "wait_execute": 1,
            "local": self.output.bit // 8,
            "extent": box.extent,
            **_at("main", 8 * first_byte + self.nest.write.type.bits * box.offset),
            **_at("aux", aux),
        }
        return self._rows(self.store_keys), pack(Opcode.STORE, len(last), fields)


def _at(name: str, bit: Integers) -> dict[str, ArrayLike]:
    """The fields of an address: its byte, and the bit in it where an element begins that is no whole number of them."""
    return {name: bit >> 3, f"{name}_bit": bit & 7}


def _distance(commands_back: NDArray[np.signedinteger]) -> Integers:
    """A wait's distance, which the encoding bounds: a nearer, later command is then waited for."""
    ensure((commands_back > 0).all(), "a wait points forwards")
    capped: Integers = np.minimum(commands_back, FARTHEST).astype(np.int64)
    return capped


def emit_program(module: Module, arch: Arch) -> Program:
    """The program of a module whose nests are scheduled and whose tensors have addresses.

    One region a layer or stripe, by the layer's name: the instructions of a nest end in its fence, a host region is one
    `host` instruction. Raises
    CompileError for what the module still holds that no instruction stands for.
    """
    faults = [*_unlowered(module), *_unallocated(module)]
    if faults:
        raise CompileError(faults)
    addresses = dict(module.addresses)
    compressed = stored_constants(module)
    code: list[bytes] = []
    regions: list[Region] = []
    calls: list[HostCall] = []
    emitted = 0
    for operation in module.operations:
        assert not isinstance(operation, Node)
        if isinstance(operation, Nest):
            part = emit_nest(operation, arch, addresses, compressed)
        else:
            part = pack(Opcode.HOST, 1, {"region": len(calls)}).tobytes()
            names = (operation.name, operation.inputs, operation.outputs)
            calls.append(HostCall(*names, operation.model, operation.operations or 0))
        code.append(part)
        count = len(part) // INSTRUCTION_BYTES
        regions.append(_region(operation, emitted, emitted + count - 1))
        emitted += count
    placements = tuple(_placements(module))
    # A constant without bytes shares its address with the next one, and has nothing to put there.
    constants = {
        addresses[tensor.name]: module.blobs.add(compressed[tensor.name].data)
        if tensor.name in compressed
        else _packed_constant(module, tensor)
        for tensor in module.tensors
        if tensor.constant is not None and tensor.name in addresses and tensor.bytes
    }
    blobs = {*constants.values(), *(call.model for call in calls)}
    return Program(
        model=module.header.model,
        arch_text=arch.text,
        batch=module.header.batch,
        code=b"".join(code),
        regions=tuple(regions),
        placements=placements,
        constants=tuple(sorted(constants.items())),
        host_calls=tuple(calls),
        inputs=module.inputs,
        outputs=module.outputs,
        main_bytes=main_bytes(module),
        tolerance=tolerance(module),
        blobs={reference: module.blobs[reference] for reference in sorted(blobs)},
    )


def _packed_constant(module: Module, tensor: Tensor) -> BlobRef:
    """The bytes of a constant as they lie in main memory; those of narrow elements join the blobs of the module."""
    assert tensor.constant is not None and isinstance(tensor.type, ElementType)
    if tensor.type.bits == 8 * tensor.type.container_bytes:  # few narrow elements take as many bytes, not the same
        return tensor.constant
    codes = np.frombuffer(module.blobs[tensor.constant], tensor.type.container)
    return module.blobs.add(packed(codes, tensor.type))


def emit(module: Module, arch: Arch) -> Module:
    """The module together with its program."""
    return replace(module, program=emit_program(module, arch)).after("emit")


def _unlowered(module: Module) -> Iterator[Diagnostic]:
    for operation in module.operations:
        if isinstance(operation, Node):
            yield Diagnostic(
                f"{operation.op} {operation.name!r} is still a graph operator", operation.span, help="lower it first"
            )
        elif isinstance(operation, Nest) and operation.schedule is None:
            yield Diagnostic(f"nest {operation.name!r} has no schedule", operation.span, help="schedule it first")


def _unallocated(module: Module) -> Iterator[Diagnostic]:
    addresses = dict(module.addresses)
    for operation in module.operations:
        if not isinstance(operation, Nest):
            continue
        named = (*operation.inputs, *operation.outputs)
        missing = [name for name in named if name not in addresses and name not in module.kept]
        if (schedule := operation.schedule) is not None:
            missing += [f"buffer of {each.operand}" for each in schedule.buffers if each.address is None]
            if schedule.target is not None and schedule.target.address is None:
                missing.append(f"store of {operation.write.operand}")
        for name in missing:
            yield Diagnostic(
                f"nest {operation.name!r}: {name!r} has no address",
                operation.span,
                help="run the pass `allocate` first",
            )


def _region(operation: Nest | HostRegion, first: int, last: int) -> Region:
    if isinstance(operation, HostRegion):
        op = operation.operators[0] if len(operation.operators) == 1 else "host"
        return Region(operation.name, op, "host", first, last)
    assert operation.schedule is not None
    dataflow = operation.schedule.dataflow
    return Region(
        operation.layer,
        operation.label,
        "accelerator",
        first,
        last,
        None if dataflow is Dataflow.VECTOR else dataflow.value,
        operation.schedule.im2col,
        operation.source,
    )


def _placements(module: Module) -> Iterator[Placement]:
    """Every tensor that the program or its caller touches, in the module's order, but for constants that are
    compressed: they lie nowhere as a whole."""
    addresses = dict(module.addresses)
    touched = {*module.inputs, *module.outputs}
    for operation in module.operations:
        touched.update(operation.inputs, operation.outputs)
    for tensor in module.tensors:
        if tensor.name in touched and tensor.name not in module.kept and tensor.name not in module.compressed_bytes:
            yield Placement(tensor.name, tensor.type, tensor.shape, tensor.order, addresses.get(tensor.name))


def main_bytes(module: Module) -> int:
    """The end of the last tensor in main memory."""
    ends = [address + module.main_bytes(module.tensor(name)) for name, address in module.addresses]
    return max(ends, default=0)


def tolerance(module: Module) -> str:
    """What `run --check` holds the outputs to: `exact` where the accelerator sums integers only (the host runs the
    reference itself), else the bound of the narrowest float that it sums: `range:0.02` (of the output's range) for 16
    bits, `relative:1e-05` for 32.

    A compilation that narrows a float model states its own bound in the header's option `tolerance`.
    """
    stated = dict(module.header.options).get("tolerance")
    if stated is not None:
        return stated
    nests = [operation for operation in module.operations if isinstance(operation, Nest)]
    sums = [nest for nest in nests if nest.accumulator.is_float and nest.body.op is not BodyOp.COPY]
    if not sums:
        return "exact"
    types = {access.local_type for nest in sums for access in (*nest.reads, nest.write)}
    return "range:0.02" if types & {ElementType.BF16, ElementType.F16} else "relative:1e-05"
