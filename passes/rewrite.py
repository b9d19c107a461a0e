"""Reading and rebuilding modules: attributes, who writes a value, who reads it, and what is left once nothing does."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..ir.diagnostics import ensure
from ..ir.graph import Node
from ..ir.module import Module, Operation
from ..ir.types import Tensor

PRODUCTS = ("conv", "conv_transpose", "matmul")  # graph operators whose results are sums of products


def names_of(layers: Iterable[Node]) -> dict[str, str]:
    """The name in the graph of each layer, by that name and by that of its ONNX node."""
    nodes = list(layers)
    return {label: each.name for each in nodes for label in each.source[:1]} | {each.name: each.name for each in nodes}


def integers(node: Node, name: str) -> tuple[int, ...]:
    """An attribute that is a tuple of integers."""
    value = node.attribute(name)
    assert isinstance(value, tuple)
    return tuple(int(each) for each in value)


def reads_of(operation: Operation) -> tuple[str, ...]:
    """Names of the tensors that an operation reads, post chain included, each once."""
    names = list(operation.inputs)
    if isinstance(operation, Node):
        names += [stage.operand for stage in operation.post if stage.operand is not None]
    return tuple(dict.fromkeys(names))


def readers(module: Module) -> Mapping[str, list[Operation]]:
    """For each tensor the operations that read it; the module's own outputs are not among them."""
    result: dict[str, list[Operation]] = defaultdict(list)
    for operation in module.operations:
        for name in reads_of(operation):
            result[name].append(operation)
    return result


def writers(module: Module) -> Mapping[str, Operation]:
    """For each tensor that is computed, the (last) operation that writes it."""
    return {name: operation for operation in module.operations for name in operation.outputs}


def in_order(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """`operations` in an order in which each follows what it reads, otherwise as they came."""
    listed = list(operations)
    written: dict[str, list[int]] = defaultdict(list)
    for number, operation in enumerate(listed):
        for name in operation.outputs:
            written[name].append(number)
    sources = [{source for name in reads_of(operation) for source in written.get(name, ())} for operation in listed]
    followers: list[list[int]] = [[] for _ in listed]
    for number, before in enumerate(sources):
        for source in before:
            followers[source].append(number)
    missing = [len(before) for before in sources]
    ready = [number for number, count in enumerate(missing) if not count]
    ordered = []
    while ready:
        number = heapq.heappop(ready)
        ordered.append(listed[number])
        for follower in followers[number]:
            missing[follower] -= 1
            if not missing[follower]:
                heapq.heappush(ready, follower)
    ensure(len(ordered) == len(listed), "operations in a circle")
    return tuple(ordered)


def rebuilt(module: Module, operations: Iterable[Operation], new_tensors: Iterable[Tensor] = ()) -> Module:
    """`module` with these operations (ordered), with `new_tensors` added or put in the place of those of their name,
    and without operations and tensors that no output needs."""
    tensors = dict(module.tensor_by_name)
    for tensor in new_tensors:
        tensors[tensor.name] = tensor
    ordered = in_order(operations)
    needed = set(module.outputs)
    kept: list[Operation] = []
    for operation in reversed(ordered):
        if needed.intersection(operation.outputs):
            kept.append(operation)
            needed.update(reads_of(operation))
            needed.update(operation.outputs)
    needed.update(module.inputs)
    return replace(
        module,
        operations=tuple(reversed(kept)),
        tensors=tuple(tensor for name, tensor in tensors.items() if name in needed),
    )


def fresh_name(taken: set[str], wish: str) -> str:
    """`wish`, or `wish.N` with the least N that makes it new; the name is added to `taken`."""
    name, number = wish, 0
    while name in taken:
        number += 1
        name = f"{wish}.{number}"
    taken.add(name)
    return name
