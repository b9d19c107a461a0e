"""Every number of a machine with levels inside the array, far too small, far too large or no number: refused once,
where it stands, or the machine can be costed."""

from __future__ import annotations

import re

import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.loop_tree_text import parse_loop_tree
from support.descriptions import levels_text
from support.random_levels import plain, workload

LEVELS = levels_text(
    "store: dram, word_bits: 64, latency_cycles: 3",
    "store: glb, word_bits: 64, capacity_bytes: 1024, holds: [input, output], keeps: [input], banks: 2, ports: 2,\n"
    "     read_words_per_cycle: 2, write_words_per_cycle: 2, shared_words_per_cycle: 2, latency_cycles: 3",
    "fanout: pe, rows: 3, cols: 4, row_dims: [m, k], link_bits: 16, hop_mm: 0.5, loops: {factors: {k: 3}},\n"
    "     bus_bits: {input: 16, output: 64}, chain: rows",
    "store: spad, word_bits: 8, depth_words: 16, holds: [weight], keeps: [weight], loops: {dims: [k], most: {k: 4}}",
    clock="1000",
    head="vector_lanes: 5\n",
)
TEXT = (
    LEVELS
    + """\
components: {technology_nm: 45, dram: lpddr4}
energy:
  - {component: mac, action: mac, energy_pj: 2, source: x}
area:
  - {component: mac, area_um2: 2, source: x}
leakage:
  - {component: mac, leakage_mw: 2, source: x}
"""
)
NUMBERS = list(re.finditer(r": (\d+(?:\.\d+)?)(?=[,}\n])", TEXT))
TREE = parse_loop_tree(
    "keep dram input weight output\nkeep glb input\nspatial k 2 pe.rows\nkeep spad weight\ntemporal m 1\ntemporal k 1"
)


@pytest.mark.parametrize(
    "found",
    ["1e-300", "1e-320", "1e-6", "0", "-1", "1.5", "65536", "1e12", "1125899906842624", "9223372036854775808", "1e300",
     "1e999", "-1e999", "nan", ".nan", ".inf", "1" * 41, "''", "null", "true", "[]", "{}"],
)  # fmt: skip
def test_a_number_is_refused_once_or_has_a_cost(found: str) -> None:
    extents = {"m": 4, "k": 6}
    operands = [plain("m", extents), plain("k", extents)], [plain("k", extents)], [plain("m", extents)]
    work = workload("product", extents, *operands)
    assert len(NUMBERS) == 30
    refused = 0
    for number in NUMBERS:
        text = TEXT[: number.start(1)] + found + TEXT[number.end(1) :]
        place = TEXT[: number.start(1)].count("\n") + 1
        try:
            machine = parse_hierarchy(text, "small.yaml")
        except CompileError as error:
            (fault,) = error.diagnostics
            assert fault.span.line == place, fault
            refused += 1
            continue
        figures = cost(work, machine, TREE)
        assert figures.cycles.total > 0
        assert 0 <= figures.total_energy_pj < float("inf")
    assert refused >= {"65536": 8, "1e-6": 20, "0": 15, "1e12": 20, "null": 26}.get(found, 10)


def test_the_product_of_all_lanes_is_bounded() -> None:
    fanouts = [f"fanout: f{n}, rows: 4096, cols: 4096" for n in range(3)]
    with pytest.raises(CompileError) as caught:
        parse_hierarchy(levels_text("store: dram, word_bits: 8", *fanouts), "x.yaml")
    (fault,) = caught.value.diagnostics
    assert (fault.span.line, fault.message) == (7, f"with 'f1' there are {4096**4} instances")
