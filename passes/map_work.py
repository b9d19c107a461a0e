"""What the execution unit does, as bounds over a box of tile sizes: a part of passes/map_bound.py."""

from __future__ import annotations

from ..ir.compiled import inlined
from .map_box import BESIDE_COL, BESIDE_ROW, LASTS, SINGLE, TILES
from .map_commands import blocks, ceil_div
from .map_problem import (
    ALL,
    BATCH,
    COL,
    COL_OTHERS,
    COLS,
    COLUMN,
    COMMAND,
    DRAIN,
    LANE,
    LANE_OTHERS,
    LANES,
    OS,
    POINT,
    REDUCE,
    REDUCES,
    ROW,
    ROW_OTHERS,
    ROWS,
    STARTUP,
    VECTOR,
    WS,
    Ints,
    Problem,
)
from .map_tables import COL_BLOCKS, FEWEST, LANE_BLOCKS, LAST, LO, ROW_BLOCKS, Tables


@inlined
def short_tile(problem: Problem, tables: Tables, at: Ints, kind: int, choice: int) -> tuple[int, int]:
    """Of single sizes: points of a tile of all dimensions of a kind, the last one along those that `choice` has bits
    for, and how many there are."""
    points, times, bit = 1, 1, 0
    for dim in range(problem.extents.size):
        if problem.kinds[dim] == kind and problem.extents[dim] > 1:
            node = tables.nodes[at[dim]]
            if choice >> bit & 1:
                points *= node[LAST]
            else:
                points *= node[LO]
                times *= node[FEWEST] - 1
            bit += 1
    return points, times


@inlined
def choices(problem: Problem, kind: int) -> int:
    """How many values `choice` of `short_tile` has."""
    count = 1
    for dim in range(problem.extents.size):
        if problem.kinds[dim] == kind and problem.extents[dim] > 1:
            count *= 2
    return count


@inlined
def streamed(problem: Problem, tables: Tables, at: Ints, kind: int, least: int) -> int:
    """Of single sizes: sum over tiles of a kind of the greater of their points and `least`."""
    total = 0
    for choice in range(choices(problem, kind)):
        points, times = short_tile(problem, tables, at, kind, choice)
        total += times * max(points, least)
    return total


@inlined
def point_blocks(
    problem: Problem, tables: Tables, here: Ints, at: Ints, size: int, times: int, least: int
) -> tuple[int, int]:
    """At least the sums over tiles of points of blocks(points, size, p -> max(times, least * p)) and of
    ceil(points / size); of single sizes those."""
    if not here[SINGLE]:
        points = problem.totals[POINT]
        fewest = max(ceil_div(points, size), here[TILES + POINT])
        return max(fewest * times, points * least), fewest
    total, blocks = 0, 0
    for choice in range(choices(problem, POINT)):
        points, count = short_tile(problem, tables, at, POINT, choice)
        full = points // size
        rest = points - full * size
        total += count * full * max(times, least * size)
        blocks += count * full
        if rest:
            total += count * max(times, least * rest)
            blocks += count
    return total, blocks


@inlined
def row_passes(problem: Problem, tables: Tables, here: Ints, at: Ints, row: int, kind: int) -> int:
    """At least the sum over tiles along rows and over streamed tiles of blocks(points, R, k -> max(streamed, k))."""
    rows = problem.machine[ROWS]
    if row < 0:
        return streamed(problem, tables, at, kind, 1) if here[SINGLE] else problem.totals[kind]
    node = tables.nodes[at[row]]
    if not here[SINGLE]:
        by_blocks = node[ROW_BLOCKS] * problem.totals[kind]
        fewest: int = max(by_blocks, problem.extents[row] * here[TILES + kind])
        return fewest
    full, last, tiles = node[LO] // rows, node[LAST] // rows, node[FEWEST]
    total: int = ((tiles - 1) * full + last) * streamed(problem, tables, at, kind, rows)
    rest = node[LO] - full * rows
    if rest and tiles > 1:
        total += (tiles - 1) * streamed(problem, tables, at, kind, rest)
    rest = node[LAST] - last * rows
    if rest:
        total += streamed(problem, tables, at, kind, rest)
    return total


@inlined
def work_of(
    problem: Problem, tables: Tables, here: Ints, at: Ints, dataflow: int, times: int
) -> tuple[int, int, int, int, int]:
    """Cycles of the execution unit in all, the least tail of a compute, elements read of a and b, and elements written
    to the accumulator, for `times` commands (specs/isa.md, section 3; specs/counts.md). `here`: passes/map_box.py."""
    machine, totals = problem.machine, problem.totals
    row, col, lane = problem.blocked[dataflow, ROW], problem.blocked[dataflow, COL], problem.blocked[dataflow, LANE]
    g, p, m, k = totals[BATCH], totals[POINT], totals[COLUMN], totals[REDUCE]
    command = machine[COMMAND]
    tiles_reduce = here[TILES + REDUCE]
    if dataflow == VECTOR:
        points = totals[ALL]
        blocks = tables.nodes[at[lane], LANE_BLOCKS] if lane >= 0 else 1
        work = times * (command + machine[STARTUP]) + blocks * problem.blocked[dataflow, LANE_OTHERS]
        return work, 0, points, points, g * p * m * tiles_reduce if machine[REDUCES] else points
    rows, cols = machine[ROWS], machine[COLS]
    col_blocks, fill_cols = problem.blocked[dataflow, COL_OTHERS], 1
    if col >= 0:
        col_blocks *= tables.nodes[at[col], COL_BLOCKS]
        fill_cols = min(cols, tables.nodes[at[col], LAST])
    row_others = problem.blocked[dataflow, ROW_OTHERS]
    row_blocks, fill_rows, fill = row_others, 1, times
    if row >= 0:
        node = tables.nodes[at[row]]
        row_blocks *= node[ROW_BLOCKS]
        fill_rows = min(rows, node[LAST])
        fill = times * fill_rows
        if here[SINGLE] and node[FEWEST] > 1:
            fill += times // node[FEWEST] * (node[FEWEST] - 1) * (min(rows, node[LO]) - fill_rows)
    fewest = here[LASTS + POINT]
    if dataflow == OS:
        passes, blocks = point_blocks(problem, tables, here, at, rows, k, tiles_reduce)
        tail = 2 * min(rows, fewest) + fill_cols + machine[DRAIN]
        work = times * command + g * col_blocks * passes
        return work, tail, g * p * k * col_blocks, blocks * g * k * m, g * m * p * tiles_reduce
    if dataflow == WS:
        passes = row_passes(problem, tables, here, at, row, POINT)
        work = times * command + fill + g * col_blocks * row_others * passes
        tail = fill_rows + fill_cols + machine[DRAIN]
        b = g * k * m * here[TILES + POINT]
        return work, tail, g * p * k * col_blocks, b, g * m * p * row_blocks
    _, blocks = point_blocks(problem, tables, here, at, cols, 1, 0)
    passes = row_passes(problem, tables, here, at, row, COLUMN)
    work = times * command + fill + g * row_others * blocks * passes
    tail = fill_rows + min(cols, fewest) + machine[DRAIN]
    return work, tail, g * p * k * here[TILES + COLUMN], g * k * m * blocks, g * m * p * row_blocks


@inlined
def last_cycles(problem: Problem, tables: Tables, here: Ints, at: Ints, dataflow: int) -> int:
    """At least the cycles of the compute of the last tile (passes/map_commands.py, `tile_cycles`)."""
    machine, blocked = problem.machine, problem.blocked[dataflow]
    rows, cols = machine[ROWS], machine[COLS]
    cycles: int = machine[COMMAND]
    if dataflow == VECTOR:
        width = tables.nodes[at[blocked[LANE]], LAST] if blocked[LANE] >= 0 else 1
        cycles += machine[STARTUP] + here[BESIDE_COL] * ceil_div(width, machine[LANES])
        return cycles
    along_rows = tables.nodes[at[blocked[ROW]], LAST] if blocked[ROW] >= 0 else 1
    along_cols = tables.nodes[at[blocked[COL]], LAST] if blocked[COL] >= 0 else 1
    groups, points = here[LASTS + BATCH], here[LASTS + POINT]
    column_blocks = here[BESIDE_COL] * ceil_div(along_cols, cols)
    if dataflow == OS:
        cycles += groups * column_blocks * blocks(points, rows, here[LASTS + REDUCE])
    elif dataflow == WS:
        cycles += min(rows, along_rows)
        cycles += groups * column_blocks * here[BESIDE_ROW] * blocks(along_rows, rows, points)
    else:
        cycles += min(rows, along_rows)
        cycles += groups * here[BESIDE_ROW] * ceil_div(points, cols) * blocks(along_rows, rows, here[LASTS + COLUMN])
    return cycles
