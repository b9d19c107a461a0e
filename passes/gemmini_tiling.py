"""The tile sizes that Gemmini's own software chooses: to compare with, and to show what a search gains over them.

Source: ucb-bar/gemmini-rocc-tests, include/gemmini.h, tiled_matmul_auto and tiled_conv_auto (commit 180c4684; branch
dosa, commit 959b23f, of which the second one never halves the input).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass

# Order in which tile sizes are reduced and grown; letters as in specs/mapping.md, P columns and Q rows of outputs.
CONV_DIMS = "NQPKSRC"


@dataclass(frozen=True, slots=True)
class Memories:
    """Rows of the scratchpad and of the accumulator, each of `block` elements, the array's side."""

    block: int = 16
    scratchpad_rows: int = 16384
    accumulator_rows: int = 1024


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution of square images. `output_side` is that after pooling, in pixels; without pooling, size and stride
    are 1. `halves_input`: a 1 x 1 kernel of stride 2 without padding or pooling, which loads only the pixels it reads.
    """

    batch: int
    output_side: int
    output_channels: int
    kernel: int
    input_channels: int
    stride: int = 1
    pool_size: int = 1
    pool_stride: int = 1
    halves_input: bool = False

    def extents(self) -> dict[str, int]:
        kernel, side = self.kernel, self.output_side
        sizes = (self.batch, side, side, self.output_channels, kernel, kernel, self.input_channels)
        return dict(zip(CONV_DIMS, sizes, strict=True))


def matmul_rows(i: int, j: int, k: int, memories: Memories) -> tuple[int, int]:
    """Rows of the scratchpad and of the accumulator for a tile of these numbers of blocks."""
    return (i * k + k * j) * memories.block, i * j * memories.block


def matmul_tile(
    i: int, j: int, k: int, memories: Memories | None = None, *, output_stationary: bool = False
) -> tuple[int, int, int]:
    """Blocks of rows, columns and inner dimension of a tile of an `i` x `k` by `k` x `j` product.

    Weight-stationary tiles may use half of each memory, so that two are in flight; output-stationary ones all. From
    a square that fits the accumulator each size grows in turn while there is room. Raises CompileError where the
    memories do not hold a tile of single blocks.
    """
    memories = memories or Memories()
    parts = 1 if output_stationary else 2
    most = (memories.scratchpad_rows // parts, memories.accumulator_rows // parts)
    _hold(matmul_rows(1, 1, 1, memories), most)
    blocks = [-(-each // memories.block) for each in (i, j, k)]
    side = math.isqrt(most[1] // memories.block)
    # The software starts from half of what it may use of the scratchpad.
    depth = max(1, memories.scratchpad_rows // 2 // parts // memories.block // side)
    tile = [min(blocks[0], side), min(blocks[1], side), min(blocks[2], depth)]

    def grows(at: int) -> bool:
        more = [size + (place == at) for place, size in enumerate(tile)]
        used = matmul_rows(more[0], more[1], more[2], memories)
        if more[at] > blocks[at] or used[0] > most[0] or used[1] > most[1]:
            return False
        tile[at] += 1
        return True

    while sum(grows(at) for at in (1, 0, 2)):  # each has its turn
        pass
    return tile[0], tile[1], tile[2]


def _hold(least: tuple[int, int], most: tuple[int, int]) -> None:
    names = ("scratchpad", "accumulator")
    if faults := [
        Diagnostic(f"the smallest tile needs {needed} rows of the {name}; {room} can be used", help="larger memories")
        for name, needed, room in zip(names, least, most, strict=True)
        if needed > room
    ]:
        raise CompileError(faults)


def conv_rows(conv: Conv, tile: Mapping[str, int], memories: Memories) -> tuple[int, int]:
    """Rows of the scratchpad and of the accumulator that the software reckons for a tile; upper bounds."""
    rows, columns = (tile[dim] * conv.pool_stride + conv.pool_size - 1 for dim in "QP")
    input_rows, input_columns = rows * conv.stride + tile["S"] - 1, columns * conv.stride + tile["R"] - 1
    if conv.halves_input:
        input_rows, input_columns = input_rows // 2, input_columns // 2
    into, out = (-(-tile[dim] // memories.block) for dim in "CK")
    scratchpad = into * tile["N"] * input_rows * input_columns + out * tile["R"] * tile["S"] * tile["C"]
    return scratchpad, out * tile["N"] * rows * columns


@dataclass(frozen=True, slots=True)
class Found:
    """Tile sizes in elements, by dimension, and how many tiles the software looked at to find them."""

    tile: dict[str, int]
    looked_at: int


def conv_tile(conv: Conv, memories: Memories | None = None) -> dict[str, int]:
    """The tile of a convolution: sizes in elements, by dimension; see conv_search."""
    return conv_search(conv, memories).tile


def conv_search(conv: Conv, memories: Memories | None = None) -> Found:
    """The search for the tile of a convolution.

    From the whole layer the largest size is reduced, channels to whole blocks, until half of each memory holds the
    tile; columns are spared where they fit the array and there are several rows. Then columns grow while there is
    room, then any size by one element in turn, channels as well. Raises CompileError where the memories do not hold a
    tile of single elements.
    """
    memories = memories or Memories()
    most = (memories.scratchpad_rows // 2, memories.accumulator_rows // 2)
    _hold(conv_rows(conv, dict.fromkeys(CONV_DIMS, 1), memories), most)
    extents = conv.extents()
    tile = dict(extents)
    looked_at = 0

    def fits(sizes: Mapping[str, int]) -> bool:
        nonlocal looked_at
        looked_at += 1
        scratchpad, accumulator = conv_rows(conv, sizes, memories)
        return scratchpad <= most[0] and accumulator <= most[1]

    while not fits(tile):
        spared = tile["P"] <= memories.block and tile["Q"] > 1
        largest = max((dim for dim in CONV_DIMS if dim != "P" or not spared), key=lambda dim: tile[dim])
        if largest in "KC":
            whole = (tile[largest] - 1) // memories.block * memories.block
            tile[largest] = max(1, whole)
        else:
            tile[largest] -= 1

    def grows(dim: str) -> bool:
        more = tile | {dim: tile[dim] + 1}
        if more[dim] > extents[dim] or not fits(more):
            return False
        tile[dim] += 1
        return True

    while grows("P"):
        pass
    while sum(grows(dim) for dim in CONV_DIMS):
        pass
    return Found(tile, looked_at)
