"""The problem `architecture`: fields of the machine's description are variables, or computed of variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ListNode, MapNode, ScalarNode
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from ..ir.expressions import Expression, ExpressionFault, parse_expression, unknown_names
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from .machine_fields import SPELLINGS, may_be_set, paths, read_description, with_fields
from .machines import parse_machine, source_of
from .problem import Candidate, Provider
from .variables import MOST_VARIABLES, Point, Value, Variable, names, read_variable

MACHINE = "machine of the study"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Architecture:
    """`fields` are the paths that are replaced, each with the expression of its value; `text` is the description as it
    is written, whose own table of prices lies in `folder`."""

    variables: tuple[Variable, ...]
    fields: tuple[tuple[str, Expression], ...]
    text: str
    file: str
    folder: str

    @property
    def name(self) -> str:
        return "architecture"

    @property
    def providers(self) -> tuple[Provider, ...]:
        """What a machine costs is a figure of every study."""
        return ()

    @property
    def initial(self) -> tuple[Mapping[str, Value], ...]:
        return ()

    def apply(self, point: Point, candidate: Candidate) -> Candidate:
        """The candidate on the machine of this point. Raises CompileError where the description is refused."""
        return replace(candidate, arch=self.machine(point))

    def machine(self, point: Point) -> Arch | Hierarchy:
        """The machine of a point. Raises CompileError where a field has no value, or the description is refused."""
        values: dict[str, Value] = {}
        for path, expression in self.fields:
            match expression.tree:
                case ("start", ("name", str(name))):  # words and lists are no numbers, and are taken as they are
                    values[path] = point[name]
                case _:
                    try:
                        values[path] = expression.value(point)
                    except ExpressionFault as fault:
                        raise CompileError(Diagnostic(f"{path} = {expression.text}: {fault}")) from None
        return _machine(self, tuple(values.items()))


@lru_cache(maxsize=256)
def _machine(problem: Architecture, values: tuple[tuple[str, Value], ...]) -> Arch | Hierarchy:
    """A point's machine is asked for twice: before it is evaluated, and when it is executed."""
    root = read_description(problem.text, problem.file)
    return parse_machine(with_fields(root, dict(values)), MACHINE, Path(problem.folder))


def read_architecture(section: Fields, arch: str) -> Architecture:
    """The problem that a study's section `architecture` states, on the machine `arch` (a bundled name or a path).

    What is wrong goes to the section's faults: with paths that no description has, or that no value makes sense of.
    """
    text, file, folder = source_of(arch)
    root = read_description(text, file)
    variables: list[Variable] = []
    places: dict[str, Span] = {}
    fields: dict[str, Expression] = {}
    unset: dict[str, Span] = {}  # variables that set no field by themselves
    listed = section.fields("variables")
    if listed is not None and not 0 < len(listed.node.entries) <= MOST_VARIABLES:
        section.fault("variables", f"there are {len(listed.node.entries)} variables", f"1 to {MOST_VARIABLES}")
        listed = None
    for name in listed.node.entries if listed is not None else ():
        assert listed is not None
        span = listed.node.key_spans[name]
        listed.has(name)
        if not _NAME.fullmatch(name):
            listed.faults.add(f"{name[:80]!r} is no name of a variable", span, "a word, or the path of a field")
        variable, more = read_variable(name, listed.node.entries[name], listed.faults, listed.name(name))
        variables.append(variable)
        targets: list[tuple[str, Span]] = []
        if more is not None and more.has("fields"):
            targets = _targets(more)
        elif "." in name or name in root.entries:
            targets = [(name, span)]
        else:
            unset[name] = span
        if more is not None:
            more.done()
        for path, place in targets:
            _add(section, fields, places, path, place, Expression(name, ("start", ("name", name)), (name,)))
    computed = section.fields("fields", required=False)
    for path in computed.node.entries if computed is not None else ():
        assert computed is not None
        computed.has(path)
        _add_computed(section, computed, path, fields, places, variables)
    used = {name for expression in fields.values() for name in expression.names}
    for name, span in unset.items():
        if name not in used:
            help = "`fields: [array.rows, array.cols]` beside its values, or use it in an expression of `fields`"
            section.faults.add(f"variable {name!r} sets no field of the machine", span, help)
    section.done()
    problem = Architecture(tuple(variables), tuple(fields.items()), text, file, str(folder))
    _check(section, problem, root, places)
    return problem


def _targets(fields: Fields) -> list[tuple[str, Span]]:
    node = fields.node.entries["fields"]
    items = node.items if isinstance(node, ListNode) else (node,)
    if not items or not all(isinstance(each, ScalarNode) and each.text for each in items):
        fields.fault(
            "fields", f"{fields.name('fields')!r} must be a path or a list of paths", "[array.rows, array.cols]"
        )
        return []
    return [(each.text, each.span) for each in items if isinstance(each, ScalarNode)]


def _add(
    section: Fields, fields: dict[str, Expression], places: dict[str, Span], path: str, span: Span, value: Expression
) -> None:
    if path in fields:
        section.faults.add(f"{path[:80]!r} is set twice", span, f"it is {fields[path].text!r} already")
    else:
        fields[path], places[path] = value, span


def _add_computed(
    section: Fields,
    computed: Fields,
    path: str,
    fields: dict[str, Expression],
    places: dict[str, Span],
    variables: list[Variable],
) -> None:
    """A row of `fields`: a path and the expression of its value, or a word."""
    node = computed.node.entries[path]
    if not isinstance(node, ScalarNode) or not node.text:
        computed.fault(path, f"{computed.name(path)!r} must be an expression", "for example `4 * dim`")
        return
    try:
        expression = parse_expression(node.text)
    except ExpressionFault as fault:
        computed.fault(path, str(fault), "for example `4 * dim`")
        return
    if expression.is_comparison:
        computed.fault(path, f"{node.text[:60]!r} compares; a field needs a value", "for example `4 * dim`")
    elif unknown := unknown_names(expression, names(variables)):
        computed.fault(path, f"there is no variable {unknown[0][:60]!r}", closest(unknown[0], names(variables)))
    else:
        _add(section, fields, places, path, node.span, expression)


def _check(section: Fields, problem: Architecture, root: MapNode, places: Mapping[str, Span]) -> None:
    """Whether the paths are fields of a description: a field that the machine has not is tried with its first value."""
    known = [each for each in paths(root) if may_be_set(root, each)]
    before = len(section.faults)
    for path, span in places.items():
        parent, _, key = path.rpartition(".")
        if not may_be_set(root, path):
            section.faults.add(f"{path[:80]!r} is no field of {problem.file}", span, closest(path, known))
        elif (other := f"{parent}.{SPELLINGS.get(key)}") in places and key > SPELLINGS[key]:
            section.faults.add(f"{path[:80]!r} and {other[:80]!r} say the same", span, "one of them")
    if len(section.faults) > before:
        return
    first: Point = {each.name: each.values[0] for each in problem.variables}
    for path, expression in problem.fields:
        if path in known:
            continue
        try:
            replace(problem, fields=((path, expression),)).machine(first)
        except CompileError as error:
            key = path.rpartition(".")[2]
            unknown = (f"unknown key {key!r}", f"knows no dimension {key!r}")
            if any(words in each.message for each in error.diagnostics for words in unknown):
                section.faults.add(f"{path[:80]!r} is no field of {problem.file}", places[path], closest(path, known))
