"""Gemmini's arrays are those that are bundled, and its own mapping is a legal one."""

from __future__ import annotations

import pytest
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.diagnostics import OurBug
from dnnc.validate.gemmini_mapping import best, gemmini, own, rtl_cycles
from dnnc.validate.networks import Conv


@pytest.mark.parametrize("side", [16, 32])
def test_the_machines_are_the_bundled_ones(side: int) -> None:
    bundled, made = load_arch(f"gemmini{side}"), gemmini(side)
    for part in ("array", "memories", "dma", "queues", "vector", "post", "host", "clock_hz"):
        assert getattr(made, part) == getattr(bundled, part), part


def test_no_mapping_of_gemminis_is_faster_than_the_best_one() -> None:
    layer, machine = Conv("", 64, 28, 28, 64, 3, 1, 1), gemmini(16)
    assert best(layer, machine) <= own(layer, machine)


def test_three_input_channels_use_three_rows_of_the_array() -> None:
    """Gemmini's mapping: a tap and a block of columns at a time, 112 x 112 pixels through each of 49 x 4 of them."""
    first = Conv("", 3, 224, 224, 64, 7, 2, 3)
    assert own(first, gemmini(16)) > 49 * 4 * 112 * 112
    assert best(first, gemmini(16)) < 0.25 * 49 * 4 * 112 * 112


def test_loops_of_the_rtl_are_slower_than_its_array_alone() -> None:
    """64 channels to 64 by a 3x3 kernel: 9 taps, 4 x 4 blocks of 16 channels, 28 x 28 pixels through each."""
    layer = Conv("", 64, 28, 28, 64, 3, 1, 1)
    assert 9 * 16 * 28 * 28 < rtl_cycles(layer, gemmini(16)) < 3 * 9 * 16 * 28 * 28
    with pytest.raises(OurBug, match="Gemmini's default"):
        rtl_cycles(layer, gemmini(32))
