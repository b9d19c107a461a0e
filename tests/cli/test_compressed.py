"""Reports of models with compressed weights: what searches evaluated and what would help are of the dense layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.commands import DIGITS, MODELS, printed

PRUNED = "layers:\n  conv2: {weights: {fraction: 0.5, criterion: l1_mean, block: [8, 8]}}\n"


def test_reports_that_search_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "samples.npz", image=np.load(MODELS / "digits.npz")["test"][:32])
    (tmp_path / "prune.yaml").write_text(PRUNED)
    model = [DIGITS, "--arch", "sparse_blox16", "--calibrate", str(tmp_path / "samples.npz")]
    pruned, stats = ["--prune", str(tmp_path / "prune.yaml")], tmp_path / "stats.json"
    told = printed(["cost", *model, *pruned, "--explain", "--json", str(stats)], capsys)
    assert "weights compressed" in told
    layers = {each["name"]: each for each in json.loads(stats.read_text())["layers"]}
    assert layers["conv2"]["weight_blocks"]["zero"] > 0
    dense = tmp_path / "dense.json"
    printed(["cost", *model, "--json", str(dense)], capsys)
    plain = {each["name"]: each for each in json.loads(dense.read_text())["layers"]}
    assert layers["conv2"]["cycles"] < plain["conv2"]["cycles"]
    # The search is that of the dense layer; the layer's own figures stand last.
    searched = [each["conv2"]["mapping"]["points"] for each in (layers, plain)]
    assert len(searched[1]) > 1
    assert {tuple(each) for each in searched[1][:-1]} <= {tuple(each) for each in searched[0]}
    assert searched[0][-1][0] == layers["conv2"]["cycles"]
