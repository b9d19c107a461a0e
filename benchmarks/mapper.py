"""The mapper on networks and models: what it proves, how fast, and whether its mappings are better than before.

    python benchmarks/mapper.py                             four networks on gemmini16, for latency, energy and edp
    python benchmarks/mapper.py --models [--arch A]...      all of ../shared/models, on these machines
    python benchmarks/mapper.py --save before.json          with the objectives of every row in a file
    python benchmarks/mapper.py --before before.json        beside those of a file; ends with 1 where one is worse
    python benchmarks/mapper.py --brute N [--seed S]        N small nests x machines against all of their mappings

A row is a model on a machine for an objective: layers (nests, those of an explicit im2col are two), how many mappings
are proven optimal, seconds (wall clock and CPU) of the choice of schedules with an empty cache of mappings, bounds and
walks of all searches, bounds a second of CPU time, and the sum of the layers' objectives. Compiled code is warm: the
first model is mapped once before anything is timed. Sums are compared at equal machines only: a file of other prices
says nothing. Ends with 1 where a mapping of the four networks on gemmini16 is not proven optimal.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnc.benchmarks.any_model import MODELS
from dnnc.benchmarks.cost_equals_run import given
from dnnc.benchmarks.networks import network
from dnnc.cli.session import ModelInputs, scheduled
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest, Schedule
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.mapping import MappingOptions
from dnnc.passes.pipeline import Options, named

NETWORKS = ("resnet50", "mobilenetv2", "alexnet", "bert_base_layer")
OBJECTIVES = ("latency", "energy", "edp")
BEFORE_SCHEDULES = "canonicalise,quantise,fuse,lower"


@dataclass(frozen=True, slots=True)
class Row:
    """What one choice of schedules took and found. `different` are layers that differ in more than names."""

    layers: int
    different: int
    optimal: int
    wall_s: float
    cpu_s: float
    bounds: int
    walks: int
    total: float


def lowered(path: Path, arch: Arch, inputs: ModelInputs) -> Module:
    """The model's module as it is before schedules are chosen."""
    return scheduled(str(path), arch, lambda _: Options(), inputs, passes=named(BEFORE_SCHEDULES))[0]


def measured(module: Module, arch: Arch, objective: str) -> Row:
    """Choose the schedules of a module, and count."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = choose_schedules(module, arch, MappingOptions(objective=objective))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = [each.schedule for each in done.operations if isinstance(each, Nest)]
    schedules = [each for each in found if each is not None]
    different: dict[Schedule, None] = dict.fromkeys(schedules)
    return Row(
        layers=len(schedules),
        different=len(different),
        optimal=sum(each.optimal for each in schedules),
        wall_s=wall,
        cpu_s=cpu,
        bounds=sum(each.bounds for each in different),
        walks=sum(each.evaluated for each in different),
        total=sum(each.objective for each in schedules),
    )


def cases(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, Module, Arch]]:
    """Models by name, machine, module and description."""
    for name in arguments.arch or ["gemmini16"]:
        arch = load_arch(name)
        if not arguments.models:
            for model in NETWORKS:
                path = folder / f"{model}.onnx"
                if not path.exists():
                    path.write_bytes(network(model, int8=True)[0].SerializeToString())
                yield model, name, lowered(path, arch, ModelInputs(seed=0)), arch
            continue
        for path in sorted(MODELS.rglob("*.onnx")):
            try:
                yield path.stem, name, lowered(path, arch, given(path)), arch
            except CompileError as error:
                print(f"{path.stem:28} {name:10} refused: {error.diagnostics[0].message[:80]}")


def compare(arguments: argparse.Namespace) -> bool:
    """Print the table; whether all of it holds."""
    before: dict[str, float] = json.loads(arguments.before.read_text()) if arguments.before else {}
    totals: dict[str, float] = {}
    holds, warm = True, False
    print(
        f"{'model':28} {'machine':10} {'objective':9} {'layers':>6} {'differ':>6} {'optimal':>7} {'wall s':>7}"
        f" {'CPU s':>7} {'bounds':>9} {'walks':>8} {'bounds/s':>9} {'sum':>13} {'before':>13} {'ratio':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for model, name, module, arch in cases(arguments, Path(folder)):
            if not warm:
                measured(module, arch, "latency")
                warm = True
            for objective in OBJECTIVES:
                row = measured(module, arch, objective)
                key = f"{model} {name} {objective}"
                totals[key] = row.total
                old = before.get(key)
                ratio = f"{row.total / old:8.5f}" if old else f"{'-':>8}"
                print(
                    f"{model:28} {name:10} {objective:9} {row.layers:6} {row.different:6} {row.optimal:7}"
                    f" {row.wall_s:7.2f} {row.cpu_s:7.2f} {row.bounds:9} {row.walks:8}"
                    f" {row.bounds / max(row.cpu_s, 1e-9):9.3g} {row.total:13.6g} {old or 0:13.6g} {ratio}",
                    flush=True,
                )
                holds &= old is None or row.total <= old * (1 + 1e-9)
                holds &= arguments.models or name != "gemmini16" or row.optimal == row.layers
    if arguments.save:
        arguments.save.write_text(json.dumps(totals, indent=1))
    return holds


def brute(count: int, seed: int) -> bool:
    """Small nests on small machines: the mapper's optimum is that of all mappings, counted by the cost model."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from dnnc.passes.map_search import search
    from dnnc.passes.mapping import Pin
    from dnnc.passes.objective import parse_objective
    from support import brute_force

    compared = mappings = faults = nothing = 0
    for number in range(count):
        arch, nest = brute_force.small_case(random.Random(seed + number))
        best, listed = brute_force.least(nest, arch)
        mappings += listed
        nothing += not listed
        for objective in OBJECTIVES:
            found = search(nest, arch, brute_force.dataflows(nest), Pin(), parse_objective(objective), "none")
            compared += 1
            value = found.objective if found else float("inf")
            if value > best[objective] * (1 + 1e-12) or value < best[objective] * (1 - 1e-12):
                faults += 1
                print(f"seed {seed + number} {objective}: {value}, of all mappings {best[objective]}")
            elif found and not found.optimal:
                faults += 1
                print(f"seed {seed + number} {objective}: not proven")
    print(
        f"{count} small nests x machines ({nothing} of them fit nowhere), {mappings} mappings; of {compared} optima"
        f" {faults} differ or are not proven"
    )
    return not faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", action="store_true", help="those of ../shared/models in place of the networks")
    parser.add_argument("--arch", action="append", help="a machine; several are mapped one after the other")
    parser.add_argument("--save", type=Path, help="write the sums here, as JSON")
    parser.add_argument("--before", type=Path, help="sums of an earlier run, to compare with")
    parser.add_argument("--brute", type=int, metavar="N", help="compare with all mappings of N small nests")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["DNNC_CACHE_DIR"] = "off"
    holds: Any = brute(arguments.brute, arguments.seed) if arguments.brute else compare(arguments)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
