"""The search: ask, look up, evaluate, store, tell.

What an algorithm is told are the answers to what it asked, in the order in which it asked; when each of them came plays
no part. So a search that is begun again from a store asks the same, gets what is there from the store, and goes on
where it ended; two searches of one study have one front.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import field

from ..ir.diagnostics import CompileError, Diagnostic, Span, ensure
from ..ir.frozen import dataclass
from .algorithms import algorithm_of
from .front import front
from .problem import Candidate, Figures
from .store import DROPPED, EVALUATED, Known, Row, Store
from .study import Score, Study
from .variables import Genome
from .versions import versions
from .workers import Evaluation, Workers, evaluate


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands: `known` of the points `asked` for so far. `front` computes that of the known ones."""

    asked: int
    known: int
    dropped: int
    front: Callable[[], tuple[Row, ...]]


@dataclass(frozen=True)
class Outcome:
    """What a search found: the points that it asked for, those of which none dominates another, and how they came:
    `evaluated` now, found in the `stored` points of this study or in those of others (`reused`)."""

    rows: tuple[Row, ...]
    dropped: tuple[Row, ...]
    front: tuple[Row, ...]
    evaluated: int
    stored: int
    reused: int
    scores: dict[Genome, Score] = field(default_factory=dict)


def explore(
    study: Study, store: Store, workers: Workers, known: Known, report: Callable[[Progress], object] = lambda each: None
) -> Outcome:
    """Search. Every point is in the store once it is known. Raises what evaluations raise but CompileError, which
    drops a point: what is stored then stays."""
    return _Search(study, store, workers, known, report).outcome()


def known_parts(study: Study, candidate: Candidate, store: Store, known: Known) -> tuple[Figures | None, ...]:
    """What each provider has said of a candidate already, for this study or for others. Empty where there is but one
    provider: what it says is the point."""
    keys = study.part_keys(candidate)
    return tuple(store.part(each) or known.part(each) for each in keys) if len(keys) > 1 else ()


def new_parts(
    study: Study, candidate: Candidate, known: tuple[Figures | None, ...], evaluation: Evaluation
) -> dict[str, Figures]:
    """What an evaluation has found out, by the keys under which it is kept."""
    keys = study.part_keys(candidate)
    if len(keys) < 2 or evaluation.reason:
        return {}
    old = known or (None,) * len(keys)
    return {key: part for key, part, given in zip(keys, evaluation.parts, old, strict=True) if given is None}


class _Search:
    def __init__(
        self, study: Study, store: Store, workers: Workers, known: Known, report: Callable[[Progress], object]
    ) -> None:
        self.study, self.store, self.workers, self.known, self.report = study, store, workers, known, report
        self.rows = {row.genome: row for row in store.rows()}
        self.scores: dict[Genome, Score] = {}
        self.dropped: dict[Genome, Row] = {}
        self.asked: list[Genome] = []
        self.evaluated = self.stored = self.reused = 0
        self.versions = versions()

    def outcome(self) -> Outcome:
        algorithm = algorithm_of(self.study, self.admits)
        while asked := algorithm.ask():
            ensure(not set(asked) & self.scores.keys(), "a point is asked for once")
            self.asked += asked
            self.answer(asked)
            algorithm.tell([self.scores[each] for each in asked])
        refused = {genome: self.rows[genome] for genome in self.asked if not self.rows[genome].is_evaluated}
        dropped = self.dropped | refused
        return Outcome(
            rows=tuple(self.rows[each] for each in sorted(self.scores) if self.rows[each].is_evaluated),
            dropped=tuple(dropped[each] for each in sorted(dropped)),
            front=self.front(),
            evaluated=self.evaluated,
            stored=self.stored,
            reused=self.reused,
            scores=self.scores,
        )

    def admits(self, genome: Genome) -> bool:
        """Whether a point can be evaluated. One that cannot is stored as dropped, with the reason, once."""
        if genome in self.dropped:
            return False
        row = self.rows.get(genome)
        point = self.study.space.point(genome)
        reason = self.study.refusal(point)
        if not reason:
            return True
        if row is None:
            row = Row(genome, point, DROPPED, reason, {}, "", 0.0, "")
            self.store.note(row)
            self.rows[genome] = row
        self.dropped[genome] = row
        return False

    def answer(self, asked: list[Genome]) -> None:
        """Score all of them: from the store, from other studies, else by evaluation."""
        wanted: list[tuple[Genome, Candidate, str]] = []
        for genome in asked:
            candidate = self.study.candidate(self.study.space.point(genome))
            key = self.study.key(candidate)
            if genome in self.rows:
                self.refuse_other(self.rows[genome], key)
                self.stored += 1
                self.take(self.rows[genome])
                continue
            other = self.known.find(key)
            if other is None:
                wanted.append((genome, candidate, key))
                continue
            folder, figures, seconds = other
            self.reused += 1
            self.keep(genome, candidate, key, Evaluation(figures, "", seconds), folder)
        parts = [known_parts(self.study, candidate, self.store, self.known) for _, candidate, _ in wanted]
        jobs = ((number, (wanted[number][1], each)) for number, each in enumerate(parts))
        for number, evaluation in self.workers.each(evaluate, jobs):
            genome, candidate, key = wanted[number]
            self.evaluated += 1
            new = new_parts(self.study, candidate, parts[number], evaluation)
            self.keep(genome, candidate, key, evaluation, "", new)

    def refuse_other(self, row: Row, key: str) -> None:
        """Raise CompileError where a point was stored as another candidate than the study makes of it now."""
        if row.key != key:
            message = f"the point {json.dumps(row.point, sort_keys=True)} is stored with figures of another candidate"
            help = "-o names another folder; `reuse: [FOLDER]` takes what is still the same from this one"
            raise CompileError(Diagnostic(message, Span(str(self.store.path)), help))

    def keep(
        self,
        genome: Genome,
        candidate: Candidate,
        key: str,
        evaluation: Evaluation,
        origin: str,
        parts: Mapping[str, Figures] | None = None,
    ) -> None:
        status = DROPPED if evaluation.reason else EVALUATED
        point = self.study.space.point(genome)
        machine = candidate.arch.digest
        figures, seconds = evaluation.figures, evaluation.seconds
        row = Row(genome, point, status, evaluation.reason, figures, machine, seconds, origin, key)
        if not evaluation.is_late:  # what took too long is asked again when the study goes on
            self.store.add(row, candidate, self.versions, parts)
        self.take(row)

    def take(self, row: Row) -> None:
        self.rows[row.genome] = row
        worst = Score((float("inf"),) * len(self.study.objectives), float("inf"))
        self.scores[row.genome] = self.study.score(row.point, row.figures) if row.is_evaluated else worst
        self.report(Progress(len(self.asked), len(self.scores), len(self.dropped), self.front))

    def front(self) -> tuple[Row, ...]:
        """Of the points that are known."""
        return tuple(self.rows[each] for each in front({genome: self.scores[genome] for genome in sorted(self.scores)}))
