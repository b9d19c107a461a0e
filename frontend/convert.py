"""Float operators, and those that only move elements: one function an ONNX operator, from its node to `ir.graph`.

Each writes into a draft or raises Refused with the reason why the node has no accelerator form. Whether the machine at
hand takes the form is not decided here.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..ir.types import ElementType
from .convert_pools import convert_reduce_mean, global_pool_converter, pool_converter
from .convert_products import convert_conv, convert_conv_transpose, convert_gemm, convert_matmul
from .draft import Converter, Draft, Refused
from .network import Network, OnnxNode, Shape
from .normalise import is_inference_dropout
from .operands import known_shape, require_floats, single_output


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
    "Conv": convert_conv,
    "ConvTranspose": convert_conv_transpose,
    "MatMul": convert_matmul,
    "Gemm": convert_gemm,
    "AveragePool": pool_converter("average"),
    "GlobalAveragePool": global_pool_converter("global_average"),
    "GlobalMaxPool": global_pool_converter("max"),
    "ReduceMean": convert_reduce_mean,
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
