"""What holds of constants that are stored without their blocks of zeros. A part of `ir/verifier.py`."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from .arch import Arch
from .blocks import BLOCK_LIMIT, CODE_BITS
from .compressed import counts_of, is_factor, is_tiled_plainly, tile_extents, zero_code
from .diagnostics import Diagnostic, any_of
from .graph import HostRegion
from .module import Module
from .nest import Access, Nest, Schedule
from .text import symbol
from .types import ElementType

MOST_EXTENT = (1 << 16) - 1  # of a block along an axis: what its field holds


def _fault(nest: Nest, message: str, help: str) -> Diagnostic:
    return Diagnostic(f"nest {nest.name!r}: {message}", nest.span, help)


def compressed_operands_are_legal(nest: Nest, schedule: Schedule, arch: Arch | None) -> Iterator[Diagnostic]:
    """They are codes that products are made of; tiles cut their views; the machine's block unit expands them."""
    if nest.write.compressed is not None:
        yield _fault(nest, f"{symbol(nest.write.operand)} is compressed, which it writes", "constants are compressed")
    for access in nest.reads:
        if access.compressed is None:
            continue
        who, block = f"{symbol(access.operand)} is compressed", access.compressed.block
        if len(block) != len(access.shape):
            yield _fault(nest, f"blocks of {symbol(access.operand)} have {len(block)} axes", f"{len(access.shape)}")
        elif not all(1 <= extent <= MOST_EXTENT for extent in block) or prod(block) > BLOCK_LIMIT:
            help = f"1 to {MOST_EXTENT} along each axis, {BLOCK_LIMIT} elements at most"
            yield _fault(nest, f"blocks of {symbol(access.operand)} have {list(block)} elements", help)
        if not is_factor(nest, access):
            yield _fault(nest, f"{who}, and no factor of products", "zeros are left out of products alone")
        elif nest.is_empty or not is_tiled_plainly(nest, access):
            yield _fault(nest, f"{who}, and tiles do not cut its view", "each axis is one dimension, all of it")
        if access.decode is not None or not access.type.is_integer or access.type.bits > CODE_BITS:
            yield _fault(nest, f"{who}, which is no code", f"integers of at most {CODE_BITS} bits")
        if access.skip is not None:
            yield _fault(nest, f"{who}, and its blocks are skipped by a table", "one of the two")
        if schedule.buffer(access.operand).is_whole:
            yield _fault(nest, f"{who}, and it is in local memory", "loads expand it")
        if arch is not None and (arch.block_unit is None or not arch.block_unit.compressed_weights):
            help = "a machine with `block_unit: {compressed_weights: true}`"
            yield _fault(nest, f"{who}, and nothing of {arch.name} expands it", help)


def compressed_constants_agree(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """What is compressed is a constant that nests alone read, all of them by the same tiles; it takes the bytes that it
    is said to take."""
    readers: dict[str, list[tuple[Nest, Access]]] = {}
    for nest in module.operations:
        if isinstance(nest, Nest):
            for access in nest.reads:
                readers.setdefault(access.tensor, []).append((nest, access))
    others = {name for each in module.operations if not isinstance(each, Nest) for name in each.inputs}
    for name, reading in readers.items():
        if all(access.compressed is None for _, access in reading):
            continue
        nest, access = next(each for each in reading if each[1].compressed is not None)
        who, tensor = f"{symbol(name)} is compressed", module.tensor(name)
        if nest.schedule is None:
            yield _fault(nest, f"{who}, and the nest has no schedule", "tiles are compressed")
        elif tensor.constant is None or not isinstance(tensor.type, ElementType):
            yield _fault(nest, f"{who}, and no constant", "constants are compressed")
        elif name in module.outputs or name in module.inputs:
            yield _fault(nest, f"{who}, and the model hands it out", "dense")
        elif name in others:
            who_reads = next(each for each in module.operations if not isinstance(each, Nest) and name in each.inputs)
            what = "the host" if isinstance(who_reads, HostRegion) else "the graph"
            yield _fault(nest, f"{who}, and {who_reads.name!r} on {what} reads it", "nests alone read it")
        elif not (yield from any_of(_disagreements(name, reading, nest, access))):
            codes = np.frombuffer(module.blobs[tensor.constant], tensor.type.container).reshape(access.shape)
            assert access.compressed is not None
            found = counts_of(codes, tile_extents(nest, access), access.compressed.block, zero_code(nest, access))
            needed = found.total_bytes(access.type.bits)
            if needed != access.compressed.bytes:
                yield _fault(nest, f"{who} to {access.compressed.bytes} B", f"its tiles take {needed} B")


def _disagreements(name: str, reading: list[tuple[Nest, Access]], nest: Nest, access: Access) -> Iterator[Diagnostic]:
    stored = tile_form(nest, access)
    for other, found in reading:
        if other.schedule is None or found.compressed != access.compressed or tile_form(other, found) != stored:
            message = f"{symbol(name)} is compressed, and {nest.name!r} has it in another form"
            yield _fault(other, message, "all read it in one form, by tiles of one size")


def tile_form(nest: Nest, access: Access) -> tuple[object, ...]:
    """What decides the tiles of an access in main memory but its blocks; equal where two nests may read the same
    bytes. The nest is scheduled."""
    plain = is_factor(nest, access) and not nest.is_empty and is_tiled_plainly(nest, access)
    return access.type, access.shape, zero_code(nest, access), tile_extents(nest, access) if plain else None
