"""When a loop of a walk (passes/map_walk.py) repeats itself, in compiled code: once two states differ by a constant in
all that can still hold up a command, what is left of the loop is that constant over and over.
"""

from __future__ import annotations

from ..ir.compiled import inlined
from .map_plan import (
    BUS_FREE,
    COMPUTED,
    DEPTH,
    DISPATCH,
    LEFT,
    LEFT_WORK,
    LOADED,
    LONG_AGO,
    PERIODS,
    REPEATED,
    STORED,
    STORED_BEFORE,
    UNIT,
    WAITS,
    Walk,
)
from .map_problem import QUEUES, Problem


@inlined
def note_changes(problem: Problem, walk: Walk, loops: int, loop: int, output_depth: int) -> None:
    """The rows of the state that the body of a loop changes, after how many there are."""
    changes = walk.changes[loop]
    storing, loading = loop <= output_depth, False
    for operand in range(problem.relevant.shape[0] - 1):
        loading = loading or walk.loads[operand, DEPTH] >= loop
    count = 0
    for row in range(WAITS + 2 * (loops + 1)):
        changed = row in (DISPATCH, UNIT, COMPUTED)
        if row == BUS_FREE:
            changed = loading or storing
        elif row == LOADED:
            changed = loading
        elif row in (STORED, STORED_BEFORE):
            changed = storing
        elif WAITS <= row <= WAITS + loops:
            changed = row >= WAITS + loop
        elif row > WAITS + loops:
            changed = storing and row >= WAITS + loops + 1 + loop
        if changed:
            count += 1
            changes[count] = row
    changes[0] = count


@inlined
def are_queues_later(problem: Problem, walk: Walk, loop: int, place: int, by: int) -> bool:
    """Whether the queues are those at `place` of the seen states of a loop, later by a constant. What began before the
    dispatcher's time does not hold it up."""
    dispatch, dispatch_then = walk.state[DISPATCH], walk.seen[loop, place, DISPATCH]
    for engine in range(3):
        number, number_then = walk.issued[engine], walk.seen_issued[loop, place, engine]
        if number == number_then:
            continue
        starts, entries = walk.starts[engine], problem.machine[QUEUES + engine]
        if number - number_then + entries > starts.size:  # no longer remembered
            return False
        for each in range(1, entries + 1):
            now, then = starts[(number - each) & (starts.size - 1)], starts[(number_then - each) & (starts.size - 1)]
            if now <= dispatch and then <= dispatch_then:
                break
            if now - then != by:
                return False
    return True


@inlined
def repeat_commands(problem: Problem, walk: Walk, loop: int, place: int, by: int) -> None:
    """The commands that are in the queues which changed since `place` once more, later by a constant: those before
    them stay as they are, as seen states of outer loops are of them."""
    for engine in range(3):
        number, starts, entries = walk.issued[engine], walk.starts[engine], problem.machine[QUEUES + engine]
        if number == walk.seen_issued[loop, place, engine]:
            continue
        for each in range(number, number + entries):
            start = starts[(each - entries) & (starts.size - 1)]
            starts[each & (starts.size - 1)] = start + by if start > LONG_AGO else start
        walk.issued[engine] = number + entries


@inlined
def skip_periods(problem: Problem, walk: Walk, loop: int) -> None:
    """After a repetition of `loop`: if the state is that of an earlier repetition plus a constant, all whole periods
    that are left of the class at once. Times before that of the dispatcher may differ: no command begins before it."""
    state, seen, lags, changes = walk.state, walk.seen[loop], walk.lags[loop], walk.changes[loop]
    repeated, left = walk.loops[loop, REPEATED], walk.loops[loop, LEFT]
    newest, lag, dispatch = repeated % (PERIODS + 1), state[COMPUTED] - state[DISPATCH], state[DISPATCH]
    place = newest
    for period in range(1, min(repeated, PERIODS + 1)):
        place = place - 1 if place > 0 else PERIODS
        if lags[place] != lag:  # they lie side by side, states do not
            continue
        older = seen[place]
        by = dispatch - older[DISPATCH]
        same = True
        for each in range(1, changes[0] + 1):
            now, before = state[changes[each]], older[changes[each]]
            if now - before != by and (now > dispatch or before > older[DISPATCH]):
                same = False
                break
        if same and are_queues_later(problem, walk, loop, place, by):
            skipped = by * (left // period)
            for each in range(1, changes[0] + 1):
                row = changes[each]
                if state[row] > LONG_AGO:
                    state[row] += skipped
            repeat_commands(problem, walk, loop, place, skipped)
            walk.issued[LEFT_WORK] -= (walk.seen_issued[loop, place, LEFT_WORK] - walk.issued[LEFT_WORK]) * (
                left // period
            )
            walk.loops[loop, LEFT] = left % period
            walk.loops[loop, REPEATED] = -(1 << 40)  # what is left is shorter than a period
            return
    older = seen[newest]
    lags[newest] = lag
    for each in range(1, changes[0] + 1):
        older[changes[each]] = state[changes[each]]
    for each in range(LEFT_WORK + 1):
        walk.seen_issued[loop, newest, each] = walk.issued[each]
