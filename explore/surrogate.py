"""What points are likely to be worth, from those that are evaluated: which of many children a search evaluates.

Radial basis functions through all evaluated points (scipy's RBFInterpolator, kernel `linear`) predict each objective
and the violation; the search then evaluates those children that the prediction puts on the front, the emptiest regions
of it first (pre-selection, Jin, Swarm and Evolutionary Computation 1(2), 2011, section 3). Figures of a front are
always of points that were evaluated; a wrong prediction costs an evaluation and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .study import Score
from .variables import Genome, Space

Matrix = NDArray[np.float64]
_MOST_POINTS = 2000  # the latest ones: the interpolation takes time and memory of their number cubed and squared


class Surrogate:
    """Points of `space` with their scores, and which of others promise the most."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._scores: dict[Genome, Score] = {}

    def learn(self, genomes: Sequence[Genome], scores: Sequence[Score]) -> None:
        """Points without figures teach nothing."""
        known = {one: score for one, score in zip(genomes, scores, strict=True) if score.violation != float("inf")}
        self._scores = dict([*self._scores.items(), *known.items()][-_MOST_POINTS:])

    def chosen(self, candidates: Sequence[Genome], count: int) -> list[int]:
        """The places of `count` of the candidates, none of which is evaluated, all different."""
        if count >= len(candidates) or len(self._scores) < 2:
            return list(range(min(count, len(candidates))))
        from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
        from scipy.interpolate import RBFInterpolator

        scores = list(self._scores.values())
        found = _even(np.array([[*each.objectives, max(each.violation, 0.0)] for each in scores]))
        predicted = RBFInterpolator(self._points(list(self._scores)), found, kernel="linear")(self._points(candidates))
        values, violation = np.vstack([found, predicted])[:, :-1], np.r_[found[:, -1], predicted[:, -1]].clip(0)
        # Whatever breaks a constraint comes after all that breaks none, what breaks it by less first.
        ranks = NonDominatedSorting().do(np.where(violation[:, None] > 0, 2 + violation[:, None], values))
        taken: list[int] = []
        for rank in ranks:
            layer = [int(each) for each in rank if each >= len(scores)]
            taken += _farthest_first(values, layer, [*range(len(scores)), *taken], count - len(taken))
        return [each - len(scores) for each in taken]

    def _points(self, genomes: Sequence[Genome]) -> Matrix:
        """[points, coordinates]: a place among a variable's values from 0 to 1, or, where values have no order, one
        coordinate for each of them."""
        places = np.array(genomes)
        columns = []
        for number, variable in enumerate(self._space.variables):
            last = len(variable.values) - 1
            if variable.ordered:
                columns.append(places[:, number, None] / max(last, 1))
            else:
                columns.append((places[:, number, None] == np.arange(last + 1)) / np.sqrt(2))
        return np.hstack(columns).astype(np.float64)


def _even(figures: Matrix) -> Matrix:
    """Columns from 0 to 1: objectives that are all positive by their logarithm, as sizes and times are products."""
    objectives = figures[:, :-1]
    logarithmic = (objectives > 0).all(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.hstack([np.where(logarithmic, np.log(objectives), objectives), figures[:, -1:]])
    least, extent = values.min(axis=0), np.ptp(values, axis=0)
    least[-1] = 0  # a violation of 0 stays one
    return np.asarray((values - least) / np.where(extent > 0, extent, 1))


def _farthest_first(values: Matrix, layer: Sequence[int], known: Sequence[int], count: int) -> list[int]:
    """Up to `count` of a layer, each the one farthest from all that are known and taken before it."""
    taken: list[int] = []
    if not layer or count <= 0:
        return taken
    left = np.array(layer)
    distance = np.min([np.linalg.norm(values[left] - values[each], axis=1) for each in known], axis=0)
    while len(left) and len(taken) < count:
        place = int(np.argmax(distance))
        taken.append(int(left[place]))
        nearer = np.linalg.norm(values[left] - values[left[place]], axis=1)
        distance, left = np.delete(np.minimum(distance, nearer), place), np.delete(left, place)
    return taken
