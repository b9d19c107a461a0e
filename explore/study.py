"""A study that has been read: what is varied, what is wanted of it, and how it is searched."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import cached_property

from ..ir.diagnostics import CompileError
from ..ir.expressions import Expression, ExpressionFault
from ..ir.frozen import dataclass
from .algorithm_settings import NSGA2, Settings
from .corruptions.corrupt import Corruptions
from .costs import ALIASES, Costs
from .level_costs import LevelCosts
from .problem import Candidate, Problem, Provider, evaluation_key
from .shared_files import SharedFile
from .variables import Genome, Point, Space, Value
from .versions import version_text

BROKEN = "constraint: "  # and its text: why a point is not evaluated


@dataclass(frozen=True, slots=True)
class Objective:
    """An expression that is to be as small, or as large, as can be."""

    expression: Expression
    maximised: bool

    @property
    def text(self) -> str:
        return f"{'max' if self.maximised else 'min'} {self.expression.text}"


@dataclass(frozen=True, slots=True)
class RunStage:
    """Which points of the front are executed: at most `survivors` of them (None: all), on `inputs` or on what `seed`
    makes up."""

    survivors: int | None = None
    inputs: SharedFile | None = None
    seed: int = 0
    time_limit_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Score:
    """What an algorithm is told of a point: objectives, all to be made small, and by how much constraints do not hold;
    infinitely where there are no figures."""

    objectives: tuple[float, ...]
    violation: float


@dataclass(frozen=True)
class Study:
    """`content` is what the file says, in one spelling; `warnings` are what of it has no effect. `counted` gives the
    figures of `costs` where blocks are skipped. `corruptions` are what befalls the samples of further searches.
    `predefine` makes `predefined` of problems whose values are not all known yet (limits.py)."""

    name: str
    file: str
    content: str
    base: Candidate
    problems: tuple[Problem, ...]
    costs: Costs | LevelCosts
    objectives: tuple[Objective, ...]
    constraints: tuple[Expression, ...]
    settings: Settings
    run: RunStage | None = None
    reuse: tuple[str, ...] = ()
    predefined: tuple[Genome, ...] = ()
    warnings: tuple[str, ...] = ()
    counted: Provider | None = None
    corruptions: Corruptions | None = None
    predefine: Callable[[tuple[Problem, ...]], tuple[Genome, ...]] | None = None

    @cached_property
    def space(self) -> Space:
        return Space(tuple(each for problem in self.problems for each in problem.variables))

    @cached_property
    def providers(self) -> tuple[Provider, ...]:
        """Those that are asked: of what a machine costs only where an objective or a constraint names it, where savings
        are to be told, or where nothing else is asked."""
        others = tuple(dict.fromkeys(each for problem in self.problems for each in problem.providers))
        named = {name for each in (*self.wanted, *self.constraints) for name in each.names}
        named = {ALIASES.get(each, each) for each in named}
        counted = self.counted or self.costs
        is_asked = named & counted.figures.keys() or not others or self.corruptions is not None
        return (counted, *others) if is_asked else others

    @property
    def wanted(self) -> tuple[Expression, ...]:
        return tuple(each.expression for each in self.objectives)

    @cached_property
    def early(self) -> tuple[Expression, ...]:
        """Constraints over variables alone: a point that breaks one is never evaluated."""
        names = {each.name for each in self.space.variables}
        return tuple(each for each in self.constraints if set(each.names) <= names)

    @cached_property
    def identity(self) -> str:
        """Of all that decides which points are asked for and what they are worth."""
        base = (self.base.machine_text, self.base.options_text)
        by = version_text("pymoo", "scipy") if self.settings.name == NSGA2 else ""
        return hashlib.sha256("\0".join((self.content, *base, by, *self.identities)).encode()).hexdigest()

    @cached_property
    def identities(self) -> tuple[str, ...]:
        return tuple(each.identity for each in self.providers)

    def candidate(self, point: Point) -> Candidate:
        """What a point stands for. Raises CompileError where a problem refuses it."""
        found = self.base
        for problem in self.problems:
            found = problem.apply(point, found)
        return found

    def key(self, candidate: Candidate) -> str:
        """The name of a candidate's evaluation, which other studies know it by as well."""
        return evaluation_key(candidate, self.identities)

    def part_keys(self, candidate: Candidate) -> tuple[str, ...]:
        """The names of what each provider says of a candidate, whichever study asks."""
        return tuple(evaluation_key(candidate, (each,)) for each in self.identities)

    def refusal(self, point: Point) -> str:
        """Why a point is not evaluated, or nothing."""
        for each in self.early:
            try:
                if each.violation(point):
                    return f"{BROKEN}{each.text}"
            except ExpressionFault as fault:
                return f"constraint {each.text}: {fault}"
        try:
            self.candidate(point)
        except CompileError as error:
            return error.summary
        return ""

    def score(self, point: Point, figures: Mapping[str, float | int | None]) -> Score:
        """Of a point with these figures; what is not known, or no finite number, breaks the constraint or the objective
        that asks for it."""
        numbers = self.numbers(point, figures)
        worst = Score((float("inf"),) * len(self.objectives), float("inf"))
        try:
            values = [each.expression.value(numbers) for each in self.objectives]
            violation = sum(each.violation(numbers) for each in self.constraints)
        except ExpressionFault:
            return worst
        signed = [-value if each.maximised else value for each, value in zip(self.objectives, values, strict=True)]
        if not all(map(math.isfinite, (*signed, violation))):
            return worst
        return Score(tuple(map(float, signed)), violation)

    def numbers(self, point: Point, figures: Mapping[str, float | int | None]) -> dict[str, Value | None]:
        """What expressions may name."""
        named = {alias: figures[name] for alias, name in ALIASES.items() if name in figures}
        return {**named, **figures, **point}
