"""Who asks for which points next. All are functions of the study alone: the same answers, the same questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Protocol

from .algorithm_settings import EXHAUSTIVE, RANDOM, SENSITIVITY, Settings
from .study import Score, Study
from .variables import Genome, Space, Value

Admits = Callable[[Genome], bool]  # whether a point can be evaluated at all
_AT_ONCE = 1024  # points that an exhaustive search asks for together
_TRIES = 200  # draws for each point that is wanted


class Algorithm(Protocol):
    """`ask` gives genomes that it has not asked for before, all of them admitted; none: the search has ended. `tell`
    answers all of them, in their order."""

    def ask(self) -> list[Genome]: ...

    def tell(self, scores: Sequence[Score]) -> None: ...


def algorithm_of(study: Study, admits: Admits) -> Algorithm:
    """The algorithm of a study. Raises CompileError where it needs a package that is not installed."""
    if study.settings.name == EXHAUSTIVE:
        return Exhaustive(study.space, study.settings, admits)
    if study.settings.name == RANDOM:
        return RandomPoints(study.space, study.settings, admits)
    from .nsga2 import Nsga2

    reference = _reference(study)
    if study.settings.start == SENSITIVITY and reference:
        from .sensitivity import Guided

        movable = [place for place, each in enumerate(study.space.variables) if each.name in reference]
        start = _placed(study.space, reference)
        return Guided(study, start, movable, admits, lambda first, is_new: Nsga2(study, first, is_new))
    return Nsga2(study, first_population(study, admits), admits)


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
        self._left = [drawn(space, settings.evaluations or 0, settings.seed, admits)]

    def ask(self) -> list[Genome]:
        return self._left.pop() if self._left else []

    def tell(self, scores: Sequence[Score]) -> None:
        """What is found changes nothing."""


def drawn(space: Space, count: int, seed: int, admits: Admits, held: Sequence[Genome] = ()) -> list[Genome]:
    """Up to `count` admitted points that are different and not among `held`, drawn by `seed`; all that there are where
    they are no more than that."""
    taken = dict.fromkeys(held)
    found: list[Genome] = []
    if space.size <= _TRIES * count:
        places = list(range(space.size))
        random.Random(seed).shuffle(places)
        candidates = map(space.genome_at, places)
        return list(islice((each for each in candidates if each not in taken and admits(each)), count))
    generator = random.Random(seed)
    for _ in range(_TRIES * count):
        genome = space.genome_at(generator.randrange(space.size))
        if genome not in taken:
            taken[genome] = None
            if admits(genome):
                found.append(genome)
        if len(found) == count:
            break
    return found


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
