"""What must hold of optimal mappings, on some random problems (benchmarks/levels_properties.py takes many); and counts
of 10^18 points, which neither the cost model nor the search may wrap."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from dnnc.ir.arch import EnergyRow
from dnnc.ir.hierarchy import OPERAND_ROLES, Constraint, FanOut, Hierarchy, Packing, Store
from dnnc.ir.nest import Role
from dnnc.passes.levels.mapper import OBJECTIVES, map_levels
from support.levels_properties import problem, unsound, violations
from support.random_levels import plain, workload


@pytest.mark.parametrize("seed", [3, 11, 29, 41])
def test_better_machines_are_never_worse_and_names_mean_nothing(seed: int) -> None:
    assert list(violations(*problem(seed))) == []


@pytest.mark.parametrize("seed", range(100, 130))
def test_figures_are_sound(seed: int) -> None:
    """Compulsory traffic, utilisation, whole counts."""
    work, machine = problem(seed)
    found = map_levels(work, machine, OBJECTIVES[seed % 3])
    if found is None:
        pytest.skip("nothing fits")
    assert list(unsound(work, machine, found.cost)) == []


N = 10**6
E = {"p": N, "m": N, "k": N}
HUGE = workload(
    "huge", E, [plain("p", E), plain("k", E)], [plain("m", E), plain("k", E)], [plain("p", E), plain("m", E)]
)


def _machine(packing: Packing, rate: float | None) -> Hierarchy:
    """The sizes of all tiles are fixed: what is left to the mapper are orders, and the axes of the lanes."""
    dims = ("p", "m", "k")

    def store(name: str, word_bits: int, depth: int | None, factor: int) -> Store:
        loops = Constraint(factors=tuple((dim, factor) for dim in dims))
        made = Store(name, OPERAND_ROLES, word_bits, depth, OPERAND_ROLES, packing, constraint=loops)
        return replace(made, read_words_per_cycle=rate, write_words_per_cycle=rate)

    levels = (
        store("dram", 64, None, 1000),
        store("glb", 64, 1 << 22, 10),
        FanOut("pe", 10, 10, hop_mm=0.1, constraint=Constraint(factors=(("k", 10), ("m", 10)))),
        store("rf", 8, 1 << 20, 0),
    )
    actions = [("mac", "mac"), ("pe", "hop_bit")]
    actions += [(name, action) for name in ("dram", "glb", "rf") for action in ("read_word", "write_word")]
    energy = tuple(EnergyRow(component, action, 1.5, "made up") for component, action in actions)
    return Hierarchy("huge", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES), energy, partial_bits=24)


@pytest.mark.parametrize("packing", [Packing.WHOLE, Packing.DENSE])
@pytest.mark.parametrize("rate", [None, 0.3, 1e-6])
def test_nothing_wraps_at_ten_to_the_eighteenth(packing: Packing, rate: float | None) -> None:
    for objective in OBJECTIVES:
        found = map_levels(HUGE, _machine(packing, rate), objective)
        assert found is not None
        assert found.optimal
        counts = found.cost.counts
        assert counts.points == 10**18
        assert counts.steps == 10**18 // 100
        inside = {each.role: each.each.total for each in counts.boundaries if each.inner is None}
        assert inside == {Role.INPUT: 10**18, Role.WEIGHT: 10**18, Role.OUTPUT: 10**18}
        # Each multiplier's register file reads an input and a weight for each of its points, at the rate.
        busy = dict(found.cost.cycles.busy)["rf"]
        if rate is not None:
            words = next(
                each.read.busiest for each in found.cost.words if (each.store, each.role) == ("rf", Role.INPUT)
            )
            assert words == 10**16
            assert busy >= 2 * words / Fraction(str(rate))
            assert found.cost.cycles.total >= busy
