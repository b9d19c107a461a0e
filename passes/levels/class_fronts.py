"""The candidates of each group that matter to a class: those within the limit, but for superfluous ones (fronts.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .choices import Class
from .classes import Classes
from .fronts import front
from .goal import Goal
from .kernels import ENERGY, LATENCY
from .linear import Linear
from .movers import Mover
from .tables import Floats
from .variants import Groups, Key, Outline, Variants

_MOST_BYTES = 1 << 28  # of the candidates of all classes that are kept for the next one: more seldom pays
_ROUNDS = 3  # of leaving out what is beyond the limit, with what is left of the other groups: later ones find little


@dataclass
class ClassFronts:
    """Fronts of classes and of nodes above them, kept as long as there is room."""

    linear: Linear
    classes: Classes
    groups: Groups
    goal: Goal
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _loosened: dict[Key, frozenset[int]] = field(default_factory=dict)
    _made_bytes: int = 0

    def of(self, chosen: Class, movers: Sequence[Mover], is_open: bool, limit: float) -> list[Variants]:
        """The candidates of each group that may be in a mapping below `limit`; of a node with something open
        (`is_open`) those that matter to its bound. None of any group, if one has none."""
        keys = self.classes.keys(chosen, movers)
        outlines = [self._outline(key) for key in keys]
        within = self._within(outlines, limit) if all(map(len, outlines)) else None
        if within is None:
            return []
        loose = [frozenset[int]() if is_open else self.loose(key) for key in keys]
        shared = [frozenset[int]().union(*loose[:group], *loose[group + 1 :]) for group in range(len(keys))]
        found = [
            self._front(key, each, is_open, by_others, len(each) == len(outline))
            for key, each, by_others, outline in zip(keys, within, shared, outlines, strict=True)
        ]
        lower, upper = np.array([each.least for each in found]), np.array([each.most for each in found])
        differs = lower != upper
        reduced = []
        for group, each in enumerate(found):
            others = [other for other in range(len(found)) if other != group]
            alone = ~differs[others].any(axis=0)
            if (alone & differs[group]).sum() < 2:
                reduced.append(each)
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
        at = (key,)
        if at not in self._made:
            self._keep(at, made := self.groups.outline(key), made.nbytes)
            return made
        found: Outline = self._made[at]
        return found

    def _keep(self, at: tuple[Any, ...], made: Any, size: int) -> None:
        if self._made_bytes > _MOST_BYTES:
            self._made.clear()
            self._made_bytes = 0
        self._made[at] = made
        self._made_bytes += size

    def _within(self, outlines: Sequence[Outline], limit: float) -> list[Outline] | None:
        """Candidates that stay below the limit with the least of the other groups; None if a group has none."""
        linear, found = self.linear, list(outlines)
        if limit == float("inf"):
            return found
        least = linear.constants * np.prod([each.least for each in found], axis=0)
        if not self._below(least[None], limit).any():
            return None
        for _ in range(_ROUNDS):
            before = [len(each) for each in found]
            for group, each in enumerate(found):
                others = [other.least for number, other in enumerate(found) if number != group]
                values = each.rows * (linear.constants * np.prod(others, axis=0) if others else linear.constants)
                below = self._below(values, limit)
                if not below.any():
                    return None
                if not below.all():
                    found[group] = each.only(below)
            if [len(each) for each in found] == before:
                break
        return found

    def _below(self, values: Floats, limit: float) -> NDArray[np.bool_]:
        """Whether bounds of quantities [row, column] say that a mapping may be below the limit."""
        return self.goal.of(self.linear.figures(values)) < limit

    def _front(self, key: Key, outline: Outline, is_open: bool, shared: frozenset[int], is_whole: bool) -> Variants:
        """`is_whole`: of all candidates, which other nodes may have, too."""
        at = key, is_open, shared
        if is_whole and at in self._made:
            kept: Variants = self._made[at]
            return kept
        # What the tiles of a group share matters where other groups have no more than bounds.
        variants = self.groups.variants(key, outline, self.linear.scarce(key.group, outline.places), shared)
        if is_open:
            variants.upper = variants.lower
        rest = [-variants.less, variants.rest]
        lower = np.concatenate([variants.lower, *rest], axis=1)
        upper = np.concatenate([variants.upper, *rest], axis=1)
        found = variants.only(front(lower, upper))
        if is_whole:
            self._keep(at, found, found.nbytes)
        return found

    def _summed(self, variants: Variants, alone: Any, factors: Floats) -> Variants:
        """The front where quantities that depend on this group `alone` are summed up; `factors` are what the others
        contribute."""
        linear, wide, mode = self.linear, variants.lower.shape[1], self.goal.mode
        # Energy is a row of the matrix, each form with ramps another.
        first = linear.matrix[:1] if mode != LATENCY else linear.matrix[:0]
        times = linear.forms + linear.ramps if mode != ENERGY else linear.matrix[:0]
        rounding = np.concatenate([linear.rounding[: len(first)], linear.rounding[1 : 1 + len(times)]])
        weights = np.concatenate([first, times])[:, :-1].T
        # Nothing counts as less than it is at least: nodes are bounded so, too.
        floors = np.where(alone, np.append(linear.floors, np.full(len(alone) - wide, -np.inf)), 0.0)
        lower = np.maximum(np.concatenate([variants.lower, variants.less], axis=1) * factors, floors) @ weights
        upper = np.maximum(np.concatenate([variants.upper, variants.less], axis=1) * factors, floors) @ weights
        upper = upper + rounding
        left, right = ~alone[:wide], ~alone[wide:]
        lower = np.concatenate([lower, variants.lower[:, left], -variants.less[:, right], variants.rest], axis=1)
        upper = np.concatenate([upper, variants.upper[:, left], -variants.less[:, right], variants.rest], axis=1)
        return variants.only(front(lower, upper))
