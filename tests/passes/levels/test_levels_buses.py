"""Machines whose networks take time: the mapper's bound stays a bound, and energy is proved as elsewhere."""

from __future__ import annotations

import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.passes.levels.mapper import OBJECTIVES, map_levels, objective_of
from support.levels_space import costs_of_all, small_problem, with_buses

MOST_TREES = 600  # of a problem: more take too long to list


@pytest.mark.parametrize("seed", range(25))
def test_the_bound_is_below_every_mapping(seed: int) -> None:
    workload, machine = small_problem(seed)
    machine = with_buses(machine)
    costs = costs_of_all(workload, machine, MOST_TREES)
    for objective in OBJECTIVES:
        found = map_levels(workload, machine, objective)
        if not costs:
            assert found is None
            continue
        assert found is not None
        least = min(objective_of(each, objective) for each in costs)
        assert found.objective == objective_of(cost(workload, machine, found.tree), objective)
        assert found.lower_bound <= least * (1 + 1e-9)
        assert least <= found.objective * (1 + 1e-9)
        assert not found.stopped
        if objective == "energy":
            assert found.optimal


def test_buses_cost_time_and_no_energy() -> None:
    """Of the same problem energy is as it was, cycles are more; and the least cycles are not proved any more."""
    workload, machine = small_problem(6)
    timed = with_buses(machine)
    before, after = map_levels(workload, machine, "energy"), map_levels(workload, timed, "energy")
    assert before is not None and after is not None
    assert after.objective == pytest.approx(before.objective)
    assert cost(workload, timed, before.tree).cycles.total > before.cost.cycles.total
    untimed, fastest = map_levels(workload, machine, "latency"), map_levels(workload, timed, "latency")
    assert untimed is not None and fastest is not None
    assert (fastest.optimal, fastest.stopped) == (False, False)
    assert fastest.lower_bound == untimed.objective < fastest.objective
