"""Metrics by hand and against slow readings of their definitions; which of them a model and its samples allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dnnc.explore.accuracy.choose import Places, metric_of
from dnnc.explore.accuracy.metrics import Agreement, Sqnr, TopK, decibels, ranks, real_values, sqnr_by_value
from dnnc.explore.accuracy.samples import Samples
from dnnc.explore.accuracy.segmentation import MeanIou, PixelAccuracy, confusion
from dnnc.ir.diagnostics import CompileError, Span
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType, Quantization, Tensor
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, jaccard_score, top_k_accuracy_score
from support.graphs import Graph

Array = NDArray[Any]


def test_top_k_by_hand() -> None:
    scores = np.array([[5, 9, 5, 1], [7, 7, 7, 7], [0, 1, 2, 3]])
    labels = np.array([2, 1, 0])
    # 9 and the first 5 come before class 2; one of the equal 7 before class 1; all before class 0.
    assert ranks(scores, labels).tolist() == [2, 1, 3]
    assert [TopK("y", labels, k)({"y": scores}) for k in (1, 2, 3, 4)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@given(hnp.arrays(np.int8, (6, 5)), hnp.arrays(np.int64, 6, elements=st.integers(0, 4)))
def test_top_one_is_argmax_and_all_classes_hold_every_label(scores: Array, labels: Array) -> None:
    assert TopK("y", labels)({"y": scores}) == pytest.approx((scores.argmax(axis=1) == labels).mean())
    assert TopK("y", labels, 5)({"y": scores}) == 1.0


def test_top_k_equals_another_library_where_no_scores_are_equal() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((200, 10)), rng.integers(0, 10, 200)
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(10))
        assert TopK("y", labels, k)({"y": scores[:, :, None, None]}) == pytest.approx(expected)


def test_agreement_and_ratio_with_the_float_model() -> None:
    reference = np.array([[1.0, 2.0], [4.0, 3.0]])
    found = np.array([[1.0, 2.0], [2.0, 3.0]])
    assert Agreement("y", reference)({"y": found}) == 0.5
    # Squares of the reference: 30; of the difference: 4.
    assert Sqnr("y", reference)({"y": found}) == pytest.approx(10 * np.log10(30 / 4))
    assert decibels(reference, reference) == float("inf")
    assert decibels(np.zeros(3), np.ones(3)) == float("-inf")


def test_ratio_of_every_value_has_its_counterpart() -> None:
    quantization = Quantization((0.5,), (3,))
    tensors = {
        "y.i8": Tensor("y.i8", ElementType.I8, (2,), quantization),
        "z": Tensor("z", ElementType.F32, (2,)),
        "other": Tensor("other", ElementType.I8, (2,), quantization),
    }
    assert real_values(tensors["y.i8"], np.array([3, 7], np.int8)).tolist() == [0, 2]
    found = {"y.i8": np.array([3, 7], np.int8), "z": np.array([1, 1], np.float32), "other": np.zeros(2, np.int8)}
    reference = {"y": np.array([0, 1.0]), "z": np.array([1.0, 1.0])}
    assert sqnr_by_value(tensors, found, reference) == {"y.i8": 0.0, "z": float("inf")}


def test_pixels_equal_another_library() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((3, 4, 6, 5))
    labels = rng.integers(0, 4, (3, 6, 5))
    predicted = scores.argmax(axis=1)
    outputs = {"y": scores}
    expected = jaccard_score(labels.ravel(), predicted.ravel(), average="macro")
    assert MeanIou("y", labels, 4)(outputs) == pytest.approx(expected)
    assert PixelAccuracy("y", labels, 4)(outputs) == pytest.approx(accuracy_score(labels.ravel(), predicted.ravel()))


def test_pixels_by_hand() -> None:
    """Class 2 is neither there nor found; a pixel without a label does not count."""
    labels = np.array([[[0, 0, 1], [1, 1, 255]]])
    predicted = np.array([[[0, 1, 1], [1, 0, 0]]])
    assert confusion(labels, predicted, 3).tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert PixelAccuracy("y", labels, 3)({"y": predicted}) == pytest.approx(3 / 5)
    assert MeanIou("y", labels, 3)({"y": predicted}) == pytest.approx((1 / 3 + 2 / 4) / 2)


def model(shape: tuple[int, ...] = (1, 10), outputs: int = 1) -> Module:
    graph = Graph()
    graph.input("x", shape)
    for number in range(outputs):
        graph.node("relu", ["x"], graph.tensor(f"y{number}", shape))
    return graph.module([f"y{number}" for number in range(outputs)])


X, PLACE = np.zeros((4, 10), np.float32), Span("study.yaml", 3, 9)


@pytest.mark.parametrize(
    ("name", "labels", "message", "help"),
    [
        ("top_1", np.zeros(4, int), "there is no metric 'top_1'", "did you mean 'top1'?"),
        ("top1", None, "metric `top1` needs labels, and the data have none", "`agreement` and `sqnr` compare"),
        ("top11", np.zeros(4, int), "metric `top11` of a model of 10 classes", "1 to 10"),
        ("topk:0", np.zeros(4, int), "metric `topk:0` of a model of 10 classes", "1 to 10"),
        ("top1", np.array([0, 3, 10, 1]), "labels reach from 0 to 10; output 'y0' has 10 classes", "0 to 9"),
        ("top1", np.array([0, -1, 1, 1]), "labels reach from -1 to 1; output 'y0' has 10 classes", "0 to 9"),
        ("top1", np.zeros((4, 2), int), "labels have shape [4, 2]; metric `top1` of output 'y0' takes [4]", ""),
        ("mean_iou", np.zeros((4, 2), int), "metric `mean_iou` of output 'y0' of shape [1, 10]", "axes of pixels"),
        ("agreement", None, "compares with the float model, which has no output 'y0'", "the model that was quantised"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(name: str, labels: Array | None, message: str, help: str) -> None:
    with pytest.raises(CompileError) as refused:
        metric_of(name, model(), Samples(X, labels), places=Places(PLACE, PLACE, PLACE))
    (fault,) = refused.value.diagnostics
    assert fault.span == PLACE
    assert message in fault.message
    assert help in fault.help


def test_the_output_must_be_named_where_there_are_two() -> None:
    samples = Samples(X, np.zeros(4, int))
    with pytest.raises(CompileError, match="the model has 2 outputs\nhelp: `output` names one of 'y0', 'y1'"):
        metric_of("top1", model(outputs=2), samples)
    with pytest.raises(CompileError, match="'y2' is no output"):
        metric_of("top1", model(outputs=2), samples, output="y2")
    assert metric_of("top1", model(outputs=2), samples, output="y1") == TopK("y1", samples.labels)  # type: ignore[arg-type]


def test_metrics_by_name() -> None:
    labels = np.array([1, 0, 3, 9])
    scores = np.eye(10)[labels]
    samples = Samples(X, labels)
    assert metric_of("top1", model(), samples)({"y0": scores}) == 1.0
    assert metric_of("topk:3", model(), samples)({"y0": 0 * scores}) == 0.5  # of equal classes the first come first
    reference = {"y0": scores}
    assert metric_of("agreement", model(), Samples(X), reference=reference)({"y0": scores}) == 1.0
    assert metric_of("sqnr", model(), Samples(X), reference=reference)({"y0": scores / 2}) == pytest.approx(
        6.0206, 1e-5
    )
    maps = np.array([[[0, 1], [2, 255]]] * 4)
    pixels = Samples(np.zeros((4, 3, 2, 2), np.float32), maps)
    output = {"y0": np.eye(3)[np.minimum(maps, 2)].transpose(0, 3, 1, 2)}
    assert metric_of("mean_iou", model((1, 3, 2, 2)), pixels)(output) == 1.0
    assert metric_of("pixel_accuracy", model((1, 3, 2, 2)), pixels)(output) == 1.0
