"""The mappings that a search evaluated, for pictures: what the cost model counts of them, and of no other search."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from dnnc.passes import kept_points, map_limits, map_points, map_search, map_seen
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.kept_points import KeptPoints
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    return tmp_path / "points"


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the nests whose search is made, which are without."""
    seen: list[str] = []

    def search_within(nest: Nest, *rest: Any, **named: Any) -> Any:
        seen.append(nest.name)
        return original(nest, *rest, **named)

    original = map_limits.search_within
    monkeypatch.setattr(map_limits, "search_within", search_within)
    return seen


def test_later_commands_know_them(folder: Path, searches: list[str]) -> None:
    """Nests of other names, too; and what is told says whether there is a search."""
    options = MappingOptions(objective="edp", pins=(("layer2", Pin(dataflow="is")),))
    mapped = choose_schedules(model(), GEMMINI, options)
    searches.clear()
    told: list[str] = []
    first = points_by_layer(mapped, GEMMINI, options, told.append)
    assert len(searches) == 2 == len(list(folder.iterdir())) and len(told) == 1
    other = replace(GEMMINI, name="other", text="other", digest="other", sources=())
    assert points_by_layer(mapped, GEMMINI, options, told.append) == first
    named = tuple(replace(each, name=f"{each.name}.2", reason="") for each in mapped.operations)
    pins = (("layer2.2", Pin(dataflow="is")),)
    renamed = points_by_layer(replace(mapped, operations=named), GEMMINI, replace(options, pins=pins), told.append)
    assert renamed == {f"{name}.2": points for name, points in first.items()}
    assert points_by_layer(mapped, replace(other, name=GEMMINI.name), options, told.append) == first
    assert len(searches) == 2 and len(told) == 1
    assert points_by_layer(mapped, GEMMINI, replace(options, time_limit_s=0.0)) == first, "there is nothing to search"


def test_what_decides_a_search_is_in_the_key(
    folder: Path, searches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = MappingOptions(pins=(("layer2", Pin(dataflow="is")),))
    mapped = choose_schedules(model(), GEMMINI, options)
    searches.clear()
    first = points_by_layer(mapped, GEMMINI, options)
    dearer = replace(GEMMINI, energy=tuple(replace(row, energy_pj=2 * row.energy_pj) for row in GEMMINI.energy))
    assert points_by_layer(mapped, dearer, options) != first
    assert len(searches) == 4
    points_by_layer(mapped, GEMMINI, MappingOptions())
    assert len(searches) == 5, "without its pin the one layer is another search"
    points_by_layer(mapped, GEMMINI, replace(options, objective="energy"))
    points_by_layer(mapped, GEMMINI, replace(options, dataflow="ws"))
    assert len(searches) == 9
    monkeypatch.setattr(kept_points, "_sources_digest", lambda: "of another version")
    assert points_by_layer(mapped, GEMMINI, options) == first
    assert len(searches) == 11


# Fields of an entry, in its order.
BOUNDS, FOUND, MAPPING, POINTS = range(4)
FORGED: list[Any] = [None, {}, [], "points", (BOUNDS, -1), (FOUND, 1.5), (MAPPING, None), (POINTS, None)]
FORGED += [(POINTS, [[1]]), (POINTS, [[1.5, 2.0]]), (POINTS, [[1, "2"]]), (POINTS, [[-1, 2.0]]), (POINTS, [1])]


@pytest.mark.parametrize("forged", FORGED, ids=str)
def test_what_is_no_search_is_made_again(folder: Path, searches: list[str], forged: Any) -> None:
    mapped = choose_schedules(model(), GEMMINI, MappingOptions())
    first = points_by_layer(mapped, GEMMINI, MappingOptions())
    path = min(folder.iterdir())
    whole, kept = path.read_bytes(), KeptPoints.of_user()
    entry = kept.read(path.name)
    if isinstance(forged, tuple):
        place, value = forged
        forged = [*entry[:place], value, *entry[place + 1 :]]
    kept.write(path.name, forged)
    searches.clear()
    assert points_by_layer(mapped, GEMMINI, MappingOptions()) == first
    assert len(searches) == 1
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-1])
    assert points_by_layer(mapped, GEMMINI, MappingOptions()) == first
    assert len(searches) == 2


def test_what_the_time_limit_ended_is_not_kept(folder: Path) -> None:
    mapped = choose_schedules(model(), GEMMINI, MappingOptions())
    assert points_by_layer(mapped, GEMMINI, MappingOptions(time_limit_s=0.0)) == {}
    assert not folder.exists()
    assert list(points_by_layer(mapped, GEMMINI, MappingOptions())) == ["layer0", "layer1", "layer2"]


def test_a_search_that_is_known_may_be_of_another_mapping(folder: Path) -> None:
    """A layer whose certificate is of another search has no points, whether they are kept or not."""
    mapped = choose_schedules(model(), GEMMINI, MappingOptions())
    nest = mapped.operations[2]
    assert isinstance(nest, Nest) and nest.schedule is not None
    schedule = replace(nest.schedule, bounds=nest.schedule.bounds + 1)
    changed = replace(mapped, operations=(*mapped.operations[:2], replace(nest, schedule=schedule)))
    for _ in range(2):
        assert list(points_by_layer(changed, GEMMINI, MappingOptions())) == ["layer0", "layer1"]
    copies = tuple(replace(each, copies=3 - each.copies) for each in nest.schedule.buffers)
    changed = replace(
        mapped, operations=(*mapped.operations[:2], replace(nest, schedule=replace(nest.schedule, buffers=copies)))
    )
    for _ in range(2):
        assert list(points_by_layer(changed, GEMMINI, MappingOptions())) == ["layer0", "layer1"]


def test_writers_at_once_know_the_same(folder: Path) -> None:
    mapped = choose_schedules(model(), GEMMINI, MappingOptions())
    expected = points_by_layer(mapped, GEMMINI, MappingOptions())
    for path in folder.iterdir():
        path.unlink()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: points_by_layer(mapped, GEMMINI, MappingOptions()), range(8)))
    assert found == [expected] * 8
    assert len(list(folder.iterdir())) == 2
