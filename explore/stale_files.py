"""Files that an earlier end of a study left in its folder, and that say nothing of it any more."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from .points import FOLDER, POINT_FILES
from .robustness_results import SETS_FILE, TABLE_FILE


def remove_stale(folder: Path, written: Collection[Path]) -> None:
    """Remove the sets, the table of corruptions and the points' files that are not among those `written` now: sets name
    points by numbers, which other points may have by now. Links, and what a study does not write, stay."""
    for name in (SETS_FILE, TABLE_FILE):
        _remove(folder / name, written)
    points = folder / FOLDER
    if points.is_symlink() or not points.is_dir():
        return
    for each in sorted(points.iterdir()):
        if each.name.isdecimal() and each.is_dir() and not each.is_symlink():
            for name in POINT_FILES:
                _remove(each / name, written)
            if not any(each.iterdir()):
                each.rmdir()


def _remove(path: Path, written: Collection[Path]) -> None:
    if path not in written and path.is_file() and not path.is_symlink():
        path.unlink()
