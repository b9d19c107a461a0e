"""Level 2, the nest: one compute operator as an iteration domain, affine accesses, a body, a post chain, a schedule.

The scheduled nest is the single source that the emitter turns into instructions, the cost model counts from and the
printer shows. `specs/ir.md` has the text form, `specs/isa.md` the program that a scheduled nest stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import Enum

from .affine import Affine
from .arch import MAIN_MEMORY
from .blocks import BlockTest
from .diagnostics import NOWHERE, Span
from .frozen import dataclass
from .graph import Attribute
from .sound import Derived
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
class Decode:
    """What the number converter makes of stored codes on their way into local memory: the float of `type` nearest to
    float32(code - zero_point) * scale."""

    type: ElementType
    scale: float
    zero_point: int = 0


@dataclass(frozen=True, slots=True)
class Skip:
    """The operand's tensor has a table of the block unit's cache: blocks whose positions are there are not read. With
    `last` nobody reads the tensor later, and the table is emptied."""

    table: int
    last: bool = False


@dataclass(frozen=True, slots=True)
class Compressed:
    """A constant operand lies in main memory as its tiles, of each of which the blocks of zeros are left out
    (ir/compressed.py). `block` has the extents of a block along the axes of the access, `bytes` is what all tiles take
    together."""

    block: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Access:
    """How an operand is indexed: an affine expression per axis of `shape`, the operand's storage view, outermost first.

    The view covers the bytes of `tensor` exactly, row-major. A point outside the view reads `pad`; where `pad` is None
    no point may lie outside. `type` is the stored type. `zero_point` is subtracted by a `mac subtract` body. With
    `decode`, local memory holds floats, of which `pad` is one.
    """

    operand: str
    tensor: str
    role: Role
    type: ElementType
    shape: tuple[int, ...]
    index: tuple[Affine, ...]
    pad: int | float | None = None
    zero_point: int = 0
    decode: Decode | None = None
    skip: Skip | None = None
    compressed: Compressed | None = None

    @property
    def local_type(self) -> ElementType:
        """The type in which local memory holds the operand, and in which bodies and post chains read it."""
        return self.type if self.decode is None else self.decode.type

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
class Prune:
    """Blocks of the output that the store makes zero: once a tile's sums are complete and its post chain has run, each
    of its blocks is tested, and every element of one that passes becomes `zero_point`. The output is, as stored,
    samples of `points` rows of `columns` elements (ir/blocks.py). The block unit's cache keeps positions of what is
    pruned in `table`; None: it keeps none, and zeros are written."""

    test: BlockTest
    points: int
    columns: int
    zero_point: int
    table: int | None = None

    def blocks(self, elements: int) -> int:
        """How many blocks an output of so many elements is cut into."""
        samples = elements // (self.points * self.columns) if elements else 0
        return samples * -(-self.points // self.test.rows) * -(-self.columns // self.test.cols)


@dataclass(frozen=True, slots=True)
class Nest:
    """One compute operator, or a stripe of one. `reads` are in the order in which their tiles are loaded; `write` is
    the output.

    `accumulator` is the type in which the body's result is held until the post chain runs. With `prune`, blocks of what
    the post chain made become zero.
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
    prune: Prune | None = None
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


def encodes(nest: Nest) -> bool:
    """Whether the last thing that happens to an output is that a float becomes a code. On a machine with a number
    converter that is the converter's work."""
    return bool(nest.post) and nest.post[-1].op is PostOp.QUANTIZE


def decoded(nest: Nest) -> tuple[int, ...]:
    """The reads, by position, that the number converter makes floats of."""
    return tuple(number for number, access in enumerate(nest.reads) if access.decode is not None)


class CounterClass(Enum):
    """What a dimension indexes decides what the array does with it."""

    BATCH = "batch"  # a, b and the output: nothing is shared (groups, batched products, elementwise pairs)
    POINT = "point"  # a and the output: streamed (output pixels, rows of a)
    COLUMN = "column"  # b and the output: array columns (output channels, columns of b)
    REDUCE = "reduce"  # not the output: summed (input channels, kernel taps)


def counter_class(nest: Nest, dim: str) -> CounterClass:
    """The class of `dim` in the body of `nest`. An output dimension that neither operand has counts as a point."""
    return counter_classes(nest, [dim])[0]


def counter_classes(nest: Nest, dims: Sequence[str]) -> list[CounterClass]:
    """The classes of several."""
    written, of_a, of_b = _OPERAND_DIMS.of(lambda: _operand_dims(nest), nest.reads, nest.write, nest.body)
    return [_OUTPUT_CLASSES[dim in of_a, dim in of_b] if dim in written else CounterClass.REDUCE for dim in dims]


def _operand_dims(nest: Nest) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Of the output, a and b."""
    of_b = nest.access(nest.body.b).dims if nest.body.b is not None else frozenset[str]()
    return nest.write.dims, nest.access(nest.body.a).dims, of_b


_OPERAND_DIMS: Derived[tuple[frozenset[str], frozenset[str], frozenset[str]]] = Derived()
# Of output dimensions, by whether a and b have them.
_OUTPUT_CLASSES = {
    (True, True): CounterClass.BATCH,
    (True, False): CounterClass.POINT,
    (False, True): CounterClass.COLUMN,
    (False, False): CounterClass.POINT,
}


def sum_has_an_order(nest: Nest) -> bool:
    """Whether the value depends on the order of a float sum in a way that is defined: an average of codes adds them
    row-major over its window (specs/arithmetic.md, section 5). The order of other float sums is the schedule's."""
    codes = any(step.op is PostOp.QUANTIZE for step in nest.post)
    return nest.body.op is BodyOp.SUM and nest.accumulator.is_float and codes


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
