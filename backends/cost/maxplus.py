"""Cycles of a scheduled nest as a product of max-plus matrices (specs/isa.md, sections 3 and 5).

The machine's clock is a vector of times: dispatch, the bus, the execution unit, the last completions and the starts of
the commands in each queue. A command replaces entries by maxima of entries plus constants, so one step of a nest (the
commands of an iteration) is a matrix over (max, +), and the steps of a loop whose tiles are alike are a power of one
matrix. A loop is first walked with the vector itself: as soon as two states differ by a constant the rest of the run is
known, since max-plus maps commute with adding a constant. Where that does not happen soon, the step is applied to the
unit matrix, which is raised to the power by repeated squaring. Work therefore grows with the loops and the classes of
their tiles, never with the number of tiles. It is little (some forty steps a nest of a convolutional network), so that
plain Python takes less time than loading a compiler would.

Recorded waits stand for distances: W[d] is the completion of the last compute before the current version of an operand
whose innermost relevant loop is d, V[d] that of the store. Waits that an earlier command of the same engine implies are
left in, since they change nothing: a compute waits for every load of its own or an earlier iteration, and for the store
of the output version that lay in its buffer, whether or not it is the first of its version.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
# The state: a list of rows, each a time (an int: the vector) or an array of times (a row of a matrix), never changed in
# place. `Most` is the maximum of several rows: `max`, or that of arrays.
Rows = list[Any]
Most = Callable[[tuple[Any, ...]], Any]

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

LONGEST_PERIOD = 32
SHORT_RUN = 64  # repetitions that are applied to a matrix one by one


class Plan(NamedTuple):
    """A nest as the walk sees it. Loops are those with more than one tile, numbered from 1, the outermost first.

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


class Walk:
    """From the loads of iteration 0 to the store of the last.

    Every loop repeats, per class of its tiles: the step to the next tile, then all iterations of the loops inside. The
    loops work on the vector or, where a matrix is being made, on that. `at` is the class of each loop, from 1.
    """

    def __init__(self, plan: Plan) -> None:
        figures: list[int] = plan.figures.tolist()
        self.figures = figures
        self.loops, self.reads = figures[LOOPS], figures[READS]
        self.lengths: list[list[int]] = [row[1 : 1 + row[0]] for row in plan.lengths.tolist()]
        self.commands: list[list[int]] = plan.commands.tolist()
        self.durations: list[int] = plan.durations.tolist()
        self.records: list[list[int]] = plan.records.tolist()
        self.live = [np.flatnonzero(row).tolist() for row in plan.live]
        self.rows = plan.live.shape[1]
        self.at = [0] * (self.loops + 1)

    def run(self, state: Rows) -> None:
        """All of the nest, on the vector."""
        self._loads(state, max, AHEAD, self.at, 0, False)
        self._loop(state, max, 1, True)
        self._step(state, max, 0, [len(each) - 1 for each in self.lengths], self.at, False)

    # -- loops ------------------------------------------------------------------------------------------------------

    def _loop(self, state: Rows, most: Most, loop: int, first: bool) -> None:
        """All iterations of loop number `loop` and those inside, but for the step into the first; `first`: no
        iteration of it has been before."""
        if loop > self.loops:
            return
        for number, length in enumerate(self.lengths[loop]):
            if number:
                self._enter(state, most, loop, number - 1, number, first and number == 1)
            self.at[loop] = number
            self._loop(state, most, loop + 1, first and number == 0)
            self._repeat(state, most, loop, number, length - 1)

    def _once(self, state: Rows, most: Most, loop: int, number: int) -> None:
        """From the end of one tile of class `number` to the end of the next."""
        self._enter(state, most, loop, number, number, False)
        self.at[loop] = number
        self._loop(state, most, loop + 1, False)

    def _enter(self, state: Rows, most: Most, loop: int, left: int, entered: int, first: bool) -> None:
        """The step from the last iteration of a tile of class `left` of `loop` to the first of one of `entered`."""
        outside, inside = self.at[:loop], self.lengths[loop + 1 :]
        before = [*outside, left, *(len(each) - 1 for each in inside)]
        following = [*outside, entered, *(0 for _ in inside)]
        self._step(state, most, loop, before, following, first)

    def _repeat(self, state: Rows, most: Most, loop: int, number: int, left: int) -> None:
        """`left` more tiles of class `number`."""
        vector = most is max
        patience = self.figures[PATIENCE] if vector else 0
        seen: deque[Rows] = deque(maxlen=LONGEST_PERIOD + 1)
        while left:
            if patience:
                patience -= 1
                left -= 1
                self._once(state, most, loop, number)
                # The first repetition counts only from here: in it waits for what was before may still have been felt.
                seen.appendleft(list(state))
                period, by = self._period(loop, seen)
                if period:
                    for row in self.live[loop]:
                        if state[row] > LONG_AGO:
                            state[row] += by * (left // period)
                    left, patience = left % period, 0
            elif left > (2 * self.rows if vector else SHORT_RUN):
                matrix = list(np.where(np.eye(self.rows, dtype=bool), 0, NEVER).astype(np.int64))
                self._once(matrix, np.maximum.reduce, loop, number)
                state[:] = self._applied(np.array(matrix), left, state, vector)
                left = 0
            else:
                left -= 1
                self._once(state, most, loop, number)

    def _period(self, loop: int, seen: deque[Rows]) -> tuple[int, int]:
        """After how many repetitions the newest of the states `seen` (the newest first) is an older one plus a
        constant, and that constant; 0 where it is none."""
        state = seen[0]
        for period in range(1, len(seen)):
            older = seen[period]
            by = state[DISPATCH] - older[DISPATCH]
            if state[COMPUTED] - older[COMPUTED] == by and all(
                state[row] - older[row] == by if older[row] > LONG_AGO else state[row] <= LONG_AGO
                for row in self.live[loop]
            ):
                return period, by
        return 0, 0

    def _applied(self, matrix: Ints, exponent: int, state: Rows, vector: bool) -> Rows:
        """`state` after `exponent` times `matrix`."""
        result = np.array(state, np.int64).reshape(self.rows, -1)
        while True:
            if exponent & 1:
                result = self._multiply(matrix, result)
            exponent >>= 1
            if not exponent:
                break
            matrix = self._multiply(matrix, matrix)
        return result[:, 0].tolist() if vector else list(result)

    def _multiply(self, left: Ints, right: Ints) -> Ints:
        """The max-plus product: entry (i, j) is the maximum over k of left[i, k] + right[k, j]."""
        result = np.full((left.shape[0], right.shape[1]), NEVER, np.int64)
        for number, row in enumerate(left):
            happened = np.flatnonzero(row > LONG_AGO)
            if len(happened):
                result[number] = (row[happened, None] + right[happened]).max(axis=0)
        result[result <= LONG_AGO] = NEVER
        return result

    # -- one iteration ----------------------------------------------------------------------------------------------

    def _step(self, state: Rows, most: Most, carry: int, before: list[int], following: list[int], first: bool) -> None:
        """The commands of the iteration at classes `before`, whose successor, at classes `following`, differs from it
        from loop `carry` inwards; carry 0: it is the last."""
        figures, reads = self.figures, self.reads
        # What the compute needs has been issued before the loads of the next iteration.
        state[READY] = state[LOADED]
        if carry:
            self._loads(state, most, AHEAD, following, carry, first)
        duration, tail = self._duration(reads, before), self._duration(reads + 1, before)
        self._issue(state, most, 1, UNIT, (READY, figures[OUTPUT_FREE]), duration, tail)
        self._remember(state, 0, carry, COMPUTED)
        if carry:
            self._loads(state, most, AFTER_COMPUTE, following, carry, first)
        if carry <= figures[OUTPUT_DEPTH]:
            state[STORED_BEFORE] = state[STORED]
            duration = self._duration(reads + 2, before)
            self._issue(state, most, 2, BUS, (COMPUTED, DISPATCH), duration, figures[LATENCY])
            self._remember(state, 1, carry, STORED)
        if carry:
            self._loads(state, most, AFTER_STORE, following, carry, first)

    def _loads(self, state: Rows, most: Most, place: int, following: list[int], carry: int, first: bool) -> None:
        """The loads that are issued at `place` for an iteration that differs from the one before from loop `carry`
        inwards; carry 0: for iteration 0, at any place."""
        for read in range(self.reads):
            command = self.commands[read]
            depth = command[DEPTH]
            if depth < carry or (carry > 0 and command[PLACE] != place):
                continue
            waits = (DISPATCH, DISPATCH)
            if carry > 0:
                # The first version after that of iteration 0 fills a copy that nobody has used.
                unused = first and carry == depth
                waits = (
                    self._wait_row(command[EXECUTE_WAIT], 0, depth, unused),
                    self._wait_row(command[STORE_WAIT], 1, depth, unused),
                )
            self._issue(state, most, 0, BUS, waits, self._duration(read, following), self.figures[LATENCY])

    def _issue(
        self, state: Rows, most: Most, engine: int, resource: int, waits: tuple[int, int], duration: int, tail: int
    ) -> None:
        """A command: dispatched when its queue has room, started when `resource` and the rows in `waits` allow it (row
        DISPATCH: no wait), completed in order."""
        first, entries = self.figures[QUEUES + 2 * engine : QUEUES + 2 * engine + 2]
        last = first + entries - 1
        completed = LOADED + engine
        dispatched = most((state[DISPATCH] + self.figures[DISPATCH_CYCLES], state[first]))
        state[DISPATCH] = dispatched
        start = most((dispatched, state[resource], state[waits[0]], state[waits[1]]))
        state[first:last] = state[first + 1 : last + 1]
        state[last] = start
        state[resource] = start + duration
        state[completed] = most((start + (duration + tail), state[completed]))

    def _remember(self, state: Rows, kind: int, carry: int, source: int) -> None:
        """Row `source` is the newest completion: into the history, and to the versions that end with this iteration."""
        newest = state[source]
        first = self.figures[HISTORIES + kind]
        if first >= 0:
            state[first : first + HISTORY] = [*state[first + 1 : first + HISTORY], newest]
        if carry > 0:
            for row in self.records[kind][carry:]:
                if row >= 0:
                    state[row] = newest

    def _duration(self, command: int, classes: list[int]) -> int:
        """Entry of the command's table at the classes of the loops."""
        figures = self.commands[command]
        at = figures[OFFSET]
        for loop in range(1, self.loops + 1):
            at += figures[STRIDES + loop] * classes[loop]
        return self.durations[at]

    def _wait_row(self, wait: int, kind: int, depth: int, unused: bool) -> int:
        if wait == WAIT_LATEST:
            return COMPUTED + kind
        if wait == WAIT_RECORDED:
            return self.records[kind][depth]
        if wait == WAIT_HISTORY and not unused:
            return self.figures[HISTORIES + kind]
        return DISPATCH


def cycles(plan: Plan, configures: int) -> int:
    """Cycles from the fence before the nest to its own, for `configures` configuration commands."""
    dispatch = int(plan.figures[DISPATCH_CYCLES])
    state: Rows = [NEVER] * plan.live.shape[1]
    state[: UNIT + 1] = [0] * (UNIT + 1)
    state[DISPATCH] = dispatch * configures
    Walk(plan).run(state)
    return int(max(state[DISPATCH] + dispatch, state[LOADED], state[COMPUTED], state[STORED]))
