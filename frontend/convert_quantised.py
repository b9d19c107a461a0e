"""Operators on codes: QLinear*, the integer products, QuantizeLinear and its inverse, and tables for what maps one code
to one code. The functions that take `Operand`s serve `qdq`, too, where the parameters come from neighbouring nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.frozen import dataclass
from ..ir.types import ElementType, Quantization
from .convert_pools import add_global_pool, add_pool
from .convert_products import add_conv, add_matmul, refuse_wide_bias
from .draft import Converter, Draft, Operand, Refused, quantization
from .evaluate import create_session
from .network import Network, OnnxNode, serialised, tensor_info
from .operands import FLOAT_TYPES, element_type, known_shape, single_output

EIGHT_BITS = frozenset({ElementType.I8, ElementType.U8})
CODES = EIGHT_BITS | {ElementType.I4, ElementType.U4, ElementType.I16, ElementType.U16}


def operand(
    network: Network, node: OnnxNode, index: int, axis: int | None = None, zero_point: int | None = None
) -> Operand:
    """Inputs index, index + 1 (scale) and index + 2 (zero point) of a QLinear operator."""
    name = node.input(index)
    shape = known_shape(network, name)
    extent = shape[axis] if axis is not None and shape else None
    zero = node.input(index + 2 if zero_point is None else zero_point)
    axis = axis % len(shape) if axis is not None and shape else None
    return Operand(name, quantization(network, node.input(index + 1), zero, axis, extent))


def result(network: Network, node: OnnxNode, scale: int) -> Operand:
    """The first output, with its scale at input `scale` and its zero point behind that."""
    return Operand(node.outputs[0], quantization(network, node.input(scale), node.input(scale + 1), None, None))


def require_codes(network: Network, *names: str) -> None:
    for name in names:
        if element_type(network, name) not in CODES:
            raise Refused(f"{name!r} is of type {network.info(name).spelling}")


def require_uniform_zero_point(weights: Operand) -> None:
    if len(set(weights.quantization.zero_point)) > 1:
        raise Refused("its weights have different zero points in different channels")


@dataclass(frozen=True, slots=True)
class Bias:
    """The bias of a product: an i32 value by name, or real numbers to be rounded to the scale of the product."""

    name: str = ""
    reals: NDArray[np.float64] | None = None


def bias_name(draft: Draft, bias: Bias, x: Operand, w: Operand) -> list[str]:
    """The bias as the operand list continues: nothing, or an i32 tensor in the scale of the product."""
    if bias.reals is not None:
        scale = np.float32(x.quantization.scale[0]) * np.asarray(w.quantization.scale, np.float32)
        codes = np.clip(np.rint(bias.reals / scale.astype(np.float64)), -(2.0**31), 2.0**31 - 1)
        return [draft.constant(f"{bias.name}.quantized", codes.astype(np.int32), ElementType.I32)]
    if not bias.name:
        return []
    if element_type(draft.network, bias.name) is not ElementType.I32:
        raise Refused(f"its bias is of type {draft.network.info(bias.name).spelling}")
    return [draft.value(bias.name)]


def add_quantised_conv(draft: Draft, node: OnnxNode, x: Operand, w: Operand, bias: Bias, y: str) -> None:
    """y, a drafted tensor, takes the sum of products as its type says (i32 or requantised codes)."""
    require_codes(draft.network, x.name, w.name)
    require_uniform_zero_point(w)
    if node.attribute("channels_last", 0):
        raise Refused("it is channels-last")
    names = [draft.value(x.name, x.quantization), draft.value(w.name, w.quantization)]
    names += bias_name(draft, bias, x, w)
    add_conv(draft, node, names, y)


def add_quantised_product(draft: Draft, a: Operand, b: Operand, y: str, bias: Sequence[str] = ()) -> None:
    require_codes(draft.network, a.name, b.name)
    require_uniform_zero_point(b)
    if not a.quantization.per_tensor:
        raise Refused("its first operand has a scale per row")
    add_matmul(draft, draft.value(a.name, a.quantization), draft.value(b.name, b.quantization), y, *bias)


def _qlinear_conv(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    x, w, y = operand(network, node, 0), operand(network, node, 3, 0), result(network, node, 6)
    add_quantised_conv(draft, node, x, w, Bias(node.input(8)), draft.value(y.name, y.quantization))


def _qlinear_matmul(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    a, b, y = operand(network, node, 0), operand(network, node, 3, -1), result(network, node, 6)
    add_quantised_product(draft, a, b, draft.value(y.name, y.quantization))


def _qgemm(draft: Draft, node: OnnxNode) -> None:
    """com.microsoft.QGemm: A, scale, zero, B, scale, zero, C (i32), and for a quantised result its scale and zero."""
    network = draft.network
    transpose_b = bool(node.attribute("transB", 0))
    a, b = operand(network, node, 0), operand(network, node, 3, 0 if transpose_b else 1)
    if node.attribute("alpha", 1.0) != 1.0:
        raise Refused("its alpha is not 1")
    y = node.outputs[0]
    kind = result(network, node, 7).quantization if node.input(7) else None
    add_quantised_gemm(
        draft, a, b, Bias(node.input(6)), draft.value(y, kind), bool(node.attribute("transA", 0)), transpose_b
    )


def add_quantised_gemm(
    draft: Draft, a: Operand, b: Operand, bias: Bias, y: str, transpose_a: bool, transpose_b: bool
) -> None:
    require_codes(draft.network, a.name, b.name)
    require_uniform_zero_point(b)
    names = [draft.value(a.name, a.quantization), draft.value(b.name, b.quantization), *bias_name(draft, bias, a, b)]
    for name in names[2:]:
        refuse_wide_bias(draft.visible[name].shape or (), draft.visible[y].shape or ())
    draft.add("matmul", names, y, transpose_a=transpose_a, transpose_b=transpose_b)


def sum_operand(draft: Draft, node: OnnxNode, index: int) -> Operand:
    """Operand of ConvInteger or MatMulInteger: a zero point but no scale. Codes that have a scale already keep it."""
    network = draft.network
    name, zero = node.input(index), node.input(index + 2)
    known = draft.visible.get(name)
    zeros = network.constants.get(zero)
    if zero and zeros is None:
        raise Refused("its zero point is computed at run time")
    codes = zeros.integers() if zeros is not None else (0,)
    if len(set(codes)) != 1:
        raise Refused("it has different zero points in different rows or columns")
    scaled = known.quantization if known is not None and known.constant is None else None
    if scaled is not None and set(scaled.zero_point) == set(codes):
        return Operand(name, scaled)
    return Operand(name, Quantization((1.0,), (codes[0],)))


UNIT = Quantization((1.0,), (0,))


def _matmul_integer(draft: Draft, node: OnnxNode) -> None:
    a, b = sum_operand(draft, node, 0), sum_operand(draft, node, 1)
    add_quantised_product(draft, a, b, draft.value(node.outputs[0], UNIT))


def _conv_integer(draft: Draft, node: OnnxNode) -> None:
    x, w = sum_operand(draft, node, 0), sum_operand(draft, node, 1)
    add_quantised_conv(draft, node, x, w, Bias(), draft.value(node.outputs[0], UNIT))


def _qlinear_binary(op: str) -> Converter:
    def convert(draft: Draft, node: OnnxNode) -> None:
        network = draft.network
        a, b, y = operand(network, node, 0), operand(network, node, 3), result(network, node, 6)
        add_quantised_binary(draft, op, a, b, draft.value(y.name, y.quantization))

    return convert


def add_quantised_binary(draft: Draft, op: str, a: Operand, b: Operand, y: str) -> None:
    """y is a drafted tensor of codes."""
    require_codes(draft.network, a.name, b.name)
    draft.add(op, [draft.value(each.name, each.quantization) for each in (a, b)], y)


def _qlinear_pool(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    x, y = operand(network, node, 0), result(network, node, 3)
    require_codes(network, x.name, y.name)
    add_pool(draft, node, "average", draft.value(x.name, x.quantization), draft.value(y.name, y.quantization))


def _qlinear_global_pool(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    if node.attribute("channels_last", 0):
        raise Refused("it is channels-last")
    x, y = operand(network, node, 0), result(network, node, 3)
    require_codes(network, x.name, y.name)
    add_global_pool(draft, "global_average", draft.value(x.name, x.quantization), draft.value(y.name, y.quantization))


def _max_pool(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    x, y = node.input(0), single_output(network, node)
    kind = element_type(network, x)
    if kind not in EIGHT_BITS | FLOAT_TYPES:
        raise Refused(f"it pools {kind}")
    source = draft.value(x)
    add_pool(draft, node, "max", source, draft.value(y, draft.visible[source].quantization))


def _linear_axis(node: OnnxNode, network: Network) -> tuple[int | None, int | None]:
    """The axis of QuantizeLinear and DequantizeLinear and its extent."""
    if node.attribute("block_size", 0):
        raise Refused("it has a scale per block")
    shape = known_shape(network, node.input(0))
    if not shape:
        return None, None
    axis = int(node.attribute("axis", 1))
    axis = axis % len(shape) if -len(shape) <= axis < len(shape) else 0
    return axis, shape[axis]


def linear_quantization(network: Network, node: OnnxNode) -> Quantization:
    """The parameters of a QuantizeLinear or DequantizeLinear."""
    axis, extent = _linear_axis(node, network)
    return quantization(network, node.input(1), node.input(2), axis, extent)


def _quantize(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    x, y = node.input(0), node.outputs[0]
    if element_type(network, x) is not ElementType.F32:
        raise Refused(f"it quantises {network.info(x).spelling}")
    require_codes(network, y)
    if x in network.constants:
        raise Refused("its operand is a constant")
    draft.add("quantize", [draft.value(x)], draft.value(y, linear_quantization(network, node)))


def _dequantize(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    x, y = node.input(0), node.outputs[0]
    if element_type(network, y) is not ElementType.F32:
        raise Refused(f"it yields {network.info(y).spelling}")
    if element_type(network, x) not in CODES | {ElementType.I32}:
        raise Refused(f"{x!r} is of type {network.info(x).spelling}")
    if x in network.constants:
        raise Refused("its operand is a constant")
    draft.add("dequantize", [draft.value(x, linear_quantization(network, node))], draft.value(y))


def _cast(draft: Draft, node: OnnxNode) -> None:
    """i32 to f32 is a dequantisation with scale 1; between 8-bit integers it is a table."""
    network = draft.network
    x, y = node.input(0), node.outputs[0]
    kinds = element_type(network, x), element_type(network, y)
    if kinds == (ElementType.I32, ElementType.F32):
        draft.add("dequantize", [draft.value(x, UNIT)], draft.value(y))
    elif set(kinds) <= EIGHT_BITS:
        _unary_table(draft, node)
    else:
        raise Refused(f"it converts {kinds[0]} to {kinds[1]}")


def _qlinear_unary(draft: Draft, node: OnnxNode) -> None:
    network = draft.network
    x, y = operand(network, node, 0), result(network, node, 3)
    add_table(draft, [node], x.name, x.quantization, y.name, y.quantization)


def _unary_table(draft: Draft, node: OnnxNode) -> None:
    x, y = node.input(0), node.outputs[0]
    if any(name and name not in draft.network.constants for name in node.inputs[1:]):
        raise Refused("it has an operand that is computed at run time")
    add_table(draft, [node], x, None, y, None)


def add_table(
    draft: Draft,
    nodes: Sequence[OnnxNode],
    x: str,
    x_kind: Quantization | None,
    y: str,
    y_kind: Quantization | None,
    source: str = "",
) -> None:
    """`nodes` map each 8-bit code of x to one of y: onnxruntime computes all of them. `source` is the drafted tensor
    that is read, where it is not x itself."""
    network = draft.network
    if {element_type(network, x), element_type(network, y)} - EIGHT_BITS:
        raise Refused("a table maps 8-bit codes")
    entries = _all_codes(network, nodes, x, y)
    name = draft.constant(f"{y}.table", entries, element_type(network, y))
    draft.add("table", [source or draft.value(x, x_kind), name], draft.value(y, y_kind))


def _all_codes(network: Network, nodes: Sequence[OnnxNode], x: str, y: str) -> NDArray[Any]:
    kind = element_type(network, x)
    codes = np.arange(kind.minimum, kind.maximum + 1).astype(kind.container)
    info = network.info(x)
    network.infos[x] = tensor_info(info.elem_type, codes.shape)
    try:
        model = serialised(network, nodes, [x], [], "table", {})
    finally:
        network.infos[x] = info
    model.graph.output.add(name=y)
    needed = {name for node in nodes for name in node.reads if name in network.constants}
    session = create_session(model, {name: network.constants[name] for name in needed}, optimise=True)
    entries = np.asarray(session.run([y], {x: codes})[0])
    if entries.size != codes.size:
        raise Refused("it does not map codes one by one")
    return entries.reshape(-1)


def _codes_or(float_converter: Converter | None) -> Converter:
    """A table where the operand is an 8-bit integer, else the float form."""

    def convert(draft: Draft, node: OnnxNode) -> None:
        if float_converter is None or draft.network.info(node.input(0)).element_type in EIGHT_BITS:
            _unary_table(draft, node)
        else:
            float_converter(draft, node)

    return convert


def quantised_converters(floats: dict[str, Converter]) -> dict[str, Converter]:
    """By operator, com.microsoft's with their domain. `floats` serve the operators that exist for both."""
    return {
        "QLinearConv": _qlinear_conv,
        "QLinearMatMul": _qlinear_matmul,
        "MatMulInteger": _matmul_integer,
        "ConvInteger": _conv_integer,
        "QuantizeLinear": _quantize,
        "DequantizeLinear": _dequantize,
        "Cast": _cast,
        "MaxPool": _max_pool,
        "Relu": _codes_or(floats["Relu"]),
        "Clip": _codes_or(floats["Clip"]),
        "Abs": _codes_or(None),
        "Neg": _codes_or(None),
        "Sign": _codes_or(None),
        "BitwiseNot": _codes_or(None),
        "com.microsoft.QLinearConv": _qlinear_conv,
        "com.microsoft.QGemm": _qgemm,
        "com.microsoft.QLinearAdd": _qlinear_binary("add"),
        "com.microsoft.QLinearMul": _qlinear_binary("mul"),
        "com.microsoft.QLinearAveragePool": _qlinear_pool,
        "com.microsoft.QLinearGlobalAveragePool": _qlinear_global_pool,
        "com.microsoft.QLinearLeakyRelu": _qlinear_unary,
        "com.microsoft.QLinearSigmoid": _qlinear_unary,
    }
