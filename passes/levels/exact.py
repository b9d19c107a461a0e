"""Exact figures of candidates: the arrays that the compiled evaluation reads, and the orders of a mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from ...ir.hierarchy import Store
from .exact_kernels import evaluate
from .figures import TAKEN, Item
from .space import Ints, orders, signature, tree_of
from .tables import Floats, Tables

_ENERGY, _BUSY, _ALTERNATING, _RAMP, _CAPACITY = range(5)
MOST_QUANTITIES = 4  # of an item


@dataclass
class Exact:
    """Evaluates mappings of one frame."""

    tables: Tables
    dims: list[str]
    arguments: tuple[Any, ...]
    declared: list[list[tuple[str, ...]]]  # orders by block
    _orders: dict[tuple[int, frozenset[str]], list[tuple[str, ...]]] = field(default_factory=dict)
    _loops_of: dict[tuple[int, int], list[tuple[str, int]]] = field(default_factory=dict)
    _ranks_of: dict[tuple[str, ...], tuple[int, ...]] = field(default_factory=dict)
    _ranked: dict[Any, tuple[list[tuple[tuple[str, ...], ...]], Ints]] = field(default_factory=dict)

    def figures(self, chosen: Ints, ranks: Ints) -> Floats:
        """Energy in pJ and cycles [mapping, 2] of candidates [mapping, group], ranks [mapping, block, dimension]."""
        found = np.empty((len(chosen), 2))
        compiled: Any = evaluate
        compiled(chosen, ranks, *self.arguments, found)
        return found

    def orders_of(self, chosen: Ints, preferred: Sequence[frozenset[int]] = ()) -> list[tuple[tuple[str, ...], ...]]:
        """The declared orders of one mapping, by block, without loops of one iteration. Of the first blocks those whose
        innermost loop is of a `preferred` kind, where the mapping has such loops there."""
        looping: list[set[str]] = [set() for _ in self.declared]
        for group, place in enumerate(chosen.tolist()):
            for dim, block in self._loops(group, place):
                looping[block].add(dim)
        choices = []
        for block, there in enumerate(looping):
            found = self._orders_over(block, frozenset(there))
            if block < len(preferred):
                liked = [order for order in found if order and self._kind[order[-1]] in preferred[block]]
                found = liked or found
            choices.append(found)
        return list(product(*choices))

    def _loops(self, group: int, place: int) -> list[tuple[str, int]]:
        """Dimensions of which a candidate has loops, each with the block."""
        at = group, int(self.alike[group][place])
        if at not in self._loops_of:
            candidates = self.tables.groups[group]
            there = np.argwhere(candidates.loops[place]).tolist()
            self._loops_of[at] = [(candidates.dims[number], block) for number, block in there]
        return self._loops_of[at]

    def _orders_over(self, block: int, there: frozenset[str]) -> list[tuple[str, ...]]:
        """The different orders of a block in which there are these loops."""
        if (block, there) not in self._orders:
            orders = dict.fromkeys(tuple(dim for dim in order if dim in there) for order in self.declared[block])
            self._orders[block, there] = list(orders)
        return self._orders[block, there]

    def whole_orders(self, orders: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """By block a declared order of all dimensions of which an order of some is what is left."""
        return [
            next(order for order in declared if tuple(dim for dim in order if dim in set(given)) == tuple(given))
            for declared, given in zip(self.declared, orders, strict=True)
        ]

    @cached_property
    def _kind(self) -> dict[str, int]:
        workload = self.tables.frame.workload
        return {dim: self.tables.signatures.index(signature(workload, dim)) for dim in self.dims}

    def ranked(
        self, chosen: Ints, preferred: tuple[frozenset[int], ...] = ()
    ) -> tuple[list[tuple[tuple[str, ...], ...]], Ints]:
        """The orders of one mapping with their ranks; mappings with loops at the same places have the same."""
        key = tuple(alike[place] for alike, place in zip(self.alike, chosen, strict=True)), preferred
        if key not in self._ranked:
            orders = self.orders_of(chosen, preferred)
            self._ranked[key] = orders, self.ranks(orders)
        return self._ranked[key]

    @cached_property
    def alike(self) -> list[Ints]:
        """By group a number for each candidate: those with loops at the same places have the same."""
        found = []
        for candidates in self.tables.groups:
            bits = np.packbits(candidates.loops.reshape(len(candidates), -1), axis=1)
            found.append(np.unique(bits, axis=0, return_inverse=True)[1].reshape(-1))
        return found

    def ranks(self, found: list[tuple[tuple[str, ...], ...]]) -> Ints:
        """Ranks [order, block, dimension] of orders."""
        ranks = [[self._ranks_in(dims) for dims in order] for order in found]
        return np.array(ranks, np.int64).reshape(len(found), len(self.declared), len(self.dims))

    def _ranks_in(self, order: tuple[str, ...]) -> tuple[int, ...]:
        """By dimension its rank in the order of a block, from 1 on; 0 where it has no loop there."""
        if order not in self._ranks_of:
            self._ranks_of[order] = tuple(order.index(dim) + 1 if dim in order else 0 for dim in self.dims)
        return self._ranks_of[order]

    def tree(self, chosen: Ints, order: tuple[tuple[str, ...], ...]) -> Any:
        sizes = {
            dim: candidates.sizes[place, number]
            for candidates, place in zip(self.tables.groups, chosen, strict=True)
            for number, dim in enumerate(candidates.dims)
        }
        frame = self.tables.frame
        return tree_of(frame, sizes, dict(zip(frame.blocks, order, strict=True)))


def exact_of(tables: Tables) -> Exact:
    """The evaluation of mappings of the tables' frame."""
    frame, figures = tables.frame, tables.figures
    dims = [dim for dim, extent in frame.workload.dims if extent > 1]
    heads: list[tuple[int, int, int, int]] = []
    parts: list[list[int]] = []
    rows: list[Ints] = []
    lookups: list[Ints] = []
    new: list[Floats] = []
    kept: list[Floats] = []
    seen: dict[int, tuple[int, int, int]] = {}
    row_at = new_at = lookup_at = 0
    for quantity, of_quantity in zip(figures.quantities, tables.parts, strict=True):
        first, blocks = len(parts), tables.blocks(quantity)
        for part in of_quantity:
            if id(part) not in seen:
                seen[id(part)] = row_at, new_at, lookup_at
                width = 2 * blocks + 1
                lookup = np.full(width ** len(part.dims), 0, np.int64)
                for number, code in enumerate(part.codes):
                    lookup[int(sum(c * width ** (len(code) - 1 - place) for place, c in enumerate(code)))] = number
                rows.append(part.rows)
                new.append(part.new.reshape(-1))
                kept.append(part.kept.reshape(-1))
                lookups.append(lookup)
                row_at, new_at = row_at + len(part.rows), new_at + part.new.size
                lookup_at += len(lookup)
            at = seen[id(part)]
            own_dims = [dims.index(dim) for dim in part.dims]
            entry = [at[0], part.group, at[1], part.new.shape[1], at[2], len(own_dims), *own_dims]
            parts.append(entry + [0] * (10 - len(entry)))
        heads.append((first, len(parts), blocks, int(quantity.kind == TAKEN)))
    stores = [level for level in frame.machine.levels if isinstance(level, Store)]
    names = [level.name for level in stores]
    items: list[list[int]] = []
    prices: list[float] = []

    def add(kind: int, store: int, action: int, item: Item, price: float) -> None:
        signed = [(place, 1) for place in item.plus] + [(place, -1) for place in item.minus]
        flat = [value for pair in signed for value in pair]
        items.append([kind, store, action, item.num, item.den, *flat, *[-1] * (2 * MOST_QUANTITIES - len(flat))])
        prices.append(price)

    for item, price in figures.energy:
        add(_ENERGY, 0, 0, item, price)
    for item, level, action in figures.busy:
        add(_BUSY, names.index(frame.machine.levels[level].name), action, item, 0.0)
    for kind, passing in ((_ALTERNATING, figures.alternating), (_RAMP, figures.ramps)):
        for item, level, own_rate in passing:
            add(kind, names.index(frame.machine.levels[level].name), 0, item, own_rate)
    for number, (_, held, _) in enumerate(figures.capacities):
        for item in held:
            add(_CAPACITY, number, 0, item, 0.0)
    rates = [
        [store.read_words_per_cycle or 0, store.write_words_per_cycle or 0, store.shared_words_per_cycle or 0]
        for store in stores
    ]
    ends = [(low, high, end) for low, (high, end) in figures.whole.items()]
    lanes = [candidates.lanes for candidates in tables.groups]
    arguments = (
        np.array([0, *np.cumsum([len(each) for each in lanes])[:-1]], np.int64)[: len(lanes)],
        np.concatenate(lanes) if lanes else np.ones((0, len(frame.slots)), np.int64),
        np.array(heads, np.int64).reshape(len(heads), 4),
        np.array(tables.constants, np.float64),
        np.array(parts, np.int64).reshape(len(parts), 10),
        _joined(rows, np.int64),
        _joined(lookups, np.int64),
        _joined(new, np.float64),
        _joined(kept, np.float64),
        np.array(ends, np.int64).reshape(len(ends), 3),
        np.array(items, np.int64).reshape(len(items), 5 + 2 * MOST_QUANTITIES),
        np.array([limit for _, _, limit in figures.capacities], np.int64),
        np.array(prices, np.float64),
        np.array(rates, np.float64).reshape(len(rates), 3),
        np.array([figures.energy_pj, figures.ramp_cycles], np.float64),
        figures.steps,
    )
    declared = [orders(frame, frame.slots[place]) for place in frame.blocks]
    return Exact(tables, dims, arguments, declared)


def _joined(arrays: list[Any], kind: Any) -> NDArray[Any]:
    return np.concatenate(arrays).astype(kind) if arrays else np.zeros(0, kind)
