"""A study on corrupted samples: the same search for each corruption and severity, and what it takes there.

The study on samples as they are stored goes first; each other one is a cell, with a folder of its own that can be
resumed and reused. What a point costs does not depend on samples, and is taken from the cells before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace

from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.precision import PrecisionSpec
from .corruptions.corrupt import Corruption
from .engine import Outcome, known_parts, new_parts
from .judge import REPORTED, SEARCHED, Judge, OpenedJudge
from .points import on_reported, reported_key
from .precision import Bitwidths
from .problem import Candidate, Figures, Provider, evaluation_key
from .pruned_costs import PrunedCosts
from .remember import asked_once
from .sparsity import Sparsity
from .store import Known, Row, Store
from .study import Study
from .variables import Genome
from .workers import Evaluation, Workers, evaluate, opened

REFERENCE_BITS = 8


@dataclass(frozen=True)
class Cell:
    """What a search found on the samples of a corruption (None: as they are stored), beside the float model and the
    reference. Accuracies are of the samples of the search, `reported` ones of those that are reported.

    `restores` is the point of least cost that has the accuracy of the float model on samples as they are stored, less
    the margin; `keeps` the one that has what the float model has on these samples; `best` the most accurate one.
    """

    corruption: Corruption | None
    study: Study
    outcome: Outcome
    float_accuracy: float
    float_reported: float
    reference: Figures
    reference_reported: float | None
    restores: Row | None
    keeps: Row | None
    best: Row | None
    reported: dict[Genome, float] = field(default_factory=dict)

    @property
    def chosen(self) -> Row | None:
        """The point that is to be taken where samples are like these."""
        return self.restores or self.keeps or self.best


def judge_of(study: Study) -> Judge:
    found = next((each for each in study.providers if isinstance(each, Judge)), None)
    ensure(found is not None, "a study of corruptions has samples")
    assert found is not None
    return found


def cell_of(study: Study, corruption: Corruption) -> Study:
    """The same study on corrupted samples. Nothing is executed: programs of a point are the same for all samples."""
    judge = replace(judge_of(study), corruption=corruption)
    return replace(
        study,
        name=f"{study.name} {corruption}",
        problems=tuple(
            replace(each, judge=judge) if isinstance(each, Bitwidths | Sparsity) else each for each in study.problems
        ),
        counted=PrunedCosts(judge.costs, judge) if study.counted is not None else None,
        run=None,
    )


def reference_of(study: Study) -> Candidate:
    """What savings are told against: every layer as `reference` says, or in 8 bits; nothing is pruned."""
    for problem in study.problems:
        if isinstance(problem, Bitwidths):
            given = study.corruptions.reference if study.corruptions is not None else None
            form = given or replace(problem.form, weights=REFERENCE_BITS, activations=REFERENCE_BITS)
            return replace(study.base, options=replace(study.base.options, precision=PrecisionSpec(form)))
    return study.base


def reference_name(study: Study) -> str:
    precision = reference_of(study).options.precision
    return str(precision.default) if isinstance(precision, PrecisionSpec) else "unpruned"


def cost_objective(study: Study) -> int | None:
    """Which objective says what a point costs: the first that does not name the accuracy."""
    numbers = (k for k, each in enumerate(study.objectives) if "accuracy" not in each.expression.names)
    return next(numbers, None)


def examined(study: Study, store: Store, workers: Workers, known: Known, outcome: Outcome, clean: Cell | None) -> Cell:
    """What the search of a cell means; `clean` is the cell of samples as they are stored, None where this is it."""
    judge = judge_of(study)
    float_jobs = [
        (evaluation_key(study.base, ("float", which, judge.identity)), (study.base, which))
        for which in (SEARCHED, REPORTED)
    ]
    own, own_reported = (
        float(each["accuracy"] or 0) for each in asked_once(store, known, workers, float_figures, float_jobs)
    )
    margin = study.corruptions.margin if study.corruptions is not None else 0.0
    wanted = own if clean is None else clean.float_accuracy
    restores = cheapest(study, outcome.rows, wanted - margin)
    keeps = cheapest(study, outcome.rows, own - margin)
    best = max((_accuracy(row) for row in _legal(study, outcome.rows)), default=0.0)
    most = cheapest(study, outcome.rows, best)
    rows = {row.genome: row for row in (restores, keeps, most) if row is not None}
    reference = reference_of(study)
    candidates = [reference, *(study.candidate(row.point) for row in rows.values())]
    jobs = [(reported_key(judge, each), (each,)) for each in candidates]
    told = asked_once(store, known, workers, on_reported, jobs)
    accuracies = [each.get("accuracy") for each in told]
    return Cell(
        corruption=judge.corruption,
        study=study,
        outcome=outcome,
        float_accuracy=own,
        float_reported=own_reported,
        reference=evaluated(study, reference, store, workers, known),
        reference_reported=accuracies[0],
        restores=restores,
        keeps=keeps,
        best=most,
        reported={genome: float(each or 0) for genome, each in zip(rows, accuracies[1:], strict=True)},
    )


def evaluated(study: Study, candidate: Candidate, store: Store, workers: Workers, known: Known) -> Figures:
    """The figures of a candidate that need be no point of the study; none where it cannot be compiled."""
    parts = known_parts(study, candidate, store, known)
    ((_, found),) = workers.each(evaluate, [(0, (candidate, parts))])
    assert isinstance(found, Evaluation)
    store.add_parts(new_parts(study, candidate, parts, found))
    return found.figures


def cheapest(study: Study, rows: Iterable[Row], accuracy: float) -> Row | None:
    """The point of least cost whose accuracy on the samples of the search is at least this; of equal ones the most
    accurate, then the first. Constraints on anything but accuracy must hold."""
    number = cost_objective(study)
    ensure(number is not None, "a study of corruptions has an objective that says what a point costs")
    assert number is not None
    found = [row for row in _legal(study, rows) if _accuracy(row) >= accuracy]
    return min(found, key=lambda row: (cost_of(study, row), -_accuracy(row), row.genome), default=None)


def cost_of(study: Study, row: Row) -> float:
    """What a point costs, by the study's objective: less is better."""
    number = cost_objective(study)
    assert number is not None
    return study.score(row.point, row.figures).objectives[number]


def _accuracy(row: Row) -> float:
    return float(row.figures.get("accuracy") or 0.0)


def _legal(study: Study, rows: Iterable[Row]) -> list[Row]:
    others = replace(study, constraints=tuple(each for each in study.constraints if "accuracy" not in each.names))
    return [row for row in rows if not others.score(row.point, row.figures).violation]


def float_figures(providers: tuple[Provider, ...], candidate: Candidate, which: str) -> Figures:
    """What the float model reaches, in the process of a worker."""
    judge = next(each for each in providers if isinstance(each, Judge))
    found = opened(judge)
    assert isinstance(found, OpenedJudge)
    return {"accuracy": found.float_figure(candidate, which)}
