"""Executes a module of graph nodes, host regions and nests one operation after the other, in numpy.

Its only virtue is to be obviously right: it is how a pass is tested for meaning (before = after). What an operator does
follows from its kind and from the types and quantisation of its operands and of its result; the formulas are those of
`runtime.arithmetic`. Values are kept in their containers (bf16 as bit patterns) and in logical axis order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..ir.blocks import BlockTest, matrices
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.graph import HostRegion, Node, ValueType
from ..ir.module import Module
from ..ir.nest import Nest
from ..ir.types import ElementType, Quantization, Tensor, constant_array
from . import arithmetic, blocks
from .arithmetic import F32, Scale, Window
from .nest_interpreter import run_nest

Array = NDArray[Any]
_SUMS_OF_32 = 8  # products of operands of so many bits are added modulo 2^32, of wider ones modulo 2^64
RunHost = Callable[[HostRegion, list[Any]], list[Any]]


def run_graph(module: Module, inputs: Mapping[str, Any], run_host: RunHost) -> dict[str, Any]:
    """The outputs of a module that holds no nests; see `run_module`."""
    ensure(not any(isinstance(each, Nest) for each in module.operations), "a module with nests is no graph")
    return run_module(module, inputs, run_host)


def run_module(module: Module, inputs: Mapping[str, Any], run_host: RunHost) -> dict[str, Any]:
    """The module's outputs by name, in logical axis order; a bf16 output comes as float32.

    `inputs` gives every input of the module (bf16 and f16 as any float array). `run_host` gets the values of a region's
    inputs in order and returns those of its outputs. Raises KeyError for an input that is missing.
    """
    values: dict[str, Any] = {}
    for name in module.inputs:
        values[name] = _entering(module.tensor(name), inputs[name])
    for tensor in module.tensors:
        if tensor.constant is not None:
            values[tensor.name] = constant_array(tensor, module.blobs)
    for operation in module.operations:
        if isinstance(operation, HostRegion):
            results = run_host(operation, [values[name] for name in operation.inputs])
            values.update(zip(operation.outputs, results, strict=True))
        elif isinstance(operation, Nest):
            _run_nest(module, operation, values)
        else:
            values[operation.outputs[0]] = _run_node(module, operation, values)
    return {name: _leaving(module.tensor(name), values[name]) for name in module.outputs}


def _entering(tensor: Tensor, value: Any) -> Any:
    if not isinstance(tensor.type, ElementType):
        return value
    array = np.asarray(value)
    if array.dtype == tensor.type.container:
        return array
    return arithmetic.to_container(array, tensor.type)


def _leaving(tensor: Tensor, value: Any) -> Any:
    return arithmetic.bf16_values(value) if tensor.type is ElementType.BF16 else value


def to_storage(tensor: Tensor, logical: Array) -> Array:
    """The elements in storage order, flat."""
    return np.ascontiguousarray(logical.transpose(tensor.storage_order)).reshape(-1)


def from_storage(tensor: Tensor, flat: Array) -> Array:
    """The logical array whose elements lie flat in storage order."""
    return flat.reshape(tensor.storage_shape).transpose(np.argsort(tensor.storage_order))


def _run_nest(module: Module, nest: Nest, values: dict[str, Any]) -> None:
    """Several nests may write parts of one tensor: what is there already stays."""
    stored = {name: to_storage(module.tensor(name), values[name]) for name in nest.inputs}
    result = module.tensor(nest.write.tensor)
    assert isinstance(result.type, ElementType)
    before = values.get(result.name)
    out = np.zeros(result.elements, result.type.container) if before is None else to_storage(result, before)
    values[result.name] = from_storage(result, run_nest(nest, stored, out))


@dataclass(frozen=True, slots=True)
class _Value:
    """An array in its container, with what it means."""

    array: Array
    type: ElementType
    quantization: Quantization | None

    @property
    def real(self) -> NDArray[np.float32]:
        """The real numbers that it stands for, in float32."""
        if self.type.is_float:
            return cast(NDArray[np.float32], arithmetic.from_container(self.array, self.type))
        scale, zero_point = parameters(self.quantization, self.array.ndim)
        return arithmetic.dequantize(self.array, scale, zero_point)

    @property
    def centred(self) -> Array:
        """Codes less zero point for integers, float32 for floats: the operands of a sum."""
        if self.type.is_float:
            return self.real
        return arithmetic.centred(self.array, parameters(self.quantization, self.array.ndim)[1])

    @property
    def per_tensor(self) -> Scale:
        """Scale and zero point, which must be one for all elements; none count as 1 and 0."""
        if self.quantization is None:
            return Scale(1.0, 0)
        ensure(self.quantization.per_tensor, "this operand must have one scale")
        return Scale(self.quantization.scale[0], self.quantization.zero_point[0])

    @property
    def kind(self) -> ValueType:
        return ValueType(self.type, self.quantization)


def parameters(quantization: Quantization | None, rank: int) -> tuple[Array, Array]:
    """Scales and zero points, shaped to broadcast against an array of `rank` axes; none count as 1 and 0."""
    if quantization is None:
        return np.ones((), F32), np.zeros((), np.int64)
    shape = [1] * rank
    if quantization.axis is not None:
        shape[quantization.axis] = len(quantization.scale)
    elif rank == 0:
        shape = []
    return np.array(quantization.scale, F32).reshape(shape), np.array(quantization.zero_point, np.int64).reshape(shape)


def _as_result(real: Array, result: ValueType) -> Array:
    """Real numbers as the container of `result` holds them."""
    if result.type.is_float:
        return arithmetic.to_container(real, result.type)
    scale, zero_point = parameters(result.quantization, real.ndim)
    return arithmetic.quantize(real, scale, zero_point, result.type)


def _run_node(module: Module, node: Node, values: Mapping[str, Any]) -> Array:
    operands = [_value(module, name, values) if name else None for name in node.inputs]
    result = module.tensor(node.outputs[0])
    assert isinstance(result.type, ElementType)
    own = node.value or ValueType(result.type, result.quantization)
    running = _Value(_OPERATORS[node.op](node, operands, own, result), own.type, own.quantization)
    for stage in node.post:
        operand = _value(module, stage.operand, values) if stage.operand is not None else None
        array = _elementwise(stage.op, running, operand, dict(stage.attributes), stage.result)
        running = _Value(array, stage.result.type, stage.result.quantization)
    ends = running.kind == ValueType(result.type, result.quantization)
    ensure(ends, f"{node.name}: the post chain ends elsewhere")
    return running.array


def _value(module: Module, name: str, values: Mapping[str, Any]) -> _Value:
    tensor = module.tensor(name)
    assert isinstance(tensor.type, ElementType), f"{name} is a host value"
    return _Value(values[name], tensor.type, tensor.quantization)


# --- Weighted operators -------------------------------------------------------------------------------------------


def _conv(node: Node, operands: Sequence[_Value | None], own: ValueType, _result: Tensor) -> Array:
    x, w, bias = _three(operands)
    window = _window(node, w.array.shape[2:])
    total = arithmetic.conv_sum(x.centred, w.centred, window, cast(int, node.attribute("group")))
    channels = (1, -1) + (1,) * len(window.kernel)
    return _sum_to_result(total, x, w, _weight_scale(w, 0, channels), bias, channels, own)


def _conv_transpose(node: Node, operands: Sequence[_Value | None], own: ValueType, _result: Tensor) -> Array:
    x, w, bias = _three(operands)
    window = _window(node, w.array.shape[2:])
    group = cast(int, node.attribute("group"))
    total = arithmetic.conv_transpose_sum(x.centred, w.centred, window, group)
    channels = (1, -1) + (1,) * len(window.kernel)
    scale = _weight_scale(w, 1, channels)
    scale = np.tile(scale, (1, group) + (1,) * len(window.kernel)) if scale.size > 1 else scale
    return _sum_to_result(total, x, w, scale, bias, channels, own)


def _matmul(node: Node, operands: Sequence[_Value | None], own: ValueType, _result: Tensor) -> Array:
    a, b, bias = _three(operands)
    left, right = a.centred, b.centred
    last = b.array.ndim - 1
    if node.attribute("transpose_a"):
        left = left.swapaxes(-1, -2)
    if node.attribute("transpose_b"):
        right, last = right.swapaxes(-1, -2), b.array.ndim - 2
    total = arithmetic.matmul_sum(left, right)
    return _sum_to_result(total, a, b, _weight_scale(b, last, (-1,)), bias, None, own)


def _three(operands: Sequence[_Value | None]) -> tuple[_Value, _Value, _Value | None]:
    first, second = operands[0], operands[1]
    assert first is not None and second is not None
    return first, second, operands[2] if len(operands) > 2 else None


def _window(node: Node, kernel: Sequence[int]) -> Window:
    strides, dilations, pads = (
        cast(tuple[int, ...], node.attribute(each)) for each in ("strides", "dilations", "pads")
    )
    return Window(tuple(kernel), strides, dilations, pads)


def _weight_scale(w: _Value, axis: int, shape: tuple[int, ...]) -> Array:
    """The scales of weights: one, or one per output channel (`axis` of the weights), shaped for the result."""
    if w.quantization is None:
        return np.ones((), F32)
    ensure(w.quantization.axis in (None, axis), "weights have one scale, or one per output channel")
    scales = np.array(w.quantization.scale, F32)
    return scales.reshape(shape) if w.quantization.axis is not None else scales.reshape(())


def _sum_to_result(
    total: Array,
    x: _Value,
    w: _Value,
    w_scale: Array,
    bias: _Value | None,
    channels: tuple[int, ...] | None,
    own: ValueType,
) -> Array:
    """Bias, then what the result's type asks for: the sum itself (floats, i32), its real value, or a requantisation."""
    if x.type.is_float:
        if bias is not None:
            total = total + (bias.real.reshape(channels) if channels else bias.real)
        return _as_result(total, own)
    is_wide = max(x.type.bits, w.type.bits) > _SUMS_OF_32  # then the machine's accumulator has more than 32 bits
    if bias is not None:
        total = total + (bias.array.reshape(channels) if channels else bias.array)
    if own.type in (ElementType.I32, ElementType.I64):
        return arithmetic.wrap(total, own.type)[0].astype(own.type.container)
    total = arithmetic.wrap(total, ElementType.I64 if is_wide else ElementType.I32)[0]
    x_scale = F32(x.per_tensor.scale)
    if own.type.is_float:
        return arithmetic.to_container(total.astype(F32) * np.asarray(x_scale * w_scale, F32), own.type)
    y_scale, y_zero_point = parameters(own.quantization, total.ndim)
    return arithmetic.requantize(total, arithmetic.multiplier(x_scale, w_scale, y_scale), y_zero_point, own.type)


# --- Pools and movement -------------------------------------------------------------------------------------------


def _pool(node: Node, operands: Sequence[_Value | None], own: ValueType, _result: Tensor) -> Array:
    x = operands[0]
    assert x is not None
    kind = node.attribute("kind")
    if kind == "max":
        window = _window(node, cast(tuple[int, ...], node.attribute("kernel")))
        if x.type is ElementType.BF16 or x.kind != own:
            return _as_result(arithmetic.max_pool(x.real, window), own)
        return arithmetic.max_pool(x.array, window)
    quantised = x.quantization is not None and own.quantization is not None
    if kind == "global_average":
        if quantised:
            return arithmetic.qlinear_global_average_pool(x.array, x.per_tensor, _scale(own), own.type)
        mean = x.real.mean(axis=tuple(range(2, x.array.ndim)), keepdims=True, dtype=np.float64)
        return _as_result(mean.astype(F32), own)
    window = _window(node, cast(tuple[int, ...], node.attribute("kernel")))
    include_pad = bool(node.attribute("count_include_pad"))
    if quantised:
        return arithmetic.qlinear_average_pool(x.array, window, include_pad, x.per_tensor, _scale(own), own.type)
    return _as_result(arithmetic.average_pool(x.real, window, include_pad), own)


def _scale(kind: ValueType) -> Scale:
    assert kind.quantization is not None
    ensure(kind.quantization.per_tensor, "one scale is needed")
    return Scale(kind.quantization.scale[0], kind.quantization.zero_point[0])


def _reshape(_node: Node, operands: Sequence[_Value | None], _own: ValueType, result: Tensor) -> Array:
    x = operands[0]
    assert x is not None and result.shape is not None
    return x.array.reshape(result.shape)


def _transpose(node: Node, operands: Sequence[_Value | None], _own: ValueType, _result: Tensor) -> Array:
    x = operands[0]
    assert x is not None
    return x.array.transpose(cast(tuple[int, ...], node.attribute("permutation")))


def _im2col(node: Node, operands: Sequence[_Value | None], _own: ValueType, _result: Tensor) -> Array:
    """[N,C,spatial] to [N, taps * C, points]: the taps are the outer part of axis 1."""
    x = operands[0]
    assert x is not None
    window = _window(node, cast(tuple[int, ...], node.attribute("kernel")))
    outputs = window.outputs(x.array.shape[2:])
    image = arithmetic.padded(x.array, window.pads, x.per_tensor.zero_point if x.type.is_integer else 0)
    return np.concatenate([arithmetic.tap_values(image, tap, window, outputs) for tap in window.taps()], axis=1)


def _prune(node: Node, operands: Sequence[_Value | None], _own: ValueType, result: Tensor) -> Array:
    """Blocks lie in the tensor as it is stored."""
    x = operands[0]
    assert x is not None
    criterion = cast(str, node.attribute("criterion"))
    threshold, rows, cols = (cast(int, node.attribute(name)) for name in ("threshold", "rows", "cols"))
    stored = to_storage(result, x.array).reshape(matrices(result.storage_shape))
    left = blocks.pruned(stored, x.per_tensor.zero_point, BlockTest(criterion, threshold, rows, cols))
    return from_storage(result, left.reshape(-1))


# --- Elementwise operators, as nodes and as stages of a post chain --------------------------------------------------


def _elementwise_node(node: Node, operands: Sequence[_Value | None], own: ValueType, _result: Tensor) -> Array:
    x = operands[0]
    assert x is not None
    return _elementwise(node.op, x, operands[1] if len(operands) > 1 else None, dict(node.attributes), own)


def _elementwise(op: str, x: _Value, operand: _Value | None, attributes: Mapping[str, Any], result: ValueType) -> Array:
    if op in ("relu", "clip", "leaky_relu"):
        return _activation(op, x, attributes, result)
    if op == "table":
        assert operand is not None
        return arithmetic.table(x.array, operand.array, x.type)
    if op == "requantize":
        x_scale, _ = parameters(x.quantization, x.array.ndim)
        y_scale, zero_point = parameters(result.quantization, x.array.ndim)
        return arithmetic.requantize(x.array, arithmetic.multiplier(x_scale, 1.0, y_scale), zero_point, result.type)
    if op in ("quantize", "dequantize"):
        return _as_result(x.real, result)
    assert operand is not None
    if x.quantization is not None and operand.quantization is not None and result.quantization is not None:
        formula = {"add": arithmetic.qlinear_add, "mul": arithmetic.qlinear_mul}[op]
        return formula(x.array, operand.array, x.per_tensor, operand.per_tensor, _scale(result), result.type)
    combine = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[op]
    if result.type.is_integer:
        exact = combine(x.array.astype(np.int64), operand.array.astype(np.int64))
        return arithmetic.wrap(exact, result.type)[0].astype(result.type.container)
    with np.errstate(all="ignore"):
        return _as_result(combine(x.real, operand.real), result)


def _activation(op: str, x: _Value, attributes: Mapping[str, Any], result: ValueType) -> Array:
    """On codes where the parameters stay, else on real numbers."""
    low, high = 0.0, np.inf
    if op == "clip":
        low, high = float(attributes["minimum"]), float(attributes["maximum"])
    if x.type.is_integer and x.kind == result:
        if op == "relu":
            zero_points = parameters(x.quantization, x.array.ndim)[1]
            return np.asarray(np.maximum(x.array, zero_points.astype(x.array.dtype)))
        if op == "clip" and (x.quantization is None or x.quantization.per_tensor):
            return arithmetic.clamp_codes(x.array, low, high, x.per_tensor, x.type)
    with np.errstate(all="ignore"):
        real = x.real
        if op == "leaky_relu":
            return _as_result(arithmetic.leaky_relu(real, float(attributes["alpha"])), result)
        return _as_result(np.minimum(np.maximum(real, F32(low)), F32(high)), result)


_OPERATORS: dict[str, Callable[[Node, Sequence[_Value | None], ValueType, Tensor], Array]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "matmul": _matmul,
    "pool": _pool,
    "reshape": _reshape,
    "transpose": _transpose,
    "im2col": _im2col,
    "prune": _prune,
    **dict.fromkeys(
        ("add", "sub", "mul", "relu", "clip", "leaky_relu", "table", "quantize", "dequantize", "requantize"),
        _elementwise_node,
    ),
}
