"""Mappings to start from: one group's candidate, or one block's order, at a time, the best of all, until nothing helps.

It proves nothing: a good mapping early lets the search (search.py) leave out more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from random import Random
from typing import Any

import numpy as np

from ...ir.frozen import dataclass
from .exact import Exact
from .space import Ints
from .tables import Floats

# Candidates of a group that a sweep tries.
_MOST_CANDIDATES = 1 << 12  # of a search from anywhere
_MOST_AT_FIRST = 16  # of the first sweep of all such searches but one, so that they differ
_MOST_NEARBY = 256  # of a search from a mapping that is known

Start = tuple[Ints, tuple[tuple[str, ...], ...]]  # candidates by group, orders by block


def local_search(
    exact: Exact, objective: Callable[[Floats], Floats], seed: int, start: Start | None = None
) -> Iterator[tuple[Ints, tuple[tuple[str, ...], ...], Floats, int]]:
    """Better and better legal mappings: candidates by group, orders by block, energy in pJ and cycles, and how many
    mappings were evaluated since the last one; the last one comes twice. With a `start` they begin beside that, with
    one group that has another candidate of those whose objective is finite."""
    rng = Random(seed)
    groups = range(len(exact.tables.groups))
    walk = _from_anywhere(exact, objective, rng) if start is None else _from_beside(exact, objective, rng, start)
    if walk is None:
        return
    most, sweep = _MOST_CANDIDATES if start is None else _MOST_NEARBY, 0
    while True:
        before, sweep = walk.value, sweep + 1
        for group in rng.sample(groups, len(groups)):
            legal = _legal(exact, walk.chosen, group)
            if seed and sweep == 1 and start is None:
                legal = _some(legal, _MOST_AT_FIRST, rng)
            if len(legal) > most:
                legal = np.append(walk.chosen[group], _some(legal, most, rng))
            if len(legal):
                walk.try_candidates(group, legal)
        for block in range(len(exact.declared) if walk.is_legal else 0):
            walk.try_orders(block)
        if walk.is_legal:
            yield walk.chosen, tuple(walk.orders), walk.figures, walk.evaluated
        if walk.value >= before and sweep > 1:
            return
        walk.evaluated = 0


@dataclass
class _Walk:
    """The best mapping of a local search so far, and how many were evaluated. Of equal values of the objective that
    with the least product of energy and cycles is the best."""

    exact: Exact
    objective: Callable[[Floats], Floats]
    chosen: Ints  # by group
    orders: list[tuple[str, ...]]  # by block
    figures: Floats  # energy in pJ and cycles
    value: tuple[float, float] = (inf, inf)
    evaluated: int = 0

    @property
    def is_legal(self) -> bool:
        return self.value[0] < inf

    def try_candidates(self, group: int, candidates: Ints) -> None:
        """Take the best of these candidates of a group, if it is better."""
        mappings, figures = _with(self.exact, self.chosen, group, candidates, self.orders)
        if (place := self._better(figures)) is not None:
            self.chosen = mappings[place].copy()

    def try_orders(self, block: int) -> None:
        """Take the best of the declared orders of a block, if it is better."""
        declared = self.exact.declared[block]
        orders = [(*self.orders[:block], each, *self.orders[block + 1 :]) for each in declared]
        mappings = np.repeat(self.chosen[None], len(declared), axis=0)
        if (place := self._better(self.exact.figures(mappings, self.exact.ranks(orders)))) is not None:
            self.orders[block] = declared[place]

    def _better(self, figures: Floats) -> int | None:
        """The place of the best of some mappings if it is better than what is known, which is noted."""
        self.evaluated += len(figures)
        place = least_place(values := self.objective(figures), figures)
        if (value := _compared(values[place], figures[place])) >= self.value:
            return None
        self.value, self.figures = value, figures[place]
        return place


def _from_anywhere(exact: Exact, objective: Callable[[Floats], Floats], rng: Random) -> _Walk:
    """To begin with everything is cut as far outside as it can be: that fits, if anything does."""
    orders = [rng.choice(declared) for declared in exact.declared]
    chosen = np.array([_outermost(group.sizes) for group in exact.tables.groups], np.int64)
    return _Walk(exact, objective, chosen, orders, np.zeros(2))


def _from_beside(exact: Exact, objective: Callable[[Floats], Floats], rng: Random, start: Start) -> _Walk | None:
    """None where no candidate that is tried has a finite objective."""
    chosen, orders = start[0], exact.whole_orders(start[1])
    group = rng.randrange(len(chosen))
    mappings, figures = _with(exact, chosen, group, _some(_legal(exact, chosen, group), _MOST_NEARBY, rng), orders)
    values = objective(figures)
    finite = np.flatnonzero(np.isfinite(values)).tolist()
    if not finite:
        return None
    place = rng.choice(finite)
    value = _compared(values[place], figures[place])
    return _Walk(exact, objective, mappings[place].copy(), orders, figures[place], value, len(mappings))


def _some(candidates: Ints, most: int, rng: Random) -> Ints:
    """So many candidates, if there are, in a random order."""
    return np.array(rng.sample(candidates.tolist(), min(most, len(candidates))), np.int64)


def _legal(exact: Exact, chosen: Ints, group: int) -> Ints:
    """A group's candidates whose lanes fit beside those of the others."""
    groups = exact.tables.groups
    limits = np.array([slot.lanes if slot.axis else 1 for slot in exact.tables.frame.slots])
    others = [each.lanes[chosen[number]] for number, each in enumerate(groups) if number != group]
    left = limits // np.prod(others, axis=0, dtype=np.int64) if others else limits
    return np.flatnonzero((groups[group].lanes <= left).all(axis=1))


def _with(
    exact: Exact, chosen: Ints, group: int, candidates: Ints, orders: Sequence[tuple[str, ...]]
) -> tuple[Ints, Floats]:
    """A mapping with each of these candidates of a group, and energies and cycles [mapping, 2]."""
    mappings = np.repeat(chosen[None], len(candidates), axis=0)
    mappings[:, group] = candidates
    return mappings, exact.figures(mappings, np.repeat(exact.ranks([tuple(orders)]), len(candidates), axis=0))


def least_place(values: Floats, figures: Floats) -> int:
    """The place of the least value; of equal ones that of the least product of energy and cycles [mapping, 2]."""
    equal = np.flatnonzero(values == values.min())
    return int(equal[np.argmin(figures[equal].prod(axis=1))])


def _compared(value: float, figures: Floats) -> tuple[float, float]:
    return float(value), float(figures.prod())


def _outermost(sizes: Any) -> int:
    """The candidate whose pieces are smallest from the first slot on."""
    return int(np.lexsort(sizes.prod(axis=1).T[::-1])[0])
