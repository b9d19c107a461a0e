"""Sums over tiles: those of one dimension are the general ones, and figures of the search are the cost model's where
lanes of two dimensions along two axes take the same tile."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.ir.affine import Affine
from dnnc.ir.arch import EnergyRow
from dnnc.ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from dnnc.ir.nest import Role
from dnnc.passes.levels.exact import exact_of
from dnnc.passes.levels.figures import figures_of
from dnnc.passes.levels.space import Pin, frames
from dnnc.passes.levels.sums import EACH, FIRST, SHARED, TEMPORAL, Slots, table
from dnnc.passes.levels.sums_one import table_of_one
from dnnc.passes.levels.tables import UNBOUNDED, tables_of
from support.random_levels import plain, workload


def test_of_lanes_with_the_same_tile_the_first_one_counts() -> None:
    """With r along rows and p along columns lane (row 0, column 1) comes before (row 1, column 0), which takes the same
    tile, but where pieces are short had another one before: the order decides what is kept."""
    extents = {"p": 5, "r": 3}
    window = Affine.of({"p": 1, "r": 1}), 7
    work = workload("column", extents, [window], [plain("r", extents)], [plain("p", extents)])
    lanes = FanOut("lanes", 3, 2, multicast=(Role.INPUT, Role.WEIGHT), reduce=True)
    register = Store("register", (Role.INPUT,), 8, keeps=(Role.INPUT,))
    levels = (Store("dram", OPERAND_ROLES, 8, keeps=OPERAND_ROLES), lanes, register)
    rows = (EnergyRow("dram", "read_word", 7.0, "made up"), EnergyRow("register", "write_word", 1.0, "made up"))
    machine = Hierarchy("lanes", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES), rows)
    (frame,) = frames(work, machine, Pin())
    tables = tables_of(frame, figures_of(frame))
    assert tables is not None
    exact, checked = exact_of(tables), 0
    for candidate in range(len(tables.groups[0])):
        chosen = np.array([candidate], np.int64)
        orders = exact.orders_of(chosen)
        figures = exact.figures(np.repeat(chosen[None], len(orders), axis=0), exact.ranks(orders))
        for order, (energy, cycles) in zip(orders, figures, strict=True):
            counted = cost(work, machine, exact.tree(chosen, order))
            assert cycles == counted.cycles.total
            assert energy == pytest.approx(counted.total_energy_pj, rel=1e-12)
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("seed", range(12))
def test_lanes_along_many_axes_are_compared_along_each(seed: int) -> None:
    """Six axes and more, of three fan-outs in a row: which lane is the first one is told by all of them."""
    rng = Random(seed)
    e = {"p": rng.randint(3, 9), "r": rng.randint(2, 6)}
    stride, before = rng.choice((1, 1, 2)), rng.choice((0, 1))
    inputs = Affine.of({"p": stride, "r": 1}, -before), stride * (e["p"] - 1) + e["r"] - before
    work = workload("window", e, [inputs], [plain("r", e)], [plain("p", e)])
    levels: list[Store | FanOut] = [Store("dram", OPERAND_ROLES, 8, shared_words_per_cycle=1.0)]
    levels += [FanOut(f"f{number}", *rng.choice(((2, 2), (3, 2), (2, 3)))) for number in range(rng.choice((3, 4)))]
    levels.append(Store("spad", OPERAND_ROLES, 8, keeps=OPERAND_ROLES))
    rows = [EnergyRow("dram", action, 10.0, "made up") for action in ("read_word", "write_word")]
    machine = Hierarchy("m", 10**9, tuple(levels), tuple((role, 8) for role in OPERAND_ROLES), tuple(rows))
    frame = next(frames(work, machine, Pin()))
    tables = tables_of(frame, figures_of(frame))
    assert tables is not None and len(tables.groups) == 1
    exact = exact_of(tables)
    for place in rng.sample(range(len(tables.groups[0])), min(150, len(tables.groups[0]))):
        chosen = np.array([place])
        order = rng.choice(exact.orders_of(chosen))
        ((energy, cycles),) = exact.figures(chosen[None], exact.ranks([order]))
        counted = cost(work, machine, exact.tree(chosen, order))
        assert (energy, cycles) == pytest.approx((counted.total_energy_pj, counted.cycles.total), rel=1e-12)


@pytest.mark.parametrize("seed", range(300))
def test_sums_of_one_dimension_are_the_general_ones(seed: int) -> None:
    rng = Random(seed)
    extent, slots = rng.choice((1, 2, 3, 5, 7, 12, 13, 30, 64)), rng.randint(1, 7)
    modes = np.array([rng.choice((TEMPORAL, TEMPORAL, EACH, FIRST, SHARED)) for _ in range(slots)], np.int64)
    place = np.where(modes == TEMPORAL, np.cumsum(modes == TEMPORAL) - 1, -1).astype(np.int64)
    through = Slots(modes, place, int((modes == TEMPORAL).sum()), np.zeros(slots, np.int64))
    chains = np.empty((20, 1, slots), np.int64)
    for chain in chains[:, 0]:
        before = extent
        for slot in range(slots):
            before = rng.choice((before, before, rng.randint(1, before)))
            chain[slot] = before
    codes = np.arange(2 * through.blocks + 1)[:, None]
    coefficients = np.array([[rng.randint(1, 3)] for _ in range(rng.choice((0, 1, 1, 2)))], np.int64).reshape(-1, 1)
    borders = np.array([(-UNBOUNDED, UNBOUNDED)] * len(coefficients), np.int64).reshape(-1, 2)
    general, one = np.zeros((2, 20, len(codes))), np.zeros((2, 20, len(codes)))
    extents = np.array([extent], np.int64)
    table(extents, chains, through, codes, coefficients, borders, False, False, *general)
    table_of_one(extent, chains[:, 0], through, codes[:, 0], coefficients, *one)
    assert np.array_equal(general, one)
