"""Nests of shapes: they are legal, and what is said of their commands is what the definitions say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.backends.cost.nest import cost_nest
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.nest import Dataflow
from dnnc.validate.nests import blocks, compute_cycles, conv_nest, im2col_nest, product_nest, scheduled, with_array
from dnnc.validate.networks import Conv
from dnnc.validate.row import Verdict
from dnnc.validate.scalesim import fold_cycles, rows

MACHINE = with_array(load_arch("gemmini16"), 4, 3)


def test_a_convolution_has_the_points_of_its_matrix_of_windows() -> None:
    layer = Conv("c", 3, 9, 7, 5, 3, 2, 1)
    direct, windows = conv_nest(layer), im2col_nest(layer)
    extents = [dim.extent for dim in direct.domain]
    assert (layer.p, layer.q) == (5, 4)
    assert extents == [5, 5, 4, 3, 3, 3]
    assert [windows.extent(dim) for dim in ("p", "k", "m")] == [20, 27, 5]


@pytest.mark.parametrize(("dataflow", "count"), [(Dataflow.WS, 3 * 3), (Dataflow.OS, 2 * 3), (Dataflow.IS, 3 * 2)])
def test_blocks_of_the_stationary_operand(dataflow: Dataflow, count: int) -> None:
    """On 4 rows and 3 columns: 9 to sum over are 3 blocks of rows, 7 columns are 3, 5 points 2 of either."""
    assert blocks(product_nest(5, 9, 7), MACHINE, dataflow) == count


@pytest.mark.parametrize("dataflow", [Dataflow.WS, Dataflow.OS, Dataflow.IS])
def test_cycles_of_one_fold_are_those_of_the_page(dataflow: Dataflow) -> None:
    """specs/isa.md, section 3, for a product that fills the array once and streams 10."""
    streamed = {Dataflow.WS: (10, 4, 3), Dataflow.OS: (4, 10, 3), Dataflow.IS: (3, 4, 10)}[dataflow]
    nest = scheduled(product_nest(*streamed), MACHINE, dataflow)
    rows_, cols = 4, 3
    if dataflow is Dataflow.OS:
        assert compute_cycles(nest, MACHINE) == (10, 2 * rows_ + cols - 1)
    else:
        assert compute_cycles(nest, MACHINE) == (rows_ + 10, rows_ + cols - 1)


@pytest.mark.parametrize("dataflow", [Dataflow.WS, Dataflow.OS, Dataflow.IS])
def test_cycles_are_those_of_the_cost_model(dataflow: Dataflow) -> None:
    """What the array could do in that time is `macs_issued`."""
    nest = scheduled(product_nest(13, 9, 7), MACHINE, dataflow, (("m", 3), ("k", 4)))
    duration, _ = compute_cycles(nest, MACHINE)
    assert cost_nest(nest, MACHINE).macs_issued == 4 * 3 * duration


@pytest.mark.parametrize("dataflow", [Dataflow.WS, Dataflow.OS, Dataflow.IS])
def test_folds_at_the_edges_are_whole(dataflow: Dataflow) -> None:
    sides = {Dataflow.WS: (40, 13, 10), Dataflow.OS: (13, 40, 10), Dataflow.IS: (10, 13, 40)}[dataflow]
    whole = {Dataflow.WS: (40, 16, 12), Dataflow.OS: (16, 40, 12), Dataflow.IS: (12, 16, 40)}[dataflow]
    assert fold_cycles(dataflow, 4, 3, *sides) == fold_cycles(dataflow, 4, 3, *whole)
    assert fold_cycles(dataflow, 4, 3, *sides)[2] == 16


def test_one_cycle_more_or_less_is_no_cycle_count_of_theirs() -> None:
    for row in rows(None):
        assert row.ours is not None
        assert replace(row, ours=row.ours + 1).verdict is Verdict.OUTSIDE, row
        if row.verdict is Verdict.EQUAL:
            assert replace(row, ours=row.ours - 1).verdict is Verdict.OUTSIDE, row
