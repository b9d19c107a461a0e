"""Constants that are stored without their blocks of zeros, tile by tile: what of them lies in main memory, and where.

A tile is what one load brings: tiles are cut along the axes of the access, and lie in main memory in row-major order of
their numbers along these axes, each from a whole byte on. A tile is cut into blocks, from its first element on, those
at its ends short. First comes a bitmap, a bit a block in row-major order of the blocks, 1 where the block is there;
what is left of its last byte is 0. Then come the elements of these blocks, packed (ir/packing.py), block by block,
row-major in each. A block is left out where every element of it is `zero_code`, of which products are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from .frozen import dataclass
from .nest import Access, BodyOp, Nest, tile_sizes

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TileCounts:
    """Of each tile, as arrays over their numbers along the axes: blocks, and elements of those that are there; and how
    many blocks of all are left out."""

    blocks: Counts
    kept_elements: Counts
    zero_blocks: int

    def tile_bits(self, element_bits: int) -> Counts:
        """Bits that a load of each tile moves: the bytes of the bitmap and the elements."""
        return bitmap_bits(self.blocks) + element_bits * self.kept_elements

    def total_bytes(self, element_bits: int) -> int:
        """What all tiles take in main memory."""
        return int((-(-self.tile_bits(element_bits) // 8)).sum())


def bitmap_bits(blocks: Counts) -> Counts:
    """Bits of the whole bytes that hold a bit for each of so many blocks."""
    return 8 * -(-blocks // 8)


def zero_code(nest: Nest, access: Access) -> int:
    """The code of an operand of a mac body whose products are 0."""
    return access.zero_point if nest.body.form == "subtract" else 0


def is_factor(nest: Nest, access: Access) -> bool:
    """Whether an access is an operand of the products of a nest."""
    return nest.body.op is BodyOp.MAC and access.operand in (nest.body.a, nest.body.b)


def is_tiled_plainly(nest: Nest, access: Access) -> bool:
    """Whether tiles cut the view of an access: each axis of it is one dimension, from its start to its end."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    seen: list[str] = []
    for axis, view in zip(access.index, access.shape, strict=True):
        if axis.constant or (view > 1 and [(c, extents[dim]) for dim, c in axis.terms] != [(1, view)]):
            return False
        seen += [dim for dim, _ in axis.terms]
        if view <= 1 and any(extents[dim] > 1 for dim, _ in axis.terms):
            return False
    return len(seen) == len(set(seen))


def tile_extents(nest: Nest, access: Access) -> tuple[int, ...]:
    """Extents of a full tile along each axis of an access that `is_tiled_plainly`."""
    sizes = tile_sizes(nest)
    return tuple([prod([sizes[dim] for dim, _ in axis.terms]) for axis in access.index])


def counts_of(codes: NDArray[np.generic], tile: Sequence[int], block: Sequence[int], zero: int) -> TileCounts:
    """What there is of the tiles of `codes`, an array of the view that has elements; `tile` and `block` are extents."""
    there: NDArray[np.bool_] = codes != zero
    elements, blocks = np.ones((1,) * codes.ndim, np.int64), np.ones((1,) * codes.ndim, np.int64)
    tiles = []
    for axis, extent in enumerate(codes.shape):
        starts = [
            at + k for at in range(0, extent, tile[axis]) for k in range(0, min(tile[axis], extent - at), block[axis])
        ]
        tiles.append(np.flatnonzero(np.array(starts) % tile[axis] == 0))
        if len(starts) < extent:
            there = np.logical_or.reduceat(there, starts, axis=axis)
        along = [-1 if other == axis else 1 for other in range(codes.ndim)]
        elements = elements * np.diff(starts, append=extent).reshape(along)
        blocks = blocks * np.diff(tiles[-1], append=len(starts)).reshape(along)
    kept: Counts = there * elements
    for axis, firsts in enumerate(tiles):
        if len(firsts) < kept.shape[axis]:
            kept = np.add.reduceat(kept, firsts, axis=axis)
    return TileCounts(blocks, kept, there.size - int(np.count_nonzero(there)))
