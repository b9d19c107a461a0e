"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002) by pymoo, over the places of values.

Variables whose values ascend are integers, crossed by SBX and mutated polynomially; of others a child takes one of its
parents' values, or any. No point is asked for twice, in the whole search: a child that was there is made anew. With
`candidates`, more children are made than are evaluated, and `Surrogate` chooses among them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..ir.diagnostics import CompileError, Diagnostic
from .draws import Admits
from .study import Score, Study
from .surrogate import Surrogate
from .variables import Genome

_WORST = 1e30  # instead of infinity, which pymoo's arithmetic does not take


class Nsga2:
    """A search from `first`, its first population, that asks for at most `evaluations` points (None: no limit)."""

    def __init__(self, study: Study, first: Sequence[Genome], admits: Admits, evaluations: int | None) -> None:
        """Raises CompileError where pymoo is not installed."""
        if find_spec("pymoo") is None:
            help = "pip install 'dnnc[explore]', or `algorithm: exhaustive`, which needs nothing"
            raise CompileError(Diagnostic("NSGA-II needs pymoo, which is not installed", help=help))
        self._free = [place for place, each in enumerate(study.space.variables) if len(each.values) > 1]
        self._count = len(study.space.variables)
        self._objectives = len(study.objectives)
        self._left = evaluations
        self._offspring = study.settings.offspring
        self._surrogate = Surrogate(study.space) if study.settings.candidates > 1 else None
        self._asked: Any = None
        self._seen: set[Genome] = set()
        self._algorithm = _algorithm(study, self._free, [self._named(each) for each in first], self._is_new(admits))

    def ask(self) -> list[Genome]:
        if not self._algorithm.has_next() or self._left == 0:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of means of nothing, in pymoo
            asked = self._algorithm.ask()
        if asked is None or not len(asked):
            return []
        made = [self._genome(each.X) for each in asked]
        wanted = list(range(len(made)))
        if self._surrogate is not None and self._seen:
            wanted = self._surrogate.chosen(made, self._offspring)
        wanted = wanted[: self._left]
        self._asked, found = asked[wanted], [made[each] for each in wanted]
        self._left = None if self._left is None else self._left - len(found)
        self._seen |= set(found)
        return found

    def tell(self, scores: Sequence[Score]) -> None:
        if self._surrogate is not None:
            self._surrogate.learn([self._genome(each.X) for each in self._asked], scores)
        values = [
            ([_WORST] * self._objectives, _WORST)
            if score.violation == float("inf")
            else (score.objectives, score.violation)
            for score in scores
        ]
        for individual, (objectives, violation) in zip(self._asked, values, strict=True):
            individual.set("F", np.array(objectives, float))
            individual.set("G", np.array([violation]))
            individual.set("H", np.empty(0))
            individual.evaluated |= {"F", "G", "H"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._algorithm.tell(infills=self._asked)

    def _named(self, genome: Genome) -> dict[str, int]:
        return {str(place): genome[place] for place in self._free}

    def _genome(self, named: dict[str, Any]) -> Genome:
        places = [0] * self._count
        for name, value in named.items():
            places[int(name)] = int(value)
        return tuple(places)

    def _is_new(self, admits: Admits) -> Any:
        def is_new(named: dict[str, Any]) -> bool:
            genome = self._genome(named)
            return genome not in self._seen and admits(genome)

        return is_new


def _seed(seed: int) -> int:
    """As pymoo takes it, of 32 bits: a larger one by a digest, so that no two that differ by a power of 2 are alike."""
    return seed if seed < 1 << 32 else int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")


def _algorithm(study: Study, free: Sequence[int], first: Sequence[dict[str, int]], is_new: Any) -> Any:
    from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
    from pymoo.core.mixed import MixedVariableDuplicateElimination, MixedVariableMating
    from pymoo.core.population import Population
    from pymoo.core.problem import Problem
    from pymoo.core.variable import Choice, Integer
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.mutation.rm import ChoiceRandomMutation
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.selection.tournament import TournamentSelection
    from pymoo.termination.collection import TerminationCollection
    from pymoo.termination.ftol import MultiObjectiveSpaceTermination
    from pymoo.termination.max_gen import MaximumGenerationTermination
    from pymoo.termination.robust import RobustTermination

    class Fresh(MixedVariableDuplicateElimination):  # type: ignore[misc]
        """Drops what was asked for before, too, and what cannot be evaluated."""

        def do(self, population: Any, *others: Any, **more: Any) -> Any:
            kept = [each for each in population if is_new(each.X)]
            return super().do(Population.create(*kept), *others, **more)

    settings = study.settings
    variables = study.space.variables
    kinds = {
        str(place): Integer(bounds=(0, len(variables[place].values) - 1))
        if variables[place].ordered
        else Choice(options=list(range(len(variables[place].values))))
        for place in free
    }
    crossing = {"prob_var": settings.crossover_probability, "eta": settings.crossover_eta}
    mutating = {"prob": settings.mutation_probability, "eta": settings.mutation_eta}
    mating = MixedVariableMating(
        selection=TournamentSelection(func_comp=binary_tournament),
        crossover={Integer: SBX(vtype=float, repair=RoundingRepair(), **crossing), Choice: UX()},
        mutation={Integer: PM(vtype=float, repair=RoundingRepair(), **mutating), Choice: ChoiceRandomMutation()},
        eliminate_duplicates=Fresh(),
    )
    algorithm = NSGA2(
        pop_size=settings.population,
        n_offsprings=settings.offspring * settings.candidates,
        sampling=Population.new(X=list(first)),
        mating=mating,
        eliminate_duplicates=MixedVariableDuplicateElimination(),
    )
    ends = [MaximumGenerationTermination(settings.generations)]
    if settings.tolerance:
        moved = MultiObjectiveSpaceTermination(tol=settings.tolerance, only_feas=True)
        ends.append(RobustTermination(moved, period=settings.period))
    problem = Problem(vars=kinds, n_obj=len(study.objectives), n_ieq_constr=1)
    algorithm.setup(problem, termination=TerminationCollection(*ends), seed=_seed(settings.seed), verbose=False)
    return algorithm
