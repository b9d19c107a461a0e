"""The closed form equals a literal walk, count by count and cycle by cycle."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from dnnc.backends.cost import maxplus
from dnnc.backends.cost.classes import Grid
from dnnc.backends.cost.commands import computes, loads, stores
from dnnc.backends.cost.module import counted, nameless
from dnnc.backends.cost.nest import cost_nest, make_plan
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.nest import Dim, Nest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.literal import Walk
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.random_machines import machines


def check(nest: Nest, arch: Arch, points: bool = False) -> None:
    walk, counts = Walk(nest, arch), cost_nest(nest, arch)
    assert counts.instructions == dict(walk.instructions)
    found = {m: {r: (t.read_bits, t.write_bits) for r, t in roles.items()} for m, roles in counts.traffic.items()}
    assert found == walk.traffic()
    assert counts.macs_issued == walk.issued
    assert counts.actions == dict(walk.actions)
    assert counts.cycles == walk.dispatch
    if points:
        assert counts.macs == walk.macs()


COPIES = st.integers(1, 2)


def tilings(draw: st.DrawFn, outputs: dict[str, int], reductions: dict[str, int]) -> list[tuple[str, int]]:
    """Loops over a subset of the dimensions, those of the output outside."""
    tiles = []
    for group in (outputs, reductions):
        for dim in draw(st.permutations(sorted(group))):
            if draw(st.booleans()):
                tiles.append((dim, draw(st.integers(1, group[dim]))))
    return tiles


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Arch, Nest]:
    arch = draw(machines())
    outputs = dict(zip("nmpq", draw(st.tuples(*(st.integers(1, most) for most in (2, 6, 7, 6)))), strict=True))
    reductions = dict(c=draw(st.integers(1, 5)), r=draw(st.integers(1, 4)), s=draw(st.integers(1, 3)))
    tiles = tilings(draw, outputs, reductions)
    stride = draw(st.integers(1, 3))
    return arch, conv_nest(
        arch,
        **outputs,
        **reductions,
        stride=stride,
        pad=draw(st.integers(0, 3)),
        h=draw(st.integers(1, 9)),
        w=draw(st.integers(1, 9)),
        tiles=tiles,
        dataflow=draw(st.sampled_from(("ws", "os", "is", "vector"))),
        copies={name: draw(COPIES) for name in ("x", "w", "bias", "scale", "y")},
    )


@settings(max_examples=150, deadline=None)
@given(convolutions())
def test_convolutions(case: tuple[Arch, Nest]) -> None:
    check(case[1], case[0], points=True)


@st.composite
def products(draw: st.DrawFn) -> tuple[Arch, Nest]:
    arch = draw(machines())
    outputs = dict(g=draw(st.integers(1, 3)), p=draw(st.integers(1, 12)), m=draw(st.integers(1, 12)))
    reductions = dict(k=draw(st.integers(1, 40)))
    return arch, matmul_nest(
        arch,
        **outputs,
        **reductions,
        tiles=tilings(draw, outputs, reductions),
        dataflow=draw(st.sampled_from(("ws", "os", "is"))),
        copies={name: draw(COPIES) for name in ("a", "b", "y")},
    )


@settings(max_examples=150, deadline=None)
@given(products())
def test_products(case: tuple[Arch, Nest]) -> None:
    check(case[1], case[0], points=True)


@settings(max_examples=30, deadline=None)
@given(machines(), st.integers(1, 9), st.integers(1, 9), st.data())
def test_pools(arch: Arch, p: int, q: int, data: st.DataObject) -> None:
    tiles = [(d, data.draw(st.integers(1, 4))) for d in data.draw(st.permutations("pqc"))]
    check(max_pool_nest(arch, p=p, q=q, tiles=tiles), arch)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("bus_bytes", [1, 16])
def test_long_loops_are_skipped(dataflow: str, bus_bytes: int) -> None:
    """Loops long enough that runs are extrapolated, with waits at and beyond the farthest distance."""
    arch = machine(bus_bytes=bus_bytes)
    for p, m, k in ((300, 3, 1), (2, 2, 600), (12, 12, 6)):
        for tiles in ([("p", 1), ("m", 1), ("k", 1)], [("m", 1), ("p", 1), ("k", 1)]):
            check(matmul_nest(arch, p=p, m=m, k=k, tiles=tiles, dataflow=dataflow), arch)


@pytest.mark.parametrize("copies", [1, 2])
def test_matrix_powers(monkeypatch: pytest.MonkeyPatch, copies: int) -> None:
    """With no patience for the vector, every run is a matrix power; the result is the same."""
    import dnnc.backends.cost.nest as module

    original = module.make_plan
    monkeypatch.setattr(module, "make_plan", lambda *args: replace(original(*args), patience=0))
    arch = machine(bus_bytes=2, queues=(3, 4, 2))
    for tiles in ([("p", 1), ("m", 2), ("k", 4)], [("m", 2), ("p", 1)]):
        check(matmul_nest(arch, p=80, m=3, k=320, tiles=tiles, copies={"a": copies, "y": copies}), arch)


@pytest.mark.parametrize("tiles", [[("p", 1), ("m", 1)], [("m", 1), ("p", 1)], [("p", 1), ("m", 1), ("k", 1)]])
def test_far_waits_that_the_queue_does_not_imply(tiles: list[tuple[str, int]]) -> None:
    """A deep queue and a long drain: the farthest distance is felt, and absent for the first versions."""
    arch = machine(queues=(255, 255, 255), command_cycles=0, latency_cycles=3000, bus_bytes=64)
    arch = replace(arch, array=replace(arch.array, drain_cycles=5000))
    check(matmul_nest(arch, p=4, m=300, k=2, tiles=tiles), arch)
    check(matmul_nest(arch, p=300, m=4, k=2, tiles=tiles), arch)
    check(conv_nest(arch, m=3, p=20, q=20, c=1, r=1, s=1, pad=0, tiles=[("m", 1), ("p", 1), ("q", 1)]), arch)


@pytest.mark.parametrize("dim", ["n", "c", "p"])
def test_empty_domain(dim: str) -> None:
    arch = machine()
    nest = conv_nest(arch)
    nest = replace(nest, domain=tuple(Dim(d.name, 0 if d.name == dim else d.extent) for d in nest.domain))
    check(nest, arch)


def wide(size: int, **more: Any) -> dict[str, Any]:
    """A convolution along one dimension, with a kernel as long as its input."""
    return dict(m=1, c=1, q=1, s=1, w=1, p=size, r=size, h=size, pad=size // 2, **more)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (wide(100_000_000), "points\nhelp: at most 4503599627370496 can be counted"),
        (wide(6_000_000), "points of p that padding couples with r\nhelp: at most 4194304"),
        (wide(10_000_000, tiles=[("p", 1)]), "tiles along 'p' that padding clips in different ways\nhelp:"),
    ],
)
def test_what_is_too_large_to_count_is_refused_by_name(sizes: dict[str, Any], message: str) -> None:
    arch = machine()
    nest = replace(conv_nest(arch, **sizes), name="wide")
    for count in (cost_nest, counted):
        with pytest.raises(CompileError, match=rf"nest 'wide' has \d+ {message}"):
            count(nest, arch)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts columns stepped and matrix products."""
    counts: Counter[str] = Counter()
    step, multiply = maxplus.Walk._step, maxplus.Walk._multiply

    def counting_step(walk: maxplus.Walk, state: maxplus.Rows, most: maxplus.Most, *where: Any) -> None:
        counts["columns"] += 1 if most is max else walk.plan.rows
        step(walk, state, most, *where)

    def counting_multiply(walk: maxplus.Walk, left: maxplus.Ints, right: maxplus.Ints) -> maxplus.Ints:
        counts["products"] += 1
        return multiply(walk, left, right)

    monkeypatch.setattr(maxplus.Walk, "_step", counting_step)
    monkeypatch.setattr(maxplus.Walk, "_multiply", counting_multiply)
    return counts


@pytest.mark.parametrize("patient", [True, False])
def test_work_grows_with_loops_not_with_tiles(work: Counter[str], patient: bool) -> None:
    """A nest of 10^9 tiles takes no more steps and products than one of 10^6; without patience, as many cycles."""
    arch = machine(bus_bytes=4)
    figures = []
    for extent in (100, 1000):
        tiles = [("p", 1), ("m", 1), ("k", 1)]
        nest = matmul_nest(arch, p=extent, m=extent, k=extent, tiles=tiles)
        grid = Grid.of(nest)
        assert grid.tiles(1, 3) == extent**3
        assert [len(loop.lengths) for loop in grid.loops] == [1, 1, 1]
        moved = [loads(grid, arch, access) for access in nest.reads]
        plan = make_plan(grid, arch, moved, computes(grid, arch), stores(grid, arch))
        expected = maxplus.cycles(plan, 6)
        work.clear()
        assert maxplus.cycles(plan if patient else replace(plan, patience=0), 6) == expected
        figures.append((expected, work["columns"], work["products"]))
    small, large = figures
    assert large[0] > 900 * small[0]
    assert 0 < large[1] <= small[1] < 1000
    assert large[2] <= 2 * small[2] < 200
    assert patient or small[2]


def test_parts_within_a_view_count_alike_wherever_they_lie() -> None:
    """Stripes of a layer in the middle are one nest to count; those that reach the padding are nests of their own."""
    arch = machine()
    nest = conv_nest(arch, p=4, q=5, h=20, tiles=[("p", 3)])

    def moved(rows: int) -> Nest:
        x = nest.access("x")
        index = (x.index[0], replace(x.index[1], constant=rows), *x.index[2:])
        return replace(nest, reads=(replace(x, index=index), *nest.reads[1:]))

    middle = nameless(moved(0))
    for rows in (1, 7, 14):
        assert nameless(moved(rows)) == middle
        assert cost_nest(moved(rows), arch) == cost_nest(moved(0), arch)
    for rows in (-1, 15):
        assert nameless(moved(rows)) != middle
        assert cost_nest(moved(rows), arch).traffic != cost_nest(moved(0), arch).traffic
