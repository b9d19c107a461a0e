"""`dnnc arch import`: descriptions of other tools as ours, with every field named that has no meaning here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import read_text_bounded
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from ..ir.loop_tree import Keep, LoopTree

FORMATS = ("auto", "timeloop", "timeloop-mapping", "zigzag", "scalesim", "accelergy")
_LARGEST_BYTES = 256 * 1024
_MOST_NEAR = 8  # files beside an architecture that are named
# What only files of a format have, in the order in which they are looked for.
_MARKS = (
    ("timeloop", r"^architecture\s*:"),
    ("timeloop-mapping", r"^mapping\s*:"),
    ("timeloop-constraints", r"^(architecture_constraints|mapspace_constraints|mapspace|constraints)\s*:"),
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
    """What a mapping of Timeloop's does not say itself: the files of its problem and of its architecture. What an
    architecture of Timeloop's does not: those of its constraints."""

    problem: str | None = None
    machine: str | None = None
    constraints: tuple[str, ...] = ()


def translate(path: str, kind: str, beside: Beside) -> Translated:
    """The file at `path` as one of ours. Raises CompileError with every fault."""
    text = _text(path)
    kind = _recognised(text, path) if kind == "auto" else kind
    if beside.constraints and kind != "timeloop":
        message = "constraints are read with an architecture of Timeloop's alone"
        raise CompileError(Diagnostic(message, Span(beside.constraints[0]), "leave --constraints out"))
    if kind == "timeloop-constraints":
        message = "the file has constraints of Timeloop's, which say nothing without their architecture"
        raise CompileError(Diagnostic(message, Span(path, 1, 1), f"dnnc arch import ARCH.yaml --constraints {path}"))
    if kind == "timeloop-mapping":
        return _mapping(text, path, beside)
    if kind == "accelergy":
        from ..frontend.accelergy import import_tables

        table = import_tables(text, path)
        return Translated(table.text, table.ignored)
    from ..frontend.foreign_yaml import level_name
    from ..frontend.hierarchy_text import hierarchy_text
    from ..frontend.hierarchy_yaml import parse_hierarchy
    from ..frontend.scalesim_arch import read_scalesim
    from ..frontend.timeloop_arch import read_arch
    from ..frontend.zigzag_arch import read_zigzag

    found = {"timeloop": read_arch, "zigzag": read_zigzag, "scalesim": read_scalesim}[kind](text, path)
    machine, ignored = found.machine, found.ignored
    if kind == "timeloop":  # its files have no name
        machine, ignored = _constrained(replace(machine, name=level_name(Path(path).stem)), ignored, path, beside)
    described = hierarchy_text(machine, _notes(path, kind, ignored))
    if found.components:
        described += f"{found.components}\n"
    try:
        parse_hierarchy(described, path)
    except CompileError as error:  # its lines are those of the translation, which nobody has seen
        faults = [
            replace(each, message=f"as a machine of dnnc: {each.message}", span=Span(path))
            for each in error.diagnostics
        ]
        raise CompileError(faults) from None
    return Translated(described, ignored)


def _constrained(
    machine: Hierarchy, ignored: tuple[str, ...], path: str, beside: Beside
) -> tuple[Hierarchy, tuple[str, ...]]:
    """A machine of Timeloop's under its constraints, in the order of the files, and what was ignored: fields, and files
    that lie beside the architecture's and look like constraints, but were not given."""
    from ..frontend.timeloop_constraints import read_constraints

    for each in beside.constraints:
        machine, more = read_constraints(_text(each), each, machine)
        ignored += tuple(f"{Path(each).name}: {field}" for field in more)
    given = [Path(each).resolve() for each in (path, *beside.constraints)]
    folder = Path(path).parent
    near = sorted({*folder.glob("constraints/*.yaml"), *folder.glob("*constraints*.yaml")})[:_MOST_NEAR]
    ignored += tuple(f"{each}, which --constraints reads" for each in near if each.resolve() not in given)
    return machine, ignored


def _text(path: str) -> str:
    return read_text_bounded(Path(path), _LARGEST_BYTES, "a description of an accelerator")


def _mapping(text: str, path: str, beside: Beside) -> Translated:
    """A mapping of Timeloop's as a mapping file: one layer with the name of the problem. Its dimensions become small
    letters, as those of dnnc's convolutions are."""
    from ..driver.levels_mapping import trees_text
    from ..frontend.timeloop_arch import read_arch
    from ..frontend.timeloop_problem import read_mapping, read_problem

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
