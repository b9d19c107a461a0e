"""Pools as nests on the vector unit.

before:  y = pool(x) {kind = max, kernel = (3, 3), strides = (2, 2), pads = (1, 1, 1, 1)}
after:   for n, p, q, c, r, s:  y[n,p,q,c] = max(y[n,p,q,c], x[n, 2p + r - 1, 2q + s - 1, c])

The quantised average pool of onnxruntime adds dequantised values in float32, so its codes are dequantised by a nest of
their own first; the quantised global average pool requantises the integer sum. See specs/arithmetic.md.

Requires: a window with a tap inside the image at every position; for codes, one scale for all.
Ensures:  one nest, or two where codes are dequantised first; a maximum ignores the padding, a mean divides by the taps
          that count.
"""

from __future__ import annotations

from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from ..ir.affine import Affine
from ..ir.graph import Attribute, Node, ValueType
from ..ir.nest import Body, BodyOp, Dim, PostOp, Role
from ..ir.types import ElementType
from .lower_build import Operand, Plan
from .lower_context import Context, accumulator_of
from .lower_conv import POSITIONS, TAPS
from .lower_elementwise import emit_dequantised
from .lower_post import PostChain, Result
from .lower_product import zero_points
from .lower_view import View
from .rewrite import integers

F32 = np.float32


def lower_pool(context: Context, node: Node) -> None:
    """Append the nests of a `pool`."""
    kind = node.attribute("kind")
    x = context.view(node.inputs[0])
    tensor = context.tensor(node.inputs[0])
    target = context.value_type(node)
    result = _result(context, node)
    if x.local_type.is_integer and kind != "max" and not (kind == "global_average" and target.quantization is not None):
        x = emit_dequantised(context, node, node.inputs[0])
    quantization = tensor.quantization if x.local_type.is_integer else None
    chain = PostChain(context, node, result, ValueType(x.local_type, quantization))
    zero_point = 0
    pad: int | float = 0.0
    if kind == "max":
        body, pad = Body(BodyOp.MAX, "x"), float(-inf) if x.local_type.is_float else x.type.minimum
        chain.converted(target)
    elif x.local_type.is_integer:
        body, pad = Body(BodyOp.SUM, "x"), zero_points(tensor)[0]
        zero_point = int(pad)
        _requantised_mean(context, node, chain)
    else:
        body = Body(BodyOp.SUM, "x")
        _mean(context, node, chain)
    chain.stages(node.post)
    kernel = integers(node, "kernel")
    positions, taps = POSITIONS[len(kernel)], TAPS[len(kernel)]
    n, c, *outputs = context.shape(node.outputs[0])
    sizes = {"n": n} | dict(zip(positions, outputs, strict=True)) | {"c": c} | dict(zip(taps, kernel, strict=True))
    strides, dilations, pads = (integers(node, key) for key in ("strides", "dilations", "pads"))
    of = Affine.of
    seen = tuple(
        of({p: strides[i], t: dilations[i]}, -pads[i]) for i, (p, t) in enumerate(zip(positions, taps, strict=True))
    )
    context.emit(
        Plan(
            node.name,
            node,
            tuple(Dim(name, extent) for name, extent in sizes.items()),
            (Operand("x", x, (of({"n": 1}), of({"c": 1}), *seen), Role.INPUT, pad, zero_point), *chain.operands),
            Operand("y", result.view, result.index, Role.OUTPUT),
            body,
            accumulator_of(x.local_type),
            tuple(chain.steps),
        )
    )


def _result(context: Context, node: Node) -> Result:
    y = context.view(node.outputs[0])
    rank = len(y.logical_shape)
    names = ("n", "c", *POSITIONS[rank - 2])
    return Result(y, tuple(Affine.of({name: 1}) for name in names), rank, 1)


def _requantised_mean(context: Context, node: Node, chain: PostChain) -> None:
    """From an integer sum to the codes of the mean of the whole image: times sx / (sy * count)."""
    source, target = context.tensor(node.inputs[0]), context.value_type(node)
    assert source.quantization is not None and target.quantization is not None
    sx, sy = F32(source.quantization.scale[0]), F32(target.quantization.scale[0])
    factor = F32(sx / (sy * F32(prod(integers(node, "kernel")))))
    codes: dict[str, Attribute] = {"type": str(target.type), "zero_point": target.quantization.zero_point[0]}
    chain.step(PostOp.REQUANTIZE, None, multiplier=float(factor), **codes)
    chain.running = target


def _mean(context: Context, node: Node, chain: PostChain) -> None:
    """From a float sum to the mean, and to codes where the result has them."""
    source, target = context.tensor(node.inputs[0]), context.value_type(node)
    counts = _counts(context, node)
    if (counts == counts.flat[0]).all():
        chain.step(PostOp.DIVIDE, None, divisor=float(counts.flat[0]))
    else:
        view = context.constant(f"{node.name}.counts", counts, ElementType.F32)
        chain.step(PostOp.DIVIDE, chain.broadcast("counts", _as_images(view), Role.AUX))
    if target.quantization is not None and source.quantization is not None:
        chain.step(PostOp.DIVIDE, None, divisor=float(F32(target.quantization.scale[0])))
        chain.rounded_after_zero_point(target)
    else:
        chain.running = ValueType(ElementType.F32)
        chain.converted(target)


def _as_images(view: View) -> View:
    return view.padded_to(len(view.logical_shape) + 2)


def _counts(context: Context, node: Node) -> NDArray[np.float32]:
    """How many elements each output position divides by: the kernel, or its taps inside the image."""
    kernel = integers(node, "kernel")
    if node.attribute("kind") == "global_average" or node.attribute("count_include_pad"):
        return np.full((1,) * len(kernel), prod(kernel), F32)
    strides, dilations, pads = (integers(node, key) for key in ("strides", "dilations", "pads"))
    image, outputs = context.shape(node.inputs[0])[2:], context.shape(node.outputs[0])[2:]
    total = np.ones((), np.int64)
    for i, size in enumerate(kernel):
        seen = np.arange(outputs[i])[:, None] * strides[i] + np.arange(size)[None, :] * dilations[i] - pads[i]
        inside = ((seen >= 0) & (seen < image[i])).sum(axis=1)
        total = np.multiply.outer(total, inside)
    return total.astype(F32)
