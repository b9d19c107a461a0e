"""What a user is told of a pruned module: layers that are left out, and sums that do not mean what they seem to."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.graph import Node
from ..ir.module import Module
from ..ir.nest import Nest
from ..passes.block_prune import NOT_PRUNED, PRUNE_OF, SIGNED
from .layers_told import layers_told


def pruning_told(module: Module, asked_by: str) -> Iterator[str]:
    """Of a graph after the pass `prune`, or of the nests that are made of it: which layers were meant by all and are
    not pruned, and where sums do not mean what they do behind a ReLU. `asked_by` is what the user wrote."""
    operations = [each for each in module.operations if isinstance(each, Node | Nest)]
    reasons = [(each.name, each.reason.partition(NOT_PRUNED)[2]) for each in operations if NOT_PRUNED in each.reason]
    left_out = [f"{name} ({why.partition('; ')[0]})" for name, why in reasons]  # what other passes said comes behind
    if left_out:
        yield f"{asked_by} leaves out {layers_told(left_out)}"
    tested = [each for each in operations if (each.op == "prune" if isinstance(each, Node) else each.prune is not None)]
    signed = [each.name.removesuffix(PRUNE_OF) for each in tested if SIGNED in each.reason]
    if signed:
        yield f"{SIGNED}, where {asked_by} tests them, in {layers_told(signed)}"
