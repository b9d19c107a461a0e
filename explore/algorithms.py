"""Who asks for which points next. All are functions of the study alone: the same answers, the same questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from .algorithm_settings import EXHAUSTIVE, RANDOM, SENSITIVITY, Settings
from .study import Score, Study
from .variables import Genome, Space, Value

Admits = Callable[[Genome], bool]  # whether a point can be evaluated at all
_AT_ONCE = 1024  # points that a search which learns nothing asks for together
_LISTED = 1 << 20  # points of a space that is shuffled as a whole
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


def drawn(space: Space, count: int, seed: int, admits: Admits, held: Sequence[Genome] = ()) -> list[Genome]:
    """What `draws` yields."""
    return list(draws(space, count, seed, admits, held))


def draws(space: Space, count: int, seed: int, admits: Admits, held: Sequence[Genome] = ()) -> Iterator[Genome]:
    """Up to `count` admitted points that are different and not among `held`, drawn by `seed`; all that there are where
    they are no more than that. Memory grows with the points that were drawn, not with the space."""
    generator = random.Random(seed)
    taken = set(held)
    if space.size <= min(_TRIES * count, _LISTED):
        places = list(range(space.size))
        generator.shuffle(places)
        candidates = map(space.genome_at, places)
        yield from islice((each for each in candidates if each not in taken and admits(each)), count)
        return
    found = 0
    for _ in range(_TRIES * count):
        if found == count or len(taken) == space.size:
            return
        genome = space.genome_at(generator.randrange(space.size))
        if genome not in taken:
            taken.add(genome)
            if admits(genome):
                found += 1
                yield genome


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
