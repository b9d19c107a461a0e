"""Compulsory traffic: every element of an operand crosses each boundary inwards at least once, whatever the mapping."""

from __future__ import annotations

from math import prod

import numpy as np

from ...backends.cost.levels.moves import Axis, groups_of
from ...ir.hierarchy import Hierarchy
from ...ir.loop_tree import Operand, Workload
from ...ir.nest import Role
from ..objective import Objective
from .figures import TAKEN
from .sums import FIRST
from .tables import Floats, Tables

_MOST_POSITIONS = 1 << 20  # along an axis; of longer ones no more is said than that there is one


def compulsory(tables: Tables, wanted: list[int]) -> Floats:
    """The least that each wanted quantity can have: of what all instances take that is every element, of others 0."""
    workload = tables.frame.workload
    elements = {each.role: float(_elements(each, workload)) for each in workload.operands}
    found = np.zeros(len(wanted))
    for place, q in enumerate(wanted):
        quantity = tables.figures.quantities[q]
        if quantity.kind == TAKEN and quantity.role is not None and FIRST not in quantity.modes:
            found[place] = elements[quantity.role]
    return found


def at_least(workload: Workload, machine: Hierarchy, objective: Objective) -> float:
    """What no mapping is below: products, main memory read or written once, and a product a cycle in every lane."""
    prices = {(row.component, row.action): row.energy_pj for row in machine.energy}
    main = machine.stores[0]
    energy_pj = workload.points * prices.get(("mac", "mac"), 0.0)
    for operand in workload.operands:
        price = prices.get((main.name, "write_word" if operand.role is Role.OUTPUT else "read_word"), 0.0)
        energy_pj += price * _elements(operand, workload) * operand.bits / main.word_bits
    lanes = prod(each.rows * each.cols for each in machine.fanouts)
    return objective.of(energy_pj, -(-workload.points // lanes))


def _elements(operand: Operand, workload: Workload) -> int:
    """Elements that any point needs, or fewer: of axes that share dimensions those of one, and none where such axes
    have padding, as what lies on the one may be padding on the other."""
    total = 1
    for component in groups_of(operand, workload):
        axes = component.axes
        if len(axes) > 1 and any(axis.low > 0 or axis.high < _reach(axis, workload.extents) for axis in axes):
            return 0
        total *= max([_positions(axis, workload.extents) for axis in axes], default=1)
    return total


def _reach(axis: Axis, extents: dict[str, int]) -> int:
    return 1 + sum(c * (extents[dim] - 1) for dim, c in axis.terms)


def _positions(axis: Axis, extents: dict[str, int]) -> int:
    """Different positions along an axis that are no padding."""
    low, high = max(0, axis.low), min(axis.high, _reach(axis, extents))
    if high > _MOST_POSITIONS:
        return int(low == 0)  # that of the first point
    there = np.zeros(max(high, 1), np.int64)
    there[0] = 1
    for dim, coefficient in axis.terms:
        if coefficient >= len(there):  # its other points lie beyond
            continue
        # Sums of as many as the dimension has points, a step apart.
        steps = np.append(there, np.zeros(-len(there) % coefficient, np.int64)).reshape(-1, coefficient).cumsum(axis=0)
        found = steps.copy()
        found[extents[dim] :] -= steps[: -extents[dim]]
        there = (found.reshape(-1)[: len(there)] > 0).astype(np.int64)
    return int(there[low:high].sum())
