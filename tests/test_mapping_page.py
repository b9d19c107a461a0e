"""specs/mapping.md: its examples do what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dnnc.cli.main import main
from dnnc.passes.map_search import MOST_ASKED, MOST_BOUNDS, MOST_STEPS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "specs" / "mapping.md").read_text()
PARTIAL, INFEASIBLE, GROUP = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
WORDS = ["cost", str(ROOT / "specs" / "models" / "digits.onnx"), "--arch", "edge8", "--batch-size", "16"]


def saved(folder: Path, *more: str) -> tuple[str, dict[str, Any]]:
    """The decisions that `cost` saves, and its statistics."""
    files = ["--save-mapping", str(folder / "saved.yaml"), "--json", str(folder / "stats.json")]
    assert main([*WORDS, *more, *files]) == 0
    return (folder / "saved.yaml").read_text(), json.loads((folder / "stats.json").read_text())


def test_a_partial_mapping_is_kept_and_completed(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(PARTIAL)
    text, stats = saved(tmp_path, "--mapping", str(tmp_path / "m.yaml"))
    layers = dict(re.findall(r'  "(\S+)":\n((?:    .*\n)*)', text))
    assert "dataflow: ws" in layers["conv1"]
    assert "dataflow: os" in layers["conv2"]
    assert "tiles: [{dim: p, size: 2}, " in layers["conv2"]  # and loops that the search adds inside
    assert '"w": 1' in layers["conv2"]
    assert "tiles: [{dim: p, size: 4}]\n" in layers["dense"]
    assert all(each["mapping"]["lower_bound"] <= each["mapping"]["objective"] for each in stats["layers"])


def test_layers_run_depth_first_as_they_are_told(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(GROUP)
    text, stats = saved(tmp_path, "--mapping", str(tmp_path / "m.yaml"))
    _, whole = saved(tmp_path, "--mapping", str(tmp_path / "m.yaml"), "--fuse", "auto")
    assert stats == whole
    assert text.startswith('groups:\n  - {first: "conv1", last: "conv2", stripes: 8}\nlayers:\n')
    layers = dict(re.findall(r'  "(\S+)":\n((?:    .*\n)*)', text))
    assert "tiles: [{dim: p, size: 2}]\n" in layers["conv2.1"]
    assert [each["name"] for each in stats["layers"]] == ["image.quantize", "conv1", "conv2", "pool", "dense"]
    assert [each["mapping"]["stripes"] for each in stats["layers"]] == [1, 8, 8, 1, 1]
    (tmp_path / "again.yaml").write_text(text)
    again, repeated = saved(tmp_path, "--mapping", str(tmp_path / "again.yaml"))
    assert again == text
    assert repeated["total"] == stats["total"]


@pytest.mark.parametrize("im2col", ["auto", "explicit"])
def test_a_saved_mapping_is_read_back_to_the_same(im2col: str, tmp_path: Path) -> None:
    text, stats = saved(tmp_path, "--im2col", im2col)
    assert ('"conv1.im2col":' in text) == (im2col == "explicit")
    (tmp_path / "m.yaml").write_text(text)
    again, repeated = saved(tmp_path, "--mapping", str(tmp_path / "m.yaml"))
    assert again == text
    assert repeated["total"] == stats["total"]


def test_an_infeasible_mapping_says_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(INFEASIBLE)
    assert main([*WORDS, "--mapping", "m.yaml"]) == 2
    message, *_ = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert capsys.readouterr().err.endswith(message)


def test_a_pin_of_a_copy_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text("layers: {conv1.im2col: {copies: {x: 1}}, conv9.im2col: {}}\n")
    assert main([*WORDS, "--mapping", str(tmp_path / "m.yaml")]) == 2
    assert "there is no layer 'conv9.im2col' to map" in capsys.readouterr().err
    (tmp_path / "m.yaml").write_text("layers: {conv1.im2col: {copies: {x: 1}}, conv1: {im2col: implicit}}\n")
    assert main([*WORDS, "--mapping", str(tmp_path / "m.yaml")]) == 2
    assert "there is no layer 'conv1.im2col' to map: 'conv1' takes no explicit im2col" in capsys.readouterr().err


def test_the_page_knows_when_the_search_gives_up() -> None:
    assert f"after {MOST_BOUNDS // 10**6} million bounds, {MOST_STEPS // 10**6} million steps" in PAGE
    assert f"{MOST_ASKED // 10**6} million iterations that the cost model counts" in PAGE
