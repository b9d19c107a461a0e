"""Proofs alone: bounds are below every mapping, and the best is found without local searches, which may hide what a
bound or a front leaves out."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from dnnc.benchmarks.levels_layers import conv, depthwise
from dnnc.ir.arch import EnergyRow
from dnnc.ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import Workload
from dnnc.ir.nest import Role
from dnnc.passes.levels import search, sieve
from dnnc.passes.levels.mapper import map_levels, objective_of
from dnnc.passes.levels.search import Best, Search
from support.levels_bounds import unbounded
from support.levels_space import costs_of_all, small_machine, small_problem
from support.random_levels import plain, workload

_MOST = 3000


def test_every_mapping_is_bounded() -> None:
    total = 0
    for seed in range(16):
        drawn, lost = unbounded(*small_problem(seed), seed, 60)
        assert not lost, seed
        total += drawn
    assert total > 300


@pytest.mark.parametrize("seed", range(8))
def test_every_mapping_of_a_window_is_bounded(seed: int) -> None:
    """Pieces of 2 and 1 of a window keep something when they start anew."""
    rng = Random(seed)
    layer = depthwise(2, 5, 3, 1) if seed % 2 else conv(2, 3, 4, 3)
    levels = [Store("dram", OPERAND_ROLES, 8, keeps=OPERAND_ROLES)]
    levels += [Store(f"s{number}", OPERAND_ROLES, 8, keeps=OPERAND_ROLES) for number in range(rng.randint(1, 3))]
    rows = [EnergyRow(each.name, action, 1.0, "made up") for each in levels for action in ("read_word", "write_word")]
    machine = Hierarchy("deep", 10**9, tuple(levels), tuple((role, 8) for role in OPERAND_ROLES), tuple(rows))
    drawn, lost = unbounded(layer, machine, seed, 60)
    assert drawn == 60
    assert not lost


def _padded(seed: int) -> tuple[Workload, Hierarchy]:
    """A column of pixels with padding, which one instance does not move and several do; two lanes; slow writes."""
    rng = Random(seed)
    layer = conv(2, rng.choice((1, 2, 3)), rng.randint(1, 3), 1, pad=rng.randint(1, 2))
    dims = tuple((dim, 1 if dim in "qs" else extent) for dim, extent in layer.dims)
    columns = FanOut("columns", 1, 2, multicast=(Role.INPUT, Role.WEIGHT), reduce=True, link_bits=8, col_dims=("m",))
    register = Store("register", (Role.INPUT,), 8, depth_words=64, keeps=(Role.INPUT,), write_words_per_cycle=0.02)
    levels = (Store("dram", OPERAND_ROLES, 8, keeps=OPERAND_ROLES), columns, register)
    rows = [
        EnergyRow(name, each, 0.1, "made up") for name in ("dram", "register") for each in ("read_word", "write_word")
    ]
    machine = Hierarchy("lanes", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES), tuple(rows))
    return Workload(f"column {seed}", dims, layer.operands), machine


def _machine(seed: int) -> tuple[Workload, Hierarchy]:
    layer = conv(2, 2, 3, 2, pad=0)
    return layer, small_machine(Random(seed), [dim for dim, extent in layer.dims if extent > 1])


@pytest.mark.parametrize("problem", [_padded, _machine, small_problem])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bounds_of_all", [1, 1 << 13])
def test_the_best_is_found_unaided(
    problem: object, seed: int, bounds_of_all: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With superfluous candidates left out in each node (after one bound of all), and in classes alone."""

    def nothing(each: Search, best: Best) -> None:
        each._next_local_search = inf

    monkeypatch.setattr(Search, "_search_locally", nothing)
    monkeypatch.setattr(sieve, "_MOST_TRIED", 3)  # several pieces
    monkeypatch.setattr(search, "_BOUNDS_OF_ALL", bounds_of_all)
    assert callable(problem)
    workload, machine = problem(seed)
    listed = costs_of_all(workload, machine, _MOST)
    for objective in ("energy", "latency", "edp"):
        found = map_levels(workload, machine, objective) if listed else None
        if found is not None:
            least = min(objective_of(each, objective) for each in listed)
            assert found.optimal
            assert found.objective == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("objective", ["energy^0.5*latency", "energy^0.5 + 100*energy"])
def test_powers_of_an_energy_whose_bound_is_negative(objective: str) -> None:
    """Lanes of c have outputs of their own: those that no lane has are taken off the least that is taken."""
    extents = {"p": 3, "c": 4}
    inputs, weights = [plain("p", extents), plain("c", extents)], [plain("c", extents)]
    work = workload("sums", extents, inputs, weights, [plain("p", extents)])
    only = (Role.OUTPUT,)
    lanes, stores = FanOut("lanes", 1, 4), [Store(name, only, 8, keeps=only) for name in ("outer", "inner")]
    levels = (Store("dram", OPERAND_ROLES, 8, keeps=OPERAND_ROLES), lanes, *stores)
    prices = (EnergyRow("outer", "read_word", 20.0, "made up"), EnergyRow("dram", "write_word", 0.01, "made up"))
    machine = Hierarchy("sums", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES), prices)
    listed = costs_of_all(work, machine, _MOST)
    found = map_levels(work, machine, objective)
    assert found is not None and found.optimal
    assert found.objective == pytest.approx(min(objective_of(each, objective) for each in listed), rel=1e-9)


def test_a_bound_of_cycles_that_floats_round_up_does_not_exceed_the_limit() -> None:
    workload, machine = small_problem(5110)
    least = min(each.cycles.total for each in costs_of_all(workload, machine, _MOST))
    found = map_levels(workload, machine, f"edp, cycles<={least}")
    assert found is not None and found.optimal
    assert found.cost.cycles.total == least
