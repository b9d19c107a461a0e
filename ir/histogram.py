"""Ranges from values that are seen once, batch by batch: the extremes, and a histogram whose span grows as needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096
# Candidate thresholds of the entropy method are this many bins apart, from as many bins as there are levels on.
_ENTROPY_BINS = 2048
_ENTROPY_STEP = 16
# Candidate ends of the mean-square method are this part of the extreme apart, from LEAST_PART of it on, which is less
# where a code has few bits: then more is cut off.
PARTS = 100
_LEAST_PART = 20
_LEAST_PART_OF_FEW = 5
FEW_BITS = 8  # fewer than these

Range = tuple[float, float]


def _counts() -> NDArray[np.int64]:
    return np.zeros(BINS, np.int64)


@dataclass
class Histogram:
    """Magnitudes in [0, span) in BINS equal bins, negative and other values apart.
    Non-finite values are counted and left out.

    `span` doubles, and neighbouring bins merge, when a larger value comes: at least half of the bins are in use.
    """

    minimum: float = float("inf")
    maximum: float = float("-inf")
    span: float = 0.0
    non_finite: int = 0
    negative: NDArray[np.int64] = field(default_factory=_counts)
    positive: NDArray[np.int64] = field(default_factory=_counts)

    def add(self, values: NDArray[Any], *, bins: bool) -> None:
        """Take in `values`; with `bins`, in the histogram, too."""
        flat = np.asarray(values, np.float32).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = flat[np.isfinite(flat)]
            self.non_finite += flat.size - finite.size
            flat = finite
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
    def ends(self) -> tuple[float, float, float, int]:
        """The fields before the bins."""
        return self.minimum, self.maximum, self.span, self.non_finite

    @property
    def empty(self) -> bool:
        return self.minimum > self.maximum

    def range_for(self, method: str, bits: int, symmetric: bool = False) -> Range:
        """The ends that one of ir.precision.METHODS finds for codes of so many bits; `symmetric` ones have the zero
        point 0."""
        kind, _, percent = method.partition(":")
        if kind == "percentile":
            return self.percentile(float(percent or 99.99))
        if kind == "entropy":
            return self.entropy(bits)
        return self.mean_square(bits, symmetric) if kind == "mse" else self.extremes()

    def extremes(self) -> Range:
        return (0.0, 0.0) if self.empty else (self.minimum, self.maximum)

    def percentile(self, percent: float) -> Range:
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

    def entropy(self, bits: int = 8) -> Range:
        """The symmetric threshold whose distribution, quantised to so many bits, is nearest to the seen one in
        Kullback-Leibler divergence, cut to the extremes; these themselves where a code has more levels than there are
        bins in use. (Migacz, 8-bit inference with TensorRT, GTC 2017.)"""
        if self.empty:
            return 0.0, 0.0
        counts = (self.negative + self.positive).reshape(_ENTROPY_BINS, -1).sum(axis=1).astype(np.float64)
        counts[0] = counts[1]  # zeros are exact at every threshold
        levels = 1 << (bits - 1 if self.minimum < 0 else bits)
        used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
        if used <= levels:
            return self.extremes()
        candidates = [*range(levels, used, _ENTROPY_STEP), used]
        divergences = [_divergence(counts, candidate, levels) for candidate in candidates]
        threshold = candidates[int(np.argmin(divergences))] * self.span / _ENTROPY_BINS
        return max(self.minimum, -threshold), min(self.maximum, threshold)

    def mean_square(self, bits: int = 8, symmetric: bool = False) -> Range:
        """The range whose codes of so many bits have the least mean square error, rounding and clipping together.

        An end is a multiple of a hundredth of its extreme; each end in turn takes its best place, until neither moves.
        Of `symmetric` codes both ends are one multiple of the greatest magnitude. (As Choukroun et al., Low-bit
        quantization of neural networks for efficient inference, ICCVW 2019.)
        """
        low, high = min(self.extremes()[0], 0.0), max(self.extremes()[1], 0.0)
        if low == high:
            return self.extremes()
        centres = (np.arange(BINS) + 0.5) * (self.span / BINS)
        seen, below = self.positive > 0, self.negative > 0
        values = np.concatenate([-centres[below][::-1], centres[seen]])
        counts = np.concatenate([self.negative[below][::-1], self.positive[seen]])
        least = _LEAST_PART if bits >= FEW_BITS else _LEAST_PART_OF_FEW
        parts = [part / PARTS for part in range(least, PARTS + 1)]
        if symmetric:
            reach = max(-low, high)
            ends = [(-reach * part if low < 0 else 0.0, reach * part) for part in parts]
            errors = [square_error(values, counts, *each, bits, symmetric) for each in ends]
            return ends[int(np.argmin(errors))]
        lows, highs = [low * part for part in parts], [high * part for part in parts]
        best = square_error(values, counts, low, high, bits)
        while True:
            moved = False
            for ends in ([(each, high) for each in lows], [(low, each) for each in highs]):
                errors = [square_error(values, counts, *each, bits) for each in ends]
                first = int(np.argmin(errors))
                if errors[first] < best:
                    low, high = ends[first]
                    moved, best = True, errors[first]
            if not moved:
                return low, high


def square_error(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    low: float,
    high: float,
    bits: int = 8,
    symmetric: bool = False,
) -> float:
    """Sum of the square errors of `values`, each `counts` times, at the codes from `low` to `high`, 0 among them.
    Symmetric codes of negative values leave the least one out, so that the greatest magnitude is `high`."""
    most = (1 << bits) - 1
    if symmetric and low < 0:
        most -= 1
    scale = (high - low) / most
    zero_point = round(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, most)
    errors = (codes - zero_point) * scale - values
    return float(counts @ (errors * errors))


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
