"""Faults of machines with levels inside the array that concern more than one key: each told once, where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.ir.diagnostics import CompileError
from support.descriptions import levels_text

TEXT = levels_text(
    "store: dram, word_bits: 64",
    "store: glb, word_bits: 64, capacity_bytes: 1 KiB, holds: [input, output]",
    "fanout: pe, rows: 2, cols: 2, row_dims: [k]",
)


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


def test_partial_sums_hold_what_they_become() -> None:
    message = "3:49 partial sums of 7 bits are narrower than the outputs of 8 bits that they become; 8 or more"
    assert _faults(TEXT.replace("partial: 24", "partial: 7")) == [message]
    assert parse_hierarchy(TEXT.replace("partial: 24", "partial: 8"), "small.yaml").partial_bits == 8


@pytest.mark.parametrize(
    ("factors", "fits"),
    [
        ("k: 4", True),  # 2 along rows and 2 along cols
        ("k: 2, m: 2", True),
        ("m: 2, k: 2", True),
        ("k: 2, m: 0", True),  # 0: all that is left
        ("k: 3", False),  # neither axis has 3 lanes
        ("m: 4", False),  # m may not lie along rows
        ("k: 2, m: 2, c: 2", False),
        ("k: 1099511627776", False),
    ],
)
def test_fixed_iterations_are_products_of_lanes(factors: str, fits: bool) -> None:
    text = TEXT.replace("row_dims: [k]", f"row_dims: [k], loops: {{factors: {{{factors}}}}}")
    if fits:
        assert parse_hierarchy(text, "small.yaml").levels[2].constraint.factors
        return
    (fault,) = _faults(text)
    assert fault.startswith("7:5 the factors of 'pe'")
    assert "lanes" in fault


def test_prices_are_read_where_levels_are_whatever_else_is_wrong() -> None:
    """But that some are missing is told only of what is sound."""
    text = TEXT.replace("1 GHz", ".inf") + "energy:\n  - {component: mac, action: mac, energy_pj: .nan, source: me}\n"
    assert [fault.split(";")[0] for fault in _faults(text)] == [
        "2:11 'clock_hz' must be a number, found '.inf'",
        "9:46 'energy[0].energy_pj' must be a number, found '.nan'",
    ]
    level, price = _faults(text.replace(".inf", "1 GHz").replace("rows: 2", "rows: 0"))
    assert level.startswith("7:24 'levels[2].rows' is '0'") and price.startswith("9:46 'energy[0].energy_pj'")
    (nameless,) = _faults(text.replace(".inf", "1 GHz").replace("fanout: pe", "fanout: mac"))
    assert "a level cannot be named 'mac'" in nameless


def test_rows_of_a_table_are_read_where_levels_are_whatever_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("area: [{component: gbl, area_um2: -1, source: t}]\nfoo: 1\n")
    text = TEXT.replace("1 GHz", ".inf") + "components: {technology_nm: 3, dram: lpddr9, table: t.yaml}\n"
    with pytest.raises(CompileError) as caught:
        parse_hierarchy(text, "small.yaml", tmp_path)
    assert [(Path(each.span.file).name, each.message) for each in caught.value.diagnostics] == [
        ("small.yaml", "'clock_hz' must be a number, found '.inf'"),
        ("small.yaml", "'components.technology_nm' is '3'; it must lie between 7 and 130"),
        ("small.yaml", "'components.dram' is 'lpddr9'"),
        ("t.yaml", "the table names the component with an area 'gbl', which the machine has not"),
        ("t.yaml", "'area[0].area_um2' is '-1'; it must lie between 0 and 1e+15"),
        ("t.yaml", "unknown key 'foo'"),
    ]


def test_without_levels_nothing_is_said_of_prices() -> None:
    """That `levels` is misspelt is told once; which components there are is not known then."""
    rows = "leakage: [{component: glb, leakage_mw: 1, source: me}]\narea: [{component: glb, area_um2: 1, source: me}]\n"
    text = TEXT.replace("levels:", "level:", 1)
    (fault,) = _faults(f"{text}components: {{technology_nm: 45, dram: lpddr4}}\n{rows}")
    assert fault.endswith("unknown key 'level'; did you mean 'levels'?")
