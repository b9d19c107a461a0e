"""Matrix products mean the same as nests: batches, broadcasting, transposes, vectors, biases, zero points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dnnc.ir.nest import Role
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Graph
from support.lowering import CODES, FLOATS, RAW, nests_of, q, same_meaning


def matmul_graph(
    a: tuple[int, ...],
    b: tuple[int, ...],
    *,
    constant: bool = True,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: tuple[int, ...] | None = None,
    kind: T = T.I8,
    za: int = 5,
    zb: int = 0,
    per_channel: bool = False,
    seed: int = 0,
) -> Graph:
    """a @ b, both of these shapes before the transposes."""
    rng = np.random.default_rng(seed)
    real = kind.is_float
    graph = Graph()
    graph.input("a", a, kind, None if real else q(0.1, za))
    columns = (b[-2] if transpose_b else b[-1]) if len(b) > 1 else 1
    quantization = None if real else q(0.02, zb)
    if per_channel and not real:
        scales = tuple(float(s) for s in rng.uniform(0.01, 0.1, columns).astype(np.float32))
        quantization = Quantization(scales, (zb,) * columns, len(b) - (2 if transpose_b else 1))
    if constant:
        graph.constant("b", rng.normal(size=b) if real else rng.integers(-128, 128, b), kind, quantization)
    else:
        graph.input("b", b, kind, quantization)
    left = np.zeros(a).swapaxes(-1, -2) if transpose_a else np.zeros(a)
    right = np.zeros(b).swapaxes(-1, -2) if transpose_b else np.zeros(b)
    names = ["a", "b"]
    if bias is not None:
        values = rng.normal(size=bias) if real else rng.integers(-3000, 3000, bias)
        names.append(graph.constant("bias", values, T.F32 if real else T.I32))
    graph.tensor("y", (left @ right).shape, kind, None if real else q(2.0, 3))
    graph.node("matmul", names, "y", transpose_a=transpose_a, transpose_b=transpose_b)
    return graph


SHAPES = [
    ((5, 7), (7, 3)),
    ((1, 7), (7, 3)),
    ((7,), (7, 3)),
    ((5, 7), (7,)),
    ((7,), (7,)),
    ((2, 5, 7), (7, 3)),
    ((2, 5, 7), (2, 7, 3)),
    ((5, 7), (2, 7, 3)),
    ((2, 1, 5, 7), (3, 7, 2)),
    ((2, 3, 5, 7), (2, 3, 7, 1)),
    ((2, 3, 1, 1), (1, 3, 1, 4)),
    ((3, 7), (2, 2, 7, 5)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("kind", [T.I8, T.F32])
def test_products_of_all_ranks(a: tuple[int, ...], b: tuple[int, ...], constant: bool, kind: T) -> None:
    graph = matmul_graph(a, b, constant=constant, kind=kind, zb=0 if constant else 3)
    same_meaning(graph, ["y"], FLOATS if kind is T.F32 else CODES)


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_raw_products_are_corrected_in_the_bias(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    same_meaning(matmul_graph(a, b), ["y"], RAW)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 7),
    inner=st.integers(1, 11),
    columns=st.integers(1, 7),
    transpose_a=st.booleans(),
    transpose_b=st.booleans(),
    bias=st.sampled_from([None, "m", "1m", "p1", "pm", "1"]),
    constant=st.booleans(),
    per_channel=st.booleans(),
    kind=st.sampled_from([T.I8, T.F32]),
)
def test_gemm_with_transposes_and_biases(
    rows: int,
    inner: int,
    columns: int,
    transpose_a: bool,
    transpose_b: bool,
    bias: str | None,
    constant: bool,
    per_channel: bool,
    kind: T,
) -> None:
    a = (inner, rows) if transpose_a else (rows, inner)
    b = (columns, inner) if transpose_b else (inner, columns)
    shape = None if bias is None else tuple({"m": columns, "p": rows, "1": 1}[each] for each in bias)
    graph = matmul_graph(
        a,
        b,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        bias=shape,
        constant=constant,
        per_channel=per_channel,
        kind=kind,
    )
    same_meaning(graph, ["y"], FLOATS if kind is T.F32 else CODES)
    if constant:
        same_meaning(graph, ["y"], FLOATS if kind is T.F32 else RAW)


def test_a_product_with_one_matrix_for_all_batches_has_one_row_dimension() -> None:
    (nest,) = nests_of(same_meaning(matmul_graph((2, 5, 7), (7, 3)), ["y"]))
    assert {dim.name: dim.extent for dim in nest.domain} == {"p": 10, "m": 3, "k": 7}


def test_batches_of_both_operands_are_a_batch_dimension() -> None:
    graph = matmul_graph((2, 3, 5, 7), (2, 3, 7, 4), constant=False)
    graph.tensors = {name: replace(tensor, order=None) for name, tensor in graph.tensors.items()}
    (nest,) = nests_of(same_meaning(graph, ["y"]))
    assert {dim.name: dim.extent for dim in nest.domain} == {"g": 6, "p": 5, "m": 4, "k": 7}


def test_transposed_constants_are_stored_as_the_nest_walks_them() -> None:
    (nest,) = nests_of(same_meaning(matmul_graph((5, 7), (3, 7), transpose_b=True), ["y"]))
    weights = next(access for access in nest.reads if access.role is Role.WEIGHT)
    assert weights.shape == (7, 3)


def test_integer_products_without_requantisation() -> None:
    for arch in (CODES, FLOATS):
        graph = matmul_graph((5, 7), (7, 3), constant=False, zb=-3)
        graph.tensor("y", (5, 3), T.I32)
        same_meaning(graph, ["y"], arch)
