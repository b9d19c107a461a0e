"""Tables of earlier searches: the same as new ones, no more than so many bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest
from dnnc.ir.arch import Arch
from dnnc.ir.nest import Dataflow, Nest
from dnnc.passes import map_search
from dnnc.passes.map_problem import Ints, Problem, problem_of
from dnnc.passes.map_tables import KeptTables, Tables, make_tables
from dnnc.passes.mapping import Pin
from dnnc.passes.objective import parse_objective
from support.machines import machine
from support.nests import conv_nest, matmul_nest

ARCH = machine()
NEST = conv_nest(ARCH)


def sizes(nest: Nest) -> list[Ints]:
    return [np.arange(1, dim.extent + 1, dtype=np.int64) for dim in nest.domain]


def same(one: Tables, other: Tables) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def larger(arch: Arch) -> Arch:
    return replace(
        arch, memories=tuple(replace(each, capacity_bytes=4 * each.capacity_bytes) for each in arch.memories)
    )


def test_machines_that_differ_in_the_sizes_of_memories_share_tables() -> None:
    kept = KeptTables(1 << 30)
    first = kept.of(problem_of(NEST, ARCH), sizes(NEST))
    assert kept.of(problem_of(NEST, larger(ARCH)), sizes(NEST)) is first
    assert same(first, make_tables(problem_of(NEST, larger(ARCH)), sizes(NEST)))


def test_what_decides_tables_makes_others() -> None:
    kept = KeptTables(1 << 30)
    first = kept.of(problem_of(NEST, ARCH), sizes(NEST))
    wide = replace(ARCH, array=replace(ARCH.array, cols=2 * ARCH.array.cols))
    for nest, arch, given in (
        (NEST, wide, sizes(NEST)),
        (NEST, ARCH, [each[:1] for each in sizes(NEST)]),
        (conv_nest(ARCH, stride=2), ARCH, sizes(NEST)),
        (matmul_nest(ARCH), ARCH, sizes(matmul_nest(ARCH))),
    ):
        found = kept.of(problem_of(nest, arch), given)
        assert found is not first
        assert same(found, make_tables(problem_of(nest, arch), given))


def test_the_oldest_are_given_up() -> None:
    nests = [conv_nest(ARCH, h=height, w=5) for height in range(4, 9)]
    problems = [(problem_of(each, ARCH), sizes(each)) for each in nests]
    bytes_of = [sum(each.nbytes for each in make_tables(*problem)) for problem in problems]
    kept = KeptTables(bytes_of[-1] + bytes_of[-2])
    found = [kept.of(*problem) for problem in problems]
    assert kept.bytes <= bytes_of[-1] + bytes_of[-2]
    assert kept.of(*problems[-1]) is found[-1]
    assert kept.of(*problems[-2]) is found[-2]
    assert kept.of(*problems[0]) is not found[0]
    assert KeptTables(0).of(*problems[0]) is not None


def test_threads_that_make_the_same_count_them_once() -> None:
    problems = [
        (problem_of(each, ARCH), sizes(each)) for each in (conv_nest(ARCH, h=height, w=5) for height in (4, 5, 6))
    ]
    kept = KeptTables(1 << 30)
    together = Barrier(4)

    def asked(number: int) -> None:
        for problem in problems:
            together.wait()
            kept.of(*problem)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(asked, range(4)))
    assert kept.bytes == sum(each.nbytes for problem in problems for each in make_tables(*problem))


def test_a_search_writes_to_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[Problem, list[Ints], Tables]] = []

    def noted(problem: Problem, sizes: list[Ints]) -> Tables:
        used.append((problem, sizes, make_tables(problem, sizes)))
        return used[-1][2]

    monkeypatch.setattr(map_search, "kept_tables", noted)
    flows = (Dataflow.WS, Dataflow.OS, Dataflow.IS)
    assert map_search.search(replace(NEST, schedule=None), ARCH, flows, Pin(), parse_objective("energy"), "none")
    ((problem, given, tables),) = used
    assert same(tables, make_tables(problem, given))
