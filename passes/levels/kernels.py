"""The inner loop of the search: branch and bound over candidates of groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import compiled

ENERGY, LATENCY, EDP, OTHER = range(4)
# What is a whole number but for the rounding of floats is not taken for more: bounds may be too low, never too high.
SHRUNK, EDGE = 1 - 1e-12, 1e-9


@compiled
def objective_of(mode: int, terms: NDArray[np.float64], most: NDArray[np.float64], energy: float, cycles: float) -> Any:
    """What is minimised, of figures or of bounds of them: `terms` are rows of a weight and the powers of energy and
    cycles; infinite beyond the limits `most` of cycles and of energy. A bound of energy that is negative says no more
    than 0 does, of which powers grow with the energy."""
    if mode == ENERGY:
        return energy
    if mode == LATENCY:
        return cycles
    if mode == EDP:
        return energy * cycles
    if cycles > most[0] or energy > most[1]:
        return np.inf
    total, energy = 0.0, max(energy, 0.0)
    for term in range(len(terms)):
        total += terms[term, 0] * energy ** terms[term, 1] * cycles ** terms[term, 2]
    return total


@compiled
def _bound(
    values: NDArray[np.float64], mode: int, terms: NDArray[np.float64], most: NDArray[np.float64],
    weights: NDArray[np.float64], forms: NDArray[np.float64], ramps: NDArray[np.float64],
) -> Any:  # fmt: skip
    """A bound of the objective from bounds of quantities; the last column of each is a constant."""
    count = len(values)
    energy, cycles = 0.0, 0.0
    if mode != LATENCY:
        energy = weights[count]
        for place in range(count):
            energy += weights[place] * values[place]
        if mode == ENERGY:
            return energy
    for form in range(len(forms)):
        time = forms[form, count]
        for place in range(count):
            time += forms[form, place] * values[place]
        cycles = max(cycles, time)
    cycles += ramps[count]
    for place in range(count):
        cycles += ramps[place] * values[place]
    return objective_of(mode, terms, most, energy, cycles)


@compiled
def keep_within(
    rows: NDArray[np.float64], ends: NDArray[np.int64], constants: NDArray[np.float64], floors: NDArray[np.float64],
    mode: int, terms: NDArray[np.float64], most: NDArray[np.float64], weights: NDArray[np.float64],
    forms: NDArray[np.float64], ramps: NDArray[np.float64], limit: float, most_sweeps: int, kept: NDArray[np.bool_],
) -> bool:  # fmt: skip
    """Which rows of quantities may be in a mapping below the limit, into `kept`; whether each group has such ones. The
    rows of a group stand before its place in `ends`. Each is judged with the least of what is kept of the other groups,
    in so many sweeps at most. The first columns, no less than their `floors`, are bounds from below, the others from
    above."""
    groups, columns = len(ends), rows.shape[1]
    least, factors, values = np.empty((groups, columns)), np.empty(columns), np.empty(columns)
    kept[:] = True
    for group in range(groups):
        _least_kept(rows, kept, ends[group - 1] if group else 0, ends[group], len(floors), least[group])
    _multiply_others(least, -1, constants, factors)
    if not _is_below(np.ones(columns), factors, floors, mode, terms, most, weights, forms, ramps, limit, values):
        return False
    for _ in range(most_sweeps):
        is_whole = True
        for group in range(groups):
            begin, left, lost = (ends[group - 1] if group else 0), 0, 0
            _multiply_others(least, group, constants, factors)
            for row in range(begin, ends[group]):
                if not kept[row]:
                    continue
                if _is_below(rows[row], factors, floors, mode, terms, most, weights, forms, ramps, limit, values):
                    left += 1
                else:
                    kept[row] = False
                    lost += 1
            if not left:
                return False
            if lost:
                _least_kept(rows, kept, begin, ends[group], len(floors), least[group])
                is_whole = False
        if is_whole:
            break
    return True


@compiled
def _least_kept(
    rows: NDArray[np.float64], kept: NDArray[np.bool_], begin: int, end: int, wide: int, least: NDArray[np.float64]
) -> None:
    """The least of the first `wide` columns of kept rows and the most of the others, into `least`."""
    least[:wide], least[wide:] = np.inf, -np.inf
    for row in range(begin, end):
        if kept[row]:
            for place in range(wide):
                least[place] = min(least[place], rows[row, place])
            for place in range(wide, len(least)):
                least[place] = max(least[place], rows[row, place])


@compiled
def _multiply_others(
    least: NDArray[np.float64], group: int, constants: NDArray[np.float64], factors: NDArray[np.float64]
) -> None:
    """The least of all groups but one, multiplied, into `factors`."""
    for place in range(len(factors)):
        factor = 1.0
        for other in range(len(least)):
            if other != group:
                factor *= least[other, place]
        factors[place] = constants[place] * factor


@compiled
def _is_below(
    row: NDArray[np.float64], factors: NDArray[np.float64], floors: NDArray[np.float64], mode: int,
    terms: NDArray[np.float64], most: NDArray[np.float64], weights: NDArray[np.float64], forms: NDArray[np.float64],
    ramps: NDArray[np.float64], limit: float, values: NDArray[np.float64],
) -> bool:  # fmt: skip
    """Whether a row of quantities times `factors` has a bound below the limit; `values` is room for it."""
    for place in range(len(values)):
        values[place] = row[place] * factors[place]
    for place in range(len(floors)):
        values[place] = max(values[place], floors[place])
    is_below: bool = _bound(values, mode, terms, most, weights, forms, ramps) < limit
    return is_below


@compiled
def _rounded(
    values: NDArray[np.float64], mode: int, terms: NDArray[np.float64], most: NDArray[np.float64],
    items: NDArray[np.int64], prices: NDArray[np.float64], rows: NDArray[np.float64],
) -> Any:  # fmt: skip
    """A bound of the objective from bounds of all quantities, whose words and cycles are rounded up. `items` have a row
    of sums, whether their time is rounded, num, den, and places of quantities with their signs (linear.py); `rows` are
    the sums' constants: of energy, of each form, of ramps."""
    sums = rows.copy()
    for number in range(len(items)):
        item = items[number]
        total = 0.0
        for each in range(4):
            if item[4 + 2 * each] >= 0:
                total += item[5 + 2 * each] * values[item[4 + 2 * each]]
        words = np.ceil(total * item[2] / item[3] * SHRUNK - EDGE)
        value = words * prices[number]
        sums[item[0]] += np.ceil(value - EDGE) if item[1] else value
    cycles = 0.0
    for form in range(1, len(sums) - 1):
        cycles = max(cycles, np.ceil(sums[form] - EDGE))
    return objective_of(mode, terms, most, sums[0], cycles + sums[-1])


@compiled
def descend(
    skips: NDArray[np.int64],
    spreads: NDArray[np.float64],
    columns: NDArray[np.float64],
    of_split: NDArray[np.float64],
    shares: NDArray[np.float64],
    tiles: NDArray[np.float64],
    lanes: NDArray[np.int64],
    scores: NDArray[np.float64],
    constants: NDArray[np.float64],
    split: NDArray[np.int64],
    floors: NDArray[np.float64],
    score_constant: float,
    aside: float,
    limits: NDArray[np.int64],
    rooms: NDArray[np.float64],
    room_weights: NDArray[np.float64],
    mode: int,
    terms: NDArray[np.float64],
    most: NDArray[np.float64],
    weights: NDArray[np.float64],
    forms: NDArray[np.float64],
    ramps: NDArray[np.float64],
    items: NDArray[np.int64],
    prices: NDArray[np.float64],
    rows: NDArray[np.float64],
    limit: float,
    floor: float,
    shrink: bool,
    budget: int,
    stack: NDArray[np.int64],
    stacked: NDArray[np.float64],
    leaves: NDArray[np.int64],
    bounds: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> int:
    """Combinations of one candidate of each group whose bound is below `limit`, into `leaves` [leaf, group] and
    `bounds`; how many there are.

    Candidates lie in rows, in clusters (clusters.py); the row after a cluster, or a candidate, is in `skips`. Of a
    combination of clusters the one of the widest spread is parted. Scores are logarithms whose sum over groups and
    `score_constant` may not exceed that of what the limit has above `aside`. If `shrink`, only the leaf with the least
    bound is kept, as the first, and one at the `floor` ends the search. A capacity is a row of `room_weights` over
    tiles with its limit in `rooms`. Of the quantities in the columns `split` no less is taken than the product of what
    candidates have `of_split`, but for the product of their `shares`. No quantity is below its `floors`. counts: bounds
    evaluated; combinations that are left in `stack` [combination, group], with their bounds in `stacked`, when `leaves`
    are full or `budget` bounds were evaluated.
    """
    groups = stack.shape[1]
    wide, tile_count, slots = columns.shape[1], tiles.shape[1], lanes.shape[1]
    others, least = np.empty(wide, np.float64), np.empty(wide, np.float64)
    split_others, shares_others = np.empty(len(split), np.float64), np.empty(len(split), np.float64)
    held = np.empty(tile_count, np.float64)
    used = np.empty(slots, np.int64)
    found, evaluated = 0, 0
    score_limit = np.log(max(limit - aside, 1e-300)) - score_constant + 1e-9
    depth = counts[1]
    while depth > 0 and evaluated < budget and (shrink or found + 64 <= len(leaves)):
        depth -= 1
        if stacked[depth] >= limit:
            continue
        parted, widest = 0, -1.0
        for group in range(groups):
            if spreads[stack[depth, group]] > widest:
                parted, widest = group, spreads[stack[depth, group]]
        score = 0.0
        are_leaves = True
        others[:] = constants
        shares_others[:] = 1.0
        for place in range(len(split)):
            split_others[place] = constants[split[place]]
        held[:] = 1.0
        used[:] = 1
        for group in range(groups):
            if group == parted:
                continue
            row = stack[depth, group]
            are_leaves = are_leaves and skips[row] == row + 1
            score += scores[row]
            for place in range(wide):
                others[place] *= columns[row, place]
            for place in range(len(split)):
                split_others[place] *= of_split[row, place]
                shares_others[place] *= shares[row, place]
            for tile in range(tile_count):
                held[tile] *= tiles[row, tile]
            for slot in range(slots):
                used[slot] *= lanes[row, slot]
        cluster = stack[depth, parted]
        begin = depth
        row, after = cluster + 1, skips[cluster]
        if after == cluster + 1:
            row = cluster  # all are candidates, of one combination
        while row < after:
            inside = row
            row = skips[row]
            if score + scores[inside] > score_limit:
                continue
            evaluated += 1
            fits = True
            for slot in range(slots):
                if used[slot] * lanes[inside, slot] > limits[slot]:
                    fits = False
                    break
            if not fits:
                continue
            for room in range(len(rooms)):
                words = 0.0
                for tile in range(tile_count):
                    words += room_weights[room, tile] * held[tile] * tiles[inside, tile]
                if words > rooms[room]:
                    fits = False
                    break
            if not fits:
                continue
            for place in range(wide):
                least[place] = others[place] * columns[inside, place]
            for place in range(len(split)):
                taken = (
                    split_others[place] * of_split[inside, place] * (1 - shares_others[place] * shares[inside, place])
                )
                least[split[place]] = max(least[split[place]], taken)
            for place in range(len(floors)):
                least[place] = max(least[place], floors[place])
            bound = _bound(least, mode, terms, most, weights, forms, ramps)
            if bound >= limit:
                continue
            if not are_leaves or skips[inside] > inside + 1:
                at = depth
                while at > begin and stacked[at - 1] < bound:  # the least comes off first
                    stacked[at] = stacked[at - 1]
                    stack[at, parted] = stack[at - 1, parted]
                    at -= 1
                stacked[at] = bound
                stack[at, parted] = inside
                if depth > begin:
                    for group in range(groups):
                        if group != parted:
                            stack[depth, group] = stack[begin, group]
                depth += 1
                continue
            bound = max(bound, _rounded(least, mode, terms, most, items, prices, rows))
            if bound >= limit:
                continue
            if shrink:
                limit = bound
                score_limit = np.log(max(limit - aside, 1e-300)) - score_constant + 1e-9
                found = 0
            for group in range(groups):
                leaves[found, group] = inside if group == parted else stack[begin, group]
            bounds[found] = bound
            found += 1
            if shrink and bound <= floor:
                depth = 0
                break
    counts[0] += evaluated
    counts[1] = depth
    return found
