"""What one dimension of a loop tree does between two successive tiles, in classes with how often each occurs.

Of the loops outside of a tile one *advances*, those outside of it keep their piece and those inside of it start anew:
they go from their last piece to their first. Along one dimension that leaves few different pairs of pieces, old and
new, however many iterations there are: only near the border of a padded axis does the place of a piece matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from ....ir.diagnostics import CompileError, Diagnostic
from ....ir.frozen import dataclass
from ....ir.loop_tree import LoopNode, Spatial, Temporal


class Lanes(Enum):
    """Which instances of a spatial loop are counted."""

    SUM = "sum"  # each of them
    FIRST = "first"  # the first alone
    SHARED = "shared"  # those that take the same tile count once


class Step(NamedTuple):
    """A loop outside of the tile: its place in the tree, its pieces' size, and, if it is spatial, how lanes count."""

    place: int
    size: int
    lanes: Lanes | None = None


class Pair(NamedTuple):
    """A piece of the dimension and the one before it: `size` points from `start`, after `old_size` points from
    `start - shift`; a size of 0 is none. `inner` says that the piece lies so far inside that no border matters. `lane`
    are places of shared spatial loops with the index along each, where lanes are compared (`in_step`)."""

    size: int
    old_size: int
    start: int = 0
    shift: int = 0
    inner: bool = True
    lane: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Border:
    """Pieces whose points all lie in `low` .. `high` - 1 touch no padding, whatever the other dimensions do."""

    low: int
    high: int


PIECE_LIMIT = 10_000  # pieces of one loop whose places matter
FIRST_TILE = -1  # the "loop that advances" before the first tile: nothing was there
NO_TILE = 1 << 60  # ... when every loop keeps its piece: the tiles themselves are counted, not what changes


def pairs(steps: Sequence[Step], extent: int, advancing: int, border: Border | None) -> dict[Pair, int]:
    """The pairs of pieces of a dimension of `extent` points when the loop at place `advancing` goes on by one, and how
    often each occurs. `border` is None where no position can be padding. Every lane of a shared loop counts."""
    found = {_settled(_whole(extent, advancing, border), border): 1}
    for step in steps:
        after: dict[Pair, int] = {}
        for pair, times in found.items():
            for first, count in _classes(pair, step, advancing, border):
                settled = _settled(_piece(pair, step, first, advancing), border)
                after[settled] = after.get(settled, 0) + times * count
        found = after
    return found


def in_step(steps: Sequence[Step], extent: int, advancing: int, border: Border | None) -> dict[tuple[Pair, ...], int]:
    """As `pairs`, where lanes are compared: the pairs of all lanes of the shared loops at the same moment, in places
    relative to one another, and how often they occur together."""
    found: dict[tuple[Pair, ...], int] = {(_settled(_whole(extent, advancing, border), border),): 1}
    for step in steps:
        after: dict[tuple[Pair, ...], int] = {}
        for lanes, times in found.items():
            for split, count in _split_together(lanes, step, advancing, border):
                settled = _settled_together(split, border)
                after[settled] = after.get(settled, 0) + times * count
        found = after
    return found


def _split_together(
    lanes: Sequence[Pair], step: Step, advancing: int, border: Border | None
) -> Iterator[tuple[list[Pair], int]]:
    if step.lanes is Lanes.SHARED:
        yield (
            [
                _piece(pair, step, index, advancing)._replace(lane=(*pair.lane, (step.place, index)))
                for pair in lanes
                for index in range(_count(pair, step))
            ],
            1,
        )
        return
    runs = [run for pair in lanes for run in _classes(pair, step, advancing, border)]
    cuts = sorted({first for first, _ in runs} | {first + count for first, count in runs})
    for first, end in pairwise(cuts):
        # A lane that has fewer pieces waits meanwhile.
        yield [_piece(pair, step, first, advancing) for pair in lanes if first < _count(pair, step)], end - first


def _whole(extent: int, advancing: int, border: Border | None) -> Pair:
    return Pair(extent, 0 if advancing == FIRST_TILE else extent, inner=border is None)


def _settled(pair: Pair, border: Border | None) -> Pair:
    """`pair`, told apart no longer by where it lies if that cannot matter any more."""
    if (pair.inner and not pair.start) or not _lies_inside(pair, border):
        return pair
    return Pair(pair.size, pair.old_size, 0, pair.shift, True, pair.lane)


def _settled_together(lanes: Sequence[Pair], border: Border | None) -> tuple[Pair, ...]:
    """The same for lanes that are compared: only their common place may be forgotten."""
    if not all(_lies_inside(pair, border) for pair in lanes):
        return tuple(lanes)
    base = min((pair.start for pair in lanes), default=0)
    return tuple([pair._replace(inner=True, start=pair.start - base) for pair in lanes])


def _lies_inside(pair: Pair, border: Border | None) -> bool:
    if pair.inner or border is None:
        return True
    old = pair.start - pair.shift
    first = min(pair.start, old) if pair.old_size else pair.start
    last = max(pair.start + pair.size, old + pair.old_size if pair.old_size else 0)
    return first >= border.low and last <= border.high


def _count(pair: Pair, step: Step) -> int:
    return -(-pair.size // step.size)


def _classes(pair: Pair, step: Step, advancing: int, border: Border | None) -> Iterator[tuple[int, int]]:
    """The pieces that a loop makes of `pair` as runs of alike ones: the index of the first, and how many there are."""
    count = _count(pair, step)
    if step.lanes is not None:
        for lane in range(1 if step.lanes is Lanes.FIRST else count):
            yield lane, 1
    elif step.place > advancing:  # starts anew
        yield 0, 1
    else:
        yield from _runs(pair, step.size, int(step.place == advancing), count, border)


def _piece(pair: Pair, step: Step, index: int, advancing: int) -> Pair:
    """The piece at `index` and the one before it."""
    whole, old_size, start, shift, inner, lane = pair
    at = index * step.size
    size = min(step.size, whole - at)
    if step.lanes is not None:
        return Pair(size, max(0, min(step.size, old_size - at)), start + at, shift, inner, lane)
    if step.place > advancing:  # from the last piece to the first
        back = (-(-old_size // step.size) - 1) * step.size if old_size else 0
        return Pair(size, old_size - back, start, shift - back, inner, lane)
    if step.place == advancing:
        return Pair(size, step.size, start + at, step.size, inner, lane)
    return Pair(size, size, start + at, shift, inner, lane)


def _runs(pair: Pair, size: int, first: int, count: int, border: Border | None) -> Iterator[tuple[int, int]]:
    """Indices `first` .. `count` - 1 as runs of alike ones: the index of one, and how many there are. The last one,
    which may be short, is a run of its own."""
    if count <= first:
        return
    if pair.inner or border is None:
        if count - 1 > first:
            yield first, count - 1 - first
        yield count - 1, 1
        return
    # Those between `begin` and `end` lie inside together with the piece before them.
    begin = min(max(first, -((pair.start - border.low) // size) + first), count - 1)
    end = max(begin, min(count - 1, (border.high - pair.start) // size))
    if (apart := begin - first + count - end) > PIECE_LIMIT:
        message = f"{apart} pieces of {size} points lie where a window may meet padding"
        raise CompileError(Diagnostic(message, help=f"at most {PIECE_LIMIT} are counted one by one"))
    for index in range(first, begin):
        yield index, 1
    if end > begin:
        yield begin, end - begin
    for index in range(end, count):
        yield index, 1


def steps_of(dim: str, nodes: Sequence[LoopNode], until: int, lanes: Mapping[int, Lanes]) -> list[Step]:
    """The loops over `dim` at places before `until`; `lanes` says how those of spatial ones count."""
    found = []
    for place, node in enumerate(nodes[:until]):
        if isinstance(node, (Temporal, Spatial)) and node.dim == dim:
            found.append(Step(place, node.size, lanes.get(place)))
    return found
