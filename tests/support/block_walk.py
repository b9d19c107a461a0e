"""A nest with the block unit, command by command and element by element: specs/isa.md, section 7.

Slow and plain, as the walk that it builds on (literal.py): it exists to be compared with what is counted per tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from dnnc.ir.arch import Arch
from dnnc.ir.module import Module
from dnnc.ir.nest import Access, BodyOp, CounterClass, Dataflow, Nest, Prune, counter_class
from dnnc.ir.nest_layout import AxisBox
from dnnc.ir.stats import BlockCounts, LayerCounts, Transfer, WeightBlocks, differences
from numpy.typing import NDArray

from support.compressed import weights_of
from support.literal import Walk, ceil

Block = tuple[int, int, int]
Place = tuple[int, ...]
Masks = Mapping[str, NDArray[np.uint8]]


class Table:
    """Positions of pruned blocks of a tensor, and how the tensor is cut."""

    def __init__(self, prune: Prune) -> None:
        self.prune = prune
        self.blocks: set[Block] = set()

    def block_of(self, address: int) -> Block:
        prune = self.prune
        sample, rest = divmod(address, prune.points * prune.columns)
        row, column = divmod(rest, prune.columns)
        return sample, row // prune.test.rows, column // prune.test.cols


def address_of(access: Access, place: Place) -> int:
    address = 0
    for view, at in zip(access.shape, place, strict=True):
        address = address * view + at
    return address


class BlockWalk(Walk):
    """Counts and cycles of one nest; `tables` are those of the cache, which it changes as the nest does. `weights` are
    the codes of its compressed operands."""

    def __init__(
        self,
        nest: Nest,
        arch: Arch,
        tables: dict[int, Table],
        mask: NDArray[np.uint8] | None,
        weights: Mapping[str, NDArray[np.generic]],
    ) -> None:
        self.tables, self.mask, self.weights = tables, mask, weights
        self.loaded = self.absent = 0
        self.skipped_macs = 0
        self.pruned: Table | None = None
        if nest.prune is not None:
            self.pruned = Table(nest.prune)
            if nest.prune.table is not None:
                tables[nest.prune.table] = self.pruned
        self.tagged: dict[str, set[Place]] = {each.operand: set() for each in nest.reads}
        super().__init__(nest, arch)
        for each in nest.reads:
            if each.skip is not None and each.skip.last:
                tables[each.skip.table].blocks.clear()
        self.blocks = None
        if mask is not None:
            zero, created = int((mask == 2).sum()), int((mask == 1).sum())
            self.blocks = BlockCounts(mask.size, zero, created, self.actions["block_cache.write_entry"])

    def configure_blocks(self) -> None:
        if self.nest.prune is not None:
            self.at_dispatch("configure.prune")
        for each in self.nest.reads:
            if each.skip is not None:
                self.at_dispatch("configure.skip")
        for each in self.nest.reads:
            if each.compressed is not None:
                self.at_dispatch("configure.expand")

    def expand(self, access: Access, inside: list[list[int]]) -> tuple[int, int, int]:
        """The load of a compressed tile: its blocks are cut from its first element on."""
        assert access.compressed is not None
        zero = access.zero_point if self.nest.body.form == "subtract" else 0
        blocks: dict[Place, list[Place]] = {}
        for place in product(*inside):
            begins = [positions[0] for positions in inside]
            sizes = access.compressed.block
            block = tuple((at - begin) // size for at, begin, size in zip(place, begins, sizes, strict=True))
            blocks.setdefault(block, []).append(place)
        moved = skipped = 0
        for places in blocks.values():
            if all(self.weights[access.operand][place] == zero for place in places):
                self.tagged[access.operand] |= set(places)
                self.absent += 1
                skipped += len(places)
            else:
                moved += len(places)
        self.loaded += len(blocks)
        self.actions["block_unit.block"] += len(blocks)
        bitmap = 8 * ceil(len(blocks), 8)
        self.read["dram", access.role.value] += bitmap
        return moved, skipped, self.bus([bitmap + moved * access.type.bits], [1], 1)

    def transfer(self, access: Access, boxes: list[AxisBox], strides: list[int]) -> tuple[int, int, int]:
        inside = [[box.start + box.step * k for k in range(box.before, box.count - box.after)] for box in boxes]
        if access.compressed is not None:
            return self.expand(access, inside)
        run, merging = 1, True
        for positions, stride in zip(reversed(inside), reversed(strides), strict=True):
            merging = merging and (len(positions) == 1 or stride == run * access.type.bits)
            if merging:
                run *= len(positions)
        places = list(product(*inside))
        if access is self.nest.write and self.pruned is not None:
            self.store_blocks(access, places)
            table: Table | None = self.pruned
        else:
            table = self.tables[access.skip.table] if access.skip is not None else None
        moved = skipped = beats = requests = 0
        dma, bits = self.arch.dma, access.type.bits
        for first in range(0, len(places), max(run, 1)):
            pieces, before = [0], None
            for place in places[first : first + run]:
                block = None if table is None else table.block_of(address_of(access, place))
                if access.skip is not None and (before is None or block != before):
                    self.actions["block_cache.read_entry"] += 1
                before = block
                if table is not None and block in table.blocks:
                    skipped += 1
                    pieces.append(0)
                    if access is not self.nest.write:
                        self.tagged[access.operand].add(place)
                else:
                    moved += 1
                    pieces[-1] += 1
            beats += sum(ceil(piece * bits, 8 * dma.bus_bytes) for piece in pieces)
            requests += sum(ceil(piece * bits, 8 * dma.burst_bytes) for piece in pieces)
        limited = ceil(beats * dma.bus_bytes * self.arch.clock_hz, dma.bandwidth_bytes_per_second)
        return moved, skipped, max(beats, limited, ceil(requests * dma.latency_cycles, dma.requests_in_flight))

    def store_blocks(self, access: Access, places: list[Place]) -> None:
        """The test of each block of the box, in the order of first elements."""
        assert self.pruned is not None
        assert self.mask is not None
        assert self.arch.block_unit is not None
        seen: list[Block] = []
        for place in places:
            block = self.pruned.block_of(address_of(access, place))
            if block not in seen:
                seen.append(block)
        for block in seen:
            self.actions["block_unit.block"] += 1
            held = sum(len(table.blocks) for table in self.tables.values())
            if self.mask[block] and self.pruned.prune.table is not None and held < self.arch.block_unit.entries:
                self.pruned.blocks.add(block)
                self.actions["block_cache.write_entry"] += 1

    def tested(self, positions: int) -> int:
        if self.nest.prune is None:
            return 0
        unit, test = self.arch.block_unit, self.nest.prune.test
        assert unit is not None
        self.actions["block_unit.element"] += positions
        return ceil(positions, unit.lanes) + ceil(min(positions, test.rows * test.cols), unit.lanes)

    # -- computes ---------------------------------------------------------------------------------------------------

    def compute(self, starts: dict[str, int], sizes: dict[str, int], accumulate: bool, waits: dict[str, int]) -> None:
        nest, schedule = self.nest, self.nest.schedule
        lanes = any(loop.axis == "lanes" for loop in schedule.loops)
        vector = schedule.dataflow is Dataflow.VECTOR
        if nest.body.op is not BodyOp.MAC or (vector and not lanes):
            super().compute(starts, sizes, accumulate, waits)
            return
        self.begin, self.sizes = starts, sizes
        self.busy = self.products = 0
        self.elements = {nest.body.a: 0, nest.body.b: 0}
        self.sums: dict[Place, int] = {}
        self.done: set[Place] = set()
        self.names = list(self.extents)
        self.written_by = [place for place, name in enumerate(self.names) if name in nest.write.dims]
        spatial = {loop.axis: loop.dims[0] for loop in schedule.loops if loop.axis}
        if vector:
            tail, fixed = self.vector_work(spatial["lanes"]), self.arch.vector.startup_cycles
        else:
            tail, fixed = self.array_work(spatial, schedule.dataflow)
        self.finish(vector, accumulate, waits, fixed, tail)

    def finish(self, vector: bool, accumulate: bool, waits: dict[str, int], fixed: int, tail: int) -> None:
        nest, schedule, arch = self.nest, self.nest.schedule, self.arch
        duration = arch.queues.command_cycles + fixed + self.busy
        self.issue("vector" if vector else "compute", "execute", duration, tail, waits)
        self.issued += (
            arch.vector.lanes * self.busy if vector else arch.array.rows * arch.array.cols * (self.busy + fixed)
        )
        self.actions["vector.op" if vector else "array.mac"] += len(self.done)
        for operand, elements in self.elements.items():
            access = nest.access(operand)
            self.read[schedule.buffer(operand).memory, access.role.value] += elements * access.type.bits
        for point in self.all_points():
            if point not in self.done and self.is_inside(nest.body.a, point) and self.is_inside(nest.body.b, point):
                self.skipped_macs += 1
        accumulator = schedule.buffer(nest.write.operand).memory
        plain = vector or schedule.dataflow is Dataflow.OS
        for output in {self.output_of(point) for point in self.all_points()}:
            times = 1 if plain else self.sums.get(output, 0)
            written = times if times or accumulate else 1
            self.written[accumulator, "partial"] += written * nest.accumulator.bits
            self.read[accumulator, "partial"] += (written - (0 if accumulate else 1)) * nest.accumulator.bits

    def all_points(self) -> Iterator[Place]:
        return product(*(range(self.begin[name], self.begin[name] + self.sizes[name]) for name in self.names))

    def output_of(self, point: Place) -> Place:
        return tuple([point[place] for place in self.written_by])

    def place_of(self, operand: str, point: Place) -> Place:
        where = dict(zip(self.names, point, strict=True))
        return tuple(axis.at(where) for axis in self.nest.access(operand).index)

    def is_inside(self, operand: str, point: Place) -> bool:
        shape = self.nest.access(operand).shape
        return all(0 <= at < view for at, view in zip(self.place_of(operand, point), shape, strict=True))

    def all_tagged(self, operand: str, points: list[Place]) -> bool:
        return all(self.place_of(operand, point) in self.tagged[operand] for point in points)

    def counter(self, kind: CounterClass, last: str | None = None) -> list[dict[str, int]]:
        """The values of all counters of a class, in their order but for the `last`."""
        names = [name for name in self.names if counter_class(self.nest, name) is kind and name != last]
        names += [last] if last is not None else []
        ranges = [range(self.begin[name], self.begin[name] + self.sizes[name]) for name in names]
        return [dict(zip(names, values, strict=True)) for values in product(*ranges)]

    def blocks_of(self, kind: CounterClass, blocked: str | None, size: int) -> list[list[dict[str, int]]]:
        """Blocks of at most `size` of a counter for each value of the others of its class."""
        if blocked is None or counter_class(self.nest, blocked) is not kind:
            return [[each] for each in self.counter(kind)]
        values, extent = self.counter(kind, blocked), self.sizes[blocked]
        found = []
        for first in range(0, len(values), extent):
            group = values[first : first + extent]
            found += [group[k : k + size] for k in range(0, extent, size)]
        return found

    def points_of(self, *parts: list[dict[str, int]]) -> list[Place]:
        found = []
        for values in product(*parts):
            where = {name: at for part in values for name, at in part.items()}
            found.append(tuple(where[name] for name in self.names))
        return found

    def array_work(self, spatial: dict[str, str], dataflow: Dataflow) -> tuple[int, int]:
        nest, rows, cols = self.nest, self.arch.array.rows, self.arch.array.cols
        a, b = nest.body.a, nest.body.b
        row, col = spatial.get("rows"), spatial.get("cols")
        row = row if row and counter_class(nest, row) is CounterClass.REDUCE else None
        col = col if col and counter_class(nest, col) is CounterClass.COLUMN else None
        along_rows, along_cols = self.sizes[row] if row else 1, self.sizes[col] if col else 1
        batch, points = self.counter(CounterClass.BATCH), self.counter(CounterClass.POINT)
        columns, steps = self.counter(CounterClass.COLUMN), self.counter(CounterClass.REDUCE)
        reduce_blocks = self.blocks_of(CounterClass.REDUCE, row, rows)
        column_blocks = self.blocks_of(CounterClass.COLUMN, col, cols)
        one_p, one_c = points[:1], columns[:1]  # a has no column counter, b no point counter
        fill = min(rows, along_rows)
        drain = self.arch.array.drain_cycles - 1
        if dataflow is Dataflow.WS:
            for g, cb, kb in product(batch, column_blocks, reduce_blocks):
                if self.all_tagged(b, self.points_of([g], one_p, cb, kb)):
                    continue
                left = [p for p in points if not self.all_tagged(a, self.points_of([g], [p], one_c, kb))]
                self.passed(left, kb, [self.points_of([g], [p], cb, kb) for p in left])
                self.elements[a] += len(left) * len(kb)
                self.elements[b] += len(kb) * len(cb) if left else 0
            return fill + min(cols, along_cols) + drain, fill
        if dataflow is Dataflow.IS:
            for g, first, kb in product(batch, range(0, len(points), cols), reduce_blocks):
                pb = points[first : first + cols]
                if self.all_tagged(a, self.points_of([g], pb, one_c, kb)):
                    continue
                left = [m for m in columns if not self.all_tagged(b, self.points_of([g], one_p, [m], kb))]
                self.passed(left, kb, [self.points_of([g], pb, [m], kb) for m in left])
                self.elements[a] += len(kb) * len(pb) if left else 0
                self.elements[b] += len(left) * len(kb)
            return fill + min(cols, len(points)) + drain, fill
        for g, first, cb in product(batch, range(0, len(points), rows), column_blocks):
            pb = points[first : first + rows]
            left = [
                k
                for k in steps
                if not self.all_tagged(a, self.points_of([g], pb, one_c, [k]))
                and not self.all_tagged(b, self.points_of([g], one_p, cb, [k]))
            ]
            self.busy += max(len(left), len(pb)) if left else 0
            self.elements[a] += len(left) * len(pb)
            self.elements[b] += len(left) * len(cb)
            self.done |= set(self.points_of([g], pb, cb, left))
        return 2 * min(rows, len(points)) + min(cols, along_cols) + drain, 0

    def passed(self, left: list[dict[str, int]], kb: list[dict[str, int]], points: list[list[Place]]) -> None:
        """A pass with these streamed values left."""
        self.busy += max(len(left), len(kb)) if left else 0
        for each in points:
            self.done |= set(each)
            for output in {self.output_of(point) for point in each}:
                self.sums[output] = self.sums.get(output, 0) + 1

    def vector_work(self, lane: str) -> int:
        nest, lanes = self.nest, self.arch.vector.lanes
        others = [name for name in self.names if name != lane]
        for values in product(*(range(self.begin[name], self.begin[name] + self.sizes[name]) for name in others)):
            for first in range(0, self.sizes[lane], lanes):
                group = []
                for at in range(first, min(first + lanes, self.sizes[lane])):
                    where = dict(zip(others, values, strict=True)) | {lane: self.begin[lane] + at}
                    group.append(tuple(where[name] for name in self.names))
                if self.all_tagged(nest.body.a, group) or self.all_tagged(nest.body.b, group):
                    continue
                self.busy += 1
                self.done |= set(group)
                self.elements[nest.body.a] += len(group)
                self.elements[nest.body.b] += len(group)
        return 0


def walk_faults(module: Module, arch: Arch, masks: Masks, counts: Sequence[LayerCounts]) -> list[str]:
    """What the counts of a module of nests contradict the walk in."""
    tables: dict[int, Table] = {}
    faults = []
    for nest, found in zip(module.operations, counts, strict=True):
        assert isinstance(nest, Nest)
        weights = {each.operand: weights_of(module, each) for each in nest.reads if each.compressed is not None}
        walk = BlockWalk(nest, arch, tables, masks.get(nest.layer), weights)
        traffic = {
            memory: {role: Transfer(*moved) for role, moved in roles.items()}
            for memory, roles in walk.traffic().items()
        }
        expected = replace(
            found,
            macs=walk.macs(),
            macs_issued=walk.issued,
            macs_skipped=walk.skipped_macs,
            cycles=walk.dispatch,
            instructions=dict(walk.instructions),
            traffic=traffic,
            actions={name: count for name, count in walk.actions.items() if count},
            blocks=walk.blocks,
            weight_blocks=WeightBlocks(walk.loaded, walk.absent) if walk.loaded else None,
        )
        faults += differences([expected], [found])
    return faults
