"""What one command of a scheduled nest does and takes, word by word as specs/isa.md (sections 3 and 5) has it: what a
load or store moves, the cycles of the bus and of the words, and the work of the array and of the vector unit.

The literal counter (nest_counter.py) walks over commands with it.
"""

from __future__ import annotations

from math import prod

from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.nest import Access, CounterClass, Dataflow, Nest, counter_class
from ..ir.nest_layout import axis_box, axis_step, split_axes, whole_layout
from .nest_interpreter import Tile, row_counter


@dataclass(frozen=True, slots=True)
class Box:
    """What a load or store moves: per axis the positions, those inside main memory, and its stride there in
    elements."""

    extent: tuple[int, ...]
    inside: tuple[int, ...]
    main_stride: tuple[int, ...]


def box(nest: Nest, access: Access, tile: Tile) -> Box:
    """The box of an operand's tile, one axis per axis of the access."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    axes = [
        axis_box(axis, extent, extents, tile.starts, tile.sizes)
        for axis, extent in zip(access.index, access.shape, strict=True)
    ]
    strides = [prod(access.shape[i + 1 :]) * axis_step(axis, extents) for i, axis in enumerate(access.index)]
    return Box(tuple(a.count for a in axes), tuple(a.inside for a in axes), tuple(strides))


def bus_cycles(moved: tuple[int, ...], main_stride: tuple[int, ...], element_bits: int, arch: Arch) -> int:
    """Cycles of the bus for `moved` positions per axis: the greatest of beats, bandwidth and requests."""
    if 0 in moved:
        return 0
    dma = arch.dma
    run = 1
    axis = len(moved) - 1
    while axis >= 0 and (moved[axis] == 1 or main_stride[axis] == run):
        run *= moved[axis]
        axis -= 1
    runs = prod(moved[: axis + 1])
    beats = runs * _ceil(run * element_bits, 8 * dma.bus_bytes)
    requests = runs * _ceil(run * element_bits, 8 * dma.burst_bytes)
    return max(
        beats,
        _ceil(beats * dma.bus_bytes * arch.clock_hz, dma.bandwidth_bytes_per_second),
        _ceil(requests * dma.latency_cycles, dma.requests_in_flight),
    )


def word_cycles(nest: Nest, moved: tuple[int, ...], arch: Arch) -> int:
    """Words that a store of `moved` positions per axis writes to the nest's target, one a cycle."""
    assert nest.schedule is not None
    target = nest.schedule.target
    assert target is not None
    extents = {dim.name: dim.extent for dim in nest.domain}
    splits = split_axes(nest.write.shape, target.shape)
    assert splits is not None
    pitches = iter(whole_layout(target.shape, target.margins).strides)
    axes: list[tuple[int, int]] = []  # positions and elements between them
    for axis, count, inner in zip(nest.write.index, moved, splits, strict=True):
        if inner > 1:
            axes += [(count // inner, next(pitches)), (inner, next(pitches))]
        else:
            axes.append((count, next(pitches) * axis_step(axis, extents)))
    run = 1
    while axes and (axes[-1][0] == 1 or axes[-1][1] == run):
        run *= axes.pop()[0]
    runs = prod(count for count, _ in axes)
    return runs * _ceil(run * nest.write.type.bits, 8 * arch.memory(target.memory).word_bytes)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, slots=True)
class Work:
    """What one compute or vector command does: cycles on its unit beyond command_cycles, cycles until its results are
    there, and elements read of a, of b and of the accumulators, and written to them."""

    cycles: int
    tail: int
    a: int
    b: int
    accumulator_reads: int
    accumulator_writes: int


def array_work(nest: Nest, arch: Arch, extents: tuple[int, ...], accumulate: bool) -> Work:
    """Walks the blocks of a compute: one stationary block after the other, each streamed against."""
    size = dict(zip((dim.name for dim in nest.domain), extents, strict=True))
    of_class: dict[CounterClass, int] = dict.fromkeys(CounterClass, 1)
    for name, extent in size.items():
        of_class[counter_class(nest, name)] *= extent
    rows, cols = arch.array.rows, arch.array.cols
    points, reduction, columns = (of_class[c] for c in (CounterClass.POINT, CounterClass.REDUCE, CounterClass.COLUMN))
    row_name, col_name = row_counter(nest), _column_counter(nest)
    row = size[row_name] if row_name else 1
    col = size[col_name] if col_name else 1
    assert nest.schedule is not None
    dataflow = nest.schedule.dataflow
    batch = of_class[CounterClass.BATCH]
    if dataflow is Dataflow.OS:
        return _outputs_held(arch, batch * (columns // col), points, col, reduction, accumulate)
    # Weights are held and rows of a stream, or the other way around.
    holds_weights = dataflow is Dataflow.WS
    wide, streamed = (col, points) if holds_weights else (points, columns)
    cycles = stream = held = reads = writes = 0
    for _ in range(batch * (columns // col) if holds_weights else batch):
        for n in _blocks(wide, cols):
            first = not accumulate
            for _ in range(reduction // row):
                for k in _blocks(row, rows):
                    cycles += max(streamed, k)
                    stream += streamed * k
                    held += k * n
                    writes += streamed * n
                    reads += 0 if first else streamed * n
                    first = False
    fill = min(rows, row)
    a, b = (stream, held) if holds_weights else (held, stream)
    return Work(fill + cycles, fill + min(cols, wide) - 1 + arch.array.drain_cycles, a, b, reads, writes)


def _outputs_held(arch: Arch, times: int, points: int, col: int, reduction: int, accumulate: bool) -> Work:
    """Of a block of outputs at a time, against which both operands stream."""
    rows, cols = arch.array.rows, arch.array.cols
    cycles = a = b = reads = writes = 0
    for _ in range(times):
        for n in _blocks(col, cols):
            for p in _blocks(points, rows):
                cycles += max(reduction, p)
                a += p * reduction
                b += reduction * n
                writes += p * n
                reads += p * n if accumulate else 0
    return Work(cycles, 2 * min(rows, points) + min(cols, col) - 1 + arch.array.drain_cycles, a, b, reads, writes)


def vector_work(nest: Nest, arch: Arch, extents: tuple[int, ...], accumulate: bool) -> Work:
    """One point a lane a cycle, the lanes along one dimension."""
    assert arch.vector is not None and nest.schedule is not None
    size = dict(zip((dim.name for dim in nest.domain), extents, strict=True))
    lane = next((loop.dims[0] for loop in nest.schedule.loops if loop.axis == "lanes"), None)
    along = size[lane] if lane is not None else 1
    points = prod(extents)
    cycles = arch.vector.startup_cycles
    for _ in range(points // along):
        cycles += len(_blocks(along, arch.vector.lanes))
    outputs = prod(extent for name, extent in size.items() if name in nest.write.dims)
    if nest.body.op.reduces:
        reads, writes = outputs if accumulate else 0, outputs
    else:
        reads, writes = 0, points
    return Work(cycles, 0, points, points if nest.body.b is not None else 0, reads, writes)


def _blocks(extent: int, block: int) -> list[int]:
    """Sizes of the blocks that cover `extent`: full ones, then a short one."""
    return [min(block, extent - first) for first in range(0, extent, block)]


def _column_counter(nest: Nest) -> str | None:
    """The dimension along array columns (ws and os), where the schedule has one."""
    assert nest.schedule is not None
    return next((loop.dims[0] for loop in nest.schedule.loops if loop.axis == "cols"), None)
