"""Bounds are bounds: never above the exact cost of any mapping of the space; energy is exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import energy_pj
from dnnc.ir.arch import Arch, EnergyRow
from dnnc.ir.nest import Dataflow, Nest
from dnnc.passes.map_search import best_leaves, lower_bound, objective_floor, units_of
from dnnc.passes.map_space import needed_by_memory, space
from dnnc.passes.mapping import Pin
from dnnc.passes.schedule import make_schedule, needed_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.random_machines import machines

ROWS = (
    EnergyRow("array", "mac", 0.5, "test"),
    EnergyRow("vector", "op", 0.75, "test"),
    EnergyRow("post", "element", 1.25, "test"),
    EnergyRow("control", "instruction", 4.0, "test"),
    EnergyRow("spad", "read_word", 3.0, "test"),
    EnergyRow("spad", "write_word", 5.0, "test"),
    EnergyRow("acc", "read_word", 7.0, "test"),
    EnergyRow("acc", "write_word", 11.0, "test"),
    EnergyRow("dram", "read_bit", 8.0, "test"),
    EnergyRow("dram", "write_bit", 9.0, "test"),
)
ALL = (Dataflow.WS, Dataflow.OS, Dataflow.IS, Dataflow.VECTOR)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Arch, Nest]:
    arch = replace(draw(machines((256, 1024, 1 << 16), (128, 512, 1 << 15))), energy=ROWS)
    kind = draw(st.sampled_from(("conv", "conv", "matmul", "pool")))
    number = st.integers
    if kind == "conv":
        sizes = {name: draw(number(1, most)) for name, most in zip("nmpqcrs", (2, 9, 9, 7, 9, 4, 3), strict=True)}
        window = {"stride": draw(number(1, 3)), "pad": draw(number(0, 2))}
        return arch, conv_nest(arch, **sizes, **window, h=draw(number(1, 9)), w=draw(number(1, 9)))
    if kind == "matmul":
        sizes = {name: draw(number(1, most)) for name, most in zip("gpkm", (3, 20, 30, 20), strict=True)}
        return arch, matmul_nest(arch, **sizes)
    return arch, max_pool_nest(arch, p=draw(number(1, 9)), q=draw(number(1, 9)), c=draw(number(1, 9)))


def unscheduled(nest: Nest) -> tuple[Nest, tuple[tuple[Dataflow, ...], ...]]:
    nest = replace(nest, schedule=None)
    return nest, tuple(units_of(ALL if nest.body.op.value == "mac" else (Dataflow.VECTOR,)))


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_bounds_are_admissible(case: tuple[Arch, Nest], data: st.DataObject) -> None:
    arch, nest = case
    nest, units = unscheduled(nest)
    for unit in units:
        leaves = best_leaves(space(nest, arch, unit, Pin()), "edp", 10**6)
        floor = min((objective_floor(nest, arch, unit[0], "latency") for _ in "1"), default=0)
        chosen = leaves[:3] + data.draw(st.lists(st.sampled_from(leaves), max_size=12)) if leaves else []
        for leaf in chosen:
            schedule = make_schedule(nest, arch, leaf.dataflow, leaf.tiles, dict(leaf.copies))
            counts = cost_nest(replace(nest, schedule=schedule), arch)
            assert floor <= leaf.cycles <= (counts.cycles or 0), leaf
            energy = sum(energy_pj(counts, arch).values())
            assert leaf.bound == pytest.approx(energy * leaf.cycles, rel=1e-9), leaf


@settings(max_examples=60, deadline=None)
@given(cases())
def test_tiles_of_the_space_fit(case: tuple[Arch, Nest]) -> None:
    """Bytes by cell are those of the schedule, and no leaf overfills a memory."""
    arch, nest = case
    nest, units = unscheduled(nest)
    for unit in units:
        found = space(nest, arch, unit, Pin())
        for dataflow in unit if len(found) else ():
            by_cell = needed_by_memory(found, dataflow)
            for cell in {0, len(found) // 2, len(found) - 1}:
                tiles = found.tiling(cell, found.orders[0])
                scheduled = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, {}))
                assert needed_bytes(scheduled, arch) == {name: int(total[cell]) for name, total in by_cell.items()}
        for leaf in best_leaves(found, "latency", 20):
            schedule = make_schedule(nest, arch, leaf.dataflow, leaf.tiles, dict(leaf.copies))
            for name, needed in needed_bytes(replace(nest, schedule=schedule), arch).items():
                assert needed <= arch.memory(name).capacity_bytes


def test_lower_bound_of_nothing() -> None:
    arch = machine(spad_bytes=4, acc_bytes=16)
    nest, units = unscheduled(conv_nest(arch))
    assert lower_bound(nest, arch, units[0], Pin(), "latency") == float("inf")
