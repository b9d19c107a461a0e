"""Studies of bits: figures, points as programs that do what was promised, faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from dnnc.benchmarks.odd_models import draw
from dnnc.driver import session
from dnnc.driver.decisions import Options
from dnnc.driver.model import load_model, model_inputs
from dnnc.driver.options import pass_options
from dnnc.driver.precision_file import read_precision
from dnnc.explore.costs import opened_costs
from dnnc.explore.judge import SEARCHED, Judge, OpenedJudge
from dnnc.explore.points import point_files
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import opened
from dnnc.frontend.arch_yaml import arch_source
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Header
from dnnc.passes.pipeline import remaining
from dnnc.runtime.machine import RunOptions
from support.exploration import searched
from support.judged import LAYERS, PRECISION, judged, write_judged


def judge_of(study: Study) -> OpenedJudge:
    (found,) = [opened(each) for each in study.providers if isinstance(each, Judge)]
    assert isinstance(found, OpenedJudge)
    return found


def test_variables_and_bits(tmp_path: Path) -> None:
    study = judged(tmp_path, PRECISION)
    assert [each.name for each in study.space.variables][:2] == ["weights.conv1", "activations.conv1"]
    assert study.space.variables[0].values == (3, 5, 8)
    assert study.space.variables[1].values == (4, 6, 8)
    point = {each.name: each.values[-1] for each in study.space.variables} | {
        "weights.conv2": 3,
        "activations.dense": 4,
    }
    bits = study.providers[0].open()(study.candidate(point))
    # Weights: 72, 576, 32 elements; inputs: 64, 512, 8.
    held = 8 * (72 + 64) + 3 * 576 + 8 * 512 + 8 * 32 + 4 * 8
    assert bits["mean_bits"] == held / (72 + 64 + 576 + 512 + 32 + 8)
    assert bits["weighted_bits"] == 0.5 * (8 + 3 + 8) + 5 * (8 + 8 + 4)
    per_layer = judged(tmp_path, PRECISION.replace("weights: [3", "weighting: per_layer, weights: [3"))
    assert per_layer.providers[0].open()(study.candidate(point))["weighted_bits"] == held


def test_a_point_runs_as_it_was_judged(tmp_path: Path) -> None:
    """The file of a point, compiled and executed on the machine: outputs are those of the evaluator, bit for bit, the
    cost is the promised one, and so the accuracy on the samples of the search."""
    study = judged(tmp_path, PRECISION.replace("min mean_bits", "min dram_bytes"))
    outcome = searched(study, tmp_path / "out")
    judge = judge_of(study)
    data = np.load(tmp_path / "samples.npz")
    row = outcome.front[len(outcome.front) // 2]
    candidate = study.candidate(row.point)
    path = tmp_path / "precision.yaml"
    name = f"points/{len(outcome.front) // 2 + 1}/precision.yaml"
    path.write_bytes(point_files(study, outcome.front)[name])
    assert str(read_precision(str(path))) == str(candidate.options.precision)
    options = Options(precision=str(path))
    passes = pass_options(options, Header("", "", ""))
    given = model_inputs(options, {"x": np.load(tmp_path / "calibration.npz")["x"]})
    module, passes = load_model(str(tmp_path / "model.onnx"), study.base.arch, passes, given)
    module = session.transform(module, study.base.arch, passes, remaining(module.header.last_pass))
    stats = session.cost_document(module, study.base.arch)
    assert stats["total"]["cycles"] == row.figures["cycles"]
    program = session.with_program(module, study.base.arch).program
    assert program is not None
    right = 0
    numbers = judge.samples_of(SEARCHED)
    promised = judge.outputs(candidate, data["x"][numbers])["y"]
    for number, expected in zip(numbers, promised, strict=True):
        result, _ = session.run(program, {"x": data["x"][number][None]}, RunOptions())
        np.testing.assert_array_equal(result.outputs["y"][0], expected)
        right += int(result.outputs["y"].argmax() == data["y"][number])
    assert right / len(numbers) == row.figures["accuracy"]


@pytest.mark.parametrize("arch", ["mixed16", "converter48"])
def test_a_batch_as_wide_as_a_layer_has_channels_changes_nothing(arch: str, tmp_path: Path) -> None:
    """On `converter48` weights are converted as values are, so that their first axis might pass for one of samples."""
    text = PRECISION.replace("mixed16", arch)
    point = {f"{what}.{layer}": 4 for layer in LAYERS for what in ("weights", "activations")}
    found = []
    for batch in (1, 8):
        (tmp_path / str(batch)).mkdir()
        more = f"options: {{batch_size: {batch}, "
        path = write_judged(tmp_path / str(batch), text.replace("options: {", more), batch=None)
        study = read_study(path)
        judge = judge_of(study)
        found.append(judge.outputs(study.candidate(point), np.load(tmp_path / "1" / "samples.npz")["x"][:32])["y"])
    np.testing.assert_array_equal(*found)


def test_fewer_bits_are_fewer_bytes(tmp_path: Path) -> None:
    study = judged(tmp_path, PRECISION)
    opened_model = opened_costs(study.costs)
    bytes_of = []
    for place in (0, -1):
        candidate = study.candidate({each.name: each.values[place] for each in study.space.variables})
        stats = session.cost_document(*opened_model.scheduled(candidate))
        bytes_of.append(sum(m["read_bytes"] for each in stats["layers"] for m in each["traffic"]["dram"].values()))
    assert bytes_of[0] < bytes_of[1]


FAULTS = {
    "activations: {start: 4, stop: 8, step: 2}": ("activations: 40", "'precision.activations' is '40'", "2"),
    "precision: {": ("precision: {layers: [conv9], ", "there is no layer 'conv9'", "conv2"),
    "precision: {weights": ("precision: {form: w8, weights", "'w8' is no form", "w4a8"),
    "weights: [3, 5, 8], ": ("weights: [3, 17, 2], ", "'precision.weights' has 17 bits", "whole numbers"),
    "options: {": ("options: {precision: w8a8, ", "the study has a precision in `options`, too", "one of both"),
}


@pytest.mark.parametrize("found", FAULTS)
def test_faults(found: str, tmp_path: Path) -> None:
    instead, message, help = FAULTS[found]
    assert found in PRECISION
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, PRECISION.replace(found, instead)))
    fault = error.value.diagnostics[0]
    assert message in fault.message
    assert help in fault.help
    assert fault.span.line == 5


@pytest.mark.parametrize("found", ["[4, 4, 4]", "[]", "{start: 1, stop: 8, step: 0}"])
def test_a_faulty_list_of_widths_has_no_faulty_widths(found: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, PRECISION.replace("[3, 5, 8]", found)))
    assert not [each.message for each in error.value.diagnostics if " bits" in each.message]


def test_widths_that_the_array_does_not_take(tmp_path: Path) -> None:
    text = PRECISION.replace("mixed16", "sparse_blox16").replace("[3, 5, 8]", "[3, 12, 14]")
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, text))
    told = [each.message for each in error.value.diagnostics]
    assert told == [f"sparse_blox16's array takes no weights of {bits} bits" for bits in (12, 14)]
    assert {each.span.line for each in error.value.diagnostics} == {5}


def test_pairs_of_widths_that_no_layer_has(tmp_path: Path) -> None:
    """Weights and inputs of 16 bits are legal by themselves; together the bias of one layer needs more than 32."""
    machine, _ = arch_source("mixed16")
    assert "accumulator: i64" in machine
    (tmp_path / "narrow.yaml").write_text(machine.replace("accumulator: i64", "accumulator: i32"))
    text = PRECISION.replace("weights: [3, 5, 8], activations: {start: 4, stop: 8, step: 2}", WIDE)
    text = text.replace("arch: mixed16", "arch: narrow.yaml")
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, text))
    told = error.value.diagnostics
    assert [name for name in LAYERS for each in told if repr(name) in each.message] == ["dense"]
    assert all("w16a16" in each.message and "fewer bits" in each.help and each.span.line == 5 for each in told)
    study = read_study(write_judged(tmp_path, text.replace("weights: 16", "weights: [4, 16]")))
    assert study.space.variables[0].values == (4, 16)


WIDE = "weights: 16, activations: 16"


def test_a_model_of_integers_has_its_widths(tmp_path: Path) -> None:
    path = write_judged(tmp_path, PRECISION.replace("options: {calibrate: calibration.npz}", "options: {}"))
    onnx.save(draw("qlinear_residual", 3).model, tmp_path / "model.onnx")
    data = np.zeros((8, 6, 7, 5), np.int8)
    np.savez(tmp_path / "samples.npz", x=data, y=np.arange(8) % 4)
    with pytest.raises(CompileError, match="the model is quantised already"):
        read_study(path)


def test_accuracy_needs_samples(tmp_path: Path) -> None:
    text = PRECISION.replace("accuracy: {data: samples.npz, samples: 16, split: halves}\n", "")
    with pytest.raises(CompileError, match="neither a figure nor a variable 'accuracy'"):
        read_study(write_judged(tmp_path, text))
    assert read_study(write_judged(tmp_path, text.replace("max accuracy, ", ""))).providers
