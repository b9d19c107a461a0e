"""What corrupted images cost, and which bits give it back: `python benchmarks/robustness.py [MODEL...] [--images N]
[--corruptions NAME...] [--severities S...] [--widths BITS...] [--generations N] [--population N] [--run]`.

For each model a study of corruptions (specs/explore.md) on `mixed16`, calibrated on clean training images: uniform
widths of weights and activations, and with `--generations` a search of each layer's own, by NSGA-II from those. Points
are chosen by one half of `--images` images and told on the other. The table is that of `dnnc explore`; behind it what
the points chosen take as precision sets of one program, and with `--run` one pass of each cell on the reference
machine: which set ran, what it cost, how often it was right. Models and data are read from a folder beside the checkout
(--shared).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
from dnnc.benchmarks.accuracy import IMAGENET_MEAN, IMAGENET_STD
from dnnc.benchmarks.precision_accuracy import MOST_CALIBRATION, cifar_training
from dnnc.cli.main import main as command
from dnnc.cli.report import print_table
from dnnc.explore.accuracy.samples import npz_stored, preprocessed
from dnnc.explore.accuracy.subsets import subset
from dnnc.explore.corruptions.corrupt import NAMES, SEVERITIES, Corruption, corrupted
from dnnc.explore.judge import Judge
from dnnc.explore.robustness_results import CHOICES, CLEAN, table
from dnnc.explore.study_yaml import read_study
from dnnc.frontend.importer import ImportOptions, prepare
from dnnc.ir.expressions import parse_expression
from dnnc.ir.program_sets import ProgramSets

Json = dict[str, Any]
MODELS = ("resnet8_cifar10_fp32", "resnetdw_cifar10_alibaba")
STUDY = """\
model: model.onnx
arch: mixed16
options: {{calibrate: calibration.npz, time_limit_s: {seconds}}}
accuracy:
  data: samples.npz
  split: halves
  preprocess: {{scale: 0.00392156862745098, mean: {mean}, std: {std}, layout: nhwc}}
  corruptions: {{names: {names}, severities: {severities}, margin: {margin}}}
precision: {{weights: {widths}, activations: {widths}}}
objectives: [max accuracy, min dram_bytes]
algorithm: {{name: nsga2, population: {population}, generations: {generations}}}
predefined: {widths}
"""


def written(folder: Path, model: Path, arguments: argparse.Namespace) -> str:
    """The study of a model; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, folder / "model.onnx")
    stored = npz_stored(arguments.shared / "data/cifar10_test_jpeg_3k.npz")
    drawn = stored.at(subset(stored, arguments.images, 0))
    assert drawn.labels is not None
    np.savez(folder / "samples.npz", x=drawn.x, y=drawn.labels)
    (name,) = prepare(model, ImportOptions()).inputs
    given: dict[str, Any] = {name: cifar_training(arguments.shared)[:MOST_CALIBRATION]}
    np.savez(folder / "calibration.npz", **given)
    text = STUDY.format(
        seconds=arguments.seconds,
        mean=IMAGENET_MEAN.round(3).tolist(),
        std=IMAGENET_STD.round(3).tolist(),
        names=list(arguments.corruptions),
        severities=list(arguments.severities),
        margin=arguments.margin,
        widths=list(arguments.widths),
        population=max(arguments.population, len(arguments.widths)),
        generations=arguments.generations,
    ).replace("'", "")
    (folder / "study.yaml").write_text(text)
    return str(folder / "study.yaml")


def explored(path: str, out: Path, workers: int) -> Json:
    start = time.perf_counter()
    with redirect_stdout(StringIO()):
        status = command(["explore", path, "-o", str(out), "--workers", str(workers), *["--resume"] * out.exists()])
    if status:
        raise SystemExit(status)
    found: Json = json.loads((out / "study.json").read_text())
    print_table(*table(found["robustness"]), f"{Path(path).parent.name}: {time.perf_counter() - start:.0f} s")
    cells = [each for each in found["robustness"]["cells"] if each["corruption"] != CLEAN]
    for choice, what in CHOICES.items():
        chosen = [each[choice] for each in cells if each[choice] is not None]
        saved = [100 * each["saved"]["dram_bytes"] for each in chosen]
        mean = f", which save {np.mean(saved):.1f} % of main memory bytes in the mean" if saved else ""
        print(f"{what}: in {len(chosen)} of {len(cells)} cells{mean}")
    return found


def compiled(folder: Path, out: Path) -> ProgramSets | None:
    """The points chosen as sets of one program, and what they take."""
    if not (out / "sets.yaml").exists():
        print("one point serves all cells")
        return None
    options = dnnc.Options(calibrate=str(folder / "calibration.npz"), time_limit_s=10.0)
    program = dnnc.compile(folder / "model.onnx", "mixed16", options, sets=out / "sets.yaml")
    assert isinstance(program, ProgramSets)
    dnnc.save(program, folder / "sets.dnnx")
    alone = sum(sum(map(len, each.program.blobs.values())) for each in program.sets)
    held = sum(map(len, program.blobs.values()))
    print(f"{len(program.sets)} sets: {held} bytes of constants; a program for each would have {alone}")
    return program


def run(program: ProgramSets, path: str, found: Json) -> None:
    """One pass of each cell, one after the other."""
    (judge,) = [each for each in read_study(path).providers if isinstance(each, Judge)]
    stored = npz_stored(judge.data.local())
    batch = program.first.batch
    cells = [(each["corruption"], each["severity"]) for each in found["robustness"]["cells"]]
    images = []
    for name, severity in cells:
        x = stored.x[:batch]
        x = x if name == CLEAN else corrupted(x, Corruption(name, severity))
        images.append(preprocessed(x, judge.preprocess))
    names = {name for each in program.sets for text in each.when for name in parse_expression(text).names}
    conditions = {name: [severity if name == each else 0 for each, severity in cells] for name in sorted(names)}
    start = time.perf_counter()
    result = dnnc.run(program, {program.first.inputs[0]: np.concatenate(images)}, conditions=conditions)
    (scores,) = result.outputs.values()
    assert stored.labels is not None
    right = scores.reshape(len(cells), batch, -1).argmax(axis=2) == stored.labels[:batch]
    rows: list[list[object]] = []
    for (name, severity), each, hits in zip(cells, result.stats["passes"], right, strict=True):
        rows.append([name, severity, each["set"], each["cycles"], each["switch_cycles"], f"{hits.sum()} of {batch}"])
    columns = ["corruption", "severity", "set", "cycles", "cycles of the switch", "right"]
    print_table(columns, rows, f"a pass of {batch} images each, {time.perf_counter() - start:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="parts of model names")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--images", type=int, default=600, help="half of them to choose by (600)")
    parser.add_argument("--corruptions", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--severities", nargs="+", type=int, choices=SEVERITIES, default=(1, 3, 5))
    parser.add_argument("--widths", nargs="+", type=int, default=(4, 5, 6, 8), help="of weights and activations")
    parser.add_argument("--margin", type=float, default=0.01, help="of accuracy (0.01)")
    parser.add_argument("--generations", type=int, default=1, help="1: uniform widths alone (1)")
    parser.add_argument("--population", type=int, default=0, help="of each generation (as many as widths)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each search of mappings (10)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where studies are kept, and gone on with")
    parser.add_argument("--run", action="store_true", help="one pass of each cell on the reference machine")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for model in MODELS:
            if any(part in model for part in arguments.models):
                folder = (arguments.folder or Path(temporary)) / model
                path = written(folder, arguments.shared / "models/classify" / f"{model}.onnx", arguments)
                found = explored(path, folder / "out", arguments.workers)
                program = compiled(folder, folder / "out")
                if program is not None and arguments.run:
                    run(program, path, found)


if __name__ == "__main__":
    main()
