"""Block sparsity of resnet8 (int8, CIFAR-10), found by `dnnc explore` and reported on images that it has not seen.

    python benchmarks/explore_sparsity.py [--model M] [--blocks 8x8 4x4 ...] [--generations N] [--images N]
                                          [--workers N] [--criterion C] [--folder DIR]

For each block size a study of 20 individuals: a threshold for each of the layers, linear steps of a limit that the
study finds, NSGA-II from the sensitivity-guided start. It sees `--images` images of one half of the labelled ones. Of
the front the point that creates the most blocks within 2.5 points of the accuracy without pruning is looked for on
those images, and its accuracy and created blocks are those of the other half. `--model` takes a float model instead
(mnist_cnn_pytorch, kws_dscnn, ...), calibrated on the half of the search. The published setting is 25 generations
with 500 images: within 15 minutes on two workers. Data and model are read from a folder beside the checkout
(--shared); nothing of them is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from dnnc.cli.main import main as dnnc
from dnnc.cli.report import print_table
from dnnc.explore.accuracy.samples import Samples
from dnnc.explore.accuracy.subsets import halves
from dnnc.frontend.importer import ImportOptions, prepare

from .accuracy import CASES
from .evaluator import MODELS

MOST_SECONDS = 900.0  # of 25 generations with 500 images on two workers
POINTS = 0.025  # of accuracy that may be lost
BLOCKS = ("8x8", "1x16", "4x4", "16x16")
STUDY = """\
model: model.onnx
arch: sparse_blox16
options: {options}
accuracy: {{data: images.npz, samples: {images}, split: halves}}
sparsity: {{criterion: {criterion}, block: [{rows}, {cols}], steps: {steps}, method: {method}}}
objectives: [max accuracy, max created_blocks]
constraints: [accuracy >= 0.5]
algorithm: {{name: nsga2, population: 20, generations: {generations}, start: sensitivity}}
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


def unpruned(folder: Path, images: int, options: str) -> tuple[float, float]:
    """The accuracy where every threshold is 0 of `max_abs`, which changes nothing: searched and reported."""
    stats, _ = explored(folder, "unpruned", NOTHING.format(images=images, options=options, seed=SEED), 1)
    (dense,) = [each for each in stats["front"] if not any(each["point"].values())][:1] or stats["front"][:1]
    return dense["figures"]["accuracy"], dense["report"]["accuracy"]


def best(stats: Json, least: float) -> Json | None:
    """The point of the front that creates the most blocks with at least this accuracy."""
    sound = [each for each in stats["front"] if each["figures"]["accuracy"] >= least]
    return max(sound, key=lambda each: each["figures"]["created_percent"], default=None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet8_cifar10_int8")
    parser.add_argument("--blocks", nargs="+", default=BLOCKS, help="rows x columns")
    parser.add_argument("--criterion", default="l1_mean")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--method", default="linear")
    parser.add_argument("--generations", type=int, default=25)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    parser.add_argument("--folder", type=Path, help="where the studies are kept (default: nowhere)")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="dnnc-sparsity-"))
    folder.mkdir(parents=True, exist_ok=True)
    options = prepared(folder, arguments.model, arguments.shared)
    searched, reported = unpruned(folder, arguments.images, options)
    print(f"without pruning: accuracy {searched:.4f} on the images of the search, {reported:.4f} on the other half")
    rows: list[list[object]] = []
    held = True
    for block in arguments.blocks:
        height, width = block.split("x")
        text = STUDY.format(rows=height, cols=width, options=options, seed=SEED, **vars(arguments))
        stats, seconds = explored(folder, block, text, arguments.workers)
        counts = stats["counts"]
        held &= seconds <= MOST_SECONDS
        chosen = best(stats, searched - POINTS)
        if chosen is None:
            rows.append([block, counts["evaluated"], round(seconds, 1), counts["front"], *[None] * 5])
            continue
        report = chosen["report"]
        cells = [chosen["figures"]["created_percent"], report["created_percent"]]
        drops = [100 * (searched - chosen["figures"]["accuracy"]), 100 * (reported - report["accuracy"])]
        rows.append(
            [block, counts["evaluated"], round(seconds, 1), counts["front"], report["blocks"]]
            + [round(each, 2) for each in (*cells, *drops)]
        )
        layers = {name.removeprefix("threshold."): value for name, value in chosen["point"].items()}
        print(f"{block}: {', '.join(f'{name} {value:.3g}' for name, value in layers.items())}")
    columns = ["block", "points", "seconds", "front", "blocks", "created % (searched)", "created % (reported)"]
    print_table([*columns, "points lost (searched)", "points lost (reported)"], rows, "created within 2.5 points")
    if arguments.folder is None:
        shutil.rmtree(folder)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
