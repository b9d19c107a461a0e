"""The innermost loop that moves an operand whose tiles overlap, and which loops lie outside of it.

Let x be that loop, in block k. While x goes on, a tile keeps what it shares with the one before. While a loop outside
goes on, x starts anew, and what the tile keeps depends on what else does: nothing at all, if a dimension that does not
slide has a loop in between, whose pieces have nothing in common. So it is decided

- whether x slides; if it does not, only its own group may keep anything;
- whether there is such a dimension with no other loop of the block between it and x: then all is kept that x keeps,
  and nothing else, exactly;
- or else whether none parts the tiles in this block, or which group has a loop in between.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Mover(NamedTuple):
    """The innermost loop that moves a role in a block is over `dim`. Loops of the block: `cut` has one outside, which
    parts tiles; `without` have none; none of `uncut` parts tiles; at least one of `some` has one."""

    dim: str
    cut: str = ""
    without: frozenset[str] = frozenset()
    uncut: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()


class Own(NamedTuple):
    """What a mover of a role in a block says to a group: of its own dimensions; `dim` is empty where x is another
    group's. `is_cut`: nothing is kept but by x."""

    role: int
    block: int
    dim: str
    is_cut: bool
    cut: str
    without: frozenset[str]
    uncut: frozenset[str]
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
        found += [Mover(dim, cut=other, without=dims) for other, dims in cuts.items()]
        found.append(Mover(dim, uncut=frozenset(cuts)))
        some = frozenset[str]().union(*cuts.values())
        found += [Mover(dim, some=some & set(dims)) for dims in groups if some & set(dims)]
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
        mover.dim if mover.dim in own else "",
        bool(mover.cut),
        mover.cut if mover.cut in own else "",
        mover.without & own,
        mover.uncut & own,
        mover.some & own,
    )
