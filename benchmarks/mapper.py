"""The mapper on networks and models: what it proves, how fast, and whether its mappings are better than before.

    python benchmarks/mapper.py                             four networks on gemmini16, for latency, energy and edp
    python benchmarks/mapper.py --models [--arch A]...      all of ../shared/models, on these machines
    python benchmarks/mapper.py --save before.json          with the objectives of every row in a file
    python benchmarks/mapper.py --before before.json        beside those of a file; ends with 1 where one is worse
    python benchmarks/mapper.py --brute N [--seed S]        N small nests x machines against all of their mappings
    python benchmarks/mapper.py --search N                  bounds a CPU second: ResNet-50's searches, bounds alone
    python benchmarks/mapper.py --random N --literal M      N random mappings against the optimum, M counted literally

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
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dnnc.backends.cost.module import nameless
from dnnc.benchmarks.any_model import MODELS
from dnnc.benchmarks.cost_equals_run import given
from dnnc.benchmarks.mapper_space import OBJECTIVES, brute, pinned
from dnnc.benchmarks.mapper_speed import search_speed
from dnnc.benchmarks.networks import network
from dnnc.driver.model import ModelInputs
from dnnc.driver.session import loaded, transform
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.module import Module
from dnnc.ir.nest import Nest, Schedule
from dnnc.passes.choose_schedules import choose_schedules
from dnnc.passes.mapping import MappingOptions
from dnnc.passes.pipeline import Options, named

NETWORKS = ("resnet50", "mobilenetv2", "alexnet", "bert_base_layer")
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
    module, _, options = loaded(str(path), arch, lambda _: Options(), inputs)
    return transform(module, arch, options, named(BEFORE_SCHEDULES))


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


def layers_of(name: str, networks: Sequence[str] = NETWORKS) -> list[Nest]:
    """The different layers of networks on a machine: those that differ in more than names."""
    arch = load_arch(name)
    different: dict[Nest, Nest] = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in networks:
            path = Path(folder) / f"{model}.onnx"
            path.write_bytes(network(model, int8=True)[0].SerializeToString())
            for each in lowered(path, arch, ModelInputs(seed=0)).operations:
                if isinstance(each, Nest) and not each.is_empty:
                    different.setdefault(nameless(each), replace(each, name=f"{model} {each.name}"))
    return list(different.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", action="store_true", help="those of ../shared/models in place of the networks")
    parser.add_argument("--arch", action="append", help="a machine; several are mapped one after the other")
    parser.add_argument("--save", type=Path, help="write the sums here, as JSON")
    parser.add_argument("--before", type=Path, help="sums of an earlier run, to compare with")
    parser.add_argument("--brute", type=int, metavar="N", help="compare with all mappings of N small nests")
    parser.add_argument(
        "--random", type=int, metavar="N", help="N random mappings of the networks' layers on each machine"
    )
    parser.add_argument(
        "--literal", type=int, default=0, metavar="N", help="so many of them are counted literally as well"
    )
    parser.add_argument(
        "--search", type=int, metavar="N", help="bounds a second of ResNet-50's searches, best of N each"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["DNNC_CACHE_DIR"] = "off"
    if arguments.brute:
        holds = brute(arguments.brute, arguments.seed)
    elif arguments.search:
        machine = (arguments.arch or ["gemmini16"])[0]
        layers, arch = layers_of(machine, ["resnet50"]), load_arch(machine)
        search_speed(layers[:2], arch, "latency", 1)  # compiled code is warm from here on
        speeds = [search_speed(layers, arch, objective, arguments.search) for objective in OBJECTIVES]
        holds = all(speeds)
    elif arguments.random:
        named = arguments.arch or ["gemmini16"]
        each = [
            pinned(layers_of(name), load_arch(name), arguments.random, arguments.literal, arguments.seed)
            for name in named
        ]
        holds = all(each)
    else:
        holds = compare(arguments)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
