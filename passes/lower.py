"""Graph operators to loop nests; host regions stay.

before:  %y = conv %x, %w, %b {...} then relu
after:   nest: domain, an affine access per operand, a mac, the post chain bias, requantise, clamp

A reshape or a transpose that moves no byte becomes nothing: its readers walk the bytes of its source. It becomes a copy
where the value must have bytes of its own: for the host, as an output of the model, or where no affine access fits.

Requires: every node passes `partition.refusals` for this machine.
Ensures:  no graph node is left; every tensor that a nest reads or writes has a storage order; the values of the model
          are those of the graph, floats up to the order of their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..ir.arch import Arch
from ..ir.graph import HostRegion, Node, Stage
from ..ir.module import Module, Operation
from ..ir.nest import Decode, Nest
from ..ir.types import ElementType, Tensor
from .converted_storage import is_decoding
from .lower_build import Unwalkable
from .lower_context import Context
from .lower_conv import lower_conv, lower_conv_transpose
from .lower_elementwise import lower_binary, lower_im2col, lower_requantize, lower_unary
from .lower_layout import MOVES, kept_values, redirected, with_storage_orders
from .lower_matmul import lower_matmul
from .lower_pool import lower_pool
from .lower_post import first_inexpressible
from .lower_prune import folded_prunes, is_whole, lower_prune, prune_outputs, pruning_of
from .lower_view import View
from .rewrite import fresh_name, integers, rebuilt

_RULES: Mapping[str, Callable[[Context, Node], None]] = {
    "conv": lower_conv,
    "conv_transpose": lower_conv_transpose,
    "matmul": lower_matmul,
    "pool": lower_pool,
    "add": lower_binary,
    "sub": lower_binary,
    "mul": lower_binary,
    "relu": lower_unary,
    "clip": lower_unary,
    "leaky_relu": lower_unary,
    "table": lower_unary,
    "quantize": lower_unary,
    "dequantize": lower_unary,
    "requantize": lower_requantize,
    "im2col": lower_im2col,
    "prune": lower_prune,
}


def lower(module: Module, arch: Arch) -> Module:
    """The module with every graph node as one or several nests, without schedules."""
    module = with_storage_orders(_with_short_chains(module, arch))
    context = Context(module, arch)
    kept = kept_values(module) | prune_outputs(module)
    context.redirected = redirected(module, kept)
    context.views.update(context.redirected)
    folded = folded_prunes(module)
    done: set[str] = set()
    for operation in module.operations:
        if operation.name in done:
            continue
        if not isinstance(operation, Node):
            context.operations.append(operation)
        elif is_decoding(operation, module, arch):
            context.views[operation.outputs[0]] = _decoded(context, operation)
        elif operation.name in folded and _lower_with_prune(context, operation, folded[operation.name]):
            done.add(folded[operation.name].name)
        elif operation.op in MOVES:
            _move(context, operation, kept)
        else:
            _lower_node(context, operation)
    context.repacks.close()
    operations = _with_own_names(context.operations)
    lowered = replace(module, tensors=tuple(context.tensors.values()))
    return rebuilt(lowered, operations)


def _decoded(context: Context, node: Node) -> View:
    """The floats that the number converter makes of codes, seen in their bytes."""
    source, result = context.tensor(node.inputs[0]), context.tensor(node.outputs[0])
    assert source.quantization is not None and isinstance(result.type, ElementType)
    made = Decode(result.type, float(np.float32(source.quantization.scale[0])), source.quantization.zero_point[0])
    return replace(context.view(source.name), value=result.name, decode=made)


def _lower_node(context: Context, node: Node) -> None:
    """Append the nests of a node, materialising what it cannot walk."""
    while True:
        mark = len(context.operations)
        try:
            _RULES[node.op](context, node)
        except Unwalkable as obstacle:
            del context.operations[mark:]
            context.materialise(obstacle.value)
        else:
            return


def _lower_with_prune(context: Context, node: Node, prune: Node) -> bool:
    """Append the nests of a node whose result a prune alone reads, the last of which prunes it; False, and nothing
    appended, where no nest writes all of it."""
    mark = len(context.operations)
    context.pruning = pruning_of(context, prune)
    reason = "; ".join(filter(None, (node.reason, prune.reason)))
    _lower_node(context, replace(node, outputs=prune.outputs, reason=reason))
    context.pruning = None
    made = [each for each in context.operations[mark:] if isinstance(each, Nest)]
    if is_whole(made, prune.outputs[0]):
        return True
    del context.operations[mark:]
    return False


def _move(context: Context, node: Node, kept: frozenset[str]) -> None:
    """A reshape or a transpose: a view where possible, else a copy."""
    source, result = node.inputs[0], node.outputs[0]
    before, after = context.tensor(source), context.tensor(result)
    assert after.shape is not None
    if before.constant is not None:
        array = context.array(source)
        moved = array.reshape(after.shape) if node.op == "reshape" else array.transpose(integers(node, "permutation"))
        reference = context.module.blobs.add_array(moved.transpose(after.storage_order))
        context.tensors[result] = replace(after, constant=reference)
        return
    context.move(node, result in kept)


def _with_own_names(operations: list[Operation]) -> list[Operation]:
    """Nests of one node have names of their own; a node's own name stays with its first nest where that is free."""
    taken = {each.name for each in operations if isinstance(each, HostRegion)}
    return [replace(each, name=fresh_name(taken, each.name)) if isinstance(each, Nest) else each for each in operations]


def _with_short_chains(module: Module, arch: Arch) -> Module:
    """Stages that the store path has no step for become nodes of their own, with the rest of their chain."""
    context = Context(module, arch)
    taken = set(module.tensor_by_name)
    names = {each.name for each in module.operations}
    tensors: list[Tensor] = []
    operations: list[Operation] = []
    for operation in module.operations:
        node: Node | None = operation if isinstance(operation, Node) else None
        while node is not None and (position := first_inexpressible(context, node)) is not None:
            head = node.post[:position]
            middle = head[-1].result if head else context.value_type(node)
            result = context.tensor(node.outputs[0])
            between = replace(
                result, name=fresh_name(taken, f"{node.name}.value"), type=middle.type, quantization=middle.quantization
            )
            tensors.append(between)
            context.tensors[between.name] = between
            operations.append(
                replace(node, outputs=(between.name,), post=head, value=context.value_type(node) if head else None)
            )
            node = _stage_node(node, node.post[position], node.post[position + 1 :], between.name, names)
        operations.append(operation if node is None else node)
    return rebuilt(module, operations, tensors) if tensors else module


def _stage_node(node: Node, stage: Stage, rest: tuple[Stage, ...], value: str, names: set[str]) -> Node:
    return Node(
        fresh_name(names, f"{node.name}.{stage.op}"),
        stage.op,
        (value, stage.operand) if stage.operand is not None else (value,),
        node.outputs,
        stage.attributes,
        rest,
        stage.result if rest else None,
        node.source,
        node.reason,
        span=node.span,
    )
