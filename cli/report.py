"""Tables on a terminal, plain text in a pipe; progress on standard error, and only to a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Rows of cells; numbers (and None, shown as -) stand to the right.

    In a pipe: aligned columns, two spaces apart, never cut.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    right = [any(isinstance(row[k], int | float) for row in rows) for k in range(len(headers))]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title or None, title_justify="left")
        for header, is_number in zip(headers, right, strict=True):
            table.add_column(header, justify="right" if is_number else "left")
        for row in cells:
            table.add_row(*(cell.replace("[", "\\[") for cell in row))
        Console().print(table)
        return
    if title:
        print(title)
    widths = [max(len(row[k]) for row in [list(headers), *cells]) for k in range(len(headers))]
    for row in [list(headers), *cells]:
        aligned = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        )
        print("  ".join(aligned).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], object]]:
    """A line on standard error that moves while work goes on, if that is a terminal; else nothing."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield status.update


def words_beside(*files: str | None) -> AbstractContextManager[object]:
    """Words for people go to standard error while one of `files` is standard output, so that it stays what it is."""
    return redirect_stdout(sys.stderr) if "-" in files else nullcontext()


def warn(text: str, help: str = "") -> None:
    """A warning on standard error."""
    print(f"warning: {text}" + (f"\nhelp: {help}" if help else ""), file=sys.stderr)
