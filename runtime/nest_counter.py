"""The literal counter: walks a scheduled nest command by command and counts what each one does and how long it takes.

It follows specs/isa.md (sections 3 and 5) and specs/counts.md word by word, in the plainest Python, with a record of
which tile lies in which copy of each buffer. It is the third witness of a layer's figures beside the emitter with the
runtime, and the cost model, and shares nothing with them but `ir`. Its work grows with the number of commands.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from math import prod

import numpy as np

from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.nest import Access, BodyOp, Dataflow, Nest, Role, decoded, encodes
from ..ir.nest_layout import filled_boxes
from ..ir.program import INSTRUCTION_BYTES, MNEMONICS, Engine, Opcode
from ..ir.stats import LayerCounts, Transfer
from .nest_commands import Work, array_work, box, bus_cycles, vector_work, word_cycles
from .nest_interpreter import Tile, tile_key, tiles

FARTHEST_WAIT = 255  # the greatest distance that an instruction can name


def count_nest(nest: Nest, arch: Arch) -> LayerCounts:
    """What the program of one scheduled nest does on `arch`; `traffic` is by memory name, then by role."""
    return _Walk(nest, arch).counts()


def count_macs(nest: Nest) -> int:
    """Points of a mac body's domain whose operands all lie inside their tensors."""
    if nest.body.op is not BodyOp.MAC:
        return 0
    shape = [dim.extent for dim in nest.domain]
    points = {
        dim.name: np.arange(dim.extent).reshape([-1 if i == position else 1 for i in range(len(shape))])
        for position, dim in enumerate(nest.domain)
    }
    inside = np.ones(shape, bool)
    for name in (nest.body.a, nest.body.b):
        assert name is not None
        access = nest.access(name)
        for axis, extent in zip(access.index, access.shape, strict=True):
            coordinate = sum((c * points[dim] for dim, c in axis.terms), np.int64(axis.constant))
            inside &= (coordinate >= 0) & (coordinate < extent)
    return int(np.count_nonzero(inside))


@dataclass
class _Operand:
    """Which tile of an operand is the newest, in which iterations each version was used, and by what last."""

    copies: int
    version: int = -1
    key: tuple[int, ...] | None = None
    last_compute: dict[int, int] = field(default_factory=dict)
    last_store: dict[int, int] = field(default_factory=dict)


class _Clock:
    """Section 3: three engines in order, the bus and the execution unit, every wait a maximum."""

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.dispatch = 0
        self.free = dict.fromkeys(("bus", "execution", "post"), 0)  # when what a command holds is free again
        queues = arch.queues
        self.depth = {Engine.LOAD: queues.load, Engine.EXECUTE: queues.execute, Engine.STORE: queues.store}
        self.starts: dict[Engine, list[int]] = {engine: [] for engine in Engine}
        self.completions: dict[Engine, list[int]] = {engine: [] for engine in Engine}

    def configure(self) -> None:
        self.dispatch += self.arch.queues.dispatch_cycles

    def fence(self) -> None:
        self.dispatch += self.arch.queues.dispatch_cycles
        self.dispatch = max([self.dispatch, *(times[-1] for times in self.completions.values() if times)])

    def command(self, engine: Engine, busy: int, tail: int, waits: dict[Engine, int], resource: str) -> None:
        """`busy` cycles on `resource`, then `tail` more; `waits` gives distances, 0 for none."""
        starts, depth = self.starts[engine], self.depth[engine]
        room = starts[-depth] if len(starts) >= depth else 0
        self.dispatch = max(self.dispatch + self.arch.queues.dispatch_cycles, room)
        start = max(self.dispatch, self.free[resource])
        for other, distance in waits.items():
            if distance:
                start = max(start, self.completions[other][-distance])
        self.free[resource] = start + busy
        previous = self.completions[engine][-1] if self.completions[engine] else 0
        starts.append(start)
        self.completions[engine].append(max(start + busy + tail, previous))


class _Walk:
    """Section 5, from the first configure to the fence."""

    def __init__(self, nest: Nest, arch: Arch) -> None:
        assert nest.schedule is not None
        self.nest, self.arch, self.schedule = nest, arch, nest.schedule
        self.clock = _Clock(arch)
        self.instructions: Counter[str] = Counter()
        # In bits.
        self.read: Counter[tuple[str, str]] = Counter()
        self.written: Counter[tuple[str, str]] = Counter()
        self.actions: Counter[str] = Counter()
        self.issued = 0
        self.vector = self.schedule.dataflow is Dataflow.VECTOR
        self.operands = {
            access.operand: _Operand(self.schedule.buffer(access.operand).copies)
            for access in (*nest.reads, nest.write)
        }
        self.in_body = {nest.body.a, nest.body.b} - {None}
        self.in_post = {step.operand for step in nest.post if step.operand is not None}
        # Short tiles apart, every command of a nest does the same work.
        self.works: dict[tuple[tuple[int, ...], bool], Work] = {}
        # Positions of an iteration's loads in program order, by iteration: what its compute waits for.
        self.loads_of: dict[int, int] = {}
        self.encodes = arch.converter is not None and encodes(nest)
        pipeline = 0 if arch.converter is None else arch.converter.latency_cycles
        self.load_latency = arch.dma.latency_cycles + (pipeline if decoded(nest) else 0)
        self.store_latency = arch.dma.latency_cycles + (pipeline if self.encodes else 0)

    def counts(self) -> LayerCounts:
        if not self.nest.is_empty:
            self._configure()
            self._iterate(list(tiles(self.nest)))
        self.clock.fence()
        self._instruction(Opcode.FENCE)
        memories = {name for name, _ in (*self.read, *self.written)}
        traffic = {
            name: {
                role.value: Transfer(self.read[name, role.value], self.written[name, role.value])
                for role in Role
                if self.read[name, role.value] or self.written[name, role.value]
            }
            for name in sorted(memories)
        }
        return LayerCounts(
            name=self.nest.layer,
            op=self.nest.operator,
            where="accelerator",
            dataflow=None if self.vector else self.schedule.dataflow.value,
            im2col=None if self.schedule.im2col == "none" else self.schedule.im2col,
            macs=count_macs(self.nest),
            macs_issued=self.issued,
            cycles=self.clock.dispatch,
            instructions=dict(self.instructions),
            traffic=traffic,
            actions={name: count for name, count in self.actions.items() if count},
        )

    def _instruction(self, opcode: Opcode) -> None:
        self.instructions[MNEMONICS[opcode]] += 1
        self.read[self.arch.main.name, Role.INSTRUCTION.value] += 8 * INSTRUCTION_BYTES

    def _configure(self) -> None:
        loaded = [each for each in self.nest.reads if not self._is_whole(each) or filled_boxes(self.nest, each.operand)]
        opcodes = [Opcode.CONFIGURE_LOAD] * len(loaded) + [Opcode.CONFIGURE_A]
        if self.nest.body.b is not None:
            opcodes.append(Opcode.CONFIGURE_B)
        opcodes.append(Opcode.CONFIGURE_C)
        if self.nest.body.op is BodyOp.QADD:
            opcodes.append(Opcode.CONFIGURE_SCALARS)
        opcodes.append(Opcode.CONFIGURE_STORE)
        opcodes += [Opcode.CONFIGURE_POST] * len(self.nest.post)
        converts = [Opcode.CONFIGURE_CONVERT] * (len(decoded(self.nest)) + self.encodes)
        for opcode in (*opcodes, *(converts if self.arch.converter is not None else ())):
            self._instruction(opcode)
            self.clock.configure()
        if self.arch.converter is not None and converts:
            self.clock.dispatch += self.arch.converter.switch_cycles

    def _iterate(self, walked: list[Tile]) -> None:
        reads = [access for access in self.nest.reads if not self._is_whole(access)]
        for access in self.nest.reads:
            if access in reads:
                self._load_if_changed(access, 0, walked[0])
            else:
                self._fill(access)
        for i, tile in enumerate(walked):
            following = walked[i + 1] if i + 1 < len(walked) else None
            if following is not None:
                for access in reads:
                    if self.operands[access.operand].copies > 1:
                        self._load_if_changed(access, i + 1, following)
            self._compute(i, tile)
            if following is not None:
                for access in reads:
                    if self.operands[access.operand].copies == 1 and access.operand not in self.in_post:
                        self._load_if_changed(access, i + 1, following)
            write = self.nest.write
            if following is None or tile_key(self.nest, write, following) != tile_key(self.nest, write, tile):
                self._store(i, tile)
            if following is not None:
                for access in reads:
                    if self.operands[access.operand].copies == 1 and access.operand in self.in_post:
                        self._load_if_changed(access, i + 1, following)

    def _is_whole(self, access: Access) -> bool:
        return self.schedule.buffer(access.operand).is_whole

    def _fill(self, access: Access) -> None:
        """Pad values around an operand that is there whole: loads that move nothing."""
        for extents, _ in filled_boxes(self.nest, access.operand):
            self.loads_of[0] = len(self.clock.starts[Engine.LOAD])
            self._instruction(Opcode.LOAD)
            self.clock.command(Engine.LOAD, self._command_cycles, self.load_latency, {}, "bus")
            self.written[self._memory(access), access.role.value] += prod(extents) * access.local_type.bits

    def _load_if_changed(self, access: Access, iteration: int, tile: Tile) -> None:
        operand = self.operands[access.operand]
        key = tile_key(self.nest, access, tile)
        if key == operand.key:
            return
        operand.key = key
        operand.version += 1
        waits = {}
        replaced = operand.version - operand.copies
        if replaced >= 0:
            if access.operand in self.in_body:
                waits[Engine.EXECUTE] = self._distance(Engine.EXECUTE, operand.last_compute.get(replaced))
            if access.operand in self.in_post:
                waits[Engine.STORE] = self._distance(Engine.STORE, operand.last_store.get(replaced))
        moved = box(self.nest, access, tile)
        busy = bus_cycles(moved.inside, moved.main_stride, access.type.bits, self.arch)
        if access.decode is not None:
            busy = self._converted(busy, prod(moved.inside))
        self.loads_of[iteration] = len(self.clock.starts[Engine.LOAD])
        self._instruction(Opcode.LOAD)
        self.clock.command(Engine.LOAD, self._command_cycles + busy, self.load_latency, waits, "bus")
        self.read[self.arch.main.name, access.role.value] += prod(moved.inside) * access.type.bits
        self.written[self._memory(access), access.role.value] += prod(moved.extent) * access.local_type.bits

    def _converted(self, busy: int, elements: int) -> int:
        """Cycles of a transfer whose elements pass the number converter."""
        assert self.arch.converter is not None
        self.actions["converter.element"] += elements
        return max(busy, -(-elements // self.arch.converter.lanes))

    def _compute(self, iteration: int, tile: Tile) -> None:
        nest = self.nest
        out = self.operands[nest.write.operand]
        key = tile_key(nest, nest.write, tile)
        accumulate = key == out.key
        waits = {Engine.LOAD: self._distance(Engine.LOAD, self.loads_of.get(iteration))}
        if not accumulate:
            out.key = key
            out.version += 1
            replaced = out.version - out.copies
            if replaced >= 0:
                waits[Engine.STORE] = self._distance(Engine.STORE, out.last_store[replaced])
        for name in self.in_body:
            assert name is not None
            self._note_use(self.operands[name], Engine.EXECUTE, nest.access(name), tile)
        extents = tuple(tile.sizes[dim.name] for dim in nest.domain)
        if (extents, accumulate) not in self.works:
            work_of = vector_work if self.vector else array_work
            self.works[extents, accumulate] = work_of(nest, self.arch, extents, accumulate)
        work = self.works[extents, accumulate]
        self._instruction(Opcode.VECTOR if self.vector else Opcode.COMPUTE)
        self.clock.command(Engine.EXECUTE, self._command_cycles + work.cycles, work.tail, waits, "execution")
        self.actions["vector.op" if self.vector else "array.mac"] += prod(extents)
        if not self.vector:
            self.issued += self.arch.array.rows * self.arch.array.cols * work.cycles
        elif nest.body.op is BodyOp.MAC:
            assert self.arch.vector is not None
            self.issued += self.arch.vector.lanes * (work.cycles - self.arch.vector.startup_cycles)
        for name, elements in ((nest.body.a, work.a), (nest.body.b, work.b)):
            if name is not None:
                access = nest.access(name)
                self.read[self._memory(access), access.role.value] += elements * access.local_type.bits
        size, accumulators = nest.accumulator.bits, self._memory(nest.write)
        self.read[accumulators, Role.PARTIAL.value] += work.accumulator_reads * size
        self.written[accumulators, Role.PARTIAL.value] += work.accumulator_writes * size

    def _store(self, iteration: int, tile: Tile) -> None:
        nest = self.nest
        out = self.operands[nest.write.operand]
        moved = box(nest, nest.write, tile)
        positions = prod(moved.extent)
        target = self.schedule.target
        if target is None:
            written, resource, latency = self.arch.main.name, "bus", self.store_latency
            busy = bus_cycles(moved.extent, moved.main_stride, nest.write.type.bits, self.arch)
        else:
            written, resource, latency = target.memory, "post", 0
            busy = word_cycles(nest, moved.extent, self.arch)
        busy = max(busy, -(-positions // self.arch.post.lanes))
        if self.encodes:
            busy = self._converted(busy, positions)
        number = len(self.clock.starts[Engine.STORE])
        out.last_store[out.version] = number
        for name in self.in_post:
            self._note_use(self.operands[name], Engine.STORE, nest.access(name), tile)
        self._instruction(Opcode.STORE)
        self.clock.command(Engine.STORE, self._command_cycles + busy, latency, {Engine.EXECUTE: 1}, resource)
        self.actions["post.element"] += positions
        self.read[self._memory(nest.write), Role.OUTPUT.value] += positions * nest.accumulator.bits
        for step in nest.post:
            if step.operand is not None:
                access = nest.access(step.operand)
                self.read[self._memory(access), access.role.value] += positions * access.local_type.bits
        self.written[written, Role.OUTPUT.value] += positions * nest.write.type.bits

    def _note_use(self, operand: _Operand, engine: Engine, access: Access, tile: Tile) -> None:
        """The next command of `engine` uses the tile of `access` at `tile`: the newest version, or the one before it
        where the next iteration's tile has been asked for already."""
        newest = tile_key(self.nest, access, tile) == operand.key
        version = operand.version if newest else operand.version - 1
        uses = operand.last_compute if engine is Engine.EXECUTE else operand.last_store
        uses[version] = len(self.clock.starts[engine])

    def _distance(self, engine: Engine, target: int | None) -> int:
        """How far back command number `target` of `engine` lies; 0 for none."""
        return 0 if target is None else min(FARTHEST_WAIT, len(self.clock.starts[engine]) - target)

    def _memory(self, access: Access) -> str:
        return self.schedule.buffer(access.operand).memory

    @property
    def _command_cycles(self) -> int:
        return self.arch.queues.command_cycles
