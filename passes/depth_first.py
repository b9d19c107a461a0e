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

from collections.abc import Collection, Iterator, Sequence
from dataclasses import field, replace

from ..ir.arch import Arch
from ..ir.clock import clock_s
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.module import Module, Operation
from ..ir.nest import Nest
from .group_pins import pinned_groups, refuse_groups_of, wholly_pinned, without_stays, without_stripes
from .group_search import GroupSearch, stripe_counts
from .groups import Group, between_stripes, must_be_among, with_groups
from .keep import candidates, keep_plan, schedule_cache
from .keep_found import Figures, Known
from .keep_plan import Plan
from .map_cache import MapCache
from .mapper import STOPPED, Mapper
from .mapping import MappingOptions
from .objective import Short
from .stripes import NotAChain

GROUPS_STOPPED = f"the search for groups {STOPPED}"  # stands in the reasons of layers that might be in one
_MOST_TRIED = 6  # numbers of stripes, for one that fits
_MORE = 1.4  # times the stripes of before


def depth_first(scheduled: Module, arch: Arch, options: MappingOptions, given: Collection[str]) -> Module:
    """The module with groups, and with what stays in local memory whole. Layers that are `given` with a schedule, or
    whose tiles or copies are pinned, are in no group that is found.

    Raises CompileError for pinned groups that there cannot be, and as passes/keep.py does.
    """
    if arch.kind != "executable":
        refuse_groups_of(arch, options)
        return scheduled
    began = clock_s()
    work = _Work(scheduled, arch, options, given)
    without = replace(work, options=without_stays(options)).plan([]) if options.groups else work.plan([])
    pinned = pinned_groups(scheduled, options)
    plan, chosen = _with_pinned(work, pinned) if pinned else without, pinned
    fixed = {*given, *wholly_pinned(options)}
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


def _with_pinned(work: _Work, pinned: Sequence[Group]) -> Plan:
    try:
        plan = work.plan(pinned)
    except NotAChain as why:
        raise CompileError(list(_misfits(work, pinned, str(why)))) from None
    if beyond := list(_beyond_limits(plan)):
        spans = {
            layer: pin.span for pin, group in zip(work.options.groups, pinned, strict=True) for layer in group.layers
        }
        raise CompileError([short.fault(layer, spans[layer]) for layer, short in beyond])
    return plan


def _misfits(work: _Work, pinned: Sequence[Group], why: str) -> Iterator[Diagnostic]:
    """The groups that do not fit by themselves, each with the nearest number of stripes; all where each does."""
    pins = work.options.groups
    alone = [(pin, group, said) for pin, group in zip(pins, pinned, strict=True) if (said := work.refusal([group]))]
    for pin, group, said in alone:
        message = f"{pin.first} to {pin.last} cannot run depth first in {pin.stripes} stripes: {said}"
        yield Diagnostic(message, pin.span, _nearest_stripes(work, group))
    if not alone:
        for pin in pins:
            yield Diagnostic(f"{pin.first} to {pin.last}, beside other groups: {why}", pin.span, "fewer groups")


def _nearest_stripes(work: _Work, group: Group) -> str:
    """More stripes that fit, in a user's words; those that are tried grow. What is pinned of stripes is of others."""
    work = replace(work, options=without_stripes(work.scheduled, work.options))
    least, tried = group.stripes * _MORE, 0
    for count in stripe_counts(group.chain):
        if count >= least and tried < _MOST_TRIED:
            if not work.refusal([replace(group, stripes=count)]):
                return f"{count} stripes fit"
            least, tried = count * _MORE, tried + 1
    return "more stripes do not fit either" if tried else "fewer layers"


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
    known: Known = field(default_factory=Known)

    def plan(self, groups: Sequence[Group]) -> Plan:
        """What stays in local memory once `groups` are cut. Raises NotAChain where that is not possible."""
        module = with_groups(self.scheduled, self.arch, groups)
        if groups:
            module = self._as_pinned(module)
        chosen, inside = candidates(module, self.arch), between_stripes(module)
        must_be_among(module, self.arch, chosen, inside)
        found = keep_plan(module, self.arch, self.options, self.given, chosen, inside, self.known)
        if found is None:
            raise NotAChain("the stripes do not fit in local memory")
        return found

    def tried(self, groups: Sequence[Group]) -> Plan | None:
        """The same, or None."""
        try:
            return self.plan(groups)
        except NotAChain:
            return None

    def refusal(self, groups: Sequence[Group]) -> str:
        """Why that is not possible; empty if it is."""
        try:
            self.plan(groups)
        except NotAChain as why:
            return str(why)
        return ""

    def _as_pinned(self, module: Module) -> Module:
        """The module with the mappings that pins give to stripes."""
        pins = dict(self.options.pins)
        mapper = Mapper(self.arch, self.options, MapCache(None))

        faults: list[Diagnostic] = []

        def mapped(operation: Operation) -> Operation:
            if not isinstance(operation, Nest) or operation.stripe is None or operation.name not in pins:
                return operation
            assert operation.schedule is not None
            try:
                bare = replace(operation, schedule=None)
                return mapper.map(bare, pins[operation.name], operation.schedule.im2col)
            except CompileError as error:
                faults.extend(error.diagnostics)
                return operation

        operations = tuple(map(mapped, module.operations))
        if faults:
            raise CompileError(faults)
        return replace(module, operations=operations)


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
