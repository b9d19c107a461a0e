"""Who asks for which points next. All are functions of the study alone: the same answers, the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from .algorithm_settings import EXHAUSTIVE, RANDOM, SENSITIVITY, Settings
from .draws import Admits, Algorithm, drawn, draws
from .nsga2 import Nsga2
from .sensitivity import Guided
from .study import Score, Study
from .variables import Genome, Space, Value

_AT_ONCE = 1024  # points that a search which learns nothing asks for together


def algorithm_of(study: Study, admits: Admits) -> Algorithm:
    """The algorithm of a study. Raises CompileError where it needs a package that is not installed."""
    if study.settings.name == EXHAUSTIVE:
        return Exhaustive(study.space, study.settings, admits)
    if study.settings.name == RANDOM:
        return RandomPoints(study.space, study.settings, admits)
    reference = _reference(study)
    if study.settings.start == SENSITIVITY and reference:
        movable = [place for place, each in enumerate(study.space.variables) if each.name in reference]
        start = _placed(study.space, reference)
        return Guided(study, start, movable, admits, lambda first, is_new, most: Nsga2(study, first, is_new, most))
    return Nsga2(study, first_population(study, admits), admits, study.settings.evaluations)


class Exhaustive:
    """Every point, in the order of the space."""

    def __init__(self, space: Space, settings: Settings, admits: Admits) -> None:
        self._left = islice(filter(admits, space.genomes()), settings.evaluations)

    def ask(self) -> list[Genome]:
        return list(islice(self._left, _AT_ONCE))

    def tell(self, scores: Sequence[Score]) -> None:
        """What is found changes nothing."""


class RandomPoints:
    """So many different points, each as likely as the other."""

    def __init__(self, space: Space, settings: Settings, admits: Admits) -> None:
        self._left = draws(space, settings.evaluations or 0, settings.seed, admits)

    def ask(self) -> list[Genome]:
        return list(islice(self._left, _AT_ONCE))

    def tell(self, scores: Sequence[Score]) -> None:
        """What is found changes nothing."""


def first_population(study: Study, admits: Admits) -> list[Genome]:
    """The study's own individuals, those of its problems, then random ones."""
    given = [*study.predefined, *_of_problems(study)]
    held = [each for each in dict.fromkeys(given) if admits(each)]
    left = max(0, study.settings.population - len(held))
    return [*held, *drawn(study.space, left, study.settings.seed, admits, held)]


def _of_problems(study: Study) -> list[Genome]:
    """The points that problems begin with, the other problems being where they begin first; variables that none of
    them names take their first value."""
    return [
        _placed(study.space, {**_reference(study, besides=problem.name), **point})
        for problem in study.problems
        for point in problem.initial
    ]


def _reference(study: Study, besides: str = "") -> dict[str, Value]:
    """What problems begin with first, together, but the one of that name."""
    begins = [point for problem in study.problems if problem.name != besides for point in problem.initial[:1]]
    return {name: value for point in begins for name, value in point.items()}


def _placed(space: Space, point: Mapping[str, object]) -> Genome:
    return tuple(each.values.index(point[each.name]) if each.name in point else 0 for each in space.variables)
