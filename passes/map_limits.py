"""The best mapping among those that keep limits of cycles and energy, or what is short of them and by how much.

First the mapping with the fewest cycles, then the one of least energy that takes no more cycles than allowed: either is
beyond its limit, so that no mapping keeps it, or there is one to begin with, and what is not below it is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..ir.arch import Arch
from ..ir.nest import Dataflow, Nest
from . import map_search
from .map_objective import figures_of, objective_floor
from .map_search import Found
from .mapping import Pin
from .objective import ROUNDING, Objective, Short, parse_objective

_FEWEST_CYCLES = parse_objective("latency")
_LEAST_ENERGY = parse_objective("energy")
_NOT_ABOVE = 1 + 4 * ROUNDING  # a limit of a search that finds what has this value itself


def search_within(
    nest: Nest,
    arch: Arch,
    dataflows: Sequence[Dataflow],
    pin: Pin,
    objective: Objective,
    im2col: str,
    limit: float = float("inf"),
    deadline: float = float("inf"),
    most_points: int = 0,
) -> Found | Short | None:
    """As `passes.map_search.search`, for an objective with limits; or what is short of them. With `most_points` of each
    search."""

    def best_of(sought: Objective, below: float) -> Found | None:
        return map_search.search(
            nest, arch, dataflows, pin, sought, im2col, below, deadline=deadline, most_points=most_points
        )

    known: Found | None = None
    energy = float("inf")
    if objective.most_cycles < float("inf"):
        known = best_of(_FEWEST_CYCLES, float("inf"))
        if known is None:
            return None
        energy, cycles = figures_of(replace(nest, schedule=known.schedule), arch)
        short = replace(objective, most_energy_pj=float("inf")).short(energy, cycles, is_proven=known.optimal)
        if short is not None:
            return short
    if objective.most_energy_pj < float("inf"):
        found = best_of(replace(_LEAST_ENERGY, most_cycles=objective.most_cycles), energy * _NOT_ABOVE)
        known = _with_work(found, known)
        if known is None:
            return None
        energy, cycles = figures_of(replace(nest, schedule=known.schedule), arch)
        short = objective.short(energy, cycles, is_proven=found is not None and found.optimal)
        if short is not None:
            return short
    if known is None:
        return best_of(objective, limit)
    value = objective.value(energy, cycles)
    found = _with_work(best_of(objective, min(limit, value * _NOT_ABOVE)), known)
    if found is not None and found.schedule is known.schedule:  # the time was out, or nothing is below `limit`
        if limit <= value * _NOT_ABOVE:
            return None
        floor = min(objective_floor(nest, arch, each, objective) for each in dataflows)
        return replace(
            found,
            objective=value,
            lower_bound=min(floor, value),
            by_dataflow={known.schedule.dataflow: (value, True)},
            stopped=True,
        )
    return found


def _with_work(found: Found | None, before: Found | None) -> Found | None:
    """What was found, else what was found before, with the work of both."""
    if found is None or before is None:
        return found or before
    return replace(
        found,
        bounds=found.bounds + before.bounds,
        evaluated=found.evaluated + before.evaluated,
        points=before.points + found.points,
    )
