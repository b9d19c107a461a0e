"""The mapper of machines with levels inside the array, against every mapping of the declared space."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random

import numpy as np
import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.benchmarks.levels_layers import conv
from dnnc.benchmarks.levels_mapper import machine_named
from dnnc.ir.arch import EnergyRow
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import OPERAND_ROLES, Constraint, FanOut, Hierarchy, Store, Tiles
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.ir.nest import Role
from dnnc.passes.levels import mapper, search
from dnnc.passes.levels.exact import exact_of
from dnnc.passes.levels.figures import figures_of
from dnnc.passes.levels.mapper import OBJECTIVES, map_levels, objective_of
from dnnc.passes.levels.space import Pin, frames
from dnnc.passes.levels.tables import tables_of
from support.levels_space import all_trees, costs_of_all, small_problem, tight_problem, uneven
from support.random_levels import plain, random_machine, random_workload, workload

MOST_TREES = 1500  # of a problem: more take too long to list
SEEDS = range(90)
# With uneven tiles they have few enough mappings, and a store inside of main memory.
UNEVEN_SEEDS = (0, 2, 4, 7, 9, 11, 12, 16, 17, 18)
TIGHT_SEEDS = (0, 1, 2, 8, 11, 20, 25, 31, 32, 36, 39)


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


@pytest.mark.parametrize("seed", TIGHT_SEEDS)
def test_uneven_tiles_where_room_is_short(seed: int) -> None:
    workload, _, apart = tight_problem(seed)
    costs = costs_of_all(workload, apart, MOST_TREES)
    for objective in OBJECTIVES:
        found = map_levels(workload, apart, objective)
        assert found is not None and found.optimal
        assert found.objective == pytest.approx(min(objective_of(each, objective) for each in costs), rel=1e-9)


def test_uneven_tiles_are_better_in_some_of_these() -> None:
    better = 0
    for seed in TIGHT_SEEDS:
        workload, *machines = tight_problem(seed)
        even, free = (map_levels(workload, machine, "edp") for machine in machines)
        assert even is not None and free is not None
        assert free.objective <= even.objective * (1 + 1e-9)
        better += free.objective < even.objective * (1 - 1e-6)
    assert better >= 5


@pytest.mark.parametrize("seed", UNEVEN_SEEDS)
def test_the_mapper_finds_the_best_of_all_mappings_with_uneven_tiles(seed: int) -> None:
    workload, machine = small_problem(seed)
    apart = uneven(machine, Random(seed))
    costs = costs_of_all(workload, apart, MOST_TREES)
    for objective in OBJECTIVES:
        found, even = (map_levels(workload, each, objective) for each in (apart, machine))
        if not costs:
            assert found is None and even is None
            continue
        assert found is not None
        assert not list(loop_tree_faults(workload, apart, found.tree))
        assert found.objective == pytest.approx(min(objective_of(each, objective) for each in costs), rel=1e-9)
        assert found.optimal
        assert even is None or found.objective <= even.objective * (1 + 1e-9)


def test_uneven_tiles_let_the_image_stay_while_outputs_come_and_go() -> None:
    """The store has room for the image and a few outputs, not for all outputs of the image: with even tiles something
    is brought in twice, with uneven ones nothing is."""
    extents = {"m": 16, "p": 16, "c": 4}
    inputs, weights = [plain("c", extents), plain("p", extents)], [plain("m", extents), plain("c", extents)]
    work = workload("point", extents, inputs, weights, [plain("m", extents), plain("p", extents)])
    holds = (Role.INPUT, Role.WEIGHT, Role.OUTPUT)
    store = Store("glb", holds, 8, 70, keeps=holds)
    prices = tuple(EnergyRow("dram", action, 100.0, "made up") for action in ("read_word", "write_word"))
    machine = Hierarchy("two", 10**9, (Store("dram", holds, 8), store), tuple((role, 8) for role in holds), prices)
    even = map_levels(work, machine, "energy")
    free = map_levels(work, replace(machine, levels=(machine.levels[0], replace(store, tiles=Tiles.UNEVEN))), "energy")
    assert even is not None and free is not None and free.optimal
    once = 100.0 * (16 * 4 + 16 * 4 + 16 * 16)
    assert free.objective == once < even.objective
    assert len({place for role in holds for place, name in free.tree.keeps(role) if name == "glb"}) > 1


def _stores(count: int, depth_words: int, tiles: Tiles) -> Hierarchy:
    """Main memory and stores one inside of the other, which keep all."""
    holds = (Role.INPUT, Role.WEIGHT, Role.OUTPUT)
    inner = [Store(f"s{number}", holds, 8, depth_words, keeps=holds, tiles=tiles) for number in range(count)]
    return Hierarchy("many", 10**9, (Store("dram", holds, 8), *inner), tuple((role, 8) for role in holds))


def test_a_time_limit_ends_the_search_where_nothing_fits() -> None:
    """Each of the 90 orders in which tiles may begin has a search of its own."""
    extents = {"m": 4, "p": 6, "c": 4}
    inputs, weights = [plain("c", extents), plain("p", extents)], [plain("m", extents), plain("c", extents)]
    work = workload("point", extents, inputs, weights, [plain("m", extents), plain("p", extents)])
    with pytest.raises(CompileError, match="point: no mapping was found in 0 s"):
        map_levels(work, _stores(2, 2, Tiles.UNEVEN), "energy", time_limit_s=0)


def test_more_loops_than_the_search_has_bits_for() -> None:
    extents = {"g": 2, "m": 2, "p": 2, "c": 2}
    axes = [[plain(dim, extents) for dim in dims] for dims in ("gpc", "gcm", "gpm")]
    work = workload("batch", extents, axes[0], axes[1], axes[2])
    with pytest.raises(CompileError, match="batch: temporal loops at 16 places, over 4 kinds of dimensions"):
        map_levels(work, _stores(15, 100, Tiles.EVEN), "energy")


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


@pytest.mark.parametrize("seed", range(20))
def test_what_a_partial_mapping_fixes_is_kept_and_the_rest_is_the_best(seed: int) -> None:
    """A pin finds what the listing finds on a machine that is bound to it itself."""
    workload, machine = small_problem(seed)
    rng = Random(seed)
    place, store = rng.choice([each for each in enumerate(machine.levels) if isinstance(each[1], Store)])
    dims = [dim for dim, extent in workload.dims if extent > 1]
    fixed = Constraint(most=((rng.choice(dims), rng.choice((1, 2))),))
    keeps = tuple(role for role in store.holds if place == 0 or rng.random() < 0.5)
    pin = Pin(((store.name, fixed),), ((store.name, keeps),))
    bound = replace(
        machine,
        levels=tuple(
            replace(level, constraint=_both(store.constraint, fixed), holds=keeps, keeps=keeps)
            if number == place and isinstance(level, Store)
            else level
            for number, level in enumerate(machine.levels)
        ),
    )
    trees = list(islice(all_trees(workload, bound), MOST_TREES + 1))
    if len(trees) > MOST_TREES:
        pytest.skip("too many mappings to list")
    costs = [cost(workload, machine, tree) for tree in trees]
    for objective in (*OBJECTIVES, "energy + 3*latency"):
        found = map_levels(workload, machine, objective, pin)
        assert (found is None) == (not costs)
        if found is not None:
            assert found.optimal
            least = min(objective_of(each, objective) for each in costs)
            assert found.objective == pytest.approx(least, rel=1e-9)


def _both(one: Constraint, other: Constraint) -> Constraint:
    """One that binds as two do; `other` has a limit alone."""
    limits = dict(one.most)
    return replace(one, most=tuple((limits | {dim: min(n, limits.get(dim, n)) for dim, n in other.most}).items()))


@pytest.mark.parametrize("seed", range(20))
def test_limits_and_mixtures(seed: int) -> None:
    """The best of all mappings that keep a limit, or by a mixed objective; none where nothing keeps it."""
    workload, machine = small_problem(seed)
    trees = list(islice(all_trees(workload, machine), MOST_TREES + 1))
    if not 1 < len(trees) <= MOST_TREES:
        pytest.skip("too few or too many mappings to list")
    costs = [cost(workload, machine, tree) for tree in trees]
    cycles = sorted(each.cycles.total for each in costs)
    texts = (
        "energy + 5*latency",
        "energy^2*latency",
        *(f"energy, cycles<={most}" for most in (cycles[0] - 1, cycles[0], cycles[-1])),
    )
    for text in texts:
        least = min(objective_of(each, text) for each in costs)
        found = map_levels(workload, machine, text)
        assert (found is None) == (least == float("inf"))
        if found is not None:
            assert found.optimal
            assert found.objective == pytest.approx(least, rel=1e-9)


def test_of_mappings_with_equal_cycles_one_of_less_energy_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = machine_named("eyeriss_like")
    layer = conv(64, 256, 56, 1)
    settled = map_levels(layer, machine, "latency")
    monkeypatch.setattr(search, "_TIE_BREAKING_SEARCHES", 0)
    first = map_levels(layer, machine, "latency")
    least = map_levels(layer, machine, "energy")
    assert settled and first and least
    assert settled.optimal
    assert settled.cost.cycles.total == first.cost.cycles.total < least.cost.cycles.total
    assert least.cost.total_energy_pj <= settled.cost.total_energy_pj < 0.5 * first.cost.total_energy_pj


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint(most=(("m", 3),)),
        Constraint(most=(("m", 3), ("k", 1))),
        Constraint(factors=(("m", 4),)),
        Constraint(factors=(("m", 5),)),
        Constraint(factors=(("m", 6), ("k", 1))),
        Constraint(factors=(("m", 0),)),
    ],
)
def test_what_both_axes_of_a_fan_out_do_together(constraint: Constraint) -> None:
    """Five points of m over 2 x 3 lanes: `factors` and `most` are of rows times columns; all there, a lane is idle."""
    e = {"m": 5, "k": 2}
    work = workload("product", e, [plain("k", e)], [plain("m", e), plain("k", e)], [plain("m", e)])
    levels = (Store("dram", OPERAND_ROLES, 8, shared_words_per_cycle=1.0), FanOut("pe", 2, 3, constraint=constraint))
    rows = tuple(EnergyRow("dram", action, 5.0, "made up") for action in ("read_word", "write_word"))
    machine = Hierarchy("lanes", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES), rows)
    costs = costs_of_all(work, machine, MOST_TREES)
    found = map_levels(work, machine, "latency")
    assert costs and found is not None and found.optimal
    assert not list(loop_tree_faults(work, machine, found.tree))
    assert found.objective == min(each.cycles.total for each in costs)


def test_what_a_time_limit_leaves_is_no_chance_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first local search of this layer ends at 1500 times the bound, with one of 256 multipliers at work; others
    come near it before the search begins, which may take longer than there is time."""
    monkeypatch.setattr(mapper, "_GRACE_S", 60.0)  # for tables
    dims = {"m": 96, "p": 112 * 112, "c": 16}
    layer = workload("pointwise", dims, *([plain(dim, dims) for dim in operand] for operand in ("pc", "cm", "pm")))
    found = map_levels(layer, machine_named("simba_like"), "edp", time_limit_s=0.0)
    assert found is not None and found.stopped
    assert found.objective < 1.25 * found.lower_bound
