"""What a study of thresholds lacks before its search: a limit that its file leaves out is found by evaluations, and is
kept in the store, so that a study which is resumed goes on with the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..ir.diagnostics import CompileError, Diagnostic
from .judge import Judge
from .problem import Figures, Provider, evaluation_key
from .remember import asked_once
from .sparsity import GREATEST_TRIED, MOST_TRIED, Sparsity, found_limit
from .store import Known, Store
from .study import Study
from .workers import Workers

_LIMIT = "limit"


def settled(
    study: Study, store: Store, known: Known, workers: Workers, say: Callable[[str], object] = lambda text: None
) -> Study:
    """The study with the limit of its thresholds, and with what its file says of points that begin the search. `say` is
    told what is waited for. Raises CompileError where no threshold takes the accuracy away, and for predefined points
    with values that there are not."""
    problem = next((each for each in study.problems if isinstance(each, Sparsity) and each.limit is None), None)
    if problem is None:
        return study
    say(f"the limit of thresholds is looked for: at most {MOST_TRIED} evaluations")
    key = evaluation_key(study.base, (_LIMIT, problem.what_is_pruned, problem.judge.identity))
    (found,) = asked_once(store, known, workers, limit_of, [(key, (problem,))])
    limit = found[_LIMIT]
    if limit is None:
        message = f"no threshold up to {GREATEST_TRIED:g} takes the accuracy away"
        raise CompileError(Diagnostic(message, problem.judge.place, "`limit: 0.8` in the section `sparsity`"))
    problems = tuple(replace(each, limit=float(limit)) if each is problem else each for each in study.problems)
    begun = study.predefined if study.predefine is None else study.predefine(problems)
    return replace(study, problems=problems, predefined=begun, predefine=None)


def limit_of(providers: tuple[Provider, ...], problem: Sparsity) -> Figures:
    """The limit, in the process of a worker; None where there is none. Raises CompileError where a threshold cannot be
    evaluated, or not in time: that says nothing of the limit, and is not kept."""
    judge = next(each for each in providers if isinstance(each, Judge))
    return {_LIMIT: found_limit(replace(problem, judge=judge))}
