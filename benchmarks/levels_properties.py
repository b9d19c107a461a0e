"""What must hold of optimal mappings on machines with levels inside the array, on many random problems.

    python benchmarks/levels_properties.py                       200 problems of up to 48 points, 50 of up to 300
    python benchmarks/levels_properties.py --problems 1000 --seed 7 --larger 0

More capacity, bandwidth, rows or columns at the same price an action are never worse; at least what each operand has
passes main memory; no more multipliers work than there are; counts are whole numbers; other names change nothing. Each
for energy, latency and their product. What does not hold is printed with the seed that repeats it. Exit status 1 then.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.levels_properties import problem, violations

_LIMIT_S = 20.0  # of one search


def run(task: tuple[int, int]) -> list[str]:
    """What does not hold of the problem that a seed names."""
    seed, points = task
    return [f"seed {seed} ({points} points): {each}" for each in violations(*problem(seed, points), _LIMIT_S)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200, help="of up to 48 points (200)")
    parser.add_argument("--larger", type=int, default=50, help="of up to 300 points (50)")
    parser.add_argument("--seed", type=int, default=0, help="the first one's seed (0)")
    options = parser.parse_args()
    tasks = [(options.seed + number, 48) for number in range(options.problems)]
    tasks += [(options.seed + number, 300) for number in range(options.larger)]
    start, wrong = time.monotonic(), 0
    with ProcessPoolExecutor() as pool:
        for found in pool.map(run, tasks):
            wrong += bool(found)
            for each in found:
                print(each, flush=True)
    print(f"{len(tasks)} problems, {wrong} with a violation, {time.monotonic() - start:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
