"""The mapper: branch and bound over a declared map space (passes/map_space.py), exact at the leaves.

Boxes of tile sizes have lower bounds of the objective (passes/map_bound.py). What has the lowest is cut in two, until
it is a single mapping, which is walked exactly (passes/map_walk.py), until no bound is below the best mapping: then
that is optimal in its space. After MOST_BOUNDS bounds, MOST_STEPS steps of walks, or MOST_ASKED iterations of mappings
that the cost model was asked about, the search gives up the proof and keeps the best. Where the space was thinned, the
bound is that of what was left out as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from ..backends.cost.module import counted
from ..ir.arch import Arch
from ..ir.clock import clock_s
from ..ir.diagnostics import CompileError, ensure
from ..ir.frozen import dataclass
from ..ir.nest import Dataflow, Nest, Schedule, sum_has_an_order
from . import map_seen
from .map_box import loop_bits, scratch_of
from .map_branch import (
    ASKED,
    BELOW,
    DONE,
    FULL,
    OF_BEST,
    PAUSED,
    Best,
    advance,
    best_of,
)
from .map_goal import goal_of
from .map_objective import objective_floor, objective_of
from .map_orders import ORDER, SIZES, Roots
from .map_plan import UNKNOWN, room
from .map_problem import DATAFLOWS, Problem, problem_of
from .map_queue import (
    ANSWER,
    ASKED_PLACE,
    BOUNDS,
    COPIES,
    EVALUATED,
    ROOT,
    Queue,
    larger,
    left_over,
    queue_of,
    start,
)
from .map_space import MapSpace, space
from .map_tables import kept_tables
from .map_walk import cycles_of
from .mapping import Pin
from .objective import ROUNDING, Objective
from .schedule import make_schedule

MOST_BOUNDS = 4_000_000
MOST_STEPS = 100_000_000
MOST_ASKED = 10_000_000  # iterations of mappings that walks could not tell of, which the cost model counts one by one
DIVE_BOUNDS = 1000  # of the first mapping, whatever the most
BETWEEN_LOOKS = 100_000  # bounds, between looks at the clock: some 20 ms
PLACES, PROBE_PLACES = 1 << 14, 1 << 12  # of the queue, at first, and of that for plunges
REFUSED = 1 << 60  # cycles of a mapping that the cost model refuses to count


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search: the best schedule with its objective, a lower bound of the objective in the whole
    declared space, how many bounds were computed and how many mappings were walked, and for each dataflow the best that
    is known of it: its objective, or (False) a bound over what was looked at.
    `stopped` says that the time limit ended the search before its proof, `exhausted` that the budget did. `listed` of
    `declared` choices of tile sizes and loop orders were looked at. `points` are pJ and cycles of mappings
    of which the objective was counted exactly, as many as were asked for: of those that were walked or, where cycles
    decide nothing, came down to single sizes.
    """

    schedule: Schedule
    objective: float
    lower_bound: float
    bounds: int
    evaluated: int
    by_dataflow: Mapping[Dataflow, tuple[float, bool]]
    stopped: bool
    exhausted: bool
    listed: int
    declared: int
    points: tuple[tuple[float, int], ...] = ()

    @property
    def optimal(self) -> bool:
        return self.lower_bound >= self.objective * (1 - ROUNDING)


def search(
    nest: Nest,
    arch: Arch,
    dataflows: Sequence[Dataflow],
    pin: Pin,
    objective: Objective,
    im2col: str,
    limit: float = float("inf"),
    most_bounds: int = MOST_BOUNDS,
    deadline: float = float("inf"),
    most_points: int = 0,
) -> Found | None:
    """The best mapping of a nest that is not empty; None where nothing fits, or where nothing is below `limit`. With
    `most_points`, an even number, the same in all but that some of what it evaluates is told.

    After the `deadline` (of clock_s) the search ends once there is a mapping, or where there is a `limit`.
    """
    found = space(nest, arch, pin)
    if not all(len(sizes) for sizes in found.sizes):
        return None
    here = _Search(nest, arch, dataflows, pin, objective, im2col, found, limit, most_points)
    stopped = here.run(most_bounds, deadline)
    if here.best.choice[0] < 0:
        return None
    schedule = here.schedule(here.best.sizes, here.best.order, *map(int, here.best.choice[:2]))
    value = objective_of(replace(nest, schedule=schedule), arch, objective)
    claimed = float(here.best.value[OF_BEST])
    ensure(abs(claimed - value) <= ROUNDING * value, f"a mapping of {nest.name!r} costs {value}, not {claimed}")
    floor = min(objective_floor(nest, arch, each, objective) for each in dataflows)
    left = here.least_left()
    least = max(min(left.values()), floor)  # what was not begun has no bound yet
    least = min(value, floor if found.is_thinned else least)  # of what was left out, all that is known is the floor
    return Found(
        schedule=schedule,
        objective=value,
        lower_bound=least,
        bounds=int(here.queue.counters[BOUNDS]),
        evaluated=int(here.queue.counters[EVALUATED]),
        by_dataflow=here.by_dataflow(left),
        stopped=stopped == "time",
        exhausted=stopped == "budget",
        listed=found.listed,
        declared=found.declared,
        points=tuple((energy, cycles) for _, energy, cycles in here.seen()),
    )


class _Search:
    """A search in progress: the arrays that its compiled part reads and writes."""

    def __init__(
        self,
        nest: Nest,
        arch: Arch,
        dataflows: Sequence[Dataflow],
        pin: Pin,
        objective: Objective,
        im2col: str,
        found: MapSpace,
        limit: float,
        most_points: int = 0,
    ) -> None:
        self.nest, self.arch, self.dataflows, self.pin, self.im2col = nest, arch, dataflows, pin, im2col
        self.goal = goal_of(objective)
        if most_points:
            self.goal = self.goal._replace(priced=True)
        self.names = [dim.name for dim in nest.domain]
        self.operands = [access.operand for access in (*nest.reads, nest.write)]
        self.problem: Problem = problem_of(nest, arch, pin.copies)
        self.tables = kept_tables(self.problem, list(found.sizes))
        self.roots = _roots(self.names, dataflows, found, sum_has_an_order(nest), self.problem)
        self.best: Best = best_of(len(self.names), limit, most_points)
        self.scratch, self.walk = scratch_of(self.problem, self.tables), room(self.problem)
        self.work = np.zeros((4, len(self.names)), np.int64)
        self.asked_iterations = 0  # of the mappings that the cost model was asked about
        self.queue: Queue = self._empty_queue()
        self.probe: Queue = self._empty_queue(newest_first=True)

    def run(self, most_bounds: int, deadline: float) -> str:
        """Search; what ended it before its proof: "time", "budget", or nothing."""
        if self.best.value[BELOW] == np.inf:
            self._dive(most_bounds)
        start(self.queue, len(self.roots.dataflows), self.tables.roots[:-1])
        status = PAUSED
        while status != DONE:
            if status != ASKED:  # what was asked for is still to be evaluated
                if self.queue.counters[BOUNDS] >= most_bounds or self.walk.loops[0, 0] >= MOST_STEPS:
                    return "budget"
                if self.best.value[BELOW] < np.inf:
                    if self.asked_iterations >= MOST_ASKED:
                        return "budget"
                    if clock_s() >= deadline:
                        return "time"
            more = 0 if status == ASKED else BETWEEN_LOOKS  # an answer takes as long as many a bound
            status = self._advance(min(most_bounds, int(self.queue.counters[BOUNDS]) + more))
        return ""

    def _dive(self, most_bounds: int) -> None:
        """A first mapping, so that there is one however soon the search ends, and the queue stays short."""
        empty, self.queue = self.queue, self.probe
        start(self.queue, len(self.roots.dataflows), self.tables.roots[:-1])
        while self._advance(max(most_bounds, DIVE_BOUNDS)) in (FULL, ASKED):
            pass
        empty.counters[[BOUNDS, EVALUATED]] = self.queue.counters[[BOUNDS, EVALUATED]]
        self.queue, self.probe = empty, self.queue
        if self.goal.timed:  # what is no worse is still looked for, as after a plunge
            self.best.value[BELOW] *= 1 + 4 * ROUNDING

    def _empty_queue(self, *, newest_first: bool = False) -> Queue:
        fewest_first = not self.goal.timed
        places = PROBE_PLACES if newest_first else PLACES
        return queue_of(len(self.names), places, newest_first=newest_first, fewest_first=fewest_first)

    def _advance(self, bounds: int) -> int:
        """`advance`; then a larger queue, or an answer, if it asks for one: it is to be called again."""
        status: int = advance(
            self.problem, self.tables, self.roots, self.queue, self.probe, self.best, self.scratch, self.walk,
            self.goal, bounds, MOST_STEPS, self.work,
        )  # fmt: skip
        if status == FULL:
            self.queue = larger(self.queue)
        elif status == ASKED:
            place = self.queue.counters[ASKED_PLACE]
            dataflow = self.roots.dataflows[self.queue.tags[place, ROOT]]
            copies = self.queue.tags[place, COPIES]
            schedule = self.schedule(self.work[SIZES], self.work[ORDER], int(dataflow), int(copies))
            self.queue.counters[ANSWER] = self._cycles(schedule)
            sizes = self.work[SIZES].tolist()
            self.asked_iterations += prod(-(-d.extent // size) for d, size in zip(self.nest.domain, sizes, strict=True))
        return status

    def _cycles(self, schedule: Schedule) -> int:
        try:
            return counted(replace(self.nest, schedule=schedule), self.arch).cycles or 0
        except CompileError:
            return REFUSED

    def schedule(self, sizes: np.ndarray, order: np.ndarray, dataflow: int, copies: int) -> Schedule:
        """Loops of one tile are left out, pinned ones are kept as they were written."""
        pinned = [dim for dim, _ in self.pin.tiles]
        chosen = [(self.names[dim], int(sizes[dim])) for dim in order if dim >= 0]
        tiles = [*self.pin.tiles, *((dim, size) for dim, size in chosen if dim not in pinned)]
        named = {operand: 1 + (copies >> number & 1) for number, operand in enumerate(self.operands)}
        return make_schedule(self.nest, self.arch, DATAFLOWS[dataflow], tiles, named, self.im2col)

    def seen(self) -> Iterator[tuple[Schedule, float, int]]:
        """Mappings that were evaluated, each once, with pJ and cycles; what the cost model refuses to count is none."""
        seen, dims = self.best.seen, len(self.names)
        kept = int(seen.state[map_seen.KEPT])
        rows = zip(seen.rows[:kept].tolist(), seen.energy_pj[:kept].tolist(), strict=True)
        for row, energy in {tuple(row): energy for row, energy in rows}.items():
            sizes, order = np.array(row[map_seen.SIZES :]).reshape(2, dims)
            schedule = self.schedule(sizes, order, row[map_seen.DATAFLOW], row[map_seen.COPIES])
            cycles = row[map_seen.CYCLES]
            if cycles == UNKNOWN:
                walked = np.array([row[map_seen.COPIES]])
                cycles_of(self.problem, self.walk, row[map_seen.DATAFLOW], sizes, order, walked, np.inf)
                cycles = self._cycles(schedule) if walked[0] == UNKNOWN else int(walked[0])
            if cycles < REFUSED:
                yield schedule, energy, cycles

    def least_left(self) -> dict[Dataflow, float]:
        """By dataflow the least bound of what is left in the queue, where something is."""
        places = left_over(self.queue)
        by_root = np.full(len(self.roots.dataflows), np.inf)
        np.minimum.at(by_root, self.queue.tags[places, ROOT], self.queue.values[places])
        numbers = [DATAFLOWS.index(each) for each in self.dataflows]
        return {
            each: float(by_root[self.roots.dataflows == number].min(initial=np.inf))
            for each, number in zip(self.dataflows, numbers, strict=True)
        }

    def by_dataflow(self, least_left: Mapping[Dataflow, float]) -> dict[Dataflow, tuple[float, bool]]:
        known = {}
        for dataflow in self.dataflows:
            number = DATAFLOWS.index(dataflow)
            bound, walked = min(least_left[dataflow], self.best.left_out[number]), self.best.walked[number]
            if min(bound, walked) < np.inf:
                known[dataflow] = (float(min(bound, walked)), bool(walked <= bound))
        return known


def _roots(
    names: Sequence[str], dataflows: Sequence[Dataflow], found: MapSpace, ordered: bool, problem: Problem
) -> Roots:
    numbers = [[names.index(dim) for dim in order] for order in found.orders]
    orders = np.array(numbers * len(dataflows), np.uint32).reshape(len(numbers) * len(dataflows), len(names))
    return Roots(
        np.repeat(np.array([DATAFLOWS.index(each) for each in dataflows], np.int64), len(numbers)),
        orders,
        loop_bits(problem, orders.astype(np.int64)),
        np.array([found.signatures[name] for name in names], np.int64),
        ordered,
    )
