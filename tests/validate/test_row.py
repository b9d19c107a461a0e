"""What a row says of two figures: its error, and whether that is allowed, explained or neither."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from dnnc.validate.row import Explanation, Measure, Relation, Row, Verdict, skipped

ROW = Row(
    truth="t",
    case="c",
    quantity="cycles",
    unit="cycles",
    ours=110,
    theirs=100,
    source="a table",
    known="all of it",
    allowed=0.1,
)


@pytest.mark.parametrize(
    ("ours", "theirs", "measure", "error"),
    [
        (110, 100, Measure.RELATIVE, 0.1),
        (90, 100, Measure.RELATIVE, -0.1),
        (-110, -100, Measure.RELATIVE, -0.1),
        (110, 100, Measure.DIFFERENCE, 10),
        (0, 0, Measure.RELATIVE, 0),
        (1, 0, Measure.RELATIVE, math.inf),
        (None, None, Measure.RELATIVE, None),
    ],
)
def test_errors(ours: float | None, theirs: float | None, measure: Measure, error: float | None) -> None:
    assert replace(ROW, ours=ours, theirs=theirs, measure=measure).error == pytest.approx(error)


@pytest.mark.parametrize(
    ("ours", "relation", "verdict"),
    [
        (100, Relation.AS, Verdict.EQUAL),
        (110, Relation.AS, Verdict.WITHIN),
        (90, Relation.AS, Verdict.WITHIN),
        (111, Relation.AS, Verdict.OUTSIDE),
        (89, Relation.AS, Verdict.OUTSIDE),
        (1000, Relation.AT_LEAST, Verdict.WITHIN),
        (89, Relation.AT_LEAST, Verdict.OUTSIDE),
        (1, Relation.AT_MOST, Verdict.WITHIN),
        (111, Relation.AT_MOST, Verdict.OUTSIDE),
    ],
)
def test_verdicts(ours: float, relation: Relation, verdict: Verdict) -> None:
    assert replace(ROW, ours=ours, relation=relation).verdict is verdict


def test_an_explanation_holds_up_to_the_error_that_it_covers() -> None:
    explained = replace(ROW, explanation=Explanation("they count the drain twice", 0.25))
    assert replace(explained, ours=105).verdict is Verdict.WITHIN
    assert replace(explained, ours=125).verdict is Verdict.EXPLAINED
    assert replace(explained, ours=126).verdict is Verdict.OUTSIDE


def test_a_row_without_data_is_skipped_and_says_so() -> None:
    row = skipped("t", "c", "cycles.csv below --data", "a table")
    assert row.verdict is Verdict.SKIPPED
    assert row.error is None
    assert row.absent == "cycles.csv below --data"
