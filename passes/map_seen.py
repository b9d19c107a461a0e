"""What a search has counted exactly, for pictures: a bounded number of mappings, at equal distances in the order in
which they came. In compiled code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ir.compiled import compiled, inlined
from .map_problem import Floats, Ints

# Columns of `rows`: cycles (UNKNOWN: it was not walked to its end), dataflow, copies as bits; then sizes, and the loop
# order (-1 where there are fewer loops).
CYCLES, DATAFLOW, COPIES, SIZES = range(4)
# Of `state`: how many rows are filled, of how many mappings one is kept, and how many are left out until the next.
KEPT, STRIDE, DUE = range(3)


class Seen(NamedTuple):
    """Mappings, as many as there are `rows`, an even number, with `energy_pj`. Without rows nothing is kept."""

    rows: Ints
    energy_pj: Floats
    state: Ints


def seen_of(dims: int, most: int) -> Seen:
    """Nothing yet."""
    return Seen(np.zeros((most, SIZES + 2 * dims), np.int64), np.zeros(most), np.array([0, 1, 0]))


@inlined
def is_kept(seen: Seen) -> bool:
    """Whether the mapping that is evaluated now is to be kept."""
    if seen.energy_pj.size == 0:
        return False
    seen.state[DUE] -= 1
    due: bool = seen.state[DUE] < 0
    return due


@compiled
def keep_seen(seen: Seen, cycles: int, energy: float, dataflow: int, copies: int, sizes: Ints, order: Ints) -> None:
    """Keep a mapping; once all rows are filled, of them and of what comes half as many."""
    rows, energy_pj, state = seen.rows, seen.energy_pj, seen.state
    if state[KEPT] == energy_pj.size:
        state[KEPT] = energy_pj.size // 2
        state[STRIDE] *= 2
        for row in range(state[KEPT]):
            energy_pj[row] = energy_pj[2 * row]
            for column in range(rows.shape[1]):
                rows[row, column] = rows[2 * row, column]
    row = state[KEPT]
    state[KEPT] += 1
    state[DUE] = state[STRIDE] - 1
    energy_pj[row] = energy
    rows[row, CYCLES], rows[row, DATAFLOW], rows[row, COPIES] = cycles, dataflow, copies
    for dim in range(sizes.size):
        rows[row, SIZES + dim] = sizes[dim]
        rows[row, SIZES + sizes.size + dim] = order[dim]
