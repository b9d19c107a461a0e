"""onnxruntime as the benchmarks use it: one thread, kernels that do not saturate in between, every tensor type.

numpy has no bfloat16, float8 or 4-bit types of its own: they come and go as arrays of `ml_dtypes`, by their bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from dnnc.ir.program import HostCall, Program
from dnnc.runtime.host_session import HostSession, parse_region
from dnnc.runtime.program_checks import HostMemory
from numpy.typing import NDArray
from onnx import TensorProto

# ONNX's spelling of each type that numpy lacks: (its number in TensorProto, the array's type, elements a byte).
_OTHER_TYPES: dict[str, tuple[int, Any, int]] = {
    "tensor(bfloat16)": (TensorProto.BFLOAT16, ml_dtypes.bfloat16, 1),
    "tensor(float8e4m3fn)": (TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn, 1),
    "tensor(float8e4m3fnuz)": (TensorProto.FLOAT8E4M3FNUZ, ml_dtypes.float8_e4m3fnuz, 1),
    "tensor(float8e5m2)": (TensorProto.FLOAT8E5M2, ml_dtypes.float8_e5m2, 1),
    "tensor(float8e5m2fnuz)": (TensorProto.FLOAT8E5M2FNUZ, ml_dtypes.float8_e5m2fnuz, 1),
    "tensor(int4)": (TensorProto.INT4, ml_dtypes.int4, 2),
    "tensor(uint4)": (TensorProto.UINT4, ml_dtypes.uint4, 2),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """A session of a model, and whether onnxruntime had to leave optimisations out to create it."""

    session: onnxruntime.InferenceSession
    reduced: bool

    @property
    def input_types(self) -> dict[str, str]:
        return {each.name: each.type for each in self.session.get_inputs()}

    @property
    def output_names(self) -> list[str]:
        return [each.name for each in self.session.get_outputs()]

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name. Raises onnxruntime's errors."""
        names = self.output_names
        if not any(each.type in _OTHER_TYPES for each in (*self.session.get_inputs(), *self.session.get_outputs())):
            return dict(zip(names, self.session.run(names, dict(feeds)), strict=True))
        types = self.input_types
        given = {name: _to_onnxruntime(value, types[name]) for name, value in feeds.items()}
        values = self.session.run_with_ort_values(names, given)
        return {name: _from_onnxruntime(value) for name, value in zip(names, values, strict=True)}


def reference(model: onnx.ModelProto | str) -> Reference:
    """A session of a model or a file. Raises onnxruntime's errors where it refuses the model.

    With `session.x64quantprecision`, onnxruntime 1.31 finds no kernels for some int8 operators above the basic level of
    optimisation; that level then serves.
    """
    source = model if isinstance(model, str) else model.SerializeToString()
    try:
        return Reference(_session(source, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL), False)
    except Exception:
        return Reference(_session(source, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC), True)


def _session(source: str | bytes, level: Any) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _to_onnxruntime(value: Any, spelling: str) -> Any:
    if spelling not in _OTHER_TYPES:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(value))
    number, _, packing = _OTHER_TYPES[spelling]
    target = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(value.shape), number)
    codes: NDArray[np.uint8] = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
    if packing == 2:
        padded = np.append(codes & 15, np.zeros(codes.size % 2, np.uint8))
        codes = (padded[0::2] | padded[1::2] << 4).astype(np.uint8)
    ctypes.memmove(target.data_ptr(), codes.tobytes(), codes.nbytes)
    return target


def _from_onnxruntime(value: Any) -> NDArray[Any]:
    spelling = value.data_type()
    if spelling not in _OTHER_TYPES:
        plain: NDArray[Any] = value.numpy()
        return plain
    _, kind, packing = _OTHER_TYPES[spelling]
    count = int(np.prod(value.shape(), dtype=np.int64))
    size = count * np.dtype(kind).itemsize if packing == 1 else -(-count // 2)
    codes = np.frombuffer(ctypes.string_at(value.data_ptr(), size), np.uint8)
    if packing == 2:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(-1)[:count]
        codes = (codes.astype(np.int8) << 4 >> 4).view(np.uint8) if kind is ml_dtypes.int4 else codes
    found: NDArray[Any] = codes.view(kind).reshape(value.shape())
    return found


class InProcessHost:
    """Host regions in this process, where a program's child process would take most of the time of a benchmark. The
    models are those of the benchmark: nothing is bounded."""

    def __init__(self, program: Program, deadline: float, memory: HostMemory) -> None:
        self.blobs = program.blobs
        self.sessions: dict[str, HostSession] = {}

    def __enter__(self) -> InProcessHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.sessions.clear()

    def run(self, call: HostCall, feeds: Mapping[str, Any], held_bytes: int) -> dict[str, Any]:
        if call.name not in self.sessions:
            self.sessions[call.name] = HostSession(parse_region(self.blobs[call.model]), 1, fold_constants=True)
        values = self.sessions[call.name].run(call.outputs, feeds, onnxruntime.RunOptions())
        return dict(zip(call.outputs, values, strict=True))
