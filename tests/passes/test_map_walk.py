"""The compiled walk counts the cycles that the cost model counts."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from dnnc.backends.cost.nest import cost_nest
from dnnc.ir.arch import Arch
from dnnc.ir.nest import BodyOp, Dataflow, Nest
from dnnc.passes.map_plan import UNKNOWN, room
from dnnc.passes.map_problem import DATAFLOWS, problem_of
from dnnc.passes.map_walk import cycles_of
from dnnc.passes.schedule import make_schedule
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.random_machines import machines


@st.composite
def cases(draw: st.DrawFn) -> tuple[Arch, Nest, list[tuple[str, int]], dict[str, int], int]:
    """A machine, a nest, tiles, copies and a dataflow."""
    arch = draw(machines())
    number = st.integers
    kind = draw(st.sampled_from(("conv", "conv", "matmul", "pool")))
    if kind == "conv":
        sizes = {name: draw(number(1, most)) for name, most in zip("nmpqcrs", (2, 9, 9, 7, 9, 4, 3), strict=True)}
        window = {"stride": draw(number(1, 3)), "pad": draw(number(0, 2))}
        nest = conv_nest(arch, **sizes, **window, h=draw(number(1, 9)), w=draw(number(1, 9)))
    elif kind == "matmul":
        sizes = {name: draw(number(1, most)) for name, most in zip("gpkm", (3, 40, 60, 40), strict=True)}
        nest = matmul_nest(arch, **sizes)
    else:
        nest = max_pool_nest(arch, p=draw(number(1, 9)), q=draw(number(1, 9)), c=draw(number(1, 9)))
    inner = [dim for dim in nest.domain if dim.name not in nest.write.dims]
    outer = [dim for dim in nest.domain if dim.name in nest.write.dims]
    order = [*draw(st.permutations(outer)), *draw(st.permutations(inner))]
    tiles = [(dim.name, draw(number(1, dim.extent))) for dim in order if draw(st.booleans())]
    copies = {access.operand: draw(number(1, 2)) for access in (*nest.reads, nest.write)}
    dataflow = draw(number(0, 3)) if nest.body.op is BodyOp.MAC else 3
    return arch, replace(nest, schedule=None), tiles, copies, dataflow


def walked(
    arch: Arch,
    nest: Nest,
    tiles: list[tuple[str, int]],
    copies: dict[str, int],
    dataflow: int,
    enough: float = np.inf,
) -> int:
    problem = problem_of(nest, arch)
    names = [dim.name for dim in nest.domain]
    sizes = {dim.name: dim.extent for dim in nest.domain} | dict(tiles)
    order = np.array([names.index(dim) for dim, _ in tiles] + [-1], np.int64)
    two = sum(1 << number for number, each in enumerate((*nest.reads, nest.write)) if copies[each.operand] == 2)
    found = np.array([two], np.int64)
    cycles_of(problem, room(problem), dataflow, np.array(list(sizes.values()), np.int64), order, found, enough)
    return int(found[0])


@settings(max_examples=300, deadline=None)
@given(cases())
def test_cycles_are_those_of_the_cost_model(
    case: tuple[Arch, Nest, list[tuple[str, int]], dict[str, int], int],
) -> None:
    arch, nest, tiles, copies, dataflow = case
    found = walked(*case)
    schedule = make_schedule(nest, arch, DATAFLOWS[dataflow], tiles, copies)
    assert found == cost_nest(replace(nest, schedule=schedule), arch).cycles


@settings(max_examples=150, deadline=None)
@given(cases(), st.floats(0.0, 1.2))
def test_a_walk_that_ends_early_has_a_bound(
    case: tuple[Arch, Nest, list[tuple[str, int]], dict[str, int], int], share: float
) -> None:
    cycles = walked(*case)
    enough = int(share * cycles)
    soon = walked(*case, float(enough))
    assert soon == cycles or enough <= soon <= cycles


def test_a_walk_keeps_what_the_last_one_had_in_common() -> None:
    """Tables are those of sizes, order and dataflow: whichever of them changes, the next walk counts as a first one."""
    arch = machine()
    nest = replace(matmul_nest(arch, p=30, k=40, m=20), schedule=None)
    problem = problem_of(nest, arch)
    names = [dim.name for dim in nest.domain]
    outer, reduced = [names.index(dim) for dim in nest.write.dims & {"p", "m"}], names.index("k")
    kept = room(problem)
    rng = random.Random(0)
    sizes, order, dataflow = np.array([dim.extent for dim in nest.domain], np.int64), [*outer, reduced], 0
    seen = set()
    for _ in range(300):
        change = rng.randrange(4)
        if change == 0:
            dim = rng.randrange(len(names))
            sizes[dim] = rng.randint(1, nest.domain[dim].extent)
        elif change == 1:
            order = [*rng.sample(outer, 2), reduced]
        elif change == 2:
            dataflow = rng.randrange(4)
        copies = rng.randrange(8)
        found = []
        for walk in (kept, room(problem)):
            cycles = np.array([copies], np.int64)
            cycles_of(problem, walk, dataflow, sizes, np.array(order, np.int64), cycles, np.inf)
            found.append(int(cycles[0]))
        assert found[0] == found[1]
        seen.add(found[0])
    assert len(seen) > 50


@settings(max_examples=100, deadline=None)
@given(machines(), st.lists(st.integers(1, 1 << 26), min_size=4, max_size=4), st.integers(0, 10), st.randoms())
def test_large_counts_do_not_wrap(arch: Arch, sizes: list[int], slow: int, rng: random.Random) -> None:
    """Of up to 2^52 points, on slow machines: the walk counts what the cost model counts, in Python's integers, or
    leaves it to that."""
    arch = replace(arch, dma=replace(arch.dma, latency_cycles=10**slow))
    g, p, k, m = sizes
    while g * p * k * m > 1 << 52:
        g, p, k, m = (max(1, each // 2) for each in (g, p, k, m))
    nest = replace(matmul_nest(arch, g=g, p=p, k=k, m=m), schedule=None)
    tiles = [
        (dim, rng.randint(1, min(extent, 1 << rng.randint(0, 15))))
        for dim, extent in zip("gpmk", (g, p, m, k), strict=True)
    ]
    copies = {operand: rng.randint(1, 2) for operand in "aby"}
    dataflow = rng.randrange(4)
    counts = cost_nest(replace(nest, schedule=make_schedule(nest, arch, DATAFLOWS[dataflow], tiles, copies)), arch)
    assert walked(arch, nest, tiles, copies, dataflow) in (counts.cycles, UNKNOWN)
    assert counts.macs == g * p * k * m
    assert arch.vector is not None
    units = arch.vector.lanes if DATAFLOWS[dataflow] is Dataflow.VECTOR else arch.array.rows * arch.array.cols
    assert counts.cycles >= counts.macs // units
    moved = {role: transfer.read_bytes for role, transfer in counts.traffic["dram"].items() if role != "instruction"}
    assert moved["input"] >= g * p * k
    assert moved["weight"] >= g * k * m
    assert moved["input"] % (g * p * k) == moved["weight"] % (g * k * m) == 0


def test_cycles_beyond_64_bits_are_counted() -> None:
    """They grow by the same amount with every tile."""
    arch = machine(latency_cycles=10**9)
    found = []
    for groups in (1 << 33, 1 << 34, 1 << 35):
        nest = replace(matmul_nest(arch, g=groups, p=4, k=4, m=4), schedule=None)
        tiles = [(dim, 1) for dim in "gpmk"]
        copies = dict.fromkeys("aby", 1)
        counts = cost_nest(replace(nest, schedule=make_schedule(nest, arch, DATAFLOWS[0], tiles, copies)), arch)
        assert walked(arch, nest, tiles, copies, 0) == UNKNOWN
        found.append(counts.cycles)
    assert found[2] - found[1] == 2 * (found[1] - found[0])
    assert found[0] > 1 << 64


def test_what_is_beyond_the_walk_is_unknown() -> None:
    """More classes of tiles than there is room for."""
    arch = machine()
    nest = replace(conv_nest(arch, n=1, m=1, p=150, q=1, c=1, r=150, s=1, pad=75, h=150, w=1), schedule=None)
    copies = dict.fromkeys(("x", "w", "bias", "scale", "y"), 2)
    assert walked(arch, nest, [("p", 1)], copies, 0) == UNKNOWN
    assert walked(arch, nest, [("p", 75)], copies, 0) > 0
