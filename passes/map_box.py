"""What bounds of a box of tile sizes share: products over its dimensions, which loops it has, and room for figures.

A cut of a box makes boxes that differ along one dimension. What the others come to is noted once (`note_others`), then
each box by what it has along the dimension that is cut (`note_box`). Loops are bits, that of the innermost is bit 0.
"""

from __future__ import annotations

from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from ..ir.compiled import inlined
from .map_problem import AXIS_STEP, COLUMN, LANE, OF_AXES, OF_COPIES, OF_FIRST_AXIS, REDUCE, VECTOR, Ints, Problem
from .map_tables import FEWEST, HI, LAST, LO, MOST, Tables

# Columns of `moved`, by operand: how often it is moved, at least; cycles on the bus of all transfers but the first (of
# stores: but the longest); bits of a tile; elements and bits in main memory and bits locally; the copies that are
# pinned, 0 for none.
TIMES, LATER, TILE, ELEMENTS, MAIN_BITS, LOCAL_BITS, PINNED = range(7)
# Columns of `known`, by operand and place: bits of a tile; tiles, cycles without those of commands, elements and bits
# of a round of all tiles, which loops over other dimensions repeat; cycles of the transfer that `LATER` leaves out, of
# the first, of the last and the most of one (the last two of stores only).
(
    KNOWN_TILE, KNOWN_TILES, ROUND_CYCLES, KNOWN_FIRST, KNOWN_EARLIEST, ROUND_ELEMENTS, KNOWN_LATEST, KNOWN_LONGEST,
    ROUND_MAIN_BITS, ROUND_LOCAL_BITS,
) = range(10)  # fmt: skip
PLACE_BITS = 12  # of places of figures that are known, for each operand
PLACES = 1 << PLACE_BITS
NUMBER_BITS = 58  # of the number of a box; the others are for the axis that is the innermost
# Of `others` and `here`: by kind, how many tiles at least and the points of the last tile; of that the points beside
# those along columns and rows, or along lanes (ASIDE: of other dimensions); whether all sizes are single ones; the
# loops of more than one tile, those that may have more than one, and those over reduced dimensions; the number.
TILES, LASTS, ASIDE, BESIDE_COL, BESIDE_ROW, SINGLE, TILED, MAYBE_TILED, REDUCED, NUMBER = 0, 4, *range(8, 16)
# Rows of `needed`, by memory: bits with one copy where none are pinned, and with two of all that may have them.
WITH_ONE, WITH_TWO = 0, 1
# Of `bounded`: operands that may have two copies or one, and those that have two or would not be faster with two, as
# bits; when the execution unit ends without pauses for operands, and a pause; the bound of all else with two copies of
# the output and with one.
MAY_BE_TWICE, TWICE, UNIT, GAP, OUTPUT_TWICE, OUTPUT_ONCE = range(6)


class Scratch(NamedTuple):
    """The nodes of a box (`at`). What a bound notes of its operands (`moved`), the row of `boxes` of each axis, bytes
    in each memory (`needed`), the products of all dimensions but the one that is cut (`others`) and of all (`here`),
    with `beside` by dataflow and dimension which of them hold its last tile, the fewest tiles of each loop (`fewest`),
    by operand its place in `known` (`places`, -1: not looked for).

    A cut of a box leaves the figures of operands that do not depend on its dimension as they were, and most boxes have
    those of others before them in all but a few dimensions: `known` has figures of operands by the nodes of the
    dimensions that they depend on, `known_keys` says which nodes (0: nothing is known). A box has a number, in which
    `shifts` says where that of each dimension's node begins, and `masks` which of its bits an operand depends on; after
    those, whether numbers have enough bits for all nodes: if not, figures are computed each time. `bounded` is what
    copies of the operands do not change of the bound of a box."""

    at: Any
    moved: Ints
    entries: Ints
    needed: Ints
    others: Ints
    here: Ints
    beside: Ints
    fewest: Ints
    places: Ints
    known_keys: Ints
    known: Ints
    shifts: Ints
    masks: Ints
    bounded: Ints


def scratch_of(problem: Problem, tables: Tables) -> Scratch:
    """Room for the bounds of a problem."""
    zeros: Any = np.zeros
    operands, dims = problem.relevant.shape
    moved = zeros((operands, PINNED + 1), np.int64)
    moved[:, PINNED] = problem.operands[:, OF_COPIES]
    shifts, masks = _numbering(problem, tables)
    return Scratch(
        at=zeros(dims, np.uint32),
        moved=moved,
        entries=zeros(len(problem.axes), np.int64),
        needed=zeros((2, len(problem.capacities)), np.int64),
        others=zeros(NUMBER + 1, np.int64),
        here=zeros(NUMBER + 1, np.int64),
        beside=_beside(problem),
        fewest=zeros(dims, np.int64),
        places=zeros(operands, np.int64),
        known_keys=zeros((operands, PLACES), np.int64),
        known=np.empty((operands, PLACES, ROUND_LOCAL_BITS + 1), np.int64),
        shifts=shifts,
        masks=masks,
        bounded=zeros(OUTPUT_ONCE + 1, np.int64),
    )


def _numbering(problem: Problem, tables: Tables) -> tuple[Ints, Ints]:
    """`shifts` and `masks`."""
    shifts, of_dims, used = [], [], 0
    for nodes in np.diff(tables.roots).tolist():
        width = (nodes - 1).bit_length()
        shifts.append(used)
        of_dims.append((1 << width) - 1 << used)
        used += width
    if used > NUMBER_BITS:
        return np.zeros(len(shifts), np.int64), np.zeros(len(problem.relevant) + 1, np.int64)
    masks = [sum(compress(of_dims, relevant)) for relevant in problem.relevant.tolist()]
    return np.array(shifts, np.int64), np.array([*masks, 1], np.int64)


def _beside(problem: Problem) -> Ints:
    """By dataflow and dimension: BESIDE_COL of columns and BESIDE_ROW of reduced dimensions, but of that along columns
    and rows; on lanes BESIDE_COL of all but that along lanes; else ASIDE."""
    by_kind = {COLUMN: BESIDE_COL, REDUCE: BESIDE_ROW}
    beside = [[by_kind.get(kind, ASIDE) for kind in problem.kinds.tolist()] for _ in range(VECTOR)]
    beside.append([BESIDE_COL] * len(problem.kinds))
    for of_dims, blocked in zip(beside, problem.blocked.tolist(), strict=True):
        along = [blocked[LANE]] if of_dims is beside[VECTOR] else blocked[:LANE]
        for dim in along:
            if dim >= 0:
                of_dims[dim] = ASIDE
    return np.array(beside, np.int64)


def loop_bits(problem: Problem, orders: Ints) -> Ints:
    """For each of some loop orders: the bit of each dimension's loop by its number, then the loops that each operand
    depends on, then those over reduced dimensions, as bits."""
    operands, dims = problem.relevant.shape
    bits: Any = np.zeros((len(orders), dims + operands + 1), np.int64)
    numbers = np.arange(dims - 1, -1, -1)
    bits[np.arange(len(orders))[:, np.newaxis], orders] = numbers
    over = [*problem.relevant, problem.kinds == REDUCE]
    for column, mattering in enumerate(over, dims):
        bits[:, column] = (mattering << bits[:, :dims]).sum(axis=1)
    found: Ints = bits
    return found


@inlined
def note_others(
    problem: Problem, tables: Tables, scratch: Scratch, dataflow: int, bits: Ints, at: Ints, cut: int
) -> None:
    """The products of all dimensions but `cut`, for a loop order with these `loop_bits`."""
    others, fewest, operands = scratch.others, scratch.fewest, problem.relevant.shape[0]
    for each in range(BESIDE_ROW + 1):
        others[each] = 1
    for operand in range(operands):
        scratch.places[operand] = -1
    single, tiled, maybe_tiled, box_number = 1, 0, 0, 0
    for dim in range(at.size):
        if dim == cut:
            continue
        number = at[dim]
        node = tables.nodes[number]
        tiles, last, loop, kind = node[FEWEST], node[LAST], bits[dim], problem.kinds[dim]
        fewest[loop] = tiles
        others[TILES + kind] *= tiles
        others[LASTS + kind] *= last
        others[scratch.beside[dataflow, dim]] *= last
        single &= node[LO] == node[HI]
        tiled |= (tiles > 1) << loop
        maybe_tiled |= (node[MOST] > 1) << loop
        box_number |= (number - tables.roots[dim]) << scratch.shifts[dim]
    others[SINGLE] = single
    others[TILED] = tiled
    others[MAYBE_TILED] = maybe_tiled
    others[REDUCED] = bits[at.size + operands]
    others[NUMBER] = box_number


@inlined
def note_box(problem: Problem, tables: Tables, scratch: Scratch, dataflow: int, bits: Ints, at: Ints, cut: int) -> None:
    """The products of a box. Requires `note_others` of the same `cut` of a box that is equal along all others."""
    others, here, node = scratch.others, scratch.here, tables.nodes[at[cut]]
    kind, tiles, last, loop = problem.kinds[cut], node[FEWEST], node[LAST], bits[cut]
    for each in range(NUMBER + 1):
        here[each] = others[each]
    scratch.fewest[loop] = tiles
    here[TILES + kind] *= tiles
    here[LASTS + kind] *= last
    here[scratch.beside[dataflow, cut]] *= last
    here[SINGLE] &= node[LO] == node[HI]
    here[TILED] |= (tiles > 1) << loop
    here[MAYBE_TILED] |= (node[MOST] > 1) << loop
    here[NUMBER] |= (at[cut] - tables.roots[cut]) << scratch.shifts[cut]


@inlined
def is_settled(scratch: Scratch) -> bool:
    """Whether it is known which dimensions of a noted box are tiled."""
    settled: bool = scratch.here[TILED] == scratch.here[MAYBE_TILED]
    return settled


@inlined
def is_legal(problem: Problem, tables: Tables, scratch: Scratch, order: Ints, at: Ints, ordered: bool) -> bool:
    """Whether some sizes in a noted box are legal; exact for single sizes (ir/schedule_rules.py)."""
    here = scratch.here
    inner = here[TILED] & here[REDUCED]
    outer = here[TILED] & ~here[REDUCED]
    if outer and inner > (outer & -outer):
        return False
    if ordered and not keeps_order(problem, tables, order, at):
        return False
    if not here[SINGLE]:
        return True
    output = problem.operands.shape[0] - 1
    first = problem.operands[output, OF_FIRST_AXIS]
    for axis in range(first, first + problem.operands[output, OF_AXES]):
        for column in (LO, LAST):
            span, points = 0, 1
            for dim in range(at.size):
                c = problem.coefficients[axis, dim]
                if c:
                    span += c * (tables.nodes[at[dim], column] - 1)
                    points *= tables.nodes[at[dim], column]
            if span // problem.axes[axis, AXIS_STEP] + 1 != points:
                return False
    return True


@inlined
def keeps_order(problem: Problem, tables: Tables, order: Ints, at: Ints) -> bool:
    """Whether some sizes in a box sum in the order of the domain."""
    last = -1
    for place in range(order.size):
        dim = order[place]
        if problem.kinds[dim] == REDUCE and tables.nodes[at[dim], FEWEST] > 1:
            if dim < last:
                return False
            last = dim
    later = False  # a tiled one after this, in the order of the domain
    for dim in range(at.size - 1, -1, -1):
        if problem.kinds[dim] == REDUCE and problem.extents[dim] > 1:
            if later and tables.nodes[at[dim], LO] > 1:
                return False
            later = later or tables.nodes[at[dim], FEWEST] > 1
    return True
