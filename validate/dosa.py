"""Timeloop's cycles and energies of 72,700 mappings on 95 machines, beside ours under Timeloop's definitions.

The machines are Gemmini-like: main memory, a scratchpad (inputs, weights), columns with accumulators (outputs), rows
with a weight register. Timeloop's energies per access are not in the data set: for each machine they are solved for
from 40 of its rows, and the others are judged.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..backends.cost.levels.accesses import TIMELOOP
from ..backends.cost.levels.cost import LevelCost, cost
from ..ir.affine import Affine
from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from ..ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Packing, Store
from ..ir.loop_tree import Keep, LoopNode, LoopTree, Operand, OperandAxis, Spatial, Temporal, Workload
from ..ir.nest import Role
from .row import Relation, Row, skipped

TRUTH = "dosa"
NEEDS = "timeloop/dosa_dataset.csv.tar.gz"
SOURCE = "ucb-bar/dosa, data set of Timeloop runs (DOSA, MICRO 2023, doi 10.1145/3613424.3623797)"
EVERY = 100  # of the rows are compared by `dnnc validate`; benchmarks/dosa.py takes all
WITHIN = 0.01

_LARGEST_BYTES = 1 << 28
_DIMS = "NCKPQRS"
_FITTED = 40  # rows of each machine from which its prices are solved
_LEVEL = re.compile(r"L([0-3])\[\w+\]((?: [A-Z]\d+X?)*)")
_I, _W, _O = OPERAND_ROLES
# From the innermost: the store with what it keeps, and the fan-out just inside of it with the axis of its loops.
_LEVELS = (
    (Keep("registers", (_W,)), None),
    (Keep("accumulator", (_O,)), ("rows", "rows")),
    (Keep("scratchpad", (_I, _W)), ("columns", "cols")),
    (Keep("dram", OPERAND_ROLES), None),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A row of the data set: relative errors of cycles and, where it was not fitted to, of energy."""

    cycles: float
    energy: float | None


def rows(data: Path | None) -> Iterator[Row]:
    """Shares of rows within 1 %, over every `EVERY`-th row of each machine."""
    if data is None or not (data / NEEDS).exists():
        yield skipped(TRUTH, "95 machines", f"{NEEDS} below --data", SOURCE)
        return
    yield from summary(compare(read(data / NEEDS), EVERY), f"every {EVERY}th row")


def summary(compared: Sequence[Compared], case: str) -> Iterator[Row]:
    """What `compared` says, in two rows."""
    energies = [each.energy for each in compared if each.energy is not None]
    for name, errors in (("cycles", [each.cycles for each in compared]), ("energy", energies)):
        solved = "prices of each machine, solved for from rows that are not compared" if name == "energy" else ""
        yield Row(
            truth=TRUTH,
            case=f"{case} ({len(errors)})",
            quantity=f"share of {name} within 1 %",
            unit="-",
            ours=sum(abs(error) <= WITHIN for error in errors) / len(errors),
            theirs=1.0,
            known="machine, layer, mapping, cycles and energy of each row",
            assumed=solved,
            allowed=0.01,
            relation=Relation.AT_LEAST,
            source=SOURCE,
        )


def read(path: Path) -> list[Mapping[str, str]]:
    """The rows of the data set, out of its archive. Raises CompileError where it is not one."""
    place = Span(str(path), 1, 1)
    try:
        with tarfile.open(path, "r:gz") as archive:
            member = next((each for each in archive if each.name.endswith(".csv") and each.isfile()), None)
            stream = archive.extractfile(member) if member is not None and member.size <= _LARGEST_BYTES else None
            if stream is None:
                raise CompileError(Diagnostic("the archive has no .csv file of a usable size", place))
            return list(csv.DictReader(io.TextIOWrapper(stream, "utf-8")))
    except (tarfile.TarError, OSError, UnicodeDecodeError) as error:
        raise CompileError(Diagnostic(f"the data set cannot be read: {error}", place)) from None


def compare(found: Sequence[Mapping[str, str]], every: int) -> list[Compared]:
    """Errors of every `every`-th row of each machine."""
    return [each for rows in by_machine(found) for each in compare_machine(rows, every)]


def by_machine(found: Sequence[Mapping[str, str]]) -> list[list[Mapping[str, str]]]:
    """The rows of each machine."""
    machines: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in found:
        machines.setdefault(tuple(row[key] for key in row if key.startswith("arch.")), []).append(row)
    return list(machines.values())


def compare_machine(found: Sequence[Mapping[str, str]], every: int) -> list[Compared]:
    """Errors of every `every`-th row of one machine. With `every` 1 the rows that prices are solved from are compared
    for their cycles alone."""
    judged = list(range(0, len(found), every))
    fitted = _spread([number for number in range(len(found)) if every == 1 or number % every], _FITTED)
    costs = {number: _cost(found[number]) for number in sorted({*judged, *fitted})}
    prices = _unit_energies(
        np.array([_actions(costs[number]) for number in fitted], float),
        np.array([_picojoules(found[number]) for number in fitted]),
    )
    compared = []
    for number in judged:
        ours, row = costs[number], found[number]
        energy_pj = float(np.array(_actions(ours), float) @ prices)
        energy = None if number in fitted else energy_pj / _picojoules(row) - 1
        compared.append(Compared(ours.cycles.total / float(row["target.cycle"]) - 1, energy))
    return compared


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    """`most` of `numbers`, at equal distances."""
    step = max(1, len(numbers) // most)
    return list(numbers[::step][:most])


def _picojoules(row: Mapping[str, str]) -> float:
    return float(row["target.energy"]) * 1e6


def _unit_energies(actions: NDArray[np.float64], energy_pj: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative prices that explain the rows best, relative to each row's energy, outliers counting little."""
    relative = actions / energy_pj[:, None]
    weights = np.ones(len(energy_pj))
    prices = np.zeros(actions.shape[1])
    for _ in range(6):  # iteratively reweighted: an absolute-error fit
        prices = _non_negative(relative * weights[:, None], weights)
        weights = 1 / np.sqrt(1e-4 + np.abs(relative @ prices - 1))
    return prices


def _non_negative(factors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares without negative coefficients: those that come out most negative are left out, one by one."""
    prices = np.zeros(factors.shape[1])
    used = list(range(factors.shape[1]))
    while used:
        scale = np.abs(factors[:, used]).max(axis=0)
        solved = np.linalg.lstsq(factors[:, used] / np.where(scale, scale, 1), target, rcond=1e-10)[0]
        if (solved >= 0).all():
            prices[used] = solved / np.where(scale, scale, 1)
            break
        del used[int(np.argmin(solved))]
    return prices


def _cost(row: Mapping[str, str]) -> LevelCost:
    workload = _workload(row)
    return cost(workload, _machine(row), _tree(row, workload), TIMELOOP)


def _actions(found: LevelCost) -> list[int]:
    stores = ("registers", "accumulator", "scratchpad")
    moved = [found.actions.get((store, action), 0) for store in stores for action in ("read_word", "write_word")]
    dram = sum(found.actions.get(("dram", action), 0) for action in ("read_word", "write_word"))
    return [found.counts.points, *moved, dram]


def _machine(row: Mapping[str, str]) -> Hierarchy:
    def figure(key: str) -> int:
        return int(float(row[f"arch.{key}"]))

    cols = figure("meshX")
    return Hierarchy(
        name="dosa",
        clock_hz=10**9,
        levels=(
            # Accesses of main memory are blocks of 64 words, of which 8 pass in a cycle.
            Store("dram", OPERAND_ROLES, 512, shared_words_per_cycle=1 / 8),
            Store("scratchpad", (_I, _W), 8, figure("mem2_entries"), packing=Packing.NONE,
                  shared_words_per_cycle=figure("mem2_shared_bandwidth")),
            FanOut("columns", 1, cols),
            Store("accumulator", (_O,), 32, figure("mem1_entries"), packing=Packing.NONE,
                  shared_words_per_cycle=figure("mem1_shared_bandwidth")),
            FanOut("rows", figure("pe") // cols, 1),
            Store("registers", (_W,), 8, 1, packing=Packing.NONE),
        ),
        bits=tuple((role, 8) for role in OPERAND_ROLES),
    )  # fmt: skip


def _workload(row: Mapping[str, str]) -> Workload:
    extents = {dim: int(row[f"prob.{dim}"]) for dim in _DIMS}
    strides = {key: int(row[f"prob.{key}"]) for key in ("Wstride", "Hstride", "Wdilation", "Hdilation")}

    def axis(**terms: int) -> OperandAxis:
        return OperandAxis(Affine.of(terms), 1 + sum(c * (extents[dim] - 1) for dim, c in terms.items()), dense=True)

    height = axis(P=strides["Wstride"], R=strides["Wdilation"])
    width = axis(Q=strides["Hstride"], S=strides["Hdilation"])
    return Workload(
        "layer",
        tuple(extents.items()),
        (
            Operand(Role.INPUT, (axis(N=1), axis(C=1), height, width), 8),
            Operand(Role.WEIGHT, (axis(C=1), axis(K=1), axis(R=1), axis(S=1)), 8),
            Operand(Role.OUTPUT, (axis(N=1), axis(K=1), axis(P=1), axis(Q=1)), 8),
        ),
    )


def _tree(row: Mapping[str, str], workload: Workload) -> LoopTree:
    """`L3[WIO] P28 K8 - L2[WI] K4X - ...`: loops of each level from the outermost, spatial ones with an X."""
    loops = {int(level): words.split() for level, words in _LEVEL.findall(row["mapping.mapping"])}
    sizes = dict.fromkeys(workload.extents, 1)
    nodes: list[LoopNode] = []
    for level, (keep, fanout) in enumerate(_LEVELS):
        for spatial in (True, False):
            for word in reversed(loops.get(level, [])):
                if word.endswith("X") is not spatial:
                    continue
                dim, factor = word[0], int(word[1:].rstrip("X"))
                if factor > 1:
                    size = sizes[dim]
                    nodes.append(Spatial(dim, size, *fanout) if spatial and fanout else Temporal(dim, size))
                    sizes[dim] *= factor
        nodes.append(keep)
    return LoopTree(tuple(reversed(nodes)))
