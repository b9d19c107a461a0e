"""No option is ignored: it decides something, or is refused with what to do, or it is said that it changed nothing."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.driver import decisions, session
from dnnc.driver.model import ModelInputs, load_model
from dnnc.driver.options import pass_options
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import Node
from dnnc.ir.module import Header
from onnx import helper
from support.commands import DIGITS, MODELS, SPECS, said
from support.onnx_models import FLOAT, save_model


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dumps of the bundled model for edge8, a mapping, samples and a program, in one folder."""
    folder = tmp_path_factory.mktemp("dumps")
    digits = np.load(MODELS / "digits.npz")
    np.savez(folder / "samples.npz", image=digits["calibration"])
    calibrate = ["--calibrate", str(folder / "samples.npz")]
    base = [DIGITS, "--arch", "edge8", *calibrate]
    assert main(["compile", *base, "--dump-ir", str(folder), "-o", str(folder / "p.dnnx")]) == 0
    assert main(["cost", *base, "--save-mapping", str(folder / "m.yaml")]) == 0
    return folder


# A value of each option that differs from what the dumps were made with, and the pass that reads it last.
VALUES = {
    "calibrate": ["--calibrate", "samples.npz"],
    "calibration": ["--calibration", "entropy"],
    "bias_correction": ["--bias-correction", "off"],
    "weight_equalisation": ["--weight-equalisation", "on"],
    "batch_size": ["--batch-size", "7"],
    "shapes": ["--shape", "image=1,1,8,8"],
    "seed": ["--seed", "3"],
    "precision": ["--precision", "keep"],
    "dataflow": ["--dataflow", "ws"],
    "im2col": ["--im2col", "explicit"],
    "objective": ["--objective", "energy"],
    "fuse": ["--fuse", "off"],
    "mapping": ["--mapping", "m.yaml"],
    "prune": ["--prune", "l1_mean:0@8x8"],
    "time_limit_s": ["--time-limit", "100"],
}


def test_every_option_has_a_last_reader() -> None:
    names = {each.name for each in fields(decisions.Options)}
    assert names == set(decisions.LAST_READER) == set(VALUES)
    assert set(decisions.LAST_READER.values()) <= set(session.ORDER)
    assert all(words[0] == decisions.spelling(name) for name, words in VALUES.items())


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("number", range(9))
def test_an_option_is_read_or_refused(
    number: int, name: str, dumps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(dumps)
    dump = f"{number:02}-{session.ORDER[number]}.dnnir"
    at = session.ORDER.index(decisions.LAST_READER[name])
    words = ["cost", dump, *VALUES[name], "--json", "/dev/null"]
    if number < at and name == "prune":  # read, and refused by the machine
        assert "edge8 has no unit that prunes blocks" in said(words, 2, capsys)
        return
    if number < at:
        said(words, 0, capsys)
        return
    text = said(words, 2, capsys)
    assert f"{dump}: error: {VALUES[name][0]} " in text
    assert "comes too late" in text
    earlier = "the model: digits.onnx" if at == 0 else f"{at - 1:02}-{session.ORDER[at - 1]}.dnnir or an earlier dump"
    assert f"help: {session.ORDER[at]!r} decides that: start from {earlier}" in text


def test_what_was_decided_may_be_said_again(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--precision", "auto", "--dataflow", "auto", "--objective", "latency", "--batch-size", "1"]
    said(["cost", str(dumps / "09-allocate.dnnir"), *words], 0, capsys)


@pytest.mark.parametrize("name", ["calibrate", "calibration", "batch_size", "shapes", "seed"])
def test_a_text_that_was_never_imported_has_been_imported(
    name: str, dumps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(dumps)
    text = (dumps / "00-import.dnnir").read_text()
    (dumps / "hand.dnnir").write_text(text.replace('  after  "import"\n', ""))
    assert "the module has been imported" in said(["cost", "hand.dnnir", *VALUES[name]], 2, capsys)


def test_auto_does_not_undo_what_auto_became(capsys: pytest.CaptureFixture[str]) -> None:
    header = Header("m", "edge8", "", 1, "import", (("precision", "exact"),))
    assert pass_options(decisions.Options(precision="auto"), header).precision == "exact"
    assert pass_options(decisions.Options(), header).precision == "exact"


@pytest.mark.parametrize(
    ("dump", "passes", "message", "help"),
    [
        ("05-lower", "quantise", "pass 'quantise' comes too late: the module stands after 'lower'", "01-canonicalise"),
        ("05-lower", "lower", "pass 'lower' comes too late", "start from 04-prune.dnnir or an earlier dump"),
        ("10-emit", "schedule", "pass 'schedule' comes too late: the module stands after 'emit'", "05-lower"),
        ("03-fuse", "schedule", "pass 'schedule' needs the pass 'lower' before it", "the order of the pipeline is"),
        ("05-lower", "allocate", "pass 'allocate' needs the pass 'schedule' before it", "the order of the pipeline is"),
        ("03-fuse", "schedule,lower", "pass 'lower' is named after 'schedule'", "the order of the pipeline is"),
        ("03-fuse", "lower,lower", "pass 'lower' is named after 'lower'", "the order of the pipeline is"),
        ("03-fuse", "shedule", "there is no pass 'shedule'", "did you mean 'schedule'?"),
    ],
)
def test_passes_that_do_not_fit(
    dump: str, passes: str, message: str, help: str, dumps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(["opt", str(dumps / f"{dump}.dnnir"), "--passes", passes], 2, capsys)
    assert message in text
    assert help in text


def test_passes_that_leave_the_lowering_out_of_a_model(
    dumps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["compile", DIGITS, "--arch", "edge8", "-o", str(tmp_path / "p.dnnx")]
    assert "needs the pass 'lower' before it" in said([*base, "--passes", "schedule"], 2, capsys)
    text = said([*base, "--passes", "canonicalise,quantise,lower"], 2, capsys)
    assert "help: --emit ir, or let --passes end with allocate" in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["opt", "05-lower.dnnir", "--dump-ir", "x"], "--dump-ir writes after each pass, and no --passes are given"),
        (["opt", "03-fuse.dnnir", "--passes", "lower", "--mapping", "m.yaml"], "--mapping is for the pass 'schedule'"),
        (["opt", "03-fuse.dnnir", "--passes", "lower", "--time-limit", "9"], "--time-limit is for the pass 'schedule'"),
        (["compile", "10-emit.dnnir", "--dump-ir", "x", "-o", "x.dnnx"], "--dump-ir has nothing to write"),
        (["run", "p.dnnx", "--inputs", "i.npz", "--tolerance", "exact"], "--tolerance is not used without --check"),
        (["cost", "05-lower.dnnir", "--limit", "cycles=1", "--limit", "cycles=2"], "--limit gives cycles twice"),
        (["opt", "03-fuse.dnnir", "--passes", "lower", "--prune", "x"], "--prune is for the pass 'prune'"),
        (["check", DIGITS, "--time-limit", "9"], "unrecognized arguments: --time-limit 9"),
    ],
)
def test_an_option_without_effect_is_refused(
    words: list[str], message: str, dumps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(dumps)
    assert message in said(words, 2, capsys)
    assert not (dumps / "x").exists()


def test_an_option_of_a_header_that_there_is_not(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (dumps / "05-lower.dnnir").read_text()
    (dumps / "odd.dnnir").write_text(text.replace('option "dataflow" = "auto"', 'option "datafow" = "ws"'))
    found = said(["cost", str(dumps / "odd.dnnir")], 2, capsys)
    assert "the module's header has an option 'datafow', which there is not" in found
    assert "help: did you mean 'dataflow'?" in found


def test_a_value_of_a_header_that_is_not_legal(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (dumps / "05-lower.dnnir").read_text()
    (dumps / "odd.dnnir").write_text(text.replace('option "objective" = "latency"', 'option "objective" = "speed"'))
    found = said(["cost", str(dumps / "odd.dnnir")], 2, capsys)
    assert "odd.dnnir: error: objective 'speed': there is no figure 'speed'\nhelp: latency, energy, edp, or a" in found


def test_calibration_of_what_is_not_quantised_is_told(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--calibrate", str(dumps / "samples.npz"), "--calibration", "entropy", "--seed", "3"]
    text = said(["cost", DIGITS, "--arch", "f32_8", *words, "--bias-correction", "on"], 0, capsys)
    for option in ("--calibrate", "--calibration", "--bias-correction", "--seed"):
        assert f"warning: {option} is not used: nothing of the model is quantised for f32_8" in text
    assert "warning: --seed is not used: the samples are given" in said(
        ["cost", DIGITS, "--arch", "edge8", "--calibrate", words[1], "--seed", "3"], 0, capsys
    )


def test_bias_correction_changes_biases_alone_and_needs_samples(
    dumps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = dict(np.load(dumps / "samples.npz"))
    default, on, off = (
        load_model(
            DIGITS,
            load_arch("edge8"),
            pass_options(decisions.Options(), Header("", "", "")),
            ModelInputs(calibration=samples, bias_correction=value),
        )[0]
        for value in (None, "on", "off")
    )
    assert default == on != off
    for node, other in zip(off.operations, on.operations, strict=True):
        assert isinstance(node, Node)
        assert isinstance(other, Node)
        product = node.op in ("conv", "matmul")
        assert (other.inputs[2:] != node.inputs[2:]) == product
        assert replace(other, inputs=node.inputs) == node
        assert other.inputs[:2] == node.inputs[:2]
    text = said(["cost", DIGITS, "--arch", "edge8", "--bias-correction", "on"], 0, capsys)
    assert "warning: --bias-correction is not used: it needs real inputs (--calibrate DATA.npz)" in text
    with pytest.raises(CompileError, match="option 'bias_correction' is 'maybe'"):
        dnnc.cost(DIGITS, "edge8", dnnc.Options(bias_correction="maybe"))


def test_layers_that_cannot_take_an_explicit_im2col_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (SPECS / "arch" / "edge8.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text.replace("vector: {", "vector: {ops: [add, max, sum], "))
    (tmp_path / "pins.yaml").write_text("layers: {dense: {dataflow: ws}}\n")
    (tmp_path / "pinned.yaml").write_text("layers: {conv1: {im2col: implicit}}\n")
    words = ["cost", DIGITS, "--im2col", "explicit", "--arch"]
    less = [*words, str(tmp_path / "a.yaml")]
    warning = "warning: im2col stays implicit in 2 layers: conv1 (edge8 has no vector unit that copies i8), conv2 ("
    assert warning in said(less, 0, capsys)
    assert warning in said([*less, "--mapping", str(tmp_path / "pins.yaml")], 0, capsys)
    # A layer that could be explicit and is pinned implicit is as the user said.
    assert "stays implicit" not in said([*words, "edge8", "--mapping", str(tmp_path / "pinned.yaml")], 0, capsys)


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (["compile", DIGITS, "--arch", "edge9"], "did you mean 'edge8'?"),
        (["compile", DIGITS, "--arch", "GEMMINI16"], "did you mean 'gemmini16'?"),
        (["demo", "--arch", "gemini16"], "did you mean 'gemmini16'?"),
        (["compile", DIGITS, "--arch", "edge8", "--dataflow", "wss"], "did you mean 'ws'?"),
        (["compile", DIGITS, "--arch", "edge8", "--objective", "latncy"], "did you mean 'latency'?"),
        (["cmpile"], "did you mean 'compile'?"),
    ],
)
def test_guesses_at_what_was_meant(words: list[str], guess: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"help: {guess}" in said(words, 2, capsys)


# -- objectives --------------------------------------------------------------------------------------------------


def test_limits_of_an_objective_hold_of_every_layer(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With values that stay on chip as well; what they forbid is refused with all that is short."""
    lowered = dumps / "05-lower.dnnir"
    least = {each["name"]: each for each in dnnc.cost(lowered, "edge8", dnnc.Options(objective="energy"))["layers"]}
    options = dnnc.Options(objective="energy, cycles<=2800")
    limited = {each["name"]: each for each in dnnc.cost(lowered, "edge8", options)["layers"]}
    assert least["conv2"]["cycles"] > 2800
    assert max(each["cycles"] for each in limited.values()) <= 2800
    text = said(["cost", str(lowered), "--arch", "edge8", "--objective", "latency, cycles<=650"], 2, capsys)
    assert re.search(r"error: conv2: no mapping keeps cycles<=650: the least is (\d+) cycles, \d+ too much\n", text)
    assert text.count("no mapping keeps") == 2  # conv1 takes 636, dense more


def test_an_objective_is_recorded_as_one_text(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compile", str(dumps / "05-lower.dnnir"), "--arch", "edge8", "--dump-ir", str(dumps / "odd")]
    assert main([*words, "--objective", "2 * edp+energy*latency ** 2,cycles<=9e3", "-o", str(dumps / "odd.dnnx")]) == 0
    dump = dumps / "odd" / "06-schedule.dnnir"
    assert 'option "objective" = "energy*latency^2 + 2*edp, cycles<=9000"' in dump.read_text()
    said(["cost", str(dump), "--objective", "energy*latency^2+edp, cycles<=9000"], 2, capsys)
    assert main(["cost", str(dump), "--objective", "2*energy*latency + energy*latency^2, cycles<=9000"]) == 0


# -- a limit of time ---------------------------------------------------------------------------------------------


def test_a_time_limit_keeps_the_best_so_far_and_says_so(dumps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lowered = dumps / "05-lower.dnnir"
    told = "stopped at the time limit of 1e-09 s: . of 5 layers"
    found: dict[str, list[float]] = {}
    for fuse in ("off", "auto"):
        free = dnnc.cost(lowered, "edge8", dnnc.Options(fuse=fuse))
        with pytest.warns(UserWarning, match=told):
            bounded = dnnc.cost(lowered, "edge8", dnnc.Options(fuse=fuse, time_limit_s=1e-9))
        for one, other in zip(bounded["layers"], free["layers"], strict=True):
            assert one["mapping"]["lower_bound"] <= other["mapping"]["objective"]
            # Layers of a group are chosen together: one of them may have more so that all have less.
            assert fuse == "auto" or other["mapping"]["objective"] <= one["mapping"]["objective"]
            assert one["mapping"]["evaluated"] <= other["mapping"]["evaluated"]
        found[fuse] = [sum(each["mapping"]["objective"] for each in cost["layers"]) for cost in (free, bounded)]
    assert found["auto"][0] <= found["off"][0] <= found["off"][1]
    assert found["auto"][0] <= found["auto"][1]
    assert not all(each["mapping"]["optimal"] for each in bounded["layers"])
    assert "stopped at the time limit" in said(["cost", str(lowered), "--time-limit", "1e-9", "--explain"], 0, capsys)
    words = ["--passes", "schedule", "--time-limit", "1e-9"]
    assert "stopped at the time limit" in said(["opt", str(lowered), *words], 0, capsys)


def test_what_a_time_limit_cut_short_is_not_kept(dumps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    lowered = dumps / "05-lower.dnnir"
    with pytest.warns(UserWarning, match="time limit"):
        dnnc.cost(lowered, "edge8", dnnc.Options(time_limit_s=1e-9))
    found = [tmp_path / "cache" / kind for kind in ("mappings", "stats")]
    assert not any(folder.exists() for folder in found)
    free = dnnc.cost(lowered, "edge8", dnnc.Options(time_limit_s=1e6))
    assert all(list(folder.iterdir()) for folder in found)
    monkeypatch.setenv("DNNC_CACHE_DIR", "off")
    assert free == dnnc.cost(lowered, "edge8")


# -- Python --------------------------------------------------------------------------------------------------------


def test_python_has_the_options_of_the_command_line(dumps: Path, tmp_path: Path) -> None:
    options = dnnc.Options(
        calibrate=dumps / "samples.npz", calibration="minmax", mapping=dumps / "m.yaml", time_limit_s=1e6
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dnnc.cost(DIGITS, "edge8", options, points=True)
    words = ["--calibrate", str(dumps / "samples.npz"), "--mapping", str(dumps / "m.yaml")]
    assert main(["cost", DIGITS, "--arch", "edge8", *words, "--json", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text()) == found


def test_a_warning_names_the_line_of_the_user() -> None:
    with pytest.warns(UserWarning, match="synthetic data") as caught:
        dnnc.cost(DIGITS, "edge8", dnnc.Options(seed=1))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataflow": "wss"}, "option 'dataflow' is 'wss'\nhelp: did you mean 'ws'?"),
        ({"calibration": "entropie"}, "option 'calibration' is 'entropie'\nhelp: did you mean 'entropy'?"),
        ({"mapping": "none.yaml"}, "none.yaml"),
        ({"calibrate": "none.npz"}, "none.npz"),
    ],
)
def test_python_gets_the_diagnostics_of_the_command_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError, match=message.replace("?", r"\?")):
        dnnc.compile(DIGITS, "edge8", dnnc.Options(**options))


@pytest.mark.parametrize(
    ("options", "help"),
    [
        ({"batch_size": 0}, "a whole number in 1..2147483647"),
        ({"batch_size": "4"}, "a whole number in 1..2147483647"),
        ({"seed": -1}, "a whole number in 0..18446744073709551615"),
        ({"time_limit_s": -1.0}, "a number of seconds"),
        ({"time_limit_s": "x"}, "a number of seconds"),
        ({"shapes": {"image": "1,1,8,8"}}, "tuples of whole numbers by input name"),
        ({"dataflow": 3}, "a word"),
        ({"calibrate": [1]}, "arrays by input name, or a path"),
        ({"mapping": 1}, "a path"),
    ],
)
def test_values_that_make_no_sense_are_refused_where_they_are_given(options: dict[str, Any], help: str) -> None:
    (name,) = options
    with pytest.raises(CompileError) as caught:
        dnnc.Options(**options)
    (fault,) = caught.value.diagnostics
    assert fault.message.startswith(f"option {name!r} is ")
    assert fault.help == f"it is {help}"


def test_samples_may_be_lists() -> None:
    samples = [[[[float(k)] * 8] * 8] for k in range(3)]
    with pytest.raises(CompileError, match=r"calibration data for 'image' has shape \[\], not"):
        dnnc.cost(DIGITS, "edge8", dnnc.Options(calibrate={"image": 3}))
    assert dnnc.cost(DIGITS, "edge8", dnnc.Options(calibrate={"image": samples}))["total"]["cycles"]


def test_python_runs_files(dumps: Path, tmp_path: Path) -> None:
    image = np.load(MODELS / "digits.npz")["test"][:1]
    np.savez(tmp_path / "in.npz", image=image)
    from_file = dnnc.run(dumps / "p.dnnx", str(tmp_path / "in.npz"))
    np.testing.assert_array_equal(
        from_file.outputs["scores"], dnnc.run(dumps / "p.dnnx", {"image": image}).outputs["scores"]
    )
    with pytest.raises(CompileError, match=r"this is no \.onnx or \.dnnir file, but a program"):
        dnnc.compile(dumps / "p.dnnx", "edge8")
    with pytest.raises(CompileError, match=r"this is no \.dnnx file, but the text of a module"):
        dnnc.run(dumps / "05-lower.dnnir", {"image": image})


def test_a_symbolic_axis_is_bound_by_the_option_that_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = helper.make_node("Relu", ["a b"], ["y"])
    path = str(save_model(tmp_path / "m.onnx", [node], [("a b", FLOAT, ["n", "t", 4])], [("y", FLOAT, None)]))
    text = said(["compile", path, "--arch", "f32_8", "-o", str(tmp_path / "p.dnnx")], 2, capsys)
    shown = text[text.index("--shape") :].strip()
    assert main(["compile", path, "--arch", "f32_8", "-o", str(tmp_path / "p.dnnx"), *shlex.split(shown)]) == 0


def test_a_guess_is_a_whole_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "m.onnx", "--calibration", "percentil:99.9"]) == 2
    assert "did you mean 'percentile:99.9'?" in capsys.readouterr().err
