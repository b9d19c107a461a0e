"""Which groups are looked at and taken: the best set that does not overlap, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from dnnc.ir.arch import Arch, EnergyRow
from dnnc.ir.module import Module
from dnnc.passes import group_search, groups
from dnnc.passes.group_search import GroupSearch, apart, stripe_counts
from dnnc.passes.groups import Group, KnownCosts, known_costs
from dnnc.passes.keep import candidates
from dnnc.passes.keep_found import Figures
from dnnc.passes.keep_plan import Plan
from dnnc.passes.map_cache import MapCache
from dnnc.passes.objective import parse_objective
from dnnc.passes.stripes import Chain, NotAChain, Uses
from hypothesis import given, settings
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


def mixed(rows: Sequence[int]) -> Module:
    """Layers one behind the other, of whose values none fits, each with so many rows in a tile."""
    nests = [conv_nest(ARCH, m=12, p=32, q=8, c=12, tiles=[("p", each), ("m", 4)]) for each in rows]
    return linked(nests, {(number, "x"): number - 1 for number in range(1, len(nests))})


@settings(max_examples=12, deadline=None)
@given(schedules=st.lists(st.lists(st.sampled_from([2, 4]), min_size=4, max_size=4), min_size=2, max_size=4))
def test_what_a_process_knows_of_groups_changes_nothing(schedules: list[list[int]]) -> None:
    """Modules that differ in some of their layers: one after the other, and each by itself."""
    known_costs.cache_clear()
    together = [search(mixed(each)) for each in schedules]
    found = [[(group.layers, group.stripes) for group in each.best()] for each in together]
    for schedule, one, expected in zip(schedules, together, found, strict=True):
        known_costs.cache_clear()
        alone = search(mixed(schedule))
        assert [(group.layers, group.stripes) for group in alone.best()] == expected
        assert (alone.trials, alone._known) == (one.trials, one._known)


def test_a_group_is_costed_once_for_modules_that_have_it_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    costed: list[tuple[str, ...]] = []

    def cost_of(module: Module, arch: Arch, group: Group, *rest: Any) -> Figures:
        costed.append(group.layers)
        return groups.cost_of(module, arch, group, *rest)

    monkeypatch.setattr(group_search, "cost_of", cost_of)
    known_costs.cache_clear()
    first = search(mixed([2, 2, 2, 2]))
    first.best()
    assert len(costed) == first.trials > 0
    costed.clear()
    again = search(mixed([2, 2, 2, 2]))
    again.best()
    assert not costed and again.trials == first.trials
    last = search(mixed([2, 2, 2, 4]))
    last.best()
    changed = last.module.operations[-1].name
    assert costed and all(changed in layers for layers in costed)


def test_few_costs_are_remembered_and_those_that_were_asked_for_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_COSTS", 2)
    module = five()
    group = Group(0, 1, 2, Chain.of(module.operations, Uses.of(module), 0, 1))
    known, asked = KnownCosts(), list[bytes]()

    def of(layer: bytes) -> Figures | None:
        def cost() -> Figures:
            asked.append(layer)
            if layer == b"c":
                raise NotAChain("it does not fit")
            return Figures(1, 2.0)

        return known.of(group, [layer], cost)

    assert [of(each) for each in (b"a", b"b", b"a", b"c", b"c", b"a", b"b")] == [
        None if each == b"c" else Figures(1, 2.0) for each in (b"a", b"b", b"a", b"c", b"c", b"a", b"b")
    ]
    assert asked == [b"a", b"b", b"c", b"b"]
    assert len(known.costs) == 2


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
