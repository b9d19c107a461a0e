"""Metrics of classifiers and of models without labels: what a model's outputs are worth, in one number.

A metric is a function from outputs by name (the first axis counts samples) to a float; of all metrics more is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from ...ir.types import ElementType, Quantization, Tensor
from ...runtime.arithmetic import dequantize, from_container
from ...runtime.graph_interpreter import parameters

Array = NDArray[Any]


def scores_of(output: Array) -> Array:
    """Scores [samples, classes]: the axes behind the first one are all of one position but that of classes."""
    return output.reshape(len(output), -1)


def ranks(scores: Array, labels: Array) -> NDArray[np.int64]:
    """How many classes come before the labelled one in each row: those that score more, and of equal ones (codes often
    are) those with a lower number, as `argmax` has them."""
    rows = np.arange(len(scores))
    own = scores[rows, labels][:, None]
    before = (scores == own) & (np.arange(scores.shape[1]) < labels[:, None])
    return np.asarray(((scores > own) | before).sum(axis=1), np.int64)


@dataclass(frozen=True, slots=True)
class TopK:
    """The part of samples whose label is among the `k` classes that score most."""

    output: str
    labels: Array
    k: int = 1

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        return float((ranks(scores_of(outputs[self.output]), self.labels) < self.k).mean())


@dataclass(frozen=True, slots=True)
class Agreement:
    """The part of samples for which the class that scores most is that of the reference: outputs of the float model."""

    output: str
    reference: Array

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        found, expected = scores_of(outputs[self.output]), scores_of(self.reference)
        return float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())


@dataclass(frozen=True, slots=True)
class Sqnr:
    """The signal-to-quantisation-noise ratio of an output in decibels (`decibels`)."""

    output: str
    reference: Array

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        return decibels(self.reference, outputs[self.output])


def decibels(reference: Array, found: Array) -> float:
    """10 log10(sum of squares of the reference / sum of squares of the difference): infinite where nothing differs,
    minus infinite where the reference is zero throughout and the other is not."""
    signal = float(np.square(reference.astype(np.float64)).sum())
    noise = float(np.square(reference.astype(np.float64) - found.astype(np.float64)).sum())
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def real_values(tensor: Tensor, values: Array) -> Array:
    """The real numbers that values of a tensor stand for (a bf16 comes as float32); the numbers themselves where it has
    no scale."""
    if not isinstance(tensor.type, ElementType) or tensor.type.is_float:
        return values if tensor.type is ElementType.BF16 else from_container(values, ElementType.F32)
    quantization: Quantization | None = tensor.quantization
    return dequantize(values, *parameters(quantization, values.ndim))


def sqnr_by_value(
    tensors: Mapping[str, Tensor], found: Mapping[str, Array], reference: Mapping[str, Array]
) -> dict[str, float]:
    """The ratio in decibels of every value of a quantised module that has a counterpart in the float one. A counterpart
    has the same name, or the name without the type that quantisation appends (`y.i8` is of `y`). `tensors` are those of
    the quantised module."""
    ratios = {}
    for name, values in found.items():
        tensor = tensors[name]
        for known in (name, name.removesuffix(f".{tensor.type}")):
            if known in reference and reference[known].shape == values.shape and reference[known].dtype.kind == "f":
                ratios[name] = decibels(reference[known], real_values(tensor, values))
                break
    return ratios
