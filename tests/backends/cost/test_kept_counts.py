"""Counts of earlier commands: the same as those of a new counting, and what makes no sense is counted again."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from dnnc.backends.cost import kept_counts
from dnnc.backends.cost import module as cost
from dnnc.backends.cost.kept_counts import KeptCounts
from dnnc.backends.cost.module import cost_module, counted, settled
from dnnc.backends.cost.nest import cost_nest
from dnnc.ir.arch import EnergyRow
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Nest
from dnnc.ir.stats import LayerCounts
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest

ARCH = machine()
NESTS = [conv_nest(ARCH, tiles=[("p", 2)]), matmul_nest(ARCH), max_pool_nest(ARCH, p=6)]


def forget() -> None:
    """As a new process begins."""
    cost._settled.cache_clear()
    cost._counted.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    forget()
    return tmp_path / "counts"


@pytest.fixture
def countings(monkeypatch: pytest.MonkeyPatch) -> list[Nest]:
    """The nests that are counted anew."""
    seen: list[Nest] = []
    monkeypatch.setattr(cost, "cost_nest", lambda nest, arch: seen.append(nest) or cost_nest(nest, arch))
    return seen


def test_what_is_read_is_what_was_counted(folder: Path, countings: list[Nest]) -> None:
    module = Module(Header("m", "small", ""), (), tuple(NESTS), (), ())
    first = cost_module(module, ARCH)
    assert len(countings) == len(NESTS) == len(list(folder.iterdir()))
    forget()
    again = cost_module(module, ARCH)
    assert len(countings) == len(NESTS)
    assert again == first
    assert [list(each.instructions) for each in again] == [list(each.instructions) for each in first]
    assert again == [replace(cost_nest(nest, ARCH), name=nest.name, op=nest.label) for nest in NESTS]


def test_only_settled_schedules_are_written(folder: Path) -> None:
    assert counted(NESTS[0], ARCH) == replace(cost_nest(NESTS[0], ARCH), name="", op="mac")
    assert not folder.exists()


def test_names_prices_and_the_sizes_of_memories_are_not_in_the_key(folder: Path, countings: list[Nest]) -> None:
    first = settled(NESTS[1], ARCH)
    large = replace(
        ARCH,
        name="large",
        memories=tuple(replace(each, capacity_bytes=16 * each.capacity_bytes) for each in ARCH.memories),
    )
    assert settled(NESTS[1], large) == first == replace(cost_nest(NESTS[1], large), name="", op="mac")
    assert len(countings) == 1
    forget()
    settled(NESTS[1], large)
    assert len(countings) == 1
    forget()
    named = replace(NESTS[1], name="other", reads=tuple(replace(a, tensor=f"{a.tensor}2") for a in NESTS[1].reads))
    priced = replace(ARCH, energy=(EnergyRow("array", "mac", 1.0, "assumed"),), text="other", digest="other")
    settled(named, priced)
    assert len(countings) == 1


def test_what_decides_counts_is_in_the_key(
    folder: Path, countings: list[Nest], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(NESTS[1], ARCH)
    slower = replace(ARCH, dma=replace(ARCH.dma, latency_cycles=ARCH.dma.latency_cycles + 1))
    assert settled(NESTS[1], slower) == replace(cost_nest(NESTS[1], slower), name="", op="mac")
    assert settled(matmul_nest(ARCH, dataflow="os"), ARCH) != settled(NESTS[1], ARCH)
    assert len(countings) == len(list(folder.iterdir())) == 3
    forget()
    kept_counts._machine_digest.cache_clear()
    monkeypatch.setattr(kept_counts, "_sources_digest", lambda: "of another version")
    settled(NESTS[1], ARCH)
    kept_counts._machine_digest.cache_clear()
    assert len(countings) == 4


FORGERIES: list[dict[str, Any]] = [
    {"cycles": -1},
    {"cycles": 1.5},
    {"macs": True},
    {"overflows": None},
    {"op": 3},
    {"dataflow": ["ws"]},
    {"instructions": {}},
    {"instructions": [["load", -2]]},
    {"instructions": [["load", 1], ["load", 1]]},
    {"actions": [["array.mac", "many"]]},
    {"traffic": [["dram", 1]]},
    {"traffic": [["dram", [["input", [1]]]]]},
    {"traffic": [["dram", [["input", [1, -1]]]]]},
    {"traffic": [["dram", [["input", [1, False]]]]]},
]


@pytest.mark.parametrize("forged", FORGERIES, ids=str)
def test_entries_that_are_no_counts_are_written_again(
    folder: Path, countings: list[Nest], forged: dict[str, Any]
) -> None:
    first = settled(NESTS[0], ARCH)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    kept = KeptCounts.of_user()
    names = [each.name for each in fields(LayerCounts)]
    sound = dict(zip(names, kept.read(path.name), strict=True))
    kept.write(path.name, list({**sound, **forged}.values()))
    assert path.read_bytes() != whole
    forget()
    assert settled(NESTS[0], ARCH) == first
    assert len(countings) == 2
    assert path.read_bytes() == whole


def test_without_a_folder_nothing_is_kept(countings: list[Nest]) -> None:
    assert KeptCounts.of_user().folder is None
    forget()
    first = settled(NESTS[2], ARCH)
    forget()
    assert settled(NESTS[2], ARCH) == first
    assert len(countings) == 2
