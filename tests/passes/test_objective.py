"""Objectives: their text, what they are worth, and what is refused."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
from dnnc.ir.compiled import compiled_entry
from dnnc.ir.diagnostics import CompileError, Span
from dnnc.passes.map_goal import goal_of, value_of
from dnnc.passes.objective import Objective, Term, parse_objective
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "energy_pj", "cycles", "value", "unit"),
    [
        ("latency", 7.0, 3, 3.0, "cycles"),
        ("energy", 7.0, 3, 7.0, "pJ"),
        ("edp", 7.0, 3, 21.0, "pJ x cycles"),
        ("latency * energy", 7.0, 3, 21.0, "pJ x cycles"),
        ("energy*latency^2", 7.0, 3, 63.0, "pJ x cycles^2"),
        ("edp^2", 7.0, 3, 441.0, "pJ^2 x cycles^2"),
        ("energy**0.5", 9.0, 3, 3.0, "pJ^0.5"),
        ("energy + 1e+1*latency", 7.0, 3, 37.0, "(energy + 10*latency in pJ, cycles)"),
        ("2*3*energy + .5*edp+energy", 7.0, 3, 59.5, "(0.5*edp + 7*energy in pJ, cycles)"),
    ],
)
def test_what_a_text_is_worth(text: str, energy_pj: float, cycles: int, value: float, unit: str) -> None:
    objective = parse_objective(text)
    assert objective.of(energy_pj, cycles) == value
    assert objective.unit == unit
    assert not objective.is_limited


def test_limits_are_those_of_a_layer() -> None:
    objective = parse_objective("energy, cycles<=10, energy_pj<=2.5e3")
    assert objective == Objective((Term(1.0, 1.0, 0.0),), 10.0, 2500.0)
    assert objective.of(2500.0, 10) == 2500.0
    assert objective.of(2500.1, 10) == objective.of(1.0, 11) == math.inf
    assert objective.value(2500.1, 11) == 2500.1
    assert objective.short(2500.0, 10) is None
    short = objective.short(2600.0, 12, is_proven=True)
    assert short is not None
    assert "conv: no mapping keeps cycles<=10: the least is 12 cycles, 2 too much" in str(short.fault("conv"))
    short = objective.short(2600.0, 9)
    assert short is not None
    told = "conv: no mapping was found that keeps energy_pj<=2500: the least is 2600 pJ, 100 too much"
    assert told in str(short.fault("conv"))


def test_what_decides() -> None:
    needs = {
        text: parse_objective(text) for text in ("latency", "energy", "edp", "energy, cycles<=3", "energy+latency")
    }
    assert [each.needs_energy for each in needs.values()] == [False, True, True, True, True]
    assert [each.needs_latency for each in needs.values()] == [True, False, True, True, True]
    assert [each.is_linear for each in needs.values()] == [True, True, False, True, True]
    assert [parse_objective(text).is_linear for text in ("2*latency", "latency^2", "energy+edp")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("latncy", ["there is no figure 'latncy'\nhelp: did you mean 'latency'?"]),
        ("speed*energy + 0*edp", ["there is no figure 'speed'", "'0*edp' has the weight 0\nhelp: above 0"]),
        ("", ["'' is neither a figure nor a number\nhelp: latency, energy, edp, or"]),
        ("energy-latency", ["'energy-latency' is neither a figure nor a number"]),
        ("7", ["'7' has neither energy nor latency"]),
        ("energy + 7", ["'7' has neither energy nor latency"]),
        ("energy^4.5", ["'energy^4.5' has the power 4.5\nhelp: at most 4"]),
        ("edp^3*energy^2", ["has the power 5"]),
        ("1e19*energy", ["has the weight 1e+19\nhelp: above 0, and at most 1e+18"]),
        ("1e18*energy+energy+1e18*energy", ["'1e18*energy' has the weight 1e+18"]),
        ("energy, cycles<5", ["'cycles<5' is no limit\nhelp: cycles<=N or energy_pj<=N"]),
        ("energy, cycels<=5", ["there is no limit of 'cycels'\nhelp: did you mean 'cycles'?"]),
        ("energy, cycles<=5, cycles<=6", ["two limits of cycles\nhelp: one"]),
        ("energy, cycles<=1e400", ["the limit 1e400 of cycles\nhelp: at most 1e+18"]),
        ("+".join(f"energy^{n / 4}" for n in range(1, 10)), ["9 terms\nhelp: at most 8"]),
        ("energy" + " " * 200, ["it has 206 letters\nhelp: at most 200"]),
    ],
)
def test_every_fault_is_told_where_it_is(text: str, faults: list[str]) -> None:
    with pytest.raises(CompileError) as raised:
        parse_objective(text, Span("m.dnnir"))
    told = [str(each) for each in raised.value.diagnostics]
    assert len(told) == len(faults)
    for one, fault in zip(told, faults, strict=True):
        assert one.startswith(f"m.dnnir: error: objective {text[:80]!r}: ")
        assert fault in one


def powers_of(term: Term) -> tuple[float, float]:
    return term.energy_power, term.latency_power


numbers = st.floats(0.001, 1e9).map(lambda value: float(f"{value:.6g}"))
powers = st.sampled_from((0.0, 0.5, 1.0, 2.0, 3.25, 4.0))
terms = st.builds(Term, numbers | st.just(1.0), powers, powers).filter(
    lambda each: each.energy_power + each.latency_power
)
objectives = st.builds(
    Objective,
    st.lists(terms, min_size=1, max_size=3, unique_by=powers_of).map(
        lambda some: tuple(sorted(some, key=powers_of)[::-1])
    ),
    st.just(math.inf) | numbers,
    st.just(math.inf) | numbers,
)


@given(objectives)
def test_an_objective_is_its_text(objective: Objective) -> None:
    assert parse_objective(str(objective)) == objective


figures = st.tuples(st.floats(0, 1e15), st.integers(0, 10**15))


@given(objectives, figures, figures)
def test_of_lower_bounds_a_lower_bound(objective: Objective, one: tuple[float, int], other: tuple[float, int]) -> None:
    below = min(one[0], other[0]), min(one[1], other[1])
    for each in (one, other):
        assert objective.of(*below) <= objective.of(*each) * (1 + 1e-12)


@cache
def callable_value_of() -> Any:
    """Compiled for calls from here: as it is, it is for compiled code alone."""
    python: Any = value_of
    return compiled_entry(python.py_func)


@settings(deadline=None)
@given(objectives, figures)
def test_compiled_code_has_the_same_values(objective: Objective, each: tuple[float, int]) -> None:
    energy, cycles = each
    assert callable_value_of()(goal_of(objective), cycles, energy) == pytest.approx(
        objective.of(energy, cycles), rel=1e-12
    )


@given(
    text=st.sampled_from(["latency", "edp", "energy^0.5*latency^0.5", "energy + 50*latency", "energy^2*latency^0.5"]),
    figures=st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**6)), min_size=1, max_size=4),
)
def test_sums_of_figures_are_worth_the_sum_of_their_values(text: str, figures: list[tuple[float, int]]) -> None:
    objective = parse_objective(text)
    assert objective.is_superadditive
    whole = objective.value(sum(energy for energy, _ in figures), sum(cycles for _, cycles in figures))
    assert whole >= sum(objective.value(*each) for each in figures) * (1 - 1e-9)


def test_powers_that_add_up_to_less_than_one_are_worth_less_together() -> None:
    objective = parse_objective("energy^0.5*latency^0.25")
    assert not objective.is_superadditive
    assert objective.value(2.0, 2) < 2 * objective.value(1.0, 1)
