"""Rows of energy, area and leakage of a machine's components, whatever kind of machine: from tables, from a user's own
table, or in place. A later source wins, component by component."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import TypeVar

from ..ir.arch import AreaRow, EnergyRow, LeakageRow
from ..ir.diagnostics import Diagnostic, Span, closest
from .components import Figures
from .components_tables import Tables, number_or_null
from .yaml_fields import Fields

_Row = TypeVar("_Row", EnergyRow, AreaRow, LeakageRow)


def own_rows(
    tables: Tables,
    legal: Mapping[str, tuple[str, ...]],
    placed: Sequence[str],
    section: Fields,
    called_here: Callable[[EnergyRow], EnergyRow],
    component_here: Callable[[str], str],
) -> list[Figures]:
    """Rows of a user's table for components of this machine: of `legal` actions by component, and of what is `placed`
    on the chip. `called_here` and `component_here` give a row and a component the machine's names."""
    found = []
    faults: list[Diagnostic] = []
    for row, span in tables.energy:
        own = called_here(row)
        if own.component not in legal:
            faults.append(_unknown("component", own.component, tuple(legal), span))
        elif own.action not in legal[own.component]:
            faults.append(_unknown(f"action of {own.component!r}", own.action, legal[own.component], span))
        found.append(Figures((own,)))
    for there, span in tables.area:
        name = component_here(there.component)
        faults += _not_placed("component with an area", name, placed, span)
        found.append(Figures((), AreaRow(name, there.area_um2, there.source)))
    for given, span in tables.leakage:
        name = component_here(given.component)
        faults += _not_placed("component that leaks", name, placed, span)
        found.append(Figures((), None, LeakageRow(name, given.leakage_mw, given.source)))
    section.faults.include(faults)
    return found


def _not_placed(what: str, name: str, placed: Sequence[str], span: Span) -> Iterator[Diagnostic]:
    if name not in placed:
        yield _unknown(what, name, placed, span)


def _unknown(what: str, found: str, legal: Sequence[str], span: Span) -> Diagnostic:
    help = closest(found, legal)
    return Diagnostic(f"the table names the {what} {found[:80]!r}, which the machine has not", span, help)


# Actions that need no price where others have one.
_OPTIONAL = {("host", "operation")}


def energy_rows(
    top: Fields, legal: Mapping[str, tuple[str, ...]], figures: Sequence[Figures], sound: bool, named: bool = False
) -> dict[tuple[str, str], EnergyRow]:
    """By component and action. Where the machine is `sound`, each action must have a price, or none; where its
    components are `named`, at least, rows in place are read."""
    rows = {(row.component, row.action): row for each in figures for row in each.energy}
    in_place: set[tuple[str, str]] = set()
    unknown = False  # whether a row is of no known action: then it may be the one that is missing
    for entry in _entries(top, "energy", sound or named):
        component = entry.choice("component", tuple(legal))
        # Of an unknown component nothing is known of its actions but that they are of one.
        known = entry.name("component") not in top.faults.wrong
        actions = legal[component] if known else tuple(dict.fromkeys(a for each in legal.values() for a in each))
        action = entry.choice("action", actions)
        row = EnergyRow(component, action, entry.number("energy_pj", 0, 1e12), entry.text("source"))
        entry.done()
        if {entry.name("component"), entry.name("action")} & top.faults.wrong:
            unknown = True
            continue
        if (component, action) in in_place:
            entry.fault("action", f"{component}.{action} is priced twice", "one row for each action")
        in_place.add((component, action))
        rows[component, action] = row
    needed = [(c, a) for c, actions in legal.items() for a in actions if (c, a) not in _OPTIONAL]
    if rows and sound and not unknown and (missing := [f"{c}.{a}" for c, a in needed if (c, a) not in rows]):
        top.fault("energy", f"no energy is given for {', '.join(missing)}", "price every action, or add `components`")
    return rows


def area_rows(top: Fields, placed: Sequence[str], figures: Sequence[Figures], named: bool) -> dict[str, AreaRow]:
    rows = {each.area.component: each.area for each in figures if each.area is not None}
    for entry, component in _placed_rows(top, "area", placed, named):
        rows[component] = AreaRow(component, number_or_null(entry, "area_um2"), entry.text("source"))
        entry.done()
    return rows


def leakage_rows(
    top: Fields, placed: Sequence[str], figures: Sequence[Figures], sound: bool, named: bool = False
) -> dict[str, LeakageRow]:
    """Leakage is energy, too: it is taken only of a machine whose actions are priced."""
    rows = {each.leakage.component: each.leakage for each in figures if each.leakage is not None}
    for entry, component in _placed_rows(top, "leakage", placed, sound or named):
        rows[component] = LeakageRow(component, number_or_null(entry, "leakage_mw"), entry.text("source"))
        entry.done()
    if rows and sound and not (figures or top.has("energy")):
        top.fault("leakage", "leakage is given, but no action has a price", "add `components` or `energy`")
    return rows


def _placed_rows(top: Fields, key: str, placed: Sequence[str], named: bool) -> Iterator[tuple[Fields, str]]:
    """The rows of a section that has one for each component, with the component; one given twice is told."""
    seen: set[str] = set()
    for entry in _entries(top, key, named):
        component = entry.choice("component", placed)
        if component in seen and entry.name("component") not in top.faults.wrong:
            entry.fault("component", f"the {key} of {component!r} is given twice", "one row for each component")
        if entry.name("component") not in top.faults.wrong:
            seen.add(component)
        yield entry, component


def _entries(top: Fields, key: str, named: bool) -> list[Fields]:
    """The rows of a section. Those of a machine whose components are not known are not read."""
    return top.list_of_fields(key, required=False) if top.has(key) and named else []


def renamed(name: str, other: str, names: Container[str]) -> Callable[[str], str]:
    """What calls a component `other` where a table says `name` and the machine has no such component."""
    return lambda found: other if found == name and name not in names else found
