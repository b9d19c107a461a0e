"""Tables of the large data sets: comma-separated files that a user points to, read with every fault's place."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from ..ir.files import read_text_bounded
from ..ir.frozen import dataclass

LARGEST_BYTES = 64 << 20
LARGEST_EXTENT = 1 << 16  # of a dimension of a layer: work that grows with one stays bounded
_MOST_FAULTS = 20
_MOST_DIGITS = 18
_HELP = "leave --data out to do without"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a table: its number, and the texts of the columns that were asked for, in their order."""

    line: int
    cells: tuple[str, ...]


def read_table(
    path: Path, columns: Sequence[str], whole: Sequence[str] = (), largest: int = LARGEST_EXTENT
) -> list[Record]:
    """The lines of a table with a line of headers. Raises CompileError for a file that is none, columns that are not
    there, short lines, and cells of the columns `whole` that are no whole numbers from 1 to `largest`."""
    stream = csv.reader(io.StringIO(read_text_bounded(path, LARGEST_BYTES, _HELP), newline=""), strict=True)
    faults: list[Diagnostic] = []
    records: list[Record] = []
    try:
        headers = next(stream, [])
        if missing := [name for name in columns if name not in headers]:
            faults = [
                Diagnostic(f"the table lacks the column {name!r}", Span(str(path), 1, 1), closest(name, headers))
                for name in missing
            ]
            raise CompileError(faults)
        places = [headers.index(name) for name in columns]
        numbers = [(columns.index(name), name) for name in whole]
        for cells in stream:
            at = Span(str(path), stream.line_num, 1)
            if len(cells) < len(headers):
                faults.append(Diagnostic(f"the line has {len(cells)} of {len(headers)} cells", at, _HELP))
                continue
            record = Record(stream.line_num, tuple(cells[place] for place in places))
            for place, name in numbers:
                text = record.cells[place]
                is_number = text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS
                if not (is_number and 1 <= int(text) <= largest):
                    message = f"{name!r} must be a whole number from 1 to {largest}, found {text[:40]!r}"
                    faults.append(Diagnostic(message, at, _HELP))
            records.append(record)
            if len(faults) >= _MOST_FAULTS:
                break
    except csv.Error as error:
        faults.append(Diagnostic(f"no comma-separated table: {error}", Span(str(path), stream.line_num, 1), _HELP))
    if faults:
        raise CompileError(faults)
    return records
