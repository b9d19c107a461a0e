"""The best schedule that is found for a nest: what a pin leaves open is searched for, once for nests that differ in
names alone, with the reason and a certificate. What earlier compilations found is taken from a cache
(passes/map_cache.py) after it has been checked, counts included, with the same result as a search.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from ..backends.cost.module import nameless
from ..ir.arch import Arch
from ..ir.clock import clock_s
from ..ir.diagnostics import NOWHERE, CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.nest import Dataflow, Nest, Schedule
from .dataflow import dataflows_for
from .im2col import Explicit, copy_name, explicit_alternative, explicit_refusal, im2col_kind
from .map_cache import MapCache
from .map_entry import entry_of, restored
from .map_objective import figures_of, objective_floor
from .mapper_miss import misfit
from .mapping import MappingOptions, Pin, pin_faults
from .objective import Objective, Short, parse_objective
from .schedule import make_schedule

if TYPE_CHECKING:
    from .map_search import Found

_Key = tuple[int, Pin | None, str]  # a kind of nests, how it is pinned, and its im2col

STOPPED = "stopped at the time limit"  # stands in the reasons of schedules for which that holds
MOST_WORKERS = 8


def map_nest(nest: Nest, arch: Arch, options: MappingOptions, pin: Pin | None = None) -> Nest:
    """The nest with the best schedule that is found for it as it is (an implicit im2col, where it slides a window).

    Raises CompileError where the pin or the options leave nothing that fits, with the constraint and the nearest miss.
    """
    return Mapper(arch, options).map(nest, pin, im2col_kind(nest))


@dataclass
class Mapper:
    """Mappings for one machine and one set of options; remembers what it has mapped, and keeps it in `cache`, but for
    what the `deadline` (of clock_s) may have cut short."""

    arch: Arch
    options: MappingOptions
    cache: MapCache = field(default_factory=lambda: MapCache(None))
    deadline: float = float("inf")
    _known: dict[_Key, Schedule] = field(default_factory=dict)
    _explicit: dict[_Key, bool] = field(default_factory=dict)
    _alike: dict[Nest, Nest] = field(default_factory=dict)  # without names; each is its own value
    _seen: dict[int, tuple[Nest, Nest]] = field(default_factory=dict)  # by identity: a nest, and that without names
    _entries: dict[tuple[str, _Key], str] = field(default_factory=dict)

    @property
    def objective(self) -> Objective:
        return parse_objective(self.options.objective)

    def map(self, nest: Nest, pin: Pin | None, label: str) -> Nest:
        """The nest with its schedule; `label` is its im2col."""
        key = self._key(nest, pin, label)
        if key not in self._known:
            entry = self._entry("mapping", key)
            schedule = restored(nest, self.arch, self.options, pin or Pin(), label, self.cache.read(entry))
            if schedule is None:
                schedule = self._schedule(nest, pin or Pin(), label)
                if not self._is_late():
                    self.cache.write(entry, entry_of(schedule))
            self._known[key] = schedule
        return replace(nest, schedule=self._known[key])

    def map_ahead(self, layers: Sequence[tuple[Nest, Pin | None, Pin | None]]) -> None:
        """Map layers that are not known yet, each with its pin and that of its copy, on all cores: compiled searches
        leave the interpreter to one another. `takes_explicit` and `map` then know the results; faults are left to them.
        """
        different = {(self._key(nest, pin, ""), copy_pin): (nest, pin, copy_pin) for nest, pin, copy_pin in layers}
        unknown = [each for each in different.values() if not self._is_kept(each[0], each[1])]
        workers = min(len(unknown), _threads(), MOST_WORKERS)
        if workers < 2:
            return
        unknown.sort(key=lambda each: -prod(dim.extent for dim in each[0].domain))  # the longest first
        from concurrent.futures import ThreadPoolExecutor, wait  # what the cache has does without

        with ThreadPoolExecutor(workers) as pool:
            wait([pool.submit(self.takes_explicit, *each) for each in unknown])

    def _is_kept(self, nest: Nest, pin: Pin | None) -> bool:
        """Whether the cache may have a mapping of the nest as it is."""
        return self.cache.has(self._entry("mapping", self._key(nest, pin, im2col_kind(nest))))

    def _is_late(self) -> bool:
        return clock_s() >= self.deadline

    @cached_property
    def _setting(self) -> str:
        """A digest of the machine and the options."""
        arch = replace(self.arch, text="", digest="", sources=())
        return self.cache.key(arch, self.options.dataflow, self.objective)

    def _entry(self, what: str, key: _Key) -> str:
        if (what, key) not in self._entries:
            nest = self._seen[key[0]][1]
            self._entries[what, key] = self.cache.key(what, nest, *key[1:], self._setting)
        return self._entries[what, key]

    def _key(self, nest: Nest, pin: Pin | None, label: str) -> _Key:
        """Nests that differ in names alone have one key."""
        if id(nest) not in self._seen:
            bare = nameless(nest)
            bare = self._alike.setdefault(bare, bare)
            self._seen[id(bare)] = bare, bare
            self._seen[id(nest)] = nest, bare
        return id(self._seen[id(nest)][1]), replace(pin, span=NOWHERE, places=()) if pin else None, label

    def _schedule(self, nest: Nest, pin: Pin, label: str) -> Schedule:
        faults = list(pin_faults(nest, pin))
        try:
            dataflows = self._dataflows(nest, pin)
        except CompileError as error:
            faults += error.diagnostics
        if faults:
            raise CompileError(faults)
        if pin.stay:  # whether it fits depends on what else stays: passes/keep.py
            return make_schedule(nest, self.arch, dataflows[0], pin.tiles, dict(pin.copies), label, "as pinned")
        if nest.is_empty:
            return make_schedule(nest, self.arch, dataflows[0], (), {}, label, "the nest has no points")
        found = self._search(nest, dataflows, pin, label)
        if found is None:
            raise CompileError(misfit(nest, self.arch, dataflows[0], pin))
        if isinstance(found, Short):
            raise CompileError(found.fault(nest.name, pin.span))
        return self._certified(found, pin)

    def _search(
        self, nest: Nest, dataflows: Sequence[Dataflow], pin: Pin, label: str, limit: float = float("inf")
    ) -> Found | Short | None:
        from .map_limits import search_within  # compiled code, which what the cache has does without

        return search_within(nest, self.arch, dataflows, pin, self.objective, label, limit, self.deadline)

    def _dataflows(self, nest: Nest, pin: Pin) -> tuple[Dataflow, ...]:
        wanted = pin.dataflow or self.options.dataflow
        dataflows, refusal = dataflows_for(nest, self.arch, wanted, pinned=pin.dataflow is not None)
        if not dataflows:
            where = f"{nest.name}: " if pin.dataflow else ""
            raise CompileError(
                Diagnostic(f"{where}{refusal}", pin.place("dataflow"), "leave the dataflow to the search: auto")
            )
        return dataflows

    def _certified(self, found: Found, pin: Pin) -> Schedule:
        return replace(
            found.schedule,
            reason=self._reason(found, pin),
            objective=found.objective,
            lower_bound=found.lower_bound,
            bounds=found.bounds,
            evaluated=found.evaluated,
            optimal=found.optimal,
        )

    def _reason(self, found: Found, pin: Pin) -> str:
        chosen = found.schedule.dataflow
        parts = [f"{chosen.value} {found.objective:.6g} {self.objective.unit}"]
        for dataflow, (value, exact) in found.by_dataflow.items():
            if dataflow is not chosen:
                parts.append(f"{dataflow.value} {'' if exact else 'at least '}{value:.6g}")
        if replace(pin, span=NOWHERE, places=()) != Pin():
            parts.append("partly pinned")
        elif self.options.dataflow != "auto" and chosen.value == self.options.dataflow:
            parts.append("dataflow as asked")
        if found.listed < found.declared:
            parts.append(f"best of a thinned space, {found.listed} of {found.declared} choices of tiles")
        if found.stopped:
            parts.append(STOPPED)
        elif found.exhausted:
            parts.append(f"the proof was given up after {found.bounds} bounds and {found.evaluated} mappings")
        return "; ".join(parts)

    def takes_explicit(self, nest: Nest, pin: Pin | None, copy_pin: Pin | None) -> bool:
        """Whether the nest becomes a copy and a product. Maps it on the way, so that nothing is left to refuse.

        A pin of the copy asks for it: a comparison could only take it away.
        """
        own, kind = pin or Pin(), im2col_kind(nest)
        if own.im2col is not None and (own.im2col == "none") != (kind == "none"):
            message = "it slides no window" if kind == "none" else "it slides a window"
            legal = "none" if kind == "none" else "implicit or explicit"
            fault = Diagnostic(f"{nest.name}: im2col {own.im2col}: {message}", own.place("im2col"), legal)
            raise CompileError([fault, *pin_faults(nest, own)])
        wanted = own.im2col or self.options.im2col
        if wanted == "auto" and copy_pin is not None:
            wanted = "explicit"
        if wanted == "explicit":
            alternative = explicit_alternative(nest, self.arch)
            if alternative is not None:
                self._map_both(alternative, pin, copy_pin)
                return True
            if own.im2col is not None:
                refusal = explicit_refusal(nest, self.arch)
                raise CompileError(
                    Diagnostic(f"{nest.name}: im2col explicit: {refusal}", own.place("im2col"), "implicit")
                )
        if copy_pin is not None:
            raise CompileError(
                Diagnostic(
                    f"there is no layer {copy_name(nest.name)!r} to map: {nest.name!r} takes no explicit im2col",
                    copy_pin.span,
                    explicit_refusal(nest, self.arch) or "pin `im2col: explicit` of that layer, too",
                )
            )
        implicit = self.map(nest, pin, kind)
        if wanted != "auto" or kind == "none" or nest.is_empty or own.tiles:
            return False
        return self._explicit_is_better(nest, pin, implicit)

    def _map_both(self, explicit: Explicit, pin: Pin | None, copy_pin: Pin | None) -> None:
        """Map the nests of an explicit form, after the faults of both pins have been told together."""
        parts = ((explicit.copy, copy_pin, "none"), (explicit.product, pin, "explicit"))
        if faults := [fault for nest, own, _ in parts if own for fault in pin_faults(nest, own)]:
            raise CompileError(faults)
        for nest, own, label in parts:
            self.map(nest, own, label)

    def _explicit_is_better(self, nest: Nest, pin: Pin | None, implicit: Nest) -> bool:
        key = self._key(nest, pin, "auto")
        if key not in self._explicit:
            entry = self._entry("explicit", key)
            match self.cache.read(entry):
                case {"explicit": bool(better)}:
                    self._explicit[key] = better
                case _:
                    self._explicit[key] = self._compared(nest, pin, implicit)
                    if self._is_late():
                        self._note_stopped(self._key(nest, pin, im2col_kind(nest)))
                    else:
                        self.cache.write(entry, {"explicit": self._explicit[key]})
        return self._explicit[key]

    def _note_stopped(self, key: _Key) -> None:
        """Of an implicit im2col: it may have been kept because the time for the explicit one was out."""
        schedule = self._known[key]
        if STOPPED not in schedule.reason:
            self._known[key] = replace(schedule, reason=f"{schedule.reason}; {STOPPED}")

    def _compared(self, nest: Nest, pin: Pin | None, implicit: Nest) -> bool:
        alternative = explicit_alternative(nest, self.arch)
        if alternative is None:
            return False
        assert implicit.schedule is not None
        objective = self.objective
        if not (objective.is_linear or objective.is_limited):  # each part is mapped by itself, then both are compared
            copy, product = self.map(alternative.copy, None, "none"), self.map(alternative.product, pin, "explicit")
            return together([copy, product], self.arch, objective) < implicit.schedule.objective
        wanted = (pin.dataflow if pin else None) or self.options.dataflow
        parts = [
            (alternative.copy, dataflows_for(alternative.copy, self.arch, "vector")[0], Pin(), "none"),
            (alternative.product, dataflows_for(alternative.product, self.arch, wanted)[0], pin or Pin(), "explicit"),
        ]
        if objective.is_limited:  # both together must keep the limits
            both = [self._search(part, flows, pins, label) for part, flows, pins, label in parts]
            nests = [
                replace(part, schedule=each.schedule)
                for (part, _, _, _), each in zip(parts, both, strict=True)
                if each is not None and not isinstance(each, Short)
            ]
            return len(nests) == len(parts) and together(nests, self.arch, objective) < implicit.schedule.objective
        left = implicit.schedule.objective
        floors = [
            min(objective_floor(part, self.arch, each, objective) for each in flows) for part, flows, _, _ in parts
        ]
        if sum(floors) >= left:
            return False
        for number, (part, flows, pins, label) in enumerate(parts):
            found = self._search(part, flows, pins, label, left - sum(floors[number + 1 :]))
            if found is None or isinstance(found, Short):
                return False
            left -= found.objective
        return True


def together(nests: Sequence[Nest], arch: Arch, objective: Objective) -> float:
    """The objective of scheduled nests that run one after the other."""
    figures = [figures_of(nest, arch) for nest in nests]
    return objective.of(sum(energy for energy, _ in figures), sum(cycles for _, cycles in figures))


def _threads() -> int:
    """As many as there are cores, or OMP_NUM_THREADS: so processes that share cores are told how many are theirs."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and 0 < len(given) < 6 else os.cpu_count() or 1
