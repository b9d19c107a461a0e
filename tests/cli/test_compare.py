"""`run --check`: what counts as equal, and within which bound."""

from __future__ import annotations

import numpy as np
import pytest
from dnnc.cli.compare import check_outputs, parse_tolerance
from dnnc.ir.diagnostics import CompileError


def check(found: object, expected: object, tolerance: str = "exact") -> tuple[int, float | None, float | None, bool]:
    (result,) = check_outputs({"y": found}, {"y": expected}, parse_tolerance(tolerance))
    return result.equal, result.largest, result.top1, result.holds


def test_equal_elements_largest_difference_and_top1() -> None:
    expected = np.array([[1, 2, 3], [9, 8, 7]], np.int8)
    found = np.array([[1, 2, 3], [9, 10, 7]], np.int8)
    assert check(expected, expected) == (6, 0.0, 1.0, True)
    assert check(found, expected) == (5, 2.0, 0.5, False)


@pytest.mark.parametrize(
    ("tolerance", "difference", "holds"),
    [
        ("absolute:0.5", 0.5, True),
        ("absolute:0.5", 0.6, False),
        ("relative:0.01", 0.9, True),  # of the value 100
        ("relative:0.01", 1.1, False),
        ("range:0.01", 0.45, True),  # of 50..100
        ("range:0.01", 0.55, False),
    ],
)
def test_bounds(tolerance: str, difference: float, holds: bool) -> None:
    expected = np.array([50.0, 100.0])
    assert check(expected + np.array([0, difference]), expected, tolerance)[3] is holds


def test_nan_and_infinity() -> None:
    expected = np.array([np.nan, np.inf, 1.0])
    assert check(expected, expected) == (3, 0.0, None, True)
    assert check(np.array([0.0, np.inf, 1.0]), expected, "absolute:10")[3] is False
    assert check(np.array([np.nan, -np.inf, 1.0]), expected, "range:1")[3] is False


def test_elements_that_are_not_finite_are_counted_and_no_difference() -> None:
    expected = np.array([np.nan, np.inf, 1.0, 2.0])
    found = np.array([np.nan, np.nan, 1.5, np.inf])
    (result,) = check_outputs({"y": found}, {"y": expected}, parse_tolerance("absolute:10"))
    assert (result.equal, result.largest, result.holds) == (1, 0.5, False)
    assert result.note == "2 elements are NaN or infinite, and not the same in both"


@pytest.mark.parametrize(("difference", "holds"), [(0.19, True), (-0.21, False)])
@pytest.mark.parametrize("expected", [np.array([[-2.0]]), np.full((2, 3), 2.0), np.array([2.0, np.nan, 2.0])])
def test_the_range_of_one_value_is_its_magnitude(
    expected: np.ndarray[tuple[int, ...], np.dtype[np.float64]], difference: float, holds: bool
) -> None:
    assert check(expected + difference, expected, "range:0.1")[3] is holds


def test_other_kinds_of_values() -> None:
    assert check([np.ones(2), np.zeros(1)], [np.ones(2), np.zeros(1)])[3] is True
    assert check([np.ones(2)], [np.ones(2), np.zeros(1)])[3] is False
    assert check([{1: 0.5}], [{1: 0.5}])[3] is True
    assert check(np.array(["a"], object), np.array(["b"], object))[3] is False
    assert check(np.ones((2, 1)), np.ones((1, 2)))[3] is False
    assert check_outputs({}, {"y": np.ones(1)}, parse_tolerance("exact"))[0].holds is False


@pytest.mark.parametrize("text", ["", "exactly", "absolute", "absolute:-1", "relative:nan", "range:inf", "x:1"])
def test_unknown_tolerances_are_refused(text: str) -> None:
    with pytest.raises(CompileError):
        parse_tolerance(text)
