"""What holds of operands that pass a number converter on their way from or to main memory. A part of
`ir/verifier.py`."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from .arch import Arch
from .nest import VALUE, Nest, Schedule, encodes
from .text import symbol, to_float32
from .types import ElementType


def decodes_are_legal(nest: Nest) -> Iterator[tuple[str, str]]:
    """Codes become floats, by a scale that a float32 holds and a zero point that the codes have; tables and the output
    are not decoded."""
    if nest.write.decode is not None:
        yield "the output is decoded", "what is read is decoded; the last step of the post chain makes codes"
    for access in nest.reads:
        if (made := access.decode) is None:
            continue
        who = symbol(access.operand)
        if not access.type.is_integer or not made.type.is_float:
            yield f"{who} is decoded from {access.type} to {made.type}", "from an integer to a float"
            continue
        if not (isfinite(made.scale) and made.scale > 0 and to_float32(made.scale) == made.scale):
            yield f"the scale of {who} is {made.scale}", "a float32 above 0"
        if not access.type.minimum <= made.zero_point <= access.type.maximum:
            yield f"the codes of {who} have zero point {made.zero_point}", f"a value of {access.type}"
        if any(VALUE in axis.dims for axis in access.index):
            yield f"{who} is a table and decoded", "tables hold what they hold"


def machine_converts(nest: Nest, schedule: Schedule, arch: Arch) -> Iterator[tuple[str, str]]:
    """The machine's converter takes the widths of what is decoded, and of codes that floats become at the end of the
    post chain; what it converts is on its way from or to main memory."""
    unit = arch.converter
    for access in nest.reads:
        if access.decode is None:
            continue
        if unit is None:
            yield f"{arch.name} has no number converter for {symbol(access.operand)}", "a machine with `converter`"
        elif message := _width_fault(access.type, arch):
            yield f"{symbol(access.operand)} is decoded from {access.type}", message
        if schedule.buffer(access.operand).is_whole:
            yield f"{symbol(access.operand)} is in local memory and decoded", "what is read from main memory is decoded"
    if unit is not None and encodes(nest):
        if message := _width_fault(nest.write.type, arch):
            yield f"{symbol(nest.write.operand)} is encoded as {nest.write.type}", message
        if schedule.target is not None:
            yield f"{symbol(nest.write.operand)} stays in local memory and is encoded", "main memory holds codes"


def _width_fault(kind: ElementType, arch: Arch) -> str:
    unit = arch.converter
    assert unit is not None
    if kind.is_integer and unit.least_bits <= kind.bits <= unit.most_bits:
        return ""
    return f"the converter of {arch.name} takes integers of {unit.least_bits} to {unit.most_bits} bits"
