"""Boxes of detectors: the forms of outputs, and what of outputs and labels does not go together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.explore.accuracy.boxes import BoxOutputs, corners, mean_average_precision_of, objects_of
from dnnc.ir.diagnostics import CompileError, Span
from dnnc.ir.module import Header, Module
from dnnc.ir.types import ElementType, Tensor
from numpy.typing import NDArray

DATA, OUTPUT = Span("study.yaml", 4, 3), Span("study.yaml", 5, 9)
RAW = BoxOutputs("boxes", "scores")
DECIDED = BoxOutputs("boxes", "best", "classes", overlap=None)
LABELS = np.array([[[0, 0, 4, 4, 1], [0, 0, 0, 0, -1]], [[10, 10, 14, 14, 0], [0, 0, 8, 8, 2]]], np.float32)


def module(**shapes: tuple[int, ...]) -> Module:
    usual = {"boxes": (1, 6, 4), "scores": (1, 6, 3), "best": (1, 6), "classes": (1, 6)} | shapes
    tensors = tuple(Tensor(name, ElementType.F32, shape) for name, shape in usual.items())
    return Module(Header("", "", ""), tensors, (), (), tuple(usual))


def outputs() -> dict[str, NDArray[Any]]:
    """Two images of six boxes: what is labelled, twice, and what scores too little."""
    boxes = np.zeros((2, 6, 4), np.float32)
    scores = np.zeros((2, 6, 3), np.float32)
    best, classes = np.zeros((2, 6), np.float32), np.zeros((2, 6), np.float32)
    for image, place, box, which, score in (
        (0, 0, (0, 0, 4, 4), 1, 0.9),
        (0, 3, (0, 0, 4, 4.1), 1, 0.6),
        (0, 4, (30, 30, 34, 34), 1, 0.001),
        (1, 2, (10, 10, 14, 14), 0, 0.8),
        (1, 5, (0, 0, 8, 8), 2, 0.7),
    ):
        boxes[image, place], scores[image, place, which] = box, score
        best[image, place], classes[image, place] = score, which
    return {"boxes": boxes, "scores": scores, "best": best, "classes": classes}


def metric(how: BoxOutputs, found: dict[str, NDArray[Any]], labels: NDArray[Any] = LABELS) -> float:
    return mean_average_precision_of(how, module(), labels, DATA, OUTPUT)(found)


def test_raw_and_decided_outputs_say_the_same() -> None:
    assert metric(RAW, outputs()) == 1.0
    assert metric(DECIDED, outputs()) == 1.0  # the copy scores less than what is right: no recall reads it
    assert metric(replace(RAW, least_score=0.85), outputs()) == pytest.approx(1 / 3)
    assert metric(replace(DECIDED, least_score=0.85), outputs()) == pytest.approx(1 / 3)


def test_suppression_takes_the_copy_away() -> None:
    """A third object of class 1 after the copy: precision 2 / 3 at full recall with it, 1 without."""
    found, labels = outputs(), LABELS.copy()
    labels[1, 0] = (50, 50, 60, 60, 1)
    found["boxes"][1, 2], found["scores"][1, 2] = (50, 50, 60, 60), (0, 0.5, 0)
    half = (51 + 50 * 2 / 3) / 101  # recalls to 0.5 read 1
    assert metric(replace(RAW, overlap=None), found, labels) == pytest.approx((half + 1) / 2)
    assert metric(RAW, found, labels) == 1.0


def test_a_background_is_no_class() -> None:
    found = outputs()
    labels = LABELS.copy()
    labels[1, 0, 4] = -1
    found["scores"][0, 0, 0] = 0.99
    assert metric(replace(RAW, background=True), found, labels) == 1.0
    assert metric(replace(DECIDED, background=True), found, labels) == 1.0


@pytest.mark.parametrize("form", ["corners", "corners_yx", "centre"])
def test_forms_of_boxes(form: str) -> None:
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 50, (20, 2))
    expected = np.concatenate([start, start + rng.uniform(1, 9, (20, 2))], axis=1)
    rows = [
        {
            "corners": (left, top, right, bottom),
            "corners_yx": (top, left, bottom, right),
            "centre": ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
        }[form]
        for left, top, right, bottom in expected
    ]
    np.testing.assert_allclose(corners(np.array(rows), form), expected, rtol=1e-12)


def test_labels_are_rows_of_objects() -> None:
    first, second = objects_of(LABELS)
    assert first.classes.tolist() == [1]
    assert second.boxes.tolist() == [[10, 10, 14, 14], [0, 0, 8, 8]]
    crowded = np.concatenate([LABELS, np.ones((2, 2, 1), np.float32)], axis=2)
    assert [each.crowds.tolist() for each in objects_of(crowded)] == [[True], [True, True]]


@pytest.mark.parametrize(
    ("how", "labels", "shapes", "told", "place"),
    [
        (replace(RAW, boxes="box"), LABELS, {}, "'box' is no output", OUTPUT),
        (RAW, None, {}, "needs labels, and the data have none", DATA),
        (RAW, LABELS[0], {}, "labels have shape [2, 5]", DATA),
        (RAW, LABELS, {"boxes": (1, 4, 6)}, "of shape [1, 4, 6] holds no boxes", OUTPUT),
        (RAW, LABELS, {"scores": (1, 5, 3)}, "[1, 5, 3] does not go with boxes of [1, 6, 4]", OUTPUT),
        (replace(RAW, scores="best"), LABELS, {}, "[1, 6] does not go with boxes", OUTPUT),
        (DECIDED, LABELS, {"classes": (1, 6, 1)}, "[1, 6, 1] does not go with boxes", OUTPUT),
        (RAW, LABELS + np.array([0, 0, 0, 0, 2], np.float32), {}, "labels reach to class 4", DATA),
        (RAW, LABELS + np.array([0, 0, 0, 0, 0.5], np.float32), {}, "none of classes", DATA),
        (RAW, LABELS * np.array([1, 1, -1, 1, 1], np.float32), {}, "none of boxes", DATA),
        (RAW, LABELS * 0 - 1, {}, "no object is labelled", DATA),
        (RAW, LABELS[:, :0], {}, "no object is labelled", DATA),
    ],
)
def test_what_does_not_fit_is_told(how: BoxOutputs, labels: Any, shapes: Any, told: str, place: Span) -> None:
    with pytest.raises(CompileError) as refused:
        mean_average_precision_of(how, module(**shapes), labels, DATA, OUTPUT)
    (fault,) = refused.value.diagnostics
    assert told in fault.message
    assert fault.span == place
    assert fault.help
