"""Studies whose figures are arithmetic, and small ones of models: what tests of explorations evaluate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from dnnc.benchmarks.odd_models import draw
from dnnc.driver.decisions import Options
from dnnc.explore.algorithm_settings import Settings
from dnnc.explore.costs import Costs
from dnnc.explore.engine import Outcome, explore
from dnnc.explore.problem import Candidate, Provider
from dnnc.explore.shared_files import SharedFile
from dnnc.explore.store import Known, Store
from dnnc.explore.study import Objective, Study
from dnnc.explore.variables import Point, Value, Variable
from dnnc.explore.workers import Evaluation, Here, Task, Workers
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.diagnostics import CompileError, Diagnostic, TimeLimitError
from dnnc.ir.expressions import parse_expression


@dataclass(frozen=True)
class Sums:
    """Figures of a point that is hidden in the candidate's options: `near` and `far` from two corners of the space."""

    most: int
    broken: tuple[int, int] | None = None
    lost: str = ""  # a file: the process that finds it missing makes it, and dies
    fatal: tuple[int, int] | None = None  # a point that no process survives
    faulty: bool = False
    closed: bool = False  # it cannot be opened
    slow: tuple[int, int] | None = None  # a point that takes too long where the file `quick` is not there
    quick: str = ""
    odd: tuple[tuple[int, int], float] | None = None  # a point, and what is `far` there

    @property
    def figures(self) -> Mapping[str, str]:
        return {"near": "from the origin", "far": "from the other corner"}

    @property
    def identity(self) -> str:
        return f"sums {self.most} {self.broken}"

    def open(self) -> Callable[[Candidate], Mapping[str, float | int | None]]:
        if self.closed:
            raise CompileError(Diagnostic("pillow is missing"))

        def figures(candidate: Candidate) -> Mapping[str, float | int | None]:
            x, y = candidate.options.shapes["point"]
            if self.lost and not Path(self.lost).exists() and (x, y) == (2, 2):
                Path(self.lost).write_text("once")
                os._exit(9)
            if (x, y) == self.fatal:
                os._exit(9)
            if self.faulty and (x, y) == (2, 1):
                raise ZeroDivisionError("a fault of ours")
            if (x, y) == self.broken:
                raise CompileError(Diagnostic(f"no mapping of {x} by {y}"))
            if (x, y) == self.slow and not Path(self.quick).exists():
                raise TimeLimitError(Diagnostic(f"{x} by {y} did not end"))
            far = self.odd[1] if self.odd and (x, y) == self.odd[0] else (self.most - x) ** 2 + y
            return {"near": x * x + y, "far": far}

        return figures


@dataclass(frozen=True)
class Square:
    """Two variables of so many values."""

    most: int
    provider: Provider
    name: str = "square"
    initial: tuple[Mapping[str, Value], ...] = ()
    ordered: bool = True

    @property
    def variables(self) -> tuple[Variable, ...]:
        values = tuple(range(self.most + 1))
        return (Variable("x", values, True), Variable("y", values, self.ordered))

    @property
    def providers(self) -> tuple[Provider, ...]:
        return (self.provider,)

    def apply(self, point: Point, candidate: Candidate) -> Candidate:
        x, y = point["x"], point["y"]
        assert isinstance(x, int) and isinstance(y, int)
        if x == y == self.most:
            raise CompileError(Diagnostic(f"no candidate {x} by {y}"))
        return Candidate(candidate.arch, Options(shapes={"point": (x, y)}))


def square(settings: Settings | None = None, most: int = 9, constraints: tuple[str, ...] = (), **more: Any) -> Study:
    """The study of a square; `more` is for its provider."""
    model = SharedFile("model.onnx", "0" * 64)
    return Study(
        name="square",
        file="square.yaml",
        content=f"square {most} {constraints} {settings}",
        base=Candidate(load_arch("edge8"), Options()),
        problems=(Square(most, Sums(most, **more)),),
        costs=Costs(model),
        objectives=(
            Objective(parse_expression("near"), False),
            Objective(parse_expression("2 * far + near / 100"), False),
        ),
        constraints=tuple(map(parse_expression, constraints)),
        settings=settings or Settings(),
    )


def searched(
    study: Study, folder: Path, workers: Workers | None = None, *, resume: bool = False, **more: Any
) -> Outcome:
    known = Known(study.reuse)
    try:
        with Store(folder, study, resume=resume) as store:
            return explore(study, store, workers or Here(study.providers), known, **more)
    finally:
        known.close()


def of(outcome: Outcome) -> list[tuple[Point, Mapping[str, Any]]]:
    """What of a front must be the same, whenever and wherever it was found."""
    return [(row.point, row.figures) for row in outcome.front]


@dataclass
class Backwards:
    """Workers that end in the other order."""

    study: Study
    count: int = 3
    seen: list[Any] = field(default_factory=list)

    def each(self, task: Task, jobs: Iterable[tuple[int, tuple[Any, ...]]]) -> Iterator[tuple[int, Evaluation]]:
        for number, arguments in reversed(list(jobs)):
            yield number, task(self.study.providers, *arguments)

    def of(self, providers: tuple[Provider, ...]) -> Workers:
        raise NotImplementedError(providers)  # no test here asks for others

    def close(self) -> None:
        """Nothing."""


STUDY = """\
model: model.onnx
arch: edge8
architecture:
  variables:
    dim: {values: [4, 8], fields: [array.rows, array.cols]}
    spad: {start: 8 KiB, stop: 32 KiB, factor: 2, fields: memories.spad.capacity_bytes}
  fields: {memories.acc.word_bytes: 4 * dim}
objectives: [min energy_pj, min area_um2]
"""


def write_study(folder: Path, text: str = STUDY) -> str:
    """A study of a small integer model, and its path."""
    onnx.save(draw("qlinear_residual", 3).model, folder / "model.onnx")
    (folder / "study.yaml").write_text(text)
    return str(folder / "study.yaml")
