"""A schedule that the verifier accepts visits every point of its nest exactly once."""

from __future__ import annotations

from itertools import product

import pytest
from dnnc.ir.nest import Nest
from dnnc.ir.parser import parse_nest
from dnnc.ir.printer import print_nest
from dnnc.ir.verifier import verify
from hypothesis import given, settings
from hypothesis import strategies as st
from support.iteration import visited
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest
from support.values import module_of

MACHINE = machine(3, 4)


def assert_visits_once(nest: Nest) -> None:
    assert verify(module_of(nest), MACHINE) == []
    counts = visited(nest)
    assert set(counts) == set(product(*(range(dim.extent) for dim in nest.domain)))
    assert set(counts.values()) <= {1}


@given(
    st.sampled_from(["ws", "os", "is"]),
    st.permutations(["n", "m", "p", "q"]),
    st.permutations(["c", "r"]),
    st.lists(st.integers(1, 3), min_size=6, max_size=6),
)
@settings(deadline=None, max_examples=12)
def test_convolutions(dataflow: str, outer: list[str], reduced: list[str], sizes: list[int]) -> None:
    extents = {"n": 2, "m": 5, "p": 3, "q": 2, "c": 4, "r": 2}
    tiles = [(dim, min(size, extents[dim])) for dim, size in zip([*outer, *reduced], sizes, strict=True)]
    nest = conv_nest(MACHINE, n=2, m=5, p=3, q=2, c=4, r=2, s=2, dataflow=dataflow, tiles=tiles)
    assert_visits_once(nest)
    assert parse_nest(print_nest(nest)) == nest


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_products(dataflow: str) -> None:
    for tiles in ((), (("p", 2),), (("m", 4), ("g", 1), ("k", 5))):
        assert_visits_once(matmul_nest(MACHINE, g=2, p=5, k=7, m=6, dataflow=dataflow, tiles=tiles))


def test_pools() -> None:
    assert_visits_once(max_pool_nest(MACHINE, tiles=(("p", 3), ("q", 1))))
