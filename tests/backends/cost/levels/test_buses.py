"""Buses and chains of fan-outs: what they carry and when the array waits for them, by hand and beside counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.backends.cost.levels.buses import BusLoad, bus_loads
from dnnc.backends.cost.levels.cost import Cycles, cost
from dnnc.ir.hierarchy import OPERAND_ROLES, Buffering, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree_text import parse_loop_tree
from dnnc.ir.nest import Role
from support.level_witnesses import differences
from support.random_levels import plain, random_case, workload

INPUT, WEIGHT, OUTPUT = OPERAND_ROLES

# o[m] += i[m, k] * w[k] with 4 x 6 points: three pieces of k on two lanes, each lane with one weight, which stays while
# two pieces of m pass by.
E = {"m": 4, "k": 6}
WORK = workload("product", E, [plain("m", E), plain("k", E)], [plain("k", E)], [plain("m", E)])
TREE = parse_loop_tree("""\
keep dram input weight output
temporal k 2
spatial k 1 pe.rows
keep weights weight
temporal m 2
keep rf input output
temporal m 1
""")
PE = FanOut("pe", 2, 1, bus_bits=((INPUT, 8), (WEIGHT, 20), (OUTPUT, 40)), chain="rows")
WEIGHTS = Store("weights", (WEIGHT,), 8, buffering=Buffering.SINGLE)


def _machine(weights: Store = WEIGHTS, pe: FanOut = PE, dram_rate: float | None = None) -> Hierarchy:
    """8-bit operands, partial sums of 16 bits: a bus brings one input or two weights a cycle, or takes two sums."""
    bits = tuple((role, 8) for role in OPERAND_ROLES)
    dram = Store("dram", OPERAND_ROLES, 8, read_words_per_cycle=dram_rate)
    levels = (dram, pe, weights, Store("rf", (INPUT, OUTPUT), 8))
    return Hierarchy("m", 10**9, levels, bits, partial_bits=16)


def _cycles(machine: Hierarchy) -> Cycles:
    return cost(WORK, machine, TREE).cycles


def test_loads() -> None:
    """Weights are exchanged three times. Then each lane waits for its first two inputs, and two sums of both lanes go
    out, which the first lane has handed to the second one, and that to whoever takes them."""
    assert bus_loads(WORK, _machine(), TREE) == (
        BusLoad(INPUT, "dram", "pe", carried=24, waited_for=3 * 2 * 2, handed_on=0),
        BusLoad(WEIGHT, "dram", "pe", carried=6, waited_for=6, handed_on=0),
        BusLoad(OUTPUT, "dram", "pe", carried=3 * 4, waited_for=3 * 2, handed_on=3 * 2 * 2),
    )


def test_the_array_waits_at_each_exchange() -> None:
    cycles = _cycles(_machine())
    assert cycles.steps == 3 * 4
    assert dict(cycles.busy)["pe"] == 24  # the inputs' bus
    assert cycles.alternating == 12 + 6 // 2 + 6 // 2 + 12
    assert (cycles.bound, cycles.total) == ("mac", 12 + 30)


def test_without_single_buffers_it_waits_at_the_start_and_the_end() -> None:
    """Four inputs, two weights, two sums over their buses and down the chain; then the inputs' bus takes longest."""
    cycles = _cycles(_machine(replace(WEIGHTS, buffering=Buffering.BUFFET)))
    assert cycles.alternating == 4 + 1 + 1 + 2 * 2
    assert (cycles.bound, cycles.total) == ("pe", 24)


def test_an_element_wider_than_the_bus_takes_several_cycles() -> None:
    narrow = replace(PE, bus_bits=((OUTPUT, 12),), chain="")
    cycles = _cycles(_machine(pe=narrow))
    assert (dict(cycles.busy)["pe"], cycles.alternating) == (12 * 2, 6 * 2)


def test_the_slower_of_bus_and_store_is_waited_for() -> None:
    """A tile of one weight a lane at half a word a cycle: six cycles, while the bus needs three."""
    assert _cycles(_machine(dram_rate=0.5)).alternating == 12 + 6 + 3 + 12


def test_a_tile_outside_of_the_exchange_is_waited_for_once() -> None:
    """Inputs lie in the register file before the loop that exchanges weights: they come in before the start alone."""
    tree = parse_loop_tree("""\
keep dram input weight output
spatial k 3 pe.rows
keep rf input output
temporal k 1
keep weights weight
temporal m 1
""")
    machine = _machine(pe=PE)
    loads = {load.role: load for load in bus_loads(WORK, machine, tree)}
    assert (loads[INPUT].carried, loads[INPUT].waited_for) == (24, 24)
    assert (loads[OUTPUT].carried, loads[OUTPUT].waited_for, loads[OUTPUT].handed_on) == (4, 4, 4 * 2)
    outer = parse_loop_tree("""\
keep dram input weight output
temporal m 2
spatial k 3 pe.rows
keep rf input output
temporal k 1
keep weights weight
temporal m 1
""")
    loads = {load.role: load for load in bus_loads(WORK, machine, outer)}
    assert (loads[INPUT].carried, loads[INPUT].waited_for) == (24, 12)


def test_machines_without_buses_have_no_loads() -> None:
    assert bus_loads(WORK, _machine(pe=FanOut("pe", 2, 1)), TREE) == ()


def _bus(level: Store | FanOut) -> Store | FanOut:
    return replace(level, bus_bits=tuple((role, 8) for role in OPERAND_ROLES)) if isinstance(level, FanOut) else level


@pytest.mark.parametrize("seed", range(80))
def test_buses_carry_what_a_walk_brings(seed: int) -> None:
    """Of random mappings with a bus for every operand and fan-out: all figures of a walk of every step."""
    case = random_case(seed)
    timed = replace(case, machine=replace(case.machine, levels=tuple(map(_bus, case.machine.levels))))
    assert not list(differences(timed))
    assert all(load.waited_for <= load.carried for load in bus_loads(timed.workload, timed.machine, timed.tree))


def test_words_are_those_of_the_fan_out() -> None:
    assert PE.bus_cycles(Role.WEIGHT, 5, 8) == 3
    assert PE.bus_cycles(Role.WEIGHT, 5, 24) == 5 * 2
    assert FanOut("pe", 2, 2).bus_cycles(Role.WEIGHT, 5, 8) == 0
