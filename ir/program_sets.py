"""Several precision sets in one program: each a program of its own for one model and machine, of which conditions at
run time choose one (specs/isa.md, section 8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from .diagnostics import CompileError, Diagnostic, Span, closest
from .expressions import Expression, ExpressionFault, parse_expression
from .frozen import dataclass
from .program import Placement, Program
from .program_rules import MAX_INSTRUCTIONS, check_program, limited
from .types import BlobRef

MOST_SETS = 64
MOST_CONDITIONS = 16  # of one set
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
NAME_RULE = "letters, digits and . _ + -, at most 64"
IMAGE_ALIGNMENT_BYTES = 64
# What all sets of a program share; all else belongs to each.
SHARED = ("model", "arch", "batch", "inputs", "outputs")

Value = int | float | str  # of a condition


@dataclass(frozen=True)
class PrecisionSet:
    """One set: `program` is what the model compiles to in it. `when` are comparisons of named conditions, all of which
    must hold for the set to be taken; none stand for a set that is taken as the default alone."""

    name: str
    when: tuple[str, ...]
    program: Program


@dataclass(frozen=True)
class ProgramSets:
    """The sets in the order in which they are asked; `default` is the name of the one that is taken where none holds.

    The programs have one model, machine and batch, and inputs and outputs of the same names, types and shapes.
    """

    sets: tuple[PrecisionSet, ...]
    default: str

    def __repr__(self) -> str:
        """In one line: the programs hold megabytes of code and constants."""
        return f"<ProgramSets {self.sets[0].program.model!r}: {', '.join(each.name for each in self.sets)}>"

    @property
    def first(self) -> Program:
        """For what the programs of all sets share."""
        return self.sets[0].program

    @property
    def blobs(self) -> dict[BlobRef, bytes]:
        """Those of all sets, each once, in the order of their names."""
        found = {reference: blob for each in self.sets for reference, blob in each.program.blobs.items()}
        return {reference: found[reference] for reference in sorted(found)}

    @property
    def main_bytes(self) -> int:
        """Of main memory: the images of all sets, one behind the other."""
        return sum(_aligned(each.program.main_bytes) for each in self.sets)

    def of(self, name: str) -> PrecisionSet:
        return next(each for each in self.sets if each.name == name)


def _aligned(size: int) -> int:
    return size + -size % IMAGE_ALIGNMENT_BYTES


def used_blobs(program: Program) -> set[BlobRef]:
    """The constants and host models that a program names."""
    return {*(blob for _, blob in program.constants), *(call.model for call in program.host_calls)}


@lru_cache(maxsize=1024)
def condition(text: str) -> Expression:
    """A comparison of named conditions. Raises ExpressionFault for any other text."""
    found = parse_expression(text)
    if not found.is_comparison:
        raise ExpressionFault(f"{text[:80]!r} compares nothing: `fog >= 2`, for example")
    if not found.names:
        raise ExpressionFault(f"{text[:80]!r} names no condition: it would always say the same")
    return found


def condition_names(sets: Iterable[PrecisionSet]) -> list[str]:
    """What must be known to choose a set, in the order in which it is asked for."""
    return list(dict.fromkeys(name for each in sets for text in each.when for name in condition(text).names))


def chosen(program: ProgramSets, values: Mapping[str, Value]) -> PrecisionSet:
    """The first set whose conditions hold, else the default. Raises CompileError where values are missing, or one is
    not asked for, or where a comparison has no meaning for them."""
    names = condition_names(program.sets)
    faults = [
        Diagnostic(f"the condition {name!r} has no value", help=f"--condition {name}=VALUE")
        for name in names
        if name not in values
    ]
    faults += [
        Diagnostic(f"no set asks for a condition {name[:80]!r}", help=closest(name, names))
        for name in values
        if name not in names
    ]
    if faults:
        raise CompileError(faults)
    for each in program.sets:
        try:
            if each.when and all(condition(text).violation(values) == 0 for text in each.when):
                return each
        except ExpressionFault as fault:
            given = ", ".join(f"{name}={value}" for name, value in values.items())
            help = f"a value that can be compared so: {'; '.join(each.when)}"
            raise CompileError(Diagnostic(f"set {each.name!r}, with {given}: {fault}", help=help)) from None
    return program.of(program.default)


def check_sets(program: ProgramSets) -> list[Diagnostic]:
    """All faults, each with its place as a path into the program, such as `$.sets[1].regions[2].first`."""
    faults = list(_choice_faults(program))
    for k, each in enumerate(program.sets):
        faults += [of_set(fault, k) for fault in check_program(each.program)]
        for unused in sorted(set(each.program.blobs) - used_blobs(each.program)):
            faults.append(Diagnostic(f"nothing in set {each.name!r} uses the blob {unused}", Span(f"$.sets[{k}]")))
    faults += _differing(program)
    count = sum(each.program.instruction_count for each in program.sets)
    if count > MAX_INSTRUCTIONS:
        faults.append(Diagnostic(f"{count} instructions in all sets", Span("$.sets"), f"at most {MAX_INSTRUCTIONS}"))
    return limited(list(dict.fromkeys(faults)))


_SHARED_PATH = re.compile(rf"\$\.({'|'.join(SHARED)})\b")


def of_set(fault: Diagnostic, number: int) -> Diagnostic:
    """A fault of a set's program at its place in the whole."""
    path = fault.span.file
    if _SHARED_PATH.match(path) or not path.startswith("$."):
        return fault
    return replace(fault, span=replace(fault.span, file=f"$.sets[{number}]{path[1:]}"))


def _choice_faults(program: ProgramSets) -> Iterator[Diagnostic]:
    if not 2 <= len(program.sets) <= MOST_SETS:
        yield Diagnostic(f"a program of {len(program.sets)} sets", Span("$.sets"), f"2 to {MOST_SETS}")
    names: list[str] = []
    for k, each in enumerate(program.sets):
        path = f"$.sets[{k}]"
        if not NAME.fullmatch(each.name):
            yield Diagnostic(f"{each.name[:80]!r} is no name of a set", Span(f"{path}.name"), NAME_RULE)
        if each.name in names:
            yield Diagnostic(f"two sets are called {each.name[:80]!r}", Span(f"{path}.name"))
        names.append(each.name)
        if len(each.when) > MOST_CONDITIONS:
            yield Diagnostic(f"{len(each.when)} conditions", Span(f"{path}.when"), f"at most {MOST_CONDITIONS}")
            continue
        if not each.when and each.name != program.default:
            yield Diagnostic(f"set {each.name[:80]!r} is never taken: it has no condition", Span(f"{path}.when"))
        for text in each.when:
            try:
                condition(text)
            except ExpressionFault as fault:
                yield Diagnostic(str(fault), Span(f"{path}.when"))
    if program.default not in names:
        yield Diagnostic(
            f"there is no set {program.default[:80]!r}", Span("$.default"), closest(program.default, names)
        )


def _differing(program: ProgramSets) -> Iterator[Diagnostic]:
    """Where a set is not for the same model and machine, or takes or gives something else."""
    for k, each in enumerate(program.sets[1:], 1):
        base = program.first
        other = each.program
        for name in ("model", "arch_text", "batch", "inputs", "outputs"):
            if getattr(other, name) != getattr(base, name):
                yield Diagnostic(f"the {name} of set {each.name!r} is not that of the first", Span(f"$.sets[{k}]"))
        edges = _edges(base), _edges(other)
        for name in edges[0]:
            one, two = edges[0][name], edges[1].get(name)
            if two is not None and one != two:
                message = (
                    f"{name!r} is {_told(*one)} in set {program.sets[0].name!r} and {_told(*two)} in {each.name!r}"
                )
                yield Diagnostic(message, Span(f"$.sets[{k}].placements"), "sets take and give the same values")


def _edges(program: Program) -> dict[str, tuple[object, object]]:
    placements: dict[str, Placement] = {each.name: each for each in program.placements}
    named = [placements[name] for name in (*program.inputs, *program.outputs) if name in placements]
    return {each.name: (each.type, each.shape) for each in named}


def _told(kind: object, shape: object) -> str:
    return f"{kind} of {list(shape) if isinstance(shape, tuple) else 'any shape'}"
