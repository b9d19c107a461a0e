"""Block sparsity by a threshold for each layer, found by `dnnc explore` and reported on images that it has not seen.

    python benchmarks/explore_sparsity.py [--model M] [--blocks 8x8 16x1 ...] [--generations N] [--images N]
                                          [--workers N] [--criterion C] [--meaning M] [--execute N] [--folder DIR]

For each block size a study of 20 individuals: a threshold for each of the layers, logarithmic steps up to a limit
that the study finds (or `--limit`), NSGA-II from the sensitivity-guided start and from the same threshold in all
layers (`--predefined`). It sees `--images` images (0: all) of one half of the labelled ones. Points of its front are
then judged on all images of that half, and of each budget of accuracy the one that creates the most blocks within it
there is reported on the other half: the front between accuracy and created blocks. `--execute` compiles the point of
2.5 points with the `prune.yaml` that the study has written, runs so many batches of the other half, and compares
created blocks and answers with what the evaluator says of the same images. `--model` takes a float model instead
(mnist_cnn_pytorch, kws_dscnn, ...), calibrated on the half of the search. The published setting is 25 generations
with 500 images: within 15 minutes on two workers. Blocks are rows (pixels) x columns (channels): the published 1x16
is 16x1 here. Data and model are read from a folder beside the checkout (--shared); nothing of them is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from dnnc import run
from dnnc.benchmarks.accuracy import CASES
from dnnc.benchmarks.evaluator import MODELS
from dnnc.cli.main import main as dnnc
from dnnc.cli.report import print_table
from dnnc.explore.accuracy.evaluator import Evaluator
from dnnc.explore.accuracy.samples import Samples
from dnnc.explore.accuracy.subsets import halves
from dnnc.explore.judge import REPORTED, SEARCHED, Judge, OpenedJudge
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import opened
from dnnc.frontend.importer import ImportOptions, prepare

MOST_SECONDS = 900.0  # of 25 generations with 500 images on two workers
POINTS = 2.5  # of accuracy that may be lost by the point that is executed
BUDGETS = (0.5, 1.0, POINTS, 5.0, 10.0)
BLOCKS = ("8x8", "4x4", "16x1", "1x16", "16x16")
STUDY = """\
model: model.onnx
arch: sparse_blox16
options: {options}
accuracy: {{data: images.npz, samples: {images}, split: halves}}
sparsity: {{criterion: {criterion}, meaning: {meaning}, block: [{rows}, {cols}], steps: {steps}{more}}}
objectives: [max accuracy, max created_blocks]
constraints: [accuracy >= 0.5]
algorithm: {{name: nsga2, population: 20, generations: {generations}, start: sensitivity}}
predefined: {predefined}
seed: {seed}
"""
NOTHING = """\
model: model.onnx
arch: sparse_blox16
options: {options}
accuracy: {{data: images.npz, samples: {images}, split: halves}}
sparsity: {{criterion: max_abs, steps: 1, limit: 1}}
objectives: [max accuracy]
algorithm: {{name: nsga2, population: 2, generations: 1}}
predefined: [0]
seed: {seed}
"""
SEED = 1  # of the halves, too
MOST_CALIBRATION = 256
Json = dict[str, Any]


def explored(folder: Path, name: str, text: str, workers: int) -> tuple[Json, float]:
    """The document of a study, and the wall clock that it took."""
    (folder / f"{name}.yaml").write_text(text)
    start = time.perf_counter()
    with redirect_stdout(StringIO()):
        output = folder / f"{name}-explored"
        status = dnnc(["explore", str(folder / f"{name}.yaml"), "-o", str(output), "--workers", str(workers)])
    if status:
        raise SystemExit(f"{name}: exit status {status}")
    return json.loads((output / "study.json").read_text()), time.perf_counter() - start


def samples_asked(images: int | None, folder: Path) -> str:
    """What a study says of the samples in the folder: so many of the half that is searched, or all of it."""
    with np.load(folder / "images.npz") as file:
        half = len(file["y"]) // 2
    return str(images) if images and images < half else "null"


def prepared(folder: Path, model: str, shared: Path) -> str:
    """Write the model and its images into the folder; the options of its studies."""
    if model in MODELS:
        x, labels = MODELS[model](shared)
        source, options = shared / "models/quantized" / f"{model}.onnx", "{}"
    else:
        (case,) = [each for each in CASES if model in each.model]
        x, labels = case.samples(shared)
        source, options = shared / "models" / case.model, "{calibrate: calibration.npz}"
    assert labels is not None
    np.savez(folder / "images.npz", x=x, y=labels)
    shutil.copy(source, folder / "model.onnx")
    if model not in MODELS:
        (name,) = prepare(source, ImportOptions()).inputs
        chosen = halves(Samples(x, labels), SEED)[0][:MOST_CALIBRATION]
        given: dict[str, Any] = {name: x[chosen]}
        np.savez(folder / "calibration.npz", **given)
    return options


def opened_judge(study: Study) -> OpenedJudge:
    """Answers on all samples of the half of the search, and on the other half."""
    (judge,) = [each for each in study.providers if isinstance(each, Judge)]
    found = opened(replace(judge, samples=None, metric="top1"))
    assert isinstance(found, OpenedJudge)
    return found


def unpruned(folder: Path, options: str) -> tuple[float, float]:
    """The accuracy of the model as it is, on all samples of the half of the search and on the other half."""
    (folder / "unpruned.yaml").write_text(NOTHING.format(images="null", options=options, seed=SEED))
    study = read_study(str(folder / "unpruned.yaml"))
    judge = opened_judge(study)
    dense = [judge(study.base, which)["accuracy"] for which in (SEARCHED, REPORTED)]
    assert dense[0] is not None and dense[1] is not None
    return dense[0], dense[1]


def reported(study: Study, stats: Json, dense: float) -> list[tuple[float, int, Json, Json]]:
    """Of each budget the number of the point that creates the most blocks within it on the half of the search, of those
    on the front that lose at most twice the largest budget on the samples of the search; and its figures there and on
    the other half."""
    judge = opened_judge(study)
    points = {
        number: study.candidate(each["point"])
        for number, each in enumerate(stats["front"], 1)
        if each["figures"]["accuracy"] >= dense - 2 * max(BUDGETS) / 100
    }
    figures: dict[int, Json] = {number: dict(judge(each)) for number, each in points.items()}
    found = []
    for budget in BUDGETS:
        within = [number for number, each in figures.items() if each["accuracy"] >= dense - budget / 100]
        if within:
            best = max(within, key=lambda number: figures[number]["created_percent"])
            found.append((budget, best, figures[best], dict(judge(points[best], REPORTED))))
    return found


def executed(folder: Path, study: Study, point: Json, prune: Path, calibrate: bool, batches: int) -> str:
    """Compile the point of a front with the file that stands beside it and run it: created blocks and right answers,
    and what the evaluator says of the same samples. Raises SystemExit where they differ."""
    judge = opened_judge(study)
    model, program = str(folder / "model.onnx"), str(folder / "point.dnnx")
    words = ["compile", model, "--arch", "sparse_blox16", "--prune", str(prune), "-o", program]
    with redirect_stdout(StringIO()):
        if status := dnnc([*words, *(["--calibrate", str(folder / "calibration.npz")] if calibrate else [])]):
            raise SystemExit(f"{prune}: compile ends with {status}")
    module = judge.module(study.candidate(point))
    (name,) = module.inputs
    batch = (module.tensor(name).shape or (1,))[0]
    places = judge.samples_of(REPORTED)[: batch * batches]
    with np.load(folder / "images.npz") as file:
        x, labels = file["x"][places], file["y"][places]
    with Evaluator({name: x}) as evaluator:
        outputs, blocks = evaluator.outputs_and_blocks(module)
    created = sum(int((each.pruned & ~each.zero).sum()) for each in blocks.values())
    promised = outputs[module.outputs[0]].reshape(len(x), -1)
    ran, made, skipped = [], 0, 0
    for at in range(0, len(x), batch):
        result = run(program, {name: x[at : at + batch]})
        ran.append(result.outputs[module.outputs[0]].reshape(batch, -1))
        made += result.stats["total"]["blocks"]["created"]
        skipped += result.stats["total"]["macs_skipped"]
    if not np.array_equal(np.concatenate(ran), promised) or made != created:
        raise SystemExit(f"{prune}: run creates {made} blocks, the evaluator {created}, or outputs differ")
    right = int((promised.argmax(axis=1) == labels).sum())
    return (
        f"{study.name}, point {prune.parent.name}: `dnnc run` of {len(x)} samples creates {made / len(x):.1f} blocks a "
        f"sample, answers {right} right and skips {skipped / len(x):.0f} MACs a sample; both as the evaluator says"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet8_cifar10_int8")
    parser.add_argument("--blocks", nargs="+", default=BLOCKS, help="rows x columns")
    parser.add_argument("--criterion", default="l1_mean")
    parser.add_argument("--meaning", default="producer_tile")
    parser.add_argument("--limit", help="the largest threshold (found by the study)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--method", default="logarithmic")
    parser.add_argument("--predefined", nargs="+", type=float, default=(0.03, 0.05, 0.07, 0.1, 0.15))
    parser.add_argument("--generations", type=int, default=25)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--execute", type=int, default=0, help="batches of the other half")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--folder", type=Path, help="where the studies are kept (default: nowhere)")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="dnnc-sparsity-"))
    folder.mkdir(parents=True, exist_ok=True)
    options = prepared(folder, arguments.model, arguments.shared)
    searched, other = unpruned(folder, options)
    print(f"without pruning: accuracy {searched:.4f} on the half of the search, {other:.4f} on the other half")
    rows: list[list[object]] = []
    chosen: list[tuple[Study, Json, Path]] = []
    held = True
    given = vars(arguments) | {
        "images": samples_asked(arguments.images, folder),
        "predefined": list(arguments.predefined),
        "more": f", method: {arguments.method}" + (f", limit: {arguments.limit}" if arguments.limit else ""),
    }
    for block in arguments.blocks:
        height, width = block.split("x")
        text = STUDY.format(rows=height, cols=width, options=options, seed=SEED, **given)
        stats, seconds = explored(folder, block, text, arguments.workers)
        held &= seconds <= MOST_SECONDS
        study = read_study(str(folder / f"{block}.yaml"))
        for budget, number, figures, report in reported(study, stats, searched):
            losses = [100 * (searched - figures["accuracy"]), 100 * (other - report["accuracy"])]
            cells = [figures["created_percent"], report["created_percent"], *losses]
            zero = 100 * report["zero_blocks"] / report["blocks"]
            rows.append(
                [block, round(report["blocks"]), f"{zero:.1f}", budget, number, *(f"{each:.1f}" for each in cells)]
            )
            if budget == POINTS:
                point = stats["front"][number - 1]["point"]
                layers = {name.removeprefix("threshold."): value for name, value in point.items()}
                print(f"{block}, point {number}: {', '.join(f'{name} {each:.3g}' for name, each in layers.items())}")
                prune = folder / f"{block}-explored" / "points" / str(number) / "prune.yaml"
                chosen.append((study, point, prune))
        counts = stats["counts"]
        print(f"{block}: {counts['evaluated']} points in {seconds:.0f} s, {counts['front']} on the front", flush=True)
    columns = ["block", "blocks", "zero %", "budget", "point", "created % (searched)", "created % (reported)"]
    print_table([*columns, "points lost (searched)", "points lost (reported)"], rows, f"{arguments.model}: the front")
    for study, point, prune in chosen if arguments.execute else ():
        print(executed(folder, study, point, prune, "calibrate" in options, arguments.execute), flush=True)
    if arguments.folder is None:
        shutil.rmtree(folder)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
