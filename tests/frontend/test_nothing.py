"""Values without elements are constants: no kernel runs for them. A Gemm with a scalar factor has its own shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dnnc.frontend.importer import ImportOptions, classify
from onnx import helper
from support.onnx_models import FLOAT, UINT8, check_import, operators, save_model, take_all


def test_an_empty_result_is_a_constant(tmp_path: Path) -> None:
    constants = {"s": np.float32(0.5), "z": np.uint8(3), "e": np.zeros(0, np.uint8)}
    node = helper.make_node("QLinearAdd", ["x", "s", "z", "e", "s", "z", "s", "z"], ["y"], domain="com.microsoft")
    path = save_model(tmp_path / "e.onnx", [node], [("x", UINT8, [0])], [("y", UINT8, None)], constants)
    module = check_import(path, {"x": np.zeros(0, np.uint8)})
    assert operators(module) == ["host"]
    (region,) = module.operations
    assert b"QLinearAdd" not in module.blobs[region.model]


def test_check_says_of_an_empty_result_that_it_is_empty(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4), helper.make_node("Relu", ["c"], ["y"])]
    constants = {"w": np.ones((4, 3, 3, 3), np.float32)}
    path = save_model(tmp_path / "c.onnx", nodes, [("x", FLOAT, [1, 3, "h", 8])], [("y", FLOAT, None)], constants)
    found = classify(path, take_all, ImportOptions(shapes={"x": (1, 3, 0, 8)}))
    assert [(each.where, each.reason) for each in found] == [
        ("constant", "its result 'c' is empty: its shape is [1, 4, 0, 8]"),
        ("constant", "its result 'y' is empty: its shape is [1, 4, 0, 8]"),
    ]


def test_what_follows_an_empty_value_is_still_computed(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    constants = {"w": np.ones((0, 4), np.float32)}
    path = save_model(tmp_path / "k.onnx", nodes, [("x", FLOAT, [2, 0])], [("y", FLOAT, None)], constants)
    check_import(path, {"x": np.zeros((2, 0), np.float32)})


def test_a_scalar_bias_of_a_gemm_is_scaled(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w", "c"], ["y"], beta=2.0)
    inputs = [("x", FLOAT, [2, 3]), ("c", FLOAT, [])]
    constants = {"w": np.ones((3, 4), np.float32)}
    path = save_model(tmp_path / "g.onnx", [node], inputs, [("y", FLOAT, None)], constants)
    module = check_import(path, {"x": np.ones((2, 3), np.float32), "c": np.array(1.5, np.float32)}, tolerance=1e-6)
    assert module.tensor("c.scaled").shape == ()
    assert module.tensor("c.beta").shape == ()
