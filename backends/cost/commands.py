"""What the commands of a scheduled nest move, compute and take, over the grid of its tile classes.

Formulas: specs/isa.md, section 3 (time) and specs/counts.md (traffic).
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod

import numpy as np

from ...ir.arch import Arch
from ...ir.diagnostics import ensure
from ...ir.frozen import dataclass
from ...ir.nest import Access, CounterClass, Dataflow, Nest, Prune, Target, counter_class, decoded, encodes
from ...ir.nest_layout import axis_step, filled_boxes, split_axes, whole_layout
from .classes import Grid, Ints


@dataclass(frozen=True, slots=True)
class Loads:
    """The load of one operand's tile, or of pad values around a whole operand (depth 0): bits read from main memory,
    bits written locally, elements that the number converter makes floats of, cycles of the bus."""

    operand: str
    depth: int
    read_bits: Ints
    write_bits: Ints
    converted: Ints
    duration: Ints


@dataclass(frozen=True, slots=True)
class Stores:
    """The store of an output tile: positions of its box and cycles of what it holds, the bus or, where it writes to
    local memory, the post unit alone; `latency_cycles` later it is complete. `converted_cycles` are those of the number
    converter, where it has a part."""

    depth: int
    positions: Ints
    duration: Ints
    latency_cycles: int
    converted_cycles: Ints | None = None


@dataclass(frozen=True, slots=True)
class Computes:
    """The compute or vector command of an iteration. `a`, `b` and `partial` are elements read of a, read of b and
    written to the accumulator; `points` is the product of the counters; `duration` and `tail` are T and L."""

    a: Ints
    b: Ints
    partial: Ints
    points: Ints
    duration: Ints
    tail: Ints


def _ceil(value: Ints, divisor: int) -> Ints:
    return -(-value // divisor)


def _runs(extents: tuple[Ints, ...], strides: list[int]) -> tuple[Ints, Ints]:
    """How many runs without gaps a box has, and their elements; `strides` are in elements."""
    run = np.ones((1,) * extents[0].ndim if extents else (), np.int64)
    runs = np.ones_like(run)
    merging = np.ones_like(run, dtype=bool)
    for extent, stride in zip(reversed(extents), reversed(strides), strict=True):
        merging = merging & ((run == stride) | (extent == 1))
        run = np.where(merging, run * extent, run)
        runs = np.where(merging, runs, runs * extent)
    return runs, run


def _bus_cycles(arch: Arch, inside: tuple[Ints, ...], strides: list[int], element_bits: int) -> Ints:
    """Cycles that a box takes on the bus; `strides` are in elements in main memory."""
    runs, run = _runs(inside, strides)
    empty = np.zeros_like(run, dtype=bool)
    for extent in inside:
        empty = empty | (extent == 0)
    return run_cycles(arch, np.where(empty, 0, runs), run * element_bits)


def run_cycles(arch: Arch, runs: Ints, run_bits: Ints) -> Ints:
    """Cycles that so many runs of so many bits each take on the bus."""
    dma = arch.dma
    beats = runs * _ceil(run_bits, 8 * dma.bus_bytes)
    requests = runs * _ceil(run_bits, 8 * dma.burst_bytes)
    numerator, denominator = dma.bus_bytes * arch.clock_hz, dma.bandwidth_bytes_per_second
    common = gcd(numerator, denominator)
    limited = _ceil(beats * (numerator // common), denominator // common)
    waiting = _ceil(requests * dma.latency_cycles, dma.requests_in_flight)
    cycles: Ints = np.maximum(beats, np.maximum(limited, waiting))
    return cycles


def main_strides(grid: Grid, access: Access) -> list[int]:
    """Elements in main memory between neighbouring positions along each axis of the box."""
    strides = []
    pitch = 1
    for axis, view in zip(reversed(access.index), reversed(access.shape), strict=True):
        strides.append(pitch * axis_step(axis, grid.extents))
        pitch *= view
    return strides[::-1]


def _product(grid: Grid, factors: tuple[Ints, ...] | list[Ints]) -> Ints:
    product = np.ones((1,) * len(grid.loops), np.int64)
    for factor in factors:
        product = product * factor
    return product


def all_loads(grid: Grid, arch: Arch) -> list[Loads]:
    """The loads of every read, in order: of its tiles or, where it is there whole, of pad values around it."""
    schedule = grid.nest.schedule
    assert schedule is not None
    found = []
    for access in grid.nest.reads:
        if schedule.buffer(access.operand).is_whole:
            found += _fills(grid, arch, access)
        else:
            found.append(loads(grid, arch, access))
    return found


def _fills(grid: Grid, arch: Arch, access: Access) -> list[Loads]:
    one = np.ones((1,) * len(grid.loops), np.int64)
    command = arch.queues.command_cycles
    return [
        Loads(access.operand, 0, 0 * one, prod(extents) * access.local_type.bits * one, 0 * one, command * one)
        for extents, _ in filled_boxes(grid.nest, access.operand)
    ]


def loads(grid: Grid, arch: Arch, access: Access) -> Loads:
    """The loads of the tiles of `access`, a read of the nest."""
    boxes = grid.boxes(access)
    element = access.type.bits
    busy = _bus_cycles(arch, boxes.inside, main_strides(grid, access), element)
    inside = _product(grid, boxes.inside)
    converted = 0 * inside
    if access.decode is not None:
        assert arch.converter is not None
        converted, busy = inside, np.maximum(busy, _ceil(inside, arch.converter.lanes))
    return Loads(
        access.operand,
        grid.depth(access.dims),
        inside * element,
        _product(grid, boxes.counts) * access.local_type.bits,
        converted,
        arch.queues.command_cycles + busy,
    )


def load_latency_cycles(nest: Nest, arch: Arch) -> int:
    """From when a load leaves the bus until its elements are there."""
    unit = arch.converter
    return arch.dma.latency_cycles + (unit.latency_cycles if unit is not None and decoded(nest) else 0)


def stores(grid: Grid, arch: Arch) -> Stores:
    """The stores of the output."""
    access = grid.nest.write
    counts = grid.boxes(access).counts
    positions = _product(grid, counts)
    assert grid.nest.schedule is not None
    target = grid.nest.schedule.target
    if target is None:
        busy = _bus_cycles(arch, counts, main_strides(grid, access), access.type.bits)
    else:
        busy = _word_cycles(grid, counts, target, arch.memory(target.memory).word_bytes)
    duration = arch.queues.command_cycles + np.maximum(busy, _ceil(positions, arch.post.lanes))
    latency = arch.dma.latency_cycles if target is None else 0
    converted = None
    if arch.converter is not None and encodes(grid.nest):
        converted = _ceil(positions, arch.converter.lanes)
        duration = np.maximum(duration, arch.queues.command_cycles + converted)
        latency += arch.converter.latency_cycles
    if grid.nest.prune is not None:
        duration = np.maximum(duration, arch.queues.command_cycles + tested_cycles(positions, grid.nest.prune, arch))
    return Stores(grid.depth(access.dims), positions, duration, latency, converted)


def tested_cycles(positions: Ints, prune: Prune, arch: Arch) -> Ints:
    """How long the block unit's adder tree takes a box of so many positions, and then its first block."""
    assert arch.block_unit is not None
    first = np.minimum(positions, prune.test.rows * prune.test.cols)
    return _ceil(positions, arch.block_unit.lanes) + _ceil(first, arch.block_unit.lanes)


def _word_cycles(grid: Grid, counts: tuple[Ints, ...], target: Target, word_bytes: int) -> Ints:
    """Words of the target's memory that a store writes, one a cycle."""
    access = grid.nest.write
    split = split_axes(access.shape, target.shape)
    ensure(split is not None, f"{grid.nest.name}: the target has another shape")
    left = list(whole_layout(target.shape, target.margins).strides)
    extents, strides = [], []
    for axis, count, inner in zip(access.index, counts, split or (), strict=True):
        if inner > 1:
            extents += [count // inner, np.full_like(count, inner)]
            strides += [left.pop(0), left.pop(0)]
        else:
            extents.append(count)
            strides.append(left.pop(0) * axis_step(axis, grid.extents))
    runs, run = _runs(tuple(extents), strides)
    return runs * _ceil(run * access.type.bits, 8 * word_bytes)


def _blocks(count: Ints, size: int, each: Callable[[Ints], Ints]) -> Ints:
    """Sum of `each` over blocks of `size` of `count`, the last one short."""
    short = count % size
    return count // size * each(np.full_like(count, size)) + np.where(short > 0, each(short), 0)


def blocked_dim(grid: Grid, axis: str) -> str | None:
    """The dimension that the schedule spreads over `rows`, `cols` or `lanes`."""
    assert grid.nest.schedule is not None
    for loop in grid.nest.schedule.loops:
        if loop.axis == axis:
            return loop.dims[0]
    return None


def computes(grid: Grid, arch: Arch) -> Computes:
    """The computes (or vector commands) of the nest."""
    nest = grid.nest
    assert nest.schedule is not None
    one = np.ones((1,) * len(grid.loops), np.int64)
    by_class = dict.fromkeys(CounterClass, one)
    for dim in nest.domain:
        kind = counter_class(nest, dim.name)
        by_class[kind] = by_class[kind] * grid.sizes(dim.name)
    batch, point = by_class[CounterClass.BATCH], by_class[CounterClass.POINT]
    column, reduce = by_class[CounterClass.COLUMN], by_class[CounterClass.REDUCE]
    points = batch * point * column * reduce
    command = arch.queues.command_cycles
    dataflow = nest.schedule.dataflow
    if dataflow is Dataflow.VECTOR:
        assert arch.vector is not None
        lane = blocked_dim(grid, "lanes")
        width = grid.sizes(lane) if lane else one
        duration = command + arch.vector.startup_cycles + points // width * _ceil(width, arch.vector.lanes)
        reduces = nest.body.op.reduces
        partial = batch * point * column if reduces else points
        return Computes(points, points, partial, points, duration, np.zeros_like(duration))
    rows, cols = arch.array.rows, arch.array.cols
    row = blocked_dim(grid, "rows")
    col = blocked_dim(grid, "cols")
    e_r = grid.sizes(row) if row and counter_class(nest, row) is CounterClass.REDUCE else one
    e_c = grid.sizes(col) if col and counter_class(nest, col) is CounterClass.COLUMN else one
    column_blocks = column // e_c * _ceil(e_c, cols)
    reduce_blocks = reduce // e_r * _ceil(e_r, rows)
    fill_rows, fill_cols = np.minimum(rows, e_r), np.minimum(cols, e_c)
    drain = arch.array.drain_cycles - 1
    if dataflow is Dataflow.WS:
        passes = _blocks(e_r, rows, lambda k: np.maximum(point, k))
        duration = command + fill_rows + batch * column_blocks * (reduce // e_r) * passes
        tail = fill_rows + fill_cols + drain
        a, b = batch * column_blocks * point * reduce, batch * reduce * column
        partial = batch * column * point * reduce_blocks
    elif dataflow is Dataflow.OS:
        duration = command + batch * column_blocks * _blocks(point, rows, lambda p: np.maximum(reduce, p))
        tail = 2 * np.minimum(rows, point) + fill_cols + drain
        a, b = batch * column_blocks * point * reduce, _ceil(point, rows) * batch * reduce * column
        partial = batch * column * point
    else:
        passes = _blocks(e_r, rows, lambda k: np.maximum(column, k))
        duration = command + fill_rows + batch * (reduce // e_r) * _ceil(point, cols) * passes
        tail = fill_rows + np.minimum(cols, point) + drain
        a, b = batch * point * reduce, _ceil(point, cols) * batch * reduce * column
        partial = batch * column * point * reduce_blocks
    return Computes(a, b, partial, points, duration, tail + 0 * duration)
