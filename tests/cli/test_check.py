"""`dnnc check` of dumps: verified, for the machine that they were made for, with MACs that are those of the model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from dnnc.cli.main import main
from onnx import helper
from support.commands import DIGITS
from support.onnx_models import FLOAT, save_model


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    words = ["compile", DIGITS, "--arch", "edge8", "--im2col", "implicit", "-o", str(folder / "a.dnnx")]
    assert main([*words, "--dump-ir", str(folder / "dumps")]) == 0
    return folder / "dumps"


def shares(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("accelerator: ")]


def test_every_dump_has_the_macs_of_the_model(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["check", DIGITS, "--arch", "edge8"]) == 0
    (whole,) = shares(capsys.readouterr().out)
    found = sorted(dumps.glob("*.dnnir"))
    assert len(found) > 5
    for each in found:
        assert main(["check", str(each)]) == 0
        (share,) = shares(capsys.readouterr().out)
        assert re.fullmatch(r"accelerator: (\d+) of \1 layers, 100\.00% of \d+ MACs", share)
        assert share.split(", ")[1] == whole.split(", ")[1]


def test_layers_on_the_host_have_their_macs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compile", DIGITS, "--arch", "edge8", "--precision", "keep", "-o", str(tmp_path / "a.dnnx")]
    assert main([*words, "--dump-ir", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["check", str(tmp_path / "00-import.dnnir")]) == 0
    (share,) = shares(capsys.readouterr().out)
    assert share.endswith("0.00% of 70976 MACs")


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_macs_that_are_not_counted_are_no_zero(op: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a model and in its dump; the share says of how many it does not speak."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    rng = np.random.default_rng(2)
    constants = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in (("w", (1, gates * 2, 5)), ("r", (1, gates * 2, 2)), ("m", (5, 5)))
    }
    nodes = [helper.make_node("MatMul", ["x", "m"], ["p"], "p"), helper.make_node(op, ["p", "w", "r"], ["y"], "cell")]
    nodes[1].attribute.append(helper.make_attribute("hidden_size", 2))
    model = save_model(tmp_path / "m.onnx", nodes, [("x", FLOAT, [2, 1, 5])], [("y", FLOAT, None)], constants)
    assert (
        main(["compile", str(model), "--arch", "f32_8", "--dump-ir", str(tmp_path), "-o", str(tmp_path / "m.dnnx")])
        == 0
    )
    for path, noun in ((model, "node"), (tmp_path / "00-import.dnnir", "layer")):
        capsys.readouterr()
        assert main(["check", str(path), "--arch", "f32_8"]) == 0
        said = capsys.readouterr().out
        (share,) = shares(said)
        assert share.endswith(f"of 2 {noun}s, 100.00% of 50 MACs; those of 1 {noun} (-) are not counted")
        (row,) = [line for line in said.splitlines() if re.search(rf"\b{op}\b.*host", line)]
        assert re.search(r"host +- ", row)


def test_a_dump_is_verified(dumps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = next(dumps.glob("*-lower.dnnir")).read_text()
    broken = tmp_path / "broken.dnnir"
    broken.write_text(re.sub(r"domain ([^\n]*)m:(\d+)", r"domain \g<1>m:9\2", whole, count=1))
    for blob in dumps.iterdir():
        if blob.suffix != ".dnnir":
            (tmp_path / blob.name).symlink_to(blob)
    assert main(["check", str(broken)]) == 2
    captured = capsys.readouterr()
    assert "error: " in captured.err and not captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arch", "gemmini16"], "the module was made for a machine 'edge8' that is not this 'gemmini16'"),
        (["--precision", "keep"], "--precision keep comes too late: the module is a dump"),
        (["--batch-size", "3"], "--batch-size 3 comes too late"),
        (["--shape", "image=2,1,8,8"], "--shape image=2,1,8,8 comes too late"),
    ],
)
def test_what_has_been_decided_is_not_decided_again(
    words: list[str], message: str, dumps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(next(dumps.glob("*-lower.dnnir"))), *words]) == 2
    assert message in capsys.readouterr().err
    agreed = ["--arch", "edge8", "--precision", "auto", "--batch-size", "1"]
    assert main(["check", str(next(dumps.glob("*-lower.dnnir"))), *agreed]) == 0
