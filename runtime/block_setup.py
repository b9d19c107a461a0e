"""The block unit before a run: what its tests are of, and room for their results; and the masks that a run leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.program import COUNTERS, Opcode, Program
from . import layout
from .block_unit import (
    ALREADY_ZERO,
    BASE,
    BITS,
    CACHED,
    COL_BLOCKS,
    COLS,
    COLUMNS,
    CREATED,
    CRITERION,
    ENTRIES,
    FIRST,
    GEOMETRY_FIELDS,
    IN_CACHE,
    POINTS,
    ROW_BLOCKS,
    ROWS,
    SAMPLES,
    STATE_FIELDS,
    TABLE,
    TESTED,
    THRESHOLD,
    ZERO,
    BlockUnit,
)
from .layout import Integers
from .left_out import Room
from .product import MAX_POINTS

_ROWS = 1 << 14  # products whose extents are looked at together
MOST_BLOCKS = 1 << 28  # of all tests of a program together
_MASK_OF_STATUS = np.zeros(2 * IN_CACHE, np.uint8)
_MASK_OF_STATUS[[CREATED, CREATED + IN_CACHE]] = 1
_MASK_OF_STATUS[[ALREADY_ZERO, ALREADY_ZERO + IN_CACHE]] = 2


@dataclass(frozen=True, slots=True)
class UnitSize:
    """What the unit of a program has to hold: each test's geometry, blocks of all tests and of the largest one, and
    elements of a store while it is tested."""

    geometry: Integers
    blocks: int
    most_blocks: int
    positions: int

    @property
    def bytes(self) -> int:
        return self.blocks + 3 * 8 * self.most_blocks + 4 * self.positions


def unit_size(program: Program, arch: Arch, table: Integers) -> UnitSize:
    """Raises CompileError for a test of a tensor that is not there."""
    prunes = np.flatnonzero(table[:, 0] == layout.OP_CONFIGURE_PRUNE)
    geometry = np.zeros((len(prunes), GEOMETRY_FIELDS), np.int64)
    stores = np.flatnonzero(table[:, 0] == layout.OP_CONFIGURE_STORE)
    total = 0
    for slot, number in enumerate(prunes):
        before = np.searchsorted(stores, number) - 1
        kind = int(table[stores[before], layout.STORE_TYPE]) if before >= 0 else 0
        shape = _shape(table[number], kind)
        blocks = int(shape[SAMPLES]) * int(shape[ROW_BLOCKS]) * int(shape[COL_BLOCKS])
        elements = int(shape[SAMPLES]) * int(shape[POINTS]) * int(shape[COLUMNS])
        inside = shape[BASE] >= 0 and int(shape[BASE]) + elements * int(shape[BITS]) <= 8 * program.main_bytes
        total += blocks
        if before < 0 or not inside or min(shape[ROWS], shape[COLS]) < 1 or total > MOST_BLOCKS:
            message = f"instruction {number} tests blocks of a tensor that does not lie in main memory"
            if inside and total > MOST_BLOCKS:
                message = f"the program tests {total} blocks"
            raise CompileError(Diagnostic(message, help=f"at most {MOST_BLOCKS} blocks, of what a store writes"))
        geometry[slot] = shape
        geometry[slot, FIRST] = total - blocks
    most = int((geometry[:, SAMPLES] * geometry[:, ROW_BLOCKS] * geometry[:, COL_BLOCKS]).max(initial=0))
    positions = 0
    if len(prunes):
        rows = table[table[:, 0] == layout.OP_STORE, layout.STORE_EXTENT : layout.STORE_EXTENT + 5]
        capacity = 8 * sum(memory.capacity_bytes for memory in arch.local)
        positions = min(int(rows.astype(np.float64).prod(axis=1).max(initial=0)), capacity)
    return UnitSize(geometry, total, most, positions)


def block_unit(arch: Arch, size: UnitSize) -> BlockUnit:
    """The unit with empty tables."""
    tables = np.zeros((arch.block_unit.tables if arch.block_unit else 0, 2), np.int64)
    tables[:, 0] = -1
    state = np.zeros(STATE_FIELDS, np.int64)
    state[TESTED] = -1
    state[ENTRIES] = arch.block_unit.entries if arch.block_unit else 0
    return BlockUnit(
        size.geometry,
        np.zeros(size.blocks, np.uint8),
        np.zeros(size.most_blocks, np.int64),
        np.zeros(size.most_blocks, np.int64),
        np.zeros(size.most_blocks, np.int64),
        tables,
        state,
        np.zeros(size.positions, np.int32),
    )


def _shape(row: Integers, kind: int) -> Integers:
    """The geometry that a `configure.prune` states for stores of elements of type number `kind`."""

    def value(name: str) -> int:
        return int(row[layout.column(Opcode.CONFIGURE_PRUNE, name)])

    shape = np.zeros(GEOMETRY_FIELDS, np.int64)
    shape[BASE], shape[BITS] = 8 * value("main"), layout.TYPES[kind, layout.TYPE_BITS]
    shape[SAMPLES], shape[POINTS], shape[COLUMNS] = value("samples"), value("points"), value("columns")
    shape[ROWS], shape[COLS] = value("rows"), value("cols")
    shape[ROW_BLOCKS] = -(-shape[POINTS] // max(1, shape[ROWS]))
    shape[COL_BLOCKS] = -(-shape[COLUMNS] // max(1, shape[COLS]))
    shape[CRITERION], shape[THRESHOLD], shape[ZERO] = value("criterion"), value("threshold"), value("zero_point")
    shape[CACHED], shape[TABLE] = value("cached"), value("table")
    return shape


def skips_blocks(table: Integers) -> bool:
    """Whether anything of a program can leave out work."""
    return bool(np.isin(table[:, 0], (layout.OP_CONFIGURE_SKIP, layout.OP_CONFIGURE_EXPAND)).any())


@dataclass(frozen=True, slots=True)
class RoomSize:
    """How much `Room` the products of a program take: elements of a's and b's notes, and of those of sums."""

    points: int = 0
    columns: int = 0
    others: int = 0

    @property
    def bytes(self) -> int:
        return 2 * (self.points + self.columns) + 2 * np.dtype(np.int32).itemsize * self.others


def room_size(table: Integers, skips: bool) -> RoomSize:
    """What is enough for each product alone; nothing where nothing is skipped. Commands that fault before their work
    is noted (more points than MAX_POINTS, or no `configure.c` before them) take none."""
    if not skips:
        return RoomSize()
    configures = np.flatnonzero(table[:, 0] == layout.OP_CONFIGURE_C)
    products = np.flatnonzero(table[:, 0] == layout.OP_COMPUTE)
    configured = np.searchsorted(configures, products) - 1
    products, configured = products[configured >= 0], configured[configured >= 0]
    most = np.zeros(3, np.int64)
    for first in range(0, len(products), _ROWS):
        rows = products[first : first + _ROWS]
        extents = table[rows, layout.COMPUTE_EXTENT : layout.COMPUTE_EXTENT + COUNTERS].astype(np.float64)
        total = extents.prod(axis=1)  # exact up to MAX_POINTS, and above it wherever the product is
        legal = (total > 0) & (total <= MAX_POINTS)
        current = configures[configured[first : first + _ROWS]]
        classes = table[current, layout.C_CLASS : layout.C_CLASS + COUNTERS]
        point, column, reduce = (
            np.where(classes == kind, extents, 1.0).prod(axis=1)[legal].astype(np.int64)
            for kind in (layout.POINT, layout.COLUMN, layout.REDUCE)
        )
        others = np.maximum(np.maximum(point, column), reduce)
        found = [each.max(initial=0) for each in (point * reduce, column * reduce, others)]
        most = np.maximum(most, found)
    points, columns, others_most = map(int, most)
    return RoomSize(points, columns, others_most)


def room_of(size: RoomSize) -> Room:
    """Room to note what the products of a program leave out."""
    return Room(
        np.zeros(size.points, np.uint8),
        np.zeros(size.points, np.uint8),
        np.zeros(size.columns, np.uint8),
        np.zeros(size.columns, np.uint8),
        np.zeros(size.others, np.int32),
        np.zeros(size.others, np.int32),
    )


def masks_of(unit: BlockUnit, layers: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """What became of the blocks that each layer tested: 0 kept, 1 created, 2 already zero, as an array [samples, row
    blocks, column blocks]. `layers` are the names of those of the slots."""
    masks = {}
    for shape, name in zip(unit.geometry, layers, strict=True):
        extents = (int(shape[SAMPLES]), int(shape[ROW_BLOCKS]), int(shape[COL_BLOCKS]))
        first, count = int(shape[FIRST]), extents[0] * extents[1] * extents[2]
        masks[name] = _MASK_OF_STATUS[unit.status[first : first + count]].reshape(extents)
    return masks
