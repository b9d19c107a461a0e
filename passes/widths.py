"""Which codes each float value gets: those that the layers that read it ask for.

before:  c1 = conv(x) ; c2 = conv(c1) ; c3 = conv(c1)          conv2 asks for 4 bits of its input, conv3 for 6
after:   c1 has 6 bits, as the widest of its readers asks; c2 and c3, which no layer reads, have the default's

A layer is a product; its activations are its input, and its second operand where that is computed. A value and what
operators that move or select values make of it (reshape, transpose, max pool, relu, clip) are one: they share type and
parameters.

Requires: a graph, before `quantise`; calibrated ranges where unsigned codes are to be found.
Ensures:  every float value of the graph has a form; a value has no fewer bits than any layer asks for that reads it.
"""

from __future__ import annotations

from collections import defaultdict

from ..ir.arch import Arch
from ..ir.diagnostics import Diagnostic
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.module import Module
from ..ir.precision import LayerPrecision, Precision, PrecisionSpec
from ..ir.program import NO_TOLERANCE
from ..ir.types import ElementType
from .rewrite import PRODUCTS

# What `run --check` holds a model to that was quantised here to 8 bits or more: of the range of each output, an
# assumption that the accuracy of a model (benchmarks/accuracy.py) must confirm. Of fewer bits nothing is claimed.
INT8_TOLERANCE = "range:0.1"

_KEEPS_PARAMETERS = ("reshape", "transpose", "relu", "clip")
_INTEGERS = {(each.is_signed, each.bits): each for each in ElementType if each.is_integer}


@dataclass(frozen=True, slots=True)
class Form:
    """The codes of a value; `widest` is the layer whose width it has, empty where none reads it."""

    bits: int
    symmetric: bool
    widest: str = ""


def keeps_parameters(node: Node) -> bool:
    """Whether the result of a node has its operand's parameters: it moves or selects values."""
    moves = node.op in _KEEPS_PARAMETERS or (node.op == "pool" and node.attribute("kind") == "max")
    return moves and not node.post


def forms_of(module: Module, spec: PrecisionSpec) -> dict[str, Form]:
    """The form of every tensor of the graph by its name."""
    asked = dict(spec.layers)
    nodes = [each for each in module.operations if isinstance(each, Node)]
    source: dict[str, str] = {}

    def found(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    for node in nodes:
        if keeps_parameters(node):
            source[node.outputs[0]] = node.inputs[0]
    wishes: dict[str, list[Form]] = defaultdict(list)
    for node in nodes:
        if node.op in PRODUCTS:
            layer = asked.get(node.name, spec.default)
            for name in _activations(module, node):
                wishes[found(name)].append(Form(layer.activations, layer.symmetric_activations, node.name))
    default = Form(spec.default.activations, spec.default.symmetric_activations)
    forms = {name: _agreed(each) for name, each in wishes.items()}
    return {name: forms.get(found(name), default) for name in module.tensor_by_name}


def _activations(module: Module, node: Node) -> tuple[str, ...]:
    """The operands of a product that are values: its first, and its second where that is computed."""
    first, second = node.inputs[:2]
    return (first,) if module.tensor(second).constant is not None else (first, second)


def _agreed(wishes: list[Form]) -> Form:
    """The widest; symmetric where all are."""
    widest = max(wishes, key=lambda each: each.bits)
    return Form(widest.bits, all(each.symmetric for each in wishes), widest.widest)


def spec_of(precision: Precision) -> PrecisionSpec:
    """What is asked of each layer; where nothing is, 8 bits."""
    return precision if isinstance(precision, PrecisionSpec) else PrecisionSpec()


def layer_of(spec: PrecisionSpec, name: str, source: tuple[str, ...] = ()) -> LayerPrecision:
    """What is asked of one layer, by its name or, while the model is imported, that of its first ONNX node."""
    return next((each for layer, each in spec.layers if layer == name or layer in source[:1]), spec.default)


def activation_type(arch: Arch, form: Form, minimum: float | None) -> ElementType | None:
    """The type of a value's codes: signed, or unsigned where the array takes no signed ones of so many bits, or where
    codes are symmetric and no value is negative. None where the array takes neither."""
    signed, unsigned = integer(form.bits, True), integer(form.bits, False)
    legal = arch.array.inputs
    if form.symmetric and minimum is not None and minimum >= 0 and unsigned in legal:
        return unsigned
    if form.symmetric and signed not in legal:
        return None
    return next((each for each in (signed, unsigned) if each in legal), None)


def weight_type(arch: Arch, layer: LayerPrecision) -> ElementType | None:
    """The type of a layer's weights: signed, or unsigned where they have a zero point and the array takes no signed
    ones of so many bits. None where the array takes neither."""
    legal = arch.array.weights
    kinds = (True,) if layer.symmetric_weights else (True, False)
    return next((each for signed in kinds if (each := integer(layer.weights, signed)) in legal), None)


def claimed_tolerance(spec: PrecisionSpec) -> str:
    """What a program in this precision says of itself (`Program.tolerance`)."""
    return NO_TOLERANCE if spec.narrowest < ElementType.I8.bits else INT8_TOLERANCE


def integer(bits: int, signed: bool) -> ElementType:
    """The integer type of so many bits."""
    return _INTEGERS[signed, bits]


def target_type(arch: Arch, precision: Precision) -> ElementType | None:
    """What float activations become on this machine: i8 (or u8), bf16, f16, or None where they stay f32.

    `precision` is auto, keep, exact or int8 (passes.pipeline.Options); where it is asked layer by layer, the type is
    the one that stands for all widths.
    """
    if precision in ("keep", "exact"):
        return None
    inputs = arch.array.inputs
    if isinstance(precision, PrecisionSpec) and arch.converter is None:
        return nearest_to_eight(inputs)
    if arch.array.accumulator.is_integer or precision == "int8":
        return next((each for each in (ElementType.I8, ElementType.U8) if each in inputs), None)
    if ElementType.F32 in inputs:
        return None
    return next((each for each in (ElementType.BF16, ElementType.F16) if each in inputs), None)


def narrows_to_codes(arch: Arch, precision: Precision) -> bool:
    """Whether floats become integers, in the array or on their way to main memory."""
    if arch.converter is not None and isinstance(precision, PrecisionSpec):
        return True
    target = target_type(arch, precision)
    return target is not None and target.is_integer


def nearest_to_eight(legal: tuple[ElementType, ...]) -> ElementType | None:
    """The integer type among `legal` that stands for all widths before these are known: i8, else u8, else the nearest
    narrower one, else the narrowest. None where there is no integer."""
    small = [each for each in legal if each.is_integer and each.bits <= 16]
    return min(small, key=lambda each: (each.bits > 8, abs(each.bits - 8), not each.is_signed), default=None)


def width_refused(
    who: str, bits: int, machine: str, takes: str, legal: tuple[ElementType, ...], layer: LayerPrecision
) -> Diagnostic:
    """That the array takes no operands of so many bits: what it does take, and the next wider width."""
    widths = sorted({each.bits for each in legal if each.is_integer})
    wider = [each for each in widths if each > bits]
    help = f"its {takes} are {spelled(legal)}" + (f"; the next wider width is {wider[0]}" if wider else "")
    return Diagnostic(f"{who}: {machine}'s array takes no {takes} of {bits} bits", layer.span, help)


def spelled(types: tuple[ElementType, ...]) -> str:
    """Types with runs of widths joined: "i2..i8, u2..u8, f32"."""
    runs: list[list[ElementType]] = []
    for kind in types:
        last = runs[-1][-1] if runs else None
        follows = last is not None and last.value[0] == kind.value[0] in ("i", "u") and kind.bits == last.bits + 1
        if follows:
            runs[-1].append(kind)
        else:
            runs.append([kind])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs) or "(none)"
