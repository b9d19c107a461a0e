"""Reading a model file that nobody vouches for: every tensor's bytes accounted for, external data inside its folder.

Nothing is evaluated here. Weights become arrays once; those in external data are mapped, not read, so that a model of
many gigabytes costs no memory until its weights are used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import read_bounded
from ..ir.frozen import dataclass
from .messages import IR_VERSION, AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from .network import (
    NUMPY_TYPES,
    Constant,
    Network,
    OnnxNode,
    captured_values,
    inner_names,
    numpy_type,
    plain_domain,
    subgraphs,
)
from .wellformed import order_nodes, structural_faults

# protobuf itself stops at 2 GiB; larger models keep their weights in external data.
LARGEST_FILE_BYTES = 2**31 - 1
# Nodes, initialisers and attributes are hundreds of bytes each once parsed; no known network comes near this.
MOST_NODES = 1_000_000
# numpy's own limit, in its oldest version that we run on.
MOST_AXES = 32
# Of a path and of each name in it: what file systems take.
MOST_PATH_BYTES = 2048
MOST_NAME_BYTES = 255

# Where values lie that are not raw; other types are in int32_data.
_TYPED_FIELDS = {
    "FLOAT": "float_data",
    "COMPLEX64": "float_data",
    "DOUBLE": "double_data",
    "COMPLEX128": "double_data",
    "INT64": "int64_data",
    "UINT32": "uint64_data",
    "UINT64": "uint64_data",
    "STRING": "string_data",
}
# Elements that share a byte in packed types, and values per element of complex ones.
_PACKED = {"INT4": 2, "UINT4": 2, "FLOAT4E2M1": 2, "INT2": 4, "UINT2": 4}


def load_network(path: Path) -> Network:
    """The model at `path`, structurally sound: its values are defined once and before use, its operators are known.

    Raises CompileError with every structural fault, each naming its node. Types and shapes are not looked at.
    """
    proto = parse(path)
    reader = _TensorReader(path)
    faults = reader.faults
    faults.extend(_header_faults(proto, path))
    constants = _initialisers(proto.graph, reader)
    for tensor in _inner_tensors(proto):
        reader.check(tensor)
    faults.extend(structural_faults(proto, path))
    if faults:
        raise CompileError(faults)
    network = _network(proto, path, constants, reader)
    if faults:
        raise CompileError(faults)
    return network


def parse(path: Path) -> ModelProto:
    """The message in the file, whatever it means. Raises CompileError."""
    place = Span(str(path))
    help = "store the weights as external data: onnx.save(model, path, save_as_external_data=True)"
    large = path.is_file() and path.stat().st_size > LARGEST_FILE_BYTES
    data = read_bounded(path, LARGEST_FILE_BYTES, help if large else "")
    if not data:
        raise CompileError(Diagnostic("the file is empty", place))
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise CompileError(Diagnostic(_NOT_ONNX, place)) from error
    if not _all_text(proto):
        raise CompileError(Diagnostic(f"{_NOT_ONNX} (a name is not UTF-8)", place))
    return proto


_NOT_ONNX = "this is no ONNX file: it is truncated, corrupt, or of another format"


def _all_text(proto: Message) -> bool:
    """Whether every string is UTF-8; protobuf hands those that are not out as bytes."""
    for field, value in proto.ListFields():
        if field.type == field.TYPE_STRING:
            texts = [value] if isinstance(value, str | bytes) else value
            if not all(isinstance(text, str) for text in texts):
                return False
        elif field.type == field.TYPE_MESSAGE:
            messages = [value] if isinstance(value, Message) else value
            for each in messages:
                # Tensors have much data and few names.
                if not (_tensor_text(each) if isinstance(each, TensorProto) else _all_text(each)):
                    return False
    return True


def _tensor_text(tensor: TensorProto) -> bool:
    texts = [tensor.name, *(text for each in tensor.external_data for text in (each.key, each.value))]
    return all(isinstance(text, str) for text in texts)


def _header_faults(proto: ModelProto, path: Path) -> Iterator[Diagnostic]:
    place = Span(str(path))
    if not proto.HasField("graph"):
        yield Diagnostic("the model has no graph", place, "is this a complete ONNX file?")
    if proto.ir_version > IR_VERSION:
        yield Diagnostic(f"IR version {proto.ir_version} is newer than {IR_VERSION}, the newest known", place)
    if len(proto.graph.node) > MOST_NODES:
        yield Diagnostic(f"the graph has {len(proto.graph.node)} nodes; at most {MOST_NODES} are read", place)
    for graph in _graphs(proto):
        if graph.sparse_initializer:
            names = ", ".join(repr(each.values.name) for each in graph.sparse_initializer)
            yield Diagnostic(f"sparse initialisers are not supported: {names}", place, "store them as dense tensors")


def _graphs(proto: ModelProto) -> Iterator[GraphProto]:
    pending = [proto.graph]
    for function in proto.functions:
        pending.extend(graph for node in function.node for graph in subgraphs(node))
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            pending.extend(subgraphs(node))


def _inner_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Tensors in attributes and subgraphs; the initialisers of the main graph are read apart."""
    nodes = [node for function in proto.functions for node in function.node]
    for graph in _graphs(proto):
        nodes.extend(graph.node)
        if graph is not proto.graph:
            yield from graph.initializer
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


@dataclass(slots=True)
class _TensorReader:
    """Turns TensorProtos into arrays and collects what is wrong with them."""

    path: Path
    faults: list[Diagnostic]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults = []

    def _fault(self, tensor: TensorProto, message: str, help: str = "") -> None:
        self.faults.append(Diagnostic(f"tensor {tensor.name!r} {message}", Span(str(self.path)), help))

    def check(self, tensor: TensorProto, raw: bytes | None = None) -> bool:
        """Whether the data is as long as type and dimensions say; `raw` is its raw data, where the caller has it.
        External data is refused here."""
        if tensor.data_location == TensorProto.EXTERNAL:
            self._fault(tensor, "is external data inside a node", "keep only initialisers of the main graph outside")
            return False
        elements = self._elements(tensor)
        if elements is None:
            return False
        if tensor.HasField("raw_data"):
            expected = _stored_bytes(tensor.data_type, elements)
            found = len(tensor.raw_data if raw is None else raw)
            if expected is None or found != expected:
                self._fault(tensor, f"has {found} bytes of data; its type and dimensions ask for {expected}")
                return False
            return True
        name = TensorProto.DataType.Name(tensor.data_type)
        found = len(getattr(tensor, _TYPED_FIELDS.get(name, "int32_data")))
        expected_values = 2 * elements if name.startswith("COMPLEX") else -(-elements // _PACKED.get(name, 1))
        if found != expected_values:
            self._fault(tensor, f"has {found} values; its type and dimensions ask for {expected_values}")
            return False
        return True

    def _elements(self, tensor: TensorProto) -> int | None:
        if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
            self._fault(tensor, f"has an unknown element type ({tensor.data_type})")
            return None
        if any(extent < 0 for extent in tensor.dims):
            self._fault(tensor, f"has a negative dimension: {list(tensor.dims)}")
            return None
        if len(tensor.dims) > MOST_AXES:
            self._fault(tensor, f"has {len(tensor.dims)} dimensions; at most {MOST_AXES} are read")
            return None
        return int(prod(tensor.dims))

    def read(self, tensor: TensorProto) -> Constant | None:
        """The tensor as an array, or None with a fault noted."""
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._read_external(tensor)
        raw = tensor.raw_data if tensor.HasField("raw_data") else None  # a copy each time: one is enough
        if not self.check(tensor, raw):
            return None
        if raw is None or tensor.data_type not in NUMPY_TYPES or sys.byteorder == "big":
            return Constant(tensor.data_type, _unpacked(tensor))
        return Constant(tensor.data_type, np.frombuffer(raw, numpy_type(tensor.data_type)).reshape(tuple(tensor.dims)))

    def _read_external(self, tensor: TensorProto) -> Constant | None:
        elements = self._elements(tensor)
        if elements is None:
            return None
        expected = _stored_bytes(tensor.data_type, elements)
        entries = {each.key: each.value for each in tensor.external_data}
        file = self._inside_folder(tensor, entries.get("location", ""))
        if file is None:
            return None
        if expected is None:
            self._fault(tensor, "is of a type that cannot be external data")
            return None
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(expected)))
        except ValueError:
            self._fault(tensor, "has an offset or a length that is no number")
            return None
        size = file.stat().st_size
        if length != expected or offset < 0 or offset + expected > size:
            self._fault(
                tensor,
                f"asks for {expected} bytes and claims bytes {offset} to {offset + length} of {file.name!r}, "
                f"which has {size}",
            )
            return None
        if not expected:
            return Constant(tensor.data_type, np.zeros(tuple(tensor.dims), numpy_type(tensor.data_type)))
        stored = np.memmap(file, dtype=np.uint8, mode="r", offset=offset, shape=(expected,))
        if TensorProto.DataType.Name(tensor.data_type) in _PACKED:
            inline = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=stored.tobytes())
            return Constant(tensor.data_type, _unpacked(inline))
        return Constant(tensor.data_type, stored.view(numpy_type(tensor.data_type)).reshape(tuple(tensor.dims)))

    def _inside_folder(self, tensor: TensorProto, location: str) -> Path | None:
        """The file that `location` names, if it is a regular file in the model's folder, links followed."""
        folder = Path(os.path.realpath(self.path.parent))
        wanted = Path(location)
        help = "external data must be a file in the folder of the model"
        if not location or "\0" in location or wanted.is_absolute() or ".." in wanted.parts:
            self._fault(tensor, f"names external data outside the model's folder: {location!r}", help)
            return None
        if len(os.fsencode(location)) > MOST_PATH_BYTES:
            self._fault(tensor, f"names external data by {len(location)} characters", help)
            return None
        real = Path(os.path.realpath(folder / wanted))
        if not real.is_relative_to(folder):
            self._fault(tensor, f"names external data that leads outside the model's folder: {location!r}", help)
            return None
        if any(len(os.fsencode(part)) > MOST_NAME_BYTES for part in wanted.parts) or not real.is_file():
            self._fault(tensor, f"names external data that does not exist: {location!r}", help)
            return None
        return real


def _unpacked(tensor: TensorProto) -> NDArray[Any]:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _stored_bytes(elem_type: int, elements: int) -> int | None:
    """Bytes of raw data; None for strings, which have none."""
    if elem_type == TensorProto.STRING:
        return None
    packed = _PACKED.get(TensorProto.DataType.Name(elem_type))
    return -(-elements // packed) if packed else elements * numpy_type(elem_type).itemsize


def _initialisers(graph: GraphProto, reader: _TensorReader) -> dict[str, Constant]:
    constants = {}
    for tensor in graph.initializer:
        constant = reader.read(tensor)
        if constant is not None:
            constants[tensor.name] = constant
    return constants


def node_label(node: NodeProto, index: int) -> str:
    """How messages name a node: its name, or its operator and its place in the file."""
    return node.name or f"{node.op_type or 'node'}_{index}"


def _network(proto: ModelProto, path: Path, constants: dict[str, Constant], reader: _TensorReader) -> Network:
    """The parsed model with Constant nodes made constants. An initialiser that is an input, too, is a constant."""
    originals: list[tuple[str, str]] = []
    nodes: list[OnnxNode] = []
    labels: set[str] = set()
    graph = proto.graph
    for index, node in order_nodes(graph):
        label = node_label(node, index)
        while label in labels:
            label = f"{label}~{index}"
        labels.add(label)
        originals.append((label, node.op_type))
        constant = _constant_node(node, reader)
        if constant is not None:
            constants[node.output[0]] = constant
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        nodes.append(OnnxNode(label, copy, (label,), captured_values(copy)))
    inputs = [each for each in graph.input if each.name not in constants]
    network = Network(
        path=path,
        nodes=nodes,
        constants=constants,
        inputs=[each.name for each in inputs],
        outputs=[each.name for each in graph.output],
        infos={},
        opsets={plain_domain(each.domain): each.version for each in proto.opset_import},
        functions=list(proto.functions),
        originals=originals,
        input_protos={each.name: each for each in inputs},
        output_protos={each.name: each for each in graph.output},
    )
    network.names = set(constants) | {each.name for each in graph.input}
    network.names.update(name for node in nodes for name in node.writes)
    network.names.update(name for node in nodes for name in inner_names(node.proto))
    return network


def _constant_node(node: NodeProto, reader: _TensorReader) -> Constant | None:
    """The value of a Constant node; None for other nodes."""
    if node.op_type != "Constant" or plain_domain(node.domain) or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    match attribute.name:
        case "value":
            return reader.read(attribute.t)
        case "value_float":
            return Constant(TensorProto.FLOAT, np.array(attribute.f, np.float32))
        case "value_floats":
            return Constant(TensorProto.FLOAT, np.array(attribute.floats, np.float32))
        case "value_int":
            return Constant(TensorProto.INT64, np.array(attribute.i, np.int64))
        case "value_ints":
            return Constant(TensorProto.INT64, np.array(attribute.ints, np.int64))
        case "value_string":
            return Constant(TensorProto.STRING, np.array(attribute.s, dtype=object))
        case "value_strings":
            return Constant(TensorProto.STRING, np.array(list(attribute.strings), dtype=object))
    return None
