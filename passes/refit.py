"""A schedule for a nest some of whose operands stay in local memory whole, and which has less room for its tiles.

before:  dram temporal p 28 of 2, m 4 of 16 ; buffer %x spad x2 ; ...
after:   dram temporal m 2 of 32            ; buffer %x spad whole ; ... ; store %y to spad whole

Three mappings are tried, each with tiles that shrink until they fit: that of the nest as it was, and the largest tiles
with either the columns or the points cut first (what is there whole is moved by no loop order, so that few large tiles
are good). Which is best is counted, not estimated.

Requires: a scheduled nest that is not empty.
Ensures:  the schedule is legal and fits, and sums of floats are added in the same order; one whose tiles are fixed
          keeps them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import lcm

from ..ir.arch import Arch
from ..ir.block_rules import block_steps
from ..ir.frozen import dataclass
from ..ir.nest import VALUE, Access, CounterClass, Nest, Schedule, Target, main_memory_loops, tile_sizes
from ..ir.nest_layout import axis_step, local_layout, split_axes
from ..ir.schedule_rules import EXTENT_LIMIT, schedule_faults
from .schedule import buffer_order, dims_of, make_schedule


@dataclass(frozen=True, slots=True)
class Stay:
    """What of a nest stays in local memory: margins by operand that is read, and where the output goes."""

    reads: tuple[tuple[str, tuple[int, ...]], ...] = ()
    target: Target | None = None


def tile_room(nest: Nest, arch: Arch) -> dict[str, int]:
    """Bytes that the tiles of a scheduled nest take in each local memory; what is there whole is no tile."""
    assert nest.schedule is not None
    needed = dict.fromkeys((memory.name for memory in arch.local), 0)
    sizes = tile_sizes(nest)
    for buffer in nest.schedule.buffers:
        if not buffer.is_whole:
            layout = local_layout(nest, buffer.operand, arch.memory(buffer.memory).word_bytes, sizes)
            needed[buffer.memory] += buffer.copies * layout.tile_bytes
    return needed


def remade(nest: Nest, arch: Arch, stay: Stay, loops: Sequence[tuple[str, int]], copies: Mapping[str, int]) -> Nest:
    """The nest with the schedule that main-memory loops and copies stand for; whether it is legal is not asked."""
    assert nest.schedule is not None
    made = make_schedule(nest, arch, nest.schedule.dataflow, loops, copies, nest.schedule.im2col)
    return _staying(nest, made, stay)


def refitted(nest: Nest, arch: Arch, stay: Stay, room: Mapping[str, int], fixed: bool) -> Iterator[Nest]:
    """The nest with each of the schedules that are tried and are legal; `room` is bytes for tiles by memory, `fixed`
    says that tiles and copies are not to change."""
    schedule = nest.schedule
    assert schedule is not None
    if fixed:
        trial = _staying(nest, schedule, stay)
        if _fits(trial, arch, room) and not any(schedule_faults(trial, arch)):
            yield trial
        return
    seen: set[tuple[object, ...]] = set()
    for start, doubled in _starts(nest):
        decision = _decided(nest, arch, stay, room, start, doubled)
        if decision is None:
            continue
        key = (decision.loops, tuple(decision.copies.items()))
        if key in seen:
            continue
        seen.add(key)
        found = remade(nest, arch, stay, decision.loops, decision.copies)
        if not any(schedule_faults(found, arch)):
            yield found


def _starts(nest: Nest) -> Iterator[tuple[_Start, Mapping[str, int] | None]]:
    """What to begin with: the mapping of the nest as it was, then large tiles; with the copies, if they are given."""
    assert nest.schedule is not None
    loops = tuple((loop.dims[0], loop.size) for loop in main_memory_loops(nest.schedule))
    yield _Start(loops, ()), {buffer.operand: buffer.copies for buffer in nest.schedule.buffers}
    # The order of a sum of floats is that of its tiles: those of reduced dimensions stay as they are.
    if not nest.accumulator.is_float:
        for start in _large(nest):
            yield start, None


@dataclass(frozen=True, slots=True)
class _Start:
    """Main-memory loops, the outermost first, and the order in which tiles shrink; the loops' own order without."""

    loops: tuple[tuple[str, int], ...]
    cut: tuple[str, ...]


def _large(nest: Nest) -> Iterator[_Start]:
    batch, column = dims_of(nest, CounterClass.BATCH), dims_of(nest, CounterClass.COLUMN)
    point, reduce = dims_of(nest, CounterClass.POINT), dims_of(nest, CounterClass.REDUCE)
    for outer in (column + batch + point, point + batch + column):
        yield _Start(tuple((dim, nest.extent(dim)) for dim in (*outer, *reduce)), tuple(outer))


def _staying(nest: Nest, schedule: Schedule, stay: Stay) -> Nest:
    margins = dict(stay.reads)
    buffers = tuple(
        replace(buffer, copies=1, order=(), margins=margins[buffer.operand]) if buffer.operand in margins else buffer
        for buffer in schedule.buffers
    )
    return replace(nest, schedule=replace(schedule, buffers=buffers, target=stay.target))


def _fits(nest: Nest, arch: Arch, room: Mapping[str, int]) -> bool:
    return all(needed <= room[name] for name, needed in tile_room(nest, arch).items())


def _units(nest: Nest, arch: Arch, stay: Stay) -> dict[str, int]:
    """Points of each dimension that a tile holds a multiple of: rows of an axis that the target splits, columns of the
    array, whole blocks where they are pruned."""
    units = dict.fromkeys(dims_of(nest, CounterClass.COLUMN), arch.array.cols)
    if stay.target is not None:
        splits = split_axes(nest.write.shape, stay.target.shape) or ()
        for axis, inner in zip(nest.write.index, splits, strict=True):
            if inner > 1 and axis.terms:
                units[axis.terms[0][0]] = inner
    for dim, step in block_steps(nest).items():
        units[dim] = lcm(units.get(dim, 1), step)
    return units


@dataclass(frozen=True, slots=True)
class _Decision:
    """Main-memory loops and copies of a mapping that fits."""

    loops: tuple[tuple[str, int], ...]
    copies: Mapping[str, int]


def _decided(
    nest: Nest, arch: Arch, stay: Stay, room: Mapping[str, int], start: _Start, copies: Mapping[str, int] | None
) -> _Decision | None:
    """The first of ever smaller tiles that fit, or None. `copies` None: two of what changes, and one where that does
    not fit."""
    whole = {operand for operand, _ in stay.reads}
    tiles = [_Tile.of(nest, arch, each) for each in (*nest.reads, nest.write) if each.operand not in whole]
    units = _units(nest, arch, stay)
    extents = {dim.name: dim.extent for dim in nest.domain}
    units = {dim: min(units.get(dim, 1), extent) for dim, extent in extents.items()}
    sizes = extents | {dim: _rounded(size, units[dim]) for dim, size in start.loops}
    order = start.cut or tuple(dim for dim, _ in start.loops if dim in nest.write.dims)
    while True:
        loops = tuple((dim, sizes[dim]) for dim, _ in start.loops if sizes[dim] < extents[dim])
        if max(sizes.values()) <= EXTENT_LIMIT:
            found = _fitting_copies(nest, tiles, sizes, {dim for dim, _ in loops}, room, copies)
            if found is not None:
                return _Decision(loops, found)
        cuttable = [dim for dim in order if sizes[dim] > units[dim]]
        if not cuttable:
            return None
        dim = cuttable[0]
        blocks = -(-extents[dim] // units[dim])
        held = -(-sizes[dim] // units[dim])
        count = -(-blocks // (held - 1))  # the fewest tiles of fewer blocks
        sizes[dim] = -(-blocks // count) * units[dim]


def _rounded(size: int, unit: int) -> int:
    return max(unit, size // unit * unit)


@dataclass(frozen=True, slots=True)
class _Tile:
    """How large the tile of an operand is: ir.nest.local_layout without the layout."""

    operand: str
    dims: frozenset[str]
    memory: str
    element_bits: int
    word_bytes: int
    axes: tuple[tuple[int, tuple[tuple[str, int], ...], int], ...]  # innermost first: positions at least, terms, step

    @staticmethod
    def of(nest: Nest, arch: Arch, access: Access) -> _Tile:
        assert nest.schedule is not None
        memory = arch.holder(access.role.value)
        extents = {dim.name: dim.extent for dim in nest.domain}
        order = buffer_order(nest, access.operand, nest.schedule.dataflow) or tuple(range(len(access.index)))
        axes = []
        for number in reversed(order):
            axis, view = access.index[number], access.shape[number]
            is_table = VALUE in axis.dims
            axes.append((view if is_table else 1, () if is_table else axis.terms, axis_step(axis, extents)))
        element = nest.accumulator.bits if access is nest.write else access.local_type.bits
        return _Tile(access.operand, access.dims, memory.name, element, memory.word_bytes, tuple(axes))

    def bytes(self, sizes: Mapping[str, int]) -> int:
        """Of one copy, for tiles of `sizes`."""
        elements, word_bits = 1, 8 * self.word_bytes
        for place, (least, terms, step) in enumerate(self.axes):
            elements *= least + sum(c * (sizes[dim] - 1) for dim, c in terms) // step
            if place == 0:
                elements = -(-(-(-elements * self.element_bits // word_bits) * word_bits) // self.element_bits)
        return -(-elements * self.element_bits // word_bits) * self.word_bytes


def _fitting_copies(
    nest: Nest,
    tiles: Sequence[_Tile],
    sizes: Mapping[str, int],
    tiled: Collection[str],
    room: Mapping[str, int],
    copies: Mapping[str, int] | None,
) -> dict[str, int] | None:
    """Copies with which the tiles fit: those that are given or two of all that changes, else fewer; None if even single
    ones do not."""
    one = {tile.operand: tile.bytes(sizes) for tile in tiles}
    wanted = {tile.operand: 1 if tile.dims.isdisjoint(tiled) else 2 for tile in tiles}
    if copies is not None:
        wanted = {operand: min(count, copies[operand]) for operand, count in wanted.items()}
    for single in ((), *_single(nest, wanted)):
        chosen = wanted | dict.fromkeys(single, 1)
        left = dict(room)
        for tile in tiles:
            left[tile.memory] -= chosen[tile.operand] * one[tile.operand]
        if min(left.values()) >= 0:
            return chosen
    return None


def _single(nest: Nest, copies: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Operands that could do with one copy, more and more of them: first those of the post chain, then what is read,
    the output last."""
    small = [each.operand for each in nest.reads if each.operand not in (nest.body.a, nest.body.b)]
    order = [*small, *(o for o in (nest.body.a, nest.body.b) if o is not None), nest.write.operand]
    doubled = [operand for operand in order if copies.get(operand, 1) > 1]
    for count in range(1, len(doubled) + 1):
        yield tuple(doubled[:count])
