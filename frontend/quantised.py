"""Whether a model computes on integers of its own, which decides what `--precision auto` means for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..ir.diagnostics import CompileError
from .load import parse
from .network import Network

_INTEGER_OPERATORS = {"ConvInteger", "MatMulInteger", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def is_quantised(path: Path) -> bool:
    """Whether any node of the main graph is quantised. A file that cannot be read has none: the import says why."""
    try:
        proto = parse(path)
    except CompileError:
        return False
    return _any_quantised(node.op_type for node in proto.graph.node)


def network_is_quantised(network: Network) -> bool:
    """The same of a file that has been read."""
    return _any_quantised(operator for _, operator in network.originals)


def _any_quantised(operators: Iterable[str]) -> bool:
    return any(each in _INTEGER_OPERATORS or each.startswith(("QLinear", "QGemm")) for each in operators)
