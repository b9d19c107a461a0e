"""What a search minimises, for compiled code (passes/objective.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ir.compiled import compiled
from .map_problem import Floats
from .objective import ROUNDING, Objective

LATENCY, ENERGY, EDP, OTHER = range(4)
_KINDS: dict[tuple[tuple[float, float], ...], int] = {
    ((0.0, 1.0),): LATENCY,
    ((1.0, 0.0),): ENERGY,
    ((1.0, 1.0),): EDP,
}


class Goal(NamedTuple):
    """An objective for compiled code: `kind` says what a single term of weight 1 is; `terms` has a row of weight, power
    of energy and power of latency for each; `most` the limits of cycles and of energy. `timed`: cycles decide;
    `priced`: energy does."""

    kind: int
    timed: bool
    priced: bool
    terms: Floats
    most: Floats


def goal_of(objective: Objective) -> Goal:
    """The limit of energy allows for the rounding of sums."""
    powers = tuple((each.energy_power, each.latency_power) for each in objective.terms)
    kind = _KINDS.get(powers, OTHER) if objective.terms[0].weight == 1.0 else OTHER
    terms = np.array([(each.weight, each.energy_power, each.latency_power) for each in objective.terms], np.float64)
    most = np.array([objective.most_cycles, objective.most_energy_pj * (1 + ROUNDING)], np.float64)
    return Goal(kind, objective.needs_latency, objective.needs_energy, terms, most)


@compiled
def value_of(goal: Goal, cycles: int, energy: float) -> float:
    """The objective, or infinity beyond a limit."""
    if cycles > goal.most[0] or energy > goal.most[1]:
        return np.inf
    if goal.kind == LATENCY:
        return np.float64(cycles)
    if goal.kind == ENERGY:
        return energy
    if goal.kind == EDP:
        return energy * cycles
    value = 0.0
    for term in range(goal.terms.shape[0]):
        weight, of_energy, of_latency = goal.terms[term]
        value += weight * energy**of_energy * np.float64(cycles) ** of_latency
    return value


@compiled
def enough_cycles(goal: Goal, value: float, energy: float) -> float:
    """Cycles from which on, with this energy, the objective is no less than `value`; infinity where that is not easily
    told."""
    if goal.kind == LATENCY:
        return value
    return value / energy if goal.kind == EDP and energy > 0.0 else np.inf
