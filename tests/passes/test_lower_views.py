"""Reshapes and transposes: views where no byte moves, copies where a value needs bytes of its own."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from dnnc.ir.nest import BodyOp
from dnnc.ir.types import ElementType, Tensor
from dnnc.ir.types import ElementType as T
from dnnc.passes.lower_view import View
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.graphs import NHWC, Graph
from support.lowering import FLOATS, nests_of, q, same_meaning


def elements(view: View, data: NDArray[np.int64]) -> NDArray[np.int64]:
    """The logical array that a view of flat `data` stands for."""
    stored = data.reshape(view.shape)
    order = [axis for digits in view.digits for axis in digits]
    order += [axis for axis in range(stored.ndim) if axis not in order]
    return stored.transpose(order).reshape(view.logical_shape)


@st.composite
def moves(draw: st.DrawFn) -> tuple[Tensor, list[tuple[str, tuple[int, ...]]]]:
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    tensor = Tensor("t", ElementType.I8, shape, order=tuple(draw(st.permutations(range(len(shape))))))
    steps: list[tuple[str, tuple[int, ...]]] = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            permutation = tuple(draw(st.permutations(range(len(shape)))))
            steps.append(("transpose", permutation))
            shape = tuple(shape[axis] for axis in permutation)
        else:
            total, new = prod(shape), []
            while total > 1:
                factor = draw(st.sampled_from([f for f in range(2, total + 1) if total % f == 0]))
                new.append(factor)
                total //= factor
            shape = tuple([*new, 1] if draw(st.booleans()) else [1, *new])
            steps.append(("reshape", shape))
    return tensor, steps


@settings(max_examples=150, deadline=None)
@given(moves())
def test_views_follow_numpy(case: tuple[Tensor, list[tuple[str, tuple[int, ...]]]]) -> None:
    tensor, steps = case
    assert tensor.shape is not None
    logical = np.arange(tensor.elements).reshape(tensor.shape)
    data = logical.transpose(tensor.storage_order).reshape(-1)
    view = View.of(tensor)
    for kind, argument in steps:
        moved = view.transposed(argument) if kind == "transpose" else view.reshaped(argument)
        if moved is None:
            return
        view = moved
        logical = logical.transpose(argument) if kind == "transpose" else logical.reshape(argument)
        assert prod(view.shape) == prod(tensor.shape)
        np.testing.assert_array_equal(elements(view, data), logical)


def test_row_major_bytes_have_any_shape() -> None:
    view = View.of(Tensor("t", ElementType.I8, (4, 6))).reshaped((3, 8))
    assert view is not None
    assert view.shape == (3, 8)


def conv_then(graph: Graph, c: int = 4, size: int = 3) -> None:
    """x [2, 2, size, size] -> t [2, c, size, size] by a 1x1 convolution."""
    graph.input("x", (2, 2, size, size), T.I8, q(0.1, 3))
    graph.constant("w", np.random.default_rng(0).integers(-100, 100, (c, 2, 1, 1)), T.I8, q(0.1))
    graph.tensor("t", (2, c, size, size), T.I8, q(1.0, 2))
    graph.conv(["x", "w"], "t")


def test_flatten_before_a_product_is_folded_into_its_weights() -> None:
    graph = Graph()
    conv_then(graph)
    graph.tensor("f", (2, 36), T.I8, q(1.0, 2))
    graph.node("reshape", ["t"], "f")
    graph.constant("v", np.random.default_rng(1).integers(-100, 100, (36, 5)), T.I8, q(0.1))
    graph.tensor("y", (2, 5), T.I8, q(9.0))
    graph.node("matmul", ["f", "v"], "y", transpose_a=False, transpose_b=False)
    nests = nests_of(same_meaning(graph, ["y"]))
    assert [nest.body.op for nest in nests] == [BodyOp.MAC, BodyOp.MAC], "no copy"
    assert {dim.name: dim.extent for dim in nests[1].domain} == {"p": 2, "m": 5, "k": 36} or nests[1].extent("m") == 5
    assert nests[1].access("w").shape == (36, 5)


def test_a_reshaped_output_is_written_in_place() -> None:
    graph = Graph()
    conv_then(graph)
    graph.tensor("y", (2, 36), T.I8, q(1.0, 2))
    graph.node("reshape", ["t"], "y")
    nests = nests_of(same_meaning(graph, ["y"]))
    assert [nest.write.tensor for nest in nests] == ["y"]


def test_a_transposed_output_is_written_in_place() -> None:
    graph = Graph()
    conv_then(graph)
    graph.tensor("y", (2, 3, 3, 4), T.I8, q(1.0, 2))
    graph.node("transpose", ["t"], "y", permutation=(0, 2, 3, 1))
    nests = nests_of(same_meaning(graph, ["y"]))
    assert [nest.write.tensor for nest in nests] == ["y"]


def test_an_input_that_is_only_moved_is_copied() -> None:
    for op, shape, attributes in (
        ("reshape", (6, 4), {}),
        ("transpose", (4, 3, 2, 1), {"permutation": (3, 2, 1, 0)}),
    ):
        graph = Graph()
        graph.input("x", (1, 2, 3, 4), T.I8, q())
        graph.tensor("y", shape, T.I8, q())
        graph.node(op, ["x"], "y", **attributes)
        nests = nests_of(same_meaning(graph, ["y"]))
        assert [nest.body.op for nest in nests] == [BodyOp.COPY]


def test_a_reshape_across_the_storage_order_is_copied_once() -> None:
    graph = Graph()
    conv_then(graph, c=4, size=3)
    graph.tensor("f", (2, 6, 6), T.I8, q(1.0, 2))  # 4 channels of 9 pixels as 6 of 6: no view can say it
    graph.node("reshape", ["t"], "f")
    graph.input("b", (6, 3), T.I8, q(0.1, 1))
    graph.tensor("y", (2, 6, 3), T.I8, q(9.0))
    graph.node("matmul", ["f", "b"], "y", transpose_a=False, transpose_b=False)
    graph.tensor("z", (2, 6, 6), T.I8, q(1.0, 2))
    graph.node("relu", ["f"], "z")
    nests = nests_of(same_meaning(graph, ["y", "z"]))
    assert [nest.body.op for nest in nests].count(BodyOp.COPY) == 2, "one copy of the bytes, one relu"


def attention(heads: int, kind: T) -> Graph:
    """Queries, keys and values of [2, 5, heads * 4], through [batch, heads, tokens, 4] and back."""
    quantization = None if kind.is_float else q(0.1, 3)
    graph = Graph()
    for name in ("query", "key", "value"):
        graph.input(name, (2, 5, heads * 4), kind, quantization)
        graph.tensor(f"{name}4", (2, 5, heads, 4), kind, quantization)
        graph.node("reshape", [name], f"{name}4")
        graph.tensor(f"{name}T", (2, heads, 5, 4), kind, quantization)
        graph.node("transpose", [f"{name}4"], f"{name}T", permutation=(0, 2, 1, 3))
    graph.tensor("scores", (2, heads, 5, 5), kind, None if kind.is_float else q(3.0, -2))
    graph.node("matmul", ["queryT", "keyT"], "scores", transpose_a=False, transpose_b=True)
    graph.tensor("mixed", (2, heads, 5, 4), kind, None if kind.is_float else q(30.0, 1))
    graph.node("matmul", ["scores", "valueT"], "mixed", transpose_a=False, transpose_b=False)
    graph.tensor("back", (2, 5, heads, 4), kind, None if kind.is_float else q(30.0, 1))
    graph.node("transpose", ["mixed"], "back", permutation=(0, 2, 1, 3))
    graph.tensor("joined", (2, 5, heads * 4), kind, None if kind.is_float else q(30.0, 1))
    graph.node("reshape", ["back"], "joined")
    values = np.random.default_rng(0).integers(-100, 100, (heads * 4, 6))
    graph.constant("o", values, kind, None if kind.is_float else q(0.1))
    graph.tensor("y", (2, 5, 6), kind, None if kind.is_float else q(999.0))
    graph.node("matmul", ["joined", "o"], "y", transpose_a=False, transpose_b=False)
    return graph


def test_attention_moves_no_bytes() -> None:
    for kind in (T.I8, T.F32):
        nests = nests_of(same_meaning(attention(3, kind), ["y"], FLOATS))
        assert [nest.body.op for nest in nests] == [BodyOp.MAC] * 3


def test_images_are_stored_channels_last_and_all_else_row_major() -> None:
    graph = Graph()
    conv_then(graph)
    graph.tensors = {
        name: Tensor(t.name, t.type, t.shape, t.quantization, t.constant) for name, t in graph.tensors.items()
    }
    lowered = same_meaning(graph, ["t"])
    assert lowered.tensor("x").order == NHWC
    assert lowered.tensor("t").order == NHWC


def test_a_transpose_of_a_copy_is_still_a_transpose() -> None:
    graph = Graph()
    kind = (T.I8, q(0.1, 3))
    graph.input("x", (2, 2, 4, 4), *kind)
    graph.tensor("split", (2, 4, 2, 2, 2), *kind)
    graph.node("reshape", ["x"], "split")  # from channels last: no view has so few axes
    graph.tensor("y", (2, 4, 2, 2, 2), *kind)
    graph.node("transpose", ["split"], "y", permutation=(0, 1, 3, 2, 4))
    same_meaning(graph, ["y"])


@st.composite
def programs(draw: st.DrawFn) -> tuple[Graph, list[str]]:
    """A few moves, activations, additions and products of one input after another, with some values as outputs."""
    graph = Graph()
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, max_size=4)))
    value = graph.input("x", shape, T.I8, q(0.1, 3))
    outputs: list[str] = []
    for number in range(draw(st.integers(1, 6))):
        name, kind = f"v{number}", draw(st.sampled_from(["reshape", "transpose", "relu", "add", "matmul", "reshape"]))
        if kind == "transpose":
            permutation = tuple(draw(st.permutations(range(len(shape)))))
            shape = tuple(shape[axis] for axis in permutation)
            graph.node("transpose", [value], graph.tensor(name, shape, T.I8, q(0.1, 3)), permutation=permutation)
        elif kind == "matmul" and len(shape) > 1:
            columns = draw(st.integers(1, 4))
            weights = np.random.default_rng(number).integers(-9, 9, (shape[-1], columns))
            operands = [value, graph.constant(f"w{number}", weights, T.I8, q(1.0))]
            shape = (*shape[:-1], columns)
            graph.node(
                "matmul", operands, graph.tensor(name, shape, T.I8, q(0.1, 3)), transpose_a=False, transpose_b=False
            )
        elif kind == "relu":
            graph.node("relu", [value], graph.tensor(name, shape, T.I8, q(0.1, 3)))
        elif kind == "add" and prod(shape) > 1:
            graph.node("add", [value, value], graph.tensor(name, shape, T.I8, q(0.1, 3)))
        else:
            total, new = prod(shape), []
            while total > 1 and len(new) < 4:
                factor = draw(st.sampled_from([f for f in range(2, total + 1) if total % f == 0]))
                new.append(factor)
                total //= factor
            shape = (*new, total) if draw(st.booleans()) else (total, *new)
            graph.node("reshape", [value], graph.tensor(name, shape, T.I8, q(0.1, 3)))
        value = name
        if draw(st.integers(0, 3)) == 0:
            outputs.append(value)
    graph.tensors = {
        name: replace(tensor, order=tuple(draw(st.permutations(range(len(tensor.shape or ()))))))
        if tensor.constant is None and draw(st.booleans())
        else tensor
        for name, tensor in graph.tensors.items()
    }
    return graph, list(dict.fromkeys([*outputs, value]))


@settings(max_examples=60, deadline=None)
@given(programs())
def test_programs_with_moves_keep_their_meaning(case: tuple[Graph, list[str]]) -> None:
    graph, outputs = case
    same_meaning(graph, outputs)
