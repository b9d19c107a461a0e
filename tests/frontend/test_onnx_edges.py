"""Import of odd operators: what onnxruntime's own rules make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dnnc.frontend.importer import import_model
from onnx import helper
from support.onnx_models import FLOAT, INT8, INT32, check_import, operators, save_model, take_none


@pytest.mark.parametrize("pads", [(1, 0, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0)])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)])
def test_average_pool_that_counts_padding_but_not_what_ceil_mode_adds(
    tmp_path: Path, pads: tuple[int, ...], dilations: tuple[int, ...]
) -> None:
    node = helper.make_node(
        "AveragePool",
        ["x"],
        ["y"],
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=pads,
        dilations=dilations,
        ceil_mode=1,
        count_include_pad=1,
    )
    path = save_model(tmp_path / "m.onnx", [node], [("x", FLOAT, [1, 2, 9, 8])], [("y", FLOAT, None)], opset=19)
    x = np.random.default_rng(0).normal(size=(1, 2, 9, 8)).astype(np.float32)
    module = check_import(path, {"x": x}, tolerance=1e-6)
    assert "host" not in operators(module)


def test_a_model_without_elements_has_a_batch_all_the_same(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save_model(tmp_path / "m.onnx", [node], [("x", FLOAT, [0, 3])], [("y", FLOAT, [0, 3])])
    assert import_model(path, take_none).header.batch == 1


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_a_quantised_softmax_is_the_one_of_onnxruntime(tmp_path: Path, kind: type) -> None:
    constants = {
        "s": np.float32(0.13),
        "z": kind(5),
        "t": np.float32(1 / 256),
        "u": kind(-128 if kind is np.int8 else 0),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"], axis=-1),
        helper.make_node("QuantizeLinear", ["b", "t", "u"], ["y"]),
    ]
    code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    path = save_model(tmp_path / "m.onnx", nodes, [("x", code, [300, 6])], [("y", code, [300, 6])], constants)
    info = np.iinfo(kind)
    x = np.random.default_rng(0).integers(info.min, info.max, (300, 6), endpoint=True).astype(kind)
    check_import(path, {"x": x}, level="ORT_ENABLE_ALL")


@pytest.mark.parametrize("bias", [[3], [1, 3], []])
def test_sums_of_products_take_an_i32_addition_as_their_bias(tmp_path: Path, bias: list[int]) -> None:
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    inputs = [("x", INT8, [2, 4]), ("b", INT32, bias)]
    rng = np.random.default_rng(0)
    path = save_model(
        tmp_path / "m.onnx",
        nodes,
        inputs,
        [("y", INT32, [2, 3])],
        {"w": rng.integers(-128, 128, (4, 3)).astype(np.int8)},
    )
    feeds = {
        "x": rng.integers(-128, 128, (2, 4)).astype(np.int8),
        "b": np.asarray(rng.integers(-(2**31), 2**31, bias), np.int32),
    }
    assert operators(check_import(path, feeds)) == ["matmul"]


def test_dynamic_quantisation_leaves_the_product_its_scale_and_activation(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["p"]),
        helper.make_node("Cast", ["p"], ["c"], to=FLOAT),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.integers(-128, 128, (4, 3)).astype(np.int8)}
    path = save_model(tmp_path / "m.onnx", nodes, [("x", FLOAT, [2, 4])], [("y", FLOAT, [2, 3])], weights)
    module = check_import(path, {"x": rng.normal(size=(2, 4)).astype(np.float32)})
    assert operators(module) == ["host", "matmul", "dequantize", "mul", "relu"]
