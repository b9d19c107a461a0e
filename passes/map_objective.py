"""What the mapper minimises: of a mapping, and what no mapping goes below."""

from __future__ import annotations

from math import prod

from ..backends.cost.module import counted
from ..backends.cost.price import energy_pj, price
from ..ir.arch import Arch
from ..ir.nest import Dataflow, Nest

ROUNDING = 1e-9  # relative error of a bound of energy


def objective_of(nest: Nest, arch: Arch, objective: str) -> float:
    """The objective of a scheduled nest: cycles for latency, pJ for energy, pJ x cycles for edp."""
    counts = counted(nest, arch)
    if objective == "latency":
        return float(counts.cycles)
    energy = sum(energy_pj(counts, arch).values())
    return energy if objective == "energy" else energy * counts.cycles


def objective_floor(nest: Nest, arch: Arch, dataflow: Dataflow, objective: str, is_stored: bool = True) -> float:
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
    return {"latency": float(cycles), "energy": energy, "edp": energy * cycles}[objective]
