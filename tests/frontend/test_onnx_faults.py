"""Wrong and hostile models: every fault is found, named, and costs neither time nor memory."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.frontend.importer import ImportOptions, import_model
from dnnc.frontend.wellformed import structural_faults
from dnnc.ir.diagnostics import CompileError
from onnx import TensorProto, helper, numpy_helper
from support.onnx_models import FLOAT, INT64, SHARED_MODELS, operators, save_model, take_all


def faults(path: Path, **options: Any) -> list[str]:
    """Messages and helps of the refusal."""
    with pytest.raises(CompileError) as caught:
        import_model(path, take_all, ImportOptions(**options))
    return [f"{each.message} | {each.help}" for each in caught.value.diagnostics]


def chain(path: Path, *nodes: onnx.NodeProto, opset: int = 17) -> Path:
    return save_model(
        path, nodes, [("x", FLOAT, [2, 3])], [("y", FLOAT, None)], {"w": np.ones((3, 3), np.float32)}, opset=opset
    )


def test_all_structural_faults_at_once(tmp_path: Path) -> None:
    path = chain(
        tmp_path / "m.onnx",
        helper.make_node("Relu", ["xx"], ["a"], name="typo"),
        helper.make_node("Rleu", ["x"], ["b"], name="unknown"),
        helper.make_node("Relu", ["x"], ["a"], name="again"),
        helper.make_node("Relu", ["q"], ["p"], name="one"),
        helper.make_node("Relu", ["p"], ["q"], name="two"),
        helper.make_node("Thing", ["x"], ["c"], name="custom", domain="my.domain"),
    )
    found = faults(path)
    assert found == [
        "node 'unknown': unknown operator 'Rleu' | did you mean 'Relu'?",
        "node 'again' defines 'a', which is already defined by node 'typo' | ",
        "node 'custom': operator 'my.domain.Thing' is of the unknown domain 'my.domain' | "
        "express it with ONNX operators or as a local function of the model",
        "node 'typo' reads 'xx', which nothing defines | ",
        "output 'y' is defined by no node | ",
        "nodes form a cycle: 'one', 'two' | ",
    ]


def test_every_ill_typed_node_is_named(tmp_path: Path) -> None:
    """The second fault lies behind the first: the type of Equal's result does not depend on its operands."""
    path = chain(
        tmp_path / "m.onnx",
        helper.make_node("Equal", ["x", "w3"], ["e"], name="mixed"),
        helper.make_node("Where", ["e", "x", "w3"], ["s"], name="branches"),
        helper.make_node("MatMul", ["x", "bad"], ["y"], name="shapes"),
    )
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3), np.int64), "w3"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((5, 3), np.float32), "bad"))
    path.write_bytes(model.SerializeToString())
    found = faults(path)
    assert [each.split("'")[1] for each in found] == ["mixed", "branches", "shapes"]


def test_opsets(tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    assert "opset 27" in faults(chain(tmp_path / "new.onnx", relu, opset=27))[0]
    late = helper.make_node("Gelu", ["x"], ["y"])
    assert faults(chain(tmp_path / "late.onnx", late, opset=17)) == [
        "node 'Gelu_0': operator 'Gelu' came with opset 20; the model imports 17 | "
    ]
    for version in (7, 13, 26):
        assert operators(import_model(chain(tmp_path / "ok.onnx", relu, opset=version), take_all)) == ["relu"]


def test_axes_that_nobody_binds(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [("a", FLOAT, ["n", "t", 4]), ("b", FLOAT, ["n", "u", 4])],
        [("y", FLOAT, None)],
    )
    assert faults(path) == [
        "axis 1 of input 'a' is symbolic (t) and not bound | bind it to what you need: --shape a=1,16,4",
        "axis 1 of input 'b' is symbolic (u) and not bound | bind it to what you need: --shape b=1,16,4",
    ]
    assert "which is no input" in faults(path, shapes={"c": (1,), "a": (1, 2, 4), "b": (1, 2, 4)})[0]
    assert "axis 'n' is bound to 1, too" in faults(path, shapes={"a": (1, 2, 4), "b": (3, 2, 4)})[0]
    assert "has shape [n,t,4]" in faults(path, shapes={"a": (1, 2, 5), "b": (1, 2, 4)})[0]
    module = import_model(path, take_all, ImportOptions(batch_size=5, shapes={"a": (5, 2, 4), "b": (5, 1, 4)}))
    assert module.tensor("y").shape == (5, 2, 4)
    fixed = chain(tmp_path / "fixed.onnx", helper.make_node("Relu", ["x"], ["y"]))
    assert "fixed at 2" in faults(fixed, batch_size=3)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.dims.__setitem__(0, 2**40), "its type and dimensions ask for"),
        (lambda t: t.dims.__setitem__(0, -1), "has a negative dimension"),
        (lambda t: setattr(t, "data_type", 99), "has an unknown element type"),
        (lambda t: setattr(t, "data_type", TensorProto.DOUBLE), "ask for 72"),
        (lambda t: setattr(t, "raw_data", b"12"), "has 2 bytes"),
    ],
)
def test_tensors_whose_data_does_not_fit(tmp_path: Path, change: Callable[[TensorProto], None], said: str) -> None:
    path = chain(tmp_path / "m.onnx", helper.make_node("MatMul", ["x", "w"], ["y"]))
    model = onnx.load(path)
    change(model.graph.initializer[0])
    path.write_bytes(model.SerializeToString())
    assert said in faults(path)[0]


def external_model(folder: Path, location: str, **entries: str) -> Path:
    path = chain(folder / "m.onnx", helper.make_node("MatMul", ["x", "w"], ["y"]))
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    weights = np.arange(9, dtype=np.float32)
    (folder / "w.bin").write_bytes(b"\0" * 4 + weights.tobytes())
    (tmp_path / "secret").write_bytes(weights.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    module = import_model(external_model(folder, "w.bin", offset="4", length="36"), take_all)
    assert next(iter(module.blobs.values())) == weights.tobytes()
    for location, said in (
        ("../secret", "outside"),
        (str(tmp_path / "secret"), "outside"),
        ("link", "leads outside"),
        ("absent", "does not exist"),
        ("", "outside"),
        (".", "does not exist"),
    ):
        assert said in faults(external_model(folder, location))[0]
    assert "claims bytes 8 to 44" in faults(external_model(folder, "w.bin", offset="8"))[0]
    assert "claims bytes -4" in faults(external_model(folder, "w.bin", offset="-4"))[0]
    assert "no number" in faults(external_model(folder, "w.bin", offset="x"))[0]


def test_functions_that_grow_or_recur(tmp_path: Path) -> None:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]

    def doubling(level: int) -> onnx.FunctionProto:
        called = f"F{level - 1}" if level else "Relu"
        domain = "f" if level else ""
        pairs = (("a", "t"), ("t", "b"))
        nodes = [helper.make_node(called, [given], [made], domain=domain) for given, made in pairs]
        return helper.make_function("f", f"F{level}", ["a"], ["b"], nodes, opset)

    call = [helper.make_node("F30", ["x"], ["y"], domain="f")]
    inputs, outputs = [("x", FLOAT, [2])], [("y", FLOAT, None)]
    path = save_model(tmp_path / "m.onnx", call, inputs, outputs, functions=[doubling(each) for each in range(31)])
    assert "expand to 2147483648 nodes" in faults(path)[0]
    own = helper.make_function("f", "F30", ["a"], ["b"], [helper.make_node("F30", ["a"], ["b"], domain="f")], opset)
    path = save_model(tmp_path / "m.onnx", call, inputs, outputs, functions=[own])
    assert "'F30' calls itself: F30 -> F30" in faults(path)[0]
    opposite = helper.make_function("f", "F31", ["a"], ["b"], list(own.node), opset)
    own.node[0].op_type = "F31"
    path = save_model(tmp_path / "m.onnx", call, inputs, outputs, functions=[own, opposite])
    assert re.search("'F3.' calls itself: (F30 -> F31 -> F30|F31 -> F30 -> F31)", faults(path)[0])


def test_functions_may_call_functions_any_number_of_times(tmp_path: Path) -> None:
    """Deeper than Python's own calls may go."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    functions = [
        helper.make_function(
            "f", f"F{n}", ["a"], ["b"], [helper.make_node(f"F{n - 1}", ["a"], ["b"], domain="f")], opset
        )
        for n in range(1, 2000)
    ]
    functions.append(helper.make_function("f", "F0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opset))
    call = [helper.make_node("F1999", ["x"], ["y"], domain="f")]
    path = save_model(tmp_path / "m.onnx", call, [("x", FLOAT, [2])], [("y", FLOAT, None)], functions=functions)
    assert structural_faults(onnx.load(path), path) == []


def test_what_would_take_for_ever_is_not_folded(tmp_path: Path) -> None:
    """An endless Loop, a huge constant, and a product of 10^15 operations, all on constants."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["v"], ["v2"])],
        "body",
        [info("i", INT64, []), info("c", TensorProto.BOOL, []), info("v", FLOAT, [1])],
        [info("c2", TensorProto.BOOL, []), info("v2", FLOAT, [1])],
    )
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Loop", ["", "yes", "one"], ["endless"], body=body),
            helper.make_node("ConstantOfShape", ["huge"], ["large"]),
            helper.make_node("ConstantOfShape", ["wide"], ["square"]),
            helper.make_node("Einsum", ["square", "square"], ["product"], equation="ij,jk->ik"),
            helper.make_node("Concat", ["endless", "x"], ["y"], axis=0),
        ],
        [("x", FLOAT, [1])],
        [("y", FLOAT, None), ("large", FLOAT, None), ("product", FLOAT, None)],
        {
            "yes": np.array(True),
            "one": np.ones(1, np.float32),
            "huge": np.array([2**40], np.int64),
            "wide": np.array([5000, 5000], np.int64),
        },
    )
    assert operators(import_model(path, take_all)) == ["host"]


def test_a_node_that_fails_on_constants_is_named(tmp_path: Path) -> None:
    path = chain(
        tmp_path / "m.onnx",
        helper.make_node("Gather", ["w", "far"], ["g"], name="beyond"),
        helper.make_node("MatMul", ["x", "g"], ["y"]),
    )
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1, 9]), "far"))
    path.write_bytes(model.SerializeToString())
    assert faults(path)[0].startswith("node 'beyond' (Gather) fails on constants")


def test_files_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    (tmp_path / "empty.onnx").write_bytes(b"")
    assert "no ONNX file" in faults(tmp_path / "text.onnx")[0]
    assert faults(tmp_path / "empty.onnx")[0].startswith("the file is empty")
    (tmp_path / "hollow.onnx").write_bytes(onnx.ModelProto(ir_version=8).SerializeToString())
    assert "has no graph" in faults(tmp_path / "hollow.onnx")[0]
    assert "there is no such file" in faults(tmp_path / "absent.onnx")[0]
    assert "not a regular file" in faults(tmp_path)[0]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.onnx")
        assert "not a regular file" in faults(tmp_path / "pipe.onnx")[0]


def test_mutated_files_are_refused_or_imported(tmp_path: Path) -> None:
    path = save_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Clip", ["c", "low"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["g"]),
            helper.make_node("Flatten", ["g"], ["f"]),
            helper.make_node("Gemm", ["f", "v"], ["y"], transB=1),
        ],
        [("x", FLOAT, ["n", 2, 6, 6])],
        [("y", FLOAT, None)],
        {
            "w": np.ones((3, 2, 3, 3), np.float32),
            "b": np.ones(3, np.float32),
            "v": np.ones((4, 3), np.float32),
            "low": np.array(0, np.float32),
        },
    )
    original = path.read_bytes()
    generator = random.Random(0)
    for _ in range(150):
        data = bytearray(original)
        for _ in range(generator.choice([1, 2, 8])):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        if generator.random() < 0.2:
            del data[generator.randrange(len(data)) :]
        path.write_bytes(bytes(data))
        with suppress(CompileError):
            import_model(path, take_all)


@pytest.mark.skipif(not SHARED_MODELS.is_dir(), reason="the shared models are not here")
def test_shared_models_that_onnxruntime_refuses() -> None:
    (only,) = faults(SHARED_MODELS / "odd" / "self_attention_illtyped.onnx")
    assert only.startswith("node '/attention/Equal' (Equal) is not valid: Type Error")
    found = faults(SHARED_MODELS / "quantized" / "tfc_2w2a_qonnx.onnx")
    assert [each.split("'")[1] for each in found] == [f"Quant_{index}" for index in (13, 18, 25, 30, 37, 42, 49, 54)]


def test_attributes_of_a_call_are_for_the_bodies_of_functions(tmp_path: Path) -> None:
    node = helper.make_node("LeakyRelu", ["x"], ["y"], name="leak")
    node.attribute.add(name="alpha", ref_attr_name="a", type=onnx.AttributeProto.FLOAT)
    assert faults(chain(tmp_path / "m.onnx", node)) == [
        "node 'leak': attribute 'alpha' is that of a function's call | "
        "only the body of a local function refers to the attributes of its call"
    ]


@pytest.mark.parametrize("addend", [[4], [3, 3], [1, 1, 3]])
def test_a_gemm_whose_addend_does_not_broadcast_stays_on_the_host(tmp_path: Path, addend: list[int]) -> None:
    """onnxruntime refuses it when it runs, and not before."""
    path = save_model(
        tmp_path / "m.onnx",
        [helper.make_node("Gemm", ["x", "w", "c"], ["y"])],
        [("x", FLOAT, [2, 3])],
        [("y", FLOAT, None)],
        {"w": np.ones((3, 3), np.float32), "c": np.ones(addend, np.float32)},
    )
    assert operators(import_model(path, take_all)) == ["host"]


@pytest.mark.parametrize("count", [0, -1, 3, 1 << 28, 1 << 40])
def test_a_scan_has_at_most_its_inputs_to_scan(tmp_path: Path, count: int) -> None:
    """onnxruntime would take memory for as many."""
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "v"], ["t"]), helper.make_node("Identity", ["t"], ["u"])],
        "body",
        [helper.make_tensor_value_info(name, FLOAT, [3]) for name in "sv"],
        [helper.make_tensor_value_info(name, FLOAT, [3]) for name in "tu"],
    )
    scan = helper.make_node("Scan", ["s0", "x"], ["last", "y"], name="scan", body=body, num_scan_inputs=count)
    inputs: list[Any] = [("s0", FLOAT, [3]), ("x", FLOAT, [4, 3])]
    path = save_model(tmp_path / "m.onnx", [scan], inputs, [("y", FLOAT, None)], {})
    assert faults(path) == [f"node 'scan': num_scan_inputs is {count} | it is 1 to 2, its inputs"]

    calls = helper.make_function("own", "f", ["s0", "x"], ["last", "y"], [scan], [helper.make_opsetid("", 17)])
    model = onnx.load(path)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("f", ["s0", "x"], ["last", "y"], domain="own"))
    model.functions.append(calls)
    model.opset_import.add(domain="own", version=1)
    onnx.save(model, path)
    message = f"node \"scan (in the function 'f')\": num_scan_inputs is {count} | it is 1 to 2, its inputs"
    assert faults(path) == [message]


def test_extents_are_no_negative_numbers(tmp_path: Path) -> None:
    """But for -1, which exporters write for an axis that is open."""

    def model(extent: int) -> Path:
        nodes = [helper.make_node("Relu", ["x"], ["y"])]
        return save_model(tmp_path / "m.onnx", nodes, [("x", FLOAT, [extent, 3])], [("y", FLOAT, [extent, 3])])

    help = "0 or more, or a name for an axis that is bound later"
    assert faults(model(-4)) == [
        f"axis 0 of input 'x' has -4 elements | {help}",
        f"axis 0 of output 'y' has -4 elements | {help}",
    ]
    assert import_model(model(-1), take_all, ImportOptions(batch_size=2)).header.batch == 2


def test_an_operator_like_no_other_has_help(tmp_path: Path) -> None:
    legal = "the operators of ONNX's domain 'ai.onnx', or a local function of the model"
    assert faults(chain(tmp_path / "m.onnx", helper.make_node("Frob", ["x"], ["y"], name="n"))) == [
        f"node 'n': unknown operator 'Frob' | {legal}"
    ]
