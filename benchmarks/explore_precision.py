"""Mixed precision against the best uniform precision of equal accuracy, in bytes of main memory.

    python benchmarks/explore_precision.py [MODEL...] [--generations N] [--population N] [--images N] [--workers N]
                                           [--folder DIR]

For each model all uniform precisions are evaluated first (weights and activations of 3 to 8 bits, all layers alike: 36
points); then a study gives each layer its own widths, by NSGA-II from a sensitivity-guided start that also has the
uniform front. Both see `--images` samples of one half of the labelled ones (0: all) and are calibrated by least square
error: CIFAR models on training images, others on that half. For each point of the uniform front the mixed one of the
fewest bytes that is at least as accurate on those samples is taken. Bytes are those that the compiled program reads and
writes at main memory; accuracies are also those of the other half. Models and data are read from a folder beside the
checkout (--shared); nothing of them is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from dnnc.cli.main import main as dnnc
from dnnc.cli.report import print_table
from dnnc.explore.accuracy.samples import Samples
from dnnc.explore.accuracy.subsets import halves
from dnnc.explore.front import front
from dnnc.explore.judge import REPORTED, Judge, OpenedJudge
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.variables import Genome, Value
from dnnc.explore.workers import evaluate, opened
from dnnc.frontend.importer import ImportOptions, prepare

from .accuracy import CASES
from .precision_accuracy import cifar_training

MOST_CALIBRATION = 256
MODELS = ("kws_dscnn", "resnet8", "resnetdw")
STUDY = """\
model: model.onnx
arch: sparse_blox16
options: {{calibrate: calibration.npz, calibration: mse}}
accuracy: {{data: samples.npz, samples: {images}, split: halves}}
precision: {{least_bits: 3, most_bits: 8, form: "w8a8:w-mse"}}
objectives: [max accuracy, min dram_bytes]
algorithm: {{name: nsga2, population: {population}, generations: {generations}, start: sensitivity}}
seed: {seed}
"""
SEED = 1  # of the halves, too
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
    np.savez(folder / "samples.npz", x=x, y=labels)
    given: dict[str, Any] = {name: calibration}
    np.savez(folder / "calibration.npz", **given)
    search = {"population": arguments.population, "generations": arguments.generations, "seed": SEED}
    text = STUDY.format(images=arguments.images or "null", **search)
    (folder / "study.yaml").write_text(text)
    return str(folder / "study.yaml")


def uniform(study: Study) -> list[tuple[Genome, Json]]:
    """The front of the points at which all layers are alike, and its figures."""
    widths = range(len(study.space.variables[0].values))
    genomes = [
        tuple(w if each.name.startswith("weights.") else a for each in study.space.variables)
        for w in widths
        for a in widths
    ]
    found = {genome: evaluate(study.providers, study.candidate(study.space.point(genome))) for genome in genomes}
    figures = {genome: each.figures for genome, each in found.items() if not each.reason}
    scores = {genome: study.score(study.space.point(genome), each) for genome, each in figures.items()}
    return [(genome, dict(figures[genome])) for genome in front(scores)]


def measured(model: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Print the rows of a model."""
    path = written(folder, model, arguments)
    study = read_study(path)
    start = time.perf_counter()
    alike = uniform(study)
    seconds = [time.perf_counter() - start]
    names = [each.name for each in study.space.variables]
    points = [dict(zip(names, values_of(study, genome), strict=True)) for genome, _ in alike]
    (folder / "study.yaml").write_text(Path(path).read_text() + f"predefined: {json.dumps(points)}\n")
    start = time.perf_counter()
    with redirect_stdout(StringIO()):
        output = str(folder / "explored")
        status = dnnc(["explore", path, "-o", output, "--workers", str(arguments.workers)])
    seconds.append(time.perf_counter() - start)
    if status:
        raise SystemExit(f"{model}: exit status {status}")
    stats = json.loads((folder / "explored" / "study.json").read_text())
    (judge,) = [opened(each) for each in study.providers if isinstance(each, Judge)]
    assert isinstance(judge, OpenedJudge)
    rows = []
    for genome, figures in sorted(alike, key=lambda each: -each[1]["accuracy"]):
        point = study.space.point(genome)
        told = judge(study.candidate(point), REPORTED)
        able = [each for each in stats["front"] if each["figures"]["accuracy"] >= figures["accuracy"]]
        mixed = min(able, key=lambda each: each["figures"]["dram_bytes"])
        saved = 100 * (1 - mixed["figures"]["dram_bytes"] / figures["dram_bytes"])
        form = f"w{point[names[0]]}a{point[names[1]]}"
        accuracies = [figures["accuracy"], told["accuracy"], mixed["figures"]["accuracy"], mixed["report"]["accuracy"]]
        rows.append(
            [form, figures["dram_bytes"], mixed["figures"]["dram_bytes"], round(saved, 1)]
            + [None if each is None else round(100 * each, 2) for each in accuracies]
        )
    columns = ["uniform", "bytes", "mixed bytes", "saved %", "uniform searched", "reported", "mixed searched"]
    title = (
        f"{model}: {stats['counts']['evaluated']} mixed points in {seconds[1]:.0f} s, 36 uniform in {seconds[0]:.0f} s"
    )
    print_table([*columns, "reported"], rows, title)


def values_of(study: Study, genome: Genome) -> Sequence[Value]:
    """The values of a point in the order of the variables."""
    return [each.values[place] for each, place in zip(study.space.variables, genome, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="parts of model names")
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
