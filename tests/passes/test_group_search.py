"""Which groups are looked at and taken: the best set that does not overlap, within bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from dnnc.ir.arch import EnergyRow
from dnnc.ir.module import Module
from dnnc.passes import group_search
from dnnc.passes.group_search import GroupSearch, apart, stripe_counts
from dnnc.passes.keep import candidates
from dnnc.passes.keep_plan import Plan
from dnnc.passes.map_cache import MapCache
from dnnc.passes.objective import parse_objective
from dnnc.passes.stripes import Chain, Uses
from hypothesis import given
from hypothesis import strategies as st
from support.chains import linked
from support.machines import machine
from support.nests import conv_nest

PRICES = (EnergyRow("dram", "read_bit", 4.0, "test"), EnergyRow("dram", "write_bit", 4.0, "test"))
ARCH = replace(machine(spad_bytes=3000), energy=PRICES)
WINDOWS = st.tuples(st.integers(0, 7), st.integers(1, 4)).map(lambda window: (window[0], sum(window)))


@given(gains=st.dictionaries(WINDOWS, st.integers(-2, 9).map(float), max_size=8))
def test_the_best_windows_that_do_not_overlap(gains: dict[tuple[int, int], float]) -> None:
    """By comparison with every subset."""
    chosen = apart(gains)
    assert all(one[1] < other[0] or other[1] < one[0] for one, other in combinations(chosen, 2))
    legal = (
        subset
        for size in range(len(gains) + 1)
        for subset in combinations(gains, size)
        if all(one[1] < other[0] or other[1] < one[0] for one, other in combinations(subset, 2))
    )
    assert sum(gains[each] for each in chosen) == max(sum(gains[each] for each in subset) for subset in legal)


def five(p: int = 32) -> Module:
    """Layers one behind the other, of whose values none fits."""
    nests = [conv_nest(ARCH, m=12, p=p, q=8, c=12, tiles=[("p", 2), ("m", 4)]) for _ in range(5)]
    return linked(nests, {(number, "x"): number - 1 for number in range(1, 5)})


def search(module: Module, folder: Path | None = None) -> GroupSearch:
    base = Plan(module, ARCH, parse_objective("energy"), (), MapCache(folder))
    base.choose(candidates(module, ARCH))
    return GroupSearch(module, ARCH, base, MapCache(folder), ())


@pytest.mark.parametrize("rows", [2, 7, 32, 100])
def test_stripes_are_of_one_size_but_the_last(rows: int) -> None:
    module = five(rows)
    chain = Chain.of(module.operations, Uses.of(module), 0, 1)
    counts = stripe_counts(chain)
    assert counts == sorted({-(-rows // size) for size in range(1, rows)})
    for count in counts:
        sizes = [end - first for first, end in chain.last_rows(count)]
        assert len(sizes) == count
        assert len(set(sizes[:-1])) == 1
        assert 0 < sizes[-1] <= sizes[0]


def test_groups_are_found_and_counted() -> None:
    found = search(five())
    groups = found.best()
    assert groups
    assert 0 < found.trials <= group_search.MOST_TRIALS
    assert all(one.last < other.first or other.last < one.first for one, other in combinations(groups, 2))


def test_what_was_taken_is_proposed_first_and_nothing_where_that_was_nothing(tmp_path: Path) -> None:
    first = search(five(), tmp_path)
    groups = next(first.proposals())
    assert groups and first.trials
    first.accept(groups)
    again = search(five(), tmp_path)
    found = next(again.proposals())
    assert {(each.layers, each.stripes) for each in found} == {(each.layers, each.stripes) for each in groups}
    assert not again.trials
    first.accept([])
    none = search(five(), tmp_path)
    assert list(none.proposals()) == [] and not none.trials


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs of layers there are, so many are looked at, and so many counted."""
    monkeypatch.setattr(group_search, "MOST_TRIALS", 1)
    one = search(five())
    one.best()
    assert one.trials <= 3 * len(five().operations)  # a set of groups is counted as a whole
    monkeypatch.setattr(group_search, "MOST_CANDIDATES", 0)
    none = search(five())
    assert none.best() == []
    assert none.trials == 0
    monkeypatch.setattr(group_search, "MOST_NESTS", 3)
    module = five()
    assert stripe_counts(Chain.of(module.operations, Uses.of(module), 0, 1)) == []
    late = search(module)
    late.until = 0.0
    assert late.best() == []
