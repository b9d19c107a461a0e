"""Accelergy's tables -> a table of prices (specs/energy.md): energy and area reference tables (ERT, ART; versions 0.3
and 0.4), and the CSV files of its table and library plug-ins.

Energies there are pJ an action of one instance, areas um^2 of one instance. Here an area is that of all instances.
What has no place in a table of prices is named as ignored, with the reason.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from itertools import chain, count
from math import prod
from pathlib import PurePosixPath

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from .foreign_yaml import Foreign
from .yaml_faults import Faults
from .yaml_reader import LARGEST_BYTES, read_yaml

_VERSIONS = ("0.3", "0.4")
_MOST_ROWS = 1000  # of a section of a table of prices
_MOST_NAMED = 300  # lines at the head of a table, which must stay one that can be read
_MOST_INSTANCES = 10**9
_LARGEST = 1e12
_LONGEST_NAME = 32  # of a component of a machine
_MOST_PARTS = 4  # of a name that are looked at

# Actions of a component with words, and of one that computes. What dnnc's own export calls its units is known by name.
_WORDS = {"read": "read_word", "write": "write_word", "transfer_bit": "hop_bit"}
_COMPUTE = ("compute", "mac_random", "mac", "multiply", "mult_random")
_UNITS = {
    "array": dict.fromkeys(_COMPUTE, "mac"),
    "vector": {"compute": "op"},
    "post": {"process": "element"},
    "host": {"access": "byte"},
    "control": {"write": "instruction"},
}


@dataclass(frozen=True, slots=True)
class ImportedTable:
    """`text` is a table of prices; `ignored` says in words what of the file is not in it."""

    text: str
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Energy:
    """One entry: `arguments` are those of the action, such as whether address and data change."""

    action: str
    energy_pj: float
    arguments: Mapping[str, float]
    span: Span


@dataclass(slots=True)
class _Component:
    """A component by its full name, `system.PE[0..167].spad`."""

    name: str
    span: Span
    energies: list[_Energy] = field(default_factory=list)
    area_um2: float | None = None
    leakage_mw: float | None = None

    @property
    def instances(self) -> int:
        ranges = re.findall(r"\[(\d{1,9})\.\.(\d{1,9})\]", self.name)
        return prod(max(0, int(last) - int(first) + 1) for first, last in ranges)

    @property
    def bare(self) -> tuple[str, ...]:
        """The parts of its name in the words that a machine's components may have."""
        parts = re.sub(r"\[[^\]]*\]", "", self.name).lower().split(".")[-_MOST_PARTS:]
        return tuple(re.sub(r"[^a-z0-9_]+", "_", part).strip("_")[:_LONGEST_NAME] or "part" for part in parts)

    @property
    def shown(self) -> str:
        """Its name on one line, whatever stands in it."""
        return _on_one_line(self.name)

    @property
    def computes(self) -> bool:
        return self.bare[-1] == "mac" or any(each.action in _COMPUTE for each in self.energies)


def import_tables(text: str, file: str) -> ImportedTable:
    """A table of Accelergy, CSV by the file's name or else reference tables. Raises CompileError with every fault."""
    return import_csv(text, file) if PurePosixPath(file).suffix == ".csv" else import_reference_tables(text, file)


def import_reference_tables(text: str, file: str) -> ImportedTable:
    """A document with `ERT`, `ART` or both. Raises CompileError with every fault and its place."""
    faults = Faults(text, file)
    top = Foreign(read_yaml(text, faults), faults)
    tables = [key for key in ("ERT", "ART") if key in top.names()]
    if not tables:
        found = ", ".join(top.names())[:80] or "no keys"
        help = "an energy or area reference table of Accelergy"
        raise CompileError(Diagnostic(f"the file has neither 'ERT' nor 'ART', but {found}", top.span, help))
    components: dict[str, _Component] = {}
    for key in tables:
        version = top[key]["version"]
        if version.text() not in _VERSIONS and version.present:
            version.fault(f"{key} of version {version.text()[:20]!r}", f"versions {' and '.join(_VERSIONS)} are read")
        for row in top[key]["tables"].items():
            name = row["name"].text()
            component = components.setdefault(name, _Component(name, row.span))
            if key == "ART":
                component.area_um2 = row["area"].number(high=_LARGEST)
                continue
            component.energies += [_energy(entry) for entry in row["actions"].items()]
    ignored = [_on_one_line(each) for each in top.ignored_fields()]
    faults.raise_if_any()
    return _table(list(components.values()), ignored, faults)


def _energy(entry: Foreign) -> _Energy:
    arguments = entry["arguments"]
    values = {key: arguments[key].number(low=-1e9, high=1e9) for key in arguments.names()}
    return _Energy(entry["name"].text(), entry["energy"].number(high=_LARGEST), values, entry.span)


def import_csv(text: str, file: str) -> ImportedTable:
    """A CSV file of the table or library plug-in; the file's name is the component's. Raises CompileError."""
    faults = Faults(text, file)
    if len(text.encode("utf-8", "replace")) > LARGEST_BYTES:
        raise CompileError(Diagnostic(f"the file is larger than {LARGEST_BYTES} bytes", Span(file, 1, 1)))
    lines = [(number, line.partition("#")[0]) for number, line in enumerate(text.splitlines(), start=1)]
    kept = [(number, line) for number, line in lines if line.strip(" ,\t")]
    try:
        cells = [[cell.strip() for cell in row] for row in csv.reader((line for _, line in kept), strict=True)]
    except csv.Error as error:
        raise CompileError(Diagnostic(f"not valid CSV: {error}", Span(file, 1, 1))) from None
    if not cells:
        raise CompileError(Diagnostic("the file is empty", Span(file, 1, 1)))
    header = [cell.lower() for cell in cells[0]]
    columns = {
        kind: next((n for n, name in enumerate(header) if re.match(pattern, name)), None)
        for kind, pattern in (
            ("action", r"action"),
            ("energy", r"(dynamic )?energy"),
            ("area", r"area"),
            ("leakage", r"leakage power\(mw\)"),
        )
    }
    if columns["energy"] is None or columns["action"] is None:
        missing = "energy" if columns["energy"] is None else "action"
        faults.add(f"there is no column {missing!r}", Span(file, kept[0][0], 1), "`width,action,energy,area`")
        faults.raise_if_any()
    component = _Component(PurePosixPath(file).stem, Span(file, 1, 1))
    others = [n for n, name in enumerate(header) if n not in columns.values() and not name.endswith("_delta")]
    attributes = [n for n in others if "energy" not in header[n] and header[n] != "comment"]
    deltas = [n for n, name in enumerate(header) if name.endswith("_delta")]
    ignored = [f"the column {_on_one_line(header[n])!r}" for n in others]
    first: dict[str, tuple[list[str], int]] = {}
    for (line, _), short in zip(kept[1:], cells[1:], strict=True):
        span = Span(file, line, 1)
        row = short + [""] * (len(header) - len(short))
        values = {kind: _cell(row, n, header, span, faults) for kind, n in columns.items() if kind != "action"}
        arguments = {header[n]: value for n in deltas if (value := _cell(row, n, header, span, faults)) is not None}
        own = [row[n] for n in attributes]
        component.area_um2 = component.area_um2 or values["area"]
        component.leakage_mw = component.leakage_mw or values["leakage"]
        for action in row[columns["action"] or 0].split("|"):
            before, where = first.setdefault(action, (own, line))
            if before != own:
                differing = next(
                    header[n] for n, one, other in zip(attributes, before, own, strict=True) if one != other
                )
                message = f"{action!r} has another {differing} than on line {where}"
                faults.add(message, span, "a table of prices has one component of a name: keep the rows of one")
            if values["energy"] is None:
                ignored.append(f"line {line}: {_on_one_line(action)!r}, which has no energy")
            else:
                component.energies.append(_Energy(action, values["energy"], arguments, span))
    faults.raise_if_any()
    return _table([component], ignored, faults)


def _cell(row: Sequence[str], column: int | None, header: Sequence[str], span: Span, faults: Faults) -> float | None:
    """The number of a cell; None where it is empty or a wildcard, or the column is missing."""
    text = row[column] if column is not None else ""
    if column is None or text in ("", "*"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _LARGEST:
        faults.add(f"{header[column]!r} is {text[:40]!r}", span, f"a number from 0 to {_LARGEST:g}")
        return None
    return value


def _table(components: Sequence[_Component], ignored: list[str], faults: Faults) -> ImportedTable:
    """The text of the table. Names are the last parts of Accelergy's, with as many before as tell them apart."""
    names = _names(components)
    rows: dict[str, list[str]] = {"energy": [], "area": [], "leakage": []}
    for component, name in zip(components, names, strict=True):
        whole = component.instances
        if not 0 < whole <= _MOST_INSTANCES:
            message = f"{component.shown!r} stands for {whole if whole < 10**30 else 'too many'} instances"
            faults.add(message, component.span, f"1 to {_MOST_INSTANCES}")
            continue
        where = f"Accelergy's table {_on_one_line(PurePosixPath(faults.file).name)}, {component.shown}"
        for action, energy, note in _actions(component, name, ignored):
            rows["energy"].append(_row(name, f"action: {action}, energy_pj: {energy!r}", f"{where}, {note}"))
        for key, unit, value in (
            ("area", "area_um2", component.area_um2),
            ("leakage", "leakage_mw", component.leakage_mw),
        ):
            if value is None or name in ("dram", "host"):
                if value:
                    ignored.append(f"{component.shown}: {key}, which {name} has not")
                continue
            rows[key].append(
                _row(name, f"{unit}: {value * whole!r}", f"{where}" + (f", {whole} times" if whole > 1 else ""))
            )
    for key, lines in rows.items():
        if len(lines) > _MOST_ROWS:
            faults.add(f"the table has {len(lines)} rows of {key}", Span(faults.file, 1, 1), f"at most {_MOST_ROWS}")
    if not rows["energy"] and not rows["area"]:
        faults.add(
            "nothing in the file has a place in a table of prices", Span(faults.file, 1, 1), "; ".join(ignored[:3])
        )
    faults.raise_if_any()
    head = ["# A table of prices (specs/energy.md), imported. Rows name components: call them as the machine does."]
    head += [f"# ignored: {line}" for line in ignored[:_MOST_NAMED]]
    head += [f"# ignored: {len(ignored) - _MOST_NAMED} more"] if len(ignored) > _MOST_NAMED else []
    body = [line for key, lines in rows.items() if lines for line in (f"{key}:", *lines)]
    return ImportedTable("\n".join([*head, *body]) + "\n", tuple(ignored))


def _row(name: str, figures: str, source: str) -> str:
    return f"  - {{component: {name}, {figures}, source: {json.dumps(source)}}}"


def _names(components: Iterable[_Component]) -> list[str]:
    names: dict[str, None] = {}
    for component in components:
        bare = component.bare
        short = "mac" if component.computes and bare[-1] not in _UNITS else bare[-1]
        parts = ["_".join(bare[-last:]) for last in range(1, len(bare) + 1)]
        numbered = (f"{parts[-1]}_{number}" for number in count(len(names)))
        legal = (each if re.match("[a-z]", each) else f"p{each}" for each in chain([short, *parts], numbered))
        names[next(each for each in legal if each not in names)] = None
    return list(names)


def _on_one_line(text: str) -> str:
    """A name of the file as a comment and a source may have it."""
    return "".join(each if each.isprintable() else "?" for each in text[:200])


def _actions(component: _Component, name: str, ignored: list[str]) -> Iterable[tuple[str, float, str]]:
    """Priced actions with their energies. Of the entries of one action that of the largest arguments is taken: an
    access whose address and data change."""
    grouped: dict[str, list[_Energy]] = {}
    for entry in component.energies:
        grouped.setdefault(entry.action, []).append(entry)
    legal = _UNITS.get(name, _UNITS["array"] if component.computes else _WORDS)
    taken: set[str] = set()
    for action, entries in grouped.items():
        ours = legal.get(action)
        if ours is None or ours in taken:
            per_cycle = " (an energy per cycle of unknown length)" if action in ("leak", "idle") else ""
            energies = ", ".join(f"{each.energy_pj:g}" for each in entries[:3]) + (", ..." if len(entries) > 3 else "")
            ignored.append(f"{component.shown}: action {_on_one_line(action)!r}{per_cycle}, {energies} pJ")
            continue
        taken.add(ours)
        largest = max(entries, key=lambda each: sorted(each.arguments.values(), reverse=True))
        given = _on_one_line(", ".join(f"{key} {value:g}" for key, value in largest.arguments.items()))
        if len(entries) > 1:
            word = _on_one_line(action)
            ignored.append(
                f"{component.shown}: {len(entries) - 1} entries of {word!r} with other than {given or 'none'}"
            )
        yield ours, largest.energy_pj, f"{action}{f' ({given})' if given else ''}"
