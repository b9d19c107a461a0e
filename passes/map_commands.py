"""How long the commands of a tile take (specs/isa.md, section 3), in compiled code."""

from __future__ import annotations

from ..ir.compiled import compiled, inlined
from .map_problem import (
    AXIS_CLIPPED,
    AXIS_CONSTANT,
    AXIS_STEP,
    AXIS_STRIDE,
    AXIS_VALUE,
    AXIS_VIEW,
    BLOCK,
    BURST,
    BUS,
    COL,
    COLS,
    COMMAND,
    DRAIN,
    INFLIGHT,
    LANE,
    LANES,
    LATENCY,
    OF_AXES,
    OF_BITS,
    OF_FIRST_AXIS,
    OF_LANES,
    OS,
    POST_LANES,
    RATE_DENOMINATOR,
    RATE_NUMERATOR,
    ROW,
    ROWS,
    STARTUP,
    UNIT_LANES,
    VECTOR,
    WS,
    Ints,
    Problem,
)

START, POINTS = 0, 1  # rows of a box: where a tile begins and its points, by dimension


@compiled
def ceil_div(value: int, divisor: int) -> int:
    """The quotient, rounded up. What divides is not negated: processors divide small numbers in half the time."""
    return (value + divisor - 1) // divisor


@compiled
def bus_cycles(machine: Ints, beats: int, requests: int) -> int:
    """Cycles that so many beats and bursts hold the bus: the beats, what the bandwidth allows, what latency allows."""
    cycles = beats
    if beats * machine[RATE_NUMERATOR] > cycles * machine[RATE_DENOMINATOR]:
        cycles = ceil_div(beats * machine[RATE_NUMERATOR], machine[RATE_DENOMINATOR])
    if requests * machine[LATENCY] > cycles * machine[INFLIGHT]:
        cycles = ceil_div(requests * machine[LATENCY], machine[INFLIGHT])
    return cycles


@compiled
def converted_cycles(problem: Problem, operand: int, cycles: int, positions: int) -> int:
    """The cycles of a transfer on the bus, or those that the number converter takes where they are more."""
    lanes = problem.operands[operand, OF_LANES]
    found: int = max(cycles, ceil_div(positions, lanes)) if lanes else cycles
    return found


@compiled
def transfer_cycles(problem: Problem, operand: int, box: Ints, whole: bool) -> int:
    """Cycles on the bus of the operand's box at the starts and points in `box`; `whole`: of all of its positions."""
    machine = problem.machine
    run = problem.operands[operand, OF_BITS]
    runs, positions, all_inside = 1, 1, 1
    merging = True
    first = problem.operands[operand, OF_FIRST_AXIS]
    for axis in range(first + problem.operands[operand, OF_AXES] - 1, first - 1, -1):
        row = problem.axes[axis]
        count, inside = row[AXIS_VIEW], row[AXIS_VIEW]
        if not row[AXIS_VALUE]:
            start, span = row[AXIS_CONSTANT], 0
            for dim in range(problem.extents.size):
                c = problem.coefficients[axis, dim]
                if c:
                    start += c * box[START, dim]
                    span += c * (box[POINTS, dim] - 1)
            step = row[AXIS_STEP]
            count = span // step + 1
            inside = count
            if row[AXIS_CLIPPED] and not whole:
                before = min(max(-(start // step), 0), count)
                beyond = max(0, ceil_div(row[AXIS_VIEW] - start, step))
                inside = max(before, min(count, beyond)) - before
        positions *= count
        all_inside *= inside
        merging = merging and (run == row[AXIS_STRIDE] or inside == 1)
        if merging:
            run *= inside
        else:
            runs *= inside
    if runs == 0 or run == 0:
        beats, requests = 0, 0
    else:
        beats, requests = runs * ceil_div(run, machine[BUS]), runs * ceil_div(run, machine[BURST])
    cycles: int = converted_cycles(problem, operand, bus_cycles(machine, beats, requests), all_inside)
    cycles += machine[COMMAND]
    if whole:
        cycles = max(cycles, machine[COMMAND] + ceil_div(positions, machine[POST_LANES]))
        if machine[BLOCK]:
            first = ceil_div(min(positions, machine[BLOCK]), machine[UNIT_LANES])
            cycles = max(cycles, machine[COMMAND] + ceil_div(positions, machine[UNIT_LANES]) + first)
    return cycles


@compiled
def blocks(count: int, size: int, least: int) -> int:
    """Sum over blocks of `size` of `count` of the greater of `least` and the block."""
    short = count % size
    total = count // size * max(least, size)
    return total + max(least, short) if short > 0 else total


@compiled
def compute_cycles(problem: Problem, dataflow: int, box: Ints) -> tuple[int, int]:
    """Duration and tail of the compute of a tile with the points in `box` (specs/isa.md, section 3)."""
    machine = problem.machine
    group, point, column, reduce = 1, 1, 1, 1
    for dim in range(problem.extents.size):
        points = box[POINTS, dim]
        kind = problem.kinds[dim]
        if kind == 0:
            group *= points
        elif kind == 1:
            point *= points
        elif kind == 2:
            column *= points
        else:
            reduce *= points
    row, col, lane = problem.blocked[dataflow, ROW], problem.blocked[dataflow, COL], problem.blocked[dataflow, LANE]
    along_rows = box[POINTS, row] if row >= 0 else 1
    along_cols = box[POINTS, col] if col >= 0 else 1
    width = box[POINTS, lane] if lane >= 0 else 1
    return tile_cycles(machine, dataflow, group, point, column, reduce, along_rows, along_cols, width)


@inlined
def tile_cycles(
    machine: Ints, dataflow: int, group: int, point: int, column: int, reduce: int, e_r: int, e_c: int, width: int
) -> tuple[int, int]:
    """The same by the points of a tile: of each kind, along rows, columns and lanes."""
    if dataflow == VECTOR:
        points = group * point * column * reduce
        return machine[COMMAND] + machine[STARTUP] + points // width * ceil_div(width, machine[LANES]), 0
    rows, cols = machine[ROWS], machine[COLS]
    column_blocks = column // e_c * ceil_div(e_c, cols)
    if dataflow == WS:
        passes = group * column_blocks * (reduce // e_r) * blocks(e_r, rows, point)
        return machine[COMMAND] + min(rows, e_r) + passes, min(rows, e_r) + min(cols, e_c) + machine[DRAIN]
    if dataflow == OS:
        passes = group * column_blocks * blocks(point, rows, reduce)
        return machine[COMMAND] + passes, 2 * min(rows, point) + min(cols, e_c) + machine[DRAIN]
    passes = group * (reduce // e_r) * ceil_div(point, cols) * blocks(e_r, rows, column)
    return machine[COMMAND] + min(rows, e_r) + passes, min(rows, e_r) + min(cols, point) + machine[DRAIN]
