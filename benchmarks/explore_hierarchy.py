"""Studies of a machine with levels inside the array: shapes of the array beside sizes of the global buffer, and widths
of elements beside the totals that Timeloop's exhaustive search found.

    python benchmarks/explore_hierarchy.py [--only shapes|bits] [--seeds N] [--fresh N] [--data DIR] [--folder DIR]

Both are of AlexNet's five convolutions, ungrouped and without padding, as in Timeloop's exercises, batch 1.

`shapes`: `eyeriss_like` with 12, 16 or 24 rows, 8, 14, 16 or 28 columns and a global buffer of 32 to 256 KiB: 48
machines, for energy, cycles and area. Exhaustively with nothing kept, then at another clock, which searches nothing
anew; then NSGA-II with 20 evaluations and a surrogate, beside 20 points at random, for several seeds. Every point of
the front is costed again from its written `arch.yaml`, `--fresh` of them with nothing kept, and the machine as it is
bundled.

`bits`: the machine of ehw-fit/timeloop-with-quantization with its constraints and prices (`--data`, the folder with
`timeloop_quantisation`): weights of 2 to 16 bits, inputs and outputs of 4 to 16. Its totals are of its own counting
(specs/hierarchy.md, Conventions): what is to agree are the savings.

Exit status 1 where a point is not what `dnnc cost` says of its file, or a saving is off by more than 3 points.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from dnnc.benchmarks.explore_architectures import epsilon, front_in_steps, in_steps
from dnnc.cli.main import main as dnnc
from dnnc.cli.report import print_table
from dnnc.frontend.hierarchy_text import hierarchy_text
from dnnc.frontend.timeloop_arch import read_arch
from dnnc.frontend.timeloop_constraints import read_constraints
from dnnc.ir.arch import EnergyRow
from dnnc.ir.hierarchy import FanOut, Hierarchy, Store
from dnnc.validate.timeloop import NEEDS, SOURCE, energy_rows, prices_of_table

DATA = Path(__file__).parents[2] / "shared" / "data" / "ground_truth"
# Input channels, filters, side of the input, of the window, and stride.
CONVOLUTIONS = (
    (3, 96, 227, 11, 4),
    (96, 256, 31, 5, 1),
    (256, 384, 15, 3, 1),
    (384, 384, 15, 3, 1),
    (384, 256, 15, 3, 1),
)
CACHE_DIR = "DNNC_CACHE_DIR"
MOST_EVALUATIONS = 20
MOST_POINTS_OFF = 0.03
SHAPES = """\
model: convolutions.onnx
arch: eyeriss_like
options: {objective: energy}
architecture:
  variables:
    rows: {values: [8, 12, 16, 24], fields: levels.elements.rows}
    cols: {values: [8, 14, 16, 28], fields: levels.columns.cols}
    glb: {start: 32 KiB, stop: 256 KiB, factor: 2, fields: levels.glb.capacity_bytes}
constraints: [rows >= 11]   # the first layer's windows have 11 columns, one a row of elements
objectives: [min energy_pj, min cycles, min area_um2]
"""
CLOCK = "  fields: {clock_hz: 200 MHz}\n"
NSGA2 = f"""\
algorithm: {{name: nsga2, population: 6, offspring: 2, generations: 1000, evaluations: {MOST_EVALUATIONS},
            candidates: 20, crossover_eta: 3, mutation_eta: 5, mutation_probability: 1.0}}
predefined:
- {{rows: 12, cols: 8, glb: 32 KiB}}
- {{rows: 24, cols: 28, glb: 64 KiB}}
- {{rows: 16, cols: 16, glb: 256 KiB}}
"""
RANDOM = f"algorithm: {{name: random, evaluations: {MOST_EVALUATIONS}}}\n"
BITS = """\
model: convolutions.onnx
arch: timeloop.yaml
options: {objective: energy}
architecture:
  variables:
    weights: {values: [2, 3, 4, 8, 16], fields: bits.weight}
    others: {values: [4, 8, 16], fields: [bits.input, bits.output]}
objectives: [min energy_pj, max weights, max others]
"""
# Bits of weights, and of inputs and outputs: total in uJ by exhaustive search, energy then delay
# (alexnet_eyeriss_ref_stats.csv, no_optimizations), and with the mappings for 16 bits (rerun_fixed_native_mapping.csv).
SEARCHED = {(16, 16): 5713.3, (3, 16): 4411.7, (4, 4): 3094.8}
FIXED = {(16, 16): 5714.0, (8, 16): 4926.0, (4, 16): 4527.0, (3, 16): 4448.0, (2, 16): 4335.0, (8, 8): 4043.0,
         (4, 8): 3648.0, (4, 4): 3204.0}  # fmt: skip
# What `dnnc cost --json` totals of what a study has under the same name.
EQUAL = ("energy_pj", "cycles", "area_um2", "utilization", "macs", "seconds")
Json = dict[str, Any]


def convolutions() -> onnx.ModelProto:
    """Each layer with an input and an output of its own."""
    nodes, inputs, outputs, weights = [], [], [], []
    for number, (channels, filters, side, window, stride) in enumerate(CONVOLUTIONS, 1):
        size = (side - window) // stride + 1
        names = [f"x{number}", f"w{number}"]
        nodes.append(onnx.helper.make_node("Conv", names, [f"y{number}"], f"conv{number}", strides=[stride, stride]))
        made = onnx.helper.make_tensor_value_info
        inputs.append(made(names[0], onnx.TensorProto.FLOAT, [1, channels, side, side]))
        outputs.append(made(f"y{number}", onnx.TensorProto.FLOAT, [1, filters, size, size]))
        shape = (filters, channels, window, window)
        weights.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), names[1]))
    graph = onnx.helper.make_graph(nodes, "convolutions", inputs, outputs, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)


def shapes(folder: Path, seeds: int, fresh: int) -> list[str]:
    """Faults found."""
    whole, _ = explored(folder, "shapes", SHAPES)
    names = [each["name"] for each in whole["variables"]]
    rows = [[*(each["point"][name] for name in names), *each["objectives"]] for each in whole["front"]]
    print_table([*names, *whole["objectives"]], rows, "the front")
    again, _ = explored(folder, "clocked", SHAPES.replace("constraints:", f"{CLOCK}constraints:"))
    faults = []
    if [each["objectives"] for each in again["points"]] != [each["objectives"] for each in whole["points"]]:
        faults.append("another clock changed energies, cycles or areas")
    bundled = next(each for each in whole["points"] if tuple(each["point"].values()) == (12, 14, 128 << 10))
    faults += differing(bundled, costed(folder, "eyeriss_like"), "the machine as it is bundled")
    for number, point in enumerate(whole["front"], 1):
        file = str(folder / "shapes-explored" / "points" / str(number) / "arch.yaml")
        faults += differing(point, costed(folder, file), file)
        if number <= fresh:
            with cache("off"):
                faults += differing(point, costed(folder, file), f"{file}, nothing kept")
    print(
        f"{len(whole['front'])} points of the front costed from their files, {min(fresh, number)} with nothing kept\n"
    )
    searches(folder, whole, seeds)
    return faults


def searches(folder: Path, whole: Json, seeds: int) -> None:
    """What NSGA-II, and as many points at random, find of the front of a study of `SHAPES` that is in the folder."""
    steps = front_in_steps(whole["points"])
    best = [each["point"] for each in whole["front"]]
    rows = []
    for seed in range(seeds):
        row: list[object] = [seed]
        for name, search in (("nsga2", NSGA2), ("random", RANDOM)):
            text = f"{SHAPES}{search}seed: {seed}\nreuse: [shapes-explored]\n"
            found, _ = explored(folder, f"{name}{seed}", text)
            same = len(steps & {in_steps(each) for each in found["points"]})
            exact = sum(each["point"] in best for each in found["points"])
            row += [exact, same, f"{epsilon(whole['front'], found['front']):.1%}"]
        rows.append(row)
    columns = [f"of {len(best)}", f"in steps of 10 %, of {len(steps)}", "covered within"]
    print_table(["seed", *(f"{name}: {each}" for name in ("NSGA-II", "random") for each in columns)], rows)
    print(f"{MOST_EVALUATIONS} of {len(whole['points'])} points each; covered within: by how much the worst of three")
    print("figures of the nearest found point lies above, at most")


def bits(folder: Path, data: Path) -> list[str]:
    """Faults found."""
    if not (data / NEEDS).is_dir():
        print(f"bits: left out, there is no {data / NEEDS} (--data)")
        return []
    (folder / "timeloop.yaml").write_text(hierarchy_text(timeloop_machine(data / NEEDS)))
    found, _ = explored(folder, "bits", BITS)
    energy_uj = {tuple(each["point"].values()): each["figures"]["energy_pj"] / 1e6 for each in found["points"]}
    whole = energy_uj[16, 16]
    rows, faults = [], []
    for point, ours in sorted(energy_uj.items(), reverse=True):
        row: list[object] = [*point, ours, f"{ours / whole - 1:+.1%}"]
        for theirs in (SEARCHED, FIXED):
            known = theirs.get(point)
            row += [known, None if known is None else f"{known / theirs[16, 16] - 1:+.1%}"]
        rows.append(row)
        if point in SEARCHED and abs(ours / whole - SEARCHED[point] / SEARCHED[16, 16]) > MOST_POINTS_OFF:
            faults.append(f"weights of {point[0]} bits, others of {point[1]}: the saving is another than published")
    columns = ["weights", "others", "ours uJ", "", "Timeloop, searched uJ", "", "its mappings for 16 bits uJ", ""]
    print_table(columns, rows, "energy by bits")
    return faults


def timeloop_machine(data: Path) -> Hierarchy:
    """Timeloop's Eyeriss under its constraints and at its prices; of wires and of what keeps nothing it has none."""
    folder = data / "alexnet_eyeriss" / "native"
    (description,) = (folder / "arch").glob("*.yaml")
    machine = replace(read_arch(description.read_text(), str(description)).machine, name="timeloop")
    for each in sorted((folder / "constraints").glob("*.yaml")):
        machine, _ = read_constraints(each.read_text(), str(each), machine)
    given = energy_rows(machine, prices_of_table(data / "energy_reference_table.yaml"))
    actions = {Store: ("read_word", "write_word"), FanOut: ("hop_bit",)}
    rest = [EnergyRow(level.name, action, 0.0, SOURCE) for level in machine.levels for action in actions[type(level)]]
    priced = {(row.component, row.action) for row in given}
    return replace(machine, energy=(*given, *(row for row in rest if (row.component, row.action) not in priced)))


def explored(folder: Path, name: str, text: str) -> tuple[Json, float]:
    """The document of a study, in this process, and the wall clock that it took."""
    (folder / f"{name}.yaml").write_text(text)
    output = folder / f"{name}-explored"
    before, start = time.process_time(), time.perf_counter()
    with redirect_stdout(StringIO()):
        status = dnnc(["explore", str(folder / f"{name}.yaml"), "-o", str(output), "--workers", "1"])
    seconds, used = time.perf_counter() - start, time.process_time() - before
    if status:
        raise SystemExit(f"{name}: exit status {status}")
    found = json.loads((output / "study.json").read_text())
    counts = found["counts"]
    stopped = sum(bool(each["figures"]["stopped_layers"]) for each in found["points"])
    print(
        f"{name}: {counts['points']} points ({counts['evaluated']} evaluated) in {seconds:.1f} s, {used:.1f} s of CPU;"
        f" {stopped} with a layer that the time limit stopped; dropped: {counts['dropped']}"
    )
    return found, seconds


def costed(folder: Path, machine: str) -> Json:
    """The statistics that `dnnc cost` writes."""
    output = folder / "cost.json"
    words = ["cost", str(folder / "convolutions.onnx"), "--arch", machine, "--objective", "energy"]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        status = dnnc([*words, "--json", str(output)])
    if status:
        raise SystemExit(f"{machine}: exit status {status}")
    found: Json = json.loads(output.read_text())
    return found


def differing(point: Json, stats: Json, what: str) -> list[str]:
    """Faults: figures of a point that are not those of a cost, to the last bit."""
    figures, total = point["figures"], stats["total"]
    return [
        f"{what}: {name} is {total[name]}, in the study {figures[name]}"
        for name in EQUAL
        if figures[name] != total[name]
    ]


@contextmanager
def cache(value: str) -> Iterator[None]:
    """What earlier commands found is looked for in this folder."""
    before = os.environ.get(CACHE_DIR)
    os.environ[CACHE_DIR] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_DIR]
        else:
            os.environ[CACHE_DIR] = before


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["shapes", "bits"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--fresh", type=int, default=2)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, help="where the studies are kept (default: a temporary folder)")
    arguments = parser.parse_args(words)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(convolutions(), folder / "convolutions.onnx")
        with cache(str(Path(temporary) / "cache")):
            faults = shapes(folder, arguments.seeds, arguments.fresh) if arguments.only != "bits" else []
            faults += bits(folder, arguments.data) if arguments.only != "shapes" else []
    for each in faults:
        print(f"does not hold: {each}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
