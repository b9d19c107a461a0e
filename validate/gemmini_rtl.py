"""Cycles of Gemmini's RTL, run by run: ours for the mapping of each row, beside FireSim's and Timeloop's.

Constants of the model that its sources leave open are calibrated on every second row (specs/truths/gemmini_rtl.yaml);
the rows between judge them. Runs of the tiles of the software's own choice are predicted with the same constants, and
one for the time of its search.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from ..backends.cost.gemmini_layer import (
    DIMS,
    MOST_TILES,
    Constants,
    ConvLayer,
    Factor,
    TiledLoops,
    loops_of_gemmini,
    loops_of_mapping,
)
from ..backends.cost.gemmini_loop import LoopCycles, loop_cycles
from ..ir.diagnostics import CompileError, Diagnostic, Span, ensure
from ..ir.frozen import dataclass
from ..passes.gemmini_tiling import Conv, conv_search, matmul_tile
from .data import read_table
from .published import table, text
from .row import Explanation, Relation, Row, skipped

TRUTH = "gemmini_rtl"
NEEDS = "gemmini/firesim_rtl.csv"
SOURCE = "ucb-bar/dosa: Gemmini's RTL on FireSim, 16x16, weight stationary (DOSA, MICRO 2023)"
# The same mapping of the same layer took up to 1.31 times the cycles in another program of the data: lines 42 and 79,
# 33 and 107.
SPREAD = 0.31

_LAYER = ("prob.R", "prob.S", "prob.P", "prob.Q", "prob.C", "prob.K", "prob.N", "prob.Wstride")
_CYCLES = ("target.gemmini_cycle", "target.gemmini_auto_cycle", "target.cycle")
_MAPPING = "mapping.mapping"
_LEVELS = ("L3[WIO]", "L2[WI]", "L1[O]", "L0[W]")
_FACTOR = re.compile(r"([A-Z])([1-9][0-9]{0,5})(X?)")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?")
_LONGEST_MAPPING = 400
_MOST_FAULTS = 20
_MOST_ROWS = 2000
_LARGEST_EXTENT = 1 << 13  # of a dimension: the software's own choice of tiles takes a step for each
_MOST_TILES = 1 << 24  # in all rows


@dataclass(frozen=True, slots=True)
class Run:
    """One row: a layer, the loops that ran and those of Gemmini's own tiles, with the cycles of each; what Timeloop
    predicts for the former; and how many tiles Gemmini's software looked at in the time of the latter."""

    line: int
    layer: ConvLayer
    mapping: str
    loops: TiledLoops
    own_loops: TiledLoops
    looked_at: int
    cycles: float
    own_cycles: float
    timeloop_cycles: float

    @property
    def case(self) -> str:
        each = self.layer
        if each.is_product:
            return f"line {self.line}: {each.p} x {each.c} by {each.c} x {each.k}"
        stride = f"/{each.stride}" if each.stride > 1 else ""
        return f"line {self.line}: {each.r}x{each.s}{stride} {each.c} to {each.k}, {each.p}x{each.q}"


def constants() -> Constants:
    """Those of specs/truths/gemmini_rtl.yaml."""
    values = {str(row["name"]): row["value"] for row in table("gemmini_rtl", "constants")}
    ensure(set(values) == {each.name for each in fields(Constants)}, "gemmini_rtl.yaml has other constants")
    return Constants(**{name: float(str(value)) for name, value in values.items()})


def looked_at_cycles() -> float:
    """Cycles of the software's search for each tile that it looks at."""
    return float(str(table("gemmini_rtl", "search")[0]["value"]))


def looked_at_range() -> tuple[float, float]:
    """Its plausible range."""
    row = table("gemmini_rtl", "search")[0]
    return float(str(row["low"])), float(str(row["high"]))


def ranges() -> dict[str, tuple[float, float]]:
    """The plausible range of each constant."""
    rows = table("gemmini_rtl", "constants")
    return {str(row["name"]): (float(str(row["low"])), float(str(row["high"]))) for row in rows}


def read(path: Path) -> list[Run]:
    """The rows of a table of this form. Raises CompileError with every fault and its line."""
    faults: list[Diagnostic] = []
    runs = []
    tiles = 0
    records = read_table(path, (*_LAYER, *_CYCLES, _MAPPING), _LAYER, _LARGEST_EXTENT)
    if len(records) > _MOST_ROWS:
        message = f"the table has {len(records)} rows; at most {_MOST_ROWS} are compared"
        raise CompileError(Diagnostic(message, Span(str(path), records[_MOST_ROWS].line, 1), "cut it into several"))
    for record in records:
        at = Span(str(path), record.line, 1)
        numbers, cells, mapping = record.cells[: len(_LAYER)], record.cells[len(_LAYER) : -1], record.cells[-1]
        found = [*_cycle_faults(cells, at), *_mapping_faults(mapping, at)]
        if not found:
            run = _run(record.line, [int(each) for each in numbers], [float(each) for each in cells], mapping)
            tiles += sum(_tiles(run).values())
            found = list(_run_faults(run, tiles, at))
            runs.append(run)
        faults += found
        if len(faults) >= _MOST_FAULTS:
            break
    if faults:
        raise CompileError(faults)
    if not runs:
        raise CompileError(Diagnostic("the table has no rows", Span(str(path), 1, 1)))
    return runs


def _cycle_faults(cells: Sequence[str], at: Span) -> Iterator[Diagnostic]:
    for name, cell in zip(_CYCLES, cells, strict=True):
        if not _NUMBER.fullmatch(cell) or float(cell) == 0:
            yield Diagnostic(f"{name!r} must be a number of cycles, found {cell[:40]!r}", at, "such as 566626.0")


def _mapping_faults(mapping: str, at: Span) -> Iterator[Diagnostic]:
    example = "such as L3[WIO] K48 - L2[WI] N1 K16X - L1[O] C48 P16 C16X - L0[W] P8"
    parts = [part.split() for part in mapping[:_LONGEST_MAPPING].split(" - ")]
    names = [part[0] if part else "" for part in parts]
    if len(mapping) > _LONGEST_MAPPING or tuple(names) != _LEVELS:
        yield Diagnostic(f"a mapping has the levels {', '.join(_LEVELS)}, found {mapping[:60]!r}", at, example)
        return
    for name, *factors in parts:
        for factor in factors:
            match = _FACTOR.fullmatch(factor)
            if match is None or match[1] not in DIMS or int(match[2]) > _LARGEST_EXTENT:
                message = f"{name} has the factor {factor!r}; it must be one of {', '.join(DIMS)} and a count"
                yield Diagnostic(message, at, f"at most {_LARGEST_EXTENT}, spatial ones with an X, {example}")


def _tiles(run: Run) -> dict[str, int]:
    named = {"the mapping": run.loops, "Gemmini's own tiling": run.own_loops}
    return {what: math.prod(loops.trips(run.layer).values()) for what, loops in named.items()}


def _run_faults(run: Run, tiles_so_far: int, at: Span) -> Iterator[Diagnostic]:
    for what, tiles in _tiles(run).items():
        if tiles > MOST_TILES:
            yield Diagnostic(f"{what} has {tiles} tiles; at most {MOST_TILES} are counted", at, "larger tiles")
    if tiles_so_far > _MOST_TILES:
        message = f"the rows to here have {tiles_so_far} tiles; at most {_MOST_TILES} are counted"
        yield Diagnostic(message, at, "larger tiles, or fewer rows")
    if run.layer.r != run.layer.s or (run.layer.p != run.layer.q and not run.layer.is_product):
        yield Diagnostic("Gemmini's loops take square images and kernels", at, "the same R and S, the same P and Q")


def _run(line: int, numbers: Sequence[int], cycles: Sequence[float], mapping: str) -> Run:
    layer = ConvLayer(*numbers)
    levels = [
        [
            Factor(match[1], int(match[2]), match[3] == "X")
            for match in map(_FACTOR.fullmatch, part.split()[1:])
            if match
        ]
        for part in mapping.split(" - ")
    ]
    return Run(line, layer, mapping, loops_of_mapping(layer, levels), *own_loops(layer), *cycles)


def own_loops(layer: ConvLayer) -> tuple[TiledLoops, int]:
    """The loops of the tiles that Gemmini's software chooses, and how many it looks at; of products few, which do not
    count."""
    if layer.is_product:
        blocks = matmul_tile(layer.p, layer.k, layer.c)
        return loops_of_gemmini(layer, dict(zip("PKC", (16 * each for each in blocks), strict=True))), 0
    found = conv_search(Conv(layer.n, layer.extents()["P"], layer.k, layer.r, layer.c, layer.stride))
    return loops_of_gemmini(layer, found.tile), found.looked_at


def predict(runs: Sequence[Run], with_constants: Constants) -> list[LoopCycles]:
    """Our cycles of each row's mapping: it ran just after the same layer in Gemmini's own tiles."""
    return [loop_cycles(each.layer, each.loops, with_constants, warm=True) for each in runs]


def predict_own(runs: Sequence[Run], with_constants: Constants, looked_at_cycles: float) -> list[float]:
    """Our cycles of Gemmini's own tiles, with the search for them. They ran first, but in arrays of the layers before,
    which the caches hold in part: taken as wholly."""
    return [
        loop_cycles(each.layer, each.own_loops, with_constants, warm=True).total + looked_at_cycles * each.looked_at
        for each in runs
    ]


def mean_absolute_error(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Relative to theirs."""
    return float(np.mean(np.abs(np.array(ours) / np.array(theirs) - 1)))


def spearman(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Rank correlation: that of the ranks, equal figures sharing the mean of theirs. NaN where all are equal."""
    x, y = (_ranks(np.array(each)) for each in (ours, theirs))
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / spread if spread else math.nan


def _ranks(figures: np.ndarray) -> np.ndarray:
    """Less their mean."""
    _, places, counts = np.unique(figures, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    centred: np.ndarray = ranks - ranks.mean()
    return centred


def rows(data: Path | None) -> Iterator[Row]:
    """Errors and rank correlation of both halves, then each run."""
    path = data / NEEDS if data else None
    if path is None or not path.is_file():
        yield skipped(TRUTH, "111 runs", f"{NEEDS} below --data", SOURCE)
        return
    runs, model = read(path), constants()
    ours = predict(runs, model)
    for start, half in ((0, "calibrated rows"), (1, "other rows")):
        yield from _summary(half, runs[start::2], [each.total for each in ours[start::2]])
    for run, cycles in zip(runs, ours, strict=True):
        yield _row(run, cycles)


def _summary(half: str, runs: Sequence[Run], ours: Sequence[float]) -> Iterator[Row]:
    if len(runs) < 2:
        return
    measured, timeloop = ([getattr(each, name) for each in runs] for name in ("cycles", "timeloop_cycles"))
    count = len(table("gemmini_rtl", "constants"))
    error = Row(
        truth=TRUTH,
        case=half,
        quantity="mean absolute error",
        unit="%",
        ours=100 * mean_absolute_error(ours, measured),
        theirs=100 * mean_absolute_error(timeloop, measured),
        relation=Relation.AT_MOST,
        known="theirs is Timeloop's, for the same mappings, against the same cycles of RTL",
        assumed=f"{count} constants calibrated on {text('gemmini_rtl', 'calibrated_on')}",
        source=SOURCE,
    )
    yield error
    yield replace(
        error,
        quantity="Spearman",
        unit="-",
        ours=spearman(ours, measured),
        theirs=spearman(timeloop, measured),
        relation=Relation.AT_LEAST,
    )


def _row(run: Run, ours: LoopCycles) -> Row:
    loads_most = ours.load > max(ours.compute, ours.store)
    placed = "it waits for loads, whose requests depend on where the linker placed the arrays, which is not known"
    return Row(
        truth=TRUTH,
        case=run.case,
        quantity="cycles",
        unit="cycles",
        ours=round(ours.total),
        theirs=round(run.cycles),
        allowed=SPREAD,
        explanation=Explanation(placed, 0.6) if loads_most else None,
        known="layer, mapping, RTL; how it was run is public",
        assumed=f"the spread of {SPREAD:.0%} among runs of one mapping is the reference's own",
        source=SOURCE,
    )
