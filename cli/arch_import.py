"""`dnnc arch import`: descriptions of other tools as ours, with every field named that has no meaning here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import read_text_bounded
from ..ir.frozen import dataclass
from ..ir.loop_tree import Keep, LoopTree

FORMATS = ("auto", "timeloop", "timeloop-mapping", "zigzag", "scalesim", "accelergy")
_LARGEST_BYTES = 256 * 1024
# What only files of a format have, in the order in which they are looked for.
_MARKS = (
    ("timeloop", r"^architecture\s*:"),
    ("timeloop-mapping", r"^mapping\s*:"),
    ("zigzag", r"^operational_array\s*:"),
    ("scalesim", r"^\[architecture_presets\]"),
    ("accelergy", r"^(ERT|ART)\s*:"),
)


@dataclass(frozen=True, slots=True)
class Translated:
    """A description, a mapping or a table of prices of ours, and what of the original is not in it."""

    text: str
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """What a mapping of Timeloop's does not say itself: the files of its problem and of its architecture."""

    problem: str | None = None
    machine: str | None = None


def translate(path: str, kind: str, beside: Beside) -> Translated:
    """The file at `path` as one of ours. Raises CompileError with every fault."""
    text = _text(path)
    kind = _recognised(text, path) if kind == "auto" else kind
    if kind == "timeloop-mapping":
        return _mapping(text, path, beside)
    if kind == "accelergy":
        from ..frontend.accelergy import import_tables

        table = import_tables(text, path)
        return Translated(table.text, table.ignored)
    from ..frontend.foreign_yaml import level_name
    from ..frontend.hierarchy_text import hierarchy_text
    from ..frontend.scalesim_arch import read_scalesim
    from ..frontend.timeloop_arch import read_arch
    from ..frontend.zigzag_arch import read_zigzag

    found = {"timeloop": read_arch, "zigzag": read_zigzag, "scalesim": read_scalesim}[kind](text, path)
    machine = found.machine
    if machine.name == "timeloop":  # its files have no name
        machine = replace(machine, name=level_name(Path(path).stem))
    return Translated(hierarchy_text(machine, _notes(path, kind, found.ignored)), found.ignored)


def _text(path: str) -> str:
    return read_text_bounded(Path(path), _LARGEST_BYTES, "a description of an accelerator")


def _mapping(text: str, path: str, beside: Beside) -> Translated:
    """A mapping of Timeloop's as a mapping file: one layer with the name of the problem. Its dimensions become small
    letters, as those of dnnc's convolutions are."""
    from ..frontend.timeloop_arch import read_arch
    from ..frontend.timeloop_problem import read_mapping, read_problem
    from .levels_mapping import trees_text

    if beside.problem is None or beside.machine is None:
        help = "--problem prob.yaml --machine arch.yaml, the files that Timeloop was given with it"
        raise CompileError(Diagnostic("a mapping names neither its layer nor its levels", Span(path, 1, 1), help))
    machine = read_arch(_text(beside.machine), beside.machine).machine
    workload, unread = read_problem(_text(beside.problem), beside.problem)
    tree, ignored = read_mapping(text, path, workload, machine)
    nodes = [each if isinstance(each, Keep) else replace(each, dim=each.dim.lower()) for each in tree.nodes]
    return Translated(trees_text({workload.name: LoopTree(tuple(nodes))}), (*ignored, *unread))


def _recognised(text: str, path: str) -> str:
    if Path(path).suffix == ".csv":
        return "accelergy"
    for kind, mark in _MARKS:
        if re.search(mark, text, re.MULTILINE):
            return kind
    message = "the file is none that can be imported"
    help = "files of Timeloop, ZigZag, SCALE-Sim and Accelergy's tables can; --format says which it is"
    raise CompileError(Diagnostic(message, Span(path, 1, 1), help))


def _notes(path: str, kind: str, ignored: tuple[str, ...]) -> list[str]:
    notes = [f"Imported from {Path(path).name} ({kind})."]
    notes += [f"ignored: {each}" for each in ignored]
    return [note.replace("\n", " ").replace("\r", " ") for note in notes]
