"""`dnnc cost` on machines with levels inside the array: options that nothing reads, and figures that are not known."""

from __future__ import annotations

from pathlib import Path

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.ir.diagnostics import CompileError
from onnx import helper
from support.descriptions import levels_text
from support.onnx_models import FLOAT, save_model

UNPRICED = levels_text("store: dram, word_bits: 8", "store: glb, word_bits: 8, depth_words: 64")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weights = {"w": np.eye(3, dtype=np.float32)}
    save_model(tmp_path / "m.onnx", [node], [("x", FLOAT, [2, 3])], [("y", FLOAT, [2, 3])], weights)
    (tmp_path / "unpriced.yaml").write_text(UNPRICED)
    return [str(tmp_path / "m.onnx"), "--arch", str(tmp_path / "unpriced.yaml")]


def test_all_options_that_nothing_reads_are_told_at_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--dump-ir", "d", "--passes", "lower", "--dataflow", "ws", "--seed", "3", "--fuse", "off"]
    assert main(["cost", *words, *given]) == 2
    said = capsys.readouterr().err
    for name in given[::2]:
        assert f"{name} has no meaning on a machine with levels inside the array" in said


def test_the_library_refuses_alike(words: list[str]) -> None:
    with pytest.raises(CompileError, match="--fuse has no meaning"):
        dnnc.cost(words[0], words[2], dnnc.Options(fuse="keep"))


def test_energy_that_is_not_known_is_no_zero(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if " matmul " in line]
    assert lines[1].endswith("energy uJ")
    assert row.split()[-1] == "-"
    assert "energy        not known" in lines


def test_an_empty_objective_is_none(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", *words, "--objective", ""]) == 2
    assert "objective ''" in capsys.readouterr().err
