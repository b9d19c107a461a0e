"""Two witnesses: what the closed form counts of a mapping on a hierarchy is what a walk of every step counts.

    python benchmarks/levels_equal_walk.py                    20,000 random cases, on all cores
    python benchmarks/levels_equal_walk.py --cases 1000 --seed 7 --machine eyeriss_like
    python benchmarks/levels_equal_walk.py --uneven           every tile begins at a place of its own

A case is a random workload (convolutions with stride, dilation and padding, plain, grouped and depthwise; products of
matrices; poolings; axes of any kind), a random machine (stores that are passed by, fan-outs that share or do not) and a
random loop tree (ragged pieces, several dimensions along an axis); `--machine` puts the workloads on one machine.
Every figure of backends/cost/levels/counts.py must be that of runtime/level_walker.py, in turn under dnnc's own
convention and under Timeloop's; under dnnc's own, words, busy times and bits over links must be those that
runtime/level_figures.py makes of the walk. What differs is printed with the seed that repeats it. Exit status 1 if
something differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from dnnc.backends.cost.levels.accesses import NATIVE, TIMELOOP
from dnnc.frontend.arch_text import bundled_hierarchies, hierarchy_source
from dnnc.frontend.hierarchy_yaml import parse_hierarchy
from dnnc.ir.diagnostics import CompileError, Diagnostic
from dnnc.ir.hierarchy import Hierarchy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.level_witnesses import differences
from support.random_levels import random_case, uneven_case

BATCH = 100  # cases that a process takes at a time


def run(first: int, count: int, machine: Hierarchy | None, uneven: bool) -> list[str]:
    """What differs in the cases of `count` seeds from `first` on."""
    return [
        f"seed {seed}: {each}"
        for seed in range(first, first + count)
        for each in differences((uneven_case if uneven else random_case)(seed, machine), (NATIVE, TIMELOOP)[seed % 2])
    ]


def named(machine: str) -> Hierarchy:
    """The bundled machine of that name. Raises CompileError."""
    found = hierarchy_source(machine)
    if found is None:
        raise CompileError(Diagnostic(f"no machine {machine!r}", help=f"one of {', '.join(bundled_hierarchies())}"))
    return parse_hierarchy(*found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000, help="how many (20,000)")
    parser.add_argument("--seed", type=int, default=0, help="the first case's seed (0)")
    parser.add_argument("--machine", help="a bundled machine with levels inside the array (else random ones)")
    parser.add_argument("--uneven", action="store_true", help="every tile begins at a place of its own")
    options = parser.parse_args()
    machine = named(options.machine) if options.machine else None
    start = time.monotonic()
    firsts = range(options.seed, options.seed + options.cases, BATCH)
    counts = [min(BATCH, options.seed + options.cases - first) for first in firsts]
    different = 0
    with ProcessPoolExecutor() as pool:
        for found in pool.map(run, firsts, counts, [machine] * len(counts), [options.uneven] * len(counts)):
            different += len({each.split(":")[0] for each in found})
            for each in found:
                print(each, flush=True)
    print(f"{options.cases} cases, {different} different, {time.monotonic() - start:.0f} s")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
