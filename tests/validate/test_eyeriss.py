"""Eyeriss: passes are legal mappings, their cycles are what a pass is said to take, and errors stay where they are."""

from __future__ import annotations

import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.validate.eyeriss import Layer, alexnet, best_pass, eyeriss, layer_cost, layer_mapping, rows
from dnnc.validate.networks import Conv
from dnnc.validate.row import Verdict
from dnnc.validate.row_stationary_pass import Pass, pass_tree, stored_workload


@pytest.mark.parametrize("layer", [pytest.param(each, id=each.conv.name) for each in alexnet()])
def test_published_passes_are_legal(layer: Layer) -> None:
    workload, tree = layer_mapping(layer, eyeriss())
    assert not list(loop_tree_faults(workload, eyeriss(), tree))


def test_a_pass_takes_its_steps_and_what_it_waits_for() -> None:
    """conv2, a group: 8 x 24 passes of each of 4 images. A pass has 27 x 5 x 2 x 16 steps; 800 filters come four a
    cycle, 31 rows of 5 x 2 inputs one a cycle; 16 x 27 sums leave four a cycle, after 5 elements in a row have handed
    16 of them on. At the start and the end one word each of inputs, filters and outputs of main memory, and of sums."""
    conv2 = alexnet()[1]
    passes = 8 * 24 * 4
    cycles = layer_cost(conv2, eyeriss()).cycles
    assert cycles.steps == passes * 27 * 5 * 2 * 16
    assert cycles.alternating == passes * (800 // 4 + 31 * 5 * 2 + 16 * 27 // 4 + 5 * 16)
    assert (cycles.fill, cycles.drain) == (2 * 4, 4)  # 0.3 words a cycle
    assert cycles.bound == "mac"


def test_partial_sums_bound_passes_with_few_channels() -> None:
    """One channel a pass: every sum of 9 products leaves over a bus of four a cycle, on which 56 x 56 x 64 of each of
    64 passes take longer than 39 elements need."""
    layer = Conv("one_channel", 64, 56, 56, 64, 3, 1, 1)
    workload = stored_workload(layer, 1)
    tree = pass_tree(workload, eyeriss(), Pass(16, 1, 14, 16, 1, 1, 1))
    cycles = cost(workload, eyeriss(), tree).cycles
    assert dict(cycles.busy)["pe"] == 56 * 56 * 64 * 64 // 4
    assert cycles.steps == 4 * 4 * 64 * 56 * 3 * 16


@pytest.mark.parametrize("side", [14, 28, 224])
def test_chosen_passes_are_legal(side: int) -> None:
    layer = Conv("layer", 64, side, side, 64, 3, 1, 1)
    workload = stored_workload(layer, 3)
    tree = pass_tree(workload, eyeriss(), best_pass(layer, 3, eyeriss()))
    assert not list(loop_tree_faults(workload, eyeriss(), tree))


def test_processing_time_is_within_three_per_cent_and_elements_are_exact() -> None:
    found = list(rows(None))
    times = [row.error for row in found if row.quantity == "processing time"]
    assert len(times) == 5
    assert sum(abs(error) for error in times if error is not None) / 5 <= 0.03
    assert [row.verdict for row in found if row.quantity == "active elements"] == [Verdict.EQUAL] * 5
