"""The published architecture studies: ResNet-34 on Gemmini-like machines, LeNet-5's 216 designs.

    python benchmarks/explore_architectures.py [--only resnet34|lenet5] [--seeds N] [--survivors N] [--folder DIR]

ResNet-34 (int8, seeded weights) at 700 MHz: arrays of 8, 16, 32 and 64, scratchpads of 128 KiB to 2 MiB, accumulators
of 64 KiB to 1 MiB, powers of two, no accumulator larger than the scratchpad: 19 pairs of memories, 76 machines. Those
of side 8 are left out by what they could do at best: 64 MACs a cycle are 13 inferences a second. The other 57 must all
reach 30, and be found exhaustively in at most 60 s on two workers, not counting what the first search of an
installation compiles: one machine for another model is searched before, and its time is told.

The published space has 57 points of "scratchpad 128 kB to 4 MB, accumulator 64 kB to 2 MB"; with both upper ends left
out (its memory sweep stops at 2048 and 1024 kB, too) there are 19 pairs, and three sides that reach 30 make 57.

LeNet-5 (float32): arrays of side 2 to 64, a bus of 2 to 64 words of 32 bits that divides the side: 216 designs, the
published number, with the published extremes among them (2x2 with 64 bits, 4x4 with 128 bits, 62x62 and 64x64).
Exhaustively, then NSGA-II with at most 65 evaluations and a surrogate, for several seeds: it must find the whole front
as it is in steps of 10 %; some of the front executed.

Areas and energies follow from specs/components (memories of each size by CACTI at 40 nm, logic at 65 nm) and are
estimates (specs/energy.md); cycles are those that the executed points are observed to take.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from dnnc.benchmarks.networks import network
from dnnc.cli.main import main as dnnc
from dnnc.cli.report import print_table
from dnnc.frontend.arch_yaml import arch_source

MOST_SECONDS = 60.0
MOST_EVALUATIONS = 65
STEP = 1.1  # a price is known to no less (specs/energy.md)
TECHNOLOGY = "components: {memory_technology_nm: 40, logic_technology_nm: 65, dram: lpddr4"
RESNET34 = """\
model: resnet34.onnx
arch: gemmini_like.yaml
options: {objective: energy}
architecture:
  variables:
    dim: {values: [8, 16, 32, 64], fields: [array.rows, array.cols, vector.lanes, post.lanes]}
    spad: {start: 128 KiB, stop: 2 MiB, factor: 2, fields: memories.spad.capacity_bytes}
    acc: {start: 64 KiB, stop: 1 MiB, factor: 2, fields: memories.acc.capacity_bytes}
  fields:
    clock_hz: 700 MHz
    dma.bandwidth_bytes_per_second: 16 * 700 MHz
    memories.spad.word_bytes: dim
    memories.acc.word_bytes: 4 * dim
objectives: [min energy_pj, min area_um2, max inferences_per_second]
constraints: [acc <= spad, dim * dim * 700 MHz >= 30 * 3.3e9, inferences_per_second >= 30]  # 3.37 G MACs at least
algorithm: exhaustive
"""
COMPILING = """\
model: lenet5.onnx
arch: gemmini_like.yaml
options: {objective: energy}
architecture: {variables: {memories.spad.capacity_bytes: [256 KiB]}}
objectives: [min energy_pj]
"""
LENET5 = """\
model: lenet5.onnx
arch: flecsim_like.yaml
architecture:
  variables:
    dim: {start: 2, stop: 64, fields: [array.rows, array.cols]}
    ratio: {start: 1, stop: 32}
  fields:
    dma.bus_bytes: 4 * dim / ratio
    dma.burst_bytes: 16 * dim / ratio
    dma.bandwidth_bytes_per_second: 4 * dim / ratio * 500 MHz
"""
DESIGNS = "constraints: [dim % ratio == 0, dim >= 2 * ratio]\n"
OBJECTIVES = "objectives: [min energy_pj, min area_um2, min cycles]\n"
SEARCH = """\
algorithm: {{name: nsga2, population: 8, offspring: 4, generations: 1000, evaluations: {most}, candidates: 20,
            crossover_eta: 3, mutation_eta: 5, mutation_probability: 1.0}}
predefined: [{individuals}]
seed: {seed}
"""
BEGINNINGS = ", ".join(f"{{dim: {dim}, ratio: 1}}" for dim in (2, 8, 16, 32, 64))
# T. Hotfilter, Efficient Optimization of Convolutional Neural Networks for Modern Embedded High-Performance
# Applications, dissertation, KIT, 2024, section 4.5.3 (text, figures 4.17 and 4.18); its energy of 14.17 J is read as
# mJ: 836 W otherwise.
PUBLISHED = {
    "32x32, 256 KiB, 64 KiB: inferences/s": "59",
    "32x32, 256 KiB, 64 KiB: mm2": "3.25",
    "32x32, 256 KiB, 64 KiB: mJ": "14.17",
    "points of at least 30 inferences/s": "57",
    "of them Pareto-optimal": "13",
    "least and greatest inferences/s": "34 to 117",
    "sides that reach 30 inferences/s": "16, 32, 64",
    "16x16, 256/64 to 2048/1024 KiB: speed": "+7.3 %",
    "16x16, 256/64 to 2048/1024 KiB: area": "x 7",
    "256/64 KiB, 16x16 to 32x32: speed": "+217 %",
    "256/64 KiB, 16x16 to 32x32: area": "+73 %",
}
Json = dict[str, Any]


def _explore(folder: Path, name: str, text: str, *words: str) -> tuple[Json, float, str]:
    """The document of a study, the wall clock that it took, and what it printed."""
    (folder / f"{name}.yaml").write_text(text)
    output = folder / f"{name}-explored"
    printed = StringIO()
    before = os.times()
    start = time.perf_counter()
    with redirect_stdout(printed):
        status = dnnc(["explore", str(folder / f"{name}.yaml"), "-o", str(output), *words])
    seconds = time.perf_counter() - start
    used = os.times()
    print(f"{name}: {seconds:.1f} s, {sum(used[:4]) - sum(before[:4]):.1f} s of CPU in all processes")
    if status:
        raise SystemExit(f"{name}: exit status {status}\n{printed.getvalue()}")
    return json.loads((output / "study.json").read_text()), seconds, printed.getvalue()


def _machine(base: str, changes: Mapping[str, str]) -> str:
    text, _ = arch_source(base)
    for found, instead in changes.items():
        assert found in text, found
        text = text.replace(found, instead)
    return text


def resnet34(folder: Path, survivors: int) -> list[str]:
    """Faults found."""
    model, _, _ = network("resnet34", int8=True)
    (folder / "resnet34.onnx").write_bytes(model.SerializeToString())
    changes = {"name: gemmini16": "name: gemmini_like", "components: {technology_nm: 45, dram: lpddr4": TECHNOLOGY}
    (folder / "gemmini_like.yaml").write_text(_machine("gemmini16", changes))
    first, _, _ = network("lenet5", int8=True)
    (folder / "lenet5.onnx").write_bytes(first.SerializeToString())
    _explore(folder, "compiling", COMPILING, "--workers", "1")
    stats, seconds, text = _explore(folder, "resnet34", RESNET34, "--workers", "2")
    print(text)
    print(f"{stats['counts']['evaluated']} machines in {seconds:.1f} s, two workers\n")
    points = {tuple(each["point"].values()): each for each in stats["points"]}
    small, wide = points[16, 256 << 10, 64 << 10], points[32, 256 << 10, 64 << 10]
    large = points[16, 2 << 20, 1 << 20]
    feasible = [each for each in stats["points"] if each["feasible"]]
    rates = sorted(each["figures"]["inferences_per_second"] for each in feasible)

    def gain(one: Json, other: Json, figure: str) -> str:
        return f"{other['figures'][figure] / one['figures'][figure] - 1:+.1%}"

    ours = [
        f"{wide['figures']['inferences_per_second']:.1f}",
        f"{wide['figures']['area_um2'] / 1e6:.2f}",
        f"{wide['figures']['energy_pj'] / 1e9:.2f}",
        str(len(feasible)),
        str(len(stats["front"])),
        f"{rates[0]:.1f} to {rates[-1]:.1f}",
        ", ".join(map(str, sorted({each["point"]["dim"] for each in feasible}))),
        gain(small, large, "inferences_per_second"),
        f"x {large['figures']['area_um2'] / small['figures']['area_um2']:.1f}",
        gain(small, wide, "inferences_per_second"),
        gain(small, wide, "area_um2"),
    ]
    rows = [[name, mine, theirs] for (name, theirs), mine in zip(PUBLISHED.items(), ours, strict=True)]
    print_table(["ResNet-34 at 700 MHz", "ours", "published"], rows)
    least = min(feasible, key=lambda each: each["figures"]["energy_pj"])
    print(f"\nleast energy of those that reach 30: {least['point']}")
    executed, run_s, text = _explore(
        folder, "resnet34", RESNET34 + f"run: {{survivors: {survivors}}}\n", "--workers", "2", "--resume"
    )
    runs = [each["run"] for each in executed["front"] if each["run"] is not None]
    print(f"{len(runs)} points of the front executed in {run_s:.1f} s: {sum(each['equal'] for each in runs)} as costed")
    faults = [] if seconds <= MOST_SECONDS else [f"{seconds:.1f} s are more than {MOST_SECONDS:g}"]
    faults += [] if len(feasible) == 57 else [f"{len(feasible)} points reach 30 inferences a second, not 57"]
    return faults


def lenet5(folder: Path, seeds: int, survivors: int) -> list[str]:
    """Faults found."""
    model, _, _ = network("lenet5", int8=False)
    (folder / "lenet5.onnx").write_bytes(model.SerializeToString())
    changes = {
        "name: f32_8": "name: flecsim_like",
        "components: {technology_nm: 45, dram: lpddr4": TECHNOLOGY + ", leakage: true",
        "dataflows: [ws, os, is]": "dataflows: [os]",
    }
    (folder / "flecsim_like.yaml").write_text(_machine("f32_8", changes))
    text = LENET5 + DESIGNS + OBJECTIVES
    whole, seconds, _ = _explore(folder, "lenet5", f"{text}run: {{survivors: {survivors}}}\n", "--workers", "2")
    runs = [each["run"] for each in whole["front"] if each["run"] is not None]
    print(f"LeNet-5: {whole['counts']['evaluated']} designs, {len(runs)} executed, {seconds:.1f} s, two workers")
    print(f"{len(whole['front'])} on the front; {sum(each['equal'] for each in runs)} of those executed are as costed")
    for name, figure in (("smallest", "area_um2"), ("least energy", "energy_pj"), ("fastest", "cycles")):
        best = min(whole["points"], key=lambda each: each["figures"][figure])
        dim = best["point"]["dim"]
        print(f"{name}: {dim}x{dim}, bus of {32 * dim // best['point']['ratio']} bits")
    print("published: smallest 2x2 with 64 bits, least energy 4x4 with 128 bits, fastest 64x64\n")
    steps = front_in_steps(whole["points"])
    rows = []
    faults = [] if whole["counts"]["points"] == 216 else [f"{whole['counts']['points']} designs, not 216"]
    for seed in range(seeds):
        search = SEARCH.format(most=MOST_EVALUATIONS, individuals=BEGINNINGS, seed=seed)
        found, _, _ = _explore(folder, f"found{seed}", f"{text}{search}reuse: [lenet5-explored]\n", "--workers", "1")
        asked = found["counts"]["points"]
        exact = sum(each["point"] in [one["point"] for one in whole["front"]] for each in found["points"])
        same = len(steps & {in_steps(each) for each in found["points"]})
        rows.append([seed, asked, exact, f"{epsilon(whole['front'], found['front']):.1%}", same])
        faults += [f"seed {seed}: {asked} evaluations"] * (asked > MOST_EVALUATIONS)
        faults += [f"seed {seed}: {same} of the {len(steps)} in steps of 10 %"] * (same < len(steps))
    columns = [
        "seed",
        "evaluated",
        f"of {len(whole['front'])}",
        "covered within",
        f"in steps of 10 %, of {len(steps)}",
    ]
    print_table(columns, rows, "NSGA-II")
    print("covered within: by how much the worst of three figures of the nearest found point lies above, at most")
    return faults


def in_steps(point: Json) -> tuple[float, ...]:
    """Its objectives, those alike that lie within one step."""
    return tuple(math.log(each) // math.log(STEP) for each in point["objectives"])


def front_in_steps(points: Sequence[Json]) -> set[tuple[float, ...]]:
    every = {in_steps(each) for each in points}
    return {one for one in every if not any(_below(each, one) for each in every)}


def _below(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def epsilon(whole: Sequence[Json], found: Sequence[Json]) -> float:
    """The multiplicative epsilon indicator less 1 (Zitzler et al., IEEE TEC 7(2), 2003)."""

    def above(one: Json, other: Json) -> float:
        pairs = zip(one["objectives"], other["objectives"], strict=True)
        return max(float(theirs / ours) for ours, theirs in pairs) - 1

    return max(min(above(point, each) for each in found) for point in whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["resnet34", "lenet5"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--survivors", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the studies are kept (default: a temporary folder)")
    arguments = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        faults = []
        if arguments.only != "lenet5":
            faults += resnet34(folder, arguments.survivors)
        if arguments.only != "resnet34":
            faults += lenet5(folder, arguments.seeds, arguments.survivors)
    for each in faults:
        print(f"does not hold: {each}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
