"""The search finds the best of all mappings, proves it, and says what it could not prove."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from dnnc.backends.cost.nest import cost_nest
from dnnc.backends.cost.price import energy_pj
from dnnc.ir.arch import Arch
from dnnc.ir.nest import Dataflow, Nest, main_memory_loops
from dnnc.ir.schedule_rules import schedule_faults
from dnnc.passes import map_queue, map_search, map_space
from dnnc.passes.dataflow import dataflows_for
from dnnc.passes.map_limits import search_within
from dnnc.passes.map_search import Found, search
from dnnc.passes.mapping import Pin
from dnnc.passes.objective import Short, parse_objective
from dnnc.passes.schedule import make_schedule
from support import brute_force
from support.machines import machine
from support.nests import conv_nest, matmul_nest, max_pool_nest

OBJECTIVES = ("latency", "energy", "edp")
LATENCY = parse_objective("latency")


def found_by(nest: Nest, arch: Arch, objective: str, pin: Pin | None = None) -> Found:
    found = search(nest, arch, brute_force.dataflows(nest), pin or Pin(), parse_objective(objective), "none")
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(24))
def test_the_optimum_is_that_of_all_mappings(seed: int) -> None:
    arch, nest = brute_force.small_case(random.Random(seed))
    known = brute_force.every_mapping(nest, arch)
    for objective in OBJECTIVES:
        found = search(nest, arch, brute_force.dataflows(nest), Pin(), parse_objective(objective), "none")
        assert (found is None) == (not known)
        if found is not None:
            assert found.optimal
            assert found.objective == pytest.approx(brute_force.least(known, parse_objective(objective)), rel=1e-12)
            assert found.lower_bound <= found.objective
            assert found.listed == found.declared
            scheduled = replace(nest, schedule=found.schedule)
            assert brute_force.figures(scheduled, arch)[objective] == found.objective
            assert list(schedule_faults(scheduled, arch)) == []


@pytest.mark.parametrize("number", [1, 4, 8, 9, 15, 22, 24, 28, 32, 36, 42, 44])  # those with few mappings
def test_what_is_enumerated_is_every_mapping(number: int) -> None:
    """In less time: the same as every schedule that the rules take, counted by the cost model one by one."""
    arch, nest = brute_force.drawn_case(number, random.Random(number))
    flows = [each for each in (*brute_force.ON_ARRAY, Dataflow.VECTOR) if each is not Dataflow.VECTOR or arch.vector]
    obvious = []
    for each in brute_force.mappings(nest, arch, flows):
        counts = cost_nest(each, arch)
        energy = sum(energy_pj(counts, arch).values())
        assert each.schedule is not None
        tiles = tuple((loop.dims[0], loop.size) for loop in main_memory_loops(each.schedule))
        two = frozenset(buffer.operand for buffer in each.schedule.buffers if buffer.copies == 2)
        obvious.append(brute_force.Mapped(each.schedule.dataflow, tiles, two, energy, counts.cycles))
    assert set(brute_force.every_mapping(nest, arch)) == set(obvious)


@pytest.mark.parametrize("number", [1, 2, 4, 6, 7, 8, 9, 10, 16, 17, 18, 22, 24, 26, 28, 30, 32, 35, 37, 48])
def test_optima_of_any_objective_and_pin(number: int) -> None:
    """Weighted ones, with limits, and of what a pin leaves, on the bundled machines too; or what is short."""
    rng = random.Random(number)
    arch, nest = brute_force.drawn_case(number, rng)
    known = brute_force.every_mapping(nest, arch)
    mixed = [parse_objective(text) for text in ("energy*latency^2", "energy + 40*latency")]
    asked = [(Pin(), each) for each in (*mixed, *brute_force.drawn_limits(known, rng))]
    pins = [brute_force.partial_pin(known, nest, rng) for _ in range(3)]
    asked += [(pin, parse_objective(text)) for pin in pins for text in OBJECTIVES]
    operands = [access.operand for access in (*nest.reads, nest.write)]
    for pin, objective in asked:
        left = [each for each in known if each.is_as_pinned(pin, operands)]
        flows, _ = dataflows_for(nest, arch, pin.dataflow or "auto")
        found = search_within(nest, arch, flows, pin, objective, "none")
        assert found is not None
        if isinstance(found, Short):
            assert brute_force.least(left, objective) == float("inf")
            assert found.is_proven
            within = [each for each in left if found.figure == "cycles" or each.cycles <= objective.most_cycles]
            assert found.least == pytest.approx(min(getattr(each, found.figure) for each in within), rel=1e-12)
        else:
            assert found.optimal
            assert found.objective == pytest.approx(brute_force.least(left, objective), rel=1e-12)


def test_a_limit_that_nothing_keeps_in_time_is_not_called_impossible() -> None:
    arch = machine(bus_bytes=1)
    nest = replace(matmul_nest(arch, p=300, m=40, k=600), schedule=None)
    objective = parse_objective("energy, cycles<=1")
    found = search_within(nest, arch, (Dataflow.WS,), Pin(), objective, "none", deadline=0.0)
    assert isinstance(found, Short)
    assert not found.is_proven


def test_a_search_within_limits_that_is_cut_short_has_a_mapping() -> None:
    arch = replace(machine(bus_bytes=1), energy=brute_force.PRICES)
    nest = replace(matmul_nest(arch, p=300, m=40, k=600), schedule=None)
    fewest = found_by(nest, arch, "latency").objective
    objective = parse_objective(f"energy, cycles<={2 * fewest}")
    cut = search_within(nest, arch, (Dataflow.WS,), Pin(), objective, "none", deadline=0.0)
    assert isinstance(cut, Found)
    assert cut.stopped
    whole = search_within(nest, arch, (Dataflow.WS,), Pin(), objective, "none")
    assert isinstance(whole, Found)
    assert whole.optimal
    assert cut.lower_bound <= whole.objective <= cut.objective
    assert cost_nest(replace(nest, schedule=cut.schedule), arch).cycles <= 2 * fewest


def random_mapping(nest: Nest, arch: Arch, rng: random.Random) -> Nest | None:
    """A legal mapping that fits; None where the one that was drawn is not."""
    inner = [dim for dim in nest.domain if dim.name not in nest.write.dims]
    outer = [dim for dim in nest.domain if dim.name in nest.write.dims]
    rng.shuffle(inner)
    rng.shuffle(outer)
    tiles = [(dim.name, rng.randint(1, dim.extent)) for dim in (*outer, *inner) if rng.random() < 0.7]
    copies = {access.operand: rng.randint(1, 2) for access in (*nest.reads, nest.write)}
    dataflow = rng.choice(brute_force.dataflows(nest))
    mapped = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, copies))
    return None if any(schedule_faults(mapped, arch)) else mapped


@pytest.mark.parametrize("kind", ["conv", "matmul", "pool"])
def test_no_random_mapping_is_better(kind: str) -> None:
    arch = replace(machine(spad_bytes=700, acc_bytes=512), energy=brute_force.PRICES)
    nest = {
        "conv": conv_nest(arch, m=12, p=9, q=7, c=10),
        "matmul": matmul_nest(arch, g=2, p=23, k=31, m=14),
        "pool": max_pool_nest(arch, p=9, q=8, c=12),
    }[kind]
    nest = replace(nest, schedule=None)
    best = {objective: found_by(nest, arch, objective) for objective in OBJECTIVES}
    assert all(each.optimal for each in best.values())
    rng = random.Random(3)
    drawn = [mapped for _ in range(900) if (mapped := random_mapping(nest, arch, rng)) is not None]
    assert len(drawn) > 100
    for mapped in drawn:
        for objective, value in brute_force.figures(mapped, arch).items():
            assert value >= best[objective].objective * (1 - 1e-12)


def test_a_pin_is_the_best_of_what_it_leaves() -> None:
    arch = machine(2, 2, spad_bytes=40, acc_bytes=64, bus_bytes=1, lanes=2)
    nest = replace(matmul_nest(arch, g=1, p=3, k=3, m=2), schedule=None)
    pin = Pin(tiles=(("p", 2),), copies=(("y", 1),))
    wanted = min(
        brute_force.figures(mapped, arch)["latency"]
        for mapped in brute_force.mappings(nest, arch, brute_force.dataflows(nest))
        if mapped.schedule is not None
        and mapped.schedule.buffer("y").copies == 1
        and [(loop.dims[0], loop.size) for loop in mapped.schedule.loops_at("dram")][:1] == [("p", 2)]
    )
    found = found_by(nest, arch, "latency", pin)
    assert found.objective == wanted
    assert found.optimal


def test_pinned_copies_are_kept() -> None:
    arch = machine(spad_bytes=4000, acc_bytes=2048)
    nest = replace(matmul_nest(arch, p=20, k=30, m=10), schedule=None)
    copies = {"a": 2, "b": 1, "y": 2}
    found = found_by(nest, arch, "latency", Pin(tiles=(("p", 5),), copies=tuple(copies.items())))
    kept = {buffer.operand: buffer.copies for buffer in found.schedule.buffers}
    assert kept.items() >= {operand: count for operand, count in copies.items() if operand in kept}.items()
    assert found.optimal


def test_a_limit_is_below_what_is_found() -> None:
    arch = machine(spad_bytes=700, acc_bytes=512)
    nest = replace(matmul_nest(arch, p=20, k=30, m=10), schedule=None)
    best = found_by(nest, arch, "latency").objective
    flows = brute_force.dataflows(nest)
    assert search(nest, arch, flows, Pin(), LATENCY, "none", limit=best) is None
    above = search(nest, arch, flows, Pin(), LATENCY, "none", limit=best + 1)
    assert above is not None
    assert above.objective == best


def test_the_best_of_a_thinned_space_is_not_called_optimal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is its bound one of what was left out: the best of the whole space may be better."""
    arch = machine(3, 2, spad_bytes=160, acc_bytes=96, bus_bytes=2)
    nest = replace(matmul_nest(arch, p=12, k=10, m=8), schedule=None)
    flows = (Dataflow.WS,)
    whole = search(nest, arch, flows, Pin(), LATENCY, "none")
    assert whole is not None
    assert whole.optimal
    assert whole.listed == whole.declared
    monkeypatch.setattr(map_space, "BOXES", 9)
    found = search(nest, arch, flows, Pin(), LATENCY, "none")
    assert found is not None
    assert found.listed < found.declared == whole.declared
    assert found.lower_bound <= whole.objective <= found.objective
    assert not found.optimal


def test_few_orders_are_a_thinned_space(monkeypatch: pytest.MonkeyPatch) -> None:
    arch = machine()
    nest = replace(conv_nest(arch), schedule=None)
    whole = map_space.space(nest, arch, Pin())
    assert not whole.is_thinned
    monkeypatch.setattr(map_space, "ORDERS", len(whole.orders) - 1)
    assert map_space.space(nest, arch, Pin()).is_thinned


def test_thinning_always_ends() -> None:
    for count in range(2, 80):
        sizes = np.arange(1, count + 1, dtype=np.int64)
        while len(sizes) > 1:
            thinned = map_space._thinned(count, sizes)
            assert len(thinned) < len(sizes)
            assert thinned[-1] == count
            sizes = thinned


def test_a_search_that_is_cut_short_tells_its_gap() -> None:
    """By the number of bounds, or by the clock; both have a mapping."""
    arch = machine(bus_bytes=1)
    nest = replace(matmul_nest(arch, p=300, m=40, k=600), schedule=None)
    whole = found_by(nest, arch, "latency")
    assert whole.optimal
    for limits in ({"most_bounds": 40}, {"deadline": 0.0}):
        cut = search(nest, arch, (Dataflow.WS,), Pin(), LATENCY, "none", **limits)
        assert cut is not None
        assert cut.bounds < whole.bounds
        assert cut.lower_bound <= whole.objective
        assert cut.exhausted == (not cut.optimal and "most_bounds" in limits)
        assert list(schedule_faults(replace(nest, schedule=cut.schedule), arch)) == []


def test_mappings_of_too_many_commands_end_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of one element: walks cannot tell of them, and the cost model takes long for each."""
    asked = []
    counted = map_search._Search._cycles
    monkeypatch.setattr(map_search._Search, "_cycles", lambda self, made: asked.append(made) or counted(self, made))
    monkeypatch.setattr(map_search, "MOST_ASKED", 1_000_000)
    arch = machine(spad_bytes=32, acc_bytes=64)
    nest = replace(conv_nest(arch, m=32, p=32, q=32, c=16), schedule=None)
    found = search(nest, arch, (Dataflow.WS,), Pin(), LATENCY, "none")
    assert found is not None
    assert found.exhausted and not found.optimal
    assert found.schedule in asked
    assert found.lower_bound < found.objective == cost_nest(replace(nest, schedule=found.schedule), arch).cycles


@pytest.mark.parametrize("objective", ["latency", "edp"])
def test_plunges_do_not_decide(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search finds what it finds without them."""
    arch = replace(machine(spad_bytes=1 << 14, acc_bytes=1 << 13), energy=brute_force.PRICES)
    nest = replace(conv_nest(arch, m=48, p=14, q=14, c=40), schedule=None)
    plunging = found_by(nest, arch, objective)
    monkeypatch.setattr(map_queue, "FIRST_PLUNGE", 1 << 60)
    plain = found_by(nest, arch, objective)
    assert plunging.bounds != plain.bounds
    assert (plunging.schedule, plunging.objective, plunging.optimal) == (plain.schedule, plain.objective, plain.optimal)
    assert plunging.lower_bound == plain.lower_bound


def test_what_the_walk_cannot_tell_is_asked_of_the_cost_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding that clips every tile in another way is beyond the classes of the walk."""
    arch = machine(spad_bytes=1 << 12, acc_bytes=1 << 11)
    nest = replace(conv_nest(arch, n=1, m=1, p=150, q=1, c=1, r=150, s=1, pad=75, h=150, w=1), schedule=None)
    asked = []
    counted = map_search.counted

    def watched(nest: Nest, arch: Arch) -> object:
        asked.append(nest)
        return counted(nest, arch)

    monkeypatch.setattr(map_search, "counted", watched)
    found = search(nest, arch, (Dataflow.WS,), Pin(tiles=(("p", 1),)), LATENCY, "none")
    assert found is not None
    assert asked
    assert found.objective == cost_nest(replace(nest, schedule=found.schedule), arch).cycles


def test_more_capacity_is_never_worse() -> None:
    objectives = {objective: [] for objective in OBJECTIVES}  # type: dict[str, list[float]]
    for spad, acc in ((1 << 8, 128), (1 << 10, 256), (1 << 12, 1 << 10), (1 << 16, 1 << 15)):
        arch = replace(machine(spad_bytes=spad, acc_bytes=acc), energy=brute_force.PRICES)
        nest = replace(conv_nest(arch, m=12, p=10, q=9, c=14), schedule=None)
        for objective in OBJECTIVES:
            objectives[objective].append(found_by(nest, arch, objective).objective)
    assert all(values == sorted(values, reverse=True) for values in objectives.values())


def test_energy_is_that_of_the_counts() -> None:
    arch = replace(machine(spad_bytes=700, acc_bytes=512), energy=brute_force.PRICES)
    nest = replace(matmul_nest(arch, p=20, k=30, m=10), schedule=None)
    found = found_by(nest, arch, "energy")
    counts = cost_nest(replace(nest, schedule=found.schedule), arch)
    assert found.objective == sum(energy_pj(counts, arch).values())
