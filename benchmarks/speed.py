"""How long the command line takes on a large network, beside what else one could use.

    python benchmarks/speed.py                                   ResNet-50 int8 on gemmini16, and ResNet-18
    python benchmarks/speed.py --vela ENV/bin/vela --zigzag ENV/bin/python      peers measured in the same run

Each command is a process of its own, as a user starts it. `cold` is its first run: no compiled code, no bytecode of
dnnc, nothing that earlier runs found; `warm` is the median of the runs after it. What has not changed since the run
before is then not computed again; `cost, mappings known` has that left out, so that only mappings, counts of layers,
types and parsed descriptions are there. Wall-clock seconds are those of the
machine as it is; where others use it too, CPU seconds (user + system) say more. Memory is the peak of the process
(resident). The peers' figures are for ResNet-18: measured where their executables are given (an environment with
ethos-u-vela; the interpreter of one with zigzag-dse and six), else those of an earlier measurement.
Exits with 1 where a bound does not hold for ResNet-50 on gemmini16.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Seconds and MiB, warm, for ResNet-50 int8 at 224x224 on gemmini16; a cold first run may take 30 s.
BOUNDS: dict[str, tuple[float, float | None]] = {
    "--help": (0.3, None),
    "cost": (0.5, 500.0),
    "compile": (10.0, None),
    "run": (10.0, 2048.0),
}
COLD_SECONDS = 30.0
MOST_COMMANDS = 100_000
# Wall-clock seconds, CPU seconds and MiB for all of ResNet-18, measured in November 2026 on 2 cores.
PUBLISHED_PEERS = {
    "AccelForge 1.0.467": (43.0, 42.0, 387.0),
    "ZigZag 3.9.1": (53.0, None, 290.0),
    "Vela 5.2.0": (1.24, 1.35, 109.0),
}
# In a process of its own: what this one has in memory would count as the peak of those that it starts.
INPUTS = """
import sys
import numpy as np
import onnx
graph = onnx.load(sys.argv[1]).graph
shape = [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim]
values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
np.savez(sys.argv[2], **{graph.input[0].name: values})
"""
ZIGZAG = """
import sys
from pathlib import Path
import zigzag
from zigzag.api import get_hardware_performance_zigzag
inputs = Path(zigzag.__file__).parent / "inputs"
files = [inputs / "workload/resnet18.onnx", inputs / "hardware/tpu_like.yaml", inputs / "mapping/tpu_like.yaml"]
get_hardware_performance_zigzag(*map(str, files), loma_show_progress_bar=False, dump_folder=sys.argv[1])
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One process: wall-clock and CPU seconds, and peak resident memory."""

    wall: float
    cpu: float
    peak_mib: float


def measure(words: list[str], environment: dict[str, str] | None = None) -> Measured:
    start = time.perf_counter()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words[:6])} ended with {process.returncode}:\n{said.decode(errors='replace')[-2000:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


PACKAGE = ("*.py", "backends", "cli", "frontend", "ir", "passes", "runtime", "specs")


def fresh(folder: Path) -> dict[str, str]:
    """An environment with a copy of the package in `folder` that has never run: bytecode and compiled code are kept
    beside the sources, mappings in a folder of their own."""
    root = Path(__file__).resolve().parents[1]
    for pattern in PACKAGE:
        for source in root.glob(pattern):
            target = folder / "dnnc" / source.name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    environment = {key: value for key, value in os.environ.items() if key not in unwanted}
    return {**environment, "PYTHONPATH": str(folder), "DNNC_CACHE_DIR": str(folder / "cache")}


def dnnc(*words: str) -> list[str]:
    return [sys.executable, "-m", "dnnc.cli.main", *words]


def measure_changed(words: list[str], environment: dict[str, str]) -> Measured:
    """A command that finds all that earlier ones kept, but for the statistics of what has not changed since."""
    shutil.rmtree(Path(environment["DNNC_CACHE_DIR"]) / "stats", ignore_errors=True)
    return measure(dnnc(*words), environment)


def build(network: str, folder: Path) -> Path:
    path = folder / f"{network}.onnx"
    builder = [sys.executable, str(Path(__file__).with_name("networks.py"))]
    subprocess.run([*builder, network, "--int8", "-o", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def median(runs: list[Measured]) -> Measured:
    return Measured(
        statistics.median(each.wall for each in runs),
        statistics.median(each.cpu for each in runs),
        max(each.peak_mib for each in runs),
    )


def row(name: str, cold: Measured | None, warm: Measured, note: str) -> None:
    first = f"{cold.wall:8.2f} {cold.cpu:8.2f}" if cold else f"{'-':>8} {'-':>8}"
    print(f"{name:24} {first} {warm.wall:8.2f} {warm.cpu:8.2f} {warm.peak_mib:9.0f}   {note}", flush=True)


def commands_table(network: str, arch: str, repeat: int, work: Path) -> bool:
    """The table of dnnc's own commands; whether all bounds hold."""
    model = build(network, work)
    subprocess.run([sys.executable, "-c", INPUTS, str(model), str(work / "in.npz")], check=True)
    program, on_arch = str(work / "model.dnnx"), [str(model), "--arch", arch]
    commands = {
        "--help": ["--help"],
        "cost": ["cost", *on_arch],
        "compile": ["compile", *on_arch, "-o", program, "--json", str(work / "compile.json")],
        "run": ["run", program, "--inputs", str(work / "in.npz")],
    }
    kept = True
    for name, words in commands.items():
        environment = fresh(work / f"for {name}")
        cold = measure(dnnc(*words), environment)
        warm = median([measure(dnnc(*words), environment) for _ in range(repeat)])
        most_seconds, most_mib = BOUNDS[name]
        holds = warm.wall <= most_seconds and cold.wall <= COLD_SECONDS and (not most_mib or warm.peak_mib <= most_mib)
        kept &= holds
        bound = f"{most_seconds:g} s" + (f", {most_mib:g} MiB" if most_mib else "")
        row(name, cold, warm, f"bound {bound}{'' if holds else ': NOT KEPT'}")
        if name == "cost":
            changed = [measure_changed(words, environment) for _ in range(repeat)]
            row("cost, mappings known", None, median(changed), "no statistics on disk")
            searching = {**environment, "DNNC_CACHE_DIR": "off"}
            warm = median([measure(dnnc(*words), searching) for _ in range(repeat)])
            row("cost, every search anew", None, warm, "nothing on disk")
    total = json.loads((work / "compile.json").read_text())["total"]
    instructions, cycles = total["instructions"], total["cycles"]
    bound = f"bound {MOST_COMMANDS:,} instructions{'' if instructions <= MOST_COMMANDS else ': NOT KEPT'}"
    print(f"{instructions:,} instructions, {cycles:,} cycles, utilization {total['utilization']:.1%}; {bound}")
    return kept and instructions <= MOST_COMMANDS


def peers_table(arch: str, repeat: int, work: Path, vela: str | None, zigzag: str | None) -> None:
    words = dnnc("cost", str(build("resnet18", work)), "--arch", arch)
    environment = fresh(work / "for resnet18")
    cold = measure(words, environment)
    row("dnnc cost", cold, median([measure(words, environment) for _ in range(repeat)]), "mapped and costed")
    searching = {**environment, "DNNC_CACHE_DIR": "off"}
    row(
        "dnnc cost, searches anew",
        None,
        median([measure(words, searching) for _ in range(repeat)]),
        "no mappings on disk",
    )
    measured = set()
    if vela:
        tflite = work / "resnet18.tflite"
        writer = Path(__file__).with_name("speed_tflite.py")
        subprocess.run([str(Path(vela).with_name("python")), str(writer), "-o", str(tflite)], check=True)
        runs = [measure([vela, "--output-dir", str(work / "vela"), str(tflite)]) for _ in range(repeat + 1)]
        row("Vela", runs[0], median(runs[1:]), "compiled for an Ethos-U55-256")
        measured.add("Vela 5.2.0")
    if zigzag:
        row("ZigZag", None, measure([zigzag, "-c", ZIGZAG, str(work / "zigzag")]), "its tpu_like machine; one run")
        measured.add("ZigZag 3.9.1")
    for name, (wall, cpu, mib) in PUBLISHED_PEERS.items():
        if name not in measured:
            seconds = f"{cpu:8.2f}" if cpu else f"{'-':>8}"
            print(f"{name:24} {'-':>8} {'-':>8} {wall:8.2f} {seconds} {mib:9.0f}   measured before, not in this run")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", help="one of benchmarks/networks.py (default: resnet50)")
    parser.add_argument("--arch", default="gemmini16")
    parser.add_argument("--repeat", type=int, default=3, help="warm runs of each command (default: 3)")
    parser.add_argument("--vela", help="the executable of Vela (ethos-u-vela)")
    parser.add_argument("--zigzag", help="a Python interpreter that has zigzag-dse and six")
    arguments = parser.parse_args()
    header = f"{'':24} {'cold s':>8} {'CPU s':>8} {'warm s':>8} {'CPU s':>8} {'peak MiB':>9}"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        load, cores = os.getloadavg()[0], os.cpu_count()
        print(
            f"{arguments.network} int8 at its own size on {arguments.arch}; {cores} cores, load {load:.1f} at the start"
        )
        print(header)
        kept = commands_table(arguments.network, arguments.arch, arguments.repeat, work)
        print("\nAll of ResNet-18\n" + header)
        peers_table(arguments.arch, arguments.repeat, work, arguments.vela, arguments.zigzag)
    return int(not kept and (arguments.network, arguments.arch) == ("resnet50", "gemmini16"))


if __name__ == "__main__":
    sys.exit(main())
