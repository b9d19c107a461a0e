"""The mapper on small convolutions whose windows slide: which loop keeps what decides which mapping is best."""

from __future__ import annotations

from random import Random

import pytest
from dnnc.benchmarks.levels_layers import conv, matmul
from dnnc.ir.arch import EnergyRow
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.hierarchy import OPERAND_ROLES, Hierarchy, Store
from dnnc.ir.loop_tree import Workload
from dnnc.passes.levels.mapper import map_levels, objective_of
from support.levels_space import costs_of_all

_MOST = 3000


def _problem(seed: int) -> tuple[Workload, Hierarchy]:
    """A convolution of a column of pixels, and a machine of main memory and one buffer."""
    rng = Random(seed)
    kernel = rng.choice((2, 3, 4))
    layer = conv(rng.choice((2, 3)), 2, rng.randint(kernel + 2, 9), kernel, pad=0)
    dims = tuple((dim, 1 if dim in "qs" else extent) for dim, extent in layer.dims)
    price = {"dram": rng.choice((5.0, 20.0)), "buffer": rng.choice((0.0, 1.0, 3.0))}
    rows = [EnergyRow("mac", "mac", 0.01, "made up")]
    for name, read in price.items():
        rows.append(EnergyRow(name, "read_word", read, "made up"))
        rows.append(EnergyRow(name, "write_word", read * rng.choice((0.5, 1.0, 2.0)), "made up"))
    buffer = Store("buffer", OPERAND_ROLES, 8, depth_words=rng.randint(4, 40), keeps=OPERAND_ROLES)
    stores = (Store("dram", OPERAND_ROLES, 8, keeps=OPERAND_ROLES), buffer)
    machine = Hierarchy("small", 10**9, stores, tuple((role, 8) for role in OPERAND_ROLES), tuple(rows))
    return Workload(f"column {seed}", dims, layer.operands), machine


# The last four were lost where a mapping that shares less of its window was taken for no worse than another.
@pytest.mark.parametrize("seed", [*range(12), 56, 71, 109, 148])
def test_the_best_of_all(seed: int) -> None:
    workload, machine = _problem(seed)
    listed = costs_of_all(workload, machine, _MOST)
    for objective in ("energy", "edp"):
        found = map_levels(workload, machine, objective)
        if not listed:
            assert found is None
            continue
        assert found is not None
        assert found.optimal
        assert found.objective == pytest.approx(min(objective_of(each, objective) for each in listed), rel=1e-9)


def test_a_search_that_is_cut_short_says_what_nothing_is_below() -> None:
    prices = [EnergyRow("mac", "mac", 1.0, "made up"), EnergyRow("dram", "read_word", 10.0, "made up")]
    stores = [Store(f"s{number}", OPERAND_ROLES, 8, depth_words=4) for number in range(4)]
    levels = (Store("dram", OPERAND_ROLES, 16, keeps=OPERAND_ROLES), *stores)
    machine = Hierarchy("deep", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES), tuple(prices))
    found = map_levels(matmul(4, 8, 6), machine, "energy", time_limit_s=0)
    assert found is not None
    assert found.stopped
    assert not found.optimal
    # 192 products, and 32 + 48 elements of inputs, two in a word, read once.
    assert found.lower_bound >= 192 * 1.0 + (32 + 48) / 2 * 10.0


def test_too_many_ways_to_cut_a_dimension_are_told() -> None:
    stores = [Store(f"s{number}", OPERAND_ROLES, 8, keeps=OPERAND_ROLES) for number in range(9)]
    levels = (Store("dram", OPERAND_ROLES, 16, keeps=OPERAND_ROLES), *stores)
    machine = Hierarchy("deep", 10**9, levels, tuple((role, 8) for role in OPERAND_ROLES), ())
    with pytest.raises(CompileError) as raised:
        map_levels(matmul(5040, 5040, 5040), machine, "latency", time_limit_s=5)
    (told,) = raised.value.diagnostics
    assert "too many ways to cut p (5040 points) over the 10 places for loops of 'deep'" in told.message
    assert "`factors`" in str(told.help)
