"""The mapper of machines with levels inside the array: the best loop tree of a workload, with a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...backends.cost.levels.cost import LevelCost, cost
from ...ir.clock import clock_s
from ...ir.diagnostics import CompileError, Diagnostic, ensure
from ...ir.frozen import dataclass
from ...ir.hierarchy import Hierarchy
from ...ir.loop_tree import LoopTree, Workload
from ..objective import ROUNDING, Objective, parse_objective

if TYPE_CHECKING:
    from .space import Pin

OBJECTIVES = ("energy", "latency", "edp")
_GRACE_S = 3.0  # beyond the time limit, for what the first search needs to find any mapping


@dataclass(frozen=True, slots=True)
class LevelMapping:
    """The best mapping that was found, its `objective` (passes/objective.py) and figures, and a lower bound of the
    objective over the whole declared space. `bounds` and `evaluated` count bounds and mappings evaluated; `stopped`
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


def objective_of(figures: LevelCost, objective: str | Objective) -> float:
    """What is minimised; infinite beyond a limit."""
    wanted = parse_objective(objective) if isinstance(objective, str) else objective
    return wanted.of(figures.total_energy_pj, figures.cycles.total)


def map_levels(
    workload: Workload,
    machine: Hierarchy,
    objective: str | Objective = "energy",
    pin: Pin | None = None,
    time_limit_s: float = float("inf"),
) -> LevelMapping | None:
    """The best mapping of `workload` in the declared space, or the best found in the time; None where nothing fits, or
    nothing keeps the objective's limits.

    The search leaves the time of buses and chains out. On machines that have them cycles are at least those that it
    minimises: the mapping's are told in full, the bound is the search's, and `optimal` says whether they meet.

    Raises CompileError where `objective` is none, or where the time ends before any mapping is found.
    """
    from .compulsory import at_least  # compiled code, which what the cache has does without
    from .figures import figures_of
    from .search import Best, searches_of
    from .space import Pin, frames
    from .tables import OutOfTimeError

    wanted = parse_objective(objective) if isinstance(objective, str) else objective
    deadline = clock_s() + time_limit_s
    best = Best()
    for begun, frame in enumerate(frames(workload, machine, pin or Pin())):
        if begun and clock_s() > deadline:
            best.open = 0.0  # no more is known of the mappings that are left than of any
            break
        ready = deadline if begun else deadline + _GRACE_S
        try:
            for search in searches_of(frame, figures_of(frame), wanted, ready):
                search.run(best, deadline)
        except OutOfTimeError:
            best.open = 0.0
            break
    has_ties = machine.energy and not any(term.energy_power for term in wanted.terms)  # many mappings of equal cycles
    if has_ties and best.found is not None and clock_s() < deadline:
        best.found.search.break_ties(best)
    if best.tree is None and best.open < float("inf"):
        message = (
            f"{workload.name or 'the layer'}: no mapping was found in {time_limit_s:g} s, and none is known not to fit"
        )
        help = "a longer --time-limit, or a description whose `loops` and `keeps` leave less to the search"
        raise CompileError(Diagnostic(message, help=help))
    if best.tree is None:
        return None
    figures = cost(workload, machine, best.tree)
    value = wanted.of(figures.total_energy_pj, figures.cycles.total)
    timed = wanted.needs_latency and any(each.bus_bits or each.chain for each in machine.fanouts)
    searched = best.limit if timed else value
    agrees = abs(searched - best.limit) <= 1e-6 * value and searched <= value * (1 + 1e-6)
    ensure(agrees, "the search counts as the cost model does")
    open = max(best.open, min(searched, at_least(workload, machine, wanted)))
    return LevelMapping(
        tree=best.tree,
        cost=figures,
        objective=value,
        lower_bound=min(open, searched, value),
        bounds=best.bounds,
        evaluated=best.evaluated,
        stopped=open < searched * (1 - 2 * ROUNDING),
        points=tuple(best.points),
    )
