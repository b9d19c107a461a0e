"""The innermost loop that moves an operand whose tiles overlap, and which loops lie outside of it.

Let x be that loop, in block k. While x goes on, a tile keeps what it shares with the one before. While a loop outside
goes on, x starts anew, and what the tile keeps depends on what else does: nothing at all, if a dimension that does not
slide has a loop in between, whose pieces have nothing in common. So it is decided

- whether x slides; if it does not, only its own group may keep anything;
- whether there is such a dimension, and x keeps nothing when it starts anew in this block, or no other loop of the
  block stands in between: then all is kept that x keeps, and nothing else, exactly;
- or with one other in between, which slides, too: while that goes on, x starts anew. With u and v what x and that one
  keep, as shares of all tiles, and w <= 1 - u what x keeps when it starts anew, all but u + v w is taken, which is no
  less than (1 - u) (1 - v): each group counts its own;
- or else whether none parts the tiles in this block, or which loops stand in between.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import NamedTuple


class Mover(NamedTuple):
    """The innermost loop that moves a role in a block is over `dim`. Loops of the block: `cut` has one outside, which
    parts tiles, and `next` (if there is one) one in between; `anew` says whether x keeps anything when it starts anew,
    or None where that does not matter; `without` have none; none of `uncut` parts tiles; all of
    `every` and at least one of `some` have one."""

    dim: str
    cut: str = ""
    next: str = ""
    anew: bool | None = None
    without: frozenset[str] = frozenset()
    uncut: frozenset[str] = frozenset()
    every: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()


class Own(NamedTuple):
    """What a mover of a role in a block says to a group: of its own dimensions; `dim` is empty where none of them keeps
    anything. `is_cut`: nothing is kept but by x, and by the loop next to it; `is_next`: `dim` is that one. `anew` is
    that of x, or None."""

    role: int
    block: int
    dim: str
    is_cut: bool
    is_next: bool
    anew: bool | None
    cut: str
    without: frozenset[str]
    uncut: frozenset[str]
    every: frozenset[str]
    some: frozenset[str]


def movers_of(
    orders: Sequence[Sequence[str]],
    candidates: Sequence[str],
    sliding: Collection[str],
    parting: Sequence[str],
    groups: Sequence[Sequence[str]],
) -> list[Mover]:
    """All that may be: x is one of the `candidates` of a block with these `orders`; of those `sliding` may keep
    something, and `parting` ones may part the tiles. Every mapping with such an x is in one of them at least."""
    found = []
    for dim in candidates:
        if dim not in sliding:
            found.append(Mover(dim))
            continue
        between = {other: _between(orders, other, dim) for other in parting}
        cuts = {other: dims for other, dims in between.items() if dims is not None}
        found += [Mover(dim, cut=other, anew=False) for other in cuts]
        found += [Mover(dim, cut=other, anew=True, without=dims) for other, dims in cuts.items()]
        found.append(Mover(dim, uncut=frozenset(cuts)))
        others = frozenset[str]().union(*cuts.values())
        if len(cuts) == 1:
            ((cut, _),) = cuts.items()
            own = next(dims for dims in groups if dim in dims)
            next_ones = sorted(others & set(sliding) - set(own))
            found += [Mover(dim, cut=cut, next=each, anew=True, without=others - {each}) for each in next_ones]
            found += [Mover(dim, anew=True, every=frozenset(two)) for two in combinations(next_ones, 2)]
            others -= set(next_ones)
        found += [Mover(dim, anew=True, some=others & set(dims)) for dims in groups if others & set(dims)]
    return found


def _between(orders: Sequence[Sequence[str]], outer: str, inner: str) -> frozenset[str] | None:
    """Dimensions that may stand between two in any order; None if `outer` never stands outside of `inner`."""
    found: set[str] = set()
    is_there = False
    for order in orders:
        first, last = order.index(outer), order.index(inner)
        if first < last:
            is_there = True
            found |= set(order[first + 1 : last])
    return frozenset(found) if is_there else None


def own_of(mover: Mover, role: int, block: int, dims: Collection[str]) -> Own:
    """What a mover says to the group of these dimensions."""
    own = frozenset(dims)
    return Own(
        role,
        block,
        dim=next((dim for dim in (mover.dim, mover.next) if dim in own), ""),
        is_cut=bool(mover.cut),
        is_next=mover.next in own,
        anew=mover.anew if mover.dim in own else None,
        cut=mover.cut if mover.cut in own else "",
        without=mover.without & own,
        uncut=mover.uncut & own,
        every=mover.every & own,
        some=mover.some & own,
    )
