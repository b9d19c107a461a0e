"""The truths, in the order in which `dnnc validate` shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import peaks
from .row import Row


@dataclass(frozen=True, slots=True)
class Truth:
    """`rows` takes the folder with large data sets, or None; rows that need what is not there are skipped and say so.
    `needs` is the file or folder below it that they need, empty where none is needed."""

    name: str
    summary: str
    rows: Callable[[Path | None], Iterator[Row]]
    needs: str = ""


TRUTHS = (Truth(peaks.TRUTH, "peak rates of tensor processing units", peaks.rows),)
