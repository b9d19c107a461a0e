"""What holds of the stripes of layers. A part of `ir/verifier.py`.

Stripes are nests, of which each is legal by itself; these rules are about what they say of each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from .arch import Arch
from .diagnostics import Diagnostic
from .module import Module
from .nest import Nest
from .nest_rules import fault
from .text import symbol

MOST_STRIPES = 4096  # of a layer


def stripes_are_numbered(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """A layer's stripes have the numbers from 1 to their count, at least 2, in order; no operation has the layer's
    name."""
    seen: dict[str, list[Nest]] = {}
    names = {operation.name: operation for operation in module.operations}
    for nest in module.operations:
        if not isinstance(nest, Nest) or nest.stripe is None:
            continue
        stripe, before = nest.stripe, seen.setdefault(nest.layer, [])
        if not 2 <= stripe.count <= MOST_STRIPES:
            yield fault(nest, f"it is one of {stripe.count} stripes", f"2 to {MOST_STRIPES}")
        elif before and before[0].stripe is not None and before[0].stripe.count != stripe.count:
            help = f"{before[0].name!r} says {before[0].stripe.count}"
            yield fault(nest, f"{symbol(stripe.layer, '@')} has {stripe.count} stripes", help)
        elif stripe.number != len(before) + 1:
            yield fault(nest, f"it is stripe {stripe.number} of {symbol(stripe.layer, '@')}", f"{len(before) + 1}")
        elif not before and stripe.layer in names:
            yield fault(nest, f"its layer {symbol(stripe.layer, '@')} is an operation, too", "a name of its own")
        before.append(nest)
    for layer, stripes in seen.items():
        last = stripes[-1].stripe
        if last is not None and len(stripes) < last.count:
            yield fault(stripes[-1], f"{symbol(layer, '@')} has {len(stripes)} stripes", f"it says {last.count}")


def groups_of(module: Module) -> list[tuple[Nest, ...]]:
    """The groups of layers whose stripes take turns, each as the first stripes of its layers."""
    found: list[list[Nest]] = []
    number = 0  # of the stripe before; 0: none
    for nest in module.operations:
        stripe = nest.stripe if isinstance(nest, Nest) else None
        if isinstance(nest, Nest) and stripe is not None and stripe.number == 1:
            if number != 1:
                found.append([])
            found[-1].append(nest)
        number = 0 if stripe is None else stripe.number
    return [tuple(nests) for nests in found]
