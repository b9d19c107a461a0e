"""Mutations of files, for `fuzz`: bytes, protobuf fields, trees (YAML, JSON), words, programs, arrays.

Every mutation is a function of its argument and of a seeded generator, and of nothing else.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import onnx
import yaml
from dnnc.ir.container import ALIGNMENT_BYTES, MAGIC, VERSION
from dnnc.ir.encoding import field_range, legal_values
from dnnc.ir.program import FIELDS, INSTRUCTION_BYTES, Field, Opcode

Rng = random.Random

INTEGERS = (0, 1, -1, 2, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))


# -- bytes --------------------------------------------------------------------------------------------------------


def mutate_bytes(data: bytes, rng: Rng) -> bytes:
    """One to three of: cut short, flip bits, insert, delete, duplicate, zero, overwrite with 0xFF or an integer."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_BYTES)(data, rng)
    return data


def _span(data: bytes | bytearray, rng: Rng) -> tuple[int, int]:
    """A random piece, mostly a short one."""
    if not data:
        return 0, 0
    start = rng.randrange(len(data))
    size = rng.randint(1, rng.choice((1, 2, 4, 8, 64, len(data))))
    return start, min(len(data), start + size)


def _truncate(data: bytes, rng: Rng) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip(data: bytes, rng: Rng) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(data: bytes, rng: Rng) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 8, 100))) + data[at:]


def _delete(data: bytes, rng: Rng) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _duplicate(data: bytes, rng: Rng) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 50)) + data[end:]


def _fill(data: bytes, rng: Rng) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.choice((b"\0", b"\xff", b" ", b"9")) * (end - start) + data[end:]


def _number(data: bytes, rng: Rng) -> bytes:
    value = struct.pack("<q", rng.choice(INTEGERS))[: rng.choice((1, 2, 4, 8))]
    at = rng.randrange(len(data) + 1)
    return data[:at] + value + data[at + len(value) :]


_BYTES = (_truncate, _flip, _insert, _delete, _duplicate, _fill, _number)


# -- protobuf -----------------------------------------------------------------------------------------------------


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


# -- trees: YAML and JSON -----------------------------------------------------------------------------------------


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from _paths(tree[key], (*path, key))
    elif isinstance(tree, list):
        for index in range(len(tree)):
            yield from _paths(tree[index], (*path, index))


def mutate_tree(tree: Any, rng: Rng) -> Any:
    """One to three values removed, repeated, renamed, swapped or replaced by extreme ones."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = list(_paths(tree))
        if not paths:
            return tree
        *way, last = rng.choice(paths)
        parent = tree
        for step in way:
            parent = parent[step]
        action = rng.randrange(6)
        if action == 0:
            del parent[last]
        elif action == 1 and isinstance(parent, dict):
            parent[f"{last}{rng.choice('_s2')}"] = parent.pop(last)
        elif action == 1:
            parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(parent[last]))
        elif action == 2:
            other = tree
            for step in rng.choice(paths):
                if isinstance(other, dict | list):
                    other = other[step] if step in other or isinstance(other, list) else other
            parent[last] = copy.deepcopy(other) if len(str(other)) < 10_000 else []
        else:
            parent[last] = _tree_value(parent[last], rng)
    return tree


def _tree_value(old: Any, rng: Rng) -> Any:
    if isinstance(old, int) and not isinstance(old, bool) and rng.random() < 0.7:
        return rng.choice((*INTEGERS, old - 1, old + 1, old * 2, old // 2, old * 1000, -old))
    if isinstance(old, str) and rng.random() < 0.3:
        return rng.choice((old + "x", old[:-1], old.upper(), old * 3))
    return rng.choice((*INTEGERS, *FLOATS, 10**40, None, True, "", "nan", "x" * 5000, [], {}, [[[]]], {"a": 1}))


ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def mutate_yaml(text: str, rng: Rng) -> bytes:
    """The tree or the lines changed; now and then an alias bomb, deep nesting, tags, other encodings."""
    action = rng.random()
    if action < 0.5:
        return yaml.safe_dump(mutate_tree(yaml.safe_load(text), rng), sort_keys=False, allow_unicode=True).encode()
    if action < 0.85:
        lines = text.splitlines()
        for _ in range(rng.choice((1, 1, 2, 5))):
            rng.choice(_LINES)(lines, rng)
        return "\n".join(lines).encode()
    return rng.choice(
        (
            (ALIAS_BOMB + text).encode(),
            (text + "x: " + "[" * 100_000).encode(),
            (text + "".join("  " * level + "k:\n" for level in range(400))).encode(),
            (text + "x: {" * 5000).encode(),
            (text + "x: !!python/object/apply:os.system ['true']\n").encode(),
            (text + "---\n" + text).encode(),
            text.encode("utf-16"),
            text.encode() + b"\xff\xfe",
            b"",
            b"# nothing\n",
            (text + f"huge: {'9' * 100_000}\n").encode(),
            (text + f"'{'k' * 200_000}': 1\n").encode(),
            text.replace(": ", ": 1e999999999 #").encode(),
            ("? " * 3000 + text).encode(),
            ("- " * 3000 + text).encode(),
        )
    )


def _line_deleted(lines: list[str], rng: Rng) -> None:
    if lines:
        del lines[rng.randrange(len(lines))]


def _line_repeated(lines: list[str], rng: Rng) -> None:
    if lines:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))


def _line_indented(lines: list[str], rng: Rng) -> None:
    if lines:
        at = rng.randrange(len(lines))
        lines[at] = rng.choice((" ", "  ", "\t", "- ", "? ")) + lines[at] if rng.random() < 0.6 else lines[at].lstrip()


def _line_number(lines: list[str], rng: Rng) -> None:
    if lines:
        at = rng.randrange(len(lines))
        value = str(rng.choice((*INTEGERS, *FLOATS, "nan", ".nan", ".inf", "1e400", "0x" + "f" * 30, "1:30", "~")))
        lines[at] = re.sub(r"[0-9][0-9_.e+]*", lambda _: value, lines[at], count=1)


_LINES = (_line_deleted, _line_repeated, _line_indented, _line_number, _line_number)


# -- words: IR and assembly ---------------------------------------------------------------------------------------

_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|[%@.]?[A-Za-z0-9_]+(?:[.:-][A-Za-z0-9_]+)*|[^\sA-Za-z0-9]|\s+')


def mutate_words(text: str, rng: Rng) -> bytes:
    """One to four words removed, repeated, exchanged, replaced by another of the text or by an extreme number."""
    words = _WORD.findall(text)
    visible = [index for index, word in enumerate(words) if not word.isspace()]
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not visible:
            break
        at, other = rng.choice(visible), rng.choice(visible)
        action = rng.randrange(7)
        if action == 0:
            words[at] = ""
        elif action == 1:
            words[at] = f"{words[at]} {words[at]}"
        elif action == 2:
            words[at], words[other] = words[other], words[at]
        elif action == 3:
            words[at] = words[other]
        else:
            numbers = [index for index in visible if words[index][:1].isdigit()] or visible
            at = rng.choice(numbers)
            values = (*INTEGERS, "0.5", "1e400", "inf", "nan", "0x10", "9" * 30, "9" * 5000, "1 x999999999")
            is_number = words[at].isdecimal() and len(words[at]) < 100
            near = (int(words[at]) + rng.choice((-1, 1)), int(words[at]) * 2) if is_number else values
            words[at] = str(rng.choice(near if rng.random() < 0.5 else values))
    return "".join(words).encode()


# -- programs -----------------------------------------------------------------------------------------------------


def unpack_program(data: bytes) -> tuple[dict[str, Any], bytes, list[bytes]]:
    """Index, code and blobs of a sound `.dnnx` file."""
    size = struct.unpack_from("<Q", data, 16)[0]
    index: dict[str, Any] = json.loads(data[ALIGNMENT_BYTES : ALIGNMENT_BYTES + size])
    at = ALIGNMENT_BYTES + size
    sections = []
    for length in (index["code"]["bytes"], *(blob["bytes"] for blob in index["blobs"])):
        at += -at % ALIGNMENT_BYTES if length else 0
        sections.append(data[at : at + length])
        at += length
    return index, sections[0], sections[1:]


def pack_program(index: Any, code: bytes, blobs: list[bytes]) -> bytes:
    """A `.dnnx` file with lengths and checksums that are right, whatever the rest says."""
    text = json.dumps(index, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    digest = hashlib.sha256(text).digest()
    data = struct.pack("<8sIIQ32s8x", MAGIC, VERSION, 0, len(text), digest)
    for part in (text, code, *blobs):
        if part:
            data += bytes(-len(data) % ALIGNMENT_BYTES) + part
    return data


def mutate_index(data: bytes, rng: Rng) -> bytes:
    """The index changed, its checksum right."""
    index, code, blobs = unpack_program(data)
    changed = mutate_tree(index, rng)
    if rng.random() < 0.1:
        text = json.dumps(changed)
        text = rng.choice(("[" * 100_000, '{"a":' * 5000, text[:-1], text + text, text.replace("1", "1" * 5000, 1)))
        head = struct.pack("<8sIIQ32s8x", MAGIC, VERSION, 0, len(text), hashlib.sha256(text.encode()).digest())
        return head + text.encode()
    return pack_program(changed, code, blobs)


def mutate_blobs(data: bytes, rng: Rng) -> bytes:
    """Bytes of constants and host models changed; every checksum and every reference is right."""
    index, code, blobs = unpack_program(data)
    if not blobs:
        return mutate_index(data, rng)
    at = rng.randrange(len(blobs))
    old = index["blobs"][at]["sha256"]
    blobs[at] = mutate_bytes(blobs[at], rng)
    index = json.loads(json.dumps(index).replace(old, hashlib.sha256(blobs[at]).hexdigest()))
    index["blobs"][at]["bytes"] = len(blobs[at])
    order = sorted(range(len(blobs)), key=lambda each: index["blobs"][each]["sha256"])
    index["blobs"] = [index["blobs"][each] for each in order]
    return pack_program(index, code, [blobs[each] for each in order])


def mutate_code(data: bytes, rng: Rng) -> bytes:
    """Instructions changed: fields set to extreme or random legal values, instructions removed, repeated, exchanged or
    made up; regions and checksums are right."""
    index, code, blobs = unpack_program(data)
    count = len(code) // INSTRUCTION_BYTES
    words = [code[k * INSTRUCTION_BYTES : (k + 1) * INSTRUCTION_BYTES] for k in range(count)]
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(words))
        action = rng.randrange(8)
        if action == 0:
            words[at] = words[rng.randrange(len(words))]
        elif action == 1:
            other = rng.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        elif action == 2:
            words[at] = _made_up(rng)
        elif action == 3:
            words[at] = rng.randbytes(INSTRUCTION_BYTES)
        else:
            words[at] = _field_set(words[at], rng)
    code = b"".join(words)
    return pack_program(with_code(index, code), code, blobs)


def with_code(index: dict[str, Any], code: bytes) -> dict[str, Any]:
    """The index of a program whose code is now `code`, which has as many instructions."""
    return index | {"code": {"bytes": len(code), "sha256": hashlib.sha256(code).hexdigest()}}


def with_field(word: bytes, name: str, value: int) -> bytes:
    """An instruction with a field (its first entry, if it has several) set to the low bits of `value`."""
    at = 0
    for field in FIELDS[Opcode(word[0])]:
        if field.name == name:
            mask = (1 << field.bits) - 1
            changed = int.from_bytes(word, "little") & ~(mask << at) | (value & mask) << at
            return changed.to_bytes(INSTRUCTION_BYTES, "little")
        at += field.bits * field.count
    raise KeyError(name)


def _field_value(field: Field, rng: Rng) -> int:
    legal = legal_values(field)
    low, high = field_range(field)
    if legal is not None and rng.random() < 0.95:
        return rng.choice(list(legal))
    values = (low, high, 0, 1, high // 2, rng.randint(low, high), rng.randint(low, high), rng.randrange(16))
    return min(max(rng.choice(values), low), high)


def _field_set(word: bytes, rng: Rng) -> bytes:
    """The instruction with one of its fields (of one entry, if it has several) set anew."""
    value = int.from_bytes(word, "little")
    if value & 255 not in set(Opcode):
        return word
    entries = []
    at = 0
    for field in FIELDS[Opcode(value & 255)]:
        for _ in range(field.count):
            entries.append((field, at))
            at += field.bits
    field, at = rng.choice(entries[2:] or entries)
    mask = (1 << field.bits) - 1
    value = value & ~(mask << at) | (_field_value(field, rng) & mask) << at
    return value.to_bytes(INSTRUCTION_BYTES, "little")


def _made_up(rng: Rng) -> bytes:
    """A random instruction that decodes, mostly."""
    opcode = rng.choice(list(Opcode))
    value, at = int(opcode), 0
    for field in FIELDS[opcode]:
        for _ in range(field.count):
            if field.name not in ("opcode", "core"):
                number = _field_value(field, rng) if rng.random() < 0.6 else 1
                value |= (number & (1 << field.bits) - 1) << at
            at += field.bits
    return value.to_bytes(INSTRUCTION_BYTES, "little")


# -- arrays -------------------------------------------------------------------------------------------------------


def mutate_archive(data: bytes, rng: Rng) -> bytes:
    """A `.npz` file with members renamed, repeated, of other types, shapes and lengths; now and then a bomb."""
    members = [(each.filename, zipfile.ZipFile(io.BytesIO(data)).read(each)) for each in _infos(data)]
    compression = zipfile.ZIP_DEFLATED if rng.random() < 0.3 else zipfile.ZIP_STORED
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(members))
        name, body = members[at]
        action = rng.randrange(6)
        if action == 0:
            others = ("", "x", "../x.npy", "/etc/x.npy", "x" * 3000 + ".npy", "a\0b.npy", name.upper(), "é.npy")
            members[at] = (rng.choice(others), body)
        elif action == 1:
            members.append(members[at])
        elif action == 2 and rng.random() < 0.3:
            compression = zipfile.ZIP_DEFLATED
            members[at] = (name, body + bytes(rng.choice((1 << 20, 1 << 26))))
        elif action == 2:
            members[at] = (name, mutate_bytes(body, rng))
        else:
            members[at] = (name, _header_changed(body, rng))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice, which is the point
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body, compression)
    packed = buffer.getvalue()
    return mutate_bytes(packed, rng) if rng.random() < 0.1 else packed


def _infos(data: bytes) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.infolist()


def _header_changed(body: bytes, rng: Rng) -> bytes:
    """A `.npy` file with another header: types that are not numbers, shapes that do not fit, text that is no header."""
    size = struct.unpack_from("<H", body, 8)[0]
    rest = body[10 + size :]
    descr = rng.choice(("'<f4'", "'|O'", "'<f8'", "'|S5'", "'<U9999999'", "'<M8'", "[('a','<f4')]", "'V0'", "'>i2'"))
    shape = rng.choice(
        ("()", "(-1,)", "(0,)", f"({2**62},)", f"({2**40},{2**40})", "(1,)*99", "(2.5,)", "(" + "1," * 70 + ")", "[3]")
    )
    text = f"{{'descr': {descr}, 'fortran_order': {rng.choice(('False', 'True', '0'))}, 'shape': {shape}, }}"
    text = rng.choice((text, text, text, "(" * 5000, "[" * 9000, "{" * 400, "9" * 9000, "-" * 9000, "1+" * 4000 + "1"))
    encoded = text.encode() + b"\n"
    version = rng.choice((1, 1, 1, 2, 3, 9))
    length = struct.pack("<H", len(encoded)) if version == 1 else struct.pack("<I", len(encoded))
    return b"\x93NUMPY" + bytes((version, 0)) + length + encoded + rest
