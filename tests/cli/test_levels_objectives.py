"""Objectives of `dnnc cost` on machines with levels inside the array: prices and limits, and points of whole layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dnnc.cli.main import main
from onnx import helper
from support.levels_models import SMALL, save_small
from support.onnx_models import FLOAT, save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("objectives"))


def test_an_energy_needs_prices(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "free.yaml").write_text(SMALL.replace("components: {technology_nm: 45, dram: lpddr4}\n", ""))
    base = ["cost", str(folder / "m.onnx"), "--arch", str(tmp_path / "free.yaml")]
    assert main([*base, "--objective", "energy"]) == 2
    assert "has no prices" in capsys.readouterr().err
    assert main([*base, "--objective", "energy, cycles<=9"]) == 2
    assert "has no prices" in capsys.readouterr().err
    assert main(base) == 0


def test_weighted_and_limited_objectives(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit between what the fastest and the thriftiest mapping take is kept, and paid for; one below all is told."""
    base = ["cost", str(folder / "m.onnx"), "--arch", str(folder / "small.yaml")]
    found = {}
    for name in ("latency", "energy", "energy + 50*latency"):
        assert main([*base, "--objective", name, "--json", str(tmp_path / "s.json")]) == 0
        layers = json.loads((tmp_path / "s.json").read_text())["layers"]
        found[name] = next(layer for layer in layers if layer["mapping"])
    mixed = found["energy + 50*latency"]
    assert mixed["mapping"]["optimal"]
    least = found["latency"]["cycles"]
    capsys.readouterr()
    assert main([*base, "--objective", f"energy, cycles<={least}", "--json", str(tmp_path / "s.json")]) == 0
    layers = json.loads((tmp_path / "s.json").read_text())["layers"]
    assert next(layer for layer in layers if layer["mapping"])["cycles"] == least
    capsys.readouterr()
    assert main([*base, "--objective", f"energy, cycles<={least - 1}"]) == 2
    assert f"the least is {least} cycles, 1 too much" in capsys.readouterr().err


def _with_bias(folder: Path, machine: str) -> list[str]:
    """A convolution with a bias, which every mapping reads beside its products, and a layer without products."""
    weights = {"w": np.ones((6, 1, 3, 3), np.float32), "b": np.ones(6, np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["a"]), helper.make_node("GlobalMaxPool", ["a"], ["y"])]
    save_model(folder / "c.onnx", nodes, [("x", FLOAT, [1, 1, 6, 6])], [("y", FLOAT, [1, 6, 1, 1])], weights)
    (folder / "small.yaml").write_text(machine)
    return ["cost", str(folder / "c.onnx"), "--arch", str(folder / "small.yaml"), "--json", str(folder / "s.json")]


def test_limits_are_of_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = _with_bias(tmp_path, SMALL)
    assert main([*words, "--objective", "energy"]) == 0
    conv, pool = json.loads((tmp_path / "s.json").read_text())["layers"]
    least = sum(conv["energy_pj"].values())
    assert conv["mapping"]["objective"] < least * 0.999 and conv["mapping"]["optimal"]
    for name in ("energy", "latency"):
        assert main([*words, "--objective", f"{name}, energy_pj<={least * 1.001}"]) == 0
        row = json.loads((tmp_path / "s.json").read_text())["layers"][0]
        assert least * (1 - 1e-9) <= sum(row["energy_pj"].values()) <= least * 1.001
        capsys.readouterr()
        assert main([*words, "--objective", f"{name}, energy_pj<={least * 0.999}"]) == 2
        assert f"no mapping keeps energy_pj<={least * 0.999}: the least is {least:.6g} pJ" in capsys.readouterr().err
    assert pool["cycles"] == 24  # 96 values, four a cycle
    assert main([*words, "--objective", "energy, cycles<=23"]) == 2
    assert f"{pool['name']}: no mapping keeps cycles<=23: the least is 24 cycles, 1 too much" in capsys.readouterr().err


@pytest.mark.parametrize("machine", [SMALL, SMALL.replace("dram: lpddr4", "dram: lpddr4, leakage: true")])
def test_no_point_beats_the_layer_whose_mapping_is_optimal(tmp_path: Path, machine: str) -> None:
    """Points are of the layer, as its row is: biases are read whatever the mapping, and time leaks."""
    assert main([*_with_bias(tmp_path, machine), "--objective", "latency"]) == 0
    layer = json.loads((tmp_path / "s.json").read_text())["layers"][0]
    assert layer["traffic"]["dram"]["bias"]["read_bytes"] > 0
    own = (layer["cycles"], pytest.approx(sum(layer["energy_pj"].values())))
    assert own in [tuple(point) for point in layer["mapping"]["points"]]
    assert min(cycles for cycles, _ in layer["mapping"]["points"]) == layer["cycles"]
