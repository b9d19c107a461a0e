"""Ranges from values that are seen once, batch by batch: the extremes, and a histogram whose span grows as needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096
# Candidate thresholds of the entropy method are this many bins apart, from LEVELS bins on.
_ENTROPY_BINS = 2048
_ENTROPY_STEP = 16
LEVELS = 128


def _counts() -> NDArray[np.int64]:
    return np.zeros(BINS, np.int64)


@dataclass
class Histogram:
    """Magnitudes in [0, span) in BINS equal bins, negative and other values apart. Non-finite values are left out.

    `span` doubles, and neighbouring bins merge, when a larger value comes: at least half of the bins are in use.
    """

    minimum: float = float("inf")
    maximum: float = float("-inf")
    span: float = 0.0
    negative: NDArray[np.int64] = field(default_factory=_counts)
    positive: NDArray[np.int64] = field(default_factory=_counts)

    def add(self, values: NDArray[Any], *, bins: bool) -> None:
        """Take in `values`; with `bins`, in the histogram, too."""
        flat = np.asarray(values, np.float32).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            flat = flat[np.isfinite(flat)]
            if not flat.size:
                return
            low, high = float(flat.min()), float(flat.max())
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        if bins:
            self._grow(max(-low, high))
            magnitudes = np.abs(flat) * np.float64(BINS / self.span)
            places = np.minimum(magnitudes.astype(np.int64), BINS - 1)
            below = flat < 0
            self.negative += np.bincount(places[below], minlength=BINS)
            self.positive += np.bincount(places[~below], minlength=BINS)

    def _grow(self, magnitude: float) -> None:
        if self.span == 0.0:
            self.span = magnitude if magnitude > 0 else 1e-30
        while magnitude > self.span:
            self.span *= 2
            for counts in (self.negative, self.positive):
                merged = counts.reshape(-1, 2).sum(axis=1)
                counts[: BINS // 2], counts[BINS // 2 :] = merged, 0

    @property
    def empty(self) -> bool:
        return self.minimum > self.maximum

    def extremes(self) -> tuple[float, float]:
        return (0.0, 0.0) if self.empty else (self.minimum, self.maximum)

    def percentile(self, percent: float) -> tuple[float, float]:
        """The narrowest range that leaves out at most half of the rest at either end, to the width of a bin."""
        if self.empty:
            return 0.0, 0.0
        counts = np.concatenate([self.negative[::-1], self.positive])
        edges = np.linspace(-self.span, self.span, 2 * BINS + 1)
        below = np.cumsum(counts)
        outside = below[-1] * (1 - percent / 100) / 2
        first = int(np.searchsorted(below, outside, side="right"))
        last = int(np.searchsorted(below, below[-1] - outside, side="left"))
        low = max(self.minimum, float(edges[min(first, 2 * BINS - 1)]))
        high = min(self.maximum, float(edges[min(last, 2 * BINS - 1) + 1]))
        return min(low, high), max(low, high)

    def entropy(self) -> tuple[float, float]:
        """The symmetric threshold whose quantised distribution is nearest to the seen one in Kullback-Leibler
        divergence, cut to the extremes. (Migacz, 8-bit inference with TensorRT, GTC 2017.)"""
        if self.empty:
            return 0.0, 0.0
        counts = (self.negative + self.positive).reshape(_ENTROPY_BINS, -1).sum(axis=1).astype(np.float64)
        counts[0] = counts[1]  # zeros are exact at every threshold
        levels = LEVELS if self.minimum < 0 else 2 * LEVELS
        used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
        if used <= levels:
            return self.extremes()
        candidates = [*range(levels, used, _ENTROPY_STEP), used]
        divergences = [_divergence(counts, candidate, levels) for candidate in candidates]
        threshold = candidates[int(np.argmin(divergences))] * self.span / _ENTROPY_BINS
        return max(self.minimum, -threshold), min(self.maximum, threshold)


def _divergence(counts: NDArray[np.float64], kept: int, levels: int) -> float:
    """Of the first `kept` bins, those beyond clipped onto the last one, from the same bins at `levels` levels."""
    reference = counts[:kept].copy()
    reference[-1] += counts[kept:].sum()
    level = np.arange(kept) * levels // kept
    occupied = counts[:kept] > 0
    mass = np.bincount(level, counts[:kept], levels)
    share = np.bincount(level, occupied, levels)
    spread = np.where(occupied, (mass / np.maximum(share, 1))[level], 0.0)
    if not spread.any():
        return float("inf")
    p, q = reference / reference.sum(), spread / spread.sum()
    seen = p > 0
    q = np.maximum(q, 1e-12)
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))
