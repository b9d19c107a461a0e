"""Layers that run depth first, as a user sees them: one row a layer, the same in cost and run, and what was done."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.cli.pages.reader import read_document
from dnnc.passes.group_search import GroupSearch
from support.commands import DIGITS, MODELS, printed, refused
from support.mixed_models import Quantised
from support.onnx_models import INT8, save_model

GROUP = "groups: [{first: conv1, last: conv2, stripes: 4}]\n"


def words(folder: Path, command: str, *more: str) -> list[str]:
    (folder / "m.yaml").write_text(GROUP)
    return [command, DIGITS, "--arch", "edge8", "--mapping", str(folder / "m.yaml"), *more]


def small_chain(folder: Path) -> list[str]:
    """Two convolutions and a machine that does not hold what goes from one to the other."""
    shown = (Path(dnnc.__file__).parent / "specs" / "arch" / "edge8.yaml").read_text()
    (folder / "small.yaml").write_text(shown.replace("name: edge8", "name: small").replace("32 KiB", "3 KiB"))
    q = Quantised(4)
    q.quantization("x", 0.05, -7)
    q.conv("x", "a", 12, 5, pads=[1, 1, 1, 1])
    q.conv("a", "y", 12, 12, pads=[1, 1, 1, 1])
    path = folder / "chain.onnx"
    save_model(path, q.nodes, [("x", INT8, (1, 5, 40, 12))], [("y", INT8, (1, 12, 40, 12))], q.constants)
    return [str(path), "--arch", str(folder / "small.yaml")]


def loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_cost_and_run_have_the_sums_of_the_stripes(tmp_path: Path) -> None:
    assert main(words(tmp_path, "cost", "--json", str(tmp_path / "c.json"))) == 0
    assert main(words(tmp_path, "compile", "-o", str(tmp_path / "d.dnnx"))) == 0
    with np.load(MODELS / "digits.npz") as data:
        np.savez(tmp_path / "image.npz", image=data["test"][:1])
    given = ["--inputs", str(tmp_path / "image.npz"), "--outputs", str(tmp_path / "out.npz")]
    assert main(["run", str(tmp_path / "d.dnnx"), *given, "--json", str(tmp_path / "r.json")]) == 0
    cost, run = loaded(tmp_path / "c.json"), loaded(tmp_path / "r.json")
    assert [each["name"] for each in cost["layers"]] == ["image.quantize", "conv1", "conv2", "pool", "dense"]
    for one, other in zip(cost["layers"], run["layers"], strict=True):
        for key in ("name", "op", "where", "dataflow", "macs", "cycles", "instructions", "traffic", "energy_pj"):
            assert one[key] == other[key], key
    assert cost["total"] == run["total"]
    assert [each["mapping"]["stripes"] for each in cost["layers"]] == [1, 4, 4, 1, 1]
    assert "output" not in cost["layers"][1]["traffic"]["dram"]
    assert "input" not in cost["layers"][2]["traffic"]["dram"]

    assert main(["compile", DIGITS, "--arch", "edge8", "--fuse", "off", "-o", str(tmp_path / "off.dnnx")]) == 0
    assert main(["run", str(tmp_path / "off.dnnx"), *given[:3], str(tmp_path / "off.npz")]) == 0
    with np.load(tmp_path / "out.npz") as found, np.load(tmp_path / "off.npz") as expected:
        assert {name: found[name].tobytes() for name in found} == {name: expected[name].tobytes() for name in expected}


@pytest.mark.parametrize("objective", ["latency", "energy", "edp", "energy^0.5*latency^0.25"])
def test_the_objective_of_a_layer_is_that_of_all_its_stripes(tmp_path: Path, objective: str) -> None:
    """Of their sums, as of any other layer; what is proven lies below."""
    assert main(words(tmp_path, "cost", "--objective", objective, "--json", str(tmp_path / "c.json"))) == 0
    for layer in loaded(tmp_path / "c.json")["layers"]:
        cycles, energy = layer["cycles"], sum(layer["energy_pj"].values())
        known = {"latency": cycles, "energy": energy, "edp": cycles * energy}
        assert layer["mapping"]["objective"] == pytest.approx(known.get(objective, energy**0.5 * cycles**0.25))
        assert 0 < layer["mapping"]["lower_bound"] <= layer["mapping"]["objective"]


def test_explanations_tell_of_groups_and_stripes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")]
    text = printed(words(tmp_path, "cost", "--explain", "--time-limit", "60", *files), capsys)
    assert "depth first, 4 stripes of conv1 to conv2: " in text
    told = text[text.index("\nconv2: ") : text.index("\npool: ")].splitlines()
    assert any(re.match(r"  stripes? .* of 4: tiles: ", line) for line in told)
    assert sum("depth first" in line for line in told) == 1
    found = read_document(str(tmp_path / "c.json"))
    assert [each.search.stripes for each in found.layers if each.search is not None] == [1, 4, 4, 1, 1]
    (cycles,) = [each.cycles for each in found.layers if each.name == "conv2"]
    assert f"4 stripes take {cycles} cycles, " in (tmp_path / "c.html").read_text()
    layers = {each["name"]: each for each in loaded(tmp_path / "c.json")["layers"]}
    assert layers["conv2"]["explain"]["base_cycles"] > 0


def test_groups_need_fuse_auto(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fuse in ("off", "keep"):
        text = refused(words(tmp_path, "cost", "--fuse", fuse), capsys)
        assert "m.yaml:1:10: error: layers are to run depth first, but fuse is not auto" in text


def test_what_is_wrong_with_a_group_is_told_in_one_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = words(tmp_path, "cost")
    (tmp_path / "m.yaml").write_text(
        "groups:\n  - {first: conv1, last: conv3, stripes: 4}\n  - {first: conv2, last: conv1, stripes: 2}\n"
    )
    text = refused(told, capsys)
    assert "m.yaml:2:5: error: there is no layer 'conv3' to run depth first" in text
    assert "m.yaml:3:5: error: conv1 is not after conv2" in text
    (tmp_path / "m.yaml").write_text("groups: [{first: conv1, stripes: 1}, {last: a, first: b, stripes: 2, rows: 3}]\n")
    text = refused(told, capsys)
    assert "'groups[0]' lacks the key 'last'" in text
    assert "'groups[0].stripes' is '1'; it must lie between 2 and 4096" in text
    assert "unknown key 'groups[1].rows'" in text or "rows" in text


def test_a_time_limit_that_ends_the_search_for_groups_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mappings are there already, so that groups alone are left to search for; what follows is not kept."""
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    words = ["cost", *small_chain(tmp_path), "--objective", "energy"]
    assert main([*words, "--fuse", "off"]) == 0
    monkeypatch.setattr(GroupSearch, "_is_late", lambda search: search.until < float("inf"))
    capsys.readouterr()
    for _ in range(2):
        assert main([*words, "--time-limit", "60"]) == 0
        told = capsys.readouterr().err
        assert "the search for layers that run depth first stopped at the time limit of 60 s: " in told
        assert "the search of mappings stopped" not in told
    assert main(words) == 0
    assert "stopped" not in capsys.readouterr().err
