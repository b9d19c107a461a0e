"""What is known of the operands of an operator, and how their held values are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...ir.graph import Node, ValueType
from ...ir.types import ElementType, Tensor
from ...runtime.arithmetic import Scale, Window
from .codes import held_dtype, held_order, is_code

Array = NDArray[Any]
# From held values of the operands that are no constants, of any number of runs.
Fast = Callable[[Sequence[Array]], Array]


def kind_of(tensor: Tensor) -> ValueType:
    """The type and quantisation of a tensor that the accelerator knows."""
    assert isinstance(tensor.type, ElementType)
    return ValueType(tensor.type, tensor.quantization)


def are_codes(*tensors: Tensor | None) -> bool:
    """Whether all are codes of one scale."""
    return all(
        each is not None
        and is_code(kind_of(each).type)
        and each.quantization is not None
        and each.quantization.per_tensor
        for each in tensors
    )


def parameters_of(tensor: Tensor) -> Scale:
    """The one scale and zero point of a tensor."""
    assert tensor.quantization is not None
    return Scale(tensor.quantization.scale[0], tensor.quantization.zero_point[0])


def least_of(tensor: Tensor) -> int:
    """The least code of its type."""
    return kind_of(tensor).type.minimum


def empty_like(value: Array, tensor: Tensor) -> Array:
    """Room for the held value of `tensor` in the shape of another value."""
    return np.empty(value.shape, held_dtype(kind_of(tensor).type))


def is_channels_last(tensor: Tensor) -> bool:
    """Whether it is held so."""
    rank = len(tensor.shape or ())
    return rank >= 3 and held_order(tensor) == (0, *range(2, rank), 1)


def window_of(node: Node, kernel: Sequence[int]) -> Window:
    """How a kernel moves, by a node's attributes."""
    strides, dilations, pads = (cast(tuple[int, ...], node.attribute(x)) for x in ("strides", "dilations", "pads"))
    return Window(tuple(kernel), strides, dilations, pads)


def in_two_axes(window: Window) -> Window:
    """The window of one spatial axis on images of one row."""
    if len(window.kernel) != 1:
        return window
    begin, end = window.pads
    return Window((1, *window.kernel), (1, *window.strides), (1, *window.dilations), (0, begin, 0, end))


def as_images(value: Array) -> Array:
    """[N, W, C] as [N, 1, W, C]."""
    return value.reshape(len(value), 1, *value.shape[1:]) if value.ndim == 3 else value


def flat_again(y: Array, x: Array) -> Array:
    """The inverse of `as_images` for a result, where it was applied to the operand `x`."""
    return y if x.ndim == y.ndim else y.reshape(len(y), *y.shape[2:])
