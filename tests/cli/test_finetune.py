"""`dnnc finetune` from the command line: a tuned model that `dnnc compile` takes; what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.driver.values import read_npz

DIGITS = Path(__file__).parents[2] / "specs" / "models"


def written(folder: Path) -> tuple[str, str]:
    digits = read_npz(DIGITS / "digits.npz")
    (folder / "digits.onnx").write_bytes((DIGITS / "digits.onnx").read_bytes())
    np.savez(folder / "data.npz", image=digits["test"], label=digits["labels"])
    return str(folder / "digits.onnx"), str(folder / "data.npz")


def test_a_tuned_model_is_compiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install 'dnnc[train]'")
    model, data = written(tmp_path)
    tuned, bits = str(tmp_path / "tuned.onnx"), tmp_path / "bits.yaml"
    bits.write_text("default: w4a4\n")
    words = ["finetune", model, "--precision", str(bits), "--data", data, "--labels", "label", "--epochs", "2"]
    assert main([*words, "-o", tuned]) == 0
    assert "loss of each epoch" in capsys.readouterr().out
    np.savez(tmp_path / "images.npz", image=read_npz(Path(data))["image"])
    words = ["compile", tuned, "--precision", "w4a4", "--calibrate", str(tmp_path / "images.npz"), "--arch", "mixed16"]
    assert main([*words, "--bias-correction", "off", "--time-limit", "1", "-o", str(tmp_path / "tuned.dnnx")]) == 0


def test_without_torch_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    model, data = written(tmp_path)
    assert main(["finetune", model, "--precision", "w4a4", "--data", data, "-o", str(tmp_path / "t.onnx")]) == 2
    assert "pip install 'dnnc[train]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--precision", "int8"], "has no bits to tune for"),
        (["--precision", "w4a4", "--labels", "lable"], "did you mean 'label'"),
        (["--precision", "w4a4", "--epochs", "0"], "'0' is no whole number in 1..65536"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    model, data = written(tmp_path)
    assert main(["finetune", model, "--data", data, "-o", str(tmp_path / "t.onnx"), *words]) == 2
    assert told in capsys.readouterr().err
