"""Faults of machines with levels inside the array that concern more than one key: each told once, where it is."""

from __future__ import annotations

import pytest
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.ir.diagnostics import CompileError

TEXT = """\
name: small
clock_hz: 1 GHz
bits: {input: 8, weight: 4, output: 8, partial: 24}
levels:
  - {store: dram, word_bits: 64}
  - {store: glb, word_bits: 64, capacity_bytes: 1 KiB, holds: [input, output]}
  - {fanout: pe, rows: 2, cols: 2, row_dims: [k]}
"""


def _faults(text: str) -> list[str]:
    with pytest.raises(CompileError) as caught:
        parse_hierarchy(text, "small.yaml")
    return [f"{each.span.line}:{each.span.column} {each.message}; {each.help}" for each in caught.value.diagnostics]


def test_an_unknown_component_of_a_price_is_one_fault() -> None:
    """Nothing follows from it: neither whose action it is, nor that another one has no price."""
    rows = [("drum", "read_word"), ("drum", "write_word"), ("mac", "mac"), ("gbl", "red_word")]
    listed = [f"  - {{component: {one}, action: {other}, energy_pj: 1, source: me}}\n" for one, other in rows]
    assert _faults(f"{TEXT}energy:\n{''.join(listed)}") == [
        "9:17 'energy[0].component' is 'drum'; did you mean 'dram'?",
        "10:17 'energy[1].component' is 'drum'; did you mean 'dram'?",
        "12:17 'energy[3].component' is 'gbl'; did you mean 'glb'?",
        "12:30 'energy[3].action' is 'red_word'; did you mean 'read_word'?",
    ]
    areas = "  - {component: drum, area_um2: 1, source: me}\n" * 2
    assert _faults(f"{TEXT}area:\n{areas}") == [
        "9:17 'area[0].component' is 'drum'; did you mean 'dram'?",
        "10:17 'area[1].component' is 'drum'; did you mean 'dram'?",
    ]
