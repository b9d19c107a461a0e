"""Mean average precision of detectors as COCO defines it: mAP(0.5:0.95).

For each class and each threshold of intersection over union (0.50, 0.55, ..., 0.95), the detections of all images, best
score first, at most 100 an image, are matched greedily: each takes the object of its class and image that it overlaps
most of those that are free and that it overlaps by at least the threshold. Precision, made non-increasing from the end,
is read at 101 recalls (0, 0.01, ..., 1); its mean is the average precision, and the mean over thresholds and classes
that have objects is the metric. Crowds take any number of detections, which then do not count, and are not to be found
themselves. (Lin et al., Microsoft COCO, ECCV 2014; the reference is cocoapi's `COCOeval`, area `all`.) What a model's
outputs say of boxes: boxes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass

Array = NDArray[Any]
THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10))
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_DETECTIONS = 100  # of an image and a class


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of an image: boxes [n, 4] (left, top, right, bottom), classes [n], and which of them are crowds."""

    boxes: Array
    classes: Array
    crowds: Array


@dataclass(frozen=True, slots=True)
class Detections:
    """What a model finds in an image: boxes [n, 4] as of `Objects`, classes [n], scores [n]."""

    boxes: Array
    classes: Array
    scores: Array


Decode = Callable[[Mapping[str, Array]], Sequence[Detections]]


@dataclass(frozen=True, slots=True)
class MeanAveragePrecision:
    """mAP over `thresholds` of what `decode` makes of the outputs, an image a sample. NaN where nothing is labelled."""

    decode: Decode
    truth: Sequence[Objects]
    thresholds: tuple[float, ...] = THRESHOLDS

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        return mean_average_precision(self.decode(outputs), self.truth, self.thresholds)


def mean_average_precision(
    found: Sequence[Detections], truth: Sequence[Objects], thresholds: Sequence[float] = THRESHOLDS
) -> float:
    """The metric of detections and objects, image by image. NaN where there are no objects but crowds."""
    classes = sorted({int(each) for image in truth for each in image.classes[~image.crowds]})
    precisions = [average_precision(found, truth, each, threshold) for each in classes for threshold in thresholds]
    return float(np.mean(precisions)) if precisions else float("nan")


def average_precision(found: Sequence[Detections], truth: Sequence[Objects], which: int, threshold: float) -> float:
    """The average precision of one class at one threshold. NaN where it has no objects but crowds."""
    scores, hits, ignored, objects = [], [], [], 0
    for image, objects_of in zip(found, truth, strict=True):
        mine = np.flatnonzero(image.classes == which)
        best = mine[np.argsort(-image.scores[mine], kind="stable")][:MOST_DETECTIONS]
        own = objects_of.classes == which
        hit, skipped = matched(image.boxes[best], objects_of.boxes[own], objects_of.crowds[own], threshold)
        scores.append(image.scores[best])
        hits.append(hit)
        ignored.append(skipped)
        objects += int((~objects_of.crowds[own]).sum())
    if not objects:
        return float("nan")
    counted = ~np.concatenate(ignored)
    order = np.argsort(-np.concatenate(scores)[counted], kind="stable")
    right = np.concatenate(hits)[counted][order].cumsum()
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(right / objects, RECALLS, side="left")
    reached = places < len(right)
    return float(np.where(reached, envelope[np.minimum(places, len(right) - 1)], 0.0).mean()) if len(right) else 0.0


def matched(boxes: Array, objects: Array, crowds: Array, threshold: float) -> tuple[Array, Array]:
    """Of the detections of one class in one image, best first: which are right, and which do not count."""
    hit, skipped = np.zeros(len(boxes), bool), np.zeros(len(boxes), bool)
    overlaps = overlap(boxes, objects, crowds)
    free = np.ones(len(objects), bool)
    for number, row in enumerate(overlaps):
        single = np.where(free & ~crowds & (row >= min(threshold, 1 - 1e-10)), row, -1.0)
        # Of equal overlaps the last object is taken, as the reference does.
        if len(row) and single.max() >= 0:
            free[len(row) - 1 - int(single[::-1].argmax())] = False
            hit[number] = True
        elif (crowds & (row >= min(threshold, 1 - 1e-10))).any():
            skipped[number] = True
    return hit, skipped


def overlap(boxes: Array, objects: Array, crowds: Array) -> NDArray[np.float64]:
    """Intersection over union of each box with each object [boxes, objects]; with a crowd, over the area of the box."""
    a, b = boxes.astype(np.float64)[:, None], objects.astype(np.float64)[None]
    sides = np.maximum(0.0, np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]))
    shared = sides.prod(axis=-1)
    area_a, area_b = ((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (a, b))
    whole = np.where(crowds[None], area_a, area_a + area_b - shared)
    overlaps: Array = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return overlaps


def suppressed(found: Detections, threshold: float, least_score: float = 0.0) -> Detections:
    """The best MOST_DETECTIONS of each class, without those that score less than `least_score` or overlap a better one
    of their class by more than `threshold` (greedy non-maximum suppression), best first. Of n detections it takes n
    steps for each one that is kept, and no more memory than they do."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= least_score]
    kept: list[int] = []
    for which in np.unique(found.classes[order]):
        left = order[found.classes[order] == which]
        for _ in range(MOST_DETECTIONS):
            if not len(left):
                break
            kept.append(int(left[0]))
            shared = overlap(found.boxes[left[:1]], found.boxes[left], np.zeros(len(left), bool))[0]
            shared[0] = np.inf  # itself
            left = left[~(shared > threshold)]
    ranks = np.empty(len(found.scores), np.int64)
    ranks[order] = np.arange(len(order))
    chosen = np.array(sorted(kept, key=ranks.__getitem__), np.int64)
    return Detections(found.boxes[chosen], found.classes[chosen], found.scores[chosen])
