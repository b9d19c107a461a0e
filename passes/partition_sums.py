"""Which sums a machine adds exactly: bounds from types, and from the constants themselves where they are known."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from ..ir.nest_rules import FLOAT32_EXACT
from ..ir.types import ElementType, Tensor, constant_array
from .lower_product import zero_points
from .partition_question import Question, Rule
from .rewrite import PRODUCTS

UNKNOWN_BIAS = 2**23  # room that a bias of unknown value is given on a float accumulator


def _float_sums_stay_exact(question: Question) -> Iterator[str]:
    node = question.node
    if question.precision != "exact" or not question.element(0).is_float:
        return
    if node.op in PRODUCTS or (node.op == "pool" and node.attribute("kind") != "max"):
        yield "the model is quantised, and a float sum would be added in another order than the reference's"


def _sums_fit_the_accumulator(question: Question) -> Iterator[str]:
    """K * max|x - zx| * max|w - zw|, or with known weights the largest sum of |w - zw| of a channel * max|x - zx|."""
    node, accumulator = question.node, question.arch.array.accumulator
    integers = question.element(0).is_integer
    if node.op == "pool" and node.attribute("kind") == "global_average" and integers:
        terms, least = prod((question.tensor(0).shape or ())[2:]), ElementType.I32.maximum
        if terms * _magnitude(question.tensor(0), False) > least:
            yield f"it adds {terms} elements, which may exceed an i32"
        return
    if node.op not in PRODUCTS or not integers or not question.element(1).is_integer:
        return
    raw = "subtract" not in question.arch.array.mac_forms
    magnitude = _magnitude(question.tensor(0), raw)
    largest = FLOAT32_EXACT - 1 if accumulator.is_float else accumulator.maximum
    # Sums of narrow operands wrap at 32 bits when the bias is added, on the machine and in the graph alike.
    is_wide = max(question.element(0).bits, question.element(1).bits) > ElementType.I8.bits
    bias = _bias_magnitude(question) if accumulator.is_float or is_wide else 0
    if magnitude * sum_terms(question) * _magnitude(question.tensor(1), raw) + bias <= largest:
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
    return max(tensor.type.maximum - min(points), max(points) - tensor.type.minimum)


def _weight_sum(question: Question, raw: bool) -> int:
    """The largest sum of weight magnitudes that one output element adds."""
    node, weights = question.node, question.tensor(1)
    terms = sum_terms(question)
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


def sum_terms(question: Question) -> int:
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


SUM_RULES: tuple[Rule, ...] = (_float_sums_stay_exact, _sums_fit_the_accumulator)
