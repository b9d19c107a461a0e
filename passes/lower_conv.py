"""Convolutions as nests: 1-D to 3-D, grouped, strided, dilated, any padding; transposed ones by phase.

before:  y[N,M,P,Q] = conv(x[N,C,H,W], w[M,C/G,R,S])
after:   for n, g, m, p, q, r, s, c:  y[n,p,q,g,m] += x[n, p*stride + r*dilation - pad, ..., g,c] * w[g,r,s,c,m]

Output positions are p (1-D), p q (2-D), d p q (3-D); kernel taps r, r s, t r s; channels g (group), m, c.

A transposed convolution of stride s is s convolutions along each axis, one for each remainder of the output position:
position p*s + f is reached by the taps k with (f + pad - k*dilation) a multiple of s, and by no others. Each phase
writes its own strided part of the output; zeros between input elements are never made, so they are no MACs.

Requires: 1 to 3 spatial axes, and operand types that the array takes (passes/partition.py).
Ensures:  a convolution is one nest, a transposed one a nest for each phase that any tap reaches; together they write
          every element of the result once.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from ..ir.affine import Affine
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.nest import Body, BodyOp, Dim, Role
from ..ir.program import BOX_AXES
from .lower_build import Operand, Plan, Unwalkable
from .lower_context import Context, accumulator_of
from .lower_post import Result
from .lower_product import Product, needs_weight_sums, sums_of, weights_of
from .lower_view import View
from .rewrite import integers

POSITIONS = {1: ("p",), 2: ("p", "q"), 3: ("d", "p", "q")}
TAPS = {1: ("r",), 2: ("r", "s"), 3: ("t", "r", "s")}


@dataclass(frozen=True, slots=True)
class AxisGeometry:
    """One spatial axis of one nest: output position `out_step * p + out_start` for `outputs` values of p reads input
    position `in_step * p + tap_step * r + in_start` for `taps` values of r."""

    outputs: int
    out_step: int
    out_start: int
    in_step: int
    taps: int
    tap_step: int
    in_start: int


def lower_conv(context: Context, node: Node) -> None:
    """Append the nests of a `conv`."""
    w_view, w_zero_point = weights_of(context, node.inputs[1])
    group = node.attribute("group")
    assert isinstance(group, int)
    m, per_group, *kernel = w_view.logical_shape
    outputs = context.shape(node.outputs[0])[2:]
    strides, dilations, pads = (integers(node, key) for key in ("strides", "dilations", "pads"))
    axes = [AxisGeometry(outputs[i], 1, 0, strides[i], kernel[i], dilations[i], -pads[i]) for i in range(len(kernel))]
    grouped = w_view.reshaped((group, m // group, per_group, *kernel))
    if grouped is None:
        raise Unwalkable(w_view.value)
    sums = _weight_sums(context, node, w_view)
    _emit(context, node, axes, grouped, w_zero_point, sums, "")


def lower_conv_transpose(context: Context, node: Node) -> None:
    """Append the nests of a `conv_transpose`: one for each phase that has output positions. Computed weights are turned
    around first, tap by tap."""
    w_view, w_zero_point = weights_of(context, node.inputs[1])
    group = node.attribute("group")
    assert isinstance(group, int)
    kernel = w_view.logical_shape[2:]
    outputs = context.shape(node.outputs[0])[2:]
    strides, dilations, pads = (integers(node, key) for key in ("strides", "dilations", "pads"))
    phases = [
        [
            _phase(f, outputs[i], strides[i], dilations[i], pads[i], kernel[i])
            for f in range(min(strides[i], outputs[i]))
        ]
        for i in range(len(kernel))
    ]
    weights = _PhaseWeights(context, node, w_view, w_zero_point, group)
    for number, chosen in enumerate(product(*phases)):
        axes = [axis for axis, _ in chosen]
        suffix = f".phase{number}" if prod(map(len, phases)) > 1 else ""
        if all(taps for _, taps in chosen):
            view, starts, steps = weights.of_taps([taps for _, taps in chosen], suffix)
        else:  # no tap reaches these positions: one tap of zeros that sees padding only, then the bias
            view, starts, steps = weights.zeros(suffix)
            axes = [
                AxisGeometry(each.outputs, each.out_step, each.out_start, 0, 1, 1, -1 if i == 0 else 0)
                for i, each in enumerate(axes)
            ]
        sums = _weight_sums(context, node, view, group)
        _emit(context, node, axes, view, w_zero_point, sums, suffix, starts, steps)


class _PhaseWeights:
    """The weights of each phase of a transposed convolution as [G, M/G, C/G, taps], the taps in the order of increasing
    input position: the kernel's own order turned around."""

    def __init__(self, context: Context, node: Node, view: View, zero_point: int, group: int) -> None:
        self.context, self.node, self.view = context, node, view
        self.zero = zero_point if view.decode is None else view.decode.zero_point
        c, per_group, *self.kernel = view.logical_shape
        self.shape = (group, per_group, c // group, *self.kernel)
        self.flipped: View | None = None
        if context.is_constant(view.tensor):
            codes = context.array(view.tensor).reshape(group, c // group, per_group, *self.kernel)
            self.codes: NDArray[np.generic] = np.swapaxes(codes, 1, 2)
        else:
            self.flipped = self._turned_around(view)

    def of_taps(self, taps: list[tuple[int, ...]], suffix: str) -> tuple[View, tuple[int, ...], tuple[int, ...]]:
        """A view with the taps of one phase, the first of them along each axis, and their distance there."""
        if self.flipped is None:
            part = self.codes
            for i, chosen in enumerate(taps):
                part = np.take(part, chosen, axis=3 + i)
            return self._constant(part, suffix), (0,) * len(taps), (1,) * len(taps)
        starts = tuple(extent - 1 - chosen[0] for extent, chosen in zip(self.kernel, taps, strict=True))
        return self.flipped, starts, tuple(chosen[0] - chosen[1] if len(chosen) > 1 else 1 for chosen in taps)

    def zeros(self, suffix: str) -> tuple[View, tuple[int, ...], tuple[int, ...]]:
        """One tap of zeros of one channel."""
        ones = (1,) * len(self.kernel)
        codes = np.full((*self.shape[:2], 1, *ones), self.zero, self.view.type.container)
        return self._constant(codes, suffix), (0,) * len(ones), ones

    def _constant(self, codes: NDArray[np.generic], suffix: str) -> View:
        name = f"{self.node.inputs[1]}{suffix or '.flipped'}"
        return replace(self.context.constant(name, codes, self.view.type), decode=self.view.decode)

    def _turned_around(self, view: View) -> View:
        """Computed weights with their taps in the opposite order: one copy a tap, since a box runs forwards."""
        context, (group, per_m, per_c, *kernel) = self.context, self.shape
        grouped = view.with_axis(0, (group, per_c))
        if grouped is None:
            raise Unwalkable(view.value)
        order = (0, *range(3, 3 + len(kernel)), 2, 1)  # as constant weights lie: output channels innermost
        own = replace(context.tensor(self.node.inputs[1]), shape=self.shape, order=order, quantization=None)
        flipped = View.of(context.temporary(f"{self.node.inputs[1]}.flipped", own))
        dims = (Dim("g", group), Dim("m", per_m), Dim("c", per_c))
        g, m, c = (Affine.of({dim.name: 1}) for dim in dims)
        for place in product(*map(range, kernel)):
            there = tuple(Affine.of(constant=extent - 1 - at) for extent, at in zip(kernel, place, strict=True))
            context.emit(
                Plan(
                    f"{self.node.name}.tap{'_'.join(map(str, place))}",
                    self.node,
                    dims,
                    (Operand("x", grouped, (g, c, m, *map(_constant, place)), Role.INPUT),),
                    Operand("y", flipped, (g, m, c, *there), Role.OUTPUT),
                    Body(BodyOp.COPY, "x"),
                    accumulator_of(view.local_type),
                )
            )
        return flipped


def _constant(value: int) -> Affine:
    return Affine.of(constant=value)


def _phase(
    f: int, outputs: int, stride: int, dilation: int, pad: int, kernel: int
) -> tuple[AxisGeometry, tuple[int, ...]]:
    """Geometry and kernel taps (in the order of increasing input position) of output positions p * stride + f."""
    taps = tuple(k for k in reversed(range(kernel)) if (f + pad - k * dilation) % stride == 0)
    count = -(-(outputs - f) // stride)
    start = (f + pad - taps[0] * dilation) // stride if taps else -1
    return AxisGeometry(count, stride, f, 1, len(taps), dilation // gcd(stride, dilation), start), taps


def _weight_sums(context: Context, node: Node, view: View, group: int | None = None) -> NDArray[np.int64] | None:
    """Per output channel the sum of the codes of constant weights, where the product needs it; `group` where the first
    axes are [G, M/G]."""
    if not context.is_constant(view.tensor) or not needs_weight_sums(context, node):
        return None
    codes = context.array(view.tensor)
    kept = 1 if group is None else 2
    return sums_of(codes, tuple(range(kept, codes.ndim))).reshape(-1)


def _emit(
    context: Context,
    node: Node,
    axes: list[AxisGeometry],
    weights: View,
    w_zero_point: int,
    sums: NDArray[np.int64] | None,
    suffix: str,
    starts: tuple[int, ...] | None = None,
    steps: tuple[int, ...] | None = None,
) -> None:
    """Append the nest of one window product; `weights` is [G, M/G, C/G, taps], of which it takes those at `starts`
    and every `steps` from there on. Where the output has more axes than a box, one nest an image."""
    groups, per_m, per_c = weights.logical_shape[:3]
    images = context.shape(node.inputs[0])[0]
    spatial = len(axes)
    positions, taps = POSITIONS[spatial], TAPS[spatial]

    def regroup(view: View) -> View | None:
        return view if groups == 1 else view.with_axis(1, (groups, per_m) if view.logical_shape[1] > 1 else (1, 1))

    y = regroup(context.view(node.outputs[0]))
    x = context.view(node.inputs[0])
    if groups > 1:
        split = x.with_axis(1, (groups, x.logical_shape[1] // groups))
        if split is None:
            raise Unwalkable(x.value)
        x = split
    assert y is not None, "an output has bytes of its own"
    sizes = {"n": images, "g": groups, "m": per_m, "c": per_c}
    sizes |= {name: axis.outputs for name, axis in zip(positions, axes, strict=True)}
    sizes |= {name: axis.taps for name, axis in zip(taps, axes, strict=True)}
    names = ["n", *(["g"] if groups > 1 else []), "m", *positions, *taps, "c"]
    of = Affine.of
    channel_m = (of({"g": 1}), of({"m": 1})) if groups > 1 else (of({"m": 1}),)
    channel_c = (of({"g": 1}), of({"c": 1})) if groups > 1 else (of({"c": 1}),)
    out = tuple(of({p: a.out_step}, a.out_start) for p, a in zip(positions, axes, strict=True))
    seen = tuple(of({p: a.in_step, t: a.tap_step}, a.in_start) for p, t, a in zip(positions, taps, axes, strict=True))
    starts, steps = starts or (0,) * spatial, steps or (1,) * spatial
    kernel = tuple(of({t: step}, start) for t, start, step in zip(taps, starts, steps, strict=True))
    w_index = ((of({"g": 1}) if groups > 1 else of()), of({"m": 1}), of({"c": 1}), *kernel)
    apart = sum(extent > 1 for extent in y.logical_shape) > BOX_AXES
    for image in range(images if apart else 1):
        batch = of(constant=image) if apart else of({"n": 1})
        result = Result(y, (batch, *channel_m, *out), spatial + 2, 1, regroup)
        part = Product(context, node, result, w_zero_point, sums)
        zx, zw = part.read_zero_points
        dims = tuple(Dim(name, sizes[name]) for name in names if not (apart and name == "n"))
        x_operand = Operand("x", x, (batch, *channel_c, *seen), Role.INPUT, part.pad, zx)
        repack = context.is_constant(weights.tensor)
        w_operand = Operand("w", weights, w_index, Role.WEIGHT, None, zw, repack)
        name = f"{node.name}{suffix}" + (f".n{image}" if apart else "")
        part.emit(name, dims, x_operand, w_operand)
