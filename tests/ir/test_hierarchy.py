"""Arithmetic of machines with levels inside the array that all who count share."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from random import Random

import pytest
from dnnc.ir.hierarchy import FASTEST_RATE, SLOWEST_RATE, cycles_at


@pytest.mark.parametrize(
    ("words", "rate", "cycles"),
    [
        (7, None, 0),
        (0, 0.5, 0),
        (7, 2.0, 4),
        (3, 0.3, 10),
        (10, 0.1, 100),
        (10**18, 1.0, 10**18),
        (10**18 + 1, 1.0, 10**18 + 1),  # a double would lose the one
        (10**18, SLOWEST_RATE, 10**24),
        (10**18 + 1, FASTEST_RATE, 10**9 + 1),
        (3 * 10**17, 0.3, 10**18),
        (10**400, 4.0, 10**400 // 4),
    ],
)
def test_cycles_at_a_rate(words: int, rate: float | None, cycles: int) -> None:
    assert cycles_at(words, rate) == cycles


def test_more_words_never_take_less_time() -> None:
    """Across the border of what doubles hold, too; and never a cycle off the fraction."""
    rng = Random(1)
    for _ in range(2000):
        rate = rng.choice((0.1, 0.3, 0.7, 1 / 3, 1.0, 2.5, SLOWEST_RATE, FASTEST_RATE))
        words = max(0, rng.choice((2**53, int(2**53 * min(rate, 1.0)), 10**18)) + rng.randint(-50, 50))
        assert cycles_at(words, rate) <= cycles_at(words + 1, rate)
        assert abs(cycles_at(words, rate) - ceil(words / Fraction(repr(rate)))) <= 1
