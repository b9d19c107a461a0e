"""Codes of weights at any width: against a slow reference, and the least error of all ends that are tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dnnc.ir.graph import Node
from dnnc.ir.precision import METHODS, LayerPrecision
from dnnc.passes.codes import codes_of, dequantised
from dnnc.passes.weights import rounded_weights, weight_parameters
from dnnc.passes.widths import integer
from hypothesis import given, settings
from hypothesis import strategies as st

CONV = Node("c", "conv", ("x", "w"), ("y",), (("group", 1),))


def drawn(seed: int, shape: tuple[int, ...] = (5, 4, 3, 3)) -> Any:
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.1, 3, (shape[0], *([1] * (len(shape) - 1))))
    return (rng.normal(rng.normal(), 1, shape) * spread).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 16), st.booleans(), st.booleans(), st.booleans())
def test_codes_are_the_nearest_of_their_range(
    seed: int, bits: int, symmetric: bool, per_channel: bool, signed: bool
) -> None:
    """minmax cuts nothing: every weight is within half a step of its code's value."""
    layer = LayerPrecision(bits, 8, symmetric, per_channel=per_channel)
    kind = integer(bits, signed or symmetric)
    array = drawn(seed)
    codes, parameters = rounded_weights(CONV, array, layer, kind)
    assert codes.min() >= kind.minimum + (1 if symmetric else 0)
    assert codes.max() <= kind.maximum
    assert len(parameters.scale) == (5 if per_channel else 1)
    assert len(set(parameters.zero_point)) == 1
    scale = np.asarray(parameters.scale).reshape(-1, 1, 1, 1)
    # Of codes with a zero point, the ends are as far off as the rounded zero point is.
    slack = 0.5 if symmetric else 1.0
    assert (np.abs(dequantised(codes, parameters) - array) <= slack * scale * (1 + 1e-3) + 1e-6).all()
    if symmetric:
        assert parameters.zero_point[0] == 0
        largest = np.abs(array).reshape(5, -1).max(axis=1) if per_channel else [np.abs(array).max()]
        np.testing.assert_allclose(parameters.scale, np.asarray(largest) / kind.maximum, rtol=1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_least_square_error_is_no_more_than_that_of_any_other_ends(bits: int, symmetric: bool) -> None:
    array = drawn(bits, (3, 40))
    array[0, 0] = 30  # an outlier is cut off
    kind = integer(bits, True)

    def error(layer: LayerPrecision, rows: Any, axis: int | None) -> Any:
        parameters = weight_parameters(rows, axis, layer, kind)
        return ((dequantised(codes_of(rows, parameters, kind), parameters) - rows) ** 2).sum(axis=1)

    best = error(LayerPrecision(bits, 8, symmetric, weight_calibration="mse"), array, 0)
    plain = error(LayerPrecision(bits, 8, symmetric), array, 0)
    assert (best <= plain * (1 + 1e-4)).all()
    if symmetric:
        for part in np.arange(5, 101) / 100:
            reach = np.abs(array).max(axis=1, keepdims=True) * part / kind.maximum
            codes = np.clip(np.rint(array / reach), -kind.maximum, kind.maximum)
            assert (best <= ((codes * reach - array) ** 2).sum(axis=1) * (1 + 1e-4)).all()
        assert bits > 4 or best.sum() < plain.sum()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_method_has_ends_within_the_extremes(method: str, symmetric: bool) -> None:
    array = drawn(1, (4, 500))
    plain, found = (
        weight_parameters(array, 0, LayerPrecision(4, 8, symmetric, weight_calibration=each), integer(4, True))
        for each in ("minmax", method)
    )
    assert all(0 < a <= b * (1 + 1e-6) for a, b in zip(found.scale, plain.scale, strict=True)) or not symmetric
    assert all(scale > 0 for scale in found.scale)


def test_weights_of_zeros_and_of_nothing() -> None:
    for array in (np.zeros((2, 3), np.float32), np.zeros((2, 0), np.float32)):
        for symmetric in (True, False):
            for method in METHODS:
                layer = LayerPrecision(3, 8, symmetric, weight_calibration=method)
                codes, parameters = rounded_weights(CONV, array, layer, integer(3, True))
                assert parameters.scale == (1.0, 1.0)
                assert (dequantised(codes, parameters) == 0).all()
