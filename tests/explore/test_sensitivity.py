"""The start of a search that is guided by what each variable does alone."""

from __future__ import annotations

from pathlib import Path

from dnnc.explore.algorithms import algorithm_of
from dnnc.explore.sensitivity import individuals, moves
from dnnc.explore.study import Score
from support.exploration import of, searched
from support.judged import PRECISION, SPARSITY, judged


def test_moves() -> None:
    assert moves((0, 5), [0, 1], [21, 6]) == {
        0: ((2, 5), (7, 5), (20, 5)),
        1: ((0, 4), (0, 3), (0, 0)),
    }
    assert moves((0, 0), [0, 1], [2, 1]) == {0: ((1, 0), (1, 0), (1, 0))}


def test_what_costs_least_is_moved_first() -> None:
    moved = moves((0, 0, 0), [0, 1, 2], [9, 9, 9])
    known = {(0, 0, 0): Score((0.0, 10.0), 0.0)}
    losses = (5.0, 1.0, 3.0)
    for place, genomes in moved.items():
        for genome in genomes:
            known[genome] = Score((losses[place], 9.0), 0.0)
    assert individuals((0, 0, 0), moved, known, 9) == [
        (0, 1, 0), (0, 1, 1), (1, 1, 1),
        (0, 3, 0), (0, 3, 3), (3, 3, 3),
        (0, 8, 0), (0, 8, 8), (8, 8, 8),
    ]  # fmt: skip
    known[0, 1, 0] = Score((0.0, 0.0), float("inf"))  # what cannot be evaluated is moved last
    assert individuals((0, 0, 0), moved, known, 9)[:3] == [(0, 0, 1), (1, 0, 1), (1, 1, 1)]


def test_variables_are_measured_alone_once(tmp_path: Path) -> None:
    for number, text in enumerate((SPARSITY, PRECISION)):
        study = judged(tmp_path, text.replace("generations: 2", "generations: 2, start: sensitivity"))
        asked = algorithm_of(study, lambda genome: True).ask()
        reference = asked[0]
        begins = study.problems[-1].initial[0]
        assert study.space.point(reference) == begins
        different = [sum(a != b for a, b in zip(each, reference, strict=True)) for each in asked[1:]]
        assert set(different) == {1}
        assert {
            next(n for n, (a, b) in enumerate(zip(each, reference, strict=True)) if a != b) for each in asked[1:]
        } == set(range(len(reference)))
        outcome = searched(study, tmp_path / f"out{number}")
        assert {row.genome for row in outcome.rows} >= set(asked)
        assert of(searched(study, tmp_path / f"again{number}")) == of(outcome)
