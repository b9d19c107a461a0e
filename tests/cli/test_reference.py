"""`run --check` finds a reference for every model that onnxruntime runs at some level of optimisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from dnnc.cli.reference import reference_outputs
from dnnc.ir.diagnostics import CompileError
from onnx import TensorProto, helper, numpy_helper


def product(path: Path) -> Path:
    """A product of int8 by int8, for which onnxruntime's highest level finds no kernel under x64quantprecision."""
    constants = {"s": np.float32(0.5), "z": np.int8(0), "w": np.eye(3, dtype=np.int8)}
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.INT8, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [2, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_reference_of_products_of_int8(tmp_path: Path) -> None:
    x = np.array([[2, 4, 6], [-8, 0, 100]], np.int8)
    outputs = reference_outputs(str(product(tmp_path / "m.onnx")), {"x": x}, 60)
    np.testing.assert_array_equal(outputs["y"], x // 2)


def test_a_model_that_is_refused_says_why(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(CompileError, match="no ONNX file"):
        reference_outputs(str(path), {}, 60)


def test_another_model_than_that_of_the_program_is_told(tmp_path: Path) -> None:
    path = str(product(tmp_path / "m.onnx"))
    help = "help: --check takes the model that the program was compiled from"
    with pytest.raises(CompileError) as caught:
        reference_outputs(path, {"x": np.zeros((2, 4), np.int8)}, 60)
    message = "input 'x' of this model has the shape [2, 3]; that of the program has [2, 4]"
    assert str(caught.value) == f"{path}:1:1: error: {message}\n{help}"
    with pytest.raises(CompileError) as caught:
        reference_outputs(path, {"a": np.zeros((2, 3), np.int8), "b": np.zeros(3, np.int8)}, 60)
    message = "the inputs of this model are x; those of the program are a, b"
    assert str(caught.value) == f"{path}:1:1: error: {message}\n{help}"


def test_a_model_that_asks_for_all_memory_is_stopped(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1 << 16, 1 << 16]), "s")
    graph = helper.make_graph([helper.make_node("ConstantOfShape", ["s"], ["y"])], "g", [], [], [shape])
    graph.output.add(name="y")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(CompileError, match="onnxruntime"):
        reference_outputs(str(tmp_path / "m.onnx"), {}, 60)


def test_modules_of_the_folder_that_dnnc_is_called_in_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = product(tmp_path / "p.onnx")
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert list(reference_outputs(str(model), {"x": np.zeros((2, 3), np.int8)}, 60.0)) == ["y"]
