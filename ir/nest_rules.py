"""What holds of every nest, scheduled or not: accesses, body, post chain, accumulator. A part of `ir/verifier.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from math import isfinite, prod

import numpy as np

from .affine import Affine
from .block_rules import prune_faults
from .converter_rules import decodes_are_legal
from .diagnostics import Diagnostic, any_of, close_match
from .isl_questions import IslQuestions
from .module import Module
from .nest import POST_ATTRIBUTES, VALUE, Access, BodyOp, Nest, Post, PostOp, Role
from .nest_layout import axis_step
from .program import AUX_SLOTS, BOX_AXES, COUNTERS, FORM_CODES, MULTIPLIER_CODES, POST_STEPS, STREAMS
from .text import symbol, to_float32
from .types import BlobRef, ElementType

FLOAT32_EXACT = 1 << 24  # integers up to here are exact in float32

_TWO_OPERANDS = (BodyOp.MAC, BodyOp.ADD, BodyOp.SUB, BodyOp.MUL, BodyOp.QADD)
_NEED_OPERAND = (PostOp.BIAS, PostOp.TABLE, PostOp.QADD, PostOp.ADD, PostOp.MUL)
_MAY_HAVE_OPERAND = (PostOp.REQUANTIZE, PostOp.SCALE, PostOp.DIVIDE)


def nest_faults(module: Module, nest: Nest, questions: IslQuestions) -> Iterator[Diagnostic]:
    """All faults of one nest but those of its schedule. Rules about values apply once the structure is sound, rules
    about structure once there is no more of anything than an instruction can say."""
    if (yield from any_of(instruction_limits_hold(nest))):
        return
    structure = (domain_is_legal, operands_exist, accesses_fit_the_domain, roles_are_legal)
    if (yield from any_of(found for rule in structure for found in rule(nest))):
        return
    yield from every_read_is_used(nest)
    yield from views_cover_their_tensors(module, nest)
    yield from points_stay_inside(nest)
    yield from (fault(nest, *each) for each in decodes_are_legal(nest))
    yield from body_is_legal(nest)
    yield from post_chain_is_legal(nest)
    yield from post_operands_follow_the_output(nest)
    yield from write_is_injective(nest, questions)
    yield from every_output_is_computed(nest)
    yield from accumulator_holds_the_sum(module, nest)
    yield from prune_faults(nest)


def fault(nest: Nest, message: str, help: str = "") -> Diagnostic:
    return Diagnostic(f"nest {nest.name!r}: {message}", nest.span, help)


def extents_of(nest: Nest) -> dict[str, int]:
    return {dim.name: dim.extent for dim in nest.domain}


def last_index(axis: Affine, extents: Mapping[str, int]) -> int:
    """The greatest value of an index whose coefficients are not negative, over a domain that is not empty."""
    return axis.constant + sum(c * (extents[dim] - 1) for dim, c in axis.terms)


# ---------------------------------------------------------------------------------------------- structure


def domain_is_legal(nest: Nest) -> Iterator[Diagnostic]:
    """Dimensions have names of their own and extents that are not negative."""
    names = [dim.name for dim in nest.domain]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield fault(nest, f"dimension {name!r} is declared {names.count(name)} times")
    for dim in nest.domain:
        if dim.extent < 0:
            yield fault(nest, f"dimension {dim.name!r} has extent {dim.extent}", "at least 0")
        if dim.name == VALUE:
            yield fault(nest, f"a dimension is named {VALUE!r}", "that name stands for the running value")


def operands_exist(nest: Nest) -> Iterator[Diagnostic]:
    """Operands have names of their own; body and post chain name reads."""
    names = [access.operand for access in (*nest.reads, nest.write)]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield fault(nest, f"{names.count(name)} operands are named {symbol(name)}")
    reads = names[:-1]
    legal = f"reads are {', '.join(map(symbol, reads)) or 'none'}"
    used = [nest.body.a, nest.body.b, *(step.operand for step in nest.post)]
    for name in dict.fromkeys(each for each in used if each is not None):
        if name not in reads:
            yield fault(nest, f"there is no operand {symbol(name)}", f"{close_match(name, reads)}{legal}")


def every_read_is_used(nest: Nest) -> Iterator[Diagnostic]:
    """Body or post chain use each operand that is loaded."""
    used = [nest.body.a, nest.body.b, *(step.operand for step in nest.post)]
    for access in nest.reads:
        if access.operand not in used:
            yield fault(nest, f"operand {symbol(access.operand)} is read and not used")


def accesses_fit_the_domain(nest: Nest) -> Iterator[Diagnostic]:
    """One index per axis, over dimensions of the domain, with coefficients that are not negative; VALUE only in the
    first place that looks up a table."""
    names = [dim.name for dim in nest.domain]
    tables = [step.operand for step in nest.post if step.op is PostOp.TABLE]
    for access in (*nest.reads, nest.write):
        who = symbol(access.operand)
        if len(access.index) != len(access.shape):
            yield fault(nest, f"{who} has {len(access.index)} indices for {len(access.shape)} axes")
        if any(extent < 0 for extent in access.shape):
            yield fault(nest, f"{who} has shape {list(access.shape)}", "extents are at least 0")
        for axis in access.index:
            for dim, coefficient in axis.terms:
                if dim == VALUE and access.operand in tables and coefficient == 1 and len(axis.terms) == 1:
                    continue
                if dim not in names:
                    help = f"{close_match(dim, names)}the domain has {', '.join(names) or 'none'}"
                    yield fault(nest, f"{who} is indexed by {dim!r}, which is no dimension", help)
                elif coefficient <= 0:
                    yield fault(nest, f"{who} is indexed by {axis}", "coefficients are positive")
        if access.operand in tables and not any(VALUE in axis.dims for axis in access.index):
            yield fault(nest, f"the table {who} is not indexed by the running value", f"index it by {VALUE} - minimum")


def instruction_limits_hold(nest: Nest) -> Iterator[Diagnostic]:
    """What the fields of an instruction can say (ir/program.py)."""
    steps = [step for step in nest.post if step.operand is not None]
    for what, count, most in (
        ("dimensions", len(nest.domain), COUNTERS),
        ("reads", len(nest.reads), STREAMS),
        ("post steps", len(nest.post), POST_STEPS),
        ("post steps with an operand", len(steps), AUX_SLOTS),
        *((f"axes of {symbol(a.operand)}", len(a.index), BOX_AXES) for a in (*nest.reads, nest.write)),
    ):
        if count > most:
            yield fault(nest, f"{count} {what}", f"at most {most}")


def roles_are_legal(nest: Nest) -> Iterator[Diagnostic]:
    """The output is the only operand with the role of an output."""
    if nest.write.role is not Role.OUTPUT:
        yield fault(nest, f"the output has role {nest.write.role.value}", "output")
    for access in nest.reads:
        if access.role not in (Role.INPUT, Role.WEIGHT, Role.BIAS, Role.AUX):
            yield fault(nest, f"{symbol(access.operand)} has role {access.role.value}", "input, weight, bias or aux")


# ---------------------------------------------------------------------------------------------- accesses


def views_cover_their_tensors(module: Module, nest: Nest) -> Iterator[Diagnostic]:
    """A view has the type and exactly the bytes of its tensor; pad value and zero point are values of that type."""
    for access in (*nest.reads, nest.write):
        who = symbol(access.operand)
        tensor = module.tensor_by_name.get(access.tensor)
        if tensor is None:
            yield fault(nest, f"there is no tensor {symbol(access.tensor)}")
        elif not isinstance(tensor.type, ElementType) or tensor.shape is None:
            yield fault(nest, f"{symbol(access.tensor)} is a value of the host", "only host regions take those")
        elif tensor.type is not access.type:
            yield fault(nest, f"{who} reads {access.type}, {symbol(access.tensor)} holds {tensor.type}")
        elif prod(access.shape) != tensor.elements:
            message = f"the view {list(access.shape)} of {who} has {prod(access.shape)} elements"
            yield fault(nest, message, f"{symbol(access.tensor)} has {tensor.elements}")
        for what, value in (("pad", access.pad), ("zero point", access.zero_point)):
            if value is None or not access.local_type.is_integer:
                continue
            if not isinstance(value, int) or not access.type.minimum <= value <= access.type.maximum:
                yield fault(nest, f"the {what} of {who} is {value}", f"a value of {access.type}")
        if access.local_type.is_float and access.zero_point:
            yield fault(nest, f"the zero point of {who} is {access.zero_point}", "floats have none")


def points_stay_inside(nest: Nest) -> Iterator[Diagnostic]:
    """No point lies outside of a view that has no pad value; the output has none."""
    extents = extents_of(nest)
    if nest.write.pad is not None:
        yield fault(nest, "the output has a pad value", "only reads are padded")
    if 0 in extents.values():
        return
    for access in (*nest.reads, nest.write):
        if access.pad is not None:
            continue
        for number, (axis, view) in enumerate(zip(access.index, access.shape, strict=True)):
            if VALUE in axis.dims:
                continue
            last = last_index(axis, extents)
            if axis.constant < 0 or last >= view:
                message = f"axis {number} of {symbol(access.operand)} is indexed from {axis.constant} to {last}"
                yield fault(nest, message, f"0 to {view - 1}, or a pad value")


# ---------------------------------------------------------------------------------------------- body


def body_is_legal(nest: Nest) -> Iterator[Diagnostic]:
    """The body has its operands, form and scalars; only mac, sum and max reduce; types of operands fit each other and
    the accumulator."""
    body, op = nest.body, nest.body.op
    if (body.b is not None) != (op in _TWO_OPERANDS):
        yield fault(nest, f"body {op.value} takes {'two operands' if op in _TWO_OPERANDS else 'one operand'}")
        return
    forms = FORM_CODES[1:] if op is BodyOp.MAC else FORM_CODES[:1]
    if body.form not in forms:
        yield fault(nest, f"body {op.value} has form {body.form!r}", f"one of {', '.join(map(repr, forms))}")
    if body.multiplier not in MULTIPLIER_CODES:
        help = f"{close_match(body.multiplier, MULTIPLIER_CODES)}one of {', '.join(MULTIPLIER_CODES)}"
        yield fault(nest, f"there is no multiplier {body.multiplier!r}", help)
    names = ("ra", "rb", "base") if op is BodyOp.QADD else ()
    if tuple(name for name, _ in body.attributes) != names:
        yield fault(
            nest, f"body {op.value} has scalars {[name for name, _ in body.attributes]}", f"it has {list(names)}"
        )
    for name, value in body.attributes:
        if not _is_float32(value):
            yield fault(nest, f"scalar {name!r} is {value!r}", "a float32 value")
    if not op.reduces:
        for dim in nest.domain:
            if dim.extent > 1 and dim.name not in nest.write.dims:
                yield fault(nest, f"body {op.value} overwrites, but the output does not depend on {dim.name!r}")
    types = [nest.access(name).local_type for name in (body.a, body.b) if name is not None]
    floats = {each.is_float for each in types}
    if len(floats) > 1:
        yield fault(nest, f"body {op.value} of {types[0]} and {types[1]}", "both are integers, or both are floats")
    elif floats == {True} and nest.accumulator.is_integer:
        yield fault(nest, f"floats are accumulated in {nest.accumulator}", "in f32")
    elif op in (BodyOp.ADD, BodyOp.SUB) and floats == {False}:
        yield fault(nest, f"body {op.value} of integers", "qadd adds codes")
    elif op is BodyOp.QADD and floats == {True}:
        yield fault(nest, "body qadd of floats", "add adds floats")


def _is_float32(value: object) -> bool:
    if not isinstance(value, float):
        return False
    try:
        return isfinite(value) and to_float32(value) == value
    except OverflowError:
        return False


# ---------------------------------------------------------------------------------------------- post chain


def post_chain_is_legal(nest: Nest) -> Iterator[Diagnostic]:
    """Every step has its operand and attributes, fits the running value (integer or float), and the last one makes what
    is stored."""
    is_float = nest.accumulator.is_float
    for number, step in enumerate(nest.post):
        for message, help in chain(_step_faults(nest, step), _running_faults(nest, step, is_float)):
            yield fault(nest, f"post step {number} ({step.op.value}): {message}", help)
        is_float = _runs_as_float(step, is_float)
    if is_float != nest.write.type.is_float:
        made = "a float" if is_float else "an integer"
        yield fault(nest, f"the post chain makes {made}, {nest.write.type} is stored", "convert in the post chain")


def _step_faults(nest: Nest, step: Post) -> Iterator[tuple[str, str]]:
    has_operand = step.operand is not None
    if not has_operand and step.op in _NEED_OPERAND:
        yield "it has no operand", "it needs one"
    if has_operand and step.op not in (*_NEED_OPERAND, *_MAY_HAVE_OPERAND):
        yield "it has an operand", "it takes none"
    declared = [name.rstrip("?") for name in POST_ATTRIBUTES[step.op] if not (has_operand and name.endswith("?"))]
    names = [name for name, _ in step.attributes]
    if sorted(names) != sorted(declared):
        strange = next((name for name in names if name not in declared), "")
        guess = close_match(strange, declared)
        yield f"it has attributes {', '.join(names) or 'none'}", f"{guess}it has {', '.join(declared) or 'none'}"
    for name, value in step.attributes:
        if name == "type":
            if value not in [each.value for each in ElementType]:
                yield f"there is no type {value!r}", close_match(str(value), [each.value for each in ElementType])
        elif name == "zero_point" or (step.op is PostOp.TABLE and name == "minimum"):
            if not _is_int32(value):
                yield f"attribute {name!r} is {value!r}", "a whole number of 32 bits"
        elif step.op is PostOp.CLAMP:
            if type(value) is int and not _is_int32(value):
                yield f"attribute {name!r} is {value!r}", "a whole number of 32 bits"
        elif not _is_float32(value):
            yield f"attribute {name!r} is {value!r}", "a float32 value"


def _is_int32(value: object) -> bool:
    """Whether the field of an instruction holds it."""
    return type(value) is int and ElementType.I32.minimum <= value <= ElementType.I32.maximum


def _running_faults(nest: Nest, step: Post, is_float: bool) -> Iterator[tuple[str, str]]:
    running = "a float" if is_float else "an integer"
    if step.op in (PostOp.TABLE, PostOp.QADD, PostOp.SATURATE) and is_float:
        yield f"the running value is {running}", "it takes an integer"
    if step.op in (PostOp.LEAKY, PostOp.ADD, PostOp.MUL, PostOp.QUANTIZE) and not is_float:
        yield f"the running value is {running}", "it takes a float"
    if step.op is PostOp.CLAMP:
        for name, value in step.attributes:
            if type(value) is not (float if is_float else int):
                yield f"attribute {name!r} is {value!r}", f"the running value is {running}"
    if step.operand is None:
        return
    kind = nest.access(step.operand).local_type
    wanted: bool | None = step.op in (PostOp.REQUANTIZE, PostOp.SCALE, PostOp.DIVIDE, PostOp.ADD, PostOp.MUL)
    if step.op is PostOp.BIAS:
        wanted = is_float
    elif step.op is PostOp.TABLE:
        wanted = None
    if wanted is not None and kind.is_float != wanted:
        yield f"operand {symbol(step.operand)} is of type {kind}", f"{'a float' if wanted else 'an integer'} is needed"


def _runs_as_float(step: Post, before: bool) -> bool:
    """Whether the running value is a float after a step."""
    if step.op in (PostOp.SCALE, PostOp.DEQUANTIZE, PostOp.DIVIDE):
        return True
    if step.op in (PostOp.REQUANTIZE, PostOp.QUANTIZE, PostOp.QADD):
        return False
    if step.op is PostOp.TABLE:
        return dict(step.attributes).get("type") in ("f32", "bf16", "f16")
    return before


def post_operands_follow_the_output(nest: Nest) -> Iterator[Diagnostic]:
    """An operand of the post chain is indexed by dimensions of the output only, and moves alike whichever dimension
    moves an axis of the output by one position: the store knows positions of the output, not dimensions."""
    extents = extents_of(nest)
    for name in dict.fromkeys(step.operand for step in nest.post if step.operand is not None):
        access = nest.access(name)
        if strangers := sorted(access.dims - nest.write.dims):
            if any(extents[dim] > 1 for dim in strangers):
                help = "an operand of the post chain is indexed as the output is"
                yield fault(nest, f"{symbol(name)} depends on {', '.join(strangers)}, the output does not", help)
            continue
        for axis in nest.write.index:
            moving = [(dim, c) for dim, c in axis.terms if extents[dim] > 1]
            for own in access.index:
                moves = {own.coefficient(dim) / c for dim, c in moving}
                if len(moves) > 1:
                    dims = ", ".join(dim for dim, _ in moving)
                    yield fault(nest, f"{symbol(name)} does not move with the output along {dims}")


# ---------------------------------------------------------------------------------------------- output


def write_is_injective(nest: Nest, questions: IslQuestions) -> Iterator[Diagnostic]:
    """Two points that differ in a dimension of the output write different elements."""
    extents = extents_of(nest)
    dims = tuple((dim, extents[dim]) for dim in sorted(nest.write.dims))
    if 0 in extents.values() or _is_mixed_radix(nest.write, extents):
        return
    injective = questions.is_injective(nest.write.index, dims)
    if not injective:
        index = ", ".join(map(str, nest.write.index))
        known = "several points write one element"
        what = known if injective is False else "whether several points write one element is too hard to tell:"
        yield fault(nest, f"{what} at ({index})", "the output's index must be injective")


def _is_mixed_radix(access: Access, extents: Mapping[str, int]) -> bool:
    """Whether each axis alone tells the dimensions that it is made of: each coefficient exceeds what those with smaller
    ones reach. Sufficient for injectivity, and true of nearly every nest."""
    for axis in access.index:
        reach = 0
        for dim, coefficient in sorted(axis.terms, key=lambda term: term[1]):
            if extents[dim] > 1:
                if coefficient <= reach:
                    return False
                reach += coefficient * (extents[dim] - 1)
    return True


def every_output_is_computed(nest: Nest) -> Iterator[Diagnostic]:
    """A nest without points has no commands, so its output must be empty too; and an output axis of several dimensions
    has no gaps, because a store writes whole boxes."""
    extents = extents_of(nest)
    if 0 in extents.values():
        if 0 not in nest.write.shape and all(extents[dim] for dim in nest.write.dims):
            empty = ", ".join(dim for dim, extent in extents.items() if extent == 0)
            yield fault(
                nest, f"{empty} has no points, but the output has elements", "a nest without points writes nothing"
            )
        return
    for number, axis in enumerate(nest.write.index):
        points = prod(extents[dim] for dim in axis.dims)
        positions = (last_index(axis, extents) - axis.constant) // axis_step(axis, extents) + 1
        if positions > points:
            message = f"the points of output axis {number} ({axis}) leave gaps: {points} points, {positions} positions"
            yield fault(nest, message, "a store writes whole boxes")


# ---------------------------------------------------------------------------------------------- accumulator


def accumulator_holds_the_sum(module: Module, nest: Nest) -> Iterator[Diagnostic]:
    """The greatest sum that operands of these types, or these constants, can make fits the accumulator."""
    bound = sum_bound(module, nest)
    if bound is None:
        return
    kind = nest.accumulator
    most = FLOAT32_EXACT if kind.is_float else kind.maximum
    if bound > most:
        yield fault(
            nest, f"a sum may reach {bound}, {kind} holds {most} exactly", "use a wider accumulator, or the host"
        )


def sum_bound(module: Module, nest: Nest) -> int | None:
    """The greatest magnitude of an integer sum; None for floats and bodies that do not sum. A tighter bound from the
    values of a constant operand is computed only where the bound from the types is too wide."""
    body = nest.body
    operands = [nest.access(name) for name in (body.a, body.b) if name is not None]
    if body.op not in (BodyOp.MAC, BodyOp.SUM, BodyOp.MUL) or any(each.local_type.is_float for each in operands):
        return None
    extents = extents_of(nest)
    terms = prod(extents[dim.name] for dim in nest.domain if dim.name not in nest.write.dims)
    reach: list[int] = [_reach(access, body.form) for access in operands]
    bound = terms * prod(reach)
    if bound <= (FLOAT32_EXACT if nest.accumulator.is_float else nest.accumulator.maximum):
        return bound
    for number, access in enumerate(operands):
        total = _constant_total(module, nest, access)
        if total is not None:
            bound = min(bound, total * prod(reach[:number] + reach[number + 1 :]))
    return bound


def _reach(access: Access, form: str) -> int:
    """The greatest magnitude of what an operand brings to a product."""
    zero = 0 if form == "raw" else access.zero_point
    return max(access.type.maximum - zero, zero - access.type.minimum)


def _constant_total(module: Module, nest: Nest, access: Access) -> int | None:
    """The greatest sum of magnitudes of a constant operand over the reduced dimensions, where each axis is one
    dimension that runs over the whole of it; None where the operand is not so simple."""
    tensor = module.tensor(access.tensor)
    if tensor.constant is None or tensor.constant not in module.blobs or access.pad is not None:
        return None
    extents = extents_of(nest)
    for axis, view in zip(access.index, access.shape, strict=True):
        if axis.constant or len(axis.terms) > 1 or any(c != 1 or extents[dim] != view for dim, c in axis.terms):
            return None
    zero = 0 if nest.body.form == "raw" else access.zero_point
    reduced = tuple(
        number for number, axis in enumerate(access.index) if any(dim not in nest.write.dims for dim in axis.dims)
    )
    repeats = prod(dim.extent for dim in nest.domain if dim.name not in nest.write.dims and dim.name not in access.dims)
    return repeats * _total(module, tensor.constant, access.type, access.shape, zero, reduced)


_TOTALS: dict[tuple[BlobRef, ElementType, tuple[int, ...], int, tuple[int, ...]], int] = {}
_MOST_TOTALS = 1 << 14


def _total(
    module: Module, blob: BlobRef, kind: ElementType, shape: tuple[int, ...], zero: int, reduced: tuple[int, ...]
) -> int:
    """A large constant that many nests read is summed once: the name of a blob says what its bytes are."""
    key = (blob, kind, shape, zero, reduced)
    if key not in _TOTALS:
        if len(_TOTALS) >= _MOST_TOTALS:
            _TOTALS.clear()
        _TOTALS[key] = _sum_of_magnitudes(module.blobs[blob], kind, shape, zero, reduced)
    return _TOTALS[key]


def _sum_of_magnitudes(
    data: bytes, kind: ElementType, shape: tuple[int, ...], zero: int, reduced: tuple[int, ...]
) -> int:
    values = np.frombuffer(data, kind.container)
    elements: int = prod(shape)
    if values.size != elements or not elements:
        return 0
    magnitudes = np.abs(values.reshape(shape).astype(np.int64) - zero)
    return int(magnitudes.sum(axis=reduced).max())
