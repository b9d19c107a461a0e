"""Candidates of a group in clusters of like ones, which the search leaves out as one where their least is too much.

A tree halves the candidates along the quantity in which they differ most, until few are left. Its nodes lie in one row
each, a cluster before what is in it, so that compiled code (kernels.py) goes on with the next row or skips a cluster.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from .compiling import compiled
from .space import Ints
from .tables import Floats


@dataclass(frozen=True, slots=True)
class Tree:
    """Candidates in clusters, as `clusters` returns them, made at some `weights` of quantities: how far apart those in
    a row are, and the least of what they have [row, column]."""

    weights: Floats
    rows: Ints
    after: Ints
    spreads: Floats
    least: Floats


FEW = 4  # candidates that are not parted any more


@compiled
def _arrange(
    keys: NDArray[np.float64], scores: NDArray[np.float64], order: NDArray[np.int64], few: int,
    places: NDArray[np.int64], skips: NDArray[np.int64],
) -> int:  # fmt: skip
    """Rows of the tree: by row the place of a candidate, or -1, and the first row after what is in it. How many."""
    count, wide = keys.shape
    stack = np.empty((128, 3), np.int64)  # what is to be parted, from .. to, or a row to be closed
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, count, -1
    depth, row = 1, 0
    while depth > 0:
        depth -= 1
        low, high, closed = stack[depth]
        if closed >= 0:
            skips[closed] = row
            continue
        if high - low <= few and (row > 0 or count == 1):
            order[low:high] = order[low:high][np.argsort(scores[order[low:high]], kind="mergesort")]
            for each in range(low, high):
                places[row], skips[row] = order[each], row + 1
                row += 1
            continue
        widest, column = -1.0, 0
        for each in range(wide):
            least = most = keys[order[low], each]
            for place in range(low + 1, high):
                value = keys[order[place], each]
                least, most = min(least, value), max(most, value)
            if most - least > widest:
                widest, column = most - least, each
        part = order[low:high]
        order[low:high] = part[np.argsort(keys[part, column], kind="mergesort")]
        middle = (low + high) // 2
        left, right = np.inf, np.inf
        for each in range(low, middle):
            left = min(left, scores[order[each]])
        for each in range(middle, high):
            right = min(right, scores[order[each]])
        places[row], skips[row] = -1, -1
        stack[depth, 2] = row
        first, second = (depth + 2, depth + 1) if left <= right else (depth + 1, depth + 2)
        stack[first, 0], stack[first, 1], stack[first, 2] = low, middle, -1
        stack[second, 0], stack[second, 1], stack[second, 2] = middle, high, -1
        depth += 3
        row += 1
    return row


@compiled
def _least(places: NDArray[np.int64], skips: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """Fill in the least of what is in each cluster."""
    for row in range(len(places) - 1, -1, -1):
        if places[row] >= 0:
            continue
        inside = row + 1
        values[row] = values[inside]
        while inside < skips[row]:
            for column in range(values.shape[1]):
                values[row, column] = min(values[row, column], values[inside, column])
            inside = skips[inside]


def clusters(keys: Floats, scores: Floats) -> tuple[Ints, Ints]:
    """Rows of the tree of candidates that are alike where `keys` [candidate, quantity] are: by row the place of a
    candidate or -1, and the first row after what is in it. Those of the least scores come first."""
    count = len(keys)
    places, skips = np.empty(2 * count + 2, np.int64), np.empty(2 * count + 2, np.int64)
    made: Any = _arrange
    rows = made(np.ascontiguousarray(keys), scores, np.arange(count), FEW, places, skips)
    return places[:rows].copy(), skips[:rows].copy()


def spread_of(places: Ints, skips: Ints, keys: Floats) -> Floats:
    """By row of a tree how far apart the keys of what is in it are, all quantities together; -1 of a candidate."""
    least = least_of(places, skips, np.concatenate([keys, -keys], axis=1))
    found: Floats = np.where(places < 0, -least.sum(axis=1), -1.0)
    return found


def least_of(places: Ints, skips: Ints, values: Floats) -> Floats:
    """By row of a tree the least of the `values` [candidate, column] in it."""
    found: Floats = np.ascontiguousarray(values[places], np.float64)
    made: Any = _least
    made(places, skips, found)
    return found
