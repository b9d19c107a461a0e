"""Sums of products of words: the processor's instruction, and the same spelled out, against exact integers."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from dnnc.explore.accuracy import tile
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[Any]


def compiled(pixels: int) -> Any:
    made: Any = intrinsic(tile._tile(pixels))

    @numba.njit  # type: ignore[untyped-decorator]
    def run(x: Any, w: Any, bias: Any, y: Any, offsets: Any, step: Any) -> None:
        taps, pairs = w.shape[0], w.shape[1]
        addresses = x.ctypes.data, w.ctypes.data, bias.ctypes.data, y.ctypes.data, offsets.ctypes.data
        made(*addresses, taps, pairs, step, y.shape[1] * 4)

    return run


@pytest.mark.parametrize("pixels", [1, 8])
@pytest.mark.parametrize("has_instruction", [False, True])
def test_sums_wrap_to_32_bits(pixels: int, has_instruction: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two taps of three pairs of channels, pixels one position apart; some words are the least there is."""
    if has_instruction and not tile._has_instruction():
        pytest.skip("this processor does not multiply 32 words at once")
    monkeypatch.setattr(tile, "_has_instruction", lambda: has_instruction)
    rng = np.random.default_rng(pixels)
    x, w = (
        rng.choice([-32768, 32767, *range(-9, 9)], shape).astype(np.int16) for shape in ((11, 6), (2, 3, tile.LANES, 2))
    )
    bias = rng.integers(-(2**31), 2**31, tile.LANES).astype(np.int32)
    y = np.full((pixels + 1, tile.LANES), 7, np.int32)
    offsets = np.array([0, 2 * 6 * 2], np.int64)  # of the first and of the third position
    compiled(pixels)(x, w, bias, y, offsets, 6 * 2)
    wide = x.astype(np.int64)
    for pixel in range(pixels):
        seen = np.stack([wide[pixel], wide[pixel + 2]]).reshape(2, 3, 1, 2)
        exact = bias + (seen * w).sum(axis=(0, 1, 3))
        assert np.array_equal(y[pixel], exact.astype(np.int32))
    assert (y[pixels] == 7).all()
