"""Level 3, the program: fixed-width instructions, where tensors lie, and what the host is called for.

`specs/isa.md` defines what each instruction does and how long it takes. The table below is the encoding: fields are
packed from bit 0 upwards in the order given, little-endian, and the rest of the 64 bytes is zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from .frozen import dataclass
from .types import BlobRef, ElementType, HostType

INSTRUCTION_BYTES = 64
BOX_AXES = 5
COUNTERS = 10
STREAMS = 12
POST_STEPS = 12
AUX_SLOTS = 4


class Opcode(IntEnum):
    CONFIGURE_LOAD = 1
    CONFIGURE_A = 2
    CONFIGURE_B = 3
    CONFIGURE_C = 4
    CONFIGURE_SCALARS = 5
    CONFIGURE_STORE = 6
    CONFIGURE_POST = 7
    LOAD = 8
    COMPUTE = 9
    VECTOR = 10
    STORE = 11
    HOST = 12
    FENCE = 13
    CONFIGURE_CONVERT = 14
    CONFIGURE_PRUNE = 15
    CONFIGURE_SKIP = 16
    CONFIGURE_EXPAND = 17


class Engine(IntEnum):
    """The units that take commands from queues of their own; configure, host and fence are done at dispatch."""

    LOAD = 0
    EXECUTE = 1
    STORE = 2


@dataclass(frozen=True, slots=True)
class Field:
    """`count` values of `bits` bits each. `kind` is how a value reads: u(nsigned), i (two's complement),
    f (the bit pattern of a float32), t (an element type's code, see TYPE_CODES), x (a raw 32-bit pattern)."""

    name: str
    bits: int
    kind: str = "u"
    count: int = 1


_COMMON = (Field("opcode", 8), Field("core", 8))
_WAITS = (Field("wait_load", 8), Field("wait_execute", 8), Field("wait_store", 8))

FIELDS: dict[Opcode, tuple[Field, ...]] = {
    Opcode.CONFIGURE_LOAD: (
        *_COMMON,
        Field("stream", 4),
        Field("role", 4),
        Field("element_bits", 7),
        Field("fill", 32, "x"),
        Field("main_stride", 40, "i", BOX_AXES),
        Field("local_stride", 32, "u", BOX_AXES),
    ),
    Opcode.CONFIGURE_A: (
        *_COMMON,
        Field("role", 4),
        Field("type", 6, "t"),
        Field("zero_point", 20, "i"),
        Field("stride", 32, "u", COUNTERS),
    ),
    Opcode.CONFIGURE_B: (
        *_COMMON,
        Field("role", 4),
        Field("type", 6, "t"),
        Field("zero_point", 20, "i"),
        Field("stride", 32, "u", COUNTERS),
    ),
    Opcode.CONFIGURE_C: (
        *_COMMON,
        Field("type", 6, "t"),
        Field("dataflow", 3),
        Field("body", 4),
        Field("form", 2),
        Field("multiplier", 8),
        Field("row_counter", 4),
        Field("col_counter", 4),
        Field("counter_class", 2, "u", COUNTERS),
        Field("stride", 32, "u", COUNTERS),
    ),
    Opcode.CONFIGURE_SCALARS: (*_COMMON, Field("scalar", 32, "f", 3)),
    Opcode.CONFIGURE_STORE: (
        *_COMMON,
        Field("type", 6, "t"),
        Field("accumulator", 6, "t"),
        Field("post_steps", 4),
        Field("main_stride", 40, "i", BOX_AXES),
        Field("local_stride", 32, "u", BOX_AXES),
        Field("target", 1),
    ),
    Opcode.CONFIGURE_POST: (
        *_COMMON,
        Field("step", 4),
        Field("op", 4),
        Field("type", 6, "t"),
        Field("operand_type", 6, "t"),
        Field("role", 4),
        Field("slot", 3),
        Field("stride", 32, "u", BOX_AXES),
        Field("zero_point", 32, "i"),
        Field("scalar", 32, "f", 3),
        Field("low", 32, "i"),
        Field("high", 32, "i"),
    ),
    Opcode.CONFIGURE_CONVERT: (
        *_COMMON,
        Field("of", 4),
        Field("type", 6, "t"),
        Field("made", 6, "t"),
        Field("zero_point", 20, "i"),
        Field("scale", 32, "f"),
    ),
    Opcode.CONFIGURE_PRUNE: (
        *_COMMON,
        Field("table", 8),
        Field("cached", 1),
        Field("criterion", 4),
        Field("threshold", 40),
        Field("rows", 17),
        Field("cols", 17),
        Field("main", 48, "i"),
        Field("samples", 32),
        Field("points", 40),
        Field("columns", 32),
        Field("zero_point", 20, "i"),
    ),
    Opcode.CONFIGURE_SKIP: (*_COMMON, Field("stream", 4), Field("table", 8), Field("last", 1)),
    Opcode.CONFIGURE_EXPAND: (
        *_COMMON,
        Field("stream", 4),
        Field("block", 16, "u", BOX_AXES),
        Field("zero_point", 20, "i"),
    ),
    Opcode.LOAD: (
        *_COMMON,
        *_WAITS,
        Field("stream", 4),
        Field("main", 48, "i"),
        Field("main_bit", 3),
        Field("local", 32),
        Field("local_bit", 3),
        Field("extent", 16, "u", BOX_AXES),
        Field("before", 16, "u", BOX_AXES),
        Field("after", 16, "u", BOX_AXES),
        Field("kept", 32),
    ),
    Opcode.COMPUTE: (
        *_COMMON,
        *_WAITS,
        Field("accumulate", 1),
        Field("a", 32),
        Field("a_bit", 3),
        Field("b", 32),
        Field("b_bit", 3),
        Field("c", 32),
        Field("extent", 16, "u", COUNTERS),
    ),
    Opcode.VECTOR: (
        *_COMMON,
        *_WAITS,
        Field("accumulate", 1),
        Field("a", 32),
        Field("a_bit", 3),
        Field("b", 32),
        Field("b_bit", 3),
        Field("c", 32),
        Field("extent", 16, "u", COUNTERS),
    ),
    Opcode.STORE: (
        *_COMMON,
        *_WAITS,
        Field("main", 48, "i"),
        Field("main_bit", 3),
        Field("local", 32),
        Field("extent", 16, "u", BOX_AXES),
        Field("aux", 32, "u", AUX_SLOTS),
        Field("aux_bit", 3, "u", AUX_SLOTS),
    ),
    Opcode.HOST: (*_COMMON, Field("region", 16)),
    Opcode.FENCE: _COMMON,
}

MNEMONICS: dict[Opcode, str] = {opcode: opcode.name.lower().replace("_", ".") for opcode in Opcode}

NO_TOLERANCE = "none"  # what `Program.tolerance` says where nothing is claimed

# Codes are positions in these tuples; append only, so that old programs keep their meaning.
TYPE_CODES: tuple[ElementType, ...] = tuple(ElementType)
DATAFLOW_CODES = ("ws", "os", "is", "vector")
BODY_CODES = ("mac", "sum", "max", "copy", "add", "sub", "mul", "qadd")
FORM_CODES = ("", "subtract", "raw")
CLASS_CODES = ("batch", "point", "column", "reduce")
ROLE_CODES = ("input", "weight", "output", "partial", "bias", "aux", "instruction")
MULTIPLIER_CODES = ("exact",)
CRITERION_CODES = ("sum", "mean", "abs_sum", "l1_mean", "max_abs")  # ir/blocks.py
TARGET_CODES = ("main", "local")  # where stores go
POST_CODES = (
    "bias",
    "requantize",
    "scale",
    "clamp",
    "leaky",
    "table",
    "qadd",
    "add",
    "mul",
    "quantize",
    "dequantize",
    "saturate",
    "divide",
)
OUTWARDS = 15  # in place of a stream: what a store writes
NO_SLOT = 7  # a post step without an operand in memory
NO_COUNTER = 15  # no counter is blocked by array rows, columns or lanes


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction. `values` follow FIELDS[opcode] after `opcode` and `core`; a repeated field is a tuple.

    Every value is an int: f and x fields hold their bit pattern.
    """

    opcode: Opcode
    values: tuple[int | tuple[int, ...], ...]
    core: int = 0


@dataclass(frozen=True, slots=True)
class Region:
    """Instructions first..last (inclusive) belong to this layer; reports attribute by these addresses alone. Regions of
    one name are stripes of one layer."""

    name: str
    op: str
    where: str
    first: int
    last: int
    dataflow: str | None = None
    im2col: str | None = None
    source: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """A tensor of the program. `address` is its first byte in main memory; None for a value that only the host knows.

    Bytes are in storage order (see ir.types.Tensor); `shape` is logical.
    """

    name: str
    type: ElementType | HostType
    shape: tuple[int, ...] | None
    order: tuple[int, ...] | None
    address: int | None


MOST_OPERATIONS = (1 << 62) - 1  # of a host call


@dataclass(frozen=True, slots=True)
class HostCall:
    """What instruction `host REGION` runs: an ONNX model whose input and output names are placements' names.
    `operations` is how many operations it takes, for machines whose host has a rate of them."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    model: BlobRef
    operations: int = 0


@dataclass(frozen=True)
class Program:
    """A compiled model. `code` is the encoded instructions, INSTRUCTION_BYTES each. It holds no counts.

    `inputs` and `outputs` are placements, in the model's order. `constants` says which bytes lie in main memory at the
    start. `tolerance` is `exact` for integer programs, else the bound that `run --check` holds outputs to; NO_TOLERANCE
    where nothing is claimed.
    Inputs and outputs have the model's own names.
    """

    model: str
    arch_text: str
    batch: int
    code: bytes
    regions: tuple[Region, ...]
    placements: tuple[Placement, ...]
    constants: tuple[tuple[int, BlobRef], ...]
    host_calls: tuple[HostCall, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    main_bytes: int
    tolerance: str
    blobs: Mapping[BlobRef, bytes]

    def __repr__(self) -> str:
        """In one line: the fields hold megabytes of code and constants."""
        counted = f"{self.instruction_count} instructions, {len(self.regions)} layers, batch {self.batch}"
        return f"<Program {self.model!r}: {counted}>"

    @property
    def instruction_count(self) -> int:
        return len(self.code) // INSTRUCTION_BYTES
