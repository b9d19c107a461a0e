"""`macs` of specs/counts.md, from shapes and windows alone: products of two elements that lie inside their tensors.

`dnnc check` says them before anything is lowered, and they are those of `dnnc cost` for what the accelerator runs, but
for one choice of the mapper: a layer that takes explicit im2col reads its padding from memory, and counts it. What the
host runs has none in `cost`, and has them here, where its operator is a single convolution or matrix product.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod

from ..ir.graph import Node
from ..ir.module import Module
from .draft import Refused
from .messages import TypeProto
from .network import Network, OnnxNode, Shape
from .window import WindowAttributes, transposed_window, window

_WEIGHTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm", "QGemm")
# Other operators, of ONNX and of onnxruntime, that consist of products: their names tell it.
_UNCOUNTED = re.compile(
    "Conv|MatMul|Gemm|Attention|LSTM|GRU|MoE|ai.onnx.ml.Linear|ai.onnx.ml.SVM"
    "|^(RNN|Einsum|AffineGrid|Det|DFT|STFT|Rfft|Irfft|Inverse|CDist|GatedDeltaNet)$"
)


def node_macs(network: Network, node: OnnxNode) -> int | None:
    """Products of a convolution or matrix product; None where they are not counted (control flow, operators that
    consist of several, shapes that are not known); 0 for other operators."""
    return _macs(lambda name: network.info(name).shape, node)


def _macs(shape: Callable[[str], Shape | None], node: OnnxNode) -> int | None:
    kind = node.kind.removeprefix("com.microsoft.")
    if node.has_subgraph:
        return None
    if kind not in _WEIGHTS and kind not in _PRODUCTS:
        return None if _UNCOUNTED.search(kind) else 0
    x, y = shape(node.input(0)), shape(node.outputs[0])
    if x is None or y is None:
        return None
    if kind in _PRODUCTS:
        return _product(x, y, bool(node.attribute("transA", 0)))
    w = shape(node.input(_WEIGHTS[kind]))
    if w is None:
        return None
    if 0 in (*x, *w, *y):
        return 0
    transposed = kind == "ConvTranspose"
    try:
        found = (transposed_window if transposed else window)(node, x[2:], w[2:], y[2:])
    except Refused:  # no machine slides such a window: all of it is counted, as if it were inside
        return prod(x if transposed else y) * prod(w[1:])
    return _convolution(x, w, y, found, transposed)


def graph_node_macs(module: Module, node: Node) -> int:
    """The same of a node of the graph."""
    if node.op not in ("conv", "conv_transpose", "matmul"):
        return 0
    x, w, y = (module.tensor(name).shape or () for name in (*node.inputs[:2], node.outputs[0]))
    if node.op == "matmul":
        return _product(x, y, bool(node.attribute("transpose_a")))
    strides, dilations, pads = (_integers(node, key) for key in ("strides", "dilations", "pads"))
    return _convolution(x, w, y, WindowAttributes(strides, dilations, pads), node.op == "conv_transpose")


def region_macs(model: bytes) -> int | None:
    """The same of the ONNX model of a host region; None where those of one of its nodes are not counted."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
    shapes = {each.name: _extents(each.type.tensor_type) for each in (*graph.value_info, *graph.input, *graph.output)}
    shapes |= {each.name: tuple(each.dims) for each in graph.initializer}
    counts = [_macs(shapes.get, OnnxNode(each.name, each, ())) for each in graph.node]
    known = [each for each in counts if each is not None]
    return sum(known) if len(known) == len(counts) else None


def _extents(kind: TypeProto.Tensor) -> Shape | None:
    if not kind.HasField("shape") or not all(each.HasField("dim_value") for each in kind.shape.dim):
        return None
    return tuple(each.dim_value for each in kind.shape.dim)


def _integers(node: Node, key: str) -> Shape:
    values = node.attribute(key)
    assert isinstance(values, tuple)
    return tuple(int(each) for each in values)


def _product(x: Shape, y: Shape, transposed: bool) -> int:
    depth = x[-2 if transposed and len(x) > 1 else -1] if x else 1
    return prod(y) * depth


def _convolution(x: Shape, w: Shape, y: Shape, found: WindowAttributes, transposed: bool) -> int:
    """Batch x channels of both sides x, along each axis, the pairs of position and tap that meet inside.

    A convolution slides over x from positions of y; a transposed one over y from positions of x.
    """
    positions, inside = (x, y) if transposed else (y, x)
    pairs = prod(
        _pairs(
            positions[axis + 2], inside[axis + 2], taps, found.strides[axis], found.dilations[axis], found.pads[axis]
        )
        for axis, taps in enumerate(w[2:])
    )
    return prod(positions[:2]) * w[1] * pairs


def _pairs(positions: int, extent: int, taps: int, stride: int, dilation: int, pad: int) -> int:
    """How many (p, t) with 0 <= p < positions, 0 <= t < taps have 0 <= p * stride + t * dilation - pad < extent."""
    below = (_pairs_below(bound, positions, taps, stride, dilation) for bound in (pad + extent, pad))
    return next(below) - next(below)


def _pairs_below(bound: int, positions: int, taps: int, stride: int, dilation: int) -> int:
    """How many of them have p * stride + t * dilation < bound."""
    of_all_positions = min(max((bound - 1 - (positions - 1) * stride) // dilation + 1, 0), taps)
    of_any_position = min(max((bound - 1) // dilation + 1, 0), taps)
    rest = of_any_position - of_all_positions
    last = bound - 1 - (of_any_position - 1) * dilation  # what is left for p * stride at the last of these taps
    return of_all_positions * positions + rest + _floor_sum(rest, stride, dilation, last)


def _floor_sum(count: int, divisor: int, factor: int, offset: int) -> int:
    """Sum of (factor * i + offset) // divisor over 0 <= i < count, in the steps of Euclid's algorithm: shapes come from
    a file and may be of any size. `offset` is not negative where `count` is positive. (Graham, Knuth, Patashnik,
    Concrete Mathematics, section 3.5.)"""
    total = 0
    while count > 0:
        total += count * (count - 1) // 2 * (factor // divisor) + count * (offset // divisor)
        factor, offset = factor % divisor, offset % divisor
        beyond = factor * count + offset
        count, offset = beyond // divisor, beyond % divisor
        divisor, factor = factor, divisor
        if divisor == 0:
            break
    return total
