"""`cost --explain`: its figures are those of the machines that it names, each layer is mapped once, time ends it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.cli import explain
from dnnc.cli.main import main
from onnx import helper
from support.commands import DIGITS, SPECS, printed
from support.onnx_models import FLOAT, save_model

# The lines of a description that a variant stands for.
DOUBLED = {
    "rows": [("rows: 16", "rows: 32")],
    "columns": [("cols: 16", "cols: 32")],
    "lanes": [("lanes: 16", "lanes: 32")],
    "bandwidth": [
        ("bus_bytes: 16", "bus_bytes: 32"),
        ("requests_in_flight: 16", "requests_in_flight: 32"),
        ("bandwidth_bytes_per_second: 16 GB/s", "bandwidth_bytes_per_second: 32 GB/s"),
    ],
    "capacity": [
        ("capacity_bytes: 256 KiB", "capacity_bytes: 512 KiB"),
        ("capacity_bytes: 64 KiB", "capacity_bytes: 128 KiB"),
    ],
}


def cost(words: list[str], folder: Path) -> dict[str, Any]:
    path = folder / "explained.json"
    assert main(["cost", *words, "--json", str(path)]) == 0
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_every_variant_has_its_machine() -> None:
    assert [each.name for each in explain.VARIANTS] == list(DOUBLED)


@pytest.mark.parametrize("variant", DOUBLED)
@pytest.mark.parametrize("dataflow", ["auto", "ws"])
def test_cycles_are_those_of_the_machine_described(variant: str, dataflow: str, tmp_path: Path) -> None:
    text = (SPECS / "arch" / "gemmini16.yaml").read_text()
    for one, other in DOUBLED[variant]:
        assert one in text
        text = text.replace(one, other)
    machine = tmp_path / "doubled.yaml"
    machine.write_text(text)
    common = [DIGITS, "--fuse", "off", "--dataflow", dataflow, "--arch"]
    expected = {each["name"]: each["cycles"] for each in cost([*common, str(machine)], tmp_path)["layers"]}
    found = cost([*common, "gemmini16", "--explain"], tmp_path)["layers"]
    assert {each["name"]: each["explain"]["cycles"][variant] for each in found} == expected
    assert all(each["explain"]["base_cycles"] == each["cycles"] for each in found)


def test_the_words_follow_from_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    words = ["cost", DIGITS, "--arch", "gemmini16", "--fuse", "off", "--explain"]
    text = printed([*words, "--json", str(path)], capsys)
    layers = json.loads(path.read_text())["layers"]
    total = sum(each["cycles"] for each in layers)
    for layer in layers:
        part = text[text.index(f"\n{layer['name']}: {layer['bound']}-bound") :]
        busy = sorted(layer["busy_cycles"].values(), reverse=True)
        found = re.search(r"limits, of (\d+) cycles: (.*); the layer takes ([\d.]+) x that", part)
        assert found is not None
        assert int(found[1]) == round(busy[0])
        assert [float(each.split()[1]) for each in found[2].split(", ")] == [round(each / busy[0], 2) for each in busy]
        assert float(found[3]) == pytest.approx(layer["cycles"] / busy[0], abs=0.006)
        best = min(layer["explain"]["cycles"].values())
        assert f" would save {1 - best / layer['cycles']:.1%} of its cycles" in part
    for name in DOUBLED:
        cycles = sum(each["explain"]["cycles"][name] for each in layers)
        assert re.search(rf"^{name}: .* {cycles}  {1 - cycles / total:.1%}$", text, re.MULTILINE)


def test_layers_that_are_alike_are_mapped_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("MatMul", [f"t{k}", "w"], [f"t{k + 1}"]) for k in range(3)]
    weights = {"w": np.eye(8, dtype=np.float32)}
    path = save_model(tmp_path / "m.onnx", nodes, [("t0", FLOAT, [8, 8])], [("t3", FLOAT, [8, 8])], weights)
    asked = []
    search = explain._mapped_cycles

    def counting(mapper: Any, nest: Any, label: str) -> int | None:
        asked.append(nest.name)
        return search(mapper, nest, label)

    monkeypatch.setattr(explain, "_mapped_cycles", counting)
    layers = cost([str(path), "--arch", "f32_8", "--fuse", "off", "--explain"], tmp_path)["layers"]
    assert len(layers) == 3
    assert len(asked) == len(DOUBLED)
    assert layers[0]["explain"] == layers[1]["explain"] == layers[2]["explain"]


def test_what_the_time_does_not_suffice_for_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cost", DIGITS, "--arch", "f32_8", "--explain", "--time-limit", "1e-9"]
    path = tmp_path / "c.json"
    text = printed([*words, "--json", str(path)], capsys)
    assert text.count("what would help is not known: the time for that was up") == len(
        json.loads(path.read_text())["layers"]
    )
    assert "saved" not in text
    assert all("explain" not in layer for layer in json.loads(path.read_text())["layers"])


def test_totals_tell_what_they_leave_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers are mapped from the longest on: here the time is up after the first of them."""
    times = iter([0.0, 0.0])
    monkeypatch.setattr(explain, "clock_s", lambda: next(times, 1e9))
    monkeypatch.setattr(explain, "_mapped_cycles", lambda mapper, nest, label: 1)
    path = tmp_path / "c.json"
    words = ["cost", DIGITS, "--arch", "f32_8", "--fuse", "off", "--explain"]
    text = printed([*words, "--json", str(path)], capsys)
    layers = sorted(json.loads(path.read_text())["layers"], key=lambda layer: -int(layer["cycles"]))
    assert ["explain" in layer for layer in layers] == [True, *(False for _ in layers[1:])]
    left, total = sum(layer["cycles"] for layer in layers[1:]), sum(layer["cycles"] for layer in layers)
    assert f"({left / total:.1%} of the cycles, which count as they are)" in text
    assert f"{left + 1}  {1 - (left + 1) / total:.1%}" in text


def test_a_given_mapping_is_compared_with_free_ones(tmp_path: Path) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text("layers: {conv2: {dataflow: os, tiles: [{dim: m, size: 1}], complete: true}}\n")
    words = [DIGITS, "--arch", "gemmini16", "--fuse", "off"]
    free = {each["name"]: each["cycles"] for each in cost(words, tmp_path)["layers"]}
    pinned = {each["name"]: each for each in cost([*words, "--explain", "--mapping", str(mapping)], tmp_path)["layers"]}
    assert pinned["conv2"]["cycles"] > free["conv2"] == pinned["conv2"]["explain"]["base_cycles"]


def test_words_say_that_a_given_mapping_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping, path = tmp_path / "m.yaml", tmp_path / "c.json"
    mapping.write_text("layers: {conv2: {dataflow: os, tiles: [{dim: m, size: 1}], complete: true}}\n")
    words = ["cost", DIGITS, "--arch", "gemmini16", "--fuse", "off", "--explain", "--json", str(path)]
    text = printed([*words, "--mapping", str(mapping)], capsys)
    layers = {each["name"]: each for each in json.loads(path.read_text())["layers"]}
    free, given = layers["conv2"]["explain"]["base_cycles"], layers["conv2"]["cycles"]
    told = f"without the given mapping it would take {free} cycles, in place of {given}; "
    assert re.findall(r"\n  without the given mapping.*?; ", text) == [f"\n  {told}"]
    total = sum(each["cycles"] for each in layers.values())
    assert f"best mappings without it ({total - given + free} cycles), not with the {total} of the given one" in text
    assert "given mapping" not in printed(words, capsys)


def test_layers_of_the_host_are_explained_without_variants(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["cost", DIGITS, "--arch", "gemmini16", "--precision", "keep", "--explain"], capsys)
    assert re.search(r": host-bound, .*\n  on the host: ", text)


def test_statistics_without_the_option_are_as_before(tmp_path: Path) -> None:
    assert all("explain" not in each for each in cost([DIGITS, "--arch", "gemmini16"], tmp_path)["layers"])


def test_layers_between_which_values_stay_are_compared_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [DIGITS, "--arch", "gemmini16"]
    alone = {each["name"]: each["cycles"] for each in cost([*words, "--fuse", "off"], tmp_path)["layers"]}
    path = tmp_path / "c.json"
    text = printed(["cost", *words, "--explain", "--json", str(path)], capsys)
    layers = json.loads(path.read_text())["layers"]
    assert {each["name"]: each["explain"]["base_cycles"] for each in layers} == alone
    assert sum(each["cycles"] for each in layers) < sum(alone.values())
    assert "stays in spad" in text
    assert "layers between which values stay in local memory are compared by themselves (--fuse off)" in text
