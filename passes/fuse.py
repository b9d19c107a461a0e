"""Fold residual additions into the post chain of the product before them, so that the sum never leaves the chip twice.

before:  t = conv(x, w, b); y = add(t, r) then relu
after:   y = conv(x, w, b) then add r, relu

Requires: operands and result of the `add` have one shape; nothing else reads t; t is the first operand of a quantised
          addition (its formula is not symmetric; see specs/arithmetic.md, QLinearAdd).
Ensures:  in an integer graph t keeps its quantise point: the chain requantises to t's parameters, then adds.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.arch import Arch
from ..ir.graph import Node, Stage, ValueType
from ..ir.module import Module
from ..ir.types import ElementType
from .rewrite import PRODUCTS, readers, rebuilt, writers


def fuse(module: Module, arch: Arch) -> Module:
    """The module with every residual addition that the machine's post unit can do folded.

    One sweep: a product that has taken one addition takes no other, and merging gives no value fewer readers that an
    addition is among.
    """
    read_by, written_by = readers(module), dict(writers(module))
    kept = set(module.outputs)
    merged: dict[str, Node | None] = {}  # by name of an operation, what stands in its place
    for node in module.operations:
        if not isinstance(node, Node) or node.op != "add" or node.inputs[0] == node.inputs[1]:
            continue
        for position, value in enumerate(node.inputs):
            producer = written_by.get(value)
            if (
                isinstance(producer, Node)
                and producer.op in PRODUCTS
                and len(read_by[value]) == 1
                and value not in kept
                and _legal(module, arch, producer, node, position)
            ):
                merged[producer.name] = None
                product = merged[node.name] = _merged(module, producer, node, node.inputs[1 - position], value)
                written_by[node.outputs[0]] = product
                break
    if not merged:
        return module
    operations = [merged.get(each.name, each) for each in module.operations]
    return rebuilt(module, [each for each in operations if each is not None])


def _legal(module: Module, arch: Arch, producer: Node, node: Node, position: int) -> bool:
    value, other = module.tensor(node.inputs[position]), module.tensor(node.inputs[1 - position])
    result = module.tensor(node.outputs[0])
    if not (value.shape == other.shape == result.shape):
        return False
    quantised = value.quantization is not None
    if quantised and position != 0:
        return False
    if producer.post and any(stage.op == "add" for stage in producer.post):
        return False
    return ("qadd" if quantised else "add") in arch.post.ops


def _merged(module: Module, producer: Node, node: Node, residual: str, value: str) -> Node:
    middle, result = module.tensor(value), module.tensor(node.outputs[0])
    assert isinstance(middle.type, ElementType) and isinstance(result.type, ElementType)
    added = node.value or ValueType(result.type, result.quantization)
    own = producer.value or ValueType(middle.type, middle.quantization)
    return replace(
        producer,
        outputs=node.outputs,
        post=(*producer.post, Stage("add", added, residual), *node.post),
        value=own,
        source=producer.source + node.source,
    )
