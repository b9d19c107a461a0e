"""What a walk over the iterations of a mapping needs, in compiled code: its loops with the classes of their tiles,
tables of durations, and where loads are issued and what they wait for (backends/cost/classes.py and nest.py there).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import compiled, inlined
from .map_commands import POINTS, START, ceil_div, compute_cycles, transfer_cycles
from .map_problem import (
    AXIS_CLIPPED,
    AXIS_CONSTANT,
    AXIS_VIEW,
    DISPATCH_CYCLES,
    LOAD_LATENCY,
    OF_BODY,
    OF_FIRST_AXIS,
    OF_POSTS,
    QUEUES,
    STORE_LATENCY,
    Ints,
    Problem,
)

UNKNOWN = -1
LOOPS = 10
CLASSES = 64  # of the tiles of a loop
ENTRIES = 4096  # of a table of durations
STEPS = 1 << 14  # iterations that are walked
PERIODS = 32
STARTS = 256  # of commands of a queue: four times as many are remembered, or of its entries
FARTHEST = 255  # distance of a wait
NEVER = -(1 << 61)
LONG_AGO = NEVER // 2
DISPATCH, BUS_FREE, UNIT, LOADED, COMPUTED, STORED, STORED_BEFORE, READY, WAITS = range(9)
NONE, LATEST, RECORDED = range(3)
AHEAD, AFTER_COMPUTE, AFTER_STORE = range(3)


class Walk(NamedTuple):
    """Room for one walk. `loops` has a row a loop (from 1): dimension, tiles, classes, then the class, what is left of
    it and the repetitions in it while walking; `firsts` the first tile of each class. `tables` are durations of reads,
    stores, computes and their tails with `strides`; `loads` where an operand is loaded, how deep and what it waits for;
    `noted` what the last walk's loops and tables are of, then what it needs of them besides.
    `state` and `seen` are of the max-plus vector, `lags` by how much dispatch lies before compute in `seen`. The queues
    have the last rows of `starts`: when each command began, `issued` how many there were and, after those, LEFT_WORK of
    the execution unit; `seen_issued` the same at `seen`."""

    loops: Ints
    firsts: Ints
    tables: Ints
    strides: Ints
    loads: Ints
    noted: Ints
    state: Ints
    seen: Ints
    lags: Ints
    starts: Ints
    issued: Ints
    seen_issued: Ints
    changes: Ints
    box: Ints


def room(problem: Problem) -> Walk:
    """Room for walks of a problem."""
    operands, dims = problem.relevant.shape
    rows = WAITS + 2 * (LOOPS + 1)
    starts = 1 << (4 * int(max(STARTS, *problem.machine[QUEUES : QUEUES + 3])) - 1).bit_length()
    zeros: Any = np.zeros
    return Walk(
        zeros((LOOPS + 1, 6), np.int64),
        zeros((LOOPS + 1, CLASSES + 2), np.int64),
        np.empty((operands + 2, ENTRIES), np.int64),
        zeros((operands + 2, LOOPS + 1), np.int64),
        zeros((operands, 4), np.int64),
        np.full(2 * dims + NOTED, -1, np.int64),
        zeros(rows, np.int64),
        np.empty((LOOPS + 1, PERIODS + 1, rows), np.int64),
        zeros((LOOPS + 1, PERIODS + 1), np.int64),
        np.empty((3, starts), np.int64),
        zeros(LEFT_WORK + 1, np.int64),
        zeros((LOOPS + 1, PERIODS + 1, LEFT_WORK + 1), np.int64),
        zeros((LOOPS + 1, rows + 1), np.int64),
        zeros((4, max(dims, LOOPS) + 1), np.int64),
    )


# Of `noted`: the dataflow; whether the walk is countable, whether queues imply far waits, cycles of all computes and at
# least of what comes after the last; then the sizes.
IS_COUNTABLE, COMPUTED_FAR, STORED_FAR, ALL_WORK, FINISH, NOTED = 1, 2, 3, 4, 5, 6
LEFT_WORK = 3
DIM, TILES, NUMBER_OF_CLASSES, AT, LEFT, REPEATED = range(6)
PLACE, DEPTH, WAIT_COMPUTE, WAIT_STORE = range(4)
BEFORE, AFTER = 2, 3  # rows of `box`: classes of the loops before and after a step


@compiled
def add_cut(firsts: Ints, count: int, cut: int, tiles: int) -> int:
    """`cut` put into the ascending `firsts`; how many there are then, or UNKNOWN where there is no room."""
    if count < 0 or cut < 0 or cut > tiles:
        return count
    place = count
    while place > 0 and firsts[place - 1] >= cut:
        place -= 1
    if place < count and firsts[place] == cut:
        return count
    if count > CLASSES:
        return UNKNOWN
    for each in range(count, place, -1):
        firsts[each] = firsts[each - 1]
    firsts[place] = cut
    return count + 1


@inlined
def find_classes(problem: Problem, walk: Walk, loop: int, size: int) -> bool:
    """The classes of the tiles of a loop (backends/cost/classes.py); False where there are too many."""
    dim = walk.loops[loop, DIM]
    extent, tiles = problem.extents[dim], walk.loops[loop, TILES]
    firsts = walk.firsts[loop]
    count = add_cut(firsts, 0, 0, tiles)
    count = add_cut(firsts, count, tiles, tiles)
    count = add_cut(firsts, count, extent // size, tiles)
    last_axis = problem.operands[problem.relevant.shape[0] - 1, OF_FIRST_AXIS]
    for axis in range(last_axis):  # those of the output come last
        row = problem.axes[axis]
        c = problem.coefficients[axis, dim]
        if not c or not row[AXIS_CLIPPED]:
            continue
        others = 0
        for other in range(problem.extents.size):
            if other != dim:
                others += problem.coefficients[axis, other] * (problem.extents[other] - 1)
        advance, width = c * size, c * (size - 1)
        last_before = (-1 - row[AXIS_CONSTANT] - width - others) // advance
        first_inside = -(row[AXIS_CONSTANT] // advance)
        last_inside = (row[AXIS_VIEW] - 1 - row[AXIS_CONSTANT] - others - width) // advance
        first_after = -((row[AXIS_CONSTANT] - row[AXIS_VIEW]) // advance)
        free = 0
        for part in range(3):
            low, high = max(0, free), min(last_before, tiles - 1)
            if part == 1:
                if first_inside > last_inside:
                    continue
                low, high = max(first_inside, free), min(last_inside, tiles - 1)
            elif part == 2:
                low, high = max(first_after, free), tiles - 1
            if low > high:
                continue
            if low - free > CLASSES:
                return False
            for cut in range(free, low + 1):
                count = add_cut(firsts, count, cut, tiles)
            free = high + 1
        if tiles - free > CLASSES:
            return False
        for cut in range(free, tiles):
            count = add_cut(firsts, count, cut, tiles)
    if count < 0:
        return False
    walk.loops[loop, NUMBER_OF_CLASSES] = count - 1
    return True


@inlined
def fill_table(problem: Problem, walk: Walk, dataflow: int, sizes: Ints, loops: int, table: int) -> int:
    """Durations over the classes of the loops that matter: of an operand's transfers, or (the last two) of computes
    and tails. How many there are; 0 where there is no room."""
    operands = problem.relevant.shape[0]
    box, strides = walk.box, walk.strides[table]
    entries = 1
    for loop in range(strides.size):
        strides[loop] = 0
    for loop in range(loops, 0, -1):
        if table >= operands or problem.relevant[table, walk.loops[loop, DIM]]:
            strides[loop] = entries
            entries *= walk.loops[loop, NUMBER_OF_CLASSES]
    if entries > ENTRIES:
        return 0
    for dim in range(problem.extents.size):
        box[START, dim] = 0
        box[POINTS, dim] = min(sizes[dim], problem.extents[dim])
    for entry in range(entries):
        for loop in range(1, loops + 1):
            if strides[loop]:
                dim = walk.loops[loop, DIM]
                number = entry // strides[loop] % walk.loops[loop, NUMBER_OF_CLASSES]
                start = walk.firsts[loop, number] * sizes[dim]
                box[START, dim] = start
                box[POINTS, dim] = min(sizes[dim], problem.extents[dim] - start)
        if table < operands:
            walk.tables[table, entry] = transfer_cycles(problem, table, box, table == operands - 1)
        else:
            duration, tail = compute_cycles(problem, dataflow, box)
            walk.tables[table, entry] = duration
            walk.tables[table + 1, entry] = tail
    return entries


@inlined
def iterations(walk: Walk, first: int, last: int) -> int:
    product = 1
    for loop in range(first, last + 1):
        product *= walk.loops[loop, TILES]
    return product


@inlined
def depth_of(problem: Problem, walk: Walk, operand: int, loops: int) -> int:
    depth = 0
    for loop in range(1, loops + 1):
        if problem.relevant[operand, walk.loops[loop, DIM]]:
            depth = loop
    return depth


@inlined
def plan_loads(
    problem: Problem, walk: Walk, copies: int, loops: int, output_depth: int, computed: bool, stored: bool
) -> bool:
    """Where loads are issued and what they wait for; False where a wait is too far to be told by the row of a state.
    `computed` and `stored`: whether the queue implies waits that are too far (backends.cost.nest.make_plan)."""
    for operand in range(problem.relevant.shape[0] - 1):
        load = walk.loads[operand]
        posts, body = problem.operands[operand, OF_POSTS] > 0, problem.operands[operand, OF_BODY] > 0
        double = copies >> operand & 1
        depth = depth_of(problem, walk, operand, loops)
        load[DEPTH] = depth
        load[PLACE] = AHEAD if double else AFTER_STORE if posts else AFTER_COMPUTE
        load[WAIT_COMPUTE] = NONE
        load[WAIT_STORE] = NONE
        if depth == 0:
            continue
        far = iterations(walk, depth + 1, loops)
        if body:
            if not double:
                load[WAIT_COMPUTE] = LATEST
            elif far <= FARTHEST:
                load[WAIT_COMPUTE] = RECORDED
            elif not computed:
                return False
        if posts:
            far = far // iterations(walk, output_depth + 1, loops)
            if not double:
                load[WAIT_STORE] = LATEST
            elif far <= FARTHEST:
                load[WAIT_STORE] = RECORDED
            elif not stored:
                return False
    return True


@inlined
def is_countable(problem: Problem, walk: Walk, loops: int) -> bool:
    """Whether no time of a walk can come near the ends of 64 bits: if commands never overlapped, and each were the
    longest of its kind."""
    operands = problem.relevant.shape[0]
    each = np.float64(
        (operands + 1)
        * (problem.machine[LOAD_LATENCY] + problem.machine[STORE_LATENCY] + problem.machine[DISPATCH_CYCLES])
    )
    for table in range(operands + 2):
        entries, longest = 1, 0
        for loop in range(1, loops + 1):
            if walk.strides[min(table, operands), loop]:
                entries *= walk.loops[loop, NUMBER_OF_CLASSES]
        for entry in range(entries):
            longest = max(longest, walk.tables[table, entry])
        each += longest
    for loop in range(1, loops + 1):
        each *= walk.loops[loop, TILES]
    is_short: bool = not each >= -LONG_AGO
    return is_short


@inlined
def prepare(problem: Problem, walk: Walk, dataflow: int, sizes: Ints, order: Ints) -> int:
    """The loops of a walk with their classes and tables, unless they are those of the last one: how many, or UNKNOWN
    where there is no room."""
    machine, noted, operands = problem.machine, walk.noted, problem.relevant.shape[0]
    loops, same = 0, noted[0] == dataflow
    for dim in range(sizes.size):
        same = same and noted[NOTED + dim] == sizes[dim]
        noted[NOTED + dim] = sizes[dim]
    noted[0] = -1  # nothing, until all of it is made
    for place in range(order.size):
        dim = order[place]
        if dim < 0:
            break
        tiles = ceil_div(problem.extents[dim], sizes[dim])
        if tiles > 1:
            loops += 1
            if loops > LOOPS:
                return UNKNOWN
            same = same and walk.loops[loops, DIM] == dim
            walk.loops[loops, DIM] = dim
            walk.loops[loops, TILES] = tiles
    if same:
        noted[0] = dataflow
        return loops
    for loop in range(1, loops + 1):
        if not find_classes(problem, walk, loop, sizes[walk.loops[loop, DIM]]):
            return UNKNOWN
    computes, stores = 0, 0
    for table in range(operands + 1):
        entries = fill_table(problem, walk, dataflow, sizes, loops, table)
        if not entries:
            return UNKNOWN
        stores, computes = computes, entries
    shortest, longest = walk.tables[operands, 0], 0
    for entry in range(computes):
        shortest = min(shortest, walk.tables[operands, entry])
        longest = max(longest, walk.tables[operands + 1, entry])
    noted[COMPUTED_FAR] = (FARTHEST - 2 - machine[QUEUES + 1]) * shortest >= longest
    shortest = walk.tables[operands - 1, 0]
    for entry in range(stores):
        shortest = min(shortest, walk.tables[operands - 1, entry])
    noted[STORED_FAR] = (FARTHEST - 2 - machine[QUEUES + 2]) * shortest >= machine[STORE_LATENCY]
    noted[FINISH] = shortest + machine[STORE_LATENCY]
    noted[IS_COUNTABLE] = is_countable(problem, walk, loops)
    noted[ALL_WORK] = 0
    for entry in range(computes):
        count = 1
        for loop in range(1, loops + 1):
            number = entry // walk.strides[operands, loop] % walk.loops[loop, NUMBER_OF_CLASSES]
            count *= walk.firsts[loop, number + 1] - walk.firsts[loop, number]
        noted[ALL_WORK] += count * walk.tables[operands, entry]
    noted[0] = dataflow
    return loops
