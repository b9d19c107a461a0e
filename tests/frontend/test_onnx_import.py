"""Float operators and host regions: what is imported computes what onnxruntime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.frontend.importer import ImportOptions, classify, import_model
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.types import ElementType, HostType, constant_array
from onnx import TensorProto, helper
from support.onnx_models import (
    FLOAT,
    INT64,
    SHARED_MODELS,
    check_import,
    operators,
    run_module,
    run_reference,
    save_model,
    take_all,
    take_none,
)

RNG = np.random.default_rng(1)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def test_conv_shorthands_become_numbers(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"], auto_pad="SAME_LOWER", strides=[2, 1], name="first"),
            helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            helper.make_node("GlobalAveragePool", ["p"], ["y"]),
        ],
        [("x", FLOAT, [1, 3, 9, 7])],
        [("y", FLOAT, None)],
        {"w": floats(4, 3, 3, 2)},
    )
    module = check_import(path, {"x": floats(1, 3, 9, 7)}, tolerance=1e-5)
    conv, pool, mean = module.operations
    assert isinstance(conv, Node)
    assert isinstance(pool, Node)
    assert isinstance(mean, Node)
    assert dict(conv.attributes) == {"strides": (2, 1), "dilations": (1, 1), "pads": (1, 1, 1, 0), "group": 1}
    assert pool.attribute("pads") == (0, 0, 1, 1)
    assert mean.attribute("kind") == "global_average"
    assert (conv.name, pool.name) == ("first", "MaxPool_1")
    assert conv.source == ("first",)


def test_activations_of_convolutions_lie_channels_last(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Flatten", ["r"], ["f"]),
            helper.make_node("Softmax", ["f"], ["y"]),
        ],
        [("x", FLOAT, [1, 2, 4, 4])],
        [("y", FLOAT, None)],
        {"w": floats(3, 2, 3, 3)},
    )
    module = check_import(path, {"x": floats(1, 2, 4, 4)}, tolerance=1e-5)
    orders = {tensor.name: tensor.order for tensor in module.tensors}
    assert orders == {"x": (0, 2, 3, 1), "w": None, "c": (0, 2, 3, 1), "r": (0, 2, 3, 1), "f": None, "y": None}


def test_batch_normalisation_and_gemm_become_products_and_sums(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["g"], transB=1, alpha=0.5, beta=2.0),
            helper.make_node("BatchNormalization", ["g", "s", "t", "m", "v"], ["y"], epsilon=0.01),
        ],
        [("x", FLOAT, [3, 4])],
        [("y", FLOAT, None)],
        {"w": floats(5, 4), "b": floats(5), "s": floats(5), "t": floats(5), "m": floats(5), "v": floats(5) ** 2},
    )
    module = check_import(path, {"x": floats(3, 4)}, tolerance=1e-5)
    assert operators(module) == ["matmul", "mul", "add"]
    matmul = module.operations[0]
    assert isinstance(matmul, Node)
    assert matmul.attribute("transpose_b") is True


@pytest.mark.parametrize(
    ("left", "right"), [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 1, 4, 3), (5, 3, 2)), ((4, 3), (2, 3, 2))]
)
def test_matmul_of_any_ranks(tmp_path: Path, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        [("a", FLOAT, left), ("b", FLOAT, right)],
        [("y", FLOAT, None)],
    )
    module = check_import(path, {"a": floats(*left), "b": floats(*right)}, tolerance=1e-5)
    assert "matmul" in operators(module)
    assert "host" not in operators(module)


def test_zero_pad_joins_the_convolution(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Pad", ["x", "pads"], ["p"]),
            helper.make_node("Conv", ["p", "w"], ["y"], pads=[1, 1, 1, 1]),
        ],
        [("x", FLOAT, [1, 1, 4, 4])],
        [("y", FLOAT, None)],
        {"pads": np.array([0, 0, 1, 0, 0, 0, 2, 3], np.int64), "w": floats(1, 1, 3, 3)},
    )
    module = check_import(path, {"x": floats(1, 1, 4, 4)}, tolerance=1e-5)
    (conv,) = module.operations
    assert isinstance(conv, Node)
    assert conv.attribute("pads") == (2, 1, 3, 4)


def test_shape_arithmetic_folds_away(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"]),
            helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
            helper.make_node("Concat", ["n1", "rest"], ["target"], axis=0),
            helper.make_node("Reshape", ["x", "target"], ["y"]),
        ],
        [("x", FLOAT, ["batch", 2, 3])],
        [("y", FLOAT, None)],
        {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])},
    )
    module = import_model(path, take_all, ImportOptions(batch_size=4))
    assert operators(module) == ["reshape"]
    assert module.tensor("y").shape == (4, 6)
    assert module.header.batch == 4
    findings = {each.node: each.where for each in classify(path, take_all)}
    assert findings["Shape_0"] == "constant"
    assert findings["Reshape_4"] == "accelerator"


def test_host_regions_are_convex_and_few(tmp_path: Path) -> None:
    """Two host branches around two products: levels 1 and 2; the Exp that only the last Concat needs joins it."""
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Tan", ["x"], ["a"]),
            helper.make_node("Exp", ["x"], ["late"]),
            helper.make_node("MatMul", ["a", "w"], ["b"]),
            helper.make_node("Tan", ["b"], ["c"]),
            helper.make_node("MatMul", ["c", "w"], ["d"]),
            helper.make_node("Concat", ["d", "late"], ["y"], axis=0),
        ],
        [("x", FLOAT, [2, 2])],
        [("y", FLOAT, None)],
        {"w": floats(2, 2) * 0.1},
    )
    module = check_import(path, {"x": floats(2, 2) * 0.1}, tolerance=1e-5)
    assert operators(module) == ["host", "matmul", "host", "matmul", "host"]
    regions = [each for each in module.operations if isinstance(each, HostRegion)]
    assert [each.operators for each in regions] == [("Tan",), ("Tan",), ("Exp", "Concat")]
    assert regions[0].reason == "Tan: it has no accelerator form"
    whole = check_import(path, {"x": floats(2, 2) * 0.1}, accepts=take_none)
    assert operators(whole) == ["host"]


def test_control_flow_with_captured_values_stays_whole(tmp_path: Path) -> None:
    """The branches read a constant, an input and a computed value of the graph around them."""
    info = helper.make_tensor_value_info
    then = helper.make_graph([helper.make_node("Mul", ["m", "k"], ["t"])], "then", [], [info("t", FLOAT, None)])
    other = helper.make_graph([helper.make_node("Add", ["x", "k"], ["e"])], "else", [], [info("e", FLOAT, None)])
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["m0"]),
            helper.make_node("Identity", ["m0"], ["m"]),
            helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other),
        ],
        [("x", FLOAT, [2, 2]), ("flag", TensorProto.BOOL, [])],
        [("y", FLOAT, None)],
        {"w": floats(2, 2), "k": floats(2, 2)},
    )
    for flag in (True, False):
        module = check_import(path, {"x": floats(2, 2), "flag": np.array(flag)}, tolerance=1e-6)
    assert operators(module) == ["matmul", "host"]
    assert module.tensor("flag").type == HostType("tensor(bool)")
    assert module.tensor("y").type == ElementType.F32


def test_sequences_and_strings_pass_through(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("StringConcat", ["s", "s"], ["u"]),
            helper.make_node("SequenceConstruct", ["x", "x"], ["q"]),
        ],
        [("x", FLOAT, [2]), ("s", TensorProto.STRING, [2])],
        [("u", TensorProto.STRING, None)],
        opset=20,
    )
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_sequence_value_info("q", FLOAT, None))
    path.write_bytes(model.SerializeToString())
    feeds = {"x": floats(2), "s": np.array(["ab", "cd"], object)}
    module = import_model(path, take_all)
    assert operators(module) == ["host"]
    assert module.tensor("q").type == HostType("seq(tensor(float))")
    found = run_module(module, feeds)
    assert list(found["u"]) == ["abab", "cdcd"]
    assert len(found["q"]) == 2


def test_local_functions_are_expanded(tmp_path: Path) -> None:
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("MatMul", ["a", "a"], ["t"]), helper.make_node("Tan", ["t"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Twice", ["x"], ["h"], domain="local"),
            helper.make_node("Twice", ["h"], ["y"], domain="local"),
        ],
        [("x", FLOAT, [2, 2])],
        [("y", FLOAT, None)],
        functions=[function],
    )
    module = check_import(path, {"x": floats(2, 2) * 0.1}, tolerance=1e-5)
    assert operators(module) == ["matmul", "host", "matmul", "host"]
    assert {each.where for each in classify(path, take_all)} == {"accelerator"}


def test_outputs_that_are_constants_or_inputs(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Neg", ["k"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])],
        [("x", FLOAT, [2])],
        [("c", FLOAT, [2]), ("y", FLOAT, [2]), ("x", FLOAT, [2])],
        {"k": floats(2)},
    )
    check_import(path, {"x": floats(2)})


def test_light_float_operators_follow_their_neighbours_to_the_host(tmp_path: Path) -> None:
    """A GELU: host operators with arithmetic between them make one region, not three."""
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Div", ["m", "root"], ["d"]),
            helper.make_node("Erf", ["d"], ["e"]),
            helper.make_node("Add", ["e", "one"], ["a"]),
            helper.make_node("Mul", ["m", "a"], ["p"]),
            helper.make_node("MatMul", ["p", "w"], ["y"]),
        ],
        [("x", FLOAT, [2, 2])],
        [("y", FLOAT, None)],
        {"w": floats(2, 2), "root": np.array(1.4142135, np.float32), "one": np.array(1, np.float32)},
    )
    module = check_import(path, {"x": floats(2, 2)}, tolerance=1e-5)
    assert operators(module) == ["matmul", "host", "matmul"]


def test_dynamic_weights_and_runtime_shapes(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("NonZero", ["c"], ["n"]),
            helper.make_node("Cast", ["n"], ["f"], to=FLOAT),
            helper.make_node("Relu", ["f"], ["y"]),
        ],
        [("x", FLOAT, [1, 2, 5]), ("w", FLOAT, [2, 2, 3])],
        [("y", FLOAT, None), ("c", FLOAT, None)],
    )
    module = check_import(path, {"x": floats(1, 2, 5), "w": floats(2, 2, 3)}, tolerance=1e-5)
    assert operators(module) == ["conv", "host"]
    assert module.tensor("y").shape is None


def test_weights_are_stored_once_and_as_they_are(tmp_path: Path) -> None:
    weights = floats(3, 2, 1)
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Conv", ["x", "w"], ["y"])],
        [("x", FLOAT, [1, 2, 5])],
        [("a", FLOAT, None), ("y", FLOAT, None)],
        {"w": weights},
    )
    module = import_model(path, take_all)
    assert len(module.blobs) == 1
    np.testing.assert_array_equal(constant_array(module.tensor("w"), module.blobs), weights)


def test_importing_twice_gives_equal_modules(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Gemm", ["x", "w"], ["g"], alpha=0.5), helper.make_node("Softmax", ["g"], ["y"])],
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, None)],
        {"w": floats(4, 4)},
    )
    assert import_model(path, take_all) == import_model(path, take_all)


def test_integer_reshape_of_int64_is_for_the_host(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Transpose", ["x"], ["y"])],
        [("x", INT64, [2, 3])],
        [("y", INT64, None)],
    )
    module = check_import(path, {"x": np.arange(6).reshape(2, 3)})
    assert operators(module) == ["host"]


SHARED = {
    "bert_toy": {"input_ids": (1, 16), "token_type_ids": (1, 16), "input_mask": (1, 16)},
    "gpt2_megatron_1l": {"input_ids": (1, 64), "position_ids": (1, 64), "past_0": (2, 1, 2, 0, 4)},
    "silero_vad": {"input": (1, 512), "state": (2, 1, 128)},
    "scan_rnn_cntk": {"Input13165": (7, 1, 3)},
}
REFUSED = {"self_attention_illtyped", "tfc_2w2a_qonnx"}
# Fused there and not here, or the other way round, at the level of optimisation that the comparison uses.
APART = {"qdq_multi_consumer_edgetpu", "microkws_qdq"}


def shared_models() -> list[Path]:
    return sorted(each for each in SHARED_MODELS.glob("*/*.onnx") if each.stem not in REFUSED | APART)


@pytest.mark.skipif(not SHARED_MODELS.is_dir(), reason="the shared models are not here")
@pytest.mark.parametrize("path", shared_models(), ids=lambda path: path.stem)
@pytest.mark.parametrize("accepts", [take_all, take_none])
def test_shared_model(path: Path, accepts: Any) -> None:
    module = import_model(path, accepts, ImportOptions(shapes=SHARED.get(path.stem, {})))
    if accepts is take_none:
        assert operators(module) == ["host"]
    types = {each.name: each for each in onnx.load(path).graph.input}
    generator = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for name in module.inputs:
        elem_type = types[name].type.tensor_type.elem_type
        shape = module.tensor(name).shape
        kind = helper.tensor_dtype_to_np_dtype(elem_type)
        values = generator.standard_normal(shape) if elem_type == FLOAT else generator.integers(0, 3, shape)
        feeds[name] = np.asarray(values, kind)
    if "sr" in feeds:
        feeds["sr"] = np.array(16000)
    integer = "quantized" in path.parts
    found, expected = run_module(module, feeds), run_reference(path, feeds)
    for name, wanted in expected.items():
        if integer or wanted.dtype.kind != "f":
            np.testing.assert_array_equal(found[name], wanted)
        else:
            np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-5 * max(1.0, np.abs(wanted).max()))
