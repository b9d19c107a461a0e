"""Store constants without their blocks of zeros, on machines whose block unit expands them.

before:  read %w = %weights : i8[3, 3, 16, 32] at (r, s, c, m)                       18,432 B in main memory
after:   read %w = %weights : i8[3, 3, 16, 32] at (r, s, c, m) compressed [1, 1, 16, 16] to 2311

What counts is what is zero, whoever made it so: `--prune`, or whoever trained the model. Of the candidate sizes of
blocks those are taken that take the fewest bytes; of two, the larger ones. Blocks are cut from tiles, so they need not
be the blocks that were pruned: where tiles or taps cut these, smaller ones are found.

Requires: every nest is scheduled. Mappings have been chosen as if all constants were dense.
Ensures:  a constant is compressed, for all that read it, where it takes fewer bytes so: nests alone read it, as a
          factor of products that are 0 with its zeros, by tiles of one size; and the cost model can count the nests
          tile by tile. Their reasons say what became of it, or why it stays dense although it has blocks of zeros.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..backends.cost.compressed import counting_refusal
from ..ir.arch import Arch
from ..ir.blocks import CODE_BITS
from ..ir.compressed import TileCounts, counts_of, is_factor, is_tiled_plainly, tile_extents, zero_code
from ..ir.compressed_rules import tile_form
from ..ir.module import Module
from ..ir.nest import Access, Compressed, CounterClass, Nest, counter_class
from ..ir.types import ElementType, Tensor

COMPRESSED, DENSE = "weights compressed", "weights not compressed"  # begin what a reason says
LEAST_ELEMENTS = 4  # of a block
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_Reading = Sequence[tuple[Nest, Access]]


def compress_weights(module: Module, arch: Arch) -> Module:
    """The module with the constants that are worth it compressed; what was compressed before is forgotten."""
    if arch.block_unit is None or not arch.block_unit.compressed_weights:
        return module
    module = replace(
        module, operations=tuple(dense(each) if isinstance(each, Nest) else each for each in module.operations)
    )
    readers: defaultdict[str, list[tuple[Nest, Access]]] = defaultdict(list)
    for nest in module.operations:
        if isinstance(nest, Nest):
            for access in nest.reads:
                readers[access.tensor].append((nest, access))
    found: dict[str, Compressed] = {}
    told: defaultdict[str, list[str]] = defaultdict(list)
    for name, reading in readers.items():
        if not any(is_factor(nest, access) for nest, access in reading):
            continue
        reason, form = _decision(module, arch, module.tensor(name), reading)
        if form is not None:
            found[name] = form
        for who in dict.fromkeys(nest.name for nest, _ in reading if reason):
            told[who].append(reason)
    operations = tuple(
        _with_forms(each, found, told[each.name]) if isinstance(each, Nest) else each for each in module.operations
    )
    return replace(module, operations=operations)


def dense(nest: Nest) -> Nest:
    """The nest before the pass, as the mapper has seen it."""
    reads = tuple(replace(each, compressed=None) if each.compressed is not None else each for each in nest.reads)
    parts = [each for each in nest.reason.split("; ") if not each.startswith((COMPRESSED, DENSE))]
    return replace(nest, reads=reads, reason="; ".join(parts))


def _with_forms(nest: Nest, forms: Mapping[str, Compressed], told: Sequence[str]) -> Nest:
    reads = tuple(replace(each, compressed=forms[each.tensor]) if each.tensor in forms else each for each in nest.reads)
    return replace(nest, reads=reads, reason="; ".join(filter(None, (nest.reason, *told))))


def _decision(module: Module, arch: Arch, tensor: Tensor, reading: _Reading) -> tuple[str, Compressed | None]:
    """What to say of a tensor that is a factor of products, nothing where it has no blocks of zeros; and its form."""
    nest, access = next(each for each in reading if is_factor(*each))
    kind = access.type
    if tensor.constant is None or kind.is_float or kind.bits > CODE_BITS or nest.is_empty:
        return "", None
    assert isinstance(tensor.type, ElementType)
    codes = np.frombuffer(module.blobs[tensor.constant], kind.container).reshape(access.shape)
    zeros = codes.size - int(np.count_nonzero(codes != zero_code(nest, access)))
    if zeros < LEAST_ELEMENTS or not is_tiled_plainly(nest, access):
        return "", None
    tile = tile_extents(nest, access)
    best = _best(nest, access, codes, tile, arch)
    if best is None:
        return "", None
    block, counts = best
    size = " x ".join(map(str, block))
    bytes = counts.total_bytes(kind.bits)
    figures = f"{counts.zero_blocks} of {int(counts.blocks.sum())} blocks of {size} are zero"
    if bytes >= tensor.bytes:
        return f"{DENSE}: {figures}, {bytes} B for {tensor.bytes} B", None
    if why := _refusal(module, arch, tensor, reading):
        return f"{DENSE}: {figures}, but {why}", None
    return f"{COMPRESSED}: {figures}, {bytes} B for {tensor.bytes} B", Compressed(block, bytes)


def _refusal(module: Module, arch: Arch, tensor: Tensor, reading: _Reading) -> str:
    """Why a constant with blocks of zeros stays dense; empty if it need not."""
    if tensor.name in module.outputs:
        return "they are an output of the model"
    for each in module.operations:
        if not isinstance(each, Nest) and tensor.name in each.inputs:
            return f"{each.name} on the host reads them"
    first = tile_form(*reading[0])
    for nest, access in reading:
        assert nest.schedule is not None, f"{nest.name!r} is not scheduled"
        if not is_factor(nest, access):
            return f"{nest.name} does more with them than to multiply"
        if access.decode is not None:
            return f"{nest.name} makes floats of their codes"
        if nest.schedule.buffer(access.operand).is_whole:
            return f"{nest.name} has them in local memory"
        if tile_form(nest, access) != first:
            return f"{reading[0][0].name} and {nest.name} read them by different tiles"
        if why := counting_refusal(nest, arch):
            return why
    return ""


def _best(
    nest: Nest, access: Access, codes: NDArray[np.generic], tile: tuple[int, ...], arch: Arch
) -> tuple[tuple[int, ...], TileCounts] | None:
    """Of blocks some of which are zero those that take the fewest bytes, the larger ones of two; None where there are
    none."""
    zero, bits = zero_code(nest, access), access.type.bits
    counted: list[tuple[tuple[int, ...], TileCounts]] = []
    full: list[tuple[int, ...]] = []  # blocks none of which is zero: none that is made of them is
    for block in _candidates(nest, access, tile, arch):
        if not any(_is_made_of(block, each, tile) for each in full):
            counts = counts_of(codes, tile, block, zero)
            if counts.zero_blocks:
                counted.append((block, counts))
            else:
                full.append(block)
    return min(counted, key=lambda each: (each[1].total_bytes(bits), int(each[1].blocks.sum())), default=None)


def _is_made_of(block: tuple[int, ...], part: tuple[int, ...], tile: tuple[int, ...]) -> bool:
    """Whether each block of one size is some whole blocks of another one; both are cut from the start of each tile."""
    return all(large % small == 0 or large == extent for large, small, extent in zip(block, part, tile, strict=True))


def _candidates(nest: Nest, access: Access, tile: tuple[int, ...], arch: Arch) -> Iterator[tuple[int, ...]]:
    """Sizes of blocks: of several elements along the innermost axis that is summed over and along the innermost one
    that is not (an array's rows and columns), of one along all others."""
    sizes = sorted({*_SIZES, arch.array.rows, arch.array.cols})
    choices: list[list[int]] = [[1] for _ in access.shape]
    chosen: set[bool] = set()
    for number in reversed(range(len(access.shape))):
        dims = [dim for dim, _ in access.index[number].terms]
        if access.shape[number] > 1 and dims:
            sums = counter_class(nest, dims[0]) is CounterClass.REDUCE
            if sums not in chosen:
                chosen.add(sums)
                choices[number] = sorted({min(size, tile[number]) for size in sizes})
    for block in product(*choices):
        if np.prod(block) >= LEAST_ELEMENTS:
            yield block
