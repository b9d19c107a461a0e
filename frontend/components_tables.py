"""The tables that prices come from: those of specs/components, and a user's own in one file.

A user's table has the sections `sram`, `dram` and `logic`, each like the file of that name in specs/components, and
`energy`, `area` and `leakage`, rows as in a description. What it names replaces what is built in (specs/energy.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from ..ir.arch import AreaRow, EnergyRow, LeakageRow
from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from .components_price import Origin
from .components_scaling import LARGEST_NM, SMALLEST_NM
from .yaml_events import KeptYaml
from .yaml_faults import Faults
from .yaml_fields import Fields
from .yaml_reader import ListNode, MapNode, ScalarNode, read_yaml

TABLES = Path(__file__).parents[1] / "specs" / "components"
SRAM_FIGURES = ("read_pj", "write_pj", "leakage_mw", "area_um2")
WIDEST_BITS = 128  # of the words in a table of memories; wider words are several arrays
_T = TypeVar("_T")
_MOST_POINTS = 64  # of a curve
_LARGEST = 1e15  # of any figure


@dataclass(frozen=True, slots=True)
class SramCurve:
    """Memories of one technology and word width by rising capacity. A user's may have no leakage or no area, and has a
    `source` of its own."""

    technology_nm: int
    width_bits: int
    capacity_bytes: tuple[int, ...]
    read_pj: tuple[float, ...]
    write_pj: tuple[float, ...]
    leakage_mw: tuple[float, ...]
    area_um2: tuple[float, ...]
    source: str = ""


@dataclass(frozen=True, slots=True)
class SramTable:
    """Curves of the built-in `nodes`, which are read when they are asked for, and those `given` instead or besides.

    `port_exponents` by figure: more read-write ports multiply it by ports ^ exponent. Each has two parts: at 16 KiB,
    and what it grows by for each doubling of the capacity from 1 to 256 KiB."""

    source: str
    nodes: tuple[int, ...]
    given: tuple[SramCurve, ...]
    port_exponents: Mapping[str, tuple[float, float]]
    ports_source: str

    def technologies(self) -> tuple[int, ...]:
        """Nodes in nm that there are curves of, sorted."""
        return tuple(sorted({*self.nodes, *(curve.technology_nm for curve in self.given)}))

    def curves(self, technology_nm: int) -> tuple[SramCurve, ...]:
        """Those of one of `technologies`, by rising width."""
        given = sorted((c for c in self.given if c.technology_nm == technology_nm), key=lambda c: c.width_bits)
        return tuple(given) or _built_in_curves(technology_nm)


@dataclass(frozen=True, slots=True)
class LogicRow:
    """A part of logic; specs/components/logic.yaml says what its figures mean. None stands for an unknown kind."""

    name: str
    pj: float = 0.0
    pj_per_bit: float = 0.0
    pj_per_bit2: float = 0.0
    source: str = ""
    technology_nm: int = 45
    origin: Origin = Origin.PUBLISHED
    um2: float = 0.0
    um2_per_bit: float = 0.0
    um2_per_bit2: float = 0.0
    area_source: str | None = None
    area_technology_nm: int = 45
    leakage_mw: float = 0.0
    leakage_mw_per_bit: float = 0.0
    leakage_mw_per_bit2: float = 0.0
    leakage_source: str | None = None
    leakage_technology_nm: int = 45


@dataclass(frozen=True, slots=True)
class DramRow:
    type: str
    energy_pj_per_bit: float
    source: str


@dataclass(frozen=True, slots=True)
class Tables:
    """All prices. `energy`, `area` and `leakage` are rows of a machine's own components, each with its place."""

    sram: SramTable
    dram: Mapping[str, DramRow]
    logic: Mapping[str, LogicRow]
    energy: tuple[tuple[EnergyRow, Span], ...] = ()
    area: tuple[tuple[AreaRow, Span], ...] = ()
    leakage: tuple[tuple[LeakageRow, Span], ...] = ()


@cache
def built_in() -> Tables:
    """The tables of specs/components."""
    sram, dram, logic = (_plain(name) for name in ("sram", "dram", "logic"))
    rows = (LogicRow(**{**row, "origin": Origin(row.get("origin", "published"))}) for row in logic["rows"])
    ports = sram["ports"]
    return Tables(
        SramTable(sram["source"], tuple(sram["technologies_nm"]), (), _exponents(ports), ports["source"]),
        {row["type"]: DramRow(**row) for row in dram["rows"]},
        {row.name: row for row in rows},
    )


@cache
def _built_in_curves(technology_nm: int) -> tuple[SramCurve, ...]:
    rows = _plain(f"sram_{technology_nm}nm")["curves"]
    return tuple(SramCurve(**{key: _tuple(value) for key, value in row.items()}) for row in rows)


def _plain(name: str) -> Any:
    """A table of ours as plain values, which earlier commands may have read."""
    text = (TABLES / f"{name}.yaml").read_text(encoding="utf-8")
    kept = KeptYaml.of_user()
    key = kept.key(f"plain\n{text}")
    value = kept.read(key)
    if not isinstance(value, dict):
        import yaml

        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        kept.write(key, value)
        kept.close()
    return value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _exponents(ports: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    given = {figure: ports[figure.partition("_")[0]] for figure in SRAM_FIGURES}
    return {figure: (at, growth) for figure, (at, growth) in given.items()}


def read_table(text: str, file: str) -> Tables:
    """A user's table over the built-in one. Raises CompileError with all faults, each with line and column."""
    tables, faults = read_what_is_sound(text, file)
    if faults:
        raise CompileError(faults)
    return tables


def read_what_is_sound(text: str, file: str) -> tuple[Tables, list[Diagnostic]]:
    """The same with all faults. Where there are some, of the table is left which components its rows name, and which
    types of main memory there are; none where they are not known. Raises CompileError where it holds no sections."""
    faults = Faults(text, file)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        help = "`sram`, `dram`, `logic`, `energy`, `area`, `leakage` (specs/energy.md)"
        raise CompileError(Diagnostic("a table of prices starts with a section such as `logic:`", root.span, help))
    top = Fields(root, faults)
    tables = built_in()
    sram = _section(top, "sram", lambda each: _sram(each, tables.sram), tables.sram)
    dram = _section(top, "dram", _dram, dict[str, DramRow]())
    logic = _section(top, "logic", lambda each: _logic(each, tables.logic), dict[str, LogicRow]())
    energy, area, leakage = table_rows(top)
    top.done()
    if found := faults.in_order():
        types = {} if any(name.startswith("dram") for name in faults.wrong) else {**tables.dram, **dram}
        return replace(tables, dram=types, energy=energy, area=area, leakage=leakage), found
    return Tables(sram, {**tables.dram, **dram}, {**tables.logic, **logic}, energy, area, leakage), []


def _section(top: Fields, key: str, read: Callable[[Fields], _T], absent: _T) -> _T:
    section = top.fields(key, required=False)
    if section is None:
        return absent
    found = read(section)
    section.done()
    return found


def _sram(fields: Fields, built: SramTable) -> SramTable:
    """A user's curves of a technology replace the built-in ones of it; exponents of ports stay where none are given."""
    source = fields.text("source")
    rows = fields.list_of_fields("curves")
    curves = [_curve(each) for each in rows]
    seen: set[tuple[int, int]] = set()
    for curve, each in zip(curves, rows, strict=True):
        if {each.name("technology_nm"), each.name("width_bits")} & each.faults.wrong:
            continue
        if (curve.technology_nm, curve.width_bits) in seen:
            message = f"there are two curves for {curve.technology_nm} nm and words of {curve.width_bits} bits"
            each.fault("width_bits", message, "one curve for each pair")
        seen.add((curve.technology_nm, curve.width_bits))
    ports = fields.fields("ports", required=False)
    exponents, ports_source = built.port_exponents, built.ports_source
    if ports is not None:
        given = {name: _exponent(ports, name) for name in ("read", "write", "leakage", "area")}
        exponents, ports_source = _exponents(given), ports.text("source")
        ports.done()
    named = tuple(replace(curve, source=source) for curve in curves)
    return SramTable(built.source, built.nodes, named, exponents, ports_source)


def _exponent(fields: Fields, key: str) -> tuple[float, float]:
    found = numbers(fields, key, 0, 4)
    if found and len(found) != 2:
        fields.fault(
            key, f"{fields.name(key)!r} has {len(found)} numbers", "at 16 KiB, and its growth with each doubling"
        )
    return (found[0], found[1]) if len(found) == 2 else (0.0, 0.0)


def _curve(fields: Fields) -> SramCurve:
    capacities = numbers(fields, "capacity_bytes", 1, 1 << 40)
    optional = ("leakage_mw", "area_um2")
    given = [name for name in SRAM_FIGURES if fields.has(name) or name not in optional]
    figures = [numbers(fields, name, 0, _LARGEST) if name in given else [] for name in SRAM_FIGURES]
    if any(low >= high for low, high in pairwise(capacities)):
        fields.fault("capacity_bytes", "capacities must rise", "for example `capacity_bytes: [1024, 2048]`")
    for name, found in zip(SRAM_FIGURES, figures, strict=True):
        if found and capacities and len(found) != len(capacities):
            message = f"{fields.name(name)!r} has {len(found)} figures for {len(capacities)} capacities"
            fields.fault(name, message, "one for each of `capacity_bytes`")
        elif 0 in found:
            fields.fault(
                name, f"{fields.name(name)!r} has a 0, and figures are interpolated on logarithmic axes", "> 0"
            )
    node = fields.integer("technology_nm", SMALLEST_NM, LARGEST_NM, example="45")
    width = fields.integer("width_bits", 1, WIDEST_BITS, example="32")
    fields.done()
    read, write, leakage, area = map(tuple, figures)
    return SramCurve(node, width, tuple(map(int, capacities)), read, write, leakage, area)


def numbers(fields: Fields, key: str, low: float, high: float) -> list[float]:
    """A list of 1 to _MOST_POINTS numbers; empty where it is not one, which is told."""
    node = fields.value(key, "[1, 2]")
    if node is None:
        return []
    items = node.items if isinstance(node, ListNode) else ()
    found = [item.value for item in items if isinstance(item, ScalarNode)]
    good = [
        each for each in found if isinstance(each, int | float) and not isinstance(each, bool) and low <= each <= high
    ]
    if not 0 < len(items) <= _MOST_POINTS or len(good) != len(items):
        message = f"{fields.name(key)!r} must be a list of 1 to {_MOST_POINTS} numbers from {low:g} to {high:g}"
        fields.fault(key, message, f"for example `{key}: [1, 2]`")
        return []
    return [float(each) for each in good]


def _dram(fields: Fields) -> dict[str, DramRow]:
    rows = {}
    for each in fields.list_of_fields("rows"):
        row = DramRow(each.text("type"), each.number("energy_pj_per_bit", 0, _LARGEST), each.text("source"))
        each.done()
        if each.name("type") in each.faults.wrong:
            continue
        if row.type in rows:
            each.fault("type", f"the type {row.type!r} is given twice", "one row for each type")
        rows[row.type] = row
    return rows


# A kind of figure: its keys, its source, the node that it is for.
_KINDS = (
    (("pj", "pj_per_bit", "pj_per_bit2"), "source", "technology_nm"),
    (("um2", "um2_per_bit", "um2_per_bit2"), "area_source", "area_technology_nm"),
    (("leakage_mw", "leakage_mw_per_bit", "leakage_mw_per_bit2"), "leakage_source", "leakage_technology_nm"),
)


def _logic(fields: Fields, built: Mapping[str, LogicRow]) -> dict[str, LogicRow]:
    """Rows in which the kinds of figures that a user gives (energy, area, leakage) replace the built-in ones."""
    rows: dict[str, LogicRow] = {}
    for each in fields.list_of_fields("rows"):
        name = each.choice("name", tuple(built))
        changed: dict[str, Any] = {}
        for keys, source, node in _KINDS:
            if not any(each.has(key) for key in (*keys, source, node)):
                continue
            changed |= {key: each.number(key, 0, _LARGEST) if each.has(key) else 0.0 for key in keys}
            changed[source] = each.text(source)
            changed[node] = each.integer(node, SMALLEST_NM, LARGEST_NM, example="45")
        if "source" in changed:
            changed["origin"] = Origin(each.choice("origin", tuple(Origin), Origin.PUBLISHED))
        each.done()
        if each.name("name") in each.faults.wrong:
            continue
        if name in rows:
            each.fault("name", f"{name!r} is given twice", "one row for each part")
        rows[name] = replace(built[name], **changed)
    return rows


def table_rows(
    top: Fields,
) -> tuple[tuple[tuple[EnergyRow, Span], ...], tuple[tuple[AreaRow, Span], ...], tuple[tuple[LeakageRow, Span], ...]]:
    """Rows of a machine's own components, each with its place; whether a machine has them is for others to say."""
    energy, area, leakage = [], [], []
    for each in top.list_of_fields("energy", required=False):
        row = EnergyRow(
            each.text("component"), each.text("action"), each.number("energy_pj", 0, 1e12), each.text("source")
        )
        each.done()
        if not {each.name("component"), each.name("action")} & top.faults.wrong:
            energy.append((row, each.node.span))
    for each in top.list_of_fields("area", required=False):
        place = AreaRow(each.text("component"), number_or_null(each, "area_um2"), each.text("source"))
        each.done()
        if each.name("component") not in top.faults.wrong:
            area.append((place, each.node.span))
    for each in top.list_of_fields("leakage", required=False):
        power = number_or_null(each, "leakage_mw")
        leaks = LeakageRow(each.text("component"), power, each.text("source"))
        each.done()
        if each.name("component") not in top.faults.wrong:
            leakage.append((leaks, each.node.span))
    return tuple(energy), tuple(area), tuple(leakage)


def number_or_null(fields: Fields, key: str) -> float | None:
    """A figure of 0 or more, or null where it is not known."""
    node = fields.node.entries.get(key)
    unknown = isinstance(node, ScalarNode) and node.value is None and fields.has(key)
    return None if unknown else fields.number(key, 0, _LARGEST)
