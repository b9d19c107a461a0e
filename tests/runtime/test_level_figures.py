"""Words, busy times and bits over links of one small mapping, derived by hand."""

from __future__ import annotations

from dnnc.ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from dnnc.ir.loop_tree_text import parse_loop_tree
from dnnc.runtime.level_figures import figures
from dnnc.runtime.level_walker import walk
from support.random_levels import plain, workload

INPUT, WEIGHT, OUTPUT = OPERAND_ROLES


def test_a_product_on_two_lanes() -> None:
    """o[m] += i[m, k] * w[k] with 4 x 6 points: outputs come once for each of two pieces of k. A word of 16 bits holds
    two operands or one partial sum."""
    e = {"m": 4, "k": 6}
    work = workload("product", e, [plain("m", e), plain("k", e)], [plain("k", e)], [plain("m", e)])
    text = "keep dram input weight output\ntemporal k 3\ntemporal m 2\nspatial m 1 pe.rows\n"
    tree = parse_loop_tree(f"{text}keep rf input weight output\ntemporal k 1")
    machine = Hierarchy(
        "m",
        10**9,
        (
            Store("dram", OPERAND_ROLES, 16, read_words_per_cycle=0.5, write_words_per_cycle=1.0),
            FanOut("pe", 2, 1, link_bits=16),
            Store("rf", OPERAND_ROLES, 16, read_words_per_cycle=4.0, shared_words_per_cycle=3.5),
        ),
        tuple((role, 8) for role in OPERAND_ROLES),
        partial_bits=16,
    )
    found = figures(work, machine, walk(work, machine, tree))
    # The first of 4 outputs need no read: neither of those in main memory nor of the 2 of each lane.
    assert found.read == {
        ("dram", INPUT): (12, 12),
        ("rf", INPUT): (12, 6),
        ("dram", WEIGHT): (3, 3),
        ("rf", WEIGHT): (12, 6),
        ("dram", OUTPUT): (4, 4),
        ("rf", OUTPUT): (8 + 20, 4 + 10),
    }
    # Finished outputs are operands again: 4 in 2 words, after 4 partial sums.
    assert found.written == {
        ("rf", INPUT): (12, 6),
        ("rf", WEIGHT): (6, 3),
        ("dram", OUTPUT): (2 + 4, 2 + 4),
        ("rf", OUTPUT): (4 + 24, 2 + 12),
    }
    assert found.busy == {"dram": 38, "rf": 14}
    assert found.hop_bits == {"pe": (12 + 6 + 8) * 16}
    # Buffets wait for one word of each operand: of main memory at 0.5 a cycle, of the register file at 3.5.
    assert (found.fill, found.drain, found.alternating) == (2 + 2 + 1 + 1, 1 + 1, 0)
