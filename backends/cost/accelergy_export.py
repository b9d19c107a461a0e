"""A machine and its counts in Accelergy's files (version 0.4): what it can price by itself, and what we counted.

`architecture.yaml` names components, classes and attributes; `action_counts.yaml` says how often each acted. `ERT.yaml`
and `ART.yaml` are our own prices in Accelergy's form: with them its energies are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from ...ir.arch import BLOCK_CACHE, BLOCK_UNIT, Arch, Memory
from ...ir.stats import LayerCounts
from .accelergy_text import Component, System, texts_of
from .price import action_counts

# Our actions of units in Accelergy's words; an access of main memory is one of a word there.
_ACTIONS = {"mac": "compute", "op": "compute", "element": "process", "byte": "access", "instruction": "write"}


def files(layers: Sequence[LayerCounts], arch: Arch) -> dict[str, str]:
    """The texts by file name. An ERT and an ART only where the machine has prices. Counts are sums over all layers,
    exact: words and bits are quotients of bytes."""
    sums: dict[tuple[str, str], Fraction] = {}
    for layer in layers:
        for key, times in action_counts(layer, arch).items():
            sums[key] = sums.get(key, Fraction(0)) + Fraction(times)
    cycles = sum(layer.cycles for layer in layers)
    components = tuple(_with_figures(each, arch, sums) for each in _components(arch))
    return texts_of(System(arch.name, arch.clock_hz, cycles, components))


def _components(arch: Arch) -> list[Component]:
    array = arch.array
    floats = any(each.is_float for each in array.inputs)
    widths = {
        "width_a": max(each.bits for each in array.inputs),
        "width_b": max(each.bits for each in array.weights),
        "accumulator_width": array.accumulator.bits,
    }
    units = [
        Component("array", "fpmac" if floats else "intmac", widths, array.rows * array.cols),
        Component("post", "post_unit", {}, arch.post.lanes),
        Component("host", "host", {}),
        Component("control", "reg", {}),
    ]
    if arch.vector is not None:
        units.insert(1, Component("vector", "fpmac", {"width": 32}, arch.vector.lanes))
    if (unit := arch.block_unit) is not None:
        units.append(Component(BLOCK_UNIT, "block_unit", {}, unit.lanes))
        units.append(Component(BLOCK_CACHE, "SRAM", {"width": unit.entry_bits, "depth": unit.entries}))
    return [*(_memory(each, each is arch.main) for each in arch.memories), *units]


def _memory(memory: Memory, is_main: bool) -> Component:
    width = 8 * memory.word_bytes
    if is_main:
        return Component(memory.name, "DRAM", {"width": width})
    shape = {"width": width, "depth": memory.capacity_bytes // memory.word_bytes}
    return Component(memory.name, "SRAM", {**shape, "n_banks": memory.banks, "n_rw_ports": memory.ports})


def _with_figures(component: Component, arch: Arch, sums: Mapping[tuple[str, str], Fraction]) -> Component:
    # Words of main memory in one of our actions, which are of bits there; 1 elsewhere.
    per_word = Fraction(1, 8 * arch.main.word_bytes) if component.name == arch.main.name else Fraction(1)
    leakage = {row.component: row.leakage_mw for row in arch.leakage}
    area = {row.component: row.area_um2 for row in arch.area}
    return replace(
        component,
        counts=tuple((_action(act), times * per_word) for (name, act), times in sums.items() if name == component.name),
        prices_pj=tuple(
            (_action(row.action), float(row.energy_pj / per_word))
            for row in arch.energy
            if row.component == component.name
        ),
        leakage_mw=leakage.get(component.name),
        area_um2=area.get(component.name),
    )


def _action(ours: str) -> str:
    return _ACTIONS.get(ours, ours.partition("_")[0])
