"""A first population from what each variable does alone.

The reference is the first point that the study's problems begin with (thresholds 0, most bits); each variable that they
name is moved alone: an eighth of the way to its other end, a third of it, and all of it, one step at least. These
points are asked for as any others. Of each variable and each way, its gain is the most by which an objective improves,
and its loss the most by which one worsens or a constraint is broken, in parts of what the points differ by. Variables
are ordered by gain less loss, the best first; the individual number i of n moves the first i/n of them, a third of the
individuals for each of the three ways. One individual in four is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from .draws import Admits, Algorithm, drawn
from .study import Score, Study
from .variables import Genome

WAYS = (1 / 8, 1 / 3, 1.0)  # how far a variable is moved
RANDOM_SHARE = 4  # one individual in so many is drawn


class Guided:
    """Asks for the reference and the moved points first, then as the search that `make` begins from a population."""

    def __init__(
        self,
        study: Study,
        reference: Genome,
        movable: Sequence[int],
        admits: Admits,
        make: Callable[[list[Genome], Admits, int | None], Algorithm],
    ) -> None:
        """`make` begins the rest from a population, points that it may ask for, and how many of them (None: any)."""
        self._study, self._admits, self._make = study, admits, make
        self._reference = reference
        self._moves = moves(self._reference, movable, [len(each.values) for each in study.space.variables])
        wanted = [self._reference, *(genome for each in self._moves.values() for genome in each)]
        most = study.settings.evaluations
        self._asked = list(islice((each for each in dict.fromkeys(wanted) if admits(each)), most))
        self._left = None if most is None else most - len(self._asked)
        self._rest: Algorithm | None = None

    def ask(self) -> list[Genome]:
        if self._rest is None and not self._asked:
            self._begin([])  # neither the reference nor what is near it can be evaluated
        return self._asked if self._rest is None else self._rest.ask()

    def tell(self, scores: Sequence[Score]) -> None:
        if self._rest is not None:
            self._rest.tell(scores)
            return
        self._begin(scores)

    def _begin(self, scores: Sequence[Score]) -> None:
        """The rest, from what the first points are worth."""
        known = dict(zip(self._asked, scores, strict=True))

        def is_new(genome: Genome) -> bool:
            return genome not in known and self._admits(genome)

        settings = self._study.settings
        count = max(2, settings.population - settings.population // RANDOM_SHARE)
        given = [*self._study.predefined, *individuals(self._reference, self._moves, known, count)]
        first = [each for each in dict.fromkeys(given) if is_new(each)]
        left = max(0, settings.population - len(first))
        first += drawn(self._study.space, left, settings.seed, is_new, first)
        self._rest = self._make(first, is_new, self._left)


def moves(reference: Genome, movable: Sequence[int], sizes: Sequence[int]) -> dict[int, tuple[Genome, ...]]:
    """By the place of each variable, the reference with it moved by each of WAYS to the end that is farther."""
    found = {}
    for place in movable:
        here, last = reference[place], sizes[place] - 1
        end = last if last - here >= here else 0
        if end != here:
            steps = [max(1, round(way * abs(end - here))) for way in WAYS]
            sign = 1 if end > here else -1
            found[place] = tuple(_moved(reference, {place: here + sign * each}) for each in steps)
    return found


def individuals(
    reference: Genome, moved: dict[int, tuple[Genome, ...]], known: dict[Genome, Score], count: int
) -> list[Genome]:
    """`count` of them, as many by each way, or one more."""
    found = []
    for way in range(len(WAYS)):
        order = [place for _, place in sorted(_ranks(reference, moved, known, way))]
        number = (count + way) // len(WAYS)
        for each in range(1, number + 1):
            chosen = order[: -(-each * len(order) // number)]
            found.append(_moved(reference, {place: moved[place][way][place] for place in chosen}))
    return found


def _ranks(
    reference: Genome, moved: dict[int, tuple[Genome, ...]], known: dict[Genome, Score], way: int
) -> list[tuple[float, int]]:
    """Loss less gain of each variable, and its place."""
    sound = {genome: _row(score) for genome, score in known.items() if np.isfinite(score.violation)}
    if reference not in sound:
        return [(0.0, place) for place in moved]
    rows = np.array(list(sound.values()))
    extent = np.ptp(rows, axis=0)
    extent[extent == 0] = 1.0
    ranked = []
    for place, genomes in moved.items():
        if genomes[way] not in sound:
            ranked.append((np.inf, place))
            continue
        change = (np.array(sound[genomes[way]]) - np.array(sound[reference])) / extent
        loss, gain = max(0.0, float(change.max())), max(0.0, float(-change[:-1].min()))
        ranked.append((loss - gain, place))
    return ranked


def _row(score: Score) -> list[float]:
    return [*score.objectives, score.violation]


def _moved(genome: Genome, places: dict[int, int]) -> Genome:
    return tuple(places.get(place, value) for place, value in enumerate(genome))
