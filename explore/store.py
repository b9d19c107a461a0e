"""Every point of a study, in one SQLite file, from the moment that it was evaluated.

A row is written and committed as its evaluation ends, so that a process which is killed leaves all that it knew. Of the
points of one study a genome has one row. What each provider said of a point stands there by itself, too, so that a
study of other data asks for what is other alone. The file is held for as long as a study writes to it; others can read
it afterwards, for their own points (`reuse`).
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import make_folder
from ..ir.frozen import dataclass
from .problem import Candidate, Figures, known_figures
from .study import Study
from .variables import Genome, Point

FILE = "store.sqlite"
FORMAT = 2
_LONGEST = 64 << 20  # bytes of one text
EVALUATED, DROPPED = "evaluated", "dropped"
_TABLES = """
create table study (key text primary key, value text not null);
create table machines (digest text primary key, text text not null);
create table points (
    genome text primary key,     -- places of the variables' values, as JSON
    point text not null,         -- values by variable, as JSON
    status text not null,        -- evaluated | dropped
    reason text not null,        -- why it was dropped
    key text not null,           -- SHA-256 of all that decides its figures
    machine text not null,       -- the description's digest
    options text not null,       -- of the compiler, as JSON
    figures text not null,       -- by name, as JSON
    seconds real not null,       -- that the evaluation took
    origin text not null,        -- empty, or the folder that it was taken from
    versions text not null,      -- of dnnc and what figures rest on, as JSON
    finished real not null       -- seconds since 1970
);
create index by_key on points (key);
create table parts (
    key text primary key,        -- SHA-256 of all that decides what one provider says of a candidate
    figures text not null        -- by name, as JSON
);
create table runs (
    genome text primary key, equal integer not null, differences text not null, cost text not null, run text not null,
    inputs text not null, seconds real not null
);
"""
_OTHER_FOLDER = "-o names another folder"
_LEAVE_OUT = "leave this folder out of `reuse`"


@dataclass(frozen=True, slots=True)
class Row:
    """A point of the store. `figures` are empty where it was dropped, `key` is that of its evaluation, and empty where
    it was dropped without one."""

    genome: Genome
    point: Point
    status: str
    reason: str
    figures: Figures
    machine: str
    seconds: float
    origin: str
    key: str = ""

    @property
    def is_evaluated(self) -> bool:
        return self.status == EVALUATED


@dataclass(frozen=True, slots=True)
class RunRow:
    """A point that was executed: figures of `cost` and of `run`, and what of the two differs."""

    genome: Genome
    differences: tuple[str, ...]
    cost: Figures
    run: Figures
    inputs: str
    seconds: float


class Store:
    """The store in `folder`, opened for a study; a context that closes it."""

    def __init__(self, folder: Path, study: Study, *, resume: bool) -> None:
        """Raises CompileError where there are points already and none are to be resumed, where those that are there are
        of another study, and where another process holds the file."""
        self.path = folder / FILE
        self._noted: list[tuple[Any, ...]] = []
        self._is_made = not folder.exists()
        make_folder(folder)
        self._is_new = not self.path.exists()
        if not self._is_new and not resume:
            message = "points of a study are stored here already"
            raise CompileError(Diagnostic(message, Span(str(self.path)), f"--resume continues it; {_OTHER_FOLDER}"))
        try:
            self._file = sqlite3.connect(self.path, timeout=2.0, isolation_level=None)
        except sqlite3.Error as error:
            raise CompileError(_unusable(self.path, error)) from None
        try:
            self._file.execute("pragma locking_mode = exclusive")
            self._file.execute("begin exclusive")
            self._open(study)
            self._file.execute("commit")
        except (sqlite3.Error, ValueError) as error:
            self._file.close()
            raise CompileError(_unusable(self.path, error)) from None
        except CompileError:
            self._file.close()
            raise

    def _open(self, study: Study) -> None:
        """Tables and the study's identity, within the transaction that also looks for them: a process that was killed
        before it ended left nothing."""
        tables = _tables(self._file)
        told = {"format": str(FORMAT), "identity": study.identity, "content": study.content, "file": study.file}
        if tables and "study" not in tables:
            raise ValueError(f"it has tables of something else: {', '.join(sorted(tables))[:80]}")
        if not tables:
            for statement in _TABLES.split(";"):
                self._file.execute(statement)
            self._file.executemany("insert into study values (?, ?)", told.items())
            return
        found = dict(self._file.execute("select key, value from study"))
        if found.get("format") != told["format"]:
            message = f"the store has format {found.get('format')}; this version writes {FORMAT}"
            raise CompileError(Diagnostic(message, Span(str(self.path)), "-o names another folder"))
        if found.get("identity") != told["identity"]:
            is_same = found.get("content") == told["content"]
            what = "the model, the machine, the options or dnnc" if is_same else "keys of the study file"
            message = f"the points here are of another study than {study.file}: {what} changed"
            help = "-o names another folder; `reuse: [FOLDER]` takes what is still the same from this one"
            raise CompileError(Diagnostic(message, Span(str(self.path)), help))

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._noted:
                with self._written():
                    self._file.executemany(_INSERT, self._noted)
            is_of_use = not self._is_new or kind is None or self._holds_figures()
        finally:
            self._file.close()
        if not is_of_use:
            self.path.unlink(missing_ok=True)
            if self._is_made and not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()

    def _holds_figures(self) -> bool:
        """Whether something was evaluated: else there is nothing that a study with other values would not find anew."""
        query = "select exists (select 1 from points where status = ? union all select 1 from parts)"
        try:
            return bool(self._file.execute(query, (EVALUATED,)).fetchone()[0])
        except sqlite3.Error:  # the file is why the study ends: it is left for whoever looks into that
            return True

    @contextmanager
    def _written(self) -> Iterator[None]:
        """A transaction: what is written in it is kept whole, or, whatever comes between, not at all. Raises
        CompileError where the system refuses."""
        if self._file.in_transaction:  # an interrupt came before its end
            self._file.execute("rollback")
        try:
            self._file.execute("begin")
            yield
            self._file.execute("commit")
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            message = f"points cannot be stored: {error}"
            raise CompileError(Diagnostic(message, Span(str(self.path)), "what was stored is kept: --resume")) from None
        finally:
            if self._file.in_transaction:
                self._file.execute("rollback")

    def note(self, row: Row) -> None:
        """Keep a point that was dropped before it was evaluated, with the next one that is added: what it cost to find
        that out is less than to write it down by itself."""
        self._noted.append(_values(row, "", {}))

    def add(
        self,
        row: Row,
        candidate: Candidate,
        versions: Mapping[str, str],
        parts: Mapping[str, Figures] | None = None,
    ) -> None:
        """Keep a point and its `parts`, whole or not at all. Requires: its genome has no row."""
        values = _values(row, candidate.options_text, versions)
        with self._written():
            self._file.execute("insert or ignore into machines values (?, ?)", (row.machine, candidate.arch.text))
            self._file.executemany(_INSERT, [*self._noted, values])
            self._insert_parts(parts or {})
        self._noted = []

    def add_parts(self, parts: Mapping[str, Figures]) -> None:
        """Keep what was found out beside the points, by what decides it."""
        with self._written():
            self._insert_parts(parts)

    def _insert_parts(self, parts: Mapping[str, Figures]) -> None:
        rows = [(key, json.dumps(dict(figures), allow_nan=False)) for key, figures in parts.items()]
        self._file.executemany("insert or ignore into parts values (?, ?)", rows)

    def part(self, key: str) -> Figures | None:
        """Figures that are kept under this key. Raises CompileError where something else has written to the file."""
        with _reading(self.path):
            return _part(self._file, key)

    def rows(self) -> list[Row]:
        """All points, by their genomes. Raises CompileError where something else has written to the file."""
        with _reading(self.path):
            return _rows(self._file)

    def machine_text(self, digest: str) -> str:
        """Of a machine that points have. Raises CompileError where something else has written to the file."""
        with _reading(self.path):
            ((text,),) = self._file.execute("select text from machines where digest = ?", (digest,))
            return str(text)

    def add_run(self, row: RunRow) -> None:
        values = (
            json.dumps(row.genome),
            not row.differences,
            json.dumps(row.differences),
            json.dumps(known_figures(row.cost), allow_nan=False),
            json.dumps(known_figures(row.run), allow_nan=False),
            row.inputs,
            row.seconds,
        )
        with self._written():
            self._file.execute("insert or replace into runs values (?, ?, ?, ?, ?, ?, ?)", values)

    def runs(self) -> dict[Genome, RunRow]:
        """What was executed, by genome. Raises CompileError where something else has written to the file."""
        query = "select genome, differences, cost, run, inputs, seconds from runs"
        found = {}
        with _reading(self.path):
            for genome, differences, cost, run, inputs, seconds in self._file.execute(query):
                place, told = _genome(genome), tuple(map(str, json.loads(differences)))
                found[place] = RunRow(place, told, _figures(cost), _figures(run), str(inputs), float(seconds))
        return found


_INSERT = f"insert into points values ({', '.join('?' * 12)})"


def _values(row: Row, options: str, versions: Mapping[str, str]) -> tuple[Any, ...]:
    """A row as the table has it."""
    return (
        json.dumps(row.genome),
        json.dumps(row.point, sort_keys=True),
        row.status,
        row.reason,
        row.key,
        row.machine,
        options,
        json.dumps(row.figures, allow_nan=False),
        row.seconds,
        row.origin,
        json.dumps(versions),
        time.time(),
    )


def _rows(file: sqlite3.Connection) -> list[Row]:
    query = "select genome, point, status, reason, figures, machine, seconds, origin, key from points"
    rows = [(_genome(genome), *rest) for genome, *rest in file.execute(query)]
    found = []
    for genome, point, status, reason, figures, machine, seconds, origin, key in sorted(rows):
        values = {str(name): _tupled(value) for name, value in dict(json.loads(point)).items()}
        if status not in (EVALUATED, DROPPED) or (status == EVALUATED) is (figures == "{}"):
            raise ValueError(f"the row of {genome} says neither that it was dropped nor what it was found to be")
        found.append(Row(genome, values, status, reason, _figures(figures), machine, seconds, origin, key))
    return found


def _genome(text: str) -> Genome:
    """Raises ValueError where it is something else."""
    found = json.loads(text)
    if not isinstance(found, list) or not all(type(each) is int for each in found):
        raise ValueError("what should be places of values is something else")
    return tuple(found)


def _figures(text: str) -> dict[str, float | int | None]:
    """Figures as they were stored. Raises ValueError where they are something else."""
    found = json.loads(text)
    if not isinstance(found, dict) or not all(each is None or _is_number(each) for each in found.values()):
        raise ValueError("what should be figures is something else")
    return found


def _is_number(value: object) -> bool:
    """Whether a value of JSON, as Python reads it, is a finite number that a float can be."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _part(file: sqlite3.Connection, key: str) -> Figures | None:
    for (figures,) in file.execute("select figures from parts where key = ?", (key,)):
        return _figures(figures)
    return None


def _tupled(value: Any) -> Any:
    """JSON has lists alone."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _tables(file: sqlite3.Connection) -> set[str]:
    """Names of the tables. Raises ValueError where there is more than tables and their indices: what is read from a
    view may never end. Longer texts than a study writes are refused as they are read."""
    file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    found = set()
    for kind, name, statement in file.execute("select type, name, sql from sqlite_master"):
        if kind not in ("table", "index") or "virtual" in str(statement).lower().split()[:2]:
            raise ValueError(f"it has a {kind} {str(name)[:80]!r}, which no study makes")
        if kind == "table":
            found.add(name)
    return found


class Known:
    """Points of earlier studies, looked up by the key of an evaluation."""

    def __init__(self, folders: tuple[str, ...]) -> None:
        """Raises CompileError where one of them cannot be read."""
        self._files: list[tuple[str, sqlite3.Connection]] = []
        self._with_parts: list[tuple[str, sqlite3.Connection]] = []
        for folder in folders:
            path = Path(folder) / FILE
            with _reading(path, _LEAVE_OUT):
                file = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=2.0)
                tables = _tables(file)
                file.execute("select 1 from points limit 1")
            self._files.append((folder, file))
            self._with_parts += [self._files[-1]] if "parts" in tables else []  # format 1 had none

    def find(self, key: str) -> tuple[str, Figures, float] | None:
        """The folder that has the evaluation of this key, its figures and how long it took."""
        query = "select figures, seconds from points where key = ? and status = ? limit 1"
        for folder, file in self._files:
            with _reading(Path(folder) / FILE, _LEAVE_OUT):
                for figures, seconds in file.execute(query, (key, EVALUATED)):
                    return folder, _figures(figures), float(seconds)
        return None

    def part(self, key: str) -> Figures | None:
        """Figures that one of the folders keeps under this key."""
        for folder, file in self._with_parts:
            with _reading(Path(folder) / FILE, _LEAVE_OUT):
                found = _part(file, key)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        for _, file in self._files:
            file.close()


@contextmanager
def _reading(path: Path, help: str = _OTHER_FOLDER) -> Iterator[None]:
    """Raises CompileError for what is no store, or one that something else has written to: a file is untrusted."""
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise CompileError(_unusable(path, error, help)) from None


def _unusable(path: Path, error: Exception, help: str = _OTHER_FOLDER) -> Diagnostic:
    if "locked" in str(error):
        return Diagnostic("another process is at this study", Span(str(path)), f"wait for it, or {help}")
    return Diagnostic(f"the store cannot be used: {error}", Span(str(path)), help)
