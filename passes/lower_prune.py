"""Pruned blocks: folded into the nest that writes the value, where one writes all of it; else a copy with the test.

before:  t = conv(x, w) then relu; y = prune(t)
after:   one nest writes y: conv, its post chain, then the test of each block
or:      t = max_pool(u), which others read, too; y = prune(t)
after:   the pool's nest writes t; a copy on the vector unit writes y, with the test

Requires: operand and result of the prune have one storage order.
Ensures:  a nest that prunes writes all of its output, whose view keeps samples, rows and columns apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.blocks import BlockTest, matrices
from ..ir.graph import HostRegion, Node
from ..ir.module import Module
from ..ir.nest import Nest, Prune
from ..ir.types import Tensor
from .lower_context import Context, Pruning
from .lower_layout import MOVES
from .lower_view import View
from .rewrite import readers, writers


def folded_prunes(module: Module) -> Mapping[str, Node]:
    """By name of the operator that writes a value, the prune that alone reads it."""
    read_by, written_by = readers(module), writers(module)
    found = {}
    for node in module.operations:
        if not isinstance(node, Node) or node.op != "prune":
            continue
        value = node.inputs[0]
        writer = written_by.get(value)
        alone = len(read_by[value]) == 1 and value not in module.outputs
        if alone and isinstance(writer, Node) and writer.op not in (*MOVES, "prune"):
            found[writer.name] = node
    return found


def prune_outputs(module: Module) -> frozenset[str]:
    """Values whose blocks are pruned: they lie in memory as they are cut."""
    return frozenset(
        name
        for each in module.operations
        if not isinstance(each, HostRegion | Nest) and each.op == "prune"
        for name in each.outputs
    )


def pruning_of(context: Context, node: Node) -> Pruning:
    """What the nest that writes the result of a prune does to it."""
    result = context.tensor(node.outputs[0])
    return Pruning(result.name, _prune(node, result))


def _prune(node: Node, result: Tensor) -> Prune:
    values = dict(node.attributes)
    criterion, threshold, rows, cols = (values[name] for name in ("criterion", "threshold", "rows", "cols"))
    assert isinstance(criterion, str) and isinstance(threshold, int) and isinstance(rows, int) and isinstance(cols, int)
    assert result.quantization is not None
    _, points, columns = matrices(result.storage_shape)
    return Prune(BlockTest(criterion, threshold, rows, cols), points, columns, result.quantization.zero_point[0])


def is_whole(nests: list[Nest], tensor: str) -> bool:
    """Whether one nest writes all of a tensor, so that it can test its blocks."""
    own = [nest for nest in nests if nest.write.tensor == tensor]
    if len(own) != 1:
        return False
    (nest,) = own
    extents = {dim.name: dim.extent for dim in nest.domain}
    return all(
        axis.constant == 0 and [(c, extents[dim]) for dim, c in axis.terms] == [(1, extent)] if extent > 1 else True
        for axis, extent in zip(nest.write.index, nest.write.shape, strict=True)
    )


def lower_prune(context: Context, node: Node) -> None:
    """Append the copy of a prune that no other nest makes."""
    result = context.tensor(node.outputs[0])
    context.pruning = pruning_of(context, node)
    try:
        context.copy(node, context.view(node.inputs[0]), View.of(result))
    finally:
        context.pruning = None
