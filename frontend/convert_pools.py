"""Float pools, and means that are pools: from an ONNX node to `ir.graph`, as convert.py says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.types import ElementType
from .draft import Converter, Draft, Refused
from .network import OnnxNode, Shape
from .operands import known_shape, require_floats, single_output
from .window import WindowAttributes, window


def pool_converter(kind: str) -> Converter:
    def convert(draft: Draft, node: OnnxNode) -> None:
        network = draft.network
        x, y = node.input(0), single_output(network, node)
        if kind == "average":
            require_floats(network, x, y)
        add_pool(draft, node, kind, draft.value(x), draft.value(y))

    return convert


def add_pool(draft: Draft, node: OnnxNode, kind: str, x: str, y: str) -> None:
    """A max or average pool between drafted tensors of one type."""
    x_shape, y_shape = draft.shape(x), draft.shape(y)
    kernel = tuple(int(each) for each in node.attribute("kernel_shape", ()))
    if not 3 <= len(x_shape) <= 5 or len(kernel) != len(x_shape) - 2:
        raise Refused(f"it pools over {len(x_shape) - 2} axes; 1 to 3 have an accelerator form")
    if node.attribute("channels_last", 0):
        raise Refused("it is channels-last")
    attributes = window(node, x_shape[2:], kernel, y_shape[2:])
    include_pad = bool(node.attribute("count_include_pad", 0)) and any(attributes.pads)
    explicit = tuple(node.attribute("pads", None) or [0] * len(attributes.pads))
    ceil = bool(node.attribute("ceil_mode", 0))
    partly = kind == "average" and include_pad and ceil and attributes.pads != explicit
    if partly and (draft.visible[x].type is not ElementType.F32 or node.attribute("auto_pad", "NOTSET") != "NOTSET"):
        raise Refused("it counts padding, and ceil_mode adds positions that do not count")
    for axis in range(len(kernel)):
        if max(attributes.pads[axis], attributes.pads[axis + len(kernel)]) >= attributes.extent(axis, kernel):
            raise Refused("some of its windows lie in the padding altogether")
    pooled = draft.temporary(f"{y}.mean", ElementType.F32, y_shape) if partly else y
    draft.add(
        "pool",
        [x],
        pooled,
        kind=kind,
        kernel=kernel,
        strides=attributes.strides,
        dilations=attributes.dilations,
        pads=attributes.pads,
        count_include_pad=kind == "average" and include_pad and not partly,
    )
    if partly:
        ratio = _counted(attributes, kernel, x_shape[2:], y_shape[2:], explicit)
        factor = draft.constant(f"{y}.counted", ratio.reshape(1, 1, *y_shape[2:]), ElementType.F32)
        draft.add("mul", [pooled, factor], y)


def _counted(
    attributes: WindowAttributes, kernel: Shape, spatial: Shape, outputs: Shape, explicit: Shape
) -> NDArray[np.float32]:
    """For each output position of an average pool, elements inside the image / those inside it with its `explicit`
    padding: what turns the mean of the former into onnxruntime's mean, which leaves out only what ceil_mode adds."""
    rank = len(kernel)
    ratio = np.ones((), np.float64)
    for axis in range(rank):
        starts = np.arange(outputs[axis]) * attributes.strides[axis] - attributes.pads[axis]
        seen = starts[:, None] + np.arange(kernel[axis]) * attributes.dilations[axis]
        inside = (seen >= 0) & (seen < spatial[axis])
        counted = (seen >= -explicit[axis]) & (seen < spatial[axis] + explicit[rank + axis])
        ratio = ratio[..., None] * (inside.sum(axis=1) / counted.sum(axis=1))
    return ratio.astype(np.float32)


def global_pool_converter(kind: str) -> Converter:
    def convert(draft: Draft, node: OnnxNode) -> None:
        x, y = node.input(0), node.outputs[0]
        require_floats(draft.network, x, y)
        add_global_pool(draft, kind, draft.value(x), draft.value(y))

    return convert


def add_global_pool(draft: Draft, kind: str, x: str, y: str) -> None:
    shape = draft.shape(x)
    if not 3 <= len(shape) <= 5 or not all(shape[2:]):
        raise Refused(f"it pools over {len(shape) - 2} axes of {list(shape[2:])} positions")
    ones = (1,) * (len(shape) - 2)
    draft.add(
        "pool",
        [x],
        y,
        kind=kind,
        kernel=shape[2:],
        strides=ones,
        dilations=ones,
        pads=(0,) * (2 * len(ones)),
        count_include_pad=False,
    )


def convert_reduce_mean(draft: Draft, node: OnnxNode) -> None:
    """A mean over spatial axes is an average pool whose kernel covers them."""
    network = draft.network
    x, y = node.input(0), node.outputs[0]
    kind = require_floats(network, x, y)
    shape = known_shape(network, x)
    if node.input(1):
        if node.input(1) not in network.constants:
            raise Refused("its axes are computed at run time")
        axes = network.constants[node.input(1)].integers()
    else:
        axes = tuple(node.attribute("axes", ()))
    reduced = {axis % len(shape) for axis in axes if shape}
    if not 3 <= len(shape) <= 5 or not reduced or min(reduced) < 2 or not all(shape):
        raise Refused("it reduces other axes than spatial ones")
    kernel = tuple(shape[axis] if axis in reduced else 1 for axis in range(2, len(shape)))
    kept = tuple(1 if axis in reduced else extent for axis, extent in enumerate(shape))
    ones = (1,) * len(kernel)
    pooled = draft.value(y) if node.attribute("keepdims", 1) else draft.temporary(f"{y}.pool", kind, kept)
    draft.add(
        "pool",
        [draft.value(x)],
        pooled,
        kind="average",
        kernel=kernel,
        strides=ones,
        dilations=ones,
        pads=(0,) * (2 * len(ones)),
        count_include_pad=False,
    )
    if pooled != y:
        draft.add("reshape", [pooled], draft.value(y))
