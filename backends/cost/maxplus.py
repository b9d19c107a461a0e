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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass

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

# When a load is issued, and what it waits for.
AHEAD, AFTER_COMPUTE, AFTER_STORE = range(3)
WAIT_NONE, WAIT_RECORDED, WAIT_HISTORY, WAIT_LATEST = range(4)

LONGEST_PERIOD = 32
SHORT_RUN = 64  # repetitions that are applied to a matrix one by one


@dataclass(frozen=True, slots=True)
class Durations:
    """Cycles of a command over the classes of the loops' tiles: a class of loop k further is `strides[k]` entries."""

    cycles: list[int]
    strides: list[int]

    def at(self, classes: list[int]) -> int:
        """The entry at the class of each loop, from 1."""
        entry = 0
        for stride, number in zip(self.strides, classes, strict=True):
            entry += stride * number
        return self.cycles[entry]


@dataclass(frozen=True, slots=True)
class Load:
    """The loads of one operand: where among the commands of an iteration, and what they wait for (a compute, a store).
    `depth` is the innermost loop that matters to the operand."""

    place: int
    depth: int
    waits: tuple[int, int]
    durations: Durations


@dataclass(frozen=True, slots=True)
class Plan:
    """A nest as the walk sees it. Loops are those with more than one tile, numbered from 1, the outermost first.

    `lengths[k]` has the tiles of each class of loop k, in order. `tails` are the cycles from the end of a compute until
    its results are there. The state has `rows` rows: `queues` are the first row and the entries of each engine's queue;
    `records[0][d]` and `records[1][d]` are the rows of W[d] and V[d], `histories` the first rows of the last
    completions of computes and of stores, -1 without; `store_resource` is the row of what stores hold. `patience` is
    how many repetitions of a loop are walked with the vector before a matrix is made.
    """

    dispatch_cycles: int
    load_latency_cycles: int
    lengths: list[list[int]]
    loads: list[Load]
    computes: Durations
    tails: Durations
    stores: Durations
    store_resource: int
    store_latency_cycles: int
    output_depth: int
    output_free: int
    queues: list[tuple[int, int]]
    records: list[list[int]]
    histories: list[int]
    rows: int
    patience: int

    def changed_rows(self, loop: int) -> list[int]:
        """The rows of the state that the body of a loop changes."""
        loading, storing = any(load.depth >= loop for load in self.loads), loop <= self.output_depth
        rows = [DISPATCH, UNIT, COMPUTED]
        if loading:
            rows += [BUS, LOADED]
        if storing:
            rows += [STORED, STORED_BEFORE]
            rows += [self.store_resource] if self.store_resource not in rows else []
        for (first, entries), active in zip(self.queues, (loading, True, storing), strict=True):
            if active:
                rows += range(first, first + entries)
        for first, record, active in zip(self.histories, self.records, (True, storing), strict=True):
            if active:
                rows += range(first, first + HISTORY) if first >= 0 else ()
                rows += [row for row in record[loop:] if row >= 0]
        return rows


class Walk:
    """From the loads of iteration 0 to the store of the last.

    Every loop repeats, per class of its tiles: the step to the next tile, then all iterations of the loops inside. The
    loops work on the vector or, where a matrix is being made, on that. `at` is the class of each loop, from 1.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lengths = plan.lengths
        self.loops = len(plan.lengths) - 1
        self.changed = [plan.changed_rows(loop) for loop in range(self.loops + 1)]
        # Those that are issued at a place for an iteration that differs from loop `carry` inwards; 0: the first.
        self.loads = [
            [
                [each for each in plan.loads if carry == 0 or (each.depth >= carry and each.place == place)]
                for carry in range(self.loops + 1)
            ]
            for place in (AHEAD, AFTER_COMPUTE, AFTER_STORE)
        ]
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
        patience = self.plan.patience if vector else 0
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
                    for row in self.changed[loop]:
                        if state[row] > LONG_AGO:
                            state[row] += by * (left // period)
                    left, patience = left % period, 0
            elif left > (2 * self.plan.rows if vector else SHORT_RUN):
                matrix = list(np.where(np.eye(self.plan.rows, dtype=bool), 0, NEVER).astype(np.int64))
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
                for row in self.changed[loop]
            ):
                return period, by
        return 0, 0

    def _applied(self, matrix: Ints, exponent: int, state: Rows, vector: bool) -> Rows:
        """`state` after `exponent` times `matrix`."""
        result = np.array(state, np.int64).reshape(self.plan.rows, -1)
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
        plan = self.plan
        # What the compute needs has been issued before the loads of the next iteration.
        state[READY] = state[LOADED]
        if carry:
            self._loads(state, most, AHEAD, following, carry, first)
        duration, tail = plan.computes.at(before), plan.tails.at(before)
        self._issue(state, most, 1, UNIT, (READY, plan.output_free), duration, tail)
        self._remember(state, 0, carry, COMPUTED)
        if carry:
            self._loads(state, most, AFTER_COMPUTE, following, carry, first)
        if carry <= plan.output_depth:
            state[STORED_BEFORE] = state[STORED]
            waits, duration = (COMPUTED, DISPATCH), plan.stores.at(before)
            self._issue(state, most, 2, plan.store_resource, waits, duration, plan.store_latency_cycles)
            self._remember(state, 1, carry, STORED)
        if carry:
            self._loads(state, most, AFTER_STORE, following, carry, first)

    def _loads(self, state: Rows, most: Most, place: int, following: list[int], carry: int, first: bool) -> None:
        """The loads that are issued at `place` for an iteration that differs from the one before from loop `carry`
        inwards; carry 0: for iteration 0, at any place."""
        for load in self.loads[place][carry]:
            waits = (DISPATCH, DISPATCH)
            if carry > 0:
                # The first version after that of iteration 0 fills a copy that nobody has used.
                unused = first and carry == load.depth
                waits = (self._wait_row(load, 0, unused), self._wait_row(load, 1, unused))
            duration = load.durations.at(following)
            self._issue(state, most, 0, BUS, waits, duration, self.plan.load_latency_cycles)

    def _issue(
        self, state: Rows, most: Most, engine: int, resource: int, waits: tuple[int, int], duration: int, tail: int
    ) -> None:
        """A command: dispatched when its queue has room, started when `resource` and the rows in `waits` allow it (row
        DISPATCH: no wait), completed in order."""
        first, entries = self.plan.queues[engine]
        last = first + entries - 1
        completed = LOADED + engine
        dispatched = most((state[DISPATCH] + self.plan.dispatch_cycles, state[first]))
        state[DISPATCH] = dispatched
        start = most((dispatched, state[resource], state[waits[0]], state[waits[1]]))
        state[first:last] = state[first + 1 : last + 1]
        state[last] = start
        state[resource] = start + duration
        state[completed] = most((start + (duration + tail), state[completed]))

    def _remember(self, state: Rows, kind: int, carry: int, source: int) -> None:
        """Row `source` is the newest completion: into the history, and to the versions that end with this iteration."""
        newest = state[source]
        first = self.plan.histories[kind]
        if first >= 0:
            state[first : first + HISTORY] = [*state[first + 1 : first + HISTORY], newest]
        if carry > 0:
            for row in self.plan.records[kind][carry:]:
                if row >= 0:
                    state[row] = newest

    def _wait_row(self, load: Load, kind: int, unused: bool) -> int:
        wait = load.waits[kind]
        if wait == WAIT_LATEST:
            return COMPUTED + kind
        if wait == WAIT_RECORDED:
            return self.plan.records[kind][load.depth]
        if wait == WAIT_HISTORY and not unused:
            return self.plan.histories[kind]
        return DISPATCH


def cycles(plan: Plan, configured_cycles: int) -> int:
    """Cycles from the fence before the nest to its own, whose configuration takes `configured_cycles`."""
    state: Rows = [NEVER] * plan.rows
    state[: UNIT + 1] = [0] * (UNIT + 1)
    state[DISPATCH] = configured_cycles
    Walk(plan).run(state)
    return int(max(state[DISPATCH] + plan.dispatch_cycles, state[LOADED], state[COMPUTED], state[STORED]))
