"""The map space: every mapping that a pin can name (specs/mapping.md), for all dataflows together.

* Tile sizes. Along each dimension: all from 1 to its extent, of which a tile fits by itself; where blocks are pruned,
  those that hold whole blocks.
* Loop order. Every order of the main-memory loops with those over reduced dimensions inside.
* Copies. Every choice of one or two.

Legal are the schedules that ir/schedule_rules.py takes and that fit their memories. A pin takes choices away. What is
left is searched whole, unless it is too large for the tables of the search: then sizes are thinned, those that need
equally many tiles first, or loop orders. Of a thinned space nothing is known of what was left out but the floor of any
mapping, so that hardly anything is called optimal there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from math import prod

import numpy as np

from ..ir.affine import Affine
from ..ir.arch import Arch
from ..ir.block_rules import block_steps
from ..ir.frozen import dataclass
from ..ir.nest import VALUE, Access, CounterClass, Nest, sum_has_an_order
from ..ir.nest_layout import axis_count
from ..ir.schedule_rules import EXTENT_LIMIT
from .map_problem import Ints
from .mapping import Pin
from .schedule import dims_of

TILES = 1 << 18  # the most along one dimension
BOXES = 1_500_000  # rows of the tables of boxes (passes/map_tables.py)
ORDERS = 512  # classes of loop orders


@dataclass(frozen=True, slots=True)
class MapSpace:
    """Ascending tile sizes of each dimension, in the order of the domain, and one loop order of each class.
    `signatures`: dimensions of the same number may be exchanged where they are neighbours and move the same.
    `declared` counts choices of tile sizes and classes of orders before they were thinned, fitting or not."""

    sizes: tuple[Ints, ...]
    orders: tuple[tuple[str, ...], ...]
    signatures: dict[str, int]
    declared: int

    @property
    def listed(self) -> int:
        """Choices of tile sizes and classes of orders that are searched, fitting or not."""
        return prod(len(each) for each in self.sizes) * len(self.orders)

    @property
    def is_thinned(self) -> bool:
        return self.listed < self.declared


def space(nest: Nest, arch: Arch, pin: Pin) -> MapSpace:
    """The map space of a nest that is not empty."""
    accesses = [(access, access.dims) for access in (*nest.reads, nest.write)]
    sizes = {}
    for name in (each.name for each in nest.domain):
        sizes[name] = _sizes(nest, arch, name, pin, [access for access, dims in accesses if name in dims])
    declared = prod(len(each) for each in sizes.values())
    while (rows := _box_rows(nest, sizes)) and max(rows.values()) > BOXES:
        worst = max(rows, key=lambda axis: rows[axis])
        dim = max((dim for dim in worst.dims if dim != VALUE), key=lambda dim: len(sizes[dim]))
        sizes[dim] = _thinned(nest.extent(dim), sizes[dim])
    signatures = _signatures(nest, pin)
    classes = list(islice(_orders(nest, pin, signatures), ORDERS + 1))
    listed = tuple(classes[:ORDERS])
    return MapSpace(tuple(sizes.values()), listed, signatures, declared * len(classes))


def balanced_sizes(extent: int) -> list[int]:
    """For each number of tiles the smallest size that needs no more, the largest first."""
    sizes, count = [], 1
    while True:
        size = -(-extent // count)
        sizes.append(size)
        if size == 1:
            return sizes
        count = -(-extent // (size - 1))  # the fewest tiles with a smaller size


def _sizes(nest: Nest, arch: Arch, dim: str, pin: Pin, accesses: Sequence[Access]) -> Ints:
    """Sizes of a dimension that `accesses` depend on, ascending, of which a tile fits where all others are of one
    point."""
    extent, step = nest.extent(dim), block_steps(nest).get(dim, 1)
    pinned = dict(pin.tiles)
    if dim in pinned or pin.complete:
        size = min(pinned.get(dim, extent), extent)
        is_legal = size <= EXTENT_LIMIT and (size == extent or size % step == 0)
        return np.array([size] if is_legal else [], np.int64)
    least, most = -(-extent // TILES), min(extent, EXTENT_LIMIT)
    ones = {each.name: 1 for each in nest.domain}
    extents = {each.name: each.extent for each in nest.domain}

    def fits(size: int) -> bool:
        for access in accesses:
            element = nest.accumulator.bits if access is nest.write else access.local_type.bits
            axes = zip(access.index, access.shape, strict=True)
            positions = prod(axis_count(axis, view, extents, {**ones, dim: size}) for axis, view in axes)
            if positions * element > 8 * arch.holder(access.role.value).capacity_bytes:
                return False
        return True

    low, high = least, most  # the greatest that fits lies between them, if any does
    if fits(most):
        low = most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    sizes = np.arange(least, low + 1, dtype=np.int64)
    return sizes if step == 1 else sizes[(sizes % step == 0) | (sizes == extent)]


def _box_rows(nest: Nest, sizes: dict[str, Ints]) -> dict[Affine, int]:
    """Rows of the table of boxes for each axis."""
    rows = {}
    for access in (*nest.reads, nest.write):
        for axis in access.index:
            dims = [dim for dim in axis.dims if dim != VALUE and nest.extent(dim) > 1]
            rows[axis] = prod(2 * len(sizes[dim]) - 1 for dim in dims)
    return rows


def _thinned(extent: int, sizes: Ints) -> Ints:
    """Sizes that balance tiles; where all do, about four fifths of them: few tiles matter more than many."""
    balanced = np.intersect1d(sizes, np.array(balanced_sizes(extent), np.int64))
    if 0 < len(balanced) < len(sizes):
        return balanced
    kept = [number for number in range(len(sizes)) if number % 5 != 2 or number >= len(sizes) - 4]
    return sizes[kept] if len(kept) < len(sizes) else sizes[1:]


def _signatures(nest: Nest, pin: Pin) -> dict[str, int]:
    """A number for the set of operands that depend on a dimension; its own for one that keeps its place."""
    fixed = {dim for dim, _ in pin.tiles}
    if sum_has_an_order(nest):
        fixed |= set(dims_of(nest, CounterClass.REDUCE))
    dims = [access.dims for access in (*nest.reads, nest.write)]
    found: dict[object, int] = {}
    numbers = {}
    for dim in nest.domain:
        key = dim.name if dim.name in fixed else tuple(dim.name in each for each in dims)
        numbers[dim.name] = found.setdefault(key, len(found))
    return numbers


def _orders(nest: Nest, pin: Pin, signatures: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """One order of each class of orders that differ in what is moved: pinned loops outside, reduced dimensions inside;
    neighbours with the same signature in the order of the domain."""
    pinned = tuple(dim for dim, _ in pin.tiles)
    reduce = [dim for dim in dims_of(nest, CounterClass.REDUCE) if dim not in pinned]
    outer = [dim.name for dim in nest.domain if dim.name not in (*pinned, *reduce)]
    still = tuple(dim for dim in outer if nest.extent(dim) <= 1)
    place = {dim.name: number for number, dim in enumerate(nest.domain)}

    def arranged(left: tuple[str, ...], last: str) -> Iterator[tuple[str, ...]]:
        if not left:
            yield ()
        for dim in left:
            if last and signatures[dim] == signatures[last] and place[dim] < place[last]:
                continue
            for rest in arranged(tuple(each for each in left if each != dim), dim):
                yield (dim, *rest)

    inner = [tuple(reduce)] if sum_has_an_order(nest) else arranged(tuple(reduce), "")
    for inside in list(islice(inner, ORDERS + 1)):
        for outside in arranged(tuple(dim for dim in outer if dim not in still), ""):
            yield (*pinned, *still, *outside, *inside)
