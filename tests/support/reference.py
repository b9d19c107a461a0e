"""onnxruntime, the outside reference of the arithmetic: one operator, or a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"


def run_operator(
    op: str, inputs: list[ArrayLike | None], result: Any, *, domain: str = "", constants: int = 0, **attributes: Any
) -> NDArray[Any]:
    """The output, of numpy type `result`, of a model of one operator. The last `constants` inputs are initializers."""
    names, values, initializers, feeds = [], [], [], {}
    for position, given in enumerate(inputs):
        name = f"input{position}" if given is not None else ""
        names.append(name)
        if given is None:
            continue
        array = np.asarray(given)
        if position >= len(inputs) - constants:
            initializers.append(numpy_helper.from_array(array, name))
        else:
            values.append(
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            )
            feeds[name] = array
    node = helper.make_node(op, names, ["y"], domain=domain, **attributes)
    output = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(result)), None)
    graph = helper.make_graph([node], "one", values, [output], initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return np.asarray(session(model).run(None, feeds)[0])


def session(model: bytes) -> Any:
    """The reference for a serialised model: one thread, CPU, no saturating kernels."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # Above this level onnxruntime 1.31 finds no kernel for int8 x int8 with that setting (specs/arithmetic.md).
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
