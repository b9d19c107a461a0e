"""Branch and bound over the tree of classes of a frame: the best mapping, and proof that no other one is better.

Every node of the tree (classes.py) has a bound: the least that its candidates, joined one group after the other, can
have; what their products and the least of the groups to come say of the objective must stay below the best. Nodes are
split in the order of their bounds until none is below the best mapping that is known. Of a class without open blocks
all joined candidates that stay below the best are evaluated exactly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import numpy as np

from ..objective import Objective
from .choices import Class
from .classes import Columns, Key, Variants
from .dual import Dual, Product
from .exact import Exact, exact_of
from .figures import Figures
from .fronts import front
from .goal import ROUNDING, Goal, goal_of
from .kernels import EDP, ENERGY, LATENCY, OTHER, descend
from .linear import Linear, linear_of
from .local_search import local_search
from .space import Frame, Ints
from .tables import Floats, Tables, tables_of

_MOST_LEAVES = 1 << 12  # that are evaluated at a time
_BUDGET = 1 << 24  # bounds between two looks at the clock
_GLANCE = 1 << 23  # bounds that are spent on the least of a node before it is split
_SMALL = 1 << 16  # combinations of candidates for which better scores are not worth it
_MOST_BYTES = 1 << 28  # of the candidates of all classes that are kept for the next one
_MOST_POINTS = 20000
_PAYS = 1 << 21  # bounds after which another local search is worth its time


@dataclass
class Best:
    """The best mapping so far and the work done; `limit` is its objective."""

    limit: float = float("inf")
    tree: Any = None
    bounds: int = 0
    evaluated: int = 0
    open: float = float("inf")  # the least bound of what was not searched
    points: list[tuple[float, float]] = field(default_factory=list)  # energy in pJ and cycles of evaluated mappings


@dataclass(frozen=True, slots=True)
class _Joined:
    """Candidates of all groups, in the order in which they are joined, for compiled code."""

    order: list[int]
    places: Ints
    arrays: tuple[Any, ...]
    state: tuple[Any, ...]

    def restart(self) -> None:
        """Go back to before the first combination."""
        *_, at, counts = self.state
        at[0], counts[1] = -1, 0


@dataclass
class Search:
    """One frame's search."""

    tables: Tables
    exact: Exact
    linear: Linear
    columns: Columns
    goal: Goal
    dual: Dual | Product | None
    _fronts: dict[tuple[Any, ...], Variants] = field(default_factory=dict)
    _stored_bytes: int = 0
    _started: int = 0
    _leaves: Ints = field(init=False)
    _bounds: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._leaves = np.empty((_MOST_LEAVES, len(self.tables.groups)), np.int64)
        self._bounds = np.empty(_MOST_LEAVES)

    def run(self, best: Best, deadline: float) -> None:
        """Improve `best`; what is left open at the `deadline` (of time.monotonic) is in `best.open`."""
        if not self.tables.groups:
            self._evaluate_chosen(np.zeros(0, np.int64), (), best)
            return
        blocks, number, begun = self.columns.blocks, 0, best.bounds
        fronts = self._fronts_of(())
        if not all(map(len, fronts)):
            return
        heap: list[tuple[float, int, int, Class]] = [(self._improve(fronts, float("inf")), 0, 0, ())]
        self._start(best)
        while heap:
            bound, _, _, chosen = heappop(heap)
            if bound >= self.below(best.limit):
                return
            if time.monotonic() > deadline and best.tree is not None:
                best.open = min(best.open, bound)
                return
            if len(chosen) == blocks:
                if not self._search(chosen, best, deadline):
                    best.open = min(best.open, bound)
                continue
            while best.bounds - begun > _PAYS * self._started and time.monotonic() < deadline:
                self._start(best)
            for choice in self.columns.choices[len(chosen)]:
                child = (*chosen, choice)
                least = max(bound, self._least(child, best, bound))
                if least < self.below(best.limit):
                    number += 1
                    heappush(heap, (least, -len(child), number, child))

    def _start(self, best: Best) -> None:
        """A local search."""
        for chosen, orders, figures, evaluated in local_search(self.exact, self.goal.of, self._started):
            self._note(chosen, orders, figures, evaluated, best)
        self._started += 1

    def _fronts_of(self, chosen: Class) -> list[Variants]:
        """The candidates of each group that matter in a class or, of a node with open blocks, to its bound."""
        found = [
            self._kept((key, len(chosen) < self.columns.blocks), lambda key=key: self._front(key, chosen))
            for key in self.columns.keys(chosen)
        ]
        if not all(map(len, found)):
            return found
        lower = np.array([np.append(each.lower.min(axis=0), each.less.max(axis=0)) for each in found])
        upper = np.array([np.append(each.upper.max(axis=0), each.less.min(axis=0)) for each in found])
        differs = lower != upper
        reduced = []
        for group, (key, each) in enumerate(zip(self.columns.keys(chosen), found, strict=True)):
            others = [other for other in range(len(found)) if other != group]
            alone = ~differs[others].any(axis=0)
            if (alone & differs[group]).sum() < 2:
                reduced.append(each)
                continue
            factors = np.where(alone, self.linear.constants * lower[others].prod(axis=0), 0.0)
            at = key, len(chosen) < self.columns.blocks, alone.tobytes(), factors.tobytes()
            reduced.append(
                self._kept(
                    at,
                    lambda each=each, alone=alone, factors=factors, group=group: self._summed(
                        group, each, alone, factors
                    ),
                )
            )
        return reduced

    def _kept(self, key: tuple[Any, ...], make: Any) -> Variants:
        if key not in self._fronts:
            if self._stored_bytes > _MOST_BYTES:
                self._fronts.clear()
                self._stored_bytes = 0
            made = self._fronts[key] = make()
            arrays = made.places, made.lower, made.upper, made.less, made.owned
            self._stored_bytes += 2 * sum(array.nbytes for array in arrays)
        return self._fronts[key]

    def _front(self, key: Key, chosen: Class) -> Variants:
        variants = self.columns.variants(key)
        if len(chosen) < self.columns.blocks:
            variants.upper = variants.lower
        lower = np.concatenate([variants.lower, -variants.less, self._scarce(key.group, variants)], axis=1)
        upper = np.concatenate([variants.upper, -variants.less, self._scarce(key.group, variants)], axis=1)
        return variants.only(front(lower, upper, variants.owned))

    def _scarce(self, group: int, variants: Variants) -> Floats:
        """What a candidate takes of what groups share."""
        return np.concatenate([each[group][variants.places] for each in (self.linear.tiles, self.linear.lanes)], axis=1)

    def _summed(self, group: int, variants: Variants, alone: Any, factors: Floats) -> Variants:
        """The front where quantities that depend on this group `alone` are summed up; `factors` are what the others
        contribute."""
        linear, wide = self.linear, variants.lower.shape[1]
        energy = self.goal.mode != LATENCY
        rows = [
            *([linear.energy] if energy else []),
            *((linear.forms + linear.ramps) if self.goal.mode != ENERGY else []),
        ]
        rounding = [
            *(linear.rounding[:1] if energy else []),
            *(linear.rounding[1:] if self.goal.mode != ENERGY else []),
        ]
        weights = np.array([row[:-1] * factors for row in rows]).T
        lower = np.concatenate([variants.lower, variants.less], axis=1) @ weights
        upper = np.concatenate([variants.upper, variants.less], axis=1) @ weights + rounding
        rest = self._scarce(group, variants)
        left, right = ~alone[:wide], ~alone[wide:]
        lower = np.concatenate([lower, variants.lower[:, left], -variants.less[:, right], rest], axis=1)
        upper = np.concatenate([upper, variants.upper[:, left], -variants.less[:, right], rest], axis=1)
        return variants.only(front(lower, upper, variants.owned))

    def _least(self, chosen: Class, best: Best, floor: float) -> float:
        """The least bound of a node's joined candidates, if it is below the best; else infinity, where nothing is left.
        What is known to be no less than `floor` is not looked at below that."""
        fronts = self._fronts_of(chosen)
        if not all(map(len, fronts)):
            return float("inf")
        least = max(floor, self._at_least(fronts), self._improve(fronts, self.below(best.limit)))
        if least >= self.below(best.limit):
            return float("inf")
        joined = self._join(fronts)
        found, bound, is_whole = self._descend(joined, best, True, floor=least)
        if not is_whole:
            return least
        return bound if found else float("inf")

    def _at_least(self, fronts: Sequence[Variants]) -> float:
        """What the products of the least of each group say."""
        values = self.linear.constants.copy()
        for each in fronts:
            values *= np.append(each.lower.min(axis=0), each.less.max(axis=0))
        return float(self.goal.of(np.array([self.linear.sums(values)]))[0])

    def _search(self, chosen: Class, best: Best, deadline: float) -> bool:
        """Evaluate all of a class that may be better than the best; whether that ended before the deadline."""
        fronts = self._fronts_of(chosen)
        if not all(map(len, fronts)):
            return True
        if self._improve(fronts, self.below(best.limit)) >= self.below(best.limit):
            return True
        joined = self._join(fronts)
        preferred = tuple(choice.innermost for choice in chosen)
        found, _, is_whole = self._descend(joined, best, True)
        if found:
            self._evaluate(preferred, joined, 1, best)
        elif is_whole:
            return True
        joined.restart()
        while True:
            found, _, is_whole = self._descend(joined, best, False, go_on=True)
            self._evaluate(preferred, joined, found, best)
            if is_whole:
                return True
            if time.monotonic() > deadline and best.tree is not None:
                return False

    def _improve(self, fronts: Sequence[Variants], enough: float) -> float:
        """The bound of the scores; they are improved where there is much to join."""
        if self.dual is None:
            return 0.0
        bound = self.dual.bound(fronts)
        if bound < enough and np.prod([len(each) for each in fronts], dtype=np.float64) > _SMALL:
            return self.dual.improve(fronts, enough)
        return bound

    def _join(self, fronts: Sequence[Variants]) -> _Joined:
        order = sorted(range(len(fronts)), key=lambda group: len(fronts[group]))
        scores = self.dual.scores(fronts) if self.dual is not None else [np.zeros(len(each)) for each in fronts]
        sizes, columns, tiles, lanes, owned, ranked, places = [0], [], [], [], [], [], []
        wide = self.linear.wanted
        for group in order:
            each = fronts[group]
            by = np.lexsort((each.lower.sum(axis=1), scores[group]))
            sizes.append(sizes[-1] + len(by))
            columns.append(np.concatenate([each.lower, each.less], axis=1)[by])
            tiles.append(self.linear.tiles[group][each.places[by]])
            lanes.append(self.linear.lanes[group][each.places[by]])
            owned.append(each.owned[by])
            ranked.append(scores[group][by])
            places.append(each.places[by])
        count = len(order)
        rest_columns = np.ones((count + 1, columns[0].shape[1]))
        rest_tiles = np.ones((count + 1, tiles[0].shape[1]))
        rest_scores = np.zeros(count + 1)
        for level in range(count - 1, -1, -1):
            least = np.append(columns[level][:, :wide].min(axis=0), columns[level][:, wide:].max(axis=0))
            rest_columns[level] = rest_columns[level + 1] * least
            rest_tiles[level] = rest_tiles[level + 1] * tiles[level].min(axis=0)
            rest_scores[level] = rest_scores[level + 1] + ranked[level].min()
        rest_columns *= self.linear.constants
        arrays = (
            np.array(sizes, np.int64), np.concatenate(columns), np.concatenate(tiles), np.concatenate(lanes),
            np.concatenate(owned), np.concatenate(ranked), rest_columns, rest_tiles, rest_scores,
        )  # fmt: skip
        at = np.full(count + 1, -1, np.int64)
        state = (
            np.ones((count + 1, rest_columns.shape[1])), np.ones((count + 1, rest_tiles.shape[1])),
            np.ones((count + 1, lanes[0].shape[1]), np.int64), np.zeros(count + 1, np.int64), np.zeros(count + 1), at,
        )  # fmt: skip
        return _Joined(order, np.concatenate(places), arrays, (*state, np.zeros(2, np.int64)))

    def _descend(
        self, joined: _Joined, best: Best, shrink: bool, go_on: bool = False, floor: float = 0.0
    ) -> tuple[int, float, bool]:
        """How many leaves were found, the bound of the first, and whether these are all."""
        linear, goal, counts = self.linear, self.goal, joined.state[-1]
        if not go_on:
            joined.restart()
        constant, aside = (self.dual.constant, self.dual.aside) if self.dual is not None else (-np.inf, 0.0)
        compiled: Any = descend
        before = int(counts[0])
        found = compiled(
            *joined.arrays, constant, aside, linear.limits, linear.rooms, linear.room_weights, goal.mode, goal.terms,
            goal.most, linear.energy, linear.forms, linear.ramps, linear.items, linear.prices,
            linear.rows, self.below(best.limit), floor, shrink, _GLANCE if shrink else _BUDGET,
            *joined.state[:-1], self._leaves, self._bounds, counts,
        )  # fmt: skip
        best.bounds += int(counts[0]) - before
        return int(found), float(self._bounds[0]), bool(counts[1] < 0)

    def _evaluate(self, preferred: tuple[frozenset[int], ...], joined: _Joined, count: int, best: Best) -> None:
        for row in np.argsort(self._bounds[:count], kind="stable"):
            if self._bounds[row] >= self.below(best.limit):
                break
            chosen = np.empty(len(joined.order), np.int64)
            for level, group in enumerate(joined.order):
                chosen[group] = joined.places[self._leaves[row, level]]
            self._evaluate_chosen(chosen, preferred, best)

    def _evaluate_chosen(self, chosen: Ints, preferred: tuple[frozenset[int], ...], best: Best) -> None:
        orders, ranks = self.exact.ranked(chosen, preferred)
        found = self.exact.figures(np.repeat(chosen[None], len(orders), axis=0), ranks)
        number = int(np.argmin(self.goal.of(found)))
        self._note(chosen, orders[number], found[number], len(orders), best)

    def _note(
        self, chosen: Ints, order: tuple[tuple[str, ...], ...], figures: Floats, evaluated: int, best: Best
    ) -> None:
        """Remember one mapping, the best of those `evaluated`."""
        value = float(self.goal.of(figures[None])[0])
        best.evaluated += evaluated
        if np.isfinite(value) and len(best.points) < _MOST_POINTS:
            best.points.append((float(figures[0]), float(figures[1])))
        if value < best.limit * (1 - ROUNDING):
            best.limit, best.tree = value, self.exact.tree(chosen, order)

    def below(self, limit: float) -> float:
        """What a bound must be less than to say that something better may be there: cycles are whole."""
        return limit - 0.5 if self.goal.mode == LATENCY else limit * (1 - ROUNDING)


def searches_of(frame: Frame, figures: Figures, objective: Objective) -> Iterator[Search]:
    """The search of a frame; there is none where nothing fits."""
    tables = tables_of(frame, figures)
    if tables is None:
        return
    goal = goal_of(objective)
    linear, columns = linear_of(tables, energetic=goal.mode != LATENCY, timed=goal.mode != ENERGY)
    dual: Dual | Product | None = None
    if goal.mode != OTHER:
        dual = Product(linear) if goal.mode == EDP else Dual(linear, goal.mode)
    yield Search(tables, exact_of(tables), linear, columns, goal, dual)
