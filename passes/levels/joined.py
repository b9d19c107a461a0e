"""Candidates of all groups of a class, joined: combinations whose bound is below a limit (kernels.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.frozen import dataclass
from .clusters import Tree, clusters, least_of, spread_of
from .dual import Dual, Product
from .goal import Goal
from .kernels import descend
from .linear import Linear
from .space import Ints
from .tables import Floats
from .variants import Variants

_EVEN = 0.01  # of the largest weight is added to each: what costs nothing alone is told apart, too
_ALIKE = 0.1  # weights that differ by less than this share of the largest one
_DEEP = 1 << 11  # combinations of clusters that wait: more than candidates of all groups, parted in turn, can need


@dataclass
class Leaves:
    """Combinations that were found: rows of joined candidates [leaf, group] and their bounds."""

    rows: Ints
    bounds: Floats


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows of trees of candidates (clusters.py), by group from its root on, and where in them the search stands."""

    linear: Linear
    goal: Goal
    roots: Ints
    places: Ints  # of candidates, by row
    arrays: tuple[Any, ...]
    state: tuple[Any, ...]

    @property
    def bounds(self) -> int:
        """How many were evaluated."""
        return int(self.state[-1][0])

    def quantities(self, leaves: Ints) -> Floats:
        """Bounds of the quantities of leaves [leaf, group], as `descend` reads them [leaf, column]."""
        columns, tiles, shares = (each[leaves] for each in self.arrays[2:5])
        constants, split, floors = self.linear.constants, self.linear.split, self.linear.floors
        found: Floats = columns.prod(axis=1) * constants
        taken = constants[split] * tiles.prod(axis=1) * (1 - shares.prod(axis=1))
        found[:, split] = np.maximum(found[:, split], taken)
        found[:, : len(floors)] = np.maximum(found[:, : len(floors)], floors)
        return found

    def restart(self) -> None:
        """Go back to before the first combination."""
        stack, stacked, counts = self.state
        stack[0], stacked[0], counts[1] = self.roots, -np.inf, 1

    def least(self, leaves: Leaves, limit: float, floor: float, budget: int) -> tuple[bool, float, bool]:
        """Whether a bound is below `limit`; the least one, or one at the `floor`; whether `budget` bounds were enough
        to know."""
        self.restart()
        found, is_whole = self._descend(leaves, limit, floor, True, budget)
        return found > 0, float(leaves.bounds[0]), is_whole

    def more(self, leaves: Leaves, limit: float, budget: int) -> tuple[int, bool]:
        """How many leaves below `limit` come next, and whether these are all."""
        return self._descend(leaves, limit, 0.0, False, budget)

    def _descend(self, leaves: Leaves, limit: float, floor: float, shrink: bool, budget: int) -> tuple[int, bool]:
        linear, goal, counts = self.linear, self.goal, self.state[-1]
        compiled: Any = descend
        found = compiled(
            *self.arrays, linear.limits, linear.rooms, linear.room_weights, goal.mode, goal.terms, goal.most,
            linear.energy, linear.forms, linear.ramps, linear.items, linear.prices, linear.rows,
            limit, floor, shrink, budget, *self.state[:-1], leaves.rows, leaves.bounds, counts,
        )  # fmt: skip
        return int(found), not counts[1]


def joined(linear: Linear, goal: Goal, dual: Dual | Product | None, variants: Sequence[Variants]) -> Joined:
    """Candidates [group] in trees, those that cost least by the scores of `dual` first."""
    scores = dual.scores(variants) if dual is not None else [np.zeros(len(each)) for each in variants]
    weights = _weights(linear, dual)
    roots, skips, spreads, least, places = [0], [], [], [], []
    for group, each in enumerate(variants):
        tree = _tree(linear, group, each, weights, scores[group])
        least.append(np.concatenate([tree.least, least_of(tree.rows, tree.after, scores[group][:, None])], axis=1))
        spreads.append(tree.spreads)
        places.append(np.where(tree.rows < 0, tree.rows, each.places[tree.rows]))
        skips.append(tree.after + roots[-1])
        roots.append(roots[-1] + len(tree.rows))
    together = np.concatenate(least)
    splits = len(linear.split)
    ends = np.cumsum([linear.wanted, variants[0].less.shape[1], splits, splits, linear.tiles[0].shape[1]])
    together[:, ends[0] : ends[1]] *= -1
    together[:, ends[2] : ends[3]] *= -1
    columns, of_split, shares, tiles, lanes = (
        np.ascontiguousarray(part) for part in np.split(together[:, :-1], ends[1:], axis=1)
    )
    constant, aside = (dual.constant, dual.aside) if dual is not None else (-np.inf, 0.0)
    arrays = (
        np.concatenate(skips), np.concatenate(spreads), columns, of_split, shares, tiles, lanes.astype(np.int64),
        together[:, -1].copy(), linear.constants, linear.split, linear.floors, constant, aside,
    )  # fmt: skip
    state = np.empty((_DEEP, len(variants)), np.int64), np.empty(_DEEP), np.zeros(2, np.int64)
    made = Joined(linear, goal, np.array(roots[:-1]), np.concatenate(places), arrays, state)
    made.restart()
    return made


def _tree(linear: Linear, group: int, variants: Variants, weights: Floats, scores: Floats) -> Tree:
    """The tree of some candidates; one that was made at almost the same weights does."""
    made = variants.tree
    if made is None or np.abs(made.weights - weights).max() > _ALIKE * weights.max():
        keys = variants.logs_with(linear.logs[group]) * weights
        rows, after = clusters(keys, scores)
        scarce = linear.scarce(group, variants.places)
        kept = np.concatenate([variants.lower, -variants.less, variants.tiles, -variants.shares, scarce], axis=1)
        made = Tree(weights, rows, after, spread_of(rows, after, keys), least_of(rows, after, kept))
        variants.tree = made
    return made


def _weights(linear: Linear, dual: Dual | Product | None) -> Floats:
    """How much the logarithms of quantities, tiles and lanes matter."""
    if dual is None:
        return np.ones(linear.wanted + linear.room_weights.shape[1] + len(linear.limits))
    weights = dual.weights()
    return weights + _EVEN * float(weights.max())
