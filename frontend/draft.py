"""How converters write `ir.graph` nodes: a draft of one or a few nodes that replace some ONNX nodes, or a refusal."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.graph import OPERATORS, Attribute, Node
from ..ir.types import Blobs, ElementType, Quantization, Tensor
from .messages import TensorProto
from .network import ELEMENT_TYPES, Constant, Network, OnnxNode, Shape


class Refused(Exception):
    """These nodes have no accelerator form; the text says why, for `dnnc check`."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A quantised value: its name, which may be a constant's, and what its codes stand for."""

    name: str
    quantization: Quantization


@dataclass
class Graph:
    """What the converters share: the ONNX graph, the blobs and the tensors that are settled so far."""

    network: Network
    blobs: Blobs = field(default_factory=Blobs)
    settled: dict[str, Tensor] = field(default_factory=dict)
    node_names: set[str] = field(default_factory=set)
    _stored: dict[int, Any] = field(default_factory=dict)

    def node_name(self, wanted: str) -> str:
        """A unique name for a layer: the first part of a fused name, without characters that need quoting."""
        plain = plain_name(wanted)
        name, count = plain, 1
        while name in self.node_names:
            count += 1
            name = f"{plain}.{count}"
        self.node_names.add(name)
        return name


def plain_name(wanted: str) -> str:
    """The name that a layer has after an ONNX node, where no other has it."""
    return re.sub(r"[^A-Za-z0-9_./:-]+", "_", wanted.split(";", maxsplit=1)[0]).strip("_/:.-")[:80] or "node"


class Draft:
    """IR nodes that stand for `covers`. Nothing outside the draft changes until `settle`."""

    def __init__(self, graph: Graph, covers: Sequence[OnnxNode], name: str) -> None:
        self.graph = graph
        self.network = graph.network
        self.covers = tuple(covers)
        self.name = name
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.sources = tuple(dict.fromkeys(source for node in covers for source in node.sources))

    @property
    def visible(self) -> Mapping[str, Tensor]:
        return ChainMap(self.tensors, self.graph.settled)

    def shape(self, name: str) -> Shape:
        """The shape of a drafted tensor."""
        shape = self.visible[name].shape
        assert shape is not None
        return shape

    def value(self, name: str, quantization: Quantization | None = None) -> str:
        """The tensor of an ONNX value. Raises Refused if the accelerator cannot hold it, or if it is already read with
        another quantisation (a constant gets a tensor of its own then)."""
        constant = self.network.constants.get(name)
        if constant is not None:
            return self._constant_value(name, constant, quantization)
        info = self.network.info(name)
        if info.element_type is None:
            raise Refused(f"{name!r} is of type {info.spelling}")
        if info.shape is None:
            raise Refused(f"the shape of {name!r} is known at run time only")
        known = self.visible.get(name)
        if known is None:
            self.tensors[name] = Tensor(name, info.element_type, info.shape, quantization)
        elif known.quantization is None and quantization is not None:
            self.tensors[name] = replace(known, quantization=quantization)
        elif quantization is not None and known.quantization != quantization:
            raise Refused(f"{name!r} is read with two different quantisations")
        return name

    def _constant_value(self, name: str, constant: Constant, quantization: Quantization | None) -> str:
        element_type = ELEMENT_TYPES.get(constant.elem_type)
        if element_type is None:
            raise Refused(f"constant {name!r} is of type {constant.info.spelling}")
        return self.constant(name, contained(constant), element_type, quantization)

    def constant(
        self, name: str, array: NDArray[Any], element_type: ElementType, quantization: Quantization | None = None
    ) -> str:
        """A constant tensor; its name is `name` unless that names another one already."""
        ensure(array.dtype == element_type.container, f"{name}: {array.dtype} for {element_type}")
        key = id(array)
        stored = self.graph._stored.get(key)
        if stored is None:
            stored = (self.graph.blobs.add_array(array), array)  # the array is kept, so that its id stays its own
            self.graph._stored[key] = stored
        shape = tuple(int(extent) for extent in array.shape)
        wanted = Tensor(name, element_type, shape, quantization, stored[0])
        known = self.visible.get(name)
        if known is not None and known != wanted:
            alike = (each for each in self.visible.values() if each.constant == wanted.constant)
            for each in alike:
                if each == replace(wanted, name=each.name):
                    return each.name
            wanted = replace(wanted, name=self.network.fresh(name))
        self.network.names.add(wanted.name)
        self.tensors[wanted.name] = wanted
        return wanted.name

    def temporary(
        self, base: str, element_type: ElementType, shape: Shape, quantization: Quantization | None = None
    ) -> str:
        """A tensor between two nodes of this draft."""
        name = self.network.fresh(base)
        self.tensors[name] = Tensor(name, element_type, shape, quantization)
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> None:
        spec = OPERATORS[op]
        declared = tuple(name for name, _ in spec.attributes)
        ensure(tuple(attributes) == declared, f"{op} has the attributes {declared}, not {tuple(attributes)}")
        name = self.name if not self.nodes else f"{self.name}.{op}"
        self.nodes.append(
            Node(
                self.graph.node_name(name), op, tuple(inputs), (output,), tuple(attributes.items()), source=self.sources
            )
        )

    def settle(self) -> None:
        self.graph.settled.update(self.tensors)

    def discard(self) -> None:
        self.graph.node_names.difference_update(node.name for node in self.nodes)


def contained(constant: Constant) -> NDArray[Any]:
    """The elements in the container type of their element type."""
    element_type = ELEMENT_TYPES[constant.elem_type]
    array = np.asarray(constant.array)
    if element_type is ElementType.BF16:
        return array.view(np.uint16)
    return array if array.dtype == element_type.container else array.astype(element_type.container)


def quantization(network: Network, scale: str, zero_point: str, axis: int | None, extent: int | None) -> Quantization:
    """The parameters named `scale` and `zero_point` (empty: 0), per slice along `axis` where there are `extent` > 1.

    Raises Refused where they are computed at run time, or are no quantisation that the IR has.
    """
    scales = network.constants.get(scale)
    zeros = network.constants.get(zero_point)
    if scales is None or (zero_point and zeros is None):
        raise Refused("its quantisation is computed at run time")
    if scales.elem_type != TensorProto.FLOAT:
        raise Refused(f"its scale is of type {scales.info.spelling}")
    if zeros is not None and ELEMENT_TYPES.get(zeros.elem_type) is None:
        raise Refused(f"its zero point is of type {zeros.info.spelling}")
    values = scales.floats().ravel()
    codes = np.array(zeros.integers() if zeros is not None else [0])
    if not values.size or not np.isfinite(values).all() or (values <= 0).any():
        raise Refused("its scale is not a positive number")
    count = max(values.size, codes.size)
    if count == 1:
        return Quantization((float(values[0]),), (int(codes[0]),))
    if axis is None or extent != count or {values.size, codes.size} - {1, count}:
        raise Refused("its quantisation is neither per tensor nor per channel")
    return Quantization(
        tuple(np.broadcast_to(values, count).tolist()),
        tuple(np.broadcast_to(codes, count).tolist()),
        axis,
    )


Converter = Callable[[Draft, OnnxNode], None]  # writes what an ONNX node becomes, or raises Refused
