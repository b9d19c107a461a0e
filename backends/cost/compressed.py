"""Loads of constants that are stored without their blocks of zeros (specs/isa.md, section 7), tile by tile.

Which blocks these are is in the constant, so that nothing of a run need be known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...ir.arch import Arch
from ...ir.diagnostics import CompileError
from ...ir.frozen import dataclass
from ...ir.module import Module
from ...ir.nest import Access, Nest
from .blocks_held import Flags, Held
from .classes import Grid, Ints, whole_grid
from .commands import Loads, run_cycles
from .skipped_transfers import per_tile, tile_boxes
from .skipped_work import check_work


@dataclass(frozen=True, slots=True, eq=False)
class Expanded:
    """The loads of a compressed operand; over the grid the blocks of each tile and those of them that are left out; and
    what is left out, element by element of the tensor."""

    loads: Loads
    blocks: Ints
    absent: Ints
    held: Held


def nonzeros(nest: Nest, module: Module) -> Mapping[str, Flags]:
    """By operand of a nest that is compressed, which elements of its tensor, as it is viewed, have products."""
    found = {}
    for access in nest.reads:
        if access.compressed is not None:
            constant = module.tensor(access.tensor).constant
            assert constant is not None
            codes: NDArray[np.generic] = np.frombuffer(module.blobs[constant], access.type.container)
            zero = 0 if nest.body.form == "raw" else access.zero_point
            found[access.operand] = (codes != zero).reshape(access.shape)
    return found


def expanding_loads(grid: Grid, arch: Arch, access: Access, plain: Loads, nonzero: Flags) -> Expanded:
    """The loads of a compressed read; `plain` are those of the dense tensor."""
    assert access.compressed is not None
    bits = access.type.bits
    moved, elements, blocks, absent = (per_tile(grid, access) for _ in range(4))
    skipped: Flags = np.zeros(access.shape, bool)
    for tile, (firsts, _, inside), _ in tile_boxes(grid, access):
        box = tuple(slice(first, first + count) for first, count in zip(firsts, inside, strict=True))
        there = nonzero[box]
        for axis, size in enumerate(access.compressed.block):
            there = np.logical_or.reduceat(there, np.arange(0, inside[axis], size), axis=axis)
        kept = there
        for axis, size in enumerate(access.compressed.block):
            kept = np.repeat(kept, size, axis=axis).take(range(inside[axis]), axis=axis)
        skipped[box] = ~kept
        elements[tile] = int(kept.sum())
        blocks[tile], absent[tile] = there.size, int((~there).sum())
        moved[tile] = -(-there.size // 8) * 8 + bits * elements[tile]
    loads = replace(
        plain,
        read_bits=moved,
        write_bits=elements * bits,
        duration=arch.queues.command_cycles + run_cycles(arch, np.ones_like(moved), moved),
    )
    return Expanded(loads, blocks, absent, Held(skipped.reshape(-1), np.zeros(0, bool), 0))


def counting_refusal(nest: Nest, arch: Arch) -> str:
    """Why the commands of a nest cannot be counted one by one; empty where they can."""
    try:
        check_work(whole_grid(nest), arch)
    except CompileError as error:
        return error.diagnostics[0].message
    return ""
