"""All 72,700 rows of DOSA's data set: Timeloop's cycles and energies beside ours (validate/dosa.py).

    python benchmarks/dosa.py [--data DIR] [--every N] [--jobs N]

Ends with status 1 where fewer than 99 % of the rows lie within 1 %.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from dnnc.validate import dosa
from dnnc.validate.row import Verdict

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "ground_truth"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_SHARED, help="the folder with large data sets")
    parser.add_argument("--every", type=int, default=1, help="compare every N-th row of each machine (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    arguments = parser.parse_args()
    machines = dosa.by_machine(dosa.read(arguments.data / dosa.NEEDS))
    compared: list[dosa.Compared] = []
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        tasks = [pool.submit(dosa.compare_machine, rows, arguments.every) for rows in machines]
        for number, task in enumerate(tasks, 1):
            compared += task.result()
            print(f"\rmachine {number} of {len(tasks)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    found = list(dosa.summary(compared, f"every {arguments.every}th row" if arguments.every > 1 else "all rows"))
    for row in found:
        print(f"{row.case}: {row.quantity}: {row.ours:.5f} ({row.verdict})")
    for name in ("cycles", "energy"):
        errors = sorted(abs(error) for each in compared if (error := getattr(each, name)) is not None)
        print(f"{name}: largest error {errors[-1]:.3g}, of 99 % at most {errors[len(errors) * 99 // 100]:.3g}")
    return int(any(row.verdict is Verdict.OUTSIDE for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
