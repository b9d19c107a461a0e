"""The tiles of a scheduled nest, all iterations at once: where each tile starts, how large it is, when it changes.

Everything is an array over the iterations 0..I-1 of the main-memory loops, so that the work per tile is a few numpy
operations. The rules are those of specs/isa.md, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from ...ir.affine import Affine
from ...ir.arch import Arch
from ...ir.diagnostics import CompileError, Diagnostic, ensure
from ...ir.frozen import dataclass
from ...ir.nest import VALUE, Nest, Target, main_memory_loops
from ...ir.nest_layout import LocalLayout, axis_step, local_layout, split_axes, whole_layout
from ...ir.program import BOX_AXES
from ...ir.program_rules import MAX_INSTRUCTIONS

Integers = NDArray[np.int64]

MAX_ITERATIONS = MAX_INSTRUCTIONS  # of one nest: each has a compute


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Iterations of a nest. `starts` and `sizes` give per dimension the first point and the number of points of each
    iteration's tile; a dimension without a main-memory loop has one tile."""

    nest: Nest
    count: int
    starts: Mapping[str, Integers]
    sizes: Mapping[str, Integers]

    def changes(self, dims: frozenset[str]) -> NDArray[np.bool_]:
        """Where the tile of an operand that depends on `dims` differs from the previous iteration's (always at 0)."""
        changed = np.zeros(self.count, dtype=np.bool_)
        changed[0] = True
        for dim in dims:
            starts = self.starts[dim]
            changed[1:] |= starts[1:] != starts[:-1]
        return changed


def tiles_of(nest: Nest) -> Tiles:
    """The iterations of a scheduled nest whose domain is not empty. Raises CompileError where there are too many."""
    assert nest.schedule is not None
    loops = main_memory_loops(nest.schedule)
    dims = [loop.dims[0] for loop in loops]
    single = all(len(loop.dims) == 1 for loop in loops) and len(set(dims)) == len(dims)
    ensure(single, f"{nest.name}: one loop per dim")
    trips = [-(-nest.extent(loop.dims[0]) // loop.size) for loop in loops]
    count = prod(trips)
    if count > MAX_ITERATIONS:
        message = f"the schedule of {nest.name!r} has {count} tiles; at most {MAX_ITERATIONS} can be emitted"
        raise CompileError(Diagnostic(message, nest.span, help="use larger tiles"))
    starts = {dim.name: np.zeros(count, dtype=np.int64) for dim in nest.domain}
    sizes = {dim.name: np.full(count, dim.extent, dtype=np.int64) for dim in nest.domain}
    iteration = np.arange(count, dtype=np.int64)
    inner = count
    for loop, trip in zip(loops, trips, strict=True):
        inner //= trip
        first = iteration // inner % trip * loop.size
        starts[loop.dims[0]] = first
        sizes[loop.dims[0]] = np.minimum(loop.size, nest.extent(loop.dims[0]) - first)
    return Tiles(nest, count, starts, sizes)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The boxes of an operand at some iterations. `extent`, `before` and `after` are (n, BOX_AXES), aligned to the
    innermost axis; `offset` is the distance of position 0 from the operand's first element, in elements."""

    offset: Integers
    extent: Integers
    before: Integers
    after: Integers


def view_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements between neighbours along each axis of a row-major view."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def _axis(
    tiles: Tiles, axis: Affine, view_extent: int, extents: Mapping[str, int], at: Integers
) -> tuple[Integers, Integers, Integers, Integers]:
    """start, count, before and after of `ir.nest.axis_box`, for the iterations `at`."""
    if VALUE in axis.dims:
        zero = np.zeros(len(at), dtype=np.int64)
        return zero, zero + view_extent, zero, zero
    step = axis_step(axis, extents)
    start = np.full(len(at), axis.constant, dtype=np.int64)
    reach = np.zeros(len(at), dtype=np.int64)
    for dim, coefficient in axis.terms:
        start += coefficient * tiles.starts[dim][at]
        reach += coefficient * (tiles.sizes[dim][at] - 1)
    count = reach // step + 1
    before = np.minimum(count, np.maximum(0, -(start // step)))
    first_beyond = np.maximum(0, -((start - view_extent) // step))
    after = count - np.maximum(before, np.minimum(count, first_beyond))
    return start, count, before, after


def boxes(tiles: Tiles, operand: str, at: Integers) -> Boxes:
    """The boxes of `operand` in main memory at the iterations `at`."""
    access = tiles.nest.access(operand)
    extents = {dim.name: dim.extent for dim in tiles.nest.domain}
    offset = np.zeros(len(at), dtype=np.int64)
    extent = np.ones((len(at), BOX_AXES), dtype=np.int64)
    before = np.zeros((len(at), BOX_AXES), dtype=np.int64)
    after = np.zeros((len(at), BOX_AXES), dtype=np.int64)
    first = BOX_AXES - len(access.index)
    strides = view_strides(access.shape)
    for k, axis in enumerate(access.index):
        start, count, outside, beyond = _axis(tiles, axis, access.shape[k], extents, at)
        offset += start * strides[k]
        extent[:, first + k] = count
        before[:, first + k] = outside
        after[:, first + k] = beyond
    padded = before.any() or after.any()
    ensure(access.pad is not None or not padded, f"{tiles.nest.name}: {operand} leaves its view")
    return Boxes(offset, extent, before, after)


@dataclass(frozen=True, slots=True, eq=False)
class Versions:
    """The tiles of an operand in the order in which it has them: `first[v]` and `last[v]` are the iterations of version
    v, `of[i]` is the version at iteration i, `bit[v]` the first bit in local memory of the copy that holds it."""

    first: Integers
    last: Integers
    of: Integers
    bit: Integers
    copies: int


def versions(tiles: Tiles, operand: str, arch: Arch) -> Versions:
    """The versions of an operand whose buffer has an address."""
    nest = tiles.nest
    assert nest.schedule is not None
    buffer = nest.schedule.buffer(operand)
    assert buffer.address is not None, f"{nest.name}: the buffer of {operand} is not allocated"
    changes = tiles.changes(nest.access(operand).dims)
    first = np.flatnonzero(changes).astype(np.int64)
    last = np.append(first[1:], tiles.count) - 1
    if buffer.margins is None:
        tile_bytes = operand_layout(nest, operand, arch).tile_bytes
        bit = 8 * (buffer.address + np.arange(len(first), dtype=np.int64) % buffer.copies * tile_bytes)
    else:
        offset = _whole_offsets(tiles, operand, buffer.margins, first)
        bit = 8 * buffer.address + nest.access(operand).local_type.bits * offset
    return Versions(first, last, np.cumsum(changes, dtype=np.int64) - 1, bit, buffer.copies)


def _whole_offsets(tiles: Tiles, operand: str, margins: tuple[int, ...], at: Integers) -> Integers:
    """Elements from the start of a whole operand to where its tiles begin, at the iterations `at`."""
    access = tiles.nest.access(operand)
    layout = whole_layout(access.shape, margins)
    extents = {dim.name: dim.extent for dim in tiles.nest.domain}
    offset = np.full(len(at), layout.origin, dtype=np.int64)
    for axis, view, stride in zip(access.index, access.shape, layout.strides, strict=True):
        offset += _axis(tiles, axis, view, extents, at)[0] * stride
    return offset


def axis_splits(nest: Nest) -> tuple[int, ...]:
    """For each axis of the output the extent of the inner one of the two axes that its boxes have there, else 1."""
    assert nest.schedule is not None
    target = nest.schedule.target
    if target is None:
        return (1,) * len(nest.write.shape)
    splits = split_axes(nest.write.shape, target.shape)
    ensure(splits is not None, f"{nest.name}: the target has another shape")
    assert splits is not None
    return splits


def target_boxes(tiles: Tiles, target: Target, at: Integers) -> Boxes:
    """The boxes of the output in its target at the iterations `at`; offsets are from the target's first element."""
    nest = tiles.nest
    box = boxes(tiles, nest.write.operand, at)
    layout = whole_layout(target.shape, target.margins)
    extents = {dim.name: dim.extent for dim in nest.domain}
    offset = np.full(len(at), layout.origin, dtype=np.int64)
    extent = np.ones((len(at), BOX_AXES), dtype=np.int64)
    place = BOX_AXES - len(target.shape)
    strides = list(layout.strides)
    for k, inner in enumerate(axis_splits(nest)):
        start, count, _, _ = _axis(tiles, nest.write.index[k], nest.write.shape[k], extents, at)
        if inner > 1:
            ensure(not (start % inner).any() and not (count % inner).any(), f"{nest.name}: tiles cut a target's axis")
            extent[:, place] = count // inner
            extent[:, place + 1] = inner
            offset += start // inner * strides.pop(0)
            del strides[0]
            place += 2
        else:
            extent[:, place] = count
            offset += start * strides.pop(0)
            place += 1
    return Boxes(offset, extent, box.before, box.after)


def operand_layout(nest: Nest, operand: str, arch: Arch) -> LocalLayout:
    """How the operand's tile lies in the memory of its buffer."""
    assert nest.schedule is not None
    return local_layout(nest, operand, arch.memory(nest.schedule.buffer(operand).memory).word_bytes)
