"""Elementwise operators as nests on the vector unit, with numpy broadcasting in the accesses.

before:  y[N,C,H,W] = add(a[N,C,H,W], b[C,1,1])
after:   for d0, d1, d2, d3:  y[d0,d2,d3,d1] = a[d0,d2,d3,d1] + b[d1]

Requires: operands of one kind, floats or codes with one scale for all; a vector unit that has the body.
Ensures:  one nest for an operator; its sums and products are those of specs/arithmetic.md, in their order of roundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from ..ir.affine import Affine
from ..ir.diagnostics import ensure
from ..ir.graph import Node, Stage, ValueType
from ..ir.nest import Body, BodyOp, Dim, PostOp, Role
from ..ir.types import ElementType
from .lower_build import Operand, Plan
from .lower_context import Context, accumulator_of
from .lower_conv import POSITIONS, TAPS
from .lower_post import PostChain, Result, exchanged, qadd_scalars
from .lower_product import scales, zero_points
from .lower_view import View
from .rewrite import integers

F32 = np.float32


def _result(view: View, channel: int) -> Result:
    rank = len(view.logical_shape)
    return Result(view, tuple(Affine.of({f"d{axis}": 1}) for axis in range(rank)), rank, channel)


def _operand(name: str, view: View, result: Result, zero_point: int = 0) -> Operand:
    wide = view.padded_to(result.rank)
    index = tuple(
        Affine() if extent == 1 else axis for extent, axis in zip(wide.logical_shape, result.index, strict=True)
    )
    return Operand(name, wide, index, Role.INPUT, None, zero_point)


def _emit(
    context: Context, node: Node, name: str, result: Result, reads: Sequence[Operand], body: Body, chain: PostChain
) -> None:
    extents = result.view.logical_shape
    dims = tuple(Dim(f"d{axis}", extent) for axis, extent in enumerate(extents)) or (Dim("d0", 1),)
    write = Operand("y", result.view, result.index, Role.OUTPUT)
    accumulator = (
        ElementType.F32
        if any(each.view.local_type.is_float for each in reads)
        else accumulator_of(reads[0].view.local_type)
    )
    context.emit(Plan(name, node, dims, (*reads, *chain.operands), write, body, accumulator, tuple(chain.steps)))


def _channel_axis(context: Context, name: str) -> int:
    """The axis that the quantisation of a tensor runs along, 0 where it is one for all."""
    quantization = context.tensor(name).quantization
    return quantization.axis if quantization is not None and quantization.axis is not None else 0


def emit_dequantised(context: Context, node: Node, name: str) -> View:
    """Append a nest that dequantises a tensor into a new one of f32; returns its view."""
    tensor = context.tensor(name)
    made = context.temporary(f"{node.name}.real", replace(tensor, type=ElementType.F32, quantization=None))
    result = _result(context.view(made.name), _channel_axis(context, name))
    assert isinstance(tensor.type, ElementType)
    chain = PostChain(context, node, result, ValueType(tensor.type, tensor.quantization))
    chain.converted(ValueType(ElementType.F32))
    x = _operand("x", context.view(name), result)
    _emit(context, node, f"{node.name}.dequantize", result, (x,), Body(BodyOp.COPY, "x"), chain)
    return context.view(made.name)


def lower_unary(context: Context, node: Node) -> None:
    """relu, clip, leaky_relu, table, quantize and dequantize: a copy with one step."""
    name = node.inputs[0]
    tensor = context.tensor(name)
    result = _result(context.view(node.outputs[0]), _channel_axis(context, name))
    assert isinstance(tensor.type, ElementType)
    chain = PostChain(context, node, result, ValueType(tensor.type, tensor.quantization))
    operand = node.inputs[1] if node.op == "table" else None
    chain.stages((Stage(node.op, context.value_type(node), operand, node.attributes), *node.post))
    x = _operand("x", context.view(name), result)
    _emit(context, node, node.name, result, (x,), Body(BodyOp.COPY, "x"), chain)


def lower_requantize(context: Context, node: Node) -> None:
    """Sums with a scale to codes: float32(sum) * (sx / sy)."""
    name = node.inputs[0]
    result = _result(context.view(node.outputs[0]), _channel_axis(context, name))
    chain = PostChain(context, node, result, context.value_type(node))
    chain.scaled(scales(context.tensor(name)), context.value_type(node), ElementType.I32)
    chain.stages(node.post)
    x = _operand("x", context.view(name), result)
    _emit(context, node, node.name, result, (x,), Body(BodyOp.COPY, "x"), chain)


def lower_binary(context: Context, node: Node) -> None:
    """add, sub and mul, on floats or codes."""
    target = context.value_type(node)
    result = _result(context.view(node.outputs[0]), 0)
    chain = PostChain(context, node, result, target)
    a, b = node.inputs
    if context.element(a).is_float:
        chain.running = ValueType(ElementType.F32) if target.type.is_integer else target
        op = {"add": BodyOp.ADD, "sub": BodyOp.SUB, "mul": BodyOp.MUL}[node.op]
        body = Body(op, "a", "b")
        points = (0, 0)
        chain.converted(target)
    elif node.op == "add":
        if exchanged(context.shape(a), context.shape(b)):
            a, b = b, a
        qa, qb = context.tensor(a).quantization, context.tensor(b).quantization
        assert qa is not None and qb is not None and target.quantization is not None
        scalars = qadd_scalars(node.name, qa, qb, target.quantization)
        body = Body(BodyOp.QADD, "a", "b", attributes=tuple(scalars.items()))
        chain.step(PostOp.SATURATE, None, type=str(target.type))
        points = (0, 0)
    else:
        assert target.quantization is not None
        ensure(node.op == "mul", f"{node.name}: {node.op} of codes")
        body = Body(BodyOp.MUL, "a", "b")
        points = zero_points(context.tensor(a))[0], zero_points(context.tensor(b))[0]
        real = scales(context.tensor(a)) * scales(context.tensor(b)) / F32(target.quantization.scale[0])
        chain.step(PostOp.SCALE, None, multiplier=float(F32(real[0])))
        chain.rounded_after_zero_point(target)
    chain.stages(node.post)
    reads = (_operand("a", context.view(a), result, points[0]), _operand("b", context.view(b), result, points[1]))
    _emit(context, node, node.name, result, reads, body, chain)


def lower_im2col(context: Context, node: Node) -> None:
    """The windows of a tensor as a tensor: [N, kernel * C, output points]. Where neighbouring taps of a row are
    neighbours in memory (channels innermost, dilation 1), tap and channel are one dimension:

    before:  x [N, H, W, C] at (n, p + r, 2q + s, c)       y at (n, p, q, r, s, c)
    after:   x [N, H, W*C]  at (n, p + r, 2C*q + k)        y at (n, p, q, r, k),     k = s*C + c
    """
    tensor, x = context.tensor(node.inputs[0]), context.view(node.inputs[0])
    kernel, strides, dilations, pads = (integers(node, key) for key in ("kernel", "strides", "dilations", "pads"))
    n, channels, *outputs = context.shape(node.outputs[0])
    spatial = len(kernel)
    channels //= prod(kernel)
    positions, taps = POSITIONS[spatial], TAPS[spatial]
    of = Affine.of
    seen = [
        of({p: strides[i], t: dilations[i]}, -pads[i]) for i, (p, t) in enumerate(zip(positions, taps, strict=True))
    ]
    index = (of({"n": 1}), of({"c": 1}), *seen)
    inner = dict(zip((*taps, "c"), (*kernel, channels), strict=True))
    if dilations[-1] == 1 and x.digits == ((0,), (spatial + 1,), *((1 + i,) for i in range(spatial))):
        rows = tuple((i,) for i in range(spatial + 1))
        x = replace(x, shape=(*x.shape[:-2], x.shape[-2] * channels), digits=rows)
        last = of({positions[-1]: strides[-1] * channels, "k": 1}, -pads[spatial - 1] * channels)
        index = (of({"n": 1}), *seen[:-1], last)
        inner = dict(zip((*taps[:-1], "k"), (*kernel[:-1], kernel[-1] * channels), strict=True))
    y = context.view(node.outputs[0]).with_axis(1, tuple(inner.values()))
    assert y is not None, "an output has bytes of its own"
    assert isinstance(tensor.type, ElementType)
    extents = {"n": n} | dict(zip(positions, outputs, strict=True)) | inner
    pad = 0.0 if tensor.type.is_float else zero_points(tensor)[0]
    context.emit(
        Plan(
            node.name,
            node,
            tuple(Dim(name, extent) for name, extent in extents.items()),
            (Operand("x", x, index, Role.INPUT, pad),),
            Operand("y", y, tuple(of({name: 1}) for name in ("n", *inner, *positions)), Role.OUTPUT),
            Body(BodyOp.COPY, "x"),
            accumulator_of(tensor.type),
        )
    )
