"""Fused multiply-add and rounding: numpy against exact fractions, compiled code against numpy."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from dnnc.ir.types import ElementType as T
from dnnc.runtime import arithmetic, fma
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NEAR = st.integers(-(2**24), 2**24).map(lambda k: float(np.float32(k) * np.float32(2.0**-20)))


def nearest_float32(exact: Fraction) -> np.float32:
    """The float32 nearest to `exact`, halves to even; beyond the range, infinity."""
    largest = Fraction(float(np.finfo(np.float32).max))
    if abs(exact) >= largest + Fraction(2) ** 103:
        return np.float32(np.copysign(np.inf, float(exact > 0) - 0.5))
    guess = np.float32(min(max(float(exact), -float(largest)), float(largest)))
    candidates = [guess, np.nextafter(guess, np.float32(-3e38)), np.nextafter(guess, np.float32(3e38))]
    return min(candidates, key=lambda f: (abs(Fraction(float(f)) - exact), int(f.view(np.uint32)) & 1))


@settings(max_examples=300, deadline=None)
@given(st.one_of(FLOATS, NEAR), st.one_of(FLOATS, NEAR), st.one_of(FLOATS, NEAR))
def test_fma_is_the_exact_value_rounded_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert arithmetic.fma32(a, b, c) == nearest_float32(exact)


def test_fma_rounds_once_where_float64_rounds_twice() -> None:
    a = b = np.float32(1 + 2.0**-12)
    c = np.float32(2.0**-60)  # a * b lies half way between two float32; c decides
    assert np.float32(np.float64(a) * np.float64(b) + np.float64(c)) != arithmetic.fma32(a, b, c)
    assert arithmetic.fma32(a, b, c) == np.float32(1 + 2.0**-11 + 2.0**-23)


def delicate(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float32], ...]:
    """Operands of any bit pattern, and such whose product nearly cancels the addend."""
    wild = [rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32) for _ in range(3)]
    a, b = (rng.standard_normal(count).astype(np.float32) for _ in range(2))
    c = (-(a * b) * np.exp2(rng.integers(-30, 31, count))).astype(np.float32)
    return tuple(np.concatenate(pair) for pair in zip(wild, (a, b, c), strict=True))


@numba.njit
def compiled_steps(a: Any, b: Any, c: Any, out: Any) -> None:
    for i in range(a.size):
        out[0, i] = fma.bits_of_float32(fma.fma32(a[i], b[i], c[i]))
        out[1, i] = fma.bf16_from_float32(a[i])
        out[2, i] = fma.bits_of_float32(fma.float32_from_bf16(out[1, i]))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_compiled_floats_equal_numpy_bit_for_bit() -> None:
    a, b, c = delicate(np.random.default_rng(1), 20_000)
    out = np.zeros((3, a.size), np.int64)
    compiled_steps(a, b, c, out)
    expected = arithmetic.fma32(a, b, c)
    number = ~np.isnan(expected)
    assert np.array_equal(out[0][number], expected.view(np.uint32)[number])
    assert np.array_equal(out[1], arithmetic.bf16_bits(a))
    widened = arithmetic.bf16_values(out[1].astype(np.uint16))
    assert np.array_equal(out[2][~np.isnan(a)], widened.view(np.uint32)[~np.isnan(a)])


@numba.njit
def compiled_codes(a: Any, b: Any, real: Any, m: Any, z: Any, low: Any, high: Any, out: Any) -> None:
    for i in range(a.size):
        out[0, i] = fma.requantize_scalar(a[i], m, z, low, high)
        out[1, i] = fma.quantize_scalar(real[i], m, z, low, high)
        out[2, i] = fma.saturate_float32(fma.qadd_scalar(b[i], b[-i], m, m, np.float32(0.25)), 0, low, high)
        out[3, i] = fma.wrap_scalar(a[i] * b[i], 32)


@pytest.mark.parametrize("element", [T.I8, T.U8, T.I4, T.U4, T.I16, T.U16, T.I32])
def test_compiled_codes_equal_numpy(element: T) -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(-(2**31), 2**31, 4000)
    a[:2000] >>= 20  # values whose products with m are often halves
    b = rng.integers(element.minimum, element.maximum + 1, 4000)
    real = np.concatenate([a.astype(np.float32)[:3995], np.array([np.nan, np.inf, -np.inf, 3e38, -3e38], np.float32)])
    m, z = np.float32(0.5), int(b[0])
    out = np.zeros((4, 4000), np.int64)
    compiled_codes(a, b, real, m, z, element.minimum, element.maximum, out)
    assert np.array_equal(out[0], arithmetic.requantize(a, m, z, element))
    assert np.array_equal(out[1], arithmetic.quantize(real, m, z, element))
    f = b.astype(np.float32)
    rounded = np.rint(arithmetic.fma32(f, m, arithmetic.fma32(f[-np.arange(4000)], m, np.float32(0.25))))
    assert np.array_equal(out[2], arithmetic.saturate(rounded, 0, element))
    assert np.array_equal(out[3], arithmetic.wrap(a * b, T.I32)[0])


def test_wrap_counts_what_did_not_fit() -> None:
    exact = np.array([2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**33 + 5])
    values, overflows = arithmetic.wrap(exact, T.I32)
    assert values.tolist() == [2**31 - 1, -(2**31), -(2**31), 2**31 - 1, 5]
    assert overflows == 3


def test_bf16_rounds_halves_to_even() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x7F800000], np.uint32)
    assert [hex(each) for each in arithmetic.bf16_bits(bits.view(np.float32))] == [
        "0x3f80",
        "0x3f82",
        "0x3f81",
        "0x7f80",
        "0x7f80",
    ]
