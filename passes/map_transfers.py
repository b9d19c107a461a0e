"""What the operands move, as bounds over a box of tile sizes, and which copies of their tiles fit: a part of
passes/map_bound.py.

Runs are those of full tiles, which is exact except where a tile that is not the only one covers an axis.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import compiled
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
# are not exact); bytes in main memory and locally; bytes of a tile; the copies that are pinned, 0 for none.
TIMES, OFTEN, CYCLES, LATER, EARLIEST, LATEST, LONGEST, MAIN_BYTES, LOCAL_BYTES, TILE, PINNED = range(11)


class Scratch(NamedTuple):
    """What a bound notes of the operands of its box (`moved`), the row of `boxes` of each axis, bytes in each memory,
    and a box of the least points."""

    moved: Ints
    entries: Ints
    needed: Ints
    box: Ints


def scratch_of(problem: Problem) -> Scratch:
    """Room for the bounds of a problem."""
    zeros: Any = np.zeros
    moved = zeros((len(problem.operands), PINNED + 1), np.int64)
    moved[:, PINNED] = problem.operands[:, OF_COPIES]
    return Scratch(
        moved,
        zeros(len(problem.axes), np.int64),
        zeros(len(problem.capacities), np.int64),
        zeros((2, len(problem.extents)), np.int64),
    )


@compiled
def box_entry(tables: Tables, at: Ints, axis: int) -> int:
    """The row of `boxes` for an axis."""
    entry: int = tables.layout[axis, BEGIN]
    for place in range(tables.layout[axis, VARYING]):
        dim = tables.layout[axis, DIMS + place]
        entry += (at[dim] - tables.roots[dim]) * tables.layout[axis, STRIDES + place]
    return entry


@compiled
def note_tiles(problem: Problem, tables: Tables, scratch: Scratch, at: Ints, dataflow: int) -> bool:
    """Bytes of one copy of the smallest tiles (ir.nest.local_layout), and the rows of boxes; False where a box exceeds
    the fields of commands or the tiles do not fit."""
    for memory in range(problem.capacities.size):
        scratch.needed[memory] = 0
    for operand in range(problem.operands.shape[0]):
        figures, moved = problem.operands[operand], scratch.moved[operand]
        element, word, first_axis = figures[OF_LOCAL_BYTES], figures[OF_WORD], figures[OF_FIRST_AXIS]
        innermost = first_axis + figures[OF_INNERMOST + dataflow]
        elements, others = 1, 1
        for axis in range(first_axis, first_axis + figures[OF_AXES]):
            entry = box_entry(tables, at, axis)
            scratch.entries[axis] = entry
            count = tables.boxes[entry, COUNT]
            if count > problem.machine[LARGEST_EXTENT]:
                return False
            if axis == innermost:
                elements = count
            else:
                others *= count
        # A row of the innermost axis begins at a word; elements are no larger than words, or whole numbers of them.
        row_bytes = ceil_div(elements * element, word) * word
        if word % element and figures[OF_AXES]:
            row_bytes = ceil_div(row_bytes, element) * element
        moved[TILE] = row_bytes * others
        if word % element:
            moved[TILE] = ceil_div(moved[TILE], word) * word
        memory = figures[OF_MEMORY]
        scratch.needed[memory] += max(1, moved[PINNED]) * moved[TILE]
        if scratch.needed[memory] > problem.capacities[memory]:
            return False
    return True


@compiled
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


@compiled
def note_transfers(problem: Problem, tables: Tables, scratch: Scratch, at: Ints, order: Ints, operand: int) -> None:
    """The loads of an operand (or the stores), as columns of `moved`. Requires `note_tiles`."""
    machine, figures, moved = problem.machine, problem.operands[operand], scratch.moved[operand]
    size, first_axis, axes = figures[OF_BYTES], figures[OF_FIRST_AXIS], figures[OF_AXES]
    repeats, tiles, often = 1, 1, 1
    for place in range(order.size - 1, -1, -1):
        dim = order[place]
        fewest = tables.nodes[at[dim], FEWEST]
        if problem.relevant[operand, dim]:
            tiles *= fewest
            often *= tables.nodes[at[dim], MOST]
        elif tiles > 1:
            repeats *= fewest
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
    moved[TIMES] = repeats * tiles
    moved[OFTEN] = often
    moved[CYCLES] = moved[TIMES] * command + repeats * bus_cycles(machine, beats, requests)
    moved[EARLIEST] = command + bus_cycles(machine, first_beats, first_requests)
    moved[MAIN_BYTES] = repeats * inside * size
    moved[LOCAL_BYTES] = repeats * counts * figures[OF_LOCAL_BYTES]
    before = moved[EARLIEST]
    if is_output or not exact:
        moved[LONGEST] = longest_cycles(problem, tables, scratch, operand)
        if is_output:
            moved[LATEST] = command + bus_cycles(machine, final_beats, final_requests)
            moved[LONGEST] = max(moved[LONGEST], command + ceil_div(largest, machine[POST_LANES]))
        before = moved[LONGEST]
    moved[LATER] = max(0, moved[CYCLES] - before)


@compiled
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
