"""Which samples are taken: subsets with every class; halves to tune by and to report."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.diagnostics import CompileError, Diagnostic
from .samples import Samples

Array = NDArray[Any]
Indices = NDArray[np.int64]


def subset(samples: Samples, count: int, seed: int) -> Indices:
    """`count` samples (all, where there are no more), drawn by `seed`, in the order of the data. Of labels
    that are classes each class has as many as any other, or one more, as long as it has samples left. Raises
    CompileError where there are more classes than samples asked for."""
    total = len(samples.x)
    if count < 1:
        raise CompileError(Diagnostic(f"a subset of {count} samples", samples.place, "at least 1"))
    rng = np.random.default_rng([seed, 0])
    labels = classes_of(samples)
    if count >= total:
        return np.arange(total)
    if labels is None:
        return np.sort(rng.permutation(total)[:count])
    present = np.unique(labels)
    if count < len(present):
        message = f"a subset of {count} samples cannot have all {len(present)} classes"
        raise CompileError(Diagnostic(message, samples.place, f"at least {len(present)}"))
    return np.sort(_dealt(labels, rng)[:count])


def halves(samples: Samples, seed: int) -> tuple[Indices, Indices]:
    """Two halves without a common sample, each with half of every class: one to tune by, the other to report."""
    rng = np.random.default_rng([seed])
    labels = classes_of(samples)
    order = rng.permutation(len(samples.x)) if labels is None else _by_class(labels, rng)
    return np.sort(order[::2]), np.sort(order[1::2])


def classes_of(samples: Samples) -> Array | None:
    """The class of each sample; None where there are no labels, or labels that are no class of a sample (maps)."""
    return samples.labels if samples.labels is not None and samples.labels.ndim == 1 else None


def _by_class(labels: Array, rng: np.random.Generator) -> Indices:
    """All samples, class by class, each shuffled."""
    shuffled = rng.permutation(len(labels))
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _dealt(labels: Array, rng: np.random.Generator) -> Indices:
    """All samples in rounds: first one of each class, then another of each, in an order drawn for each round."""
    order = _by_class(labels, rng)
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(starts, counts)
    return order[np.lexsort((rng.permutation(len(order)), turn))]
