"""Chains of layers that run depth first: chosen by cost, the same values bit for bit, and every witness agrees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.backends.cost.module import cost_module
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.stripe_rules import groups_of
from dnnc.ir.types import ElementType
from dnnc.ir.verifier import verify
from dnnc.passes.depth_first import GROUPS_STOPPED, depth_first
from dnnc.passes.group_pins import pinned_groups, refuse_groups
from dnnc.passes.group_search import GroupSearch
from dnnc.passes.keep import keep_values
from dnnc.passes.keep_plan import Plan
from dnnc.passes.map_cache import MapCache
from dnnc.passes.mapping import GroupPin, MappingOptions, Pin
from dnnc.passes.objective import parse_objective
from dnnc.passes.pipeline import Options, named, run_passes
from dnnc.passes.stripes import Chain, NotAChain, Uses
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.chains import flat_conv, linked
from support.equality import nests_of
from support.machines import float_machine, machine
from support.nests import conv_nest, matmul_nest
from support.striped import ARCH, PRICES, assert_proven, chains_of_layers, figures, pinned, three


def main_bytes(module: Module, arch: Arch = ARCH) -> int:
    roles = [moved for each in cost_module(module, arch) for moved in each.traffic["dram"].items()]
    return sum(moved.read_bytes + moved.write_bytes for role, moved in roles if role != "instruction")


@settings(max_examples=25, deadline=None)
@given(module=chains_of_layers(machine()), stripes=st.integers(2, 5))
def test_any_chain_in_stripes_computes_the_same(module: Module, stripes: int) -> None:
    arch = machine()
    try:
        chain = Chain.of(module.operations, Uses.of(module), 0, len(module.operations) - 1)
        assume(chain.most_stripes >= stripes)
        striped = pinned(module, stripes, arch)
    except NotAChain:
        assume(False)
        raise
    except CompileError as error:  # pixels in one row and padding around them, of a view with an axis of one
        assume("lies otherwise than its readers need it" not in str(error))
        raise
    assert len(groups_of(striped)) == 1
    assert_proven(striped, module, arch)


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_what_does_not_fit_whole_runs_in_stripes(objective: str) -> None:
    """A chain whose values no local memory holds: with groups it moves less, and costs less by the objective."""
    module = three()
    options = MappingOptions(objective=objective)
    kept = keep_values(module, ARCH, options, ())
    striped = depth_first(module, ARCH, options, ())
    assert not kept.kept
    assert groups_of(striped)
    assert main_bytes(striped) < 0.75 * main_bytes(kept)
    (cycles, energy), (new_cycles, new_energy) = figures(kept), figures(striped)
    value = {"latency": (cycles, new_cycles), "energy": (energy, new_energy)}
    was, now = value.get(objective, (cycles * energy, new_cycles * new_energy))
    assert now < was
    assert_proven(striped, module, ARCH)


@settings(max_examples=15, deadline=None)
@given(
    module=chains_of_layers(replace(machine(), energy=PRICES)),
    words=st.integers(20, 180),
    objective=st.sampled_from(["latency", "energy", "edp"]),
)
def test_never_worse_than_what_stays_whole(module: Module, words: int, objective: str) -> None:
    arch = replace(machine(spad_bytes=16 * words), energy=PRICES)
    assume(not verify(module, arch))
    options = MappingOptions(objective=objective)
    kept, striped = keep_values(module, arch, options, ()), depth_first(module, arch, options, ())
    (cycles, energy), (new_cycles, new_energy) = figures(kept, arch), figures(striped, arch)
    value = {"latency": (cycles, new_cycles), "energy": (energy, new_energy)}
    was, now = value.get(objective, (cycles * energy, new_cycles * new_energy))
    assert now <= was * (1 + 1e-9)
    assert_proven(striped, module, arch)


def test_reasons_say_what_a_group_saves() -> None:
    module = three()
    kept = keep_values(module, ARCH, MappingOptions(), ())
    striped = pinned(module, 4, ARCH)
    was, now = figures(kept), figures(striped)
    told = f"depth first, 4 stripes of conv0 to conv2: {was[0]} to {now[0]} cycles, {was[1]:.6g} to {now[1]:.6g} pJ"
    for nest in nests_of(striped):
        assert nest.schedule is not None
        assert nest.schedule.reason.startswith(told)
        assert nest.schedule.reason.endswith(" in spad")
        assert not nest.schedule.optimal
    assert [nest.name for nest in nests_of(striped)[:4]] == ["conv0.1", "conv1.1", "conv2.1", "conv0.2"]


@pytest.mark.parametrize(("stripes", "kept"), [(4, True), (3, False)])
def test_what_a_group_writes_stays_for_a_reader_of_whole_rows(stripes: int, kept: bool) -> None:
    """Pixels in one row, which the layer behind the group takes apart into rows of 3: stripes of 12 are whole rows,
    those of 16 are not, though the first of them begins with one."""
    arch = replace(machine(), energy=PRICES)
    flat = [flat_conv(arch, p=48, c=5, m=5, tiles=[("p", 12)]) for _ in range(2)]
    last = conv_nest(arch, m=4, p=16, q=3, c=5, tiles=[("p", 4)])
    x = last.access("x")
    last = replace(last, reads=(replace(x, shape=x.shape[1:], index=x.index[1:]), *last.reads[1:]))
    module = linked([*flat, last], {(1, "x"): 0, (2, "x"): 1})
    options = MappingOptions(objective="energy", groups=(GroupPin("conv0", "conv1", stripes),))
    found = depth_first(module, arch, options, ())
    assert ("conv1.y" in found.kept) == kept
    assert_proven(found, module, arch)


def test_sums_of_floats_keep_their_order() -> None:
    """Stripes add every float where their layer did."""
    arch = replace(float_machine(3, 4), energy=PRICES)
    real = {"element": ElementType.F32, "accumulator": ElementType.F32}
    for dataflow in ("ws", "os", "is"):
        sizes = {"tiles": [("p", 5), ("k", 7)], "dataflow": dataflow}
        nests = [
            matmul_nest(arch, p=24, k=20, m=16, **sizes, **real),
            matmul_nest(arch, p=24, k=16, m=9, **sizes, **real),
        ]
        module = linked(nests, {(1, "a"): 0})
        assert_proven(pinned(module, 3, arch, "energy"), module, arch)


def test_layers_between_which_all_fits_stay_as_they_are() -> None:
    arch = replace(machine(), energy=PRICES)
    module = three(arch, p=8)
    kept = keep_values(module, arch, MappingOptions(), ())
    assert kept.kept
    assert depth_first(module, arch, MappingOptions(), ()) == kept


def test_layers_whose_tiles_are_pinned_or_given_are_in_no_group() -> None:
    module = three()
    pins = (("conv1", Pin(tiles=(("p", 2),), complete=True)),)
    assert not groups_of(depth_first(module, ARCH, MappingOptions(objective="energy", pins=pins), ()))
    assert not groups_of(depth_first(module, ARCH, MappingOptions(objective="energy"), ("conv1",)))


def test_limits_of_the_objective_are_those_of_all_stripes_of_a_layer() -> None:
    module = three()
    free = depth_first(module, ARCH, MappingOptions(objective="energy"), ())
    most = max(
        sum(each.cycles for each in cost_module(free, ARCH) if each.name == name)
        for name in ("conv0", "conv1", "conv2")
    )
    kept = max(each.cycles for each in cost_module(module, ARCH))
    assert most < kept
    for limit, is_fused in ((most, True), (kept, True)):
        found = depth_first(module, ARCH, MappingOptions(objective=f"energy, cycles<={limit}"), ())
        assert bool(groups_of(found)) == is_fused


def test_the_cache_gives_the_same_and_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", "off")
    options = MappingOptions(objective="energy")
    expected = depth_first(three(), ARCH, options, ())
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    assert [depth_first(three(), ARCH, options, ()) for _ in range(2)] == [expected, expected]
    cache = MapCache(tmp_path / "mappings")
    entries = [each.name for each in (tmp_path / "mappings").iterdir()]
    (key,) = [each for each in entries if "groups" in (cache.read(each) or {})]
    entry = cache.read(key)
    assert entry is not None
    first, last, stripes, *reaches = entry["groups"][0]
    lies = [
        [[first, last, stripes, *([1, 0, 0] for _ in reaches)]],
        [[first, last, 1, *reaches]],
        [[first, last, 10**9, *reaches]],
        [[first, last, 15, *reaches]],  # which the search does not try
        [[last, first, stripes, *reaches]],
        [[first, 99, stripes, *reaches]],
        [[first, last, stripes]],
        [["x", last, stripes, *reaches]],
        [4],
        {},
        entry["groups"] * 2,
    ]
    for lie in lies:
        cache.write(key, {"groups": lie})
        assert depth_first(three(), ARCH, options, ()) == expected, lie
        assert cache.read(key) == entry


def test_a_search_that_runs_out_of_time_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    options = MappingOptions(objective="energy", time_limit_s=1e-9)
    found = depth_first(three(), ARCH, options, ())
    assert verify(found, ARCH) == []
    assert not groups_of(found)
    assert all(nest.schedule and nest.schedule.reason.endswith(GROUPS_STOPPED) for nest in nests_of(found))
    cache = MapCache(tmp_path / "mappings")
    assert not any("groups" in (cache.read(each.name) or {}) for each in (tmp_path / "mappings").glob("*"))
    complete = depth_first(three(), ARCH, MappingOptions(objective="energy"), ())
    assert not any(nest.schedule and GROUPS_STOPPED in nest.schedule.reason for nest in nests_of(complete))


def test_no_more_groups_are_tried_once_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best groups together are one trial; if it fails, its parts wait for time that there is not."""
    search = GroupSearch(three(), ARCH, _plan(three()), MapCache(None), ())
    found = search.best()
    monkeypatch.setattr(search, "best", lambda: [*found, *found])
    search.until = 0.0
    assert [len(groups) for groups in search.proposals()] == [2 * len(found)]
    assert search.stopped == {"conv0", "conv1", "conv2"}
    search.until = float("inf")
    assert [len(groups) for groups in search.proposals()] == list(range(2 * len(found), 0, -1))


def test_the_cache_tells_what_other_pinned_groups_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found beside a pinned group depends on its stripes."""
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path))
    nests = [conv_nest(ARCH, m=12, p=32, q=8, c=12, tiles=[("p", 2), ("m", 4)]) for _ in range(4)]
    module = linked(nests, {(number, "x"): number - 1 for number in range(1, 4)})
    keys = set()
    for stripes in (4, 8):
        plan = _plan(module)
        (group,) = pinned_groups(module, MappingOptions(groups=(GroupPin("conv0", "conv1", stripes),)))
        keys.add(GroupSearch(module, ARCH, plan, MapCache(tmp_path), (), [group])._key)
    assert len(keys) == 2


def _plan(module: Module) -> Plan:
    return Plan(module, ARCH, parse_objective("energy"), (), MapCache(None))


def test_only_what_is_executed_runs_depth_first() -> None:
    arch = replace(ARCH, kind="cost_only")
    assert depth_first(three(arch), arch, MappingOptions(), ()) == three(arch)
    with pytest.raises(CompileError, match="small is a machine of kind `cost_only`"):
        pinned(three(arch), 4, arch)
    with pytest.raises(CompileError, match="layers are to run depth first, but fuse is not auto"):
        refuse_groups(MappingOptions(groups=(GroupPin("a", "b", 2),)))


def test_fuse_says_what_may_stay() -> None:
    module = three()
    bare = replace(module, operations=tuple(replace(each, schedule=None) for each in nests_of(module)))
    few = three(p=6)
    small = replace(few, operations=tuple(replace(each, schedule=None) for each in nests_of(few)))
    for fuse, groups in (("auto", 1), ("keep", 0), ("off", 0)):
        options = Options(fuse=fuse, mapping=MappingOptions(objective="energy"))
        assert len(groups_of(run_passes(bare, ARCH, options, named("schedule")))) == groups
    for fuse, kept in (("auto", 2), ("keep", 2), ("off", 0)):
        options = Options(fuse=fuse, mapping=MappingOptions(objective="energy"))
        assert len(run_passes(small, ARCH, options, named("schedule")).kept) == kept
