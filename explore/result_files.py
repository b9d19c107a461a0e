"""The files that a study leaves in its folder beside the store: which they are, and those that an earlier end left."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span
from .points import FOLDER, POINT_FILES
from .robustness_results import CELLS, SETS_FILE, TABLE_FILE
from .store import FILE

DOCUMENT, FRONT, POINTS = "study.json", "front.csv", "points.parquet"


def results_in(folder: Path) -> Iterator[Path]:
    """What a study would write over or remove there: its own files, and those of its cells."""
    for place in (folder, *sorted((folder / CELLS).glob("*"))):
        yield from (found for name in (FILE, DOCUMENT, FRONT, POINTS) if (found := place / name).exists())
        yield from _of_some_studies(place)


def refuse_foreign(folder: Path) -> None:
    """Raise CompileError, before anything is evaluated, where files have the names of results and there is no study
    whose results they could be."""
    if (folder / FILE).exists():
        return
    if found := [*results_in(folder)]:
        message = "this would be overwritten, and no study is stored beside it"
        raise CompileError(
            [Diagnostic(message, Span(str(each)), "-o names another folder; or remove them") for each in found]
        )


def remove_stale(folder: Path, written: Collection[Path]) -> None:
    """Remove the sets, the table of corruptions and the points' files that are not among those `written` now: sets name
    points by numbers, which other points may have by now. Links, and what a study does not write, stay.

    Requires: the folder is that of a study, which `refuse_foreign` has seen begin.
    """
    for each in [*_of_some_studies(folder)]:
        if each not in written and each.is_file() and not each.is_symlink():
            each.unlink()
            if each.name in POINT_FILES and not any(each.parent.iterdir()):
                each.parent.rmdir()


def _of_some_studies(folder: Path) -> Iterator[Path]:
    """Files of points, and of corruptions, which not every end of a study writes."""
    yield from (found for name in (SETS_FILE, TABLE_FILE) if (found := folder / name).exists())
    points = folder / FOLDER
    if points.is_symlink() or not points.is_dir():
        return
    for each in sorted(points.iterdir()):
        if each.name.isdecimal() and each.is_dir() and not each.is_symlink():
            yield from (found for name in POINT_FILES if (found := each / name).exists())
