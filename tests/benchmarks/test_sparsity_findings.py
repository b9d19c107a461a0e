"""What the benchmark finds thresholds by, and the two orders of columns that it compares, against plain loops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from dnnc.benchmarks.sparsity_findings import Search, Way, matrices
from dnnc.explore.judge import OpenedJudge
from dnnc.explore.problem import Candidate
from dnnc.ir.graph import Node
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), st.integers(1, 3), st.integers(2, 3))
def test_windows_in_both_orders(channels: int, stride: int, pad: int, rows: int, columns: int) -> None:
    x = np.arange(2 * channels * 5 * 6).reshape(2, channels, 5, 6)
    node = Node("conv", "conv", ("x", "w"), ("y",), (("strides", (stride, 1)), ("pads", (pad, 0, 1, pad))))
    found = matrices(x, node, (rows, columns), -1)
    high, wide = (5 + pad + 1 - rows) // stride + 1, 6 + pad - columns + 1
    for sample in range(2):
        for pixel in range(high * wide):
            top, left = pixel // wide * stride - pad, pixel % wide
            for channel in range(channels):
                for tap in range(rows * columns):
                    row, column = top + tap // columns, left + tap % columns
                    inside = 0 <= row < 5 and 0 <= column < 6
                    expected = x[sample, channel, row, column] if inside else -1
                    assert found["tap by tap"][sample, pixel, tap * channels + channel] == expected
                    assert found["channel by channel"][sample, pixel, channel * rows * columns + tap] == expected
    assert found["1x1"].shape == (2, 30, channels)
    assert (found["1x1"][:, 7, :] == x[:, :, 1, 1]).all()


@given(st.floats(0.02, 50.0), st.floats(0.5, 5.0))
def test_the_threshold_within_a_budget(cliff: float, budget: float) -> None:
    """Accuracy falls by a tenth at a cliff, and blocks grow with the threshold: what is found lies closely below it."""
    asked: list[float] = []

    class Staged(Search):
        def lost(self, threshold: float) -> float:
            asked.append(threshold)
            self.tried[threshold] = {"created_percent": threshold, "accuracy": 0.0}
            return 10.0 if threshold > cliff else 0.0

    nothing = cast(Any, SimpleNamespace())
    search = Staged(cast(OpenedJudge, nothing), cast(Candidate, nothing), Way("4x4", "m", "c", ()), 1.0)
    found = search.best(budget)
    assert cliff / 2 ** (1 / 16) <= found <= cliff
    assert len(asked) < 60
