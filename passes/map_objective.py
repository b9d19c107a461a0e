"""What the mapper minimises (passes/objective.py): of a mapping, and what no mapping goes below."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from ..backends.cost.module import counted, settled
from ..backends.cost.price import energy_pj, price
from ..ir.arch import Arch
from ..ir.nest import Dataflow, Nest
from .map_problem import Floats
from .objective import ROUNDING, Objective

LATENCY, ENERGY, EDP, OTHER = range(4)
_KINDS: dict[tuple[tuple[float, float], ...], int] = {((0.0, 1.0),): LATENCY, ((1.0, 0.0),): ENERGY, ((1.0, 1.0),): EDP}


class Goal(NamedTuple):
    """An objective for compiled code: `kind` says what a single term of weight 1 is; `terms` has a row of weight, power
    of energy and power of latency for each; `most` the limits of cycles and of energy. `timed`: cycles decide."""

    kind: int
    timed: bool
    terms: Floats
    most: Floats


def goal_of(objective: Objective) -> Goal:
    """The limit of energy allows for the rounding of sums."""
    powers = tuple((each.energy_power, each.latency_power) for each in objective.terms)
    kind = _KINDS.get(powers, OTHER) if objective.terms[0].weight == 1.0 else OTHER
    terms = [(each.weight, each.energy_power, each.latency_power) for each in objective.terms]
    most = [objective.most_cycles, objective.most_energy_pj * (1 + ROUNDING)]
    return Goal(kind, objective.needs_latency, np.array(terms, np.float64), np.array(most, np.float64))


def figures_of(nest: Nest, arch: Arch, is_decided: bool = False) -> tuple[float, int]:
    """Energy in pJ and cycles of a scheduled nest; earlier commands may have counted one whose schedule is decided."""
    counts = settled(nest, arch) if is_decided else counted(nest, arch)
    return sum(energy_pj(counts, arch).values()), counts.cycles


def objective_of(nest: Nest, arch: Arch, objective: Objective) -> float:
    """The objective of a scheduled nest, whether or not it keeps its limits."""
    return objective.value(*figures_of(nest, arch))


def objective_floor(nest: Nest, arch: Arch, dataflow: Dataflow, objective: Objective, is_stored: bool = True) -> float:
    """What no mapping goes below: every unit busy all the time, the output written once, if it `is_stored` in main
    memory."""
    points = prod(dim.extent for dim in nest.domain)
    on_vector = dataflow is Dataflow.VECTOR
    units = arch.array.rows * arch.array.cols
    if on_vector:
        assert arch.vector is not None
        units = arch.vector.lanes
    written = is_stored * prod(nest.extent(dim) for dim in nest.write.dims) * nest.write.type.bytes
    cycles = max(points // units, written * arch.clock_hz // arch.dma.bandwidth_bytes_per_second)
    happened = {("vector", "op") if on_vector else ("array", "mac"): points, (arch.main.name, "write_bit"): 8 * written}
    energy = sum(price(happened, arch).values()) * (1 - ROUNDING)
    return objective.value(energy, cycles)
