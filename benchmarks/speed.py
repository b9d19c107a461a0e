"""How long the command line takes on a large network: `python benchmarks/speed.py [--network N] [--arch A]`.

Each command is a process of its own, as a user starts it: compile, cost, run (function and time). The first run with an
empty compilation cache is told beside the median of the others. Memory is the peak of the process (resident).
Exits with 1 where a bound of the project's first issue does not hold for ResNet-50 on gemmini16.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

# Seconds and MiB, warm, for ResNet-50 int8 at 224x224 on gemmini16; a cold first run may take 30 s.
BOUNDS = {"compile": (10.0, None), "cost": (1.0, 500.0), "run": (10.0, 2048.0)}
COLD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One process: wall-clock seconds and peak resident memory."""

    seconds: float
    peak_mib: float


def measure(words: list[str], environment: dict[str, str]) -> Measured:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "dnnc.cli.main", *words], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"dnnc {' '.join(words)} ended with {process.returncode}")
    return Measured(time.perf_counter() - start, usage.ru_maxrss / 1024)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", help="one of benchmarks/networks.py (default: resnet50)")
    parser.add_argument("--arch", default="gemmini16")
    parser.add_argument("--repeat", type=int, default=3, help="warm runs of each command (default: 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        builder = [sys.executable, str(Path(__file__).with_name("networks.py"))]
        subprocess.run([*builder, arguments.network, "--int8", "-o", str(work / "model.onnx")], check=True)
        graph = onnx.load(str(work / "model.onnx")).graph
        shape = [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim]
        np.savez(work / "in.npz", input=np.random.default_rng(1).standard_normal(shape).astype(np.float32))
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(work / "numba")}
        on_arch = [str(work / "model.onnx"), "--arch", arguments.arch]
        commands = {
            "compile": ["compile", *on_arch, "-o", str(work / "model.dnnx")],
            "cost": ["cost", *on_arch],
            "run": ["run", str(work / "model.dnnx"), "--inputs", str(work / "in.npz")],
        }
        print(f"{arguments.network} int8 on {arguments.arch}")
        print(f"{'command':8} {'cold s':>8} {'warm s':>8} {'peak MiB':>9}   bound")
        kept = True
        for name, words in commands.items():
            cold = measure(words, environment)
            warm = [measure(words, environment) for _ in range(arguments.repeat)]
            seconds = statistics.median(each.seconds for each in warm)
            peak = max(each.peak_mib for each in warm)
            most_seconds, most_mib = BOUNDS[name]
            holds = seconds <= most_seconds and cold.seconds <= COLD_SECONDS and (most_mib is None or peak <= most_mib)
            kept &= holds
            bound = f"{most_seconds:g} s" + (f", {most_mib:g} MiB" if most_mib else "")
            print(f"{name:8} {cold.seconds:8.2f} {seconds:8.2f} {peak:9.0f}   {bound}{'' if holds else '  NOT KEPT'}")
    return int(not kept and (arguments.network, arguments.arch) == ("resnet50", "gemmini16"))


if __name__ == "__main__":
    sys.exit(main())
