"""Quantised models in their spellings: each becomes operators on codes that compute what onnxruntime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.frontend.importer import ImportOptions, import_model
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.types import ElementType, Quantization
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.onnx_models import (
    FLOAT,
    INT8,
    INT32,
    UINT8,
    check_import,
    operators,
    save_model,
    take_all,
)

RNG = np.random.default_rng(2)


def codes(kind: Any, *shape: int) -> NDArray[Any]:
    info = np.iinfo(kind)
    return RNG.integers(info.min, info.max + 1, shape).astype(kind)


def scale(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def test_qlinear_conv_per_channel(tmp_path: Path) -> None:
    constants = {
        "xs": scale(0.02),
        "xz": np.array(7, np.uint8),
        "w": codes(np.int8, 4, 2, 3, 3),
        "ws": np.array([0.01, 0.02, 0.003, 0.1], np.float32),
        "wz": np.zeros(4, np.int8),
        "ys": scale(0.3),
        "yz": np.array(100, np.uint8),
        "b": RNG.integers(-500, 500, 4).astype(np.int32),
    }
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("QLinearConv", names, ["y"], pads=[1, 1, 1, 1], group=2)],
        [("x", UINT8, [1, 4, 5, 5])],
        [("y", UINT8, None)],
        constants,
    )
    module = check_import(path, {"x": codes(np.uint8, 1, 4, 5, 5)})
    assert module.tensor("x").quantization == Quantization((float(np.float32(0.02)),), (7,))
    weights = module.tensor("w").quantization
    assert weights is not None
    assert (weights.axis, len(weights.scale), module.tensor("b").type) == (0, 4, ElementType.I32)


def qdq(name: str, kind: str, *, axis: int | None = None) -> Any:
    """QuantizeLinear and DequantizeLinear of `name` with its own parameters."""
    more = {} if axis is None else {"axis": axis}
    return [
        helper.make_node("QuantizeLinear", [name, f"{kind}s", f"{kind}z"], [f"{name}.q"], **more),
        helper.make_node("DequantizeLinear", [f"{name}.q", f"{kind}s", f"{kind}z"], [f"{name}.d"], **more),
    ]


def qdq_model(path: Path, center: Any, shape: list[int], extra: dict[str, Any], zero: int = 128) -> Path:
    """x -> QDQ -> `center` (which reads x.d and writes r) -> QDQ -> out."""
    return save_model(
        path,
        [*qdq("x", "x"), *center, *qdq("r", "r")],
        [("x", FLOAT, shape)],
        [("r.d", FLOAT, None)],
        {
            "xs": scale(0.05),
            "xz": np.array(128, np.uint8),
            "rs": scale(0.07),
            "rz": np.array(zero, np.uint8),
            **extra,
        },
    )


def weight_nodes(axis: int = 0) -> Any:
    return [helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["w.d"], axis=axis)]


CONV_WEIGHTS = {
    "w": RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
    "ws": np.array([0.01, 0.02, 0.003, 0.005], np.float32),
    "wz": np.zeros(4, np.int8),
}
PRODUCT_WEIGHTS = {
    "w": RNG.integers(-127, 128, (6, 4)).astype(np.int8),
    "ws": np.array([0.01, 0.02, 0.003, 0.005], np.float32),
    "wz": np.zeros(4, np.int8),
}
IMAGE, ROWS = [1, 3, 6, 6], [2, 6]


@pytest.mark.parametrize(
    ("center", "shape", "extra", "zero", "wanted"),
    [
        ([*weight_nodes(), helper.make_node("Conv", ["x.d", "w.d"], ["r"])], IMAGE, CONV_WEIGHTS, 128, ["conv"]),
        (
            [
                *weight_nodes(),
                helper.make_node("Conv", ["x.d", "w.d"], ["c"]),
                helper.make_node("Relu", ["c"], ["r"]),
            ],
            IMAGE,
            CONV_WEIGHTS,
            0,
            ["conv"],
        ),
        (
            [*weight_nodes(1), helper.make_node("MatMul", ["x.d", "w.d"], ["r"])],
            ROWS,
            PRODUCT_WEIGHTS,
            128,
            ["matmul"],
        ),
        ([helper.make_node("Add", ["x.d", "x.d"], ["r"])], IMAGE, {}, 128, ["add"]),
        ([helper.make_node("GlobalAveragePool", ["x.d"], ["r"])], IMAGE, {}, 128, ["pool"]),
        ([helper.make_node("AveragePool", ["x.d"], ["r"], kernel_shape=[2, 2])], IMAGE, {}, 128, ["pool"]),
        ([helper.make_node("MaxPool", ["x.d"], ["r"], kernel_shape=[2, 2])], IMAGE, {}, 100, ["pool", "table"]),
        ([helper.make_node("Transpose", ["x.d"], ["r"])], IMAGE, {}, 128, ["transpose", "table"]),
        ([helper.make_node("Sigmoid", ["x.d"], ["r"])], IMAGE, {}, 0, ["table"]),
        ([helper.make_node("LeakyRelu", ["x.d"], ["r"], alpha=0.1)], IMAGE, {}, 90, ["table"]),
    ],
)
def test_units_of_codes(
    tmp_path: Path, center: Any, shape: list[int], extra: dict[str, Any], zero: int, wanted: list[str]
) -> None:
    """Equal to onnxruntime at the level at which it fuses the same units."""
    path = qdq_model(tmp_path / "m.onnx", center, shape, extra, zero)
    feeds = {"x": (3 * RNG.standard_normal(shape)).astype(np.float32)}
    module = check_import(path, feeds, level="ORT_ENABLE_ALL")
    assert operators(module) == ["quantize", *wanted, "dequantize"]


def test_activation_that_saturation_does_not_imply_stays(tmp_path: Path) -> None:
    center = [
        *weight_nodes(),
        helper.make_node("Conv", ["x.d", "w.d"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
    ]
    path = qdq_model(tmp_path / "m.onnx", center, IMAGE, CONV_WEIGHTS, 128)
    module = import_model(path, take_all)
    assert operators(module) == ["quantize", "conv", "relu", "dequantize"]
    conv, relu = module.operations[1:3]
    assert isinstance(conv, Node)
    assert isinstance(relu, Node)
    before, after = module.tensor(conv.outputs[0]), module.tensor(relu.outputs[0])
    assert (before.type, before.quantization) == (after.type, after.quantization)


def test_biases_of_codes_and_of_reals(tmp_path: Path) -> None:
    bias = RNG.integers(-400, 400, 4).astype(np.int32)
    reals = (bias * np.float32(0.05) * CONV_WEIGHTS["ws"]).astype(np.float32)
    conv = helper.make_node("Conv", ["x.d", "w.d", "b"], ["r"])
    coded = [*weight_nodes(), helper.make_node("DequantizeLinear", ["bq", "bs"], ["b"], axis=0), conv]
    bias_scale = (np.float32(0.05) * CONV_WEIGHTS["ws"]).astype(np.float32)
    first = qdq_model(tmp_path / "a.onnx", coded, IMAGE, {**CONV_WEIGHTS, "bq": bias, "bs": bias_scale})
    second = qdq_model(tmp_path / "b.onnx", [*weight_nodes(), conv], IMAGE, {**CONV_WEIGHTS, "b": reals})
    feeds = {"x": (3 * RNG.standard_normal(IMAGE)).astype(np.float32)}
    check_import(first, feeds, level="ORT_ENABLE_ALL")
    module = import_model(second, take_all)
    conv_node = next(each for each in module.operations if isinstance(each, Node) and each.op == "conv")
    stored = module.blobs[module.tensor(conv_node.inputs[2]).constant]
    np.testing.assert_array_equal(np.frombuffer(stored, np.int32), bias)


def test_refused_unit_goes_to_the_host_whole(tmp_path: Path) -> None:
    """Not the float convolution alone, with conversions around it on the accelerator."""
    center = [*weight_nodes(), helper.make_node("Conv", ["x.d", "w.d"], ["r"])]
    path = qdq_model(tmp_path / "m.onnx", center, IMAGE, CONV_WEIGHTS)
    module = import_model(path, lambda node, tensors: "too wide" if node.op == "conv" else "")
    (region,) = module.operations
    assert isinstance(region, HostRegion)
    assert region.reason == (
        "QuantizeLinear: only host operators read its result; DequantizeLinear x2: too wide; Conv: too wide; "
        "QuantizeLinear: too wide; DequantizeLinear: its operands are on the host"
    )


def test_weights_only_quantisation_is_float(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [*weight_nodes(1), helper.make_node("MatMul", ["x", "w.d"], ["y"])],
        [("x", FLOAT, ROWS)],
        [("y", FLOAT, None)],
        PRODUCT_WEIGHTS,
    )
    module = check_import(path, {"x": RNG.standard_normal(ROWS).astype(np.float32)}, tolerance=1e-5)
    assert operators(module) == ["matmul"]


def test_transposed_weights_stay_codes(tmp_path: Path) -> None:
    weights = {**PRODUCT_WEIGHTS, "w": np.ascontiguousarray(PRODUCT_WEIGHTS["w"].T)}
    center = [
        *weight_nodes(0),
        helper.make_node("Transpose", ["w.d"], ["w.t"]),
        helper.make_node("MatMul", ["x.d", "w.t"], ["r"]),
    ]
    path = qdq_model(tmp_path / "m.onnx", center, ROWS, weights)
    module = check_import(path, {"x": RNG.standard_normal(ROWS).astype(np.float32)}, level="ORT_ENABLE_ALL")
    assert operators(module) == ["quantize", "matmul", "dequantize"]


def test_product_without_a_quantised_result_yields_floats(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [*qdq("x", "x"), *weight_nodes(1), helper.make_node("MatMul", ["x.d", "w.d"], ["y"])],
        [("x", FLOAT, ROWS)],
        [("y", FLOAT, None)],
        {"xs": scale(0.05), "xz": np.array(128, np.uint8), **PRODUCT_WEIGHTS},
    )
    module = check_import(path, {"x": RNG.standard_normal(ROWS).astype(np.float32)}, tolerance=1e-6)
    assert operators(module) == ["quantize", "matmul"]


def test_int4_weights_keep_their_type(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.INT4, [4, 3, 1, 1], RNG.integers(-8, 8, 12))
    center = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["w.d"], axis=0),
        helper.make_node("Conv", ["x.d", "w.d"], ["r"]),
    ]
    nodes = [*qdq("x", "x"), *center, *qdq("r", "r")]
    constants = {"xs": scale(0.05), "xz": np.array(128, np.uint8), "rs": scale(0.07), "rz": np.array(128, np.uint8)}
    path = save_model(
        tmp_path / "m.onnx",
        nodes,
        [("x", FLOAT, IMAGE)],
        [("r.d", FLOAT, None)],
        {**constants, "ws": CONV_WEIGHTS["ws"]},
        opset=21,
    )
    module = import_model(path, take_all)
    assert operators(module) == ["quantize", "conv", "dequantize"]
    assert module.tensor("w").type is ElementType.I4


def test_dynamic_quantisation_keeps_the_product(tmp_path: Path) -> None:
    """The run-time zero point leaves the product: a correction, computed on the host, joins it as its bias."""
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["i"]),
            helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
            helper.make_node("Mul", ["f", "s"], ["y"]),
        ],
        [("x", FLOAT, ROWS)],
        [("y", FLOAT, None)],
        {"w": PRODUCT_WEIGHTS["w"], "wz": np.array([1, -2, 3, 4], np.int8)[:1].reshape(())},
    )
    module = check_import(path, {"x": RNG.standard_normal(ROWS).astype(np.float32)})
    assert operators(module) == ["host", "matmul", "dequantize", "mul"]
    assert module.tensor("i").type is ElementType.I32


def test_integer_convolution(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("ConvInteger", ["x", "w", "z"], ["y"], pads=[1, 1, 1, 1])],
        [("x", UINT8, IMAGE)],
        [("y", INT32, None)],
        {"w": codes(np.uint8, 2, 3, 3, 3), "z": np.array(9, np.uint8)},
    )
    assert operators(check_import(path, {"x": codes(np.uint8, *IMAGE)})) == ["conv"]


@pytest.mark.parametrize("op", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_unary_qlinear_operators_are_tables(tmp_path: Path, op: str) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node(op, ["x", "xs", "xz", "ys", "yz"], ["y"], domain="com.microsoft")],
        [("x", INT8, [300])],
        [("y", INT8, None)],
        {"xs": scale(0.05), "xz": np.array(3, np.int8), "ys": scale(0.004), "yz": np.array(-128, np.int8)},
    )
    assert operators(check_import(path, {"x": codes(np.int8, 300)})) == ["table"]


def test_zero_points_that_differ_between_channels_stay_on_the_host(tmp_path: Path) -> None:
    names = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("QLinearMatMul", names, ["y"])],
        [("a", UINT8, [2, 3])],
        [("y", UINT8, None)],
        {
            "as": scale(0.1),
            "az": np.array(3, np.uint8),
            "b": codes(np.uint8, 3, 2),
            "bs": np.array([0.1, 0.2], np.float32),
            "bz": np.array([1, 2], np.uint8),
            "ys": scale(0.5),
            "yz": np.array(0, np.uint8),
        },
    )
    module = check_import(path, {"a": codes(np.uint8, 2, 3)})
    (region,) = module.operations
    assert isinstance(region, HostRegion)
    assert "different zero points" in region.reason


def test_one_value_read_with_two_scales(tmp_path: Path) -> None:
    """The second reading stays on the host: a tensor has one quantisation."""
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("DequantizeLinear", ["x", "s1"], ["a"]),
            helper.make_node("DequantizeLinear", ["x", "s2"], ["b"]),
        ],
        [("x", INT8, [2, 3])],
        [("a", FLOAT, None), ("b", FLOAT, None)],
        {"s1": scale(0.1), "s2": scale(0.2)},
    )
    module = check_import(path, {"x": codes(np.int8, 2, 3)}, options=ImportOptions())
    assert sorted(operators(module)) == ["dequantize", "host"]
