"""One host region as an onnxruntime session: what is refused, what is converted at its edge, how it is run.

Used in this process for small regions and in the child process for all others (see `host`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

# Element types that numpy (and onnxruntime's Python interface) cannot hold travel as a wider type that holds each of
# their values exactly; a Cast at the region's edge converts.
CARRIERS = {
    getattr(TensorProto, name): carrier
    for name, carrier in {
        "BFLOAT16": TensorProto.FLOAT,
        "FLOAT8E4M3FN": TensorProto.FLOAT,
        "FLOAT8E4M3FNUZ": TensorProto.FLOAT,
        "FLOAT8E5M2": TensorProto.FLOAT,
        "FLOAT8E5M2FNUZ": TensorProto.FLOAT,
        "INT4": TensorProto.INT8,
        "UINT4": TensorProto.UINT8,
        "INT2": TensorProto.INT8,
        "UINT2": TensorProto.UINT8,
    }.items()
    if hasattr(TensorProto, name)
}


class HostRefused(Exception):
    """onnxruntime cannot run a region, or may not."""


def parse_region(data: bytes) -> onnx.ModelProto:
    """The ONNX model of a region. External data is refused: a program must not name files."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError has no public base class
        raise HostRefused(f"its model cannot be read: {error}") from error
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise HostRefused(f"its tensor {tensor.name!r} has external data, which a program must not")
    return model


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: initialisers and attributes, in subgraphs and functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Sequence[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)


def _carry_narrow_types(model: onnx.ModelProto) -> None:
    """Give inputs and outputs of types that numpy has not a carrier type, with a Cast inside."""
    graph = model.graph
    before, after = [], []
    for value, is_input in [*((each, True) for each in graph.input), *((each, False) for each in graph.output)]:
        narrow = value.type.tensor_type.elem_type
        if value.type.WhichOneof("value") != "tensor_type" or narrow not in CARRIERS:
            continue
        inner = f"{value.name}\0inner"
        for node in graph.node:
            names = node.input if is_input else node.output
            for place, name in enumerate(names):
                if name == value.name:
                    names[place] = inner
            if not is_input:  # later readers of the value inside the region
                for place, name in enumerate(node.input):
                    if name == value.name:
                        node.input[place] = inner
        if is_input:
            before.append(helper.make_node("Cast", [value.name], [inner], to=narrow))
        else:
            after.append(helper.make_node("Cast", [inner], [value.name], to=CARRIERS[narrow]))
        value.type.tensor_type.elem_type = CARRIERS[narrow]
    nodes = [*before, *graph.node, *after]
    if before or after:
        del graph.node[:]
        graph.node.extend(nodes)


class HostSession:
    """A region that is ready to run. `threads` bounds what onnxruntime uses."""

    def __init__(self, model: onnx.ModelProto, threads: int, *, fold_constants: bool) -> None:
        _carry_narrow_types(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # As everywhere in dnnc: without it, kernels on machines without VNNI saturate sums of products.
        options.add_session_config_entry("session.x64quantprecision", "1")
        data = model.SerializeToString()
        levels = onnxruntime.GraphOptimizationLevel
        # Optimisation may inline a branch whose known shapes onnxruntime then refuses, although it runs the region.
        for level in (levels.ORT_ENABLE_BASIC, levels.ORT_DISABLE_ALL) if fold_constants else (levels.ORT_DISABLE_ALL,):
            options.graph_optimization_level = level
            try:
                self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
                break
            except Exception as error:  # onnxruntime's exceptions share no base class but Exception
                if level == levels.ORT_DISABLE_ALL:
                    raise HostRefused(f"onnxruntime refuses it: {first_line(error)}") from error
        self._elements = {
            each.name: each.type.tensor_type.elem_type
            for each in model.graph.input
            if each.type.WhichOneof("value") == "tensor_type"
        }

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any], options: onnxruntime.RunOptions) -> list[Any]:
        """The values of `outputs`. Tensors are converted to the types that the region declares for its inputs."""
        try:
            converted = {name: self._converted(name, value) for name, value in feeds.items()}
            result: list[Any] = self._session.run(list(outputs), converted, options)
        except Exception as error:
            raise HostRefused(first_line(error)) from error
        return result

    def _converted(self, name: str, value: Any) -> Any:
        element = self._elements.get(name)
        if element in (None, TensorProto.UNDEFINED, TensorProto.STRING) or not isinstance(value, np.ndarray):
            return value
        return value.astype(helper.tensor_dtype_to_np_dtype(element), copy=False)


def first_line(error: Exception) -> str:
    """What an exception says, short enough for a diagnostic."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]


# --- Which regions may run in this process ------------------------------------------------------------------------

# Operators whose time and memory are a small multiple of the elements of their operands and results.
_LIGHT = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization Cast Ceil Celu Clip Concat Constant
    Cos Cosh DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather Gelu
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Hardmax Identity IsInf IsNaN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow
    QuantizeLinear Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Round Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Transpose Unsqueeze Where Xor
    """.split()  # noqa: SIM905
)
_MOST_NODES = 10_000
_MOST_ELEMENTS = 1 << 24
_SMALL_INITIALIZER = 1024


def runs_inside(model: onnx.ModelProto) -> bool:
    """Whether a region may run in this process: only light operators of the standard domain, every shape known before
    the run, and few elements in all. Then neither its time nor its memory can surprise."""
    graph = model.graph
    if len(graph.node) > _MOST_NODES or model.functions or graph.sparse_initializer:
        return False
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _LIGHT:
            return False
    elements = sum(_count(each.dims) for each in graph.initializer)
    if elements > _MOST_ELEMENTS:
        return False
    for value in _inferred(model):
        kind = value.type.tensor_type
        if value.type.WhichOneof("value") != "tensor_type" or not kind.HasField("shape"):
            return False
        if any(each.WhichOneof("value") != "dim_value" for each in kind.shape.dim):
            return False
        elements += _count([each.dim_value for each in kind.shape.dim])
        if elements > _MOST_ELEMENTS:
            return False
    return True


def _count(dims: Sequence[int]) -> int:
    count = 1
    for each in dims:
        count *= max(0, each)
    return count


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs and results of every node; one without a shape is among them as such. Large weights do not take part."""
    slim = onnx.ModelProto()
    slim.CopyFrom(model)
    kept = []
    for each in model.graph.initializer:
        if _count(each.dims) <= _SMALL_INITIALIZER:
            kept.append(each)
        else:
            slim.graph.input.append(helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)))
    del slim.graph.initializer[:]
    slim.graph.initializer.extend(kept)
    # What the model itself says of its values is not trusted: only what follows counts.
    del slim.graph.value_info[:]
    for each in slim.graph.output:
        each.ClearField("type")
    try:
        inferred = onnx.shape_inference.infer_shapes(slim, data_prop=True).graph
    except Exception:  # a model that onnx cannot follow runs in the child
        return [onnx.ValueInfoProto()]
    known = {each.name: each for each in (*inferred.value_info, *inferred.output)}
    results = [name for node in model.graph.node for name in node.output if name]
    return [*model.graph.input, *(known.get(name, onnx.ValueInfoProto()) for name in results)]
