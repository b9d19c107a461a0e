"""Block pruning: the numpy model against loops over blocks and elements, as an operator of the graph too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.blocks import CRITERIA, THRESHOLD_LIMIT, BlockTest, block_count, matrices
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from dnnc.ir.verifier import verify
from dnnc.runtime import blocks
from dnnc.runtime.graph_interpreter import run_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blocks import pruned_by_hand
from support.graphs import Graph

SIZES = st.sampled_from([(1, 16), (4, 4), (8, 8), (16, 16), (1, 1), (3, 2), (100, 100)])
TYPES = st.sampled_from([T.I8, T.U8, T.I4, T.U16, T.I16])


@st.composite
def cases(draw: Any) -> tuple[Any, T, int, str, int, int, int]:
    """An array as stored, its type and zero point, a test. Most codes are near the zero point, some blocks are zero."""
    kind = draw(TYPES)
    rank = draw(st.integers(2, 4))
    shape = tuple(draw(st.integers(1, 20 if axis >= rank - 2 else 3)) for axis in range(rank))
    zero_point = draw(st.sampled_from([kind.minimum, 0, 3, kind.maximum]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    wide = rng.integers(kind.minimum, kind.maximum + 1, shape)
    near = np.clip(zero_point + rng.integers(-2, 3, shape), kind.minimum, kind.maximum)
    codes = np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 1.0])), wide, near)
    codes[..., : draw(st.integers(0, shape[-1]))] = zero_point
    rows, cols = draw(SIZES)
    threshold = draw(st.one_of(st.sampled_from([0, 1, 256, 512, THRESHOLD_LIMIT]), st.integers(0, 1 << 17)))
    return codes.astype(kind.container), kind, zero_point, draw(st.sampled_from(CRITERIA)), threshold, rows, cols


@settings(max_examples=200, deadline=None)
@given(case=cases())
def test_the_model_is_what_loops_over_blocks_do(case: Any) -> None:
    codes, _, zero_point, criterion, threshold, rows, cols = case
    test = BlockTest(criterion, threshold, rows, cols)
    expected, count, pruned, zero = pruned_by_hand(codes, zero_point, criterion, threshold, rows, cols)
    matrix = codes.reshape(matrices(codes.shape))
    found = blocks.tested(matrix, zero_point, test)
    assert (found.pruned.size, int(found.pruned.sum()), int(found.zero.sum())) == (count, pruned, zero)
    assert count == block_count(codes.shape, rows, cols)
    left = blocks.pruned(matrix, zero_point, test)
    assert left.dtype == codes.dtype
    assert np.array_equal(left.reshape(codes.shape), expected)


@settings(max_examples=60, deadline=None)
@given(case=cases(), seed=st.integers(0, 99))
def test_the_operator_prunes_the_tensor_as_it_is_stored(case: Any, seed: int) -> None:
    codes, kind, zero_point, criterion, threshold, rows, cols = case
    order = tuple(int(each) for each in np.random.default_rng(seed).permutation(codes.ndim))
    logical = codes.transpose(np.argsort(order))
    graph = pruning(logical.shape, kind, zero_point, order, BlockTest(criterion, threshold, rows, cols))
    module = graph.module(["y"])
    assert verify(module) == []
    (found,) = run_graph(module, {"x": logical}, lambda region, inputs: inputs).values()
    expected = pruned_by_hand(codes, zero_point, criterion, threshold, rows, cols)[0]
    assert np.array_equal(found, expected.transpose(np.argsort(order)))


@pytest.mark.parametrize("criterion", ["abs_sum", "l1_mean", "max_abs"])
def test_a_threshold_of_zero_changes_nothing(criterion: str) -> None:
    codes = np.random.default_rng(0).integers(-2, 3, (2, 9, 10)).astype(np.int8)
    codes[1, :4] = 1
    assert np.array_equal(blocks.pruned(codes, 1, BlockTest(criterion, 0, 4, 4)), codes)
    assert int(blocks.tested(codes, 1, BlockTest(criterion, 0, 4, 4)).pruned.sum()) == 3


def test_sums_cancel() -> None:
    """`sum` and `mean` of signed codes prune blocks that are not zero, `sum` also those that are negative."""
    block = np.array([[[3, -3], [1, -1]]], np.int8)
    assert not blocks.pruned(block, 0, BlockTest("sum", 0, 2, 2)).any()
    assert not blocks.pruned(block, 0, BlockTest("mean", 0, 2, 2)).any()
    assert not blocks.pruned(block - 5, 0, BlockTest("sum", 0, 2, 2)).any()
    assert blocks.pruned(block - 5, 0, BlockTest("mean", 0, 2, 2)).all()


def test_thresholds_are_compared_exactly() -> None:
    """The mean of three codes is 1/3 or 2/3; in 256ths it lies between two whole thresholds."""
    block = np.array([[[1, 0, 0]]], np.int8)
    assert blocks.pruned(block, 0, BlockTest("mean", 85, 1, 3)).any(), "85/256 < 1/3"
    assert not blocks.pruned(block, 0, BlockTest("mean", 86, 1, 3)).any()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_tensors_without_elements(shape: tuple[int, ...]) -> None:
    assert blocks.pruned(np.zeros(shape, np.int8), 0, BlockTest("sum", 9, 2, 2)).shape == shape


def pruning(shape: tuple[int, ...], kind: T, zero_point: int, order: tuple[int, ...], test: BlockTest) -> Graph:
    graph = Graph()
    quantization = Quantization((0.5,), (zero_point,))
    graph.input("x", shape, kind, quantization)
    graph.tensor("y", shape, kind, quantization)
    for name in ("x", "y"):
        graph.tensors[name] = replace(graph.tensors[name], order=order)
    attributes = {"threshold": test.threshold, "rows": test.rows, "cols": test.cols}
    graph.node("prune", ["x"], "y", criterion=test.criterion, **attributes)
    return graph
