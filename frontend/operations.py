"""How many operations a host region takes, for machines whose host has a rate of them (`operations_per_second`,
specs/arch.md): whole numbers, from shapes alone.

An operation is one multiply-accumulate of a convolution or matrix product, as `macs` counts them, or one element of any
other operator: of its results together, or of its largest operand that is no constant, where that has more. Operators
that only name elements anew take none. What is not known before the run counts as nothing: control flow, sizes that
are known at run time only, operators that consist of several products, values that are no tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from .macs import node_macs
from .network import Network, OnnxNode

_NAMES_ANEW = ("Constant", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze")


def operations_of(network: Network, nodes: Iterable[OnnxNode]) -> int:
    """The operations of `nodes` together."""
    return sum(_operations(network, node) for node in nodes)


def _operations(network: Network, node: OnnxNode) -> int:
    macs = node_macs(network, node)
    if macs is None or node.kind in _NAMES_ANEW:
        return 0
    if macs:
        return macs
    results = [network.info(name).shape for name in node.writes]
    operands = [network.info(name).shape for name in node.reads if name not in network.constants]
    if any(shape is None for shape in (*results, *operands)):
        return 0
    return max(
        sum(prod(shape) for shape in results if shape is not None),
        *(prod(shape) for shape in operands if shape is not None),
        0,
    )
