"""What one dimension of a loop tree does between two successive tiles, in classes with how often each occurs.

Of the loops outside of a tile one *advances*, those outside of it keep their piece and those inside of it start anew:
they go from their last piece to their first. Along one dimension that leaves few different pairs of pieces, old and
new, however many iterations there are: only near the border of a padded axis does the place of a piece matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ....ir.loop_tree import LoopNode, Spatial, Temporal


class Lanes(Enum):
    """Which instances of a spatial loop are counted."""

    SUM = "sum"  # each of them
    FIRST = "first"  # the first alone
    SHARED = "shared"  # those that take the same tile count once


@dataclass(frozen=True, slots=True)
class Step:
    """A loop outside of the tile: its place in the tree, its pieces' size, and, if it is spatial, how lanes count."""

    place: int
    size: int
    lanes: Lanes | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A piece of the dimension and the one before it: `size` points from `start`, after `old_size` points from
    `start - shift`; a size of 0 is none. `inner` says that the piece lies so far inside that no border matters. `lane`
    are the indices along shared spatial loops, `key` tells apart what else differs."""

    size: int
    old_size: int
    start: int = 0
    shift: int = 0
    inner: bool = True
    lane: tuple[int, ...] = ()
    key: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Border:
    """Pieces whose points all lie in `low` .. `high` - 1 touch no padding, whatever the other dimensions do."""

    low: int
    high: int


FIRST_TILE = -1  # the "loop that advances" before the first tile: nothing was there
NO_TILE = 1 << 60  # ... when every loop keeps its piece: the tiles themselves are counted, not what changes


def pairs(
    steps: Sequence[Step], extent: int, advancing: int, border: Border | None, keyed: bool = False
) -> dict[Pair, int]:
    """The pairs of pieces of a dimension of `extent` points when the loop at place `advancing` goes on by one, and how
    often each occurs. `border` is None where no position can be padding.

    `keyed` keeps apart what lanes are compared within: pairs with equal `key` are lanes of the same tile, and their
    places are given relative to one another.
    """
    whole = Pair(extent, 0 if advancing == FIRST_TILE else extent, inner=border is None)
    found = {_settled(whole, border, keyed): 1}
    for step in steps:
        after: dict[Pair, int] = {}
        for pair, times in found.items():
            for number, (split, count) in enumerate(_split(pair, step, advancing, border)):
                settled = _settled(split, border, keyed)
                if keyed and step.lanes is not Lanes.SHARED:
                    settled = replace(settled, key=(*settled.key, number))
                after[settled] = after.get(settled, 0) + times * count
        found = after
    return found


def _settled(pair: Pair, border: Border | None, keyed: bool) -> Pair:
    """`pair`, told apart no longer by where it lies if that cannot matter any more."""
    if not pair.inner and border is not None:
        old = pair.start - pair.shift
        first = min(pair.start, old) if pair.old_size else pair.start
        last = max(pair.start + pair.size, old + pair.old_size if pair.old_size else 0)
        if first < border.low or last > border.high:
            return pair
    return replace(pair, inner=True, start=pair.start if keyed else 0)


def _split(pair: Pair, step: Step, advancing: int, border: Border | None) -> Iterator[tuple[Pair, int]]:
    size, count = step.size, -(-pair.size // step.size)
    if step.lanes is not None:
        lanes = 1 if step.lanes is Lanes.FIRST else count
        for lane in range(lanes):
            at = lane * size
            old = max(0, min(size, pair.old_size - at))
            split = replace(pair, size=min(size, pair.size - at), old_size=old, start=pair.start + at)
            if step.lanes is Lanes.SHARED:
                split = replace(split, lane=(*pair.lane, lane))
            yield split, 1
    elif step.place > advancing:  # starts anew
        old_count = -(-pair.old_size // size)
        back = (old_count - 1) * size if old_count else 0
        old = pair.old_size - back
        yield replace(pair, size=min(size, pair.size), old_size=old, shift=pair.shift - back), 1
    elif step.place == advancing:
        for first, times in _runs(pair, size, 1, count, border):
            new = min(size, pair.size - first * size)
            yield replace(pair, size=new, old_size=size, start=pair.start + first * size, shift=size), times
    else:
        for first, times in _runs(pair, size, 0, count, border):
            new = min(size, pair.size - first * size)
            yield replace(pair, size=new, old_size=new, start=pair.start + first * size), times


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
