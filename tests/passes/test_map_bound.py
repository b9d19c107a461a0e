"""Bounds are bounds: never above the exact cost of any mapping in their box; of single sizes energy is exact."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import energy_pj
from dnnc.ir.arch import Arch
from dnnc.ir.nest import BodyOp, Nest
from dnnc.ir.nest_layout import local_layout
from dnnc.ir.schedule_rules import EXTENT_LIMIT
from dnnc.passes.map_bound import ANY_COPIES, bound
from dnnc.passes.map_box import loop_bits, scratch_of
from dnnc.passes.map_goal import goal_of
from dnnc.passes.map_objective import objective_floor
from dnnc.passes.map_problem import DATAFLOWS, LARGEST_EXTENT, problem_of
from dnnc.passes.map_tables import FEWEST, HI, LEFT, LO, MOST, make_tables
from dnnc.passes.map_transfers import TOO_LARGE, tile_bits
from dnnc.passes.objective import parse_objective
from dnnc.passes.schedule import make_schedule
from hypothesis import given, settings
from hypothesis import strategies as st
from support.brute_force import PRICES
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.random_machines import machines

LATENCY = parse_objective("latency")
GOAL, FASTEST = goal_of(parse_objective("edp")), goal_of(LATENCY)
# As Python: compiled for calls from compiled code only.
python_bound: Any = bound
python_tile_bits: Any = tile_bits


@pytest.fixture(scope="module", autouse=True)
def entries() -> None:
    """The bound, to be called from here."""
    from dnnc.ir.compiled import compiled_entry

    globals()["python_bound"] = compiled_entry(python_bound.py_func)
    globals()["python_tile_bits"] = compiled_entry(python_tile_bits.py_func)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Arch, Nest]:
    arch = replace(draw(machines()), energy=PRICES)
    kind = draw(st.sampled_from(("conv", "conv", "matmul", "pool")))
    number = st.integers
    if kind == "conv":
        sizes = {name: draw(number(1, most)) for name, most in zip("nmpqcrs", (2, 9, 9, 7, 9, 4, 3), strict=True)}
        window = {"stride": draw(number(1, 3)), "pad": draw(number(0, 2))}
        nest = conv_nest(arch, **sizes, **window, h=draw(number(1, 9)), w=draw(number(1, 9)))
    elif kind == "matmul":
        sizes = {name: draw(number(1, most)) for name, most in zip("gpkm", (3, 20, 30, 20), strict=True)}
        nest = matmul_nest(arch, **sizes)
    else:
        nest = max_pool_nest(arch, p=draw(number(1, 9)), q=draw(number(1, 9)), c=draw(number(1, 9)))
    return arch, replace(nest, schedule=None)


@settings(max_examples=120, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_bounds_are_admissible(case: tuple[Arch, Nest], rng: random.Random) -> None:
    """From all sizes down to single ones, along a random way, for random orders and copies."""
    arch, nest = case
    problem = problem_of(nest, arch)
    tables = make_tables(problem, [np.arange(1, dim.extent + 1, dtype=np.int64) for dim in nest.domain])
    scratch = scratch_of(problem, tables)
    names = [dim.name for dim in nest.domain]
    for _ in range(4):
        dataflow = rng.randrange(4) if nest.body.op is BodyOp.MAC else 3
        outer = [dim for dim in names if dim in nest.write.dims]
        inner = [dim for dim in names if dim not in outer]
        rng.shuffle(outer)
        rng.shuffle(inner)
        order = np.array([[names.index(dim) for dim in (*outer, *inner)]], np.int64)
        bits = loop_bits(problem, order)[0]
        at = tables.roots[:-1].copy()
        way = [at.copy()]
        while open_dims := [dim for dim in range(len(names)) if tables.nodes[at[dim], LEFT] >= 0]:
            dim = rng.choice(open_dims)
            at[dim] = tables.nodes[at[dim], LEFT + rng.randrange(2)]
            way.append(at.copy())
        sizes = {name: int(tables.nodes[node, LO]) for name, node in zip(names, at, strict=True)}
        tiles = [(dim, sizes[dim]) for dim in (*outer, *inner) if sizes[dim] < nest.extent(dim)]
        operands = [access.operand for access in (*nest.reads, nest.write)]
        copies = {operand: rng.randint(1, 2) for operand in operands}
        two = sum(1 << number for number, operand in enumerate(operands) if copies[operand] == 2)
        mapped = replace(nest, schedule=make_schedule(nest, arch, DATAFLOWS[dataflow], tiles, copies))
        counts = cost_nest(mapped, arch)
        energy = sum(energy_pj(counts, arch).values())
        assert counts.cycles is not None
        needed = sum(
            copies[each]
            * local_layout(mapped, each, arch.memory("spad" if each != "y" else "acc").word_bytes).tile_bytes
            for each in operands
        )
        if needed > 1 << 15:
            continue
        assert objective_floor(nest, arch, DATAFLOWS[dataflow], LATENCY) <= counts.cycles
        cycles, exact = python_bound(problem, tables, scratch, GOAL, np.inf, dataflow, bits, at, two)
        assert 0 <= cycles <= counts.cycles
        assert exact == pytest.approx(energy, rel=1e-12)
        for box in way:
            cycles, least = python_bound(problem, tables, scratch, GOAL, np.inf, dataflow, bits, box, ANY_COPIES)
            assert 0 <= cycles <= counts.cycles
            assert least <= energy * (1 + 1e-12)
            some = rng.randint(0, 2 * counts.cycles)  # once it is shown to be enough, the bound is no closer
            soon, none = python_bound(problem, tables, scratch, FASTEST, some, dataflow, bits, box, ANY_COPIES)
            assert none == 0
            assert soon == cycles or some <= soon <= cycles


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_tiles_are_those_of_the_schedule(case: tuple[Arch, Nest], rng: random.Random) -> None:
    arch, nest = case
    problem = problem_of(nest, arch)
    sizes = [rng.randint(1, dim.extent) for dim in nest.domain]
    tables = make_tables(problem, [np.array([size], np.int64) for size in sizes])
    tiles = [(dim.name, size) for dim, size in zip(nest.domain, sizes, strict=True)]
    for dataflow in (0, 1, 2, 3) if nest.body.op is BodyOp.MAC else (3,):
        scratch = scratch_of(problem, tables)
        mapped = replace(nest, schedule=make_schedule(nest, arch, DATAFLOWS[dataflow], tiles, {}))
        for number, access in enumerate((*nest.reads, nest.write)):
            word_bytes = arch.holder(access.role.value).word_bytes
            wanted = 8 * local_layout(mapped, access.operand, word_bytes).tile_bytes
            found = python_tile_bits(problem, tables, scratch, tables.roots[:-1], number, dataflow)
            assert found == wanted
            problem.machine[LARGEST_EXTENT] = 0
            found = python_tile_bits(problem, tables, scratch, tables.roots[:-1], number, dataflow)
            assert found == (TOO_LARGE if access.index else wanted)
            problem.machine[LARGEST_EXTENT] = EXTENT_LIMIT


def test_a_tree_of_sizes() -> None:
    arch = machine()
    nest = replace(matmul_nest(arch, p=9, k=5, m=1), schedule=None)
    problem = problem_of(nest, arch)
    tables = make_tables(problem, [np.arange(1, dim.extent + 1, dtype=np.int64) for dim in nest.domain])
    place = [dim.name for dim in nest.domain].index("p")
    nodes = tables.nodes[tables.roots[place] : tables.roots[place + 1]]
    assert nodes[0, [LO, HI, FEWEST, MOST]].tolist() == [1, 9, 1, 9]
    assert sorted(nodes[nodes[:, LEFT] < 0, LO].tolist()) == list(range(1, 10))
    # The whole extent is cut off first.
    right = tables.nodes[nodes[0, LEFT + 1]]
    assert right[[LO, HI, FEWEST, MOST]].tolist() == [9, 9, 1, 1]
