"""Prices of machines with levels inside the array: rows from the tables of specs/components, or given in place."""

from __future__ import annotations

from ..ir.arch import AreaRow, EnergyRow
from ..ir.hierarchy import FanOut, Hierarchy, Store
from ..ir.nest import Role
from .arch_prices import technologies
from .components_logic import mac, wire
from .components_memory import dram_bit, local_memory
from .components_tables import built_in
from .yaml_reader import Fields


def actions(machine: Hierarchy) -> dict[str, tuple[str, ...]]:
    """Components and their actions (specs/hierarchy.md)."""
    found: dict[str, tuple[str, ...]] = {"mac": ("mac",)}
    for level in machine.levels:
        found[level.name] = ("read_word", "write_word") if isinstance(level, Store) else ("hop_bit",)
    return found


def energy_rows(top: Fields, machine: Hierarchy) -> tuple[EnergyRow, ...]:
    """Rows from the section `components`, replaced or completed by those given in place, in the order of the levels."""
    legal = actions(machine)
    rows = {(row.component, row.action): row for row in _from_tables(top, machine)}
    in_place: set[tuple[str, str]] = set()
    for entry in top.list_of_fields("energy", required=False):
        component = entry.choice("component", tuple(legal))
        action = entry.choice("action", legal.get(component, ("mac",)))
        if (component, action) in in_place:
            entry.fault("action", f"{component}.{action} is priced twice", "one row for each action")
        in_place.add((component, action))
        energy_pj = entry.number("energy_pj", 0, 1e12)
        rows[component, action] = EnergyRow(component, action, energy_pj, entry.text("source"))
        entry.done()
    wanted = [(component, action) for component, each in legal.items() for action in each]
    if missing := [f"{component}.{action}" for component, action in wanted if (component, action) not in rows]:
        if rows:
            help = "a row under `energy`, or the section `components`"
            top.faults.add(f"there is no price for {', '.join(missing[:4])}", top.span("energy"), help)
        return tuple(rows.values())
    return tuple(rows[key] for key in wanted)


def area_rows(top: Fields, machine: Hierarchy) -> tuple[AreaRow, ...]:
    """Areas given in place, of whole components of the machine."""
    rows = []
    for entry in top.list_of_fields("area", required=False):
        component = entry.choice("component", tuple(actions(machine)))
        area = None
        if entry.node.entries.get("area_um2") is not None:
            area = entry.number("area_um2", 0, 1e15)
        rows.append(AreaRow(component, area, entry.text("source")))
        entry.done()
    if rows or not top.has("components"):
        return tuple(rows)
    return _areas(top, machine)


def _from_tables(top: Fields, machine: Hierarchy) -> list[EnergyRow]:
    section = top.fields("components", required=False)
    if section is None:
        return []
    memory_nm, logic_nm = technologies(section)
    interface = section.choice("dram", tuple(built_in().dram))
    section.done()
    if top.faults.wrong or top.faults.unsound or not machine.levels:
        return []
    bits = dict(machine.bits)
    partial = machine.partial_bits or bits[Role.OUTPUT]
    product = mac(bits[Role.INPUT], bits[Role.WEIGHT], partial, logic_nm)
    rows = [EnergyRow("mac", "mac", product.energy_pj, product.described)]
    for number, level in enumerate(machine.levels):
        if isinstance(level, FanOut):
            link = wire(1, level.hop_mm, logic_nm)
            rows.append(EnergyRow(level.name, "hop_bit", link.energy_pj, link.described))
        elif level.depth_words is None:
            bit = dram_bit(interface)
            source = bit.described if number == 0 else f"assumed as main memory: {bit.described}"
            for action in ("read_word", "write_word"):
                rows.append(EnergyRow(level.name, action, bit.energy_pj * level.word_bits, source))
        else:
            price = local_memory(
                level.depth_words * level.word_bits, level.word_bits, level.ports, level.banks, memory_nm
            )
            rows.append(EnergyRow(level.name, "read_word", price.read_pj, price.described))
            rows.append(EnergyRow(level.name, "write_word", price.write_pj, price.described))
    return rows


def _areas(top: Fields, machine: Hierarchy) -> tuple[AreaRow, ...]:
    section = top.fields("components", required=False)
    if section is None or top.faults.wrong or top.faults.unsound:
        return ()
    memory_nm, logic_nm = technologies(section)
    bits = dict(machine.bits)
    product = mac(bits[Role.INPUT], bits[Role.WEIGHT], machine.partial_bits or bits[Role.OUTPUT], logic_nm)
    area = None if product.area_um2 is None else machine.lanes * product.area_um2
    rows = [AreaRow("mac", area, product.area_source)]
    for level in machine.stores:
        if level.depth_words is None:
            continue
        price = local_memory(level.depth_words * level.word_bits, level.word_bits, level.ports, level.banks, memory_nm)
        whole = None if price.area_um2 is None else machine.instances(level.name) * price.area_um2
        rows.append(AreaRow(level.name, whole, price.described))
    return tuple(rows)
