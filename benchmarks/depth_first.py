"""What staying in local memory saves: nothing, whole values, and chains of layers stripe by stripe.

    python benchmarks/depth_first.py [--only TEXT] [--arch A]... [--objective O]... [--run] [--model FILE]...

Each model on each machine under `--fuse off`, `keep` and `auto`: cycles, energy and bytes of main memory, layers in
stripes, seconds of the compilation that finds them (with an empty cache of mappings) and of one that reads them back.
With `--run` all three are executed: outputs must be the same bit for bit, and the figures of each layer those of cost.
Exits with 1 where one is not, or where a later column is worse than an earlier one by the objective.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dnnc
import numpy as np

ROOT = Path(__file__).parents[2] / "shared" / "models"
MODELS = (
    "quantized/mobilenetv2-12-int8.onnx",
    "classify/mobilenetv2_035_128_flowers.onnx",
    "classify/resnet8_cifar10_fp32.onnx",
    "classify/resnetdw_cifar10_alibaba.onnx",
    "detect_seg/ultraface_rfb320.onnx",
    "detect_seg/unet_sed.onnx",
)
MACHINES = ("gemmini16", "edge8", "odd12x14")
OBJECTIVES = ("latency", "energy", "edp")
FUSE = ("off", "keep", "auto")
COMPARED = ("name", "cycles", "macs", "macs_issued", "instructions", "traffic", "energy_pj")


def value(total: dict[str, Any], objective: str) -> float:
    cycles, energy = float(total["cycles"]), float(total["energy_pj"])
    return {"latency": cycles, "energy": energy, "edp": cycles * energy}[objective]


def main_bytes(stats: dict[str, Any]) -> int:
    moved = [each for layer in stats["layers"] for each in layer["traffic"].get("dram", {}).values()]
    return sum(each["read_bytes"] + each["write_bytes"] for each in moved)


def inputs_of(program: Any) -> dict[str, Any]:
    """Values for the inputs of a program, the same for the same model."""
    rng = np.random.default_rng(0)
    found = {}
    for each in program.placements:
        if each.name in program.inputs:
            kind = each.type.container
            drawn = rng.standard_normal(each.shape) if kind.kind == "f" else rng.integers(0, 100, each.shape)
            found[each.name] = drawn.astype(kind)
    return found


def compared(model: str, machine: str, objective: str, run: bool) -> Iterator[str]:
    """Print a row for each way; yield what does not hold."""
    costs: dict[str, float] = {}
    outputs: dict[str, Any] = {}
    for fuse in FUSE:
        options = dnnc.Options(fuse=fuse, objective=objective)
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            stats = dnnc.cost(model, machine, options)
            seconds.append(time.perf_counter() - began)
        total = stats["total"]
        costs[fuse] = value(total, objective)
        striped = sum(layer["mapping"] is not None and layer["mapping"]["stripes"] > 1 for layer in stats["layers"])
        print(
            f"{Path(model).stem[:28]:28} {machine:10} {objective:8} {fuse:5}{total['cycles']:10} cycles"
            f"{total['energy_pj'] / 1e6:10.2f} uJ{main_bytes(stats) / 1e6:9.3f} MB{striped:4} of {len(stats['layers'])}"
            f" layers in stripes {seconds[0]:6.2f} s, then {seconds[1]:.2f} s",
            flush=True,
        )
        if run:
            program = dnnc.compile(model, machine, options)
            done = dnnc.run(program, inputs_of(program))
            outputs[fuse] = {name: each.tobytes() for name, each in done.outputs.items()}
            if outputs[fuse] != outputs[FUSE[0]]:
                yield f"{model} on {machine}, {objective}: outputs with --fuse {fuse} are not those without"
            for one, other in zip(stats["layers"], done.stats["layers"], strict=True):
                if any(one[key] != other[key] for key in COMPARED):
                    yield f"{model} on {machine}, {objective}: {one['name']} is costed otherwise than run"
    if not costs["auto"] <= costs["keep"] * (1 + 1e-9) <= costs["off"] * (1 + 2e-9):
        yield f"{model} on {machine}: {objective} is {costs}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="models whose path holds it")
    parser.add_argument("--arch", action="append", metavar="A")
    parser.add_argument("--objective", action="append", choices=OBJECTIVES)
    parser.add_argument("--model", action="append", metavar="FILE", help="instead of the shared ones")
    parser.add_argument("--run", action="store_true")
    given = parser.parse_args()
    models = given.model or [str(ROOT / each) for each in MODELS if given.only in each]
    faults = 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["DNNC_CACHE_DIR"] = folder
        for model in models:
            for machine in given.arch or MACHINES:
                for objective in given.objective or OBJECTIVES:
                    for fault in compared(model, machine, objective, given.run):
                        print(fault, flush=True)
                        faults += 1
    print(f"{faults} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
