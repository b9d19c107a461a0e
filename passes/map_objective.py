"""What the mapper minimises (passes/objective.py): of a mapping, and what no mapping goes below."""

from __future__ import annotations

from math import prod

from ..backends.cost.module import counted, settled
from ..backends.cost.price import energy_pj, price
from ..ir.arch import Arch
from ..ir.nest import Dataflow, Nest
from .objective import ROUNDING, Objective


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
    written = is_stored * prod(nest.extent(dim) for dim in nest.write.dims) * nest.write.type.bits // 8
    cycles = max(points // units, written * arch.clock_hz // arch.dma.bandwidth_bytes_per_second)
    happened = {("vector", "op") if on_vector else ("array", "mac"): points, (arch.main.name, "write_bit"): 8 * written}
    energy = sum(price(happened, arch).values()) * (1 - ROUNDING)
    return objective.value(energy, cycles)
