"""Seeded random ONNX models with shapes that break compilers.

`MODELS` maps the name of each family to a function that draws one of its models; `draw` does so by seed. Families whose
names begin with `float_` compute in float32, all others in codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
MICROSOFT = "com.microsoft"
FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32
SIZES = (1, 1, 2, 3, 5, 7, 8, 11, 13, 16, 17)
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 67)
LONG = (257, 1031, 4099, 9001, 40009)  # reductions that no small operand memory holds
NOTHING = 0.05  # probability that a model has an axis of no elements


@dataclass(frozen=True, slots=True)
class Case:
    """A model and its inputs. The reference's outputs must be met in every element if `exact`; else it computes in
    float32 what is fused here, and a code may differ by one unit."""

    family: str
    model: onnx.ModelProto
    feeds: Mapping[str, Array]
    exact: bool


@dataclass(slots=True)
class Draft:
    """A model under construction. Methods that add something return its name."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    feeds: dict[str, Array] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    exact: bool = True

    # What is drawn.

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, values: Sequence[int]) -> int:
        return int(values[int(self.rng.integers(len(values)))])

    def kind(self) -> str:
        return "uint8" if self.chance(0.5) else "int8"

    def codes(self, kind: str, shape: Sequence[int]) -> Array:
        information = np.iinfo(kind)
        drawn: Array = self.rng.integers(information.min, information.max + 1, tuple(shape)).astype(kind)
        return drawn

    def numbers(self, shape: Sequence[int]) -> Array:
        drawn: Array = np.asarray(self.rng.standard_normal(tuple(shape)), np.float32)
        return drawn

    def weights_of_floats(self, shape: Sequence[int], channel_axis: int) -> Array:
        """Weights such that results are about as large as the data: a clip after them leaves most of the range."""
        terms = prod(extent for axis, extent in enumerate(shape) if axis != channel_axis)
        return np.asarray(self.numbers(shape) / np.float32(sqrt(max(1, terms))), np.float32)

    def scale(self) -> np.float32:
        """A scale; often a power of two, which makes halves frequent."""
        power = np.float32(2.0 ** int(self.rng.integers(-6, 0)))
        return power if self.chance(0.5) else np.float32(power * self.rng.uniform(0.6, 1.6))

    def zero_point(self, kind: str) -> Array:
        """The middle of the type, one of its ends, or anything."""
        information = np.iinfo(kind)
        anything = int(self.rng.integers(information.min, information.max + 1))
        middle = 0 if information.min else 128
        return np.array(self.pick((middle, information.min, information.max, anything)), kind)

    def shape(self, *extents: int) -> tuple[int, ...]:
        """The extents; rarely one of them is replaced by 0."""
        found = list(extents)
        if found and self.chance(NOTHING):
            found[int(self.rng.integers(len(found)))] = 0
        return tuple(found)

    # What is added.

    def input(self, value: Array) -> str:
        name = f"x{len(self.inputs)}"
        self.kinds[name] = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, self.kinds[name], value.shape))
        self.feeds[name] = value
        return name

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        self.kinds[name] = self.constants[-1].data_type
        return name

    def four_bits(self, codes: Array, kind: int) -> str:
        """A constant of four bits."""
        name = f"c{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, kind, codes.shape, codes.reshape(-1).tolist()))
        self.kinds[name] = kind
        return name

    def given(self, value: Array, constant: float = 0.6) -> str:
        return self.constant(value) if self.chance(constant) else self.input(value)

    def node(self, op: str, inputs: Sequence[str], kind: int | None = None, domain: str = "", **attributes: Any) -> str:
        """The output of a new node, of type `kind`; None means that of its first input."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{name}", domain=domain, **attributes))
        self.kinds[name] = self.kinds[inputs[0]] if kind is None else kind
        return name

    def finished(self, family: str, output: str) -> Case:
        result = helper.make_tensor_value_info(output, self.kinds[output], None)
        graph = helper.make_graph(self.nodes, family, self.inputs, [result], self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return Case(family, model, self.feeds, self.exact)


@dataclass(frozen=True, slots=True)
class Codes:
    """A value in codes: its name, type, scale and zero point, and its shape as far as it is known."""

    name: str
    kind: str
    scale: Any
    zero_point: Array
    shape: tuple[int, ...]

    def parameters(self, draft: Draft) -> list[str]:
        return [draft.constant(np.asarray(self.scale, np.float32)), draft.constant(self.zero_point)]

    def operand(self, draft: Draft) -> list[str]:
        return [self.name, *self.parameters(draft)]


# --- Windows ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window, and an image in which it has at least one position."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    image: tuple[int, ...]

    def attributes(self) -> dict[str, Any]:
        return dict(kernel_shape=self.kernel, strides=self.strides, dilations=self.dilations, pads=self.pads)

    @property
    def result(self) -> tuple[int, ...]:
        axes = len(self.kernel)
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        padded = [i + b + e for i, b, e in zip(self.image, self.pads[:axes], self.pads[axes:], strict=True)]
        return tuple((p - r) // s + 1 for p, r, s in zip(padded, reach, self.strides, strict=True))


def window(draft: Draft, axes: int, *, pool: bool = False, dilated: bool = True) -> Window:
    """Asymmetric padding, strides beyond the kernel, kernels larger than the image and single positions among others.
    The padding of a pool is smaller than its kernel."""
    kernel, strides, dilations, begins, ends, image = [], [], [], [], [], []
    for _ in range(axes):
        size, stride = draft.pick((1, 1, 2, 3, 3, 5, 7) if axes < 3 else (1, 2, 3)), draft.pick((1, 1, 2, 3, 5))
        dilation = draft.pick((1, 1, 1, 2, 3)) if dilated else 1
        limit = size - 1 if pool else size + 1
        begin, end = (int(draft.rng.integers(0, limit + 1)) if draft.chance(0.6) else 0 for _ in range(2))
        least = max(1, (size - 1) * dilation + 1 - begin - end)
        spare = 0 if draft.chance(0.3) else draft.pick((1, 2, 3, 4, 7, 12) if axes < 3 else (1, 2, 4))
        kernel.append(size)
        strides.append(stride)
        dilations.append(dilation)
        begins.append(begin)
        ends.append(end)
        image.append(least + spare)
    return Window(tuple(kernel), tuple(strides), tuple(dilations), (*begins, *ends), tuple(image))


def spatial_axes(draft: Draft) -> int:
    return draft.pick((1, 2, 2, 2, 3))


def batch(draft: Draft) -> int:
    return draft.pick((1, 1, 2, 3))


def groups(draft: Draft, channels: Sequence[int] = CHANNELS) -> tuple[int, int, int]:
    """Groups, channels of the input, channels of the output; depthwise with a multiplier among them."""
    form = draft.rng.random()
    if form < 0.55:
        return 1, draft.pick(channels), draft.pick(channels)
    group = draft.pick((2, 3, 5, 8, 17))
    if form < 0.8:
        return group, group, group * draft.pick((1, 1, 2, 3))
    return group, group * draft.pick((1, 2, 3)), group * draft.pick((1, 2, 5))


def image_shape(draft: Draft, channels: int, image: tuple[int, ...]) -> tuple[int, ...]:
    """Batch, channels and image, where rarely the batch or an axis of the image has no elements."""
    if draft.chance(0.7):
        return (*draft.shape(batch(draft)), channels, *image)
    n, *axes = draft.shape(batch(draft), *image)
    return (n, channels, *axes)


# --- Codes --------------------------------------------------------------------------------------------------------


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


# --- Floats -------------------------------------------------------------------------------------------------------


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


MODELS: Mapping[str, Callable[[Draft], str]] = {
    each.__name__: each
    for each in (
        qlinear_conv,
        qlinear_conv_deep,
        qlinear_residual,
        conv_integer,
        matmul_integer,
        matmul_integer_long,
        qlinear_matmul,
        qlinear_matmul_long,
        qgemm,
        max_pool_of_codes,
        qlinear_average_pool,
        qlinear_global_average_pool,
        qlinear_add,
        qdq_chain,
        float_conv,
        float_conv_transpose,
        float_matmul,
        float_matmul_long,
        float_gemm,
        float_max_pool,
        float_average_pool,
        float_global_pool,
        float_residual,
    )
}


def draw(family: str, seed: int) -> Case:
    """The model number `seed` of a family."""
    draft = Draft(np.random.default_rng([seed, list(MODELS).index(family)]))
    return draft.finished(family, MODELS[family](draft))
