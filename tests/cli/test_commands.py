"""The whole way by the command line on the demo's model: one form of statistics, texts that continue, whole files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.driver import session
from dnnc.explore.study_yaml import read_study
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.container import read_program
from dnnc.ir.diagnostics import Diagnostic
from dnnc.ir.dump import read_dump
from onnx import helper
from support.commands import DIGITS, MODELS, SPECS
from support.onnx_models import FLOAT, save_model


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's data, and its model compiled for edge8, batch 4, with dumps and statistics."""
    folder = tmp_path_factory.mktemp("work")
    digits = np.load(MODELS / "digits.npz")
    np.savez(folder / "calibration.npz", image=digits["calibration"])
    np.savez(folder / "image.npz", image=digits["test"][:4])
    assert (
        main(compile_words(folder, "a.dnnx", "--dump-ir", str(folder / "dumps"), "--json", str(folder / "c.json"))) == 0
    )
    return folder


def compile_words(folder: Path, output: str, *more: str) -> list[str]:
    calibration = ["--calibrate", str(folder / "calibration.npz")]
    return ["compile", DIGITS, "--arch", "edge8", "--batch-size", "4", *calibration, "-o", str(folder / output), *more]


def stats(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    assert loaded["schema"] == "dnnc.stats/1"
    return loaded


def test_cost_predicts_what_run_observes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--inputs", str(work / "image.npz"), "--json", str(work / "r.json"), "--outputs", str(work / "out.npz")]
    assert main(["run", str(work / "a.dnnx"), *words, "--check", DIGITS, "--tolerance", "range:0.1"]) == 0
    assert "against onnxruntime" in capsys.readouterr().out
    cost, run = stats(work / "c.json"), stats(work / "r.json")
    assert (cost["source"], run["source"]) == ("cost", "run")
    assert cost["total"] == run["total"]
    assert [{**layer, "mapping": None} for layer in cost["layers"]] == run["layers"]
    assert list(np.load(work / "out.npz")) == ["scores"]


def test_a_run_can_be_traced_and_has_no_races(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(work / "a.dnnx"), "--inputs", str(work / "image.npz"), "--races"]
    assert main([*words, "--trace", str(work / "trace.json")]) == 0
    assert "no races" in capsys.readouterr().out
    assert len(json.loads((work / "trace.json").read_text())["traceEvents"]) > 80


def test_statistics_are_consistent(work: Path) -> None:
    cost = stats(work / "c.json")
    total = cost["total"]
    assert total["cycles"] == sum(layer["cycles"] for layer in cost["layers"])
    assert total["macs"] == 4 * (64 * 16 * 9 + 16 * 32 * 16 * 9 + 128 * 10) - padding_macs()
    assert total["energy_pj"] == pytest.approx(sum(sum(layer["energy_pj"].values()) for layer in cost["layers"]))
    assert 0 < total["utilization"] <= 1
    assert total["seconds"] == total["cycles"] / 500e6
    assert total["gops"] == pytest.approx(2 * total["macs"] / total["seconds"] / 1e9)


def padding_macs() -> int:
    """MACs of the two convolutions whose input lies in the padding, for four images of 8x8.

    conv1, stride 1: a 3x3 window over 10x10 with a rim of 1 has 22 of 24 taps inside along an axis of 8.
    conv2, stride 2: windows start at -1, 1, 3, 5: 11 of 12 taps inside.
    """
    conv1 = (24 * 24 - 22 * 22) * 16
    conv2 = (12 * 12 - 11 * 11) * 16 * 32
    return 4 * (conv1 + conv2)


def test_two_compilations_give_the_same_bytes(work: Path) -> None:
    assert main(compile_words(work, "again.dnnx")) == 0
    assert (work / "again.dnnx").read_bytes() == (work / "a.dnnx").read_bytes()


def test_every_dump_continues_to_the_same_program(work: Path) -> None:
    dumps = sorted((work / "dumps").glob("*.dnnir"))
    names = [path.stem.partition("-")[2] for path in dumps]
    assert names == [
        "import",
        "canonicalise",
        "quantise",
        "fuse",
        "prune",
        "lower",
        "schedule",
        "hold",
        "compress",
        "allocate",
        "emit",
    ]
    for path in dumps:
        assert main(["compile", str(path), "-o", str(work / "from.dnnx")]) == 0
        assert (work / "from.dnnx").read_bytes() == (work / "a.dnnx").read_bytes(), path.name


def test_opt_runs_passes_on_text(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lowered = next((work / "dumps").glob("*-lower.dnnir"))
    scheduled = work / "dumps" / "opt.dnnir"
    assert main(["opt", str(lowered), "--passes", "schedule", "-o", str(scheduled)]) == 0
    assert scheduled.read_text() == next((work / "dumps").glob("*-schedule.dnnir")).read_text()
    capsys.readouterr()
    assert main(["opt", str(scheduled)]) == 0
    assert capsys.readouterr().out == scheduled.read_text()
    assert main(["opt", str(lowered), "--passes", "shedule"]) == 2


def test_opt_records_what_it_is_given(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a later command continues with it, as `compile` and `cost` do."""
    lowered = next((work / "dumps").glob("*-lower.dnnir"))
    capsys.readouterr()
    words = ["--passes", "schedule", "--dataflow", "os", "--objective", "energy"]
    assert main(["opt", str(lowered), *words, "-o", str(work / "dumps" / "os.dnnir")]) == 0
    options = dict(read_dump(work / "dumps" / "os.dnnir").header.options)
    assert (options["dataflow"], options["objective"], options["im2col"]) == ("os", "energy", "auto")


@pytest.mark.parametrize("option", ["--calibrate", "--calibration", "--seed"])
def test_opt_does_not_offer_what_has_no_effect_there(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["opt", "--help"]) == 0
    assert option not in capsys.readouterr().out
    assert main(["opt", "m.dnnir", option, "1"]) == 2


def test_everything_that_the_verifier_lists_is_shown(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many faults it lists, and that it says when there are more, is its own."""
    lowered = next((work / "dumps").glob("*-lower.dnnir"))
    faults = [Diagnostic(f"fault {number}") for number in range(101)]
    monkeypatch.setattr(session, "verify", lambda module, arch: faults)
    assert main(["opt", str(lowered)]) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: fault {number}" for number in range(101)]


def test_a_machine_for_cost_alone_has_no_programs(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (SPECS / "arch" / "edge8.yaml").read_text()
    (work / "paper.yaml").write_text(text.replace("name: edge8\n", "name: paper\nkind: cost_only\n"))
    base = [DIGITS, "--arch", str(work / "paper.yaml"), "--batch-size", "4"]
    base += ["--calibrate", str(work / "calibration.npz")]
    assert main(["cost", *base]) == 0
    assert f"on paper of {work / 'paper.yaml'} (cost_only), batch 4 (cost)" in capsys.readouterr().out
    assert main(["compile", *base, "-o", str(work / "never.dnnx")]) == 2
    assert "'paper' is a machine of kind `cost_only`: there are no programs for it" in capsys.readouterr().err
    assert not (work / "never.dnnx").exists()
    arch_text = load_arch(str(work / "paper.yaml")).text
    program = replace(read_program(work / "a.dnnx"), arch_text=arch_text)
    with pytest.raises(dnnc.CompileError, match="there are no programs for it"):
        dnnc.run(program, {})


def test_a_dump_after_a_pass_that_there_is_not_is_refused(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lowered = next((work / "dumps").glob("*-lower.dnnir"))
    renamed = work / "dumps" / "renamed.dnnir"
    renamed.write_text(lowered.read_text().replace('after  "lower"', 'after  "lowered"'))
    assert main(["compile", str(renamed), "-o", str(work / "never.dnnx")]) == 2
    assert "the module stands after the pass 'lowered', which there is not" in capsys.readouterr().err
    assert not (work / "never.dnnx").exists()


def test_check_tells_where_each_node_runs(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", DIGITS, "--arch", "edge8", "--batch-size", "4"]) == 0
    assert "accelerator: 7 of 7 nodes, 100.00% of 283904 MACs" in capsys.readouterr().out
    assert main(["check", str(next((work / "dumps").glob("*-lower.dnnir")))]) == 0
    assert "made for edge8" in capsys.readouterr().out


def test_assembling_a_disassembly_gives_the_same_bytes(work: Path) -> None:
    assert main(["disasm", str(work / "a.dnnx"), "-o", str(work / "a.s")]) == 0
    assert main(["asm", str(work / "a.s"), "-o", str(work / "b.dnnx")]) == 0
    assert (work / "b.dnnx").read_bytes() == (work / "a.dnnx").read_bytes()


def test_calibration_tells_what_is_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is so in part is a warning, data that are so are refused; nothing is compiled from them."""
    save_model(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Log", ["m"], ["y"])],
        [("x", FLOAT, [1, 2])],
        [("y", FLOAT, None)],
        {"w": np.eye(2, dtype=np.float32)},
    )
    words = ["compile", str(tmp_path / "m.onnx"), "--arch", "gemmini16", "--calibrate", str(tmp_path / "d.npz")]
    words += ["-o", str(tmp_path / "m.dnnx")]
    np.savez(tmp_path / "d.npz", x=np.array([[1, np.inf], [1, 2]], np.float32))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "d.npz: error: calibration data for 'x' is NaN or infinite in 1 of 2 samples" in said
    assert not (tmp_path / "m.dnnx").exists()
    np.savez(tmp_path / "d.npz", x=np.array([[1, -1], [1, 2]], np.float32))
    assert main(words) == 0
    assert "warning: 'y' is NaN or infinite 1 time on the calibration data" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [("|memories:\n", ""), ("\n.region", "\n")], ids=["in the machine", "no instructions"])
def test_assembly_text_that_is_cut_off_is_no_program(
    cut: tuple[str, str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["disasm", str(work / "a.dnnx"), "-o", str(work / "a.s")]) == 0
    (work / "cut.s").write_text((work / "a.s").read_text().partition(cut[0])[0] + cut[1])
    capsys.readouterr()
    assert main(["asm", str(work / "cut.s"), "-o", str(work / "cut.dnnx")]) == 2
    assert "the text ends without .end" in capsys.readouterr().err
    assert not (work / "cut.dnnx").exists()


def test_the_machine_in_assembly_text_is_checked(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disasm", str(work / "a.dnnx"), "-o", str(work / "a.s")]) == 0
    text = (work / "a.s").read_text()
    line = text[: text.index("|  rows: ")].count("\n") + 1
    (work / "wrong.s").write_text(re.sub(r"\|  rows: \d+", "|  rows: none", text))
    capsys.readouterr()
    assert main(["asm", str(work / "wrong.s"), "-o", str(work / "wrong.dnnx")]) == 2
    said = capsys.readouterr().err
    assert f"wrong.s:{line}:10: error: 'array.rows' must be a number, found 'none'\n  |  rows: none\n" in said
    assert not (work / "wrong.dnnx").exists()


def test_cost_writes_what_it_is_asked_for(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["cost", DIGITS, "--arch", "edge8", "--batch-size", "4", "--calibrate", str(work / "calibration.npz")]
    files = ["--json", str(work / "d.json"), "--html", str(work / "d.html"), "--save-mapping", str(work / "m.yaml")]
    assert main([*base, *files, "--explain"]) == 0
    assert "roofline:" in capsys.readouterr().out
    explained = stats(work / "d.json")
    assert all(layer.pop("explain") for layer in explained["layers"])
    assert explained == stats(work / "c.json")
    assert (work / "d.html").read_text().startswith("<!doctype html>")
    assert main([*base, "--mapping", str(work / "m.yaml"), "--json", str(work / "e.json")]) == 0
    assert stats(work / "e.json")["total"] == stats(work / "d.json")["total"]


def test_statistics_on_standard_output_are_json_and_no_more(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(compile_words(work, "b.dnnir", "--emit", "ir", "--json", "-")) == 0
    compiled = json.loads(capsys.readouterr().out)
    words = ["run", str(work / "a.dnnx"), "--inputs", str(work / "image.npz"), "--json", "-", "--races"]
    assert main([*words, "--check", DIGITS, "--tolerance", "range:0.1"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["total"] == compiled["total"]
    assert "against onnxruntime" in found.err
    assert main(["cost", str(work / "b.dnnir"), "--json", "-", "--limit", "cycles=1"]) == 1
    found = capsys.readouterr()
    assert json.loads(found.out)["total"] == compiled["total"]
    assert "the limit is 1" in found.err


def test_a_limit_that_does_not_hold_ends_with_1(work: Path) -> None:
    base = ["cost", DIGITS, "--arch", "edge8", "--calibrate", str(work / "calibration.npz")]
    assert main([*base, "--limit", "cycles=1e9"]) == 0
    assert main([*base, "--limit", "cycles=10"]) == 1
    assert main([*base, "--limit", "cycles=many"]) == 2


def test_a_check_that_does_not_hold_ends_with_1(work: Path) -> None:
    words = ["run", str(work / "a.dnnx"), "--inputs", str(work / "image.npz"), "--check", DIGITS]
    assert main([*words, "--tolerance", "exact"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "a.dnnx", "--inputs", "calibration.npz"], "input 'image' has shape [200, 1, 8, 8]"),
        (["run", "a.dnnx", "--inputs", "missing.npz"], "there is no such file"),
        (["run", "a.dnnx", "--inputs", "a.dnnx"], "not a readable .npz file"),
        (["run", "image.npz", "--inputs", "image.npz"], "this is no .dnnx file, but an archive of arrays"),
        (["compile", "image.npz", "--arch", "edge8"], "error"),
        (["compile", "dumps/05-lower.dnnir", "--arch", "gemmini16"], "was made for a machine 'edge8'"),
        (["disasm", "c.json"], "this is no .dnnx file, but statistics"),
        (["demo", "-o", "c.json"], "cannot make the folder"),
        (["demo", "-o", "c.json/below"], "a file has this name, or that of a folder above it"),
        (["check", DIGITS, "--batch-size", "many"], "'many' is no whole number in 1..2147483647"),
        (["run", "a.dnnx", "--inputs", "image.npz", "--time-limit", "soon"], "'soon' is no number of seconds"),
        (["asm", "c.json", "-o", "x.dnnx"], "error"),
    ],
)
def test_wrong_input_ends_with_2_and_writes_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.chdir(work)
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before


def test_a_float_model_without_data_gets_a_loud_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", DIGITS, "--arch", "gemmini16", "-o", str(tmp_path / "d.dnnx")]) == 0
    assert "warning: the model is quantised by synthetic data" in capsys.readouterr().err


def test_the_demo_shows_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    text = capsys.readouterr().out
    assert "equal" in text
    assert "NOT" not in text
    accuracies = [float(line.split(": ")[1].split("%")[0]) for line in text.splitlines() if "accuracy" in line]
    assert len(accuracies) == 2
    assert abs(accuracies[0] - accuracies[1]) <= 1.0
    study = read_study(str(tmp_path / "demo" / "study.yaml"))
    assert [each.text for each in study.objectives] == ["max accuracy", "min dram_bytes"]


@pytest.mark.parametrize(
    ("arch", "how", "computed"),
    [("f32_8", "computed in float32", "float32"), ("edge8", "quantised to i8 with 200 images", "i8")],
)
def test_the_demo_says_what_it_did(
    arch: str, how: str, computed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--arch", arch, "-o", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert f"digits.onnx (float32), {how}, batch 397" in text
    assert f"({computed}, {arch})" in text
    assert ("quantised" in text) == (computed == "i8")


def test_the_python_api() -> None:
    digits = np.load(MODELS / "digits.npz")
    options = dnnc.Options(calibrate={"image": digits["calibration"]}, batch_size=8)
    program = dnnc.compile(DIGITS, "edge8", options)
    result = dnnc.run(program, {"image": digits["test"][:8]})
    stats = dnnc.cost(DIGITS, "edge8", options)
    assert result.outputs["scores"].shape == (8, 10)
    assert stats["total"] == result.stats["total"]
    with pytest.raises(dnnc.CompileError, match="there is no bundled architecture"):
        dnnc.compile(DIGITS, "edge9")


def test_an_illegal_option_is_told_with_what_is_legal(tmp_path: Path) -> None:
    import dnnc

    with pytest.raises(dnnc.CompileError, match="latency"):
        dnnc.compile(tmp_path / "absent.onnx", "edge8", dnnc.Options(objective="speed"))


@pytest.mark.parametrize("words", [["opt"], ["opt", "--passes", "schedule"], ["check"], ["cost"]])
def test_a_dump_of_a_pass_that_there_is_not_is_refused(
    words: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lowered = next((work / "dumps").glob("*-lower.dnnir"))
    text = lowered.read_text(encoding="utf-8")
    (work / "dumps" / "lowr.dnnir").write_text(text.replace('"lower"', '"lowr"', 1), encoding="utf-8")
    assert main([words[0], str(work / "dumps" / "lowr.dnnir"), *words[1:]]) == 2
    assert "after the pass 'lowr', which there is not" in capsys.readouterr().err
