"""Words, cycles and energy of one small mapping, derived by hand; packings of words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.backends.cost.levels.accesses import NATIVE, TIMELOOP, Accesses, Convention
from dnnc.backends.cost.levels.cost import LevelCost, WordCounts, cost
from dnnc.backends.cost.levels.counts import Crossing
from dnnc.ir.arch import EnergyRow
from dnnc.ir.hierarchy import OPERAND_ROLES, Buffering, FanOut, Hierarchy, Packing, Store
from dnnc.ir.loop_tree_text import parse_loop_tree
from dnnc.ir.nest import Role
from support.random_levels import plain, workload

INPUT, WEIGHT, OUTPUT = OPERAND_ROLES
NONE = Crossing(0, 0)

# o[m] += i[m, k] * w[k] with 4 x 6 points: two pieces of k, in each two pieces of m on two lanes, then 3 points of k.
E = {"m": 4, "k": 6}
WORK = workload("product", E, [plain("m", E), plain("k", E)], [plain("k", E)], [plain("m", E)])
TREE = parse_loop_tree("""\
keep dram input weight output
temporal k 3
temporal m 2
spatial m 1 pe.rows
keep rf input weight output
temporal k 1
""")
DRAM = Store("dram", OPERAND_ROLES, 16, read_words_per_cycle=0.5, write_words_per_cycle=1.0, latency_cycles=5)
PE = FanOut("pe", 2, 1, link_bits=16)
RF = Store(
    "rf",
    OPERAND_ROLES,
    16,
    buffering=Buffering.DOUBLE,
    read_words_per_cycle=4.0,
    write_words_per_cycle=2.0,
    shared_words_per_cycle=3.5,
    latency_cycles=1,
)
PRICES = tuple(
    EnergyRow(component, action, picojoules, "assumed")
    for component, action, picojoules in (
        ("mac", "mac", 1.0),
        ("dram", "read_word", 100.0),
        ("dram", "write_word", 200.0),
        ("rf", "read_word", 0.5),
        ("pe", "hop_bit", 0.25),
    )
)


def _cost(rf: Store = RF, convention: Convention = NATIVE) -> LevelCost:
    """8-bit operands, partial sums of 16 bits."""
    bits = tuple((role, 8) for role in OPERAND_ROLES)
    machine = Hierarchy("m", 10**9, (DRAM, PE, rf), bits, PRICES, partial_bits=16)
    return cost(WORK, machine, TREE, convention)


def test_elements_read_and_written() -> None:
    """Each input comes once, each weight once for both lanes. An output comes for each of two pieces of k: the second
    time it is read from main memory and fills the register file."""
    assert _cost().accesses == (
        Accesses("dram", INPUT, Crossing(24, 24), NONE, NONE, NONE),
        Accesses("rf", INPUT, Crossing(24, 12), Crossing(24, 12), NONE, NONE),
        Accesses("dram", WEIGHT, Crossing(6, 6), NONE, NONE, NONE),
        Accesses("rf", WEIGHT, Crossing(24, 12), Crossing(12, 6), NONE, NONE),
        Accesses("dram", OUTPUT, Crossing(4, 4), NONE, Crossing(8, 8), NONE),
        # 24 updates, of which the first of 4 outputs (2 a lane) need no read.
        Accesses("rf", OUTPUT, Crossing(20, 10), Crossing(4, 2), Crossing(24, 12), Crossing(8, 4)),
    )


def test_words() -> None:
    """Two operands a word, or one partial sum; the finished outputs in main memory are operands again."""
    assert _cost().words == (
        WordCounts("dram", INPUT, Crossing(12, 12), NONE),
        WordCounts("rf", INPUT, Crossing(12, 6), Crossing(12, 6)),
        WordCounts("dram", WEIGHT, Crossing(3, 3), NONE),
        WordCounts("rf", WEIGHT, Crossing(12, 6), Crossing(6, 3)),
        WordCounts("dram", OUTPUT, Crossing(4, 4), Crossing(4 + 4 // 2, 4 + 4 // 2)),
        WordCounts("rf", OUTPUT, Crossing(20 + 8, 10 + 4), Crossing(4 + 24, 2 + 12)),
    )


def test_cycles() -> None:
    cycles = _cost().cycles
    assert cycles.steps == 2 * 2 * 3
    # Main memory: 19 words at 0.5 a cycle. Register file: 26 words read and 23 written, at 3.5 of both a cycle.
    assert cycles.busy == (("dram", 38), ("rf", 14))
    assert (cycles.alternating, cycles.bound) == (0, "dram")
    # First tiles of 3 inputs and 3 weights, 2 words each at 0.5 a cycle; a word of each for the multiplier; latencies.
    assert cycles.fill == (4 + 1) + (4 + 1) + 5 + 1
    # The last output and its word, each with the latency of where it goes.
    assert cycles.drain == (1 + 5) + (1 + 1)
    assert cycles.total == 38 + 16 + 8


def test_buffers_of_other_kinds() -> None:
    """A single buffer's tiles come while nothing is computed: 6 words of inputs and 3 of weights at 0.5, 4 outputs at
    1 a cycle. A buffet waits for its first words only."""
    single = _cost(replace(RF, buffering=Buffering.SINGLE)).cycles
    assert (single.alternating, single.fill, single.total) == (12 + 6 + 4, 16, max(12 + 22, 38) + 16 + 8)
    buffet = _cost(replace(RF, buffering=Buffering.BUFFET)).cycles
    assert (buffet.alternating, buffet.fill, buffet.drain) == (0, (2 + 1) + (2 + 1) + 5 + 1, 8)


def test_an_outer_store_passes_on_words_of_its_own() -> None:
    """Register files with words of half the width change neither the way in, nor what alternates, nor the way out: 3
    inputs are 2 words of main memory, whatever they are inside."""
    narrow = replace(RF, word_bits=8, buffering=Buffering.SINGLE)
    wide, halved = _cost(replace(RF, buffering=Buffering.SINGLE)).cycles, _cost(narrow).cycles
    assert (halved.fill, halved.alternating, halved.drain) == (wide.fill, wide.alternating, wide.drain) == (16, 22, 8)


def test_actions_and_energy() -> None:
    costed = _cost()
    assert costed.actions == {
        ("mac", "mac"): 24,
        ("dram", "read_word"): 12 + 3 + 4,
        ("dram", "write_word"): 6,
        ("rf", "read_word"): 12 + 12 + 28,
        ("rf", "write_word"): 12 + 6 + 28,
        # 24 inputs and 12 weights in pairs, 8 partial sums, each over a link of its own.
        ("pe", "hop_bit"): (12 + 6 + 8) * 16,
    }
    assert costed.energy_pj == {"mac": 24.0, "dram": 1900.0 + 1200.0, "rf": 26.0, "pe": 104.0}
    assert costed.total_energy_pj == 24.0 + 3100.0 + 26.0 + 104.0
    assert costed.utilization == 24 / (12 * 2)


def test_the_convention_of_timeloop() -> None:
    """Every tile of outputs fills the register file, none is read from it to be given up, and nothing ramps."""
    costed = _cost(convention=TIMELOOP)
    (output,) = [each for each in costed.accesses if (each.store, each.role) == ("rf", OUTPUT)]
    assert output == Accesses("rf", OUTPUT, Crossing(20, 10), Crossing(8, 4), Crossing(24, 12), NONE)
    assert (costed.cycles.fill, costed.cycles.drain, costed.cycles.total) == (0, 0, 38)


@pytest.mark.parametrize(
    ("packing", "bits", "words"),
    [
        (Packing.NONE, 3, 10),
        (Packing.WHOLE, 3, 5),  # two a word
        (Packing.DENSE, 3, 4),  # 30 bits
        (Packing.NONE, 8, 10),
        (Packing.WHOLE, 8, 10),
        (Packing.DENSE, 8, 10),
        (Packing.NONE, 12, 20),  # two words each
        (Packing.WHOLE, 12, 20),
        (Packing.DENSE, 12, 15),
    ],
)
def test_words_of_ten_elements(packing: Packing, bits: int, words: int) -> None:
    store = Store("s", OPERAND_ROLES, 8, packing=packing)
    assert store.words(10, bits) == words
    assert store.words(0, bits) == 0


def test_roles_have_no_words_where_they_are_not_kept() -> None:
    tree = parse_loop_tree("keep dram input weight output\ntemporal m 1\ntemporal k 1\n")
    machine = Hierarchy("m", 10**9, (DRAM, RF), tuple((role, 8) for role in OPERAND_ROLES))
    costed = cost(WORK, machine, tree)
    assert {each.store for each in costed.words} == {"dram"}
    assert [name for name, _ in costed.cycles.busy] == ["dram"]
    assert costed.counts.tile("dram", Role.INPUT) == 24
