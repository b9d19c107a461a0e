"""The surrogate's choice: what a brute force over its own prediction would choose, and nothing that is worse."""

from __future__ import annotations

import numpy as np
from dnnc.explore.study import Score
from dnnc.explore.surrogate import Surrogate
from dnnc.explore.variables import Genome, Space, Variable

SPACE = Space((Variable("x", tuple(range(11)), True), Variable("y", tuple(range(11)), True)))
KNOWN: list[Genome] = [(x, y) for x in range(0, 11, 2) for y in range(0, 11, 2)]
NEW: list[Genome] = [(x, y) for x in range(1, 11, 2) for y in range(1, 11, 2)]


def bowl(genome: Genome, least: int = 5) -> Score:
    """Two objectives that pull along x; away from y = `least` both grow."""
    x, y = genome
    away = (y - least) ** 2
    return Score((1.0 + x + away, 11.0 - x + away), 0.0)


def taught(score: object = bowl) -> Surrogate:
    surrogate = Surrogate(SPACE)
    surrogate.learn(KNOWN, [score(each) for each in KNOWN])  # type: ignore[operator]
    return surrogate


def test_it_chooses_the_front_that_no_one_has_seen() -> None:
    chosen = [NEW[place] for place in taught().chosen(NEW, 5)]
    assert sorted(chosen) == [(x, 5) for x in range(1, 11, 2)]


def test_all_are_chosen_where_no_more_are_there_or_nothing_is_known() -> None:
    assert taught().chosen(NEW[:3], 5) == [0, 1, 2]
    assert Surrogate(SPACE).chosen(NEW, 2) == [0, 1]


def test_what_breaks_a_constraint_comes_last() -> None:
    """Only x <= 4 holds; the front beyond it is better in one objective."""
    chosen = taught(lambda each: Score(bowl(each).objectives, max(0.0, each[0] - 4.0))).chosen(NEW, 4)
    assert {NEW[place] for place in chosen[:2]} == {(1, 5), (3, 5)}
    assert all(NEW[place][0] <= 5 for place in chosen)


def test_points_without_figures_teach_nothing() -> None:
    surrogate = taught()
    before = surrogate.chosen(NEW, 5)
    surrogate.learn([(5, 6)], [Score((0.0, 0.0), float("inf"))])
    assert surrogate.chosen(NEW, 5) == before


def test_each_is_chosen_once_and_as_many_as_wanted() -> None:
    generator = np.random.default_rng(3)
    surrogate = Surrogate(Space((*SPACE.variables, Variable("kind", ("a", "b", "c"), False))))
    every = [(x, y, kind) for x, y in KNOWN for kind in range(3)]
    surrogate.learn(every, [Score(tuple(generator.normal(size=2)), 0.0) for _ in every])
    new = [(x, y, kind) for x, y in NEW for kind in range(3)]
    for count in (1, 7, 30, len(new) - 1):
        assert len(set(surrogate.chosen(new, count))) == count
