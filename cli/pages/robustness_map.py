"""A picture of a study of corruptions: a figure for each corruption and severity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...explore.results import SCHEMA
from ...explore.robustness_results import CLEAN
from ...ir.diagnostics import CompileError, Diagnostic, Span
from .document import plain
from .explored import Label, number_of
from .fronts import map_scene
from .json_reader import JsonReader, Table, refuse_other_schema
from .scene import Scene

_HELP = "`dnnc explore` writes it of a study with `accuracy: {corruptions: ...}`"
_LEFT = 124.0


def _of(reader: JsonReader, cell: Table, place: str, *keys: str) -> float | None:
    """The number under some keys; None where it, or what it is of, is not known."""
    found: Any = cell
    for key in keys:
        if found is None:
            return None
        place = f"{place}.{key}"
        if not isinstance(found, dict):
            reader.fault(place, "is in no table")
            return None
        found = found.get(key)
    return None if found is None else number_of(reader, found, place)


FIGURES: dict[str, tuple[tuple[str, ...], str]] = {
    "accuracy": (("chosen", "reported"), "accuracy of the point that is chosen for each cell"),
    "float": (("float", "reported"), "accuracy of the float model"),
    "reference": (("reference", "reported"), "accuracy of the reference"),
    "dram_saved": (("chosen", "saved", "dram_bytes"), "part of the reference's main memory bytes that are saved"),
    "energy_saved": (("chosen", "saved", "energy_pj"), "part of the reference's energy that is saved"),
}


def robustness_scene(value: Any, path: str, figure: str) -> Scene:
    """`figure` is one of FIGURES; samples as they are stored stand beside every corruption, at severity 0. Raises
    CompileError with every fault."""
    refuse_other_schema(value, SCHEMA, path, _HELP)
    if "robustness" not in value:
        raise CompileError(Diagnostic("the study is not of corruptions", Span(path), _HELP))
    reader = JsonReader(path)
    robustness = reader.table(value, "robustness", "$")
    reference = reader.text(robustness, "reference", "$.robustness")
    found = [
        (reader.text(cell, "corruption", place), reader.whole(cell, "severity", place), cell, place)
        for cell, place in reader.tables(robustness, "cells", "$.robustness")
    ]
    keys, what = FIGURES[figure]
    names = list(dict.fromkeys(name for name, *_ in found if name != CLEAN))
    cells: dict[tuple[Label, Label], float] = {}
    told: dict[tuple[Label, Label], str] = {}
    for name, severity, cell, place in found:
        number = _of(reader, cell, place, *keys)
        for each in names if name == CLEAN else [name]:
            if number is not None:
                cells[severity, each] = number
            told[severity, each] = _words(lambda *keys, of=cell, at=place: _of(reader, of, at, *keys), reference)
    study = plain(reader.text(value, "study", "$"))
    reader.raise_if_any()
    severities = sorted({severity for _, severity, *_ in found})
    words = f"{study}: {what}", f"{what}, by corruption and severity", "no such point"
    return map_scene(cells, (severities, names[::-1]), ("severity", "corruption"), words, told, left=_LEFT)


def _words(number: Callable[..., float | None], reference: str) -> str:
    """What else is known of a cell."""
    lines = []
    for label, keys in (
        ("float", ("float", "reported")),
        (reference, ("reference", "reported")),
        ("chosen", ("chosen", "reported")),
    ):
        found = number(*keys)
        lines.append(f"{label} {'none' if found is None else f'{found:.4f}'}")
    point = number("chosen", "point")
    if point is not None:
        lines.append(f"point {point:g}")
    for label, key in (("main memory bytes", "dram_bytes"), ("energy", "energy_pj")):
        saved = number("chosen", "saved", key)
        lines += [] if saved is None else [f"{label} saved {100 * saved:.1f} %"]
    return "\n" + "\n".join(lines)
