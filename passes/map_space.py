"""The map space: every tiling, loop order and number of copies among which the mapper chooses, for one of the units
that compute: the array, in any of its dataflows, or the vector unit.

* Tile sizes. Along each dimension: the whole extent, and for each number of tiles the size that balances them, in
  multiples of what the array or the vector unit holds of that dimension; reduced dimensions other than the longest are
  whole or one by one (implicit im2col never splits a tile across a kernel tap). Where none of these fits, sizes below
  a multiple are added.
* Loop order. Batch dimensions outermost, then columns within points or points within columns; reduced dimensions
  innermost.
* Copies. Every largest set of operands that can have two copies within the memories; an operand that never changes has
  one.

A pin takes choices away. What is left is enumerated whole, unless it is too large: lists of sizes are thinned where
they exceed SIZES or their product CELLS. A search over what is enumerated is exact in it; in a space that was thinned
nothing is known of what was left out but the floor of any mapping, so that hardly anything is called optimal there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.nest import CounterClass, Dataflow, Nest, counter_class, sum_has_an_order
from ..ir.schedule_rules import EXTENT_LIMIT
from .map_axis import AxisTable, Ints, axis_tables
from .mapping import Pin
from .schedule import blocked_dims, buffer_order, dims_of

Bools = NDArray[np.bool_]

CELLS = 30_000  # choices of tile sizes
SIZES = 64  # along one dimension
TILES = 1 << 18  # along one dimension
FEWEST_SIZES = 3  # to which a dimension is thinned for the sake of CELLS


@dataclass(frozen=True)
class MapSpace:
    """Cells are the choices of tile sizes whose buffers fit with one copy each in some of `dataflows`; arrays over
    cells are one-dimensional. `declared` counts the choices before lists were thinned, fitting or not."""

    nest: Nest
    arch: Arch
    dataflows: tuple[Dataflow, ...]
    pin: Pin
    sizes: Mapping[str, Ints]
    orders: tuple[tuple[str, ...], ...]
    declared: int
    cells: Mapping[str, Ints] = field(repr=False)  # position in `sizes` of each dimension, by cell
    tables: Mapping[str, tuple[AxisTable, ...]] = field(repr=False)

    @cached_property
    def extents(self) -> dict[str, int]:
        return {dim.name: dim.extent for dim in self.nest.domain}

    @property
    def listed(self) -> int:
        """Choices of tile sizes that are enumerated, fitting or not."""
        return prod(len(sizes) for sizes in self.sizes.values())

    def __len__(self) -> int:
        return len(next(iter(self.cells.values())))

    def size(self, dim: str) -> Ints:
        return self.sizes[dim][self.cells[dim]]

    def tiles(self, dim: str) -> Ints:
        return -(-self.extents[dim] // self.size(dim))

    def last(self, dim: str) -> Ints:
        """Points of the last tile."""
        return self.extents[dim] - (self.tiles(dim) - 1) * self.size(dim)

    def at(self, table: AxisTable, values: Ints) -> Ints:
        """`values`, over the dimensions of an axis, by cell."""
        found: Ints = values[tuple(self.cells[dim] for dim in table.dims)]
        return found

    def tiling(self, cell: int, order: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        """Main-memory loops of a cell; loops of one tile are left out, pinned ones kept as they were written."""
        pinned = {dim for dim, _ in self.pin.tiles}
        chosen = ((dim, int(self.sizes[dim][self.cells[dim][cell]])) for dim in order)
        return tuple((dim, size) for dim, size in chosen if size < self.extents[dim] or dim in pinned)


def balanced_sizes(extent: int, unit: int = 1) -> list[int]:
    """For each number of tiles the smallest size that needs no more, in multiples of `unit`, the largest first."""
    blocks = -(-extent // unit)
    sizes, count = [], 1
    while True:
        block = -(-blocks // count)
        sizes.append(min(extent, block * unit))
        if block == 1:
            return sizes
        count = -(-blocks // (block - 1))  # the fewest tiles with a smaller block


def smaller_sizes(extent: int, unit: int) -> list[int]:
    """Sizes below a multiple, for memories that hold no multiple: by halves to 1."""
    sizes = []
    while unit > 1:
        unit = -(-unit // 2)
        sizes.append(min(unit, extent))
    return sizes


def space(nest: Nest, arch: Arch, dataflows: Sequence[Dataflow], pin: Pin) -> MapSpace:
    """The map space of a nest that is not empty, for dataflows of one unit; without cells if nothing fits."""
    for small in (False, True):
        whole = _everything(nest, arch, tuple(dataflows), pin, small)
        kept = _legal(whole) & np.logical_or.reduce([_fits(whole, dataflow) for dataflow in dataflows])
        if kept.any():
            break
    return replace(whole, cells={dim: index[kept] for dim, index in whole.cells.items()})


def nearest_miss(nest: Nest, arch: Arch, dataflows: Sequence[Dataflow], pin: Pin) -> str:
    """Of the choices that do not fit, the one that lacks least, with what its buffers take, and its tiles:
    "needs 9216 B, `acc` has 8192 B (y 2 x 4608 B); nearest are the tiles m 16 of 64"."""
    whole = _everything(nest, arch, tuple(dataflows), pin, small=True)
    legal = _legal(whole)
    if not legal.any():
        return "loops over reduced dimensions must be innermost, and stored tiles without gaps"
    needed = needed_by_memory(whole, dataflows[0])
    share = np.max([total / arch.memory(name).capacity_bytes for name, total in needed.items()], axis=0)
    cell = int(np.argmin(np.where(legal, share, np.inf)))
    copies = dict(pin.copies)
    held: dict[str, list[str]] = {name: [] for name in needed}
    for access in (*nest.reads, nest.write):
        one = int(tile_bytes(whole, access.operand, dataflows[0])[cell])
        held[arch.holder(access.role.value).name].append(f"{access.operand} {copies.get(access.operand, 1)} x {one} B")
    lacking = [
        f"needs {int(total[cell])} B, `{name}` has {arch.memory(name).capacity_bytes} B ({', '.join(held[name])})"
        for name, total in needed.items()
        if total[cell] > arch.memory(name).capacity_bytes
    ]
    tiles = ", ".join(f"{dim} {size} of {whole.extents[dim]}" for dim, size in whole.tiling(cell, tuple(whole.sizes)))
    return "; ".join([*lacking, f"nearest are the tiles {tiles}" if tiles else "nearest is the whole nest as one tile"])


def _everything(nest: Nest, arch: Arch, dataflows: tuple[Dataflow, ...], pin: Pin, small: bool) -> MapSpace:
    sizes, declared = _candidates(nest, arch, dataflows[0], pin, small)
    extents = {dim.name: dim.extent for dim in nest.domain}
    tables = {each.operand: axis_tables(each, extents, sizes, arch) for each in (*nest.reads, nest.write)}
    shape = tuple(len(values) for values in sizes.values())
    indices = np.indices(shape, dtype=np.int64).reshape(len(shape), -1)
    cells = dict(zip(sizes, indices, strict=True))
    return MapSpace(nest, arch, dataflows, pin, sizes, _orders(nest, pin), declared, cells, tables)


def is_thinned(nest: Nest, arch: Arch, dataflow: Dataflow, pin: Pin) -> bool:
    """Whether the map space of the unit that runs `dataflow` lacks choices, with sizes below a multiple and without."""
    spaces = [_candidates(nest, arch, dataflow, pin, small) for small in (False, True)]
    return all(prod(len(listed) for listed in sizes.values()) < declared for sizes, declared in spaces)


def _candidates(nest: Nest, arch: Arch, dataflow: Dataflow, pin: Pin, small: bool) -> tuple[dict[str, Ints], int]:
    """Tile sizes of each dimension, and how many choices of them there were before lists were thinned."""
    reduce = dims_of(nest, CounterClass.REDUCE)
    blocked = blocked_dims(nest, arch, Dataflow.VECTOR if dataflow is Dataflow.VECTOR else Dataflow.WS)
    longest = blocked.get("rows") or max(reduce, key=nest.extent, default=None)
    columns = set(dims_of(nest, CounterClass.COLUMN))
    pinned = dict(pin.tiles)
    lists: dict[str, list[int]] = {}
    declared = 1
    for dim in nest.domain:
        name, extent = dim.name, dim.extent
        unit = 1
        if name == blocked.get("lanes"):
            unit = arch.vector.lanes if arch.vector else 1
        elif dataflow is not Dataflow.VECTOR:
            unit = arch.array.rows if name == longest else arch.array.cols if name in columns else 1
        if name in pinned:
            lists[name] = [pinned[name]]
        elif pin.complete:
            lists[name] = [extent]
        elif name in reduce and name != longest:
            lists[name] = [extent, 1]
        else:
            lists[name] = balanced_sizes(extent, unit)
            if small:
                lists[name] += smaller_sizes(extent, unit)
        fitting = {min(size, extent) for size in lists[name] if min(size, extent) <= EXTENT_LIMIT}
        declared *= max(1, len(fitting))
        few = {size for size in fitting if -(-extent // size) <= TILES}
        listed = sorted(few or fitting or {EXTENT_LIMIT}, reverse=True)
        while len(listed) > SIZES:
            listed = _thinned(listed)
        lists[name] = listed
    while prod(len(sizes) for sizes in lists.values()) > CELLS:
        name = max(lists, key=lambda dim: len(lists[dim]))
        if len(lists[name]) <= FEWEST_SIZES:
            break
        lists[name] = _thinned(lists[name])
    return {name: np.array(sizes, np.int64) for name, sizes in lists.items()}, declared


def _thinned(sizes: list[int]) -> list[int]:
    """About four fifths of `sizes`, and at least one less; the last is kept, and of many the first four: few tiles
    matter more than many."""
    kept = [size for number, size in enumerate(sizes[:-1]) if number < 4 or number % 5 != 4]
    return [*(kept if len(kept) < len(sizes) - 1 else sizes[:-2]), sizes[-1]]


def _orders(nest: Nest, pin: Pin) -> tuple[tuple[str, ...], ...]:
    by_class = {kind: dims_of(nest, kind) for kind in CounterClass}
    batch, reduce = by_class[CounterClass.BATCH], by_class[CounterClass.REDUCE]
    point, column = by_class[CounterClass.POINT], by_class[CounterClass.COLUMN]
    pinned = [dim for dim, _ in pin.tiles]
    orders = []
    for inner, outer in ((column, point), (point, column)):
        rest = [dim for dim in (*batch, *outer, *inner, *reduce) if dim not in pinned]
        orders.append((*pinned, *rest))
    return tuple(dict.fromkeys(orders))


def _legal(space: MapSpace) -> Bools:
    """No gaps in stored boxes; no loop of the output inside of a reduced one; boxes within the fields of commands."""
    nest = space.nest
    legal = np.ones(len(space), bool)
    for axis in nest.write.index:
        dims = sorted((-c, dim) for dim, c in axis.terms if space.extents[dim] > 1)
        for _, dim in dims[1:]:
            legal &= space.tiles(dim) == 1
    order = space.orders[0]
    reduced = np.zeros(len(space), bool)
    for dim in order:  # differs from the other orders only where there is nothing reduced
        tiled = space.tiles(dim) > 1
        if counter_class(nest, dim) is CounterClass.REDUCE:
            reduced |= tiled
        else:
            legal &= ~(reduced & tiled)
    if sum_has_an_order(nest):
        legal &= _row_major(space, order)
    for tables in space.tables.values():
        for table in tables:
            legal &= space.at(table, table.count) <= EXTENT_LIMIT
    return legal


def _row_major(space: MapSpace, order: tuple[str, ...]) -> Bools:
    """Where tiles visit what is reduced in the order of the domain: what is before a tiled one goes one by one."""
    reduced = dims_of(space.nest, CounterClass.REDUCE)
    legal = np.ones(len(space), bool)
    for place, dim in enumerate(reduced):
        tiled = space.tiles(dim) > 1
        for before in reduced[:place]:
            legal &= ~tiled | (space.size(before) == 1)
            if order.index(before) > order.index(dim):
                legal &= ~tiled | (space.tiles(before) == 1)
    return legal


def tile_bytes(space: MapSpace, operand: str, dataflow: Dataflow) -> Ints:
    """Bytes of one copy of an operand's tile, by cell: ir.nest.local_layout."""
    nest, arch = space.nest, space.arch
    access = nest.access(operand)
    element = nest.accumulator.bytes if access is nest.write else access.type.bytes
    word = arch.holder(access.role.value).word_bytes
    tables = space.tables[operand]
    order = buffer_order(nest, operand, dataflow) or tuple(range(len(tables)))
    elements = np.ones(len(space), np.int64)
    for number, axis in enumerate(reversed(order)):
        elements = elements * space.at(tables[axis], tables[axis].count)
        if number == 0:
            words = -(-elements * element // word)
            elements = -(-words * word // element)
    return -(-elements * element // word) * word


def needed_by_memory(space: MapSpace, dataflow: Dataflow) -> dict[str, Ints]:
    """Bytes that the buffers take in each memory, by cell, with one copy of each that is not pinned to more."""
    pinned = dict(space.pin.copies)
    needed: dict[str, Ints] = {}
    for access in (*space.nest.reads, space.nest.write):
        memory = space.arch.holder(access.role.value).name
        one = tile_bytes(space, access.operand, dataflow)
        needed[memory] = needed.get(memory, np.zeros(len(space), np.int64)) + pinned.get(access.operand, 1) * one
    return needed


def _fits(space: MapSpace, dataflow: Dataflow) -> Bools:
    needed = needed_by_memory(space, dataflow)
    fitting: Bools = np.logical_and.reduce(
        [total <= space.arch.memory(name).capacity_bytes for name, total in needed.items()]
    )
    return fitting
