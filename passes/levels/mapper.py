"""The mapper of machines with levels inside the array: the best loop tree of a workload, with a certificate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from ...backends.cost.levels.cost import LevelCost, cost
from ...ir.hierarchy import FanOut, Hierarchy
from ...ir.loop_tree import LoopTree, Workload
from .figures import figures_of
from .search import ROUNDING, Best, search_of
from .space import Frame, Pin, Slot, frames

OBJECTIVES = ("energy", "latency", "edp")


@dataclass(frozen=True, slots=True)
class LevelMapping:
    """The best mapping that was found, its `objective` (pJ, cycles, or pJ x cycles) and figures, and a lower bound of
    the objective over the whole declared space. `bounds` and `evaluated` count bounds and mappings evaluated; `stopped`
    says that the time limit ended the search. `points` are energy and cycles of evaluated mappings."""

    tree: LoopTree
    cost: LevelCost
    objective: float
    lower_bound: float
    bounds: int
    evaluated: int
    stopped: bool
    points: tuple[tuple[float, float], ...]

    @property
    def optimal(self) -> bool:
        return self.lower_bound >= self.objective * (1 - 2 * ROUNDING)


def objective_of(figures: LevelCost, objective: str) -> float:
    """Energy in pJ, cycles, or their product."""
    if objective == "energy":
        return figures.total_energy_pj
    return float(figures.cycles.total) if objective == "latency" else figures.total_energy_pj * figures.cycles.total


def map_levels(
    workload: Workload,
    machine: Hierarchy,
    objective: str = "energy",
    pin: Pin | None = None,
    time_limit_s: float = float("inf"),
) -> LevelMapping | None:
    """The best mapping of `workload` in the declared space, or the best found in the time; None where nothing fits.

    Raises ValueError where `objective` is none of OBJECTIVES.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"{objective!r} is none of {', '.join(OBJECTIVES)}")
    deadline = time.monotonic() + time_limit_s
    best = Best()
    for frame, used in frames_with_links(workload, machine, pin or Pin()):
        search = search_of(frame, figures_of(frame), used, objective)
        if search is not None:
            search.run(best, deadline)
    if best.tree is None:
        return None
    figures = cost(workload, machine, best.tree)
    value = objective_of(figures, objective)
    assert abs(value - best.limit) <= 1e-6 * value, "the search's figure is not the cost model's"
    return LevelMapping(
        tree=best.tree,
        cost=figures,
        objective=value,
        lower_bound=min(best.open, value),
        bounds=best.bounds,
        evaluated=best.evaluated,
        stopped=best.open < value * (1 - 2 * ROUNDING),
        points=tuple(best.points),
    )


def frames_with_links(workload: Workload, machine: Hierarchy, pin: Pin) -> Iterator[tuple[Frame, tuple[int, ...]]]:
    """Frames, each with the fan-outs that have lanes at work: links of one without any are not counted, so where links
    cost energy a frame has one variant for every choice of those that are passed."""
    costly = {row.component for row in machine.energy if row.action == "hop_bit" and row.energy_pj > 0}
    for frame in frames(workload, machine, pin):
        here = list(dict.fromkeys(slot.level for slot in frame.slots if slot.axis))
        priced = [place for place in here if machine.levels[place].name in costly]
        for count in range(len(priced) + 1):
            for passed in combinations(priced, count):
                yield without(frame, passed), tuple(place for place in priced if place not in passed)


def without(frame: Frame, passed: tuple[int, ...]) -> Frame:
    """The frame without the lanes of some fan-outs."""
    if not passed:
        return frame
    assert all(isinstance(frame.machine.levels[place], FanOut) for place in passed)
    slots: list[Slot] = []
    outside = [0]
    for slot in frame.slots:
        if not (slot.axis and slot.level in passed):
            slots.append(slot)
        outside.append(len(slots))
    keeps = tuple((place, roles, outside[before]) for place, roles, before in frame.keeps)
    return Frame(frame.workload, frame.machine, frame.pin, keeps, tuple(slots))
