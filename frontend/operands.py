"""What converters ask of a node's operands and outputs; Refused says why a node has no accelerator form."""

from __future__ import annotations

from ..ir.types import ElementType
from .draft import Refused
from .network import Network, OnnxNode, Shape

FLOAT_TYPES = frozenset({ElementType.F32, ElementType.F16, ElementType.BF16})


def known_shape(network: Network, name: str) -> Shape:
    shape = network.info(name).shape
    if shape is None:
        raise Refused(f"the shape of {name!r} is known at run time only")
    return shape


def element_type(network: Network, name: str) -> ElementType:
    info = network.info(name)
    if info.element_type is None:
        raise Refused(f"{name!r} is of type {info.spelling}")
    return info.element_type


def require_floats(network: Network, *names: str) -> ElementType:
    """The float type that all values have."""
    types = [element_type(network, name) for name in names if name]
    if types[0] not in FLOAT_TYPES or len(set(types)) > 1:
        raise Refused("it computes on " + ", ".join(dict.fromkeys(str(each) for each in types)))
    return types[0]


def single_output(network: Network, node: OnnxNode) -> str:
    """The first output; the others must not be used."""
    used = [name for name in node.outputs[1:] if name and (name in network.outputs or network.consumers().get(name))]
    if used:
        raise Refused(f"its output {used[0]!r} is used")
    return node.outputs[0]
