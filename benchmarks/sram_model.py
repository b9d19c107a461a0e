"""How far the model of static memories (specs/energy.md) is from runs of CACTI 7 that it has not seen.

    python benchmarks/sram_model.py [--worst N]

Leave-one-out: each inner point of the table is computed from the others of its curve (by capacity) or of its capacity
(by width). Held out: runs at sizes that are no points, beside the model as it is. Ports: the fit of exponents, anew.
Banks: what pricing several banks as one leaves out. The runs are benchmarks/cacti_runs.csv, made as those of
specs/components/sram.yaml.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from dnnc.frontend.components_memory import port_factor, sram
from dnnc.frontend.components_tables import SRAM_FIGURES, SramCurve, built_in

RUNS = Path(__file__).parent / "cacti_runs.csv"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of CACTI; `leakage_mw` is that of all banks."""

    technology_nm: int
    capacity_bytes: int
    width_bits: int
    ports: int
    banks: int
    read_pj: float
    write_pj: float
    leakage_mw: float
    area_um2: float

    def single(self) -> dict[str, float]:
        """What the model says of the same memory with one port and one bank."""
        price = sram(8 * self.capacity_bytes, self.width_bits, technology_nm=self.technology_nm)
        return {name: getattr(price, name) for name in SRAM_FIGURES}

    def __str__(self) -> str:
        ports = f", {self.ports} ports, {self.banks} banks"
        return f"{self.capacity_bytes} B x {self.width_bits} bits, {self.technology_nm} nm{ports}"


@dataclass(frozen=True, slots=True)
class Error:
    """A relative error: model / CACTI - 1."""

    figure: str
    value: float
    place: str


def runs() -> list[Run]:
    rows = csv.DictReader(RUNS.read_text(encoding="utf-8").splitlines())
    whole = ("technology_nm", "capacity_bytes", "width_bits", "ports", "banks")
    return [Run(*(int(row[key]) for key in whole), *(float(row[key]) for key in SRAM_FIGURES)) for row in rows]


def left_out_by_capacity(curves: Sequence[SramCurve]) -> Iterator[Error]:
    """The point between two neighbours of a curve; capacities double, so that it is their geometric mean."""
    for curve in curves:
        for name in SRAM_FIGURES:
            points = getattr(curve, name)
            for number, (low, high) in enumerate(zip(points, points[2:], strict=False), start=1):
                place = f"{curve.capacity_bytes[number]} B x {curve.width_bits} bits, {curve.technology_nm} nm"
                yield Error(name, math.sqrt(low * high) / points[number] - 1, place)


def left_out_by_width(curves: Sequence[SramCurve]) -> Iterator[Error]:
    """The point between half and twice the width."""
    known = {
        (curve.technology_nm, curve.width_bits, capacity, name): value
        for curve in curves
        for name in SRAM_FIGURES
        for capacity, value in zip(curve.capacity_bytes, getattr(curve, name), strict=True)
    }
    for (nm, width, capacity, name), value in known.items():
        low, high = (known.get((nm, other, capacity, name)) for other in (width // 2, 2 * width))
        if low is not None and high is not None:
            yield Error(name, math.sqrt(low * high) / value - 1, f"{capacity} B x {width} bits, {nm} nm")


def beside_model(given: Sequence[Run], factor: Callable[[Run, str], float] = lambda run, name: 1.0) -> Iterator[Error]:
    for run in given:
        for name, value in run.single().items():
            yield Error(name, value * factor(run, name) / getattr(run, name) - 1, str(run))


def port_exponents(given: Sequence[Run], figure: str) -> tuple[float, float]:
    """Least squares of log(figure / figure with one port) over log(ports) and log(ports) x doublings from 16 KiB."""
    ports = np.array([math.log(run.ports) for run in given])
    doublings = np.array([math.log2(run.capacity_bytes / 16384) for run in given])
    ratios = np.array([math.log(getattr(run, figure) / run.single()[figure]) for run in given])
    at, growth = np.linalg.lstsq(np.stack([ports, ports * doublings], axis=1), ratios, rcond=None)[0]
    return float(at), float(growth)


def falls(curves: Sequence[SramCurve]) -> tuple[int, int, float]:
    """Reads of a twice as wide word that cost less: how many, of how many, and the least ratio."""
    ratios = []
    for narrow, wide in pairwise(curves):
        if narrow.technology_nm == wide.technology_nm:
            reads = dict(zip(wide.capacity_bytes, wide.read_pj, strict=True))
            pairs = zip(narrow.capacity_bytes, narrow.read_pj, strict=True)
            ratios += [reads[capacity] / pj for capacity, pj in pairs if capacity in reads]
    return sum(ratio < 1 for ratio in ratios), len(ratios), min(ratios)


def report(title: str, errors: Sequence[Error], worst: int) -> None:
    print(title)
    for name in SRAM_FIGURES:
        of = sorted((error for error in errors if error.figure == name), key=lambda error: abs(error.value))
        sizes = [abs(error.value) for error in of]
        mean, median, tenth = sum(sizes) / len(sizes), sizes[len(sizes) // 2], sizes[len(sizes) * 9 // 10]
        bias = sum(error.value for error in of) / len(of)
        print(
            f"  {name:<11}{len(of):>5} points  mean {mean:6.1%}  median {median:6.1%}  nine tenths {tenth:6.1%}  "
            f"largest {sizes[-1]:6.1%}  bias {bias:+6.1%}"
        )
        for error in of[: -worst - 1 : -1]:
            print(f"    {error.value:+7.1%} {error.place}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="name the N worst points of each figure")
    worst = parser.parse_args().worst
    table = built_in().sram
    curves = [curve for nm in table.technologies() for curve in table.curves(nm)]
    given = runs()
    single = [run for run in given if run.ports == run.banks == 1]
    ported = [run for run in given if run.ports > 1 and run.banks == 1]
    banked = [run for run in given if run.banks > 1 and run.ports == 1]
    large = [run for run in banked if run.capacity_bytes // run.banks >= 8192]
    report("left out by capacity", list(left_out_by_capacity(curves)), worst)
    report("left out by width", list(left_out_by_width(curves)), worst)
    report("held out: sizes that are no points", list(beside_model(single)), worst)
    fits = {name: port_exponents(ported, name) for name in SRAM_FIGURES}
    found = ", ".join(f"{name} {at:.3f} {growth:+.3f}" for name, (at, growth) in fits.items())
    report(
        f"2 and 4 ports, exponents {found}",
        list(beside_model(ported, lambda run, name: port_factor(table, name, run.ports, 8 * run.capacity_bytes))),
        worst,
    )
    report("2 to 32 banks of 8 KiB or more, priced as one", list(beside_model(large)), worst)
    report("2 to 32 banks of 512 B or more, priced as one", list(beside_model(banked)), worst)
    count, of, least = falls(curves)
    print(
        f"reads of twice the width that cost less by CACTI's own figures: {count} of {of}, at least {least:.2f} times"
    )


if __name__ == "__main__":
    main()
