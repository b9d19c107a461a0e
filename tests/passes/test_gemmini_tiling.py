"""Gemmini's own tile sizes: the rules re-evaluated by hand, and the tiles that its software printed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.passes.gemmini_tiling import (
    CONV_DIMS,
    Conv,
    Memories,
    conv_rows,
    conv_search,
    conv_tile,
    matmul_rows,
    matmul_tile,
)

PRINTED = Path(__file__).parents[3] / "shared" / "data" / "ground_truth" / "gemmini" / "firesim_rtl.csv"

# Rows, columns and inner dimension in elements; weight-stationary tile in blocks, its rows of scratchpad and
# accumulator; output-stationary tile. Evaluated from the rules of include/gemmini.h apart from this code.
PRODUCTS = [
    ((64, 64, 64), (4, 4, 4), (512, 256), (4, 4, 4)),
    ((128, 128, 128), (5, 6, 8), (1408, 480), (8, 8, 8)),
    ((512, 512, 512), (5, 6, 32), (5632, 480), (8, 8, 32)),
    ((1024, 1024, 1024), (5, 5, 51), (8160, 400), (8, 8, 64)),
    ((3136, 64, 576), (8, 4, 36), (6912, 512), (16, 4, 36)),
    ((196, 256, 2304), (5, 5, 51), (8160, 400), (8, 8, 64)),
    ((49, 512, 4608), (4, 6, 51), (8160, 384), (4, 11, 68)),
    ((1, 1000, 2048), (1, 8, 56), (8064, 128), (1, 13, 73)),
    ((128, 768, 768), (5, 5, 48), (7680, 400), (8, 8, 48)),
    ((100, 10, 300), (7, 1, 19), (2432, 112), (7, 1, 19)),
]

# Tile in the order of CONV_DIMS; rows of scratchpad and accumulator.
CONVOLUTIONS = [
    (Conv(1, 56, 64, 7, 3, 2, pool_size=3, pool_stride=2), (1, 6, 17, 16, 7, 7, 3), (2799, 504)),
    (Conv(1, 112, 64, 7, 3, 2), (1, 22, 23, 16, 7, 7, 3), (2747, 506)),
    (Conv(1, 56, 64, 1, 64), (1, 22, 23, 16, 1, 1, 64), (2088, 506)),
    (Conv(1, 56, 64, 3, 64), (1, 22, 23, 16, 3, 3, 64), (2976, 506)),
    (Conv(1, 56, 256, 1, 64), (1, 22, 23, 16, 1, 1, 64), (2088, 506)),
    (Conv(1, 28, 128, 3, 128, 2), (1, 22, 23, 16, 3, 3, 48), (7056, 506)),
    (Conv(1, 28, 512, 1, 256, 2, halves_input=True), (1, 22, 23, 16, 1, 1, 240), (7830, 506)),
    (Conv(1, 28, 128, 3, 128), (1, 22, 23, 16, 3, 3, 128), (5952, 506)),
    (Conv(1, 14, 256, 3, 256), (1, 14, 14, 32, 3, 3, 240), (8160, 392)),
    (Conv(1, 7, 512, 3, 512), (1, 7, 7, 112, 3, 3, 119), (8145, 343)),
    (Conv(1, 7, 2048, 1, 512), (1, 7, 7, 160, 1, 1, 512), (6688, 490)),
    (Conv(4, 14, 256, 3, 256), (4, 9, 14, 16, 3, 3, 144), (7632, 504)),
]


@pytest.mark.parametrize(("extents", "tile", "rows", "output_stationary"), PRODUCTS)
def test_products(
    extents: tuple[int, int, int],
    tile: tuple[int, int, int],
    rows: tuple[int, int],
    output_stationary: tuple[int, int, int],
) -> None:
    assert matmul_tile(*extents) == tile
    assert matmul_rows(*tile, Memories()) == rows
    assert matmul_tile(*extents, output_stationary=True) == output_stationary


@pytest.mark.parametrize(("conv", "tile", "rows"), CONVOLUTIONS)
def test_convolutions(conv: Conv, tile: tuple[int, ...], rows: tuple[int, int]) -> None:
    found = conv_tile(conv)
    assert tuple(found[dim] for dim in CONV_DIMS) == tile
    assert conv_rows(conv, found, Memories()) == rows


def test_a_layer_that_fits_is_one_tile() -> None:
    conv = Conv(1, 4, 16, 3, 16)
    assert conv_tile(conv) == conv.extents()
    assert conv_search(conv).looked_at == 1
    assert matmul_tile(32, 32, 32) == (2, 2, 2)


def test_tiles_that_were_looked_at_are_counted() -> None:
    """4 x 4 pixels of 32 channels are 2 blocks of 16 rows, of which half of 32 rows hold one: the whole layer, 16
    channels, and 17 of them, which do not fit."""
    found = conv_search(Conv(1, 4, 32, 1, 16), Memories(accumulator_rows=32))
    assert found.tile == {"N": 1, "Q": 4, "P": 4, "K": 16, "S": 1, "R": 1, "C": 16}
    assert found.looked_at == 3


@pytest.mark.parametrize("memories", [Memories(scratchpad_rows=16), Memories(accumulator_rows=16)])
def test_memories_that_hold_no_tile_are_refused(memories: Memories) -> None:
    with pytest.raises(CompileError, match="the smallest tile needs"):
        matmul_tile(64, 64, 64, memories)


def test_a_convolution_that_no_tile_fits_is_refused_with_what_is_short() -> None:
    # One input pixel and one weight are 2 rows; half of 2 rows is 1. One output pixel is 1 row; half of 1 is 0.
    with pytest.raises(CompileError) as caught:
        conv_tile(Conv(1, 8, 8, 1, 8), Memories(scratchpad_rows=2, accumulator_rows=1))
    assert [each.message for each in caught.value.diagnostics] == [
        "the smallest tile needs 2 rows of the scratchpad; 1 can be used",
        "the smallest tile needs 1 rows of the accumulator; 0 can be used",
    ]


@pytest.mark.skipif(not PRINTED.exists(), reason=f"needs {PRINTED}")
def test_tiles_that_gemmini_printed() -> None:
    with PRINTED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        r, p, q, c, k, n, stride = (int(row[f"prob.{each}"]) for each in ("R", "P", "Q", "C", "K", "N", "Wstride"))
        if (q, r) == (1, 1):
            i, j, inner = matmul_tile(p, k, c)
            found = (1, 1, 16 * i, 1, 16 * inner, 16 * j, 1)
        else:
            tile = conv_tile(Conv(n, (p * stride - r + r // 2 * 2) // stride + 1, k, r, c, stride))
            found = tuple(tile[dim] for dim in "SRPQCKN")
        assert "_".join(map(str, found)) == row["dse.auto_tiling"]
