"""The mapper of machines with levels inside the array, against every mapping of the declared space."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random

import numpy as np
import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.ir.hierarchy import FanOut, Store
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.passes.levels.exact import exact_of
from dnnc.passes.levels.figures import figures_of
from dnnc.passes.levels.mapper import OBJECTIVES, map_levels, objective_of
from dnnc.passes.levels.space import Pin, frames
from dnnc.passes.levels.tables import tables_of
from support.levels_space import all_trees, costs_of_all, small_problem
from support.random_levels import random_machine, random_workload

MOST_TREES = 1500  # of a problem: more take too long to list
SEEDS = range(90)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_mapper_finds_the_best_of_all_mappings(seed: int) -> None:
    workload, machine = small_problem(seed)
    costs = costs_of_all(workload, machine, MOST_TREES)
    for objective in OBJECTIVES:
        found = map_levels(workload, machine, objective)
        if not costs:
            assert found is None
            continue
        assert found is not None
        assert not list(loop_tree_faults(workload, machine, found.tree))
        assert found.objective == pytest.approx(min(objective_of(each, objective) for each in costs), rel=1e-9)
        assert found.optimal
        assert found.lower_bound <= found.objective


def test_most_problems_can_be_listed() -> None:
    listed = 0
    for seed in SEEDS:
        listed += len(list(islice(all_trees(*small_problem(seed)), MOST_TREES + 1))) <= MOST_TREES
    assert listed >= 60


@pytest.mark.parametrize("seed", range(40))
def test_figures_of_candidates_are_the_cost_model_s(seed: int) -> None:
    rng = Random(seed)
    workload, machine = random_workload(rng), random_machine(rng)
    checked = 0
    for frame in islice(frames(workload, machine, Pin()), 3):
        tables = tables_of(frame, figures_of(frame))
        if tables is None:
            continue
        exact = exact_of(tables)
        for _ in range(20):
            chosen = np.array([rng.randrange(len(group)) for group in tables.groups], np.int64)
            order = rng.choice(exact.orders_of(chosen))
            tree = exact.tree(chosen, order)
            if list(loop_tree_faults(workload, machine, tree)):
                continue
            energy, cycles = exact.figures(chosen[None], exact.ranks([order]))[0]
            counted = cost(workload, machine, tree)
            assert cycles == counted.cycles.total
            assert energy == pytest.approx(counted.total_energy_pj, rel=1e-12)
            checked += 1
    if not checked:
        pytest.skip("no legal mapping was drawn")


@pytest.mark.parametrize("seed", range(0, 30, 3))
def test_a_larger_or_faster_machine_is_never_worse(seed: int) -> None:
    workload, machine = small_problem(seed)
    better = replace(
        machine,
        levels=tuple(
            replace(
                level,
                depth_words=None if level.depth_words is None else 2 * level.depth_words,
                read_words_per_cycle=None,
                shared_words_per_cycle=None,
            )
            if isinstance(level, Store)
            else _wider(level)
            for level in machine.levels
        ),
    )
    for objective in OBJECTIVES:
        small, large = map_levels(workload, machine, objective), map_levels(workload, better, objective)
        if small is not None:
            assert large is not None
            assert large.objective <= small.objective * (1 + 1e-9)


def _wider(level: FanOut) -> FanOut:
    return replace(level, rows=level.rows + 1, cols=2 * level.cols)
