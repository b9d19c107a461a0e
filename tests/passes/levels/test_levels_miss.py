"""Where no mapping fits: what is short and by how much, and what would do instead."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

import pytest
from dnnc.ir.hierarchy import OPERAND_ROLES, Buffering, Constraint, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import Workload
from dnnc.ir.nest import Role
from dnnc.passes.levels.chains import chains
from dnnc.passes.levels.mapper import map_levels
from dnnc.passes.levels.space import Pin, frames
from dnnc.passes.levels_miss import nearest_miss
from dnnc.passes.levels_reach import sizes_of
from support.levels_space import small_problem
from support.random_levels import plain, workload

INPUT, WEIGHT, OUTPUT = OPERAND_ROLES
E = {"m": 12, "k": 10}
WORK = workload("product", E, [plain("k", E)], [plain("m", E), plain("k", E)], [plain("m", E)])
DRAM = Store("dram", OPERAND_ROLES, 8)
GLB = Store("glb", (INPUT, OUTPUT), 8, depth_words=8, keeps=(INPUT,))
PE = FanOut("pe", 4, 2)
SPAD = Store("spad", (WEIGHT,), 8, depth_words=6, keeps=(WEIGHT,))


def _machine(**levels: Store | FanOut) -> Hierarchy:
    own = {"dram": DRAM, "glb": GLB, "pe": PE, "spad": SPAD} | levels
    return Hierarchy("small", 10**9, tuple(own.values()), tuple((role, 8) for role in OPERAND_ROLES))


def _with(
    level: Store,
    dims: tuple[str, ...] | None = None,
    factors: tuple[tuple[str, int], ...] = (),
    most: tuple[tuple[str, int], ...] = (),
) -> Store:
    return replace(level, constraint=Constraint(dims, factors, most))


def test_the_machine_that_is_broken_below_is_sound() -> None:
    assert map_levels(WORK, _machine()) is not None


@pytest.mark.parametrize(
    ("levels", "message", "helps", "place"),
    [
        pytest.param(
            {"spad": _with(SPAD, factors=(("m", 3), ("k", 5)))},
            "the smallest tiles of 'spad' take 15 words (weight 15), 9 more than its 6",
            ["tiles have 5 points of k by `factors.k: 5` of 'spad'; 2 would do", "`depth_words: 15`"],
            ("spad", "capacity"),
            id="a store smaller than one tile",
        ),
        pytest.param(
            {"spad": replace(_with(SPAD, factors=(("k", 5),)), buffering=Buffering.DOUBLE)},
            "the smallest tiles of 'spad' take 10 words (weight 10, each twice as it is double buffered), 4 more",
            ["by `factors.k: 5` of 'spad'; 3 would do", "`depth_words: 10`"],
            ("spad", "capacity"),
            id="two copies",
        ),
        pytest.param(
            {"dram": _with(DRAM, dims=("m",)), "pe": replace(PE, row_dims=("m",)), "spad": _with(SPAD, dims=())},
            "the smallest tiles of 'glb' take 10 words (input 10), 2 more than its 8",
            ["tiles have 10 points of k by `loops.dims` of 'dram', which leaves it out", "`depth_words: 10`"],
            ("glb", "capacity"),
            id="loops that may not stand outside",
        ),
        pytest.param(
            {
                "dram": _with(DRAM, dims=()),
                "glb": replace(GLB, depth_words=2, keeps=(INPUT, OUTPUT)),
                "pe": replace(PE, row_dims=(), constraint=Constraint(factors=(("m", 2),))),
                "spad": _with(SPAD, dims=("k", "m")),
            },
            "the smallest tiles of 'glb' take 22 words (input 10, output 12), 20 more than its 2",
            ["`loops.dims` of 'dram' leaves out k, m: without it they take 3 words", "`depth_words: 22`"],
            ("dram", "loops.dims"),
            id="several dimensions that may not stand outside, most of what is missing",
        ),
        pytest.param(
            {"glb": _with(GLB, factors=(("k", 7),))},
            "the 10 points of k cannot be split as 'glb' fixes",
            ["`factors.k: 7` of 'glb'; 5 would do"],
            ("glb", "loops.factors.k"),
            id="a number of pieces that there is not",
        ),
        pytest.param(
            {"dram": _with(DRAM, factors=(("m", 12),)), "spad": _with(SPAD, factors=(("m", 2),))},
            "the 12 points of m cannot be split as 'dram' and 'spad' fix",
            ["`factors.m: 12` of 'dram'; 6 would do", "`factors.m: 2` of 'spad'; 1 would do"],
            ("dram", "loops.factors.m"),
            id="constraints that contradict each other",
        ),
        pytest.param(
            {
                "dram": _with(DRAM, most=(("k", 1),)),
                "glb": _with(GLB, most=(("k", 2),)),
                "pe": replace(PE, row_dims=("m",), col_dims=("m",)),
                "spad": _with(SPAD, most=(("k", 2),)),
            },
            "of the 10 points of k pieces of 5 reach the multipliers, which take one at a time",
            ["`most.k: 1` of 'dram'; 3 would do", "`most.k: 2` of 'spad'; 5 would do", "`row_dims` of 'pe'"],
            ("dram", "loops.most.k"),
            id="too few pieces",
        ),
        pytest.param(
            {
                "dram": _with(DRAM, dims=()),
                "glb": _with(GLB, dims=()),
                "spad": _with(SPAD, dims=()),
                "pe": replace(PE, row_dims=("m",), col_dims=("m",)),
            },
            "of the 10 points of k pieces of 10 reach the multipliers, which take one at a time",
            ["`loops.dims` of 'dram'"],
            ("dram", "loops.dims"),
            id="a dimension without a place",
        ),
        pytest.param(
            {"pe": replace(PE, constraint=Constraint(factors=(("m", 4), ("k", 4))))},
            "'pe' fixes 4 of m x 4 of k, 16 instances where it has 8",
            ["at most 8"],
            ("pe", "loops.factors.m"),
            id="lanes that are not there",
        ),
    ],
)
def test_what_is_short_is_told(
    levels: dict[str, Store | FanOut], message: str, helps: list[str], place: tuple[str, str]
) -> None:
    machine = _machine(**levels)
    assert map_levels(WORK, machine) is None
    miss = nearest_miss(WORK, machine)
    assert message in miss.message
    assert all(help in miss.help for help in helps), miss.help
    assert (miss.level, miss.key) == place


@pytest.mark.parametrize(
    ("levels", "eased"),
    [
        ({"spad": _with(SPAD, factors=(("m", 3), ("k", 5)))}, {"spad": _with(SPAD, factors=(("m", 3), ("k", 2)))}),
        ({"glb": _with(GLB, factors=(("k", 7),))}, {"glb": _with(GLB, factors=(("k", 5),))}),
        ({"dram": _with(DRAM, factors=(("m", 12),)), "spad": _with(SPAD, factors=(("m", 2),))},
         {"dram": _with(DRAM, factors=(("m", 6),)), "spad": _with(SPAD, factors=(("m", 2),))}),
    ],
)  # fmt: skip
def test_what_would_do_does(levels: dict[str, Store | FanOut], eased: dict[str, Store | FanOut]) -> None:
    assert map_levels(WORK, _machine(**levels)) is None
    assert map_levels(WORK, _machine(**eased)) is not None


def test_a_layer_with_fewer_points_than_a_fixed_number_has_them_all_there() -> None:
    small = workload("small", e := {"m": 2, "k": 10}, [plain("k", e)], [plain("m", e), plain("k", e)], [plain("m", e)])
    found = map_levels(small, _machine(spad=_with(SPAD, factors=(("m", 3),))))
    assert found is not None
    assert found.cost.counts.tile("spad", Role.WEIGHT) % 2 == 0


def _constrained(seed: int) -> tuple[Workload, Hierarchy]:
    work, machine = small_problem(seed)
    rng = Random(seed)
    dims = [dim for dim, extent in work.dims if extent > 1]

    def constraint() -> Constraint:
        dim = rng.choice(dims)
        return rng.choice((
            Constraint(factors=((dim, rng.choice((0, 2, 3, 4, 9))),)),
            Constraint(most=((dim, rng.choice((1, 2))),)),
            Constraint(dims=tuple(rng.sample(dims, rng.randint(0, len(dims))))),
            Constraint(),
        ))  # fmt: skip

    return work, replace(machine, levels=tuple(replace(each, constraint=constraint()) for each in machine.levels))


@pytest.mark.parametrize("seed", range(60))
def test_random_problems(seed: int) -> None:
    """Sets of sizes are those of the search's chains; where nothing fits, a reason and a number or a key are told."""
    work, machine = _constrained(seed)
    for frame in frames(work, machine, Pin()):
        for dim in frame.workload.extents:
            found, sizes = chains(frame, dim), sizes_of(frame, dim)
            assert sizes.legal == (len(found) > 0)
            assert [set(each) for each in sizes.outside[1:]] == [set(column) for column in found.T.tolist()]
    if map_levels(work, machine) is None:
        miss = nearest_miss(work, machine)
        assert miss.level in [level.name for level in machine.levels]
        assert re.search(r"\d|would|without|leaves it out", miss.help)
