"""What a temporal block may do to the tiles of each role, and which sets of kinds of dimensions do the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ...ir.frozen import dataclass

PASSES, REUSES, MOVES = range(3)


@dataclass(frozen=True, slots=True)
class Choice:
    """Kinds that may have loops in a temporal block, those that the innermost loop may be of, and by role PASSES,
    REUSES or MOVES."""

    allowed: frozenset[int]
    innermost: frozenset[int]
    does: tuple[int, ...]


Class = tuple[Choice, ...]


def choices_of(kinds: Sequence[int], moving: Sequence[frozenset[int]]) -> list[Choice]:
    """The choices of a block in which loops of `kinds` may stand; `moving` are by role the kinds that move its tiles.
    Sets of kinds that do the same to every role have one choice, which allows all of them."""
    allowed: dict[tuple[int, ...], frozenset[int]] = {}
    innermost: dict[tuple[int, ...], frozenset[int]] = {}
    for size in range(len(kinds) + 1):
        for some in combinations(kinds, size):
            passes = [not movers & frozenset(some) for movers in moving]
            still = frozenset[int]().union(*[movers for movers, by in zip(moving, passes, strict=True) if by])
            most = frozenset(kinds) - still
            for last in some or (None,):
                does = tuple(
                    PASSES if by else REUSES if last not in movers and most - movers else MOVES
                    for by, movers in zip(passes, moving, strict=True)
                )
                allowed[does] = most
                innermost[does] = innermost.get(does, frozenset()) | (frozenset() if last is None else {last})
    return [Choice(allowed[does], innermost[does], does) for does in allowed]
