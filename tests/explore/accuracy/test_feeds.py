"""How samples feed the runs of a module, what is refused, and operators that take samples run by run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.explore.accuracy.choose import float_outputs
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.accuracy.feeds import feeds_of
from dnnc.frontend.importer import import_model
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.types import ElementType, Quantization
from numpy.typing import NDArray
from onnx import helper
from support.evaluation import by_interpreter, rounded
from support.graphs import Graph
from support.onnx_models import FLOAT, INT64, run_reference, save_model, take_none

Array = NDArray[Any]
I8, F32 = ElementType.I8, ElementType.F32
Q = Quantization(rounded(np.array([0.1])), (3,))


def two_inputs() -> Graph:
    graph = Graph()
    graph.input("a", (2, 4), I8, Q)
    graph.input("b", (2, 4), I8, Q)
    graph.node("add", ["a", "b"], graph.tensor("y", (2, 4), I8, Q))
    return graph


def codes(*shape: int) -> Array:
    return np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)


def test_the_last_run_is_filled_up() -> None:
    """Five samples in runs of two."""
    module = two_inputs().module(["y"])
    data = {"a": codes(5, 4), "b": codes(5, 4)[::-1]}
    feeds = feeds_of(module, data)
    assert (feeds.samples, feeds.batch, feeds.runs) == (5, 2, 3)
    with Evaluator(data, threads=2) as evaluator:
        found = evaluator.outputs(module)["y"]
    wider = {name: np.concatenate([array, array[:1]]) for name, array in data.items()}
    assert np.array_equal(found, by_interpreter(module, wider)["y"][:5])


def test_a_sample_may_be_all_of_an_input() -> None:
    graph = Graph()
    graph.input("x", (3, 4), I8, Q)
    graph.node("transpose", ["x"], graph.tensor("t", (4, 3), I8, Q), permutation=(1, 0))
    module = graph.module(["t"])
    x = codes(5, 3, 4)
    with Evaluator({"x": x}, threads=2) as evaluator:
        found = evaluator.outputs(module)["t"]
        slow = evaluator.slow_steps(module)
    assert np.array_equal(found, x.transpose(0, 2, 1))
    assert slow == {"t_transpose": ("transpose: the axis of samples is moved",)}


def test_a_value_without_an_axis_of_samples_is_refused() -> None:
    graph = Graph()
    graph.input("x", (2, 4), I8, Q)
    graph.node("reshape", ["x"], graph.tensor("y", (8,), I8, Q))
    with (
        Evaluator({"x": codes(4, 4)}) as evaluator,
        pytest.raises(CompileError, match=r"'y' has shape \[8\]: its first axis is not that of the 2 samples of a run"),
    ):
        evaluator.outputs(graph.module(["y"]))


def test_values_without_axes_are_taken_run_by_run(tmp_path: Path) -> None:
    """The host yields a scalar, and one of the sample's rows times another's columns."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Mul", ["x", "m"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["scaled", "turned"], ["square"]),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, [("x", FLOAT, [2, 3])], [("m", FLOAT, []), ("square", FLOAT, None)])
    module = import_model(path, lambda node, _: "of the host" if node.op != "matmul" else "")
    x = np.random.default_rng(1).standard_normal((6, 2, 3)).astype(np.float32)
    with Evaluator({"x": x}, threads=2) as evaluator:
        found = evaluator.outputs(module)
    assert found["m"].shape == (6,)
    assert np.array_equal(found["m"], x.max(axis=(1, 2)))
    for sample, square in zip(x, found["square"], strict=True):
        np.testing.assert_allclose(square, run_reference(path, {"x": sample})["square"], rtol=1e-5)


def test_regions_of_sequences_and_of_heavy_operators_run(tmp_path: Path) -> None:
    """A sequence is a value of the host alone; a loop is not known to end, and runs in a process of its own."""
    nodes = [
        helper.make_node("SplitToSequence", ["x"], ["parts"], axis=1),
        helper.make_node("ConcatFromSequence", ["parts"], ["joined"], axis=0),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, [("x", FLOAT, [1, 4])], [("joined", FLOAT, [4, 1])])
    module = import_model(path, take_none)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    with Evaluator({"x": x}, threads=2) as evaluator:
        assert np.array_equal(evaluator.outputs(module)["joined"], x[:, :, None])


def test_the_float_model_is_computed_by_onnxruntime(tmp_path: Path) -> None:
    w = np.random.default_rng(2).standard_normal((3, 2, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    inputs, outputs = [("x", FLOAT, ["batch", 2, 5, 5])], [("y", FLOAT, None)]
    path = save_model(tmp_path / "m.onnx", nodes, inputs, outputs, {"w": w})
    x = np.random.default_rng(3).standard_normal((7, 2, 5, 5)).astype(np.float32)
    found = float_outputs(path, {"x": x}, batch_size=3)["y"]
    assert found.shape == (7, 3, 3, 3)
    np.testing.assert_allclose(found, run_reference(path, {"x": x})["y"], rtol=1e-5, atol=1e-6)


def test_regions_that_onnxruntime_refuses_are_told(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["t", "x"], ["y"])]
    table = {"t": np.arange(3, dtype=np.float32)}
    path = save_model(tmp_path / "m.onnx", nodes, [("x", INT64, [1])], [("y", FLOAT, None)], table)
    module = import_model(path, take_none)
    with Evaluator({"x": np.array([0, 2])}) as evaluator:
        assert evaluator.outputs(module)["y"].tolist() == [0, 2]
    with Evaluator({"x": np.array([0, 7])}) as evaluator, pytest.raises(CompileError, match=r"host region .*out of"):
        evaluator.outputs(module)


@pytest.mark.parametrize(
    ("data", "message", "help"),
    [
        ({"a": codes(4, 4)}, "the data have nothing for input 'b'", "inputs are: 'a', 'b'"),
        ({"a": codes(4, 4), "b": codes(4, 4), "bb": codes(4, 4)}, "the data name 'bb', which is no input", "'b'"),
        ({"a": codes(4, 4), "b": codes(4, 5)}, "the data of 'b' have shape [4, 5], not [samples, 4]", ""),
        ({"a": codes(4, 4), "b": codes(3, 4)}, "inputs have different numbers of samples: 'a': 4, 'b': 3", ""),
        ({"a": codes(0, 4), "b": codes(0, 4)}, "the data have no samples", "at least one"),
        ({"a": codes(4, 4), "b": codes(4, 4) / 2}, "the data of 'b' are float64, the input is i8", ""),
        ({"a": codes(4, 4), "b": codes(4, 4) + 99.0}, "the data of 'b' are float64, the input is i8", ""),
        ({"a": codes(4, 4), "b": np.full((4, 4), 200)}, "the data of 'b' reach from 200 to 200, the input is i8", ""),
        ({"a": codes(4, 4), "b": codes(4, 2, 4)}, "a run takes different numbers of samples of its inputs: [1, 2]", ""),
    ],
)
def test_data_that_do_not_fit_are_refused(data: dict[str, Array], message: str, help: str) -> None:
    with Evaluator(data) as evaluator, pytest.raises(CompileError) as refused:
        evaluator.outputs(two_inputs().module(["y"]))
    (fault,) = [each for each in refused.value.diagnostics if each.message == message]
    assert help in fault.help


def test_a_module_that_is_all_constants_is_refused() -> None:
    graph = Graph()
    graph.constant("c", codes(2, 4), I8, Q)
    graph.node("relu", ["c"], graph.tensor("y", (2, 4), I8, Q))
    with pytest.raises(CompileError, match="the module has no input that takes samples"):
        feeds_of(graph.module(["y"]), {})


def test_outputs_that_are_inputs_or_constants_are_there() -> None:
    module = replace(two_inputs().module(["y"]), outputs=("y", "a"))
    data = {"a": codes(4, 4), "b": codes(4, 4)}
    with Evaluator(data) as evaluator:
        assert np.array_equal(evaluator.outputs(module)["a"], data["a"])


def test_samples_that_do_not_lie_one_after_the_other_cannot_be_pruned() -> None:
    graph = Graph()
    graph.input("x", (2, 4), I8, Q)
    graph.tensors["x"] = replace(graph.tensors["x"], order=(1, 0))
    y = graph.tensor("y", (2, 4), I8, Q)
    graph.tensors["y"] = replace(graph.tensors["y"], order=(1, 0))
    graph.node("prune", ["x"], y, criterion="sum", threshold=0, rows=1, cols=1)
    with (
        Evaluator({"x": codes(4, 4)}) as evaluator,
        pytest.raises(CompileError, match="whose samples do not lie one after the other"),
    ):
        evaluator.outputs(graph.module(["y"]))
