"""Expressions of studies: values against Python's own, and what is refused."""

from __future__ import annotations

import pytest
from dnnc.ir.expressions import LONGEST, ExpressionFault, parse_expression
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = {"a": 3, "b": 0.5, "memories.acc.word_bytes": 64, "flow": "ws", "none": None}


@st.composite
def sums(draw: st.DrawFn, depth: int = 4) -> str:
    """Text that Python's own grammar reads in the same way."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["a", "b", "7", "2.5", "1e2", "0", "12"]))
    kind = draw(st.sampled_from(["+", "-", "*", "/", "//", "%", "(", "-u", "min"]))
    left, right = draw(sums(depth - 1)), draw(sums(depth - 1))
    if kind == "(":
        return f"({left})"
    if kind == "-u":
        return f"-{left}"
    return f"min({left}, {right})" if kind == "min" else f"{left} {kind} {right}"


@given(sums())
def test_arithmetic_is_pythons(text: str) -> None:
    try:
        wanted = eval(text, {"min": min, "a": NUMBERS["a"], "b": NUMBERS["b"]})
    except ZeroDivisionError:
        with pytest.raises(ExpressionFault, match="divides by zero"):
            parse_expression(text).value(NUMBERS)
        return
    assert parse_expression(text).value(NUMBERS) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4 * memories.acc.word_bytes", 256),
        ("128 KiB", 1 << 17),
        ("0.5 mm2", 500_000),
        ("3 fJ", 0.003),
        ("2^3^2", 512),
        ("-2^2", -4),
        ("2^-1", 0.5),
        ("8 / 2", 4),
        ("7 / 2", 3.5),
        ("max(1, 2, 3) - abs(-4) + log2(8)", 2),
    ],
)
def test_values(text: str, value: float) -> None:
    found = parse_expression(text).value(NUMBERS)
    assert found == value
    assert isinstance(found, int) == isinstance(value, int) or text.startswith("max")


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("a <= 3", 0.0),
        ("a < 3", 1e-9),
        ("a <= 2", 1 / 3),
        ("a >= 6", 0.5),
        ("1 < a < 3 KiB", 0.0),
        ("1 < a < 2", 1 / 3),
        ("flow == ws_word", 1.0),
        ("flow != ws_word", 0.0),
        ("a == 3", 0.0),
        ("a != 3", 1.0),
        ("flow == 'ws'", 0.0),
        ('flow == "o s-1"', 1.0),
        ("flow != 'os'", 0.0),
        ("'' == flow", 1.0),
        ("'ws' == ws_word", 1.0),
    ],
)
def test_comparisons_say_by_how_much_they_fail(text: str, violation: float) -> None:
    found = parse_expression(text)
    assert found.is_comparison
    assert found.violation(NUMBERS | {"ws_word": "os"}) == pytest.approx(violation)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 +", "found the end"),
        ("a b", "found 'b'"),
        ("exec(1)", "there is no function 'exec'"),
        ("min(1)", "min takes two numbers"),
        ("a.__class__()", "is no expression"),
        ("[1]", "is no expression"),
        ("(" * 50 + "1" + ")" * 50, "inside one another"),
        ("-" * 50 + "1", "inside one another"),
        ("1+" * LONGEST + "1", f"at most {LONGEST}"),
        ("flow == 'ws", "is no expression"),
        ("a / 0 > 1", "'a / 0 > 1' has no value for any names: it divides by zero"),
        ("min(a, b // (2 - 2))", "it divides by zero"),
        ("a % 0.0", "it divides by zero"),
        ("a + log2(0)", "it has no finite value"),
        ("a + 'fog'", "'fog' is a word, not a number"),
        ("a < 'fog'", "a word cannot be compared by <"),
        ("a ^ 65", "a power of 65; at most 64"),
        ("1e400 * a", "1e400 is no finite number"),
        ("a < 1e400 KiB", "1e400 is no finite number"),
        ("a < 1e308 KiB", "1e308 is no finite number"),
        (f"a < 1{'0' * 400}", "is no finite number"),
        (f"flow == '{'w' * 201}'", "is no expression"),
    ],
)
def test_what_is_no_expression(text: str, told: str) -> None:
    with pytest.raises(ExpressionFault, match=r".*") as error:
        parse_expression(text)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("9^64^64", "a power of"),
        ("-'ws'", "'ws' is a word, not a number"),
        ("1 + 'ws'", "'ws' is a word, not a number"),
        ("((9^64)^64)^64", "no finite value"),
        ("1e300 * 1e300", "no finite value"),
        ("(0 - 8)^0.5", "no finite value"),
        ("log2(0)", "no finite value"),
        ("none + 1", "none is not known"),
        ("unheard + 1", "unheard is not known"),
        ("flow + 1", "'ws' is a word"),
    ],
)
def test_what_has_no_value(text: str, told: str) -> None:
    with pytest.raises(ExpressionFault) as error:
        parse_expression(text).value(NUMBERS)
    assert told in str(error.value)


def test_expressions_are_values() -> None:
    assert parse_expression("a + 1") == parse_expression("a + 1")
    assert parse_expression("a * a + b").names == ("a", "b")
