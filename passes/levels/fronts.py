"""Candidates of a group that no other one of the group makes superfluous.

One is superfluous if another is no worse in everything that a mapping's figure and its legality depend on, whatever the
other groups do: its bounds from above are at most the bounds from below. Quantities to which the other groups of a
class all contribute a constant are summed up, at their prices; what rounding to words may add is added to the sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import compiled
from .space import Ints
from .tables import Floats

ENOUGH = 256
MOST_KEPT = 0.5  # of the first ENOUGH


@compiled
def _front(
    lower: NDArray[np.float64], upper: NDArray[np.float64], order: NDArray[np.int64], kept: NDArray[np.int64],
) -> int:  # fmt: skip
    """Rows, in `order`, that none before them makes superfluous, into `kept`; how many. Those that do move forward.
    -1 where that are so many of the first ones that it is not worth looking."""
    wide, found = lower.shape[1], 0
    for looked, row in enumerate(order):
        if looked == ENOUGH and found > MOST_KEPT * ENOUGH:
            return -1
        superfluous = False
        for place in range(found):
            other = kept[place]
            better = True
            for column in range(wide):
                if upper[other, column] > lower[row, column]:
                    better = False
                    break
            if better:
                superfluous = True
                if place > 0:  # what made one superfluous is likely to do so again
                    kept[place] = kept[place // 2]
                    kept[place // 2] = other
                break
        if not superfluous:
            kept[found] = row
            found += 1
    return found


def front(lower: Floats, upper: Floats) -> Ints:
    """Rows without most superfluous ones, by their bounds [row, column]; in ascending order."""
    differs = np.flatnonzero((lower.min(axis=0) < upper.max(axis=0)) if len(lower) else np.zeros(lower.shape[1], bool))
    low, high = np.ascontiguousarray(lower[:, differs]), np.ascontiguousarray(upper[:, differs])
    if not len(low):
        return np.zeros(0, np.int64)
    span = np.maximum(np.abs(low).max(axis=0), 1e-300) if low.shape[1] else np.ones(0)
    order = np.argsort((low / span).sum(axis=1), kind="stable")
    kept = np.empty(len(low), np.int64)
    made: Any = _front
    count = made(low, high, order.astype(np.int64), kept)
    if count < 0:
        return np.arange(len(low))
    found: Ints = np.sort(kept[:count])
    return found
