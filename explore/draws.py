"""What a search is, and points that it draws by chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from .study import Score
from .variables import Genome, Space

Admits = Callable[[Genome], bool]  # whether a point can be evaluated at all
_LISTED = 1 << 20  # points of a space that is shuffled as a whole
_TRIES = 200  # draws for each point that is wanted


class Algorithm(Protocol):
    """`ask` gives genomes that it has not asked for before, all of them admitted; none: the search has ended. `tell`
    answers all of them, in their order."""

    def ask(self) -> list[Genome]: ...

    def tell(self, scores: Sequence[Score]) -> None: ...


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
