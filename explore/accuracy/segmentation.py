"""Metrics of models that give every pixel a class: pixel accuracy and mean intersection over union.

Both come from one table of counts, truth by prediction, over all pixels of all samples (Everingham et al., The Pascal
visual object classes challenge: a retrospective, IJCV 2015, section 3.4, and Long et al., CVPR 2015, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass

Array = NDArray[Any]
UNLABELLED = 255  # the class of pixels that do not count


def predicted_classes(output: Array, labels: Array) -> Array:
    """The class of each pixel: of scores [samples, classes, ...] the one that scores most, the first of equal ones;
    classes themselves (integers in the shape of the labels) as they are."""
    if output.shape == labels.shape and output.dtype.kind in "iu":
        return output
    return np.asarray(output.argmax(axis=1))


def confusion(labels: Array, predicted: Array, classes: int) -> NDArray[np.int64]:
    """How many pixels of each class [row] were taken for each class [column]; pixels without a label do not count."""
    counted = labels != UNLABELLED
    pairs = labels[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True, slots=True)
class PixelAccuracy:
    """The part of labelled pixels that get their class. `labels` [samples, height, width] holds classes below
    `classes`, and UNLABELLED."""

    output: str
    labels: Array
    classes: int

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        table = confusion(self.labels, predicted_classes(outputs[self.output], self.labels), self.classes)
        return float(np.trace(table) / max(1, table.sum()))


@dataclass(frozen=True, slots=True)
class MeanIou:
    """Intersection over union of the pixels that have a class and those that get it, the mean over classes; one that no
    pixel has and none gets is left out. 0 where no pixel is labelled."""

    output: str
    labels: Array
    classes: int

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        table = confusion(self.labels, predicted_classes(outputs[self.output], self.labels), self.classes)
        both = np.diagonal(table)
        either = table.sum(axis=0) + table.sum(axis=1) - both
        seen = either > 0
        return float((both[seen] / either[seen]).mean()) if seen.any() else 0.0
