"""Every truth runs, its rows are complete, and none of them passes with another figure of theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.validate.published import TRUTHS as FILES
from dnnc.validate.published import figures
from dnnc.validate.row import Relation, Row, Verdict
from dnnc.validate.truths import TRUTHS, Truth

DATA = Path(__file__).parents[3] / "shared" / "data" / "ground_truth"


def _named(truths: tuple[Truth, ...]) -> list[object]:
    return [pytest.param(each, id=each.name) for each in truths]


@pytest.mark.parametrize("truth", _named(TRUTHS))
def test_rows_are_complete_and_another_figure_of_theirs_is_outside(truth: Truth) -> None:
    """Both of the same rows: some take long to make."""
    rows = tuple(truth.rows(DATA if DATA.is_dir() else None))
    assert rows
    for row in rows:
        assert row.truth == truth.name
        assert row.case and row.quantity and row.unit and row.source and row.known, row
        assert row.verdict is not Verdict.OUTSIDE, row
        assert (row.verdict is Verdict.SKIPPED) == (row.absent != ""), row
        if row.ours is not None:
            assert _with_another_figure(row).verdict is Verdict.OUTSIDE, row
    labels = [(row.case, row.quantity) for row in rows]
    assert len(set(labels)) == len(labels)


def _with_another_figure(row: Row) -> Row:
    assert row.ours is not None
    away = 20 * (abs(row.ours) + row.allowed + (row.explanation.covers if row.explanation else 0)) or 1
    return replace(row, theirs=row.ours - away if row.relation is Relation.AT_MOST else row.ours + away)


@pytest.mark.parametrize("truth", _named(tuple(each for each in TRUTHS if each.needs)))
def test_absent_data_are_said(truth: Truth, tmp_path: Path) -> None:
    for data in (None, tmp_path):
        skipped = next(row for row in truth.rows(data) if row.verdict is Verdict.SKIPPED)
        assert truth.needs in skipped.absent


@pytest.mark.parametrize("file", sorted(path.stem for path in FILES.glob("*.yaml")))
def test_every_published_figure_has_a_source_and_is_used(file: str) -> None:
    """A figure that no truth names is of no use, and a name that is not there would have raised KeyError."""
    code = "".join(path.read_text() for path in (Path(__file__).parents[2] / "validate").glob("*.py"))
    for name, figure in figures(file).items():
        assert len(figure.source) > 10
        assert figure.unit
        assert f'"{name}"' in code, f"{file}: {name}"
