"""Sums over the tiles of one dimension that is alone in its component, wherever its pieces lie: the most frequent case
of sums.py, which has the words, in less time. What both do alike stands in both: compiling.py says why."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import compiled
from .sums import FIRST, TEMPORAL, Slots


@compiled
def _put(pairs: NDArray[np.int64], count: int, size: int, old: int, times: int) -> int:
    """Append a pair of a new and an old piece, or add its times to those of an equal one."""
    if times == 0:
        return count
    for place in range(count):
        if pairs[place, 0] == size and pairs[place, 1] == old:
            pairs[place, 2] += times
            return count
    pairs[count, 0], pairs[count, 1], pairs[count, 2] = size, old, times
    return count + 1


@compiled
def _expand(
    extent: int,
    sizes: NDArray[np.int64],
    slots: Slots,
    code: int,
    moves: bool,
    pairs: NDArray[np.int64],
) -> int:
    """Pairs of a new and an old piece, which has no length where it has moved (`moves`), and times, into pairs[0]; how
    many."""
    advancing = code - slots.blocks - 1 if code > slots.blocks else -1
    pairs[0, 0, 0] = pairs[0, 0, 1] = extent
    pairs[0, 0, 2] = 1
    found, before, here = 1, extent, 0
    for slot in range(len(sizes)):
        size, mode, block = sizes[slot], slots.modes[slot], slots.place[slot]
        if size >= before:  # a loop of one iteration changes nothing
            continue
        before = size
        after = 0
        made = pairs[1 - here]
        for place in range(found):
            reach, old, times = pairs[here, place]
            count = -(-reach // size)
            rest = reach - (count - 1) * size  # of the last piece
            if mode == FIRST:
                after = _put(made, after, min(size, reach), min(size, old), times)
            elif mode != TEMPORAL:
                same = min(count - 1, old // size)  # pieces that both have whole
                after = _put(made, after, size, size, times * same)
                if same < count - 1:
                    after = _put(made, after, size, old - same * size, times)
                    after = _put(made, after, size, 0, times * (count - 2 - same))
                after = _put(made, after, rest, max(0, min(size, old - (count - 1) * size)), times)
            elif advancing >= 0 and block == advancing:
                if count > 1:
                    after = _put(made, after, size, 0 if moves else size, times * (count - 2))
                    after = _put(made, after, rest, 0 if moves else size, times)
            elif block > advancing if advancing >= 0 else block >= code:
                back = max(0, (old - 1) // size * size)
                after = _put(made, after, min(size, reach), 0 if moves and back else old - back, times)
            else:
                after = _put(made, after, size, size, times * (count - 1))
                after = _put(made, after, rest, rest, times)
        here, found = 1 - here, after
    if here:
        pairs[0, :found] = pairs[1, :found]
    return found


@compiled
def _sum(pairs: NDArray[np.int64], count: int, coefficients: NDArray[np.int64]) -> Any:
    """Lengths of new pieces along the axes of `coefficients` [axis, 1], and what old ones had of them, summed up."""
    new, kept = 0, 0
    for place in range(count):
        size, old, times = pairs[place]
        long, common = times, times
        for axis in range(len(coefficients)):
            c = coefficients[axis, 0]
            long *= c * (size - 1) + 1
            common *= c * (min(size, old) - 1) + 1
        new += long if size > 0 else 0
        kept += common if old > 0 else 0
    return new, kept


@compiled
def table_of_one(
    extent: int,
    chains: NDArray[np.int64],
    slots: Slots,
    codes: NDArray[np.int64],
    coefficients: NDArray[np.int64],
    new: NDArray[np.float64],
    kept: NDArray[np.float64],
) -> None:
    """Fill `new` and `kept` [chain, code] from `chains` [chain, slot], `codes` [code], `coefficients` [axis, 1]."""
    pairs = np.empty((2, extent + 72, 3), np.int64)
    blocks = slots.blocks
    loops = np.empty(blocks + 1, np.bool_)
    at = np.empty(2 * blocks + 1, np.int64)  # by code where its sums are
    for chain in range(chains.shape[0]):
        sizes, before = chains[chain], extent
        loops[:] = False
        at[:] = -1
        for slot in range(len(sizes)):
            if slots.place[slot] >= 0 and sizes[slot] < before:
                loops[slots.place[slot]] = True
            before = sizes[slot]
        for number in range(len(codes)):
            code = codes[number]
            if code > blocks and not loops[code - blocks - 1]:
                new[chain, number] = kept[chain, number] = 0  # a loop that is not there never advances
                continue
            while 0 < code <= blocks and not loops[code - 1]:
                code -= 1  # the outermost that says the same
            if at[code] >= 0:
                new[chain, number], kept[chain, number] = new[chain, at[code]], kept[chain, at[code]]
                continue
            at[code] = number
            count = _expand(extent, sizes, slots, code, len(coefficients) > 0, pairs)
            new[chain, number], kept[chain, number] = _sum(pairs[0], count, coefficients)
