"""A rigid systolic array, fold by fold: cycles of dnnc's compute commands beside those of SCALE-Sim.

A fold is what the array takes at once. dnnc's commands (specs/isa.md, section 3) hold the array for T cycles and have
their results out L cycles later; T loads the stationary operand and streams the other. Two conventions are in use:

* overlapped (SCALE-Sim v1): folds follow each other as soon as the array is free: the sum of T;
* alone (v2 and v3): a fold starts when the results of the one before have left: the sum of T + L.

Where definitions differ, the difference is a constant a fold, which is taken off ours (`_counted_less`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..frontend.arch_yaml import load_arch
from ..ir.nest import Dataflow
from .nests import compute_cycles, product_nest, scheduled, with_array
from .published import Figure, figures, table, text
from .row import Explanation, Row

TRUTH = "scalesim"
# Dimensions of a product along rows and columns of the array: p rows of inputs, m columns of weights, k summed.
_ALONG = {Dataflow.WS: ("k", "m"), Dataflow.OS: ("p", "m"), Dataflow.IS: ("k", "p")}
_RIGID = (
    "folds at the edges fill and drain the whole array, as SCALE-Sim's do (dnnc's own take only what they use); "
    "ideal memory; the cycle in which a result passes the edge of the array is not counted, and the last cycle has its "
    "number, counted from 0"
)
_OS = "; results of a fold start to leave while its rows still differ by their skew, which hides as many cycles as rows"
_COVERED = "a fold of dnnc streams at least as long as the stationary operand of the next one takes to load"


def rows(data: Path | None) -> Iterator[Row]:
    """The rows of this truth; it needs no data: what SCALE-Sim says stands in specs/truths/scalesim.yaml."""
    known = figures("scalesim")
    overlapped, _, _ = fold_cycles(Dataflow.WS, 128, 128, 256, 768, 256)
    yield _row("v1, ws 128x128", "cycles of 256x768x256", overlapped, known["v1_folds"], "overlapped folds")
    _, alone, folds = fold_cycles(Dataflow.OS, 4, 4, 4, 4, 4)
    alone -= folds * _counted_less(Dataflow.OS, 4)
    convention = "M, N and K are 4, with which 3.0.0 prints the same 9" + _OS
    yield _row("v2, os 4x4", "last cycle of 4x4x4", alone - 1, known["v2_last_cycle"], convention)
    yield _row("v2, os 4x4, by RTL", "cycles of 4x4x4", alone, known["v2_cycles"], convention)
    yield from _grid()


def _grid() -> Iterator[Row]:
    for each in table("scalesim", "grid"):
        dataflow = Dataflow(each["dataflow"])
        sides = rows_, cols, m, k, n = tuple(int(str(each[key])) for key in ("rows", "cols", "m", "k", "n"))
        theirs = int(str(each["cycles"]))
        _, alone, folds = fold_cycles(dataflow, *sides)
        streamed = {Dataflow.WS: m, Dataflow.OS: k, Dataflow.IS: n}[dataflow]
        # Exactly this much is explained, and a figure that is off by one cycle more is not.
        covered = folds * max(0, rows_ - streamed) / theirs
        yield Row(
            truth=TRUTH,
            case=f"v3, {dataflow.value} {rows_}x{cols}",
            quantity=f"cycles of {m}x{k}x{n}",
            unit="cycles",
            ours=alone - folds * _counted_less(dataflow, rows_) - 1,
            theirs=theirs,
            known="the tool was run",
            assumed=_RIGID + (_OS if dataflow is Dataflow.OS else ""),
            explanation=Explanation(_COVERED, covered) if covered else None,
            source=text("scalesim", "source"),
        )


def fold_cycles(dataflow: Dataflow, rows: int, cols: int, m: int, k: int, n: int) -> tuple[int, int, int]:
    """Cycles of an m x k x n product with overlapped folds, with folds alone, and the number of folds. All folds are
    whole: what lies along the sides of the array is rounded up to them."""
    machine = with_array(load_arch("tpu256"), rows, cols)
    extents = {"p": m, "k": k, "m": n}
    along = dict(zip(_ALONG[dataflow], (rows, cols), strict=True))
    folds = 1
    for dim, side in along.items():
        count = -(-extents[dim] // side)
        extents[dim] = count * side
        folds *= count
    nest = product_nest(extents["p"], extents["k"], extents["m"])
    # Sums are innermost: a loop over k comes after those that the result depends on.
    tiles = sorted(along.items(), key=lambda tile: tile[0] == "k")
    duration, tail = compute_cycles(scheduled(nest, machine, dataflow, tiles), machine)
    return duration, duration + tail, folds


def _counted_less(dataflow: Dataflow, rows: int) -> int:
    """Cycles of a fold that dnnc counts and SCALE-Sim does not: one at the edge of the array and, with stationary
    outputs, the skew of its rows."""
    return 1 + (rows if dataflow is Dataflow.OS else 0)


def _row(case: str, quantity: str, ours: int, published: Figure, assumed: str) -> Row:
    return Row(
        truth=TRUTH,
        case=case,
        quantity=quantity,
        unit="cycles",
        ours=ours,
        theirs=published.value,
        known=published.note,
        assumed=assumed,
        source=published.source,
    )
