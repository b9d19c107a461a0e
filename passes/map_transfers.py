"""What the operands move, as bounds over a box of tile sizes: a part of passes/map_bound.py.

Runs are those of full tiles, which is exact except where a tile that is not the only one covers an axis.
"""

from __future__ import annotations

from typing import Any

from numba.cpython.unsafe import numbers

from ..ir.compiled import inlined
from .map_box import (
    ALWAYS,
    CYCLES,
    EARLIEST,
    ELEMENTS,
    KEY,
    KNOWN_EARLIEST,
    KNOWN_FIRST,
    KNOWN_LATEST,
    KNOWN_LONGEST,
    KNOWN_OFTEN,
    KNOWN_TILE,
    KNOWN_TILES,
    LATER,
    LATEST,
    LOCAL_BYTES,
    LONGEST,
    MAIN_BYTES,
    MAYBE_TILED,
    OFTEN,
    PINNED,
    PLACES,
    ROUND_CYCLES,
    ROUND_ELEMENTS,
    ROUND_LOCAL_BYTES,
    ROUND_MAIN_BYTES,
    TILE,
    TILED,
    TIMES,
    WITH_ONE,
    WITH_TWO,
    Scratch,
)
from .map_commands import bus_cycles, ceil_div
from .map_problem import (
    AXIS_STEP,
    BURST,
    BUS,
    COMMAND,
    LARGEST_EXTENT,
    OF_AXES,
    OF_BYTES,
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

SPREAD = 0x9E3779B97F4A7C1 | 1  # odd: keys that are near one another are at different places
TOO_LARGE = -1  # bytes of a tile that commands cannot name
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
def note_operand(
    problem: Problem, tables: Tables, scratch: Scratch, at: Ints, cut: int, operand: int, dataflow: int, priced: bool
) -> bool:
    """What is moved of an operand, as columns of `moved` (bytes only where they are `priced`); False where its tile
    exceeds the fields of commands or, with those of the operands before it, its memory. Requires a noted box, and
    `needed` to be zeros before the first."""
    moved, figures, factors, here = (
        scratch.moved[operand],
        problem.operands[operand],
        scratch.factors[operand],
        scratch.here,
    )
    key = scratch.keys[operand] + figures[OF_INNERMOST + dataflow] + factors[cut] * at[cut]
    known = scratch.known[operand, (key * SPREAD) >> 40 & (PLACES - 1)]
    if known[KEY] != key or not factors[at.size + 1]:
        learn(problem, tables, scratch, at, operand, dataflow, known)
        known[KEY] = key
    tile, tiles = known[KNOWN_TILE], known[KNOWN_TILES]
    if tile == TOO_LARGE:
        return False
    memory = figures[OF_MEMORY]
    needed = max(1, moved[PINNED]) * tile
    scratch.needed[WITH_ONE, memory] += needed
    if scratch.needed[WITH_ONE, memory] > problem.capacities[memory]:
        return False
    # Loops over other dimensions repeat its tiles, but for those inside the innermost loop that changes the tile.
    matters = scratch.relevant[operand]
    changing = here[TILED] & matters
    changing &= -changing
    repeats = 1
    if changing:
        repeating = here[TILED] & ~matters & -changing
        while repeating:
            repeats *= scratch.fewest[_trailing_zeros(repeating)]
            repeating &= repeating - 1
    times, cycles = repeats * tiles, repeats * known[ROUND_CYCLES]
    cycles += times * problem.machine[COMMAND]
    scratch.needed[WITH_TWO, memory] += 2 * tile if moved[PINNED] == 0 and times > 1 else needed
    moved[TIMES] = times
    moved[OFTEN] = known[KNOWN_OFTEN]
    moved[CYCLES] = cycles
    moved[LATER] = max(0, cycles - known[KNOWN_FIRST])
    moved[EARLIEST] = known[KNOWN_EARLIEST]
    moved[LATEST] = known[KNOWN_LATEST]
    moved[LONGEST] = known[KNOWN_LONGEST]
    moved[ELEMENTS] = repeats * known[ROUND_ELEMENTS]
    moved[TILE] = tile
    moved[ALWAYS] = 1 if changing and not here[MAYBE_TILED] & ~matters & (changing - 1) else 0
    if priced:
        moved[MAIN_BYTES] = repeats * known[ROUND_MAIN_BYTES]
        moved[LOCAL_BYTES] = repeats * known[ROUND_LOCAL_BYTES]
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
    known[ROUND_ELEMENTS] = inside
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
