"""What Gemmini's tiled loops are told: the layer, the mapping as written, and the tiles and loop order that follow.

Sources, with tags such as [map] that other files of this model use too:
[map] ucb-bar/gemmini-rocc-tests, branch dosa: gemmini-data-collection/layers/extract_data_csv.py (mapping to tiles and
loop order) and templates/{conv,matmul}_tilings.c (how the layers were run and timed);
[sw] the same branch: include/gemmini.h (tiled_conv, tiled_matmul_outer: loops over tiles).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...ir.frozen import dataclass

BLOCK = 16  # rows and columns of the array: channels that lie side by side in a row of its memories
MOST_TILES = 1 << 20
DIMS = "RSPQCKN"  # kernel column and row, output column and row, input and output channel, image
INNER_FIRST = "CRSKPQN"  # loops that a mapping does not name come after those that it does, in this order [map]


@dataclass(frozen=True, slots=True)
class ConvLayer:
    """A convolution of square images with a square kernel; a matrix product has q = r = s = 1, and p rows.

    `p` and `q` are output columns and rows as the mapping divides them, `c` and `k` input and output channels.
    """

    r: int
    s: int
    p: int
    q: int
    c: int
    k: int
    n: int = 1
    stride: int = 1

    @property
    def is_product(self) -> bool:
        """Run by tiled_matmul, not by tiled_conv [map]."""
        return self.q == self.r == self.s == 1

    @property
    def padding(self) -> int:
        """Pixels of zeros on each side: half of the kernel, rounded down (conv_tilings.c)."""
        return 0 if self.is_product else self.r // 2

    @property
    def input_side(self) -> int:
        """Columns, and rows, of the image: the outputs times the stride [map]."""
        return self.p * self.stride

    def extents(self) -> dict[str, int]:
        """What the loops run to. A kernel of even size has an output column and row more than the mapping says, since
        it is padded by half of its size on both sides."""
        written = {dim: int(getattr(self, dim.lower())) for dim in DIMS}
        if self.is_product:
            return written
        outputs = (self.input_side - self.r + 2 * self.padding) // self.stride + 1
        return written | {"P": outputs, "Q": outputs}


@dataclass(frozen=True, slots=True)
class Factor:
    """`count` iterations over `dim` at one level; `spatial` ones run side by side (written with an X)."""

    dim: str
    count: int
    spatial: bool = False


@dataclass(frozen=True, slots=True)
class TiledLoops:
    """Tile sizes by dimension, and the dimensions of the loops over tiles from the innermost to the outermost."""

    tile: Mapping[str, int]
    order: str

    def trips(self, layer: ConvLayer) -> dict[str, int]:
        """Tiles along each dimension."""
        return {dim: math.ceil(extent / self.tile[dim]) for dim, extent in layer.extents().items()}


def tiled_loops(layer: ConvLayer, tile: Mapping[str, int], order: str) -> TiledLoops:
    """The loops over tiles of at most these sizes; a product's are whole blocks of 16, as in tiled_matmul."""
    sizes = {dim: min(tile.get(dim, 1), extent) for dim, extent in layer.extents().items()}
    if layer.is_product:
        sizes |= {dim: max(BLOCK, tile.get(dim, 1) // BLOCK * BLOCK) for dim in "PCK"}
    return TiledLoops(sizes, order)


def loops_of_mapping(layer: ConvLayer, levels: Sequence[Sequence[Factor]]) -> TiledLoops:
    """The tiles and loops that were run for a mapping of four levels: main memory, scratchpad, accumulator, registers.

    A tile is what the accumulator's level holds, times the output columns and rows of the registers' level and the
    output channels that are spread over columns; the loops of main memory follow as written, outermost first [map].
    """
    memory, scratchpad, accumulator, registers = levels
    tile = dict.fromkeys(DIMS, 1)
    inside = [
        *accumulator,
        *(each for each in scratchpad if each.spatial and each.dim == "K"),
        *(each for each in registers if each.dim in "PQ"),
    ]
    for each in inside:
        tile[each.dim] *= each.count
    named = dict.fromkeys(each.dim for each in reversed(memory))
    return tiled_loops(layer, tile, "".join([*named, *(dim for dim in INNER_FIRST if dim not in named)]))


def loops_of_gemmini(layer: ConvLayer, tile: Mapping[str, int]) -> TiledLoops:
    """The loops of Gemmini's own software for its own tile sizes [sw]."""
    return tiled_loops(layer, tile, "CKPQRSN" if layer.is_product else INNER_FIRST)


@dataclass(frozen=True, slots=True)
class Constants:
    """What the sources do not fix to the cycle; ranges and sources in specs/truths/gemmini_rtl.yaml.

    `request_latency_cycles`: from a request of the DMA until the level 2 cache has answered it.
    `last_level_cycles`: for which a line of the level 2 cache occupies the last-level cache.
    `memory_cycles`: for which a block of the last-level cache that comes from main memory occupies it besides.
    `mesh_latency_cycles`: from the first row into the array to the first result in the accumulator.
    `tile_cycles`: in which the processor issues the commands of one tile.
    `start_cycles`: of a layer, once.
    """

    request_latency_cycles: float
    last_level_cycles: float
    memory_cycles: float
    mesh_latency_cycles: float
    tile_cycles: float
    start_cycles: float


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache with random replacement."""

    line_bytes: int
    sets: int
    ways: int

    @property
    def lines(self) -> int:
        return self.sets * self.ways
