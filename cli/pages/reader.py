"""Reads statistics from JSON, which may say anything: every fault is told, with its place in the document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from ...ir.diagnostics import FAULT_LIMIT, CompileError, Diagnostic, Span, closest
from ...ir.files import read_text_bounded
from .document import Buffer, Document, Layer, Loop, LoopNest, Machine, Memory, Operand, Search, plain

SCHEMA = "dnnc.stats/1"
LARGEST_FILE_BYTES = 64 << 20
LARGEST_NUMBER = 1e30  # of anything that is drawn
_HELP = "`dnnc cost MODEL --arch A --json F` writes statistics"
Table = dict[str, Any]
_R = TypeVar("_R", Buffer, Loop, Operand)


def read_document(path: str) -> Document:
    """The statistics in a file. Raises CompileError with every fault."""
    text = read_text_bounded(path, LARGEST_FILE_BYTES, _HELP)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = Span(path, error.lineno, error.colno)
        raise CompileError(Diagnostic(f"this is no JSON: {error.msg}", place, _HELP)) from None
    except (RecursionError, ValueError) as error:  # too deep, or a number of thousands of digits
        raise CompileError(Diagnostic(f"this is no file of statistics: {error}", Span(path), _HELP)) from None
    return document_of(value, path)


def document_of(value: Any, path: str = "") -> Document:
    """The statistics that a JSON value stands for; what is not drawn is not looked at. Raises CompileError."""
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else None
        what = "it names no schema" if found is None else f"its schema is {str(found)[:80]!r}"
        raise CompileError(Diagnostic(f"this is no document of the schema {SCHEMA}: {what}", Span(path), _HELP))
    reader = _Reader(path)
    machine = reader.optional_table(value, "machine", "$")
    document = Document(
        model=reader.text(value, "model", "$"),
        arch=reader.text(value, "arch", "$"),
        source=reader.choice(value, "source", "$", ("cost", "run")),
        batch=reader.whole(value, "batch", "$"),
        machine=None if machine is None else _machine(reader, machine, "$.machine"),
        layers=tuple(_layer(reader, each, where) for each, where in reader.tables(value, "layers", "$")),
    )
    reader.raise_if_any()
    return document


class _Reader:
    """Reads keys of tables and notes every fault. What is wrong reads as nothing, so that reading goes on."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._faults: list[Diagnostic] = []

    def fault(self, place: str, message: str) -> None:
        self._faults.append(Diagnostic(f"{place} {message}", Span(self._path)))
        if len(self._faults) >= FAULT_LIMIT:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        if self._faults:
            raise CompileError(self._faults)

    def _get(self, table: Table, key: str, place: str, kind: type, called: str) -> Any:
        """The value if it is of `kind`, else an empty one, with a fault."""
        if key not in table:
            self.fault(f"{place}.{plain(key)}", "is missing")
        elif isinstance(table[key], kind):
            return table[key]
        else:
            self.fault(f"{place}.{plain(key)}", f"is no {called}")
        return kind()

    def text(self, table: Table, key: str, place: str) -> str:
        return plain(self._get(table, key, place, str, "text"))

    def truth(self, table: Table, key: str, place: str) -> bool:
        found: bool = self._get(table, key, place, bool, "truth value")
        return found

    def choice(self, table: Table, key: str, place: str, legal: Sequence[str]) -> str:
        value = self.text(table, key, place)
        if value and value not in legal:
            self.fault(f"{place}.{key}", f"is {value[:80]!r}; {closest(value, legal)}")
        return value

    def checked(self, value: object, place: str) -> float:
        """A number that can be drawn: not negative, not out of all proportion. Whole numbers stay exact."""
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER:
            return value
        self.fault(place, f"is {plain(repr(value)[:40])}, not a number from 0 to {LARGEST_NUMBER:g}")
        return 0

    def number(self, table: Table, key: str, place: str) -> float:
        if key in table:
            return self.checked(table[key], f"{place}.{plain(key)}")
        self.fault(f"{place}.{plain(key)}", "is missing")
        return 0

    def whole(self, table: Table, key: str, place: str) -> int:
        value = self.number(table, key, place)
        if value != int(value):
            self.fault(f"{place}.{plain(key)}", f"is {value}, not a whole number")
        return int(value)

    def numbers(self, table: Table, key: str, place: str) -> dict[str, float]:
        """A table of numbers by name."""
        found = self.table(table, key, place)
        return {plain(name): self.number(found, name, f"{place}.{key}") for name in found}

    def items(self, table: Table, key: str, place: str) -> list[tuple[object, str]]:
        """The entries of a list, each with its place."""
        found = self._get(table, key, place, list, "list")
        return [(each, f"{place}.{key}[{number}]") for number, each in enumerate(found)]

    def tables(self, table: Table, key: str, place: str) -> Iterator[tuple[Table, str]]:
        """Those of a list, each with its place."""
        for each, where in self.items(table, key, place):
            if isinstance(each, dict):
                yield each, where
            else:
                self.fault(where, "is no table")

    def tables_by_name(self, table: Table, place: str) -> Iterator[tuple[str, Table, str]]:
        """All values of a table, which are tables, each with its name and its place."""
        for name in table:
            yield plain(name), self.table(table, name, place), f"{place}.{plain(name)}"

    def table(self, table: Table, key: str, place: str) -> Table:
        found: Table = self._get(table, key, place, dict, "table")
        return found

    def optional_table(self, table: Table, key: str, place: str) -> Table | None:
        found = table.get(key)
        if found is not None and not isinstance(found, dict):
            self.fault(f"{place}.{key}", "is no table")
        return found if isinstance(found, dict) else None

    def names(self, table: Table, key: str, place: str) -> tuple[str, ...]:
        found = self._get(table, key, place, list, "list")
        if not all(isinstance(each, str) for each in found):
            self.fault(f"{place}.{key}", "is no list of names")
        return tuple(plain(each) for each in found if isinstance(each, str))


def _machine(reader: _Reader, value: Table, place: str) -> Machine:
    memories = tuple(
        Memory(
            reader.text(each, "name", where),
            None if each.get("capacity_bytes") is None else reader.whole(each, "capacity_bytes", where),
            None if each.get("bytes_per_cycle") is None else reader.number(each, "bytes_per_cycle", where),
        )
        for each, where in reader.tables(value, "memories", place)
    )
    return Machine(reader.number(value, "clock_hz", place), reader.number(value, "macs_per_cycle", place), memories)


def _layer(reader: _Reader, value: Table, place: str) -> Layer:
    traffic: dict[str, dict[str, tuple[int, int]]] = {}
    for memory, roles, outer in reader.tables_by_name(reader.table(value, "traffic", place), f"{place}.traffic"):
        traffic[memory] = {
            role: (reader.whole(moved, "read_bytes", where), reader.whole(moved, "write_bytes", where))
            for role, moved, where in reader.tables_by_name(roles, outer)
        }
    search = reader.optional_table(value, "mapping", place)
    return Layer(
        name=reader.text(value, "name", place),
        op=reader.text(value, "op", place),
        where=reader.choice(value, "where", place, ("accelerator", "host")),
        dataflow="" if value.get("dataflow") is None else reader.text(value, "dataflow", place),
        bound=reader.text(value, "bound", place),
        macs=reader.whole(value, "macs", place),
        cycles=reader.whole(value, "cycles", place),
        busy_cycles=reader.numbers(value, "busy_cycles", place) if "busy_cycles" in value else {},
        energy_pj=reader.numbers(value, "energy_pj", place),
        traffic=traffic,
        search=None if search is None else _search(reader, search, f"{place}.mapping"),
    )


def _search(reader: _Reader, value: Table, place: str) -> Search:
    points = []
    for each, where in reader.items(value, "points", place) if value.get("points") is not None else ():
        if isinstance(each, list) and len(each) == 2:
            points.append((reader.checked(each[0], where), reader.checked(each[1], where)))
        else:
            reader.fault(where, "is no pair of cycles and pJ")
    nest = reader.optional_table(value, "nest", place)
    return Search(
        optimal=reader.truth(value, "optimal", place),
        objective=reader.number(value, "objective", place),
        lower_bound=reader.number(value, "lower_bound", place),
        evaluated=reader.whole(value, "evaluated", place),
        nest=None if nest is None else _nest(reader, nest, f"{place}.nest"),
        points=tuple(points),
        stripes=reader.whole(value, "stripes", place) if "stripes" in value else 1,
        pinned=reader.choice(value, "pinned", place, ("whole", "part")) if value.get("pinned") is not None else "",
    )


def _nest(reader: _Reader, value: Table, place: str) -> LoopNest:
    return LoopNest(
        dims=tuple((dim, int(extent)) for dim, extent in reader.numbers(value, "dims", place).items()),
        operands=_records(reader, Operand, value, "operands", place),
        loops=_records(reader, Loop, value, "loops", place),
        buffers=_records(reader, Buffer, value, "buffers", place),
    )


def _records(reader: _Reader, kind: type[_R], value: Table, key: str, place: str) -> tuple[_R, ...]:
    """Values of a class whose fields are keys of the tables in a list."""
    reads: dict[Any, Callable[[Table, str, str], Any]] = {
        "str": reader.text,
        "int": reader.whole,
        "tuple[str, ...]": reader.names,
    }
    return tuple(
        kind(**{each.name: reads[each.type](table, each.name, where) for each in fields(kind)})
        for table, where in reader.tables(value, key, place)
    )
