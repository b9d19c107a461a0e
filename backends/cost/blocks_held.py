"""Which blocks of pruned tensors the block unit's cache holds (specs/isa.md, section 7), given what a run has observed.

A mask says of each block that a layer stores, by sample, row and column of blocks: 0 it is kept, 1 it was made zero, 2
it was zero before the test. Both of the latter pass the test; their positions enter the cache while there is room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.arch import Arch
from ...ir.diagnostics import CompileError, Diagnostic, closest
from ...ir.frozen import dataclass
from ...ir.module import Module
from ...ir.nest import Access, Nest, Prune
from ...ir.stats import BlockCounts
from .classes import Grid

Masks = Mapping[str, NDArray[np.uint8]]
Flags = NDArray[np.bool_]

KEPT, CREATED, ALREADY_ZERO = 0, 1, 2
ELEMENT_LIMIT = 1 << 27  # of a tensor whose elements are told apart


@dataclass(frozen=True)
class Held:
    """What the cache holds of a tensor: `skipped` are its elements in blocks whose positions are held, as stored;
    `begins` those whose block is not that of the element before. `entries` are the positions."""

    skipped: Flags
    begins: Flags
    entries: int

    def part(self, flags: Flags, access: Access, firsts: list[int], steps: list[int], inside: list[int]) -> Flags:
        """Of `flags` (one of the two) the elements of a box that are inside the view."""
        slices = (
            slice(first, first + step * count, step) for first, step, count in zip(firsts, steps, inside, strict=True)
        )
        return flags.reshape(access.shape)[tuple(slices)]


def pruning_nests(module: Module) -> dict[str, Nest]:
    """By layer, the nest that prunes blocks of what it stores; layers without elements have none."""
    return {
        each.layer: each
        for each in module.operations
        if isinstance(each, Nest) and each.prune is not None and not each.is_empty
    }


def mask_shape(nest: Nest) -> tuple[int, int, int]:
    """Samples, rows and columns of blocks of what a nest prunes."""
    prune = nest.prune
    assert prune is not None
    samples = prod(nest.write.shape) // (prune.points * prune.columns)
    return samples, -(-prune.points // prune.test.rows), -(-prune.columns // prune.test.cols)


def mask_faults(module: Module, masks: Mapping[str, NDArray[Any]]) -> Iterator[Diagnostic]:
    """What is wrong with masks: one a layer that prunes, of the shape of its blocks, of 0, 1 and 2."""
    nests = pruning_nests(module)
    for name in masks:
        if name not in nests:
            help = closest(name, nests) if nests else "nothing of the model is pruned: leave the masks out"
            yield Diagnostic(f"there is a mask of {name[:80]!r}, which prunes no blocks", help=help)
    for name, nest in nests.items():
        mask = masks.get(name)
        if mask is None:
            yield Diagnostic(
                f"there is no mask of {name!r}, which prunes blocks", nest.span, "masks of one run have all"
            )
            continue
        shape = mask_shape(nest)
        if mask.dtype != np.uint8:
            yield Diagnostic(f"the mask of {name!r} has type {mask.dtype}", help="uint8")
        elif mask.shape != shape:
            message = f"the mask of {name!r} has shape {list(mask.shape)}"
            yield Diagnostic(message, help=f"{list(shape)}: samples, rows and columns of blocks")
        elif (found := int(mask.max(initial=0))) > ALREADY_ZERO:
            help = f"{KEPT}: kept, {CREATED}: made zero, {ALREADY_ZERO}: zero before"
            yield Diagnostic(f"the mask of {name!r} has a {found}", help=help)


def untouched(nest: Nest) -> NDArray[np.uint8]:
    """The mask of what a nest prunes if every block is kept."""
    return np.zeros(mask_shape(nest), np.uint8)


def held(nest: Nest, mask: NDArray[np.uint8], room: int) -> Held:
    """What the cache holds of what a nest stores, where it has room for so many positions more.

    Blocks enter in the order of the stores and, of one store, of their first elements.
    """
    prune = nest.prune
    assert prune is not None
    elements = prod(nest.write.shape)
    if elements > ELEMENT_LIMIT:
        message = f"nest {nest.name!r} prunes a tensor of {elements} elements"
        raise CompileError(Diagnostic(message, nest.span, f"at most {ELEMENT_LIMIT} can be told apart"))
    entered = np.zeros(mask.size, dtype=bool)
    if prune.table is not None:
        pruned = np.flatnonzero(mask != KEPT)
        entered[pruned[_storing_order(nest, mask.shape, pruned)][:room]] = True
    skipped = _by_element(entered.reshape(mask.shape), prune)
    numbers = _by_element(np.arange(mask.size, dtype=np.int64).reshape(mask.shape), prune)
    begins = np.ones(elements, dtype=bool)
    begins[1:] = numbers[1:] != numbers[:-1]
    return Held(skipped, begins, int(entered.sum()))


def _storing_order(nest: Nest, shape: tuple[int, ...], blocks: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions in `blocks`, numbers of blocks, in the order in which they are stored."""
    prune, view = nest.prune, nest.write.shape
    assert prune is not None
    sample, row, column = np.unravel_index(blocks, shape)
    first = (sample * prune.points + row * prune.test.rows) * prune.columns + column * prune.test.cols
    places = np.unravel_index(first, view)
    keys = [blocks]
    # Loops that do not matter to the output are inside of all that do.
    for loop in reversed(Grid.of(nest).loops):
        for axis, place in zip(nest.write.index, places, strict=True):
            if loop.dim in axis.dims:
                keys.append(place // loop.size)
    return np.lexsort(keys)


def _by_element(blocks: NDArray[Any], prune: Prune) -> NDArray[Any]:
    """What is said of each block, said of its elements, as they are stored."""
    rows = np.repeat(blocks, prune.test.rows, axis=1)[:, : prune.points]
    return np.repeat(rows, prune.test.cols, axis=2)[:, :, : prune.columns].reshape(-1)


def counts_of(mask: NDArray[np.uint8], found: Held) -> BlockCounts:
    """What a tested layer reports."""
    zero, created = int((mask == ALREADY_ZERO).sum()), int((mask == CREATED).sum())
    return BlockCounts(mask.size, zero, created, found.entries)


class Cache:
    """The tables of the unit, followed from nest to nest."""

    def __init__(self, arch: Arch) -> None:
        self._entries = 0 if arch.block_unit is None else arch.block_unit.entries
        self._tables: dict[int, Held] = {}

    def of_reads(self, nest: Nest) -> dict[str, Held]:
        """By operand, what is held of what a nest reads and skips by."""
        return {each.operand: self._tables[each.skip.table] for each in nest.reads if each.skip is not None}

    def room_for(self, nest: Nest) -> int:
        """How many more positions may enter while a nest stores, whose own table is emptied before."""
        assert nest.prune is not None
        others = (found.entries for table, found in self._tables.items() if table != nest.prune.table)
        return self._entries - sum(others)

    def after(self, nest: Nest, written: Held | None) -> None:
        """The nest has ended: tables that it reads for the last time are empty, its own is as it was `written`."""
        for each in nest.reads:
            if each.skip is not None and each.skip.last:
                del self._tables[each.skip.table]
        if nest.prune is not None and nest.prune.table is not None and written is not None:
            self._tables[nest.prune.table] = written
