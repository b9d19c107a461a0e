"""What a study found (`dnnc.explore/1`) as typed values, of which pictures are made."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from ...explore.costs import ENERGY_OF
from ...explore.front import front
from ...explore.results import SCHEMA
from ...explore.study import Score
from ...ir.diagnostics import CompileError, Diagnostic, Span
from ...ir.frozen import dataclass
from .document import plain
from .json_reader import JsonReader, Table, refuse_other_schema

_HELP = "`dnnc explore STUDY.yaml` writes study.json"
Label = str | float


@dataclass(frozen=True, slots=True)
class Point:
    """`values` by variable; `objectives` are none where a figure that they name is not known."""

    values: dict[str, Label]
    objectives: tuple[float, ...]
    feasible: bool
    on_front: bool
    figures: dict[str, float]

    def number(self, name: str) -> float | None:
        """A figure, or the value of a variable that has numbers."""
        found = self.figures.get(name, self.values.get(name))
        return found if isinstance(found, int | float) else None

    def energy_parts(self) -> dict[str, float]:
        """pJ by component."""
        return {name[len(ENERGY_OF) :]: each for name, each in self.figures.items() if name.startswith(ENERGY_OF)}


@dataclass(frozen=True, slots=True)
class Explored:
    """`objectives` are as the study has them: `min energy_pj`."""

    study: str
    path: str
    variables: tuple[str, ...]
    objectives: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def front(self) -> list[Point]:
        """By the first objective."""
        signs = signs_of(self.objectives)
        best = [each for each in self.points if each.on_front and each.objectives]
        return sorted(best, key=lambda each: [sign * value for sign, value in zip(signs, each.objectives, strict=True)])

    @property
    def figures(self) -> list[str]:
        """Names of all that points have numbers for."""
        named = {name for each in self.points for name in each.figures}
        numbered = {name for each in self.points for name, value in each.values.items() if not isinstance(value, str)}
        return sorted(named | numbered)


def explored_of(value: Any, path: str) -> Explored:
    """What a JSON value stands for; what is not drawn is not looked at. Raises CompileError with every fault."""
    refuse_other_schema(value, SCHEMA, path, _HELP)
    reader = JsonReader(path)
    variables = tuple(reader.text(each, "name", where) for each, where in reader.tables(value, "variables", "$"))
    objectives = reader.names(value, "objectives", "$")
    points = tuple(
        _point(reader, each, where, variables, len(objectives)) for each, where in reader.tables(value, "points", "$")
    )
    found = Explored(reader.text(value, "study", "$"), path, variables, objectives, points)
    reader.raise_if_any()
    return found


def _point(reader: JsonReader, value: Table, place: str, variables: Sequence[str], count: int) -> Point:
    given = reader.table(value, "point", place)
    objectives: tuple[float, ...] = ()
    if value.get("objectives") is not None:
        listed = reader.items(value, "objectives", place)
        objectives = tuple(number_of(reader, each, where) for each, where in listed)
        if len(objectives) != count:
            reader.fault(f"{place}.objectives", f"are {len(objectives)}; the study has {count}")
    figures = reader.table(value, "figures", place)
    return Point(
        values={name: _label(given.get(name)) for name in variables},
        objectives=objectives,
        feasible=reader.truth(value, "feasible", place),
        on_front=reader.truth(value, "on_front", place),
        figures={
            plain(name): number_of(reader, each, f"{place}.figures.{plain(name)}")
            for name, each in figures.items()
            if each is not None
        },
    )


def number_of(reader: JsonReader, value: object, place: str) -> float:
    """A finite number, which may be negative; 0, with a fault, for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return value
    reader.fault(place, f"is {plain(repr(value)[:40])}, no number")
    return 0.0


def _label(value: object) -> Label:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return plain(str(value))


def signs_of(objectives: Sequence[str]) -> list[float]:
    """1 of what is to be small, -1 of what is to be large."""
    return [-1.0 if each.startswith("max ") else 1.0 for each in objectives]


def merged(studies: Sequence[Explored]) -> list[tuple[Explored, Point]]:
    """The front of several studies' fronts together, each point with the study that it is from. Raises CompileError
    where they were after different things."""
    wanted = studies[0].objectives
    if other := next((each for each in studies if each.objectives != wanted), None):
        message = f"{other.study} has other objectives: {', '.join(other.objectives)}, not {', '.join(wanted)}"
        help = "fronts of the same objectives, in the same order, can be merged"
        raise CompileError(Diagnostic(message, Span(other.path), help))
    points = [(study, each) for study in studies for each in study.front]
    signs = signs_of(wanted)
    scores = {
        number: Score(tuple(sign * value for sign, value in zip(signs, each.objectives, strict=True)), 0.0)
        for number, (_, each) in enumerate(points)
    }
    return [points[number] for number in front(scores)]
