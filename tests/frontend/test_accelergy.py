"""Accelergy's tables as tables of prices: what is taken, what is named as ignored, what is refused with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.backends.cost.accelergy_export import files
from dnnc.frontend.accelergy import import_tables
from dnnc.frontend.arch_yaml import load_arch, parse_arch
from dnnc.frontend.components_tables import read_table
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.descriptions import SMALL

SHARED = Path(__file__).parents[3] / "shared" / "data" / "ground_truth" / "timeloop_quantisation"

TABLES = """\
ERT:
  version: '0.4'
  tables:
  - name: system.PE[0..3].spad
    actions:
    - {name: read, arguments: {address_delta: 0, data_delta: 0}, energy: 0}
    - {name: read, arguments: {address_delta: 1, data_delta: 1}, energy: 0.75}
    - {name: write, arguments: {}, energy: 1.25}
    - {name: update, arguments: {}, energy: 1.25}
    - {name: leak, arguments: {}, energy: 0.01}
  - name: system.PE[0..3].mac[0..1]
    actions: [{name: mac_random, arguments: {}, energy: 2.5}]
  - name: system.DRAM
    actions: [{name: read, arguments: {}, energy: 512}, {name: write, arguments: {}, energy: 512}]
ART:
  version: 0.3
  tables:
  - {name: 'system.PE[0..3].spad', area: 100.5}
  - {name: 'system.PE[0..3].mac[0..1]', area: 30, estimator: Aladdin}
"""


def faults_of(text: str, file: str = "t.yaml") -> list[str]:
    with pytest.raises(CompileError) as caught:
        import_tables(text, file)
    return [f"{each.span}: {each.message}" for each in caught.value.diagnostics]


def test_reference_tables() -> None:
    """The access of changing address and data, and the area of all instances."""
    found = import_tables(TABLES, "t.yaml")
    tables = read_table(found.text, "imported.yaml")
    assert {(row.component, row.action): row.energy_pj for row, _ in tables.energy} == {
        ("spad", "read_word"): 0.75,
        ("spad", "write_word"): 1.25,
        ("mac", "mac"): 2.5,
        ("dram", "read_word"): 512,
        ("dram", "write_word"): 512,
    }
    assert {row.component: row.area_um2 for row, _ in tables.area} == {"spad": 4 * 100.5, "mac": 8 * 30}
    sources = {row.component: row.source for row, _ in tables.energy}
    assert sources["mac"] == "Accelergy's table t.yaml, system.PE[0..3].mac[0..1], mac_random"
    assert found.ignored == (
        "ART.tables.estimator (line 19)",
        "system.PE[0..3].spad: 1 entries of 'read' with other than address_delta 1, data_delta 1",
        "system.PE[0..3].spad: action 'update', 1.25 pJ",
        "system.PE[0..3].spad: action 'leak' (an energy per cycle of unknown length), 0.01 pJ",
    )
    assert all(f"# ignored: {line}\n" in found.text for line in found.ignored)


def test_an_imported_table_prices_a_machine(tmp_path: Path) -> None:
    (tmp_path / "imported.yaml").write_text(import_tables(TABLES, "t.yaml").text)
    text = SMALL + "components: {technology_nm: 45, dram: lpddr4, table: imported.yaml}"
    prices = {(row.component, row.action): row.energy_pj for row in parse_arch(text, "m.yaml", tmp_path).energy}
    assert prices["spad", "read_word"] == 0.75
    assert prices["array", "mac"] == 2.5
    assert prices["dram", "read_bit"] == 1.0  # words of 64 bytes


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not beside this checkout")
def test_the_table_of_the_quantised_eyeriss() -> None:
    path = SHARED / "energy_reference_table.yaml"
    tables = read_table(import_tables(path.read_text(), path.name).text, "imported.yaml")
    energies = {(row.component, row.action): row.energy_pj for row, _ in tables.energy}
    assert energies["ifmap_spad", "read_word"] == 0.24
    assert (energies["weights_spad", "read_word"], energies["weights_spad", "write_word"]) == (0.77, 1.18)
    assert (energies["shared_glb", "read_word"], energies["shared_glb", "write_word"]) == (68.40625, 68.75)
    assert (energies["dram", "read_word"], energies["mac", "mac"]) == (512, 2.20035)


def test_a_table_of_the_plug_ins() -> None:
    """Alternatives in one cell, comments, wildcards; of deltas the largest."""
    text = (
        "technology,width,action,data_delta,energy(pJ),area(um^2)  # header\n"
        "45nm,16,read|access,0,0.5,12\n45nm,16,read,1,0.75,12\n\n45nm,16,write,*,1.5,12\n45nm,16,leak,*,,12\n"
    )
    found = import_tables(text, "folder/regfile.csv")
    tables = read_table(found.text, "imported.yaml")
    assert [(row.component, row.action, row.energy_pj) for row, _ in tables.energy] == [
        ("regfile", "read_word", 0.75),
        ("regfile", "write_word", 1.5),
    ]
    assert [(row.component, row.area_um2) for row, _ in tables.area] == [("regfile", 12)]
    assert found.ignored == (
        "the column 'technology'",
        "the column 'width'",
        "line 6: 'leak', which has no energy",
        "regfile: 1 entries of 'read' with other than data_delta 1",
        "regfile: action 'access', 0.5 pJ",
    )


def test_two_components_in_one_file_of_a_plug_in_are_refused() -> None:
    text = "technology,width,action,energy\n45nm,16,read,1\n45nm,32,read,2\n45nm,16,write,no\n"
    assert faults_of(text, "SRAM.csv") == [
        "SRAM.csv:3:1: 'read' has another width than on line 2",
        "SRAM.csv:4:1: 'energy' is 'no'",
    ]
    assert faults_of("width,energy\n1,2\n", "SRAM.csv") == ["SRAM.csv:1:1: there is no column 'action'"]
    assert faults_of("", "SRAM.csv") == ["SRAM.csv:1:1: the file is empty"]


def test_faults_have_places() -> None:
    wrong = TABLES.replace("energy: 0.75", "energy: much").replace("area: 30", "area: -1").replace("'0.4'", "'0.1'")
    assert faults_of(wrong) == [
        "t.yaml:2:12: ERT of version '0.1'",
        "t.yaml:7:74: 'ERT.tables[0].actions[1].energy' is 'much'",
        "t.yaml:19:47: 'ART.tables[1].area' is -1",
    ]
    assert faults_of("architecture: {}") == ["t.yaml:1:1: the file has neither 'ERT' nor 'ART', but architecture"]
    assert faults_of("ERT: {version: 0.4, tables: [{name: a, actions: [{name: x, energy: 1}]}]}") == [
        "t.yaml:1:1: nothing in the file has a place in a table of prices"
    ]
    huge = TABLES.replace("PE[0..3].spad", "PE[0..999999999].spad[0..9]")
    assert "stands for 10000000000 instances" in faults_of(huge)[0]


def test_names_are_told_apart_and_are_names() -> None:
    text = (
        "ERT: {version: 0.4, tables: ["
        + ", ".join(
            f"{{name: {json!r}, actions: [{{name: read, energy: 1}}]}}"
            for json in ("s.a.buf", "s.b.buf", "s.b.buf[1]", "7up", "x: y?", "s." * 300 + "buf")
        ).replace("'", '"')
        + "]}"
    )
    found = import_tables(text, "t.yaml")
    names = [row.component for row, _ in read_table(found.text, "imported.yaml").energy]
    assert names == ["buf", "b_buf", "s_b_buf", "p7up", "x_y", "s_buf"]


@pytest.mark.parametrize("name", ["gemmini16", "f32_8", "tpu256"])
def test_what_is_exported_comes_back(name: str, tmp_path: Path) -> None:
    """A machine's prices in Accelergy's form, imported as a table beside a machine of other prices, are its own."""
    arch = load_arch(name)
    texts = files([], arch)
    both = texts["ERT.yaml"] + texts["ART.yaml"]
    (tmp_path / "t.yaml").write_text(import_tables(both, "t.yaml").text)
    assert _prices(parse_arch(_described(arch), "m.yaml", tmp_path)) == pytest.approx(_prices(arch), rel=1e-12)


def _prices(arch: Arch) -> dict[tuple[str, str], float]:
    areas = {(row.component, "area"): row.area_um2 for row in arch.area if row.area_um2 is not None}
    return {(row.component, row.action): row.energy_pj for row in arch.energy} | areas


def _described(arch: Arch) -> str:
    """The machine without its prices, at another node and with the imported table."""
    from dnnc.frontend.arch_text import normalised_text

    bare = normalised_text(replace(arch, energy=(), area=()))
    return bare + "components: {technology_nm: 7, dram: hbm2, table: t.yaml}\n"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_tables_end_in_a_table_or_in_diagnostics(data: st.DataObject) -> None:
    text = TABLES
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = at + data.draw(st.integers(0, 30))
        patch = data.draw(
            st.sampled_from(["", "null", "-1", "1e999", "[", "{a: 1}", "0", '"\\n"', "99999999999", ": "])
        )
        text = text[:at] + patch + text[end:]
    try:
        found = import_tables(text, data.draw(st.sampled_from(["t.yaml", "t.csv"])))
    except CompileError:
        return
    read_table(found.text, "imported.yaml")
