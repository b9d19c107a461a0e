"""Prices of a description: rows of energy and area, from the tables of specs/components or given in place."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.arch import Arch, AreaRow, EnergyRow
from . import components
from .yaml_reader import Fields, ScalarNode


def _priced(arch: Arch) -> dict[str, tuple[str, ...]]:
    """Components and their actions, as specs/counts.md lists them."""
    actions: dict[str, tuple[str, ...]] = {
        "array": ("mac",),
        "post": ("element",),
        "host": ("byte",),
        "control": ("instruction",),
    }
    if arch.vector is not None:
        actions["vector"] = ("op",)
    for number, memory in enumerate(arch.memories):
        actions[memory.name] = ("read_word", "write_word") if number else ("read_bit", "write_bit")
    return actions


def from_tables(top: Fields, arch: Arch) -> list[components.Figures]:
    """The figures of the `components` section: a technology for local memories and a type of main memory."""
    section = top.fields("components", required=False)
    if section is None:
        return []
    legal = components.technologies()
    technology = section.integer("technology_nm", legal[0], legal[-1], example="45")
    if technology not in legal:
        section.fault("technology_nm", f"there is no table for {technology} nm", f"legal: {', '.join(map(str, legal))}")
        technology = legal[0]
    kind = section.choice("dram", components.dram_types())
    section.done()
    if not _can_price(top):
        return []  # reported already
    figures = [components.array(arch.array), components.post(arch.post), components.host(), components.control()]
    if arch.vector is not None:
        figures.append(components.vector(arch.vector))
    figures.append(components.dram(arch.main, kind))
    return figures + [components.sram(memory, technology) for memory in arch.local]


def _can_price(top: Fields) -> bool:
    """Whether everything is sound whose prices follow from tables, or must be given."""
    units = ("array", "memories", "components", "vector")
    return not any(name.partition(".")[0].partition("[")[0] in units for name in top.faults.wrong | top.faults.unsound)


def energy_rows(top: Fields, arch: Arch, figures: Sequence[components.Figures]) -> tuple[EnergyRow, ...]:
    """Rows from the tables, replaced or completed by those given in place, in a fixed order."""
    legal = _priced(arch)
    rows = {(row.component, row.action): row for each in figures for row in each.energy}
    in_place: set[tuple[str, str]] = set()
    for entry in top.list_of_fields("energy", required=False) if _can_price(top) else []:
        component = entry.choice("component", tuple(legal))
        action = entry.choice("action", legal.get(component, ("mac",)))
        row = EnergyRow(component, action, entry.number("energy_pj", 0, 1e12), entry.text("source"))
        if (component, action) in in_place:
            entry.fault("action", f"{component}.{action} is priced twice", "one row for each action")
        in_place.add((component, action))
        rows[component, action] = row
        entry.done()
    if (
        rows
        and _can_price(top)
        and (missing := [f"{c}.{a}" for c, actions in legal.items() for a in actions if (c, a) not in rows])
    ):
        top.fault("energy", f"no energy is given for {', '.join(missing)}", "price every action, or add `components`")
    return tuple(rows[key] for key in sorted(rows))


def area_rows(top: Fields, arch: Arch, figures: Sequence[components.Figures]) -> tuple[AreaRow, ...]:
    legal = tuple(name for name in (*_priced(arch), "dma") if name not in ("dram", "host"))
    rows = {each.area.component: each.area for each in figures if each.area is not None}
    in_place: set[str] = set()
    for entry in top.list_of_fields("area", required=False) if _can_price(top) else []:
        component = entry.choice("component", legal)
        node = entry.node.entries.get("area_um2")
        unknown = isinstance(node, ScalarNode) and node.value is None and entry.has("area_um2")
        area = None if unknown else entry.number("area_um2", 0, 1e15)
        if component in in_place:
            entry.fault("component", f"the area of {component!r} is given twice", "one row for each component")
        in_place.add(component)
        rows[component] = AreaRow(component, area, entry.text("source"))
        entry.done()
    return tuple(rows[key] for key in sorted(rows))
