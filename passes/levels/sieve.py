"""Which mappings are worth an exact evaluation: bounds of quantities give way to what they are, one by one."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import numpy as np

from ...ir.frozen import dataclass
from .columns import Columns
from .exact import Exact
from .exact_kernels import sift
from .figures import TAKEN
from .goal import Goal
from .linear import Linear
from .space import Ints
from .tables import Floats

_MOST_TRIED = 1 << 16  # mappings at a time, which bounds memory


@dataclass
class Sifted:
    """Mappings that are left: candidates of each [mapping, group], its order by block, and the ranks of that [mapping,
    block, dimension]. `tried` counts those that were looked at."""

    chosen: Ints
    orders: list[tuple[tuple[str, ...], ...]]
    ranks: Ints
    tried: int


@dataclass
class Sieve:
    """Looks first at the quantities that have raised bounds most."""

    exact: Exact
    linear: Linear
    columns: Columns
    goal: Goal
    _gains: Floats = field(init=False)
    _columns: Ints = field(init=False)  # by column its quantity, the one that stands for it (or -1), slots outside

    def __post_init__(self) -> None:
        whole = self.columns.tables.figures.whole
        numbers = [*self.columns.wanted, *self.columns.less]
        self._columns = np.array([(number, *whole.get(number, (-1, 0))) for number in numbers], np.int64).reshape(-1, 3)
        self._gains = np.zeros(len(numbers))

    def sifted(
        self, chosen: Ints, least: Floats, loose: frozenset[int], preferred: tuple[frozenset[int], ...], limit: float
    ) -> Sifted:
        """Of leaves [leaf, group] with bounds of quantities [leaf, column] the mappings that stay below `limit`.
        `loose` are the wanted quantities that are no more than bounds."""
        quantities = self.columns.tables.figures.quantities
        wanted = self.columns.wanted
        places = [place for place, number in enumerate(wanted) if number in loose]
        places += [len(wanted) + place for place, q in enumerate(self.columns.less) if quantities[q].kind == TAKEN]
        sequence = np.array(sorted(places, key=lambda place: -self._gains[place]), np.int64)
        kinds = np.stack([alike[at] for alike, at in zip(self.exact.alike, chosen.T, strict=True)], axis=1)
        _, first, patterns = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
        ranked = [self.exact.ranked(chosen[leaf], preferred) for leaf in first]
        orders = [order for each, _ in ranked for order in each]
        ranks = np.concatenate([each for _, each in ranked])
        counts = np.array([len(each) for each, _ in ranked])
        ends = np.cumsum(counts)
        patterns, spans = patterns.reshape(-1), np.stack([ends - counts, ends], axis=1)
        of_leaf = counts[patterns]
        pieces = np.split(np.arange(len(chosen)), np.flatnonzero(np.diff(of_leaf.cumsum() // _MOST_TRIED)) + 1)
        found: list[Ints] = []
        for piece in pieces:
            tried = int(of_leaf[piece].sum())
            pairs, values = np.empty((tried, 2), np.int64), np.empty((tried + 1, len(self._columns)))
            compiled: Any = sift
            count = compiled(
                chosen[piece], patterns[piece], spans, ranks, least[piece], sequence, self._columns, self.linear.matrix,
                self.goal.terms, self.goal.most, limit, *self.exact.arguments[:9], self._gains, pairs, values,
            )  # fmt: skip
            worth = self.goal.of(self.linear.rounded(values[:count])) < limit
            found.append(pairs[:count][worth] + (piece[0], 0))
        leaves, places_of = np.concatenate(found).T
        return Sifted(chosen[leaves], [orders[place] for place in places_of], ranks[places_of], int(of_leaf.sum()))
