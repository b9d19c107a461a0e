"""The ONNX graph as the frontend works on it: nodes in topological order, constants apart from them, types by name.

It is mutable and lives only while a model is imported; what leaves the frontend is `ir.graph`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import Diagnostic, Span
from ..ir.frozen import dataclass
from ..ir.types import ElementType
from .messages import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)

# ONNX element types that an accelerator may store. int64, bool and double stay on the host.
ELEMENT_TYPES: dict[int, ElementType] = {
    TensorProto.FLOAT: ElementType.F32,
    TensorProto.BFLOAT16: ElementType.BF16,
    TensorProto.FLOAT16: ElementType.F16,
    TensorProto.INT4: ElementType.I4,
    TensorProto.UINT4: ElementType.U4,
    TensorProto.INT8: ElementType.I8,
    TensorProto.UINT8: ElementType.U8,
    TensorProto.INT16: ElementType.I16,
    TensorProto.UINT16: ElementType.U16,
    TensorProto.INT32: ElementType.I32,
}
# Those that onnxruntime and main memory hold alike: 4-bit integers are packed in one and not in the other.
CROSSING_TYPES = frozenset(ELEMENT_TYPES) - {TensorProto.INT4, TensorProto.UINT4}
# Types whose elements numpy holds and computes on as they are; strings and narrower kinds are not among them.
NUMPY_TYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT16,
        TensorProto.UINT16,
        TensorProto.INT32,
        TensorProto.UINT32,
        TensorProto.INT64,
        TensorProto.UINT64,
        TensorProto.BOOL,
    }
)
# As ONNX spells them, for HostType and for graph inputs and outputs.
SPELLINGS: dict[int, str] = {
    number: "tensor(" + {"FLOAT": "float", "DOUBLE": "double"}.get(name, name.lower()) + ")"
    for name, number in TensorProto.DataType.items()
    if name != "UNDEFINED"
}

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """What is known of a value. `elem_type` is 0 for what is no dense tensor (`spelling` says what it is)."""

    spelling: str
    elem_type: int = 0
    shape: Shape | None = None

    @property
    def element_type(self) -> ElementType | None:
        return ELEMENT_TYPES.get(self.elem_type)

    @property
    def elements(self) -> int | None:
        return None if self.shape is None else int(np.prod(self.shape, dtype=object))


def tensor_info(elem_type: int, shape: Shape | None) -> ValueInfo:
    return ValueInfo(SPELLINGS[elem_type], elem_type, shape)


@dataclass(frozen=True, slots=True)
class Constant:
    """A value known at compile time. 4-bit integers are unpacked, one to a byte; strings are objects.

    The array may be mapped from the model's external data: it is read when it is used, and never copied whole twice.
    """

    elem_type: int
    array: NDArray[Any]

    @property
    def shape(self) -> Shape:
        return tuple(int(extent) for extent in self.array.shape)

    @property
    def info(self) -> ValueInfo:
        return tensor_info(self.elem_type, self.shape)

    def floats(self) -> NDArray[np.float64]:
        return np.asarray(self.array).astype(np.float64)

    def integers(self) -> tuple[int, ...]:
        return tuple(np.asarray(self.array).astype(np.int64).ravel().tolist())

    def proto(self, name: str) -> TensorProto:
        from onnx import helper, numpy_helper

        if self.elem_type == TensorProto.STRING:
            texts: Any = [_bytes(each) for each in self.array.flat]
            return helper.make_tensor(name, self.elem_type, self.shape, texts)
        tensor: TensorProto = numpy_helper.from_array(np.ascontiguousarray(self.array).reshape(self.shape), name)
        return tensor


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


@dataclass(eq=False)
class OnnxNode:
    """A node of the graph. `label` is unique and readable; `sources` are the labels of the file's nodes it stands for.

    `captured` are the outer values that its subgraphs read.
    """

    label: str
    proto: NodeProto
    sources: tuple[str, ...]
    captured: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The operator with its domain, `ai.onnx` left out."""
        domain = plain_domain(self.proto.domain)
        return f"{domain}.{self.proto.op_type}" if domain else self.proto.op_type

    @property
    def inputs(self) -> list[str]:
        return list(self.proto.input)

    @property
    def outputs(self) -> list[str]:
        return list(self.proto.output)

    @property
    def reads(self) -> Iterator[str]:
        """Every value that it needs, once for each use."""
        yield from (name for name in self.proto.input if name)
        yield from self.captured

    @property
    def writes(self) -> Iterator[str]:
        return (name for name in self.proto.output if name)

    def input(self, index: int) -> str:
        """Name of an operand, empty where it is left out."""
        return self.proto.input[index] if index < len(self.proto.input) else ""

    @cached_property
    def attributes(self) -> dict[str, Any]:
        return {each.name: _attribute_value(each) for each in self.proto.attribute}

    def attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    @property
    def has_subgraph(self) -> bool:
        return any(each.type in SUBGRAPHS for each in self.proto.attribute)


_VALUES = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
}


def _attribute_value(attribute: AttributeProto) -> Any:
    """What `onnx.helper.get_attribute_value` makes of it; of the kinds that are in most models without that package."""
    field_ = "" if attribute.ref_attr_name else _VALUES.get(attribute.type, "")
    if field_:
        value = getattr(attribute, field_)
        return list(value) if field_.endswith("s") and field_ != "s" else value
    from onnx import helper

    other: Any = helper.get_attribute_value(attribute)
    return other


SUBGRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def plain_domain(domain: str) -> str:
    """The domain of an operator as we spell it: ONNX's own has two names, of which the empty one is used."""
    return "" if domain == "ai.onnx" else domain


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def captured_values(node: NodeProto) -> tuple[str, ...]:
    """Names that the subgraphs of `node` read from the graph around it, each once."""
    found: dict[str, None] = {}
    for graph in subgraphs(node):
        defined = {each.name for each in graph.input} | {each.name for each in graph.initializer}
        defined |= {each.values.name for each in graph.sparse_initializer}
        for inner in graph.node:
            defined.update(inner.output)
        for inner in graph.node:
            found.update(dict.fromkeys(name for name in inner.input if name and name not in defined))
            found.update(dict.fromkeys(name for name in captured_values(inner) if name not in defined))
        found.update(dict.fromkeys(each.name for each in graph.output if each.name and each.name not in defined))
    return tuple(found)


def inner_names(node: NodeProto) -> Iterator[str]:
    """Names defined inside the subgraphs of a node."""
    for graph in subgraphs(node):
        yield from (each.name for each in graph.input)
        yield from (each.name for each in graph.initializer)
        for inner in graph.node:
            yield from inner.output
            yield from inner_names(inner)


def rename_reads(node: NodeProto, renamed: Mapping[str, str]) -> None:
    """Let `node`, its subgraphs included, read other values; names that a subgraph defines itself are left alone."""
    for index, name in enumerate(node.input):
        node.input[index] = renamed.get(name, name)
    for graph in subgraphs(node):
        own = {each.name for each in (*graph.input, *graph.initializer)}
        own.update(name for inner in graph.node for name in inner.output)
        visible = {old: new for old, new in renamed.items() if old not in own}
        for inner in graph.node:
            rename_reads(inner, visible)
        for output in graph.output:
            output.name = visible.get(output.name, output.name)


@dataclass(eq=False)
class Network:
    """A whole model. `inputs` and `outputs` are the file's own names, constants excluded; `nodes` are sorted.

    `infos` has what is known of inputs and node outputs. `originals` are the labels and operators of the file's nodes,
    in its order. `unfolded` are labels of nodes that depend on constants alone, with the bound that has left them in;
    `empty` are labels of the file's nodes whose results have no elements and are constants for it, with that reason.
    """

    path: Path
    nodes: list[OnnxNode]
    constants: dict[str, Constant]
    inputs: list[str]
    outputs: list[str]
    infos: dict[str, ValueInfo]
    opsets: dict[str, int]
    functions: list[FunctionProto]
    originals: list[tuple[str, str]]
    input_protos: dict[str, ValueInfoProto] = field(default_factory=dict)
    output_protos: dict[str, ValueInfoProto] = field(default_factory=dict)
    batch: int = 1
    folded_bytes: int = 0
    folded_operations: int = 0
    inferred_nodes: int = 0
    unfolded: dict[str, str] = field(default_factory=dict)
    empty: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def info(self, name: str) -> ValueInfo:
        if name in self.constants:
            return self.constants[name].info
        return self.infos.get(name, ValueInfo("?"))

    def opset(self, domain: str = "") -> int:
        return self.opsets.get(domain, 0)

    def producers(self) -> dict[str, OnnxNode]:
        return {name: node for node in self.nodes for name in node.writes}

    def consumers(self) -> dict[str, list[OnnxNode]]:
        """Nodes that read each value, once for each use."""
        found: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in node.reads:
                found.setdefault(name, []).append(node)
        return found

    def fresh(self, base: str) -> str:
        """A value name that is not taken, as close to `base` as can be."""
        name, count = base, 1
        while name in self.names:
            count += 1
            name = f"{base}~{count}"
        self.names.add(name)
        return name

    def fault(self, message: str, help: str = "") -> Diagnostic:
        return Diagnostic(message, Span(str(self.path)), help)

    def rename(self, node: OnnxNode, renamed: Mapping[str, str]) -> None:
        """Let a node read other values."""
        if any(name in renamed for name in node.reads):
            rename_reads(node.proto, renamed)
            node.captured = captured_values(node.proto)

    def drop_unused(self) -> None:
        """Remove nodes and constants on which no output depends."""
        needed = set(self.outputs)
        kept: list[OnnxNode] = []
        for node in reversed(self.nodes):
            if any(name in needed for name in node.writes):
                kept.append(node)
                needed.update(node.reads)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}


def serialised(
    network: Network,
    nodes: Iterable[OnnxNode],
    inputs: Iterable[str],
    outputs: Iterable[str],
    name: str,
    constants: Mapping[str, Constant],
    *,
    shapes: bool = True,
) -> ModelProto:
    """A self-contained model of some nodes. Types of inputs and outputs are written as far as known, and with `shapes`
    their extents, too; otherwise inputs are as symbolic as in the file."""
    proto = ModelProto(ir_version=EMITTED_IR_VERSION, producer_name="dnnc")
    for domain, version in sorted(network.opsets.items()):
        proto.opset_import.add(domain=domain, version=version)
    proto.graph.name = name
    proto.graph.node.extend(node.proto for node in nodes)
    proto.graph.initializer.extend(value.proto(each) for each, value in constants.items())
    proto.functions.extend(network.functions)
    for names, field_ in ((inputs, proto.graph.input), (outputs, proto.graph.output)):
        for each in names:
            field_.append(value_info_proto(network, each, shapes))
    return proto


# The newest IR version that the pinned onnxruntime reads.
EMITTED_IR_VERSION = 13


def value_info_proto(network: Network, name: str, shapes: bool = True) -> ValueInfoProto:
    info = network.info(name)
    if not shapes and name in network.input_protos:
        return network.input_protos[name]
    if info.elem_type and not shapes:
        return tensor_value_info(name, info.elem_type, None)
    if info.elem_type:
        return tensor_value_info(name, info.elem_type, info.shape)
    declared = network.input_protos.get(name) or network.output_protos.get(name)
    if declared is not None:
        return declared
    proto = ValueInfoProto(name=name)
    type_proto = type_from_spelling(info.spelling)
    if type_proto is not None:
        proto.type.CopyFrom(type_proto)
    return proto


def tensor_value_info(name: str, elem_type: int, shape: Shape | None) -> ValueInfoProto:
    """What `onnx.helper.make_tensor_value_info` makes."""
    proto = ValueInfoProto(name=name)
    proto.type.tensor_type.elem_type = elem_type
    if shape is not None:
        proto.type.tensor_type.shape.SetInParent()  # that of a scalar is there, too, and has no axes
        for extent in shape:
            proto.type.tensor_type.shape.dim.add(dim_value=extent)
    return proto


def numpy_type(elem_type: int) -> np.dtype[Any]:
    """How arrays hold the elements of an ONNX type."""
    if elem_type in NUMPY_TYPES:
        name = TensorProto.DataType.Name(elem_type)
        kind: np.dtype[Any] = np.dtype({"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower()))
        return kind
    from onnx import helper

    found: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    return found


def type_from_spelling(spelling: str) -> TypeProto | None:
    """The type that onnxruntime spells `seq(tensor(int64))` and the like; None for what is unknown."""
    proto = TypeProto()
    head, _, rest = spelling.partition("(")
    inner = rest[:-1]
    if head == "tensor":
        number = next((number for number, text in SPELLINGS.items() if text == spelling), None)
        if number is None:
            return None
        proto.tensor_type.elem_type = number
        return proto
    if head == "map":
        key, _, value = inner.partition(",")
        element = type_from_spelling(value)
        number = next((number for number, text in SPELLINGS.items() if text == f"tensor({key})"), None)
        if element is None or number is None:
            return None
        proto.map_type.key_type = number
        proto.map_type.value_type.CopyFrom(element)
        return proto
    element = type_from_spelling(inner) if head in ("seq", "optional") else None
    if element is None:
        return None
    (proto.sequence_type if head == "seq" else proto.optional_type).elem_type.CopyFrom(element)
    return proto
