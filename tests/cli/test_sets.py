"""`compile --sets`, `cost --sets` and `run --condition`, as a user gives them; every fault of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.driver import session
from dnnc.ir.diagnostics import CompileError
from onnx import helper
from support.commands import DIGITS, MODELS, printed, refused, said
from support.onnx_models import FLOAT, save_model

SETS = """\
sets:
  - {name: clear, precision: w4a6, when: fog < 2}
  - {name: dim, precision: fine.yaml, when: ["fog >= 2", "light == 'low'"]}
  - {name: safe, precision: w8a12}
default: safe
"""


def asked(folder: Path) -> list[str]:
    """The model, its machine, and the sets."""
    return [DIGITS, "--arch", "mixed16", "--calibrate", str(folder / "c.npz"), "--sets", str(folder / "s.yaml")]


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of three sets, samples, inputs of four passes and their conditions."""
    folder = tmp_path_factory.mktemp("sets")
    digits = np.load(MODELS / "digits.npz")
    np.savez(folder / "c.npz", image=digits["calibration"][:32])
    np.savez(folder / "x.npz", image=digits["test"][:4])
    np.savez(folder / "one.npz", image=digits["test"][:1])
    np.savez(folder / "fog.npz", fog=[0, 3, 3, 1], light=["low", "low", "high", "low"])
    (folder / "s.yaml").write_text(SETS)
    (folder / "fine.yaml").write_text("default: w8a8\n")
    words = ["-o", str(folder / "p.dnnx"), "--json", str(folder / "compile.json")]
    assert main(["compile", *asked(folder), *words]) == 0
    return folder


def run_of(work: Path, *words: str) -> list[str]:
    return ["run", str(work / "p.dnnx"), "--inputs", str(work / "x.npz"), *words]


def test_compile_says_what_is_shared(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["compile", *asked(work), "-o", str(tmp_path / "p.dnnx")], capsys)
    data = (tmp_path / "p.dnnx").read_bytes()
    assert data == (work / "p.dnnx").read_bytes()
    alone = 0
    for k, precision in enumerate(("w4a6", "w8a8", "w8a12")):
        words = ["--arch", "mixed16", "--calibrate", str(work / "c.npz"), "--precision", precision]
        assert main(["compile", DIGITS, *words, "-o", str(tmp_path / f"{k}.dnnx")]) == 0
        alone += (tmp_path / f"{k}.dnnx").stat().st_size
    assert f"a program of {len(data)} bytes, where one for each set has {alone} together" in text
    assert len(data) < alone
    rows = [line.split() for line in text.splitlines()]
    assert ["clear", "fog", "<", "2"] in [row[:4] for row in rows]
    assert ["safe", "else"] in [row[:2] for row in rows]


def test_text_reads_back_to_the_same_bytes(work: Path, tmp_path: Path) -> None:
    assembly, again = str(tmp_path / "p.s"), str(tmp_path / "p.dnnx")
    assert main(["disasm", str(work / "p.dnnx"), "-o", assembly]) == 0
    assert main(["asm", assembly, "-o", again]) == 0
    assert Path(again).read_bytes() == (work / "p.dnnx").read_bytes()
    assert main(["compile", *asked(work), "--emit", "asm", "-o", str(tmp_path / "q.s")]) == 0
    assert (tmp_path / "q.s").read_text() == Path(assembly).read_text()
    text = Path(assembly).read_text()
    assert '\n.set "dim" when ("fog >= 2", "light == \'low\'")\n' in text
    assert '\n.default "safe"\n' in text
    Path(assembly).write_text(text.replace("|name: mixed16", "|nane: mixed16"))
    assert main(["asm", assembly, "-o", str(tmp_path / "bad.dnnx")]) == 2


def test_cost_is_compile_is_run(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["cost", *asked(work), "--json", str(tmp_path / "cost.json")], capsys)
    assert "a switch of sets: 1001 cycles" in text
    predicted = document(tmp_path / "cost.json")
    assert predicted == document(work / "compile.json")
    assert predicted["schema"] == "dnnc.sets/1"
    assert predicted["default"] == "safe"
    words = ["--conditions", str(work / "fog.npz"), "--json", str(tmp_path / "run.json"), "--races"]
    text = printed(run_of(work, *words, "--outputs", str(tmp_path / "y.npz")), capsys)
    assert "a switch of sets: 1001 cycles" in text
    assert ", 3 times" in text
    assert "no races" in text
    observed = document(tmp_path / "run.json")
    assert observed["switch"] == predicted["switch"]
    assert observed.keys() == predicted.keys()
    for one, other in zip(predicted["sets"], observed["sets"], strict=True):
        passes = other["passes"]
        for layer, same in zip(one["stats"]["layers"], other["stats"]["layers"], strict=True):
            assert passes * layer["cycles"] == same["cycles"]
            assert {name: passes * count for name, count in layer["instructions"].items()} == same["instructions"]
    assert [each["set"] for each in observed["passes"]] == ["clear", "dim", "safe", "clear"]
    assert [each["switch_cycles"] for each in observed["passes"]] == [0, 1001, 1001, 1001]
    assert observed["passes"][1]["conditions"] == {"fog": 3, "light": "low"}
    with np.load(tmp_path / "y.npz") as outputs:
        assert {name: values.shape for name, values in outputs.items()} == {"scores": (4, 10)}


def test_one_condition_for_all_passes(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(run_of(work, "--condition", "fog=1.5", "--condition", "light=low"), capsys)
    assert "Set clear, 4 passes" in text
    assert "Set dim" not in text
    assert "a switch of sets" not in text
    # One image, under four conditions.
    words = ["run", str(work / "p.dnnx"), "--inputs", str(work / "one.npz"), "--conditions", str(work / "fog.npz")]
    text = printed([*words, "--json", str(tmp_path / "r.json")], capsys)
    assert len(document(tmp_path / "r.json")["passes"]) == 4


def test_check_holds_each_set_to_its_own_tolerance(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["--check", DIGITS]
    text = printed(run_of(work, "--condition", "fog=2", "--condition", "light=low", *check), capsys)
    assert "within range:0.1" in text
    text = refused(run_of(work, "--conditions", str(work / "fog.npz"), *check), capsys)
    assert "set 'clear' was compiled at fewer than 8 bits, for which no tolerance is claimed" in text
    assert "'dim'" not in text
    text = printed(run_of(work, "--conditions", str(work / "fog.npz"), *check, "--tolerance", "range:0.9"), capsys)
    assert text.count("against onnxruntime") == 3
    words = [*check, "--tolerance", "exact"]
    assert "NO" in printed(run_of(work, "--conditions", str(work / "fog.npz"), *words), capsys, 1)


def test_what_is_of_one_pass(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--condition", "fog=0", "--condition", "light=low"]
    text = refused(run_of(work, *given, "--trace", str(tmp_path / "t.json")), capsys)
    assert "--trace is of one pass, not of 4" in text
    one = ["run", str(work / "p.dnnx"), "--inputs", str(work / "one.npz"), *given]
    assert main([*one, "--trace", str(tmp_path / "t.json")]) == 0
    assert document(tmp_path / "t.json")["traceEvents"]
    text = refused([*one, "--save-masks", str(tmp_path / "m.npz")], capsys)
    assert "the set that ran prunes no blocks" in text


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        ([], ["the condition 'fog' has no value", "the condition 'light' has no value"]),
        (["--condition", "fog=1", "--condition", "ligth=low"], ["condition 'ligth'", "help: did you mean 'light'?"]),
        (["--condition", "fog"], ["--condition 'fog' is not NAME=VALUE"]),
        (["--condition", "fog=nan"], ["--condition 'fog=nan' is no finite number"]),
        (["--condition", "fog=1", "--condition", "fog=2"], ["--condition gives 'fog' twice"]),
        (["--condition", "fog=1", "--conditions", "fog.npz"], ["--condition and --conditions both give 'fog'"]),
        (["--condition", "fog=low", "--condition", "light=1"], ["set 'clear', with fog=low, light=1: a word"]),
        (["--conditions", "absent.npz"], ["absent.npz: error: there is no such file"]),
        (["--conditions", "two.npz"], ["two.npz: error: condition 'fog' has 2 values, for 4 passes"]),
        (
            ["--conditions", "odd.npz"],
            ["condition 'fog' is float64 of shape [2, 2]", "'light' has values that are not"],
        ),
        (["--conditions", "fog.npz", "--inputs", "three.npz"], ["conditions, have 4"]),
        (["--conditions", "fog.npz", "--inputs", "five.npz"], ["input 'image' has shape"]),
        (["--conditions", "fog.npz", "--outputs", "fog.npz"], ["this would overwrite what the command reads"]),
    ],
)
def test_a_run_refuses(
    words: list[str],
    faults: list[str],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(work)
    images = np.load(MODELS / "digits.npz")["test"]
    np.savez("two.npz", fog=[1, 2], light=["a", "b"])
    np.savez("odd.npz", fog=np.ones((2, 2)), light=[1.0, np.inf])
    np.savez("three.npz", image=images[:3])
    np.savez("five.npz", image=np.zeros((4, 1, 9, 8), np.float32))
    text = refused([*run_of(work), *words], capsys)
    assert all(each in text for each in faults), text


def test_a_program_of_one_precision_takes_no_condition(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", DIGITS, "--arch", "f32_8", "-o", str(tmp_path / "p.dnnx")]) == 0
    words = ["run", str(tmp_path / "p.dnnx"), "--inputs", str(work / "one.npz")]
    for option in (["--condition", "fog=1"], ["--conditions", str(work / "fog.npz")]):
        assert f"{option[0]} has nothing to choose" in refused([*words, *option], capsys)
    with pytest.raises(CompileError, match="argument 'conditions'"):
        dnnc.run(tmp_path / "p.dnnx", work / "one.npz", conditions={"fog": 1})
    for wrong in ({"fog": np.float32(1)}, {"fog": [[1]]}, {"fog": []}, {"fog": float("nan")}, {1: 2}, 3):
        with pytest.raises(CompileError, match="a number, a word, or a list of them"):
            dnnc.run(work / "p.dnnx", work / "one.npz", conditions=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "words", "faults"),
    [
        (
            "compile",
            ["--precision", "w4a4", "--prune", "sum:0"],
            ["--precision beside --sets", "--prune beside --sets"],
        ),
        ("cost", ["--precision", "w4a4"], ["--precision beside --sets: each set says its own"]),
        ("compile", ["--emit", "ir"], ["--emit ir is of one set"]),
        ("compile", ["--passes", "quantise"], ["--passes is not for --sets"]),
        ("cost", ["--explain", "--html", "x.html"], ["--explain is not for --sets", "--html is not for --sets"]),
        ("cost", ["--masks", "m.npz"], ["--masks is not for --sets"]),
        ("cost", ["--save-mapping", "m.yaml", "--accelergy", "d"], ["--save-mapping is not", "--accelergy is not"]),
        ("cost", ["--json", "fine.yaml"], ["this would overwrite what the command reads"]),
        ("cost", ["--json", "s.yaml"], ["this would overwrite what the command reads"]),
        ("compile", ["--arch", "eyeriss_like"], ["eyeriss_like"]),
    ],
)
def test_options_that_do_not_go_with_sets(
    command: str,
    words: list[str],
    faults: list[str],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(work)
    text = refused([command, *asked(work), *words], capsys)
    assert all(each in text for each in faults), text


def test_faults_of_sets_have_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each set that does not compile; what is wrong with all of them is told once."""
    (tmp_path / "names.yaml").write_text("default: w8a8\nlayers: {conv7: w4a4}\n")
    text = """\
sets:
  - {name: clear, precision: w4a6, when: fog < 2}
  - {name: dim, precision: names.yaml, prune: "sum:0.5@8x8", when: fog < 5}
  - {name: safe, precision: w8a8, prune: "sum:0.5@8x8"}
default: safe
"""
    (tmp_path / "s.yaml").write_text(text)
    words = ["cost", DIGITS, "--arch", "edge8", "--sets", str(tmp_path / "s.yaml")]
    found = refused(words, capsys)
    assert "w4a6" not in found or "set 'clear'" in found
    assert f"(in set 'dim', {tmp_path}/s.yaml:3:5)" in found
    assert "set 'safe'" in found
    (tmp_path / "s.yaml").write_text(text.replace("w8a8", "w4a4"))
    found = refused(["cost", str(tmp_path / "none.onnx"), *words[2:]], capsys)
    assert found.count("error:") == 1
    quantised = save_model(
        tmp_path / "q.onnx",
        [helper.make_node("DequantizeLinear", ["q", "s"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("q", 3, [1, 4])],
        [("y", FLOAT, None)],
        {"s": np.float32(0.1), "w": np.ones((4, 2), np.float32)},
    )
    (tmp_path / "s.yaml").write_text(SETS.replace("fine.yaml", "w8a8"))
    found = refused(["cost", str(quantised), "--arch", "mixed16", *words[4:]], capsys)
    assert found.count("the model is quantised already") == 1
    assert main(["cost", DIGITS, "--arch", "mixed16", "--dump-ir", str(tmp_path / "d"), *words[4:]]) == 0
    assert {each.name for each in (tmp_path / "d").iterdir()} == {"clear", "dim", "safe"}
    dump = f"{tmp_path}/d/clear/{session.dump_name('quantise')}.dnnir"
    found = refused(["cost", dump, "--arch", "mixed16", *words[4:]], capsys)
    assert "the precision of a dump is decided" in found


def test_a_limit_holds_for_each_set(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["cost", *asked(work), "--limit", "cycles=1400"], capsys, 1)
    assert "set safe: cycles is 1456; the limit is 1400" in text
    assert "set clear: cycles" not in text


def test_warnings_say_of_which_sets(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SETS.replace("fine.yaml", "w8a8").replace("w8a12", "keep")
    (tmp_path / "s.yaml").write_text(text)
    words = ["cost", DIGITS, "--arch", "mixed16", "--sets", str(tmp_path / "s.yaml")]
    found = said(words, 0, capsys)
    assert found.count("the model is quantised by synthetic data") == 1
    assert "(set clear, dim)" in found
