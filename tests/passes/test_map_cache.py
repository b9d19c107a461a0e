"""The cache of mappings: the same results with and without it, and nothing in its folder is believed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Nest
from dnnc.ir.types import Tensor
from dnnc.passes import map_cache, map_search, map_space, mapper
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.map_cache import MapCache
from dnnc.passes.mapping import MappingOptions, Pin
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest

ARCH = machine()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    return tmp_path / "mappings"


def model() -> Module:
    nests = [conv_nest(ARCH), matmul_nest(ARCH), max_pool_nest(ARCH)]
    plain = [replace(nest, name=f"layer{number}", schedule=None) for number, nest in enumerate(nests)]
    for number, nest in enumerate(plain):
        reads = tuple(replace(each, tensor=f"{each.operand}{number}") for each in nest.reads)
        plain[number] = replace(nest, reads=reads, write=replace(nest.write, tensor=f"out{number}"))
    accesses = {access.tensor: access for nest in plain for access in (*nest.reads, nest.write)}
    tensors = tuple(Tensor(name, access.type, access.shape) for name, access in accesses.items())
    written = tuple(nest.write.tensor for nest in plain)
    inputs = tuple(tensor.name for tensor in tensors if tensor.name not in written)
    return Module(Header("m", "small", ""), tensors, tuple(plain), inputs, written)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Nest]:
    """The nests that are searched for."""
    seen: list[Nest] = []
    original = map_search.search

    def search(nest: Nest, *rest: Any, **named: Any) -> Any:
        seen.append(nest)
        return original(nest, *rest, **named)

    monkeypatch.setattr(map_search, "search", search)
    return seen


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
@pytest.mark.parametrize("dataflow", ["auto", "os"])
def test_results_are_the_same(
    folder: Path, searches: list[Nest], monkeypatch: pytest.MonkeyPatch, objective: str, dataflow: str
) -> None:
    options = MappingOptions(dataflow=dataflow, objective=objective)
    first = choose_schedules(model(), ARCH, options)
    assert searches
    searches.clear()
    assert choose_schedules(model(), ARCH, options) == first
    assert not searches
    monkeypatch.setenv("DNNC_CACHE_DIR", "off")
    assert choose_schedules(model(), ARCH, options) == first
    assert searches


def test_what_decides_is_in_the_key(folder: Path, searches: list[Nest]) -> None:
    choose_schedules(model(), ARCH, MappingOptions())
    changed = [
        (replace(ARCH, dma=replace(ARCH.dma, latency_cycles=ARCH.dma.latency_cycles + 1)), MappingOptions()),
        (ARCH, MappingOptions(objective="energy")),
        (ARCH, MappingOptions(dataflow="ws")),
        (ARCH, MappingOptions(pins=tuple((f"layer{number}", Pin(copies=(("y", 1),))) for number in range(3)))),
    ]
    for arch, options in changed:
        searches.clear()
        assert choose_schedules(model(), arch, options)
        assert searches
    searches.clear()
    choose_schedules(model(), replace(ARCH, text=f"{ARCH.text}\n", digest="other"), MappingOptions())
    assert not searches


def test_other_sources_mean_other_keys(folder: Path, searches: list[Nest], monkeypatch: pytest.MonkeyPatch) -> None:
    choose_schedules(model(), ARCH, MappingOptions())
    searches.clear()
    monkeypatch.setattr(map_cache, "_sources_digest", lambda: "of another version")
    choose_schedules(model(), ARCH, MappingOptions())
    assert searches


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"[" * 16000, b"{}" * 20000, b"\xff\x00", b'{"dataflow": 1}', b"1" * 9000]
)
def test_damaged_entries_are_written_again(folder: Path, searches: list[Nest], data: bytes) -> None:
    first = choose_schedules(model(), ARCH, MappingOptions())
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.write_bytes(data)
    searches.clear()
    assert choose_schedules(model(), ARCH, MappingOptions()) == first
    assert searches
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


FORGERIES: list[dict[str, Any]] = [
    {"objective": 1.0, "lower_bound": 1.0},
    {"lower_bound": float("nan")},
    {"lower_bound": float("-inf")},
    {"lower_bound": 1e18},
    {"dataflow": "vector"},
    {"dataflow": "is there any"},
    {"tiles": [["n", 1], ["no such", 1]]},
    {"tiles": [["m", 0]]},
    {"tiles": [["m", 1 << 70]]},
    {"tiles": [["m", 1], ["m", 2]]},
    {"tiles": [["k", 1], ["m", 1]]},
    {"tiles": [[["m"], 1]]},
    {"tiles": "m"},
    {"tiles": []},
    {"copies": [["a", 3]]},
    {"copies": [["no such", 1]]},
    {"evaluated": True},
    {"optimal": None},
    {"optimal": "proven"},
    {"evaluated": -1},
    {"bounds": -1},
    {"bounds": 0.5},
    {"reason": "\ud800"},
    {"reason": "\x1b[2J"},
    {"reason": None},
]


@pytest.mark.parametrize("forged", FORGERIES, ids=str)
def test_forged_entries_are_not_believed(folder: Path, searches: list[Nest], forged: dict[str, Any]) -> None:
    """With a checksum that is right. What differs from the search's result is that, or its figures do not hold."""
    arch = machine(bus_bytes=1)
    nest = replace(matmul_nest(arch, p=300, m=40, k=600), schedule=None)
    first_mapper = mapper.Mapper(arch, MappingOptions(), MapCache.of_user())
    first = first_mapper.map(nest, None, "none")
    (path,) = folder.iterdir()
    entry = MapCache.of_user().read(path.name)
    assert entry is not None
    first_mapper.cache.write(path.name, {**entry, **forged})
    searches.clear()
    again = mapper.Mapper(arch, MappingOptions(), MapCache.of_user()).map(nest, None, "none")
    assert again == first
    assert searches
    assert (MapCache.of_user().read(path.name) or {})["objective"] == entry["objective"]


@pytest.mark.parametrize("thinned", [False, True])
def test_nothing_unproven_is_called_optimal(
    folder: Path, searches: list[Nest], monkeypatch: pytest.MonkeyPatch, thinned: bool
) -> None:
    """An entry whose bound was raised to its objective: the search had not said optimal, or the space was thinned."""
    monkeypatch.setattr(map_space, "BOXES", 40 if thinned else 10**6)
    arch = machine(bus_bytes=1)
    nest = replace(matmul_nest(arch, p=300, m=40, k=600), schedule=None)
    first = mapper.Mapper(arch, MappingOptions(), MapCache.of_user()).map(nest, None, "none")
    assert first.schedule is not None
    (path,) = folder.iterdir()
    entry = MapCache.of_user().read(path.name)
    assert entry is not None
    assert not thinned or not entry["optimal"]
    forged = {"lower_bound": entry["objective"], "optimal": thinned}
    MapCache.of_user().write(path.name, {**entry, **forged})
    searches.clear()
    assert mapper.Mapper(arch, MappingOptions(), MapCache.of_user()).map(nest, None, "none") == first
    assert searches


def test_an_infeasible_pin_is_refused_again(folder: Path) -> None:
    nest = replace(matmul_nest(ARCH, p=300, m=4000, k=6000), schedule=None)
    pin = Pin(tiles=(("p", 300),), complete=True)
    for _ in range(2):
        with pytest.raises(CompileError, match="no mapping fits"):
            mapper.Mapper(ARCH, MappingOptions(), MapCache.of_user()).map(nest, pin, "none")


def test_the_folder_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_cache, "MOST_ENTRIES", 8)
    cache = MapCache.of_user()
    keys = [cache.key(number) for number in range(9)]
    for number, key in enumerate(keys):
        cache.write(key, {"number": number})
        os.utime(folder / key, ns=(number, number))
    cache.close()
    assert [cache.read(key) is not None for key in keys] == [False] * 3 + [True] * 6
    assert MapCache.of_user().read(keys[8]) == {"number": 8}
    assert cache.read(cache.key("nothing")) is None


def test_files_that_are_no_entries_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNNC_CACHE_DIR may name a folder that holds other things, older than any entry."""
    monkeypatch.setattr(map_cache, "MOST_ENTRIES", 1)
    cache = MapCache.of_user()
    key = cache.key("old")
    others = [folder / name for name in ("thesis.tex", key[:-1], f"{key}.bak", key.upper() + "0")]
    cache.write(key, {"number": 0})
    for path in others:
        path.write_text("not ours")
        os.utime(path, ns=(0, 0))
    os.utime(folder / key, ns=(1, 1))
    cache.write(cache.key("new"), {"number": 1})
    cache.close()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in others)
    assert all(path.read_text() == "not ours" for path in others)


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file, no folder")
    for place in (str(blocked), "off"):
        monkeypatch.setenv("DNNC_CACHE_DIR", place)
        assert choose_schedules(model(), ARCH, MappingOptions()).operations
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    monkeypatch.delenv("DNNC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert MapCache.of_user().folder == tmp_path / "xdg" / "dnnc" / "mappings"
