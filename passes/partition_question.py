"""A node as the machine would run it: what every rule of partition looks at.

before:  y: f32 = conv(x: f32, w: f32, b: f32)                on a machine that will narrow it (passes/quantise.py)
after:   y: i8 = conv(x: i8, w: i8, b: i32)                   with zero points as far from 0 as they can be
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.graph import Node, ValueType
from ..ir.precision import Precision, PrecisionSpec
from ..ir.types import BlobRef, ElementType, Quantization, Tensor
from .rewrite import PRODUCTS
from .widths import Form, activation_type, layer_of, nearest_to_eight, target_type

MOVES = ("reshape", "transpose")
_CONVERSIONS = ("quantize", "dequantize", "requantize", "table")


@dataclass(frozen=True, slots=True)
class Question:
    """One node in the form that the machine would run. `tensors` are narrowed already; `narrowed` is the type that a
    float node gets, None where it keeps its own. `blobs` hold the constants, where they are known."""

    node: Node
    tensors: Mapping[str, Tensor]
    arch: Arch
    precision: Precision
    narrowed: ElementType | None
    blobs: Mapping[BlobRef, bytes] | None

    def tensor(self, position: int) -> Tensor:
        return self.tensors[self.node.inputs[position]]

    def element(self, position: int) -> ElementType:
        kind = self.tensor(position).type
        assert isinstance(kind, ElementType)
        return kind

    @property
    def operands(self) -> tuple[Tensor, ...]:
        return tuple(self.tensors[name] for name in self.node.inputs if name)

    @property
    def result(self) -> Tensor:
        return self.tensors[self.node.outputs[0]]

    @property
    def value(self) -> ValueType:
        """What the operator itself yields."""
        assert isinstance(self.result.type, ElementType)
        return self.node.value or ValueType(self.result.type, self.result.quantization)

    @property
    def bias(self) -> Tensor | None:
        return self.tensor(2) if len(self.node.inputs) > 2 and self.node.inputs[2] else None


Rule = Callable[[Question], Iterator[str]]


def question_of(
    node: Node,
    tensors: Mapping[str, Tensor],
    arch: Arch,
    precision: Precision,
    blobs: Mapping[BlobRef, bytes] | None,
) -> Question:
    """The question that `node` is; `tensors` are those that it names, `blobs` None where constants are not known."""
    target = target_type(arch, precision)
    weight_kind = ElementType.I8
    if isinstance(precision, PrecisionSpec) and target is not None and target.is_integer:
        layer = precision.default
        if node.op in PRODUCTS:
            layer = layer_of(precision, node.name, node.source)
            weight_kind = _at_most(layer.weights, arch.array.weights) or weight_kind
            target = _at_most(layer.activations, arch.array.inputs) or target
        else:
            target = activation_type(arch, Form(layer.activations, layer.symmetric_activations), None) or target
    is_float = tensors[node.inputs[0]].type is ElementType.F32 and node.op not in _CONVERSIONS
    if target is None or not is_float:
        return Question(node, tensors, arch, precision, None, blobs)
    weights = node.inputs[1] if node.op in PRODUCTS else None
    bias = node.inputs[2] if node.op in PRODUCTS and len(node.inputs) > 2 else None
    codes = Quantization((1.0,), (target.minimum,)) if target.is_integer else None
    narrow: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kind, quantization = target, codes
        if target.is_integer and name == bias:
            kind, quantization = ElementType.I32, None
        elif target.is_integer and name == weights and tensor.constant is not None:
            kind, quantization = weight_kind, Quantization((1.0,), (0,))
        elif name == bias:
            kind, quantization = ElementType.F32, None
        is_real = tensor.type is ElementType.F32
        narrow[name] = replace(tensor, type=kind, quantization=quantization) if is_real else tensor
    value = None if node.value is None else ValueType(target, codes)
    post = tuple(replace(stage, result=ValueType(target, codes)) for stage in node.post)
    return Question(replace(node, value=value, post=post), narrow, arch, precision, target, None)


def _at_most(bits: int, legal: tuple[ElementType, ...]) -> ElementType | None:
    """The type that stands for a width before the widths of values are known: of so many bits, or of 8, or the nearest
    narrower one."""
    return nearest_to_eight(tuple(each for each in legal if each.bits <= bits) or legal)
