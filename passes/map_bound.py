"""Lower bounds of energy and cycles of all mappings in a box: an interval of tile sizes along each dimension
(passes/map_tables.py), for one dataflow and one order of the main-memory loops.

Where every interval is one size, energy is exact up to rounding: traffic and action counts are products of sums along
single axes (specs/counts.md). Cycles are bounded from below by what each resource must do in turn (specs/isa.md):
dispatch; the bus; the execution unit, with the pauses of operands that have one copy, after the loads that come first
and before the store that comes last; and the chain compute, store, load, compute of every second iteration. Of wider
boxes each figure is the least that it can be.
"""

from __future__ import annotations

import numpy as np

from ..ir.compiled import inlined
from ..ir.program import INSTRUCTION_BYTES
from .map_commands import POINTS, ceil_div, compute_cycles
from .map_goal import Goal, enough_cycles
from .map_problem import (
    ALL,
    COMMAND,
    CONFIGURES,
    DISPATCH_CYCLES,
    LATENCY,
    OF_BODY,
    OF_BYTES,
    OF_LOCAL_BYTES,
    OF_MEMORY,
    OF_POSTS,
    OF_WORD,
    PER_INSTRUCTION,
    PER_MAC,
    PER_MAIN_READ,
    PER_MAIN_WRITTEN,
    PER_MEMORY,
    PER_POST,
    POST_LANES,
    REDUCE,
    REDUCES,
    VECTOR,
    Ints,
    Problem,
)
from .map_tables import FEWEST, HI, LAST, LO, MOST, Tables
from .map_transfers import (
    ALWAYS,
    CYCLES,
    EARLIEST,
    LATER,
    LATEST,
    LOCAL_BYTES,
    LONGEST,
    MAIN_BYTES,
    OFTEN,
    PINNED,
    TIMES,
    Scratch,
    fits,
    note_loops,
    note_operand,
)
from .map_work import work_of

ANY_COPIES = -1


@inlined
def has_two(scratch: Scratch, operand: int, copies: int) -> bool:
    """Whether an operand has two copies, or would not be faster with two: it may be moved once."""
    moved = scratch.moved[operand]
    return moved[PINNED] == 2 or moved[TIMES] == 1 or (moved[PINNED] == 0 and copies >> operand & 1 == 1)


@inlined
def unit_cycles(problem: Problem, scratch: Scratch, unit: int, gap: int, copies: int) -> int:
    """Bound by the execution unit where operands without a bit in `copies` have one copy: it pauses for them."""
    times = 0
    for operand in range(problem.operands.shape[0]):
        if not has_two(scratch, operand, copies):
            unit += scratch.moved[operand, LATER]
            times = max(times, scratch.moved[operand, TIMES] - 1)
    return unit + times * gap


@inlined
def least_cycles(problem: Problem, scratch: Scratch, two: int, one: int, unit: int, gap: int, enough: float) -> int:
    """The least bound over copies that fit, or the bound over all once it is `enough`. `two` and `one` bound cycles
    with two copies and with one of the output."""
    operands = problem.operands.shape[0]
    every = (1 << operands) - 1
    here = two if has_two(scratch, operands - 1, every) else one
    lowest = max(here, unit_cycles(problem, scratch, unit, gap, every))
    if lowest >= enough or fits(problem, scratch, every):
        return lowest
    here = two if has_two(scratch, operands - 1, 0) else one
    least = max(here, unit_cycles(problem, scratch, unit, gap, 0))
    free = 0
    for operand in range(operands):
        if scratch.moved[operand, PINNED] == 0 and scratch.moved[operand, TIMES] > 1:
            free |= 1 << operand
    copies = (free - 1) & free
    while copies > 0 and least > lowest:
        here = two if has_two(scratch, operands - 1, copies) else one
        if here < least:
            here = max(here, unit_cycles(problem, scratch, unit, gap, copies))
            if here < least and fits(problem, scratch, copies):
                least = here
        copies = (copies - 1) & free
    return least


@inlined
def energy_of(
    problem: Problem, scratch: Scratch, dataflow: int, times: int, load_times: int, positions: int, a: int, b: int,
    partial: int,
) -> float:  # fmt: skip
    """Of a box in pJ, with the operands' figures in `moved`: for `times` commands, `positions` stored and what the
    commands read of both operands and write of sums."""
    machine, operands = problem.machine, problem.operands.shape[0]
    output, stores = problem.operands[operands - 1], scratch.moved[operands - 1]
    prices = problem.prices[1 if dataflow == VECTOR else 0]
    main_read = 0
    for operand in range(operands - 1):
        main_read += scratch.moved[operand, MAIN_BYTES]
    instructions = machine[CONFIGURES] + 1 + times + load_times + stores[TIMES]
    energy = problem.totals[ALL] * prices[PER_MAC] + positions * prices[PER_POST]
    energy += instructions * (prices[PER_INSTRUCTION] + 8.0 * INSTRUCTION_BYTES * prices[PER_MAIN_READ])
    energy += 8.0 * (main_read * prices[PER_MAIN_READ] + stores[MAIN_BYTES] * prices[PER_MAIN_WRITTEN])
    for operand in range(operands - 1):
        figures = problem.operands[operand]
        column = PER_MEMORY + 2 * figures[OF_MEMORY]
        read = positions * figures[OF_POSTS]
        if figures[OF_BODY] & 1:
            read += a
        if figures[OF_BODY] & 2:
            read += b
        moved_pj = read * figures[OF_BYTES] * prices[column] + scratch.moved[operand, LOCAL_BYTES] * prices[column + 1]
        energy += moved_pj / figures[OF_WORD]
    column = PER_MEMORY + 2 * output[OF_MEMORY]
    read, element = stores[LOCAL_BYTES], output[OF_LOCAL_BYTES]
    if dataflow != VECTOR or machine[REDUCES]:
        outputs = problem.totals[ALL] // problem.totals[REDUCE]
        read += (partial - outputs) * element
    energy += (read * prices[column] + partial * element * prices[column + 1]) / output[OF_WORD]
    return np.float64(energy)


@inlined
def bound(
    problem: Problem, tables: Tables, scratch: Scratch, goal: Goal, value: float, dataflow: int, order: Ints, at: Ints,
    copies: int,
) -> tuple[int, float]:  # fmt: skip
    """Lower bounds of cycles and of energy in pJ over a box, `at` a node of each dimension, with the best copies that
    fit or with `copies`; -1 cycles where nothing fits. Once the bound of the objective is no less than `value`, cycles
    are not bounded any closer. Energy is 0 where it decides nothing."""
    machine, operands = problem.machine, problem.operands.shape[0]
    single, reduce_whole, times = True, True, 1
    for dim in range(problem.extents.size):
        node = tables.nodes[at[dim]]
        scratch.box[POINTS, dim] = node[LAST]
        single = single and node[LO] == node[HI]
        times *= node[FEWEST]
        if problem.kinds[dim] == REDUCE:
            reduce_whole = reduce_whole and node[MOST] == 1
    work, tail, a, b, partial = work_of(problem, tables, at, dataflow, single, times)
    latency, dispatch = machine[LATENCY], machine[DISPATCH_CYCLES]
    ready = dispatch * (machine[CONFIGURES] + 1) + latency
    if copies == ANY_COPIES and not goal.priced:  # is the work by itself enough?
        alone = max(ready + work + tail + latency, dispatch * (machine[CONFIGURES] + times + 1))
        if alone >= enough_cycles(goal, value, 0.0):
            return alone, 0.0
    for memory in range(problem.capacities.size):
        scratch.needed[memory] = 0
    loops = note_loops(tables, scratch, at, order)
    for operand in range(operands):
        if not note_operand(problem, tables, scratch, at, loops, operand, dataflow):
            return -1, 0.0
    load_cycles, load_times, first_loads = 0, 0, 0
    for operand in range(operands - 1):
        moved = scratch.moved[operand]
        load_cycles += moved[CYCLES]
        load_times += moved[TIMES]
        first_loads += moved[EARLIEST]
    output, stores = problem.operands[operands - 1], scratch.moved[operands - 1]
    positions = stores[MAIN_BYTES] // output[OF_BYTES]
    stored = max(stores[CYCLES], stores[TIMES] * machine[COMMAND] + ceil_div(positions, machine[POST_LANES]))
    last_store = stores[LATEST]
    stores[LATER] = max(0, stored - stores[LONGEST])
    if copies != ANY_COPIES and not fits(problem, scratch, copies):
        return -1, 0.0
    energy = 0.0
    if goal.priced:
        energy = energy_of(problem, scratch, dataflow, times, load_times, positions, a, b, partial)
    enough = enough_cycles(goal, value, energy)

    # All loads, and all stores but the last two, are before the last compute; after it comes the last store. With one
    # copy of the output the last compute waits for the last store but one.
    start = ready + first_loads
    finish = tail + last_store + latency
    unit = start + work + finish
    others = max(
        ready + load_cycles + stored,
        dispatch * (machine[CONFIGURES] + load_times + times + stores[TIMES] + 1),
    )
    if max(unit, others) >= enough:
        return max(unit, others), energy
    last, _ = compute_cycles(problem, dataflow, scratch.box)
    waiting = ready + load_cycles + stored + last + tail + latency
    finished = waiting
    if stores[OFTEN] > 1:
        finished -= min(stored - last_store, stores[LONGEST])
    # Compute, its store, the loads of the next iteration but one, its compute: no two of these overlap. Where reduced
    # dimensions are not tiled every iteration stores; else what links is an operand that every iteration loads.
    gap = tail + latency
    linked, is_linked = 0, reduce_whole
    for operand in range(operands - 1):
        moved = scratch.moved[operand]
        if reduce_whole or (problem.operands[operand, OF_BODY] > 0 and moved[ALWAYS]):
            is_linked = True
            linked += moved[LATER]
    if is_linked:
        between = work + linked + max(0, stored - last_store - stores[LONGEST]) + max(0, times - 2) * gap
        others = max(others, start + between // 2 + finish)
    if copies == ANY_COPIES:
        return least_cycles(problem, scratch, max(others, finished), max(others, waiting), unit, gap, enough), energy
    others = max(others, finished if has_two(scratch, operands - 1, copies) else waiting)
    return max(others, unit_cycles(problem, scratch, unit, gap, copies)), energy
