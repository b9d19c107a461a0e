"""Lower bounds of energy and cycles of all mappings in a box: an interval of tile sizes along each dimension
(passes/map_tables.py), for one dataflow and one order of the main-memory loops.

Where every interval is one size, energy is exact up to rounding: traffic and action counts are products of sums along
single axes (specs/counts.md). Cycles are bounded from below by what each resource must do in turn (specs/isa.md):
dispatch; the bus; the execution unit, with the pauses of operands that have one copy, after the loads that come first
and before the store that comes last; and the chain compute, store, load, compute of every second iteration. Of wider
boxes each figure is the least that it can be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.cpython.unsafe import numbers

from ..ir.compiled import inlined
from ..ir.program import INSTRUCTION_BYTES
from .map_box import (
    ELEMENTS,
    GAP,
    KNOWN_LATEST,
    KNOWN_LONGEST,
    LATER,
    LOCAL_BITS,
    MAIN_BITS,
    MAY_BE_TWICE,
    MAYBE_TILED,
    OUTPUT_ONCE,
    OUTPUT_TWICE,
    REDUCED,
    TILE,
    TILES,
    TIMES,
    TWICE,
    UNIT,
    WITH_ONE,
    WITH_TWO,
    Scratch,
    note_box,
    note_others,
)
from .map_commands import ceil_div
from .map_goal import Goal, enough_cycles
from .map_problem import (
    ALL,
    COMMAND,
    CONFIGURES,
    DISPATCH_CYCLES,
    LOAD_LATENCY,
    OF_BITS,
    OF_BODY,
    OF_LANES,
    OF_LOCAL_BITS,
    OF_MEMORY,
    OF_POSTS,
    OF_WORD,
    PER_CONVERTED,
    PER_INSTRUCTION,
    PER_MAC,
    PER_MAIN_READ,
    PER_MAIN_WRITTEN,
    PER_MEMORY,
    PER_POST,
    POST_LANES,
    REDUCE,
    REDUCES,
    STORE_LATENCY,
    SWITCH,
    TESTING,
    VECTOR,
    Ints,
    Problem,
)
from .map_tables import Tables
from .map_transfers import MISFIT, note_operands
from .map_work import last_cycles, work_of

_trailing_zeros: Any = numbers.trailing_zeros
ANY_COPIES = -1
UNDECIDED = -2  # in place of cycles: `with_copies` bounds each choice of copies


@inlined
def energy_of(
    problem: Problem, scratch: Scratch, dataflow: int, times: int, load_times: int, a: int, b: int, partial: int
) -> float:
    """Of a box in pJ, with the operands' figures in `moved`: for `times` commands and what the commands read of both
    operands and write of sums."""
    machine, operands = problem.machine, problem.operands.shape[0]
    output, stores = problem.operands[operands - 1], scratch.moved[operands - 1]
    prices = problem.prices[1 if dataflow == VECTOR else 0]
    main_read, positions = 0, stores[ELEMENTS]
    converted = positions if output[OF_LANES] else 0
    for operand in range(operands - 1):
        main_read += scratch.moved[operand, MAIN_BITS]
        if problem.operands[operand, OF_LANES]:
            converted += scratch.moved[operand, MAIN_BITS] // problem.operands[operand, OF_BITS]
    instructions = machine[CONFIGURES] + 1 + times + load_times + stores[TIMES]
    energy = problem.totals[ALL] * prices[PER_MAC] + positions * prices[PER_POST]
    energy += converted * prices[PER_CONVERTED] + prices[TESTING]
    energy += instructions * (prices[PER_INSTRUCTION] + 8.0 * INSTRUCTION_BYTES * prices[PER_MAIN_READ])
    energy += main_read * prices[PER_MAIN_READ] + stores[MAIN_BITS] * prices[PER_MAIN_WRITTEN]
    for operand in range(operands - 1):
        figures = problem.operands[operand]
        column = PER_MEMORY + 2 * figures[OF_MEMORY]
        read = positions * figures[OF_POSTS]
        if figures[OF_BODY] & 1:
            read += a
        if figures[OF_BODY] & 2:
            read += b
        moved_pj = (
            read * figures[OF_LOCAL_BITS] * prices[column] + scratch.moved[operand, LOCAL_BITS] * prices[column + 1]
        )
        energy += moved_pj / figures[OF_WORD]
    column = PER_MEMORY + 2 * output[OF_MEMORY]
    read, element = stores[LOCAL_BITS], output[OF_LOCAL_BITS]
    if dataflow != VECTOR or machine[REDUCES]:
        outputs = problem.totals[ALL] // problem.totals[REDUCE]
        read += (partial - outputs) * element
    energy += (read * prices[column] + partial * element * prices[column + 1]) / output[OF_WORD]
    return np.float64(energy)


@inlined
def fits(problem: Problem, scratch: Scratch, copies: int) -> bool:
    """Whether the smallest tiles fit with two copies of the operands that `copies` has bits for and that need them."""
    needed, free = scratch.needed, scratch.bounded[MAY_BE_TWICE]
    for memory in range(problem.capacities.size):
        if needed[WITH_TWO, memory] > problem.capacities[memory]:
            room = problem.capacities[memory] - needed[WITH_ONE, memory]
            for operand in range(problem.operands.shape[0]):
                if problem.operands[operand, OF_MEMORY] == memory and (copies & free) >> operand & 1:
                    room -= scratch.moved[operand, TILE]
            if room < 0:
                return False
    return True


@inlined
def with_copies(problem: Problem, scratch: Scratch, copies: int) -> int:
    """Bound of the bounded box with two copies of the operands that `copies` has bits for, and one of the others, where
    nothing else is pinned or needed: the output may pause the execution unit, and so may all loads."""
    bounded, operands = scratch.bounded, problem.operands.shape[0]
    two = bounded[TWICE] | (copies & bounded[MAY_BE_TWICE])
    once = ((1 << operands) - 1) & ~two
    unit, times = bounded[UNIT], 0
    while once:
        moved = scratch.moved[_trailing_zeros(once)]
        unit += moved[LATER]
        times = max(times, moved[TIMES] - 1)
        once &= once - 1
    others = bounded[OUTPUT_TWICE] if two >> (operands - 1) & 1 else bounded[OUTPUT_ONCE]
    cycles: int = max(others, unit + times * bounded[GAP])
    return cycles


@inlined
def with_best_copies(problem: Problem, scratch: Scratch, enough: float) -> int:
    """The least bound over copies that fit, or the bound over all once it is `enough`."""
    free = scratch.bounded[MAY_BE_TWICE]
    lowest = with_copies(problem, scratch, free)
    if lowest >= enough or fits(problem, scratch, free):
        return lowest
    least = with_copies(problem, scratch, 0)
    copies = (free - 1) & free
    while copies > 0 and least > lowest:
        here = with_copies(problem, scratch, copies)
        if here < least and fits(problem, scratch, copies):
            least = here
        copies = (copies - 1) & free
    return least


@inlined
def bound_box(
    problem: Problem, tables: Tables, scratch: Scratch, goal: Goal, value: float, dataflow: int, bits: Ints, at: Ints,
    cut: int, any_copies: bool,
) -> tuple[int, float]:  # fmt: skip
    """Lower bounds of cycles and of energy in pJ over a noted box (passes/map_box.py) with the best copies that fit;
    MISFIT where nothing fits. Not with `any_copies`: UNDECIDED, or cycles that are enough whatever the copies. Once the
    bound of the objective is no less than `value`, cycles are not bounded any closer. Energy is 0 where it decides
    nothing."""
    machine, here, operands = problem.machine, scratch.here, problem.operands.shape[0]
    times = here[TILES] * here[TILES + 1] * here[TILES + 2] * here[TILES + 3]
    work, tail, a, b, partial = work_of(problem, tables, here, at, dataflow, times)
    latency, dispatch = machine[STORE_LATENCY], machine[DISPATCH_CYCLES]
    ready = machine[SWITCH] + dispatch * (machine[CONFIGURES] + 1) + machine[LOAD_LATENCY]
    if any_copies and not goal.priced:  # is the work by itself enough?
        alone = max(ready + work + tail + latency, machine[SWITCH] + dispatch * (machine[CONFIGURES] + times + 1))
        if alone >= enough_cycles(goal, value, 0.0):
            return alone, 0.0
    # Compute, its store, the loads of the next iteration but one, its compute: no two of these overlap. Where reduced
    # dimensions are not tiled every iteration stores; else what links is an operand that every iteration loads.
    reduce_whole = not here[MAYBE_TILED] & here[REDUCED]
    load_cycles, load_times, first_loads, linked, is_linked, free, two = note_operands(
        problem, tables, scratch, bits, at, cut, dataflow, goal.priced, reduce_whole
    )
    if load_cycles == MISFIT:
        return MISFIT, 0.0
    stores, bounded, moves = scratch.moved[operands - 1], scratch.bounded, scratch.known[operands - 1]
    last_store = moves[scratch.places[operands - 1], KNOWN_LATEST]
    longest = moves[scratch.places[operands - 1], KNOWN_LONGEST]
    stored = max(stores[LATER], stores[TIMES] * machine[COMMAND] + ceil_div(stores[ELEMENTS], machine[POST_LANES]))
    stores[LATER] = max(0, stored - longest)
    energy = 0.0
    if goal.priced:
        energy = energy_of(problem, scratch, dataflow, times, load_times, a, b, partial)
    enough = enough_cycles(goal, value, energy)

    # All loads, and all stores but the last two, are before the last compute; after it comes the last store. With one
    # copy of the output the last compute waits for the last store but one.
    start = ready + first_loads
    finish = tail + last_store + latency
    unit = start + work + finish
    others = max(
        ready + load_cycles + stored,
        machine[SWITCH] + dispatch * (machine[CONFIGURES] + load_times + times + stores[TIMES] + 1),
    )
    bounded[MAY_BE_TWICE], bounded[TWICE] = free, two
    if max(unit, others) >= enough:
        return max(unit, others), energy
    waiting = ready + load_cycles + stored + last_cycles(problem, tables, here, at, dataflow) + tail + latency
    finished = waiting
    if here[MAYBE_TILED] & bits[at.size + operands - 1]:
        finished -= min(stored - last_store, longest)
    gap = tail + latency
    if is_linked:
        between = work + linked + max(0, stored - last_store - longest) + max(0, times - 2) * gap
        others = max(others, start + between // 2 + finish)
    bounded[UNIT], bounded[GAP] = unit, gap
    bounded[OUTPUT_TWICE], bounded[OUTPUT_ONCE] = max(others, finished), max(others, waiting)
    return with_best_copies(problem, scratch, enough) if any_copies else UNDECIDED, energy


@inlined
def bound(
    problem: Problem, tables: Tables, scratch: Scratch, goal: Goal, value: float, dataflow: int, bits: Ints, at: Ints,
    copies: int,
) -> tuple[int, float]:  # fmt: skip
    """The bounds of a box, `at` a node of each dimension, with the best copies that fit or with `copies`."""
    note_others(problem, tables, scratch, dataflow, bits, at, 0)
    note_box(problem, tables, scratch, dataflow, bits, at, 0)
    any_copies = copies == ANY_COPIES
    cycles, energy = bound_box(problem, tables, scratch, goal, value, dataflow, bits, at, 0, any_copies)
    if any_copies or cycles == MISFIT:
        return cycles, energy
    if not fits(problem, scratch, copies):
        return MISFIT, 0.0
    return with_copies(problem, scratch, copies) if cycles == UNDECIDED else cycles, energy
