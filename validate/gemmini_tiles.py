"""The tile sizes that Gemmini's own software chooses, by the rules of its library (ucb-bar/gemmini-rocc-tests,
include/gemmini.h: tiled_conv_auto and tiled_matmul_auto, weight stationary), beside those of its runs.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

from .networks import Conv
from .row import Row, skipped

TRUTH = "gemmini_tiles"
DATA = "gemmini/firesim_rtl.csv"
_SOURCE = "ucb-bar/dosa, FireSim runs of Gemmini's RTL: column dse.auto_tiling"
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


def rows(data: Path | None) -> Iterator[Row]:
    """How many layers of the data get the tiles that Gemmini's software gave them."""
    path = data / DATA if data else None
    if path is None or not path.is_file():
        yield skipped(TRUTH, "FireSim's layers", f"{DATA} below --data", _SOURCE)
        return
    chosen: dict[tuple[str, ...], str] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for each in csv.DictReader(stream):
            layer = tuple(each[f"prob.{dim}"] for dim in ("R", "S", "P", "Q", "C", "K", "N", "Wstride"))
            chosen[layer] = each["dse.auto_tiling"]
    for case, is_product in (("convolutions", False), ("matrix products", True)):
        layers = {key: text for key, text in chosen.items() if (key[0] == key[3] == "1") is is_product}
        equal = sum(_auto_tiling(tuple(map(int, key))) == text for key, text in layers.items())
        yield Row(
            truth=TRUTH,
            case=case,
            quantity="layers with equal tiles",
            unit="layers",
            ours=equal,
            theirs=len(layers),
            known="tiles of every dimension of each layer, of Gemmini's default: 16x16, 256 KiB, 64 KiB",
            assumed="images are padded by half of the kernel; a kernel of even size has one more output row and column",
            source=_SOURCE,
        )


def _auto_tiling(layer: tuple[int, ...]) -> str:
    """The tiles of a layer of the data as its column spells them: kernel, pixels, input and output channels, images."""
    r, s, p, q, c, k, n, stride = layer
    if q == r == s == 1:
        rows, inputs, outputs = product_tile(p, c, k, Machine())
        return f"1_1_{rows}_1_{inputs}_{outputs}_1"
    conv = Conv("", c, q * stride, p * stride, k, r, stride, r // 2)
    batch, rows, cols, outputs, taps, more_taps, inputs = conv_tile(conv, Machine(), batch=n)
    return f"{more_taps}_{taps}_{cols}_{rows}_{inputs}_{outputs}_{batch}"


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
