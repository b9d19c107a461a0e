"""Classes of orders of main-memory loops, and the orders in one, in compiled code."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ir.compiled import compiled, inlined
from .map_problem import Ints
from .map_tables import FEWEST, Tables

# Rows of `work`: loops of two mappings, sizes, loops as they are walked.
LOOPS_HERE, LOOPS_THERE, SIZES, ORDER = range(4)


class Roots(NamedTuple):
    """Where the search begins: a dataflow and a class of orders of main-memory loops each, with its `loop_bits`.
    `signatures`, a number for each dimension: neighbouring loops of equal number may be exchanged and move the same.
    `ordered`: sums have an order."""

    dataflows: Ints
    orders: Any
    bits: Ints
    signatures: Ints
    ordered: bool


@inlined
def loops_of(tables: Tables, roots: Roots, root: int, at: Ints, loops: Ints) -> int:
    """The loops of more than one tile, equals in the order of the domain; how many there are."""
    count = 0
    for position in range(at.size):
        dim = roots.orders[root, position]
        if tables.nodes[at[dim], FEWEST] > 1:
            place = count
            while place > 0 and roots.signatures[loops[place - 1]] == roots.signatures[dim] and loops[place - 1] > dim:
                loops[place] = loops[place - 1]
                place -= 1
            loops[place] = dim
            count += 1
    return count


@inlined
def is_repeated(tables: Tables, roots: Roots, root: int, at: Ints, work: Ints) -> bool:
    """Whether an earlier root of the same dataflow has the same loops, where it is known which are tiled."""
    here, there = work[LOOPS_HERE], work[LOOPS_THERE]
    count = loops_of(tables, roots, root, at, here)
    for other in range(root):
        if roots.dataflows[other] == roots.dataflows[root] and loops_of(tables, roots, other, at, there) == count:
            same = True
            for place in range(count):
                same = same and here[place] == there[place]
            if same:
                return True
    return False


@compiled
def permutation(roots: Roots, loops: Ints, count: int, number: int, order: Ints) -> bool:
    """Order `number` of the loops in which equals are exchanged; False where there are no more."""
    place = 0
    while place < count:
        end = place + 1
        while end < count and roots.signatures[loops[end]] == roots.signatures[loops[place]]:
            end += 1
        for each in range(place, end):
            order[each] = loops[each]
        for each in range(place, end):
            left = end - each
            chosen = each + number % left
            number //= left
            dim = order[chosen]
            for moved in range(chosen, each, -1):
                order[moved] = order[moved - 1]
            order[each] = dim
        place = end
    return number == 0
