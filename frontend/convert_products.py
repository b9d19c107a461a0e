"""Float convolutions and matrix products: from an ONNX node to `ir.graph`, as convert.py says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.types import ElementType
from .draft import Draft, Refused
from .network import Network, OnnxNode, Shape
from .operands import known_shape, require_floats
from .window import transposed_window, window


def check_channels(node: OnnxNode, x: Shape, w: Shape, y: Shape) -> int:
    """The number of groups of a convolution; Refused where shapes contradict each other (onnxruntime refuses them,
    too, once it runs)."""
    group = int(node.attribute("group", 1))
    if not 3 <= len(x) <= 5 or len(w) != len(x) or len(y) != len(x):
        raise Refused(f"it convolves over {len(x) - 2} axes; 1 to 3 have an accelerator form")
    if group < 1 or x[1] != w[1] * group or w[0] % group or y[1] != w[0] or y[0] != x[0]:
        raise Refused(f"its shapes do not fit: x {list(x)}, weights {list(w)}, {group} groups")
    return group


def convert_conv(draft: Draft, node: OnnxNode) -> None:
    x, w, bias, y = node.input(0), node.input(1), node.input(2), node.outputs[0]
    require_floats(draft.network, x, w, bias, y)
    add_conv(draft, node, [draft.value(name) for name in (x, w, bias) if name], draft.value(y))


def add_conv(draft: Draft, node: OnnxNode, operands: list[str], y: str) -> None:
    """A conv between drafted tensors: x, w, perhaps a bias, and y."""
    x_shape, w_shape, y_shape = (draft.shape(name) for name in (*operands[:2], y))
    group = check_channels(node, x_shape, w_shape, y_shape)
    attributes = window(node, x_shape[2:], w_shape[2:], y_shape[2:])
    draft.add(
        "conv",
        operands,
        y,
        strides=attributes.strides,
        dilations=attributes.dilations,
        pads=attributes.pads,
        group=group,
    )


def convert_conv_transpose(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    x, w, bias, y = node.input(0), node.input(1), node.input(2), node.outputs[0]
    require_floats(network, x, w, bias, y)
    x_shape, w_shape, y_shape = (known_shape(network, name) for name in (x, w, y))
    group = int(node.attribute("group", 1))
    if not 3 <= len(x_shape) <= 5 or len(w_shape) != len(x_shape):
        raise Refused(f"it convolves over {len(x_shape) - 2} axes; 1 to 3 have an accelerator form")
    if group < 1 or x_shape[1] != w_shape[0] or w_shape[0] % group or y_shape[1] != w_shape[1] * group:
        raise Refused(f"its shapes do not fit: x {list(x_shape)}, weights {list(w_shape)}, {group} groups")
    attributes = transposed_window(node, x_shape[2:], w_shape[2:], y_shape[2:])
    draft.add(
        "conv_transpose",
        [draft.value(name) for name in (x, w, bias) if name],
        draft.value(y),
        strides=attributes.strides,
        dilations=attributes.dilations,
        pads=attributes.pads,
        group=group,
    )


def convert_matmul(draft: Draft, node: OnnxNode) -> None:
    a, b, y = node.input(0), node.input(1), node.outputs[0]
    require_floats(draft.network, a, b, y)
    add_matmul(draft, draft.value(a), draft.value(b), draft.value(y))


def add_matmul(draft: Draft, a: str, b: str, y: str, *bias: str) -> None:
    """numpy's matmul; a vector becomes a matrix of one row or column, and is reshaped away from the result.

    All tensors are drafted already. Vectors take no quantisation per column and no bias.
    """
    left, right, result = draft.shape(a), draft.shape(b), y
    if not left or not right:
        raise Refused("a scalar is no operand of a matrix product")
    if len(left) == 1 or len(right) == 1:
        left = (1, *left) if len(left) == 1 else left
        right = (*right, 1) if len(right) == 1 else right
        a, b = _as_matrix(draft, a, left), _as_matrix(draft, b, right)
        kind = draft.visible[y]
        assert isinstance(kind.type, ElementType)
        full = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
        result = draft.temporary(f"{y}.matrix", kind.type, full, kind.quantization)
    draft.add("matmul", [a, b, *bias], result, transpose_a=False, transpose_b=False)
    if result != y:
        draft.add("reshape", [result], y)


def _as_matrix(draft: Draft, name: str, shape: Shape) -> str:
    tensor = draft.visible[name]
    if tensor.shape == shape:
        return name
    assert isinstance(tensor.type, ElementType)
    if tensor.quantization is not None and not tensor.quantization.per_tensor:
        raise Refused("a vector has one scale")
    matrix = draft.temporary(f"{name}.matrix", tensor.type, shape, tensor.quantization)
    draft.add("reshape", [name], matrix)
    return matrix


def convert_gemm(draft: Draft, node: OnnxNode) -> None:
    """alpha * A B + beta * C. Factors go into constants where an operand is one, else they are multiplications."""
    network = draft.network
    a, b, c, y = node.input(0), node.input(1), node.input(2), node.outputs[0]
    kind = require_floats(network, a, b, c, y)
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    y_shape = known_shape(network, y)
    if c and beta != 0.0:
        refuse_wide_bias(known_shape(network, c), y_shape)
    transposed = {"transpose_a": bool(node.attribute("transA", 0)), "transpose_b": bool(node.attribute("transB", 0))}
    factor = 1.0
    right = draft.value(b)
    if alpha != 1.0:
        if b in network.constants and kind is ElementType.F32:
            right = draft.constant(f"{b}.scaled", _scaled(network, b, alpha), kind)
        else:
            factor = alpha
    bias = [] if not c or beta == 0.0 else [_scaled_bias(draft, c, beta, kind)]
    left = draft.value(a)
    if factor == 1.0:
        draft.add("matmul", [left, right, *bias], draft.value(y), **transposed)
        return
    product = draft.temporary(f"{y}.product", kind, y_shape)
    draft.add("matmul", [left, right], product, **transposed)
    scale = draft.constant(f"{y}.alpha", _scalar(factor, kind), kind)
    if not bias:
        draft.add("mul", [product, scale], draft.value(y))
        return
    scaled = draft.temporary(f"{y}.scaled", kind, y_shape)
    draft.add("mul", [product, scale], scaled)
    draft.add("add", [scaled, bias[0]], draft.value(y))


def refuse_wide_bias(bias: Shape, result: Shape) -> None:
    """Of a product's addend: it broadcasts to the result, and not the other way round. (onnxruntime finds out when it
    runs.)"""
    padded = (1,) * (len(result) - len(bias)) + bias
    if len(bias) > len(result) or any(own not in (1, extent) for own, extent in zip(padded, result, strict=True)):
        raise Refused(f"its operand C of shape {list(bias)} does not broadcast to {list(result)}")


def _scaled_bias(draft: Draft, c: str, beta: float, kind: ElementType) -> str:
    if beta == 1.0:
        return draft.value(c)
    if c in draft.network.constants and kind is ElementType.F32:
        return draft.constant(f"{c}.scaled", _scaled(draft.network, c, beta), kind)
    shape = known_shape(draft.network, c)
    scale = draft.constant(f"{c}.beta", _scalar(beta, kind).reshape((1,) if shape else ()), kind)
    scaled = draft.temporary(f"{c}.scaled", kind, shape)
    draft.add("mul", [draft.value(c), scale], scaled)
    return scaled


def _scaled(network: Network, name: str, factor: float) -> NDArray[np.float32]:
    return np.asarray(network.constants[name].array, np.float32) * np.float32(factor)


def _scalar(value: float, kind: ElementType) -> NDArray[np.generic]:
    if kind is ElementType.BF16:
        raise Refused("a factor of a bfloat16 product has no exact form")
    return np.array([value], kind.container)
