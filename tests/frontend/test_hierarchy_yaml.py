"""Machines with levels inside the array: what their descriptions mean, and what is refused, with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.frontend.arch_text import bundled_hierarchies, hierarchy_source
from dnnc.frontend.components_logic import part
from dnnc.frontend.hierarchy_text import hierarchy_text
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.ir.arch import Host
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import FanOut, Hierarchy, Store, Tiles
from dnnc.ir.nest import Role
from support.descriptions import levels_text

LEVELS = levels_text(
    "store: dram, word_bits: 64",
    "store: glb, word_bits: 64, capacity_bytes: 1 KiB, holds: [input, output], keeps: [input], read_words_per_cycle: 2",
    "fanout: pe, rows: 3, cols: 4, row_dims: [r, c], loops: {factors: {r: 3}},\n"
    "     bus_bits: {input: 16, output: 64}, chain: rows",
    "store: spad, word_bits: 8, depth_words: 16, holds: [weight], keeps: [weight], tiles: uneven,\n"
    "     loops: {dims: [c], most: {c: 4}}",
)
TEXT = f"{LEVELS}components: {{memory_technology_nm: 40, logic_technology_nm: 65, dram: lpddr4}}\n"


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
    assert (glb.tiles, spad.tiles) == (Tiles.EVEN, Tiles.UNEVEN)
    assert machine.element_bits(Role.WEIGHT) == 4
    assert machine.partial_bits == 24
    assert machine.lanes == 12
    assert machine.instances("spad") == 12


def test_a_host_is_described_or_assumed() -> None:
    assert parse_hierarchy(TEXT, "small.yaml").host == Host(10**9, 1000)
    own = parse_hierarchy(TEXT + "host: {bytes_per_second: 2 GB/s, operations_per_second: 5}\n", "small.yaml")
    assert own.host == Host(2 * 10**9, 0, 5)
    assert parse_hierarchy(hierarchy_text(own), "again.yaml").host == own.host
    with pytest.raises(CompileError, match="'host' lacks the key 'bytes_per_second'"):
        parse_hierarchy(TEXT + "host: {call_cycles: 3}\n", "small.yaml")


def test_prices_come_from_the_tables_of_both_technologies() -> None:
    machine = parse_hierarchy(TEXT, "small.yaml")
    rows = {(row.component, row.action): row for row in machine.energy}
    assert rows["dram", "read_word"].energy_pj == 8 * 64  # LPDDR4: 8 pJ a bit
    assert "40 nm" in rows["glb", "read_word"].source
    assert "65" in rows["mac", "mac"].source
    assert {row.component for row in machine.area} == {"mac", "glb", "spad"}


TABLE = """\
dram:
  rows: [{type: own, energy_pj_per_bit: 5, source: bench}]
energy:
  - {component: spad, action: read_word, energy_pj: 12, source: report}
  - {component: mac, action: mac, energy_pj: 3, source: report}
area: [{component: glb, area_um2: 7, source: report}]
leakage: [{component: spad, leakage_mw: 0.5, source: report}]
"""


def test_a_table_of_one_s_own_and_leakage(tmp_path: Path) -> None:
    """A later source wins: tables of specs/components, the user's table, rows in place."""
    (tmp_path / "t.yaml").write_text(TABLE)
    text = TEXT.replace("dram: lpddr4", "dram: own, table: t.yaml, leakage: true")
    text += "energy: [{component: mac, action: mac, energy_pj: 4, source: mine}]\n"
    text += "leakage: [{component: pe, leakage_mw: 2, source: mine}, {component: glb, leakage_mw: null, source: x}]\n"
    machine = parse_hierarchy(text, "small.yaml", tmp_path)
    energy = {(row.component, row.action): row.energy_pj for row in machine.energy}
    assert energy["dram", "read_word"] == 5 * 64
    assert energy["spad", "read_word"] == 12
    assert energy["mac", "mac"] == 4
    plain_machine = parse_hierarchy(TEXT, "small.yaml")
    own = {(row.component, row.action): row.energy_pj for row in plain_machine.energy}
    assert energy["spad", "write_word"] == own["spad", "write_word"]
    assert plain_machine.leakage == ()
    assert {row.component: row.area_um2 for row in machine.area}["glb"] == 7
    leakage = {row.component: row.leakage_mw for row in machine.leakage}
    unit = part("integer_multiply", 8, 4, 65).leakage_mw
    adding = part("integer_add", 24, 24, 65).leakage_mw
    assert unit is not None and adding is not None
    assert leakage == {"mac": pytest.approx(12 * (unit + adding)), "glb": None, "pe": 2, "spad": 0.5}
    again = parse_hierarchy(hierarchy_text(machine), "again.yaml")
    assert (again.energy, again.area, again.leakage) == (machine.energy, machine.area, machine.leakage)


@pytest.mark.parametrize(
    ("old", "new", "message", "help"),
    [
        ("component: spad, action", "component: sped, action", "names the component 'sped'", "'spad'"),
        ("action: read_word", "action: read_bit", "the action of 'spad' 'read_bit'", "legal: read_word"),
        ("component: glb", "component: gbl", "the component with an area 'gbl'", "'glb'"),
        ("{component: spad, leakage", "{component: dram, leakage", "the component that leaks 'dram'", "spad"),
    ],
)
def test_rows_of_a_table_that_the_machine_has_not(old: str, new: str, message: str, help: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TABLE.replace(old, new))
    with pytest.raises(CompileError) as caught:
        parse_hierarchy(TEXT.replace("dram: lpddr4", "dram: own, table: t.yaml"), "small.yaml", tmp_path)
    (fault,) = caught.value.diagnostics
    assert message in fault.message
    assert help in fault.help
    assert fault.span.file == str(tmp_path / "t.yaml")


def test_a_table_is_named_in_a_file_and_leakage_needs_prices() -> None:
    with pytest.raises(CompileError, match="a table can be named in a file only"):
        parse_hierarchy(TEXT.replace("dram: lpddr4", "dram: lpddr4, table: t.yaml"), "small.yaml")
    bare = TEXT.partition("components:")[0]
    with pytest.raises(CompileError, match="leakage is given, but no action has a price"):
        parse_hierarchy(f"{bare}leakage: [{{component: mac, leakage_mw: 2, source: x}}]\n", "small.yaml")
    with pytest.raises(CompileError, match=r"no energy is given for dram.read_word, dram.write_word"):
        parse_hierarchy(f"{bare}energy: [{{component: mac, action: mac, energy_pj: 2, source: x}}]\n", "small.yaml")


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
        (
            ("{store: dram, word_bits: 64}", "{store: dram, word_bits: 64, tiles: uneven}"),
            "whole operands for",
            "leave out",
        ),
        (("tiles: uneven", "tiles: odd"), "'odd'", "uneven"),
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
