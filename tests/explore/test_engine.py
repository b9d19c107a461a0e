"""The search: fronts against a list of all points; the same whatever ends first, after kills, and on known points."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from dnnc.driver.decisions import Options
from dnnc.explore.algorithm_settings import Settings
from dnnc.explore.engine import Progress
from dnnc.explore.front import front, spread
from dnnc.explore.store import DROPPED, EVALUATED, FILE, Known, Row, RunRow, Store
from dnnc.explore.study import Objective, Score, Study
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.expressions import parse_expression
from hypothesis import given
from hypothesis import strategies as st
from support.exploration import Backwards, of, searched, square

NSGA = Settings("nsga2", population=8, offspring=8, generations=6, seed=5)
GUIDED = replace(NSGA, start="sensitivity", evaluations=33)
SETTINGS = [
    Settings(),
    Settings("random", evaluations=30, seed=3),
    NSGA,
    replace(NSGA, evaluations=21),
    replace(NSGA, candidates=4, evaluations=26),
    GUIDED,
]


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=30), st.integers(0, 29))
def test_the_front_is_what_nothing_dominates(values: list[tuple[int, ...]], infeasible: int) -> None:
    scores = {n: Score(tuple(map(float, each)), float(n == infeasible)) for n, each in enumerate(values)}

    def dominates(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    feasible = [n for n in scores if n != infeasible]
    wanted = [n for n in feasible if not any(dominates(values[m], values[n]) for m in feasible)]
    assert sorted(front(scores)) == wanted


def test_survivors_are_spread_over_the_front() -> None:
    assert spread(list(range(10)), None) == list(range(10))
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread(list(range(10)), 1) == [0]
    assert spread([1, 2], 4) == [1, 2]


def test_exhaustively(tmp_path: Path) -> None:
    study = square(constraints=("x + 2 * y >= 5", "near <= 40"), broken=(1, 7))
    outcome = searched(study, tmp_path)
    points = {(x, y): (x * x + y, 2 * ((9 - x) ** 2 + y) + (x * x + y) / 100) for x, y in product(range(10), repeat=2)}
    legal = {p: v for p, v in points.items() if p[0] + 2 * p[1] >= 5 and p not in ((9, 9), (1, 7))}
    feasible = {p: v for p, v in legal.items() if p[0] ** 2 + p[1] <= 40}
    wanted = {
        p for p, v in feasible.items() if not any(w != v and w[0] <= v[0] and w[1] <= v[1] for w in feasible.values())
    }
    assert {(row.point["x"], row.point["y"]) for row in outcome.front} == wanted
    assert {(row.point["x"], row.point["y"]) for row in outcome.rows} == set(legal)
    assert outcome.evaluated == len(legal) + 1
    reasons = [each.reason for each in outcome.dropped]
    assert reasons.count("constraint: x + 2 * y >= 5") == 100 - len(legal) - 2
    assert reasons.count("no candidate 9 by 9") == 1
    assert reasons.count("no mapping of 1 by 7") == 1


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: f"{each.name}-{each.start}-{each.evaluations}")
def test_what_ends_first_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    study = square(settings, broken=(3, 3))
    first = searched(study, tmp_path / "a")
    second = searched(study, tmp_path / "b", Backwards(study))
    assert of(first) == of(second)
    assert [row.genome for row in first.rows] == [row.genome for row in second.rows]
    if settings.evaluations:
        assert first.evaluated == settings.evaluations


def begun(study: Study) -> Study:
    """With a point that its problem begins with: without one nothing is moved from it."""
    return replace(study, problems=(replace(study.problems[0], initial=({"x": 0, "y": 0},)),))  # type: ignore[type-var]


class Killed(Exception):
    pass


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: f"{each.name}-{each.start}-{each.evaluations}")
def test_a_search_goes_on_where_it_was_stopped(settings: Settings, tmp_path: Path) -> None:
    study = begun(square(settings, constraints=("x != 4",), broken=(3, 3)))
    whole = searched(study, tmp_path / "whole")
    asked: list[int] = []
    outcome = None
    while outcome is None:

        def stop(progress: Progress) -> None:
            if progress.known == len(asked) * 4:
                raise Killed

        asked.append(0)
        try:
            outcome = searched(study, tmp_path / "parts", resume=True, report=stop)
        except Killed:
            continue
    assert of(outcome) == of(whole)
    assert [replace(row, seconds=0.0) for row in outcome.rows] == [replace(row, seconds=0.0) for row in whole.rows]
    assert len(asked) > 3
    with sqlite3.connect(tmp_path / "parts" / FILE) as file:  # a genome has one row: nothing was evaluated twice
        ((count, evaluated),) = file.execute("select count(*), sum(origin = '' and seconds > 0) from points")
    file.close()
    assert count == len(whole.rows) + len(whole.dropped)
    assert evaluated == whole.evaluated


def test_a_second_start_without_resume_is_refused(tmp_path: Path) -> None:
    searched(square(), tmp_path)
    with pytest.raises(CompileError, match="--resume"):
        searched(square(), tmp_path)
    again = searched(square(), tmp_path, resume=True)
    assert (again.evaluated, again.stored) == (0, 99)


def test_another_study_does_not_go_on(tmp_path: Path) -> None:
    searched(square(), tmp_path)
    with pytest.raises(CompileError, match="keys of the study file changed"):
        searched(square(constraints=("x < 3",)), tmp_path, resume=True)
    other = replace(square(broken=(1, 1)), content=square().content)
    with pytest.raises(CompileError, match="the model, the machine, the options or dnnc changed"):
        searched(other, tmp_path, resume=True)


def test_other_options_do_not_go_on(tmp_path: Path) -> None:
    """What a file says that `options` name stands in no text of the study's own."""
    searched(square(), tmp_path)
    other = replace(square(), base=replace(square().base, options=Options(batch_size=2)))
    assert other.content == square().content
    with pytest.raises(CompileError, match="the model, the machine, the options or dnnc changed"):
        searched(other, tmp_path, resume=True)


def test_a_point_of_another_candidate_is_not_taken(tmp_path: Path) -> None:
    searched(square(most=1), tmp_path)
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("update points set key = 'another' where genome = '[0, 1]'")
    file.close()
    with pytest.raises(CompileError, match=r'the point {"x": 0, "y": 1} is stored with figures of another candidate'):
        searched(square(most=1), tmp_path, resume=True)


def test_two_processes_are_not_at_one_study(tmp_path: Path) -> None:
    study = square()
    with Store(tmp_path, study, resume=False), pytest.raises(CompileError, match="another process"):
        Store(tmp_path, study, resume=True)


def test_points_of_other_studies_are_taken(tmp_path: Path) -> None:
    searched(square(constraints=("x <= 5",)), tmp_path / "first")
    study = replace(square(constraints=("x >= 3",)), reuse=(str(tmp_path / "first"),))
    outcome = searched(study, tmp_path / "second")
    assert (outcome.reused, outcome.evaluated) == (30, 39)
    assert {row.origin for row in outcome.rows if row.point["x"] in (3, 4, 5)} == {str(tmp_path / "first")}
    assert of(outcome) == of(searched(replace(study, reuse=()), tmp_path / "third"))
    other = replace(square(constraints=("x >= 3",), broken=(0, 0)), reuse=(str(tmp_path / "first"),))
    assert searched(other, tmp_path / "fourth").reused == 0  # its figures are decided by something else


def test_a_store_that_is_none_cannot_be_reused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("no database")
    with pytest.raises(CompileError, match="the store cannot be used"):
        Known((str(tmp_path),))
    with pytest.raises(CompileError, match="the store cannot be used"):
        Store(tmp_path, square(), resume=True)


@pytest.mark.parametrize(
    "figures",
    [
        "nonsense",
        "[1]",
        '{"near": "x"}',
        '{"near": true}',
        '{"near": Infinity}',
        '{"near": NaN}',
        '{"near": 1%s}' % ("0" * 400),
        "[" * 100_000,
    ],
)
def test_a_store_with_other_things_in_it(figures: str, tmp_path: Path) -> None:
    searched(square(most=1), tmp_path / "a")
    with sqlite3.connect(tmp_path / "a" / FILE) as file:
        file.execute("update points set figures = ? where genome = '[0, 1]'", (figures,))
    file.close()
    with pytest.raises(CompileError, match="the store cannot be used"):
        searched(square(most=1), tmp_path / "a", resume=True)
    with pytest.raises(CompileError, match="the store cannot be used"):
        searched(replace(square(most=1), reuse=(str(tmp_path / "a"),)), tmp_path / "b")


@pytest.mark.parametrize(
    "damage",
    [
        "update points set genome = '{}' where genome = '[0, 1]'",
        "update points set genome = '[[0], 1]' where genome = '[0, 1]'",
        "update points set point = '[0, 1]'",
        "update points set status = 'weird' where genome = '[0, 1]'",
        "update points set figures = '{}' where genome = '[0, 1]'",
        "update runs set run = '[]'",
        "update runs set differences = '1'",
        "delete from machines",
    ],
)
def test_a_damaged_store_is_told(damage: str, tmp_path: Path) -> None:
    study = square(most=1)
    outcome = searched(study, tmp_path)
    with Store(tmp_path, study, resume=True) as store:
        store.add_run(RunRow(outcome.rows[0].genome, ("layers",), {"near": 1}, {"near": None}, "inputs", 1.0))
        assert store.runs()[outcome.rows[0].genome].run == {"near": None}
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute(damage)
    file.close()
    with Store(tmp_path, study, resume=True) as store, pytest.raises(CompileError, match="the store cannot be used"):
        _read(store, outcome.rows[0].machine)


@pytest.mark.parametrize(
    "made",
    [
        "create view more as with recursive n(x) as (select 1 union all select x + 1 from n) select * from n",
        "create virtual table more using fts5(text)",
        "create trigger more after insert on points begin delete from parts; end",
    ],
)
def test_a_store_with_more_than_tables_is_told(made: str, tmp_path: Path) -> None:
    searched(square(most=1), tmp_path / "a")
    with sqlite3.connect(tmp_path / "a" / FILE) as file:
        file.execute(made)
    file.close()
    with pytest.raises(CompileError, match="which no study makes"):
        searched(square(most=1), tmp_path / "a", resume=True)
    with pytest.raises(CompileError, match="which no study makes"):
        searched(replace(square(most=1), reuse=(str(tmp_path / "a"),)), tmp_path / "b")


def test_a_database_of_something_else_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("create table t (x)")
    file.close()
    with pytest.raises(CompileError, match="it has tables of something else: t"):
        searched(square(most=1), tmp_path, resume=True)


def test_an_interrupt_while_a_point_is_written_keeps_it_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = square(most=1)
    candidate = study.candidate({"x": 0, "y": 0})
    row = Row((0, 0), {"x": 0, "y": 0}, EVALUATED, "", {"near": 0}, candidate.arch.digest, 0.1, "", "key")
    dropped = replace(row, genome=(0, 1), status=DROPPED, reason="constraint", figures={}, key="")

    def interrupted(store: Store, parts: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "_insert_parts", interrupted)
    with Store(tmp_path, study, resume=False) as store:
        store.note(dropped)
        with pytest.raises(KeyboardInterrupt):
            store.add(row, candidate, {})
    with Store(tmp_path, study, resume=True) as store:
        assert [each.genome for each in store.rows()] == [(0, 1)]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    study = square(most=1)
    with Store(tmp_path, study, resume=False) as store:
        store._file.execute("pragma max_page_count = 1")
        with pytest.raises(CompileError, match="points cannot be stored: database or disk is full"):
            store.add_parts({str(number): {"near": number} for number in range(10_000)})
        assert store.rows() == []


def _read(store: Store, machine: str) -> None:
    store.rows()
    store.runs()
    store.machine_text(machine)


def test_a_row_says_what_reproduces_it(tmp_path: Path) -> None:
    study = square(most=1)
    searched(study, tmp_path)
    with sqlite3.connect(tmp_path / FILE) as file:
        file.row_factory = sqlite3.Row
        row = file.execute("select * from points where genome = '[0, 1]'").fetchone()
        (text,) = file.execute("select text from machines where digest = ?", (row["machine"],)).fetchone()
    file.close()
    assert json.loads(row["point"]) == {"x": 0, "y": 1}
    assert json.loads(row["options"]) == {"shapes": {"point": [0, 1]}}
    assert json.loads(row["figures"]) == {"near": 1, "far": 2}
    assert set(json.loads(row["versions"])) >= {"dnnc", "numpy", "pymoo"}
    assert text == study.base.arch.text


def test_a_fault_of_ours_ends_the_study_and_keeps_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        searched(square(faulty=True), tmp_path)
    outcome = searched(square(), tmp_path, resume=True)
    assert (outcome.stored, outcome.evaluated) == (21, 78)
    assert of(outcome) == of(searched(square(), tmp_path / "undisturbed"))


def test_a_figure_that_is_not_known_breaks_what_names_it(tmp_path: Path) -> None:
    study = replace(square(most=3), constraints=(parse_expression("near / (x - 1) >= 0"),))
    outcome = searched(study, tmp_path)  # it divides by zero where x is 1
    assert {row.point["x"] for row in outcome.rows} == {0, 1, 2, 3}
    assert all(row.point["x"] != 1 for row in outcome.front)
    assert all(outcome.scores[row.genome].violation == float("inf") for row in outcome.rows if row.point["x"] == 1)


@pytest.mark.parametrize("figure", [float("inf"), -float("inf"), float("nan")])
def test_a_figure_that_is_no_finite_number_is_not_known(figure: float, tmp_path: Path) -> None:
    study = square(Settings("nsga2", population=6, generations=3, candidates=4), most=4, odd=((1, 1), figure))
    study = replace(study, predefined=((1, 1), (0, 0), (2, 2)))
    outcome = searched(study, tmp_path)
    row = next(row for row in outcome.rows if row.genome == (1, 1))
    assert row.figures == {"near": 2, "far": None}
    assert row not in outcome.front
    assert all(np.isfinite(outcome.scores[each.genome].objectives).all() for each in outcome.front)
    assert of(searched(study, tmp_path, resume=True)) == of(outcome)


def test_an_objective_without_a_finite_value_is_none() -> None:
    study = replace(square(), objectives=(Objective(parse_expression("far * 10 ^ 64"), False),))
    assert study.score({"x": 1, "y": 1}, {"near": 1, "far": 1e300}).violation == float("inf")
    assert study.score({"x": 1, "y": 1}, {"near": 1, "far": float("nan")}).violation == float("inf")


def test_what_cannot_be_opened_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="pillow is missing"):
        searched(square(closed=True), tmp_path)
    assert searched(square(), tmp_path, resume=True).evaluated == 99  # no point was dropped for it


def test_what_took_too_long_is_asked_again(tmp_path: Path) -> None:
    study = square(slow=(1, 1), quick=str(tmp_path / "quick"))
    first = searched(study, tmp_path / "out")
    assert [each.reason for each in first.dropped if each.genome == (1, 1)] == ["1 by 1 did not end"]
    (tmp_path / "quick").touch()
    again = searched(study, tmp_path / "out", resume=True)
    assert (again.evaluated, again.stored) == (1, 98)
    assert of(again) == of(searched(square(), tmp_path / "undisturbed"))


def test_a_guided_search_keeps_to_its_evaluations(tmp_path: Path) -> None:
    for most in (1, 3, 5, 6, 20):
        outcome = searched(begun(square(replace(GUIDED, evaluations=most))), tmp_path / str(most))
        assert outcome.evaluated == most


def test_a_guided_search_goes_on_where_its_reference_is_refused(tmp_path: Path) -> None:
    study = begun(square(GUIDED, constraints=("x >= 1", "y >= 1")))
    outcome = searched(study, tmp_path)
    assert outcome.evaluated == 33
    assert outcome.front
