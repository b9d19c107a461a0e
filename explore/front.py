"""Which points no other one dominates: none is at least as good in every objective and better in one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

from .study import Score

_K = TypeVar("_K", bound=Hashable)


def front(scores: Mapping[_K, Score]) -> list[_K]:
    """The keys of the feasible points that none dominates, by their objectives, equal ones by their order in `scores`.

    A point that is dominated is so by one of the front, and a point that sorts later dominates none before it: each has
    to be compared with the front so far alone.
    """
    feasible = [(key, score.objectives) for key, score in scores.items() if not score.violation]
    feasible.sort(key=lambda each: each[1])
    found: list[_K] = []
    kept = np.empty((0, len(feasible[0][1]) if feasible else 0))
    for key, objectives in feasible:
        values = np.array(objectives)
        below = (kept <= values).all(axis=1) & (kept < values).any(axis=1)
        if not below.any():
            found.append(key)
            kept = np.vstack([kept, values])
    return found


def spread(keys: list[_K], most: int | None) -> list[_K]:
    """At most `most` keys of a front: its first and last, and others evenly between them."""
    if most is None or len(keys) <= most:
        return keys
    if most == 1:
        return keys[:1]
    return [keys[round(number * (len(keys) - 1) / (most - 1))] for number in range(most)]
