"""The candidates of each group that matter to a class: those within the limit, but for superfluous ones (fronts.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cached_property, partial
from math import log
from typing import Any, TypeVar, cast

import numpy as np

from ...ir.frozen import dataclass
from .classes import Classes
from .dual import Dual, Product
from .fronts import front
from .goal import Goal
from .kernels import ENERGY, LATENCY, keep_within
from .linear import Linear
from .tables import Floats
from .variants import Groups, Key, Outline, Variants

_MOST_BYTES = 1 << 28  # of the candidates of all classes that are kept for the next one: more seldom pays
_MOST_SWEEPS = (
    3  # over all groups, to leave out what is beyond the limit with what is left of the others: more find little
)


@dataclass
class _Front:
    """Candidates that none beats in all that is compared: with bounds of quantities from above [variant, quantity], and
    the `rest` that is compared beside them [variant, column]."""

    variants: Variants
    upper: Floats
    rest: Floats

    @property
    def nbytes(self) -> int:
        return self.variants.nbytes + self.upper.nbytes + self.rest.nbytes

    @cached_property
    def most(self) -> Floats:
        """The most that quantities can be, and the least of what is taken off."""
        return np.append(self.upper.max(axis=0), self.variants.less.min(axis=0))


Cached = TypeVar("Cached", Outline, Variants, _Front)


@dataclass
class ClassFronts:
    """Fronts of classes and of nodes above them, kept as long as there is room."""

    linear: Linear
    classes: Classes
    groups: Groups
    goal: Goal
    dual: Dual | Product | None
    _cache: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _loosened: dict[Key, frozenset[int]] = field(default_factory=dict)
    _cache_bytes: int = 0

    def within(self, keys: Sequence[Key], limit: float) -> list[Variants]:
        """The candidates of each group, by its key, that may be in a mapping below `limit`. None of any group, if one
        has none."""
        outlines = [self._outline(key) for key in keys]
        if not all(map(len, outlines)):
            return []
        within = self._within_by_scores(outlines, limit)
        within = self._within_by_quantities(within, limit) if within else []
        if not within:
            return []
        return [
            self._all_variants(key, outline) if each is outline else self.groups.variants(key, each)
            for key, each, outline in zip(keys, within, outlines, strict=True)
        ]

    def of(self, keys: Sequence[Key], within: Sequence[Variants], is_open: bool) -> list[Variants]:
        """Those of them that matter; of a node with something open (`is_open`) those that matter to its bound."""
        loose = [frozenset[int]() if is_open else self.loose(key) for key in keys]
        shared = [frozenset[int]().union(*loose[:group], *loose[group + 1 :]) for group in range(len(keys))]
        found = [self._front(*each, is_open) for each in zip(keys, within, shared, strict=True)]
        lower, upper = np.array([each.variants.least for each in found]), np.array([each.most for each in found])
        differs = lower != upper
        reduced = []
        for group, each in enumerate(found):
            others = [other for other in range(len(found)) if other != group]
            alone = ~differs[others].any(axis=0)
            if (alone & differs[group]).sum() < 2:
                reduced.append(each.variants)
                continue
            factors = np.where(alone, self.linear.constants * lower[others].prod(axis=0), 0.0)
            reduced.append(self._summed(each, alone, factors))
        return reduced

    def loose(self, key: Key) -> frozenset[int]:
        """Wanted quantities of which a group's candidates have no more than bounds."""
        if key not in self._loosened:
            self._loosened[key] = self.groups.loose(key)
        return self._loosened[key]

    def _outline(self, key: Key) -> Outline:
        return self._cached(("outline", key), lambda: self.groups.outline(key))

    def _all_variants(self, key: Key, outline: Outline) -> Variants:
        return self._cached(("variants", key), lambda: self.groups.variants(key, outline))

    def _cached(self, at: tuple[Any, ...], make: Callable[[], Cached]) -> Cached:
        """What `make` gave for `at`, made again where there was no room to keep it."""
        if at in self._cache:
            found: Cached = self._cache[at]
            return found
        if self._cache_bytes > _MOST_BYTES:
            self._cache.clear()
            self._cache_bytes = 0
        made = self._cache[at] = make()
        self._cache_bytes += made.nbytes
        return made

    def _within_by_quantities(self, outlines: Sequence[Outline], limit: float) -> list[Outline]:
        """Candidates that stay below the limit with the least of the other groups; none of any, if a group has none."""
        if limit == float("inf"):
            return list(outlines)
        linear, goal = self.linear, self.goal
        rows = np.concatenate([each.rows for each in outlines])
        ends = np.cumsum([len(each) for each in outlines])
        kept, compiled = np.empty(len(rows), np.bool_), cast(Any, keep_within)
        if not compiled(
            rows, ends, linear.constants, linear.floors, goal.mode, goal.terms, goal.most, linear.energy, linear.forms,
            linear.ramps, limit, _MOST_SWEEPS, kept,
        ):  # fmt: skip
            return []
        of_groups = np.split(kept, ends[:-1])
        return [each if own.all() else each.only(own) for each, own in zip(outlines, of_groups, strict=True)]

    def _within_by_scores(self, outlines: Sequence[Outline], limit: float) -> list[Outline]:
        """Candidates whose score with the least of the other groups says that they may be below the limit."""
        if self.dual is None or limit == float("inf"):
            return list(outlines)
        scores = self.dual.scores(outlines)
        least = np.array([each.min() for each in scores])
        # As kernels.py compares scores with the limit.
        spare = log(max(limit - self.dual.aside, 1e-300)) + 1e-9 - self.dual.constant - least.sum()
        if spare < 0:
            return []
        kept = [each <= low + spare for each, low in zip(scores, least, strict=True)]
        return [each if rows.all() else each.only(rows) for each, rows in zip(outlines, kept, strict=True)]

    def _front(self, key: Key, variants: Variants, shared: frozenset[int], is_open: bool) -> _Front:
        """Kept where nothing was left out before, as for other limits that is another front."""
        make = partial(self._make_front, key, variants, shared, is_open)
        is_whole = variants is self._cache.get(("variants", key))
        return self._cached(("front", key, is_open, shared), make) if is_whole else make()

    def _make_front(self, key: Key, variants: Variants, shared: frozenset[int], is_open: bool) -> _Front:
        places = variants.places
        upper = variants.lower if is_open else self.groups.upper(key, places)
        # What the tiles of a group share matters where other groups have no more than bounds.
        rest = self.groups.rest(key, places, self.linear.scarce(key.group, places), shared)
        alike = [-variants.less, rest]
        rows = front(np.concatenate([variants.lower, *alike], axis=1), np.concatenate([upper, *alike], axis=1))
        return _Front(variants.only(rows), upper[rows], rest[rows])

    def _summed(self, whole: _Front, alone: Any, factors: Floats) -> Variants:
        """The front where quantities that depend on this group `alone` are summed up; `factors` are what the others
        contribute."""
        linear, mode, variants = self.linear, self.goal.mode, whole.variants
        wide = variants.lower.shape[1]
        # Energy is a row of the matrix, each form with ramps another.
        first = linear.matrix[:1] if mode != LATENCY else linear.matrix[:0]
        times = linear.forms + linear.ramps if mode != ENERGY else linear.matrix[:0]
        rounding = np.concatenate([linear.rounding[: len(first)], linear.rounding[1 : 1 + len(times)]])
        weights = np.concatenate([first, times])[:, :-1].T
        # Nothing counts as less than it is at least: nodes are bounded so, too.
        floors = np.where(alone, np.append(linear.floors, np.full(len(alone) - wide, -np.inf)), 0.0)
        left, right = ~alone[:wide], ~alone[wide:]

        def summed(bounds: Floats, added: Floats | float) -> Floats:
            sums = np.maximum(np.concatenate([bounds, variants.less], axis=1) * factors, floors) @ weights + added
            return np.concatenate([sums, bounds[:, left], -variants.less[:, right], whole.rest], axis=1)

        return variants.only(front(summed(variants.lower, 0.0), summed(whole.upper, rounding)))
