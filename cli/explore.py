"""`dnnc explore`: search a space of machines and of decisions about a model, and execute what is best."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import CompileError, Diagnostic
from .arguments import add_json, whole
from .files import STANDARD_OUTPUT, refuse_outputs, write_files
from .report import print_table, warn, words_beside

if TYPE_CHECKING:
    from ..driver.described import Json
    from ..explore.engine import Progress
    from ..explore.study import Study

_EXAMPLES = """\
examples:
  dnnc explore study.yaml                       here, with a worker for each core; results in study-explored/
  dnnc explore study.yaml --resume              go on where a study was stopped, or killed
  dnnc explore study.yaml --workers 1           in this process alone, without Dask
  dnnc explore study.yaml --scheduler tcp://10.0.0.1:8786    on a Dask cluster; the study stays as it is
  dnnc plot study-explored/study.json -o front.svg           the front; --kind heatmap, stacked: more pictures
  dnnc plot a/study.json b/study.json -o both.svg            the fronts of two studies in one picture

a study (specs/explore.md says all that may stand in one):
  model: model.onnx                             paths start from the file's own folder
  arch: gemmini16
  architecture:
    variables:
      dim:  {values: [8, 16, 32], fields: [array.rows, array.cols]}
      spad: {start: 128 KiB, stop: 1 MiB, factor: 2, fields: memories.spad.capacity_bytes}
    fields: {memories.acc.word_bytes: 4 * dim, memories.spad.word_bytes: dim}
  objectives: [min energy_pj, min area_um2]
  constraints: [inferences_per_second >= 30]
  algorithm: exhaustive                         or {name: nsga2, population: 20, generations: 25}
  run: true                                     execute the front: what was promised must be observed
other problems, alone or together:
  accuracy:  {data: samples.npz, metric: top1, samples: 500, split: halves}      or data: FOLDER of images
  sparsity:  {criterion: l1_mean, block: [8, 8], steps: 20}        a threshold for each layer
  precision: {weights: [4, 6, 8], activations: {start: 4, stop: 8}}    bits of each layer

Exit status: 1 if an executed point is not what was promised.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("study", metavar="STUDY.yaml")
    parser.add_argument("--resume", action="store_true", help="go on with the points that are stored in the folder")
    parser.add_argument(
        "--workers", type=_workers, metavar="N", help="processes that evaluate (default: one for each core)"
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="evaluate on the Dask cluster of this scheduler")
    parser.add_argument("-o", "--output", metavar="DIR", help="default: the study's name and -explored, here")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..driver.stats import json_bytes
    from ..explore.engine import explore
    from ..explore.points import point_files, reported
    from ..explore.results import document, front_csv, parquet
    from ..explore.store import Known, Store
    from ..explore.study_yaml import read_study
    from ..explore.survivors import run_survivors

    if arguments.scheduler is not None and arguments.workers is not None:
        help = "a cluster has the workers that it has"
        raise CompileError(Diagnostic("--workers has no effect beside --scheduler", help=help))
    study = read_study(arguments.study)
    for text in study.warnings:
        warn(text)
    folder = Path(arguments.output or f"{study.name}-explored")
    refuse_outputs([arguments.json], arguments)
    known = Known(study.reuse)
    with _workers_of(arguments, study) as workers, Store(folder, study, resume=arguments.resume) as store:
        with _shown(study) as report:
            outcome = explore(study, store, workers, known, report)
            runs = run_survivors(study, store, workers, outcome)
            reports = reported(study, workers, outcome)
        stats = document(study, outcome, runs, reports)
        texts = {row.machine: store.machine_text(row.machine) for row in outcome.rows}
        table = parquet(study, outcome, texts)
    known.close()
    files: list[tuple[str | Path, bytes]] = [
        (folder / "study.json", json_bytes(stats)),
        (folder / "front.csv", front_csv(stats)),
    ]
    if table is None:
        warn(f"{folder / 'points.parquet'} is not written: pyarrow is missing", "pip install 'dnnc[explore]'")
    else:
        files.append((folder / "points.parquet", table))
    points = point_files(study, outcome.front)
    for name, data in points.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.append((folder / name, data))
    if arguments.json:
        files.append((arguments.json, json_bytes(stats)))
    write_files(files)
    with words_beside(arguments.json):
        if arguments.json != STANDARD_OUTPUT:
            _print(stats, folder, bool(points))
    return int(any(found.differences for _, found in runs))


def _workers(text: str) -> int:
    return whole(text, 1, 4096)


@contextmanager
def _workers_of(arguments: argparse.Namespace, study: Study) -> Iterator[Any]:
    """Those that were asked for. What a local cluster needs is only asked for where there is more than one."""
    import os

    from ..explore.workers import Here

    count = arguments.workers or os.cpu_count() or 1
    if arguments.scheduler is None and count == 1:
        yield Here(study.providers)
        return
    from ..explore.cluster import local_cluster, remote_cluster

    workers = (
        local_cluster(study.providers, count)
        if arguments.scheduler is None
        else remote_cluster(study.providers, arguments.scheduler)
    )
    try:
        yield workers
    finally:
        workers.close()


@contextmanager
def _shown(study: Study) -> Iterator[Callable[[Progress], object]]:
    """Progress with the current front on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4) as live:
        clock = _Clock()

        def report(progress: Progress) -> None:
            if clock.is_due() or progress.known == progress.asked:
                live.update(_picture(study, progress))

        yield report


class _Clock:
    """Fronts are not computed more often than they can be read."""

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        import time

        now = time.monotonic()
        due = now >= self._next
        if due:
            self._next = now + 0.5
        return due


_MOST_SHOWN = 12  # points of the front


def _picture(study: Study, progress: Progress) -> Any:
    from rich.table import Table

    from .report import cell_text

    rows = progress.front()
    counts = f"{progress.known} of {progress.asked} points, {progress.dropped} dropped, {len(rows)} on the front"
    table = Table(title=f"{study.name}: {counts}")
    for name in (*(each.name for each in study.space.variables), *(each.text for each in study.objectives)):
        table.add_column(name, justify="right")
    for row in rows[:_MOST_SHOWN]:
        numbers = study.numbers(row.point, row.figures)
        values = [each.expression.value(numbers) for each in study.objectives]
        table.add_row(*(cell_text(each) for each in (*row.point.values(), *values)))
    return table


def _print(stats: Json, folder: Path, has_points: bool) -> None:
    from ..explore.results import table

    counts = stats["counts"]
    objectives = ", ".join(stats["objectives"])
    print_table(*table(stats, stats["front"]), f"{stats['study']}: the front of {objectives}")
    how = [f"{counts[key]} {word}" for key, word in _HOW.items() if counts[key]]
    print(f"\n{counts['points']} points of a space of {counts['space']} ({', '.join(how) or 'none'}),", end=" ")
    print(f"{counts['feasible']} keep all constraints, {counts['front']} on the front")
    for reason, count in counts["dropped"].items():
        print(f"dropped: {count}: {reason}")
    print(f"in {folder}: study.json, front.csv, points.parquet, store.sqlite{', points/' if has_points else ''}")


_HOW = {"evaluated": "evaluated now", "stored": "stored before", "reused": "taken from other studies"}
