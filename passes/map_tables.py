"""Sizes of tiles as trees of intervals, and what boxes along an axis hold and move for each choice of intervals.

Along each dimension a tree: the root is all sizes, a leaf is one. Its first cut leaves out the whole extent; others are
between sizes of different numbers of tiles, as long as there are some. Figures of a leaf are exact; those of an
interval are no greater than those of any size in it (the number of tiles, boxes: also the greatest).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import compiled, compiled_entry
from .map_commands import ceil_div
from .map_problem import (
    AXIS_CLIPPED,
    AXIS_CONSTANT,
    AXIS_RUN,
    AXIS_STEP,
    AXIS_VALUE,
    AXIS_VIEW,
    BURST,
    BUS,
    COL,
    COLS,
    LANE,
    LANES,
    ROW,
    ROWS,
    Floats,
    Ints,
    Problem,
)

# Columns of `nodes`: sizes from LO to HI; children (of a leaf -1); tiles; points of the last tile; sums over tiles of
# blocks of rows, columns and lanes.
LO, HI, LEFT, RIGHT, FEWEST, MOST, LAST, ROW_BLOCKS, COL_BLOCKS, LANE_BLOCKS = range(10)
# Columns of `boxes`: positions of a full tile; sums over tiles of positions inside and of all; whether the one tile
# covers the axis (0, 1, MIXED); sums of beats and of bursts if runs end here; positions inside, beats and bursts of the
# first and of the last tile; the most positions of a full tile; whether all of that is exact.
(
    COUNT, INSIDE, COUNTS, WHOLE, BEATS, REQUESTS, FIRST, FIRST_BEATS, FIRST_REQUESTS, FINAL, FINAL_BEATS,
    FINAL_REQUESTS, LARGEST, EXACT,
) = range(14)  # fmt: skip
BOX_COLUMNS = 14
MIXED = 2
WHOLE_OR_NOT = 1e9  # how much more it matters whether there is a loop at all
AXIS_DIMS = 10  # dimensions of an axis that vary
# Columns of `layout`: where the boxes of an axis begin, how many dimensions vary, whether they are those of an axis
# before it, which dimensions vary, and their strides.
BEGIN, VARYING, IS_SHARED, DIMS = 0, 1, 2, 3
STRIDES = DIMS + AXIS_DIMS


class Tables(NamedTuple):
    """Trees of all dimensions, one after the other from `roots`, and boxes of all axes as `layout` says. `widths` say
    of a node how much there is to be gained by a cut."""

    nodes: Ints
    widths: Floats
    roots: Ints
    boxes: Ints
    layout: Ints


class KeptTables:
    """Tables by all that decides them, the latest `most_bytes` of them: they are a sixth of the work of a search, and
    machines that differ in the sizes of memories or in prices have the same."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self.bytes = most_bytes, 0
        self._tables: OrderedDict[Hashable, Tables] = OrderedDict()
        self._lock = Lock()  # layers are mapped side by side, in threads

    def of(self, problem: Problem, sizes: list[Ints]) -> Tables:
        """Those for ascending `sizes` of each dimension. Nobody writes to them."""
        decide = (problem.machine, problem.extents, problem.axes, problem.coefficients, problem.blocked, *sizes)
        key = tuple([each.tobytes() for each in decide])
        with self._lock:
            if key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key]
        made = make_tables(problem, sizes)
        with self._lock:
            if key not in self._tables:  # two may have made them
                self._tables[key] = made
                self.bytes += _bytes(made)
            while self.bytes > self._most_bytes and len(self._tables) > 1:
                self.bytes -= _bytes(self._tables.popitem(last=False)[1])
        return made


def _bytes(tables: Tables) -> int:
    return sum([each.nbytes for each in tables])


kept_tables = KeptTables(192 << 20).of


def make_tables(problem: Problem, sizes: list[Ints]) -> Tables:
    """For ascending `sizes` of each dimension."""
    numbers = [2 * len(each) - 1 for each in sizes]
    roots = np.cumsum([0, *numbers]).astype(np.int64)
    layout, entries = axis_layout(problem, numbers)
    zeros: Any = np.zeros
    tables = Tables(
        nodes=zeros((int(roots[-1]), LANE_BLOCKS + 1), np.int64),
        widths=zeros(int(roots[-1]), np.float64),
        roots=roots,
        boxes=np.empty((entries, BOX_COLUMNS), np.int64),
        layout=layout,
    )
    fill_tables(problem, tables, np.concatenate(sizes), zeros((128, 2), np.int64), zeros(AXIS_DIMS, np.int64))
    return tables


def axis_layout(problem: Problem, numbers: list[int]) -> tuple[Ints, int]:
    """`layout` for trees of so many nodes, and how many boxes that makes; equal axes share theirs."""
    layout: Any = np.zeros((len(problem.axes), STRIDES + AXIS_DIMS), np.int64)
    entries, begins = 0, {}
    extents = problem.extents.tolist()
    for axis, terms in enumerate(problem.coefficients.tolist()):
        varying = [dim for dim, term in enumerate(terms) if term and extents[dim] > 1]
        layout[axis, VARYING] = len(varying)
        stride = 1
        for place, dim in reversed(list(enumerate(varying))):
            layout[axis, DIMS + place] = dim
            layout[axis, STRIDES + place] = stride
            stride *= numbers[dim]
        same = (problem.axes[axis].tobytes(), *terms)
        layout[axis, IS_SHARED] = same in begins
        if same not in begins:
            begins[same] = entries
            entries += stride
        layout[axis, BEGIN] = begins[same]
    found: Ints = layout
    return found, entries


@compiled_entry
def fill_tables(problem: Problem, tables: Tables, sizes: Ints, stack: Ints, at: Ints) -> None:
    """All trees, for the sizes of all dimensions one after the other, and all boxes; `stack` and `at` are room."""
    nodes, roots, extents, first = tables.nodes, tables.roots, problem.extents, 0
    for dim in range(extents.size):
        count = (roots[dim + 1] - roots[dim] + 1) // 2
        grow(problem, dim, nodes, roots[dim], sizes[first : first + count], stack)
        first += count
        for number in range(roots[dim], roots[dim + 1]):
            node = nodes[number]
            fewest, most, low, high = node[FEWEST], node[MOST], node[LO], node[HI]
            width = np.float64(most) / fewest if most > fewest else np.float64(high - low) / high
            tables.widths[number] = width * WHOLE_OR_NOT if high == extents[dim] and low < high else width
    for axis in range(tables.layout.shape[0]):
        if not tables.layout[axis, IS_SHARED]:
            fill_boxes(problem, axis, nodes, roots, tables.boxes, tables.layout[axis], at)


@compiled
def grow(problem: Problem, dim: int, nodes: Ints, root: int, sizes: Ints, stack: Ints) -> None:
    """The tree of a dimension, every node before its children. Sums over blocks are those that some dataflow needs."""
    extent, machine = problem.extents[dim], problem.machine
    by_rows, by_cols, by_lanes = False, False, False
    for dataflow in range(problem.blocked.shape[0]):
        by_rows = by_rows or problem.blocked[dataflow, ROW] == dim
        by_cols = by_cols or problem.blocked[dataflow, COL] == dim
        by_lanes = by_lanes or problem.blocked[dataflow, LANE] == dim
    free = root + 1
    depth = 0
    nodes[root, LO], nodes[root, HI] = 0, sizes.size  # positions in `sizes`, until the figures are known
    stack[0, 0] = root
    while depth >= 0:
        node = stack[depth, 0]
        depth -= 1
        low, high = nodes[node, LO], nodes[node, HI]
        nodes[node, LEFT], nodes[node, RIGHT] = -1, -1
        if high - low == 1:
            continue
        cut = (low + high) // 2
        most, fewest = ceil_div(extent, sizes[low]), ceil_div(extent, sizes[high - 1])
        if node == root:
            cut = high - 1
        elif most > fewest:
            # Between two numbers of tiles, near their geometric mean: tiles of the right part number at most that.
            middle = int(np.sqrt(np.float64(most) * np.float64(fewest)))
            middle = min(max(middle, fewest), most - 1)
            first, last = low + 1, high - 1
            while first < last:
                between = (first + last) // 2
                if ceil_div(extent, sizes[between]) <= middle:
                    last = between
                else:
                    first = between + 1
            cut = first
        for child in range(2):
            nodes[free, LO], nodes[free, HI] = (low, cut) if child == 0 else (cut, high)
            nodes[node, LEFT + child] = free
            depth += 1
            stack[depth, 0] = free
            free += 1
    for node in range(free - 1, root - 1, -1):
        low, high = nodes[node, LO], nodes[node, HI]
        nodes[node, LO], nodes[node, HI] = sizes[low], sizes[high - 1]
        if high - low == 1:
            size = sizes[low]
            tiles = ceil_div(extent, size)
            last = extent - (tiles - 1) * size
            nodes[node, FEWEST], nodes[node, MOST], nodes[node, LAST] = tiles, tiles, last
            for needed, column, unit in (
                (by_rows, ROW_BLOCKS, ROWS),
                (by_cols, COL_BLOCKS, COLS),
                (by_lanes, LANE_BLOCKS, LANES),
            ):
                if needed:
                    nodes[node, column] = (tiles - 1) * ceil_div(size, machine[unit]) + ceil_div(last, machine[unit])
        else:
            left, right = nodes[nodes[node, LEFT]], nodes[nodes[node, RIGHT]]
            for column in (FEWEST, LAST, ROW_BLOCKS, COL_BLOCKS, LANE_BLOCKS):
                nodes[node, column] = min(left[column], right[column])
            nodes[node, MOST] = max(left[MOST], right[MOST])


@compiled
def pieces(inside: int, run: int, step: int, unit: int, split: bool) -> int:
    """Beats (bursts) of `unit` bits for that many positions inside; `split`: runs may go on outwards."""
    if split:
        return inside * run // unit
    return ceil_div(inside * run, unit) if step == 1 else inside * ceil_div(run, unit)


@compiled
def fill_boxes(problem: Problem, axis: int, nodes: Ints, roots: Ints, boxes: Ints, layout: Ints, at: Ints) -> None:
    """The boxes of an axis over all nodes of its dimensions, children before their parents. `at`: room for a number for
    each dimension."""
    entries, varying = 1, layout[VARYING]
    for place in range(varying):
        dim = layout[DIMS + place]
        at[place] = roots[dim + 1] - 1
        entries *= roots[dim + 1] - roots[dim]
    for entry in range(entries - 1, -1, -1):
        row = boxes[layout[BEGIN] + entry]
        inner = 0
        while inner < varying and nodes[at[inner], LEFT] < 0:
            inner += 1
        if inner == varying:
            fill_box(problem, axis, nodes, row, layout, at)
        else:
            node, stride = at[inner], layout[STRIDES + inner]
            left = boxes[layout[BEGIN] + entry + (nodes[node, LEFT] - node) * stride]
            right = boxes[layout[BEGIN] + entry + (nodes[node, RIGHT] - node) * stride]
            for column in range(BOX_COLUMNS):
                row[column] = min(left[column], right[column])
            row[LARGEST] = max(left[LARGEST], right[LARGEST])
            if left[WHOLE] != right[WHOLE]:
                row[WHOLE] = MIXED
        place = varying - 1
        while place >= 0 and at[place] == roots[layout[DIMS + place]]:
            at[place] = roots[layout[DIMS + place] + 1] - 1
            place -= 1
        if place >= 0:
            at[place] -= 1


@compiled
def fill_box(problem: Problem, axis: int, nodes: Ints, row: Ints, layout: Ints, at: Ints) -> None:
    """The sums over all tiles of one choice of sizes, those of the nodes in `at`."""
    figures, machine, varying = problem.axes[axis], problem.machine, layout[VARYING]
    view, step, run = figures[AXIS_VIEW], figures[AXIS_STEP], figures[AXIS_RUN]
    clipped, of_value = figures[AXIS_CLIPPED] > 0, figures[AXIS_VALUE] > 0
    # Tiles along each dimension: all of them where padding clips, else one that is full and the last.
    kinds, full = 1, 0
    for place in range(varying):
        node = nodes[at[place]]
        kinds *= node[FEWEST] if clipped else min(node[FEWEST], 2)
        full += problem.coefficients[axis, layout[DIMS + place]] * (node[LO] - 1)
    count = view if of_value else positions_of(full, step)
    covered = count == view and not clipped
    inside_sum, counts_sum, beats, requests = 0, 0, 0, 0
    for again in range(0 if clipped else 1, 2):  # the second time, with what is known about runs
        for kind in range(kinds):
            start, span, weight, rest = figures[AXIS_CONSTANT], 0, 1, kind
            for place in range(varying - 1, -1, -1):
                node, c = nodes[at[place]], problem.coefficients[axis, layout[DIMS + place]]
                tiles, number, is_last = node[FEWEST], 0, True
                if clipped:
                    number = rest % tiles
                    rest //= tiles
                    is_last = number == tiles - 1
                elif tiles > 1:
                    is_last = rest & 1 > 0
                    rest >>= 1
                    weight *= 1 if is_last else tiles - 1
                points = node[LAST] if is_last else node[LO]
                start += c * number * node[LO]
                span += c * (points - 1)
            positions = view if of_value else positions_of(span, step)
            inside = positions
            if clipped:
                before = min(max(-(start // step), 0), positions)
                beyond = max(0, ceil_div(view - start, step))
                inside = max(before, min(positions, beyond)) - before
            if not again:
                covered = covered or inside == view
                continue
            inside_sum += inside * weight
            counts_sum += positions * weight
            split = covered and kinds > 1
            tile_beats = pieces(inside, run, step, machine[BUS], split)
            tile_requests = pieces(inside, run, step, machine[BURST], split)
            beats += tile_beats * weight
            requests += tile_requests * weight
            if kind == 0:
                row[FIRST], row[FIRST_BEATS], row[FIRST_REQUESTS] = inside, tile_beats, tile_requests
                row[EXACT] = not split
                row[WHOLE] = covered and kinds == 1 and (step == 1 or view == 1)
            if kind == kinds - 1:
                row[FINAL], row[FINAL_BEATS], row[FINAL_REQUESTS] = inside, tile_beats, tile_requests
    row[BEATS], row[REQUESTS] = beats, requests
    row[COUNT], row[LARGEST], row[INSIDE], row[COUNTS] = count, count, inside_sum, counts_sum


@compiled
def positions_of(span: int, step: int) -> int:
    """Positions that so many steps of a domain reach, the first one included."""
    return span + 1 if step == 1 else span // step + 1
