"""onnxruntime sessions of one integer operator, for any number of samples, kept for all candidates that need them.

A session holds what onnxruntime prepares: weights, the bias, the operand's zero point (fed with each call, either of
these two makes QLinearConv three times as slow). Scales and the zero point of the result are fed, so that candidates
which differ in those alone share the session: making one takes as long as running it on some samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from .kept import Kept

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[Any]
MICROSOFT = "com.microsoft"
_OPSETS = (("", 21), (MICROSOFT, 1))
_IR_VERSION = 10
_SESSION_ITSELF_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand behind the first one: part of the session, or fed with each call."""

    name: str
    array: Array
    is_constant: bool = False


class Sessions:
    """Sessions of at most `limit_bytes` of constants; `made` counts those that were made."""

    def __init__(self, limit_bytes: int) -> None:
        self._kept: Kept[onnxruntime.InferenceSession] = Kept(limit_bytes)
        self.made = 0

    def operator(
        self,
        op: str,
        operands: Sequence[Operand],
        extents: Sequence[int | None],
        result: np.dtype[Any],
        *,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> Callable[[Array], Array]:
        """A function of the first operand, an array of unsigned bytes of these extents (None: any). It uses the thread
        that calls it and no other, and may be called from several."""
        fed = {each.name: np.ascontiguousarray(each.array) for each in operands if not each.is_constant}
        settings = dict(attributes or {})
        digest = hashlib.blake2b(repr((op, domain, sorted(settings.items()), list(extents), result)).encode())
        for each in operands:
            digest.update(repr((each.name, each.array.dtype, each.array.shape, each.is_constant)).encode())
            if each.is_constant:
                digest.update(np.ascontiguousarray(each.array).data)
        session = self._kept.get(digest.digest())
        if session is None:
            session = _session(op, operands, extents, result, domain, settings)
            self.made += 1
            held = sum(each.array.nbytes for each in operands if each.is_constant)
            self._kept.put(digest.digest(), session, held + _SESSION_ITSELF_BYTES)
        found = session

        def run(x: Array) -> Array:
            y: Array = found.run(None, {"x": x, **fed})[0]
            return y

        return run


def _session(
    op: str,
    operands: Sequence[Operand],
    extents: Sequence[int | None],
    result: np.dtype[Any],
    domain: str,
    attributes: Mapping[str, Any],
) -> onnxruntime.InferenceSession:
    import onnxruntime
    from onnx import helper, numpy_helper

    def declared(name: str, dtype: np.dtype[Any], shape: Sequence[int | None] | None) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)

    inputs = [declared("x", np.dtype(np.uint8), extents)]
    inputs += [declared(each.name, each.array.dtype, each.array.shape) for each in operands if not each.is_constant]
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(each.array), each.name) for each in operands if each.is_constant
    ]
    node = helper.make_node(op, ["x", *(each.name for each in operands)], ["y"], domain=domain, **attributes)
    graph = helper.make_graph([node], op, inputs, [declared("y", result, None)], constants)
    opsets = [helper.make_opsetid(*each) for each in _OPSETS]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # As everywhere in dnnc: without it, kernels on machines without VNNI saturate sums of products.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    _share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@cache
def _share_memory() -> None:
    """One arena for the sessions of this process that ask for it: with one each, hundreds of sessions would hold what
    their largest run took."""
    import onnxruntime

    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_requested = 1  # an arena grows by what is asked for, not by doubling
    limits = {"max_mem": 0, "arena_extend_strategy": as_requested}
    unset = {"initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    onnxruntime.create_and_register_allocator(where, onnxruntime.OrtArenaCfg(limits | unset))
