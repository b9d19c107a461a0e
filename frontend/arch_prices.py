"""Prices of a description: rows of energy, area and leakage, from tables or given in place."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ..ir.arch import Arch, AreaRow, EnergyRow, LeakageRow
from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from ..ir.files import read_text_bounded
from . import components
from .components_scaling import LARGEST_NM, SMALLEST_NM
from .components_tables import Tables, built_in, number_or_null, read_table
from .yaml_reader import LARGEST_BYTES, Fields

_Row = TypeVar("_Row", EnergyRow, AreaRow, LeakageRow)
_NODES = ("memory_technology_nm", "logic_technology_nm")


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


def _placed(arch: Arch) -> tuple[str, ...]:
    """Components on the chip, which take area and leak."""
    return tuple(name for name in (*_priced(arch), "dma") if name not in (arch.main.name, "host"))


def from_tables(top: Fields, arch: Arch, folder: Path | None) -> list[components.Figures]:
    """The figures of the `components` section: technologies, a type of main memory, and a user's own table.

    `folder` is where that table's name starts from; None where a description stands in no file of its own.
    """
    section = top.fields("components", required=False)
    if section is None:
        return []
    memory_nm, logic_nm = technologies(section)
    tables = user_table(section, folder) if section.has("table") else built_in()
    no_table = section.name("table") in top.faults.wrong  # the type may be one of those that it would have named
    kind = section.text("dram") if no_table else section.choice("dram", tuple(tables.dram))
    leaks = section.boolean("leakage", False)
    section.done()
    if not _can_price(top):
        return []  # reported already
    choice = components.Choice(memory_nm, logic_nm, kind, tables)
    figures = [*components.figures(arch, choice), *_own_rows(tables, arch, section)]
    return figures if leaks else [replace(each, leakage=None) for each in figures]


def technologies(section: Fields) -> tuple[int, int]:
    """Feature sizes in nm of the local memories and of all else."""
    given = [key for key in _NODES if section.has(key)]
    if not given:
        node = section.integer("technology_nm", SMALLEST_NM, LARGEST_NM, example="45")
        return node, node
    if section.has("technology_nm"):
        section.fault(
            "technology_nm",
            "'technology_nm' stands beside a technology of its parts",
            f"one, or {' and '.join(_NODES)}",
        )
    memory, logic = (section.integer(key, SMALLEST_NM, LARGEST_NM, example="45") for key in _NODES)
    return memory, logic


def user_table(section: Fields, folder: Path | None) -> Tables:
    """The table that `components.table` names, in or below the description's folder. Its faults join the others."""
    name = section.text("table", expected="my_table.yaml")
    path = PurePosixPath(name)
    if folder is None:
        section.fault("table", "a table can be named in a file only", "prices in place: `energy`, `area`, `leakage`")
        return built_in()
    place = folder / name
    if path.is_absolute() or not place.resolve().is_relative_to(folder.resolve()):
        section.fault("table", f"{name!r} leaves the folder of the description", "a path in that folder or below it")
        return built_in()
    try:
        text = read_text_bounded(place, LARGEST_BYTES, "specs/energy.md says what a table of prices is")
        return read_table(text, str(place))
    except CompileError as error:
        section.faults.include(error.diagnostics)
        section.faults.wrong.add(section.name("table"))
        return built_in()


def _own_rows(tables: Tables, arch: Arch, section: Fields) -> list[components.Figures]:
    """Rows of a user's table for components of this machine: `mac` is the array, and of main memory a price per word is
    one per bit as well, so that one table serves machines with levels inside the array, too."""
    legal, placed = _priced(arch), _placed(arch)
    found = []
    faults: list[Diagnostic] = []
    for row, span in tables.energy:
        own = _called_here(row, legal)
        if row.component == arch.main.name and row.action.endswith("_word"):
            bits = 8 * arch.main.word_bytes
            source = f"{row.source}; {row.energy_pj:g} pJ a word of {bits} bits"
            own = EnergyRow(row.component, row.action.replace("_word", "_bit"), row.energy_pj / bits, source)
        if own.component not in legal:
            faults.append(_unknown("component", own.component, tuple(legal), span))
        elif own.action not in legal[own.component]:
            faults.append(_unknown(f"action of {own.component!r}", own.action, legal[own.component], span))
        found.append(components.Figures((own,)))
    for there, span in tables.area:
        area = _called_here(there, legal)
        if area.component not in placed:
            faults.append(_unknown("component with an area", area.component, placed, span))
        found.append(components.Figures((), area))
    for given, span in tables.leakage:
        leakage = _called_here(given, legal)
        if leakage.component not in placed:
            faults.append(_unknown("component that leaks", leakage.component, placed, span))
        found.append(components.Figures((), None, leakage))
    section.faults.include(faults)
    return found


def _called_here(row: _Row, names: Container[str]) -> _Row:
    return replace(row, component="array") if row.component == "mac" and "mac" not in names else row


def _unknown(what: str, found: str, legal: Sequence[str], span: Span) -> Diagnostic:
    help = closest(found, legal)
    return Diagnostic(f"the table names the {what} {found[:80]!r}, which the machine has not", span, help)


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
    rows = {each.area.component: each.area for each in figures if each.area is not None}
    for entry, component in _placed_rows(top, "area", arch):
        rows[component] = AreaRow(component, number_or_null(entry, "area_um2"), entry.text("source"))
        entry.done()
    return tuple(rows[key] for key in sorted(rows))


def leakage_rows(top: Fields, arch: Arch, figures: Sequence[components.Figures]) -> tuple[LeakageRow, ...]:
    """Leakage is energy, too: it is taken only of a machine whose actions are priced."""
    rows = {each.leakage.component: each.leakage for each in figures if each.leakage is not None}
    for entry, component in _placed_rows(top, "leakage", arch):
        rows[component] = LeakageRow(component, number_or_null(entry, "leakage_mw"), entry.text("source"))
        entry.done()
    if rows and _can_price(top) and not (figures or top.has("energy")):
        top.fault("leakage", "leakage is given, but no action has a price", "add `components` or `energy`")
    return tuple(rows[key] for key in sorted(rows))


def _placed_rows(top: Fields, key: str, arch: Arch) -> list[tuple[Fields, str]]:
    """The rows of a section that has one for each component, with the component; one given twice is told."""
    found = []
    seen: set[str] = set()
    for entry in top.list_of_fields(key, required=False) if _can_price(top) else []:
        component = entry.choice("component", _placed(arch))
        if component in seen:
            entry.fault("component", f"the {key} of {component!r} is given twice", "one row for each component")
        seen.add(component)
        found.append((entry, component))
    return found
