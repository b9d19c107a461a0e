"""What a study asks of a problem, and of those who provide figures.

A problem is small and can be pickled: what is heavy (a model, samples) is opened in each process that evaluates, once.
To add one: a class that has what `Problem` has, and a row in `problems.PROBLEMS` that reads its section of the study.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from ..driver.decisions import Options
from ..ir.arch import Arch
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from .variables import Point, Value, Variable

Figures = Mapping[str, float | int | None]
FILES = ("calibrate", "mapping")  # options that name files
_SOURCES = "\nsources:\n"


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is evaluated: a machine, and the options of `dnnc compile` and `dnnc cost`."""

    arch: Arch | Hierarchy
    options: Options

    @property
    def flat(self) -> Arch:
        """The machine, which has no levels inside the array. Requires: it has none."""
        ensure(isinstance(self.arch, Arch), "machines with levels inside the array are costed apart")
        assert isinstance(self.arch, Arch)
        return self.arch

    @property
    def machine_text(self) -> str:
        """The normalised description without its sources: what decides figures, whoever chose it."""
        return self.arch.text.partition(_SOURCES)[0]

    @property
    def options_text(self) -> str:
        """The options that are given, in one spelling; files are not among them: those who read them identify them by
        their contents."""
        given = {name: _plain(value) for name, value in self.options.given() if name not in FILES}
        return json.dumps(given, sort_keys=True)


class Provider(Hashable, Protocol):
    """Figures of candidates. `figures` are their names, each with its unit and what it is; `identity` says in words
    or by digests all that decides them beside the candidate (the model, samples, a metric, sources of ours)."""

    @property
    def figures(self) -> Mapping[str, str]: ...

    @property
    def identity(self) -> str: ...

    def open(self) -> Callable[[Candidate], Figures]:
        """What evaluates, once for each process. Raises CompileError, which ends the study; what it gives may, too:
        then the candidate has no figures."""
        ...


class Problem(Protocol):
    """Variables, and what a choice of their values makes of a candidate."""

    @property
    def name(self) -> str: ...

    @property
    def variables(self) -> tuple[Variable, ...]: ...

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Figures that studies of this problem have beside those of every study."""
        ...

    @property
    def initial(self) -> tuple[Mapping[str, Value], ...]:
        """Points that a search by populations had better begin with; variables of other problems are left out."""
        ...

    def apply(self, point: Point, candidate: Candidate) -> Candidate:
        """`candidate` with the values that `point` has for this problem's variables. It is called before anything is
        evaluated, in the process that the user started, and must be quick. Raises CompileError where there is no such
        candidate: the point is dropped."""
        ...


def known_figures(figures: Figures) -> Figures:
    """`figures` with None, which says "not known", for those that are no finite numbers: the ratio to noise where there
    is none. JSON has no such numbers, fronts and predictions no place for them."""
    return {name: None if each is None or not math.isfinite(each) else each for name, each in figures.items()}


def evaluation_key(candidate: Candidate, identities: tuple[str, ...]) -> str:
    """The name of an evaluation: of all that decides its figures, whichever study asked for it."""
    parts = (candidate.machine_text, candidate.options_text, *identities)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return list(map(_plain, value))
    return value if isinstance(value, int | float) else str(value)
