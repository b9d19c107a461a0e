"""How many elements of an operand a tile takes over all of a loop tree, in closed form.

Each time a loop advances, every instance takes what its new box has and its old one had not. A box is a product over
groups of axes that share no dimension, and so are both its volume and its overlap with the box before; summed over
all iterations and instances they stay products of sums, one a group:

    taken = sum over advancing loops of  prod over groups sum |new|  -  prod over groups sum |new and old|

The sums are over few classes of pieces (steps.py), so the work grows with the number of loops, not of tiles.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import product
from math import gcd, prod
from typing import TypeVar

from ....ir.diagnostics import CompileError, Diagnostic
from ....ir.frozen import dataclass
from ....ir.loop_tree import Keep, LoopNode, Operand, OperandAxis, Spatial, Temporal, Workload
from .steps import FIRST_TILE, NO_TILE, Border, Lanes, Pair, Step, in_step, pairs, steps_of

COMBINATION_LIMIT = 100_000  # of pieces along the dimensions of one group
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis in units of its step: position sum(coefficient x dimension), of which `low` .. `high` - 1 are stored."""

    terms: tuple[tuple[str, int], ...]
    low: int
    high: int


@dataclass(frozen=True)
class Group:
    """Dimensions that share axes of an operand, with those axes. A dimension of no axis is a group without any."""

    dims: tuple[str, ...]
    axes: tuple[Axis, ...]
    borders: Mapping[str, Border | None]


def axis_of(axis: OperandAxis, extents: Mapping[str, int], clips: bool = True) -> Axis:
    """The axis with the constant moved into its borders; the step is the greatest common divisor of what moves it,
    unless gaps count. Without `clips` padding counts as if it were stored."""
    index, extent = axis.index, axis.extent
    step = 1 if axis.dense else gcd(*[c for dim, c in index.terms if extents[dim] > 1]) or 1
    terms = tuple((dim, c // step) for dim, c in index.terms if extents[dim] > 1)
    if not clips:
        return Axis(terms, 0, sum(c * (extents[dim] - 1) for dim, c in terms) + 1)
    return Axis(terms, -(index.constant // step), (extent - 1 - index.constant) // step + 1)


def groups_of(operand: Operand, workload: Workload, clips: bool = True) -> tuple[Group, ...]:
    """The groups of all dimensions of the workload; an axis that nothing moves is a group without dimensions."""
    extents = workload.extents
    axes = [axis_of(each, extents, clips) for each in operand.axes]
    joined: list[tuple[set[str], list[Axis]]] = [({dim}, []) for dim in extents]
    for axis in axes:
        dims = {dim for dim, _ in axis.terms}
        touched = [each for each in joined if each[0] & dims]
        joined = [each for each in joined if not each[0] & dims]
        joined.append((dims.union(*[each[0] for each in touched]), [axis, *[a for t in touched for a in t[1]]]))
    found = []
    for dims, own in joined:
        names = tuple(dim for dim in extents if dim in dims)
        found.append(Group(names, tuple(own), {dim: _border(dim, own, extents) for dim in names}))
    return tuple(found)


def _border(dim: str, axes: Sequence[Axis], extents: Mapping[str, int]) -> Border | None:
    """Where pieces of `dim` touch no padding, whatever the other dimensions do; None where nothing can."""
    low, high, padded = 0, extents[dim], False
    for axis in axes:
        coefficients = dict(axis.terms)
        own = coefficients.pop(dim, 0)
        if not own:
            continue
        others = sum(c * (extents[each] - 1) for each, c in coefficients.items())
        if axis.low > 0 or own * (extents[dim] - 1) + others >= axis.high:
            padded = True
            low = max(low, -(-axis.low // own))
            high = min(high, (axis.high - 1 - others) // own + 1)
    return Border(low, max(low, high)) if padded else None


@dataclass(frozen=True, slots=True)
class Sums:
    """Over all iterations and instances of one group: lengths of new pieces, of what the old ones had of them, and of
    those that the old ones had as a whole."""

    new: int
    kept: int
    same: int

    def plus(self, times: int, new: int, kept: int) -> Sums:
        """With `times` pieces more."""
        return Sums(self.new + times * new, self.kept + times * kept, self.same + (times * new if kept == new else 0))


class Mover:
    """Counts for one operand of one loop tree; without `clips` padding counts as if it were stored. Without `slides` a
    tile keeps a part of the one before it only where the innermost loop advances."""

    def __init__(
        self,
        workload: Workload,
        operand: Operand,
        nodes: Sequence[LoopNode],
        *,
        clips: bool = True,
        slides: bool = True,
    ) -> None:
        self.extents = workload.extents
        self.nodes = nodes
        self.slides = slides
        self.groups = groups_of(operand, workload, clips)
        self._sums: dict[tuple[object, ...], Sums] = {}

    @cached_property
    def _places(self) -> dict[tuple[str, ...], tuple[list[int], list[int]]]:
        """Of the temporal and of the spatial loops over the dimensions of a group."""
        spatial = [place for place, node in enumerate(self.nodes) if isinstance(node, Spatial)]
        return {
            group.dims: (
                [place for place in self._temporal if self._dim(place) in group.dims],
                [place for place in spatial if self._dim(place) in group.dims],
            )
            for group in self.groups
        }

    def _dim(self, place: int) -> str:
        node = self.nodes[place]
        return "" if isinstance(node, Keep) else node.dim

    @cached_property
    def _temporal(self) -> list[int]:
        return [place for place, node in enumerate(self.nodes) if isinstance(node, Temporal)]

    def taken(self, until: int, lanes: Mapping[int, Lanes], within: int | None = None, *, keeps: bool = True) -> int:
        """Elements that the tiles inside of the first `until` nodes take, the first ones included: at all times, or
        when a loop among the first `within` nodes advances. Without `keeps` nothing stays from one tile to the next.

        `lanes` says by place how instances along each spatial loop count.
        """
        total = 0
        outside = [place for place in self._temporal if place < until]
        for advancing in [FIRST_TILE, *[place for place in outside if within is None or place < within]]:
            sums = [self._group(group, until, advancing, lanes) for group in self.groups]
            total += prod([each.new for each in sums])
            if keeps and advancing != FIRST_TILE:
                parts = self.slides or advancing == outside[-1]
                total -= prod([each.kept if parts else each.same for each in sums])
        return total

    def visited(self, until: int, lanes: Mapping[int, Lanes]) -> int:
        """Elements of all tiles inside of the first `until` nodes, those that stay from one to the next included."""
        return prod(self._group(group, until, NO_TILE, lanes).new for group in self.groups)

    def distinct(self, until: int, lanes: Mapping[int, Lanes]) -> int:
        """Different elements that instances take, each instance's counted for itself, if no two dimensions of the
        operand share an axis."""
        total = 1
        for group in self.groups:
            every = self._group(group, until, NO_TILE if group.axes else FIRST_TILE, lanes)
            total *= every.new
        return total

    def largest(self, until: int) -> int:
        """Elements of the largest tile: the first, with what would be padding."""
        total = 1
        first = {place: Lanes.FIRST for place, node in enumerate(self.nodes) if not isinstance(node, Temporal)}
        for group in self.groups:
            sizes = {}
            for dim in group.dims:
                (pair,) = pairs(steps_of(dim, self.nodes, until, first), self.extents[dim], FIRST_TILE, None)
                sizes[dim] = pair.size
            for axis in group.axes:
                total *= sum(c * (sizes[dim] - 1) for dim, c in axis.terms) + 1
        return total

    def _group(self, group: Group, until: int, advancing: int, lanes: Mapping[int, Lanes]) -> Sums:
        # What matters are the group's own loops outside of the tile, and which of them lie outside of the one that
        # advances.
        temporal, spatial = self._places[group.dims]
        outside = bisect_left(temporal, until)
        inside = min(outside, bisect_left(temporal, advancing))
        own = inside < outside and temporal[inside] == advancing
        split = tuple([lanes.get(place) for place in spatial if place < until])
        place = advancing if None in split else None  # a spatial loop that counts as a temporal one
        key = (group.dims, group.axes, outside, inside, own, advancing == FIRST_TILE, split, place)
        if key not in self._sums:
            self._sums[key] = self._summed(group, until, advancing, lanes)
        return self._sums[key]

    def _summed(self, group: Group, until: int, advancing: int, lanes: Mapping[int, Lanes]) -> Sums:
        if not group.axes:  # all instances take the same
            lanes = {place: Lanes.FIRST if how is Lanes.SHARED else how for place, how in lanes.items()}
        steps = {dim: steps_of(dim, self.nodes, until, lanes) for dim in group.dims}
        sharing = [dim for dim in group.dims if any(step.lanes is Lanes.SHARED for step in steps[dim])]

        def choices(of: Callable[[Sequence[Step], int, int, Border | None], dict[T, int]]) -> list[list[tuple[T, int]]]:
            return [
                list(of(steps[dim], self.extents[dim], advancing, group.borders[dim]).items()) for dim in group.dims
            ]

        if group.axes and len(sharing) > 1:
            together = choices(in_step)
            _refuse_many(prod([sum(len(lanes) for lanes, _ in choice) for choice in together]))
            return _shared_sums(group, together)
        alone = choices(pairs)
        _refuse_many(prod(map(len, alone)))
        sums = Sums(0, 0, 0)
        for chosen in product(*alone):
            named = dict(zip(group.dims, [pair for pair, _ in chosen], strict=True))
            sums = sums.plus(prod([count for _, count in chosen]), *_lengths(group, named))
        return sums


def _refuse_many(pieces: int) -> None:
    if pieces > COMBINATION_LIMIT:
        message = f"a mapping has {pieces} combinations of pieces that padding or lanes tell apart"
        raise CompileError(Diagnostic(message, help=f"at most {COMBINATION_LIMIT} are counted"))


def _shared_sums(group: Group, choices: Sequence[Sequence[tuple[tuple[Pair, ...], int]]]) -> Sums:
    """Sums where lanes of several dimensions may take the same tile: of those the first one counts."""
    sums = Sums(0, 0, 0)
    for moment in product(*choices):
        times = prod([count for _, count in moment])
        first: dict[tuple[tuple[int, int], ...], tuple[list[tuple[int, int]], dict[str, Pair]]] = {}
        for chosen in product(*[lanes for lanes, _ in moment]):
            named = dict(zip(group.dims, chosen, strict=True))
            box = tuple(
                [_interval(axis, {dim: (pair.start, pair.size) for dim, pair in named.items()}) for axis in group.axes]
            )
            lane = sorted(index for pair in chosen for index in pair.lane)
            if box not in first or lane < first[box][0]:
                first[box] = lane, named
        for _, named in first.values():
            sums = sums.plus(times, *_lengths(group, named))
    return sums


def _lengths(group: Group, named: Mapping[str, Pair]) -> tuple[int, int]:
    """Lengths of the new piece and of its overlap with the old one, multiplied over the axes of the group."""
    new, kept = 1, int(all(pair.old_size for pair in named.values()))
    for axis in group.axes:
        begin, end = _interval(axis, {dim: (pair.start, pair.size) for dim, pair in named.items()})
        old_begin, old_end = _interval(
            axis, {dim: (pair.start - pair.shift, pair.old_size) for dim, pair in named.items()}
        )
        if not any(named[dim].inner for dim, _ in axis.terms):
            begin, end = max(begin, axis.low), min(end, axis.high)
        new *= max(0, end - begin)
        kept *= max(0, min(end, old_end) - max(begin, old_begin))
    return new, kept


def _interval(axis: Axis, pieces: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    begin = sum(c * pieces[dim][0] for dim, c in axis.terms)
    return begin, begin + sum(c * (pieces[dim][1] - 1) for dim, c in axis.terms) + 1
