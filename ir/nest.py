"""Level 2, the nest: one compute operator as an iteration domain, affine accesses, a body, a post chain, a schedule.

The scheduled nest is the single source that the emitter turns into instructions, the cost model counts from and the
printer shows. `specs/ir.md` has the text form, `specs/isa.md` the program that a scheduled nest stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from math import gcd

from .affine import Affine
from .arch import MAIN_MEMORY
from .diagnostics import NOWHERE, Span
from .frozen import dataclass
from .graph import Attribute
from .types import ElementType

# A pseudo-dimension: the running value of the post chain. Only the operand of a `table` step is indexed by it
# (`value - minimum`); which entry is read is known only at run time, so a tile of that operand is its whole axis.
VALUE = "value"


class Role(Enum):
    """Whose bytes a transfer moves; the columns of the traffic statistics."""

    INPUT = "input"
    WEIGHT = "weight"
    OUTPUT = "output"
    PARTIAL = "partial"
    BIAS = "bias"
    AUX = "aux"
    INSTRUCTION = "instruction"


@dataclass(frozen=True, slots=True)
class Dim:
    """A dimension of the iteration domain: 0 <= name < extent. An extent of 0 makes the domain empty."""

    name: str
    extent: int


@dataclass(frozen=True, slots=True)
class Access:
    """How an operand is indexed: an affine expression per axis of `shape`, the operand's storage view, outermost first.

    The view covers the bytes of `tensor` exactly, row-major. A point outside the view reads `pad`; where `pad` is None
    no point may lie outside. `type` is the stored type. `zero_point` is subtracted by a `mac subtract` body.
    """

    operand: str
    tensor: str
    role: Role
    type: ElementType
    shape: tuple[int, ...]
    index: tuple[Affine, ...]
    pad: int | float | None = None
    zero_point: int = 0

    @property
    def dims(self) -> frozenset[str]:
        """Dimensions that the operand depends on: its relevant dimensions. VALUE is none: a table never changes."""
        return frozenset([dim for axis in self.index for dim, _ in axis.terms if dim != VALUE])


class BodyOp(Enum):
    """What a point of the domain does to its output element."""

    MAC = "mac"  # out += (a - za) * (b - zb)   [subtract]   or   out += a * b   [raw]
    SUM = "sum"  # out += a - za
    MAX = "max"  # out = max(out, a)
    COPY = "copy"  # out = a
    ADD = "add"  # out = a + b                      (floats)
    SUB = "sub"  # out = a - b                      (floats)
    MUL = "mul"  # out = a * b                      (floats), (a - za) * (b - zb) (integers)
    QADD = "qadd"  # out = rint(fma(a, ra, fma(b, rb, base)))  (codes; saturated by the post chain)

    @property
    def reduces(self) -> bool:
        """Whether the points of one output element are combined; the others write a value each."""
        return self in (BodyOp.MAC, BodyOp.SUM, BodyOp.MAX)


@dataclass(frozen=True, slots=True)
class Body:
    """The scalar operation; `a` and `b` are operand names. `form` is `subtract` or `raw` for a mac, else empty.

    `attributes` holds the scalars of QADD: ra, rb and base, exact float32 values.
    """

    op: BodyOp
    a: str
    b: str | None = None
    form: str = ""
    multiplier: str = "exact"
    attributes: tuple[tuple[str, Attribute], ...] = ()


class PostOp(Enum):
    """Steps of a post chain, applied by the store to each accumulator element in order. `v` is the running value."""

    BIAS = "bias"  # v + operand                     int32 wrap-around, or float32
    REQUANTIZE = "requantize"  # saturate(rint(float32(v) * (multiplier | operand)) + zero_point, type)
    SCALE = "scale"  # float32(v) * (multiplier | operand)
    CLAMP = "clamp"  # min(max(v, minimum), maximum)
    LEAKY = "leaky"  # v if v >= 0 else v * alpha
    TABLE = "table"  # operand[v - minimum]
    QADD = "qadd"  # saturate(rint(fma(v, ra, fma(operand, rb, base))), type)
    ADD = "add"  # v + operand                       float32
    MUL = "mul"  # v * operand                       float32
    QUANTIZE = "quantize"  # saturate(rint(v / scale) + zero_point, type)
    DEQUANTIZE = "dequantize"  # float32(v - zero_point) * scale
    SATURATE = "saturate"  # min(max(v, minimum of type), maximum of type)
    DIVIDE = "divide"  # float32(v) / (divisor | operand)       one rounding; average pools divide, they do not scale


# Attributes of each step; `?` marks what is present only where the step has no operand. `type` is a type's spelling.
POST_ATTRIBUTES: dict[PostOp, tuple[str, ...]] = {
    PostOp.BIAS: (),
    PostOp.REQUANTIZE: ("type", "zero_point", "multiplier?"),
    PostOp.SCALE: ("multiplier?",),
    PostOp.CLAMP: ("minimum", "maximum"),
    PostOp.LEAKY: ("alpha",),
    PostOp.TABLE: ("minimum", "type"),
    PostOp.QADD: ("ra", "rb", "base", "type"),
    PostOp.ADD: (),
    PostOp.MUL: (),
    PostOp.QUANTIZE: ("scale", "zero_point", "type"),
    PostOp.DEQUANTIZE: ("scale", "zero_point"),
    PostOp.SATURATE: ("type",),
    PostOp.DIVIDE: ("divisor?",),
}


@dataclass(frozen=True, slots=True)
class Post:
    """One step; `operand` names an access of the nest (bias, multipliers, table, residual), broadcast by its index.

    Whether the running value is an integer or a float follows from the accumulator and the steps before; the minimum
    and maximum of a clamp are ints or floats accordingly.
    """

    op: PostOp
    operand: str | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()


class Dataflow(Enum):
    """What stays in the array while the other operands stream; `vector` runs on the vector unit."""

    WS = "ws"
    OS = "os"
    IS = "is"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over `dims` (one dimension, or a product of them run as one flat counter) in steps of `size`.

    `level` is a memory's name for a temporal loop that moves its tiles from that memory, or `array` / `vector`.
    `axis` is `rows`, `cols` or `lanes` for a spatial loop and empty for a temporal one.
    """

    level: str
    dims: tuple[str, ...]
    size: int
    axis: str = ""

    @property
    def spatial(self) -> bool:
        return bool(self.axis)


@dataclass(frozen=True, slots=True)
class Buffer:
    """Where an operand's tile lives: `copies` is 2 where the next tile loads while this one is used.

    `order` is the element order in the memory: `order[i]` is the axis of the access stored at position i, outermost
    first. `address` is the byte address of the first copy in the flat local address space, once allocated; copy k
    starts `k * tile_bytes` further.

    With `margins` it is no tile: the whole tensor lies there, left by the nests that wrote it (their `Target`), and
    nothing is loaded. Margins are positions before and after the view along each of its axes, two an axis; those that
    the nest reaches are filled with the access's pad value.
    """

    operand: str
    memory: str
    copies: int = 1
    order: tuple[int, ...] = ()
    address: int | None = None
    margins: tuple[int, ...] | None = None

    @property
    def is_whole(self) -> bool:
        return self.margins is not None


@dataclass(frozen=True, slots=True)
class Target:
    """Where stores go instead of main memory: into the whole of the output tensor in a local memory, row-major over
    `shape` with `margins` around it. `shape` is the output's view, whose axes may each be split in two."""

    memory: str
    shape: tuple[int, ...]
    margins: tuple[int, ...]
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Loops from the outermost to the innermost: those at main memory first (they are commands), then those inside one
    command (local memory, array). `im2col` is explicit, implicit or none. `reason` says why a pass chose this.

    `objective`, `lower_bound`, `bounds` (how many bounds were computed), `evaluated` (how many mappings were counted
    exactly) and `optimal` are the mapper's certificate. `target` is where the output is kept in local memory; None: it
    is stored in main memory.
    """

    dataflow: Dataflow
    im2col: str
    loops: tuple[Loop, ...]
    buffers: tuple[Buffer, ...]
    reason: str = ""
    objective: float = 0.0
    lower_bound: float = 0.0
    bounds: int = 0
    evaluated: int = 0
    optimal: bool = False
    target: Target | None = None

    def loops_at(self, level: str) -> tuple[Loop, ...]:
        return tuple([loop for loop in self.loops if loop.level == level])

    def buffer(self, operand: str) -> Buffer:
        return next(each for each in self.buffers if each.operand == operand)


@dataclass(frozen=True, slots=True)
class Stripe:
    """Which part of `layer` a nest is: `number` of `count`, from 1. The stripes of a group of layers take turns: those
    with one number, in the order of the layers, then those with the next."""

    layer: str
    number: int
    count: int


@dataclass(frozen=True, slots=True)
class Nest:
    """One compute operator, or a stripe of one. `reads` are in the order in which their tiles are loaded; `write` is
    the output.

    `accumulator` is the type in which the body's result is held until the post chain runs.
    """

    name: str
    domain: tuple[Dim, ...]
    reads: tuple[Access, ...]
    write: Access
    body: Body
    accumulator: ElementType
    post: tuple[Post, ...] = ()
    schedule: Schedule | None = None
    source: tuple[str, ...] = ()
    operator: str = ""
    reason: str = ""
    stripe: Stripe | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)

    @property
    def layer(self) -> str:
        """The name of the layer that the nest is, or that it is a stripe of: what figures are told of."""
        return self.name if self.stripe is None else self.stripe.layer

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(access.tensor for access in self.reads))

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.write.tensor,)

    @property
    def label(self) -> str:
        """What people call the operation: the operator that it was made of, or its body."""
        return self.operator or self.body.op.value

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute: an empty domain, or an output without elements."""
        return any(dim.extent == 0 for dim in self.domain) or 0 in self.write.shape

    def extent(self, dim: str) -> int:
        return next(each.extent for each in self.domain if each.name == dim)

    def access(self, operand: str) -> Access:
        if operand == self.write.operand:
            return self.write
        for each in self.reads:
            if each.operand == operand:
                return each
        raise KeyError(f"nest {self.name!r} has no operand {operand!r}")


class CounterClass(Enum):
    """What a dimension indexes decides what the array does with it."""

    BATCH = "batch"  # a, b and the output: nothing is shared (groups, batched products, elementwise pairs)
    POINT = "point"  # a and the output: streamed (output pixels, rows of a)
    COLUMN = "column"  # b and the output: array columns (output channels, columns of b)
    REDUCE = "reduce"  # not the output: summed (input channels, kernel taps)


def counter_class(nest: Nest, dim: str) -> CounterClass:
    """The class of `dim` in the body of `nest`. An output dimension that neither operand has counts as a point."""
    if dim not in nest.write.dims:
        return CounterClass.REDUCE
    in_b = nest.body.b is not None and dim in nest.access(nest.body.b).dims
    if dim in nest.access(nest.body.a).dims:
        return CounterClass.BATCH if in_b else CounterClass.POINT
    return CounterClass.COLUMN if in_b else CounterClass.POINT


def sum_has_an_order(nest: Nest) -> bool:
    """Whether the value depends on the order of a float sum in a way that is defined: an average of codes adds them
    row-major over its window (specs/arithmetic.md, section 5). The order of other float sums is the schedule's."""
    codes = any(step.op is PostOp.QUANTIZE for step in nest.post)
    return nest.body.op is BodyOp.SUM and nest.accumulator.is_float and codes


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


def tile_sizes(nest: Nest) -> dict[str, int]:
    """Points per dimension of a full tile: the size of the main-memory loop over it, else the whole extent."""
    assert nest.schedule is not None
    sizes = {dim.name: dim.extent for dim in nest.domain}
    for loop in main_memory_loops(nest.schedule):
        sizes[loop.dims[0]] = min(loop.size, sizes[loop.dims[0]])
    return sizes


def main_memory_loops(schedule: Schedule) -> tuple[Loop, ...]:
    """The temporal loops whose iterations are commands."""
    return schedule.loops_at(MAIN_MEMORY)


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


def whole_bytes(shape: tuple[int, ...], margins: tuple[int, ...], element_bytes: int, word_bytes: int) -> int:
    """Bytes of a whole tensor with its margins, in whole words."""
    return -(-whole_layout(shape, margins).elements * element_bytes // word_bytes) * word_bytes


def local_layout(nest: Nest, operand: str, word_bytes: int, sizes: Mapping[str, int] | None = None) -> LocalLayout:
    """Row-major over the buffer's element order, the innermost axis padded to whole words of the memory.

    The output's tile is held in the accumulator type, every other operand in its stored type. Of an operand that is
    there whole, `counts` are those of a tile all the same, `tile_bytes` is what all of it takes. `sizes` are those of
    `tile_sizes`, for a caller who has them.
    """
    assert nest.schedule is not None
    access = nest.access(operand)
    element = nest.accumulator.bytes if operand == nest.write.operand else access.type.bytes
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
        size = whole_bytes(access.shape, buffer.margins, element, word_bytes)
        return LocalLayout(counts, tuple(strides), size)
    order = buffer.order or tuple(range(len(counts)))
    strides = [0] * len(counts)
    pitch = 1
    for position, axis_number in enumerate(reversed(order)):
        strides[axis_number] = pitch
        pitch *= counts[axis_number]
        if position == 0:
            words = -(-pitch * element // word_bytes)
            pitch = -(-words * word_bytes // element)
    words = -(-pitch * element // word_bytes)
    return LocalLayout(counts, tuple(strides), words * word_bytes)


def counter_stride(nest: Nest, operand: str, dim: str, layout: LocalLayout) -> int:
    """Elements by which the local address of `operand` moves when `dim` advances by one."""
    extents = {each.name: each.extent for each in nest.domain}
    return sum(
        axis.coefficient(dim) // axis_step(axis, extents) * stride
        for axis, stride in zip(nest.access(operand).index, layout.strides, strict=True)
        if axis.coefficient(dim) and extents[dim] > 1
    )
