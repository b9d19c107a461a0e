"""Where values lie: storage orders, and which reshapes and transposes need bytes of their own.

Images are stored channels last: what a convolution or a pool reads and writes, and what is elementwise with it. All
other tensors are row-major. A transposed value takes the order in which its bytes are those of its source.

before:  %t: [1, 8, 4, 4] = transpose(%x: [1, 4, 4, 8])
after:   %t: [1, 8, 4, 4] order (0, 2, 3, 1)                 the bytes of %x: nothing moves

Requires: graph nodes and host regions, none lowered yet.
Ensures:  every tensor has a storage order; constants are stored in theirs. What a host region reads or the module hands
          out has bytes of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir.graph import HostRegion, Node
from ..ir.module import Module
from ..ir.program import BOX_AXES
from ..ir.types import Tensor
from .lower_view import View
from .rewrite import integers

MOVES = ("reshape", "transpose")
_IMAGES = ("conv", "conv_transpose", "pool", "im2col")
_ELEMENTWISE = ("add", "sub", "mul", "relu", "clip", "leaky_relu", "table", "quantize", "dequantize", "requantize")


def channels_last(rank: int) -> tuple[int, ...]:
    """NCHW stored as NHWC, for any number of spatial axes."""
    return (0, *range(2, rank), 1)


def with_storage_orders(module: Module) -> Module:
    """The module with an order on every tensor of known shape that has none."""
    images = _images(module)
    orders: dict[str, tuple[int, ...]] = {}
    for operation in module.operations:
        if isinstance(operation, Node) and operation.op == "transpose":
            source, result = (module.tensor(name) for name in (operation.inputs[0], operation.outputs[0]))
            if result.order is None and result.name not in images:
                before = orders.get(source.name) or _order(source, source.name in images)
                permutation = integers(operation, "permutation")
                orders[result.name] = tuple(permutation.index(axis) for axis in before)
    tensors = tuple(
        tensor
        if tensor.shape is None or tensor.order is not None
        else replace(tensor, order=orders.get(tensor.name) or _order(tensor, tensor.name in images))
        for tensor in module.tensors
    )
    return replace(module, tensors=tensors)


def _order(tensor: Tensor, image: bool) -> tuple[int, ...]:
    assert tensor.shape is not None
    rank = len(tensor.shape)
    if tensor.order is not None:
        return tensor.order
    return channels_last(rank) if image and tensor.constant is None and rank >= 3 else tuple(range(rank))


def _images(module: Module) -> frozenset[str]:
    """Activations that convolutions and pools touch, and those of their rank that are elementwise with one."""
    found: set[str] = set()
    nodes = [each for each in module.operations if isinstance(each, Node)]
    for node in nodes:
        if node.op in _IMAGES:
            found.update((node.inputs[0], node.outputs[0]))
    grown = True
    while grown:
        grown = False
        for node in nodes:
            joined = list(node.outputs)
            joined += [stage.operand for stage in node.post if stage.op == "add" and stage.operand is not None]
            joined += node.inputs if node.op in _ELEMENTWISE else node.inputs[:1] if node.op in _IMAGES else ()
            if node.op not in (*_IMAGES, *_ELEMENTWISE):
                continue
            rank = len(module.tensor(node.outputs[0]).shape or ())
            alike = {name for name in joined if len(module.tensor(name).shape or ()) == rank}
            if alike & found and not alike <= found:
                found |= alike
                grown = True
    return frozenset(found)


def kept_values(module: Module) -> frozenset[str]:
    """Values that need bytes of their own: inputs and outputs of the module, and what host regions read or write."""
    kept = {*module.inputs, *module.outputs}
    for operation in module.operations:
        if isinstance(operation, HostRegion):
            kept.update((*operation.inputs, *operation.outputs))
    kept.update(tensor.name for tensor in module.tensors if tensor.constant is not None)
    return frozenset(kept)


def redirected(module: Module, kept: frozenset[str]) -> Mapping[str, View]:
    """Values that are best written straight to where a reshape or transpose of them must lie.

    before:  %t = conv ...; %y = reshape %t; output %y
    after:   %t is a view of the bytes of %y
    """
    views: dict[str, View] = {}
    for operation in reversed(module.operations):
        if not isinstance(operation, Node) or operation.op not in MOVES:
            continue
        source, result = operation.inputs[0], operation.outputs[0]
        if source in kept or source in views or (result not in kept and result not in views):
            continue
        base = views.get(result) or View.of(module.tensor(result))
        if operation.op == "transpose":
            permutation = integers(operation, "permutation")
            view: View | None = base.transposed([permutation.index(axis) for axis in range(len(permutation))])
        else:
            shape = module.tensor(source).shape
            assert shape is not None
            view = base.reshaped(shape)
        if view is not None and view.direct and sum(extent > 1 for extent in view.shape) < BOX_AXES:
            views[source] = replace(view, value=source)
    return views
