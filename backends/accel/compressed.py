"""The bytes of constants that are stored without their blocks of zeros, as ir/compressed.py says, and where each tile
begins."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from ...ir.compressed import tile_extents, zero_code
from ...ir.diagnostics import ensure
from ...ir.frozen import dataclass
from ...ir.module import Module
from ...ir.nest import Access, Compressed, Nest
from ...ir.packing import packed
from ...ir.types import ElementType
from .tiles import Integers, Tiles


@dataclass(frozen=True, slots=True, eq=False)
class StoredTiles:
    """The tiles of a constant, one after the other: their bytes and, by number, the first byte of each and how many
    elements of it are there."""

    data: bytes
    first_byte: Integers
    kept_elements: Integers


def stored_constants(module: Module) -> Mapping[str, StoredTiles]:
    """By name, every constant of a module that is compressed."""
    found: dict[str, StoredTiles] = {}
    for nest in module.operations:
        if not isinstance(nest, Nest):
            continue
        for access in nest.reads:
            if access.compressed is not None and access.tensor not in found:
                found[access.tensor] = _stored(module, nest, access, access.compressed)
    return found


def _stored(module: Module, nest: Nest, access: Access, compressed: Compressed) -> StoredTiles:
    tensor = module.tensor(access.tensor)
    assert tensor.constant is not None
    codes = np.frombuffer(module.blobs[tensor.constant], access.type.container).reshape(access.shape)
    extents, zero = tile_extents(nest, access), zero_code(nest, access)
    parts, firsts, kept = [], [0], []
    for corner in product(*(range(0, view, extent) for view, extent in zip(access.shape, extents, strict=True))):
        tile = codes[tuple(slice(at, at + extent) for at, extent in zip(corner, extents, strict=True))]
        part, elements = _tile(tile, compressed.block, zero, access.type)
        parts.append(part)
        kept.append(elements)
        firsts.append(firsts[-1] + len(part))
    ensure(firsts[-1] == compressed.bytes, f"{access.tensor} takes {firsts[-1]} B, not {compressed.bytes}")
    return StoredTiles(b"".join(parts), np.array(firsts[:-1], np.int64), np.array(kept, np.int64))


def _tile(codes: NDArray[np.generic], block: tuple[int, ...], zero: int, kind: ElementType) -> tuple[bytes, int]:
    """The bytes of a tile, and how many of its elements are there."""
    number = np.zeros((1,) * codes.ndim, np.int64)  # of the block that an element lies in
    for axis, (extent, size) in enumerate(zip(codes.shape, block, strict=True)):
        along = [-1 if other == axis else 1 for other in range(codes.ndim)]
        number = number * -(-extent // size) + (np.arange(extent) // size).reshape(along)
    blocks = prod(-(-extent // size) for extent, size in zip(codes.shape, block, strict=True))
    flat = np.broadcast_to(number, codes.shape).reshape(-1)
    values = codes.reshape(-1)
    there = np.zeros(blocks, bool)
    there[flat[values != zero]] = True
    order = np.argsort(flat, kind="stable")  # block by block, row-major in each
    kept = values[order[there[flat[order]]]]
    return np.packbits(there, bitorder="little").tobytes() + packed(kept, kind), len(kept)


def tile_numbers(tiles: Tiles, access: Access, at: Integers) -> Integers:
    """The numbers of the tiles of an access at the iterations `at`: row-major along its axes."""
    extents = tile_extents(tiles.nest, access)
    number = np.zeros(len(at), np.int64)
    for axis, view, extent in zip(access.index, access.shape, extents, strict=True):
        start = sum((tiles.starts[dim][at] for dim, _ in axis.terms), np.zeros(len(at), np.int64))
        number = number * -(-view // extent) + start // extent
    return number
