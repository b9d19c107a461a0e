"""Which arithmetic on codes a machine has: scales, zero points, tables, conversions, and the narrow forms of floats."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.types import ElementType, Quantization, Tensor
from .lower_post import SMALL_BITS
from .lower_product import with_one_zero_point, zero_points
from .partition_question import MOVES, Question, Rule
from .rewrite import PRODUCTS

_ARITHMETIC = ("add", "sub", "mul")


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


def _one_scale_for_data(question: Question) -> Iterator[str]:
    """Only weights of products, operands of dequantize and requantize, and moved tensors have scales per slice."""
    node = question.node
    if node.op in MOVES:
        return
    free = {1: "w"} if node.op in PRODUCTS else {0: "x"} if node.op in ("dequantize", "requantize") else {}
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
    if node.op not in PRODUCTS or not _sliced(question.tensor(1).quantization):
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
    if node.op not in PRODUCTS or question.element(0).is_float:
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
    if node.op not in MOVES or question.narrowed is not None:
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


CODE_RULES: tuple[Rule, ...] = (
    _integers_have_scales,
    _narrow_form_exists,
    _one_scale_for_data,
    _weight_scales_run_along_channels,
    _zero_points_suit_the_array,
    _tables_cover_their_type,
    _conversions_are_of_codes,
    _moves_keep_the_value,
    _maxima_have_one_meaning,
)
