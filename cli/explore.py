"""`dnnc explore`: search a space of machines and of decisions about a model, and execute what is best."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import make_folder
from ..ir.frozen import dataclass
from .arguments import add_json, whole
from .explore_progress import say, shown
from .files import STANDARD_OUTPUT, refuse_outputs, refuse_results, write_files
from .report import print_table, warn, words_beside

if TYPE_CHECKING:
    from ..driver.described import Json
    from ..explore.engine import Outcome
    from ..explore.robustness import Cell
    from ..explore.store import Known, Row, RunRow, Store
    from ..explore.study import Study
    from ..explore.workers import Workers

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
on a machine with levels inside the array (arch: eyeriss_like) fields go by their names, and nothing is executed:
    variables: {levels.glb.depth_words: [8192, 16384, 32768], levels.columns.cols: [7, 14, 28], bits.weight: [4, 8]}
other problems, alone or together:
  accuracy:  {data: samples.npz, metric: top1, samples: 500, split: halves}      or data: FOLDER of images
  sparsity:  {criterion: l1_mean, block: [8, 8], steps: 20}        a threshold for each layer
  precision: {weights: [4, 6, 8], activations: {start: 4, stop: 8}}    bits of each layer
on corrupted images as well: which point restores the accuracy, what it saves, precision sets of one program:
  accuracy:  {data: images.npz, corruptions: {names: [fog, snow], severities: [1, 3, 5], margin: 0.01}}

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
    add_json(parser, "the study's document, in the schema dnnc.explore/1")


def run(arguments: argparse.Namespace) -> int:
    from ..driver.stats import json_bytes
    from ..explore.result_files import refuse_foreign, results_in
    from ..explore.study_yaml import read_study

    if arguments.scheduler is not None and arguments.workers is not None:
        help = "a cluster has the workers that it has"
        raise CompileError(Diagnostic("--workers has no effect beside --scheduler", help=help))
    if arguments.scheduler is not None:
        from ..explore.cluster import refuse_silent

        refuse_silent(arguments.scheduler)
    study = read_study(arguments.study)
    for text in study.warnings:
        warn(text)
    folder = Path(arguments.output or f"{study.name}-explored")
    refuse_outputs([arguments.json], arguments)
    refuse_results(results_in(folder), arguments.study)
    refuse_foreign(folder)
    with ExitStack() as held:
        with _stored(study, folder, study.reuse, arguments.resume) as (store, known):
            workers = held.enter_context(_workers_of(arguments, study))  # none are started for a store that refuses
            found = _searched(study, store, known, workers)
        files = _files(found, folder, others=found.cell is None)
        cells = _cells(found, folder, workers, arguments.resume) if found.cell is not None else []
    if cells:
        files |= _robustness_files(found, cells, folder)
    if arguments.json:
        files[arguments.json] = json_bytes(found.stats)
    _write(files, folder)
    with words_beside(arguments.json):
        if arguments.json != STANDARD_OUTPUT:
            written = [str(Path(name).relative_to(folder)) for name in files if name != arguments.json]
            _print(found.stats, folder, written)
    return int(any(run.differences for _, run in found.runs))


@dataclass(frozen=True)
class _Searched:
    """One search, and what it means on corrupted samples where the study has any; `table` is the points' Parquet."""

    study: Study
    outcome: Outcome
    runs: list[tuple[Row, RunRow]]
    stats: Json
    table: bytes | None
    cell: Cell | None


@contextmanager
def _stored(study: Study, folder: Path, reuse: tuple[str, ...], resume: bool) -> Iterator[tuple[Store, Known]]:
    """The study's own points, and those of others."""
    from ..explore.store import Known, Store

    with closing(Known(reuse)) as known, Store(folder, study, resume=resume) as store:
        yield store, known


def _searched(study: Study, store: Store, known: Known, workers: Workers, clean: Cell | None = None) -> _Searched:
    from ..explore.engine import explore
    from ..explore.limits import settled
    from ..explore.points import reported
    from ..explore.results import document, parquet
    from ..explore.robustness import examined
    from ..explore.survivors import run_survivors

    study = settled(study, store, known, workers, say)
    with shown(study) as report:
        outcome = explore(study, store, workers, known, report)
        if not outcome.rows:
            raise CompileError(_nothing(study, outcome))
        _warn_of_stopped(outcome)
        runs = run_survivors(study, store, workers, outcome)
        reports = reported(study, store, workers, known, outcome)
        is_cell = study.corruptions is not None
        cell = examined(study, store, workers, known, outcome, clean) if is_cell else None
    texts = {row.machine: store.machine_text(row.machine) for row in outcome.rows}
    table = parquet(study, outcome, texts)
    return _Searched(study, outcome, runs, document(study, outcome, runs, reports), table, cell)


def _warn_of_stopped(outcome: Outcome) -> None:
    from ..explore.level_costs import STOPPED

    if stopped := sum(bool(row.figures.get(STOPPED)) for row in outcome.rows):
        message = f"the time limit ended searches of {stopped} of {len(outcome.rows)} points: their mappings may not be"
        warn(f"{message} the best, and depend on how fast they were searched", "`options: {time_limit_s: ...}`")


def _nothing(study: Study, outcome: Outcome) -> Diagnostic:
    """What is said where no point has figures."""
    from ..explore.results import dropped

    why = [f"{count}: {reason}" for reason, count in list(dropped(outcome).items())[:3]]
    message = f"no point of the study could be evaluated; dropped: {'; '.join(why) or 'none was asked for'}"
    return Diagnostic(message, Span(study.file), "other values, constraints or machine")


def _cells(found: _Searched, folder: Path, workers: Workers, resume: bool) -> list[Cell]:
    """The study on samples of each corruption, one after the other, each with what those before it know of costs. The
    results of each are written as it ends."""
    from ..explore.robustness import cell_of
    from ..explore.robustness_results import folder_of

    study, cells = found.study, [each for each in (found.cell,) if each is not None]
    folders = [str(folder)]
    for corruption in study.corruptions.each if study.corruptions is not None else ():
        own = cell_of(study, corruption)
        place = folder / folder_of(corruption)
        reuse = (*study.reuse, *folders)
        with _stored(own, place, reuse, resume) as (store, known):
            one = _searched(own, store, known, workers.of(own.providers), cells[0])
        _write(_files(one, place, others=True), place)
        cells += [one.cell] if one.cell is not None else []
        folders.append(str(place))
    return cells


def _files(found: _Searched, folder: Path, *, others: bool) -> dict[str | Path, bytes]:
    """What a search leaves in its folder; points of the front only where no `others` are to come."""
    from ..driver.stats import json_bytes
    from ..explore.points import point_files
    from ..explore.result_files import DOCUMENT, FRONT, POINTS
    from ..explore.results import front_csv

    files: dict[str | Path, bytes] = {
        folder / DOCUMENT: json_bytes(found.stats),
        folder / FRONT: front_csv(found.stats),
    }
    if found.table is None:
        warn(f"{folder / POINTS} is not written: pyarrow is missing", "pip install 'dnnc[explore]'")
    else:
        files[folder / POINTS] = found.table
    return files | (_in_folders(folder, point_files(found.study, found.outcome.front)) if others else {})


def _write(files: dict[str | Path, bytes], folder: Path) -> None:
    """All of them, and nothing beside them that an earlier end of the study left in its folder."""
    from ..explore.result_files import remove_stale

    write_files(list(files.items()))
    remove_stale(folder, {Path(name) for name in files})


def _in_folders(folder: Path, points: Mapping[str, bytes]) -> dict[str | Path, bytes]:
    for name in points:
        make_folder((folder / name).parent)
    return {folder / name: data for name, data in points.items()}


def _robustness_files(found: _Searched, cells: list[Cell], folder: Path) -> dict[str | Path, bytes]:
    """The table, the points and the sets of a study of corruptions; the table goes into the study's document, too."""
    from ..driver.stats import json_bytes
    from ..explore.points import point_files
    from ..explore.result_files import DOCUMENT
    from ..explore.robustness_results import SETS_FILE, TABLE_FILE, points_of, section, sets_text, table_csv

    found.stats["robustness"] = section(cells)
    points = point_files(found.study, points_of(cells))
    files = _in_folders(folder, points)
    files[folder / DOCUMENT] = json_bytes(found.stats)
    files[folder / TABLE_FILE] = table_csv(found.stats["robustness"])
    sets = sets_text(cells, list(points))
    if sets is not None:
        files[folder / SETS_FILE] = sets.encode()
    return files


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


def _print(stats: Json, folder: Path, written: list[str]) -> None:
    from ..explore.results import table
    from ..explore.variables import counted

    counts = stats["counts"]
    objectives = ", ".join(stats["objectives"])
    print_table(*table(stats, stats["front"]), f"{stats['study']}: the front of {objectives}")
    how = [f"{counts[key]} {word}" for key, word in _HOW.items() if counts[key]]
    print(
        f"\n{counts['points']} points of a space of {counted(counts['space'])} ({', '.join(how) or 'none'}),", end=" "
    )
    print(f"{counts['feasible']} keep all constraints, {counts['front']} on the front")
    for reason, count in counts["not_kept"].items():
        print(f"not kept: {count}: {reason}")
    for reason, count in counts["dropped"].items():
        print(f"dropped: {count}: {reason}")
    if "robustness" in stats:
        _print_robustness(stats["robustness"], "sets.yaml" in written)
    names = [*(each for each in written if "/" not in each), "store.sqlite"]
    folders = [each for each in ("points/", "cells/") if (folder / each).is_dir()]
    print(f"in {folder}: {', '.join([*names, *folders])}")


def _print_robustness(robustness: Json, has_sets: bool) -> None:
    from ..explore.robustness_results import CHOICES, table

    title = f"least {robustness['cost'].removeprefix('min ')} against {robustness['reference']}; " + "; ".join(
        f"`{name}`: {what}, less {robustness['margin']:g}" for name, what in CHOICES.items()
    )
    print()
    print_table(*table(robustness), title)
    print()
    if has_sets:
        print("`dnnc compile MODEL --sets sets.yaml` makes one program of the points chosen")
    else:
        print("one point serves all of them: there is no sets.yaml")


_HOW = {"evaluated": "evaluated now", "stored": "stored before", "reused": "taken from other studies"}
