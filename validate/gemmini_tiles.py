"""The tile sizes that Gemmini's own software chooses, by the rules of its library (ucb-bar/gemmini-rocc-tests,
include/gemmini.h: tiled_conv_auto and tiled_matmul_auto, weight stationary).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

from .networks import Conv

_ROWS, _COLS, _OUTPUTS, _INPUTS = 1, 2, 3, 6  # places in a tile of a convolution


@dataclass(frozen=True, slots=True)
class Machine:
    """Sides of the array, rows of the scratchpad and of the accumulator; a row holds `dim` elements."""

    dim: int = 16
    spad_rows: int = 16384
    acc_rows: int = 1024


@dataclass(frozen=True, slots=True)
class Pool:
    """A max pool of `size` x `size` in the store of a convolution."""

    size: int
    stride: int
    pad: int


def conv_tile(layer: Conv, machine: Machine, pool: Pool | None = None, batch: int = 1) -> tuple[int, ...]:
    """Images, (pooled) output rows and columns, output channels, kernel rows and columns, input channels of a tile.

    From the whole layer the largest of them shrinks until half of both memories holds the tile: channels by blocks, the
    others by one, columns not below a block while there are several rows. Then columns grow while they fit, then
    everything in turn.
    """
    after = pool or Pool(1, 1, 0)
    outputs = [(side + 2 * after.pad - after.size) // after.stride + 1 for side in (layer.p, layer.q)]
    whole = [batch, *outputs, layer.m, layer.kernel, layer.kernel, layer.c]

    def fits(tile: list[int]) -> bool:
        spad, acc = _rows_needed(tile, layer, machine.dim, pool)
        return 2 * spad <= machine.spad_rows and 2 * acc <= machine.acc_rows

    tile = list(whole)
    while not fits(tile):
        spared = tile[_COLS] <= machine.dim and tile[_ROWS] > 1
        largest = max((i for i in range(len(tile)) if not (i == _COLS and spared)), key=lambda i: (tile[i], -i))
        if largest in (_OUTPUTS, _INPUTS):
            tile[largest] = max(1, (tile[largest] - 1) // machine.dim * machine.dim)
        else:
            tile[largest] -= 1
    while _grown(tile, whole, _COLS, fits):
        pass
    while sum(_grown(tile, whole, i, fits) for i in range(len(tile))):
        pass
    return tuple(tile)


def _grown(tile: list[int], whole: list[int], place: int, fits: Callable[[list[int]], bool]) -> bool:
    """Whether one more fits at a place of the tile, which then has it."""
    tile[place] += 1
    if tile[place] <= whole[place] and fits(tile):
        return True
    tile[place] -= 1
    return False


def _rows_needed(tile: list[int], layer: Conv, dim: int, pool: Pool | None) -> tuple[int, int]:
    """Rows of the scratchpad and of the accumulator; upper bounds, as Gemmini's library takes them."""
    batch, rows, cols, outputs, taps, more_taps, inputs = tile
    if pool:
        rows, cols = (side * pool.stride + pool.size - 1 for side in (rows, cols))
    in_rows, in_cols = rows * layer.stride + taps - 1, cols * layer.stride + more_taps - 1
    if layer.kernel == 1 and layer.stride == 2 and not layer.pad and pool is None and layer.h % 2 == layer.w % 2 == 0:
        in_rows, in_cols = in_rows // 2, in_cols // 2  # only every second pixel is loaded
    acc = -(-outputs // dim) * batch * rows * cols
    return -(-inputs // dim) * batch * in_rows * in_cols + -(-outputs // dim) * taps * more_taps * inputs, acc


def product_tile(p: int, k: int, m: int, machine: Machine) -> tuple[int, int, int]:
    """Rows, summed elements and columns of a tile of a matrix product: a square of outputs that half of the accumulator
    holds, as many inputs as half of the scratchpad holds of both operands, then one block more of each in turn."""
    dim = machine.dim
    whole = [-(-m // dim), -(-p // dim), -(-k // dim)]  # the order in which they grow
    side = isqrt(machine.acc_rows // 2 // dim)
    tile = [min(whole[0], side), min(whole[1], side), min(whole[2], machine.spad_rows // 4 // dim // side)]

    def fits(tile: list[int]) -> bool:
        columns, rows, inputs = tile
        spad, acc = (rows + columns) * inputs * dim, rows * columns * dim
        return 2 * spad <= machine.spad_rows and 2 * acc <= machine.acc_rows

    while sum(_grown(tile, whole, i, fits) for i in range(len(tile))):
        pass
    columns, rows, inputs = tile
    return rows * dim, inputs * dim, columns * dim
