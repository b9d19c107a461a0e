"""Studies whose images are corrupted: the judge sees the samples of `corrupted`; faults have their places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from dnnc.explore.accuracy.samples import Preprocess, preprocessed
from dnnc.explore.corruptions.corrupt import Corruption, corrupted
from dnnc.explore.judge import REPORTED, Judge, OpenedJudge
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import opened
from dnnc.ir.diagnostics import CompileError
from support.judged import PRECISION, write_judged

SIDE = 32
KEYS = "preprocess: {scale: 0.0039, layout: nhwc}, corruption: {name: snow, severity: 4, seed: 9}"
STUDY = PRECISION.replace("samples: 16, split: halves", KEYS)


def written(folder: Path, text: str) -> str:
    """The small network on images of 32 x 32 bytes."""
    path = write_judged(folder, text)
    model = onnx.load(folder / "model.onnx")
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = SIDE
    onnx.save(model, folder / "model.onnx")
    rng = np.random.default_rng(0)
    np.savez(folder / "calibration.npz", x=rng.uniform(size=(8, 1, SIDE, SIDE)).astype(np.float32))
    x = rng.integers(0, 256, (12, SIDE, SIDE, 1), np.uint8)
    np.savez(folder / "samples.npz", x=x, y=np.arange(12) % 4)
    return path


def test_the_judge_sees_corrupted_images(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, STUDY))
    (judge,) = [each for each in study.providers if isinstance(each, Judge)]
    found = opened(judge)
    assert isinstance(found, OpenedJudge)
    stored = corrupted(np.load(tmp_path / "samples.npz")["x"], Corruption("snow", 4, 9))
    expected = preprocessed(stored, Preprocess(scale=0.0039, layout="nhwc"))
    np.testing.assert_array_equal(found.samples_of(REPORTED), np.arange(12))
    np.testing.assert_array_equal(found.samples(study.base, REPORTED).x, expected)
    plain = read_study(written(tmp_path, STUDY.replace("severity: 4", "severity: 5")))
    (other,) = [each for each in plain.providers if isinstance(each, Judge)]
    assert other.identity != judge.identity


@pytest.mark.parametrize(
    ("found", "instead", "told"),
    [
        ("name: snow", "name: snwo", "did you mean 'snow'"),
        ("severity: 4", "severity: 6", "5"),
        ("seed: 9", "sede: 9", "sede"),
        ("layout: nhwc", "scales: 2", "scales"),
    ],
)
def test_faults_have_their_place(tmp_path: Path, found: str, instead: str, told: str) -> None:
    with pytest.raises(CompileError) as error:
        read_study(written(tmp_path, STUDY.replace(found, instead)))
    text = "\n".join(map(str, error.value.diagnostics))
    assert told in text
    assert "study.yaml:4:" in text


def test_samples_that_are_no_images_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, STUDY)
    np.savez(tmp_path / "samples.npz", x=np.zeros((4, SIDE, SIDE, 1), np.float32), y=np.arange(4))
    with pytest.raises(CompileError, match="no images to corrupt"):
        read_study(path)
