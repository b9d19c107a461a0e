"""Lower bounds of the objective over a map space, for all its cells at once.

Energy is exact: traffic and action counts are products of sums along single axes (specs/counts.md). Cycles are bounded
from below by what each resource must do in turn (specs/isa.md): dispatch; the bus; the execution unit, with the pauses
of operands that have one copy, after the loads that come first and before the store that comes last; and the chain
compute, store, load, compute of every second iteration. What transfers take is in passes/map_bus.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.nest import BodyOp, CounterClass, Dataflow, Nest
from ..ir.program import INSTRUCTION_BYTES
from .map_axis import Ints
from .map_bus import BusFigures, Transfers, ceil, tiles_of
from .map_space import MapSpace
from .schedule import blocked_dims, dims_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Work:
    """The computes over cells: how often, in all their cycles of the execution unit, the least duration of the last
    one, the least tail, and elements read of a and b and written to the accumulator."""

    times: Ints
    cycles: Ints
    last: Ints
    tail: Ints
    a: Ints
    b: Ints
    partial: Ints


@dataclass(frozen=True, slots=True)
class CycleBounds:
    """`others` bounds cycles by dispatch, the bus and chains of commands, `unit` by the execution unit. For an operand
    with one copy the unit pauses for `pauses` in all and, if `times` is positive, for `gap` each time as well."""

    others: Ints
    unit: Ints
    pauses: Mapping[str, Ints]
    times: Mapping[str, Ints]
    gap: Ints

    def at(self, cells: Any, single: Iterable[str]) -> Ints:
        """The bound at some cells if the operands in `single` have one copy and the others two."""
        unit, times = self.unit[cells], 0 * self.unit[cells]
        for operand in single:
            unit = unit + self.pauses[operand][cells]
            times = np.maximum(times, self.times[operand][cells])
        found: Ints = np.maximum(self.others[cells], unit + times * self.gap[cells])
        return found


class Bounds:
    """Figures over the cells of a space for one dataflow, and bounds for each loop order. `bus` is shared by the
    dataflows of a space."""

    def __init__(self, space: MapSpace, dataflow: Dataflow, bus: BusFigures) -> None:
        self.space = space
        self.dataflow = dataflow
        self.bus = bus
        self.nest: Nest = space.nest
        self.arch: Arch = space.arch
        body = self.nest.body
        scalars = body.op is BodyOp.QADD
        self.configures = len(self.nest.reads) + 3 + (body.b is not None) + scalars + len(self.nest.post)

    # -- extents of classes ---------------------------------------------------------------------------------------

    def _dims(self, kind: CounterClass) -> list[str]:
        return dims_of(self.nest, kind)

    def _whole(self, dims: list[str]) -> int:
        return prod(self.space.extents[dim] for dim in dims)

    def _short(self, dims: list[str]) -> list[tuple[Ints, Ints]]:
        """Points of the product of `dims` in each kind of tile (full or last along each), with how many there are."""
        one = np.ones(len(self.space), np.int64)
        kinds = []
        for choice in product((False, True), repeat=len(dims)):
            points, times = one, one
            for dim, is_last in zip(dims, choice, strict=True):
                points = points * (self.space.last(dim) if is_last else self.space.size(dim))
                times = times * (1 if is_last else self.space.tiles(dim) - 1)
            kinds.append((points, times))
        return kinds

    def _sum_blocks(self, dim: str | None, size: int) -> Ints:
        """Sum over the tiles of `dim` of ceil(points / size)."""
        if dim is None:
            return np.ones(len(self.space), np.int64)
        full, last, tiles = self.space.size(dim), self.space.last(dim), self.space.tiles(dim)
        blocks: Ints = (tiles - 1) * ceil(full, size) + ceil(last, size)
        return blocks

    # -- computes -------------------------------------------------------------------------------------------------

    @cached_property
    def work(self) -> Work:
        space, nest, arch = self.space, self.nest, self.arch
        names = [dim.name for dim in nest.domain]
        times = tiles_of(self.space, names)
        zero = np.zeros(len(space), np.int64)
        command = arch.queues.command_cycles
        if self.dataflow is Dataflow.VECTOR:
            assert arch.vector is not None
            fixed = command + arch.vector.startup_cycles
            lane = blocked_dims(nest, arch, self.dataflow).get("lanes")
            others = [dim for dim in names if dim != lane]
            cycles = times * fixed + self._whole(others) * self._sum_blocks(lane, arch.vector.lanes)
            points = zero + self._whole(names)
            reduces = nest.body.op.reduces
            reduce = self._dims(CounterClass.REDUCE)
            partial = points // self._whole(reduce) * tiles_of(self.space, reduce) if reduces else points
            return Work(times, cycles, zero + fixed + 1, zero, points, points, partial)

        blocked = blocked_dims(nest, arch, self.dataflow)
        row, col = blocked.get("rows"), blocked.get("cols")
        point = self._dims(CounterClass.POINT)
        column, reduce = self._dims(CounterClass.COLUMN), self._dims(CounterClass.REDUCE)
        rows, cols = arch.array.rows, arch.array.cols
        whole = {kind: self._whole(self._dims(kind)) for kind in CounterClass}
        g, p = whole[CounterClass.BATCH], whole[CounterClass.POINT]
        m, k = whole[CounterClass.COLUMN], whole[CounterClass.REDUCE]
        col_blocks = self._whole([d for d in column if d != col]) * self._sum_blocks(col, cols)
        row_others = self._whole([d for d in reduce if d != row])
        row_blocks = row_others * self._sum_blocks(row, rows)
        fill_rows = self._least(row, rows)
        fill_cols = self._least(col, cols)
        drain = arch.array.drain_cycles - 1
        if self.dataflow is Dataflow.OS:
            cycles = times * command + g * col_blocks * self._point_blocks(point, rows, k, tiles_of(self.space, reduce))
            fewest = np.min([points for points, _ in self._short(point)], axis=0)
            tail = 2 * np.minimum(rows, fewest) + fill_cols + drain
            b = sum((ceil(points, rows) * count for points, count in self._short(point)), zero) * g * k * m
            return Work(
                times,
                cycles,
                zero + command + 1,
                tail,
                zero + g * p * k * col_blocks,
                b,
                zero + g * m * p * tiles_of(self.space, reduce),
            )
        fill = fill_rows * times if row else times
        if self.dataflow is Dataflow.WS:
            passes = self._row_passes(row, self._short(point))
            cycles = times * command + fill + g * col_blocks * row_others * passes
            tail = fill_rows + fill_cols + drain
            a, b = zero + g * p * k * col_blocks, g * k * m * tiles_of(self.space, point)
        else:
            point_blocks = sum((ceil(points, cols) * count for points, count in self._short(point)), zero)
            passes = self._row_passes(row, self._short(column))
            cycles = times * command + fill + g * row_others * point_blocks * passes
            fewest = np.min([points for points, _ in self._short(point)], axis=0)
            tail = fill_rows + np.minimum(cols, fewest) + drain
            a, b = g * p * k * tiles_of(self.space, column), g * k * m * point_blocks
        return Work(times, cycles, zero + command + 1, tail, a, b, g * m * p * row_blocks)

    def _least(self, dim: str | None, size: int) -> Ints:
        """The least, over tiles, of min(size, points)."""
        if dim is None:
            return np.ones(len(self.space), np.int64)
        return np.minimum(size, self.space.last(dim))

    def _row_passes(self, row: str | None, streamed: list[tuple[Ints, Ints]]) -> Ints:
        """Sum over the tiles of the reduced dimension along rows and over streamed tiles of
        blocks(points, R, k -> max(streamed, k))."""
        rows, one = self.arch.array.rows, np.ones(len(self.space), np.int64)
        if row is None:
            sizes = [(one, one)]
        else:
            full, last, tiles = self.space.size(row), self.space.last(row), self.space.tiles(row)
            sizes = [
                (np.full_like(one, rows), (tiles - 1) * (full // rows) + last // rows),
                (full % rows, (tiles - 1) * (full % rows > 0)),
                (last % rows, one * (last % rows > 0)),
            ]
        total = 0 * one
        for block, blocks in sizes:
            for points, times in streamed:
                total = total + blocks * times * np.maximum(points, block)
        return total

    def _point_blocks(self, point: list[str], rows: int, k: int, k_tiles: Ints) -> Ints:
        """At least the sum over tiles of points and of reduced dimensions of blocks(points, R, p -> max(K, p))."""
        total = np.zeros(len(self.space), np.int64)
        for points, times in self._short(point):
            for block, blocks in ((rows, points // rows), (points % rows, 1 * (points % rows > 0))):
                total = total + times * blocks * np.maximum(k, k_tiles * block)
        return total

    # -- bounds ---------------------------------------------------------------------------------------------------

    def cycles(self, moved: Mapping[str, Transfers]) -> CycleBounds:
        """Lower bounds of the layer's cycles for transfers in some order, whatever the copies, and what copies add."""
        nest, arch, work = self.nest, self.arch, self.work
        latency, step = arch.dma.latency_cycles, arch.queues.dispatch_cycles
        stores = moved[nest.write.operand]
        loads = [moved[access.operand] for access in nest.reads]
        zero = np.zeros(len(self.space), np.int64)
        load_cycles = sum((each.cycles for each in loads), zero)
        load_times = sum((each.times for each in loads), zero)
        post_lanes = ceil(stores.main_bytes // nest.write.type.bytes, arch.post.lanes)
        store_cycles = np.maximum(stores.cycles, stores.times * arch.queues.command_cycles + post_lanes)
        first_dispatch = step * (self.configures + 1)
        start = first_dispatch + sum((each.first for each in loads), zero) + latency
        finish = work.tail + stores.last + latency

        bus = first_dispatch + load_cycles + store_cycles + latency
        bus = np.where(stores.times == 1, bus + latency + work.last + work.tail, bus)

        # Compute, its store, the loads of the next iteration but one, its compute: no two of these overlap. Without
        # tiled reductions every iteration stores; with them what links is the operands that every iteration loads.
        single = tiles_of(self.space, self._dims(CounterClass.REDUCE)) == 1
        linked, links = zero, zero
        for access in nest.reads:
            each = moved[access.operand]
            follows = single | ((each.times == work.times) & (access.operand in (nest.body.a, nest.body.b)))
            linked = np.where(follows, linked + np.maximum(0, each.later - each.most), linked)
            links = np.where(follows, np.maximum(links, each.times), links)
        stored = np.maximum(0, store_cycles - 2 * stores.most)
        gap = work.tail + latency
        chain = start + (work.cycles + linked + stored + np.maximum(0, links - 2) * gap) // 2 + finish
        chain = np.where(links == work.times, chain, 0)
        dispatch = step * (self.configures + load_times + work.times + stores.times + 1)
        pauses = {access.operand: moved[access.operand].later for access in nest.reads}
        pauses[nest.write.operand] = np.where(stores.times > 1, np.maximum(0, store_cycles - stores.most), 0)
        return CycleBounds(
            np.max([bus, chain, dispatch], axis=0),
            start + work.cycles + finish,
            pauses,
            {operand: each.times - 1 for operand, each in moved.items()},
            gap,
        )

    def energy_pj(self, moved: Mapping[str, Transfers]) -> Floats:
        """The layer's energy, up to rounding (backends.cost.price)."""
        nest, arch, work = self.nest, self.arch, self.work
        happened: dict[tuple[str, str], Any] = {}

        def count(component: str, action: str, times: Ints) -> None:
            happened[component, action] = happened.get((component, action), 0) + times

        def touch(memory: str, action: str, moved_bytes: Ints) -> None:
            word = arch.memory(memory).word_bytes
            happened[memory, action] = happened.get((memory, action), 0) + moved_bytes / word

        write = nest.write
        stores = moved[write.operand]
        acc = arch.holder(write.role.value).name
        instructions = self.configures + 1 + work.times + sum(each.times for each in moved.values())
        count("control", "instruction", instructions)
        main = INSTRUCTION_BYTES * instructions
        for access in nest.reads:
            main = main + moved[access.operand].main_bytes
            touch(arch.holder(access.role.value).name, "write_word", moved[access.operand].local_bytes)
        count(arch.main.name, "read_bit", 8 * main)
        count(arch.main.name, "write_bit", 8 * stores.main_bytes)
        for operand, elements in ((nest.body.a, work.a), (nest.body.b, work.b)):
            if operand is not None:
                access = nest.access(operand)
                touch(arch.holder(access.role.value).name, "read_word", elements * access.type.bytes)
        outputs = prod(self.space.extents[dim] for dim in write.dims)
        overwrites = self.dataflow is Dataflow.VECTOR and not nest.body.op.reduces
        touch(acc, "write_word", work.partial * nest.accumulator.bytes)
        if not overwrites:
            touch(acc, "read_word", (work.partial - outputs) * nest.accumulator.bytes)
        touch(acc, "read_word", stores.local_bytes)
        positions = stores.main_bytes // write.type.bytes
        for step in nest.post:
            if step.operand is not None:
                access = nest.access(step.operand)
                touch(arch.holder(access.role.value).name, "read_word", positions * access.type.bytes)
        count("post", "element", positions)
        points = np.full(len(self.space), self._whole([dim.name for dim in nest.domain]), np.int64)
        count(*(("vector", "op") if self.dataflow is Dataflow.VECTOR else ("array", "mac")), points)
        energy = np.zeros(len(self.space))
        for row in arch.energy:
            if (row.component, row.action) in happened:
                energy = energy + happened[row.component, row.action] * row.energy_pj
        return energy
