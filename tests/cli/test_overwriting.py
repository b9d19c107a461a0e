"""No output of a command replaces a file that the command reads, however the two are spelled."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from dnnc.cli.main import main
from support.commands import MODELS, SPECS

EDGE8 = SPECS / "arch" / "edge8.yaml"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    image = np.load(MODELS / "digits.npz")["test"]
    shutil.copy(MODELS / "digits.onnx", folder / "in.onnx")
    shutil.copy(EDGE8, folder / "arch.yaml")
    np.savez(folder / "one.npz", image=image[:1])
    base = [str(folder / "in.onnx"), "--arch", "f32_8"]
    assert main(["compile", *base, "--dump-ir", str(folder / "dumps"), "-o", str(folder / "p.dnnx")]) == 0
    assert main(["cost", *base, "--save-mapping", str(folder / "m.yaml")]) == 0
    assert main(["disasm", str(folder / "p.dnnx"), "-o", str(folder / "p.s")]) == 0
    weights = onnx.load(folder / "in.onnx")
    onnx.save(weights, folder / "out.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    (folder / "proto").mkdir()
    tensor = onnx.numpy_helper.from_array(image[:1].astype(np.float32), "image")
    (folder / "proto" / "input_0.pb").write_bytes(tensor.SerializeToString())
    shutil.copy(folder / "p.s", folder / "text")
    (folder / "again").symlink_to("text")
    (folder / "link.npz").symlink_to("one.npz")
    blob = next((folder / "dumps" / "blobs").iterdir())
    (folder / "blob").symlink_to(blob)
    (folder / "tables").mkdir()
    (folder / "tables" / "t.yaml").write_text("dram:\n  rows: [{type: own, energy_pj_per_bit: 5, source: bench}]\n")
    shown = (SPECS / "arch" / "gemmini16.yaml").read_text()
    assert "dram: lpddr4" in shown
    (folder / "own.yaml").write_text(shown.replace("dram: lpddr4", "dram: own, table: tables/t.yaml"))
    assert main(["cost", *base, "--json", str(folder / "s.json")]) == 0
    (folder / "s.json.svg").symlink_to("s.json")
    (folder / "data" / "gemmini").mkdir(parents=True)
    (folder / "data" / "gemmini" / "rows.csv").write_text("a,b\n")
    (folder / "prune.yaml").write_text("default: {criterion: sum, threshold: 1}\n")
    for name in ("map.yaml", "prob.yaml", "machine.yaml"):
        (folder / name).write_text("mapping: []\n")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


COST = ["cost", "in.onnx", "--arch", "f32_8"]
IMPORT = ["arch", "import", "map.yaml", "--problem", "prob.yaml", "--machine", "machine.yaml"]
RUN = ["run", "p.dnnx", "--inputs", "one.npz"]


@pytest.mark.parametrize(
    ("words", "place", "read"),
    [
        ([*COST, "--json", "in.onnx"], "in.onnx", "in.onnx"),
        ([*COST, "--json", "./dumps/../in.onnx"], "dumps/../in.onnx", "in.onnx"),
        (["cost", "in.onnx", "--arch", "arch.yaml", "--html", "arch.yaml"], "arch.yaml", "arch.yaml"),
        ([*COST, "--mapping", "m.yaml", "--save-mapping", "m.yaml"], "m.yaml", "m.yaml"),
        ([*COST, "--prune", "prune.yaml", "--json", "prune.yaml"], "prune.yaml", "prune.yaml"),
        ([*COST, "--masks", "one.npz", "--html", "one.npz"], "one.npz", "one.npz"),
        ([*COST, "--calibrate", "one.npz", "--json", "link.npz"], "link.npz", "one.npz"),
        (["compile", "in.onnx", "--arch", "f32_8", "--json", "in.onnx"], "in.onnx", "in.onnx"),
        (["compile", "out.onnx", "--arch", "f32_8", "--json", "weights.bin"], "weights.bin", "weights.bin"),
        (["cost", "dumps/05-lower.dnnir", "--json", "blob"], "blob", "dumps/blobs/"),
        (["compile", "dumps/05-lower.dnnir", "--emit", "ir", "-o", "dumps/05-lower.dnnir"], "dumps/05-", "dumps/05-"),
        (["opt", "dumps/05-lower.dnnir", "-o", "dumps/05-lower.dnnir"], "dumps/05-lower.dnnir", "dumps/05-lower.dnnir"),
        ([*RUN, "--outputs", "one.npz"], "one.npz", "one.npz"),
        ([*RUN, "--json", "link.npz"], "link.npz", "one.npz"),
        (["run", "p.dnnx", "--inputs", "link.npz", "--trace", "one.npz"], "one.npz", "link.npz"),
        ([*RUN, "--trace", "p.dnnx"], "p.dnnx", "p.dnnx"),
        ([*RUN, "--check", "in.onnx", "--trace", "in.onnx"], "in.onnx", "in.onnx"),
        ([*RUN, "--check", "out.onnx", "--trace", "weights.bin"], "weights.bin", "weights.bin"),
        (["run", "p.dnnx", "--inputs", "proto", "--json", "proto/input_0.pb"], "proto/input_0.pb", "proto/input_0.pb"),
        (["run", "p.dnnx", "--inputs", "proto", "--outputs", "proto/."], "proto", "proto"),
        (["disasm", "p.dnnx", "-o", "p.dnnx"], "p.dnnx", "p.dnnx"),
        (["asm", "text", "-o", "again"], "again", "text"),
        (["cost", "in.onnx", "--arch", "own.yaml", "--json", "tables/t.yaml"], "tables/t.yaml", "tables/t.yaml"),
        (["compile", "in.onnx", "--arch", "own.yaml", "--json", "tables/t.yaml"], "tables/t.yaml", "tables/t.yaml"),
        (["plot", "s.json", "-o", "data/../s.json.svg"], "data/../s.json.svg", "s.json"),
        (["validate", "--data", "data", "--json", "data/gemmini/rows.csv"], "data/gemmini", "data/gemmini"),
        (["arch", "import", "own.yaml", "-o", "own.yaml"], "own.yaml", "own.yaml"),
        ([*IMPORT, "-o", "map.yaml"], "map.yaml", "map.yaml"),
        ([*IMPORT, "-o", "prob.yaml"], "prob.yaml", "prob.yaml"),
        ([*IMPORT, "-o", "machine.yaml"], "machine.yaml", "machine.yaml"),
    ],
)
def test_what_a_command_reads_is_not_overwritten(
    words: list[str],
    place: str,
    read: str,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(work)
    before = contents(work)
    capsys.readouterr()
    assert main(words) == 2
    text = capsys.readouterr().err
    assert text.startswith(place)
    assert f": error: this would overwrite what the command reads: {read}" in text
    assert "Traceback" not in text
    assert contents(work) == before


def test_a_dump_is_not_overwritten_by_those_that_follow_it(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text may have the name of a later pass."""
    shutil.copytree(work / "dumps", tmp_path / "dumps")
    monkeypatch.chdir(tmp_path / "dumps")
    shutil.copy("05-lower.dnnir", "06-schedule.dnnir")
    before = contents(tmp_path)
    for command in (["opt", "--passes", "schedule"], ["cost"], ["compile", "-o", "p.dnnx"]):
        capsys.readouterr()
        assert main([command[0], "06-schedule.dnnir", *command[1:], "--dump-ir", "../dumps"]) == 2
        assert "06-schedule.dnnir: error: this would overwrite what the" in capsys.readouterr().err
        assert contents(tmp_path) == before
    assert main(["cost", "05-lower.dnnir", "--dump-ir", "."]) == 0


def test_what_a_command_does_not_read_is_replaced(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files beside an input, and those of the run before."""
    monkeypatch.chdir(work)
    shutil.copy("one.npz", "other.bin")
    for words in ([*COST, "--json", "other.bin"], ["cost", "out.onnx", "--arch", "f32_8", "--json", "other.bin"]):
        assert main(words) == 0
    assert Path("other.bin").read_bytes().startswith(b"{")
    assert main(["run", "p.dnnx", "--inputs", "proto", "--outputs", "yields"]) == 0
    assert main(["run", "p.dnnx", "--inputs", "proto", "--outputs", "yields"]) == 0
    assert main(["cost", "in.onnx", "--arch", "f32_8", "--json", "/dev/null"]) == 0


def test_one_fault_is_told_once(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    capsys.readouterr()
    assert main([*COST, "--json", "new", "--html", "new", "--save-mapping", "new"]) == 2
    assert capsys.readouterr().err == "new: error: two outputs of this command would be written here\n"
    assert main([*COST, "--json", "no/m", "--html", "no/m"]) == 2
    assert capsys.readouterr().err.count("error: ") == 1
