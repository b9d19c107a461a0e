"""Programs of several precision sets on real networks: `python benchmarks/precision_sets.py [MODEL...]`.

Each model in three sets, on an integer array and behind a number converter (three widths, or one width of weights with
three of activations), and with three thresholds of pruning. Of each: the bytes of the file beside those of a program
for each set, and of main memory; and of a run that takes every set in turn, cycles, bytes of main memory and energy of
each set, what a switch adds, and whether outputs and cycles are those of the single programs and `dnnc cost`'s. Models
and data are read from a folder beside the checkout (--shared).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
from dnnc.benchmarks.precision_accuracy import MOST_CALIBRATION, cifar_training
from dnnc.cli.show import dram_bytes
from dnnc.frontend.importer import ImportOptions, prepare
from dnnc.ir.container import program_parts
from numpy.typing import NDArray

Array = NDArray[Any]
MODELS = ("resnet8_cifar10_fp32", "resnetdw_cifar10_alibaba")
CASES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("mixed16", "three widths", "precision", ("w4a4", "w6a6", "w8a8")),
    ("mixed16", "widths of activations", "precision", ("w8a6", "w8a8", "w8a12")),
    ("converter48", "three widths", "precision", ("w4a4", "w6a6", "w8a8")),
    ("sparse_blox16", "thresholds", "prune", ("abs_sum:0@8x8", "sum:0.5@8x8", "sum:2@8x8")),
)


def size(program: Any) -> int:
    return sum(map(len, program_parts(program)))


def case(path: Path, name: str, images: Array, machine: str, key: str, values: tuple[str, ...], folder: Path) -> str:
    """One line of the table for the file, and one a set."""
    sets = [{"name": f"set{k}", key: value, "when": f"level == {k}"} for k, value in enumerate(values)]
    file = folder / "sets.yaml"
    file.write_text(json.dumps({"sets": sets, "default": "set0"}))
    options = dnnc.Options(calibrate={name: images[:MOST_CALIBRATION]}, time_limit_s=60)
    program = dnnc.compile(path, machine, options, sets=file)
    alone = sum(size(each.program) for each in program.sets)
    rows = len(images) - len(images) % program.first.batch
    inputs = {name: images[rows - program.first.batch : rows]}
    result = dnnc.run(program, inputs, conditions={"level": list(range(len(sets)))})
    cost = dnnc.cost(path, machine, options, sets=file)
    lines = [f"file {size(program)} of {alone} B; main memory {program.main_bytes} B"]
    for k, (each, found) in enumerate(zip(result.stats["sets"], cost["sets"], strict=True)):
        own = replace(options, precision=values[k]) if key == "precision" else replace(options, prune=values[k])
        single = dnnc.compile(path, machine, own)
        ran = dnnc.run(single, inputs)
        rest = {at: np.split(value, len(sets))[k] for at, value in result.outputs.items()}
        same = all(np.array_equal(ran.outputs[at], rest[at]) for at in rest) and ran.stats == each["stats"]
        predicted = "" if key == "prune" else f", cost {found['stats']['total'] == each['stats']['total']}"
        total = each["stats"]["total"]
        moved = sum(map(dram_bytes, each["stats"]["layers"]))
        figures = f"{total['cycles']:9} cycles {moved:9} B of main memory {total['energy_pj'] / 1e6:8.1f} uJ"
        lines.append(f"  {values[k]:14}{figures}  as alone {same}{predicted}")
    switch = result.stats["switch"]
    shown = f"{switch['cycles']} cycles, {switch['energy_pj'] / 1e6:.4f} uJ, as cost {switch == cost['switch']}"
    return "\n".join([*lines, f"  {result.stats['switches']} switches, each {shown}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="parts of model names")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[1] / ".." / "shared")
    arguments = parser.parse_args()
    images = cifar_training(arguments.shared)
    for model in MODELS:
        if not any(part in model for part in arguments.models):
            continue
        path = arguments.shared / "models/classify" / f"{model}.onnx"
        (name,) = prepare(path, ImportOptions()).inputs
        for machine, told, key, values in CASES:
            with tempfile.TemporaryDirectory() as folder:
                text = case(path, name, images, machine, key, values, Path(folder))
            print(f"{model} on {machine}, {told}: {text}", flush=True)


if __name__ == "__main__":
    main()
