"""Prices of memories: the table's points come back, what lies between follows by hand, and more never costs less."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from dnnc.frontend.components_memory import FEWEST_WORDS, dram_bit, local_memory, register_file, sram
from dnnc.frontend.components_price import Origin
from dnnc.frontend.components_scaling import energy_factor
from dnnc.frontend.components_tables import SRAM_FIGURES, built_in
from hypothesis import given
from hypothesis import strategies as st

SWEEP = Path(__file__).parents[3] / "shared" / "data" / "ground_truth" / "cacti" / "cacti7_sram_sweep.csv"
KIB = 8 * 1024  # bits


def test_runs_of_cacti_come_back() -> None:
    """64 KiB of 64-bit words at 45 nm, as CACTI 7 put it out."""
    price = sram(64 * KIB, 64, technology_nm=45)
    assert (price.read_pj, price.write_pj, price.leakage_mw, price.area_um2) == (25.869, 19.649, 0.0016703, 209050)
    assert price.origin is Origin.MEASURED
    assert price.source == "CACTI 7, Accelergy's default configuration: 65536 B of 64-bit words, 45 nm"


@pytest.mark.skipif(not SWEEP.exists(), reason="the shared data are not beside this checkout")
def test_the_shared_sweep_comes_back() -> None:
    """All of its runs with one bank, made elsewhere with the same tool, to the table's five digits."""
    rows = [row for row in csv.DictReader(SWEEP.read_text().splitlines()) if row["banks"] == "1"]
    assert len(rows) == 42
    for row in rows:
        price = sram(8 * int(row["bytes"]), int(row["width_bits"]), technology_nm=int(row["tech_nm"]))
        found = (price.read_pj, price.write_pj, price.leakage_mw, price.area_um2)
        area_um2 = 1e6 * float(row["area_mm2"])
        expected = (float(row["read_pJ"]), float(row["write_pJ"]), float(row["leak_mW_per_bank"]), area_um2)
        assert found == pytest.approx(expected, rel=1e-4)


def test_between_two_capacities_logarithms_lie_on_a_line() -> None:
    """96 KiB is 1.5 times 64 KiB, of which twice reads 32.286 instead of 25.869 pJ."""
    price = sram(96 * KIB, 64, technology_nm=45)
    assert price.read_pj == pytest.approx(25.869 * 1.5 ** math.log2(32.286 / 25.869))
    assert price.origin is Origin.FITTED
    assert "interpolated" in price.source


def test_between_two_widths_logarithms_lie_on_a_line() -> None:
    """48 bits are 1.5 times 32, of which twice reads 25.869 instead of 17.804 pJ."""
    price = sram(64 * KIB, 48, technology_nm=45)
    assert price.read_pj == pytest.approx(17.804 * 1.5 ** math.log2(25.869 / 17.804))


def test_wide_words_are_arrays_side_by_side() -> None:
    whole, part = sram(64 * KIB, 512), sram(16 * KIB, 128)
    for figure in SRAM_FIGURES:
        assert getattr(whole, figure) == pytest.approx(4 * getattr(part, figure))
    assert "4 arrays side by side" in whole.source


def test_narrow_words_and_few_words_follow_the_rules_of_the_plug_in() -> None:
    assert sram(1 * KIB, 4).read_pj == pytest.approx((0.7 * 4 / 8 + 0.3) * sram(1 * KIB, 8).read_pj)
    assert sram(1 * KIB, 4).area_um2 == sram(1 * KIB, 8).area_um2
    shallow, least = sram(16 * 32, 32), sram(32 * 32, 32)
    assert least.origin is Origin.MEASURED
    assert shallow.read_pj == pytest.approx(0.5**0.78 * least.read_pj)
    assert shallow.area_um2 == pytest.approx(0.5 * least.area_um2)


@pytest.mark.parametrize(("figure", "exponent", "growth"), [("read_pj", 0.545, 0.059), ("area_um2", 1.153, 0)])
def test_ports_multiply(figure: str, exponent: float, growth: float) -> None:
    """The exponent is that of 16 KiB; 64 KiB are two doublings more, 1 MiB as 256 KiB four."""
    for kib, doublings in ((16, 0), (64, 2), (1024, 4)):
        one, two = sram(kib * KIB, 32), sram(kib * KIB, 32, ports=2)
        assert getattr(two, figure) == pytest.approx(2 ** (exponent + growth * doublings) * getattr(one, figure))
    assert (one.origin, two.origin) == (Origin.MEASURED, Origin.FITTED)


def test_between_nodes_figures_are_in_proportion() -> None:
    """50 nm lies a quarter of the way from 45 to 65 nm."""
    low, high, found = (sram(8 * KIB, 32, technology_nm=nm) for nm in (45, 65, 50))
    assert found.read_pj == pytest.approx(0.75 * low.read_pj + 0.25 * high.read_pj)
    assert found.origin is Origin.SCALED


def test_beyond_the_nodes_of_the_table_figures_are_scaled() -> None:
    """Upwards as logic; downwards with the root of the feature size, area in proportion, leakage 0.79 of the root."""
    known, larger = sram(8 * KIB, 32, technology_nm=90), sram(8 * KIB, 32, technology_nm=130)
    assert larger.read_pj == pytest.approx(known.read_pj * energy_factor(90, 130))
    assert "Stillmaker" in larger.source
    known, smaller = sram(8 * KIB, 32, technology_nm=22), sram(8 * KIB, 32, technology_nm=7)
    assert known.leakage_mw is not None
    assert known.area_um2 is not None
    assert smaller.read_pj == pytest.approx(known.read_pj * math.sqrt(7 / 22))
    assert smaller.leakage_mw == pytest.approx(known.leakage_mw * 0.79 * math.sqrt(7 / 22))
    assert smaller.area_um2 == pytest.approx(known.area_um2 * 7 / 22)
    assert (larger.origin, smaller.origin) == (Origin.SCALED, Origin.SCALED)


@given(
    words=st.integers(FEWEST_WORDS, 1 << 18),
    more=st.integers(1, 1 << 18),
    word_bits=st.integers(16, 640),
    ports=st.integers(1, 4),
    nm=st.integers(7, 130),
)
def test_more_capacity_or_ports_never_cost_less(words: int, more: int, word_bits: int, ports: int, nm: int) -> None:
    price = sram(words * word_bits, word_bits, ports, 1, nm)
    larger = sram((words + more) * word_bits, word_bits, ports, 1, nm)
    with_port = sram(words * word_bits, word_bits, ports + 1, 1, nm)
    for figure in SRAM_FIGURES:
        assert getattr(larger, figure) >= getattr(price, figure) * (1 - 1e-9) > 0
        assert getattr(with_port, figure) > getattr(price, figure)


@given(words=st.integers(64, 1 << 18), word_bits=st.integers(16, 64), nm=st.sampled_from((32, 40, 45, 65)))
def test_wider_words_cost_more(words: int, word_bits: int, nm: int) -> None:
    """Reads by CACTI's own figures up to a fifth less in some places, where it chooses another organisation."""
    narrow, wide = (sram(64 * words, bits, technology_nm=nm) for bits in (word_bits, 2 * word_bits))
    assert wide.read_pj > 0.8 * narrow.read_pj
    assert wide.write_pj > narrow.write_pj


def test_registers_hold_what_is_too_small_for_a_static_memory() -> None:
    """Twelve words of 16 bits: a word of registers and twelve comparisons of 4-bit addresses, at 40 nm."""
    price = register_file(12, 16, 40)
    assert price.read_pj == price.write_pj == pytest.approx(16 * 0.009 + 12 * 4 * 0.000906719)
    assert price.area_um2 == pytest.approx(12 * (16 * 5.98 + 4 * 2.1875))
    assert price.leakage_mw == pytest.approx(12 * (16 * 7e-5 + 4 * 7.56875e-7))
    assert local_memory(12 * 16, 16, technology_nm=40) == price
    assert register_file(1, 16, 40).read_pj == pytest.approx(16 * 0.009)
    assert local_memory(FEWEST_WORDS * 16, 16) == sram(FEWEST_WORDS * 16, 16)


def test_main_memory_by_type() -> None:
    assert dram_bit("lpddr4").energy_pj == 8.0
    assert dram_bit("lpddr4").area_um2 is None
    assert all(dram_bit(kind).energy_pj > 0 and dram_bit(kind).source for kind in built_in().dram)
