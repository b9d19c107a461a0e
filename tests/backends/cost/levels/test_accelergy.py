"""A machine with levels inside the array in Accelergy's files: counts times prices there are our energy, and a table
imported from them prices the machine as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dnnc.backends.cost.levels.accelergy import files
from dnnc.backends.cost.levels.layers import LayerFigures, reported_pj
from dnnc.frontend.accelergy import import_tables
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from support.descriptions import levels_text

TEXT = levels_text(
    "store: dram, word_bits: 64",
    "fanout: rows, rows: 3, cols: 1, hop_mm: 0.1",
    "store: glb, word_bits: 64, depth_words: 128, banks: 2",
    "fanout: pe, rows: 3, cols: 4, hop_mm: 0.2",
    "store: spad, word_bits: 8, depth_words: 16",
)
PRICED = TEXT + "components: {technology_nm: 45, dram: lpddr4, leakage: true}\n"
ACTIONS = {("mac", "mac"): 10**18, ("dram", "read_word"): 7, ("pe", "hop_bit"): 30, ("spad", "write_word"): 0}
LAYERS = [
    LayerFigures(0, 0, 100, "mac", {}, {}, ACTIONS),
    LayerFigures(0, 0, 41, "mac", {}, {}, {("mac", "mac"): 1}),
]


def _entries(text: str) -> dict[str, dict[str, Any]]:
    document = next(iter(yaml.safe_load(text).values()))
    rows = document.get("tables") or document["local"]
    return {row["name"]: {each["name"]: each for each in row.get("actions") or row["action_counts"]} for row in rows}


def test_counts_times_prices_are_our_energy() -> None:
    machine = parse_hierarchy(PRICED, "small.yaml")
    texts = files(LAYERS, machine)
    counts, prices = _entries(texts["action_counts.yaml"]), _entries(texts["ERT.yaml"])
    assert counts["system.mac[0..35]"]["compute"]["counts"] == 10**18 + 1
    assert counts["system.glb[0..2]"]["leak"]["counts"] == 141
    assert "write" not in counts["system.spad[0..35]"]
    energy_pj = sum(
        row["counts"] * prices[component][action]["energy"]
        for component, actions in counts.items()
        for action, row in actions.items()
    )
    energy = {(row.component, row.action): row.energy_pj for row in machine.energy}
    ours = sum(times * energy[key] for layer in LAYERS for key, times in layer.actions.items())
    leaked = sum(reported_pj(layer, machine)["leakage"] for layer in LAYERS)
    assert leaked > 0
    assert energy_pj == pytest.approx(ours + leaked)


def test_every_level_is_a_component_with_its_shape() -> None:
    (root,) = yaml.safe_load(files([], parse_hierarchy(TEXT, "s"))["architecture.yaml"])["architecture"]["subtree"]
    assert {each["name"]: (each["class"], each["attributes"]) for each in root["local"]} == {
        "dram": ("DRAM", {"width": 64}),
        "rows": ("wire", {"width": 1, "length_mm": 0.1}),
        "glb[0..2]": ("SRAM", {"width": 64, "depth": 128, "n_banks": 2, "n_rw_ports": 1}),
        "pe": ("wire", {"width": 1, "length_mm": 0.2}),
        "spad[0..35]": ("SRAM", {"width": 8, "depth": 16, "n_banks": 1, "n_rw_ports": 1}),
        "mac[0..35]": ("intmac", {"width_a": 8, "width_b": 4, "accumulator_width": 24}),
    }
    assert files([], parse_hierarchy(TEXT, "s")).keys() == {"architecture.yaml", "action_counts.yaml"}


def test_a_table_imported_from_the_export_prices_the_machine_as_before(tmp_path: Path) -> None:
    machine = parse_hierarchy(PRICED, "small.yaml")
    texts = files(LAYERS, machine)
    joined = texts["ERT.yaml"] + texts["ART.yaml"]
    (tmp_path / "t.yaml").write_text(import_tables(joined, "both.yaml").text)
    other = TEXT + "components: {technology_nm: 130, dram: hbm2, table: t.yaml}\n"
    again = parse_hierarchy(other, "small.yaml", tmp_path)
    assert [row.energy_pj for row in again.energy] == [row.energy_pj for row in machine.energy]
    areas = {row.component: row.area_um2 for row in again.area}
    assert areas == {row.component: pytest.approx(row.area_um2) for row in machine.area}
