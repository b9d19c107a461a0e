"""What every product (convolution, transposed convolution, matmul) shares: zero points, bias, scales.

before:  y: i8 = product(x: i8 zero 3, w: i8, b: i32)
after:   mac subtract (x - 3)(w - 0); bias %b; requantize sx*sw/sy                        where the MACs subtract
         mac raw x*w; bias %b - 3 * sum(w); requantize sx*sw/sy                           where they multiply codes

Requires: one zero point for the weights; 0 where the MACs multiply codes, and then constant weights or data with 0.
Ensures:  the accumulator holds the exact sum of (x - zx)(w - zw) before the bias step, or after it, modulo 2^32
          (2^64 where the accumulator has 64 bits).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..ir.diagnostics import ensure
from ..ir.graph import Node
from ..ir.nest import Body, BodyOp, Dim, Post, PostOp, Role
from ..ir.types import BlobRef, ElementType, Tensor, constant_array
from .lower_build import Operand, Plan
from .lower_context import Context
from .lower_post import PostChain, Result
from .lower_view import View

F32 = np.float32


def zero_points(tensor: Tensor) -> tuple[int, ...]:
    """The zero points of a tensor, one for all or one per slice; 0 where it has no quantisation."""
    return tensor.quantization.zero_point if tensor.quantization is not None else (0,)


def scales(tensor: Tensor) -> NDArray[np.float32]:
    """The float32 scales of a tensor; 1 where it has no quantisation."""
    return np.asarray(tensor.quantization.scale if tensor.quantization is not None else (1.0,), F32)


def with_one_zero_point(tensor: Tensor, blobs: Mapping[BlobRef, bytes]) -> tuple[NDArray[np.generic], int] | None:
    """Codes of a constant with a zero point per slice, shifted so that all slices have one; None if its type is too
    narrow. A mac subtracts one zero point from all weights."""
    quantization = tensor.quantization
    assert quantization is not None and quantization.axis is not None and isinstance(tensor.type, ElementType)
    codes = constant_array(tensor, blobs)
    shape = [1] * codes.ndim
    shape[quantization.axis] = -1
    centred = codes.astype(np.int64) - np.asarray(quantization.zero_point, np.int64).reshape(shape)
    low, high = int(centred.min(initial=0)), int(centred.max(initial=0))
    zero_point = min(max(0, tensor.type.minimum - low), tensor.type.maximum)
    if low + zero_point < tensor.type.minimum or high + zero_point > tensor.type.maximum:
        return None
    return (centred + zero_point).astype(tensor.type.container), zero_point


def weights_of(context: Context, name: str) -> tuple[View, int]:
    """The view of a product's second operand and its one zero point."""
    tensor = context.tensor(name)
    points = zero_points(tensor)
    if len(set(points)) == 1:
        return context.view(name), points[0]
    shifted = with_one_zero_point(tensor, context.module.blobs)
    assert shifted is not None, "partition refuses weights whose zero points cannot be made one"
    assert isinstance(tensor.type, ElementType)
    return context.constant(f"{name}.shifted", shifted[0], tensor.type), shifted[1]


def mac_form(context: Context, element: ElementType) -> str:
    """`subtract` for integers wherever the array has it, else `raw`."""
    return "subtract" if element.is_integer and "subtract" in context.arch.array.mac_forms else "raw"


def needs_weight_sums(context: Context, node: Node) -> bool:
    """Whether a product of `node` is raw and corrected: sum (x - zx) w = sum x w - zx sum w."""
    raw = mac_form(context, context.element(node.inputs[0])) == "raw"
    return raw and zero_points(context.tensor(node.inputs[0]))[0] != 0


def sums_of(codes: NDArray[np.generic], axes: tuple[int, ...], *, keepdims: bool = False) -> NDArray[np.int64]:
    """Sums of integer codes along `axes`, added in 32 bits where no sum can exceed them, which takes half the time."""
    count = prod(codes.shape[axis] for axis in axes)
    narrow = count << (8 * codes.itemsize) < 1 << 31
    return np.asarray(np.sum(codes, axis=axes, dtype=np.int32 if narrow else np.int64, keepdims=keepdims), np.int64)


class Product:
    """One nest of a product under construction: a MAC of operands `x` and `w`, bias, requantisation, post chain.

    `weight_sums` gives, per output channel, the sum of the weight codes that a raw product needs for its correction
    (None where the weights are computed, or `needs_weight_sums` says no).
    """

    def __init__(
        self,
        context: Context,
        node: Node,
        result: Result,
        weight_zero_point: int,
        weight_sums: NDArray[np.int64] | None,
    ) -> None:
        self.context, self.node, self.result = context, node, result
        self.form = mac_form(context, context.element(node.inputs[0]))
        self.accumulator = context.arch.array.accumulator
        self.x_zero_point = zero_points(context.tensor(node.inputs[0]))[0]
        self.w_zero_point = weight_zero_point
        self.weight_sums = weight_sums

    @property
    def read_zero_points(self) -> tuple[int, int]:
        """What the mac subtracts from its operands."""
        return (self.x_zero_point, self.w_zero_point) if self.form == "subtract" else (0, 0)

    @property
    def pad(self) -> int | float:
        """What lies outside the data: its zero."""
        return self.x_zero_point if self.context.element(self.node.inputs[0]).is_integer else 0.0

    def chain(self) -> PostChain:
        """Bias, requantisation and the node's own chain."""
        context, node = self.context, self.node
        chain = PostChain(context, node, self.result, context.value_type(node))
        element = context.element(node.inputs[0])
        self._bias(chain, element)
        if element.is_integer:
            chain.scaled(self._unit(), context.value_type(node), self.accumulator)
        chain.stages(node.post)
        return chain

    def _unit(self) -> NDArray[np.float32]:
        """What one unit of the accumulator stands for, one for all or one per channel of the result."""
        x, w = (scales(self.context.tensor(name)) for name in self.node.inputs[:2])
        if self.node.op == "conv_transpose" and len(w) > 1:  # scales run along M/group; channels are group by group
            group = self.node.attribute("group")
            assert isinstance(group, int)
            w = np.tile(w, group)
        return np.asarray(x * w, F32)

    def _bias(self, chain: PostChain, element: ElementType) -> None:
        context, node = self.context, self.node
        name = (node.inputs[2] or None) if len(node.inputs) > 2 else None
        correction = self._correction()
        if name is None and correction is None:
            return
        if name is not None and correction is None and (element.is_float or self.accumulator.is_integer):
            self._biased(chain, context.view(name))
            return
        # A constant of our own: with the correction of a raw product, or as floats for a float accumulator.
        kind = ElementType.I32 if self.accumulator.is_integer else ElementType.F32
        if self.accumulator is ElementType.I64:
            kind = self.accumulator
        total = np.zeros(1, np.int64) if name is None else context.array(name).astype(np.int64)
        if correction is not None:
            total = total + correction
        if kind is ElementType.I32:
            total = ((total + 2**31) % 2**32) - 2**31  # bias steps add modulo 2^32
        if self.result.rank == 0:
            total = total.reshape(())
        self._biased(chain, context.constant(f"{node.name}.bias", total, kind))

    def _biased(self, chain: PostChain, view: View) -> None:
        per_channel = len(view.logical_shape) == 1 and self.result.channel != self.result.rank - 1
        place = chain.per_channel if per_channel else chain.broadcast
        chain.step(PostOp.BIAS, place("bias", view, Role.BIAS))

    def _correction(self) -> NDArray[np.int64] | None:
        """What a raw product adds, where weights have zero point 0."""
        if not needs_weight_sums(self.context, self.node):
            return None
        assert self.weight_sums is not None
        ensure(self.w_zero_point == 0, "partition refuses other raw products")
        return -self.x_zero_point * self.weight_sums

    def emit(self, name: str, dims: tuple[Dim, ...], x: Operand, w: Operand) -> None:
        """Append the nest."""
        chain = self.chain()
        write = Operand("y", self.result.view, self.result.index, Role.OUTPUT)
        body = Body(BodyOp.MAC, x.name, w.name, self.form)
        post: tuple[Post, ...] = tuple(chain.steps)
        reads = (x, w, *chain.operands)
        self.context.emit(Plan(name, self.node, dims, reads, write, body, self.accumulator, post))
