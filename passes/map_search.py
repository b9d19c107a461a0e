"""The mapper: branch and bound over a declared map space, exact at the leaves.

Every cell of the space has a lower bound of the objective (passes/map_bound.py). Leaves are scheduled and costed
exactly in the order of their bounds, until no bound is below the best leaf: then the mapping is optimal in its space.
After `budget` leaves the search gives up the proof and keeps the best. Where the space was thinned, the bound is that
of what was left out as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

import numpy as np

from ..backends.cost.module import counted
from ..backends.cost.price import energy_pj, price
from ..ir.arch import Arch
from ..ir.nest import Dataflow, Nest, Schedule
from .map_axis import Ints
from .map_bound import Bounds
from .map_bus import BusFigures
from .map_space import Bools, MapSpace, space, tile_bytes
from .mapping import Pin
from .schedule import make_schedule

BUDGET = 48
ROUNDING = 1e-9  # relative error of a bound of energy


@dataclass(frozen=True, slots=True)
class Leaf:
    """A mapping with a lower bound of its objective and of its cycles."""

    bound: float
    cycles: int
    dataflow: Dataflow
    tiles: tuple[tuple[str, int], ...]
    copies: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The outcome of a search: the best schedule with its objective, a lower bound of the objective in the whole
    declared space, how many leaves were costed, and for each dataflow the best that is known of it: its objective, or
    (False) a bound over what was looked at.
    `stopped` says that the time limit ended the search before its proof, `exhausted` that the budget did. `listed` of
    `declared` choices of tile sizes were looked at.
    """

    schedule: Schedule
    objective: float
    lower_bound: float
    evaluated: int
    by_dataflow: Mapping[Dataflow, tuple[float, bool]]
    stopped: bool
    exhausted: bool
    listed: int
    declared: int

    @property
    def optimal(self) -> bool:
        return self.lower_bound >= self.objective * (1 - ROUNDING)


def objective_of(nest: Nest, arch: Arch, objective: str) -> float:
    """The objective of a scheduled nest: cycles for latency, pJ for energy, pJ x cycles for edp."""
    counts = counted(nest, arch)
    if objective == "latency":
        return float(counts.cycles)
    energy = sum(energy_pj(counts, arch).values())
    return energy if objective == "energy" else energy * counts.cycles


def search(
    nest: Nest,
    arch: Arch,
    dataflows: Sequence[Dataflow],
    pin: Pin,
    objective: str,
    im2col: str,
    limit: float = float("inf"),
    budget: int = BUDGET,
    deadline: float = float("inf"),
) -> Found | None:
    """The best mapping of a nest that is not empty; None where nothing fits, or where nothing is below `limit`.

    After the `deadline` (of time.monotonic) no leaf is costed once there is a mapping, or where there is a `limit`.
    """
    best: Schedule | None = None
    known: dict[Dataflow, tuple[float, bool]] = {}
    least, passed_over, evaluated, stopped = limit, float("inf"), 0, False
    listed, declared, exhausted = 0, 0, False

    def late() -> bool:
        return least < float("inf") and time.monotonic() >= deadline

    for unit in units_of(dataflows):
        floor = objective_floor(nest, arch, unit[0], objective)
        if floor >= least or late():
            stopped = stopped or floor < least
            known.update(dict.fromkeys(unit, (floor, False)))
            passed_over = min(passed_over, floor)
            continue
        choices = space(nest, arch, unit, pin)
        listed, declared = listed + choices.listed, declared + choices.declared
        if choices.listed < choices.declared:
            passed_over = min(passed_over, floor)  # all that is known of the choices that were left out
        leaves = best_leaves(choices, objective, budget + 1)
        for leaf in leaves:
            known.setdefault(leaf.dataflow, (leaf.bound, False))
        for dataflow in unit if leaves else ():
            known.setdefault(dataflow, (leaves[-1].bound, False))
        for number, leaf in enumerate(leaves):
            proven = leaf.bound >= least * (1 - ROUNDING)
            if proven or number == budget or late():
                passed_over = min(passed_over, leaf.bound)
                exhausted = exhausted or (not proven and number == budget)
                stopped = stopped or (not proven and number < budget)
                break
            schedule = make_schedule(nest, arch, leaf.dataflow, leaf.tiles, dict(leaf.copies), im2col)
            value = objective_of(replace(nest, schedule=schedule), arch, objective)
            evaluated += 1
            if value < known[leaf.dataflow][0] or not known[leaf.dataflow][1]:
                known[leaf.dataflow] = (value, True)
            if value < least:
                best, least = schedule, value
    if best is None:
        return None
    return Found(
        schedule=best,
        objective=least,
        lower_bound=min(passed_over, least),
        evaluated=evaluated,
        by_dataflow=known,
        stopped=stopped,
        exhausted=exhausted,
        listed=listed,
        declared=declared,
    )


def units_of(dataflows: Sequence[Dataflow]) -> list[tuple[Dataflow, ...]]:
    """Dataflows that share a map space: those of the array, then the vector unit's."""
    on_array = tuple(each for each in dataflows if each is not Dataflow.VECTOR)
    return [unit for unit in (on_array, tuple(each for each in dataflows if each not in on_array)) if unit]


def objective_floor(nest: Nest, arch: Arch, dataflow: Dataflow, objective: str) -> float:
    """What no mapping goes below: every unit busy all the time, the output written once."""
    points = prod(dim.extent for dim in nest.domain)
    on_vector = dataflow is Dataflow.VECTOR
    units = arch.array.rows * arch.array.cols
    if on_vector:
        assert arch.vector is not None
        units = arch.vector.lanes
    written = prod(nest.extent(dim) for dim in nest.write.dims) * nest.write.type.bytes
    cycles = max(points // units, written * arch.clock_hz // arch.dma.bandwidth_bytes_per_second)
    happened = {("vector", "op") if on_vector else ("array", "mac"): points, (arch.main.name, "write_bit"): 8 * written}
    energy = sum(price(happened, arch).values()) * (1 - ROUNDING)
    return {"latency": float(cycles), "energy": energy, "edp": energy * cycles}[objective]


def lower_bound(nest: Nest, arch: Arch, dataflows: Sequence[Dataflow], pin: Pin, objective: str) -> float:
    """A lower bound of the objective over all mappings; infinite where nothing fits."""
    found = [best_leaves(space(nest, arch, unit, pin), objective, 1) for unit in units_of(dataflows)]
    return min((leaf.bound for leaves in found for leaf in leaves), default=float("inf"))


def best_leaves(space: MapSpace, objective: str, count: int) -> list[Leaf]:
    """The `count` leaves of the space with the lowest bounds, in their order."""
    if not len(space):
        return []
    bus = BusFigures(space)
    values, leasts, cells = [], [], []
    origins: list[tuple[Dataflow, tuple[str, ...], frozenset[str]]] = []
    sources: list[Ints] = []
    for dataflow in space.dataflows:
        bounds = Bounds(space, dataflow, bus)
        size = {operand: tile_bytes(space, operand, dataflow) for operand in space.tables}
        for order in space.orders:
            moved = bus.transfers(order)
            cycles = bounds.cycles(moved)
            energy = bounds.energy_pj(moved) if objective != "latency" else None
            for here, single in copy_choices(space, size, {operand: each.times for operand, each in moved.items()}):
                least = cycles.at(here, single).astype(np.float64)
                value = least
                if energy is not None:
                    value = energy[here] if objective == "energy" else energy[here] * least
                kept = np.lexsort((least, value))[:count]
                values.append(value[kept])
                leasts.append(least[kept])
                cells.append(here[kept])
                sources.append(np.full(len(kept), len(origins), np.int64))
                origins.append((dataflow, order, single))
    if not values:
        return []
    value, least = np.concatenate(values), np.concatenate(leasts)
    cell, source = np.concatenate(cells), np.concatenate(sources)
    leaves: dict[tuple[object, ...], Leaf] = {}
    for place in np.lexsort((source, least, value)):
        dataflow, order, single = origins[source[place]]
        tiles = space.tiling(int(cell[place]), order)
        copies = tuple((operand, _copies(space, operand, single, dict(tiles))) for operand in space.tables)
        leaf = Leaf(float(value[place]), int(least[place]), dataflow, tiles, copies)
        leaves.setdefault((dataflow, tiles, copies), leaf)
        if len(leaves) == count:
            break
    return list(leaves.values())


def _copies(space: MapSpace, operand: str, single: frozenset[str], tiles: Mapping[str, int]) -> int:
    """Two, unless there is no room or nothing to put there."""
    pinned = dict(space.pin.copies)
    if operand in pinned:
        return pinned[operand]
    changes = any(tiles.get(dim, space.extents[dim]) < space.extents[dim] for dim in space.nest.access(operand).dims)
    return 2 if changes and operand not in single else 1


def copy_choices(
    space: MapSpace, size: Mapping[str, Ints], times: Mapping[str, Ints]
) -> Iterator[tuple[Ints, frozenset[str]]]:
    """Every largest set of operands that can have two copies, as its complement, with the cells where it is one.
    `size` is the bytes of a tile, `times` how often it is loaded or stored.

    An operand that is moved once has one copy; it is counted with those that have two, since it lacks nothing.
    """
    nest, arch = space.nest, space.arch
    pinned = dict(space.pin.copies)
    holder = {access.operand: arch.holder(access.role.value).name for access in (*nest.reads, nest.write)}
    small = [o for o in size if o not in pinned and o not in (nest.body.a, nest.body.b, nest.write.operand)]
    groups: list[tuple[str, ...]] = [(o,) for o in size if o not in pinned and o not in small]
    residual = [o for o in small if nest.access(o).dims == nest.write.dims]
    groups += [(o,) for o in residual]
    rest = tuple(o for o in small if o not in residual)
    groups += [rest] if rest else []

    def feasible(single: frozenset[str]) -> Bools:
        needed = dict.fromkeys(holder.values(), np.zeros(len(space), np.int64))
        for operand, one in size.items():
            copies = np.where(times[operand] > 1, 1 if operand in single else 2, 1)
            needed[holder[operand]] = needed[holder[operand]] + pinned.get(operand, copies) * one
        fitting = [total <= arch.memory(name).capacity_bytes for name, total in needed.items()]
        fits_all: Bools = np.logical_and.reduce(fitting)
        return fits_all

    fits: dict[frozenset[str], Bools] = {}
    fixed = {operand for operand, copies in pinned.items() if copies == 1}
    for lacking in range(len(groups) + 1):
        for chosen in combinations(groups, lacking):
            single = frozenset(operand for group in chosen for operand in group)
            here = feasible(single)
            for smaller, there in fits.items():
                if smaller < single:
                    here &= ~there
            if here.any():
                fits[single] = here
                yield np.flatnonzero(here), frozenset(single | fixed)
