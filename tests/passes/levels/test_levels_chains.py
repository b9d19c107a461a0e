"""Ways to cut dimensions, and what their tiles take: the time for both, or to tell that there is none, is bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import OPERAND_ROLES, Constraint, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree import Workload
from dnnc.passes.levels import mapper, tables
from dnnc.passes.levels.chains import chains, pieces
from dnnc.passes.levels.mapper import map_levels
from dnnc.passes.levels.space import Pin, frames
from numba.core import event
from support.random_levels import plain, workload

DRAM = Store("dram", OPERAND_ROLES, 8)
GLB, SPAD = (Store(name, OPERAND_ROLES, 8, keeps=OPERAND_ROLES) for name in ("glb", "spad"))
SECONDS = 20.0


def chains_of(points: int, *levels: Store | FanOut) -> list[list[int]]:
    e = {"k": points}
    work = workload("sum", e, [plain("k", e)], [plain("k", e)], [])
    machine = Hierarchy("m", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES))
    return chains(next(frames(work, machine, Pin())), "k").tolist()


@pytest.mark.parametrize(
    ("points", "levels"),
    [
        (720_720_000, (DRAM, GLB, SPAD)),
        (10**9, (DRAM, FanOut("pe", 4096, 4096))),
        (10**12, (DRAM, GLB)),
        (10**18, (Store("dram", OPERAND_ROLES, 8, constraint=Constraint(most=(("k", 2),))), GLB)),
    ],
)
def test_too_many_ways_are_told_in_time(points: int, levels: tuple[Store | FanOut, ...]) -> None:
    start = time.monotonic()
    with pytest.raises(CompileError, match=rf"too many ways to cut k \({points} points\)"):
        chains_of(points, *levels)
    assert time.monotonic() - start < SECONDS


def test_few_ways_of_many_points_are_found_in_time() -> None:
    start = time.monotonic()
    assert chains_of(10**18, DRAM) == [[1]]
    prime = 99_999_989
    assert [prime, 1] in (found := chains_of(prime, Store("dram", OPERAND_ROLES, 8), GLB)) and len(found) > 10_000
    dram = Store("dram", OPERAND_ROLES, 8, constraint=Constraint(factors=(("k", 10**6),)))
    assert chains_of(10**12, dram, GLB) == [[10**6, 1]]
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("reach", [1, 2, 7, 12, 13, 60, 97])
def test_sizes_of_pieces(reach: int) -> None:
    for most in (1, 2, 3, 5, 10**6):
        for largest in (1, 3, 10, 10**6):
            counts = range(1, min(most, reach) + 1)
            sizes = {-(-reach // count) for count in counts}
            assert set(pieces(reach, most, largest=largest)) == {size for size in sizes if size <= largest}
            even = {reach // count for count in counts if reach % count == 0}
            assert set(pieces(reach, most, evenly=True, largest=largest)) == {size for size in even if size <= largest}


def _sliding(points: int, lanes: int) -> tuple[Workload, Hierarchy]:
    """A window of three points on a machine that leaves all of its lanes to the mapper."""
    e = {"p": points, "r": 3}
    inputs = Affine.of({"p": 1, "r": 1}, -1), points
    work = workload("window", e, [inputs], [plain("r", e)], [plain("p", e)])
    levels = (DRAM, FanOut("pe", lanes, lanes))
    return work, Hierarchy("wide", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES))


def test_lanes_are_compared_within_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapper, "_GRACE_S", 0.0)
    start = time.monotonic()
    with pytest.raises(CompileError, match=r"window: no mapping was found in 0\.5 s, and none is known not to fit"):
        map_levels(*_sliding(4000, 64), "latency", time_limit_s=0.5)
    with pytest.raises(CompileError, match=r"too many ways to cut p \(100000 points\) and r \(3 points\)"):
        map_levels(*_sliding(100_000, 4096), "latency", time_limit_s=0.5)
    assert time.monotonic() - start < SECONDS


def test_compiling_is_no_part_of_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where dnnc is new, that takes longer than a short limit."""

    filled: Any = tables.table
    called: list[object] = []

    def slow(*arguments: object) -> None:
        if not called:
            with event.trigger_event("numba:compile", data={"dispatcher": filled}):
                time.sleep(0.7)
        called.append(arguments)
        filled(*arguments)

    monkeypatch.setattr(mapper, "_GRACE_S", 0.0)
    monkeypatch.setattr(tables, "table", slow)
    assert map_levels(*_sliding(6, 2), "latency", time_limit_s=0.5) is not None
    assert called
