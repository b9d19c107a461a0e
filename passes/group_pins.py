"""Groups of layers that a mapping file asks for, and what is wrong with them. A part of passes/depth_first.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic, close_match
from ..ir.module import Module
from .groups import Group
from .im2col import copy_name
from .mapping import GroupPin, MappingOptions
from .stripes import Chain, NotAChain, Uses, stripe_name

MOST_SEARCHED = 32  # layers of a group that is none, for a part of it that is one


def refuse_groups_of(arch: Arch, options: MappingOptions) -> None:
    """Raise CompileError where groups are pinned on a machine whose programs are not executed."""
    if options.groups:
        message = f"{arch.name} is a machine of kind `{arch.kind}`: its layers run one after the other"
        raise CompileError([Diagnostic(message, pin.span, "leave `groups` out") for pin in options.groups])


def without_stays(options: MappingOptions) -> MappingOptions:
    """The options with what pins keep in local memory left to the search: beside groups it fits, without it may not."""
    return replace(options, pins=tuple((name, replace(pin, stay=())) for name, pin in options.pins))


def wholly_pinned(options: MappingOptions) -> Iterator[str]:
    """Layers of which more is pinned than what a stripe has from its layer."""
    yield from (name for name, pin in options.pins if pin.tiles or pin.copies or pin.complete or pin.leave)


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
            first, last = places[pin.first], places[pin.last]
            try:
                chain = Chain.of(module.operations, uses, first, last)
            except NotAChain as why:
                message = f"{pin.first} to {pin.last} cannot run depth first: {why}"
                wrong = [Diagnostic(message, pin.span, _nearest_chain(module, uses, first, last))]
            else:
                found.append(Group(first, last, pin.stripes, chain))
                wrong = list(_stripe_faults(pin, chain))
        faults += wrong
    if not faults:
        stripes = {name for group in found for name in group.stripe_names}
        strange = [(name, pin) for name, pin in options.pins if name not in places and name not in stripes]
        ends = {name: f"{name}.1 to {name}.{group.stripes}" for group in found for name in group.layers}
        faults = [
            Diagnostic(f"there is no stripe {name!r} to map", pin.span, ends.get(name.rpartition(".")[0], ""))
            for name, pin in strange
        ]
    if faults:
        raise CompileError(faults)
    return found


def unknown_ends(module: Module, options: MappingOptions) -> Iterator[Diagnostic]:
    """The layers that groups name and the module has not."""
    places = {operation.name: number for number, operation in enumerate(module.operations)}
    for pin in options.groups:
        yield from _unknown_ends(pin, places)


def _unknown_ends(pin: GroupPin, places: Mapping[str, int]) -> Iterator[Diagnostic]:
    for name in dict.fromkeys((pin.first, pin.last)):
        if name not in places:
            help = close_match(name, list(places)) or f"layers are: {', '.join(islice(places, 12))}"
            yield Diagnostic(f"there is no layer {name!r} to run depth first", pin.span, help.strip())


def _stripe_faults(pin: GroupPin, chain: Chain) -> Iterator[Diagnostic]:
    most = chain.most_stripes
    if pin.stripes > most:
        fewest = chain.nests[chain.rows.index(most)].name
        rows = "one row" if most == 1 else f"{most} rows"
        legal = f"2 to {most}" if most > 1 else f"a group without {fewest}"
        yield Diagnostic(f"{pin.stripes} stripes of {fewest}, which has {rows}", pin.span, legal)


def _nearest_chain(module: Module, uses: Uses, first: int, last: int) -> str:
    """The longest run of layers between two that can run depth first, in a user's words; empty where there is none, or
    where there are too many to look."""
    names = [operation.name for operation in module.operations]
    for length in range(last - first if last - first < MOST_SEARCHED else 0, 1, -1):
        for start in range(first, last - length + 2):
            with suppress(NotAChain):
                Chain.of(module.operations, uses, start, start + length - 1)
                return f"{names[start]} to {names[start + length - 1]} can"
    return ""


def _pin_faults(
    pin: GroupPin, places: Mapping[str, int], earlier: Sequence[Group], options: MappingOptions
) -> Iterator[Diagnostic]:
    yield from _unknown_ends(pin, places)
    if pin.first not in places or pin.last not in places:
        return
    first, last = places[pin.first], places[pin.last]
    pinned = set(wholly_pinned(options))
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
