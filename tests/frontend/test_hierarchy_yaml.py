"""Machines with levels inside the array: what their descriptions mean, and what is refused, with its place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.frontend.hierarchy_text import hierarchy_text
from dnnc.frontend.hierarchy_yaml import bundled_hierarchies, hierarchy_source, parse_hierarchy
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import FanOut, Hierarchy, Store
from dnnc.ir.nest import Role

TEXT = """\
name: small
clock_hz: 1 GHz
bits: {input: 8, weight: 4, output: 8, partial: 24}
levels:
  - {store: dram, word_bits: 64}
  - {store: glb, word_bits: 64, capacity_bytes: 1 KiB, holds: [input, output], keeps: [input], read_words_per_cycle: 2}
  - {fanout: pe, rows: 3, cols: 4, row_dims: [r, c], loops: {factors: {r: 3}},
     bus_bits: {input: 16, output: 64}, chain: rows}
  - {store: spad, word_bits: 8, depth_words: 16, holds: [weight], keeps: [weight], loops: {dims: [c], most: {c: 4}}}
components: {memory_technology_nm: 40, logic_technology_nm: 65, dram: lpddr4}
"""


def _bundled(name: str) -> Hierarchy:
    source = hierarchy_source(name)
    assert source is not None
    return parse_hierarchy(*source)


def test_a_description_means_what_it_says() -> None:
    machine = parse_hierarchy(TEXT, "small.yaml")
    _, glb, pe, spad = machine.levels
    assert isinstance(glb, Store)
    assert (glb.depth_words, glb.holds, glb.read_words_per_cycle) == (128, (Role.INPUT, Role.OUTPUT), 2)
    assert isinstance(pe, FanOut)
    assert (pe.instances, pe.row_dims, pe.constraint.factors) == (12, ("r", "c"), (("r", 3),))
    assert (pe.bus_bits, pe.chain) == (((Role.INPUT, 16), (Role.OUTPUT, 64)), "rows")
    assert isinstance(spad, Store)
    assert spad.constraint.most == (("c", 4),)
    assert machine.element_bits(Role.WEIGHT) == 4
    assert machine.partial_bits == 24
    assert machine.lanes == 12
    assert machine.instances("spad") == 12


def test_prices_come_from_the_tables_of_both_technologies() -> None:
    machine = parse_hierarchy(TEXT, "small.yaml")
    rows = {(row.component, row.action): row for row in machine.energy}
    assert rows["dram", "read_word"].energy_pj == 8 * 64  # LPDDR4: 8 pJ a bit
    assert "40 nm" in rows["glb", "read_word"].source
    assert "65" in rows["mac", "mac"].source
    assert {row.component for row in machine.area} == {"mac", "glb", "spad"}


@pytest.mark.parametrize("name", bundled_hierarchies())
def test_bundled_machines_are_sound_and_their_spelling_parses_back(name: str) -> None:
    machine = _bundled(name)
    again = parse_hierarchy(hierarchy_text(machine), "again.yaml")
    assert replace(again, text="", digest="") == replace(machine, text="", digest="")
    assert machine.name == name
    assert machine.sources
    assert all(row.source for row in machine.energy)


@pytest.mark.parametrize(
    ("change", "message", "help"),
    [
        (("read_words_per_cycle: 2", "read_words_per_cycle: 0"), "is 0: nothing would ever pass", "no limit"),
        (("capacity_bytes: 1 KiB", "capacity_bytes: 1 KiB, depth_words: 4"), "both say how large", "one of them"),
        (("rows: 3", "rows: 0"), "must lie between 1 and 4096", ""),
        (("{store: spad, ", "{"), "a level is either a store or a fan-out", "fanout: NAME"),
        (("{store: dram, word_bits: 64}", "{store: dram, word_bits: 64, holds: [input]}"), "does not hold every", ""),
        (("{store: dram, word_bits: 64}", "{store: dram, word_bits: 64, depth_words: 9}"), "has a limit", "leave out"),
        (("store: spad", "store: glb"), "two levels 'glb'", "name of its own"),
        (("keeps: [weight]", "keeps: [input]"), "must keep input, which it does not hold", "holds"),
        (("depth_words: 16", "depth_words: 16, buffering: tripel"), "'tripel'", "double"),
        (("word_bits: 8, depth_words: 16", "word_bits: 1, depth_words: 3"), "needs 4 words, 'spad' has 3", "deeper"),
        (("most: {c: 4}", "most: {c: 4}, factors: {c: 8}"), "have 8 iterations and at most 4", "agree"),
        (("most: {c: 4}", "factors: {r: 2}"), "'r' has a factor", "add r"),
        (("row_dims: [r, c]", "row_dims: [r, z]"), "does not know 'z'", ""),
        (("row_dims: [r, c]", "row_dims: [R, c]"), "does not know 'R'", "did you mean 'r'?"),
        (("most: {c: 4}", "most: {C: 4}"), "knows no dimension 'C'", "did you mean 'c'?"),
        (("capacity_bytes: 1 KiB", "capacity_bytes: 1 Kib"), "has the unit 'Kib'", "did you mean 'KiB'?"),
        (("chain: rows", "chain: row"), "chain' is 'row'", "rows"),
        (("input: 16, ", "inputs: 16, "), "inputs", "input"),
        (("output: 64", "output: 0"), "must lie between 1 and 65536", ""),
        (("capacity_bytes: 1 KiB", "capacity_bytes: 1001"), "no whole number of its words", "64 bits"),
        (("dram: lpddr4}", "dram: lpddr9}"), "'lpddr9'", "lpddr"),
    ],
)
def test_what_is_impossible_is_refused(change: tuple[str, str], message: str, help: str) -> None:
    assert change[0] in TEXT
    with pytest.raises(CompileError) as caught:
        parse_hierarchy(TEXT.replace(*change, 1), "small.yaml")
    faults = caught.value.diagnostics
    assert any(message in fault.message and help in fault.help for fault in faults), "\n".join(map(str, faults))
    assert all(fault.span.line > 0 for fault in faults)


def test_all_faults_come_at_once() -> None:
    text = TEXT.replace("rows: 3", "rows: 0").replace("input: 8", "input: 0").replace("name: small", "name: Small!")
    with pytest.raises(CompileError) as caught:
        parse_hierarchy(text, "small.yaml")
    assert len(caught.value.diagnostics) == 3


def test_factors_that_need_more_lanes_than_there_are() -> None:
    text = TEXT.replace("factors: {r: 3}", "factors: {r: 4}").replace(
        "rows: 3, cols: 4,", "rows: 3, cols: 4, col_dims: [m],"
    )
    with pytest.raises(CompileError, match="along rows need 4 lanes; it has 3"):
        parse_hierarchy(text, "small.yaml")


def test_levels_are_bounded() -> None:
    levels = "\n".join(f"  - {{store: s{number}, word_bits: 8}}" for number in range(2000))
    with pytest.raises(CompileError, match="'levels' must be a list of 1 to 24 entries, found one of 2000"):
        parse_hierarchy(f"name: small\nclock_hz: 1 GHz\nlevels:\n{levels}\n", "small.yaml")


@pytest.mark.parametrize("levels", ["[]", "{store: dram}", "7"])
def test_levels_that_are_no_list_of_levels(levels: str) -> None:
    with pytest.raises(CompileError, match="levels"):
        parse_hierarchy(f"name: small\nclock_hz: 1 GHz\nlevels: {levels}\n", "small.yaml")
