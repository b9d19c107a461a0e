"""Level 1, the graph: operators on tensors, in the model's own axis order (NCHW), and host regions.

What an operator means follows from its kind and from the types and quantisation of its tensors: a `conv` whose
operands and result carry quantisation parameters is ONNX's QLinearConv; with an i32 result it is ConvInteger; with an
f32 result (or `Node.value`) the accumulator is scaled to the real number, float32(acc) * (f32(sx) * f32(sw)); on floats
it is Conv. Where f32 meets bf16 or f16, `quantize` and `dequantize` are plain conversions and products of bf16 operands
may have f32 results. `specs/arithmetic.md` has one formula for each.
"""

from __future__ import annotations

from dataclasses import field

from .diagnostics import NOWHERE, Span
from .frozen import dataclass
from .types import BlobRef, ElementType, Quantization

Attribute = int | float | str | bool | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """What a kind of operator takes: operand names (a trailing `?` marks an optional one) and attribute types."""

    operands: tuple[str, ...]
    attributes: tuple[tuple[str, type], ...] = ()
    meaning: str = ""


_WINDOW = (("strides", tuple), ("dilations", tuple), ("pads", tuple))

# pads are (begin of each spatial axis..., end of each spatial axis...), as in ONNX; every attribute is always present.
OPERATORS: dict[str, OperatorSpec] = {
    "conv": OperatorSpec(
        ("x", "w", "bias?"), (*_WINDOW, ("group", int)), "x [N,C,spatial], w [M,C/group,kernel], bias [M]"
    ),
    "conv_transpose": OperatorSpec(
        ("x", "w", "bias?"), (*_WINDOW, ("group", int)), "x [N,C,spatial], w [C,M/group,kernel]; pads may be negative"
    ),
    "matmul": OperatorSpec(
        ("a", "b", "bias?"),
        (("transpose_a", bool), ("transpose_b", bool)),
        "numpy matmul over the last two axes, leading axes broadcast; bias broadcasts to the result",
    ),
    "pool": OperatorSpec(
        ("x",),
        (("kind", str), ("kernel", tuple), *_WINDOW, ("count_include_pad", bool)),
        "kind is max, average or global_average (the kernel is the image, no pads); pads already include what "
        "ceil_mode adds at the end; an average that counts padding divides by the whole kernel",
    ),
    "add": OperatorSpec(("a", "b"), (), "elementwise with numpy broadcasting"),
    "sub": OperatorSpec(("a", "b"), (), "elementwise with numpy broadcasting; float only"),
    "mul": OperatorSpec(("a", "b"), (), "elementwise with numpy broadcasting"),
    "relu": OperatorSpec(("x",)),
    "clip": OperatorSpec(("x",), (("minimum", float), ("maximum", float)), "in real numbers, not in codes"),
    "leaky_relu": OperatorSpec(("x",), (("alpha", float),)),
    "table": OperatorSpec(("x", "table"), (), "y = table[x - minimum of x's type]; types of at most 8 bits"),
    "quantize": OperatorSpec(("x",), (), "QuantizeLinear: f32 to the result's type and quantisation"),
    "dequantize": OperatorSpec(("x",), (), "DequantizeLinear: x's quantisation to f32"),
    "requantize": OperatorSpec(("x",), (), "i32 with quantisation (zero point 0) to the result's quantisation"),
    "reshape": OperatorSpec(("x",), (), "same elements in row-major logical order, new shape"),
    "transpose": OperatorSpec(("x",), (("permutation", tuple),)),
    "im2col": OperatorSpec(
        ("x",),
        (("kernel", tuple), *_WINDOW),
        "x [N,C,spatial] to the windows of each output point, [N, kernel * C, spatial]: along axis 1 the taps "
        "row-major, and of each tap the channels; padding holds the zero point, or 0 of floats",
    ),
    "prune": OperatorSpec(
        ("x",),
        (("criterion", str), ("threshold", int), ("rows", int), ("cols", int)),
        "x with the zero point in every block of rows x cols stored elements whose measure is at most the threshold, "
        "which counts in 1/256 of the scale (ir/blocks.py)",
    ),
}


@dataclass(frozen=True, slots=True)
class ValueType:
    """Type and quantisation of a value that has no tensor of its own: what an operator yields before its post chain."""

    type: ElementType
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One folded elementwise operator of a post chain: `op` is relu, clip, leaky_relu, table, add, mul, quantize or
    dequantize; `operand` is its second tensor, where it has one; `result` is what it yields, so that every quantise
    point of the source graph stays visible."""

    op: str
    result: ValueType
    operand: str | None = None
    attributes: tuple[tuple[str, Attribute], ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. With a post chain, `value` is what the operator itself yields and the last stage's result is the
    type of the output tensor; without one, `value` is None.

    `source` names the ONNX nodes it came from, for reports; `reason` says what a pass decided about it and why.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Attribute], ...] = ()
    post: tuple[Stage, ...] = ()
    value: ValueType | None = None
    source: tuple[str, ...] = ()
    reason: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)

    def attribute(self, name: str) -> Attribute:
        for key, value in self.attributes:
            if key == name:
                return value
        raise KeyError(f"{self.op} {self.name!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class HostRegion:
    """A maximal subgraph that the host executes: a serialised ONNX model in the blob store, opaque to passes.

    `inputs` and `outputs` are tensors of the module, in the order of the ONNX model's own inputs and outputs, whose
    names are equal to them. `operators` lists the ONNX operator of each node inside, `reason` says why it is here.
    `operations` is how many operations it takes; None where nobody counts them, as on a machine whose host has no rate.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    model: BlobRef
    operators: tuple[str, ...] = ()
    reason: str = ""
    operations: int | None = None
    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)
