"""Mappings to start from: one group's candidate, or one block's order, at a time, the best of all, until nothing helps.

It proves nothing: a good mapping early lets the search (search.py) leave out more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np

from .exact import Exact
from .space import Ints
from .tables import Floats

_MOST_TRIED = 1 << 12  # candidates of a group that a sweep tries
_FEW = 16  # candidates of a group that a search after the first one begins with


def local_search(
    exact: Exact, objective: Callable[[Floats], Floats], seed: int
) -> Iterator[tuple[Ints, tuple[tuple[str, ...], ...], Floats, int]]:
    """Better and better legal mappings: candidates by group, orders by block, energy and cycles, and how many mappings
    were evaluated since the last one; the last one comes twice."""
    rng = Random(seed)
    groups = exact.tables.groups
    limits = np.array([slot.lanes if slot.axis else 1 for slot in exact.tables.frame.slots])
    orders = [rng.choice(declared) for declared in exact.declared]
    # To begin with everything is cut as far outside as it can be: that fits, if anything does.
    chosen = np.array([_outermost(group.sizes) for group in groups], np.int64)
    best, figures, evaluated, sweep = (np.inf, np.inf), np.zeros(2), 0, 0
    while True:
        before, sweep = best, sweep + 1
        for group in rng.sample(range(len(groups)), len(groups)):
            others = [each.lanes[chosen[number]] for number, each in enumerate(groups) if number != group]
            left = limits // np.prod(others, axis=0, dtype=np.int64) if others else limits
            legal = np.flatnonzero((groups[group].lanes <= left).all(axis=1))
            if seed and sweep == 1:  # so that searches differ
                legal = np.array(rng.sample(legal.tolist(), min(_FEW, len(legal))), np.int64)
            if not len(legal):
                continue
            if len(legal) > _MOST_TRIED:
                legal = np.array([chosen[group], *rng.sample(legal.tolist(), _MOST_TRIED)], np.int64)
            mappings = np.repeat(chosen[None], len(legal), axis=0)
            mappings[:, group] = legal
            found = exact.figures(mappings, np.repeat(exact.ranks([tuple(orders)]), len(legal), axis=0))
            evaluated += len(legal)
            place = least_place(values := objective(found), found)
            if (value := _compared(values[place], found[place])) < best:
                best, figures, chosen = value, found[place], mappings[place].copy()
        for block, declared in enumerate(exact.declared if best[0] < np.inf else ()):
            tried_orders = [(*orders[:block], order, *orders[block + 1 :]) for order in declared]
            found = exact.figures(np.repeat(chosen[None], len(declared), axis=0), exact.ranks(tried_orders))
            evaluated += len(declared)
            place = least_place(values := objective(found), found)
            if (value := _compared(values[place], found[place])) < best:
                best, figures, orders[block] = value, found[place], declared[place]
        if best[0] < np.inf:
            yield chosen, tuple(orders), figures, evaluated
        if best >= before and sweep > 1:
            return
        evaluated = 0


def least_place(values: Floats, figures: Floats) -> int:
    """The place of the least value; of equal ones that of the least product of energy and cycles [mapping, 2]."""
    equal = np.flatnonzero(values == values.min())
    return int(equal[np.argmin(figures[equal].prod(axis=1))])


def _compared(value: float, figures: Floats) -> tuple[float, float]:
    return float(value), float(figures.prod())


def _outermost(sizes: Any) -> int:
    """The candidate whose pieces are smallest from the first slot on."""
    return int(np.lexsort(sizes.prod(axis=1).T[::-1])[0])
