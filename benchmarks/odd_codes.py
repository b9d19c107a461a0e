"""Families of random models that compute in codes (`odd_models`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import numpy as np
from dnnc.benchmarks.odd_draft import (
    CHANNELS,
    FLOAT,
    INT32,
    LONG,
    MICROSOFT,
    SIZES,
    Array,
    Codes,
    Draft,
    Window,
    batch,
    groups,
    image_shape,
    spatial_axes,
    window,
)
from onnx import TensorProto


def weights(draft: Draft, data: str, shape: Sequence[int], channels: int) -> Codes:
    """Constant weights, of one scale or one per channel, along which the zero point is one."""
    kind = draft.kind() if data == "uint8" else "int8"
    sliced = draft.chance(0.5) and channels > 0
    scale: Any = np.array([draft.scale() for _ in range(channels)]) if sliced else draft.scale()
    zero = draft.zero_point(kind) if draft.chance(0.5) else np.array(0 if kind == "int8" else 128, kind)
    zero = np.full(channels, zero, kind) if sliced else zero
    return Codes(draft.constant(draft.codes(kind, shape)), kind, scale, zero, tuple(shape))


def sum_of(draft: Draft, kind: str, terms: int, *scales: Any) -> tuple[np.float32, Array]:
    """Scale and zero point by which a sum of `terms` products of codes fills the range of a code, about."""
    product = prod(float(np.max(scale)) for scale in scales)
    return np.float32(product * sqrt(max(1, terms)) * 2.0 ** draft.pick((5, 6, 6, 7))), draft.zero_point(kind)


def data_codes(draft: Draft, shape: Sequence[int]) -> Codes:
    kind = draft.kind()
    name = draft.input(draft.codes(kind, shape))
    return Codes(name, kind, draft.scale(), draft.zero_point(kind), tuple(shape))


def convolved(draft: Draft, x: Codes, view: Window, group: int, filters: int) -> Codes:
    depth = x.shape[1] // group
    w = weights(draft, x.kind, (filters, depth, *view.kernel), filters)
    scale, zero = sum_of(draft, x.kind, depth * prod(view.kernel), x.scale, w.scale)
    inputs = [*x.operand(draft), *w.operand(draft), draft.constant(scale), draft.constant(zero)]
    if draft.chance(0.6):
        inputs.append(draft.constant(draft.rng.integers(-(2**12), 2**12, filters).astype(np.int32)))
    name = draft.node("QLinearConv", inputs, group=group, **view.attributes())
    known = view.result if x.shape[2:] == view.image else (0,) * len(view.kernel)
    return Codes(name, x.kind, scale, zero, (x.shape[0], filters, *known))


def added(draft: Draft, a: Codes, b: Codes) -> Codes:
    scale = np.float32(max(float(a.scale), float(b.scale)) * draft.pick((1, 2, 4)) / 2)
    result = Codes("", a.kind, scale, draft.zero_point(a.kind), np.broadcast_shapes(a.shape, b.shape))
    inputs = [*a.operand(draft), *b.operand(draft), *result.parameters(draft)]
    return Codes(
        draft.node("QLinearAdd", inputs, domain=MICROSOFT), a.kind, scale, result.zero_point, result.shape
    )  # fmt: skip


def followed(draft: Draft, y: Codes) -> Codes:
    """Rarely something after it: a residual, a leaky activation, a clip of codes, or the maximum with 0."""
    form = draft.pick((0, 0, 1, 2, 3, 4))
    if form == 1:
        other = Codes(
            draft.input(draft.codes(y.kind, y.shape)), y.kind, draft.scale(), draft.zero_point(y.kind), y.shape
        )
        return added(draft, y, other) if draft.chance(0.5) else added(draft, other, y)
    if form == 2:
        scale, zero = np.float32(y.scale), draft.zero_point(y.kind)
        inputs = [*y.operand(draft), draft.constant(scale), draft.constant(zero)]
        name = draft.node("QLinearLeakyRelu", inputs, domain=MICROSOFT, alpha=draft.pick((1, 25)) / 100)
        return Codes(name, y.kind, scale, zero, y.shape)
    if form == 3:
        low, high = np.sort(draft.codes(y.kind, (2,)))
        name = draft.node("Clip", [y.name, draft.constant(low), draft.constant(high)])
        return Codes(name, y.kind, y.scale, y.zero_point, y.shape)
    if form == 4 and y.kind == "int8":
        return Codes(draft.node("Relu", [y.name]), y.kind, y.scale, y.zero_point, y.shape)
    return y


def qlinear_conv(draft: Draft) -> str:
    axes = spatial_axes(draft)
    view = window(draft, axes)
    group, depth, filters = groups(draft, CHANNELS if axes < 3 else CHANNELS[:7])
    x = data_codes(draft, image_shape(draft, depth, view.image))
    return followed(draft, convolved(draft, x, view, group, filters)).name


def qlinear_conv_deep(draft: Draft) -> str:
    """A reduction that a small operand memory does not hold."""
    view = window(draft, 1)
    x = data_codes(draft, (1, draft.pick(LONG[:3]), *view.image))
    return followed(draft, convolved(draft, x, view, 1, draft.pick((1, 3, 17)))).name


def qlinear_residual(draft: Draft) -> str:
    """Two convolutions that keep the image, their sum with the input, and perhaps a global average."""
    channels, image = draft.pick(CHANNELS), (draft.pick(SIZES), draft.pick(SIZES))
    x = data_codes(draft, (batch(draft), channels, *image))
    value = x
    for _ in range(2):
        kernel = (draft.pick((1, 3, 5)), draft.pick((1, 3)))
        around = tuple(k // 2 for k in kernel)
        view = Window(kernel, (1, 1), (1, 1), (*around, *around), image)
        value = convolved(draft, value, view, channels if draft.chance(0.3) else 1, channels)
    value = followed(draft, added(draft, value, x))
    return global_average(draft, value) if draft.chance(0.3) else value.name


def conv_integer(draft: Draft) -> str:
    axes = spatial_axes(draft)
    view = window(draft, axes)
    group, depth, filters = groups(draft, CHANNELS if axes < 3 else CHANNELS[:7])
    x = draft.input(draft.codes("uint8", image_shape(draft, depth, view.image)))
    kind = draft.kind()
    w = draft.given(draft.codes(kind, (filters, depth // group, *view.kernel)))
    points = [draft.constant(draft.zero_point("uint8"))]
    if draft.chance(0.5):
        points.append(draft.constant(draft.zero_point(kind)))
    inputs = [x, w, *points] if draft.chance(0.8) else [x, w]
    return draft.node("ConvInteger", inputs, INT32, group=group, **view.attributes())


def product_shapes(draft: Draft, long: Sequence[int] = ()) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of two operands of a MatMul: vectors, matrices, batches, broadcast batches."""
    m, k, n = draft.shape(draft.pick(SIZES), draft.pick(CHANNELS), draft.pick(CHANNELS))
    if long:
        m, k, n = draft.pick((1, 2, 5)), draft.pick(long), draft.pick((1, 3, 17))
    form = draft.rng.random()
    if form < 0.1:
        return (k,), (k, n)
    if form < 0.2:
        return (m, k), (k,)
    if form < 0.25:
        return (k,), (k,)
    if form < 0.5 or long:
        return (m, k), (k, n)
    axes = draft.shape(*(draft.pick((1, 2, 3)) for _ in range(draft.pick((1, 2, 3)))))
    left, right = (tuple(1 if draft.chance(0.3) else extent for extent in axes) for _ in range(2))
    left, right = left[draft.pick((0, 0, len(left))) :], right[draft.pick((0, 0, len(right) - 1, len(right))) :]
    return (*left, m, k), (*right, k, n)


def matmul_integer(draft: Draft) -> str:
    """Never an empty reduction: onnxruntime leaves that output as it finds the memory."""
    left, right = product_shapes(draft)
    while left[-1] == 0:
        left, right = product_shapes(draft)
    return integer_product(draft, left, right)


def matmul_integer_long(draft: Draft) -> str:
    return integer_product(draft, *product_shapes(draft, LONG))


def integer_product(draft: Draft, left: tuple[int, ...], right: tuple[int, ...]) -> str:
    kinds = draft.kind(), draft.kind()
    inputs = [draft.input(draft.codes(kinds[0], left)), draft.given(draft.codes(kinds[1], right))]
    if draft.chance(0.7):
        inputs.append(draft.constant(draft.zero_point(kinds[0])))
        if draft.chance(0.7):
            zero = draft.zero_point(kinds[1])
            if draft.chance(0.3) and len(right) == 2:
                zero = draft.codes(kinds[1], right[-1:])
            inputs.append(draft.constant(zero))
    return draft.node("MatMulInteger", inputs, INT32)


def qlinear_matmul(draft: Draft) -> str:
    return product_of_codes(draft, *product_shapes(draft))


def qlinear_matmul_long(draft: Draft) -> str:
    return product_of_codes(draft, *product_shapes(draft, LONG))


def product_of_codes(draft: Draft, left: tuple[int, ...], right: tuple[int, ...]) -> str:
    a = data_codes(draft, left)
    kind = draft.kind() if a.kind == "uint8" else "int8"
    sliced = draft.chance(0.4) and len(right) == 2 and right[-1] > 0
    scale: Any = np.array([draft.scale() for _ in range(right[-1])]) if sliced else draft.scale()
    zero = draft.zero_point(kind)
    b = Codes(
        draft.given(draft.codes(kind, right), 1.0 if sliced else 0.5),
        kind,
        scale,
        np.full(right[-1:], zero, kind) if sliced else zero,
        right,
    )
    scale, zero = sum_of(draft, a.kind, left[-1], a.scale, b.scale)
    inputs = [*a.operand(draft), *b.operand(draft), draft.constant(scale), draft.constant(zero)]
    return draft.node("QLinearMatMul", inputs, draft.kinds[a.name])


def qgemm(draft: Draft) -> str:
    """com.microsoft.QGemm with a bias."""
    m, k, n = draft.pick(SIZES), draft.pick(CHANNELS), draft.pick(CHANNELS)
    turned = draft.chance(0.5), draft.chance(0.5)
    a = data_codes(draft, (k, m) if turned[0] else (m, k))
    kind = draft.kind() if a.kind == "uint8" else "int8"
    b = Codes(
        draft.constant(draft.codes(kind, (n, k) if turned[1] else (k, n))),
        kind,
        draft.scale(),
        draft.zero_point(kind),
        (),
    )
    scale, zero = sum_of(draft, a.kind, k, a.scale, b.scale)
    bias = draft.constant(draft.rng.integers(-4096, 4096, n).astype(np.int32)) if draft.chance(0.7) else ""
    inputs = [*a.operand(draft), *b.operand(draft), bias, draft.constant(scale), draft.constant(zero)]
    return draft.node("QGemm", inputs, domain=MICROSOFT, transA=int(turned[0]), transB=int(turned[1]))


def max_pool_of_codes(draft: Draft) -> str:
    axes = spatial_axes(draft)
    view = window(draft, axes, pool=True)
    x = draft.input(draft.codes(draft.kind(), image_shape(draft, draft.pick(CHANNELS[:10]), view.image)))
    return draft.node("MaxPool", [x], ceil_mode=int(draft.chance(0.3)), **view.attributes())


def qlinear_average_pool(draft: Draft) -> str:
    axes = spatial_axes(draft)
    view = window(draft, axes, pool=True, dilated=False)
    x = data_codes(draft, image_shape(draft, draft.pick(CHANNELS[:10]), view.image))
    zero = draft.zero_point(x.kind)
    scale = x.scale if draft.chance(0.3) else draft.scale()
    attributes = view.attributes()
    del attributes["dilations"]
    inputs = [*x.operand(draft), draft.constant(scale), draft.constant(zero)]
    padded = int(draft.chance(0.5))
    return draft.node("QLinearAveragePool", inputs, domain=MICROSOFT, count_include_pad=padded, **attributes)


def global_average(draft: Draft, x: Codes) -> str:
    scale = np.float32(float(x.scale) * draft.pick((1, 1, 2, 3)) / 2)
    inputs = [*x.operand(draft), draft.constant(scale), draft.constant(draft.zero_point(x.kind))]
    return draft.node("QLinearGlobalAveragePool", inputs, domain=MICROSOFT, channels_last=0)


def qlinear_global_average_pool(draft: Draft) -> str:
    image = tuple(draft.pick(SIZES) for _ in range(spatial_axes(draft)))
    return global_average(draft, data_codes(draft, (batch(draft), draft.pick(CHANNELS), *image)))


def qlinear_add(draft: Draft) -> str:
    """Equal shapes, or one operand that is broadcast along some axes."""
    shape = draft.shape(*(draft.pick(SIZES) for _ in range(draft.pick((1, 2, 3, 4)))))
    a = data_codes(draft, shape)
    other = shape
    if draft.chance(0.5):
        other = tuple(1 if draft.chance(0.4) else extent for extent in shape)
        other = other[draft.pick((0, len(shape) - 1)) :]
    value = draft.codes(a.kind, other)
    b = Codes(draft.given(value, 0.3), a.kind, draft.scale(), draft.zero_point(a.kind), other)
    return added(draft, *((a, b) if draft.chance(0.5) else (b, a))).name


def qdq_chain(draft: Draft) -> str:
    """DequantizeLinear, a convolution or a product with quantised weights of eight or four bits, QuantizeLinear."""
    draft.exact = False
    if draft.chance(0.5):
        view = window(draft, 2)
        group, depth, filters = groups(draft)
        x = data_codes(draft, (batch(draft), depth, *view.image))
        shape, axis = (filters, depth // group, *view.kernel), 0
        op, attributes = "Conv", dict(group=group, **view.attributes())
    else:
        m, k, n = draft.pick(SIZES), draft.pick(CHANNELS), draft.pick(CHANNELS)
        x = data_codes(draft, (m, k))
        shape, axis, op, attributes = (k, n), 1, "MatMul", {}
    terms = prod(shape) // shape[axis]
    real = draft.node("DequantizeLinear", x.operand(draft), FLOAT)
    sliced = draft.chance(0.5)
    scale: Any = np.array([draft.scale() for _ in range(shape[axis])]) if sliced else draft.scale()
    zeros = np.zeros(shape[axis : axis + 1] if sliced else (), np.int8)
    small = draft.chance(0.5)
    if small:
        kind = draft.pick((TensorProto.INT4, TensorProto.UINT4))
        least = -8 if kind == TensorProto.INT4 else 0
        codes = draft.rng.integers(least, least + 16, shape)
        names = [draft.four_bits(codes, kind), draft.four_bits(zeros + least + 8, kind)]
    else:
        names = [draft.constant(draft.codes("int8", shape)), draft.constant(zeros)]
    inputs = [names[0], draft.constant(np.asarray(scale, np.float32)), names[1]]
    along: dict[str, Any] = dict(axis=axis) if sliced else {}
    weight = draft.node("DequantizeLinear", inputs, FLOAT, **along)
    value = draft.node(op, [real, weight], **attributes)
    if draft.chance(0.5):
        value = draft.node("Relu", [value])
    spread, zero = sum_of(draft, x.kind, terms, x.scale, scale)
    inputs = [value, draft.constant(np.float32(spread / (16 if small else 1))), draft.constant(zero)]
    return draft.node("QuantizeLinear", inputs, draft.kinds[x.name])
