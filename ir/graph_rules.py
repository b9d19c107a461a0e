"""What holds of every graph operator: operands, attributes, types, shapes, post chains. A part of `ir/verifier.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from math import prod

from .blocks import CODE_BITS, BlockTest, faults_of
from .diagnostics import Diagnostic, any_of, close_match
from .graph import OPERATORS, Attribute, Node
from .module import Module
from .text import symbol
from .types import ElementType, Tensor

Shape = tuple[int, ...]

_STAGES: dict[str, tuple[bool, tuple[str, ...]]] = {  # whether it has an operand, its attributes (all real numbers)
    "relu": (False, ()),
    "clip": (False, ("minimum", "maximum")),
    "leaky_relu": (False, ("alpha",)),
    "table": (True, ()),
    "add": (True, ()),
    "mul": (True, ()),
    "quantize": (False, ()),
    "dequantize": (False, ()),
}
_POOLS = ("max", "average", "global_average")
_SAME_KIND = ("reshape", "transpose", "im2col", "prune")  # the result is of the operand's type and quantisation


def node_faults(module: Module, node: Node) -> Iterator[Diagnostic]:
    """All faults of one operator. Rules about shapes apply once its operands, types and attributes are as declared."""
    if (yield from any_of(chain(operands_are_declared(module, node), attributes_are_declared(module, node)))):
        return
    yield from shapes_follow(module, node)
    yield from types_agree(module, node)
    yield from post_chain_is_legal(module, node)


def _fault(node: Node, message: str, help: str = "") -> Diagnostic:
    return Diagnostic(f"{node.op} {node.name!r}: {message}", node.span, help)


def operands_are_declared(module: Module, node: Node) -> Iterator[Diagnostic]:
    """A known operator with as many operands as it takes and one result, all tensors of the accelerator's types."""
    spec = OPERATORS.get(node.op)
    if spec is None:
        yield _fault(
            node, "there is no such operator", f"{close_match(node.op, list(OPERATORS))}{', '.join(OPERATORS)}"
        )
        return
    most, least = len(spec.operands), sum(not name.endswith("?") for name in spec.operands)
    if not least <= len(node.inputs) <= most:
        yield _fault(node, f"{len(node.inputs)} operands", f"it takes {', '.join(spec.operands)}")
    if len(node.outputs) != 1:
        yield _fault(node, f"{len(node.outputs)} results", "it has one")
    operands = [stage.operand for stage in node.post if stage.operand is not None]
    for name in dict.fromkeys((*node.inputs, *operands, *node.outputs)):
        tensor = module.tensor_by_name.get(name)
        if tensor is None:
            yield _fault(node, f"there is no tensor {symbol(name)}")
        elif not isinstance(tensor.type, ElementType) or tensor.shape is None:
            yield _fault(node, f"{symbol(name)} is a value of the host", "only host regions take those")


def attributes_are_declared(module: Module, node: Node) -> Iterator[Diagnostic]:
    """Every attribute of the operator, of its type, once, and no other."""
    if node.op in OPERATORS:
        for message, help in _attribute_faults(node.attributes, OPERATORS[node.op].attributes):
            yield _fault(node, message, help)


def _attribute_faults(
    attributes: Sequence[tuple[str, Attribute]], declared: Sequence[tuple[str, type]]
) -> Iterator[tuple[str, str]]:
    names = [name for name, _ in attributes]
    legal = f"it has {', '.join(name for name, _ in declared) or 'none'}"
    if len(set(names)) != len(names):
        yield "an attribute is given twice", legal
    for name in names:
        if name not in dict(declared):
            yield f"it has no attribute {name!r}", f"{close_match(name, [each for each, _ in declared])}{legal}"
    values = dict(attributes)
    for name, kind in declared:
        if name not in values:
            yield f"attribute {name!r} is missing", legal
        elif type(values[name]) is not kind:
            yield f"attribute {name!r} is {values[name]!r}", f"a value of type {kind.__name__} is needed"


# ---------------------------------------------------------------------------------------------- shapes


def shapes_follow(module: Module, node: Node) -> Iterator[Diagnostic]:
    """The shape of the result is the one that the operator makes from its operands and attributes."""
    shapes = [_shape(module.tensor(name)) for name in node.inputs]
    result = _shape(module.tensor(node.outputs[0]))
    try:
        expected = _SHAPES.get(node.op, _elementwise)(node, shapes)
    except _ShapeFault as fault:
        yield _fault(node, str(fault))
        return
    if node.op == "reshape":
        if prod(expected) != prod(result):
            yield _fault(node, f"{prod(expected)} elements do not make the shape {list(result)}")
    elif expected != result:
        yield _fault(node, f"the result has shape {list(result)}", f"it is {list(expected)}")


class _ShapeFault(Exception):
    """Operands that do not fit each other."""


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise _ShapeFault(message)


def _shape(tensor: Tensor) -> Shape:
    assert tensor.shape is not None
    return tensor.shape


def _whole(node: Node, name: str) -> int:
    value = node.attribute(name)
    assert isinstance(value, int)
    return value


def _wholes(node: Node, name: str, count: int) -> Shape:
    value = node.attribute(name)
    assert isinstance(value, tuple)
    _need(len(value) == count, f"attribute {name!r} has {len(value)} entries; {count} are needed")
    _need(all(isinstance(each, int) for each in value), f"attribute {name!r} holds whole numbers")
    return tuple(int(each) for each in value)


def _window(node: Node, spatial: int) -> tuple[Shape, Shape, Shape]:
    strides, dilations = _wholes(node, "strides", spatial), _wholes(node, "dilations", spatial)
    _need(min((*strides, *dilations), default=1) >= 1, "strides and dilations are at least 1")
    return strides, dilations, _wholes(node, "pads", 2 * spatial)


def _points(node: Node, image: Shape, kernel: Shape) -> Shape:
    """Output points of a window that slides over an image."""
    spatial = len(image)
    strides, dilations, pads = _window(node, spatial)
    _need(min(kernel, default=1) >= 1, "the kernel is empty")
    return tuple(
        max(0, (image[k] + pads[k] + pads[spatial + k] - dilations[k] * (kernel[k] - 1) - 1) // strides[k] + 1)
        for k in range(spatial)
    )


def _channels_in_groups(node: Node, channels: int, per_group: int) -> int:
    group = _whole(node, "group")
    _need(group >= 1 and per_group * group == channels, f"{channels} channels are not {group} groups of {per_group}")
    return group


def _conv(node: Node, shapes: Sequence[Shape]) -> Shape:
    x, w = shapes[:2]
    _need(len(x) >= 3 and len(w) == len(x), f"ranks {len(x)} and {len(w)}; both are 2 + the spatial axes")
    group = _channels_in_groups(node, x[1], w[1])
    _need(w[0] % group == 0, f"{w[0]} output channels are not a multiple of {group} groups")
    _need(len(shapes) < 3 or shapes[2] == (w[0],), f"the bias has shape {list(shapes[-1])}; it is [{w[0]}]")
    return (x[0], w[0], *_points(node, x[2:], w[2:]))


def _conv_transpose(node: Node, shapes: Sequence[Shape]) -> Shape:
    x, w = shapes[:2]
    _need(len(x) >= 3 and len(w) == len(x), f"ranks {len(x)} and {len(w)}; both are 2 + the spatial axes")
    group = _whole(node, "group")
    _need(w[0] == x[1], f"the kernel has {w[0]} input channels, x has {x[1]}")
    _need(group >= 1 and x[1] % group == 0, f"{x[1]} channels are not a multiple of {group} groups")
    channels = w[1] * group
    _need(len(shapes) < 3 or shapes[2] == (channels,), f"the bias has shape {list(shapes[-1])}; it is [{channels}]")
    spatial = len(x) - 2
    strides, dilations, pads = _window(node, spatial)
    return (
        x[0],
        channels,
        *(
            max(0, strides[k] * (x[2 + k] - 1) + dilations[k] * (w[2 + k] - 1) + 1 - pads[k] - pads[spatial + k])
            for k in range(spatial)
        ),
    )


def _matmul(node: Node, shapes: Sequence[Shape]) -> Shape:
    a, b = shapes[:2]
    _need(len(a) >= 1 and len(b) >= 1, "an operand is a scalar")
    row, column = len(a) == 1, len(b) == 1
    a = (1, *a) if row else _turned(a, bool(node.attribute("transpose_a")))
    b = (*b, 1) if column else _turned(b, bool(node.attribute("transpose_b")))
    _need(a[-1] == b[-2], f"inner extents {a[-1]} and {b[-2]} differ")
    result = (*_broadcast(a[:-2], b[:-2]), *(() if row else a[-2:-1]), *(() if column else b[-1:]))
    _need(len(shapes) < 3 or _broadcast(result, shapes[2]) == result, "the bias does not broadcast to the result")
    return result


def _turned(shape: Shape, transpose: bool) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if transpose else shape


def _broadcast(*shapes: Shape) -> Shape:
    rank = max(map(len, shapes))
    wide = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for extents in zip(*wide, strict=True):
        longer = {extent for extent in extents if extent != 1}
        _need(len(longer) <= 1, f"shapes {' and '.join(str(list(shape)) for shape in shapes)} do not broadcast")
        result.append(longer.pop() if longer else 1)
    return tuple(result)


def _pool(node: Node, shapes: Sequence[Shape]) -> Shape:
    (x,) = shapes
    _need(len(x) >= 3, f"rank {len(x)}; it is 2 + the spatial axes")
    kind = node.attribute("kind")
    _need(kind in _POOLS, f"kind {kind!r}; it is one of {', '.join(_POOLS)}")
    return (*x[:2], *_points(node, x[2:], _wholes(node, "kernel", len(x) - 2)))


def _im2col(node: Node, shapes: Sequence[Shape]) -> Shape:
    (x,) = shapes
    _need(len(x) >= 3, f"rank {len(x)}; it is 2 + the spatial axes")
    kernel = _wholes(node, "kernel", len(x) - 2)
    return (x[0], prod(kernel) * x[1], *_points(node, x[2:], kernel))


def _transpose(node: Node, shapes: Sequence[Shape]) -> Shape:
    (x,) = shapes
    permutation = _wholes(node, "permutation", len(x))
    _need(sorted(permutation) == list(range(len(x))), f"{list(permutation)} is no permutation of the axes")
    return tuple(x[axis] for axis in permutation)


def _elementwise(node: Node, shapes: Sequence[Shape]) -> Shape:
    return _broadcast(*shapes)


def _first(node: Node, shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


_SHAPES: dict[str, Callable[[Node, Sequence[Shape]], Shape]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "matmul": _matmul,
    "pool": _pool,
    "im2col": _im2col,
    "transpose": _transpose,
    "table": _first,
    "reshape": _first,
    "prune": _first,
}


# ---------------------------------------------------------------------------------------------- types


def types_agree(module: Module, node: Node) -> Iterator[Diagnostic]:
    """Operands are all integers or all floats where they are multiplied or added; tables fit their index."""
    tensors = [module.tensor(name) for name in node.inputs]
    result = module.tensor(node.outputs[0])
    own = node.value.type if node.value is not None else result.type
    types = [tensor.type for tensor in tensors]
    assert isinstance(own, ElementType)
    if node.op in ("conv", "conv_transpose", "matmul", "add", "sub", "mul"):
        if len({_is_float(each) for each in types[:2]}) > 1:
            yield _fault(node, f"operands of types {types[0]} and {types[1]}", "both are integers, or both are floats")
        elif _is_float(types[0]) and own.is_integer:
            yield _fault(node, f"floats make a result of type {own}", "quantize the result in the post chain")
    if node.op == "sub" and own.is_integer:
        yield _fault(node, f"a result of type {own}", "it is for floats only")
    if node.op == "quantize" and not (_is_float(types[0]) and (own.is_float or _quantised(module, node))):
        yield _fault(node, f"from {types[0]} to {own}", "from a float to a type with a scale, or to a narrower float")
    if node.op == "dequantize" and not own.is_float:
        yield _fault(node, f"to {own}", "to a float")
    if node.op in _SAME_KIND and (types[0], tensors[0].quantization) != (result.type, result.quantization):
        yield _fault(node, "the result has another type or quantisation than the operand", "it converts no value")
    if node.op == "prune":
        yield from _prune_faults(node, tensors[0], result)
    if node.op == "table":
        yield from _table_faults(node, types[0], tensors[1], own)


def _prune_faults(node: Node, x: Tensor, result: Tensor) -> Iterator[Diagnostic]:
    """Blocks are cut from codes of one scale, as they are stored."""
    criterion, threshold, rows, cols = (node.attribute(name) for name in ("criterion", "threshold", "rows", "cols"))
    assert isinstance(criterion, str) and isinstance(threshold, int) and isinstance(rows, int) and isinstance(cols, int)
    for message, help in faults_of(BlockTest(criterion, threshold, rows, cols)):
        yield _fault(node, message, help)
    kind = x.type
    if not isinstance(kind, ElementType) or kind.is_float or kind.bits > CODE_BITS:
        yield _fault(node, f"blocks of {kind}", f"of integers of at most {CODE_BITS} bits")
    if x.quantization is None or not x.quantization.per_tensor:
        yield _fault(node, f"{symbol(x.name)} has no scale, or several", "one scale for the whole tensor")
    if len(_shape(x)) < 2:
        yield _fault(node, f"{symbol(x.name)} has shape {list(_shape(x))}", "at least two axes: samples and columns")
    if x.order is None or x.order != result.order:
        help = "blocks lie in the tensor as it is stored: the operand has an order, the result the same"
        yield _fault(node, "the storage orders do not agree", help)
    if node.post:
        yield _fault(node, "it has a post chain", "it has none: blocks are cut from what is stored")


def _is_float(type_: object) -> bool:
    return isinstance(type_, ElementType) and type_.is_float


def _quantised(module: Module, node: Node) -> bool:
    own = module.tensor(node.outputs[0]) if node.value is None else node.value
    return own.quantization is not None


def _table_faults(node: Node, index: object, table: Tensor, result: ElementType) -> Iterator[Diagnostic]:
    if not isinstance(index, ElementType) or index.is_float or index.bits > 8:
        yield _fault(node, f"a table is looked up by {index}", "by an integer of at most 8 bits")
    elif table.shape != (1 << index.bits,):
        yield _fault(node, f"the table has shape {list(table.shape or ())}", f"it is [{1 << index.bits}]")
    elif table.type is not result:
        yield _fault(node, f"the table holds {table.type}, the result is {result}", "both are one type")


# ---------------------------------------------------------------------------------------------- post chains


def post_chain_is_legal(module: Module, node: Node) -> Iterator[Diagnostic]:
    """Stages are known, have their operand and attributes, and end in the type and quantisation of the result."""
    result = module.tensor(node.outputs[0])
    if bool(node.post) != (node.value is not None):
        yield _fault(
            node, "a value without a post chain" if node.value else "a post chain without a value", "both or none"
        )
        return
    if not node.post:
        return
    assert node.value is not None
    running = node.value.type
    for stage in node.post:
        if stage.op not in _STAGES:
            yield _fault(
                node, f"there is no stage {stage.op!r}", f"{close_match(stage.op, list(_STAGES))}{', '.join(_STAGES)}"
            )
            return
        has_operand, names = _STAGES[stage.op]
        if (stage.operand is not None) != has_operand:
            yield _fault(node, f"stage {stage.op} {'needs an' if has_operand else 'takes no'} operand")
        for message, help in _attribute_faults(stage.attributes, [(name, float) for name in names]):
            yield _fault(node, f"stage {stage.op}: {message}", help)
        if stage.operand is not None and has_operand:
            operand = module.tensor(stage.operand)
            if stage.op == "table":
                yield from _table_faults(node, running, operand, stage.result.type)
            elif not _broadcasts_to(_shape(operand), _shape(result)):
                help = f"its shape is {list(_shape(operand))}"
                yield _fault(node, f"operand {symbol(stage.operand)} does not broadcast to the result", help)
        if stage.op == "dequantize" and not stage.result.type.is_float:
            yield _fault(node, f"stage dequantize makes {stage.result.type}", "a float")
        running = stage.result.type
    last = node.post[-1].result
    if (last.type, last.quantization) != (result.type, result.quantization):
        message = f"the last stage makes another type or quantisation than {symbol(node.outputs[0])} has"
        yield _fault(node, message, f"{last.type} is made, {result.type} is the tensor's type")


def _broadcasts_to(shape: Shape, result: Shape) -> bool:
    if len(shape) > len(result):
        return False
    return all(extent in (1, wanted) for extent, wanted in zip(shape[::-1], result[::-1], strict=False))
