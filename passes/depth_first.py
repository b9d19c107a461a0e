"""Run chains of layers depth first: cut into stripes that take turns, so that what goes from layer to layer stays in
local memory though all of it would not fit there.

before:  nest @a writes all of %t ; nest @b reads all of %t           %t in main memory
after:   @a.1 writes %t.1 ; @b.1 reads %t.1 ; @a.2 writes %t.2 ; ...  %t.1, %t.2, ... in local memory, one at a time

A group is a run of layers whose values but the last one nobody else reads. What neighbouring stripes both need is
computed twice (passes/stripes.py has the halos); constants are loaded for each stripe. Groups and their stripes are
chosen by cost (passes/group_search.py): those are taken which together lower the objective of the whole module, beside
what stays in local memory whole. A mapping file may say which layers make a group, in how many stripes.

Requires: every nest is scheduled, for a machine that executes programs.
Ensures:  values are those of before, to the last bit: sums are added in the same order. Groups that are not pinned cost
          less than their layers did, by the objective of the whole module; without groups the module is what
          passes/keep.py makes of it. Layers that are in no group because time was up say so in their reason.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic, close_match
from ..ir.frozen import dataclass
from ..ir.module import Module, Operation
from ..ir.nest import Nest
from .group_search import GroupSearch
from .groups import Group, between_stripes, must_be_among, with_groups
from .im2col import copy_name
from .keep import candidates, keep_plan, schedule_cache
from .keep_found import Figures
from .keep_plan import Plan
from .map_cache import MapCache
from .mapper import STOPPED, Mapper
from .mapping import GroupPin, MappingOptions
from .objective import Short
from .stripes import Chain, NotAChain, Uses, stripe_name

GROUPS_STOPPED = f"the search for groups {STOPPED}"  # stands in the reasons of layers that might be in one


def depth_first(scheduled: Module, arch: Arch, options: MappingOptions, given: Collection[str]) -> Module:
    """The module with groups, and with what stays in local memory whole. Layers that are `given` with a schedule, or
    whose tiles or copies are pinned, are in no group that is found.

    Raises CompileError for pinned groups that there cannot be, and as passes/keep.py does.
    """
    if arch.kind != "executable":
        _refuse_groups_of(arch, options)
        return scheduled
    began = time.monotonic()
    work = _Work(scheduled, arch, options, given)
    without = replace(work, options=_without_stays(options)).plan([]) if options.groups else work.plan([])
    pinned = pinned_groups(scheduled, options)
    plan, chosen = _with_pinned(work, pinned) if pinned else without, pinned
    fixed = {*given, *_wholly_pinned(options)}
    limit = float("inf") if options.time_limit_s is None else began + options.time_limit_s
    search = GroupSearch(scheduled, arch, without, schedule_cache(scheduled), fixed, pinned, limit)
    for found in search.proposals():
        trial = work.tried([*pinned, *found])
        if trial is not None and plan.is_beaten_by(trial.total) and not any(_beyond_limits(trial)):
            plan, chosen = trial, [*pinned, *found]
            break
    search.accept(chosen[len(pinned) :])
    search.cache.close()
    return _explained(plan, without, chosen, search.stopped)


def _refuse_groups_of(arch: Arch, options: MappingOptions) -> None:
    if options.groups:
        message = f"{arch.name} is a machine of kind `{arch.kind}`: its layers run one after the other"
        raise CompileError([Diagnostic(message, pin.span, "leave `groups` out") for pin in options.groups])


def _with_pinned(work: _Work, pinned: Sequence[Group]) -> Plan:
    spans = [each.span for each in work.options.groups]
    try:
        plan = work.plan(pinned)
    except NotAChain as why:
        raise CompileError(
            [Diagnostic(f"these layers cannot run depth first: {why}", span) for span in spans]
        ) from None
    if faults := [short.fault(layer, spans[0]) for layer, short in _beyond_limits(plan)]:
        raise CompileError(faults)
    return plan


def _beyond_limits(plan: Plan) -> Iterator[tuple[str, Short]]:
    """Layers in stripes that go beyond a limit of the objective, which is one of all their stripes."""
    layers: dict[str, list[Figures]] = {}
    for n, nest in plan.nests.items():
        if nest.stripe is not None:
            layers.setdefault(nest.layer, []).append(plan.figures(n))
    for layer, stripes in layers.items():
        figures = _sum(stripes)
        short = plan.objective.short(figures.energy_pj, figures.cycles)
        if short is not None:
            yield layer, short


@dataclass(frozen=True, slots=True)
class _Work:
    """What is planned, with any groups."""

    scheduled: Module
    arch: Arch
    options: MappingOptions
    given: Collection[str]

    def plan(self, groups: Sequence[Group]) -> Plan:
        """What stays in local memory once `groups` are cut. Raises NotAChain where that is not possible."""
        module = with_groups(self.scheduled, self.arch, groups)
        if groups:
            module = self._as_pinned(module)
        chosen, inside = candidates(module, self.arch), between_stripes(module)
        must_be_among(chosen, inside)
        found = keep_plan(module, self.arch, self.options, self.given, chosen, inside)
        if found is None:
            raise NotAChain("the stripes do not fit in local memory")
        return found

    def tried(self, groups: Sequence[Group]) -> Plan | None:
        """The same, or None."""
        try:
            return self.plan(groups)
        except NotAChain:
            return None

    def _as_pinned(self, module: Module) -> Module:
        """The module with the mappings that pins give to stripes."""
        pins = dict(self.options.pins)
        mapper = Mapper(self.arch, self.options, MapCache(None))

        def mapped(operation: Operation) -> Operation:
            if not isinstance(operation, Nest) or operation.stripe is None or operation.name not in pins:
                return operation
            assert operation.schedule is not None
            return mapper.map(replace(operation, schedule=None), pins[operation.name], operation.schedule.im2col)

        return replace(module, operations=tuple(map(mapped, module.operations)))


def _without_stays(options: MappingOptions) -> MappingOptions:
    """The options with what pins keep in local memory left to the search: beside groups it fits, without it may not."""
    return replace(options, pins=tuple((name, replace(pin, stay=())) for name, pin in options.pins))


def _wholly_pinned(options: MappingOptions) -> Iterator[str]:
    """Layers of which more is pinned than what a stripe has from its layer."""
    yield from (name for name, pin in options.pins if pin.tiles or pin.copies or pin.complete or pin.leave)


def _explained(plan: Plan, without: Plan, groups: Sequence[Group], stopped: Collection[str]) -> Module:
    """The module of a plan; stripes say what their group saves, layers that are in none for lack of time say so."""
    module = plan.module()
    told: dict[str, str] = {}
    for group in groups:
        was = _sum([without.figures(n) for n in range(group.first, group.last + 1)])
        now = _sum([plan.figures(n) for n, nest in plan.nests.items() if nest.stripe and nest.layer in group.layers])
        text = f"depth first, {group.stripes} stripes of {group.layers[0]} to {group.layers[-1]}: "
        text += f"{was.cycles} to {now.cycles} cycles, {was.energy_pj:.6g} to {now.energy_pj:.6g} pJ"
        told |= dict.fromkeys(group.layers, text)

    def explained(operation: Operation) -> Operation:
        if not isinstance(operation, Nest) or operation.schedule is None:
            return operation
        if operation.stripe is not None:
            reason = f"{told[operation.layer]}; {operation.schedule.reason}"
        elif operation.name in stopped:
            reason = f"{operation.schedule.reason}; {GROUPS_STOPPED}"
        else:
            return operation
        return replace(operation, schedule=replace(operation.schedule, reason=reason))

    return replace(module, operations=tuple(map(explained, module.operations)))


def _sum(figures: Sequence[Figures]) -> Figures:
    return Figures(sum(each.cycles for each in figures), sum(each.energy_pj for each in figures))


# -------------------------------------------------------------------------------------------------- pinned groups


def pinned_groups(module: Module, options: MappingOptions) -> list[Group]:
    """The groups that the user wants. Raises CompileError where they name no layers of the module, overlap, or cannot
    be cut so."""
    places = {operation.name: number for number, operation in enumerate(module.operations)}
    uses = Uses.of(module)
    faults: list[Diagnostic] = []
    found: list[Group] = []
    for pin in options.groups:
        wrong = list(_pin_faults(pin, places, found, options))
        if not wrong:
            try:
                chain = Chain.of(module.operations, uses, places[pin.first], places[pin.last])
                found.append(Group(places[pin.first], places[pin.last], pin.stripes, chain))
                if pin.stripes > chain.most_stripes:
                    message = f"{pin.stripes} stripes of {chain.most_stripes} rows"
                    wrong = [Diagnostic(message, pin.span, f"2 to {chain.most_stripes}")]
            except NotAChain as why:
                wrong = [Diagnostic(f"{pin.first} to {pin.last} cannot run depth first: {why}", pin.span)]
        faults += wrong
    if not faults:
        stripes = {name for group in found for name in group.stripe_names}
        strange = [(name, pin) for name, pin in options.pins if name not in places and name not in stripes]
        faults = [Diagnostic(f"there is no stripe {name!r} to map", pin.span) for name, pin in strange]
    if faults:
        raise CompileError(faults)
    return found


def _pin_faults(
    pin: GroupPin, places: Mapping[str, int], earlier: Sequence[Group], options: MappingOptions
) -> Iterator[Diagnostic]:
    for name in (pin.first, pin.last):
        if name not in places:
            help = close_match(name, list(places)) or f"layers are: {', '.join(islice(places, 12))}"
            yield Diagnostic(f"there is no layer {name!r} to run depth first", pin.span, help.strip())
    if pin.first not in places or pin.last not in places:
        return
    first, last = places[pin.first], places[pin.last]
    pinned = set(_wholly_pinned(options))
    if first >= last:
        yield Diagnostic(f"{pin.last} is not after {pin.first}", pin.span, "two layers or more, in their order")
    for group in earlier:
        if first <= group.last and group.first <= last:
            message = f"{pin.first} to {pin.last} overlap {group.layers[0]} to {group.layers[-1]}"
            yield Diagnostic(message, pin.span, "a layer is in one group")
    for name in list(places)[first : last + 1]:
        if name in pinned:
            help = f"pin those of its stripes: {stripe_name(name, 1)}, ..."
            yield Diagnostic(f"{name} runs in stripes, and its tiles, copies or what stays are pinned", pin.span, help)


def refuse_groups(options: MappingOptions) -> None:
    """Raise CompileError where groups are pinned: nothing is to run depth first."""
    if options.groups:
        message = "layers are to run depth first, but fuse is not auto"
        raise CompileError([Diagnostic(message, each.span, "fuse auto") for each in options.groups])


def without_stripes(module: Module, options: MappingOptions) -> MappingOptions:
    """The options for layers that are not cut yet: pins of stripes, if groups are pinned, left out."""
    if not options.groups:
        return options
    known = {operation.name for operation in module.operations}
    layers = known | {copy_name(name) for name in known}

    def is_stripe(name: str) -> bool:
        layer, _, number = name.rpartition(".")
        return name not in known and layer in layers and number.isdecimal()

    return replace(options, pins=tuple((name, pin) for name, pin in options.pins if not is_stripe(name)))
