"""Options that say otherwise than one another: refused, or it is said which of them decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper
from support.commands import DIGITS, said
from support.onnx_models import FLOAT, save_model


def test_a_mapping_file_that_decides_otherwise_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text("layers: {conv1: {dataflow: os, im2col: implicit}, dense: {dataflow: ws}}\n")
    words = ["cost", DIGITS, "--arch", "gemmini16", "--mapping", str(tmp_path / "m.yaml")]
    told = "is not used where --mapping decides otherwise, in 1 layer: conv1 "
    assert f"warning: --dataflow ws {told}(os)\n" in said([*words, "--dataflow", "ws"], 0, capsys)
    assert f"warning: --im2col explicit {told}(implicit)\n" in said([*words, "--im2col", "explicit"], 0, capsys)
    assert told not in said([*words, "--dataflow", "auto", "--im2col", "implicit"], 0, capsys)
    saved = str(tmp_path / "all.yaml")  # holds layers of the vector unit, too, which have no dataflow to choose
    said(["cost", DIGITS, "--arch", "gemmini16", "--dataflow", "ws", "--save-mapping", saved], 0, capsys)
    assert told[:20] not in said([*words[:-1], saved, "--dataflow", "ws"], 0, capsys)


def test_a_method_for_synthetic_data_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(["cost", DIGITS, "--arch", "edge8", "--calibration", "percentile"], 0, capsys)
    assert "warning: --calibration percentile chooses ranges of synthetic data" in text


@pytest.mark.parametrize("words", [["cost", "--arch", "f32_8"], ["check", "--arch", "f32_8"]])
@pytest.mark.parametrize(
    ("leading", "shapes", "place"),
    [
        (["n", "n"], ["a=2,4"], "'a' is 2"),
        ([2, 3], ["a=2,4"], "'a' is 2"),
        (["n", "n"], ["b=2,4"], "'a' is 2"),
        (["k", "n"], ["a=2,4"], "'a' is 2"),
    ],
)
def test_a_batch_size_that_a_shape_contradicts(
    words: list[str],
    leading: list[str | int],
    shapes: list[str],
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = [(name, FLOAT, [axis, 4]) for name, axis in zip("ab", leading, strict=True)]
    nodes = [helper.make_node("Relu", [name], [name.upper()]) for name in "ab"]
    path = str(save_model(tmp_path / "m.onnx", nodes, values, [("A", FLOAT, None), ("B", FLOAT, None)]))
    given = [words[0], path, *words[1:], *(word for each in shapes for word in ("--shape", each))]
    text = said([*given, "--batch-size", "5"], 2, capsys)
    assert f"--batch-size 5 and --shape contradict: the leading axis of input {place}" in text
    said(given, 0, capsys)
    said([*given, "--batch-size", "2"], 0, capsys)
