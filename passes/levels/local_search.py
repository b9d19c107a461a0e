"""Mappings to start from: one group's candidate, or one block's order, at a time, the best of all, until nothing helps.

It proves nothing: a good mapping early lets the search (search.py) leave out more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import numpy as np

from .exact import Exact
from .space import Ints
from .tables import Floats

_MOST_TRIED = 1 << 12  # candidates of a group that a sweep tries
_FEW = 16  # candidates of a group that a search after the first one begins with
_BESIDE = 256  # candidates of a group of which one is beside a start

Start = tuple[Ints, tuple[tuple[str, ...], ...]]  # candidates by group, orders by block


def local_search(
    exact: Exact, objective: Callable[[Floats], Floats], seed: int, start: Start | None = None
) -> Iterator[tuple[Ints, tuple[tuple[str, ...], ...], Floats, int]]:
    """Better and better legal mappings: candidates by group, orders by block, energy and cycles, and how many mappings
    were evaluated since the last one; the last one comes twice. With a `start` they begin beside that, with one group
    that has another candidate of those whose objective is finite."""
    rng = Random(seed)
    groups = exact.tables.groups
    best, figures, evaluated, sweep = (np.inf, np.inf), np.zeros(2), 0, 0
    most_tried = _MOST_TRIED if start is None else _BESIDE
    if start is None:
        orders = [rng.choice(declared) for declared in exact.declared]
        # To begin with everything is cut as far outside as it can be: that fits, if anything does.
        chosen = np.array([_outermost(group.sizes) for group in groups], np.int64)
    else:
        chosen, orders = start[0].copy(), exact.whole_orders(start[1])
        group = rng.randrange(len(groups))
        legal = _legal(exact, chosen, group)
        legal = np.array(rng.sample(legal.tolist(), min(_BESIDE, len(legal))), np.int64)
        mappings, found = _with(exact, chosen, group, legal, orders)
        evaluated += len(legal)
        if not len(near := np.flatnonzero(np.isfinite(objective(found)))):
            return
        place = rng.choice(near.tolist())
        chosen, figures = mappings[place].copy(), found[place]
        best = _compared(objective(found)[place], figures)
    while True:
        before, sweep = best, sweep + 1
        for group in rng.sample(range(len(groups)), len(groups)):
            legal = _legal(exact, chosen, group)
            if seed and sweep == 1 and start is None:  # so that searches differ
                legal = np.array(rng.sample(legal.tolist(), min(_FEW, len(legal))), np.int64)
            if not len(legal):
                continue
            if len(legal) > most_tried:
                legal = np.array([chosen[group], *rng.sample(legal.tolist(), most_tried)], np.int64)
            mappings, found = _with(exact, chosen, group, legal, orders)
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
