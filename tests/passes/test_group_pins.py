"""Groups of layers that a mapping file asks for: they run so, stripes may be pinned, and what cannot be is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.passes.depth_first import depth_first
from dnnc.passes.group_pins import without_stripes
from dnnc.passes.mapping import GroupPin, MappingOptions, Pin
from support.chains import linked
from support.equality import nests_of, pin_of
from support.nests import conv_nest
from support.striped import ARCH, assert_proven, figures, pinned, three


def test_pinned_stripes_have_their_mappings() -> None:
    """The mapping of each stripe may be pinned; then the search adds nothing, and figures are those of before."""
    module = three()
    found = pinned(module, 5, ARCH, "energy")
    pins = [(nest.name, pin_of(nest)) for nest in nests_of(found)]
    options = MappingOptions(objective="energy", groups=(GroupPin("conv0", "conv2", 5),), pins=tuple(pins))
    assert not without_stripes(module, options).pins
    again = depth_first(module, ARCH, options, ())
    assert again.kept == found.kept
    assert figures(again) == figures(found)
    assert_proven(again, module, ARCH)
    with pytest.raises(CompileError, match=r"there is no stripe 'conv0.6' to map\nhelp: conv0.1 to conv0.5"):
        depth_first(module, ARCH, replace(options, pins=(("conv0.6", Pin(dataflow="ws")),)), ())


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (GroupPin("conv0", "conv9", 2), "there is no layer 'conv9' to run depth first"),
        (GroupPin("conv2", "conv0", 2), "conv0 is not after conv2"),
        (
            GroupPin("conv0", "conv1", 2),
            "conv0 to conv1 cannot run depth first: 'conv0.y', which 'conv0' writes, is read by",
        ),
        (GroupPin("conv0", "conv2", 33), "33 stripes of conv0, which has 32 rows\nhelp: 2 to 32"),
        (
            GroupPin("conv0", "conv2", 2),
            "conv0 to conv2 cannot run depth first in 2 stripes: the stripes do not fit in local memory\n"
            "help: 5 stripes fit",
        ),
    ],
)
def test_groups_that_cannot_be_say_why(group: GroupPin, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        depth_first(three(), ARCH, MappingOptions(groups=(group,)), ())
    assert message in str(caught.value)


def test_all_faults_of_stripes_are_told() -> None:
    wrong = tuple((f"conv{layer}.{layer + 1}", Pin(tiles=(("z", 1),))) for layer in range(3))
    options = MappingOptions(groups=(GroupPin("conv0", "conv2", 5),), pins=wrong)
    with pytest.raises(CompileError) as caught:
        depth_first(three(), ARCH, options, ())
    told = [each.message for each in caught.value.diagnostics]
    assert told == [f"conv{layer}.{layer + 1}: there is no dimension 'z' to tile" for layer in range(3)]


def test_the_nearest_groups_that_can_be_are_told() -> None:
    """The part of a run that is a chain; what stripes of one row lack; which of several groups does not fit."""
    nests = [conv_nest(ARCH, m=12, p=32, q=8, c=12, tiles=[("p", 2), ("m", 4)]) for _ in range(5)]
    module = linked(nests, {(1, "x"): 0, (3, "x"): 2, (4, "x"): 3})
    faults = refused(module, GroupPin("conv0", "conv4", 4), GroupPin("conv1", "conv2", 2))
    assert "conv0 to conv4 cannot run depth first: 'conv1.y', which 'conv1' writes, is an output of the model" in faults
    assert "help: conv2 to conv4 can" in faults
    few = linked([conv_nest(ARCH, m=12, p=1, q=8, c=12) for _ in range(2)], {(1, "x"): 0})
    told = refused(few, GroupPin("conv0", "conv1", 9))
    assert "9 stripes of conv0, which has 8 rows\nhelp: 2 to 8" in told
    wide = [conv_nest(ARCH, m=24, p=32, q=8, c=24, tiles=[("p", 2), ("m", 4)]) for _ in range(2)]
    module = linked([*wide, *nests[2:]], {(1, "x"): 0, (3, "x"): 2, (4, "x"): 3})
    both = refused(module, GroupPin("conv0", "conv1", 2), GroupPin("conv2", "conv4", 8))
    assert (
        "conv0 to conv1 cannot run depth first in 2 stripes: 'conv0.y.1' cannot stay in local memory: it takes" in both
    )
    assert "and spad has 3000 B\nhelp: 7 stripes fit" in both
    assert "conv2 to conv4" not in both


def test_the_nearest_stripes_are_not_as_those_that_are_pinned() -> None:
    """Tiles of 16 rows, which stripes that fit do not have."""
    pins = (("conv0.1", Pin(tiles=(("p", 16),))),)
    told = refused(three(), GroupPin("conv0", "conv2", 2), pins=pins)
    assert "conv0 to conv2 cannot run depth first in 2 stripes" in told
    assert "help: 5 stripes fit" in told


def refused(module: Module, *groups: GroupPin, pins: tuple[tuple[str, Pin], ...] = ()) -> str:
    with pytest.raises(CompileError) as caught:
        depth_first(module, ARCH, MappingOptions(groups=groups, pins=pins), ())
    return str(caught.value)


def test_groups_do_not_overlap_nor_hold_pinned_tiles() -> None:
    nests = [conv_nest(ARCH, m=6, p=8, q=8, c=6, tiles=[("p", 2)]) for _ in range(3)]
    module = linked(nests, {(1, "x"): 0, (2, "x"): 1})
    groups = (GroupPin("conv0", "conv1", 4), GroupPin("conv1", "conv2", 4))
    with pytest.raises(CompileError, match="conv1 to conv2 overlap conv0 to conv1"):
        depth_first(module, ARCH, MappingOptions(groups=groups), ())
    options = MappingOptions(groups=groups[:1], pins=(("conv1", Pin(tiles=(("p", 2),))),))
    with pytest.raises(CompileError, match="conv1 runs in stripes, and its tiles, copies or what stays are pinned"):
        depth_first(module, ARCH, options, ())
    options = replace(options, pins=(("conv0", Pin(leave=("y",))),))
    with pytest.raises(CompileError, match="conv0 runs in stripes, and its tiles, copies or what stays are pinned"):
        depth_first(module, ARCH, MappingOptions(groups=groups[:1], pins=options.pins), ())
    options = replace(options, pins=(("conv1.2", Pin(leave=("x",))),))
    with pytest.raises(CompileError, match=r"conv1.2: x is not to stay in local memory, but its group keeps it there"):
        depth_first(module, ARCH, options, ())
    taken = replace(module, operations=(*nests_of(module)[:2], replace(nests_of(module)[2], name="conv0.1")))
    with pytest.raises(CompileError, match=r"'conv0.1', the name of a stripe, is that of a layer"):
        depth_first(taken, ARCH, MappingOptions(groups=groups[:1]), ())
