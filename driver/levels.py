"""A model on a machine with levels inside the array: its layers with their best mappings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import fspath
from typing import TYPE_CHECKING, NamedTuple

from ..backends.cost.levels.cost import cost
from ..backends.cost.levels.layers import LayerFigures, host_layer, post_chain_pj, product_layer, vector_layer
from ..backends.cost.module import cost_host
from ..frontend.level_pins import LevelsPin
from ..ir.arch import MAIN_MEMORY
from ..ir.diagnostics import CompileError, Diagnostic, closest
from ..ir.frozen import dataclass
from ..ir.graph import HostRegion
from ..ir.hierarchy import Hierarchy
from ..ir.loop_tree import Workload, workload_of
from ..ir.module import Module
from ..ir.nest import BodyOp, Nest, Role
from ..passes.levels.kept import map_all
from ..passes.levels.mapper import LevelMapping, map_levels, objective_of
from ..passes.objective import NAMES, Objective, parse_objective
from .decisions import Options
from .levels_mapping import Given, read_given
from .levels_model import Lowered, lowered
from .levels_unread import unread
from .model import Report, silent

if TYPE_CHECKING:
    from ..ir.arch import Arch

SEARCH_LIMIT_S = 60.0  # of a layer, if no other is given
MOST_POINTS = 10**18  # of a layer: the search's counts hold 2^63


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with its figures; products have a workload and a mapping, what the host does has neither. `pinned` is
    "whole" or "part" where a mapping file fixes that of the mapping."""

    name: str
    op: str
    where: str
    figures: LayerFigures
    workload: Workload | None = None
    mapping: LevelMapping | None = None
    pinned: str = ""


@dataclass(frozen=True, slots=True)
class Costed:
    """A model on a machine."""

    model: str
    batch: int
    machine: Hierarchy
    objective: Objective
    layers: tuple[Layer, ...]


def cost_levels(
    model: str, machine: Hierarchy, options: Options, *, report: Report = silent, warn: Report = silent
) -> Costed:
    """The layers of the ONNX file `model` on `machine`, each product with its best mapping.

    Raises CompileError with every fault: of the model, of options that nothing reads here, of layers that do not fit.
    """
    return cost_lowered(lowered(model, machine, options, report, warn), machine, options, report, warn)


def cost_lowered(
    model: Lowered, machine: Hierarchy, options: Options, report: Report, warn: Report, threads: int | None = None
) -> Costed:
    """`cost_levels` of a model that is lowered already; searches run on so many `threads` (None: one for each core)."""
    module, stand_in = model.module, model.stand_in
    objective = parse_objective("latency" if options.objective is None else options.objective)
    if objective.needs_energy and not machine.energy:
        message = f"{machine.name} has no prices, so that no mapping has an energy"
        raise CompileError(Diagnostic(message, help="a section `components` or `energy` in its description"))
    pinned = _Pinned({}, {}, {})
    if options.mapping is not None:
        pinned = _pinned(module, machine, objective, read_given(fspath(options.mapping)))
    found = _mapped(module, machine, objective, options.time_limit_s, report, pinned, threads)
    beyond: list[Diagnostic] = []
    if stopped := [each for each in found.values() if each.stopped]:
        warn(
            f"the search stopped at the time limit: {len(stopped)} of {len(found)} different layers have a mapping that"
            " is not proven to be the best"
        )
    layers = []
    for operation in module.operations:
        if isinstance(operation, HostRegion):
            layers.append(_host_layer(operation, module, stand_in, machine))
            continue
        assert isinstance(operation, Nest)
        workload = _workload(operation, machine)
        if workload is None:
            figures = vector_layer(operation, machine)
            layers.append(Layer(operation.name, operation.label, "accelerator", figures))
        else:
            name, within = operation.name, pinned.machines.get(operation.name, machine)
            mapping = pinned.whole.get(name) or found[key_of(operation, workload, within, objective)]
            figures = product_layer(operation, machine, mapping.cost)
            beyond += [] if name in pinned.whole else _beyond(name, figures, objective)
            how_much = "whole" if name in pinned.whole else "part" if name in pinned.machines else ""
            layers.append(Layer(name, operation.label, "accelerator", figures, workload, mapping, how_much))
    if beyond:
        raise CompileError(beyond)
    products = [(each.workload, each.mapping.tree) for each in layers if each.workload and each.mapping]
    for text in unread(machine, products):
        warn(text)
    return Costed(module.header.model, module.header.batch, machine, objective, tuple(layers))


@dataclass(frozen=True, slots=True)
class _Pinned:
    """What a mapping file fixes: mappings of layers, machines that leave less of others to the mapper, and where the
    file says so."""

    whole: Mapping[str, LevelMapping]
    machines: Mapping[str, Hierarchy]
    parts: Mapping[str, LevelsPin]


class Key(NamedTuple):
    """What layers of products have in common that have one mapping: the workload without a name, the machine as far as
    it is left to the mapper, and what the post chain takes, where energy is limited."""

    workload: Workload
    machine: Hierarchy
    post_chain_pj: float

    def of_products(self, objective: Objective) -> Objective:
        """The objective of a layer as one of its products alone: the limit of energy is what the post chain leaves."""
        return replace(objective, most_energy_pj=objective.most_energy_pj - self.post_chain_pj)


def key_of(nest: Nest, workload: Workload, machine: Hierarchy, objective: Objective) -> Key:
    """The key of a layer of products."""
    is_limited = objective.most_energy_pj < float("inf")
    return Key(replace(workload, name=""), machine, post_chain_pj(nest, machine) if is_limited else 0.0)


def _beyond(
    name: str, figures: LayerFigures, objective: Objective, *, is_proven: bool = False
) -> tuple[Diagnostic, ...]:
    """The limit that the row of a layer does not keep."""
    short = objective.short(sum(figures.energy_pj.values()), figures.cycles, is_proven=is_proven)
    return () if short is None else (short.fault(name),)


def _workload(nest: Nest, machine: Hierarchy) -> Workload | None:
    """The workload of a nest of products, in the machine's own widths; nothing for one without."""
    if nest.body.op is not BodyOp.MAC or nest.body.b is None or nest.is_empty:
        return None
    return workload_of(nest, dict(machine.bits))


def _pinned(module: Module, machine: Hierarchy, objective: Objective, given: Given) -> _Pinned:
    """The mappings that were given, costed as they are, and what the others leave. Raises CompileError with every fault
    of every one, and those of the file."""
    nests = {each.name: each for each in module.operations if isinstance(each, Nest)}
    workloads = {name: work for name, nest in nests.items() if (work := _workload(nest, machine)) is not None}
    faults = given.faults
    for name in dict.fromkeys((*given.trees, *given.parts)):
        if name not in workloads:
            span = (given.trees.get(name) or given.parts[name]).span
            faults.add(f"there is no layer of products {name!r}", span, closest(name, workloads))
    whole = {}
    for name, pin in given.trees.items():
        if name not in workloads:
            continue
        wrong = pin.faults(workloads[name], machine)
        for each in wrong:
            faults.add(each.message, each.span, each.help)
        if not wrong and pin.is_complete:
            figures = cost(workloads[name], machine, pin.tree)
            # Nothing was searched: no bound is known but that nothing is free.
            whole[name] = LevelMapping(pin.tree, figures, objective_of(figures, objective), 0.0, 0, 1, False, ())
    machines = {
        name: part.narrowed(machine, name, workloads[name].extents if name in workloads else None)
        for name, part in given.parts.items()
    }
    faults.raise_if_any()
    return _Pinned(whole, machines, given.parts)


def _mapped(
    module: Module,
    machine: Hierarchy,
    objective: Objective,
    time_limit_s: float | None,
    report: Report,
    pinned: _Pinned,
    threads: int | None,
) -> Mapping[Key, LevelMapping]:
    """The best mapping of each different layer of products but of those that are `pinned` as a whole. Raises
    CompileError for every one that does not fit, and for layers without products that do not keep the limits."""
    found: dict[Key, LevelMapping] = {}
    faults: list[Diagnostic] = []
    wanted = _different(module, machine, objective, pinned, faults)
    limit_s = SEARCH_LIMIT_S if time_limit_s is None else time_limit_s
    together: dict[tuple[Hierarchy, Objective], list[Key]] = {}
    for key in wanted:
        together.setdefault((key.machine, key.of_products(objective)), []).append(key)
    for (within, goal), keys in together.items():
        mappings = map_all([wanted[key] for key in keys], within, goal, limit_s, report, threads=threads)
        for key, mapping in zip(keys, mappings, strict=True):
            if isinstance(mapping, CompileError):
                faults += mapping.diagnostics
            elif mapping is None:
                short = _short(wanted[key], key, objective, limit_s) if objective.is_limited else None
                faults.append(short or _miss(wanted[key], within, pinned.parts.get(wanted[key].name)))
            else:
                found[key] = mapping
    if faults:
        raise CompileError(faults)
    return found


def _different(
    module: Module, machine: Hierarchy, objective: Objective, pinned: _Pinned, faults: list[Diagnostic]
) -> dict[Key, Workload]:
    """The layers of products to search for, those that are alike once, by the name of the first. What no search mends
    goes to `faults`."""
    found: dict[Key, Workload] = {}
    for operation in module.operations:
        if not isinstance(operation, Nest) or operation.name in pinned.whole:
            continue
        workload = _workload(operation, machine)
        if workload is None:
            faults += _beyond(operation.name, vector_layer(operation, machine), objective, is_proven=True)
            continue
        key = key_of(operation, workload, pinned.machines.get(operation.name, machine), objective)
        if workload.points <= MOST_POINTS:
            found.setdefault(key, workload)
        else:
            message = f"{workload.name}: {workload.points} products are more than counts are kept of"
            faults.append(Diagnostic(message, help=f"at most {MOST_POINTS}"))
    return found


def _short(workload: Workload, key: Key, objective: Objective, limit_s: float) -> Diagnostic | None:
    """Which limit of the objective a layer cannot keep, and by how much; None where it fits nowhere at all."""
    least: dict[str, LevelMapping] = {}
    for name in NAMES[:2]:
        mapping = map_levels(workload, key.machine, name, time_limit_s=limit_s)
        if mapping is None:
            return None
        least[name] = mapping
    cycles, energy_pj = least["latency"].cost.cycles.total, least["energy"].cost.total_energy_pj + key.post_chain_pj
    if short := objective.short(energy_pj, cycles, is_proven=all(each.optimal for each in least.values())):
        return short.fault(workload.name)
    message = (
        f"{workload.name}: no mapping keeps both limits: alone, {cycles} cycles and {energy_pj:.6g} pJ are reached"
    )
    return Diagnostic(message, help="a higher limit")


def _miss(workload: Workload, machine: Hierarchy, part: LevelsPin | None) -> Diagnostic:
    """Why no mapping fits, and the nearest that would do; with the place where the description says what hinders it,
    or where a mapping file does that fixes a `part` of the layer."""
    from ..frontend.hierarchy_places import place_of
    from ..passes.levels_miss import nearest_miss

    miss = nearest_miss(workload, machine)
    if part is not None:
        message = f"{workload.name}: no mapping that keeps its `levels` fits {machine.name}: {miss.message}"
        return part.fault(message, miss.level, miss.key, f"{miss.help}; or fix less of the layer")
    place, line = place_of(machine, miss.level, miss.key)
    return Diagnostic(f"{workload.name}: no mapping fits {machine.name}: {miss.message}", place, miss.help, line)


def _host_layer(region: HostRegion, module: Module, stand_in: Arch, machine: Hierarchy) -> Layer:
    """What the host does, by the bytes that it moves, at its rate and at the prices of main memory, and by its
    operations where it has a rate of them."""
    counts = cost_host(region, module, stand_in)
    moved = {role: each for role, each in counts.traffic[MAIN_MEMORY].items() if role != Role.INSTRUCTION.value}
    return Layer(
        region.name,
        counts.op,
        "host",
        host_layer(moved, counts.actions.get("host.operation", 0), counts.cycles, machine),
    )
