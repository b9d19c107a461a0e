"""What a detector's outputs say: boxes, scores and classes by the names and forms that a study gives them; and labels.

raw        boxes [samples, n, 4] and scores [samples, n, classes]: every class of every box that scores enough is a
           detection; those that overlap a better one of their class are suppressed
decided    boxes [samples, n, 4], scores [samples, n] and classes [samples, n]: the model has chosen already; rows that
           score less than `least_score` are none

Labels are [samples, objects, 5 or 6]: left, top, right, bottom, class, and 1 for a crowd; a class of -1 is no object.
Boxes of labels and outputs are of one unit, pixels or parts of the image: the overlap of two is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.diagnostics import CompileError, Diagnostic, Span, closest
from ...ir.frozen import dataclass
from ...ir.module import Module
from ...ir.types import ElementType, Tensor
from .detection import Decode, Detections, MeanAveragePrecision, Objects, suppressed
from .metrics import real_values

Array = NDArray[Any]
CORNERS, CORNERS_YX, CENTRE = FORMS = ("corners", "corners_yx", "centre")
OVERLAP, LEAST_SCORE = 0.5, 0.01
_NO_OBJECT = -1


@dataclass(frozen=True, slots=True)
class BoxOutputs:
    """Names of outputs, and what is in them. A box is `corners` (left, top, right, bottom), `corners_yx` (top, left,
    bottom, right) or `centre` (of x and y, width, height). With a `background` class 0 is none. `overlap` is the
    intersection over union above which the worse of two goes (None: none does)."""

    boxes: str
    scores: str
    classes: str | None = None
    form: str = CORNERS
    background: bool = False
    overlap: float | None = OVERLAP
    least_score: float = LEAST_SCORE

    @property
    def names(self) -> tuple[str, ...]:
        return (self.boxes, self.scores, *([self.classes] if self.classes is not None else []))


def mean_average_precision_of(
    outputs: BoxOutputs, module: Module, labels: Array | None, place: Span, metric_place: Span
) -> MeanAveragePrecision:
    """The metric of a model's outputs. `place` is where the data are named, `metric_place` where the outputs are.
    Raises CompileError with every fault."""
    faults = [
        Diagnostic(f"{name[:80]!r} is no output", metric_place, closest(name, module.outputs))
        for name in outputs.names
        if name not in module.outputs
    ]
    if labels is None:
        faults.append(Diagnostic("metric `map` needs labels, and the data have none", place, _LABELS))
    if faults:
        raise CompileError(faults)
    assert labels is not None
    tensors = {name: module.tensor(name) for name in outputs.names}
    faults = list(_shape_faults(outputs, tensors, metric_place))
    count = (tensors[outputs.scores].shape or (0,))[-1] if outputs.classes is None else None
    faults += _label_faults(labels, count, place)
    if faults:
        raise CompileError(faults)
    return MeanAveragePrecision(decoding(outputs, tensors), objects_of(labels))


def decoding(outputs: BoxOutputs, tensors: Mapping[str, Tensor]) -> Decode:
    """From a model's outputs to the detections of each sample."""
    read = _raw if outputs.classes is None else _decided

    def decode(found: Mapping[str, Array]) -> Sequence[Detections]:
        real = [real_values(tensors[name], found[name]) for name in outputs.names]
        return [read(outputs, *each) for each in zip(*real, strict=True)]

    return decode


def _raw(outputs: BoxOutputs, boxes: Array, scores: Array, _classes: Array | None = None) -> Detections:
    least = int(outputs.background)
    place, which = np.nonzero(scores[:, least:] >= outputs.least_score)
    return _chosen(outputs, boxes[place], which + least, scores[place, which + least])


def _decided(outputs: BoxOutputs, boxes: Array, scores: Array, classes: Array) -> Detections:
    enough = scores >= outputs.least_score
    if outputs.background:
        enough &= np.round(classes) != 0
    return _chosen(outputs, boxes[enough], np.round(classes[enough]).astype(np.int64), scores[enough])


def _chosen(outputs: BoxOutputs, boxes: Array, classes: Array, scores: Array) -> Detections:
    found = Detections(corners(boxes, outputs.form), classes, scores)
    return found if outputs.overlap is None else suppressed(found, outputs.overlap, outputs.least_score)


def corners(boxes: Array, form: str) -> NDArray[np.float64]:
    """Boxes [n, 4] as left, top, right, bottom."""
    real = boxes.astype(np.float64)
    if form == CORNERS_YX:
        return real[:, [1, 0, 3, 2]]
    if form == CENTRE:
        half = real[:, 2:] / 2
        return np.concatenate([real[:, :2] - half, real[:, :2] + half], axis=1)
    return real


def objects_of(labels: Array) -> list[Objects]:
    """Labels [samples, objects, 5 or 6] image by image."""
    found = []
    for rows in labels:
        real = rows[rows[:, 4] != _NO_OBJECT]
        crowds = real[:, 5] != 0 if labels.shape[2] > 5 else np.zeros(len(real), bool)
        found.append(Objects(real[:, :4].astype(np.float64), real[:, 4].astype(np.int64), crowds))
    return found


_LABELS = "[samples, objects, 5 or 6]: left, top, right, bottom, class, 1 for a crowd; class -1: no object"


def _shape_faults(outputs: BoxOutputs, tensors: Mapping[str, Tensor], place: Span) -> list[Diagnostic]:
    faults = []
    for name, tensor in tensors.items():
        if not isinstance(tensor.type, ElementType) or tensor.shape is None:
            faults.append(Diagnostic(f"output {name!r} is of type {tensor.type}, which is no number", place))
    if faults:
        return faults
    shapes = {name: list(tensor.shape or ()) for name, tensor in tensors.items()}
    boxes = shapes[outputs.boxes]
    if len(boxes) != 3 or boxes[2] != 4:
        help = "[samples, boxes, 4]"
        return [Diagnostic(f"output {outputs.boxes!r} of shape {boxes} holds no boxes", place, help)]
    raw = outputs.classes is None
    wanted = {outputs.scores: [*boxes[:2], "classes"] if raw else boxes[:2]}
    wanted |= {} if outputs.classes is None else {outputs.classes: boxes[:2]}
    for name, legal in wanted.items():
        if len(shapes[name]) != len(legal) or shapes[name][:2] != boxes[:2]:
            shown = ", ".join(map(str, legal))
            help = f"[{shown}]" + ("; with `classes: NAME` the scores are of one class a box" if raw else "")
            message = f"output {name!r} of shape {shapes[name]} does not go with boxes of {boxes}"
            faults.append(Diagnostic(message, place, help))
    return faults


def _label_faults(labels: Array, classes: int | None, place: Span) -> list[Diagnostic]:
    if labels.ndim != 3 or labels.shape[2] not in (5, 6):
        return [Diagnostic(f"labels have shape {list(labels.shape)}", place, _LABELS)]
    named = labels[..., 4]
    real = named != _NO_OBJECT
    tests: list[tuple[Callable[[], bool], str, str]] = [
        (lambda: bool((named != np.round(named)).any() or (named < _NO_OBJECT).any()), "of classes", "whole numbers"),
        (lambda: bool((labels[..., :2] > labels[..., 2:4])[real].any()), "of boxes", "left <= right, top <= bottom"),
    ]
    faults = [Diagnostic(f"labels hold what is none {what}", place, help) for wrong, what, help in tests if wrong()]
    if classes is not None and real.any() and named.max() >= classes:
        message = f"labels reach to class {named.max():g}; the scores are of {classes} classes"
        faults.append(Diagnostic(message, place, f"0 to {classes - 1}"))
    counted = real & (labels[..., 5] == 0) if labels.shape[2] > 5 else real
    if not counted.any():
        faults.append(Diagnostic("no object is labelled in these samples", place, _LABELS))
    return faults
