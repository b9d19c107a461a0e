"""Reads and writes of each store for each operand, from what crosses its boundaries, under a named convention.

Of what crosses inwards the outer store reads once what the network shares, and each instance of the inner one is
filled. Of outputs the inner store's updates travel outwards: the outer one is updated, and reads what it has of them
already, if it adds to it or hands it back.
"""

from __future__ import annotations

from collections.abc import Iterator

from ....ir.frozen import dataclass
from ....ir.nest import Role
from .counts import Boundary, Crossing, LevelCounts

_NONE = Crossing(0, 0)


@dataclass(frozen=True, slots=True)
class Convention:
    """What is counted where definitions differ.

    `first_fills`: a tile of outputs fills the inner store when it comes for the first time, too (else it starts at
    zero without a transfer). `drains`: what an inner store hands outwards is read from it. `ramps`: the first tiles'
    way in and the last one's way out take time. `by_hull`: what fan-outs in a row share is judged by the hulls that
    the lanes of the first of them take. `slides`: a window keeps what it shares with the one before it, whichever loop
    advances; else only where the innermost one does.
    """

    name: str
    first_fills: bool
    drains: bool
    ramps: bool
    by_hull: bool
    slides: bool


NATIVE = Convention("dnnc", first_fills=False, drains=True, ramps=True, by_hull=False, slides=True)
TIMELOOP = Convention("timeloop", first_fills=True, drains=False, ramps=False, by_hull=True, slides=False)
CONVENTIONS = {each.name: each for each in (NATIVE, TIMELOOP)}


@dataclass(frozen=True, slots=True)
class Accesses:
    """Elements of one operand that a store reads (for what is inside, or to add to), is filled with from outside, is
    updated with from inside, and hands outwards."""

    store: str
    role: Role
    reads: Crossing
    fills: Crossing
    updates: Crossing
    drains: Crossing


def accesses(counts: LevelCounts, convention: Convention = NATIVE) -> tuple[Accesses, ...]:
    """What each store reads and writes, operand by operand, from the outermost store inwards."""
    found: list[Accesses] = []
    for role in dict.fromkeys(each.role for each in counts.boundaries):
        chain = [each for each in counts.boundaries if each.role is role]
        outputs = role is Role.OUTPUT
        found += list(_outputs(chain, convention) if outputs else _operands(chain))
    return tuple(found)


def _operands(chain: list[Boundary]) -> Iterator[Accesses]:
    filled = _NONE
    for boundary in chain:
        yield Accesses(boundary.outer, boundary.role, boundary.shared, filled, _NONE, _NONE)
        filled = boundary.each


def _outputs(chain: list[Boundary], convention: Convention) -> Iterator[Accesses]:
    """An output that is visited for the first time is not read, neither by who adds to it nor to be handed back."""
    before: Boundary | None = None
    for boundary in chain:
        shared, distinct = boundary.shared, boundary.distinct
        fills = drains = _NONE
        if before is not None:
            again = Crossing(before.shared.total - before.distinct.total, before.each.busiest - distinct.busiest)
            fills = before.each if convention.first_fills else again
            drains = before.each if convention.drains else _NONE
        reads = Crossing(shared.total - distinct.total, shared.busiest - distinct.busiest)
        yield Accesses(boundary.outer, boundary.role, reads, fills, shared, drains)
        before = boundary
