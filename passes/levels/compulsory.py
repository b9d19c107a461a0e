"""Compulsory traffic: every element of an operand crosses each boundary inwards at least once, whatever the mapping."""

from __future__ import annotations

import numpy as np

from ...backends.cost.levels.moves import Axis, groups_of
from ...ir.loop_tree import Operand, Workload
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


def _elements(operand: Operand, workload: Workload) -> int:
    """Elements that any point needs, or fewer: of axes that share dimensions those of one."""
    total = 1
    for component in groups_of(operand, workload):
        total *= max([_positions(axis, workload.extents) for axis in component.axes], default=1)
    return total


def _positions(axis: Axis, extents: dict[str, int]) -> int:
    """Different positions along an axis that are no padding."""
    low, high = max(0, axis.low), min(axis.high, 1 + sum(c * (extents[dim] - 1) for dim, c in axis.terms))
    if high > _MOST_POSITIONS:
        return int(high > low)
    there = np.zeros(max(high, 1), bool)
    there[0] = True
    for dim, coefficient in axis.terms:
        steps = np.flatnonzero(there)[:, None] + coefficient * np.arange(extents[dim])
        there[steps[steps < high]] = True
    return int(there[low:high].sum())
