"""onnxruntime as the frontend uses it: to infer types, to fold constants, to calibrate.

A session here never optimises the graph, so that creating one evaluates nothing: its time and memory are bounded by the
size of the model. What runs in this process is known to end and to fit (`fold` and `calibrate` see to it); everything
else runs in a child process (`bounded`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..ir.frozen import dataclass
from .messages import ModelProto, TensorProto
from .network import NUMPY_TYPES, Constant

if TYPE_CHECKING:
    import onnxruntime

# Constants of at least this many elements are handed to a session as they lie, without a copy.
_SHARED_ELEMENTS = 1024


@dataclass(frozen=True, slots=True)
class Session:
    """A session together with the arrays that it shares, which must outlive it."""

    session: onnxruntime.InferenceSession
    shared: tuple[Any, ...]

    def run(self, outputs: Iterable[str], feeds: Mapping[str, Any]) -> list[Any]:
        result: list[Any] = self.session.run(list(outputs), dict(feeds))
        return result


def create_session(model: ModelProto, constants: Mapping[str, Constant], *, optimise: bool = False) -> Session:
    """A CPU session of `model`, to which `constants` are added as initialisers (large ones shared, not copied).

    With `optimise`, the session folds and simplifies; without, it runs the graph as it stands. Above that level
    onnxruntime 1.31 finds no kernels for some int8 operators together with `session.x64quantprecision`.
    Raises onnxruntime's own errors where it refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = optimise
    options.add_session_config_entry("session.x64quantprecision", "1")
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if optimise else levels.ORT_DISABLE_ALL
    if not optimise:
        options.add_session_config_entry("session.disable_prepacking", "1")
    names, values = [], []
    whole = ModelProto()
    whole.CopyFrom(model)
    for name, constant in constants.items():
        if constant.array.size >= _SHARED_ELEMENTS and constant.elem_type in NUMPY_TYPES:
            stub = whole.graph.initializer.add(
                name=name, data_type=constant.elem_type, dims=constant.shape, data_location=TensorProto.EXTERNAL
            )
            stub.external_data.add(key="location", value="shared")
            names.append(name)
            values.append(onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(constant.array)))
        else:
            whole.graph.initializer.append(constant.proto(name))
    if names:
        options.add_external_initializers(names, values)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Session(session, tuple(values))


def onnxruntime_message(error: Exception) -> str:
    """What onnxruntime says, without its codes and source places."""
    text = str(error)
    for mark in ("This is an invalid model. ", "Status Message: "):
        _, found, rest = text.rpartition(mark)
        if found:
            text = rest
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return " ".join(text.split())[:400]


Array = NDArray[Any]
