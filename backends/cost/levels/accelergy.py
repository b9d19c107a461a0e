"""A machine with levels inside the array and its counts in Accelergy's files: as accelergy_export.py, level by level.

A store is a component of as many instances as it has, a fan-out one wire a bit wide whose `transfer_bit` is a bit over
one link.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from ....ir.hierarchy import FanOut, Hierarchy
from ....ir.nest import Role
from ..accelergy_text import Component, System, texts_of
from .layers import LayerFigures

_ACTIONS = {
    "read_word": "read",
    "write_word": "write",
    "hop_bit": "transfer_bit",
    "mac": "compute",
    "operation": "operation",
}


def files(layers: Sequence[LayerFigures], machine: Hierarchy) -> dict[str, str]:
    """The texts by file name. An ERT and an ART only where the machine has prices and areas."""
    sums: dict[tuple[str, str], int] = {}
    for layer in layers:
        for key, times in layer.actions.items():
            sums[key] = sums.get(key, 0) + times
    prices = {(row.component, row.action): row.energy_pj for row in machine.energy}
    leakage = {row.component: row.leakage_mw for row in machine.leakage}
    area = {row.component: row.area_um2 for row in machine.area}
    components = tuple(
        Component(
            name,
            kind,
            attributes,
            instances,
            tuple((_ACTIONS[act], Fraction(times)) for (each, act), times in sums.items() if each == name and times),
            tuple((_ACTIONS[act], price) for (each, act), price in prices.items() if each == name),
            leakage.get(name),
            area.get(name),
        )
        for name, kind, attributes, instances in _shapes(machine)
    )
    return texts_of(System(machine.name, machine.clock_hz, sum(layer.cycles for layer in layers), components))


def _shapes(machine: Hierarchy) -> Iterator[tuple[str, str, dict[str, int | float | str], int]]:
    """Names, classes, attributes and numbers of instances, from main memory inwards."""
    for level in machine.levels:
        if isinstance(level, FanOut):
            yield level.name, "wire", {"width": 1, "length_mm": level.hop_mm}, 1
        elif level.depth_words is None:
            yield level.name, "DRAM", {"width": level.word_bits}, machine.instances(level.name)
        else:
            shape: dict[str, int | float | str] = {"width": level.word_bits, "depth": level.depth_words}
            ports: dict[str, int | float | str] = {"n_banks": level.banks, "n_rw_ports": level.ports}
            yield level.name, "SRAM", shape | ports, machine.instances(level.name)
    bits = dict(machine.bits)
    widths: dict[str, int | float | str] = {"width_a": bits[Role.INPUT], "width_b": bits[Role.WEIGHT]}
    widths["accumulator_width"] = machine.partial_bits or bits[Role.OUTPUT]
    yield "mac", "intmac", widths, machine.lanes
    if machine.host.operations_per_second is not None:
        yield "host", "host", {}, 1
