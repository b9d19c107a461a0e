"""Classes of the tiles of a scheduled nest: runs of consecutive tiles of a main-memory loop that look alike.

Along a loop nearly all tiles are the same: only the first ones (clipped by padding before the tensor), the last ones
(clipped after it) and the last one (short) differ. The classes of all loops span a grid; what a command moves or
computes is an array over that grid that has more than one entry only along the loops that matter to it, and a sum over
all tiles is a sum over the grid weighted by run lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...ir.affine import Affine
from ...ir.diagnostics import CompileError, Diagnostic, ensure
from ...ir.frozen import dataclass
from ...ir.nest import VALUE, Access, Nest, main_memory_loops
from ...ir.nest_layout import axis_step

Ints = NDArray[np.int64]

GRID_LIMIT = 1 << 22
POINT_LIMIT = 1 << 52
ITERATION_LIMIT = 1 << 20  # of a nest whose tiles are all walked


@dataclass(frozen=True, slots=True)
class TiledLoop:
    """A main-memory loop with more than one tile. Class k holds `lengths[k]` tiles from tile number `firsts[k]`."""

    dim: str
    size: int
    tiles: int
    firsts: tuple[int, ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of an access over the grid, one entry an axis: positions in all, those inside the tensor, and where
    these begin in the first tile of a class."""

    counts: tuple[Ints, ...]
    inside: tuple[Ints, ...]
    firsts: tuple[Ints, ...]


@dataclass(frozen=True)
class Grid:
    """The main-memory loops of a nest that have more than one tile, the outermost first, with their classes."""

    nest: Nest
    extents: dict[str, int]
    loops: tuple[TiledLoop, ...]

    @staticmethod
    def of(nest: Nest, split_first: bool = False, split_all: bool = False) -> Grid:
        """Classes for every main-memory loop; `split_first` puts the first tile of each into a class of its own,
        `split_all` every tile.

        Requires at most one main-memory loop over a dimension.
        """
        assert nest.schedule is not None
        extents = {dim.name: dim.extent for dim in nest.domain}
        sizes: dict[str, int] = {}
        for loop in main_memory_loops(nest.schedule):
            ensure(loop.dims[0] not in sizes, f"two main-memory loops over {loop.dims[0]!r}")
            sizes[loop.dims[0]] = loop.size
        points = 1
        for extent in extents.values():
            points *= extent
        if points > POINT_LIMIT:
            raise _refusal(nest, f"{points} points", f"at most {POINT_LIMIT} can be counted")
        tiled = {dim: size for dim, size in sizes.items() if size < extents[dim]}
        loops = []
        for dim, size in tiled.items():
            tiles = -(-extents[dim] // size)
            cuts = {0, tiles, extents[dim] // size}
            if split_all:
                if tiles > GRID_LIMIT:
                    raise _refusal(nest, f"{tiles} tiles along {dim!r}", f"at most {GRID_LIMIT} can be told apart")
                cuts.update(range(tiles))
            if split_first:
                cuts.add(1)
            for access in nest.reads:
                for axis, view in zip(access.index, access.shape, strict=True):
                    cuts.update(_clipping_cuts(nest, axis, view, dim, size, tiles))
            ordered = sorted(cut for cut in cuts if 0 <= cut <= tiles)
            lengths = tuple(after - before for before, after in pairwise(ordered))
            loops.append(TiledLoop(dim, size, tiles, tuple(ordered[:-1]), lengths))
        grid = Grid(nest, extents, tuple(loops))
        cells = 1
        for each in loops:
            cells *= len(each.lengths)
        if cells > GRID_LIMIT:
            raise _refusal(nest, f"{cells} classes of tiles", f"at most {GRID_LIMIT} can be counted: use larger tiles")
        return grid

    def depth(self, dims: frozenset[str]) -> int:
        """Number, from 1, of the innermost loop over one of `dims`; 0 if there is none."""
        return max((number for number, loop in enumerate(self.loops, 1) if loop.dim in dims), default=0)

    def tiles(self, first: int, last: int) -> int:
        """Iterations of loops number first..last (both from 1) together."""
        product = 1
        for loop in self.loops[first - 1 : last]:
            product *= loop.tiles
        return product

    def sizes(self, dim: str) -> Ints:
        """Points of a tile along `dim`, over the grid."""
        for number, loop in enumerate(self.loops):
            if loop.dim == dim:
                starts = np.array(loop.firsts, np.int64) * loop.size
                return self._along(number, np.minimum(loop.size, self.extents[dim] - starts))
        return self._along(None, np.array([self.extents[dim]], np.int64))

    def starts(self, dim: str) -> Ints:
        """The first point of (the first tile of) each class along `dim`, over the grid."""
        for number, loop in enumerate(self.loops):
            if loop.dim == dim:
                return self._along(number, np.array(loop.firsts, np.int64) * loop.size)
        return self._along(None, np.zeros(1, np.int64))

    def _along(self, number: int | None, values: Ints) -> Ints:
        shape = [1] * len(self.loops)
        if number is not None:
            shape[number] = len(values)
        return values.reshape(shape)

    def total(self, values: Ints, depth: int | None = None) -> int:
        """Sum of `values` over all iterations of loops 1..depth (all by default)."""
        depth = len(self.loops) if depth is None else depth
        factor = 1
        for number in range(len(self.loops), 0, -1):
            loop = self.loops[number - 1]
            axis = number - 1
            if values.shape[axis] > 1:
                ensure(number <= depth, "a figure varies along a loop inside of its own")
                weights = np.array(loop.lengths, np.int64)
                values = np.expand_dims(np.tensordot(values, weights, (axis, 0)), axis)
            elif number <= depth:
                factor *= loop.tiles
        return factor * int(values.reshape(-1)[0])

    def boxes(self, access: Access) -> Boxes:
        """What the tiles of `access` touch: ir.nest.axis_box, over the grid."""
        counts, insides, firsts = [], [], []
        for axis, view in zip(access.index, access.shape, strict=True):
            if VALUE in axis.dims:
                whole = self._along(None, np.array([view], np.int64))
                counts.append(whole)
                insides.append(whole)
                firsts.append(0 * whole)
                continue
            step = axis_step(axis, self.extents)
            start = self._along(None, np.array([axis.constant], np.int64))
            span = self._along(None, np.zeros(1, np.int64))
            for dim, coefficient in axis.terms:
                start = start + coefficient * self.starts(dim)
                span = span + coefficient * (self.sizes(dim) - 1)
            count = span // step + 1
            before = np.clip(-(start // step), 0, count)
            first_beyond = np.maximum(0, -(-(view - start) // step))
            inside = np.maximum(before, np.minimum(count, first_beyond)) - before
            counts.append(count)
            insides.append(inside)
            firsts.append(start + before * step)
        return Boxes(tuple(counts), tuple(insides), tuple(firsts))


def whole_grid(nest: Nest) -> Grid:
    """Every tile for itself. Raises CompileError where there are too many iterations to walk one by one."""
    grid = Grid.of(nest, split_all=True)
    iterations = grid.tiles(1, len(grid.loops))
    if iterations > ITERATION_LIMIT:
        message = f"nest {nest.name!r} has {iterations} iterations, all different where blocks are skipped"
        raise CompileError(Diagnostic(message, nest.span, f"at most {ITERATION_LIMIT}: use larger tiles"))
    return grid


def _refusal(nest: Nest, what: str, help: str) -> CompileError:
    return CompileError(Diagnostic(f"nest {nest.name!r} has {what}", nest.span, help))


def _clipping_cuts(nest: Nest, axis: Affine, view: int, dim: str, size: int, tiles: int) -> Iterator[int]:
    """Tile numbers along `dim` between which the part of a box that lies inside the tensor may change."""
    extents = {each.name: each.extent for each in nest.domain}
    coefficient = axis.coefficient(dim)
    if VALUE in axis.dims:
        return
    reach = sum(c * (extents[other] - 1) for other, c in axis.terms)
    if not coefficient or (axis.constant >= 0 and axis.constant + reach < view):
        return
    others = reach - coefficient * (extents[dim] - 1)
    advance = coefficient * size
    width = coefficient * (size - 1)
    # Wholly before the tensor up to this tile, wholly inside between these, wholly after it from this one on,
    # whatever the position along the other dimensions; between these ranges every tile is a class of its own.
    last_before = (-1 - axis.constant - width - others) // advance
    first_inside = -(axis.constant // advance)
    last_inside = (view - 1 - axis.constant - others - width) // advance
    first_after = -((axis.constant - view) // advance)
    ranges = [(0, last_before)]
    if first_inside <= last_inside:
        ranges.append((first_inside, last_inside))
    ranges.append((first_after, tiles - 1))
    free = 0
    for least, greatest in ranges:
        low, high = max(least, free), min(greatest, tiles - 1)
        if low > high:
            continue
        yield from _each(nest, free, low + 1, dim)
        free = high + 1
    yield from _each(nest, free, tiles, dim)


def _each(nest: Nest, first: int, end: int, dim: str) -> range:
    if end - first > GRID_LIMIT:
        what = f"{end - first} tiles along {dim!r} that padding clips in different ways"
        raise _refusal(nest, what, f"at most {GRID_LIMIT} can be counted: use larger tiles")
    return range(first, end)


def inside_points(nest: Nest, operands: tuple[str, ...]) -> int:
    """Points of the domain at which all `operands` lie inside their tensors.

    Dimensions that meet in an axis with padding are counted together: all but the longest are enumerated, along that
    one the points inside are an interval.
    """
    extents = {dim.name: dim.extent for dim in nest.domain}
    bounds = []
    for operand in operands:
        access = nest.access(operand)
        for axis, view in zip(access.index, access.shape, strict=True):
            reach = sum(c * (extents[dim] - 1) for dim, c in axis.terms)
            if axis.constant < 0 or axis.constant + reach >= view:
                bounds.append((axis, view))
    points = 1
    free = set(extents)
    while bounds:
        group, dims = [bounds.pop()], set()
        while group:
            dims = {dim for axis, _ in group for dim in axis.dims}
            touching = [bound for bound in bounds if dims & set(bound[0].dims)]
            if not touching:
                break
            bounds = [bound for bound in bounds if bound not in touching]
            group += touching
        points *= _points_between(nest, group, sorted(dims, key=lambda dim: (extents[dim], dim)))
        free -= dims
    for dim in free:
        points *= extents[dim]
    return points


def _points_between(nest: Nest, bounds: list[tuple[Affine, int]], dims: list[str]) -> int:
    if not dims:
        return int(all(0 <= axis.constant < view for axis, view in bounds))
    *enumerated, last = dims
    shape = tuple(nest.extent(dim) for dim in enumerated)
    cells = int(np.prod(shape, dtype=object)) if shape else 1
    if cells > GRID_LIMIT:
        what = f"{cells} points of {', '.join(enumerated)} that padding couples with {last}"
        raise _refusal(nest, what, f"at most {GRID_LIMIT} can be counted")
    places = np.indices(shape, dtype=np.int64) if shape else np.zeros((0,), np.int64)
    low = np.zeros(shape, np.int64)
    high = np.full(shape, nest.extent(last), np.int64)
    for axis, view in bounds:
        base = np.full(shape, axis.constant, np.int64)
        for number, dim in enumerate(enumerated):
            base = base + axis.coefficient(dim) * places[number]
        step = axis.coefficient(last)
        if step:
            low = np.maximum(low, -(base // step))
            high = np.minimum(high, -((base - view) // step))
        else:
            high = np.where((base >= 0) & (base < view), high, 0)
    return int(np.maximum(high - low, 0).sum())
