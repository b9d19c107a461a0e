"""Utilization: of the unit that computes, at most all of it; products that are skipped use none."""

from __future__ import annotations

from dataclasses import replace

from dnnc.driver.stats import document
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.stats import LayerCounts


def test_utilization_is_of_the_unit_that_computes() -> None:
    arch = load_arch("sparse_blox16")  # 16 lanes
    arch = replace(arch, array=replace(arch.array, rows=2, cols=2))
    layers = [
        LayerCounts("array", "conv", "accelerator", "ws", macs=40, macs_skipped=20, cycles=10),
        LayerCounts("vector", "conv", "accelerator", macs=160, cycles=10),
        LayerCounts("host", "softmax", "host", cycles=5),
    ]
    stats = document("run", "m", arch, 1, layers, [{}, {}, {}], ())
    assert [each["utilization"] for each in stats["layers"]] == [20 / (2 * 2 * 10), 160 / (16 * 10), 0]
    assert stats["total"]["utilization"] == 20 / (2 * 2 * 25)
