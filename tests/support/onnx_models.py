"""Small ONNX models, and the comparison of what the frontend makes of them with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from dnnc.frontend.importer import ImportOptions, import_model
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.module import Module
from dnnc.runtime.graph_interpreter import run_graph
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT8, UINT8, INT32, INT64 = (
    TensorProto.FLOAT,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT32,
    TensorProto.INT64,
)

Value = tuple[str, int, Sequence[int | str] | None]
SHARED_MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"


def save_model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    constants: Mapping[str, NDArray[Any]] | None = None,
    *,
    opset: int = 17,
    functions: Sequence[onnx.FunctionProto] = (),
) -> Path:
    """Write a model; `constants` become initialisers."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    opsets += [helper.make_opsetid(each, 1) for each in dict.fromkeys(function.domain for function in functions)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    return path


def session(model: bytes, level: str = "ORT_ENABLE_BASIC") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_reference(path: Path, feeds: Mapping[str, Any], level: str = "ORT_ENABLE_BASIC") -> dict[str, Any]:
    """What onnxruntime makes of the file."""
    whole = session(path.read_bytes(), level)
    names = [each.name for each in whole.get_outputs()]
    return dict(zip(names, whole.run(names, dict(feeds)), strict=True))


def run_module(module: Module, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """What the graph interpreter makes of an imported module, with onnxruntime as the host."""

    def run_host(region: HostRegion, values: list[Any]) -> list[Any]:
        results: list[Any] = session(module.blobs[region.model]).run(
            list(region.outputs), dict(zip(region.inputs, values, strict=True))
        )
        return results

    return run_graph(module, feeds, run_host)


def take_all(node: Node, tensors: Mapping[str, Any]) -> str:
    return ""


def take_none(node: Node, tensors: Mapping[str, Any]) -> str:
    return "the test refuses it"


def check_import(
    path: Path,
    feeds: Mapping[str, Any],
    *,
    accepts: Callable[..., str] = take_all,
    options: ImportOptions | None = None,
    tolerance: float = 0.0,
    level: str = "ORT_ENABLE_BASIC",
) -> Module:
    """Import, run, and compare every output with onnxruntime: equal, or within `tolerance` of the largest value."""
    module = import_model(path, accepts, options)
    expected, found = run_reference(path, feeds, level), run_module(module, feeds)
    assert set(expected) == set(found)
    for name, wanted in expected.items():
        if tolerance:
            scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
            np.testing.assert_allclose(found[name], wanted, rtol=0, atol=tolerance * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], wanted, err_msg=name)
    return module


def operators(module: Module) -> list[str]:
    """Kinds of the graph nodes in order; a host region is `host`."""
    return ["host" if isinstance(each, HostRegion) else each.op for each in module.operations if hasattr(each, "name")]
