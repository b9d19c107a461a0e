"""What `dnnc explore` tells of a search while it lasts, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .report import cell_text

if TYPE_CHECKING:
    from ..explore.engine import Progress
    from ..explore.store import Row
    from ..explore.study import Study

_MOST_SHOWN = 12  # points of the front
_SECONDS_OF_A_LINE = 30.0


def say(text: str) -> None:
    """On standard error, if that is a terminal."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


@contextmanager
def shown(study: Study) -> Iterator[Callable[[Progress], object]]:
    """Progress on standard error: with the current front if that is a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        lines = _Clock(_SECONDS_OF_A_LINE)
        lines.is_due()  # what ends soon needs none

        def line(progress: Progress) -> None:
            if lines.is_due():
                print(_counts(study, progress, progress.front()), file=sys.stderr)

        yield line
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4) as live:
        clock = _Clock(0.5)

        def report(progress: Progress) -> None:
            if clock.is_due() or progress.known == progress.asked:
                live.update(_picture(study, progress))

        yield report


class _Clock:
    """Fronts are not computed more often than they can be read, lines not written more often than they are."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._next = seconds, 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        due = now >= self._next
        if due:
            self._next = now + self._seconds
        return due


def _counts(study: Study, progress: Progress, front: tuple[Row, ...]) -> str:
    counts = f"{progress.known} of {progress.asked} points, {progress.dropped} dropped, {len(front)} on the front"
    return f"{study.name}: {counts}"


def _picture(study: Study, progress: Progress) -> Any:
    from rich.table import Table

    rows = progress.front()
    table = Table(title=_counts(study, progress, rows))
    for name in (*(each.name for each in study.space.variables), *(each.text for each in study.objectives)):
        table.add_column(name, justify="right")
    for row in rows[:_MOST_SHOWN]:
        numbers = study.numbers(row.point, row.figures)
        values = [each.expression.value(numbers) for each in study.objectives]
        table.add_row(*(cell_text(each) for each in (*row.point.values(), *values)))
    return table
