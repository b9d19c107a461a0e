"""An objective (passes/objective.py) as the search and its compiled code read it."""

from __future__ import annotations

import numpy as np

from ...ir.frozen import dataclass
from ..objective import ROUNDING, Objective
from .kernels import EDP, ENERGY, LATENCY, OTHER
from .tables import Floats


@dataclass(frozen=True, slots=True)
class Goal:
    """An objective for compiled code: its mode, its terms (weight, powers of energy and of cycles) and its limits of
    cycles and energy."""

    mode: int
    terms: Floats
    most: Floats

    def of(self, figures: Floats) -> Floats:
        """The objective of energies and cycles [mapping, 2], or of bounds of them, as kernels.py has it."""
        energy, cycles = figures[:, 0], figures[:, 1]
        if self.mode != OTHER:
            return {ENERGY: energy, LATENCY: cycles}.get(self.mode, energy * cycles)
        energy = np.maximum(energy, 0.0)
        total = sum(weight * energy**by_energy * cycles**by_cycles for weight, by_energy, by_cycles in self.terms)
        return np.where((cycles <= self.most[0]) & (energy <= self.most[1]), total, np.inf)


_MODES: dict[tuple[tuple[float, float], ...], int] = {((0.0, 1.0),): LATENCY, ((1.0, 0.0),): ENERGY, ((1.0, 1.0),): EDP}


def goal_of(objective: Objective) -> Goal:
    powers = tuple((each.energy_power, each.latency_power) for each in objective.terms)
    plain = objective.terms[0].weight == 1.0 and not objective.is_limited
    terms = np.array([(each.weight, each.energy_power, each.latency_power) for each in objective.terms], np.float64)
    # Cycles are whole, but sums that are bounds of them are rounded as floats are: half a cycle more excludes as much.
    most_cycles = np.floor(objective.most_cycles) + 0.5
    most = np.array([most_cycles, objective.most_energy_pj * (1 + ROUNDING)])
    return Goal(_MODES.get(powers, OTHER) if plain else OTHER, terms, most)
