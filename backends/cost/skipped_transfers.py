"""Loads and stores that leave blocks out (specs/isa.md, section 7), tile by tile.

Every tile of the grid is a class of its own here: which elements of a box are moved differs from tile to tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import gcd

import numpy as np

from ...ir.arch import Arch
from ...ir.diagnostics import ensure
from ...ir.frozen import dataclass
from ...ir.nest import Access
from ...ir.nest_layout import axis_step
from .blocks_held import Flags, Held
from .classes import Boxes, Grid, Ints
from .commands import Loads, Stores, main_strides, tested_cycles


@dataclass(frozen=True, slots=True)
class Lookups:
    """For each load of an operand, how often the cache is asked for a block."""

    depth: int
    counts: Ints


def lookups(grid: Grid, access: Access, found: Held) -> Lookups:
    """Of the loads of a read with a table: pieces into which blocks cut the runs of what is inside."""
    counts = per_tile(grid, access)
    for tile, (firsts, steps, inside), (runs, run) in tile_boxes(grid, access):
        if runs * run:
            begins = found.part(found.begins, access, firsts, steps, inside).reshape(runs, run)
            counts[tile] = runs + int(begins[:, 1:].sum())
    return Lookups(grid.depth(access.dims), counts)


def skipping_loads(grid: Grid, arch: Arch, access: Access, plain: Loads, found: Held) -> Loads:
    """The loads of a read with a table; `plain` are those without."""
    moved, busy = per_tile(grid, access), per_tile(grid, access)
    boxes = grid.boxes(access)
    for tile, (firsts, steps, inside), (runs, run) in tile_boxes(grid, access):
        skipped = found.part(found.skipped, access, firsts, steps, inside)
        moved[tile], busy[tile] = _moved(arch, skipped, runs, run, access.type.bits)
    whole = _product(boxes.inside)
    return replace(
        plain,
        read_bits=moved * access.type.bits,
        write_bits=plain.write_bits - (whole - moved) * access.local_type.bits,
        duration=arch.queues.command_cycles + busy,
    )


def skipping_stores(grid: Grid, arch: Arch, plain: Stores, found: Held) -> tuple[Stores, Ints]:
    """The stores of a nest that prunes, and the positions that each writes; `plain` are those that write all."""
    nest, access = grid.nest, grid.nest.write
    assert nest.prune is not None
    moved, busy = per_tile(grid, access), per_tile(grid, access)
    for tile, (firsts, steps, inside), (runs, run) in tile_boxes(grid, access):
        skipped = found.part(found.skipped, access, firsts, steps, inside)
        moved[tile], busy[tile] = _moved(arch, skipped, runs, run, access.type.bits)
    least = np.maximum(-(-plain.positions // arch.post.lanes), tested_cycles(plain.positions, nest.prune, arch))
    if plain.converted_cycles is not None:
        least = np.maximum(least, plain.converted_cycles)
    return replace(plain, duration=arch.queues.command_cycles + np.maximum(busy, least)), moved


def per_tile(grid: Grid, access: Access) -> Ints:
    """Zeros for each tile of an access, over the grid."""
    return np.zeros([loop.tiles if loop.dim in access.dims else 1 for loop in grid.loops], np.int64)


def _product(factors: tuple[Ints, ...]) -> Ints:
    product = np.ones((), np.int64)
    for factor in factors:
        product = product * factor
    return product


_Box = tuple[list[int], list[int], list[int]]


def tile_boxes(grid: Grid, access: Access) -> Iterator[tuple[tuple[int, ...], _Box, tuple[int, int]]]:
    """For each tile of an access: its number along each loop; the first position inside the view, the step and the
    positions inside, by axis; runs of neighbours in main memory, and the elements of a run."""
    boxes: Boxes = grid.boxes(access)
    shape = per_tile(grid, access).shape
    firsts = [np.broadcast_to(each, shape) for each in boxes.firsts]
    insides = [np.broadcast_to(each, shape) for each in boxes.inside]
    steps = [axis_step(axis, grid.extents) for axis in access.index]
    strides = main_strides(grid, access)
    for tile in np.ndindex(shape):
        inside = [int(each[tile]) for each in insides]
        runs, run, merging = 1, 1, True
        for count, stride in zip(reversed(inside), reversed(strides), strict=True):
            merging = merging and (run == stride or count == 1)
            if merging:
                run *= count
            else:
                runs *= count
        yield tile, ([int(each[tile]) for each in firsts], steps, inside), (runs, run)


def _moved(arch: Arch, skipped: Flags, runs: int, run: int, element_bits: int) -> tuple[int, int]:
    """Elements of a box that are moved, and cycles of the bus."""
    ensure(skipped.size == runs * run, "a box of another size")
    if not skipped.size:
        return 0, 0
    moved = ~skipped.reshape(runs, run)
    starts, ends = moved.copy(), moved.copy()
    starts[:, 1:] &= ~moved[:, :-1]
    ends[:, :-1] &= ~moved[:, 1:]
    bits = (np.flatnonzero(ends) - np.flatnonzero(starts) + 1) * element_bits
    dma = arch.dma
    beats = int((-(-bits // (8 * dma.bus_bytes))).sum())
    requests = int((-(-bits // (8 * dma.burst_bytes))).sum())
    numerator, denominator = dma.bus_bytes * arch.clock_hz, dma.bandwidth_bytes_per_second
    common = gcd(numerator, denominator)
    limited = -(-beats * (numerator // common) // (denominator // common))
    waiting = -(-requests * dma.latency_cycles // dma.requests_in_flight)
    return int(bits.sum()) // element_bits, max(beats, limited, waiting)
