"""The block unit: tests of what is stored, the cache of positions, and which positions of a transfer are moved
(specs/isa.md, section 7). Compiled.

A *slot* stands for one `configure.prune` of the program, in their order: the tensor that it cuts into blocks. Its
geometry is known before the run; what becomes of each of its blocks is noted in `status`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .elements import fill_offsets
from .faults import BLOCK_OUTSIDE, CUT_BLOCK, OK, fail
from .layout import (
    A_BURST,
    A_BUS,
    ABS_SUM,
    L1_MEAN,
    MAX_ABS,
    MEAN,
    N_BLOCKS,
    N_CREATED,
    N_HELD,
    N_ZERO,
    SUM,
    Integers,
)
from .timing import bus_time, ceil_div, runs_of

# Columns of `geometry`, a row a slot. BASE is in bits, FIRST the place of the tensor's first block in `status`.
(
    BASE,
    BITS,
    SAMPLES,
    POINTS,
    COLUMNS,
    ROWS,
    COLS,
    ROW_BLOCKS,
    COL_BLOCKS,
    FIRST,
    CRITERION,
    THRESHOLD,
    ZERO,
    CACHED,
    TABLE,
    GEOMETRY_FIELDS,
) = range(16)
# `state`: the slot whose stores are tested (-1: none), the next slot, positions that the cache holds, and may hold.
TESTED, NEXT, HELD, ENTRIES, STATE_FIELDS = range(5)
# Rows of `tables`: the slot that a table belongs to (-1: none), and how many positions it holds.
OWNER, USED = 0, 1
# What is noted of a block; IN_CACHE comes on top.
UNTESTED, KEPT, CREATED, ALREADY_ZERO, IN_CACHE = 0, 1, 2, 3, 4
AXES = 5


class BlockUnit(NamedTuple):
    """`measure`, `magnitude` (the sum of absolute values) and `seen` (elements) are of the blocks of the store at
    work, zero between stores. `codes` is room for what a store yields."""

    geometry: Integers
    status: NDArray[np.uint8]
    measure: Integers
    magnitude: Integers
    seen: Integers
    tables: Integers
    state: Integers
    codes: NDArray[np.int32]


@compiled
def begin_tests(unit: BlockUnit) -> None:
    """Carry out `configure.prune`: the next slot's stores are tested, and its table is its own."""
    slot = unit.state[NEXT]
    unit.state[TESTED] = slot
    unit.state[NEXT] = slot + 1
    if unit.geometry[slot, CACHED]:
        table = unit.geometry[slot, TABLE]
        empty(unit, table)
        unit.tables[table, OWNER] = slot


@compiled
def empty(unit: BlockUnit, table: int) -> None:
    """The table holds nothing and belongs to nobody."""
    unit.state[HELD] -= unit.tables[table, USED]
    unit.tables[table, OWNER] = -1
    unit.tables[table, USED] = 0


@compiled
def block_at(unit: BlockUnit, slot: int, bit: int) -> int:
    """The place in `status` of the block that holds the element at a bit of main memory; -1 outside the tensor."""
    shape = unit.geometry[slot]
    offset = (bit - shape[BASE]) // shape[BITS]
    per_sample = shape[POINTS] * shape[COLUMNS]
    if bit < shape[BASE] or offset >= shape[SAMPLES] * per_sample:
        return -1
    sample, rest = offset // per_sample, offset % per_sample
    row, column = rest // shape[COLUMNS], rest % shape[COLUMNS]
    place = (sample * shape[ROW_BLOCKS] + row // shape[ROWS]) * shape[COL_BLOCKS] + column // shape[COLS]
    return int(shape[FIRST] + place)


@compiled
def is_held(unit: BlockUnit, slot: int, bit: int) -> bool:
    """Whether the element at a bit of main memory lies in a block whose position the cache holds."""
    block = block_at(unit, slot, bit)
    return block >= 0 and unit.status[block] >= IN_CACHE


@compiled
def _cells(shape: Integers, place: int) -> int:
    """Elements of the block at `place` among those of its tensor: fewer at the ends of rows and columns."""
    column = place % shape[COL_BLOCKS]
    row = place // shape[COL_BLOCKS] % shape[ROW_BLOCKS]
    high = min(shape[ROWS], shape[POINTS] - row * shape[ROWS])
    return int(high * min(shape[COLS], shape[COLUMNS] - column * shape[COLS]))


@compiled
def _is_pruned(shape: Integers, measure: int, cells: int) -> bool:
    """Whether a measure is at most the threshold, in 1/256 of the scale (specs/arithmetic.md, section 6)."""
    limit = shape[THRESHOLD]
    if shape[CRITERION] in (MEAN, L1_MEAN):
        limit *= cells
    if shape[CRITERION] == MEAN:
        measure = abs(measure)
    return bool(256 * measure <= limit)


@compiled
def test_blocks(
    unit: BlockUnit,
    extents: Integers,
    strides: Integers,
    first_bit: int,
    positions: int,
    order: Integers,
    index: Integers,
    offsets: Integers,
    counters: Integers,
    fault: Integers,
) -> int:
    """Test the blocks of a store, whose values are in `codes`, and make those that are pruned zero there: a fault's
    code or OK. `order`, `index` and `offsets` are room to work in."""
    slot = unit.state[TESTED]
    shape = unit.geometry[slot]
    criterion, zero, chunk = shape[CRITERION], shape[ZERO], len(offsets)
    for first in range(0, positions, chunk):
        count = min(chunk, positions - first)
        fill_offsets(extents, strides, order, AXES, 0, first, index, offsets[:count])
        for j in range(count):
            block = block_at(unit, slot, first_bit + shape[BITS] * offsets[j])
            if block < 0:
                return fail(fault, BLOCK_OUTSIDE, first + j, 0, 0, 0)
            place, value = block - shape[FIRST], np.int64(unit.codes[first + j]) - zero
            unit.seen[place] += 1
            unit.magnitude[place] += abs(value)
            if criterion in (SUM, MEAN):
                unit.measure[place] += value
            elif criterion in (ABS_SUM, L1_MEAN):
                unit.measure[place] += abs(value)
            elif criterion == MAX_ABS:
                unit.measure[place] = max(unit.measure[place], abs(value))
    cut = -1
    for first in range(0, positions, chunk):
        count = min(chunk, positions - first)
        fill_offsets(extents, strides, order, AXES, 0, first, index, offsets[:count])
        for j in range(count):
            block = block_at(unit, slot, first_bit + shape[BITS] * offsets[j])
            place = block - shape[FIRST]
            if unit.seen[place]:
                cells = _cells(shape, place)
                if unit.seen[place] != cells or unit.status[block] != UNTESTED:
                    cut = block - shape[FIRST]
                _decide(unit, slot, block, cells, counters)
                unit.measure[place], unit.magnitude[place], unit.seen[place] = 0, 0, 0
            if unit.status[block] != KEPT:
                unit.codes[first + j] = zero
    if cut >= 0:
        return fail(fault, CUT_BLOCK, cut, 0, 0, 0)
    return OK


@compiled
def _decide(unit: BlockUnit, slot: int, block: int, cells: int, counters: Integers) -> None:
    """What becomes of a block whose elements have been measured."""
    shape = unit.geometry[slot]
    place, table = block - shape[FIRST], shape[TABLE]
    status = KEPT
    if _is_pruned(shape, unit.measure[place], cells):
        status = CREATED if unit.magnitude[place] else ALREADY_ZERO
    counters[N_BLOCKS] += 1
    counters[N_ZERO] += unit.magnitude[place] == 0
    counters[N_CREATED] += status == CREATED
    if status != KEPT and shape[CACHED] and unit.state[HELD] < unit.state[ENTRIES]:
        unit.state[HELD] += 1
        unit.tables[table, USED] += 1
        counters[N_HELD] += 1
        status += IN_CACHE
    unit.status[block] = status


@compiled
def moved_cycles(
    unit: BlockUnit,
    slot: int,
    arch: Integers,
    extents: Integers,
    strides: Integers,
    first_bit: int,
    positions: int,
    bits: int,
    order: Integers,
    index: Integers,
    offsets: Integers,
) -> tuple[int, int, int]:
    """Of a box of elements in main memory, at least one: cycles of the bus, positions that are moved because the cache
    does not hold their blocks, and look-ups: the pieces into which blocks cut the runs. The last three arguments are
    room to work in."""
    _, run = runs_of(extents, strides)
    beats = requests = moved = lookups = piece = 0
    chunk, last = len(offsets), -1
    for first in range(0, positions, chunk):
        count = min(chunk, positions - first)
        fill_offsets(extents, strides, order, AXES, 0, first, index, offsets[:count])
        for j in range(count):
            block = block_at(unit, slot, first_bit + bits * offsets[j])
            starts = (first + j) % run == 0
            lookups += starts or block != last
            last = block
            held = block >= 0 and unit.status[block] >= IN_CACHE
            if piece and (starts or held):
                beats += ceil_div(piece * bits, 8 * arch[A_BUS])
                requests += ceil_div(piece * bits, 8 * arch[A_BURST])
                piece = 0
            if not held:
                piece += 1
                moved += 1
    if piece:
        beats += ceil_div(piece * bits, 8 * arch[A_BUS])
        requests += ceil_div(piece * bits, 8 * arch[A_BURST])
    return bus_time(arch, beats, requests), moved, lookups
