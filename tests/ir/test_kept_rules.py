"""One wrong module for each rule about values that stay in local memory, and the sound ones around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest, Schedule
from dnnc.ir.nest_layout import whole_rows
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.verifier import verify
from support.chains import chain, chains
from support.faults import assert_fault
from support.machines import machine
from support.nests import conv_nest

ARCH = machine()
SPAD_BYTES = ARCH.memory("spad").capacity_bytes
FIRST = conv_nest(ARCH, m=6, p=6, q=5, c=5, tiles=[("p", 2), ("m", 4)])
PADDED = conv_nest(ARCH, m=7, p=6, q=5, c=6, tiles=[("m", 4), ("p", 4)])
MODULE = chain(ARCH, FIRST, PADDED)
KEPT = "conv0.y"


def changed(number: int, change: Callable[[Schedule], Schedule], module: Module = MODULE) -> Module:
    operations = list(module.operations)
    nest = operations[number]
    assert isinstance(nest, Nest)
    assert nest.schedule is not None
    operations[number] = replace(nest, schedule=change(nest.schedule))
    return replace(module, operations=tuple(operations))


def reading(module: Module = MODULE, number: int = 1, operand: str = "x", **changes: Any) -> Module:
    def change(schedule: Schedule) -> Schedule:
        buffers = (replace(each, **changes) if each.operand == operand else each for each in schedule.buffers)
        return replace(schedule, buffers=tuple(buffers))

    return changed(number, change, module)


def storing(module: Module = MODULE, **changes: Any) -> Module:
    def change(schedule: Schedule) -> Schedule:
        assert schedule.target is not None
        return replace(schedule, target=replace(schedule.target, **changes))

    return changed(0, change, module)


def address_of_target(module: Module) -> int:
    nest = module.operations[0]
    assert isinstance(nest, Nest)
    assert nest.schedule is not None
    assert nest.schedule.target is not None
    assert nest.schedule.target.address is not None
    return nest.schedule.target.address


def test_sound_ones_are_legal_and_print_back() -> None:
    for module in chains(ARCH):
        assert verify(module, ARCH) == []
        assert verify(module) == []
        assert parse_module(print_module(module)) == module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (reading(margins=(0,) * 8), "is read 1 before and 1 beyond axis 1"),
        (reading(margins=(0, 0, 1, 1, 1)), "has 5 margins"),
        (reading(margins=(0, 0, 1, 1, 1, 1, 0, -1)), "has margins"),
        (reading(margins=(0, 0, 1, 1, 1, 1, 0, 65535)), "has an axis of 65541 positions"),
        (reading(copies=2), "has copies or an order of its own"),
        (reading(order=(0, 1, 2, 3)), "has copies or an order of its own"),
        (reading(operand="y", margins=(0,) * 8), "is kept as accumulators"),
        (storing(shape=(1, 5, 6, 6)), "has shape [1, 5, 6, 6]"),
        (storing(shape=(1, 6, 5, 6, 1)), "has shape [1, 6, 5, 6, 1]"),
        (storing(shape=(1, 1, 1, 6, 5, 6)), "has 6 axes"),
        (storing(margins=(0,) * 7), "has 7 margins"),
        (storing(memory="spat"), "no local memory 'spat' for the target"),
        (storing(address=SPAD_BYTES - 4), "the target of %y lies at"),
        (storing(address=address_of_target(MODULE) - 2), "the target of %y begins at"),
    ],
)
def test_what_a_nest_says_is_held(module: Module, message: str) -> None:
    assert_fault(module, message, ARCH)


def test_tiles_hold_whole_rows_of_an_axis_that_is_split() -> None:
    module = next(
        each for each in chains(ARCH) if "(" in print_module(each) and "whole [6, 5, 6]" in print_module(each)
    )
    assert verify(module, ARCH) == []
    nest = module.operations[0]
    assert isinstance(nest, Nest)
    assert nest.schedule is not None
    loops = tuple(
        replace(loop, size=7) if loop.dims == ("p",) and loop.size == 10 else loop for loop in nest.schedule.loops
    )
    assert_fault(changed(0, lambda each: replace(each, loops=loops), module), "cut rows of 5", ARCH)


def test_a_part_of_a_value_is_whole_rows_from_the_first_one_on() -> None:
    """As rows of 5 positions: from the start or from the end of a row, whole ones or not."""
    extents = {"p": 10, "q": 7}
    assert whole_rows(Affine((("p", 1),)), 5, extents)
    assert whole_rows(Affine((("p", 1),), 15), 5, extents)
    assert not whole_rows(Affine((("p", 1),), 3), 5, extents)
    assert not whole_rows(Affine((("q", 1),)), 5, extents)
    assert not whole_rows(Affine((("p", 2),)), 5, extents)
    assert not whole_rows(Affine((("p", 1), ("q", 10))), 5, extents)
    assert not whole_rows(Affine((), 5), 5, extents)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (reading(margins=None), "'conv1' does not find %conv0.y in main memory"),
        (changed(0, lambda each: replace(each, target=None)), "'conv0' does not find %conv0.y in main memory"),
        (storing(margins=(0,) * 8), "lies elsewhere than 'conv0' says"),
        (reading(address=0), "lies elsewhere than 'conv0' says"),
        (replace(MODULE, outputs=(*MODULE.outputs, KEPT)), "%conv0.y stays in local memory"),
        (replace(MODULE, addresses=(*MODULE.addresses, (KEPT, 4096))), "%conv0.y stays in local memory"),
    ],
)
def test_all_nests_say_the_same_of_a_kept_value(module: Module, message: str) -> None:
    assert_fault(module, message, ARCH)


def test_nothing_lies_in_the_bytes_of_a_kept_value_while_it_lives() -> None:
    low = storing(reading(address=0), address=0)
    assert_fault(low, "overlap at 0", ARCH)
    three = list(chains(ARCH))[-1]
    both = reading(reading(three, 1, address=0), 2, address=0)
    both = reading(storing(both, address=0), 2, "residual", address=0)
    both = changed(1, lambda each: replace(each, target=replace(each.target, address=0)), both)
    assert_fault(both, "%conv1.y and %conv0.y overlap", ARCH)
