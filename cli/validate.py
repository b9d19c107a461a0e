"""`dnnc validate`: published truths rerun, ours beside theirs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..driver.json_text import json_text
from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from .report import print_table, progress, words_beside

if TYPE_CHECKING:
    from ..validate.row import Row
    from ..validate.truths import Truth

SCHEMA = "dnnc.validate/1"
COLUMNS = ("row", "case", "quantity", "unit", "ours", "theirs", "error", "allowed", "verdict", "source")
_EXAMPLES = """\
examples:
  dnnc validate                                  every truth that needs no large data set, in one table
  dnnc validate scalesim tpuv1                   some of them
  dnnc validate --list                           what there is, and which data it needs
  dnnc validate --data ground_truth --json v.json

An error is ours / theirs - 1, or the difference in the row's unit where it has no per cent sign. What is allowed is
what the reference itself allows: its rounding, or its own error. Exit status 1: a row lies outside that, unexplained.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("truth", nargs="*", metavar="TRUTH", help="names from --list (default: all)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder with large data sets")
    parser.add_argument("--json", metavar="F", help="the rows in the schema dnnc.validate/1; - is standard output")
    parser.add_argument("--list", action="store_true", help="the truths, and the data that they need")


def run(arguments: argparse.Namespace) -> int:
    from ..validate.row import Verdict
    from ..validate.truths import TRUTHS
    from .files import refuse_outputs, write_files

    if arguments.list:
        print_table(
            ["truth", "what", "data below --data"], [[each.name, each.summary, each.needs or "-"] for each in TRUTHS]
        )
        return 0
    chosen = _chosen(arguments.truth, TRUTHS)
    data: Path | None = arguments.data
    if data is not None and not data.is_dir():
        raise CompileError(Diagnostic("there is no such folder", Span(str(data)), "leave --data out to do without"))
    refuse_outputs([arguments.json], arguments)
    found: list[Row] = []
    with words_beside(arguments.json):
        for number, truth in enumerate(chosen):
            with progress(f"{truth.name}: {truth.summary}"):
                rows = list(truth.rows(data))
            if number:
                print()
            _print_truth(truth, rows)
            found += rows
        counts = Counter(row.verdict for row in found)
        print(f"\n{len(found)} rows: " + ", ".join(f"{counts[each]} {each}" for each in Verdict))
    if arguments.json:
        write_files([(arguments.json, _document(found))])
    return int(counts[Verdict.OUTSIDE] > 0)


def _chosen(names: Sequence[str], truths: Sequence[Truth]) -> list[Truth]:
    known = {each.name: each for each in truths}
    if faults := [
        Diagnostic(f"there is no truth {name!r}", help=closest(name, known)) for name in names if name not in known
    ]:
        raise CompileError(faults)
    return [each for each in truths if not names or each.name in names]


def _print_truth(truth: Truth, rows: Sequence[Row]) -> None:
    """The table of one truth; below it what was known, assumed, explained and absent, by the numbers of the rows."""
    print_table(
        COLUMNS, [[number, *_cells(row)] for number, row in enumerate(rows, 1)], f"{truth.name}: {truth.summary}"
    )
    notes: dict[str, list[int]] = {}
    for number, row in enumerate(rows, 1):
        said = {"known": row.known, "assumed": row.assumed, "absent": row.absent}
        if row.verdict == "outside, explained" and row.explanation is not None:
            said["explained"] = row.explanation.reason
        for kind, text in said.items():
            if text and text != "-":
                notes.setdefault(f"{kind}: {text}", []).append(number)
    for note, numbers in notes.items():
        print(f"  {'all' if len(numbers) == len(rows) else _ranges(numbers)}: {note}")


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as people write them: 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _cells(row: Row) -> list[object]:
    error = row.error
    relation = "" if row.relation == "=" else f"{row.relation} "
    return [
        row.case,
        row.quantity,
        row.unit,
        row.ours if row.ours is None else _number(row.ours),
        row.theirs if row.theirs is None else relation + _number(row.theirs),
        error if error is None else _amount(row, error, signed=True),
        "-" if error is None else _allowed(row),
        str(row.verdict),
        row.source,
    ]


def _allowed(row: Row) -> str:
    """What the reference allows; where that is exceeded with a reason, how far the reason reaches as well."""
    text = _amount(row, row.allowed)
    explained = row.verdict == "outside, explained" and row.explanation is not None
    return f"{text}, explained {_amount(row, row.explanation.covers)}" if explained and row.explanation else text


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _amount(row: Row, error: float, signed: bool = False) -> str:
    """An error as its measure says; 0 is exact."""
    if error == 0:
        return "0"
    sign = "+" if signed and error > 0 else ""
    return f"{sign}{error * 100:.3g} %" if row.measure == "relative" else f"{sign}{error:.3g}"


def _document(rows: Sequence[Row]) -> bytes:
    document = {"schema": SCHEMA, "rows": [_as_json(row) for row in rows]}
    return f"{json_text(document)}\n".encode()


def _as_json(row: Row) -> dict[str, Any]:
    error = row.error
    explained = row.explanation
    return {
        "truth": row.truth,
        "case": row.case,
        "quantity": row.quantity,
        "unit": row.unit,
        "ours": row.ours,
        "theirs": row.theirs,
        "relation": row.relation.value,
        "measure": row.measure.value,
        # JSON has no infinity: an error relative to 0
        "error": None if error is None or error in (float("inf"), float("-inf")) else error,
        "allowed": row.allowed,
        "verdict": row.verdict.value,
        "known": row.known,
        "assumed": row.assumed,
        "explanation": None if explained is None else {"reason": explained.reason, "covers": explained.covers},
        "absent": row.absent,
        "source": row.source,
    }
