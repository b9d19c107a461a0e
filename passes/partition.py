"""Which nodes the machine runs: a list of named rules, each with its reason in a user's words.

The frontend asks for every node that it converts and leaves the refused ones to host regions; `refusals` asks again for
a whole module, after passes have changed it.

A float node on a machine that will narrow it (passes/quantise.py) is judged in its narrow form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..ir.arch import Arch
from ..ir.diagnostics import Diagnostic
from ..ir.graph import Node, ValueType
from ..ir.module import Module
from ..ir.nest_rules import FLOAT32_EXACT
from ..ir.program import BOX_AXES
from ..ir.types import BlobRef, ElementType, Quantization, Tensor, constant_array
from .lower_post import SMALL_BITS
from .lower_product import with_one_zero_point, zero_points
from .partition_needs import bodies_needed, post_steps_needed, types_read
from .quantise import target_type

UNKNOWN_BIAS = 2**23  # room that a bias of unknown value is given on a float accumulator

_PRODUCTS = ("conv", "conv_transpose", "matmul")
_MOVES = ("reshape", "transpose")
_ARITHMETIC = ("add", "sub", "mul")
_CONVERSIONS = ("quantize", "dequantize", "requantize", "table")


@dataclass(frozen=True, slots=True)
class Question:
    """One node in the form that the machine would run. `tensors` are narrowed already; `narrowed` is the type that a
    float node gets, None where it keeps its own. `blobs` hold the constants, where they are known."""

    node: Node
    tensors: Mapping[str, Tensor]
    arch: Arch
    precision: str
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


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A predicate on nodes: "" if the machine runs the node, else one line of reasons. `precision` is auto, keep or
    int8.

    With `blobs` sums are bounded by the constants themselves, else by their types.
    """

    arch: Arch
    precision: str

    def __call__(self, node: Node, tensors: Mapping[str, Tensor], blobs: Mapping[BlobRef, bytes] | None = None) -> str:
        operands = [name for name in (*node.inputs, *node.outputs) if name]
        operands += [stage.operand for stage in node.post if stage.operand is not None]
        unknown = [reason for name in operands if (reason := _unknown(tensors[name]))]
        if unknown:
            return "; ".join(dict.fromkeys(unknown))
        question = _question(node, {name: tensors[name] for name in operands}, self.arch, self.precision, blobs)
        found = [each for rule in RULES for each in rule(question)]
        return "; ".join(dict.fromkeys(found))


def acceptance(arch: Arch, precision: str) -> Acceptance:
    """What `arch` runs under a precision, for the frontend."""
    return Acceptance(arch, precision)


def refusals(module: Module, arch: Arch, precision: str = "keep") -> list[Diagnostic]:
    """One diagnostic for each graph node of the module that the machine does not run as it is."""
    judge = acceptance(arch, precision)
    nodes = [each for each in module.operations if isinstance(each, Node)]
    reasons = [(node, judge(node, module.tensor_by_name, module.blobs)) for node in nodes]
    return [Diagnostic(f"{node.op} {node.name!r}: {why}", node.span) for node, why in reasons if why]


def _question(
    node: Node,
    tensors: Mapping[str, Tensor],
    arch: Arch,
    precision: str,
    blobs: Mapping[BlobRef, bytes] | None,
) -> Question:
    target = target_type(arch, precision)
    is_float = tensors[node.inputs[0]].type is ElementType.F32 and node.op not in _CONVERSIONS
    if target is None or not is_float:
        return Question(node, tensors, arch, precision, None, blobs)
    weights = node.inputs[1] if node.op in _PRODUCTS else None
    bias = node.inputs[2] if node.op in _PRODUCTS and len(node.inputs) > 2 else None
    codes = Quantization((1.0,), (target.minimum,)) if target.is_integer else None
    narrow: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kind, quantization = target, codes
        if target.is_integer and name == bias:
            kind, quantization = ElementType.I32, None
        elif target.is_integer and name == weights and tensor.constant is not None:
            kind, quantization = ElementType.I8, Quantization((1.0,), (0,))
        elif name == bias:
            kind, quantization = ElementType.F32, None
        is_real = tensor.type is ElementType.F32
        narrow[name] = replace(tensor, type=kind, quantization=quantization) if is_real else tensor
    value = None if node.value is None else ValueType(target, codes)
    post = tuple(replace(stage, result=ValueType(target, codes)) for stage in node.post)
    return Question(replace(node, value=value, post=post), narrow, arch, precision, target, None)


# --- Shapes -------------------------------------------------------------------------------------------------------


def _unknown(tensor: Tensor) -> str:
    if not isinstance(tensor.type, ElementType):
        return f"{tensor.name!r} has type {tensor.type.spelling}, which only the host knows"
    if tensor.shape is None:
        return f"the shape of {tensor.name!r} is known only at run time"
    return ""


def _something_is_there(question: Question) -> Iterator[str]:
    for tensor in (*question.operands, question.result):
        if 0 in (tensor.shape or ()):
            yield f"{tensor.name!r} has no elements: there is nothing to run"


def _axes_fit_a_box(question: Question) -> Iterator[str]:
    node = question.node
    result = question.result.shape or ()
    if node.op in ("conv", "conv_transpose", "pool", "im2col"):
        spatial = len(question.tensor(0).shape or ()) - 2
        if not 1 <= spatial <= 3:
            yield f"it has {spatial} spatial axes; windows have 1 to 3"
        return
    for tensor in (*question.operands, question.result):
        axes = sum(extent > 1 for extent in tensor.shape or ())
        if axes > BOX_AXES:
            yield f"{tensor.name!r} has {axes} axes longer than 1, and a load or store moves boxes of {BOX_AXES}"
    if node.op == "matmul":
        batch = len([extent for extent in result[:-2] if extent > 1])
        if batch > BOX_AXES - 2:
            yield f"it has {batch} batch axes, at most {BOX_AXES - 2} fit a command"


def _im2col_fits_a_box(question: Question) -> Iterator[str]:
    if question.node.op != "im2col":
        return
    kernel, group = question.node.attribute("kernel"), question.node.attribute("group")
    assert isinstance(kernel, tuple)
    n, channels, *image = question.tensor(0).shape or ()
    axes = sum(extent > 1 for extent in (n, group, channels, *image, *kernel) if isinstance(extent, int))
    if axes > BOX_AXES:
        yield f"its copy has {axes} axes, and a load or store moves boxes of {BOX_AXES}"


# --- Types --------------------------------------------------------------------------------------------------------


def _array_takes_operands(question: Question) -> Iterator[str]:
    node, arch = question.node, question.arch
    if node.op not in _PRODUCTS:
        return
    a, b = question.element(0), question.element(1)
    for kind, legal in ((a, arch.array.inputs), (b, arch.array.weights)):
        if kind not in legal:
            yield f"{kind} is not among {arch.name}'s array types {spelled(legal)}{_advice(question, kind)}"
    if a.is_float != b.is_float:
        yield f"it multiplies {a} with {b}; a product takes two floats or two integers"
    elif a.is_float and question.value.type.is_integer:
        yield f"a product of floats has a float result, not {question.value.type}"
    bias = question.bias
    if bias is not None and isinstance(bias.type, ElementType):
        if a.is_integer and bias.type is not ElementType.I32:
            yield f"its bias is {bias.type}; a product of integers takes i32"
        if a.is_integer and bias.constant is None and _needs_bias_of_our_own(question):
            yield f"its bias is computed, and {arch.name} takes another one, which is derived from it"
        if a.is_float and not bias.type.is_float:
            yield f"its bias is {bias.type}; a product of floats takes a float"
        if question.narrowed is not None and question.narrowed.is_integer and bias.constant is None:
            yield "its bias is computed, so it cannot be quantised in the scale of the product"


def _needs_bias_of_our_own(question: Question) -> bool:
    """Where the accumulator holds floats, or where stored codes are multiplied and a correction joins the bias."""
    return question.arch.array.accumulator.is_float or _is_corrected(question)


def _is_corrected(question: Question) -> bool:
    """Whether the bias makes up for zero points that the MACs do not subtract."""
    return "subtract" not in question.arch.array.mac_forms and any(zero_points(question.tensor(0)))


def _advice(question: Question, kind: ElementType) -> str:
    if kind is ElementType.F32 and question.precision == "keep" and target_type(question.arch, "int8") is not None:
        return "; with --precision int8 it would be quantised"
    return ""


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


def _vector_unit_runs_it(question: Question) -> Iterator[str]:
    """Pools, elementwise operators, and copies for reshapes and transposes."""
    arch, node = question.arch, question.node
    bodies = bodies_needed(node, question.tensors)
    if not bodies:
        return
    if arch.vector is None:
        yield f"{arch.name} has no vector unit, which {node.op} needs"
        return
    for body in bodies:
        if body not in arch.vector.ops:
            yield f"{arch.name}'s vector unit has no {body}"
    for kind in types_read(node, question.tensors):
        if kind not in arch.vector.inputs:
            yield f"{kind} is not among the types of {arch.name}'s vector unit, {spelled(arch.vector.inputs)}"


def _post_unit_has_the_steps(question: Question) -> Iterator[str]:
    arch = question.arch
    steps = post_steps_needed(question.node, question.tensors, arch.array.accumulator.is_float)
    if question.node.op == "leaky_relu" and question.narrowed is not None and question.narrowed.is_integer:
        # On codes it is a table; behind a product or a pool it is computed on floats, which are rounded to codes.
        steps = ("table", "scale", *steps)
    if question.node.op in _PRODUCTS and question.element(0).is_integer and _is_corrected(question):
        steps = ("bias", *steps)
    for step in steps:
        if step not in arch.post.ops:
            yield f"{arch.name}'s post unit has no {step}"


def _integers_have_scales(question: Question) -> Iterator[str]:
    """Elementwise arithmetic on integers is on codes."""
    node = question.node
    if node.op not in _ARITHMETIC:
        return
    kinds = [question.element(0), question.element(1)]
    if kinds[0].is_float != kinds[1].is_float:
        yield f"{node.op} of {kinds[0]} and {kinds[1]} mixes floats and integers"
    elif kinds[0].is_integer:
        if node.op == "sub" and question.narrowed is None:
            yield "codes have an addition, but no subtraction"
        elif any(tensor.quantization is None for tensor in question.operands) or question.value.quantization is None:
            yield f"{node.op} of integers without scales"
        elif any(kind.bits > SMALL_BITS for kind in (*kinds, question.value.type)):
            yield f"{node.op} of codes takes at most {SMALL_BITS} bits"


def _narrow_form_exists(question: Question) -> Iterator[str]:
    node, narrowed = question.node, question.narrowed
    if narrowed is None or not narrowed.is_integer:
        return
    constant = [tensor.constant is not None for tensor in question.operands]
    if node.op == "sub" and not constant[1]:
        yield f"a difference has no {narrowed} form unless a constant is subtracted"
    if node.op == "mul" and not any(constant):
        yield f"a product of two computed tensors is not narrowed to {narrowed}"


def _float_sums_stay_exact(question: Question) -> Iterator[str]:
    node = question.node
    if question.precision != "exact" or not question.element(0).is_float:
        return
    if node.op in _PRODUCTS or (node.op == "pool" and node.attribute("kind") != "max"):
        yield "the model is quantised, and a float sum would be added in another order than the reference's"


# --- Quantisation -------------------------------------------------------------------------------------------------


def _one_scale_for_data(question: Question) -> Iterator[str]:
    """Only weights of products, operands of dequantize and requantize, and moved tensors have scales per slice."""
    node = question.node
    if node.op in _MOVES:
        return
    free = {1: "w"} if node.op in _PRODUCTS else {0: "x"} if node.op in ("dequantize", "requantize") else {}
    for position, tensor in enumerate(question.operands):
        if position not in free and position < 2 and _sliced(tensor.quantization):
            yield f"{tensor.name!r} has a scale for each slice; this operand takes one for all"
    results = [question.value.quantization, *(stage.result.quantization for stage in node.post)]
    if question.value.type.is_integer and question.value.type.bits > SMALL_BITS:
        results = results[1:]
    if any(_sliced(each) for each in results):
        yield "its result has a scale for each slice; a result takes one for all"


def _sliced(quantization: Quantization | None) -> bool:
    return quantization is not None and len(quantization.scale) > 1


def _weight_scales_run_along_channels(question: Question) -> Iterator[str]:
    node = question.node
    if node.op not in _PRODUCTS or not _sliced(question.tensor(1).quantization):
        return
    quantization, rank = question.tensor(1).quantization, len(question.tensor(1).shape or ())
    assert quantization is not None
    axis = {"conv": 0, "conv_transpose": 1}.get(node.op, rank - 1)
    if node.op == "matmul" and node.attribute("transpose_b"):
        axis = rank - 2
    if quantization.axis != axis:
        yield f"the scales of its weights run along axis {quantization.axis}; output channels are axis {axis}"


def _zero_points_suit_the_array(question: Question) -> Iterator[str]:
    node, arch = question.node, question.arch
    if node.op not in _PRODUCTS or question.element(0).is_float:
        return
    data, weights = question.tensor(0), question.tensor(1)
    if len(set(zero_points(weights))) > 1 and not _shiftable(question, weights):
        yield "its weights have a zero point for each channel, and a MAC subtracts one for all"
    if "subtract" not in arch.array.mac_forms:
        if any(zero_points(weights)):
            yield f"its weights have a zero point, and {arch.name}'s MACs multiply stored codes"
        if any(zero_points(data)) and weights.constant is None:
            yield f"its data have a zero point and its weights are computed; {arch.name}'s MACs multiply stored codes"


def _shiftable(question: Question, weights: Tensor) -> bool:
    if question.blobs is None or weights.constant is None or weights.quantization is None:
        return False
    return weights.quantization.axis is not None and with_one_zero_point(weights, question.blobs) is not None


def _sums_fit_the_accumulator(question: Question) -> Iterator[str]:
    """K * max|x - zx| * max|w - zw|, or with known weights the largest sum of |w - zw| of a channel * max|x - zx|."""
    node, accumulator = question.node, question.arch.array.accumulator
    integers = question.element(0).is_integer
    if node.op == "pool" and node.attribute("kind") == "global_average" and integers:
        terms, least = prod((question.tensor(0).shape or ())[2:]), ElementType.I32.maximum
        if terms * _magnitude(question.tensor(0), False) > least:
            yield f"it adds {terms} elements, which may exceed an i32"
        return
    if node.op not in _PRODUCTS or not integers or not question.element(1).is_integer:
        return
    raw = "subtract" not in question.arch.array.mac_forms
    magnitude = _magnitude(question.tensor(0), raw)
    largest = FLOAT32_EXACT - 1 if accumulator.is_float else accumulator.maximum
    bias = _bias_magnitude(question) if accumulator.is_float else 0
    if magnitude * _terms(question) * _magnitude(question.tensor(1), raw) + bias <= largest:
        return  # whatever the weights are, and they need not be read
    bound = magnitude * _weight_sum(question, raw) + bias
    if bound <= largest:
        return
    if accumulator.is_float:
        yield f"its sums may reach {bound}, and integers are exact in {accumulator} only below {FLOAT32_EXACT}"
    else:
        yield f"its sums may reach {bound}, and {accumulator} holds up to {accumulator.maximum}"


def _magnitude(tensor: Tensor, raw: bool) -> int:
    """The largest |code - zero point|, or |code| where the MAC multiplies stored codes."""
    assert isinstance(tensor.type, ElementType)
    points = (0,) if raw else zero_points(tensor)
    return max(max(tensor.type.maximum - point, point - tensor.type.minimum) for point in points)


def _weight_sum(question: Question, raw: bool) -> int:
    """The largest sum of weight magnitudes that one output element adds."""
    node, weights = question.node, question.tensor(1)
    terms = _terms(question)
    worst = terms * _magnitude(weights, raw)
    if question.blobs is None or weights.constant is None or node.op == "conv_transpose":
        return worst
    codes = constant_array(weights, question.blobs).astype(np.int64)
    if not raw:
        points = np.asarray(zero_points(weights), np.int64)
        shape = [1] * codes.ndim
        if len(points) > 1 and weights.quantization is not None and weights.quantization.axis is not None:
            shape[weights.quantization.axis] = -1
            codes = codes - points.reshape(shape)
        else:
            codes = codes - points[0]
    magnitudes = np.abs(codes)
    if node.op == "conv":
        sums = magnitudes.reshape(len(magnitudes), -1).sum(axis=1)
    else:
        axis = -1 if codes.ndim == 1 or node.attribute("transpose_b") else -2
        sums = magnitudes.sum(axis=axis)
    return int(sums.max(initial=0))


def _terms(question: Question) -> int:
    """How many products one output element adds."""
    node = question.node
    weights, data = question.tensor(1).shape or (), question.tensor(0).shape or ()
    if node.op == "conv":
        return prod(weights[1:])
    if node.op == "conv_transpose":
        group = node.attribute("group")
        assert isinstance(group, int)
        return weights[0] // group * prod(weights[2:])
    return data[-2] if len(data) > 1 and node.attribute("transpose_a") else data[-1]


def _bias_magnitude(question: Question) -> int:
    bias = question.bias
    if bias is None:
        return 0
    if question.blobs is None or bias.constant is None:
        return UNKNOWN_BIAS
    return int(np.abs(constant_array(bias, question.blobs).astype(np.int64)).max(initial=0))


# --- Operators ----------------------------------------------------------------------------------------------------


def _tables_cover_their_type(question: Question) -> Iterator[str]:
    tables = [(question.element(0), question.tensor(1))] if question.node.op == "table" else []
    running = question.value
    for stage in question.node.post:
        if stage.op == "table" and stage.operand is not None:
            tables.append((running.type, question.tensors[stage.operand]))
        running = stage.result
    for kind, table in tables:
        if kind.is_float or kind.bits > 8:
            yield f"a table is indexed by integers of at most 8 bits, not {kind}"
        elif table.elements != 1 << kind.bits:
            yield f"its table has {table.elements} entries; {kind} has {1 << kind.bits} codes"


def _conversions_are_of_codes(question: Question) -> Iterator[str]:
    node = question.node
    data, value = question.tensor(0), question.value
    if node.op == "quantize" and value.type.is_integer:
        if value.quantization is None:
            yield "it quantises to integers without a scale"
        elif value.type.bits > SMALL_BITS:
            yield f"it quantises to {value.type}; codes have at most {SMALL_BITS} bits"
    if node.op == "requantize":
        if data.type is not ElementType.I32 or data.quantization is None or value.quantization is None:
            yield "it requantises what is not an i32 with a scale"
        elif any(data.quantization.zero_point):
            yield "its sums have a zero point"


def _moves_keep_the_value(question: Question) -> Iterator[str]:
    node, data, result = question.node, question.tensor(0), question.result
    if node.op not in _MOVES or question.narrowed is not None:
        return
    if data.type != result.type:
        yield f"a {node.op} does not convert {data.type} to {result.type}"
    elif data.quantization != result.quantization:
        yield f"a {node.op} does not change what codes stand for"


def _maxima_have_one_meaning(question: Question) -> Iterator[str]:
    node, data, value = question.node, question.tensor(0), question.value
    if node.op != "pool" or node.attribute("kind") != "max" or question.narrowed is not None:
        return
    if data.type == value.type and (data.quantization is None) != (value.quantization is None):
        yield "its operand has no scale and its result has one, or the other way round"


RULES: tuple[Rule, ...] = (
    _something_is_there,
    _axes_fit_a_box,
    _im2col_fits_a_box,
    _array_takes_operands,
    _vector_unit_runs_it,
    _post_unit_has_the_steps,
    _integers_have_scales,
    _narrow_form_exists,
    _float_sums_stay_exact,
    _one_scale_for_data,
    _weight_scales_run_along_channels,
    _zero_points_suit_the_array,
    _sums_fit_the_accumulator,
    _tables_cover_their_type,
    _conversions_are_of_codes,
    _moves_keep_the_value,
    _maxima_have_one_meaning,
)
