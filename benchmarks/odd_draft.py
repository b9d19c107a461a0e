"""What random models are drawn with: values and constants of odd shapes, windows, axes of no elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A sliding window, and an image in which it has at least one position. Models are drawn without the window
    arithmetic of `dnnc.runtime`, which they test."""

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
