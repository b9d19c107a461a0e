"""Timeloop's statistics, read and compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.ir.diagnostics import CompileError
from dnnc.validate import timeloop
from dnnc.validate.row import Verdict

_STATS = """\
=== shared_glb ===

    SPECS
    -----
        Word bits                   : 16

    STATS
    -----
    Inputs:
        Utilized instances (max)                              : 1
        Scalar reads (per-instance)                           : 1236015

Networks
--------
    Inputs:
        Scalar reads (per-instance)                           : 7

Cycles: 958320
Energy: 5.72e+02 uJ
"""


def test_statistics_are_read_by_level_and_operand() -> None:
    printed = timeloop.read_stats(_STATS, "stats.txt")
    assert printed.cycles == 958320
    assert printed.energy_uj == 572
    assert printed.figures["shared_glb", "Inputs", "Scalar reads (per-instance)"] == "1236015"
    assert printed.figures["shared_glb", "", "Word bits"] == "16"


def test_statistics_without_a_summary_are_refused() -> None:
    with pytest.raises(CompileError, match="no summary"):
        timeloop.read_stats(_STATS.replace("Cycles", "Circles"), "stats.txt")


def test_without_data_the_truth_says_what_it_needs() -> None:
    (row,) = timeloop.rows(None)
    assert row.verdict is Verdict.SKIPPED
    assert timeloop.NEEDS in row.absent


def test_every_mapping_counts_as_timeloop_does() -> None:
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / "ground_truth"
    if not (data / timeloop.NEEDS).is_dir():
        pytest.skip("Timeloop's runs are not beside the checkout")
    rows = list(timeloop.rows(data))
    counts = [row for row in rows if row.theirs == 0]
    assert len(counts) == 45
    assert {row.verdict for row in counts} == {Verdict.EQUAL}
    assert {row.verdict for row in rows if row.unit == "uJ"} == {Verdict.WITHIN}
