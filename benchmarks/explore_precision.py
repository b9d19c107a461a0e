"""Mixed precision against the best uniform precision of equal accuracy, in bytes of main memory.

    python benchmarks/explore_precision.py [MODEL...] [--arch A] [--generations N] [--population N] [--images N]
                                           [--workers N] [--folder DIR]

For each model all uniform precisions are evaluated first (weights and activations of 2 to 8 bits, all layers alike:
49 points); then a study gives each layer its own widths, by NSGA-II from a sensitivity-guided start that also has the
uniform front. Both see `--images` samples of one half of the labelled ones (0: all), compare outputs with those of the
float model (`--metric sqnr`: some hundred answers right or wrong are too few to tell widths apart), are calibrated by
least square error (CIFAR models on training images, others on that half), and count bytes of programs without stripes
(`--fuse keep`), which takes a third of the time. Then answers are judged on all samples of that half. For each budget
of accuracy below that of 8 bits the uniform point of the fewest bytes within it is taken, and the mixed one of the
fewest bytes that is there no worse than it, by answers and by the metric. Told of both is the other half, and the bytes
that they move as `dnnc compile` makes them by default. Accuracies on the other half that differ by no more than MARGIN
count as equal. Models and data are read from a folder beside the checkout (--shared); nothing of them is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from dnnc.benchmarks.accuracy import CASES
from dnnc.benchmarks.explore_sparsity import opened_judge, samples_asked
from dnnc.benchmarks.precision_accuracy import cifar_training
from dnnc.cli.main import main as dnnc
from dnnc.cli.report import print_table
from dnnc.driver import session
from dnnc.explore.accuracy.samples import Samples
from dnnc.explore.accuracy.subsets import halves
from dnnc.explore.costs import figures_of, opened_costs
from dnnc.explore.front import front
from dnnc.explore.judge import REPORTED, SEARCHED
from dnnc.explore.problem import Candidate, Figures
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.variables import Genome, Value
from dnnc.explore.workers import evaluate
from dnnc.frontend.importer import ImportOptions, prepare

MOST_CALIBRATION = 256
MODELS = ("kws_dscnn", "resnet8", "resnetdw")
STUDY = """\
model: model.onnx
arch: {arch}
options: {{calibrate: calibration.npz, calibration: mse, fuse: "{fuse}"}}
accuracy: {{data: images.npz, metric: {metric}, samples: {images}, split: halves}}
precision: {{least_bits: 2, most_bits: 8, form: "w8a8:w-mse"}}
objectives: [max accuracy, min dram_bytes]
algorithm: {{name: nsga2, population: {population}, generations: {generations}, start: {start}}}
seed: {seed}
"""
SEED = 1  # of the halves, too
BUDGETS = (0.5, 1.0, 2.5, 5.0)  # points below 8 bits
MARGIN = 1.0  # points
FARTHEST = 0.15  # below 8 bits: what is less accurate is not looked for
Json = dict[str, Any]


def written(folder: Path, model: str, arguments: argparse.Namespace) -> str:
    """The study of a model; its path."""
    (case,) = [each for each in CASES if model in each.model]
    x, labels = case.samples(arguments.shared)
    assert labels is not None
    source = arguments.shared / "models" / case.model
    (name,) = prepare(source, ImportOptions()).inputs
    if "cifar" in case.model:
        calibration = cifar_training(arguments.shared)[:MOST_CALIBRATION]
    else:
        calibration = x[halves(Samples(x, labels), SEED)[0]][:MOST_CALIBRATION]
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, folder / "model.onnx")
    np.savez(folder / "images.npz", x=x, y=labels)
    given: dict[str, Any] = {name: calibration}
    np.savez(folder / "calibration.npz", **given)
    search = {
        "population": arguments.population,
        "generations": arguments.generations,
        "seed": SEED,
        "arch": arguments.arch,
        "fuse": arguments.fuse,
        "start": arguments.start,
        "metric": arguments.metric,
    }
    text = STUDY.format(images=samples_asked(arguments.images, folder), **search)
    (folder / "study.yaml").write_text(text)
    return str(folder / "study.yaml")


def uniform(study: Study) -> dict[Genome, Figures]:
    """The points at which all layers are alike, with their figures."""
    widths = range(len(study.space.variables[0].values))
    genomes = [
        tuple(w if each.name.startswith("weights.") else a for each in study.space.variables)
        for w in widths
        for a in widths
    ]
    found = {genome: evaluate(study.providers, study.candidate(study.space.point(genome))) for genome in genomes}
    return {genome: each.figures for genome, each in found.items() if not each.reason}


def least(figures: Mapping[Genome, Figures], able: Iterable[Genome]) -> Genome | None:
    """The point of the fewest bytes of those that are able."""
    return min(able, key=lambda genome: figures[genome]["dram_bytes"] or 0, default=None)


def equals(
    alike: Mapping[Genome, Figures], mixed: Mapping[Genome, Figures], accuracies: Mapping[Genome, float], enough: float
) -> tuple[Genome, Genome] | None:
    """The uniform point of the fewest bytes that is accurate enough, and the mixed one of the fewest bytes that is no
    worse than it, by answers and by the metric of the search."""
    given = least(alike, [genome for genome in alike if accuracies[genome] >= enough])
    if given is None:
        return None
    answers, metric = accuracies[given], alike[given]["accuracy"] or 0.0
    able = [each for each in mixed if accuracies[each] >= answers and (mixed[each]["accuracy"] or 0.0) >= metric]
    found = least(mixed, able)
    return None if found is None else (given, found)


def moved_bytes(study: Study, candidate: Candidate) -> int:
    """Bytes of main memory of a candidate as it is compiled by default."""
    whole = replace(candidate, options=replace(candidate.options, fuse="auto"))
    found = figures_of(session.cost_document(*opened_costs(study.costs).scheduled(whole)))["dram_bytes"]
    assert isinstance(found, int)
    return found


def measured(model: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Print the rows of a model."""
    path = written(folder, model, arguments)
    study = read_study(path)
    start = time.perf_counter()
    alike = uniform(study)
    seconds = [time.perf_counter() - start]
    names = [each.name for each in study.space.variables]
    widest = tuple(len(each.values) - 1 for each in study.space.variables)
    judge = opened_judge(study)

    def accuracy(genome: Genome, which: str = SEARCHED) -> float:
        return judge(study.candidate(study.space.point(genome)), which)["accuracy"] or 0.0

    accuracies = {genome: accuracy(genome) for genome in alike}
    sound = [genome for genome in alike if accuracies[genome] >= accuracies[widest] - FARTHEST]
    floor = min(alike[genome]["accuracy"] or 0.0 for genome in sound)
    scores = {genome: study.score(study.space.point(genome), each) for genome, each in alike.items()}
    best = [genome for genome in front(scores) if genome in sound]
    points = [dict(zip(names, values_of(study, genome), strict=True)) for genome in best]
    more = f"predefined: {json.dumps(points)}\nconstraints: [accuracy >= {floor:.4f}]\n"
    (folder / "study.yaml").write_text(Path(path).read_text() + more)
    start = time.perf_counter()
    with redirect_stdout(StringIO()):
        output = str(folder / "explored")
        status = dnnc(["explore", path, "-o", output, "--workers", str(arguments.workers)])
    seconds.append(time.perf_counter() - start)
    if status:
        raise SystemExit(f"{model}: exit status {status}")
    stats = json.loads((folder / "explored" / "study.json").read_text())
    places = [{value: place for place, value in enumerate(each.values)} for each in study.space.variables]
    mixed = dict(alike) | {  # a uniform precision is one of them
        tuple(where[each["point"][name]] for name, where in zip(names, places, strict=True)): each["figures"]
        for each in stats["front"]
    }
    accuracies |= {genome: accuracy(genome) for genome in mixed if genome not in accuracies}
    rows: list[list[object]] = []
    for budget in BUDGETS:
        pair = equals(alike, mixed, accuracies, accuracies[widest] - budget / 100)
        if pair is None:
            continue
        one, other = (study.candidate(study.space.point(genome)) for genome in pair)
        figures = (alike[pair[0]], mixed[pair[1]])
        alone = [each["dram_bytes"] or 0 for each in figures]
        whole = [moved_bytes(study, each) for each in (one, other)]
        told = [accuracy(genome, REPORTED) for genome in pair]
        point = study.space.point(pair[0])
        forms = f"w{point[names[0]]}a{point[names[1]]}"
        shares = [f"{100 * each:.1f}" for each in (accuracies[pair[0]], accuracies[pair[1]], *told)]
        is_equal = "yes" if 100 * (told[0] - told[1]) <= MARGIN else "no"
        rows.append([budget, forms, *alone, saved(alone), *whole, saved(whole), *shares, is_equal])
    columns = ["budget", "uniform", "bytes", "mixed", "saved %", "bytes (default)", "mixed", "saved %", "searched"]
    counts = [len(judge.samples_of(each)) for each in (SEARCHED, REPORTED)]
    title = (
        f"{model} on {arguments.arch}: {stats['counts']['evaluated']} mixed points in {seconds[1]:.0f} s, {len(alike)} "
        f"uniform in {seconds[0]:.0f} s; 8 bits: {100 * accuracies[widest]:.1f} % of {counts[0]} samples, "
        f"{100 * accuracy(widest, REPORTED):.1f} % of {counts[1]} others"
    )
    print_table([*columns, "mixed", "reported", "mixed", "equal"], rows, title)
    print(flush=True)


def saved(pair: Sequence[float]) -> str:
    """Percent."""
    return f"{100 * (1 - pair[1] / pair[0]):.1f}"


def values_of(study: Study, genome: Genome) -> Sequence[Value]:
    """The values of a point in the order of the variables."""
    return [each.values[place] for each, place in zip(study.space.variables, genome, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="parts of model names")
    parser.add_argument("--arch", default="mixed16")
    parser.add_argument("--metric", default="sqnr")
    parser.add_argument("--fuse", default="keep")
    parser.add_argument("--start", default="sensitivity", help="or random: sooner for many layers")
    parser.add_argument("--population", type=int, default=20)
    parser.add_argument("--generations", type=int, default=25)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--folder", type=Path, help="where the studies are kept (default: nowhere)")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="dnnc-precision-"))
    for model in arguments.models:
        measured(model, folder / model, arguments)
    if arguments.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
