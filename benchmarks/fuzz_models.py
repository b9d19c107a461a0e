"""Mutations of ONNX models, for `fuzz`: fields of protobuf messages, and models made to be hard."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from dnnc.benchmarks.fuzz_bytes import FLOATS, INTEGERS, Rng, mutate_bytes


def mutate_model(model: onnx.ModelProto, rng: Rng, operators: list[str]) -> onnx.ModelProto:
    """One to four fields changed: names crossed (cycles, missing and repeated values), types, dimensions, attributes,
    operators, opsets, parts removed, repeated or put in another's place."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if rng.random() < 0.4:
            rng.choice(_MODEL)(changed, rng, operators)
        else:
            _mutate_field(changed, rng)
    return changed


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in value if _repeated(field) else (value,):
                yield from _messages(each)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _mutate_field(model: onnx.ModelProto, rng: Rng) -> None:
    messages = list(_messages(model))
    message = rng.choice(messages)
    fields = list(message.DESCRIPTOR.fields) if rng.random() < 0.1 else [field for field, _ in message.ListFields()]
    if not fields:
        return
    field = rng.choice(fields)
    if field.type == field.TYPE_MESSAGE:
        same = [each for each in messages if each.DESCRIPTOR is field.message_type]
        _mutate_message(message, field, same, rng)
    elif _repeated(field):
        values = getattr(message, field.name)
        if not values or rng.random() < 0.3:
            values.append(_scalar(field, model, values[0] if values else None, rng))
        elif rng.random() < 0.3:
            del values[rng.randrange(len(values))]
        else:
            at = rng.randrange(len(values))
            values[at] = _scalar(field, model, values[at], rng)
    else:
        setattr(message, field.name, _scalar(field, model, getattr(message, field.name), rng))


def _mutate_message(message: Any, field: Any, same: list[Any], rng: Rng) -> None:
    other = copy.deepcopy(rng.choice(same)) if same else None
    if not _repeated(field):
        if rng.random() < 0.5 or other is None:
            message.ClearField(field.name)
        else:
            getattr(message, field.name).CopyFrom(other)
        return
    values = getattr(message, field.name)
    action = rng.randrange(4)
    if values and action == 0:
        del values[rng.randrange(len(values))]
    elif values and action == 1:
        values.add().CopyFrom(copy.deepcopy(rng.choice(values)))
    elif values and action == 2 and other is not None:
        values[rng.randrange(len(values))].CopyFrom(other)
    elif other is not None and len(values) < 10_000:
        values.add().CopyFrom(other)


def _names(model: onnx.ModelProto) -> list[str]:
    nodes = [each for each in _messages(model) if isinstance(each, onnx.NodeProto)]
    return [name for node in nodes for name in (*node.input, *node.output)] or ["x"]


def _scalar(field: Any, model: onnx.ModelProto, old: Any, rng: Rng) -> Any:
    """A value that the field takes: extreme, near to the old one, or from elsewhere in the model."""
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == field.TYPE_STRING:
        return rng.choice((*_names(model)[:50], "", "x" * 5000, "../x", "/etc/passwd", "\n", str(old or "") + "_"))
    if field.type == field.TYPE_BYTES:
        return mutate_bytes(old or b"\0", rng)
    if field.type == field.TYPE_BOOL:
        return not old
    if field.type == field.TYPE_ENUM:
        return rng.choice([each.number for each in field.enum_type.values])
    value = rng.choice((*INTEGERS, int(old or 0) + rng.choice((-1, 1)), rng.randrange(30), rng.randrange(30)))
    bits = 32 if field.type in (field.TYPE_INT32, field.TYPE_UINT32) else 64
    low, high = (0, 2**bits - 1) if field.type in (field.TYPE_UINT64, field.TYPE_UINT32) else (-(2 ** (bits - 1)), 0)
    return min(max(value, low), high or 2 ** (bits - 1) - 1)


def _huge_dimension(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    dims = [
        dim for each in _messages(model) if isinstance(each, onnx.TensorShapeProto) for dim in each.dim if dim.dim_value
    ]
    if dims:
        rng.choice(dims).dim_value = rng.choice((-1, 0, 10**4, 10**6, 2**31, 2**40, 2**63 - 1))


def _huge_initialiser(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    tensors = [each for each in _messages(model) if isinstance(each, onnx.TensorProto)]
    if tensors:
        tensor = rng.choice(tensors)
        tensor.dims[:] = rng.choice(([2**62], [2**31, 2**31], [-1], [0], [1 << 20, 1 << 20], [1] * 100))


def _other_operator(model: onnx.ModelProto, rng: Rng, operators: list[str]) -> None:
    nodes = [each for each in _messages(model) if isinstance(each, onnx.NodeProto)]
    if nodes:
        rng.choice(nodes).op_type = rng.choice(operators)


def _cycle(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    nodes = [node for node in model.graph.node if node.input and node.output]
    if nodes:
        node = rng.choice(nodes)
        node.input[rng.randrange(len(node.input))] = rng.choice(rng.choice(nodes).output)


def _nest_deeply(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    """An If in an If in an If ..."""
    inner = onnx.helper.make_graph([onnx.helper.make_node("Identity", [_names(model)[0]], ["d"])], "g", [], [])
    inner.output.add(name="d")
    for level in range(rng.choice((3, 10, 20))):
        other = rng.choice((inner, onnx.GraphProto()))
        node = onnx.helper.make_node("If", [_names(model)[0]], [f"d{level}"], then_branch=inner, else_branch=other)
        if node.ByteSize() > 1 << 16:
            break
        inner = onnx.helper.make_graph([node], "g", [], [])
        inner.output.add(name=f"d{level}")
    model.graph.node.extend(inner.node)


def _recursive_function(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    """Functions that call themselves, or one another in an exploding tree."""
    if rng.random() < 0.5:
        body = [onnx.helper.make_node("Again", ["a"], ["b"], domain="local")]
        model.functions.append(
            onnx.helper.make_function("local", "Again", ["a"], ["b"], body, list(model.opset_import))
        )
        name = "Again"
    else:
        for level in range(30):
            calls = [onnx.helper.make_node(f"F{level + 1}", ["a"], [f"b{k}"], domain="local") for k in range(2)]
            body = calls if level < 29 else [onnx.helper.make_node("Relu", ["a"], ["b1"])]
            model.functions.append(
                onnx.helper.make_function("local", f"F{level}", ["a"], ["b1"], body, list(model.opset_import))
            )
        name = "F0"
    model.opset_import.add(domain="local", version=1)
    model.graph.node.add(op_type=name, domain="local", input=[_names(model)[0]], output=["made"])
    model.graph.output.add(name="made")


def _blow_up(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    """Operators whose results are huge, of constants (which a compiler folds) or at run time."""
    extents = rng.choice(([1 << 16, 1 << 16], [1 << 33], [1 << 62], [1 << 14, 1 << 14], [-5]))
    shape = onnx.helper.make_tensor("huge_shape", onnx.TensorProto.INT64, [len(extents)], extents)
    model.graph.initializer.append(shape)
    operator = rng.choice(("ConstantOfShape", "Expand", "Tile", "Range", "RandomNormal", "Resize", "OneHot"))
    first = _names(model)[0]
    if operator == "ConstantOfShape":
        node = onnx.helper.make_node(operator, ["huge_shape"], ["huge"])
    elif operator == "Range":
        for name, value in (("zero", 0), ("limit", min(extents[0] << 1, 2**63 - 1)), ("one", 1)):
            model.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [], [value]))
        node = onnx.helper.make_node(operator, ["zero", "limit", "one"], ["huge"])
    elif operator == "RandomNormal":
        node = onnx.helper.make_node(operator, [], ["huge"], shape=extents)
    elif operator == "Resize":
        node = onnx.helper.make_node(operator, [first, "", "", "huge_shape"], ["huge"])
    elif operator == "OneHot":
        node = onnx.helper.make_node(operator, ["huge_shape", "huge_shape", "huge_shape"], ["huge"])
    else:
        node = onnx.helper.make_node(operator, [rng.choice((first, "huge_shape")), "huge_shape"], ["huge"])
    model.graph.node.insert(0, node)
    model.graph.output.add(name="huge")


def _other_opset(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    for each in model.opset_import:
        each.version = rng.choice((0, 1, 6, 7, 9, 12, 17, 25, 26, 27, 99, -1, 2**40))


def _outside(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    """External data that leads out of the folder, or beyond the file."""
    tensors = [each for each in model.graph.initializer if each.external_data] or list(model.graph.initializer)
    if not tensors:
        return
    tensor = rng.choice(tensors)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    location = rng.choice(("../secret", "/etc/passwd", "a/../../x", "", ".", "\0", "weights.bin", "//etc/passwd"))
    tensor.external_data.add(key="location", value=location)
    if rng.random() < 0.7:
        tensor.external_data.add(key="offset", value=str(rng.choice((*INTEGERS, "x", "1e3"))))
    if rng.random() < 0.5:
        tensor.external_data.add(key="length", value=str(rng.choice((*INTEGERS, "", "0x10"))))


_LISTS = ("strides", "dilations", "kernel_shape", "pads", "perm", "axes", "split", "output_shape", "output_padding")
_NUMBERS = ("group", "axis", "blocksize", "keepdims", "to", "ceil_mode", "num_scan_inputs", "channels_last", "transA")


def _attribute(model: onnx.ModelProto, rng: Rng, _: list[str]) -> None:
    """An attribute that sizes and strides come from, with values that make no sense."""
    nodes = [each for each in _messages(model) if isinstance(each, onnx.NodeProto)]
    if not nodes:
        return
    node = rng.choice(nodes)
    held = [each.name for each in node.attribute if each.name in (*_LISTS, *_NUMBERS)]
    name = rng.choice(held) if held and rng.random() < 0.8 else rng.choice((*_LISTS, *_NUMBERS))
    kept = [each for each in node.attribute if each.name != name]
    value: Any = rng.choice(INTEGERS)
    if name in _LISTS:
        value = [
            rng.choice((0, 1, 1, 2, 3, -1, rng.choice(INTEGERS))) for _ in range(rng.choice((0, 1, 2, 2, 4, 4, 64)))
        ]
    made = onnx.helper.make_attribute(name, value, attr_type=onnx.AttributeProto.INTS if name in _LISTS else None)
    del node.attribute[:]
    node.attribute.extend([*kept, made])


_MODEL: tuple[Callable[[onnx.ModelProto, Rng, list[str]], None], ...] = (
    _huge_dimension,
    _huge_initialiser,
    _other_operator,
    _other_operator,
    _attribute,
    _attribute,
    _attribute,
    _cycle,
    _nest_deeply,
    _recursive_function,
    _blow_up,
    _blow_up,
    _other_opset,
    _outside,
)
