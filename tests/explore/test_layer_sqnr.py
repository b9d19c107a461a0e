"""Ratios of layers: against onnxruntime's own values of the float model and the interpreter's of the quantised one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from dnnc.explore.judge import REPORTED, Judge, OpenedJudge
from dnnc.explore.points import on_reported
from dnnc.explore.study import Study
from dnnc.explore.workers import opened
from onnx import TensorProto, helper
from support.evaluation import by_interpreter, with_every_value
from support.judged import PRECISION, SPARSITY, judged

VALUES = {"conv1": "r1", "conv2": "r2", "dense": "y"}


def judge_of(study: Study) -> OpenedJudge:
    (found,) = [opened(each) for each in study.providers if isinstance(each, Judge)]
    assert isinstance(found, OpenedJudge)
    return found


def of_float(folder: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    model = onnx.load(folder / "model.onnx")
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("r1", "r2"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = list(VALUES.values())
    rows = [session.run(names, {"x": each[None]}) for each in x]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


@pytest.mark.parametrize("text", [PRECISION, SPARSITY], ids=["precision", "sparsity"])
def test_ratios_are_those_of_onnxruntime_and_the_interpreter(text: str, tmp_path: Path) -> None:
    study = judged(tmp_path, text)
    point = {each.name: each.values[1] for each in study.space.variables}
    judge, candidate = judge_of(study), study.candidate(point)
    x = np.load(tmp_path / "samples.npz")["x"][judge.samples_of(REPORTED)]
    module = with_every_value(judge.module(candidate))
    codes, wanted = by_interpreter(module, {"x": x}), of_float(tmp_path, x)
    found = judge.layer_sqnr(candidate)
    assert list(found) == list(VALUES)
    for layer, name in VALUES.items():
        (kept,) = [each for each in codes if each in (name, f"{name}.{module.tensor(each).type}")]
        real, quantization = codes[kept].astype(np.float64), module.tensor(kept).quantization
        if quantization is not None:
            real = (real - quantization.zero_point[0]) * quantization.scale[0]
        signal, noise = np.sum(wanted[name] ** 2.0), np.sum((wanted[name] - real) ** 2)
        assert found[layer] == pytest.approx(10 * np.log10(signal / noise), abs=0.01)
    figures = on_reported(study.providers, candidate)
    assert {name: figures[f"sqnr_db.{name}"] for name in VALUES} == found


def test_more_bits_leave_more(tmp_path: Path) -> None:
    study = judged(tmp_path, PRECISION)
    judge = judge_of(study)
    few, many = (
        judge.layer_sqnr(study.candidate({each.name: each.values[place] for each in study.space.variables}))
        for place in (0, -1)
    )
    assert all(many[layer] > few[layer] + 6 for layer in VALUES)
