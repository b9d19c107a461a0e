"""What the operands move, as bounds over a box of tile sizes: a part of passes/map_bound.py.

Runs are those of full tiles, which is exact except where a tile that is not the only one covers an axis.
"""

from __future__ import annotations

from typing import Any

from numba.cpython.unsafe import numbers

from ..ir.compiled import inlined
from .map_box import (
    ELEMENTS,
    KNOWN_EARLIEST,
    KNOWN_FIRST,
    KNOWN_LATEST,
    KNOWN_LONGEST,
    KNOWN_TILE,
    KNOWN_TILES,
    LATER,
    LOCAL_BITS,
    MAIN_BITS,
    MAYBE_TILED,
    NUMBER,
    NUMBER_BITS,
    PINNED,
    PLACE_BITS,
    PLACES,
    ROUND_CYCLES,
    ROUND_ELEMENTS,
    ROUND_LOCAL_BITS,
    ROUND_MAIN_BITS,
    TILE,
    TILED,
    TIMES,
    WITH_ONE,
    WITH_TWO,
    Scratch,
)
from .map_commands import bus_cycles, ceil_div, converted_cycles
from .map_problem import (
    AXIS_STEP,
    BURST,
    BUS,
    COMMAND,
    LARGEST_EXTENT,
    OF_AXES,
    OF_BITS,
    OF_BODY,
    OF_FIRST_AXIS,
    OF_INNERMOST,
    OF_LOCAL_BITS,
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
    FINAL,
    FINAL_BEATS,
    FINAL_REQUESTS,
    FIRST,
    FIRST_BEATS,
    FIRST_REQUESTS,
    INSIDE,
    LARGEST,
    MIXED,
    REQUESTS,
    STRIDES,
    VARYING,
    WHOLE,
    Tables,
)

SPREAD = 0x1E3779B97F4A7C15  # odd: keys that are near one another are at different places
MISFIT = -1  # in place of cycles: nothing fits
TOO_LARGE = -1  # bits of a tile that commands cannot name
_trailing_zeros: Any = numbers.trailing_zeros


@inlined
def box_entry(tables: Tables, at: Ints, axis: int) -> int:
    """The row of `boxes` for an axis."""
    entry: int = tables.layout[axis, BEGIN]
    for place in range(tables.layout[axis, VARYING]):
        dim = tables.layout[axis, DIMS + place]
        entry += (at[dim] - tables.roots[dim]) * tables.layout[axis, STRIDES + place]
    return entry


@inlined
def tile_bits(problem: Problem, tables: Tables, scratch: Scratch, at: Ints, operand: int, dataflow: int) -> int:
    """Bits of one copy of the smallest tile (ir.nest.local_layout), or TOO_LARGE; notes the rows of boxes."""
    figures = problem.operands[operand]
    element, word, first_axis = figures[OF_LOCAL_BITS], figures[OF_WORD], figures[OF_FIRST_AXIS]
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
    # A row of the innermost axis begins at a word, or at the first element after that where none begins there.
    row_bits = ceil_div(elements * element, word) * word
    if word % element and figures[OF_AXES]:
        row_bits = ceil_div(row_bits, element) * element
    found: int = row_bits * others
    if word % element:
        found = ceil_div(found, word) * word
    return found


@inlined
def note_operands(
    problem: Problem, tables: Tables, scratch: Scratch, bits: Ints, at: Ints, cut: int, dataflow: int, priced: bool,
    reduce_whole: bool,
) -> tuple[int, int, int, int, bool, int, int]:  # fmt: skip
    """What is moved of the operands of a noted box, as columns of `moved` (bits only where they are `priced`) and
    rows of `needed`.

    Cycles of all loads on the bus, MISFIT where a tile exceeds the fields of commands or, with one copy of each, its
    memory; how often they are and cycles of those that come first; cycles of those between two computes of which the
    second must wait for all that is between (`reduce_whole`: all loads; else those that every iteration makes), but for
    the first, and whether there are such; operands that may have two copies or one, and those that have two or would
    not be faster with two (they may be moved once), as bits."""
    here, fewest, operands = scratch.here, scratch.fewest, problem.operands.shape[0]
    for memory in range(problem.capacities.size):
        scratch.needed[WITH_ONE, memory] = 0
        scratch.needed[WITH_TWO, memory] = 0
    cycles, times, first, linked, is_linked = 0, 0, 0, 0, reduce_whole
    mattered, repeats, always, free, two = -1, 1, False, 0, 0
    for operand in range(operands):
        moved, figures = scratch.moved[operand], problem.operands[operand]
        place = scratch.places[operand]
        if place < 0 or problem.relevant[operand, cut]:
            key = here[NUMBER] & scratch.masks[operand] | (figures[OF_INNERMOST + dataflow] + 1) << NUMBER_BITS
            place = (key * SPREAD) >> (64 - PLACE_BITS) & (PLACES - 1)
            scratch.places[operand] = place
            if scratch.known_keys[operand, place] != key or not scratch.masks[operands]:
                learn(problem, tables, scratch, bits, at, operand, dataflow, scratch.known[operand, place])
                scratch.known_keys[operand, place] = key
        known = scratch.known[operand, place]
        tile = known[KNOWN_TILE]
        if tile == TOO_LARGE:
            return MISFIT, 0, 0, 0, False, 0, 0
        memory, pinned = figures[OF_MEMORY], moved[PINNED]
        needed = max(1, pinned) * tile
        scratch.needed[WITH_ONE, memory] += needed
        if scratch.needed[WITH_ONE, memory] > problem.capacities[memory]:
            return MISFIT, 0, 0, 0, False, 0, 0
        # Loops over other dimensions repeat its tiles, but for those inside the innermost loop that changes the tile.
        matters = bits[at.size + operand]
        if matters != mattered:  # neighbours often depend on the same
            mattered = matters
            changing = here[TILED] & matters
            changing &= -changing
            repeats, always = 1, False
            if changing:
                always = not here[MAYBE_TILED] & ~matters & (changing - 1)
                repeating = here[TILED] & ~matters & -changing
                while repeating:
                    repeats *= fewest[_trailing_zeros(repeating)]
                    repeating &= repeating - 1
        each = repeats * known[KNOWN_TILES]
        each_cycles = repeats * known[ROUND_CYCLES] + each * problem.machine[COMMAND]
        scratch.needed[WITH_TWO, memory] += 2 * tile if pinned == 0 and each > 1 else needed
        later = max(0, each_cycles - known[KNOWN_FIRST])
        free |= (pinned == 0 and each != 1) << operand
        two |= (pinned == 2 or each == 1) << operand
        moved[TIMES] = each
        moved[TILE] = tile
        moved[LATER] = later
        if priced:
            moved[MAIN_BITS] = repeats * known[ROUND_MAIN_BITS]
            moved[LOCAL_BITS] = repeats * known[ROUND_LOCAL_BITS]
        if operand == operands - 1:
            moved[ELEMENTS] = repeats * known[ROUND_ELEMENTS]
            moved[LATER] = each_cycles
        else:
            cycles += each_cycles
            times += each
            first += known[KNOWN_EARLIEST]
            if reduce_whole or (always and figures[OF_BODY] > 0):
                is_linked = True
                linked += later
    return cycles, times, first, linked, is_linked, free, two


@inlined
def learn(
    problem: Problem, tables: Tables, scratch: Scratch, bits: Ints, at: Ints, operand: int, dataflow: int, known: Ints
) -> None:
    """The figures of an operand of a box that do not depend on the order of loops, as columns of `known`."""
    machine, figures = problem.machine, problem.operands[operand]
    size, first_axis, axes = figures[OF_BITS], figures[OF_FIRST_AXIS], figures[OF_AXES]
    known[KNOWN_TILE] = tile_bits(problem, tables, scratch, at, operand, dataflow)
    if known[KNOWN_TILE] == TOO_LARGE:
        return
    tiles, tiled = 1, scratch.here[TILED] & bits[at.size + operand]
    while tiled:
        tiles *= scratch.fewest[_trailing_zeros(tiled)]
        tiled &= tiled - 1
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
    elif mixed:  # whatever the runs, bits take their beats
        beats = ceil_div(inside * size, machine[BUS])
        first_beats = ceil_div(first_inside * size, machine[BUS])
        final_beats = ceil_div(final_inside * size, machine[BUS])
        requests = first_requests = final_requests = 0
        exact = False
    command = machine[COMMAND]
    known[KNOWN_TILES] = tiles
    known[ROUND_CYCLES] = converted_cycles(problem, operand, bus_cycles(machine, beats, requests), inside)
    first = bus_cycles(machine, first_beats, first_requests)
    known[KNOWN_EARLIEST] = command + converted_cycles(problem, operand, first, first_inside)
    known[ROUND_ELEMENTS] = inside
    known[ROUND_MAIN_BITS] = inside * size
    known[ROUND_LOCAL_BITS] = counts * figures[OF_LOCAL_BITS]
    known[KNOWN_FIRST] = known[KNOWN_EARLIEST]
    if is_output or not exact:
        known[KNOWN_LONGEST] = longest_cycles(problem, tables, scratch, operand)
        if is_output:
            final = bus_cycles(machine, final_beats, final_requests)
            known[KNOWN_LATEST] = command + converted_cycles(problem, operand, final, final_inside)
            known[KNOWN_LONGEST] = max(known[KNOWN_LONGEST], command + ceil_div(largest, machine[POST_LANES]))
        known[KNOWN_FIRST] = known[KNOWN_LONGEST]


@inlined
def longest_cycles(problem: Problem, tables: Tables, scratch: Scratch, operand: int) -> int:
    """Cycles that no transfer of an operand exceeds: those of a full box in which no axes merge."""
    machine, figures = problem.machine, problem.operands[operand]
    size, first_axis = figures[OF_BITS], figures[OF_FIRST_AXIS]
    last_axis = first_axis + figures[OF_AXES] - 1
    run, runs, positions = size, 1, 1
    for axis in range(last_axis, first_axis - 1, -1):
        count = tables.boxes[scratch.entries[axis], LARGEST]
        positions *= count
        if axis == last_axis and problem.axes[axis, AXIS_STEP] == 1:
            run *= count
        else:
            runs *= count
    beats, requests = runs * ceil_div(run, machine[BUS]), runs * ceil_div(run, machine[BURST])
    cycles = converted_cycles(problem, operand, bus_cycles(machine, beats, requests), positions)
    return int(machine[COMMAND] + cycles + 1)  # the bandwidth's rounding
