"""Small sound files of every kind, from which `fuzz` makes unsound ones. They are made here and by dnnc itself."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
Arrays = Mapping[str, np.ndarray[Any, Any]]


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[str],
    constants: Arrays,
    *,
    opsets: tuple[tuple[str, int], ...] = (("", OPSET),),
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> onnx.ModelProto:
    """A model whose outputs have no stated type, which onnxruntime infers."""
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "seed", inputs, [], weights)
    for name in outputs:
        graph.output.add(name=name)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=list(functions))
    return proto


def _image(extent: int = 6) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, extent, extent])]


def _floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def float_network() -> onnx.ModelProto:
    """Convolutions, batch normalisation, a residual, pooling, a classifier."""
    norm = [np.abs(_floats(3)) + 1 for _ in range(4)]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["c1", "s", "b", "m", "v"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], group=1),
        helper.make_node("Add", ["c2", "r1"], ["a1"]),
        helper.make_node("MaxPool", ["a1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p1"], ["f1"]),
        helper.make_node("Gemm", ["f1", "w3", "b3"], ["y"], transB=1),
        helper.make_node("Softmax", ["y"], ["z"]),
    ]
    constants = {"w1": _floats(3, 2, 3, 3), "b1": _floats(3), "w2": _floats(3, 3, 3, 3)}
    constants |= dict(zip("sbmv", norm, strict=True))
    constants |= {"w3": _floats(4, 27), "b3": _floats(4)}
    return model(nodes, _image(), ["z"], constants)


def integer_network() -> onnx.ModelProto:
    """QLinear operators, those of com.microsoft included."""
    scale = {f"s{k}": np.array(0.05 * (k + 1), np.float32) for k in range(4)}
    zero = {f"z{k}": np.array(128 - k, np.uint8) for k in range(4)}
    weights = {"w": np.random.default_rng(1).integers(-99, 99, (4, 2, 3, 3)).astype(np.int8)}
    weights |= {"ws": np.array([0.01, 0.02, 0.03, 0.04], np.float32), "wz": np.zeros(4, np.int8)}
    weights |= {"b": np.arange(4, dtype=np.int32)}
    add = ["c", "s1", "z1", "p", "s1", "z1", "s2", "z2"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s0", "z0"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s0", "z0", "w", "ws", "wz", "s1", "z1", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("QLinearAdd", add, ["a"], domain="com.microsoft"),
        helper.make_node(
            "QLinearGlobalAveragePool", ["a", "s2", "z2", "s3", "z3"], ["g"], domain="com.microsoft", channels_last=0
        ),
        helper.make_node("DequantizeLinear", ["g", "s3", "z3"], ["y"]),
    ]
    return model(nodes, _image(), ["y"], {**scale, **zero, **weights}, opsets=(("", OPSET), ("com.microsoft", 1)))


def qdq_network() -> onnx.ModelProto:
    """Float operators between QuantizeLinear and DequantizeLinear."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        helper.make_node("Conv", ["d", "dw"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s2", "z"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "s2", "z"], ["y"]),
    ]
    weights = np.random.default_rng(2).integers(-99, 99, (3, 2, 3, 3)).astype(np.int8)
    constants: dict[str, np.ndarray[Any, Any]] = {
        "s": np.array(0.03, np.float32),
        "s2": np.array(0.2, np.float32),
        "z": np.array(3, np.int8),
    }
    constants |= {"w": weights, "ws": np.full(3, 0.01, np.float32), "wz": np.zeros(3, np.int8)}
    return model(nodes, _image(), ["y"], constants)


def control_flow() -> onnx.ModelProto:
    """A Loop, an If and a Scan around array work."""

    def graph(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[str]) -> onnx.GraphProto:
        made = helper.make_graph(nodes, "body", inputs, [])
        for name in outputs:
            made.output.add(name=name)
        return made

    loop = graph(
        [
            helper.make_node("Identity", ["cond"], ["more"]),
            helper.make_node("Relu", ["carried"], ["carried_out"]),
        ],
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        ["more", "carried_out"],
    )
    scan = graph(
        [helper.make_node("Add", ["state", "row"], ["state_out"]), helper.make_node("Identity", ["row"], ["row_out"])],
        [
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [5]),
            helper.make_tensor_value_info("row", TensorProto.FLOAT, [5]),
        ],
        ["state_out", "row_out"],
    )
    yes, no = (graph([helper.make_node(op, ["l"], [op])], [], [op]) for op in ("Neg", "Abs"))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Loop", ["trips", "true", "m"], ["l"], body=loop),
        helper.make_node("ReduceSum", ["l"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["chosen"], then_branch=yes, else_branch=no),
        helper.make_node("Scan", ["start", "chosen"], ["last", "rows"], body=scan, num_scan_inputs=1),
        helper.make_node("SequenceConstruct", ["rows", "chosen"], ["sequence"]),
        helper.make_node("ConcatFromSequence", ["sequence"], ["y"], axis=0),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])]
    constants = {"w": _floats(4, 5), "trips": np.array(3), "true": np.array(True), "zero": np.array(0, np.float32)}
    return model(nodes, inputs, ["y", "last"], {**constants, "start": np.zeros(5, np.float32)})


def folded_shapes() -> onnx.ModelProto:
    """Shape arithmetic that a compiler folds, and a local function."""
    swish = helper.make_function(
        "local",
        "Swish",
        ["a"],
        ["b"],
        [helper.make_node("Sigmoid", ["a"], ["s"]), helper.make_node("Mul", ["a", "s"], ["b"])],
        [helper.make_opsetid("", OPSET)],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["n"], axis=0),
        helper.make_node("Concat", ["n", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["r"]),
        helper.make_node("ConstantOfShape", ["counts"], ["c"]),
        helper.make_node("Range", ["zero", "limit", "one"], ["range"]),
        helper.make_node("Cast", ["range"], ["f"], to=1),
        helper.make_node("Add", ["r", "f"], ["a"]),
        helper.make_node("Swish", ["a"], ["b"], domain="local"),
        helper.make_node("Transpose", ["b"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "w"], ["y"]),
        helper.make_node("Expand", ["one_f", "counts"], ["e"]),
    ]
    constants = {"first": np.array([0]), "rest": np.array([-1, 4]), "counts": np.array([3, 2]), "w": _floats(18, 3)}
    constants |= {"zero": np.array(0), "limit": np.array(4), "one": np.array(1), "one_f": np.ones(1, np.float32)}
    return model(nodes, _image(), ["y", "c", "e"], constants, opsets=(("", OPSET), ("local", 1)), functions=(swish,))


def strings() -> onnx.ModelProto:
    """Values that no array computes on."""
    nodes = [
        helper.make_node("StringNormalizer", ["words"], ["lower"], case_change_action="LOWER"),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    inputs = [*_image(), helper.make_tensor_value_info("words", TensorProto.STRING, [3])]
    return model(nodes, inputs, ["lower", "y"], {"w": _floats(2, 2, 1, 1)})


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    each.__name__: each for each in (float_network, integer_network, qdq_network, control_flow, folded_shapes, strings)
}
# What has an output that no .npz file holds, or an input that none holds, is not run.
RUN = ("float_network", "integer_network", "qdq_network", "control_flow", "folded_shapes")


def inputs_of(name: str) -> dict[str, np.ndarray[Any, Any]]:
    shape = (3, 4) if name == "control_flow" else (1, 2, 6, 6)
    return {"x": np.random.default_rng(3).standard_normal(shape).astype(np.float32)}


SETS = """\
sets:
  - {name: few, precision: w4a6, when: fog < 2}
  - {name: some, precision: w8a8:tensor, when: ["fog >= 2", "light == 'low'"]}
  - {name: all, precision: w8a12, when: 1 / fog > 3}
default: all
"""


def make_seeds(folder: Path, dnnc: Callable[[list[str]], None]) -> None:
    """Fill `folder` with models, inputs, machines, dumps, assembly, programs and a mapping file.

    `dnnc` runs a command line and raises where it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in MODELS.items():
        onnx.save(build(), str(folder / f"{name}.onnx"))
    onnx.save(
        float_network(),
        str(folder / "external.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    machines = importlib.resources.files("dnnc") / "specs" / "arch"
    for each in machines.iterdir():
        if each.name.endswith(".yaml"):
            (folder / each.name).write_bytes(each.read_bytes())
    for name in RUN:
        arrays = inputs_of(name)
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
        protos = folder / f"{name}.values"
        protos.mkdir(exist_ok=True)
        for array_name, array in arrays.items():
            (protos / "input_0.pb").write_bytes(numpy_helper.from_array(array, array_name).SerializeToString())
        source = str(folder / f"{name}.onnx")
        precision = "auto" if name == "float_network" else "keep"
        chosen = ["--arch", "edge8", "--precision", precision]
        np.savez(folder / f"{name}.samples.npz", x=np.repeat(arrays["x"], 4, axis=0))
        if name == "float_network":
            chosen += ["--calibrate", str(folder / f"{name}.samples.npz")]
        dumps = ["--dump-ir", str(folder / f"{name}.dumps")]
        dnnc(["compile", source, *chosen, *dumps, "-o", str(folder / f"{name}.dnnx")])
        dnnc(["disasm", str(folder / f"{name}.dnnx"), "-o", str(folder / f"{name}.s")])
        dnnc(["cost", source, *chosen, "--save-mapping", str(folder / f"{name}.mapping.yaml")])
    sets, program = folder / "sets.yaml", str(folder / "sets.dnnx")
    sets.write_text(SETS)
    np.savez(folder / "conditions.npz", fog=[0, 3, 3], light=["low", "low", "high"])
    calibrate = ["--calibrate", str(folder / "float_network.samples.npz")]
    words = [str(folder / "float_network.onnx"), "--arch", "mixed16", *calibrate]
    dnnc(["compile", *words, "--sets", str(sets), "-o", program])
    dnnc(["disasm", program, "-o", str(folder / "sets.s")])
