"""What the operands move, as bounds over a box of tile sizes, and which copies of their tiles fit: a part of
passes/map_bound.py.

Runs are those of full tiles, which is exact except where a tile that is not the only one covers an axis.
"""

from __future__ import annotations

from operator import mul
from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import inlined
from .map_commands import bus_cycles, ceil_div
from .map_problem import (
    AXIS_STEP,
    BURST,
    BUS,
    COMMAND,
    LARGEST_EXTENT,
    OF_AXES,
    OF_BYTES,
    OF_COPIES,
    OF_FIRST_AXIS,
    OF_INNERMOST,
    OF_LOCAL_BYTES,
    OF_MEMORY,
    OF_WORD,
    POST_LANES,
    Ints,
    Problem,
)
from .map_tables import (
    BEATS,
    BEGIN,
    COUNT,
    COUNTS,
    DIMS,
    EXACT,
    FEWEST,
    FINAL,
    FINAL_BEATS,
    FINAL_REQUESTS,
    FIRST,
    FIRST_BEATS,
    FIRST_REQUESTS,
    INSIDE,
    LARGEST,
    MIXED,
    MOST,
    REQUESTS,
    STRIDES,
    VARYING,
    WHOLE,
    Tables,
)

# Columns of `moved`, by operand: how often it is moved, at least and at most; cycles on the bus, of all transfers, of
# all but the first, of the first, of the last and the most of one (these two of stores, and where the figures of runs
# are not exact); bytes in main memory and locally; bytes of a tile; whether every iteration moves it; the copies that
# are pinned, 0 for none.
TIMES, OFTEN, CYCLES, LATER, EARLIEST, LATEST, LONGEST, MAIN_BYTES, LOCAL_BYTES, TILE, ALWAYS, PINNED = range(12)
# Columns of `known`, by operand and place: what the figures are of (-1: nothing), the same figures of a round of all
# its tiles, which loops over other dimensions repeat; its tiles; what `LATER` leaves out.
(
    KEY, KNOWN_TILE, KNOWN_OFTEN, KNOWN_TILES, ROUND_CYCLES, KNOWN_EARLIEST, KNOWN_LATEST, KNOWN_LONGEST, KNOWN_FIRST,
    ROUND_MAIN_BYTES, ROUND_LOCAL_BYTES,
) = range(11)  # fmt: skip
PLACES = 1 << 9  # of figures that are known, for each operand
SPREAD = 0x9E3779B97F4A7C1 | 1  # odd: keys that are near one another are at different places
TOO_LARGE = -1  # bytes of a tile that commands cannot name
# Rows of `tiled`: dimensions of more than one tile, the innermost first; their tiles, at least and at most.
TILED_DIM, TILED_FEWEST, TILED_MOST = range(3)


class Scratch(NamedTuple):
    """What a bound notes of the operands of its box (`moved`), the row of `boxes` of each axis, bytes in each memory,
    a box of the least points and the loops.

    A cut of a box leaves the figures of operands that do not depend on its dimension as they were, and most boxes have
    those of others before them in all but a few dimensions: `known` has figures of operands by the nodes of the
    dimensions that they depend on. `dims` are these and, last, how many; `factors` what numbers their nodes, then the
    number of the first ones, and whether all of them can be numbered: if not, figures are computed each time."""

    moved: Ints
    entries: Ints
    needed: Ints
    box: Ints
    tiled: Ints
    known: Ints
    factors: Ints
    dims: Ints


def scratch_of(problem: Problem, tables: Tables) -> Scratch:
    """Room for the bounds of a problem."""
    zeros: Any = np.zeros
    operands, dims = problem.relevant.shape
    moved = zeros((operands, PINNED + 1), np.int64)
    moved[:, PINNED] = problem.operands[:, OF_COPIES]
    factors, numbered = zeros((operands, dims + 2), np.int64), zeros((operands, dims + 1), np.int64)
    for operand in range(operands):
        mattering = np.flatnonzero(problem.relevant[operand])
        products = [problem.operands.shape[1]]  # more than there are axes to be the innermost
        for dim in mattering:
            products.append(products[-1] * int(tables.roots[dim + 1] - tables.roots[dim]))
        if products[-1] * int(tables.roots[-1]) < 1 << 62:
            factors[operand, : len(mattering)] = products[:-1]
            factors[operand, dims:] = sum(map(mul, products[:-1], tables.roots[mattering].tolist())), 1
            numbered[operand, : len(mattering)] = mattering
            numbered[operand, dims] = len(mattering)
    known = np.full((operands, PLACES, ROUND_LOCAL_BYTES + 1), -1, np.int64)
    return Scratch(
        moved,
        zeros(len(problem.axes), np.int64),
        zeros(len(problem.capacities), np.int64),
        zeros((2, dims), np.int64),
        zeros((3, dims), np.int64),
        known,
        factors,
        numbered,
    )


@inlined
def box_entry(tables: Tables, at: Ints, axis: int) -> int:
    """The row of `boxes` for an axis."""
    entry: int = tables.layout[axis, BEGIN]
    for place in range(tables.layout[axis, VARYING]):
        dim = tables.layout[axis, DIMS + place]
        entry += (at[dim] - tables.roots[dim]) * tables.layout[axis, STRIDES + place]
    return entry


@inlined
def tile_bytes(problem: Problem, tables: Tables, scratch: Scratch, at: Ints, operand: int, dataflow: int) -> int:
    """Bytes of one copy of the smallest tile (ir.nest.local_layout), or TOO_LARGE; notes the rows of boxes."""
    figures = problem.operands[operand]
    element, word, first_axis = figures[OF_LOCAL_BYTES], figures[OF_WORD], figures[OF_FIRST_AXIS]
    innermost = first_axis + figures[OF_INNERMOST + dataflow]
    elements, others = 1, 1
    for axis in range(first_axis, first_axis + figures[OF_AXES]):
        entry = box_entry(tables, at, axis)
        scratch.entries[axis] = entry
        count = tables.boxes[entry, COUNT]
        if count > problem.machine[LARGEST_EXTENT]:
            return TOO_LARGE
        if axis == innermost:
            elements = count
        else:
            others *= count
    # A row of the innermost axis begins at a word; elements are no larger than words, or whole numbers of them.
    row_bytes = ceil_div(elements * element, word) * word
    if word % element and figures[OF_AXES]:
        row_bytes = ceil_div(row_bytes, element) * element
    found: int = row_bytes * others
    if word % element:
        found = ceil_div(found, word) * word
    return found


@inlined
def note_loops(tables: Tables, scratch: Scratch, at: Ints, order: Ints) -> int:
    """The loops of a box that may have more than one tile, as columns of `tiled`; how many there are."""
    count = 0
    for place in range(order.size - 1, -1, -1):
        dim = order[place]
        node = tables.nodes[at[dim]]
        if node[MOST] > 1:
            scratch.tiled[TILED_DIM, count] = dim
            scratch.tiled[TILED_FEWEST, count] = node[FEWEST]
            scratch.tiled[TILED_MOST, count] = node[MOST]
            count += 1
    return count


@inlined
def note_operand(
    problem: Problem, tables: Tables, scratch: Scratch, at: Ints, loops: int, operand: int, dataflow: int
) -> bool:
    """What is moved of an operand, as columns of `moved`; False where its tile exceeds the fields of commands or, with
    those of the operands before it, its memory. Requires `note_loops`, and `needed` to be zeros before the first."""
    moved, tiled = scratch.moved[operand], scratch.tiled
    factors, dims = scratch.factors[operand], scratch.dims[operand]
    key = problem.operands[operand, OF_INNERMOST + dataflow] - factors[at.size]
    for place in range(dims[at.size]):
        key += factors[place] * at[dims[place]]
    known = scratch.known[operand, (key * SPREAD) >> 40 & (PLACES - 1)]
    if known[KEY] != key or not factors[at.size + 1]:
        learn(problem, tables, scratch, at, operand, dataflow, known)
        known[KEY] = key
    if known[KNOWN_TILE] == TOO_LARGE:
        return False
    memory = problem.operands[operand, OF_MEMORY]
    scratch.needed[memory] += max(1, moved[PINNED]) * known[KNOWN_TILE]
    if scratch.needed[memory] > problem.capacities[memory]:
        return False
    repeats, changes, always = 1, False, True
    for loop in range(loops):
        matters, fewest = problem.relevant[operand, tiled[TILED_DIM, loop]] > 0, tiled[TILED_FEWEST, loop]
        repeats *= fewest if changes and not matters else 1
        always = always and (matters or changes)
        changes = changes or (matters and fewest > 1)
    moved[TIMES] = repeats * known[KNOWN_TILES]
    moved[OFTEN] = known[KNOWN_OFTEN]
    moved[CYCLES] = moved[TIMES] * problem.machine[COMMAND] + repeats * known[ROUND_CYCLES]
    moved[LATER] = max(0, moved[CYCLES] - known[KNOWN_FIRST])
    moved[EARLIEST] = known[KNOWN_EARLIEST]
    moved[LATEST] = known[KNOWN_LATEST]
    moved[LONGEST] = known[KNOWN_LONGEST]
    moved[MAIN_BYTES] = repeats * known[ROUND_MAIN_BYTES]
    moved[LOCAL_BYTES] = repeats * known[ROUND_LOCAL_BYTES]
    moved[TILE] = known[KNOWN_TILE]
    moved[ALWAYS] = changes and always
    return True


@inlined
def fits(problem: Problem, scratch: Scratch, copies: int) -> bool:
    """Whether the smallest tiles fit with two copies of the operands that `copies` has bits for and that need them."""
    for memory in range(problem.capacities.size):
        scratch.needed[memory] = 0
    for operand in range(problem.operands.shape[0]):
        moved = scratch.moved[operand]
        count = moved[PINNED]
        if not count:
            count = 2 if copies >> operand & 1 and moved[TIMES] > 1 else 1
        memory = problem.operands[operand, OF_MEMORY]
        scratch.needed[memory] += count * moved[TILE]
        if scratch.needed[memory] > problem.capacities[memory]:
            return False
    return True


@inlined
def learn(
    problem: Problem, tables: Tables, scratch: Scratch, at: Ints, operand: int, dataflow: int, known: Ints
) -> None:
    """The figures of an operand of a box that do not depend on the order of loops, as columns of `known`."""
    machine, figures = problem.machine, problem.operands[operand]
    size, first_axis, axes = figures[OF_BYTES], figures[OF_FIRST_AXIS], figures[OF_AXES]
    known[KNOWN_TILE] = tile_bytes(problem, tables, scratch, at, operand, dataflow)
    if known[KNOWN_TILE] == TOO_LARGE:
        return
    tiles, often = 1, 1
    for dim in range(at.size):
        if problem.relevant[operand, dim]:
            tiles *= tables.nodes[at[dim], FEWEST]
            often *= tables.nodes[at[dim], MOST]
    is_output = operand == problem.operands.shape[0] - 1
    inside, counts, largest = 1, 1, 1
    beats, requests, first_beats, first_requests, final_beats, final_requests = 1, 1, 1, 1, 1, 1
    first_inside, final_inside = 1, 1
    merging, mixed, exact = True, False, True
    for axis in range(first_axis + axes - 1, first_axis - 1, -1):
        box = tables.boxes[scratch.entries[axis]]
        inside *= box[INSIDE]
        counts *= box[COUNTS]
        first_inside *= box[FIRST]
        exact = exact and box[EXACT] > 0
        if is_output:
            largest *= box[LARGEST]
            final_inside *= box[FINAL]
        if not merging:
            beats *= box[INSIDE]
            requests *= box[INSIDE]
            first_beats *= box[FIRST]
            first_requests *= box[FIRST]
            if is_output:
                final_beats *= box[FINAL]
                final_requests *= box[FINAL]
            continue
        mixed = mixed or box[WHOLE] == MIXED
        if axis == first_axis or box[WHOLE] == 0:
            beats *= box[BEATS]
            requests *= box[REQUESTS]
            first_beats *= box[FIRST_BEATS]
            first_requests *= box[FIRST_REQUESTS]
            if is_output:
                final_beats *= box[FINAL_BEATS]
                final_requests *= box[FINAL_REQUESTS]
        merging = box[WHOLE] == 1
    if axes == 0:
        beats = first_beats = final_beats = ceil_div(size, machine[BUS])
        requests = first_requests = final_requests = ceil_div(size, machine[BURST])
    elif mixed:  # whatever the runs, bytes take their beats
        beats = ceil_div(inside * size, machine[BUS])
        first_beats = ceil_div(first_inside * size, machine[BUS])
        final_beats = ceil_div(final_inside * size, machine[BUS])
        requests = first_requests = final_requests = 0
        exact = False
    command = machine[COMMAND]
    known[KNOWN_TILES] = tiles
    known[KNOWN_OFTEN] = often
    known[ROUND_CYCLES] = bus_cycles(machine, beats, requests)
    known[KNOWN_EARLIEST] = command + bus_cycles(machine, first_beats, first_requests)
    known[ROUND_MAIN_BYTES] = inside * size
    known[ROUND_LOCAL_BYTES] = counts * figures[OF_LOCAL_BYTES]
    known[KNOWN_FIRST] = known[KNOWN_EARLIEST]
    if is_output or not exact:
        known[KNOWN_LONGEST] = longest_cycles(problem, tables, scratch, operand)
        if is_output:
            known[KNOWN_LATEST] = command + bus_cycles(machine, final_beats, final_requests)
            known[KNOWN_LONGEST] = max(known[KNOWN_LONGEST], command + ceil_div(largest, machine[POST_LANES]))
        known[KNOWN_FIRST] = known[KNOWN_LONGEST]


@inlined
def longest_cycles(problem: Problem, tables: Tables, scratch: Scratch, operand: int) -> int:
    """Cycles that no transfer of an operand exceeds: those of a full box in which no axes merge."""
    machine, figures = problem.machine, problem.operands[operand]
    size, first_axis = figures[OF_BYTES], figures[OF_FIRST_AXIS]
    last_axis = first_axis + figures[OF_AXES] - 1
    beats, requests = ceil_div(size, machine[BUS]), ceil_div(size, machine[BURST])
    for axis in range(last_axis, first_axis - 1, -1):
        count = tables.boxes[scratch.entries[axis], LARGEST]
        if axis == last_axis and problem.axes[axis, AXIS_STEP] == 1:
            beats, requests = ceil_div(count * size, machine[BUS]), ceil_div(count * size, machine[BURST])
        else:
            beats *= count
            requests *= count
    cycles: int = machine[COMMAND] + bus_cycles(machine, beats, requests)
    return cycles + 1  # the bandwidth's rounding
