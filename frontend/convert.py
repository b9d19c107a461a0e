"""Float operators, and those that only move elements: one function an ONNX operator, from its node to `ir.graph`.

Each writes into a draft or raises Refused with the reason why the node has no accelerator form. Whether the machine at
hand takes the form is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..ir.types import ElementType
from .draft import Draft, Refused
from .network import Network, OnnxNode, Shape
from .normalise import is_inference_dropout
from .window import WindowAttributes, transposed_window, window

Converter = Callable[[Draft, OnnxNode], None]

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


def check_channels(node: OnnxNode, x: Shape, w: Shape, y: Shape) -> int:
    """The number of groups of a convolution; Refused where shapes contradict each other (onnxruntime refuses them,
    too, once it runs)."""
    group = int(node.attribute("group", 1))
    if not 3 <= len(x) <= 5 or len(w) != len(x) or len(y) != len(x):
        raise Refused(f"it convolves over {len(x) - 2} axes; 1 to 3 have an accelerator form")
    if group < 1 or x[1] != w[1] * group or w[0] % group or y[1] != w[0] or y[0] != x[0]:
        raise Refused(f"its shapes do not fit: x {list(x)}, weights {list(w)}, {group} groups")
    return group


def _conv(draft: Draft, node: OnnxNode) -> None:
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


def _conv_transpose(draft: Draft, node: OnnxNode) -> None:
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


def _matmul(draft: Draft, node: OnnxNode) -> None:
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


def _gemm(draft: Draft, node: OnnxNode) -> None:
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


def _pool(kind: str) -> Converter:
    def convert(draft: Draft, node: OnnxNode) -> None:
        network = draft.network
        x, y = node.input(0), single_output(network, node)
        if kind == "average":
            require_floats(network, x, y)
        add_pool(draft, node, kind, draft.value(x), draft.value(y))

    return convert


def add_pool(draft: Draft, node: OnnxNode, kind: str, x: str, y: str) -> None:
    """A max or average pool between drafted tensors of one type."""
    x_shape, y_shape = draft.shape(x), draft.shape(y)
    kernel = tuple(int(each) for each in node.attribute("kernel_shape", ()))
    if not 3 <= len(x_shape) <= 5 or len(kernel) != len(x_shape) - 2:
        raise Refused(f"it pools over {len(x_shape) - 2} axes; 1 to 3 have an accelerator form")
    if node.attribute("channels_last", 0):
        raise Refused("it is channels-last")
    attributes = window(node, x_shape[2:], kernel, y_shape[2:])
    include_pad = bool(node.attribute("count_include_pad", 0)) and any(attributes.pads)
    explicit = tuple(node.attribute("pads", None) or [0] * len(attributes.pads))
    ceil = bool(node.attribute("ceil_mode", 0))
    partly = kind == "average" and include_pad and ceil and attributes.pads != explicit
    if partly and (draft.visible[x].type is not ElementType.F32 or node.attribute("auto_pad", "NOTSET") != "NOTSET"):
        raise Refused("it counts padding, and ceil_mode adds positions that do not count")
    for axis in range(len(kernel)):
        if max(attributes.pads[axis], attributes.pads[axis + len(kernel)]) >= attributes.extent(axis, kernel):
            raise Refused("some of its windows lie in the padding altogether")
    pooled = draft.temporary(f"{y}.mean", ElementType.F32, y_shape) if partly else y
    draft.add(
        "pool",
        [x],
        pooled,
        kind=kind,
        kernel=kernel,
        strides=attributes.strides,
        dilations=attributes.dilations,
        pads=attributes.pads,
        count_include_pad=kind == "average" and include_pad and not partly,
    )
    if partly:
        ratio = _counted(attributes, kernel, x_shape[2:], y_shape[2:], explicit)
        factor = draft.constant(f"{y}.counted", ratio.reshape(1, 1, *y_shape[2:]), ElementType.F32)
        draft.add("mul", [pooled, factor], y)


def _counted(
    attributes: WindowAttributes, kernel: Shape, spatial: Shape, outputs: Shape, explicit: Shape
) -> NDArray[np.float32]:
    """For each output position of an average pool, elements inside the image / those inside it with its `explicit`
    padding: what turns the mean of the former into onnxruntime's mean, which leaves out only what ceil_mode adds."""
    rank = len(kernel)
    ratio = np.ones((), np.float64)
    for axis in range(rank):
        starts = np.arange(outputs[axis]) * attributes.strides[axis] - attributes.pads[axis]
        seen = starts[:, None] + np.arange(kernel[axis]) * attributes.dilations[axis]
        inside = (seen >= 0) & (seen < spatial[axis])
        counted = (seen >= -explicit[axis]) & (seen < spatial[axis] + explicit[rank + axis])
        ratio = ratio[..., None] * (inside.sum(axis=1) / counted.sum(axis=1))
    return ratio.astype(np.float32)


def _global_pool(kind: str) -> Converter:
    def convert(draft: Draft, node: OnnxNode) -> None:
        x, y = node.input(0), node.outputs[0]
        require_floats(draft.network, x, y)
        add_global_pool(draft, kind, draft.value(x), draft.value(y))

    return convert


def add_global_pool(draft: Draft, kind: str, x: str, y: str) -> None:
    shape = draft.shape(x)
    if not 3 <= len(shape) <= 5 or not all(shape[2:]):
        raise Refused(f"it pools over {len(shape) - 2} axes of {list(shape[2:])} positions")
    ones = (1,) * (len(shape) - 2)
    draft.add(
        "pool",
        [x],
        y,
        kind=kind,
        kernel=shape[2:],
        strides=ones,
        dilations=ones,
        pads=(0,) * (2 * len(ones)),
        count_include_pad=False,
    )


def _reduce_mean(draft: Draft, node: OnnxNode) -> None:
    """A mean over spatial axes is an average pool whose kernel covers them."""
    network = draft.network
    x, y = node.input(0), node.outputs[0]
    kind = require_floats(network, x, y)
    shape = known_shape(network, x)
    if node.input(1):
        if node.input(1) not in network.constants:
            raise Refused("its axes are computed at run time")
        axes = network.constants[node.input(1)].integers()
    else:
        axes = tuple(node.attribute("axes", ()))
    reduced = {axis % len(shape) for axis in axes if shape}
    if not 3 <= len(shape) <= 5 or not reduced or min(reduced) < 2 or not all(shape):
        raise Refused("it reduces other axes than spatial ones")
    kernel = tuple(shape[axis] if axis in reduced else 1 for axis in range(2, len(shape)))
    kept = tuple(1 if axis in reduced else extent for axis, extent in enumerate(shape))
    ones = (1,) * len(kernel)
    pooled = draft.value(y) if node.attribute("keepdims", 1) else draft.temporary(f"{y}.pool", kind, kept)
    draft.add(
        "pool",
        [draft.value(x)],
        pooled,
        kind="average",
        kernel=kernel,
        strides=ones,
        dilations=ones,
        pads=(0,) * (2 * len(ones)),
        count_include_pad=False,
    )
    if pooled != y:
        draft.add("reshape", [pooled], draft.value(y))


def _binary(op: str) -> Converter:
    def convert(draft: Draft, node: OnnxNode) -> None:
        network = draft.network
        if len([name for name in node.inputs if name]) != 2:
            raise Refused("it has other than two operands")
        a, b, y = node.input(0), node.input(1), node.outputs[0]
        require_floats(network, a, b, y)
        draft.add(op, [draft.value(a), draft.value(b)], draft.value(y))

    return convert


def _div(draft: Draft, node: OnnxNode) -> None:
    """A division by constants whose reciprocals are exact (powers of two) is a multiplication."""
    network = draft.network
    a, b, y = node.input(0), node.input(1), node.outputs[0]
    kind = require_floats(network, a, b, y)
    if b not in network.constants or kind is not ElementType.F32:
        raise Refused("it divides by a value that is no constant")
    divisor = np.asarray(network.constants[b].array, np.float32)
    mantissa, _ = np.frexp(divisor)
    if not divisor.size or not np.all(np.abs(mantissa) == 0.5) or not np.all(np.abs(np.log2(np.abs(divisor))) < 100):
        raise Refused("it divides by a number that is no power of two")
    reciprocal = draft.constant(f"{b}.reciprocal", np.float32(1) / divisor, kind)
    draft.add("mul", [draft.value(a), reciprocal], draft.value(y))


def _relu(draft: Draft, node: OnnxNode) -> None:
    require_floats(draft.network, node.input(0))
    draft.add("relu", [draft.value(node.input(0))], draft.value(node.outputs[0]))


def clip_bounds(network: Network, node: OnnxNode) -> tuple[float, float]:
    """The bounds of a Clip; Refused where they are computed at run time."""
    bounds = []
    for position, (name, default) in enumerate((("min", np.finfo(np.float32).min), ("max", np.finfo(np.float32).max))):
        operand = node.input(position + 1)
        if not operand:
            bounds.append(float(node.attribute(name, default)))
            continue
        constant = network.constants.get(operand)
        if constant is None:
            raise Refused("its bounds are computed at run time")
        if constant.array.size != 1:
            raise Refused("its bounds are no scalars")
        bounds.append(float(constant.floats().ravel()[0]))
    return bounds[0], bounds[1]


def _clip(draft: Draft, node: OnnxNode) -> None:
    require_floats(draft.network, node.input(0))
    low, high = clip_bounds(draft.network, node)
    if not low <= high:
        raise Refused(f"its bounds {low} and {high} are not in order")
    draft.add("clip", [draft.value(node.input(0))], draft.value(node.outputs[0]), minimum=low, maximum=high)


def _leaky_relu(draft: Draft, node: OnnxNode) -> None:
    require_floats(draft.network, node.input(0))
    alpha = float(np.float32(node.attribute("alpha", 0.01)))
    draft.add("leaky_relu", [draft.value(node.input(0))], draft.value(node.outputs[0]), alpha=alpha)


def _prelu(draft: Draft, node: OnnxNode) -> None:
    require_floats(draft.network, node.input(0))
    slope = draft.network.constants.get(node.input(1))
    if slope is None or not slope.array.size or np.ptp(slope.floats()) != 0:
        raise Refused("its slopes are not one constant")
    alpha = float(slope.floats().ravel()[0])
    draft.add("leaky_relu", [draft.value(node.input(0))], draft.value(node.outputs[0]), alpha=alpha)


def _batch_normalization(draft: Draft, node: OnnxNode) -> None:
    """At inference: x * (scale / sqrt(variance + epsilon)) + (shift - mean * that), one factor and term a channel."""
    network = draft.network
    x, y = node.input(0), single_output(network, node)
    if require_floats(network, x, y) is not ElementType.F32:
        raise Refused("it normalises other than float32")
    if node.attribute("training_mode", 0) or not node.attribute("spatial", 1):
        raise Refused("it is not the per-channel form of inference")
    parameters = [network.constants.get(node.input(index)) for index in range(1, 5)]
    shape = known_shape(network, x)
    if len(shape) < 2:
        raise Refused("its operand has no channels")
    values = []
    for each in parameters:
        if each is None:
            raise Refused("its parameters are computed at run time")
        values.append(each.floats().ravel())
    scale, shift, mean, variance = values
    if any(each.shape != (shape[1],) for each in values):
        raise Refused("its parameters do not fit the channels")
    epsilon = float(np.float32(node.attribute("epsilon", 1e-5)))
    factor = scale / np.sqrt(variance + epsilon)
    term = shift - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(term).all()):
        raise Refused("its factors are not finite")
    per_channel = (shape[1], *([1] * (len(shape) - 2)))
    scaled = draft.temporary(f"{y}.scaled", ElementType.F32, shape)
    factors = draft.constant(f"{y}.factor", factor.astype(np.float32).reshape(per_channel), ElementType.F32)
    terms = draft.constant(f"{y}.term", term.astype(np.float32).reshape(per_channel), ElementType.F32)
    draft.add("mul", [draft.value(x), factors], scaled)
    draft.add("add", [scaled, terms], draft.value(y))


def _reshape(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    if node.kind == "Dropout" and not is_inference_dropout(network, node):
        raise Refused("it is a training dropout, or its mask is used")
    x, y = node.input(0), node.outputs[0]
    if prod(known_shape(network, x)) != prod(known_shape(network, y)):
        raise Refused(f"{x!r} and {y!r} differ in size")
    add_move(draft, "reshape", x, y)


def _transpose(draft: Draft, node: OnnxNode) -> None:
    shape = known_shape(draft.network, node.input(0))
    permutation = tuple(node.attribute("perm", None) or range(len(shape))[::-1])
    add_move(draft, "transpose", node.input(0), node.outputs[0], permutation)


def add_move(draft: Draft, op: str, x: str, y: str, permutation: Shape = ()) -> None:
    """A reshape or transpose. Codes keep their quantisation, which must be per tensor."""
    source = draft.visible[draft.value(x)]
    if source.constant is not None:
        raise Refused("its operand is a constant")
    if source.quantization is not None and not source.quantization.per_tensor:
        raise Refused("its operand has a scale per channel")
    result = draft.value(y, source.quantization)
    if op == "transpose":
        draft.add(op, [source.name], result, permutation=permutation)
    else:
        draft.add(op, [source.name], result)


CONVERTERS: dict[str, Converter] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "AveragePool": _pool("average"),
    "GlobalAveragePool": _global_pool("global_average"),
    "GlobalMaxPool": _global_pool("max"),
    "ReduceMean": _reduce_mean,
    "Add": _binary("add"),
    "Sum": _binary("add"),
    "Sub": _binary("sub"),
    "Mul": _binary("mul"),
    "Div": _div,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "BatchNormalization": _batch_normalization,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Identity": _reshape,
    "Dropout": _reshape,
    "Transpose": _transpose,
    "Relu": _relu,
    "Clip": _clip,
}
