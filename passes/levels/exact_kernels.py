"""Exact figures of mappings, and which of many mappings are worth them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiling import compiled


@compiled
def quantity(
    number: int,
    chosen: NDArray[np.int64],
    ranks: NDArray[np.int64],
    heads: NDArray[np.int64],
    constants: NDArray[np.float64],
    parts: NDArray[np.int64],
    rows: NDArray[np.int64],
    lookups: NDArray[np.int64],
    new: NDArray[np.float64],
    kept: NDArray[np.float64],
    starts: NDArray[np.int64],
) -> Any:
    """The value of a quantity: all tiles, less what each has in common with the one before it. `starts` is room for
    where the row of each part of it starts."""
    first, last, blocks, takes = heads[number, 0], heads[number, 1], heads[number, 2], heads[number, 3]
    value = constants[number]
    for place in range(first, last):
        part = parts[place]
        starts[place - first] = part[2] + rows[part[0] + chosen[part[1]]] * part[3]
        value *= new[starts[place - first]]
    if takes == 0:
        return value
    width = 2 * blocks + 1
    less = 0.0
    dims = ranks.shape[1]
    for block in range(blocks):
        for own in range(dims):
            rank = ranks[block, own]
            if rank == 0:
                continue  # no loop
            common = constants[number]
            for place in range(first, last):
                part = parts[place]
                code = 0
                for other in range(part[5]):
                    dim = part[6 + other]
                    if dim == own:
                        code = code * width + blocks + 1 + block
                    else:
                        code = code * width + block + (1 if ranks[block, dim] < rank else 0)
                common *= kept[starts[place - first] + lookups[part[4] + code]]
                if common == 0.0:
                    break
            less += common
    return value - less


@compiled
def _words(values: NDArray[np.float64], item: NDArray[np.int64]) -> Any:
    """ceil(sum x num / den) of an item: num, den, then up to four quantities (place, or -1) with their signs. Nothing
    wraps: the sum is a whole number below 2^63, and what comes of it a double, which is exact below 2^53."""
    total = 0
    for each in range(4):
        if item[2 + 2 * each] >= 0:
            total += item[3 + 2 * each] * np.int64(values[item[2 + 2 * each]])
    whole, rest = total // item[1], total % item[1]
    return float(whole) * item[0] - ((-rest * item[0]) // item[1])


@compiled
def evaluate(
    chosen: NDArray[np.int64],
    orders: NDArray[np.int64],
    lanes_of: NDArray[np.int64],
    lanes: NDArray[np.int64],
    heads: NDArray[np.int64],
    constants: NDArray[np.float64],
    parts: NDArray[np.int64],
    rows: NDArray[np.int64],
    lookups: NDArray[np.int64],
    new: NDArray[np.float64],
    kept: NDArray[np.float64],
    whole: NDArray[np.int64],
    items: NDArray[np.int64],
    capacities: NDArray[np.int64],
    prices: NDArray[np.float64],
    rates: NDArray[np.float64],
    scalars: NDArray[np.float64],
    steps: int,
    found: NDArray[np.float64],
) -> None:
    """Energy and cycles of each mapping, into found [mapping, 2]; infinite where it is not legal.

    `chosen` [mapping, group] are candidates, `orders` [mapping, block, dimension] ranks of loops
    from 1 on, or 0 where there is none. `lanes` are those of
    candidates by slot, from `lanes_of` on by group. `items` rows: kind (0 energy, 1 busy, 2 alternating, 3 ramp, 4
    capacity), store, action, then as _words reads them.
    """
    values = np.empty(len(heads), np.float64)
    stores = rates.shape[0]
    slots = lanes.shape[1]
    busy = np.empty((stores, 2), np.float64)
    room = np.empty(len(capacities), np.float64)
    total_lanes = np.empty(slots, np.int64)
    starts = np.empty(len(parts), np.int64)
    for mapping in range(len(chosen)):
        for slot in range(slots):
            total_lanes[slot] = 1
            for group in range(chosen.shape[1]):
                total_lanes[slot] *= lanes[lanes_of[group] + chosen[mapping, group], slot]
        for number in range(len(heads)):  # what depends on no order, by which mappings are found not to fit
            if heads[number, 3] == 0:
                values[number] = quantity(
                    number, chosen[mapping], orders[mapping], heads, constants, parts, rows, lookups, new, kept, starts
                )
        room[:] = 0
        for number in range(len(items)):
            if items[number, 0] == 4:
                room[items[number, 1]] += _words(values, items[number, 3:])
        if (room > capacities).any():
            found[mapping, 0] = found[mapping, 1] = np.inf
            continue
        for number in range(len(heads)):
            if heads[number, 3] != 0:
                values[number] = quantity(
                    number, chosen[mapping], orders[mapping], heads, constants, parts, rows, lookups, new, kept, starts
                )
        for place in range(len(whole)):
            outside = 1
            for slot in range(whole[place, 2]):
                outside *= total_lanes[slot]
            if outside > 1:
                values[whole[place, 0]] = values[whole[place, 1]]
        energy = scalars[0]
        alternating, ramps = 0.0, scalars[1]
        busy[:] = 0
        for number in range(len(items)):
            item = items[number]
            if item[0] == 4:
                continue
            words = _words(values, item[3:])
            if item[0] == 0:
                energy += words * prices[number]
            elif item[0] == 1:
                busy[item[1], item[2]] += words
            else:
                time = 0.0
                own, shared = prices[number], rates[item[1], 2]
                if own > 0:
                    time = max(time, np.ceil(words / own))
                if shared > 0:
                    time = max(time, np.ceil(words / shared))
                if item[0] == 2:
                    alternating += time
                else:
                    ramps += time
        longest = values[steps] + alternating
        for store in range(stores):
            for action in range(2):
                if rates[store, action] > 0:
                    longest = max(longest, np.ceil(busy[store, action] / rates[store, action]))
            if rates[store, 2] > 0:
                longest = max(longest, np.ceil((busy[store, 0] + busy[store, 1]) / rates[store, 2]))
        found[mapping, 0] = energy
        found[mapping, 1] = longest + ramps


@compiled
def _objective(sums: NDArray[np.float64], terms: NDArray[np.float64], most: NDArray[np.float64]) -> Any:
    """What is minimised (kernels.py), of energy, the time of each form, and ramps."""
    cycles = 0.0
    for row in range(1, len(sums) - 1):
        cycles = max(cycles, sums[row])
    cycles += sums[-1]
    if cycles > most[0] or sums[0] > most[1]:
        return np.inf
    total, energy = 0.0, max(sums[0], 0.0)
    for term in range(len(terms)):
        total += terms[term, 0] * energy ** terms[term, 1] * cycles ** terms[term, 2]
    return total


@compiled
def sift(
    chosen: NDArray[np.int64],
    patterns: NDArray[np.int64],
    spans: NDArray[np.int64],
    orders: NDArray[np.int64],
    least: NDArray[np.float64],
    sequence: NDArray[np.int64],
    columns: NDArray[np.int64],
    sums: NDArray[np.float64],
    terms: NDArray[np.float64],
    most: NDArray[np.float64],
    limit: float,
    lanes_of: NDArray[np.int64],
    lanes: NDArray[np.int64],
    heads: NDArray[np.int64],
    constants: NDArray[np.float64],
    parts: NDArray[np.int64],
    rows: NDArray[np.int64],
    lookups: NDArray[np.int64],
    new: NDArray[np.float64],
    kept: NDArray[np.float64],
    gains: NDArray[np.float64],
    found: NDArray[np.int64],
    values: NDArray[np.float64],
) -> int:
    """Which mappings stay below `limit` when bounds of quantities, one after the other, give way to what they are, into
    `found` [mapping, (leaf, order)] and, with what is known of quantities, into `values` [mapping, column]; how many.

    Leaves: `chosen` [leaf, group], bounds of quantities `least` [leaf, column], and one of the `patterns` of loops,
    whose `orders` [order, block, dimension] lie in `spans`. A column has its quantity, the one that stands for it where
    several instances are counted (or -1), and the slots outside of these. `sums` have rows of coefficients and a
    constant: energy, forms, ramps (linear.py). Quantities are looked at in their `sequence`; `gains` adds up what each
    raises the objective by, as a share of the limit.
    """
    starts = np.empty(len(parts), np.int64)
    count, wide = len(sums), least.shape[1]
    base, now = np.empty(count, np.float64), np.empty(count, np.float64)
    total_lanes = np.empty(lanes.shape[1] + 1, np.int64)
    numbers = np.empty(wide, np.int64)
    survivors = 0
    for leaf in range(len(chosen)):
        total_lanes[0] = 1  # outside of each slot
        for slot in range(lanes.shape[1]):
            total_lanes[slot + 1] = total_lanes[slot]
            for group in range(chosen.shape[1]):
                total_lanes[slot + 1] *= lanes[lanes_of[group] + chosen[leaf, group], slot]
        for place in range(wide):
            several = columns[place, 1] >= 0 and total_lanes[columns[place, 2]] > 1
            numbers[place] = columns[place, 1] if several else columns[place, 0]
        for row in range(count):
            base[row] = sums[row, wide]
            for place in range(wide):
                base[row] += sums[row, place] * least[leaf, place]
        of_leaf = _objective(base, terms, most)
        if of_leaf >= limit:
            continue
        for order in range(spans[patterns[leaf], 0], spans[patterns[leaf], 1]):
            now[:] = base
            before = of_leaf
            values[survivors] = least[leaf]
            for place in sequence:
                value = quantity(
                    numbers[place], chosen[leaf], orders[order], heads, constants, parts, rows, lookups, new, kept,
                    starts,
                )  # fmt: skip
                values[survivors, place] = value
                for row in range(count):
                    now[row] += sums[row, place] * (value - least[leaf, place])
                bound = _objective(now, terms, most)
                if limit < np.inf:
                    gains[place] += min(bound - before, limit) / limit
                before = bound
                if bound >= limit:
                    break
            if before < limit:
                found[survivors, 0], found[survivors, 1] = leaf, order
                survivors += 1
    return survivors
