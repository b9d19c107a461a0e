"""Tables of the block unit's cache, in the text of nests and in the rules about them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.ir.arch import BlockUnit
from dnnc.ir.blocks import CRITERIA, BlockTest
from dnnc.ir.nest import Nest, Prune, Skip
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.program import CRITERION_CODES
from dnnc.ir.schedule_rules import schedule_faults
from support.equality import module_of
from support.machines import machine
from support.nests import conv_nest

ARCH = replace(machine(), block_unit=BlockUnit(4, CRITERIA, 64, 16, 2))
CONV = conv_nest(ARCH, n=1, p=4, q=4, m=8)
PRUNE = Prune(BlockTest("sum", 512, 4, 4), 16, 8, -4, 1)


def held(skip: Skip | None, prune: Prune | None) -> Nest:
    reads = (replace(CONV.reads[0], skip=skip), *CONV.reads[1:])
    return replace(CONV, reads=reads, prune=prune)


@pytest.mark.parametrize("skip", [None, Skip(0), Skip(1, last=True)])
@pytest.mark.parametrize("table", [None, 0, 1])
def test_text_keeps_tables(skip: Skip | None, table: int | None) -> None:
    module = module_of([held(skip, replace(PRUNE, table=table))], ARCH)
    assert parse_module(print_module(module), "m.dnnir") == module


@pytest.mark.parametrize(
    ("skip", "prune", "message"),
    [
        (Skip(0), PRUNE, ""),
        (Skip(2), None, "are in table 2"),
        (None, replace(PRUNE, table=2), "are in table 2"),
        (Skip(1), PRUNE, "table 1 is of"),
    ],
)
def test_tables_are_those_of_the_machine(skip: Skip | None, prune: Prune | None, message: str) -> None:
    found = [each.message for each in schedule_faults(held(skip, prune), ARCH)]
    assert (message in found[0]) if message else not found


def test_codes_of_criteria_are_all_criteria() -> None:
    assert CRITERION_CODES == CRITERIA
