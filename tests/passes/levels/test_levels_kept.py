"""Mappings of earlier commands: those that a search finds, and what makes no sense is searched for again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dnnc.benchmarks.levels_layers import conv
from dnnc.frontend.hierarchy_yaml import load_hierarchy
from dnnc.ir.arch import AreaRow, Host, LeakageRow
from dnnc.ir.content_cache import ContentCache
from dnnc.ir.hierarchy import Hierarchy
from dnnc.ir.loop_tree import Workload
from dnnc.passes.levels import kept, mapper
from dnnc.passes.levels.kept import map_all
from dnnc.passes.levels.mapper import LevelMapping
from dnnc.passes.objective import parse_objective
from support.levels_space import small_problem, with_buses

LATENCY, EDP = parse_objective("latency"), parse_objective("edp")


def cache_in(folder: Path) -> ContentCache:
    return ContentCache(folder, 64, 1 << 20, 1 << 16)


def problems() -> Iterator[tuple[Workload, Hierarchy]]:
    for seed in range(12):
        workload, machine = small_problem(seed)
        yield workload, with_buses(machine) if seed % 2 else machine


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is searched for."""
    seen: list[str] = []

    def map_levels(workload: Workload, *rest: Any, **named: Any) -> LevelMapping | None:
        seen.append(workload.name)
        return mapper.map_levels(workload, *rest, **named)

    monkeypatch.setattr(kept, "map_levels", map_levels)
    return seen


def test_what_is_read_is_what_was_found(tmp_path: Path, searches: list[str]) -> None:
    mapped, loaded = 0, 0
    for workload, machine in problems():
        renamed = replace(workload, name="other"), replace(machine, name="other")
        (found,) = map_all([workload], machine, EDP, kept=cache_in(tmp_path))
        (again,) = map_all([renamed[0]], renamed[1], EDP, kept=cache_in(tmp_path))
        assert repr(again) == repr(found), "to the last bit, and in the same order"
        assert found is None or isinstance(found, LevelMapping)
        mapped += found is not None
        loaded += found is not None and bool(found.cost.loads)
        assert len(searches) == (1 if found else 2), "that nothing fits is not kept"
        searches.clear()
    assert 0 < loaded < mapped == len(list(tmp_path.iterdir()))


def test_what_the_search_does_not_read_is_no_part_of_a_key(tmp_path: Path, searches: list[str]) -> None:
    """Areas, what leaks, where a price is from, clocks, and what is beside the array; prices and sizes are read."""
    machine = small_problem(3)[1]
    (workload,) = different(machine, 1)
    searches.clear()
    energy = tuple(replace(row, source="elsewhere") for row in machine.energy)
    others = replace(machine, energy=energy, area=(AreaRow("mac", 1.0, "-"),), leakage=(LeakageRow("mac", 1.0, "-"),))
    others = replace(others, clock_hz=7, vector_lanes=3, host=Host(5), name="other", sources=(("levels", "-"),))
    (found,) = map_all([workload], machine, EDP, kept=cache_in(tmp_path))
    (again,) = map_all([workload], others, EDP, kept=cache_in(tmp_path))
    (alone,) = map_all([workload], others, EDP, kept=cache_in(tmp_path / "alone"))
    assert isinstance(found, LevelMapping)
    assert len(searches) == 2
    assert found == again
    assert repr(again) == repr(alone), "as if it had been searched for"
    dearer = replace(machine, energy=tuple(replace(row, energy_pj=2 * row.energy_pj) for row in machine.energy))
    map_all([workload], dearer, EDP, kept=cache_in(tmp_path))
    assert len(searches) == 3


def test_bundled_machines_have_figures_that_can_be_kept(tmp_path: Path, searches: list[str]) -> None:
    for name in ("eyeriss_like", "simba_like", "eyeriss"):
        machine = load_hierarchy(name)
        assert machine is not None
        layer = conv(8, 4, 6, 3)
        first, again = (map_all([layer], machine, LATENCY, 60.0, kept=cache_in(tmp_path)) for _ in range(2))
        assert first == again
    assert len(searches) == 3 == len(list(tmp_path.iterdir()))


def test_known_and_unknown_ones_keep_their_places(
    tmp_path: Path, searches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = small_problem(3)[1]
    layers = [replace(each, name=str(number)) for number, each in enumerate(different(machine, 5))]
    alone = [map_all([each], machine, EDP, kept=cache_in(tmp_path / "alone"))[0] for each in layers]
    searches.clear()
    map_all([layers[0], layers[3]], machine, EDP, kept=cache_in(tmp_path / "both"))
    assert map_all(layers, machine, EDP, kept=cache_in(tmp_path / "both")) == alone
    assert sorted(searches) == ["0", "1", "2", "3", "4"], "each once"
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", lambda *_: pytest.fail("nothing is left to search"))
    assert map_all(layers, machine, EDP, kept=cache_in(tmp_path / "both")) == alone


def different(machine: Hierarchy, count: int) -> list[Workload]:
    """Workloads that fit."""
    found: dict[Workload, None] = {}
    for seed in range(200):
        workload = small_problem(seed)[0]
        if len(found) < count and mapper.map_levels(workload, machine, "edp") is not None:
            found[replace(workload, name="")] = None
    assert len(found) == count
    return list(found)


# Fields of an entry, in its order.
TREE, COUNTS, LOADS, OBJECTIVE, LOWER, BOUNDS, EVALUATED, POINTS = range(8)
POINTS_OF_ALL, STEPS, LANES, BOUNDARIES, TILES = range(5)


def forgeries(entry: list[Any]) -> Iterator[tuple[str, Any]]:
    """Entries beside a sound one, and what is wrong with each."""

    def changed(*path: int, to: Any) -> Any:
        copy = json.loads(json.dumps(entry))
        inner = copy
        for each in path[:-1]:
            inner = inner[each]
        inner[path[-1]] = to
        return copy

    boundary = entry[COUNTS][BOUNDARIES][0]
    yield "no entry", {}
    yield "a field less", entry[:-1]
    yield "no tree", changed(TREE, to="spiral")
    yield "a tree of nothing", changed(TREE, to=entry[TREE].splitlines()[0])
    yield "half a step", changed(COUNTS, STEPS, to=0.5)
    yield "a negative count", changed(COUNTS, BOUNDARIES, 0, 3, 0, to=-1)
    yield "no step", changed(COUNTS, STEPS, to=0)
    yield "other steps", changed(COUNTS, STEPS, to=entry[COUNTS][STEPS] + 10**6)
    yield "other products", changed(COUNTS, POINTS_OF_ALL, to=entry[COUNTS][POINTS_OF_ALL] + 1)
    yield "a tile less", changed(COUNTS, TILES, to=entry[COUNTS][TILES][1:])
    yield "tiles of a store that there is not", changed(COUNTS, TILES, 0, 0, to="attic")
    yield "a boundary less", changed(COUNTS, BOUNDARIES, to=entry[COUNTS][BOUNDARIES][1:])
    yield "a boundary elsewhere", changed(COUNTS, BOUNDARIES, 0, to=[boundary[0], "attic", *boundary[2:]])
    yield "an operand that there is not", changed(COUNTS, BOUNDARIES, 0, to=["salt", *boundary[1:]])
    yield "a way that there is not", changed(COUNTS, BOUNDARIES, 0, to=[*boundary[:-1], [["stairs", 1]]])
    yield "more is moved", changed(COUNTS, BOUNDARIES, 0, 3, to=[10**12, 10**12])
    yield "a bus that there is not", changed(LOADS, to=[["input", "dram", "tram", 1, 1, 1]])
    yield "another objective", changed(OBJECTIVE, to=entry[OBJECTIVE] * 1.01)
    yield "a bound above", changed(LOWER, to=entry[OBJECTIVE] * 1.01)
    yield "no count of bounds", changed(BOUNDS, to=-1)
    yield "no count of mappings", changed(EVALUATED, to=1.5)
    yield "a point of three", changed(POINTS, to=[[1.0, 2.0, 3.0]])


def test_entries_that_make_no_sense_are_written_again(tmp_path: Path, searches: list[str]) -> None:
    workload, machine = small_problem(7)
    machine = with_buses(machine)
    first = map_all([workload], machine, EDP, kept=cache_in(tmp_path))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    sound = cache_in(tmp_path).read(path.name)
    told = dict(forgeries(sound))
    for number, (wrong, entry) in enumerate(told.items()):
        cache_in(tmp_path).write(path.name, entry)
        assert path.read_bytes() != whole, wrong
        assert map_all([workload], machine, EDP, kept=cache_in(tmp_path)) == first, wrong
        assert len(searches) == number + 2, wrong
        assert path.read_bytes() == whole, wrong


def test_an_entry_of_another_mapping_is_none(tmp_path: Path, searches: list[str]) -> None:
    machine = small_problem(3)[1]
    one, other = different(machine, 2)
    map_all([one], machine, EDP, kept=cache_in(tmp_path))
    (path,) = tmp_path.iterdir()
    first = map_all([other], machine, EDP, kept=cache_in(tmp_path))
    (beside,) = set(tmp_path.iterdir()) - {path}
    cache_in(tmp_path).write(beside.name, cache_in(tmp_path).read(path.name))
    assert map_all([other], machine, EDP, kept=cache_in(tmp_path)) == first
    assert len(searches) == 3


def test_writers_at_once_find_the_same(tmp_path: Path) -> None:
    machine = small_problem(3)[1]
    layers = different(machine, 4)
    expected = map_all(layers, machine, EDP, kept=ContentCache(None, 1, 1, 1))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: map_all(layers, machine, EDP, kept=cache_in(tmp_path)), range(8)))
    assert found == [expected] * 8
    assert len(list(tmp_path.iterdir())) == 4
