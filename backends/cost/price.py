"""Energy and area: actions, counted first, times the machine's price for each; leakage over time (specs/counts.md)."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.arch import BLOCK_CACHE, BLOCK_UNIT, Arch
from ...ir.hierarchy import Hierarchy
from ...ir.stats import LayerCounts

LEAKAGE = "leakage"  # the name of leaked energy among the components of a report; no component may have it
PRICED_ACTIONS = (
    ("array", "mac", "array.mac"),
    ("vector", "op", "vector.op"),
    ("post", "element", "post.element"),
    ("converter", "element", "converter.element"),
    (BLOCK_UNIT, "element", "block_unit.element"),
    (BLOCK_UNIT, "block", "block_unit.block"),
    (BLOCK_CACHE, "read_entry", "block_cache.read_entry"),
    (BLOCK_CACHE, "write_entry", "block_cache.write_entry"),
    ("host", "byte", "host.byte"),
    ("host", "operation", "host.operation"),
)


def action_counts(counts: LayerCounts, arch: Arch) -> dict[tuple[str, str], float]:
    """How often each (component, action) happened; what did not happen is absent."""
    happened: dict[tuple[str, str], float] = {}
    for component, action, counted in PRICED_ACTIONS:
        happened[component, action] = counts.actions.get(counted, 0)
    happened["control", "instruction"] = sum(counts.instructions.values())
    for name, roles in counts.traffic.items():
        read = sum(moved.read_bits for moved in roles.values())
        written = sum(moved.write_bits for moved in roles.values())
        if name == arch.main.name:
            happened[name, "read_bit"], happened[name, "write_bit"] = read, written
        else:
            word_bits = 8 * arch.memory(name).word_bytes
            happened[name, "read_word"], happened[name, "write_word"] = read / word_bits, written / word_bits
    return {key: times for key, times in happened.items() if times}


def energy_pj(counts: LayerCounts, arch: Arch) -> dict[str, float]:
    """Energy by component; a component without a row in `arch.energy` is absent."""
    return price(action_counts(counts, arch), arch)


def price(happened: Mapping[tuple[str, str], float], arch: Arch) -> dict[str, float]:
    """Sum over actions of count x energy per action, by component."""
    energy: dict[str, float] = {}
    for row in arch.energy:
        times = happened.get((row.component, row.action), 0)
        if times:
            energy[row.component] = energy.get(row.component, 0.0) + times * row.energy_pj
    return energy


def reported_pj(counts: LayerCounts, arch: Arch) -> dict[str, float]:
    """What a report says of a layer: `energy_pj`, and as `leakage` what the whole machine leaks in the layer's cycles.

    The mapper's objective is `energy_pj`, without leakage (specs/energy.md).
    """
    leaked = leakage_pj(counts.cycles, arch)
    return energy_pj(counts, arch) | ({LEAKAGE: leaked} if leaked else {})


def leakage_pj(cycles: int, machine: Arch | Hierarchy) -> float:
    """Known leakage power times time: one mW for one second is 1e9 pJ. Components of unknown leakage add nothing."""
    power_mw = sum(row.leakage_mw for row in machine.leakage if row.leakage_mw is not None)
    return power_mw * cycles / machine.clock_hz * 1e9


def area_um2(arch: Arch) -> float | None:
    """The machine's area; None unless every component has a figure."""
    areas = [row.area_um2 for row in arch.area]
    known = [area for area in areas if area is not None]
    return sum(known) if areas and len(known) == len(areas) else None
