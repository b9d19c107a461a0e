"""Arithmetic and comparisons that users write, over named numbers: parsed, bounded, never executed as code.

4 * dim                        a field of the machine
acc <= spad                    a constraint
energy_pj + 50 * cycles        an objective: a weighted sum
128 KiB <= spad <= 4 MiB       units are those of descriptions
weather == 'fog'               a word, which can be equal to another one or not
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .frozen import dataclass
from .quantities import UNITS

if TYPE_CHECKING:
    from lark import Lark

LONGEST = 1000  # characters
HIGHEST_POWER = 64
_EXACT = 1 << 200  # whole numbers beyond this become floats, so that none grows without bound
_DEEPEST = 40  # brackets and signs inside one another
_FACTORS = {unit: factor for units in UNITS.values() for unit, factor in units.items()}
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max, "abs": abs, "log2": math.log2}

Number = int | float


class ExpressionFault(Exception):
    """What is wrong with an expression, or why it has no value for the names that it was given."""


@dataclass(frozen=True, slots=True)
class Expression:
    """`text` as it was written; `tree` is nested tuples of an operator's name and its operands."""

    text: str
    tree: tuple[Any, ...]
    names: tuple[str, ...]

    @property
    def is_comparison(self) -> bool:
        return len(self.tree) > 2

    def value(self, numbers: Mapping[str, Any]) -> Number:
        """Of an expression that compares nothing. Raises ExpressionFault where there is none."""
        return _number(self.tree[1], numbers)

    def violation(self, numbers: Mapping[str, Any]) -> float:
        """By how much a comparison does not hold, in parts of what is compared; 0 where it holds. Raises as `value`."""
        values = [_side(each, numbers) for each in self.tree[1::2]]
        amounts = [
            _excess(left, sign, right) for left, sign, right in zip(values, self.tree[2::2], values[1:], strict=False)
        ]
        return max(amounts)


def parse_expression(text: str) -> Expression:
    """The expression that `text` spells. Raises ExpressionFault."""
    from lark.exceptions import LarkError, UnexpectedInput, UnexpectedToken

    if len(text) > LONGEST:
        raise ExpressionFault(f"the expression has {len(text)} characters; at most {LONGEST} are read")
    if _depth(text) > _DEEPEST:
        raise ExpressionFault(f"brackets and signs stand inside one another more than {_DEEPEST} times")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        at = len(text) + 1 if ended or not isinstance(error.column, int) else error.column
        found = "the end" if ended else repr(text[at - 1 : at + 11])
        raise ExpressionFault(f"{text[:80]!r} is no expression: found {found} at its character {at}") from None
    except LarkError as error:
        raise ExpressionFault(f"{text[:80]!r} is no expression: {str(error)[:80]}") from None
    names: dict[str, None] = {}
    plain = _plain(tree, names)
    try:
        _refuse_impossible(plain)
    except ExpressionFault as fault:
        raise ExpressionFault(f"{text[:80]!r} has no value for any names: {fault}") from None
    return Expression(text, plain, tuple(names))


def _refuse_impossible(node: tuple[Any, ...]) -> None:
    """Raise ExpressionFault for a part that has no value, whatever names stand for."""
    kind, *parts = node
    if kind in ("number", "word", "name"):
        return
    operands = [each for each in parts if isinstance(each, tuple)]
    for each in operands:
        _refuse_impossible(each)
    words = [each[1] for each in operands if each[0] == "word"]
    signs = [each for each in parts if isinstance(each, str)]
    if kind == "start":
        ordered = [each for each in signs if each not in ("==", "!=")]
        if words and ordered:
            raise ExpressionFault(f"a word cannot be compared by {ordered[0]}")
        return
    if words:
        raise ExpressionFault(f"{words[0]!r} is a word, not a number")
    if kind == "product":
        divisors = [each for sign, each in zip(signs, operands[1:], strict=True) if sign != "*"]
        if any(_is_constant(each) and _number(each, {}) == 0 for each in divisors):
            raise ExpressionFault("it divides by zero")
    if kind == "power" and _is_constant(operands[1]):
        _refuse_high_power(_number(operands[1], {}))
    if _is_constant(node):
        _number(node, {})


def _is_constant(node: tuple[Any, ...]) -> bool:
    """Whether a part names nothing."""
    return node[0] != "name" and all(_is_constant(each) for each in node[1:] if isinstance(each, tuple))


def _refuse_high_power(exponent: Number) -> None:
    if abs(exponent) > HIGHEST_POWER:
        raise ExpressionFault(f"a power of {exponent:g}; at most {HIGHEST_POWER}")


def _depth(text: str) -> int:
    """An upper bound of how deep the tree of a text is."""
    open_brackets = deepest = run = 0
    for each in text:
        open_brackets += (each == "(") - (each == ")")
        run = run + 1 if each in "-+^" else run if each in " \t" else 0
        deepest = max(deepest, open_brackets + run)
    return deepest + text.count("^")


@cache
def _parser() -> Lark:
    from lark import Lark

    return Lark((Path(__file__).parent / "expressions.lark").read_text(encoding="utf-8"), parser="lalr")


def _plain(node: Any, names: dict[str, None]) -> Any:
    """The tree without lark's classes, so that it is compared and pickled by value."""
    kind, children = node.data, node.children
    if kind == "number":
        value: Number = float(children[0]) if any(c in children[0] for c in ".eE") else int(children[0])
        try:
            if len(children) > 1:
                scaled = Fraction(value) * _FACTORS[str(children[1])]
                value = int(scaled) if scaled.denominator == 1 else float(scaled)
            return ("number", _bounded(value))
        except OverflowError:
            raise ExpressionFault(f"{children[0][:20]} is no finite number") from None
    if kind == "name":
        names[str(children[0])] = None
        return ("name", str(children[0]))
    if kind == "word":
        return ("word", str(children[0])[1:-1])
    if kind == "call":
        name = str(children[0])
        if name not in _FUNCTIONS:
            raise ExpressionFault(f"there is no function {name!r}: there are {', '.join(_FUNCTIONS)}")
        operands = [_plain(each, names) for each in children[1:]]
        if (name in ("abs", "log2")) != (len(operands) == 1):
            raise ExpressionFault(f"{name} takes {'one number' if name in ('abs', 'log2') else 'two numbers or more'}")
        return (name, *operands)
    if kind == "negative":
        inner = _plain(children[1], names)
        return ("negative", inner) if children[0] == "-" else inner
    parts = [str(each) if isinstance(each, str) else _plain(each, names) for each in children]
    if kind in ("group", "signed") or (kind in ("sum", "product", "power") and len(parts) == 1):
        return parts[0]
    return (str(kind), *parts)


_OPERATIONS: dict[str, Callable[[Number, Number], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a // b if isinstance(a, int) and isinstance(b, int) and a % b == 0 else a / b,
    "//": operator.floordiv,
    "%": operator.mod,
}


def _number(node: Any, numbers: Mapping[str, Any]) -> Number:
    value: Number | str = _side(node, numbers)
    if isinstance(value, str):
        raise ExpressionFault(f"{value!r} is a word, not a number")
    return value


def _side(node: Any, numbers: Mapping[str, Any]) -> Any:
    """A number; or the word that a variable has, which can be compared with another one."""
    kind = node[0]
    if kind in ("number", "word"):
        return node[1]
    if kind == "name":
        value = numbers.get(node[1])
        if value is None:
            raise ExpressionFault(f"{node[1]} is not known")
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ExpressionFault(f"{node[1]} is no number")
        return value
    try:
        return _bounded(_computed(kind, node, numbers))
    except ZeroDivisionError:
        raise ExpressionFault("it divides by zero") from None
    except (OverflowError, ValueError):
        raise ExpressionFault("it has no finite value") from None


def _computed(kind: str, node: Any, numbers: Mapping[str, Any]) -> Number:
    if kind in ("sum", "product"):
        total = _number(node[1], numbers)
        for sign, operand in zip(node[2::2], node[3::2], strict=True):
            total = _bounded(_OPERATIONS[sign](total, _number(operand, numbers)))
        return total
    operands = [_number(each, numbers) for each in node[1:]]
    if kind == "negative":
        return -operands[0]
    if kind == "power":
        base, exponent = operands
        _refuse_high_power(exponent)
        found = base**exponent if isinstance(exponent, int) and exponent >= 0 else float(base) ** exponent
        if isinstance(found, complex):
            raise ValueError
        return found
    return _FUNCTIONS[kind](*operands)


def _bounded(value: Number) -> Number:
    if isinstance(value, int):
        return value if abs(value) < _EXACT else float(value)
    if not math.isfinite(value):
        raise OverflowError
    return value


def _excess(left: Any, sign: str, right: Any) -> float:
    holds = {"<=": "le", ">=": "ge", "<": "lt", ">": "gt", "==": "eq", "!=": "ne"}[sign]
    if isinstance(left, str) != isinstance(right, str) or (isinstance(left, str) and sign not in ("==", "!=")):
        raise ExpressionFault(f"a word cannot be compared by {sign} here")
    if getattr(operator, holds)(left, right):
        return 0.0
    if isinstance(left, str) or left == right:
        return 1.0 if isinstance(left, str) or sign == "!=" else 1e-9
    amount: float = abs(left - right) / max(abs(left), abs(right))
    return amount


def unknown_names(expression: Expression, known: Sequence[str]) -> list[str]:
    """Names that an expression uses and nobody gives."""
    return [each for each in expression.names if each not in known]
