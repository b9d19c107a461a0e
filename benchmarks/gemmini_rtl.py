"""The cycle model of Gemmini's loops beside cycles of its RTL, and how its constants were found.

    python benchmarks/gemmini_rtl.py [TABLE]                 errors of both halves, and of Gemmini's own tiles
    python benchmarks/gemmini_rtl.py --rows                  ours and theirs, row by row, worst first
    python benchmarks/gemmini_rtl.py --calibrate             constants from the even rows, judged on the odd ones
    python benchmarks/gemmini_rtl.py --calibrate --halves 5  besides from five random halves, each judged on the rest

TABLE is ../shared/data/ground_truth/gemmini/firesim_rtl.csv, or another of its form. The calibration is a pattern
search from the middle of the plausible ranges of specs/truths/gemmini_rtl.yaml: it moves one constant at a time by a
quarter of its range as long as the mean absolute error falls, then by an eighth, and so on to 1/64. Exits with 1 where
the error of the odd rows is above 10 % or their rank correlation below 0.98.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from dnnc.backends.cost.gemmini_layer import Constants
from dnnc.validate.gemmini_rtl import (
    Run,
    constants,
    looked_at_cycles,
    looked_at_range,
    mean_absolute_error,
    predict,
    predict_own,
    ranges,
    read,
    spearman,
)

TABLE = Path(__file__).parents[2] / "shared" / "data" / "ground_truth" / "gemmini" / "firesim_rtl.csv"
LARGEST_ERROR, LEAST_SPEARMAN = 0.10, 0.98
STEPS = (1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)


def error_of(runs: Sequence[Run], model: Constants) -> float:
    return mean_absolute_error([each.total for each in predict(runs, model)], [each.cycles for each in runs])


def spearman_of(runs: Sequence[Run], model: Constants) -> float:
    return spearman([each.total for each in predict(runs, model)], [each.cycles for each in runs])


def calibrated(runs: Sequence[Run]) -> Constants:
    """The constants with the least mean absolute error that the pattern search finds on these rows."""
    bounds = ranges()
    best = Constants(**{name: (low + high) / 2 for name, (low, high) in bounds.items()})
    least = error_of(runs, best)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for name, (low, high) in bounds.items():
                for sign in (1, -1):
                    value = min(high, max(low, getattr(best, name) + sign * step * (high - low)))
                    other = replace(best, **{name: value})
                    found = error_of(runs, other)
                    if found < least - 1e-9:
                        best, least, moved = other, found, True
                        break
    return best


def own_error(runs: Sequence[Run], model: Constants, search: float) -> float:
    return mean_absolute_error(predict_own(runs, model, search), [each.own_cycles for each in runs])


def searched(runs: Sequence[Run], model: Constants) -> float:
    """Cycles of the software's search for each tile: the best multiple of ten of its plausible range."""
    low, high = looked_at_range()
    return min(range(int(low), int(high) + 1, 10), key=lambda each: own_error(runs, model, each))


def shown(model: Constants) -> str:
    return ", ".join(f"{each.name} {getattr(model, each.name):.4g}" for each in fields(model))


def judge(name: str, model: Constants, fitted: Sequence[Run], others: Sequence[Run]) -> tuple[float, float]:
    """Prints one line; the error and the rank correlation of the rows that were not used."""
    error, rank = error_of(others, model), spearman_of(others, model)
    print(
        f"{name:24} used: {error_of(fitted, model):7.2%} {spearman_of(fitted, model):.4f}   "
        f"others: {error:7.2%} {rank:.4f}"
    )
    return error, rank


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", type=Path, default=TABLE)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--halves", type=int, default=0, metavar="N")
    chosen = parser.parse_args(arguments)
    runs = read(chosen.table)
    even, odd = runs[::2], runs[1::2]
    model = constants()
    if chosen.calibrate:
        model = calibrated(even)
    print("mean absolute error and Spearman; the constants:", shown(model))
    error, rank = judge("even rows", model, even, odd)
    for seed in range(chosen.halves):
        order = random.Random(seed).sample(runs, len(runs))
        half, rest = order[: len(runs) // 2], order[len(runs) // 2 :]
        found = calibrated(half) if chosen.calibrate else model
        judge(f"random half {seed}", found, half, rest)
        print("   ", asdict(found))
    timeloop = [each.timeloop_cycles for each in odd]
    measured = [each.cycles for each in odd]
    print(f"Timeloop                                          others: {mean_absolute_error(timeloop, measured):7.2%} "
          f"{spearman(timeloop, measured):.4f}")  # fmt: skip
    search = searched(even, model) if chosen.calibrate else looked_at_cycles()
    errors = [own_error(half, model, search) for half in (even, odd)]
    rank_of_own = spearman(predict_own(odd, model, search), [each.own_cycles for each in odd])
    print(f"Gemmini's own tiles       used: {errors[0]:7.2%}          others: {errors[1]:7.2%} {rank_of_own:.4f}   "
          f"({search:g} cycles for each that its search looks at)")  # fmt: skip
    if chosen.rows:
        found_cycles = zip(runs, predict(runs, model), strict=True)
        for run, ours in sorted(found_cycles, key=lambda each: -abs(each[1].total / each[0].cycles - 1)):
            busy = f"load {ours.load:.3g}, compute {ours.compute:.3g}, store {ours.store:.3g} in {ours.tiles} tiles"
            print(f"{ours.total / run.cycles - 1:+7.1%} {round(ours.total):>10} {round(run.cycles):>10}  "
                  f"{run.case}; {busy}; {run.mapping}")  # fmt: skip
    return int(error > LARGEST_ERROR or rank < LEAST_SPEARMAN)


if __name__ == "__main__":
    sys.exit(main())
