"""What the units of a machine run: its boxes, its array, its vector unit and its post unit."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..ir.program import BOX_AXES
from ..ir.types import ElementType
from .lower_product import zero_points
from .partition_needs import bodies_needed, post_steps_needed, types_read
from .partition_question import Question, Rule
from .rewrite import PRODUCTS, integers
from .widths import spelled, target_type


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
    kernel, dilations = integers(question.node, "kernel"), integers(question.node, "dilations")
    n, columns, *outputs = question.result.shape or ()
    inner = (*kernel, columns // prod(kernel))
    if dilations[-1] == 1:  # tap and channel are one dimension (passes/lower_elementwise.py)
        inner = (*inner[:-2], inner[-2] * inner[-1])
    axes = sum(extent > 1 for extent in (n, *outputs, *inner))
    if axes > BOX_AXES:
        yield f"its copy has {axes} axes, and a load or store moves boxes of {BOX_AXES}"


def _array_takes_operands(question: Question) -> Iterator[str]:
    node, arch = question.node, question.arch
    if node.op not in PRODUCTS:
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
        takes_wide = arch.array.accumulator is ElementType.I64
        legal = (ElementType.I32, ElementType.I64) if takes_wide else (ElementType.I32,)
        if a.is_integer and bias.type not in legal:
            yield f"its bias is {bias.type}; a product of integers takes {spelled(legal)}"
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
    if question.node.op in PRODUCTS and question.element(0).is_integer and _is_corrected(question):
        steps = ("bias", *steps)
    for step in steps:
        if step not in arch.post.ops:
            yield f"{arch.name}'s post unit has no {step}"


UNIT_RULES: tuple[Rule, ...] = (
    _something_is_there,
    _axes_fit_a_box,
    _im2col_fits_a_box,
    _array_takes_operands,
    _vector_unit_runs_it,
    _post_unit_has_the_steps,
)
