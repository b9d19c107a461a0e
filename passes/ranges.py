"""What calibration found, in a module: ranges on its float tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..ir.graph import Node
from ..ir.module import Module
from ..ir.types import ElementType, Tensor, constant_array

Ranges = Mapping[str, tuple[float, float]]


def with_ranges(module: Module, ranges: Ranges) -> Module:
    """The module with the ranges noted on its float tensors, and those that `completed` adds."""
    found = completed(module, ranges)
    return replace(module, tensors=tuple(_ranged(tensor, found) for tensor in module.tensors))


def completed(module: Module, ranges: Ranges) -> dict[str, tuple[float, float]]:
    """The ranges of the module's tensors. What has no name in the ONNX file gets its range from its reader, where that
    moves values or adds or multiplies a constant: a bound, not what was seen."""
    found = {name: ranges[name] for name in module.tensor_by_name if name in ranges}
    for operation in reversed(module.operations):
        if isinstance(operation, Node) and operation.inputs[0] not in found and operation.outputs[0] in found:
            bound = None if operation.post else _bound_before(module, operation, found[operation.outputs[0]])
            if bound is not None:
                found[operation.inputs[0]] = bound
    return found


def _ranged(tensor: Tensor, found: Ranges) -> Tensor:
    if tensor.name not in found or tensor.constant is not None or not isinstance(tensor.type, ElementType):
        return tensor
    low, high = found[tensor.name]
    return replace(tensor, minimum=low, maximum=high) if tensor.type.is_float else tensor


def _bound_before(module: Module, node: Node, after: tuple[float, float]) -> tuple[float, float] | None:
    """Bounds of a node's first operand, from those of its result."""
    if node.op in ("reshape", "transpose"):
        return after
    if node.op not in ("add", "mul"):
        return None
    constant = module.tensor(node.inputs[1])
    if constant.constant is None or not isinstance(constant.type, ElementType) or constant.type is not ElementType.F32:
        return None
    values = constant_array(constant, module.blobs)
    if not values.size:
        return None
    if node.op == "add":
        return after[0] - float(values.max()), after[1] - float(values.min())
    if values.size != 1 or float(values.ravel()[0]) == 0:
        return None
    ends = after[0] / float(values.ravel()[0]), after[1] / float(values.ravel()[0])
    return (min(ends), max(ends)) if np.isfinite(ends).all() else None
