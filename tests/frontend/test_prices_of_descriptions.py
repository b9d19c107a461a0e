"""The `components`, `energy`, `area` and `leakage` sections of a description, and a user's own table beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.frontend.arch_yaml import bundled, load_arch, parse_arch
from dnnc.frontend.components_logic import part
from dnnc.frontend.components_memory import sram
from dnnc.frontend.components_price import Origin
from dnnc.frontend.components_tables import TABLES, built_in, read_table
from dnnc.ir.arch import Arch, LeakageRow
from dnnc.ir.diagnostics import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.descriptions import SMALL

PRICED = SMALL + "components: {technology_nm: 45, dram: lpddr4}\n"


def priced(components: str, more: str = "", folder: Path | None = None) -> Arch:
    return parse_arch(f"{SMALL}components: {components}\n{more}", "m.yaml", folder)


def energy(arch: Arch, component: str, action: str) -> float:
    return next(row.energy_pj for row in arch.energy if (row.component, row.action) == (component, action))


def faults_of(text: str, folder: Path | None = None) -> list[str]:
    with pytest.raises(CompileError) as caught:
        parse_arch(text, "m.yaml", folder)
    return [f"{each.span}: {each.message}" for each in caught.value.diagnostics]


def test_memories_and_logic_at_different_nodes() -> None:
    """40 nm memories and 65 nm logic: each part as in a machine that is all of its node."""
    mixed = priced("{memory_technology_nm: 40, logic_technology_nm: 65, dram: lpddr4}")
    memories, logic = (priced(f"{{technology_nm: {nm}, dram: lpddr4}}") for nm in (40, 65))
    local = ("spad", "acc")
    assert mixed.energy == tuple(
        (m if m.component in local else g) for m, g in zip(memories.energy, logic.energy, strict=True)
    )
    assert mixed.area == tuple(
        (m if m.component in local else g) for m, g in zip(memories.area, logic.area, strict=True)
    )
    assert energy(mixed, "array", "mac") > energy(memories, "array", "mac")


def test_technologies_are_given_once() -> None:
    (fault,) = faults_of(
        SMALL + "components: {technology_nm: 45, logic_technology_nm: 45, memory_technology_nm: 45, dram: hbm2}"
    )
    assert fault.startswith("m.yaml:19:29: 'technology_nm' stands beside a technology of its parts")
    (fault,) = faults_of(SMALL + "components: {logic_technology_nm: 45, dram: hbm2}")
    assert "lacks the key 'memory_technology_nm'" in fault
    (fault,) = faults_of(SMALL + "components: {technology_nm: 5, dram: hbm2}")
    assert "it must lie between 7 and 130" in fault


def test_the_second_port_of_a_memory_is_priced() -> None:
    one, two = (parse_arch(PRICED.replace("word_bytes: 24,", f"word_bytes: 24, ports: {n},"), "m.yaml") for n in (1, 2))
    assert energy(two, "acc", "read_word") == pytest.approx(
        2 ** (0.545 - 4 * 0.059) * energy(one, "acc", "read_word"), rel=1e-5
    )


def test_leakage_is_priced_where_it_is_asked_for() -> None:
    silent, leaky = (priced(f"{{technology_nm: 45, dram: lpddr4{more}}}") for more in ("", ", leakage: true"))
    assert silent.leakage == ()
    assert silent.energy == leaky.energy
    rows = {row.component: row.leakage_mw for row in leaky.leakage}
    assert rows.keys() == {"array", "post", "control", "spad", "acc"}
    assert rows["spad"] == pytest.approx(sram(4096 * 8, 32).leakage_mw, rel=1e-5)
    unit = 0.05 * 81 / 1024 + 0.0024 * 32 / 32 + 41 * 7e-5  # 9 by 9 bits into 32, 9 + 32 register bits
    assert rows["array"] == pytest.approx(24 * unit, rel=1e-5)
    assert parse_arch(leaky.text, "embedded") == leaky


def test_leakage_in_place() -> None:
    rows = (
        'leakage: [{component: dma, leakage_mw: 2.5, source: "mine"}, {component: acc, leakage_mw: null, source: x}]\n'
    )
    arch = priced("{technology_nm: 45, dram: lpddr4}", rows)
    assert arch.leakage == (LeakageRow("acc", None, "x"), LeakageRow("dma", 2.5, "mine"))
    assert parse_arch(arch.text, "embedded") == arch
    assert faults_of(SMALL + rows) == ["m.yaml:19:10: leakage is given, but no action has a price"]
    twice = rows.replace("acc", "dma")
    assert faults_of(PRICED + twice) == ["m.yaml:20:74: the leakage of 'dma' is given twice"]


TABLE = """\
sram:
  source: my compiler
  curves:
    - technology_nm: 28
      width_bits: 32
      capacity_bytes: [1024, 4096]
      read_pj: [1, 4]
      write_pj: [2, 8]
      leakage_mw: [0.1, 0.4]
      area_um2: [1000, 4000]
dram:
  rows: [{type: lpddr5, energy_pj_per_bit: 5, source: my bench}]
logic:
  rows: [{name: integer_add, pj_per_bit: 0.01, source: my adder, technology_nm: 28}]
"""


def test_a_table_beside_the_description(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TABLE)
    arch = priced("{technology_nm: 28, dram: lpddr5, table: mine.yaml}", "", tmp_path)
    assert energy(arch, "spad", "read_word") == 4.0
    assert energy(arch, "dram", "read_bit") == 5.0
    others = part("integer_multiply", 9, 9, 28).energy_pj + part("register", 41, 41, 28).energy_pj
    assert energy(arch, "array", "mac") == pytest.approx(others + 32 * 0.01, rel=1e-5)
    source = next(row.source for row in arch.energy if row.component == "spad")
    assert source == "my compiler: 4096 B of 32-bit words, 28 nm"
    assert parse_arch(arch.text, "embedded") == arch  # it needs no table


def test_what_a_table_leaves_out_is_built_in() -> None:
    tables = read_table(TABLE, "mine.yaml")
    assert tables.dram.keys() == built_in().dram.keys() | {"lpddr5"}
    assert tables.logic["integer_add"].um2_per_bit == built_in().logic["integer_add"].um2_per_bit
    assert tables.logic["register"] == built_in().logic["register"]
    assert sram(8192, 32, technology_nm=45, tables=tables) == sram(8192, 32, technology_nm=45)
    between = sram(8192, 32, technology_nm=30, tables=tables)  # between my 28 nm and the built-in 32 nm
    assert between.origin is Origin.SCALED
    assert "my compiler" in between.source


def test_a_memory_of_unknown_area_and_leakage(tmp_path: Path) -> None:
    text = "".join(line for line in TABLE.splitlines(True) if "area_um2" not in line and "leakage_mw" not in line)
    (tmp_path / "mine.yaml").write_text(text)
    arch = priced("{technology_nm: 28, dram: lpddr5, leakage: true, table: mine.yaml}", "", tmp_path)
    assert energy(arch, "spad", "read_word") == 4.0
    assert next(row.area_um2 for row in arch.area if row.component == "spad") is None
    assert next(row.leakage_mw for row in arch.leakage if row.component == "spad") is None
    between = sram(8192, 32, technology_nm=30, tables=read_table(text, "mine.yaml"))
    assert (between.area_um2, between.leakage_mw) == (None, None)
    assert parse_arch(arch.text, "embedded") == arch


def test_what_stands_in_for_a_row_that_cannot_be_read_is_not_given_twice() -> None:
    """Names, types, nodes and widths that are missing or unknown are told once each."""
    text = (
        "logic:\n"
        "  rows:\n"
        "    - {name: integer_ad, pj: 1, source: ours, technology_nm: 45}\n"
        "    - {name: integer_mu, pj: 1, source: ours, technology_nm: 45}\n"
        "    - {name: integer_add, pj: 1, source: ours, technology_nm: 45}\n"
        "dram:\n"
        "  rows:\n"
        "    - {typ: a, energy_pj_per_bit: 1, source: ours}\n"
        "    - {energy_pj_per_bit: 1, source: ours}\n"
        "sram:\n"
        "  source: ours\n"
        "  curves:\n"
        "    - {technology_nm: x, width_bits: 32, capacity_byte: [1024], read_pj: [1], write_pj: [1]}\n"
        "    - {technology_nm: y, width_bits: 32, capacity_bytes: [1024], read_pj: [1], write_pj: [1]}\n"
    )
    with pytest.raises(CompileError) as caught:
        read_table(text, "t.yaml")
    assert [f"{each.span}: {each.message}" for each in caught.value.diagnostics] == [
        "t.yaml:3:14: 'logic.rows[0].name' is 'integer_ad'",
        "t.yaml:4:14: 'logic.rows[1].name' is 'integer_mu'",
        "t.yaml:8:8: unknown key 'typ' in 'dram.rows[0]'",
        "t.yaml:9:7: 'dram.rows[1]' lacks the key 'type'",
        "t.yaml:13:23: 'sram.curves[0].technology_nm' must be a number, found 'x'",
        "t.yaml:13:42: unknown key 'capacity_byte' in 'sram.curves[0]'",
        "t.yaml:14:23: 'sram.curves[1].technology_nm' must be a number, found 'y'",
    ]


def test_the_built_in_tables_are_a_users_table() -> None:
    """One schema: read strictly, they are what is built in."""
    built = built_in().sram
    sections = {name: (TABLES / f"{name}.yaml").read_text() for name in ("sram", "dram", "logic")}
    sections["sram"] = sections["sram"].replace(f"technologies_nm: {list(built.nodes)}\n", "") + "curves:\n"
    for nm in built.nodes:
        sections["sram"] += (TABLES / f"sram_{nm}nm.yaml").read_text().partition("curves:\n")[2]
    indented = (f"{name}:\n" + "".join(f"  {line}\n" for line in body.splitlines()) for name, body in sections.items())
    tables = read_table("".join(indented), "all.yaml")
    for nm in built.nodes:
        assert tables.sram.curves(nm) == tuple(replace(each, source=built.source) for each in built.curves(nm))
    assert replace(tables.sram, given=()) == built
    assert (tables.dram, tables.logic) == (built_in().dram, built_in().logic)


def test_rows_of_a_table_win_over_models_and_rows_in_place_over_those(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        'energy: [{component: spad, action: read_word, energy_pj: 7, source: "t"}, '
        '{component: acc, action: read_word, energy_pj: 9, source: "t"}, '
        '{component: dram, action: read_word, energy_pj: 512, source: "t"}]\n'
        'area: [{component: spad, area_um2: null, source: "t"}]\n'
        'leakage: [{component: acc, leakage_mw: 3, source: "t"}, {component: mac, leakage_mw: 4, source: "t"}]\n'
    )
    place = 'energy: [{component: acc, action: read_word, energy_pj: 11, source: "p"}]\n'
    arch = priced("{technology_nm: 45, dram: lpddr4, leakage: true, table: mine.yaml}", place, tmp_path)
    assert (energy(arch, "spad", "read_word"), energy(arch, "acc", "read_word")) == (7, 11)
    assert energy(arch, "dram", "read_bit") == 1.0  # words of 64 bytes
    assert next(row.area_um2 for row in arch.area if row.component == "spad") is None
    leaks = {row.component: row.leakage_mw for row in arch.leakage}
    assert (leaks["acc"], leaks["array"]) == (3, 4)  # `mac` is the array


@pytest.mark.parametrize("name", ["../mine.yaml", "/etc/hostname", "link/mine.yaml"])
def test_a_table_elsewhere_is_not_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "mine.yaml").write_text(TABLE)
    (folder / "link").symlink_to(tmp_path)
    (fault,) = faults_of(SMALL + f"components: {{technology_nm: 45, dram: lpddr4, table: {name}}}", folder)
    assert fault == f"m.yaml:19:54: {name!r} leaves the folder of the description"


def test_a_description_in_no_file_has_no_table() -> None:
    (fault,) = faults_of(SMALL + "components: {technology_nm: 45, dram: lpddr4, table: mine.yaml}")
    assert fault == "m.yaml:19:54: a table can be named in a file only"


def test_faults_of_a_table_join_those_of_the_description(tmp_path: Path) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text(
        TABLE.replace("[1, 4]", "[1, 4, 9]")
        .replace("[2, 8]", "[2, 0]")
        .replace("my_adder", "")
        .replace("my bench", "''")
    )
    text = SMALL.replace("lanes: 4", "lanes: 0") + "components: {technology_nm: 28, dram: lpddr5, table: mine.yaml}"
    found = faults_of(text, tmp_path)
    assert found == [
        "m.yaml:17:15: 'post.lanes' is '0'; it must lie between 1 and 4096",
        f"{table}:7:16: 'sram.curves[0].read_pj' has 3 figures for 2 capacities",
        f"{table}:8:17: 'sram.curves[0].write_pj' has a 0, and figures are interpolated on logarithmic axes",
    ]


def test_rows_of_a_table_for_what_the_machine_has_not(tmp_path: Path) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text(
        "energy:\n- {component: spade, action: read_word, energy_pj: 7, source: t}\n"
        "- {component: spad, action: read, energy_pj: 7, source: t}\n"
        "area:\n- {component: host, area_um2: 7, source: t}\n"
        "leakage:\n- {component: dram, leakage_mw: 7, source: t}\n"
    )
    found = faults_of(SMALL + "components: {technology_nm: 45, dram: lpddr4, table: mine.yaml}", tmp_path)
    assert found == [
        f"{table}:2:3: the table names the component 'spade', which the machine has not",
        f"{table}:3:3: the table names the action of 'spad' 'read', which the machine has not",
        f"{table}:5:3: the table names the component with an area 'host', which the machine has not",
        f"{table}:7:3: the table names the component that leaks 'dram', which the machine has not",
    ]


def test_faults_of_a_table_do_not_hide_names_that_the_machine_has_not(tmp_path: Path) -> None:
    """Nor does a table that is wrong hide a wrong type of main memory, unless its own types are not known."""
    table = tmp_path / "mine.yaml"
    table.write_text(
        "energy:\n- {component: spade, action: read_word, energy_pj: -7, source: t}\n"
        "- {action: read_word, energy_pj: 7, source: t}\n"
        "leakage:\n- {component: dram, leakage_mw: 7, source: t}\n"
        "fo: 3\n"
    )
    text = SMALL + "components: {technology_nm: 3, dram: lpddr9, table: mine.yaml}"
    own = [
        f"{table}:2:3: the table names the component 'spade', which the machine has not",
        f"{table}:2:52: 'energy[0].energy_pj' is '-7'; it must lie between 0 and 1e+12",
        f"{table}:3:3: 'energy[1]' lacks the key 'component'",
        f"{table}:5:3: the table names the component that leaks 'dram', which the machine has not",
        f"{table}:6:1: unknown key 'fo'",
    ]
    *above, kind = [each.partition(": ")[2] for each in faults_of(text, tmp_path)][:2]
    assert above == ["'components.technology_nm' is '3'; it must lie between 7 and 130"]
    assert kind == "'components.dram' is 'lpddr9'"
    assert faults_of(text, tmp_path)[2:] == own
    table.write_text("dram: {rows: [{type: lpddr9}]}\n")
    assert not any("components.dram" in each for each in faults_of(text, tmp_path))


def test_prices_are_read_where_components_are_named_whatever_else_is_wrong() -> None:
    text = SMALL.replace("rows: 4", "rows: 0")
    assert text != SMALL
    text += "energy:\n- {component: array, action: mac, energy_pj: -7, source: t}\n"
    text += "area:\n- {component: spade, area_um2: 1, source: t}\n"
    messages = [each.partition(": ")[2] for each in faults_of(text)]
    assert messages == [
        "'array.rows' is '0'; it must lie between 1 and 4096",
        "'energy[0].energy_pj' is '-7'; it must lie between 0 and 1e+12",
        "'area[0].component' is 'spade'",
    ]
    own, *_ = faults_of(text.replace("rows: 0", "rows: 4").replace("- {name: spad", "- {name: host"))
    assert "a memory cannot be named 'host'" in own


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    (fault,) = faults_of(SMALL + "components: {technology_nm: 45, dram: lpddr4, table: none.yaml}", tmp_path)
    assert str(tmp_path / "none.yaml") in fault


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_tables_end_in_prices_or_in_diagnostics(data: st.DataObject) -> None:
    text = TABLE
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = at + data.draw(st.integers(0, 30))
        patch = data.draw(
            st.sampled_from(["", "null", "-1", "1e999", "[", "{a: 1}", "0", "99999999999999999999", ": "])
        )
        text = text[:at] + patch + text[end:]
    try:
        tables = read_table(text, "mine.yaml")
    except CompileError:
        return
    assert sram(8192, 32, technology_nm=28, tables=tables).read_pj > 0


@pytest.mark.parametrize("name", bundled())
def test_bundled_machines_do_not_leak_unless_asked(name: str) -> None:
    """Their totals are those of their actions, as before leakage was priced (specs/energy.md)."""
    assert load_arch(name).leakage == ()
