"""Prices of logic: sums of published parts, scaled by a published rule."""

from __future__ import annotations

import pytest
from dnnc.frontend import components_logic as logic
from dnnc.frontend.components_price import Origin, Price, total, weakest
from dnnc.frontend.components_scaling import area_factor, energy_factor
from hypothesis import given
from hypothesis import strategies as st


def test_a_multiply_accumulate_is_its_parts() -> None:
    """8 by 4 bits into 24, from the fits to Horowitz at 45 nm and Aladdin's areas and leakage at 40 nm."""
    price = logic.mac(8, 4, 24)
    assert price.energy_pj == pytest.approx(0.0029948 * 32 + 0.0010417 * 6 + 0.003125 * 24)
    assert price.area_um2 == pytest.approx(4600 * 32 / 1024 + 179 * 24 / 32)
    assert price.leakage_mw == pytest.approx(0.05 * 32 / 1024 + 0.0024 * 24 / 32)
    assert price.origin is Origin.FITTED
    assert "8 by 4 bits" in price.source


def test_floats() -> None:
    assert logic.float_mac("f32").energy_pj == pytest.approx(3.7 + 0.9)
    assert logic.float_mac("f16").energy_pj == pytest.approx(1.1 + 0.9)
    assert logic.float_mac("f16").area_um2 is None  # nobody states an area of the half-precision multiplier
    assert logic.float_mac("f16").origin is Origin.PUBLISHED
    assert logic.float_mac("bf16").origin is Origin.ASSUMED


def test_figures_of_aladdin() -> None:
    assert logic.comparator(32).energy_pj == pytest.approx(0.029015)
    assert logic.register(64).area_um2 == pytest.approx(64 * 5.98)


@pytest.mark.parametrize("nm", [90, 65, 32, 16, 7])
def test_another_node_is_the_factor_away(nm: int) -> None:
    known, found = logic.adder(32, 45), logic.adder(32, nm)
    assert found.energy_pj == pytest.approx(known.energy_pj * energy_factor(45, nm))
    assert known.area_um2 is not None
    assert found.area_um2 == pytest.approx(known.area_um2 * area_factor(40, nm))
    assert known.leakage_mw is not None
    assert found.leakage_mw == pytest.approx(known.leakage_mw * energy_factor(40, nm))
    assert found.origin is Origin.SCALED
    assert f"45 to {nm} nm times" in found.source


def test_forty_and_forty_five_nm_stand_in_for_one_another() -> None:
    for part in (logic.register(8, 40), logic.adder(8, 40)):
        assert part.origin is not Origin.SCALED
    assert logic.register(8, 40) == logic.register(8, 45)


def test_the_rule_by_hand() -> None:
    """At 0.8 V: 65 nm 3.755 V^2 - 4.398 V + 1.975, 45 nm 1.103 V^2 - 0.362 V + 0.2767; areas 1.5 to 1."""
    assert energy_factor(45, 65) == pytest.approx(
        (3.755 * 0.64 - 4.398 * 0.8 + 1.975) / (1.103 * 0.64 - 0.362 * 0.8 + 0.2767)
    )
    assert area_factor(45, 65) == 1.5
    assert area_factor(45, 55) == pytest.approx(1.25)


@given(st.lists(st.integers(7, 130), min_size=3, max_size=3))
def test_scaling_goes_by_way_of_any_node(nodes: list[int]) -> None:
    a, b, c = nodes
    for factor in (energy_factor, area_factor):
        assert factor(a, b) * factor(b, c) == pytest.approx(factor(a, c))
        assert factor(a, a) == 1


@given(st.integers(7, 129))
def test_a_larger_node_takes_more(nm: int) -> None:
    assert energy_factor(45, nm) < energy_factor(45, nm + 1)
    assert area_factor(45, nm) < area_factor(45, nm + 1)


@pytest.mark.parametrize(("nm", "pj"), [(65, 0.389), (45, 0.361), (40, 0.350), (32, 0.331)])
def test_wires_as_the_plug_in_has_them(nm: int, pj: float) -> None:
    """pJ per bit and mm at 1 V with every bit turning, twice the least delay."""
    assert logic.wire(1, 1.0, nm, 1.0, 1.0).energy_pj == pytest.approx(pj, abs=6e-4)
    assert logic.wire(16, 0.5, nm, 0.9, 0.25).energy_pj == pytest.approx(8 * 0.81 * 0.25 * pj, rel=2e-3)
    assert logic.wire(1, 1.0, 7) == logic.wire(1, 1.0, 13)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 128))
def test_wider_operands_cost_more(a: int, b: int, sums: int) -> None:
    price = logic.mac(a, b, sums)
    for wider in (logic.mac(a + 1, b, sums), logic.mac(a, b + 1, sums), logic.mac(a, b, sums + 1)):
        assert wider.energy_pj > price.energy_pj
    assert logic.mac(b, a, sums).energy_pj == pytest.approx(price.energy_pj)


def test_a_whole_knows_what_all_of_its_parts_do() -> None:
    known = Price(1.0, 2.0, 3.0, "a", Origin.PUBLISHED, "l", "m")
    unknown = Price(1.0, None, 3.0, "b", Origin.SCALED)
    assert total(known, known) == Price(2.0, 4.0, 6.0, "a; a", Origin.PUBLISHED, "l; l", "m; m")
    assert (total(known, unknown).leakage_mw, total(known, unknown).area_um2) == (None, 6.0)
    assert total(known, unknown).origin is Origin.SCALED
    assert weakest(*Origin) is Origin.ASSUMED
