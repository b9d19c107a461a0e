"""Where evaluations take place: in this process, or on the workers of a Dask cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Protocol

from ..ir.diagnostics import CompileError, TimeLimitError
from ..ir.frozen import dataclass
from .problem import Candidate, Figures, Provider, known_figures
from .shared_files import ChangedFileError


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of a candidate, or why it has none; `seconds` is the wall clock that it took. `parts` are those of
    each provider. `is_late`: it has none because time ran out, which another time it may not."""

    figures: Figures
    reason: str
    seconds: float
    parts: tuple[Figures, ...] = ()
    is_late: bool = False


Task = Callable[..., Any]  # of a module, so that another process finds it by its name


class Workers(Protocol):
    """`each(task, jobs)` yields the result of `task(providers, *arguments)` for jobs of a number and arguments, with
    the numbers, in the order in which they end."""

    count: int

    def each(self, task: Task, jobs: Iterable[tuple[int, tuple[Any, ...]]]) -> Iterator[tuple[int, Any]]: ...

    def of(self, providers: tuple[Provider, ...]) -> Workers:
        """The same workers with other providers; only those that were there first are closed."""
        ...

    def close(self) -> None: ...


class Here:
    """One evaluation after the other, in this process."""

    count = 1

    def __init__(self, providers: tuple[Provider, ...]) -> None:
        self._providers = providers

    def each(self, task: Task, jobs: Iterable[tuple[int, tuple[Any, ...]]]) -> Iterator[tuple[int, Any]]:
        for number, arguments in jobs:
            yield number, task(self._providers, *arguments)

    def of(self, providers: tuple[Provider, ...]) -> Here:
        return Here(providers)

    def close(self) -> None:
        """There is nothing to give back."""


def evaluate(
    providers: tuple[Provider, ...], candidate: Candidate, known: tuple[Figures | None, ...] = ()
) -> Evaluation:
    """The figures of all providers; of those that are `known` (one a provider) nothing is asked. A candidate that
    cannot be compiled has none, and the reason. Raises CompileError where a provider cannot be opened: that is no
    fault of the candidate; and where a file changed, which is none either."""
    start = time.perf_counter()
    parts: list[Figures] = []
    for each, given in zip(providers, known or (None,) * len(providers), strict=True):
        asked = opened(each) if given is None else None
        try:
            parts.append(known_figures(asked(candidate)) if asked is not None else given or {})
        except ChangedFileError:
            raise
        except CompileError as error:
            is_late = isinstance(error, TimeLimitError)
            return Evaluation({}, error.summary, time.perf_counter() - start, is_late=is_late)
    figures = {name: value for each in parts for name, value in each.items()}
    return Evaluation(figures, "", time.perf_counter() - start, tuple(parts))


def threads() -> int | None:
    """As many as this process was given: a worker is told how many are its own. None: nobody said."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and 0 < len(given) < 6 and int(given) else None


@lru_cache(maxsize=4)  # a study's costs, widths and samples; a judge of other samples takes the place of one before
def opened(provider: Provider) -> Callable[[Candidate], Figures]:
    """What evaluates for a provider, opened once by each process. Raises CompileError."""
    return provider.open()
