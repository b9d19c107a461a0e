"""Words of the text form that the printer writes and the parser reads: names, strings, numbers, lists of numbers.

Reals are exact in both directions: a literal without a suffix is the nearest float32 (through the nearest float64), a
literal that ends in `d` is the nearest float64. The printer writes the shortest one that reads back as the same value.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from itertools import groupby

import numpy as np

BARE_NAME = re.compile(r"(?:[A-Za-z0-9_]|/(?!/))(?:[A-Za-z0-9_.]|/(?!/)|-(?=[A-Za-z0-9_]))*")
BARE_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
FLOAT32_MAX = 3.4028234663852886e38
NUMBER_DIGITS = 40  # longest whole number that the text may hold
LIST_LIMIT = 1 << 20  # most numbers in all lists of a text, runs such as `0 x64` expanded

# Words that have a meaning where a name of a pass's own choosing may stand as well; as such a name they are quoted.
RESERVED = frozenset(
    {
        "address",
        "after",
        "arch",
        "at",
        "axis",
        "batch",
        "blob",
        "body",
        "bound",
        "bounds",
        "buffer",
        "call",
        "code",
        "compute",
        "compressed",
        "constant",
        "dataflow",
        "decode",
        "digest",
        "dnnir",
        "domain",
        "evaluated",
        "false",
        "held",
        "host",
        "im2col",
        "in",
        "inf",
        "input",
        "last",
        "load",
        "main",
        "mapping",
        "margins",
        "max",
        "min",
        "module",
        "multiplier",
        "nan",
        "nest",
        "next",
        "node",
        "nothing",
        "objective",
        "of",
        "on",
        "onnx",
        "operations",
        "operators",
        "optimal",
        "option",
        "order",
        "output",
        "overlap",
        "pad",
        "place",
        "post",
        "program",
        "prune",
        "read",
        "reason",
        "reduce",
        "region",
        "role",
        "scale",
        "schedule",
        "skip",
        "source",
        "spatial",
        "store",
        "stripe",
        "temporal",
        "tensor",
        "threshold",
        "to",
        "tolerance",
        "true",
        "whole",
        "with",
        "write",
        "zero",
    }
)

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_UNESCAPES = {"\\": "\\", '"': '"', "n": "\n", "t": "\t", "r": "\r"}
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_REAL = re.compile(r"[-+]?(?:inf|nan|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?d?)")


class TextFault(ValueError):
    """A word does not spell a value. `offset` is where in the word, in characters."""

    def __init__(self, message: str, help: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.offset = offset


def quote(text: str) -> str:
    """`text` as a string literal on one line; what is not printable is written as a code point, as in \\u{1f}."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text) + '"'


def unquote(literal: str) -> str:
    """The value of a string literal. Raises TextFault for an escape that does not exist."""
    body = literal[1:-1]
    if "\\" not in body:
        return body

    def value(match: re.Match[str]) -> str:
        code, letter = match.groups()
        if code is not None and int(code, 16) <= 0x10FFFF:
            return chr(int(code, 16))
        if letter in _UNESCAPES:
            return _UNESCAPES[letter]
        raise TextFault(
            f"unknown escape {match[0]!r}", r"an escape is one of \\ \" \n \t \r \u{hex}", match.start() + 1
        )

    return _ESCAPE.sub(value, body)


def symbol(name: str, sigil: str = "%") -> str:
    """The name of a value (%) or of an operation (@), quoted where it must be."""
    return sigil + (name if BARE_NAME.fullmatch(name) else quote(name))


def word(name: str) -> str:
    """A name of the compiler's own choosing, such as that of a dimension or a memory; quoted where it must be."""
    return name if BARE_WORD.fullmatch(name) and name not in RESERVED else quote(name)


def real(value: float) -> str:
    """The shortest literal that reads back as `value`, bit for bit (every NaN reads back as the default one)."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if abs(value) <= FLOAT32_MAX and to_float32(value) == value:
        positional = value == 0 or 1e-4 <= abs(value) < 1e16
        literal = np.format_float_positional(np.float32(value), trim="0") if positional else str(np.float32(value))
        if to_float32(float(literal)) == value:
            return literal
    return f"{value!r}d"


def to_float32(value: float) -> float:
    """`value` rounded to float32; OverflowError beyond its range."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def read_number(literal: str) -> int | float:
    """The value of a number literal: an int where it has neither point, exponent, suffix nor name."""
    if _INTEGER.fullmatch(literal):
        if len(literal) > NUMBER_DIGITS:
            raise TextFault(f"a whole number of {len(literal)} digits", f"at most {NUMBER_DIGITS} digits")
        return int(literal)
    if not _REAL.fullmatch(literal):
        raise TextFault(f"{literal!r} is not a number")
    if literal.endswith("d"):
        return float(literal[:-1])
    try:
        return to_float32(float(literal))
    except OverflowError:
        raise TextFault(
            f"{literal} is beyond the range of float32", f"write {literal}d for a float64, or inf"
        ) from None


def number(value: float) -> str:
    """An int as an int, a float as a real."""
    return str(int(value)) if isinstance(value, int | np.integer) else real(float(value))


def number_list(values: Sequence[float]) -> str:
    """A list in parentheses; eight or more equal neighbours are written as a run: `0 x64`."""
    parts: list[str] = []
    for text, group in groupby(map(number, values)):
        count = sum(1 for _ in group)
        parts.extend([f"{text} x{count}"] if count >= 8 else [text] * count)
    return f"({', '.join(parts)})"


def read_number_list(literal: str, limit: int = LIST_LIMIT) -> tuple[int | float, ...]:
    """The values of a bracketed list with its runs expanded; at most `limit` of them."""
    values: list[int | float] = []
    offset = 1
    body = literal[1:-1]
    if not body.strip():
        return ()
    if body.count(",") >= limit:
        raise TextFault("too many numbers", f"the lists of a text hold at most {LIST_LIMIT} numbers")
    for part in body.split(","):
        item, separator, count_text = part.partition("x")
        item, count_text = item.strip(), count_text.strip()
        place = offset + len(part) - len(part.lstrip())
        count = 1
        if separator:
            if not count_text.isascii() or not count_text.isdigit() or len(count_text) > 9:
                raise TextFault(f"{part.strip()!r} is not a run", "a run is a number and a count, such as 0 x64", place)
            count = int(count_text)
        if len(values) + count > limit:
            raise TextFault("too many numbers", f"the lists of a text hold at most {LIST_LIMIT} numbers", place)
        try:
            value = read_number(item)
        except TextFault as fault:
            raise TextFault(fault.message, fault.help, place) from None
        values.extend([value] * count)
        offset += len(part) + 1
    return tuple(values)
