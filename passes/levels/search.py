"""Branch and bound over the tree of classes of a frame: the best mapping, and proof that no other one is better.

Every node of the tree (classes.py) has a bound: the least of its groups' candidates together. Nodes are parted in the
order of their bounds until none is below the best mapping that is known. Of a class with nothing open all combinations
of candidates whose bound is below the best are sifted (sieve.py), and what is left is evaluated exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np

from ...ir.clock import clock_s
from ...ir.frozen import dataclass
from ...ir.loop_tree import LoopTree
from ..objective import ROUNDING, Objective
from .choices import Class
from .class_fronts import ClassFronts
from .classes import Classes
from .dual import Dual, Product
from .exact import Exact, exact_of
from .figures import Figures
from .goal import Goal, goal_of
from .joined import Joined, Leaves, joined
from .kernels import EDP, ENERGY, LATENCY, OTHER
from .linear import Linear, linear_of
from .local_search import least_place, local_search
from .movers import Mover
from .sieve import Sieve
from .space import Frame, Ints
from .tables import Floats, Tables, tables_of
from .variants import Groups, Variants

_MOST_LEAVES = 1 << 12  # that are found at a time
_FIRST_LEAVES = 64  # of these, the least, are evaluated before the next ones are compared with the best
_MOST_POINTS = 20000  # of evaluated mappings that are kept
# What the least bound of a node may take, in bounds: with all candidates, without superfluous ones, with better scores.
# Where that is not enough the node is parted.
_BOUNDS_OF_ALL = 1 << 13
_BOUNDS_OF_FRONTS = 1 << 15
_BOUNDS_OF_NODE = 1 << 23
_BOUNDS_PER_CLOCK_CHECK = 1 << 24
_FIRST_SEARCHES = 8  # local ones at the most before the first bounds, while the best is farther from the bound than
_FAR = 1.5  # times: where bounds take long, what the time limit ends has little more than these
_LEAST_SEARCHES = 3  # of these whatever the time limit: they take part of a second, and one may end anywhere
_BOUNDS_PER_LOCAL_SEARCH = 1 << 21  # after which another one is worth its time
_GROWTH_IN_VAIN = 1.25  # of these bounds, where the last one found nothing
_TIE_BREAKING_SEARCHES = 4  # local ones, for a mapping that is as good as the best and takes less energy


class Found(NamedTuple):
    """Where the best mapping was found: its candidates by group, its orders by block."""

    search: Search
    chosen: Ints
    orders: tuple[tuple[str, ...], ...]


@dataclass
class Best:
    """The best mapping so far and the work done; `limit` is its objective."""

    limit: float = float("inf")
    product: float = float("inf")  # its energy times its cycles
    tree: LoopTree | None = None
    bounds: int = 0
    evaluated: int = 0
    open: float = float("inf")  # the least bound of what was not searched
    found: Found | None = None
    points: list[tuple[float, float]] = field(default_factory=list)  # energy in pJ and cycles of evaluated mappings


class Node(NamedTuple):
    """What is decided: blocks from the outermost on, and the innermost loops of operands whose tiles overlap."""

    chosen: Class
    movers: tuple[Mover, ...]


@dataclass
class Search:
    """One frame's search."""

    tables: Tables
    exact: Exact
    linear: Linear
    classes: Classes
    fronts: ClassFronts
    goal: Goal
    dual: Dual | Product | None
    sieve: Sieve
    _local_searches: int = 0  # that were made
    _next_local_search: float = 0.0  # after so many bounds
    _leaves: Leaves = field(init=False)

    def __post_init__(self) -> None:
        rows = np.empty((_MOST_LEAVES, len(self.tables.groups)), np.int64)
        self._leaves = Leaves(rows, np.empty(_MOST_LEAVES))

    def run(self, best: Best, deadline: float) -> None:
        """Improve `best`; what is left open at the `deadline` (of clock_s) is in `best.open`."""
        if not self.tables.groups:
            chosen = np.zeros((1, 0), np.int64)
            orders, ranks = self.exact.ranked(chosen[0])
            self._note(chosen, orders, self.exact.figures(chosen, ranks), best)
            return
        root, number, begun = Node((), ()), 0, best.bounds
        keys = self.classes.keys(*root)
        candidates = self.fronts.within(keys, self.below(best.limit))
        if not candidates:
            return
        fronts = self.fronts.of(keys, candidates, self.children(root) is not None)
        bound = max(self._product_bound(fronts), self._score_bound(fronts))
        if bound >= self.below(best.limit):
            return
        heap: list[tuple[float, int, int, Node]] = [
            (max(bound, self._improved_score_bound(fronts, float("inf"))), 0, 0, root)
        ]
        for number in range(1, 1 + _FIRST_SEARCHES):
            self._search_locally(best)
            if best.limit <= _FAR * heap[0][0] or (number >= _LEAST_SEARCHES and clock_s() > deadline):
                break
        while heap:
            bound, _, _, node = heappop(heap)
            if bound >= self.below(best.limit):
                return
            if clock_s() > deadline:
                best.open = min(best.open, bound)
                return
            children = self.children(node)
            if children is None:
                if not self._search_class(node, best, deadline):
                    best.open = min(best.open, bound)
                continue
            while best.bounds - begun > self._next_local_search and clock_s() < deadline:
                self._search_locally(best)
            for child in children:
                if clock_s() > deadline:
                    best.open = min(best.open, bound)
                    return
                least = max(bound, self._node_bound(child, best, bound))
                if least < self.below(best.limit):
                    number += 1
                    heappush(heap, (least, -len(child.chosen) - len(child.movers), number, child))

    def _search_locally(self, best: Best) -> None:
        """A local search; the next one comes later if it was in vain."""
        before = best.limit
        for chosen, orders, figures, evaluated in local_search(self.exact, self.goal.of, self._local_searches):
            self._note(chosen[None], [orders], figures[None], best)
            best.evaluated += evaluated - 1
        self._local_searches += 1
        growth = 1 if best.limit < before else _GROWTH_IN_VAIN
        self._next_local_search = max(_BOUNDS_PER_LOCAL_SEARCH, self._next_local_search) * growth

    def break_ties(self, best: Best) -> None:
        """Of mappings as good as the best take one of less energy, where local searches find one."""

        def tied(figures: Floats) -> Floats:
            return np.where(self.goal.of(figures) <= best.limit, figures.prod(axis=1), np.inf)

        for seed in range(_TIE_BREAKING_SEARCHES if self.tables.groups else 0):
            start = best.found and best.found[1:]
            for chosen, orders, figures, evaluated in local_search(self.exact, tied, seed, start):
                self._note(chosen[None], [orders], figures[None], best)
                best.evaluated += evaluated - 1

    def children(self, node: Node) -> list[Node] | None:
        """What is decided next, each way; None if nothing is left open."""
        chosen, movers = node
        sliding = self.classes.sliding(chosen)
        if len(movers) < len(sliding):
            return [Node(chosen, (*movers, each)) for each in self.classes.movers(chosen, *sliding[len(movers)])]
        if len(chosen) < self.classes.blocks:
            return [Node((*chosen, choice), movers) for choice in self.classes.choices[len(chosen)]]
        return None

    def _node_bound(self, node: Node, best: Best, floor: float) -> float:
        """The least bound of a node's joined candidates, if it is below the best; else infinity, where nothing is left.
        What is known to be no less than `floor` is not looked at below that."""
        keys, enough = self.classes.keys(*node), self.below(best.limit)
        candidates = self.fronts.within(keys, enough)
        if not candidates:
            return float("inf")
        least = max(floor, self._product_bound(candidates), self._score_bound(candidates))
        if least >= enough:
            return float("inf")
        found, bound, is_whole = self._least_of(candidates, best, least, _BOUNDS_OF_ALL)
        if not is_whole:
            candidates = self.fronts.of(keys, candidates, self.children(node) is not None)
            found, bound, is_whole = self._least_of(candidates, best, least, _BOUNDS_OF_FRONTS)
        if not is_whole:
            least = max(least, self._improved_score_bound(candidates, enough))
            if least >= enough:
                return float("inf")
            found, bound, is_whole = self._least_of(candidates, best, least, _BOUNDS_OF_NODE)
        if not is_whole:
            return least
        return bound if found else float("inf")

    def _product_bound(self, variants: Sequence[Variants]) -> float:
        """What the products of the least of each group say."""
        values = self.linear.constants * np.prod([each.least for each in variants], axis=0)
        return float(self.goal.of(self.linear.figures(values[None]))[0])

    def _search_class(self, node: Node, best: Best, deadline: float) -> bool:
        """Evaluate all of a class that may be better than the best; whether that ended before the deadline."""
        keys = self.classes.keys(*node)
        candidates = self.fronts.within(keys, self.below(best.limit))
        if not candidates:
            return True
        fronts = self.fronts.of(keys, candidates, is_open=False)
        together, leaves = self._join(fronts), self._leaves
        found, _, is_whole = together.least(leaves, self.below(best.limit), 0.0, _BOUNDS_OF_NODE)
        if found:
            self._evaluate(node, together, 1, best)
            is_whole = False
            together.restart()
        while not is_whole:
            count, is_whole = together.more(leaves, self.below(best.limit), _BOUNDS_PER_CLOCK_CHECK)
            self._evaluate(node, together, count, best)
            if clock_s() > deadline:
                break
        best.bounds += together.bounds
        return is_whole

    def _score_bound(self, variants: Sequence[Variants]) -> float:
        """The bound of the scores."""
        return self.dual.bound(variants) if self.dual is not None else 0.0

    def _improved_score_bound(self, variants: Sequence[Variants], enough: float) -> float:
        """The bound of the scores after they are improved, until it is `enough`."""
        return self.dual.improve(variants, enough) if self.dual is not None else 0.0

    def _join(self, variants: Sequence[Variants]) -> Joined:
        return joined(self.linear, self.goal, self.dual, variants)

    def _least_of(
        self, variants: Sequence[Variants], best: Best, floor: float, budget: int
    ) -> tuple[bool, float, bool]:
        """As Joined.least says, of what is below the best."""
        together = self._join(variants)
        found = together.least(self._leaves, self.below(best.limit), floor, budget)
        best.bounds += together.bounds
        return found

    def _evaluate(self, node: Node, together: Joined, count: int, best: Best) -> None:
        """Of the first `count` leaves those that may be better than the best, the least first."""
        rows, bounds = self._leaves.rows[:count], self._leaves.bounds[:count]
        preferred = tuple(choice.innermost for choice in node.chosen)
        loose = frozenset[int]().union(*map(self.fronts.loose, self.classes.keys(*node)))
        by_bound, start, batch = np.argsort(bounds, kind="stable"), 0, _FIRST_LEAVES
        while start < count and bounds[by_bound[start]] < self.below(best.limit):
            leaves = rows[by_bound[start : start + batch]]
            least, limit = together.quantities(leaves), self.below(best.limit)
            sifted = self.sieve.sifted(together.places[leaves], least, loose, preferred, limit)
            best.bounds += sifted.tried
            if len(sifted.chosen):
                figures = self.exact.figures(sifted.chosen, sifted.ranks)
                self._note(sifted.chosen, sifted.orders, figures, best)
            start, batch = start + batch, batch if best.limit < limit else 2 * batch

    def _note(self, chosen: Ints, orders: Sequence[tuple[tuple[str, ...], ...]], figures: Floats, best: Best) -> None:
        """Remember the best of the evaluated mappings; of equal ones that with the least energy and cycles."""
        best.evaluated += len(figures)
        values = self.goal.of(figures)
        known = figures[np.isfinite(values)][: max(0, _MOST_POINTS - len(best.points))]
        best.points += [(float(energy), float(cycles)) for energy, cycles in known]
        number = least_place(values, figures)
        value, product = float(values[number]), float(figures[number].prod())
        is_better = value < best.limit * (1 - ROUNDING)
        if is_better or (np.isfinite(value) and value <= best.limit and product < best.product * (1 - ROUNDING)):
            best.limit, best.product = value, product
            best.tree = self.exact.tree(chosen[number], orders[number])
            best.found = Found(self, chosen[number].copy(), orders[number])

    def below(self, limit: float) -> float:
        """What a bound must be less than to say that something better may be there: cycles are whole."""
        return limit - 0.5 if self.goal.mode == LATENCY else limit * (1 - ROUNDING)


def searches_of(
    frame: Frame, figures: Figures, objective: Objective, deadline: float = float("inf")
) -> Iterator[Search]:
    """The search of a frame; there is none where nothing fits. Raises OutOfTimeError where it could not be made by the
    `deadline` (of clock_s)."""
    tables = tables_of(frame, figures, deadline)
    if tables is None:
        return
    goal = goal_of(objective)
    linear, columns = linear_of(tables, energetic=goal.mode != LATENCY, timed=goal.mode != ENERGY)
    dual: Dual | Product | None = None
    if goal.mode != OTHER:
        dual = Product(linear) if goal.mode == EDP else Dual(linear, goal.mode)
    exact = exact_of(tables)
    classes, sieve = Classes(columns), Sieve(exact, linear, columns, goal)
    fronts = ClassFronts(linear, classes, Groups(columns), goal, dual)
    yield Search(tables, exact, linear, classes, fronts, goal, dual, sieve)
