"""Fold what needs no operator of its own into the operator before it.

before:  y = conv(x, w); z = mul(y, scale); u = add(z, shift); v = relu(u)
after:   v = conv(x, w * scale, shift) then relu

Requires: a graph; batch normalisation has been imported as `mul` and `add` with constants.
Ensures:  every value that was quantised still is, at the same point: only operators that map codes to codes of the same
          quantisation, or whose every intermediate value is a float, are folded. Float weights change by one rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace

import numpy as np
from numpy.typing import NDArray

from ..ir.frozen import dataclass
from ..ir.graph import Node, Stage, ValueType
from ..ir.module import Module, Operation
from ..ir.types import ElementType, Tensor, constant_array
from .rewrite import PRODUCTS, fresh_name, readers, rebuilt, writers

_ACTIVATIONS = ("relu", "clip", "leaky_relu", "table")
_HAS_POST_CHAIN = (*PRODUCTS, "pool", "add", "sub", "mul")


def canonicalise(module: Module, *, to_codes: bool = False) -> Module:
    """The module with constant scales and shifts folded into weights, and activations into post chains; `to_codes` says
    that floats become codes later."""
    module = _without_idle_reshapes(module)
    # Scales and shifts first: an activation that is folded into a shift would keep the shift from its product.
    for merge in (_merge_factors, _merge_activation):
        while (folded := _fold_once(module, merge, to_codes)) is not module:
            module = folded
    return module


def _without_idle_reshapes(module: Module) -> Module:
    """Drop reshapes that change neither shape nor storage order: their readers read the source instead."""
    renamed: dict[str, str] = {}
    operations: list[Operation] = []
    read_by_hosts = {name for each in module.operations if _is_host(each) for name in each.inputs}
    for operation in module.operations:
        if isinstance(operation, Node) and operation.op == "reshape" and operation.outputs[0] not in module.outputs:
            source, result = module.tensor(operation.inputs[0]), module.tensor(operation.outputs[0])
            same = (source.shape, source.storage_order, source.type, source.quantization) == (
                result.shape,
                result.storage_order,
                result.type,
                result.quantization,
            )
            if same and result.name not in read_by_hosts:
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


@dataclass
class _Sweep:
    """One pass over a module: the constants that merging makes, the names that are taken, and whether floats become
    codes."""

    module: Module
    taken: set[str]
    to_codes: bool
    tensors: list[Tensor] = field(default_factory=list)


_Merge = Callable[[_Sweep, Node, Node, str], Node | None]


def _fold_once(module: Module, merge: _Merge, to_codes: bool) -> Module:
    """One sweep of `merge` over neighbours of which the first has no other reader; `module` itself if none merged."""
    read_by, written_by = readers(module), writers(module)
    replaced: dict[str, Node | None] = {}
    sweep = _Sweep(module, set(module.tensor_by_name), to_codes)
    for node in module.operations:
        if not isinstance(node, Node) or node.post:
            continue
        for value in node.inputs[:2]:
            producer = written_by.get(value)
            if (
                isinstance(producer, Node)
                and not replaced.keys() & {producer.name, node.name}
                and value not in module.outputs
                and len(read_by[value]) == 1
                and (merged := merge(sweep, producer, node, value)) is not None
            ):
                replaced[producer.name] = None
                replaced[node.name] = merged
    if not replaced:
        return module
    operations = [replaced.get(each.name, each) for each in module.operations]
    return rebuilt(module, [each for each in operations if each is not None], sweep.tensors)


def _merge_factors(sweep: _Sweep, producer: Node, node: Node, value: str) -> Node | None:
    """A product followed by a scale or a shift per channel, as one product."""
    if node.op not in ("mul", "add") or producer.op not in PRODUCTS or producer.post:
        return None
    factors = _per_channel(sweep.module, producer, node, value)
    if factors is None:
        return None
    inputs = _folded_inputs(sweep, producer, node.op, factors)
    return replace(producer, inputs=inputs, outputs=node.outputs, source=producer.source + node.source)


def _merge_activation(sweep: _Sweep, producer: Node, node: Node, value: str) -> Node | None:
    """An operator followed by an activation, as the operator with a longer post chain."""
    if node.op not in _ACTIVATIONS or producer.op not in _HAS_POST_CHAIN or node.inputs[0] != value:
        return None
    middle, result = sweep.module.tensor(value), sweep.module.tensor(node.outputs[0])
    assert isinstance(result.type, ElementType) and isinstance(middle.type, ElementType)
    if node.op != "table" and (middle.type, middle.quantization) != (result.type, result.quantization):
        return None  # the activation requantises: that is a point of its own
    if node.op == "leaky_relu" and producer.op in ("add", "sub", "mul") and middle.type.is_float and sweep.to_codes:
        return None  # its operand will be quantised, and sums of codes are no floats for the activation to take
    table = node.inputs[1] if node.op == "table" else None
    stage = Stage(node.op, ValueType(result.type, result.quantization), table, node.attributes)
    own = producer.value or ValueType(middle.type, middle.quantization)
    return replace(
        producer, outputs=node.outputs, post=(*producer.post, stage), value=own, source=producer.source + node.source
    )


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


def _folded_inputs(sweep: _Sweep, producer: Node, op: str, factors: NDArray[np.float32]) -> tuple[str, ...]:
    """The operands of `producer` with `factors` multiplied into weights and bias, or added to the bias."""
    module = sweep.module

    def constant(like: str, array: NDArray[np.float32]) -> str:
        name = fresh_name(sweep.taken, like)
        reference = module.blobs.add_array(array.astype(np.float32))
        sweep.tensors.append(Tensor(name, ElementType.F32, tuple(array.shape), constant=reference))
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
