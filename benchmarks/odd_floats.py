"""Families of random models that compute in float32 (`odd_models`)."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np
from dnnc.benchmarks.odd_codes import product_shapes
from dnnc.benchmarks.odd_draft import CHANNELS, LONG, SIZES, Draft, batch, groups, image_shape, spatial_axes, window


def activated(draft: Draft, value: str) -> str:
    form = draft.pick((0, 0, 1, 2, 3))
    if form == 1:
        return draft.node("Relu", [value])
    if form == 2:
        return draft.node("LeakyRelu", [value], alpha=0.125)
    if form == 3:
        return draft.node("Clip", [value, draft.constant(np.float32(-0.75)), draft.constant(np.float32(1.5))])
    return value


def float_conv(draft: Draft) -> str:
    axes = spatial_axes(draft)
    view = window(draft, axes)
    group, depth, filters = groups(draft, CHANNELS if axes < 3 else CHANNELS[:7])
    shape = image_shape(draft, depth, view.image)
    inputs = [
        draft.input(draft.numbers(shape)),
        draft.given(draft.weights_of_floats((filters, depth // group, *view.kernel), 0), 0.8),
    ]
    if draft.chance(0.6):
        inputs.append(draft.constant(draft.numbers((filters,))))
    value = draft.node("Conv", inputs, group=group, **view.attributes())
    if draft.chance(0.3) and shape[2:] == view.image:
        value = draft.node("Add", [value, draft.input(draft.numbers((shape[0], filters, *view.result)))])
    return activated(draft, value)


def float_conv_transpose(draft: Draft) -> str:
    axes = draft.pick((1, 2, 2))
    group, depth, filters = groups(draft, CHANNELS[:9])
    kernel = tuple(draft.pick((1, 2, 3, 5)) for _ in range(axes))
    strides = tuple(draft.pick((1, 2, 3, 5)) for _ in range(axes))
    dilations = tuple(draft.pick((1, 1, 2)) for _ in range(axes))
    image = tuple(draft.pick((1, 2, 3, 5, 7)) for _ in range(axes))
    extra = tuple(int(draft.rng.integers(0, stride)) for stride in strides)
    whole = [(i - 1) * s + (k - 1) * d + 1 for i, s, k, d in zip(image, strides, kernel, dilations, strict=True)]
    begins = tuple(int(draft.rng.integers(0, min(3, (size + 1) // 2))) for size in whole)
    ends = tuple(int(draft.rng.integers(0, min(3, (size + 1) // 2))) for size in whole)
    x = draft.input(draft.numbers((*draft.shape(batch(draft)), depth, *image)))
    inputs = [x, draft.constant(draft.weights_of_floats((depth, filters // group, *kernel), 1))]
    if draft.chance(0.5):
        inputs.append(draft.constant(draft.numbers((filters,))))
    value = draft.node(
        "ConvTranspose", inputs, group=group, kernel_shape=kernel, strides=strides, dilations=dilations,
        pads=(*begins, *ends), output_padding=extra,
    )  # fmt: skip
    return activated(draft, value)


def float_matmul(draft: Draft) -> str:
    left, right = product_shapes(draft)
    return activated(
        draft,
        draft.node(
            "MatMul",
            [draft.input(draft.numbers(left)), draft.given(draft.numbers(right) / np.float32(sqrt(max(1, left[-1]))))],
        ),
    )


def float_matmul_long(draft: Draft) -> str:
    """Beyond some 10,000 terms float32 sums in two orders differ by more than 1e-5 of their result."""
    left, right = product_shapes(draft, LONG[:3])
    right_values = draft.numbers(right) / np.float32(sqrt(left[-1]))
    return draft.node("MatMul", [draft.input(draft.numbers(left)), draft.given(right_values)])


def float_gemm(draft: Draft) -> str:
    m, k, n = draft.shape(draft.pick(SIZES), draft.pick(CHANNELS), draft.pick(CHANNELS))
    turned = draft.chance(0.5), draft.chance(0.5)
    inputs = [
        draft.input(draft.numbers((k, m) if turned[0] else (m, k))),
        draft.given(draft.weights_of_floats((n, k) if turned[1] else (k, n), 1 - turned[1])),
    ]
    if draft.chance(0.7):
        shape = ((n,), (1, n), (m, n), (m, 1), (1,), ())[draft.pick(range(6))]
        inputs.append(draft.given(draft.numbers(shape)))
    factors: dict[str, Any] = dict(alpha=0.5) if draft.chance(0.3) else {}
    factors |= dict(beta=2.0) if draft.chance(0.3) else {}
    value = draft.node("Gemm", inputs, transA=int(turned[0]), transB=int(turned[1]), **factors)
    return activated(draft, value)


def float_max_pool(draft: Draft) -> str:
    axes = spatial_axes(draft)
    view = window(draft, axes, pool=True)
    x = draft.input(draft.numbers(image_shape(draft, draft.pick(CHANNELS[:10]), view.image)))
    return draft.node("MaxPool", [x], ceil_mode=int(draft.chance(0.3)), **view.attributes())


def float_average_pool(draft: Draft) -> str:
    axes = spatial_axes(draft)
    view = window(draft, axes, pool=True, dilated=draft.chance(0.3))
    x = draft.input(draft.numbers(image_shape(draft, draft.pick(CHANNELS[:10]), view.image)))
    modes: dict[str, Any] = dict(ceil_mode=int(draft.chance(0.3)), count_include_pad=int(draft.chance(0.5)))
    return draft.node("AveragePool", [x], **modes, **view.attributes())


def float_global_pool(draft: Draft) -> str:
    image = tuple(draft.pick(SIZES) for _ in range(spatial_axes(draft)))
    x = draft.input(draft.numbers((batch(draft), draft.pick(CHANNELS), *image)))
    return activated(draft, draft.node("GlobalMaxPool" if draft.chance(0.3) else "GlobalAveragePool", [x]))


def float_residual(draft: Draft) -> str:
    """Two convolutions that keep the image, the sum with the input, a reshape and a product."""
    channels, image = draft.pick(CHANNELS[:9]), (draft.pick(SIZES[:8]), draft.pick(SIZES[:8]))
    n = batch(draft)
    x = value = draft.input(draft.numbers((n, channels, *image)))
    for _ in range(2):
        weight = draft.constant(draft.numbers((channels, channels, 3, 3)) / np.float32(3 * sqrt(channels)))
        value = activated(draft, draft.node("Conv", [value, weight], pads=(1, 1, 1, 1)))
    value = activated(draft, draft.node("Add", [value, x] if draft.chance(0.5) else [x, value]))
    if draft.chance(0.5):
        return value
    flat = channels * prod(image)
    value = draft.node("Reshape", [value, draft.constant(np.array([n, flat], np.int64))])
    columns = draft.pick((1, 5, 17))
    inputs = [value, draft.constant(draft.numbers((columns, flat)) / np.float32(sqrt(flat)))]
    return draft.node("Gemm", [*inputs, draft.constant(draft.numbers((columns,)))], transB=1)
