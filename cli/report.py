"""Tables; progress on standard error, and only to a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout

_GAP = "  "  # between columns
_NARROWEST = 20  # for words, however narrow the terminal


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Rows of cells; numbers (and None, shown as -) stand to the right.

    In a pipe: aligned columns, two spaces apart, however wide. On a terminal: within its width (`table_lines`).
    """
    if title:
        print(title)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(table_lines(headers, rows, width)))


def table_lines(headers: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> list[str]:
    """The lines of a table, in blocks of whole columns where they do not fit beside each other in `width`: each block
    repeats the first column, so that its rows can be told. Words wrap where a block of their own is too narrow for
    them; nothing is cut, numbers least of all.
    """
    cells = [list(headers), *([cell_text(value) for value in row] for row in rows)]
    right = [any(isinstance(row[k], int | float) for row in rows) for k in range(len(headers))]
    widths = [max(len(row[k]) for row in cells) for k in range(len(headers))]
    if width is not None:
        widths[0] = widths[0] if right[0] else min(widths[0], max(len(headers[0]), width // 3))
        room = max(width - widths[0] - len(_GAP), _NARROWEST)
        widths[1:] = [each if number else min(each, room) for each, number in zip(widths[1:], right[1:], strict=True)]
    lines: list[str] = []
    for block in _blocks(widths, width):
        lines += [""] if lines else []
        for row in cells:
            parts = [[row[k]] if right[k] else _wrapped(row[k], widths[k]) for k in block]
            for number in range(max(map(len, parts))):
                words = [part[number] if number < len(part) else "" for part in parts]
                aligned = (
                    word.rjust(widths[k]) if right[k] else word.ljust(widths[k])
                    for k, word in zip(block, words, strict=True)
                )
                lines.append(_GAP.join(aligned).rstrip())
    return lines


def _blocks(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Columns by number: the first one in every block, the others in order, as many as fit."""
    blocks = [[0]]
    for column in range(1, len(widths)):
        taken = sum(widths[k] + len(_GAP) for k in blocks[-1]) + widths[column]
        if width is not None and taken > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(column)
    return blocks


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width) if len(text) > width else [text]


def cell_text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
