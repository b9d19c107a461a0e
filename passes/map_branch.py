"""Branch and bound over boxes of tile sizes, in compiled code (passes/map_bound.py bounds, passes/map_walk.py walks).

The queue holds boxes (an interval of sizes along each dimension, for one dataflow and one class of loop orders) and, of
single sizes, choices of copies. A box is cut along the dimension whose interval is widest; a choice of copies is walked
in every order of its class. The search ends when nothing in the queue is below the best mapping.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import compiled, compiled_entry, inlined
from .map_bound import UNDECIDED, bound_box, fits, with_copies
from .map_box import MAY_BE_TWICE, PINNED, Scratch, is_legal, is_settled, note_box, note_others
from .map_goal import Goal, enough_cycles, value_of
from .map_orders import LOOPS_HERE, ORDER, SIZES, Roots, is_repeated, loops_of, permutation
from .map_plan import UNKNOWN, Walk
from .map_problem import Floats, Ints, Problem
from .map_queue import (
    ANSWER,
    ASKED_ORDER,
    ASKED_PLACE,
    BOUNDS,
    BOX,
    COPIES,
    EVALUATED,
    FREE,
    NEWEST_FIRST,
    OPEN,
    PLUNGE,
    ROOT,
    SETTLED,
    STACKED,
    STATE,
    UNBOUNDED,
    WAITING,
    Queue,
    clear,
    copy_first,
    drop,
    note,
    offer,
    take,
)
from .map_seen import Seen, is_kept, keep_seen, seen_of
from .map_tables import LEFT, LO, Tables
from .map_transfers import MISFIT
from .map_walk import walk_cycles
from .objective import ROUNDING

DONE, PAUSED, FULL, ASKED = range(4)
PLUNGE_BOUNDS = 500  # the most of a plunge
BELOW, OF_BEST = 0, 1  # of the values of the best


class Best(NamedTuple):
    """The best mapping: its `value`, after what better ones must be below; sizes, loop order (-1 where there are fewer
    loops), then dataflow, copies and cycles. By dataflow: the best of it that was walked, and the least bound of what
    was left out. `seen` are mappings of which the objective was counted exactly."""

    value: Floats
    sizes: Ints
    order: Ints
    choice: Ints
    walked: Floats
    left_out: Floats
    seen: Seen


def best_of(dims: int, limit: float, most_seen: int = 0) -> Best:
    """Nothing yet; only what is below `limit` is looked for."""
    never: Any = np.full(4, np.inf)
    none: Any = np.full(3, -1, np.int64)
    return Best(
        np.array([limit, limit]), np.ones(dims, np.int64), np.full(dims, -1, np.int64), none, never, never.copy(),
        seen_of(dims, most_seen),
    )  # fmt: skip


@inlined
def widest(tables: Tables, at: Ints) -> int:
    """The dimension to cut; -1 where all intervals are single sizes."""
    found, most = -1, 0.0
    for dim in range(at.size):
        if tables.widths[at[dim]] > most:
            found, most = dim, tables.widths[at[dim]]
    return found


@inlined
def evaluate(
    problem: Problem, tables: Tables, roots: Roots, queue: Queue, best: Best, scratch: Scratch, walk: Walk, place: int,
    goal: Goal, work: Ints,
) -> bool:  # fmt: skip
    """Walk a choice of sizes and copies in every order of its class; False where a walk could not tell: then its sizes
    and order are in `work`, and the cycles are expected as the answer. There is no walk where cycles decide nothing."""
    counters, at, sizes, order = queue.counters, scratch.at, work[SIZES], work[ORDER]
    root, copies = queue.tags[place, ROOT], queue.tags[place, COPIES]
    dataflow = roots.dataflows[root]
    for dim in range(at.size):
        at[dim] = queue.at[place, dim]
        sizes[dim] = tables.nodes[at[dim], LO]
    count = loops_of(tables, roots, root, at, work[LOOPS_HERE])
    number = counters[ASKED_ORDER]
    counters[ASKED_ORDER] = 0
    # What is no better than the best of all and the best of its dataflow need not be known.
    most = max(best.value[BELOW], best.walked[dataflow]) * (1 + ROUNDING)
    enough = enough_cycles(goal, most, queue.energies[place])
    while permutation(roots, work[LOOPS_HERE], count, number, order):
        for each in range(count, at.size):
            order[each] = -1
        if not goal.timed:
            cycles = queue.cycles[place]
        elif counters[ANSWER] >= 0:
            cycles = counters[ANSWER]
            counters[ANSWER] = -1
        else:
            cycles = walk_cycles(problem, walk, dataflow, sizes, order, copies, enough)
            if cycles == UNKNOWN:
                counters[ASKED_ORDER] = number
                return False
        counters[EVALUATED] += 1
        if is_kept(best.seen):
            exact = cycles if goal.timed and cycles < enough else UNKNOWN  # not walked to its end
            keep_seen(best.seen, exact, queue.energies[place], dataflow, copies, sizes, order)
        value = value_of(goal, cycles, queue.energies[place])
        best.walked[dataflow] = min(best.walked[dataflow], value)
        if value < best.value[BELOW]:
            best.value[BELOW] = value
            best.value[OF_BEST] = value
            for each in range(at.size):
                best.sizes[each] = sizes[each]
                best.order[each] = order[each]
            best.choice[0] = dataflow
            best.choice[1] = copies
            best.choice[2] = cycles
        if not goal.timed:
            break
        number += 1
    return True


@inlined
def offer_copies(
    problem: Problem, scratch: Scratch, queue: Queue, best: Best, goal: Goal, worst: float, dataflow: int, at: Ints,
    root: int, decided: int, energy: float,
) -> None:  # fmt: skip
    """Bound each choice of copies of bounded single sizes, and offer those that may be better than `worst`. `decided`:
    the bound of all of them, or UNDECIDED. Where cycles decide nothing, only the choice that takes the fewest."""
    base, free, forced = queue.counters[STACKED], scratch.bounded[MAY_BE_TWICE], 0
    for operand in range(problem.operands.shape[0]):
        if scratch.moved[operand, PINNED] == 2:
            forced |= 1 << operand
    least, chosen = -1, 0
    for copies in range(free + 1):
        if copies & ~free:
            continue
        queue.counters[BOUNDS] += 1
        if not fits(problem, scratch, copies):
            continue
        cycles = with_copies(problem, scratch, copies) if decided == UNDECIDED else decided
        value = value_of(goal, cycles, energy)
        if not goal.timed:
            if least < 0 or cycles <= least:
                least, chosen = cycles, copies
        elif value < worst:
            child = note(queue, value, cycles, energy, at, root, copies | forced, SETTLED)
            offer(queue, child, base)
        else:
            best.left_out[dataflow] = min(best.left_out[dataflow], value)
    if least >= 0 and value_of(goal, least, energy) < best.value[BELOW]:
        child = note(queue, value_of(goal, least, energy), least, energy, at, root, chosen | forced, SETTLED)
        offer(queue, child, base)


@compiled
def keep_single_sizes(
    problem: Problem, tables: Tables, roots: Roots, best: Best, scratch: Scratch, root: int, energy: float, work: Ints
) -> None:  # fmt: skip
    """Keep single sizes that are bounded, with one order of their class and as many copies as all fit, or else those
    that there must be. Only to be asked for where cycles decide nothing: then energy is all of the objective."""
    at, sizes, order = scratch.at, work[SIZES], work[ORDER]
    copies = scratch.bounded[MAY_BE_TWICE]
    if not fits(problem, scratch, copies):
        copies = 0
    for operand in range(problem.operands.shape[0]):
        if scratch.moved[operand, PINNED] == 2:
            copies |= 1 << operand
    for dim in range(at.size):
        sizes[dim] = tables.nodes[at[dim], LO]
    count = loops_of(tables, roots, root, at, work[LOOPS_HERE])
    for place in range(at.size):
        order[place] = work[LOOPS_HERE, place] if place < count else -1
    keep_seen(best.seen, UNKNOWN, energy, roots.dataflows[root], copies, sizes, order)


@compiled
def search_on(
    problem: Problem, tables: Tables, roots: Roots, queue: Queue, best: Best, scratch: Scratch, walk: Walk,
    goal: Goal, bounds: int, steps: int, work: Ints,
) -> int:  # fmt: skip
    """`advance`, without plunges."""
    counters, at = queue.counters, scratch.at
    operands = problem.operands.shape[0]
    while True:
        worst = best.value[BELOW] * (1 - ROUNDING)
        if counters[ASKED_PLACE] >= 0:
            place = counters[ASKED_PLACE]
            counters[ASKED_PLACE] = -1
        else:
            status = -1
            if counters[STACKED] == 0 and (counters[WAITING] == 0 or queue.values[queue.heap[0]] >= worst):
                status = DONE
            elif counters[BOUNDS] >= bounds or walk.loops[0, 0] >= steps:
                status = PAUSED
            elif counters[NEWEST_FIRST] and counters[EVALUATED] > 0 and best.choice[0] >= 0:
                status = DONE
            elif counters[FREE] < 2 + (1 << operands):
                status = FULL
            if status >= 0:
                return status
            place = take(queue)
            drop(queue, place)
            if queue.values[place] >= worst:
                dataflow = roots.dataflows[queue.tags[place, ROOT]]
                best.left_out[dataflow] = min(best.left_out[dataflow], queue.values[place])
                continue
        if queue.tags[place, COPIES] != BOX:
            if not evaluate(problem, tables, roots, queue, best, scratch, walk, place, goal, work):
                counters[ASKED_PLACE] = place
                return ASKED
            continue
        root, state = queue.tags[place, ROOT], queue.tags[place, STATE]
        dataflow, order, bits = roots.dataflows[root], roots.orders[root], roots.bits[root]
        for dim in range(at.size):
            at[dim] = queue.at[place, dim]
        # What becomes of an entry: a box with a bound, the halves of a box, or single sizes with each choice of copies.
        cut = widest(tables, at)
        by_copies = state != UNBOUNDED and cut < 0
        halves = 2 if state != UNBOUNDED and cut >= 0 else 1
        cut = max(cut, 0)
        node = at[cut]
        note_others(problem, tables, scratch, dataflow, bits, at, cut)
        base = counters[STACKED]
        for half in range(halves):
            if halves == 2:
                at[cut] = tables.nodes[node, LEFT + half]
            note_box(problem, tables, scratch, dataflow, bits, at, cut)
            settled = state == SETTLED
            if not by_copies:
                if not is_legal(problem, tables, scratch, order, at, roots.ordered):
                    continue
                if not settled and is_settled(scratch):
                    if is_repeated(tables, roots, root, at, work):
                        continue
                    settled = True
                counters[BOUNDS] += 1
            cycles, energy = bound_box(problem, tables, scratch, goal, worst, dataflow, bits, at, cut, not by_copies)
            if cycles == MISFIT:
                counters[BOUNDS] += by_copies
                continue
            if by_copies:
                offer_copies(problem, scratch, queue, best, goal, worst, dataflow, at, root, cycles, energy)
                continue
            if not goal.timed and widest(tables, at) < 0 and is_kept(best.seen):
                keep_single_sizes(problem, tables, roots, best, scratch, root, energy, work)
            value = value_of(goal, cycles, energy)
            if value < worst:
                child = note(queue, value, cycles, energy, at, root, BOX, SETTLED if settled else OPEN)
                offer(queue, child, base)
            else:
                best.left_out[dataflow] = min(best.left_out[dataflow], value)


@compiled_entry
def advance(
    problem: Problem, tables: Tables, roots: Roots, queue: Queue, probe: Queue, best: Best, scratch: Scratch,
    walk: Walk, goal: Goal, bounds: int, steps: int, work: Ints,
) -> int:  # fmt: skip
    """Search until nothing is left below the best (DONE; newest first: until there is a mapping), so many bounds or
    steps of walks have been made (PAUSED), the queue may be too small (FULL) or a walk could not tell (ASKED).

    What comes first in the queue has the lowest bound, and mostly no mapping near it for long. So now and then, ever
    more rarely, a plunge: another queue, newest first, from there to a mapping. What is above that is not kept, and its
    bounds end early. Plunges change nothing else: what is no worse is found as if there had been none."""
    counters = queue.counters
    while True:
        pause = bounds if counters[NEWEST_FIRST] or not goal.timed else min(bounds, counters[PLUNGE])
        status = search_on(problem, tables, roots, queue, best, scratch, walk, goal, pause, steps, work)
        if status != PAUSED or counters[BOUNDS] >= bounds or walk.loops[0, 0] >= steps:
            return status
        counters[PLUNGE] = 2 * counters[BOUNDS]
        clear(probe)
        copy_first(queue, probe)
        below, known = best.value[BELOW], best.value[OF_BEST]
        search_on(problem, tables, roots, probe, best, scratch, walk, goal, PLUNGE_BOUNDS, steps, work)
        counters[BOUNDS] += probe.counters[BOUNDS]
        counters[EVALUATED] += probe.counters[EVALUATED]
        if best.value[OF_BEST] < known:
            best.value[BELOW] = min(below, best.value[OF_BEST] * (1 + 4 * ROUNDING))
