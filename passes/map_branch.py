"""Branch and bound over boxes of tile sizes, in compiled code (passes/map_bound.py bounds, passes/map_walk.py walks).

The queue holds boxes (an interval of sizes along each dimension, for one dataflow and one class of loop orders) and, of
single sizes, choices of copies. A box is cut along the dimension whose interval is widest; a choice of copies is walked
in every order of its class. The search ends when nothing in the queue is below the best mapping.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import compiled, compiled_entry, inlined
from .map_bound import ANY_COPIES, bound
from .map_goal import Goal, value_of
from .map_plan import UNKNOWN, Walk
from .map_problem import (
    AXIS_STEP,
    OF_AXES,
    OF_FIRST_AXIS,
    REDUCE,
    Floats,
    Ints,
    Problem,
)
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
    ROOT,
    SETTLED,
    STACKED,
    STATE,
    UNBOUNDED,
    WAITING,
    Queue,
    drop,
    note,
    offer,
    take,
    wait_all,
)
from .map_tables import FEWEST, LAST, LEFT, LO, MOST, Tables
from .map_transfers import PINNED, TIMES, Scratch
from .map_walk import walk_cycles
from .objective import ROUNDING

DONE, PAUSED, FULL, ASKED = range(4)
# Rows of `work`: loops of two mappings, nodes, sizes, loops as they are walked, nodes.
LOOPS_HERE, LOOPS_THERE, NODES, SIZES, ORDER, CHILD = range(6)


class Roots(NamedTuple):
    """Where the search begins: a dataflow and a class of orders of main-memory loops each. `signatures`, a number for
    each dimension: neighbouring loops of equal number may be exchanged and move the same. `ordered`: sums have an
    order."""

    dataflows: Ints
    orders: Ints
    signatures: Ints
    ordered: bool


class Best(NamedTuple):
    """The best mapping: its `value`, sizes, loop order (-1 where there are fewer loops), then dataflow, copies and
    cycles. By dataflow: the best of it that was walked, and the least bound of what was left out."""

    value: Floats
    sizes: Ints
    order: Ints
    choice: Ints
    walked: Floats
    left_out: Floats


def best_of(dims: int, limit: float) -> Best:
    """Nothing yet; only what is below `limit` is looked for."""
    never: Any = np.full(4, np.inf)
    none: Any = np.full(3, -1, np.int64)
    return Best(np.array([limit]), np.ones(dims, np.int64), np.full(dims, -1, np.int64), none, never, never.copy())


@inlined
def widest(tables: Tables, at: Ints) -> int:
    """The dimension to cut; -1 where all intervals are single sizes."""
    found, most = -1, 0.0
    for dim in range(at.size):
        if tables.widths[at[dim]] > most:
            found, most = dim, tables.widths[at[dim]]
    return found


@inlined
def is_legal(problem: Problem, tables: Tables, order: Ints, at: Ints, ordered: bool, single: bool) -> bool:
    """Whether some sizes in a box are legal; exact for single sizes (ir/schedule_rules.py)."""
    reduced, last = False, -1
    for place in range(order.size):
        dim = order[place]
        tiled = tables.nodes[at[dim], FEWEST] > 1
        if problem.kinds[dim] == REDUCE:
            if ordered and tiled and dim < last:
                return False
            if tiled:
                last = dim
            reduced = reduced or tiled
        elif reduced and tiled:
            return False
    if ordered:
        later = False  # a tiled one after this, in the order of the domain
        for dim in range(at.size - 1, -1, -1):
            if problem.kinds[dim] == REDUCE and problem.extents[dim] > 1:
                if later and tables.nodes[at[dim], LO] > 1:
                    return False
                later = later or tables.nodes[at[dim], FEWEST] > 1
    if not single:
        return True
    output = problem.operands.shape[0] - 1
    first = problem.operands[output, OF_FIRST_AXIS]
    for axis in range(first, first + problem.operands[output, OF_AXES]):
        for column in (LO, LAST):
            span, points = 0, 1
            for dim in range(at.size):
                c = problem.coefficients[axis, dim]
                if c:
                    span += c * (tables.nodes[at[dim], column] - 1)
                    points *= tables.nodes[at[dim], column]
            if span // problem.axes[axis, AXIS_STEP] + 1 != points:
                return False
    return True


@inlined
def loops_of(tables: Tables, roots: Roots, root: int, at: Ints, loops: Ints) -> int:
    """The loops of more than one tile, equals in the order of the domain; how many there are."""
    count = 0
    for position in range(at.size):
        dim = roots.orders[root, position]
        if tables.nodes[at[dim], FEWEST] > 1:
            place = count
            while place > 0 and roots.signatures[loops[place - 1]] == roots.signatures[dim] and loops[place - 1] > dim:
                loops[place] = loops[place - 1]
                place -= 1
            loops[place] = dim
            count += 1
    return count


@inlined
def is_repeated(tables: Tables, roots: Roots, root: int, at: Ints, work: Ints) -> bool:
    """Whether an earlier root of the same dataflow has the same loops, where it is known which are tiled."""
    here, there = work[LOOPS_HERE], work[LOOPS_THERE]
    count = loops_of(tables, roots, root, at, here)
    for other in range(root):
        if roots.dataflows[other] == roots.dataflows[root] and loops_of(tables, roots, other, at, there) == count:
            same = True
            for place in range(count):
                same = same and here[place] == there[place]
            if same:
                return True
    return False


@inlined
def is_settled(tables: Tables, at: Ints) -> bool:
    """Whether it is known which dimensions are tiled."""
    settled = True
    for dim in range(at.size):
        settled = settled and (tables.nodes[at[dim], FEWEST] > 1 or tables.nodes[at[dim], MOST] == 1)
    return settled


@compiled
def permutation(roots: Roots, loops: Ints, count: int, number: int, order: Ints) -> bool:
    """Order `number` of the loops in which equals are exchanged; False where there are no more."""
    place = 0
    while place < count:
        end = place + 1
        while end < count and roots.signatures[loops[end]] == roots.signatures[loops[place]]:
            end += 1
        for each in range(place, end):
            order[each] = loops[each]
        for each in range(place, end):
            left = end - each
            chosen = each + number % left
            number //= left
            dim = order[chosen]
            for moved in range(chosen, each, -1):
                order[moved] = order[moved - 1]
            order[each] = dim
        place = end
    return number == 0


@inlined
def evaluate(
    problem: Problem, tables: Tables, roots: Roots, queue: Queue, best: Best, walk: Walk, place: int, goal: Goal,
    work: Ints,
) -> bool:  # fmt: skip
    """Walk a choice of sizes and copies in every order of its class; False where a walk could not tell: then its sizes
    and order are in `work`, and the cycles are expected as the answer. There is no walk where cycles decide nothing."""
    counters, at, sizes, order = queue.counters, work[NODES], work[SIZES], work[ORDER]
    root, copies = queue.tags[place, ROOT], queue.tags[place, COPIES]
    dataflow = roots.dataflows[root]
    for dim in range(at.size):
        at[dim] = queue.at[place, dim]
        sizes[dim] = tables.nodes[at[dim], LO]
    count = loops_of(tables, roots, root, at, work[LOOPS_HERE])
    number = counters[ASKED_ORDER]
    counters[ASKED_ORDER] = 0
    while permutation(roots, work[LOOPS_HERE], count, number, order):
        for each in range(count, at.size):
            order[each] = -1
        if not goal.timed:
            cycles = queue.cycles[place]
        elif counters[ANSWER] >= 0:
            cycles = counters[ANSWER]
            counters[ANSWER] = -1
        else:
            cycles = walk_cycles(problem, walk, dataflow, sizes, order, copies)
            if cycles == UNKNOWN:
                counters[ASKED_ORDER] = number
                return False
        counters[EVALUATED] += 1
        value = value_of(goal, cycles, queue.energies[place])
        best.walked[dataflow] = min(best.walked[dataflow], value)
        if value < best.value[0]:
            best.value[0] = value
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


@compiled_entry
def advance(
    problem: Problem, tables: Tables, roots: Roots, queue: Queue, best: Best, scratch: Scratch, walk: Walk,
    goal: Goal, bounds: int, steps: int, work: Ints,
) -> int:  # fmt: skip
    """Search until nothing is left below the best (DONE; newest first: until there is a mapping), so many bounds or
    steps of walks have been made (PAUSED), the queue may be too small (FULL) or a walk could not tell (ASKED)."""
    counters, at = queue.counters, work[CHILD]
    operands = problem.operands.shape[0]
    forced = 0  # copies that are pinned to two
    for operand in range(operands):
        if scratch.moved[operand, PINNED] == 2:
            forced |= 1 << operand
    while True:
        worst = best.value[0] * (1 - ROUNDING)
        if counters[ASKED_PLACE] >= 0:
            place = counters[ASKED_PLACE]
            counters[ASKED_PLACE] = -1
        else:
            status = -1
            if counters[STACKED] == 0 and (counters[WAITING] == 0 or queue.values[queue.heap[0]] >= worst):
                status = DONE
            elif counters[BOUNDS] >= bounds or walk.loops[0, 0] >= steps:
                status = PAUSED
            elif counters[NEWEST_FIRST] and best.choice[0] >= 0:
                status = DONE
            elif counters[FREE] < 2 + (1 << operands):
                status = FULL
            if status >= 0:
                wait_all(queue)
                return status
            place = take(queue)
            drop(queue, place)
            if queue.values[place] >= worst:
                dataflow = roots.dataflows[queue.tags[place, ROOT]]
                best.left_out[dataflow] = min(best.left_out[dataflow], queue.values[place])
                continue
        if queue.tags[place, COPIES] != BOX:
            if not evaluate(problem, tables, roots, queue, best, walk, place, goal, work):
                counters[ASKED_PLACE] = place
                return ASKED
            continue
        root, state = queue.tags[place, ROOT], queue.tags[place, STATE]
        dataflow, order = roots.dataflows[root], roots.orders[root]
        for dim in range(at.size):
            at[dim] = queue.at[place, dim]
        # What becomes of an entry: a box with a bound, the halves of a box, or single sizes with each choice of copies.
        cut = widest(tables, at)
        node = at[cut] if cut >= 0 else 0
        by_copies = state != UNBOUNDED and cut < 0
        parts = 1 if state == UNBOUNDED else 1 << operands if by_copies else 2
        base = counters[STACKED]
        free, least, chosen, chosen_energy, chosen_value = 0, -1, 0, 0.0, 0.0
        for part in range(parts):
            settled = state == SETTLED
            if by_copies:
                if part & ~free:
                    continue
            else:
                if parts == 2:
                    at[cut] = tables.nodes[node, LEFT + part]
                if not is_legal(problem, tables, order, at, roots.ordered, widest(tables, at) < 0):
                    continue
                if not settled and is_settled(tables, at):
                    if is_repeated(tables, roots, root, at, work):
                        continue
                    settled = True
            counters[BOUNDS] += 1
            cycles, energy = bound(
                problem, tables, scratch, goal, worst, dataflow, order, at, part if by_copies else ANY_COPIES
            )
            if cycles >= 0:
                value = value_of(goal, cycles, energy)
                if by_copies and not goal.timed:  # copies change nothing of it: those that take the fewest cycles
                    if least < 0 or cycles <= least:
                        least, chosen, chosen_energy, chosen_value = cycles, part, energy, value
                elif value < worst:
                    copies = part | forced if by_copies else BOX
                    child = note(queue, value, cycles, energy, at, root, copies, SETTLED if settled else OPEN)
                    offer(queue, child, base)
                else:
                    best.left_out[dataflow] = min(best.left_out[dataflow], value)
            if by_copies and part == 0:
                for operand in range(operands):
                    if scratch.moved[operand, PINNED] == 0 and scratch.moved[operand, TIMES] > 1:
                        free |= 1 << operand
        if least >= 0 and chosen_value < best.value[0]:
            child = note(queue, chosen_value, least, chosen_energy, at, root, chosen | forced, SETTLED)
            offer(queue, child, base)
