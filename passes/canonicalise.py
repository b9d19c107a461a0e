"""Fold what needs no operator of its own into the operator before it.

before:  y = conv(x, w); z = mul(y, scale); u = add(z, shift); v = relu(u)
after:   v = conv(x, w * scale, shift) then relu

Requires: a graph; batch normalisation has been imported as `mul` and `add` with constants.
Ensures:  every value that was quantised still is, at the same point: only operators that map codes to codes of the same
          quantisation, or whose every intermediate value is a float, are folded. Float weights change by one rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..ir.graph import Node, Stage, ValueType
from ..ir.module import Module, Operation
from ..ir.types import ElementType, Tensor, constant_array
from .rewrite import fresh_name, readers, rebuilt, writers

NAME = "canonicalise"

_WEIGHTED = ("conv", "conv_transpose", "matmul")
_ACTIVATIONS = ("relu", "clip", "leaky_relu", "table")
_HAS_POST_CHAIN = (*_WEIGHTED, "pool", "add", "sub", "mul")


def canonicalise(module: Module) -> Module:
    """The module with constant scales and shifts folded into weights, and activations into post chains."""
    module = _without_idle_reshapes(module)
    while True:
        folded = _fold_once(module)
        if folded is module:
            return module.after(NAME)
        module = folded


def _without_idle_reshapes(module: Module) -> Module:
    """Drop reshapes that change neither shape nor storage order: their readers read the source instead."""
    renamed: dict[str, str] = {}
    operations: list[Operation] = []
    for operation in module.operations:
        if isinstance(operation, Node) and operation.op == "reshape" and operation.outputs[0] not in module.outputs:
            source, result = module.tensor(operation.inputs[0]), module.tensor(operation.outputs[0])
            same = (source.shape, source.storage_order, source.type, source.quantization) == (
                result.shape,
                result.storage_order,
                result.type,
                result.quantization,
            )
            if same and not any(result.name in reader.inputs for reader in module.operations if _is_host(reader)):
                renamed[result.name] = renamed.get(source.name, source.name)
                continue
        operations.append(_renamed(operation, renamed))
    return rebuilt(module, operations) if renamed else module


def _is_host(operation: Operation) -> bool:
    return not isinstance(operation, Node)


def _renamed(operation: Operation, names: dict[str, str]) -> Operation:
    """Host regions know their values by name, so only nodes are rewritten."""
    if not isinstance(operation, Node):
        return operation
    return replace(
        operation,
        inputs=tuple(names.get(name, name) for name in operation.inputs),
        post=tuple(
            replace(stage, operand=names.get(stage.operand, stage.operand)) if stage.operand else stage
            for stage in operation.post
        ),
    )


def _fold_once(module: Module) -> Module:
    """One sweep; `module` itself if there was nothing to fold."""
    read_by, written_by = readers(module), writers(module)
    replaced: dict[str, Node | None] = {}
    tensors: list[Tensor] = []
    taken = set(module.tensor_by_name)
    for node in module.operations:
        if not isinstance(node, Node):
            continue
        for operand in node.inputs[:2]:
            producer = written_by.get(operand)
            if (
                not isinstance(producer, Node)
                or producer.name in replaced
                or node.name in replaced
                or operand in module.outputs
                or len(read_by[operand]) != 1
            ):
                continue
            merged = _merge(module, producer, node, operand, tensors, taken)
            if merged is not None:
                replaced[producer.name] = None
                replaced[node.name] = merged
    if not replaced:
        return module
    operations = [replaced.get(each.name, each) for each in module.operations]
    return rebuilt(module, [each for each in operations if each is not None], tensors)


def _merge(
    module: Module, producer: Node, node: Node, value: str, tensors: list[Tensor], taken: set[str]
) -> Node | None:
    """`producer` and its only reader `node` as one operator; None where that is not legal."""
    if node.post or producer.op not in _HAS_POST_CHAIN:
        return None
    source = producer.source + node.source
    if node.op in ("mul", "add") and producer.op in _WEIGHTED and not producer.post:
        factors = _per_channel(module, producer, node, value)
        if factors is None:
            return None
        inputs = _folded_inputs(module, producer, node.op, factors, tensors, taken)
        return replace(producer, inputs=inputs, outputs=node.outputs, source=source)
    if node.op in _ACTIVATIONS and node.inputs[0] == value:
        result = module.tensor(node.outputs[0])
        middle = module.tensor(value)
        assert isinstance(result.type, ElementType) and isinstance(middle.type, ElementType)
        if node.op != "table" and (middle.type, middle.quantization) != (result.type, result.quantization):
            return None  # the operator requantises: that is a point of its own
        stage = Stage(
            node.op,
            ValueType(result.type, result.quantization),
            node.inputs[1] if node.op == "table" else None,
            node.attributes,
        )
        own = producer.value or ValueType(middle.type, middle.quantization)
        return replace(producer, outputs=node.outputs, post=(*producer.post, stage), value=own, source=source)
    return None


def _channel_axis(producer: Node, rank: int) -> int:
    return rank - 1 if producer.op == "matmul" else 1


def _per_channel(module: Module, producer: Node, node: Node, value: str) -> NDArray[np.float32] | None:
    """The other operand of a float `mul` or `add` as one factor per output channel, if it is such a constant."""
    other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
    middle, constant, result = module.tensor(value), module.tensor(other), module.tensor(node.outputs[0])
    if constant.constant is None or constant.type is not ElementType.F32 or middle.type is not ElementType.F32:
        return None
    if middle.shape != result.shape or middle.shape is None or not middle.shape:
        return None
    if any(
        module.tensor(name).constant is None or module.tensor(name).type is not ElementType.F32
        for name in producer.inputs[1:]
    ):
        return None
    rank = len(middle.shape)
    axis = _channel_axis(producer, rank)
    array = constant_array(constant, module.blobs).astype(np.float32)
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(extent != 1 for position, extent in enumerate(shape) if position != axis):
        return None
    return np.broadcast_to(array.reshape(-1), (middle.shape[axis],)).astype(np.float32)


def _folded_inputs(
    module: Module,
    producer: Node,
    op: str,
    factors: NDArray[np.float32],
    tensors: list[Tensor],
    taken: set[str],
) -> tuple[str, ...]:
    """The operands of `producer` with `factors` multiplied into weights and bias, or added to the bias."""

    def constant(like: str, array: NDArray[np.float32]) -> str:
        name = fresh_name(taken, like)
        reference = module.blobs.add_array(array.astype(np.float32))
        tensors.append(Tensor(name, ElementType.F32, tuple(array.shape), constant=reference))
        return name

    data, weights = producer.inputs[:2]
    bias = (
        constant_array(module.tensor(producer.inputs[2]), module.blobs).astype(np.float32)
        if len(producer.inputs) > 2
        else None
    )
    if op == "mul":
        kernel = constant_array(module.tensor(weights), module.blobs).astype(np.float32)
        weights = constant(f"{weights}.folded", kernel * _along_channels(producer, kernel, factors))
        bias = None if bias is None else bias * _as_bias(producer, bias, factors)
    else:
        bias = factors if bias is None else bias + _as_bias(producer, bias, factors)
    if bias is None:
        return (data, weights)
    return (data, weights, constant(f"{producer.name}.bias", bias))


def _as_bias(producer: Node, bias: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """`factors` in a shape that broadcasts with a bias: a matmul's may have leading axes, the channel is the last."""
    return factors if producer.op == "matmul" or bias.ndim == 1 else factors.reshape(-1)


def _along_channels(producer: Node, kernel: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """`factors` shaped to multiply the output channels of `kernel`."""
    if producer.op == "matmul":
        if kernel.ndim == 1:
            return factors
        column_axis = -2 if producer.attribute("transpose_b") else -1
        return factors if column_axis == -1 else factors[:, None]
    if producer.op == "conv":
        return factors.reshape(-1, *([1] * (kernel.ndim - 1)))
    groups = producer.attribute("group")
    assert isinstance(groups, int)
    per_group = factors.reshape(groups, -1)  # output channel = group * M/group + m; kernel [C, M/group, ...]
    rows = np.repeat(per_group, kernel.shape[0] // groups, axis=0)
    return rows.reshape(*rows.shape, *([1] * (kernel.ndim - 2)))
