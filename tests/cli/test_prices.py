"""Prices on the command line: leakage in cost and in run, a table beside a description, Accelergy's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dnnc.cli.main import main
from dnnc.frontend.arch_yaml import arch_source
from support.commands import refused
from support.onnx_models import FLOAT, save_model


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of a matrix product and an operator of the host, its input, and a machine that leaks."""
    from onnx import helper

    folder = tmp_path_factory.mktemp("prices")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Erf", ["a"], ["y"])]
    weights = {"w": np.eye(8, dtype=np.float32)}
    save_model(folder / "m.onnx", nodes, [("x", FLOAT, [4, 8])], [("y", FLOAT, [4, 8])], weights)
    np.savez(folder / "x.npz", x=np.ones((4, 8), np.float32))
    text = arch_source("f32_8")[0].replace("name: f32_8", "name: leaky")
    assert "dram: lpddr4}" in text
    (folder / "leaky.yaml").write_text(text.replace("dram: lpddr4}", "dram: lpddr4, leakage: true}"))
    return folder


def statistics(command: list[str], folder: Path) -> dict[str, Any]:
    assert main([*command, "--json", str(folder / "s.json")]) == 0
    return json.loads((folder / "s.json").read_text())


def test_leakage_is_the_same_in_cost_and_in_run_and_in_no_mapping(work: Path) -> None:
    base = [str(work / "m.onnx"), "--objective", "energy", "--arch"]
    leaky, plain = (statistics(["cost", *base, arch], work) for arch in (str(work / "leaky.yaml"), "f32_8"))
    assert main(["compile", *base, str(work / "leaky.yaml"), "-o", str(work / "m.dnnx")]) == 0
    ran = statistics(["run", str(work / "m.dnnx"), "--inputs", str(work / "x.npz")], work)
    assert ran["total"]["energy_pj"] == leaky["total"]["energy_pj"] > plain["total"]["energy_pj"]
    power_mw = sum(
        float(text.split()[0])
        for key, text in leaky["provenance"].items()
        if key.startswith("leakage_mw.") and not text.startswith("not known")
    )
    seconds_per_cycle = leaky["total"]["seconds"] / leaky["total"]["cycles"]
    for one, other, third in zip(leaky["layers"], plain["layers"], ran["layers"], strict=True):
        assert one["energy_pj"] == third["energy_pj"]
        assert one["energy_pj"].pop("leakage") == pytest.approx(
            power_mw * one["cycles"] * seconds_per_cycle * 1e9, rel=1e-5
        )
        assert one["energy_pj"] == other["energy_pj"]
        for mapping in (one["mapping"], other["mapping"]):
            if mapping is not None:
                mapping.pop("points")  # which leak as the layer does
        assert one["mapping"] == other["mapping"]
    assert "not priced" in plain["provenance"]["energy_pj.leakage"]


def test_a_table_is_found_beside_the_description_and_needed_no_more_by_the_program(work: Path) -> None:
    folder = work / "machine"
    folder.mkdir()
    text = (work / "leaky.yaml").read_text().replace("leakage: true", "table: mine.yaml")
    (folder / "arch.yaml").write_text(text)
    table = folder / "mine.yaml"
    table.write_text("energy: [{component: mac, action: mac, energy_pj: 1000, source: mine}]\n")
    assert main(["arch", "check", str(folder / "arch.yaml")]) == 0
    words = ["compile", str(work / "m.onnx"), "--arch", str(folder / "arch.yaml"), "-o", str(work / "t.dnnx")]
    assert main(words) == 0
    table.unlink()
    ran = statistics(["run", str(work / "t.dnnx"), "--inputs", str(work / "x.npz")], work)
    assert ran["provenance"]["energy_pj.array.mac"] == "1000 pJ: mine"
    assert ran["layers"][0]["energy_pj"]["array"] == 1000 * 4 * 8 * 8


def test_counts_and_prices_in_accelergys_files(work: Path) -> None:
    """Their products are the energy of the report, as Accelergy computes it."""
    folder = work / "a" / "b"
    stats = statistics(
        ["cost", str(work / "m.onnx"), "--arch", str(work / "leaky.yaml"), "--accelergy", str(folder)], work
    )
    read = {path.stem: next(iter(yaml.safe_load(path.read_text()).values())) for path in folder.iterdir()}
    assert read.keys() == {"architecture", "action_counts", "ERT", "ART"}
    prices = {row["name"]: {each["name"]: each["energy"] for each in row["actions"]} for row in read["ERT"]["tables"]}
    energy_pj = sum(
        each["counts"] * prices[row["name"]][each["name"]]
        for row in read["action_counts"]["local"]
        for each in row["action_counts"]
    )
    assert energy_pj == pytest.approx(stats["total"]["energy_pj"])


def test_accelergys_tables_are_imported_and_price_a_machine(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was exported, at a machine of other prices: the energy of the first."""
    folder = work / "there"
    base = ["cost", str(work / "m.onnx"), "--arch"]
    theirs = statistics([*base, "f32_8", "--accelergy", str(folder)], work)
    assert main(["arch", "import", str(folder / "ERT.yaml"), "-o", str(folder / "prices.yaml")]) == 0
    text = arch_source("f32_8")[0].replace(
        "technology_nm: 45, dram: lpddr4}", "technology_nm: 7, dram: hbm2, table: prices.yaml}"
    )
    (folder / "mine.yaml").write_text(text)
    ours = statistics([*base, str(folder / "mine.yaml")], work)
    assert ours["total"]["energy_pj"] == pytest.approx(theirs["total"]["energy_pj"])
    assert ours["provenance"]["energy_pj.array.mac"].endswith(
        "Accelergy's table ERT.yaml, system.array[0..63], compute"
    )
    plug_in = folder / "regfile.csv"
    plug_in.write_text("technology,width,action,energy\n45nm,16,read,0.5\n45nm,16,leak,0.1\n")
    capsys.readouterr()
    assert main(["arch", "import", str(plug_in)]) == 0
    out, err = capsys.readouterr()
    assert "{component: regfile, action: read_word, energy_pj: 0.5," in out
    assert "ignored: regfile: action 'leak' (an energy per cycle of unknown length), 0.1 pJ\n" in err


def test_accelergys_files_replace_nothing_that_is_read(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = work / "held"
    folder.mkdir()
    arch = folder / "architecture.yaml"
    arch.write_text((work / "leaky.yaml").read_text())
    text = refused(["cost", str(work / "m.onnx"), "--arch", str(arch), "--accelergy", str(folder)], capsys)
    assert "this would overwrite what the command reads" in text
    assert [path.name for path in folder.iterdir()] == ["architecture.yaml"]
    refused(["cost", str(work / "m.onnx"), "--arch", "f32_8", "--accelergy", str(work / "m.onnx")], capsys)
