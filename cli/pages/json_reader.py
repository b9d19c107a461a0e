"""Reads JSON of strangers, which may say anything: every fault is told, with its place in the document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ...ir.diagnostics import FAULT_LIMIT, CompileError, Diagnostic, Span, closest
from ...ir.files import read_text_bounded
from .document import plain

LARGEST_FILE_BYTES = 64 << 20
LARGEST_NUMBER = 1e30  # of anything that is drawn
Table = dict[str, Any]


def read_json(path: str, help: str) -> Any:
    """What a file says. Raises CompileError where that is no JSON."""
    text = read_text_bounded(path, LARGEST_FILE_BYTES, help)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = Span(path, error.lineno, error.colno)
        raise CompileError(Diagnostic(f"this is no JSON: {error.msg}", place, help)) from None
    except (RecursionError, ValueError) as error:  # too deep, or a number of thousands of digits
        raise CompileError(Diagnostic(f"this is no file of statistics: {error}", Span(path), help)) from None


def schema_of(value: Any) -> str:
    """What a document says that it is; empty where it says nothing."""
    found = value.get("schema") if isinstance(value, dict) else None
    return "" if found is None else str(found)[:80]


def refuse_other_schema(value: Any, schema: str, path: str, help: str) -> None:
    """Raise CompileError unless a document is of a schema."""
    if schema_of(value) != schema:
        found = schema_of(value)
        what = f"its schema is {found!r}" if found else "it names no schema"
        raise CompileError(Diagnostic(f"this is no document of the schema {schema}: {what}", Span(path), help))


class JsonReader:
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
