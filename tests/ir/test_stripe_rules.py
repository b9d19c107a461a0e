"""What stripes of layers say of each other: wrong modules, and groups as they are read off a module."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.ir.module import Module
from dnnc.ir.nest import Stripe
from dnnc.ir.parser import parse_nest
from dnnc.ir.printer import print_nest
from dnnc.ir.stripe_rules import MOST_STRIPES, groups_of
from dnnc.ir.verifier import verify
from dnnc.passes.groups import Group, with_groups
from dnnc.passes.stripes import Chain, Uses
from support.chains import linked
from support.equality import nests_of
from support.machines import machine
from support.nests import conv_nest

ARCH = machine()


def four() -> Module:
    """Four layers of 8 rows, one behind the other."""
    nests = [conv_nest(ARCH, m=6, p=8, q=5, c=6, tiles=[("p", 2)]) for _ in range(4)]
    return linked(nests, {(number, "x"): number - 1 for number in range(1, 4)})


def striped(*groups: tuple[int, int, int]) -> Module:
    """With groups of so first and last operations and so many stripes."""
    module = four()
    uses = Uses.of(module)
    found = [Group(first, last, count, Chain.of(module.operations, uses, first, last)) for first, last, count in groups]
    return with_groups(module, ARCH, found)


def changed(module: Module, place: int, **changes: object) -> Module:
    operations = list(nests_of(module))
    stripe = operations[place].stripe
    assert stripe is not None
    operations[place] = replace(operations[place], stripe=replace(stripe, **changes))
    return replace(module, operations=tuple(operations))


def test_groups_are_read_off_the_order_of_stripes() -> None:
    for groups in ([(0, 1, 2)], [(0, 1, 2), (2, 3, 2)], [(0, 1, 3), (2, 3, 2)], [(1, 3, 4)]):
        module = striped(*groups)
        assert verify(module, ARCH) == []
        found = [([nest.layer for nest in nests], nests[0].stripe) for nests in groups_of(module)]
        assert found == [
            ([f"conv{number}" for number in range(first, last + 1)], Stripe(f"conv{first}", 1, count))
            for first, last, count in groups
        ]


def test_text_says_which_stripe_a_nest_is() -> None:
    nest = nests_of(striped((0, 1, 2)))[2]
    text = print_nest(nest)
    assert text.startswith("nest @conv0.2 {\n  stripe 2 of 2 of @conv0\n  domain n:1 m:6 p:5 ")
    assert parse_nest(text) == nest
    assert nest.layer == "conv0"


@pytest.mark.parametrize(
    ("place", "changes", "message", "help"),
    [
        (0, {"count": 1}, "it is one of 1 stripes", f"2 to {MOST_STRIPES}"),
        (0, {"count": MOST_STRIPES + 1}, f"it is one of {MOST_STRIPES + 1} stripes", f"2 to {MOST_STRIPES}"),
        (2, {"count": 3}, "@conv0 has 3 stripes", "'conv0.1' says 2"),
        (2, {"number": 1}, "it is stripe 1 of @conv0", "2"),
        (0, {"number": 2}, "it is stripe 2 of @conv0", "1"),
        (0, {"layer": "conv3"}, "its layer @conv3 is an operation, too", "a name of its own"),
        (3, {"layer": "else"}, "@conv1 has 1 stripes", "it says 2"),
    ],
)
def test_stripes_are_numbered(place: int, changes: dict[str, object], message: str, help: str) -> None:
    faults = verify(changed(striped((0, 1, 2)), place, **changes), ARCH)
    assert (message, help) in [(each.message.partition(": ")[2], each.help) for each in faults]
