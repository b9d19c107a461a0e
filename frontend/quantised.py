"""Whether a model computes on integers of its own, which decides what `--precision auto` means for it."""

from __future__ import annotations

from pathlib import Path

from ..ir.diagnostics import CompileError
from .load import parse

_INTEGER_OPERATORS = {"ConvInteger", "MatMulInteger", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


def is_quantised(path: Path) -> bool:
    """Whether any node of the main graph is quantised. A file that cannot be read has none: the import says why."""
    try:
        proto = parse(path)
    except CompileError:
        return False
    kinds = {node.op_type for node in proto.graph.node}
    return bool(kinds & _INTEGER_OPERATORS) or any(kind.startswith(("QLinear", "QGemm")) for kind in kinds)
