"""`dnnc arch import`: descriptions of other tools as ours, with every field named that has no meaning here."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import read_text_bounded

FORMATS = ("auto", "timeloop", "zigzag", "scalesim", "accelergy")
_LARGEST_BYTES = 256 * 1024
# What only files of a format have, in the order in which they are looked for.
_MARKS = (
    ("timeloop", r"^architecture\s*:"),
    ("zigzag", r"^operational_array\s*:"),
    ("scalesim", r"^\[architecture_presets\]"),
    ("accelergy", r"^(ERT|ART)\s*:"),
)


@dataclass(frozen=True, slots=True)
class Translated:
    """A description or a table of prices of ours, and what of the original is not in it."""

    text: str
    ignored: tuple[str, ...]
    is_machine: bool


def translate(path: str, kind: str) -> Translated:
    """The file at `path` as a description of ours. Raises CompileError with every fault."""
    text = read_text_bounded(Path(path), _LARGEST_BYTES, "a description of an accelerator")
    kind = _recognised(text, path) if kind == "auto" else kind
    if kind == "accelergy":
        from ..frontend.accelergy import import_tables

        table = import_tables(text, path)
        return Translated(table.text, table.ignored, is_machine=False)
    from ..frontend.foreign_yaml import level_name
    from ..frontend.hierarchy_text import hierarchy_text
    from ..frontend.scalesim_arch import read_scalesim
    from ..frontend.timeloop_arch import read_arch
    from ..frontend.zigzag_arch import read_zigzag

    found = {"timeloop": read_arch, "zigzag": read_zigzag, "scalesim": read_scalesim}[kind](text, path)
    machine = found.machine
    if machine.name == "timeloop":  # its files have no name
        machine = replace(machine, name=level_name(Path(path).stem))
    return Translated(hierarchy_text(machine, _notes(path, kind, found.ignored)), found.ignored, is_machine=True)


def _recognised(text: str, path: str) -> str:
    if Path(path).suffix == ".csv":
        return "accelergy"
    for kind, mark in _MARKS:
        if re.search(mark, text, re.MULTILINE):
            return kind
    message = "the file is none that can be imported"
    help = "Timeloop's architectures, ZigZag's accelerators, SCALE-Sim's .cfg, Accelergy's tables; --format says which"
    raise CompileError(Diagnostic(message, Span(path, 1, 1), help))


def _notes(path: str, kind: str, ignored: tuple[str, ...]) -> list[str]:
    notes = [f"Imported from {Path(path).name} ({kind})."]
    notes += [f"ignored: {each}" for each in ignored]
    return [note.replace("\n", " ").replace("\r", " ") for note in notes]
