"""Branch and bound over the classes of a frame: the best mapping, and proof that no other one of the space is better.

Every class has a bound; classes are searched in its order until none is below the best mapping that is known. In a
class candidates of groups are joined one group after the other; what their products and the least of the groups to come
say of the objective must stay below the best. What is left is evaluated exactly, in all declared orders.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from ...ir.hierarchy import FanOut, Store
from .classes import Class, Columns, Key, Variants
from .dual import Dual, Linear, Product
from .exact import Exact, exact_of
from .figures import DISTINCT, TILE, Figures, Item
from .kernels import EDP, ENERGY, LATENCY, descend
from .space import Frame, Ints
from .tables import Floats, Tables, tables_of

MODES = {"energy": ENERGY, "latency": LATENCY, "edp": EDP}
ROUNDING = 1e-9  # relative error of sums of floats
_MOST_LEAVES = 1 << 14
_SMALL = 4000  # combinations of candidates for which better scores are not worth it
_MOST_CLASSES = 1 << 18  # of loop orders that are told apart
_MOST_BYTES = 1 << 29  # of candidates of all classes
_FEWEST_NODES = 64  # classes that are looked at whatever the time, so that there is a mapping
_MOST_IMPROVED = 16  # classes whose scores are improved


@dataclass
class Best:
    """The best mapping so far and the work done; `limit` is its objective."""

    limit: float = float("inf")
    tree: Any = None
    bounds: int = 0
    evaluated: int = 0
    open: float = float("inf")  # the least bound of what was not searched
    points: list[tuple[float, float]] = field(default_factory=list)  # energy in pJ and cycles of evaluated mappings


@dataclass(frozen=True)
class Node:
    """Classes with the same candidates, with a bound of the objective. A mapping belongs to the class of exactly the
    kinds that it has loops of (as bits of `kinds`), whose innermost loops are of the kinds of its order."""

    bound: float
    number: int
    variants: tuple[Variants, ...]
    kinds: Mapping[int, frozenset[tuple[int | None, ...]]]


def _joined(node: Node) -> float:
    """Combinations of the candidates of all groups."""
    return float(np.prod([len(each.places) for each in node.variants], dtype=np.float64))


@dataclass
class Search:
    """One frame's search, for one choice of the fan-outs that have no lanes at work: their links are not used."""

    tables: Tables
    exact: Exact
    linear: Linear
    columns: Columns
    mode: int
    dual: Dual | Product
    passed: frozenset[int]
    _improved: int = 0

    def run(self, best: Best, deadline: float) -> None:
        """Improve `best`; what is left open at the `deadline` (of time.monotonic) is in `best.open`."""
        nodes = sorted(self._nodes(best, deadline), key=lambda node: (node.bound, node.number))
        if not nodes:
            return
        self._improve(max(nodes, key=_joined))
        nodes = [replace(node, bound=max(node.bound, self.dual.bound(node.variants))) for node in nodes]
        nodes.sort(key=lambda node: (node.bound, node.number))
        for number, node in enumerate(nodes):
            if node.bound >= self.below(best.limit):
                break
            if time.monotonic() > deadline and best.tree is not None:
                best.open = min([best.open, *[each.bound for each in nodes[number:]]])
                break
            self._search(node, best)

    def _nodes(self, best: Best, deadline: float) -> Iterator[Node]:
        """All classes with candidates whose bound is below the best. Where there are more than memory holds, or than
        can be looked at in the time, some: nothing is known of the others but that no mapping costs less than 0."""
        alike: dict[tuple[Key, ...], list[Class]] = {}
        for number, chosen in enumerate(self.columns.classes()):
            alike.setdefault(self.columns.keys(chosen, self.passed), []).append(chosen)
            late = number % 1024 == 1023 and time.monotonic() > deadline
            if number == _MOST_CLASSES or late:
                best.open = 0.0
                break
        for number, (keys, classes) in enumerate(alike.items()):
            if self.columns.stored_bytes > _MOST_BYTES or (number > _FEWEST_NODES and time.monotonic() > deadline):
                best.open = 0.0
                return
            variants = tuple(self.columns.variants(key) for key in keys)
            if not all(len(each.places) for each in variants):
                continue
            least = self.linear.constants.copy()
            for each in variants:
                least *= each.least
            bound = self.linear.bound(least)
            if bound < self.below(best.limit):
                kinds: dict[int, frozenset[tuple[int | None, ...]]] = {}
                for chosen in classes:
                    bits, innermost = self.columns.bits(chosen), tuple(block.innermost for block in chosen)
                    kinds[bits] = kinds.get(bits, frozenset()) | {innermost}
                yield Node(bound, number, variants, kinds)

    def _improve(self, node: Node) -> None:
        if _joined(node) > _SMALL and self._improved < _MOST_IMPROVED:
            self._improved += 1
            self.dual.improve(node.variants)

    def _search(self, node: Node, best: Best) -> None:
        self._improve(node)
        if self.dual.bound(node.variants) >= self.below(best.limit):
            return
        prepared = self._prepare(node.variants)
        leaves, bounds = np.empty((_MOST_LEAVES, len(node.variants)), np.int64), np.empty(_MOST_LEAVES)
        found = self._descend(prepared, best, True, 0, leaves, bounds)
        if not found:
            return
        self._evaluate(None, prepared, leaves[:1], bounds[:1], best)
        skipped = 0
        while True:
            limit = best.limit
            found = self._descend(prepared, best, False, skipped, leaves, bounds)
            self._evaluate(node, prepared, leaves[: abs(found)], bounds[: abs(found)], best)
            if found >= 0:
                return
            skipped = skipped - found if best.limit == limit else 0

    def _prepare(self, variants: Sequence[Variants]) -> Any:
        order = sorted(range(len(variants)), key=lambda group: len(variants[group].places))
        scores = self.dual.scores(variants)
        sizes, columns, tiles, lanes, owned, ranked, places = [0], [], [], [], [], [], []
        for group in order:
            each = variants[group]
            by = np.lexsort((each.columns.sum(axis=1), scores[group]))
            sizes.append(sizes[-1] + len(by))
            columns.append(each.columns[by])
            tiles.append(self.linear.tiles[group][each.places[by]])
            lanes.append(self.tables.groups[group].lanes[each.places[by]])
            owned.append(each.owned[by])
            ranked.append(scores[group][by])
            places.append(each.places[by])
        rest_columns = np.ones((len(order) + 1, columns[0].shape[1]))
        rest_tiles = np.ones((len(order) + 1, tiles[0].shape[1]))
        rest_scores = np.zeros(len(order) + 1)
        for level in range(len(order) - 1, -1, -1):
            rest_columns[level] = rest_columns[level + 1] * columns[level].min(axis=0)
            rest_tiles[level] = rest_tiles[level + 1] * tiles[level].min(axis=0)
            rest_scores[level] = rest_scores[level + 1] + ranked[level].min()
        rest_columns *= self.linear.constants
        arrays = (
            np.array(sizes, np.int64), np.concatenate(columns), np.concatenate(tiles), np.concatenate(lanes),
            np.concatenate(owned), np.concatenate(ranked), rest_columns, rest_tiles, rest_scores,
        )  # fmt: skip
        return order, np.concatenate(places), arrays

    def _descend(self, prepared: Any, best: Best, shrink: bool, skipped: int, leaves: Ints, bounds: Floats) -> int:
        """How many leaves were found; negative where there are more."""
        linear, limit = self.linear, self.below(best.limit)
        counts = np.zeros(2, np.int64)
        compiled: Any = descend
        found = compiled(
            *prepared[2], self.dual.constant, self.dual.aside, linear.limits, linear.rooms, linear.room_weights,
            self.mode, linear.energy, linear.forms, linear.ramps, limit, shrink, skipped, leaves, bounds, counts,
        )  # fmt: skip
        best.bounds += int(counts[0])
        return -int(found) if counts[1] else int(found)

    def _evaluate(self, node: Node | None, prepared: Any, leaves: Ints, bounds: Floats, best: Best) -> None:
        order, places, _ = prepared
        for row in np.argsort(bounds, kind="stable"):
            if bounds[row] >= self.below(best.limit):
                break
            chosen = np.empty(len(order), np.int64)
            for level, group in enumerate(order):
                chosen[group] = places[leaves[row, level]]
            innermost = self._innermost(node, chosen) if node is not None and self.columns.blocks else None
            if innermost == frozenset():
                continue
            orders, ranks = self.exact.ranked(chosen, innermost)
            if not orders:
                continue
            found = self.exact.figures(np.repeat(chosen[None], len(orders), axis=0), ranks)
            value = self.objective(found)
            best.evaluated += len(orders)
            number = int(np.argmin(value))
            if np.isfinite(value[number]) and len(best.points) < 20000:
                best.points.append((float(found[number, 0]), float(found[number, 1])))
            if value[number] < best.limit * (1 - ROUNDING):
                best.limit, best.tree = float(value[number]), self.exact.tree(chosen, orders[number])

    def _innermost(self, node: Node, chosen: Ints) -> frozenset[tuple[int | None, ...]]:
        """What the innermost loops of a mapping may be in the node's classes, if it belongs to one of them."""
        bits = 0
        for group, place in enumerate(chosen):
            bits |= int(self.tables.kinds[group][place])
        return node.kinds.get(bits & self.columns.mask, frozenset())

    def below(self, limit: float) -> float:
        """What a bound must be less than to say that something better may be there: cycles are whole."""
        return limit - 0.5 if self.mode == LATENCY else limit * (1 - ROUNDING)

    def objective(self, found: Floats) -> Floats:
        if self.mode == ENERGY:
            return found[:, 0]
        return found[:, 1] if self.mode == LATENCY else found[:, 0] * found[:, 1]


def searches_of(frame: Frame, figures: Figures, objective: str) -> Iterator[Search]:
    """The searches of a frame; there are none where nothing fits."""
    tables = tables_of(frame, figures)
    if tables is None:
        return
    mode, exact = MODES[objective], exact_of(tables)
    whole = linear_of(tables, mode, frozenset())
    columns = Columns(tables, whole.wanted)
    linear = linear_of(tables, mode, frozenset(), whole.wanted)
    dual = Product(linear) if mode == EDP else Dual(linear, mode)
    yield Search(tables, exact, linear, columns, mode, dual, frozenset())


def linear_of(tables: Tables, mode: int, passed: frozenset[int], wanted: list[int] | None = None) -> Linear:
    """Bounds of the objective as sums over quantities: words are not rounded up, what is taken off is the most that it
    can be. Links of the fan-outs `passed` are free."""
    frame, figures = tables.frame, tables.figures
    count = len(figures.quantities)
    most = [_most(tables, number) for number in range(count)]
    energy = np.zeros(count + 1)
    energy[count] = figures.energy_pj
    for item, price in figures.energy:
        _add(energy, item, price)
    forms = [np.zeros(count + 1)]
    forms[0][figures.steps] = 1.0
    stores = [(n, level) for n, level in enumerate(frame.machine.levels) if isinstance(level, Store)]
    rates = {n: (s.read_words_per_cycle, s.write_words_per_cycle, s.shared_words_per_cycle) for n, s in stores}
    for item, level, own in figures.alternating:
        _add(forms[0], item, _slowest(own, rates[level][2]))
    for level, _ in stores:
        for action in range(3):
            rate = rates[level][action]
            if rate is None:
                continue
            form = np.zeros(count + 1)
            for item, place, what in figures.busy:
                if place == level and action in (what, 2):
                    _add(form, item, 1 / rate)
            forms.append(form)
    ramps = np.zeros(count + 1)
    ramps[count] = figures.ramp_cycles
    for item, level, own in figures.ramps:
        _add(ramps, item, _slowest(own, rates[level][2]))
    rows = [*([energy] if mode != LATENCY else []), *([*forms, ramps] if mode != ENERGY else [])]
    for row in rows:
        for place in range(count):
            if row[place] < 0:
                row[count] += row[place] * most[place]
                row[place] = 0.0
    wanted = wanted or [place for place in range(count) if any(row[place] > 0 for row in rows)]
    kept = [*wanted, count]
    tiles = [place for place, quantity in enumerate(figures.quantities) if quantity.kind == TILE]
    room_weights = np.zeros((len(figures.capacities), len(tiles)))
    for number, (_, items, _) in enumerate(figures.capacities):
        for item in items:
            for place in item.plus:
                room_weights[number, tiles.index(place)] += item.num / item.den * tables.constants[place]
    by_group = []
    for group, candidates in enumerate(tables.groups):
        sizes = np.ones((len(candidates), len(tiles)))
        for column, place in enumerate(tiles):
            for part in tables.parts[place]:
                if part.group == group:
                    sizes[:, column] *= part.new[part.rows, 0]
        by_group.append(sizes)
    return Linear(
        wanted=wanted,
        constants=np.array([tables.constants[place] for place in wanted]),
        energy=energy[kept],
        forms=np.array(forms)[:, kept],
        ramps=ramps[kept],
        tiles=by_group,
        rooms=np.array([float(limit) for _, _, limit in figures.capacities]),
        room_weights=room_weights,
        limits=np.array([slot.lanes if slot.axis else 1 for slot in frame.slots], np.int64),
        lanes=[candidates.lanes for candidates in tables.groups],
        mode=mode,
    )


def _add(form: Floats, item: Item, price: float) -> None:
    for place in item.plus:
        form[place] += price * item.num / item.den
    for place in item.minus:
        form[place] -= price * item.num / item.den


def _slowest(own: float, shared: float | None) -> float:
    return max(1 / own if own else 0.0, 1 / shared if shared else 0.0)


def _most(tables: Tables, number: int) -> float:
    """No more than this can a quantity be."""
    quantity = tables.figures.quantities[number]
    moving, lanes = tables.constants[number], 1.0
    for part in tables.parts[number]:
        largest = float(part.new[:, 0].max())
        if quantity.kind == DISTINCT and not part.moves:
            lanes *= largest
        else:
            moving *= largest
    room = 1.0
    for slot in tables.frame.slots[: quantity.until]:
        if isinstance(tables.frame.level(slot), FanOut):
            room *= slot.lanes
    return moving * min(lanes, room)
