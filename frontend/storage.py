"""Storage orders: activations of convolutions and pools lie channels-last in memory, and so does what is computed
elementwise from them, so that all operators on a value agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir.graph import Node
from ..ir.types import Tensor

_SPATIAL = frozenset({"conv", "conv_transpose", "pool"})
_ELEMENTWISE = frozenset(
    {"add", "sub", "mul", "relu", "clip", "leaky_relu", "table", "quantize", "dequantize", "requantize"}
)


def with_storage_orders(tensors: Mapping[str, Tensor], nodes: Sequence[Node]) -> dict[str, Tensor]:
    """`tensors` with channels-last orders for activations of rank 3 to 5 where `nodes` want them. Constants and values
    of other operators keep the model's own order."""
    parent = {name: name for name in tensors}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    wanted: list[str] = []
    for node in nodes:
        data = [name for name in (*node.inputs, *node.outputs) if _may_reorder(tensors[name])]
        result = node.outputs[0]
        if node.op in _SPATIAL:
            wanted += [name for name in (node.inputs[0], result) if name in data]
        elif node.op in _ELEMENTWISE and result in data:
            for name in data:
                if len(tensors[name].shape or ()) == len(tensors[result].shape or ()):
                    parent[root(name)] = root(result)
    channels_last = {root(name) for name in wanted}
    return {name: _reordered(tensor) if root(name) in channels_last else tensor for name, tensor in tensors.items()}


def _may_reorder(tensor: Tensor) -> bool:
    return tensor.constant is None and tensor.shape is not None and 3 <= len(tensor.shape) <= 5


def _reordered(tensor: Tensor) -> Tensor:
    rank = len(tensor.shape or ())
    return replace(tensor, order=(0, *range(2, rank), 1)) if _may_reorder(tensor) else tensor
