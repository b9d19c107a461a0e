"""The mappings that a search evaluated, for pictures: what the cost model counts of them, and of no other search."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import energy_pj
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Nest
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.ir.types import Tensor
from dnnc.passes import map_points, map_search, map_seen
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.map_points import points_by_layer
from dnnc.passes.map_queue import EVALUATED
from dnnc.passes.map_search import search
from dnnc.passes.map_space import space
from dnnc.passes.mapping import MappingOptions, Pin
from dnnc.passes.objective import parse_objective
from support import brute_force
from support.nests import conv_nest, matmul_nest

GEMMINI = load_arch("gemmini16")
OBJECTIVES = ("latency", "energy", "edp", "energy + 40*latency")
LARGE = [
    replace(conv_nest(GEMMINI, n=1, m=64, p=14, q=14, c=32), schedule=None),
    replace(matmul_nest(GEMMINI, p=197, k=300, m=500), schedule=None),
]


def ended(nest: Nest, arch: Arch, objective: str, most: int) -> map_search._Search:
    """A search that has found its proof."""
    flows, goal = brute_force.dataflows(nest), parse_objective(objective)
    here = map_search._Search(nest, arch, flows, Pin(), goal, "none", space(nest, arch, Pin()), float("inf"), most)
    assert here.run(map_search.MOST_BOUNDS, float("inf")) == ""
    return here


def cases() -> list[tuple[Arch, Nest]]:
    small = [brute_force.small_case(random.Random(seed)) for seed in range(8)]
    return [*small, *((GEMMINI, nest) for nest in LARGE)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_points_are_what_the_cost_model_counts(objective: str) -> None:
    """All of them, exactly, the best one included, whatever the search counts itself."""
    count = 0
    for arch, nest in cases():
        if search(nest, arch, brute_force.dataflows(nest), Pin(), parse_objective(objective), "none") is None:
            continue
        here = ended(nest, arch, objective, 40)
        best = here.schedule(here.best.sizes, here.best.order, *map(int, here.best.choice[:2]))
        found = list(here.seen())
        for schedule, energy, cycles in found:
            counts = cost_nest(replace(nest, schedule=schedule), arch)
            assert cycles == counts.cycles
            assert energy == pytest.approx(sum(energy_pj(counts, arch).values()), rel=1e-12)
            assert not list(schedule_faults(replace(nest, schedule=schedule), arch))
        if here.best.seen.state[map_seen.STRIDE] == 1:
            assert best in [schedule for schedule, _, _ in found]
        count += len(found)
    assert count > 20


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("nest", LARGE, ids=lambda nest: nest.name)
def test_the_search_is_the_same_with_points(nest: Nest, objective: str) -> None:
    flows, goal = brute_force.dataflows(nest), parse_objective(objective)
    plain = search(nest, GEMMINI, flows, Pin(), goal, "none")
    seeing = search(nest, GEMMINI, flows, Pin(), goal, "none", most_points=1 << 16)
    assert plain is not None
    assert seeing is not None
    assert not plain.points
    assert 1 < len(set(seeing.points)) <= len(seeing.points)
    assert objective == "energy" or len(seeing.points) <= seeing.evaluated
    assert len(seeing.points) < seeing.bounds
    assert replace(seeing, points=(), by_dataflow={}) == replace(plain, by_dataflow={})


def test_of_many_some_are_kept_at_equal_distances() -> None:
    nest = LARGE[1]
    whole, few = ended(nest, GEMMINI, "latency", 1 << 16), ended(nest, GEMMINI, "latency", 8)
    rows, kept = whole.best.seen, few.best.seen
    count, stride = int(kept.state[map_seen.KEPT]), int(kept.state[map_seen.STRIDE])
    evaluated = int(rows.state[map_seen.KEPT])
    assert evaluated == whole.queue.counters[EVALUATED] > 16
    assert 4 <= count == -(-evaluated // stride) <= 8
    assert np.array_equal(kept.rows[:count], rows.rows[:evaluated:stride])
    assert np.array_equal(kept.energy_pj[:count], rows.energy_pj[:evaluated:stride])


def model() -> Module:
    """Two layers that differ in names alone, and one of another shape."""
    plain = []
    for number, nest in enumerate((LARGE[1], LARGE[1], LARGE[0])):
        reads = tuple(replace(each, tensor=f"{each.operand}{number}") for each in nest.reads)
        write = replace(nest.write, tensor=f"out{number}")
        plain.append(replace(nest, name=f"layer{number}", reads=reads, write=write))
    accesses = {access.tensor: access for nest in plain for access in (*nest.reads, nest.write)}
    tensors = tuple(Tensor(name, access.type, access.shape) for name, access in accesses.items())
    written = tuple(nest.write.tensor for nest in plain)
    inputs = tuple(tensor.name for tensor in tensors if tensor.name not in written)
    return Module(Header("m", "gemmini16", ""), tensors, tuple(plain), inputs, written)


def test_layers_whose_mappings_were_kept_have_the_same_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    options = MappingOptions(objective="edp")
    fresh, kept = (choose_schedules(model(), GEMMINI, options) for _ in range(2))
    points = points_by_layer(fresh, GEMMINI, options)
    assert list(points) == ["layer0", "layer1", "layer2"]
    assert points["layer0"] == points["layer1"] != points["layer2"]
    assert points == points_by_layer(kept, GEMMINI, options)
    for nest in fresh.operations:
        assert isinstance(nest, Nest)
        assert nest.schedule is not None
        found = points[nest.name]
        assert 1 < len(found) <= map_points.MOST_POINTS
        assert min(cycles * energy for cycles, energy in found) == pytest.approx(nest.schedule.objective)


def test_points_are_of_the_search_that_found_the_mapping_or_there_are_none() -> None:
    pins = (("layer2", Pin(dataflow="is")),)
    options = MappingOptions(pins=pins)
    mapped = choose_schedules(model(), GEMMINI, options)
    assert list(points_by_layer(mapped, GEMMINI, options)) == ["layer0", "layer1", "layer2"]
    assert list(points_by_layer(mapped, GEMMINI, MappingOptions())) == ["layer0", "layer1"], "the pin is not known"
    assert points_by_layer(mapped, GEMMINI, MappingOptions(objective="energy")) == {}
    assert points_by_layer(mapped, GEMMINI, replace(options, time_limit_s=0.0)) == {}, "there was no time to search"
