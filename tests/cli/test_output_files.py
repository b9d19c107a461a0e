"""What a command writes: all of it or nothing, to places that differ; what it cannot write it names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.files import save_all
from support.commands import DIGITS, MODELS, refused

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    image = np.load(MODELS / "digits.npz")["test"]
    np.savez(folder / "one.npz", image=image[:1])
    np.savez(folder / "three.npz", image=image[:3])
    np.savez(folder / "other.npz", picture=image[:1])
    words = ["--dump-ir", str(folder / "dumps"), "-o", str(folder / "p.dnnx")]
    assert main(["compile", DIGITS, "--arch", "f32_8", *words]) == 0
    assert main(["disasm", str(folder / "p.dnnx"), "-o", str(folder / "p.s")]) == 0
    return folder


COMPILE = ["compile", DIGITS, "--arch", "f32_8"]
RUN = ["run", "p.dnnx", "--inputs", "one.npz"]


@needs_full
@pytest.mark.parametrize(
    "words",
    [
        [*COMPILE, "-o", "/dev/full"],
        [*COMPILE, "-o", "new.dnnx", "--json", "/dev/full"],
        [*COMPILE, "--emit", "asm", "-o", "/dev/full"],
        ["cost", *COMPILE[1:], "--html", "new.html", "--json", "/dev/full"],
        ["cost", *COMPILE[1:], "--html", "/dev/full", "--save-mapping", "new.yaml", "--json", "new.json"],
        [*RUN, "--outputs", "new.npz", "--json", "new.json", "--trace", "/dev/full"],
        ["disasm", "p.dnnx", "-o", "/dev/full"],
        ["asm", "p.s", "-o", "/dev/full"],
    ],
)
def test_a_full_disk_is_named_and_leaves_nothing(
    words: list[str], work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    before = sorted(work.rglob("*"))
    assert refused(words, capsys) == "/dev/full: error: cannot write: No space left on device\n"
    assert sorted(work.rglob("*")) == before


@needs_full
@pytest.mark.parametrize(
    "words", [["arch", "list"], ["--help"], ["disasm", "p.dnnx"], ["cost", *COMPILE[1:], "--json", "-"]]
)
def test_a_full_standard_output_is_named(words: list[str], work: Path) -> None:
    command = [sys.executable, "-m", "dnnc.cli.main", *words]
    with FULL.open("wb") as full:
        done = subprocess.run(command, cwd=work, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("<standard output, or a temporary file in ")
    assert done.stderr.endswith(">: error: cannot write: No space left on device\n")


def test_files_that_belong_together_appear_together(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(CompileError, match="cannot write"):
        save_all([(tmp_path / "old", b"new"), (tmp_path / "a", [b"1", b"2"]), (tmp_path / "none" / "b", b"3")])
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"
    save_all([(tmp_path / "old", b"new"), (tmp_path / "a", [b"1", b"2"])])
    assert sorted(os.listdir(tmp_path)) == ["a", "old"]
    assert (tmp_path / "old").read_bytes() + (tmp_path / "a").read_bytes() == b"new12"


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ([*COMPILE, "-o", "new.dnnx", "--json", "./new.dnnx"], "./new.dnnx"),
        (["cost", *COMPILE[1:], "--json", "-", "--html", "-"], "-"),
        (["cost", *COMPILE[1:], "--save-mapping", "new", "--html", "new"], "new"),
        ([*RUN, "--json", "new.npz", "--outputs", "new.npz"], "new.npz"),
    ],
)
def test_two_outputs_do_not_go_to_one_place(
    words: list[str], place: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    assert refused(words, capsys) == f"{place}: error: two outputs of this command would be written here\n"
    assert not list(work.glob("new*"))


@pytest.mark.parametrize(
    ("words", "message", "help"),
    [
        (["cost", "p.dnnx"], "p.dnnx: error: this is no .onnx or .dnnir file, but a program", "for dnnc run, disasm"),
        (["check", "p.dnnx"], "p.dnnx: error: this is no .onnx or .dnnir file, but a program", "for dnnc run, disasm"),
        (["compile", "one.npz"], "one.npz: error: this is no .onnx or .dnnir file, but an archive", "for --inputs"),
        (["run", DIGITS, "--inputs", "one.npz"], "this is no .dnnx file, but a model", "for dnnc check, compile, cost"),
        (["run", "dumps/05-lower.dnnir", "--inputs", "one.npz"], "but the text of a module", "for dnnc compile"),
        (["run", "p.s", "--inputs", "one.npz"], "p.s: error: this is no .dnnx file, but assembly text", "for dnnc asm"),
        (["asm", "p.dnnx", "-o", "new.dnnx"], "this is no .s file, but a program", "for dnnc run, disasm"),
        (["opt", "p.dnnx"], "this is no .dnnir file, but a program", "for dnnc run, disasm"),
        (
            [*RUN, "--check", "dumps/00-import.dnnir"],
            "this is no .onnx file, but the text",
            "onnxruntime runs the model",
        ),
    ],
)
def test_files_of_another_kind_are_told_where_they_belong(
    words: list[str],
    message: str,
    help: str,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(work)
    text = refused(words, capsys)
    assert message in text
    assert f"help: {help}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*COMPILE, "-o", "new.s"], "new.s: error: a program would be written to a .s file\nhelp: name it *.dnnx"),
        ([*COMPILE, "--emit", "asm", "-o", "new.dnnx"], "new.dnnx: error: assembly text would be written to a .dnnx"),
        ([*COMPILE, "--emit", "ir", "-o", "new.txt"], "new.txt: error: the text of a module has a name that ends in"),
        (
            ["opt", "dumps/05-lower.dnnir", "-o", "new"],
            "new: error: the text of a module has a name that ends in .dnnir",
        ),
        (["asm", "p.s", "-o", "new.s"], "new.s: error: a program would be written to a .s file"),
    ],
)
def test_a_name_says_what_is_in_the_file(
    words: list[str], message: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    assert message in refused(words, capsys)
    assert not list(work.glob("new*"))


def test_what_does_not_fit_names_the_file(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    text = refused(["run", "p.dnnx", "--inputs", "three.npz"], capsys)
    assert text == (
        "three.npz: error: input 'image' has shape [3, 1, 8, 8]\n"
        "help: expected float32 of shape [1, 1, 8, 8]; a symbolic batch axis is bound when the model is compiled:"
        " --batch-size 3 (1 if it is not given)\n"
    )
    assert main(["compile", DIGITS, "--arch", "f32_8", "--batch-size", "3", "-o", "b3.dnnx"]) == 0
    assert main(["run", "b3.dnnx", "--inputs", "three.npz"]) == 0
    text = refused(["run", "p.dnnx", "--inputs", "other.npz"], capsys)
    assert "other.npz: error: input 'image' is missing" in text
    assert "other.npz: error: the model has no input 'picture'" in text


def test_samples_that_do_not_fit_name_their_file(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    text = refused(["cost", DIGITS, "--arch", "edge8", "--calibrate", "other.npz"], capsys)
    assert "other.npz: error: calibration data names 'picture', which is no input\nhelp: inputs of digits.onnx" in text
    assert "other.npz: error: calibration data has nothing for input 'image'" in text


def test_a_dump_without_its_blobs(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.dnnir").write_bytes((work / "dumps" / "05-lower.dnnir").read_bytes())
    text = refused(["cost", str(tmp_path / "m.dnnir")], capsys)
    assert "m.dnnir: error: the text names 6 blobs, and there is no folder blobs/ beside it" in text
    assert "help: keep m.dnnir and blobs/ together" in text
