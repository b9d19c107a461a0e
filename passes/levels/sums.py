"""Sums over the tiles of one component of an operand's dimensions, for many chains at once, compiled.

They are what backends/cost/levels/moves.py sums: lengths of new pieces, and of what the old ones had of them, while
one loop advances. Where that loop stands, as one dimension sees it, is a *code*: c <= blocks means that its loops in
the first c temporal blocks lie outside (they keep their piece) and the others inside (they start anew); blocks + 1 + j
means that its own loop in block j is the one that advances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compiling import compiled

TEMPORAL, EACH, FIRST, SHARED = 0, 1, 2, 3
MOST_BITS = 62  # of a lane's numbers along all slots


class Slots(NamedTuple):
    """What chains go through, from the outermost slot inwards: by slot how its pieces are counted (TEMPORAL, or how its
    lanes are) and which of the temporal `blocks` it is, else -1. `widths` are bits of the numbers of lanes along it,
    where they are compared, else 0."""

    modes: NDArray[np.int64]
    place: NDArray[np.int64]
    blocks: int
    widths: NDArray[np.int64]


@compiled
def _add(entries: NDArray[np.int64], count: int, merge: bool, entry: NDArray[np.int64]) -> int:
    """Append `entry` (size, old size, start, shift, key, lane, times), or add its times to an equal one."""
    if merge:
        for place in range(count):
            same = True
            for column in range(6):
                if entries[place, column] != entry[column]:
                    same = False
                    break
            if same:
                entries[place, 6] += entry[6]
                return count
    entries[count] = entry
    return count + 1


@compiled
def _expand(
    extent: int,
    sizes: NDArray[np.int64],
    slots: Slots,
    code: int,
    placed: bool,
    keyed: bool,
    coupled: bool,
    buffers: NDArray[np.int64],
    entry: NDArray[np.int64],
) -> int:
    """Pairs of a new and an old piece of one dimension, into buffers[0]; how many. `entry` is room for one."""
    advancing = code - slots.blocks - 1 if code > slots.blocks else -1
    for column in range(7):
        buffers[0, 0, column] = 0
    buffers[0, 0, 0] = buffers[0, 0, 1] = extent
    buffers[0, 0, 6] = 1
    found = 1
    merge = not placed
    before = extent
    for slot in range(len(sizes)):
        size, mode, block = sizes[slot], slots.modes[slot], slots.place[slot]
        # A loop of one iteration changes nothing, but that lanes are compared slot by slot (`_earlier`).
        if size >= before and slots.widths[slot] == 0:
            continue
        full = -(-before // size)
        before = size
        after = 0
        for place in range(found):
            reach, old, start = buffers[0, place, 0], buffers[0, place, 1], buffers[0, place, 2]
            shift, key = buffers[0, place, 3], buffers[0, place, 4]
            lane, times = buffers[0, place, 5], buffers[0, place, 6]
            count = -(-reach // size)
            first, last, kind = 0, count, 0  # kind 0: keeps its piece, 1: advances, 2: starts anew, 3: lanes
            if mode == TEMPORAL:
                if advancing >= 0 and block == advancing:
                    first, kind = 1, 1
                elif block > advancing if advancing >= 0 else block >= code:
                    last, kind = 1, 2
            else:
                kind = 3
                if mode == FIRST:
                    last = 1
            for index in range(first, last):
                many = 1
                if merge and kind < 2 and index < count - 1:
                    if index > first:
                        continue
                    many = count - 1 - first
                at = index * size
                entry[0] = min(size, reach - at)
                entry[2] = start + at if placed else 0
                entry[3] = shift
                entry[4] = key
                entry[5] = lane
                if keyed and mode == SHARED:
                    entry[5] = (lane << slots.widths[slot]) + index
                entry[6] = times * many
                if kind == 0:
                    entry[1] = entry[0]
                elif kind == 1:
                    entry[1] = size
                    entry[3] = size
                elif kind == 2:
                    olds = -(-old // size)
                    back = (olds - 1) * size if olds > 0 else 0
                    entry[1] = old - back
                    entry[3] = shift - back
                else:
                    entry[1] = max(0, min(size, old - at))
                if entry[1] == 0:
                    entry[3] = 0
                elif not coupled and entry[3] != 0:
                    entry[3] = 1 << 40  # alone, a piece that has moved has nothing in common with the old one
                if keyed and mode != SHARED:
                    entry[4] = key * full + index
                after = _add(buffers[1], after, merge, entry)
        for place in range(after):
            buffers[0, place] = buffers[1, place]
        found = after
    return found


@compiled
def table(
    extents: NDArray[np.int64],
    chains: NDArray[np.int64],
    slots: Slots,
    codes: NDArray[np.int64],
    coefficients: NDArray[np.int64],
    borders: NDArray[np.int64],
    placed: bool,
    keyed: bool,
    new: NDArray[np.float64],
    kept: NDArray[np.float64],
) -> None:
    """Fill `new` and `kept` [chain, code]. `chains` [chain, dimension, slot] are sizes; `codes` [code, dimension];
    an axis has a row of `coefficients` and one of `borders` (low, high; without limit where nothing is clipped)."""
    dims, axes = chains.shape[1], coefficients.shape[0]
    most = 72
    for dim in range(dims):
        most = max(most, extents[dim] + 72)
    lists = np.empty((dims, 2, most, 7), np.int64)
    counts = np.empty(dims, np.int64)
    at = np.empty(dims, np.int64)
    before = np.empty((dims, most), np.int64)
    last = np.empty((dims, most), np.int64)
    plain = np.empty((codes.shape[0], dims), np.int64)
    trips = np.empty((dims, slots.blocks + 1), np.bool_)
    entry = np.empty(7, np.int64)
    for chain in range(chains.shape[0]):
        for dim in range(dims):
            _find_loops(extents[dim], chains[chain, dim], slots, trips[dim])
        for number in range(codes.shape[0]):
            idle = False
            for dim in range(dims):
                plain[number, dim] = _plain(trips[dim], codes[number, dim], slots.blocks)
                idle = idle or plain[number, dim] < 0
            if idle:  # a loop that is not there never advances
                new[chain, number] = kept[chain, number] = 0
                continue
            alike = -1
            for other in range(number):
                same = True
                for dim in range(dims):
                    same = same and plain[other, dim] == plain[number, dim]
                if same:
                    alike = other
                    break
            if alike >= 0:
                new[chain, number], kept[chain, number] = new[chain, alike], kept[chain, alike]
                continue
            for dim in range(dims):
                counts[dim] = _expand(
                    extents[dim], chains[chain, dim], slots, plain[number, dim], placed, keyed,
                    axes > 0 and dims > 1, lists[dim], entry,
                )  # fmt: skip
                if keyed:
                    _link(lists[dim, 0], counts[dim], before[dim], last[dim])
            new[chain, number], kept[chain, number] = _sum(
                lists, counts, before, last, at, coefficients, borders, keyed, slots.widths
            )


@compiled
def _find_loops(extent: int, sizes: NDArray[np.int64], slots: Slots, trips: NDArray[np.bool_]) -> None:
    """Whether a chain has a loop in each block, into `trips`."""
    trips[:] = False
    reach = extent
    for slot in range(len(sizes)):
        if slots.place[slot] >= 0 and sizes[slot] < reach:
            trips[slots.place[slot]] = True
        reach = sizes[slot]


@compiled
def _plain(trips: NDArray[np.bool_], code: int, blocks: int) -> int:
    """The code with loops of one iteration left out: the outermost that says the same, or -1 where nothing advances."""
    if code > blocks:
        return code if trips[code - blocks - 1] else -1
    while code > 0 and not trips[code - 1]:
        code -= 1
    return code


@compiled
def _link(entries: NDArray[np.int64], count: int, before: NDArray[np.int64], last: NDArray[np.int64]) -> None:
    """For each entry the one before it with its key, and the last of all with its key."""
    order = np.argsort(entries[:count, 4], kind="mergesort")
    for number in range(count - 1, -1, -1):
        place = order[number]
        is_last = number == count - 1 or entries[order[number + 1], 4] != entries[place, 4]
        last[place] = place if is_last else last[order[number + 1]]
        is_first = number == 0 or entries[order[number - 1], 4] != entries[place, 4]
        before[place] = -1 if is_first else order[number - 1]


@compiled
def _sum(
    lists: NDArray[np.int64], counts: NDArray[np.int64], before: NDArray[np.int64], last: NDArray[np.int64],
    at: NDArray[np.int64], coefficients: NDArray[np.int64], borders: NDArray[np.int64], keyed: bool,
    widths: NDArray[np.int64],
) -> Any:  # fmt: skip
    """Lengths of new pieces of all dimensions together, and what old ones had of them, summed up over combinations of
    pairs; `at` is room for one."""
    dims, axes = len(counts), len(coefficients)
    total_new, total_kept = 0, 0
    at[:] = 0
    done = False
    for dim in range(dims):
        if counts[dim] == 0:
            done = True
    while not done:
        if not keyed or _is_first(lists, before, last, at, dims, axes, coefficients, widths):
            times, long, common = 1, 1, 1
            for dim in range(dims):
                times *= lists[dim, 0, at[dim], 6]
                if lists[dim, 0, at[dim], 1] == 0:
                    common = 0
                if axes == 0 and lists[dim, 0, at[dim], 0] == 0:
                    long = 0
            for axis in range(axes):
                begin, end, old_begin, old_end = 0, 1, 0, 1
                for dim in range(dims):
                    c = coefficients[axis, dim]
                    size, old = lists[dim, 0, at[dim], 0], lists[dim, 0, at[dim], 1]
                    start, shift = lists[dim, 0, at[dim], 2], lists[dim, 0, at[dim], 3]
                    begin += c * start
                    end += c * (start + size - 1)
                    old_begin += c * (start - shift)
                    old_end += c * (start - shift + old - 1)
                begin, end = max(begin, borders[axis, 0]), min(end, borders[axis, 1])
                long *= max(0, end - begin)
                common *= max(0, min(end, old_end) - max(begin, old_begin))
            total_new += times * long
            total_kept += times * common
        place = dims - 1
        while place >= 0:
            at[place] += 1
            if at[place] < counts[place]:
                break
            at[place] = 0
            place -= 1
        done = place < 0
    return total_new, total_kept


@compiled
def _earlier(
    lists: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64], dims: int, widths: NDArray[np.int64]
) -> Any:
    shift = widths.sum()
    for width in widths:
        shift -= width
        for dim in range(dims):
            first = lists[dim, 0, one[dim], 5] >> shift & (1 << width) - 1
            second = lists[dim, 0, other[dim], 5] >> shift & (1 << width) - 1
            if first != second:
                return first < second
    return False


@compiled
def _is_first(
    lists: NDArray[np.int64], before: NDArray[np.int64], last: NDArray[np.int64], at: NDArray[np.int64],
    dims: int, axes: int, coefficients: NDArray[np.int64], widths: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Whether no lane before this one takes the same tile. Pairs with equal keys are lanes at the same moment; they are
    ordered by their index along the outermost shared slot, there by dimensions, and so on inwards."""
    other = np.empty(dims, np.int64)
    for dim in range(dims):
        other[dim] = last[dim, at[dim]]
    while other[0] >= 0:
        equal = True
        for axis in range(axes):
            begin, end, other_begin, other_end = 0, 1, 0, 1
            for dim in range(dims):
                c = coefficients[axis, dim]
                begin += c * lists[dim, 0, at[dim], 2]
                end += c * (lists[dim, 0, at[dim], 2] + lists[dim, 0, at[dim], 0] - 1)
                other_begin += c * lists[dim, 0, other[dim], 2]
                other_end += c * (lists[dim, 0, other[dim], 2] + lists[dim, 0, other[dim], 0] - 1)
            if begin != other_begin or end != other_end:
                equal = False
                break
        if equal and _earlier(lists, other, at, dims, widths):
            return False
        place = dims - 1
        while place > 0:
            other[place] = before[place, other[place]]
            if other[place] >= 0:
                break
            other[place] = last[place, at[place]]
            place -= 1
        if place == 0:
            other[0] = before[0, other[0]]
    return True
