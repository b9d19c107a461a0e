"""The row-stationary study: passes are legal, traffic is what follows from them, and rows lie where they are."""

from __future__ import annotations

import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.validate.networks import Conv
from dnnc.validate.row import Verdict
from dnnc.validate.row_stationary import BATCH, best_pass, layer_cost, rows, spad_accesses, study_machine
from dnnc.validate.row_stationary_pass import Pass, pass_tree, sets_fit, stored_workload

CONV1 = Conv("conv1", 3, 227, 227, 96, 11, 4)
CONV3 = Conv("conv3", 256, 13, 13, 384, 3, 1, 1)
FC3 = Conv("fc3", 4096, 1, 1, 1000, 1)


@pytest.mark.parametrize("layer", [pytest.param(each, id=each.name) for each in (CONV1, CONV3, FC3)])
def test_chosen_passes_are_legal(layer: Conv) -> None:
    machine = study_machine()
    workload = stored_workload(layer, BATCH)
    tree = pass_tree(workload, machine, best_pass(layer, machine))
    assert not list(loop_tree_faults(workload, machine, tree))


def test_main_memory_of_a_layer() -> None:
    """conv3 with 64 outputs and 4 images in the buffer: 16 images of 15 x 15 x 256 come for each of 6 groups of
    outputs, 3 x 3 x 256 x 384 weights for each of 4 groups of images, and 13 x 13 x 384 x 16 outputs leave once."""
    machine = study_machine()
    workload = stored_workload(CONV3, BATCH)
    costed = cost(workload, machine, pass_tree(workload, machine, Pass(64, 4, 13, 16, 4, 1, 4)))
    words = 16 * 15 * 15 * 256 * 6 + 9 * 256 * 384 * 4 + 13 * 13 * 384 * 16
    assert costed.energy_pj["dram"] == 200 * words
    assert costed.energy_pj["mac"] == 13 * 13 * 384 * 16 * 9 * 256


def test_register_files_are_accessed_four_times_a_product() -> None:
    costed = layer_cost(FC3)
    assert spad_accesses(costed) == 4 * 16 * 4096 * 1000


def test_sets_on_an_array() -> None:
    (array,) = study_machine().fanouts
    assert sets_fit(array, 16, 5, 3) and not sets_fit(array, 16, 5, 4)  # above one another
    assert sets_fit(array, 7, 11, 2) and not sets_fit(array, 7, 11, 3)  # side by side
    assert sets_fit(array, 27, 5, 1) and not sets_fit(array, 27, 5, 2)  # in two parts


def test_multipliers_and_register_files_are_theirs_and_most_of_main_memory() -> None:
    found = list(rows(None))
    assert {row.verdict for row in found if row.quantity != "main memory"} == {Verdict.WITHIN}
    memory = [row for row in found if row.quantity == "main memory"]
    explained = [row.case.split()[1] for row in memory if row.verdict is Verdict.EXPLAINED]
    assert len(memory) == 8
    assert explained == ["fc1,"]
