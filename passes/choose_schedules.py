"""Choose a schedule for every nest: im2col, dataflow, tiles, loop order and copies, with the reason and a certificate.

before:  nests without schedules
after:   nests with schedules; those that take explicit im2col are two: a copy into the matrix of windows, a product

Requires: a lowered module. Nests that have a schedule keep it; a pin of one is refused.
Ensures:  every schedule fits the machine; what a user pinned is as pinned. Nests that differ in names alone are mapped
          once, so that equal modules get equal schedules; what earlier compilations found is taken from the user's
          cache (passes/map_cache.py) after it has been checked, counts included, with the same result as a search.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice

from ..ir.arch import Arch
from ..ir.clock import clock_s
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.module import Module, Operation
from ..ir.nest import Nest
from .allocate import larger_than_main_memory
from .group_pins import unknown_ends
from .im2col import copy_name, im2col_kind, with_explicit
from .map_cache import MapCache
from .mapper import Mapper
from .mapping import MappingOptions, pin_faults


def choose_schedules(module: Module, arch: Arch, options: MappingOptions) -> Module:
    """The module with a schedule for every nest. Raises CompileError for every pin or option that no mapping meets, and
    for tensors that main memory does not hold: the search grows with extents, and only those are bounded."""
    if oversized := list(larger_than_main_memory(module, arch)):
        raise CompileError(oversized)
    deadline = float("inf") if options.time_limit_s is None else clock_s() + options.time_limit_s
    mapper = Mapper(arch, options, MapCache.of_user(), deadline)
    pins = dict(options.pins)
    layers = _layers(module)
    left = [each for each in layers.values() if each.schedule is None]
    faults = pinned_in_vain(module, options)
    if options.faults:
        faults += [fault for name, pin in pins.items() if name in layers for fault in pin_faults(layers[name], pin)]
        raise CompileError(_by_place([*options.faults, *faults, *unknown_ends(module, options)]))
    explicit: set[str] = set()
    pinned = [
        (nest, pins.get(nest.name), None if copy_name(nest.name) in layers else pins.get(copy_name(nest.name)))
        for nest in left
    ]
    mapper.map_ahead(pinned)
    for nest, own, of_copy in pinned:
        try:
            if mapper.takes_explicit(nest, own, of_copy):
                explicit.add(nest.name)
        except CompileError as error:
            faults += error.diagnostics
    if faults:
        raise CompileError(_by_place([*dict.fromkeys(faults), *unknown_ends(module, options)]))

    def scheduled(operation: Operation) -> Operation:
        if not isinstance(operation, Nest) or operation.schedule is not None:
            return operation
        label = "explicit" if operation.name in explicit else im2col_kind(operation)
        return mapper.map(operation, pins.get(operation.name), label)

    module = with_explicit(module, arch, lambda nest: nest.name in explicit)
    module = replace(module, operations=tuple(map(scheduled, module.operations)))
    mapper.cache.close()
    return module


def pinned_in_vain(module: Module, options: MappingOptions) -> list[Diagnostic]:
    """Pins of layers that a lowered module has not, or that have a schedule already."""
    layers = _layers(module)
    copies = {copy_name(each.name) for each in layers.values() if each.schedule is None}
    found: list[Diagnostic] = []
    for name, pin in options.pins:
        if name in layers and layers[name].schedule is not None:
            found.append(Diagnostic(f"layer {name!r} has a schedule already", pin.span, "leave it out of the mapping"))
        elif name not in layers and name not in copies:
            found.append(Diagnostic(f"there is no layer {name!r} to map", pin.span, _listed(layers)))
    return found


def _layers(module: Module) -> dict[str, Nest]:
    return {each.name: each for each in module.operations if isinstance(each, Nest)}


def given_schedules(module: Module) -> frozenset[str]:
    """The names of nests that have a schedule already."""
    return frozenset(each.name for each in module.operations if isinstance(each, Nest) and each.schedule is not None)


def _by_place(faults: Sequence[Diagnostic]) -> list[Diagnostic]:
    return sorted(faults, key=lambda each: (each.span.file, each.span.line, each.span.column))


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(islice(names, 12))
    return f"layers are: {shown}{', ...' if len(names) > 12 else ''}"
