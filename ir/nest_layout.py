"""Where tiles of a nest's operands lie: what they touch along each axis of a view, and their layout in local memory.

The emitter, the cost model and the interpreters all take it from here; `specs/isa.md` has the addresses that follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd

from .affine import Affine
from .frozen import dataclass
from .nest import (
    VALUE,
    Access,
    Nest,
    tile_sizes,
)


@dataclass(frozen=True, slots=True)
class AxisBox:
    """What a tile touches along one axis of an access: `count` positions start, start + step, ... in view coordinates,
    of which `before` lie below 0 and `after` at or above the view's extent; those read the pad value."""

    start: int
    step: int
    count: int
    before: int
    after: int

    @property
    def inside(self) -> int:
        return self.count - self.before - self.after


def axis_step(axis: Affine, extents: Mapping[str, int]) -> int:
    """Distance of neighbouring positions that a tile stores: the greatest common divisor of the coefficients of the
    dimensions that have more than one value in the whole domain, so that a stride beyond the kernel moves no gaps."""
    return gcd(*[c for dim, c in axis.terms if dim != VALUE and extents[dim] > 1]) or 1


def axis_count(axis: Affine, view_extent: int, extents: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    """How many positions a tile with `sizes` points per dimension touches along one axis, wherever it starts: those of
    its `axis_box`."""
    reach = step = 0
    for dim, coefficient in axis.terms:
        if dim == VALUE:
            return view_extent
        reach += coefficient * (sizes[dim] - 1)
        if extents[dim] > 1:
            step = gcd(step, coefficient)  # `axis_step`, in the same pass
    return reach // (step or 1) + 1


def axis_box(
    axis: Affine, view_extent: int, extents: Mapping[str, int], starts: Mapping[str, int], sizes: Mapping[str, int]
) -> AxisBox:
    """The positions that the tile at `starts` with `sizes` points per dimension touches along one axis.

    `extents` are those of the whole domain. Every coefficient must be non-negative (the verifier sees to it).
    An axis that is indexed by VALUE is touched whole.
    """
    if VALUE in axis.dims:
        return AxisBox(0, 1, view_extent, 0, 0)
    step = axis_step(axis, extents)
    start = axis.at(starts)
    count = axis_count(axis, view_extent, extents, sizes)
    before = min(count, max(0, -(start // step))) if start < 0 else 0
    first_beyond = max(0, -(-(view_extent - start) // step))
    after = count - max(before, min(count, first_beyond))
    return AxisBox(start, step, count, before, after)


@dataclass(frozen=True, slots=True)
class LocalLayout:
    """How a tile lies in local memory. `counts` and `strides` (in elements) are per axis of the access, `tile_bytes`
    is what one copy takes. Short tiles keep the strides of the full one."""

    counts: tuple[int, ...]
    strides: tuple[int, ...]
    tile_bytes: int


@dataclass(frozen=True, slots=True)
class WholeLayout:
    """How a whole tensor lies in local memory, without gaps but its margins: elements between neighbours along each
    axis (`strides`), the place of its first element (`origin`) and elements in all."""

    strides: tuple[int, ...]
    origin: int
    elements: int


def whole_layout(shape: tuple[int, ...], margins: tuple[int, ...]) -> WholeLayout:
    """The layout of a tensor of `shape` with `margins`, two an axis."""
    strides = [1] * len(shape)
    elements = 1
    for axis in range(len(shape) - 1, -1, -1):
        strides[axis] = elements
        elements *= margins[2 * axis] + shape[axis] + margins[2 * axis + 1]
    origin = sum(before * stride for before, stride in zip(margins[::2], strides, strict=True))
    return WholeLayout(tuple(strides), origin, elements)


def split_axes(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...] | None:
    """For each axis of a view the extent of the inner one of two axes into which `target` splits it; 1 where it stays
    one axis. None where `target` is no such shape."""
    left = list(target)
    inner = []
    for extent in shape:
        if left[:1] == [extent]:
            inner.append(1)
            del left[0]
        elif len(left) > 1 and min(left[:2]) > 1 and left[0] * left[1] == extent:
            inner.append(left[1])
            del left[:2]
        else:
            return None
    return None if left else tuple(inner)


def whole_rows(axis: Affine, inner: int, extents: Mapping[str, int]) -> bool:
    """Whether a box of `extents` takes whole rows of `inner` positions along an axis, from the first one on."""
    if axis.constant % inner or len(axis.terms) != 1:
        return False
    ((dim, coefficient),) = axis.terms
    return coefficient == 1 and extents[dim] % inner == 0


def margin_boxes(shape: tuple[int, ...], margins: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The boxes that together are the margins, each position once: extents, and the place of the first element."""
    layout = whole_layout(shape, margins)
    outer = [extent + before + after for extent, before, after in zip(shape, margins[::2], margins[1::2], strict=True)]
    boxes = []
    for axis, extent in enumerate(shape):
        inside = sum(before * stride for before, stride in zip(margins[: 2 * axis : 2], layout.strides, strict=False))
        for count, first in ((margins[2 * axis], 0), (margins[2 * axis + 1], margins[2 * axis] + extent)):
            if count:
                boxes.append(((*shape[:axis], count, *outer[axis + 1 :]), inside + first * layout.strides[axis]))
    return tuple(boxes)


def filled_boxes(nest: Nest, operand: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The boxes of pad values that a nest writes around a whole operand before it computes (`margin_boxes`); none
    where it does not reach them."""
    assert nest.schedule is not None
    access, margins = nest.access(operand), nest.schedule.buffer(operand).margins
    extents = {dim.name: dim.extent for dim in nest.domain}
    reached = any(any(outside) for outside in reach_outside(access, extents))
    return margin_boxes(access.shape, margins) if margins is not None and reached else ()


def reach_outside(access: Access, extents: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    """How far a nest goes before the view and beyond its end along each axis, in positions."""
    found = []
    for axis, view in zip(access.index, access.shape, strict=True):
        if VALUE in axis.dims:
            found.append((0, 0))
            continue
        last = axis.constant + sum(c * (extents[dim] - 1) for dim, c in axis.terms)
        found.append((max(0, -axis.constant), max(0, last - view + 1)))
    return tuple(found)


def whole_bytes(shape: tuple[int, ...], margins: tuple[int, ...], element_bits: int, word_bytes: int) -> int:
    """Bytes of a whole tensor with its margins, in whole words."""
    return -(-whole_layout(shape, margins).elements * element_bits // (8 * word_bytes)) * word_bytes


def local_layout(nest: Nest, operand: str, word_bytes: int, sizes: Mapping[str, int] | None = None) -> LocalLayout:
    """Row-major over the buffer's element order, the innermost axis padded to whole words of the memory (and on to the
    next element, where a word holds no whole number of them).

    The output's tile is held in the accumulator type, every other operand in its local type. Of an operand that is
    there whole, `counts` are those of a tile all the same, `tile_bytes` is what all of it takes. `sizes` are those of
    `tile_sizes`, for a caller who has them.
    """
    assert nest.schedule is not None
    access = nest.access(operand)
    bits = nest.accumulator.bits if operand == nest.write.operand else access.local_type.bits
    extents = {dim.name: dim.extent for dim in nest.domain}
    sizes = tile_sizes(nest) if sizes is None else sizes
    counts = tuple(
        [axis_count(axis, view, extents, sizes) for axis, view in zip(access.index, access.shape, strict=True)]
    )
    buffer = nest.schedule.buffer(operand)
    if buffer.margins is not None:
        whole = whole_layout(access.shape, buffer.margins)
        steps = [axis_step(axis, extents) for axis in access.index]
        strides = [stride * step for stride, step in zip(whole.strides, steps, strict=True)]
        size = whole_bytes(access.shape, buffer.margins, bits, word_bytes)
        return LocalLayout(counts, tuple(strides), size)
    order = buffer.order or tuple(range(len(counts)))
    strides = [0] * len(counts)
    pitch = 1
    for position, axis_number in enumerate(reversed(order)):
        strides[axis_number] = pitch
        pitch *= counts[axis_number]
        if position == 0:
            words = -(-pitch * bits // (8 * word_bytes))
            pitch = -(-words * 8 * word_bytes // bits)
    words = -(-pitch * bits // (8 * word_bytes))
    return LocalLayout(counts, tuple(strides), words * word_bytes)


def counter_stride(nest: Nest, operand: str, dim: str, layout: LocalLayout) -> int:
    """Elements by which the local address of `operand` moves when `dim` advances by one."""
    extents = {each.name: each.extent for each in nest.domain}
    return sum(
        axis.coefficient(dim) // axis_step(axis, extents) * stride
        for axis, stride in zip(nest.access(operand).index, layout.strides, strict=True)
        if axis.coefficient(dim) and extents[dim] > 1
    )
