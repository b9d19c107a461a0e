"""Prices of machines with levels inside the array: rows from tables, or given in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..ir.arch import AreaRow, EnergyRow, LeakageRow
from ..ir.hierarchy import FanOut, Hierarchy, Store
from ..ir.nest import Role
from .arch_prices import choice_of
from .components import Choice, Figures
from .components_logic import mac, wire
from .components_memory import dram_bit, local_memory
from .price_rows import area_rows, energy_rows, leakage_rows, own_rows, renamed
from .yaml_fields import Fields
from .yaml_reader import ListNode

_NAME_OF_LEVEL = re.compile(r"levels(\[\d+\](\.(store|fanout))?)?")


def actions(machine: Hierarchy) -> dict[str, tuple[str, ...]]:
    """Components and their actions (specs/hierarchy.md)."""
    found: dict[str, tuple[str, ...]] = {"mac": ("mac",)}
    for level in machine.levels:
        found[level.name] = ("read_word", "write_word") if isinstance(level, Store) else ("hop_bit",)
    if machine.host.operations_per_second is not None:
        found["host"] = ("operation",)  # what it moves is priced at main memory
    return found


def with_prices(top: Fields, machine: Hierarchy, folder: Path | None) -> Hierarchy:
    """`machine` with rows from the tables that `components` names, replaced or completed by those given in place, in
    the order of the levels. A user's table is looked for in `folder`; None where the description is in no file."""
    section = top.fields("components", required=False)
    asked = choice_of(section, folder) if section is not None else None
    sound = not len(top.faults) and not top.faults.wrong  # keys that are missing are told at the end
    legal = actions(machine)
    elsewhere = ("host", *(level.name for level in machine.levels[:1]))
    placed = tuple(name for name in legal if name not in elsewhere) if machine.levels else ()
    named = _are_named(top, machine)
    figures: list[Figures] = []
    if section is not None and asked is not None:
        choice, leaks = asked
        own = _own_rows(machine, choice, legal, placed, section) if sound or named else []
        figures = [*_from_tables(machine, choice), *own] if sound else []
        figures = figures if leaks else [replace(each, leakage=None) for each in figures]
    energy = energy_rows(top, legal, figures, sound, named)
    area = area_rows(top, tuple(name for name in legal if name != "host"), figures, sound or named)
    leakage = leakage_rows(top, placed, figures, sound, named)
    return replace(
        machine,
        energy=tuple(energy[component, action] for component, each in legal.items() for action in each
                     if (component, action) in energy),
        area=tuple(area[name] for name in legal if name in area),
        leakage=tuple(leakage[name] for name in legal if name in leakage),
    )  # fmt: skip


def _are_named(top: Fields, machine: Hierarchy) -> bool:
    """Whether the names of all levels have been read, whatever is wrong elsewhere."""
    node = top.node.entries.get("levels")
    told = any(_NAME_OF_LEVEL.fullmatch(name) for name in top.faults.wrong)
    return not told and isinstance(node, ListNode) and len(node.items) == len(machine.levels)


def _own_rows(
    machine: Hierarchy,
    choice: Choice,
    legal: dict[str, tuple[str, ...]],
    placed: Sequence[str],
    section: Fields,
) -> list[Figures]:
    """Rows of a user's table for the levels of this machine; its `array`, where there is none, is the multipliers."""
    product = renamed("array", "mac", legal)
    return own_rows(
        choice.tables, legal, placed, section, lambda row: replace(row, component=product(row.component)), product
    )


def _from_tables(machine: Hierarchy, choice: Choice) -> list[Figures]:
    """Figures of every level but networks, which have wires alone: their areas and leakage are not known."""
    bits = dict(machine.bits)
    partial = machine.partial_bits or bits[Role.OUTPUT]
    product = mac(bits[Role.INPUT], bits[Role.WEIGHT], partial, choice.logic_nm, choice.tables)
    found = [
        Figures(
            (EnergyRow("mac", "mac", product.energy_pj, product.described),),
            AreaRow("mac", _times(machine.lanes, product.area_um2), product.area_source),
            LeakageRow("mac", _times(machine.lanes, product.leakage_mw), product.leakage_source),
        )
    ]
    for number, level in enumerate(machine.levels):
        if isinstance(level, FanOut):
            link = wire(1, level.hop_mm, choice.logic_nm)
            found.append(Figures((EnergyRow(level.name, "hop_bit", link.energy_pj, link.described),)))
        elif level.depth_words is None:
            bit = dram_bit(choice.dram, choice.tables)
            source = bit.described if number == 0 else f"assumed as main memory: {bit.described}"
            energy = bit.energy_pj * level.word_bits
            found.append(Figures(_accesses(level, energy, energy, source)))
        else:
            price = local_memory(
                level.depth_words * level.word_bits,
                level.word_bits,
                level.ports,
                level.banks,
                choice.memory_nm,
                choice.tables,
            )
            count = machine.instances(level.name)
            found.append(
                Figures(
                    _accesses(level, price.read_pj, price.write_pj, price.described),
                    AreaRow(level.name, _times(count, price.area_um2), price.described),
                    LeakageRow(level.name, _times(count, price.leakage_mw), price.described),
                )
            )
    return found


def _accesses(store: Store, read_pj: float, write_pj: float, source: str) -> tuple[EnergyRow, ...]:
    return EnergyRow(store.name, "read_word", read_pj, source), EnergyRow(store.name, "write_word", write_pj, source)


def _times(count: int, each: float | None) -> float | None:
    return None if each is None else count * each
