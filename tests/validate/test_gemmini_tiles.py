"""Gemmini's tiles: the rules give the integers that were derived from them by hand for its default configuration."""

from __future__ import annotations

import pytest
from dnnc.validate.gemmini_tiles import Machine, Pool, conv_tile, product_tile
from dnnc.validate.networks import Conv

GEMMINI = Machine()


@pytest.mark.parametrize(
    ("p", "k", "m", "blocks"),
    [
        (64, 64, 64, (4, 4, 4)),
        (128, 128, 128, (5, 8, 6)),
        (512, 512, 512, (5, 32, 6)),
        (1024, 1024, 1024, (5, 51, 5)),
        (3136, 576, 64, (8, 36, 4)),
        (49, 4608, 512, (4, 51, 6)),
        (1, 2048, 1000, (1, 56, 8)),
        (100, 300, 10, (7, 19, 1)),
    ],
)
def test_products(p: int, k: int, m: int, blocks: tuple[int, int, int]) -> None:
    assert product_tile(p, k, m, GEMMINI) == tuple(16 * each for each in blocks)


@pytest.mark.parametrize(
    ("layer", "pool", "tile"),
    [
        (Conv("", 3, 224, 224, 64, 7, 2, 3), Pool(3, 2, 1), (1, 6, 17, 16, 7, 7, 3)),
        (Conv("", 3, 224, 224, 64, 7, 2, 3), None, (1, 22, 23, 16, 7, 7, 3)),
        (Conv("", 64, 56, 56, 64, 1), None, (1, 22, 23, 16, 1, 1, 64)),
        (Conv("", 128, 56, 56, 128, 3, 2, 1), None, (1, 22, 23, 16, 3, 3, 48)),
        (Conv("", 256, 56, 56, 512, 1, 2), None, (1, 22, 23, 16, 1, 1, 240)),
        (Conv("", 256, 14, 14, 256, 3, 1, 1), None, (1, 14, 14, 32, 3, 3, 240)),
        (Conv("", 512, 7, 7, 512, 3, 1, 1), None, (1, 7, 7, 112, 3, 3, 119)),
    ],
)
def test_convolutions(layer: Conv, pool: Pool | None, tile: tuple[int, ...]) -> None:
    assert conv_tile(layer, GEMMINI, pool) == tile


def test_images_of_a_batch_share_a_tile() -> None:
    layer = Conv("", 256, 14, 14, 256, 3, 1, 1)
    assert conv_tile(layer, GEMMINI, batch=4) == (4, 9, 14, 16, 3, 3, 144)
