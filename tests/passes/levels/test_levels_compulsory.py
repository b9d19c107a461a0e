"""What every mapping brings inwards at least: never more than what the points of a workload touch."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
from dnnc.ir.loop_tree import Operand, Workload
from dnnc.passes.levels.compulsory import _elements
from support.random_levels import random_workload


def _touched(operand: Operand, workload: Workload) -> int:
    found = set()
    for point in product(*[range(extent) for _, extent in workload.dims]):
        at = dict(zip(workload.extents, point, strict=True))
        places = tuple(axis.index.at(at) for axis in operand.axes)
        if all(0 <= place < axis.extent for place, axis in zip(places, operand.axes, strict=True)):
            found.add(places)
    return len(found)


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_floors_are_what_points_touch_or_less(seed: int) -> None:
    exact = 0
    for each in range(seed, seed + 20):
        workload = random_workload(Random(each))
        for operand in workload.operands:
            floor, touched = _elements(operand, workload), _touched(operand, workload)
            assert floor <= touched, (each, operand.role)
            exact += floor == touched
    assert exact >= 20
