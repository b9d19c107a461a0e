"""Which vector bodies and post steps the lowering of a node uses; a test compares it with what lowering writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..ir.graph import Node, ValueType
from ..ir.nest import BodyOp, PostOp
from ..ir.types import ElementType, Quantization, Tensor
from .rewrite import PRODUCTS

_COPIES = (
    "relu",
    "clip",
    "leaky_relu",
    "table",
    "quantize",
    "dequantize",
    "requantize",
    "reshape",
    "transpose",
    "im2col",
    "prune",
)


def bodies_needed(node: Node, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Bodies of the vector unit, by name; none for a product, unless its weights must be copied."""
    return tuple(dict.fromkeys(body.value for body in _bodies(node, tensors)))


def types_read(node: Node, tensors: Mapping[str, Tensor]) -> tuple[ElementType, ...]:
    """Element types that the bodies read: those of the operands, and f32 where a pool dequantises first."""
    operands = node.inputs[:1] if node.op == "table" else node.inputs
    types = [tensors[name].type for name in operands if name]
    if node.op == "pool" and node.attribute("kind") != "max" and _dequantises_first(node, tensors):
        types.append(ElementType.F32)
    return tuple(dict.fromkeys(each for each in types if isinstance(each, ElementType)))


def _bodies(node: Node, tensors: Mapping[str, Tensor]) -> Iterator[BodyOp]:
    if node.op in _COPIES:
        yield BodyOp.COPY
    elif node.op == "conv_transpose" and tensors[node.inputs[1]].constant is None:
        yield BodyOp.COPY  # its weights are turned around
    elif node.op == "pool":
        if node.attribute("kind") == "max":
            yield BodyOp.MAX
        else:
            yield BodyOp.SUM
            if _dequantises_first(node, tensors):
                yield BodyOp.COPY
    elif node.op in ("add", "sub", "mul"):
        kind = tensors[node.inputs[0]].type
        assert isinstance(kind, ElementType)
        if kind.is_integer and node.op != "mul":
            yield BodyOp.QADD
        else:
            yield {"add": BodyOp.ADD, "sub": BodyOp.SUB, "mul": BodyOp.MUL}[node.op]


def _dequantises_first(node: Node, tensors: Mapping[str, Tensor]) -> bool:
    kind = tensors[node.inputs[0]].type
    assert isinstance(kind, ElementType)
    requantises = node.attribute("kind") == "global_average" and _value(node, tensors).quantization is not None
    return kind.is_integer and not requantises


def _value(node: Node, tensors: Mapping[str, Tensor]) -> ValueType:
    result = tensors[node.outputs[0]]
    assert isinstance(result.type, ElementType)
    return node.value or ValueType(result.type, result.quantization)


def post_steps_needed(node: Node, tensors: Mapping[str, Tensor], float_accumulator: bool) -> tuple[str, ...]:
    """Steps of the post unit, by name."""
    steps = [*_own_steps(node, tensors, float_accumulator)]
    running = _value(node, tensors)
    for stage in node.post:
        operand = tensors[stage.operand] if stage.operand is not None else None
        steps += _stage_steps(stage.op, running, operand, stage.result)
        running = stage.result
    return tuple(dict.fromkeys(step.value for step in steps))


def _own_steps(node: Node, tensors: Mapping[str, Tensor], float_accumulator: bool) -> Iterator[PostOp]:
    value = _value(node, tensors)
    data = tensors[node.inputs[0]]
    assert isinstance(data.type, ElementType)
    source = ValueType(data.type, data.quantization)
    if node.op in PRODUCTS:
        if len(node.inputs) > 2 and node.inputs[2]:
            yield PostOp.BIAS
        if data.type.is_integer:
            yield from _from_sum(value, float_accumulator)
    elif node.op == "pool":
        yield from _pool_steps(node, source, value, _dequantises_first(node, tensors))
    elif node.op in ("add", "sub", "mul"):
        if data.type.is_float:
            yield from _conversion(ValueType(ElementType.F32), value)
        elif node.op == "mul":
            yield from (PostOp.SCALE, *_shifted(value))
        else:
            yield PostOp.SATURATE
    elif node.op == "requantize":
        yield PostOp.REQUANTIZE
    elif node.op not in ("reshape", "transpose", "im2col", "prune"):
        operand = tensors[node.inputs[1]] if node.op == "table" else None
        yield from _stage_steps(node.op, source, operand, value)


def _from_sum(value: ValueType, float_accumulator: bool) -> Iterator[PostOp]:
    if value.type.is_float:
        yield PostOp.SCALE
    elif value.quantization is not None and value.type.bits <= 16:
        yield PostOp.REQUANTIZE
    elif float_accumulator:
        yield PostOp.QUANTIZE


def _shifted(value: ValueType) -> Iterator[PostOp]:
    if value.quantization is not None and value.quantization.zero_point[0]:
        yield PostOp.ADD
    yield PostOp.QUANTIZE


def _pool_steps(node: Node, source: ValueType, value: ValueType, dequantises: bool) -> Iterator[PostOp]:
    if node.attribute("kind") == "max":
        yield from _conversion(source, value)
        return
    if dequantises:
        yield PostOp.DEQUANTIZE
    elif source.type.is_integer:
        yield PostOp.REQUANTIZE
        return
    yield PostOp.DIVIDE
    if value.quantization is not None and source.quantization is not None:
        yield from _shifted(value)
    else:
        yield from _conversion(ValueType(ElementType.F32), value)


def _stage_steps(op: str, running: ValueType, operand: Tensor | None, result: ValueType) -> Iterator[PostOp]:
    codes = running.type.is_integer
    if op in ("relu", "clip"):
        if not (codes and running == result):
            yield from _conversion(running, ValueType(ElementType.F32)) if codes else ()
            yield from _conversion(ValueType(ElementType.F32), result)
        yield PostOp.CLAMP
    elif op == "leaky_relu":
        yield from _conversion(running, ValueType(ElementType.F32)) if codes else ()
        yield PostOp.LEAKY
        yield from _conversion(ValueType(ElementType.F32), result)
    elif op == "table":
        yield PostOp.TABLE
    elif op == "add" and codes:
        yield PostOp.QADD
    elif op in ("add", "mul") and not codes:
        yield PostOp.ADD if op == "add" else PostOp.MUL
        yield from _conversion(running, result)
    elif op in ("quantize", "dequantize"):
        yield from _conversion(running, result)


def _conversion(running: ValueType, target: ValueType) -> Iterator[PostOp]:
    if running == target:
        return
    if running.quantization is not None and running.type.is_integer:
        yield from _dequantisation(running.quantization)
    if target.quantization is not None and target.type.is_integer:
        yield PostOp.QUANTIZE


def _dequantisation(quantization: Quantization) -> Iterator[PostOp]:
    if len(set(zip(quantization.scale, quantization.zero_point, strict=True))) == 1:
        yield PostOp.DEQUANTIZE
        return
    if any(quantization.zero_point):
        yield PostOp.BIAS
    yield PostOp.SCALE
