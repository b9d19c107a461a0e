"""Cycles of one mapping, exactly, in compiled code: what `backends.cost.nest.cost_nest` counts, some hundred times as
fast. The steps are those of backends/cost/maxplus.py on its vector of times: an iteration after the other, and once two
states of a loop differ by a constant, the rest of the loop at once.

Mappings that need more than a vector of bounded size (many classes of tiles, waits farther than commands can say, long
runs without a period) are answered with UNKNOWN: then `cost_nest` itself is asked.
"""

from __future__ import annotations

from ..ir.compiled import compiled_entry, inlined
from .map_periods import note_changes, skip_periods
from .map_plan import (
    AFTER,
    AFTER_COMPUTE,
    AFTER_STORE,
    AHEAD,
    ALL_WORK,
    AT,
    BEFORE,
    BUS_FREE,
    COMPUTED,
    COMPUTED_FAR,
    DEPTH,
    DISPATCH,
    FINISH,
    IS_COUNTABLE,
    LATEST,
    LEFT,
    LEFT_WORK,
    LOADED,
    NEVER,
    NUMBER_OF_CLASSES,
    PLACE,
    RECORDED,
    REPEATED,
    STEPS,
    STORED,
    STORED_BEFORE,
    STORED_FAR,
    UNIT,
    UNKNOWN,
    WAIT_COMPUTE,
    WAIT_STORE,
    WAITS,
    Walk,
    depth_of,
    plan_loads,
    prepare,
)
from .map_problem import CONFIGURES, DISPATCH_CYCLES, LOAD_LATENCY, QUEUES, STORE_LATENCY, SWITCH, Ints, Problem


@inlined
def issue(problem: Problem, walk: Walk, engine: int, resource: int, ready: int, duration: int, tail: int) -> None:
    """A command (specs/isa.md, section 3) that may start at `ready`."""
    state, machine, starts, number = walk.state, problem.machine, walk.starts[engine], walk.issued[engine]
    leaves_queue = starts[(number - machine[QUEUES + engine]) & (starts.size - 1)]
    dispatched = max(state[DISPATCH] + machine[DISPATCH_CYCLES], leaves_queue)
    state[DISPATCH] = dispatched
    start = max(dispatched, state[resource], ready)
    starts[number & (starts.size - 1)] = start
    walk.issued[engine] = number + 1
    state[resource] = start + duration
    state[LOADED + engine] = max(start + duration + tail, state[LOADED + engine])


@inlined
def entry_at(walk: Walk, table: int, loops: int, row: int) -> int:
    """The duration at the classes in a row of `box`."""
    entry = 0
    for loop in range(1, loops + 1):
        entry += walk.strides[table, loop] * walk.box[row, loop]
    duration: int = walk.tables[table, entry]
    return duration


@inlined
def issue_loads(problem: Problem, walk: Walk, loops: int, place: int, carry: int) -> None:
    """The loads at `place` for the iteration of classes AFTER, which differs from loop `carry` inwards; carry 0: the
    first iteration, at any place."""
    state = walk.state
    for operand in range(problem.relevant.shape[0] - 1):
        load = walk.loads[operand]
        depth = load[DEPTH]
        if depth < carry or (carry > 0 and load[PLACE] != place):
            continue
        ready = NEVER
        if carry > 0:
            if load[WAIT_COMPUTE] == LATEST:
                ready = state[COMPUTED]
            elif load[WAIT_COMPUTE] == RECORDED:
                ready = state[WAITS + depth]
            if load[WAIT_STORE] == LATEST:
                ready = max(ready, state[STORED])
            elif load[WAIT_STORE] == RECORDED:
                ready = max(ready, state[WAITS + loops + 1 + depth])
        duration = entry_at(walk, operand, loops, AFTER)
        issue(problem, walk, 0, BUS_FREE, ready, duration, problem.machine[LOAD_LATENCY])


@inlined
def step(problem: Problem, walk: Walk, loops: int, carry: int, output_depth: int, output_free: int) -> None:
    """The commands of the iteration of classes BEFORE, whose successor differs from it from loop `carry` inwards."""
    state, operands = walk.state, problem.relevant.shape[0]
    ready = state[LOADED]
    if carry:
        issue_loads(problem, walk, loops, AHEAD, carry)
    duration = entry_at(walk, operands, loops, BEFORE)
    entry = 0
    for loop in range(1, loops + 1):
        entry += walk.strides[operands, loop] * walk.box[BEFORE, loop]
    tail = walk.tables[operands + 1, entry]
    issue(problem, walk, 1, UNIT, max(ready, state[output_free]), duration, tail)
    walk.issued[LEFT_WORK] -= duration
    if carry:
        for loop in range(carry, loops + 1):
            state[WAITS + loop] = state[COMPUTED]
        issue_loads(problem, walk, loops, AFTER_COMPUTE, carry)
    if carry <= output_depth:
        state[STORED_BEFORE] = state[STORED]
        duration = entry_at(walk, operands - 1, loops, BEFORE)
        issue(problem, walk, 2, BUS_FREE, state[COMPUTED], duration, problem.machine[STORE_LATENCY])
        if carry:
            for loop in range(carry, loops + 1):
                state[WAITS + loops + 1 + loop] = state[STORED]
    if carry:
        issue_loads(problem, walk, loops, AFTER_STORE, carry)


@inlined
def enter(
    problem: Problem, walk: Walk, loops: int, loop: int, entered: int, output_depth: int, output_free: int
) -> None:
    """From the last iteration of the tile that `loop` is at to the first of its next, of class `entered`."""
    before, after = walk.box[BEFORE], walk.box[AFTER]
    for each in range(1, loops + 1):
        if each < loop:
            before[each] = walk.loops[each, AT]
            after[each] = before[each]
        elif each == loop:
            before[each] = walk.loops[each, AT]
            after[each] = entered
        else:
            before[each] = walk.loops[each, NUMBER_OF_CLASSES] - 1
            after[each] = 0
    step(problem, walk, loops, loop, output_depth, output_free)


@inlined
def walk_cycles(
    problem: Problem, walk: Walk, dataflow: int, sizes: Ints, order: Ints, copies: int, enough: float
) -> int:
    """Cycles of the mapping with tiles of `sizes`, main-memory loops in `order` (those of one tile do not count) and
    two copies of the operands whose bits are set in `copies`; a bound of them that is `enough` or more, once it is
    known; UNKNOWN where the walk cannot tell."""
    machine, state = problem.machine, walk.state
    operands = problem.relevant.shape[0]
    loops = prepare(problem, walk, dataflow, sizes, order)
    if loops == UNKNOWN or not walk.noted[IS_COUNTABLE]:
        return UNKNOWN
    output_depth = depth_of(problem, walk, operands - 1, loops)
    computed, stored = walk.noted[COMPUTED_FAR] > 0, walk.noted[STORED_FAR] > 0
    if not plan_loads(problem, walk, copies, loops, output_depth, computed, stored):
        return UNKNOWN
    output_free = STORED_BEFORE if copies >> (operands - 1) & 1 else STORED
    for row in range(state.size):
        state[row] = NEVER
    for engine in range(3):
        walk.issued[engine] = machine[QUEUES + engine]
        for entry in range(machine[QUEUES + engine]):
            walk.starts[engine, entry] = NEVER
    walk.issued[LEFT_WORK] = walk.noted[ALL_WORK]
    state[BUS_FREE] = 0
    state[UNIT] = 0
    state[DISPATCH] = machine[SWITCH] + machine[DISPATCH_CYCLES] * machine[CONFIGURES]
    for loop in range(1, loops + 1):
        restart(walk, loop)
        note_changes(problem, walk, loops, loop, output_depth)
        walk.box[AFTER, loop] = 0
    issue_loads(problem, walk, loops, AHEAD, 0)
    loop, steps = loops, 0
    while loop > 0:
        row = walk.loops[loop]
        if row[REPEATED] > 0:
            skip_periods(problem, walk, loop)
        entered = row[AT]
        if row[LEFT] > 0:
            row[LEFT] -= 1
            row[REPEATED] += 1
        elif row[AT] + 1 < row[NUMBER_OF_CLASSES]:
            entered += 1
        else:
            loop -= 1
            continue
        enter(problem, walk, loops, loop, entered, output_depth, output_free)
        if entered != row[AT]:
            row[AT] = entered
            row[LEFT] = walk.firsts[loop, entered + 1] - walk.firsts[loop, entered] - 1
            row[REPEATED] = 0
        for each in range(loop + 1, loops + 1):
            restart(walk, each)
        loop = loops
        steps += 1
        if steps > STEPS:
            return UNKNOWN
        least: int = state[UNIT] + walk.issued[LEFT_WORK] + walk.noted[FINISH]
        if least >= enough:
            walk.loops[0, 0] += steps
            return least
    walk.loops[0, 0] += steps
    for each in range(1, loops + 1):
        walk.box[BEFORE, each] = walk.loops[each, NUMBER_OF_CLASSES] - 1
    step(problem, walk, loops, 0, output_depth, output_free)
    last: int = max(state[DISPATCH] + machine[DISPATCH_CYCLES], state[LOADED], state[COMPUTED], state[STORED])
    return last


@inlined
def restart(walk: Walk, loop: int) -> None:
    """A loop at its first tile."""
    row = walk.loops[loop]
    row[AT] = 0
    row[LEFT] = walk.firsts[loop, 1] - walk.firsts[loop, 0] - 1
    row[REPEATED] = 0


@compiled_entry
def cycles_of(
    problem: Problem, walk: Walk, dataflow: int, sizes: Ints, order: Ints, copies: Ints, enough: float
) -> None:
    """`walk_cycles` of each choice of copies, in its place; to be called from Python."""
    for each in range(copies.size):
        copies[each] = walk_cycles(problem, walk, dataflow, sizes, order, copies[each], enough)
