"""NSGA-II: the same questions for one seed, each once; individuals to begin with; ends; and that it finds fronts."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from dnnc.explore import draws
from dnnc.explore.algorithm_settings import Settings
from dnnc.explore.algorithms import algorithm_of
from dnnc.explore.draws import Admits, drawn
from dnnc.explore.study import Study
from dnnc.explore.variables import Genome
from support.exploration import Square, Sums, of, searched, square

NSGA = Settings("nsga2", population=10, offspring=6, generations=5, seed=1)


def questions(study: Study, admits: Admits = lambda each: True) -> list[list[Genome]]:
    """What is asked, generation by generation."""
    algorithm = algorithm_of(study, admits)
    found = []
    figures = study.providers[0].open()
    while asked := algorithm.ask():
        found.append(asked)
        points = [study.space.point(each) for each in asked]
        bare = replace(study, problems=(replace(study.problems[0], most=10**9),))  # type: ignore[type-var]
        algorithm.tell([study.score(point, figures(bare.candidate(point))) for point in points])
    return found


@pytest.mark.parametrize("ordered", [True, False])
def test_no_point_is_asked_for_twice(ordered: bool) -> None:
    study = square(NSGA)
    study = replace(study, problems=(Square(9, Sums(9), ordered=ordered),))
    asked = questions(study)
    assert [len(each) for each in asked] == [10, 6, 6, 6, 6][: len(asked)]
    every = [each for generation in asked for each in generation]
    assert len(set(every)) == len(every) == 34
    assert questions(study) == asked
    assert questions(replace(study, settings=replace(NSGA, seed=2))) != asked


def test_what_is_not_admitted_is_never_asked_for() -> None:
    asked = questions(square(NSGA), lambda genome: sum(genome) % 2 == 0)
    assert all(sum(each) % 2 == 0 for generation in asked for each in generation)
    assert 20 < sum(map(len, asked)) <= 34


def test_it_begins_with_what_it_is_given() -> None:
    given = ((9, 0), (0, 9), (4, 4))
    study = replace(square(NSGA), predefined=given)
    study = replace(study, problems=(Square(9, Sums(9), initial=({"x": 7, "y": 7}, {"y": 5})),))
    first = questions(study)[0]
    assert first[:5] == [*given, (7, 7), (0, 5)]
    assert len(first) == 10


def test_it_ends_where_there_are_no_more_points() -> None:
    asked = questions(square(replace(NSGA, generations=1000), most=3))
    assert sum(map(len, asked)) == 16


def test_it_ends_once_the_front_stands_still() -> None:
    lazy = replace(NSGA, generations=200)
    ended = questions(square(replace(lazy, tolerance=0.5, period=2), most=60))
    assert len(ended) < len(questions(square(lazy, most=60)))


def test_it_finds_most_of_a_front_by_a_part_of_the_points(tmp_path: Path) -> None:
    settings = replace(NSGA, population=16, offspring=16, generations=12)
    study = square(settings, most=29)
    found = of(searched(study, tmp_path / "some"))
    whole = of(searched(replace(study, settings=Settings()), tmp_path / "all"))
    assert sum(each in whole for each in found) > len(whole) / 2
    assert 12 * 16 < 30 * 30 / 4


def test_with_candidates_it_asks_for_as_many_and_none_twice() -> None:
    guided = square(replace(NSGA, candidates=10))
    asked = questions(guided)
    assert [len(each) for each in asked] == [10, 6, 6, 6, 6]
    every = [each for generation in asked for each in generation]
    assert len(set(every)) == len(every)
    assert questions(guided) == asked
    fewer = questions(replace(guided, settings=replace(guided.settings, evaluations=20)))
    assert sum(map(len, fewer)) == 20


def test_candidates_find_more_of_a_front(tmp_path: Path) -> None:
    few = replace(NSGA, population=12, offspring=4, generations=9)
    whole = of(searched(square(Settings(), most=29), tmp_path / "all"))

    def found(candidates: int) -> int:
        """Points of the front, over four seeds, of 44 that are asked for by each."""
        studies = {seed: square(replace(few, seed=seed, candidates=candidates), most=29) for seed in range(4)}
        fronts = (of(searched(study, tmp_path / f"{seed}.{candidates}")) for seed, study in studies.items())
        return sum(each in whole for front in fronts for each in front)

    assert found(20) > 1.3 * found(1)


def test_seeds_of_more_than_32_bits_differ() -> None:
    """Also where only what is above them differs, and the first population is given."""
    given = replace(square(NSGA), predefined=tuple((x, 0) for x in range(10)))
    seeds = [1, 1 + (1 << 32), 1 + (1 << 33), (1 << 64) - 1]
    asked = [questions(replace(given, settings=replace(NSGA, seed=seed))) for seed in seeds]
    assert all(a != b for place, a in enumerate(asked) for b in asked[:place])


def test_many_points_are_drawn_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A space of 10^8 points, and a tenth of them wanted: nothing is listed, and no more than a portion is drawn."""
    admitted: list[Genome] = []
    study = square(Settings("random", evaluations=10**7), most=9999)
    tracemalloc.start()
    algorithm = algorithm_of(study, lambda genome: not admitted.append(genome))  # type: ignore[func-returns-value]
    first = algorithm.ask()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(first)) == len(first) == len(admitted) == 1024
    assert peak_bytes < 8 << 20
    assert not set(first) & set(algorithm.ask())
    monkeypatch.setattr(draws, "_LISTED", 10)  # all of a space that is not listed are found, and no more tried
    space = square(most=9).space
    assert sorted(drawn(space, 1000, 7, lambda each: True)) == list(space.genomes())
    assert len(drawn(space, 100, 7, lambda each: each[0] == 1, [(1, 0)])) == 9


def test_drawn_points_are_different_and_all_that_there_are() -> None:
    space = square(most=3).space
    assert sorted(drawn(space, 100, 7, lambda each: True)) == list(space.genomes())
    assert len(drawn(space, 5, 7, lambda each: each[0] == 1)) == 4
    larger = square(most=9999).space
    some = drawn(larger, 50, 7, lambda each: each[0] % 2 == 0, [(0, 0)])
    assert len(set(some)) == 50
    assert all(each[0] % 2 == 0 for each in some)
