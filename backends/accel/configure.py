"""The configure instructions of a nest: what all of its commands have in common (specs/isa.md, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from ...ir.arch import Arch
from ...ir.compressed import zero_code
from ...ir.diagnostics import ensure
from ...ir.encoding import Words, pack
from ...ir.graph import Attribute
from ...ir.nest import VALUE, Access, Body, BodyOp, Dataflow, Nest, Post, PostOp, counter_class, decoded, encodes
from ...ir.nest_layout import LocalLayout, axis_step, counter_stride, filled_boxes, whole_layout
from ...ir.program import (
    BODY_CODES,
    BOX_AXES,
    CLASS_CODES,
    COUNTERS,
    CRITERION_CODES,
    DATAFLOW_CODES,
    FORM_CODES,
    MULTIPLIER_CODES,
    NO_COUNTER,
    NO_SLOT,
    OUTWARDS,
    POST_CODES,
    ROLE_CODES,
    TARGET_CODES,
    TYPE_CODES,
    Opcode,
)
from ...ir.types import ElementType
from .tiles import axis_splits, operand_layout, view_strides


def configure(nest: Nest, arch: Arch, addresses: Mapping[str, int]) -> list[Words]:
    """The configure instructions, in order. `addresses` are those of the tensors in main memory.

    The nest fits the instruction set (a verifier rule): at most BOX_AXES axes per access, COUNTERS dimensions, STREAMS
    reads, POST_STEPS steps and AUX_SLOTS of them with an operand."""
    layouts = {access.operand: operand_layout(nest, access.operand, arch) for access in (*nest.reads, nest.write)}
    body = nest.body
    words = [
        _load(nest, stream, access, layouts[access.operand])
        for stream, access in enumerate(nest.reads)
        if is_loaded(nest, access.operand)
    ]
    words.append(_operand(nest, Opcode.CONFIGURE_A, body.a, layouts))
    if body.b is not None:
        words.append(_operand(nest, Opcode.CONFIGURE_B, body.b, layouts))
    words.append(_product(nest, layouts[nest.write.operand]))
    if body.op is BodyOp.QADD:
        words.append(_scalars(body))
    words.append(_store(nest, layouts[nest.write.operand]))
    slot = 0
    for step, post in enumerate(nest.post):
        words.append(_post(nest, step, post, slot, layouts))
        slot += post.operand is not None
    if arch.converter is not None:
        words += _conversions(nest)
    return words + _blocks(nest, addresses)


def _blocks(nest: Nest, addresses: Mapping[str, int]) -> list[Words]:
    """What the block unit tests, the streams that skip blocks and those that it expands."""
    words = []
    if (prune := nest.prune) is not None:
        fields = {
            "table": prune.table or 0,
            "cached": int(prune.table is not None),
            "criterion": CRITERION_CODES.index(prune.test.criterion),
            "threshold": prune.test.threshold,
            "rows": prune.test.rows,
            "cols": prune.test.cols,
            "main": addresses[nest.write.tensor],
            "samples": prod(nest.write.shape) // (prune.points * prune.columns),
            "points": prune.points,
            "columns": prune.columns,
            "zero_point": prune.zero_point,
        }
        words.append(pack(Opcode.CONFIGURE_PRUNE, 1, fields))
    for stream, access in enumerate(nest.reads):
        if (skip := access.skip) is not None:
            words.append(
                pack(Opcode.CONFIGURE_SKIP, 1, {"stream": stream, "table": skip.table, "last": int(skip.last)})
            )
    for stream, access in enumerate(nest.reads):
        if (compressed := access.compressed) is not None:
            block = [1] * (BOX_AXES - len(compressed.block)) + list(compressed.block)
            zero = zero_code(nest, access)
            words.append(pack(Opcode.CONFIGURE_EXPAND, 1, {"stream": stream, "block": block, "zero_point": zero}))
    return words


def _conversions(nest: Nest) -> list[Words]:
    """What the number converter makes of the streams that are decoded, and that it makes the codes of the output."""
    words = []
    for stream in decoded(nest):
        access = nest.reads[stream]
        assert access.decode is not None
        fields = {
            "of": stream,
            "type": TYPE_CODES.index(access.type),
            "made": TYPE_CODES.index(access.decode.type),
            "zero_point": access.decode.zero_point,
            "scale": float_bits(access.decode.scale),
        }
        words.append(pack(Opcode.CONFIGURE_CONVERT, 1, fields))
    if encodes(nest):
        words.append(pack(Opcode.CONFIGURE_CONVERT, 1, {"of": OUTWARDS}))
    return words


def is_loaded(nest: Nest, operand: str) -> bool:
    """Whether the nest has loads of an operand: of tiles, or of pad values around an operand that is there whole."""
    assert nest.schedule is not None
    return not nest.schedule.buffer(operand).is_whole or bool(filled_boxes(nest, operand))


def float_bits(value: Attribute | int | float) -> int:
    """The bit pattern of a number as float32."""
    assert isinstance(value, int | float)
    return int(np.float32(value).view(np.uint32))


def fill_pattern(pad: int | float | None, element: ElementType) -> int:
    """The bytes of a padding element, as the low bits of a 32-bit pattern."""
    if pad is None:
        return 0
    if element is ElementType.BF16:
        bits = float_bits(pad)
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 & 0xFFFF
    if element is ElementType.F16:
        return int(np.float16(pad).view(np.uint16))
    if element is ElementType.F32:
        return float_bits(pad)
    ensure(element.bits <= 32 or 0 <= pad < 1 << 31, f"pad {pad} of {element}")
    return int(pad) & ((1 << min(32, element.bits)) - 1)


def _box_strides(values: list[int]) -> list[int]:
    """Strides per axis, aligned to the innermost axis of a box."""
    return [0] * (BOX_AXES - len(values)) + values


def _main_strides(nest: Nest, access: Access) -> list[int]:
    extents = {dim.name: dim.extent for dim in nest.domain}
    strides = view_strides(access.shape)
    return _box_strides([stride * axis_step(axis, extents) for axis, stride in zip(access.index, strides, strict=True)])


def _load(nest: Nest, stream: int, access: Access, layout: LocalLayout) -> Words:
    assert nest.schedule is not None
    margins = nest.schedule.buffer(access.operand).margins
    local_strides = layout.strides if margins is None else whole_layout(access.shape, margins).strides
    return pack(
        Opcode.CONFIGURE_LOAD,
        1,
        {
            "stream": stream,
            "role": ROLE_CODES.index(access.role.value),
            "element_bits": access.type.bits,
            "fill": fill_pattern(access.pad, access.local_type),
            "main_stride": _main_strides(nest, access) if access.compressed is None else 0,
            "local_stride": _box_strides(list(local_strides)),
        },
    )


def _counter_strides(nest: Nest, operand: str, layout: LocalLayout) -> list[int]:
    strides = [counter_stride(nest, operand, dim.name, layout) for dim in nest.domain]
    return strides + [0] * (COUNTERS - len(strides))


def _operand(nest: Nest, opcode: Opcode, operand: str, layouts: Mapping[str, LocalLayout]) -> Words:
    access = nest.access(operand)
    return pack(
        opcode,
        1,
        {
            "role": ROLE_CODES.index(access.role.value),
            "type": TYPE_CODES.index(access.local_type),
            "zero_point": access.zero_point,
            "stride": _counter_strides(nest, operand, layouts[operand]),
        },
    )


def _spatial_counter(nest: Nest, axis: str) -> int:
    """The number of the dimension that the array blocks along `axis`, where it is one dimension."""
    assert nest.schedule is not None
    names = [dim.name for dim in nest.domain]
    dims = next((loop.dims for loop in nest.schedule.loops if loop.axis == axis), ())
    return names.index(dims[0]) if len(dims) == 1 else NO_COUNTER


def _product(nest: Nest, layout: LocalLayout) -> Words:
    assert nest.schedule is not None
    dataflow = nest.schedule.dataflow
    row = _spatial_counter(nest, "rows") if dataflow in (Dataflow.WS, Dataflow.IS) else NO_COUNTER
    column = NO_COUNTER
    if dataflow is Dataflow.VECTOR:
        column = _spatial_counter(nest, "lanes")
    elif dataflow is not Dataflow.IS:
        column = _spatial_counter(nest, "cols")
    classes = [CLASS_CODES.index(counter_class(nest, dim.name).value) for dim in nest.domain]
    return pack(
        Opcode.CONFIGURE_C,
        1,
        {
            "type": TYPE_CODES.index(nest.accumulator),
            "dataflow": DATAFLOW_CODES.index(dataflow.value),
            "body": BODY_CODES.index(nest.body.op.value),
            "form": FORM_CODES.index(nest.body.form),
            "multiplier": MULTIPLIER_CODES.index(nest.body.multiplier),
            "row_counter": row,
            "col_counter": column,
            "counter_class": classes + [CLASS_CODES.index("batch")] * (COUNTERS - len(classes)),
            "stride": _counter_strides(nest, nest.write.operand, layout),
        },
    )


def _scalars(body: Body) -> Words:
    attributes = dict(body.attributes)
    return pack(
        Opcode.CONFIGURE_SCALARS, 1, {"scalar": [float_bits(attributes[name]) for name in ("ra", "rb", "base")]}
    )


def _split(nest: Nest, strides: list[int]) -> list[int]:
    """Strides along the axes of the output's boxes from those along the axes of its access."""
    found = []
    for stride, inner in zip(strides, axis_splits(nest), strict=True):
        found += [stride] if inner == 1 else [stride * inner, stride]
    return found


def _store_strides(nest: Nest) -> list[int]:
    """Elements between neighbours of a store's box where it writes to."""
    assert nest.schedule is not None
    target = nest.schedule.target
    if target is None:
        return _main_strides(nest, nest.write)
    extents = {dim.name: dim.extent for dim in nest.domain}
    strides = list(whole_layout(target.shape, target.margins).strides)
    found = []
    for axis, inner in zip(nest.write.index, axis_splits(nest), strict=True):
        found += [strides.pop(0), strides.pop(0)] if inner > 1 else [strides.pop(0) * axis_step(axis, extents)]
    return _box_strides(found)


def _store(nest: Nest, layout: LocalLayout) -> Words:
    assert nest.schedule is not None
    return pack(
        Opcode.CONFIGURE_STORE,
        1,
        {
            "type": TYPE_CODES.index(nest.write.type),
            "accumulator": TYPE_CODES.index(nest.accumulator),
            "post_steps": len(nest.post),
            "main_stride": _store_strides(nest),
            "local_stride": _box_strides(_split(nest, list(layout.strides))),
            "target": TARGET_CODES.index("main" if nest.schedule.target is None else "local"),
        },
    )


def _post_strides(nest: Nest, operand: str, layout: LocalLayout) -> list[int]:
    """Elements by which the operand moves when the output's box moves by one position along each axis.

    An output axis of several dimensions moves by one position whichever of them advances, so the operand must follow
    all of them alike; a verifier rule refuses the rest.
    """
    extents = {dim.name: dim.extent for dim in nest.domain}
    if any(VALUE in axis.dims for axis in nest.access(operand).index):
        return [0] * BOX_AXES
    strides = []
    for axis in nest.write.index:
        step = axis_step(axis, extents)
        moves = [
            (counter_stride(nest, operand, dim, layout), coefficient // step)
            for dim, coefficient in axis.terms
            if extents[dim] > 1
        ]
        found = {move / positions for move, positions in moves}
        whole = all(move % positions == 0 for move, positions in moves)
        ensure(len(found) <= 1 and whole, f"{nest.name}: {operand} does not move with the output")
        strides.append(moves[0][0] // moves[0][1] if moves else 0)
    return _box_strides(_split(nest, strides))


def _post(nest: Nest, step: int, post: Post, slot: int, layouts: Mapping[str, LocalLayout]) -> Words:
    attributes = dict(post.attributes)
    fields: dict[str, int | list[int]] = {
        "step": step,
        "op": POST_CODES.index(post.op.value),
        "slot": NO_SLOT if post.operand is None else slot,
    }
    if post.operand is not None:
        access = nest.access(post.operand)
        fields["operand_type"] = TYPE_CODES.index(access.local_type)
        fields["role"] = ROLE_CODES.index(access.role.value)
        fields["stride"] = _post_strides(nest, post.operand, layouts[post.operand])
    if "type" in attributes:
        fields["type"] = TYPE_CODES.index(ElementType(attributes["type"]))
    if "zero_point" in attributes:
        fields["zero_point"] = _integer(attributes["zero_point"])
    fields |= _numbers(post, attributes)
    return pack(Opcode.CONFIGURE_POST, 1, fields)


def _numbers(post: Post, attributes: Mapping[str, Attribute]) -> dict[str, int | list[int]]:
    """The scalar, low and high fields of a step."""
    if post.op is PostOp.CLAMP:
        low, high = attributes["minimum"], attributes["maximum"]
        if isinstance(low, int) and isinstance(high, int):
            return {"low": low, "high": high}
        return {"scalar": [float_bits(low), float_bits(high), 0]}
    if post.op is PostOp.TABLE:
        return {"low": _integer(attributes["minimum"])}
    if post.op is PostOp.QADD:
        return {"scalar": [float_bits(attributes[name]) for name in ("ra", "rb", "base")]}
    name = next((name for name in ("multiplier", "alpha", "scale", "divisor") if name in attributes), None)
    return {} if name is None else {"scalar": [float_bits(attributes[name]), 0, 0]}


def _integer(value: Attribute) -> int:
    assert isinstance(value, int)
    return value
