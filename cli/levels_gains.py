"""`dnnc cost --explain` on a machine with levels inside the array: what would help each layer. Products are mapped anew
on machines of which one part is doubled, at the same prices of actions; all else is counted again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..backends.cost.levels.cost import LevelCost, cost
from ..backends.cost.levels.layers import product_layer, vector_layer
from ..driver.levels import Costed, Key, Layer, key_of
from ..driver.model import Report, silent
from ..ir.clock import clock_s
from ..ir.frozen import dataclass
from ..ir.hierarchy import FanOut, Hierarchy, Store
from ..ir.loop_tree import Workload
from ..ir.module import Module
from ..ir.nest import Nest
from ..passes.levels.kept import MOST_WORKERS, map_all
from ..passes.levels.mapper import LevelMapping
from ..passes.objective import ROUNDING, Objective
from .gains import TIME_LIMIT_S, Gains

_TIME_ALONE = ("bandwidth", "local_bandwidth")  # parts that decide how long a mapping takes, and not what it moves
_AS_IT_IS = ""  # in the place of a part: the machine of which nothing is doubled
_SHARE = 0.5  # of the time that is left: no search takes more, so that one that is hard leaves some to the others


def _doubled_levels(machine: Hierarchy, change: Callable[[Store | FanOut], Store | FanOut]) -> Hierarchy:
    return replace(machine, levels=tuple(map(change, machine.levels)))


def _more_rows(machine: Hierarchy) -> Hierarchy:
    """Of every fan-out that has rows at all: of two, one inside the other, four times as many in all."""
    return _doubled_levels(
        machine,
        lambda level: replace(level, rows=2 * level.rows) if isinstance(level, FanOut) and level.rows > 1 else level,
    )


def _more_columns(machine: Hierarchy) -> Hierarchy:
    return _doubled_levels(
        machine,
        lambda level: replace(level, cols=2 * level.cols) if isinstance(level, FanOut) and level.cols > 1 else level,
    )


def _more_lanes(machine: Hierarchy) -> Hierarchy:
    return replace(machine, vector_lanes=2 * machine.vector_lanes)


def _faster_main_memory(machine: Hierarchy) -> Hierarchy:
    return replace(machine, levels=(_faster(machine.levels[0]), *machine.levels[1:]))


def _faster_local_memories(machine: Hierarchy) -> Hierarchy:
    return replace(machine, levels=(machine.levels[0], *map(_faster, machine.levels[1:])))


def _faster(level: Store | FanOut) -> Store | FanOut:
    """Twice the words a cycle of a store, and the bits of a fan-out's buses; what has no limit stays so."""
    if isinstance(level, FanOut):
        return replace(level, bus_bits=tuple((role, 2 * bits) for role, bits in level.bus_bits))
    read, write, shared = (
        None if rate is None else 2 * rate
        for rate in (level.read_words_per_cycle, level.write_words_per_cycle, level.shared_words_per_cycle)
    )
    return replace(level, read_words_per_cycle=read, write_words_per_cycle=write, shared_words_per_cycle=shared)


def _larger_local_memories(machine: Hierarchy) -> Hierarchy:
    main = machine.levels[0]
    return _doubled_levels(
        machine,
        lambda level: (
            replace(level, depth_words=2 * level.depth_words)
            if isinstance(level, Store) and level is not main and level.depth_words is not None
            else level
        ),
    )


_CHANGES = {  # by the names of gains.PARTS
    "rows": _more_rows,
    "columns": _more_columns,
    "lanes": _more_lanes,
    "bandwidth": _faster_main_memory,
    "local_bandwidth": _faster_local_memories,
    "capacity": _larger_local_memories,
}


def variants(machine: Hierarchy) -> dict[str, Hierarchy]:
    """Machines of which one part is doubled, by its name; none where there is no such part, or no limit of it."""
    changed = {name: change(machine) for name, change in _CHANGES.items()}
    return {name: each for name, each in changed.items() if each != machine}


def levels_gains(module: Module, costed: Costed, time_limit_s: float | None, report: Report = silent) -> Gains:
    """What each variant would save of the layers of `module`, which are `costed`. Products that are alike are mapped
    once, those that take longest first; mappings are kept in the user's cache. Layers of which a mapping was given are
    mapped freely on the machine as it is, too."""
    deadline = clock_s() + (TIME_LIMIT_S if time_limit_s is None else time_limit_s)
    machine, objective = costed.machine, costed.objective
    machines = variants(machine)
    found = Gains(objective=str(objective), pinned=any(layer.pinned for layer in costed.layers))
    alike: dict[Key, list[tuple[Nest, Layer]]] = {}
    for nest, layer in zip(module.operations, costed.layers, strict=True):
        if isinstance(nest, Nest) and layer.workload is not None:
            alike.setdefault(key_of(nest, layer.workload, machine, objective), []).append((nest, layer))
        elif isinstance(nest, Nest):
            again = {part: vector_layer(nest, variant).cycles for part, variant in machines.items()}
            found.add(nest.name, layer.figures.cycles, again)
    kept = ("lanes",) if objective.needs_latency else ("lanes", *_TIME_ALONE)  # there the best mapping stays the best
    searched = [part for part in machines if part not in kept]
    free = {key: layer.mapping for key, layers in alike.items() for _, layer in layers if not layer.pinned}
    jobs = [
        _Job(key, part, alike[key][0][0].name, machines.get(part, machine))
        for key in sorted(alike, key=lambda key: _turn([layer for _, layer in alike[key]]))
        for part in (searched if key in free else [_AS_IT_IS, *searched])
    ]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_WORKERS)) as pool:
        made = pool.map(lambda job: _mapped(job, objective, deadline, report), jobs)
        mappings = {(job.key, job.part): mapping for job, mapping in zip(jobs, made, strict=True)}
    for key, layers in alike.items():
        base = free[key] if key in free else mappings[key, _AS_IT_IS]
        by_search = {part: mappings[key, part] for part in searched}
        if base is None or (searched and not any(by_search.values())):
            found.left_out += [nest.name for nest, _ in layers]
            continue
        costs = {
            part: [] if mapping is None else _as_good(key.workload, variant, objective, base, mapping)
            for part, variant in machines.items()
            for mapping in [by_search.get(part, base)]
        }
        for nest, _ in layers:
            by_part = {
                part: min((product_layer(nest, machines[part], each).cycles for each in equals), default=None)
                for part, equals in costs.items()
            }
            found.add(nest.name, product_layer(nest, machine, base.cost).cycles, by_part)
    return found


@dataclass(frozen=True, slots=True)
class _Job:
    """Products to map on a machine of which a `part` is doubled, under the `name` of a layer."""

    key: Key
    part: str
    name: str
    machine: Hierarchy


def _turn(layers: Sequence[Layer]) -> tuple[bool, int]:
    """When layers that are alike are mapped: those of most cycles first, and last those of which the best mapping is
    not even known on the machine as it is."""
    stopped = any(layer.mapping is not None and layer.mapping.stopped for layer in layers)
    return stopped, -sum(layer.figures.cycles for layer in layers)


def _mapped(job: _Job, objective: Objective, deadline: float, report: Report) -> LevelMapping | None:
    """None where there is no mapping, or the search was stopped before it was done."""
    left_s = deadline - clock_s()
    if left_s <= 0:
        return None
    named = replace(job.key.workload, name=job.name)
    (mapping,) = map_all([named], job.machine, job.key.of_products(objective), _SHARE * left_s, report)
    return mapping if isinstance(mapping, LevelMapping) and not mapping.stopped else None


def _as_good(
    workload: Workload, variant: Hierarchy, objective: Objective, base: LevelMapping, mapping: LevelMapping
) -> list[LevelCost]:
    """What `mapping` costs on a variant, and the mapping of the machine as it is where that is as good. Where cycles
    alone decide it always may be better for a layer: what its post chain reads is not in the search."""
    best, kept = (cost(workload, variant, each.tree) for each in (mapping, base))
    values = [objective.value(each.total_energy_pj, each.cycles.total) for each in (best, kept)]
    return [best] if objective.needs_energy and values[1] > values[0] * (1 + 2 * ROUNDING) else [best, kept]
