"""Cycles of a scheduled nest as a product of max-plus matrices (specs/isa.md, sections 3 and 5), in compiled code.

The machine's clock is a vector of times: dispatch, the bus, the execution unit, the last completions and the starts of
the commands in each queue. A command replaces entries by maxima of entries plus constants, so one step of a nest (the
commands of an iteration) is a matrix over (max, +), and the steps of a loop whose tiles are alike are a power of one
matrix. A loop is first walked with the vector itself: as soon as two states differ by a constant the rest of the run is
known, since max-plus maps commute with adding a constant. Where that does not happen soon, the step is applied to the
unit matrix, which is raised to the power by repeated squaring. Work therefore grows with the loops and the classes of
their tiles, never with the number of tiles.

Recorded waits stand for distances: W[d] is the completion of the last compute before the current version of an operand
whose innermost relevant loop is d, V[d] that of the store. Waits that an earlier command of the same engine implies are
left in, since they change nothing: a compute waits for every load of its own or an earlier iteration, and for the store
of the output version that lay in its buffer, whether or not it is the first of its version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

NEVER = -(1 << 61)  # the time of what has not happened
LONG_AGO = NEVER // 2  # what lies below is NEVER plus durations
HISTORY = 255  # the farthest distance of a wait

# Rows of the state. READY is scratch: what the compute of a step waits for.
DISPATCH, BUS, UNIT, LOADED, COMPUTED, STORED, STORED_BEFORE, READY = range(8)
FIXED_ROWS = 8

# Columns of Plan.commands; the strides of loop k are in column STRIDES + k.
PLACE, DEPTH, EXECUTE_WAIT, STORE_WAIT, OFFSET, STRIDES = range(6)
# When a load is issued, and what it waits for.
AHEAD, AFTER_COMPUTE, AFTER_STORE = range(3)
WAIT_NONE, WAIT_RECORDED, WAIT_HISTORY, WAIT_LATEST = range(4)

# Entries of Plan.figures. QUEUES: first row and entries of each engine's queue; HISTORIES: first rows, or -1.
LOOPS, READS, DISPATCH_CYCLES, LATENCY, OUTPUT_DEPTH, OUTPUT_FREE, PATIENCE, QUEUES = range(8)
HISTORIES = QUEUES + 6
FIGURES = HISTORIES + 2

# Where the walk of a loop stands: at the next class of tiles; in a run, repeating; after a repetition of the vector,
# to be compared with earlier ones; after the matrix of a repetition was made.
NEXT_CLASS, REPEAT, COMPARE, RAISE = range(4)
# Columns of the walk's stack, one row a loop.
CLASS, FOLLOWING, STAGE, LEFT, DONE, FIRST, BEFORE, STACK = range(8)
LONGEST_PERIOD = 32


def _compiled(function: Function, **options: bool) -> Any:
    njit: Any = numba.njit
    try:
        return njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    except RuntimeError:  # no folder for compiled code is writable: compile it every time
        return njit(nogil=True, error_model="numpy", **options)(function)


def _entry(function: Function) -> Function:
    """Compiled, to be called from Python."""
    result: Function = _compiled(function)
    return result


def _inner(function: Function) -> Function:
    """Compiled, for calls from compiled functions only, and once: not again for every constant that a caller passes."""
    result = _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    template = result.get_call_template
    unliteral: Any = numba.types.unliteral

    def without_literals(arguments: Any, keywords: Any) -> Any:
        return template([unliteral(each) for each in arguments], keywords)

    result.get_call_template = without_literals
    compiled: Function = result
    return compiled


class Plan(NamedTuple):
    """A nest as the kernel sees it. Loops are those with more than one tile, numbered from 1, the outermost first.

    `lengths[k]` has the number of classes of loop k, then the tiles of each in order. `commands` has a row for each
    read, then for the duration and the tail of the compute and the duration of the store; their tables over the classes
    lie in `durations`. `records[0, d]` and `records[1, d]` are the rows of W[d] and V[d], -1 without. `live[k]` marks
    the rows that the body of loop k changes.
    """

    figures: Ints
    lengths: Ints
    commands: Ints
    durations: Ints
    records: Ints
    live: Ints


@_inner
def _issue(
    state: Ints, plan: Plan, engine: int, resource: int, waits: tuple[int, int], duration: int, tail: int
) -> None:
    """A command: dispatched when its queue has room, started when `resource` and the rows in `waits` allow it (row
    DISPATCH: no wait), completed in order."""
    first = plan.figures[QUEUES + 2 * engine]
    last = first + plan.figures[QUEUES + 2 * engine + 1] - 1
    completed = LOADED + engine
    for column in range(state.shape[1]):
        start = max(state[DISPATCH, column] + plan.figures[DISPATCH_CYCLES], state[first, column])
        state[DISPATCH, column] = start
        start = max(start, state[resource, column], state[waits[0], column], state[waits[1], column])
        for row in range(first, last):
            state[row, column] = state[row + 1, column]
        state[last, column] = start
        state[resource, column] = start + duration
        state[completed, column] = max(start + duration + tail, state[completed, column])


@_inner
def _copy_row(state: Ints, target: int, source: int) -> None:
    for column in range(state.shape[1]):
        state[target, column] = state[source, column]


@_inner
def _remember(state: Ints, plan: Plan, kind: int, carry: int, source: int) -> None:
    """Row `source` is the newest completion: into the history, and to the versions that end with this iteration."""
    first = plan.figures[HISTORIES + kind]
    if first >= 0:
        for row in range(first, first + HISTORY - 1):
            _copy_row(state, row, row + 1)
        _copy_row(state, first + HISTORY - 1, source)
    if carry > 0:
        for depth in range(carry, plan.records.shape[1]):
            if plan.records[kind, depth] >= 0:
                _copy_row(state, plan.records[kind, depth], source)


@_inner
def _duration(plan: Plan, command: int, stack: Ints, column: int) -> int:
    """Entry of the command's table at the classes in a column of the stack."""
    at = plan.commands[command, OFFSET]
    for loop in range(1, plan.figures[LOOPS] + 1):
        at += plan.commands[command, STRIDES + loop] * stack[loop, column]
    duration: int = plan.durations[at]
    return duration


@_inner
def _wait_row(plan: Plan, wait: int, kind: int, depth: int, unused: bool) -> int:
    row: int = DISPATCH
    if wait == WAIT_LATEST:
        row = COMPUTED + kind
    elif wait == WAIT_RECORDED:
        row = plan.records[kind, depth]
    elif wait == WAIT_HISTORY and not unused:
        row = plan.figures[HISTORIES + kind]
    return row


@_inner
def _loads(state: Ints, plan: Plan, place: int, stack: Ints, carry: int, first: bool) -> None:
    """The loads that are issued at `place` for an iteration that differs from the one before from loop `carry` inwards;
    carry 0: for iteration 0, at any place."""
    for read in range(plan.figures[READS]):
        depth = plan.commands[read, DEPTH]
        if depth < carry or (carry > 0 and plan.commands[read, PLACE] != place):
            continue
        compute_row = store_row = DISPATCH
        if carry > 0:
            # The first version after that of iteration 0 fills a copy that nobody has used.
            unused = first and carry == depth
            compute_row = _wait_row(plan, plan.commands[read, EXECUTE_WAIT], 0, depth, unused)
            store_row = _wait_row(plan, plan.commands[read, STORE_WAIT], 1, depth, unused)
        duration = _duration(plan, read, stack, FOLLOWING)
        _issue(state, plan, 0, BUS, (compute_row, store_row), duration, plan.figures[LATENCY])


@_inner
def _step(state: Ints, plan: Plan, carry: int, stack: Ints, first: bool) -> None:
    """The commands of the iteration at classes BEFORE, whose successor, at classes FOLLOWING, differs from it from loop
    `carry` inwards; carry 0: it is the last."""
    reads = plan.figures[READS]
    # What the compute needs has been issued before the loads of the next iteration.
    _copy_row(state, READY, LOADED)
    for place in range(AHEAD, AFTER_STORE + 1):
        if carry > 0:
            _loads(state, plan, place, stack, carry, first)
        if place == AHEAD:
            duration, tail = _duration(plan, reads, stack, BEFORE), _duration(plan, reads + 1, stack, BEFORE)
            _issue(state, plan, 1, UNIT, (READY, plan.figures[OUTPUT_FREE]), duration, tail)
            _remember(state, plan, 0, carry, COMPUTED)
        elif place == AFTER_COMPUTE and carry <= plan.figures[OUTPUT_DEPTH]:
            _copy_row(state, STORED_BEFORE, STORED)
            duration = _duration(plan, reads + 2, stack, BEFORE)
            _issue(state, plan, 2, BUS, (COMPUTED, DISPATCH), duration, plan.figures[LATENCY])
            _remember(state, plan, 1, carry, STORED)


@_inner
def _enter(state: Ints, plan: Plan, loop: int, left: int, entered: int, stack: Ints, first: bool, work: Ints) -> None:
    """The step from the last iteration of a tile of class `left` of loop `loop` to the first of one of `entered`."""
    for each in range(1, plan.figures[LOOPS] + 1):
        stack[each, BEFORE] = stack[each, FOLLOWING] = stack[each, CLASS]
        if each > loop:
            stack[each, BEFORE] = plan.lengths[each, 0] - 1
            stack[each, FOLLOWING] = 0
    stack[loop, BEFORE], stack[loop, FOLLOWING] = left, entered
    _step(state, plan, loop, stack, first)
    work[0] += state.shape[1]


@_inner
def _multiply(left: Ints, right: Ints, result: Ints) -> None:
    """The max-plus product: entry (i, j) is the maximum over k of left[i, k] + right[k, j]."""
    for i in range(left.shape[0]):
        for j in range(right.shape[1]):
            result[i, j] = NEVER
        for k in range(left.shape[1]):
            if left[i, k] > LONG_AGO:
                for j in range(right.shape[1]):
                    if right[k, j] > LONG_AGO:
                        result[i, j] = max(result[i, j], left[i, k] + right[k, j])


@_inner
def _apply_power(matrices: Ints, top: int, exponent: int, state: Ints, spare: Ints, work: Ints) -> None:
    """Apply matrix `top` to `state` `exponent` times. Matrices above it and `spare` are scratch."""
    matrix, square = matrices[top], matrices[top + 1]
    while exponent:
        if exponent & 1:
            _multiply(matrix, state, spare)
            work[1] += 1
            for row in range(state.shape[0]):
                for column in range(state.shape[1]):
                    state[row, column] = spare[row, column]
        exponent >>= 1
        if exponent:
            _multiply(matrix, matrix, square)
            work[1] += 1
            matrix, square = square, matrix


@_inner
def _shift(state: Ints, live: Ints, seen: Ints, at: int) -> int:
    """The constant by which the live rows of `state` exceed what was seen, or -1."""
    by: int = state[DISPATCH, 0] - seen[at, DISPATCH]
    if state[COMPUTED, 0] - seen[at, COMPUTED] != by:
        return -1
    for row in range(state.shape[0]):
        if live[row]:
            if seen[at, row] > LONG_AGO:
                if state[row, 0] - seen[at, row] != by:
                    return -1
            elif state[row, 0] > LONG_AGO:
                return -1
    return by


@_inner
def _extrapolate(state: Ints, live: Ints, seen: Ints, done: int, left: int) -> int:
    """If the states after `done` repetitions and some before differ by a constant, skip whole periods of the `left`
    that remain. Returns what remains, -1 - it where periods were found.

    The first repetition is left out: in it waits for what happened before the run may still have been felt.
    """
    for period in range(1, min(done - 1, LONGEST_PERIOD) + 1):
        by = _shift(state, live, seen, done - period)
        if by >= 0:
            for row in range(state.shape[0]):
                if live[row] and state[row, 0] > LONG_AGO:
                    state[row, 0] += by * (left // period)
            return -1 - left % period
    return left


@_entry
def walk(state: Ints, plan: Plan, matrices: Ints, spare: Ints, seen: Ints, stack: Ints, work: Ints) -> None:
    """From the loads of iteration 0 to the store of the last, on the vector `state`.

    A recursion over the loops, written with a stack of its own (compiled recursion cannot be cached). Every loop
    repeats, per class of its tiles: the step to the next tile, then all iterations of the loops inside. The loops work
    on the vector or, where a matrix is being made, on the topmost of `matrices`, square. `seen` has room for the
    vectors of PATIENCE + 1 repetitions a loop, `spare` for a matrix, `stack` starts as zeros. `work` counts columns
    stepped and matrix products.
    """
    loops, patience = plan.figures[LOOPS], plan.figures[PATIENCE]
    _loads(state, plan, AHEAD, stack, 0, False)
    top = -1
    loop = 1
    stack[1, FIRST] = 1
    while loop > 0:
        if loop > loops:
            loop -= 1
            continue
        at = stack[loop]
        current = state if top < 0 else matrices[top]
        if at[STAGE] == NEXT_CLASS:
            if at[DONE] < 0:  # all classes are done
                loop -= 1
                continue
            at[STAGE] = REPEAT
            at[LEFT] = plan.lengths[loop, 1 + at[CLASS]] - 1
            at[DONE] = 0
            stack[loop + 1, FIRST] = at[FIRST] * (at[CLASS] == 0)
        else:
            if at[STAGE] == COMPARE:
                at[DONE] += 1
                at[LEFT] -= 1
                for row in range(state.shape[0]):
                    seen[loop, at[DONE], row] = state[row, 0]
                left = _extrapolate(state, plan.live[loop], seen[loop], at[DONE], at[LEFT])
                if left < 0:
                    at[DONE], left = patience, -1 - left
                at[LEFT] = left
            elif at[STAGE] == RAISE:
                below = state if top == 0 else matrices[top - 1]
                _apply_power(matrices, top, at[LEFT], below, spare, work)
                at[LEFT] = 0
                top -= 1
                current = below
            at[STAGE] = REPEAT
            if at[LEFT] == 0:
                at[STAGE] = NEXT_CLASS
                if at[CLASS] + 1 == plan.lengths[loop, 0]:
                    at[DONE] = -1
                else:
                    first = at[FIRST] == 1 and at[CLASS] == 0
                    _enter(current, plan, loop, at[CLASS], at[CLASS] + 1, stack, first, work)
                    at[CLASS] += 1
                    at[DONE] = 0
                continue
            if top < 0 and at[DONE] < patience:
                at[STAGE] = COMPARE
            elif at[LEFT] > (2 * state.shape[0] if top < 0 else 64):
                at[STAGE] = RAISE
                top += 1
                current = matrices[top]
                for row in range(state.shape[0]):
                    for column in range(state.shape[0]):
                        current[row, column] = 0 if row == column else NEVER
            else:
                at[LEFT] -= 1
            _enter(current, plan, loop, at[CLASS], at[CLASS], stack, False, work)
            stack[loop + 1, FIRST] = 0
        loop += 1
        stack[loop, STAGE] = NEXT_CLASS
        stack[loop, CLASS] = 0
        stack[loop, DONE] = 0
    for each in range(1, loops + 1):
        stack[each, BEFORE] = plan.lengths[each, 0] - 1
    _step(state, plan, 0, stack, False)
    work[0] += 1


def cycles(plan: Plan, configures: int, work: Ints) -> int:
    """Cycles from the fence before the nest to its own. `work` counts columns stepped and matrix products."""
    loops, dispatch = int(plan.figures[LOOPS]), int(plan.figures[DISPATCH_CYCLES])
    rows = plan.live.shape[1]
    state = np.full((rows, 1), NEVER, np.int64)
    state[: UNIT + 1] = 0
    state[DISPATCH] = dispatch * configures
    matrices = np.empty((loops + 2, rows, rows), np.int64)
    seen = np.empty((loops + 1, int(plan.figures[PATIENCE]) + 1, rows), np.int64)
    walk(state, plan, matrices, np.empty((rows, rows), np.int64), seen, np.zeros((loops + 2, STACK), np.int64), work)
    return int(max(state[DISPATCH, 0] + dispatch, *state[[LOADED, COMPUTED, STORED], 0]))
