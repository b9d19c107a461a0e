"""Variables: what ranges, lists and permutations stand for, and the order of a space."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import permutations

import pytest
from dnnc.explore.variables import Space, Variable, read_variable
from dnnc.frontend.yaml_faults import Faults
from dnnc.frontend.yaml_reader import MapNode, read_yaml
from dnnc.ir.diagnostics import CompileError


def variable(text: str) -> Variable:
    text = f"v: {text}\n"
    faults = Faults(text, "study.yaml")
    root = read_yaml(text, faults)
    assert isinstance(root, MapNode)
    found, fields = read_variable("v", root.entries["v"], faults, "v")
    if fields is not None:
        fields.done()
    faults.raise_if_any()
    return found


@pytest.mark.parametrize(
    ("text", "values", "ordered"),
    [
        ("[16, 8, 32]", (8, 16, 32), True),
        ("[os, ws]", ("os", "ws"), False),
        ("[[ws], [ws, os]]", (("ws",), ("ws", "os")), False),
        ("[64 KiB, 1 MiB, 700 MHz]", (1 << 16, 1 << 20, 7 * 10**8), True),
        ("[true, false]", (True, False), False),
        ("{start: 1, stop: 5}", (1, 2, 3, 4, 5), True),
        ("{start: 0, stop: 0.3, step: 0.1}", (0, 0.1, 0.2, 0.3), True),
        ("{start: 64 KiB, stop: 256 KiB, factor: 2}", (1 << 16, 1 << 17, 1 << 18), True),
        ("{start: 3, stop: 20, factor: 2}", (3, 6, 12), True),
        ("{permutation: [ws, os, is]}", tuple(permutations(["ws", "os", "is"])), False),
    ],
)
def test_values(text: str, values: tuple[object, ...], ordered: bool) -> None:
    found = variable(text)
    assert found.values == values
    assert found.ordered == ordered


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", "must be a list of values or a range"),
        ("[]", "has 0 values"),
        ("[1, 1]", "1 stands twice"),
        ("[1, {a: 1}]", "must be a number or a word"),
        ("{stop: 4}", "has neither"),
        ("{start: 4}", "lacks the key 'stop'"),
        ("{start: 4, values: [1]}", "has 'values' and 'start'"),
        ("{start: 4, stop: 1}", "less than 'start'"),
        ("{start: 0, stop: 4, factor: 2}", "a start above 0"),
        ("{start: 1, stop: 4, factor: 1}", "a factor above 1"),
        ("{start: 1, stop: 4, step: 0}", "must be more than 0"),
        ("{start: 1, stop: 4, step: 1, factor: 2}", "beside a step"),
        ("{start: 1, stop: 1e9}", "too many values"),
        ("{start: a, stop: 4}", "must be a number"),
        ("{permutation: [1, 2, 3, 4, 5, 6, 7]}", "too many orders"),
        ("{start: 8, stop: 1" + "0" * 400 + ", factor: 2}", "'v.stop' is too large"),
        ("{start: 8, stop: 16, factor: 1" + "0" * 400 + "}", "'v.factor' is too large"),
        ("{start: 8, stop: 1.0e+400, factor: 2}", "'v.stop' is too large"),
        ("{start: 1, stop: 1.0e+300, factor: 1.0724567890123457}", "'v.stop' is too large"),
        ("{start: 1.0e-320, stop: 1.0e+18, factor: 1.01}", "too many values"),
        ("{start: 0, stop: 1.0e+18, step: 1.0e-320}", "too many values"),
        ("[1, 1" + "0" * 400 + ", -1.0e+400]", "a value of 'v' is too large"),
        ("{start: 1, stop: 4, stepp: 1}", "unknown key 'stepp'"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    with pytest.raises(CompileError) as error:
        variable(text)
    assert told in str(error.value)
    assert str(error.value).startswith("study.yaml:1:")


def exact(start: str, stop: str, factor: str) -> list[int | float]:
    """As Python writes the nearest floats."""
    value, last, by = (Fraction(repr(float(each))) for each in (start, stop, factor))
    values = list[int | float]()
    while value <= last:
        values.append(int(value) if value.denominator == 1 else float(value))
        value *= by
    return values


@pytest.mark.parametrize(
    ("start", "stop", "factor"),
    [
        ("1", "1.21", "1.1"),  # ends are included
        ("8", "1e+18", "1.25"),
        ("1099511627776", "1e+16", "1.5"),
        ("1e-18", "1e+18", "1.3"),
        ("0.3", "123456789.25", "1.0724567890123457"),
        ("3", "1000000000000000000", "7"),
    ],
)
def test_products_are_exact(start: str, stop: str, factor: str) -> None:
    found = variable(f"{{start: {start}, stop: {stop}, factor: {factor}}}").values
    assert list(found) == exact(start, stop, factor)


def test_many_products_take_no_time() -> None:
    """Exactly, each would have 16 digits more than the one before."""
    before = time.process_time()
    assert len(variable("{start: 1, stop: 1.0e+18, factor: 1.0041537283940517}").values) == 9999
    assert time.process_time() - before < 2


def test_places_of_a_space() -> None:
    space = Space((Variable("a", (1, 2), True), Variable("b", ("x", "y", "z"), False)))
    genomes = list(space.genomes())
    assert genomes == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert [space.genome_at(number) for number in range(space.size)] == genomes
    assert space.point((1, 2)) == {"a": 2, "b": "z"}


def test_the_nearest_value() -> None:
    numbers = Variable("a", (1, 4, 16), True)
    assert [numbers.nearest(each) for each in (1, 3, 100)] == [0, 1, 2]
    assert Variable("b", ("x", "y"), False).nearest("z") is None
