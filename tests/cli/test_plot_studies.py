"""Pictures of studies: what they show, the merged front, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from dnnc.cli import plot_studies
from dnnc.cli.pages import palette
from dnnc.cli.pages.explored import Explored, explored_of, merged
from dnnc.cli.pages.fronts import energy_chart, front_scene, heat_scene
from dnnc.cli.pages.layer_charts import bits_chart, blocks_chart, thresholds_chart
from dnnc.cli.pages.robustness_map import robustness_scene
from dnnc.cli.pages.scene import Dot, Rect, Scene
from dnnc.cli.plot_studies import told_apart
from dnnc.ir.diagnostics import CompileError
from support.commands import printed, refused


def point(dim: int, spad: int, energy: float, area: float, front: bool, feasible: bool = True) -> dict[str, Any]:
    figures = {"energy_pj": energy, "area_um2": area, "energy_pj.dram": 0.75 * energy, "energy_pj.spad": 0.25 * energy}
    return {
        "point": {"dim": dim, "spad": spad, "flow": "ws"},
        "objectives": [energy, area],
        "feasible": feasible,
        "on_front": front,
        "figures": figures,
    }


POINTS = [
    point(8, 1024, 100.0, 10.0, True),
    point(8, 2048, 80.0, 20.0, True),
    point(16, 1024, 60.0, 30.0, True),
    point(16, 2048, 90.0, 40.0, False),
    point(32, 1024, 10.0, 50.0, False, feasible=False),
]


def study(name: str = "one", points: list[dict[str, Any]] | None = None, **others: Any) -> dict[str, Any]:
    return {
        "schema": "dnnc.explore/1",
        "study": name,
        "objectives": ["min energy_pj", "min area_um2"],
        "variables": [{"name": each} for each in ("dim", "spad", "flow")],
        "points": POINTS if points is None else points,
        **others,
    }


OTHER = [point(4, 512, 95.0, 5.0, True), point(8, 4096, 85.0, 25.0, True), point(16, 8192, 50.0, 60.0, True)]


def read(*of: Any) -> Explored:
    return explored_of(study(*of), "study.json")


def dots(scene: Any) -> list[Dot]:
    return [shape for mark in scene.marks for shape in mark.shapes if isinstance(shape, Dot)]


def test_the_front_is_drawn_over_two_objectives() -> None:
    scene = front_scene([read()], None)
    drawn = dots(scene)
    assert [each.fill for each in drawn] == ["c7", "c7", "c0", "c0", "c0"]
    best = drawn[2:]
    assert [each.x for each in best] == sorted((each.x for each in best), reverse=True)  # less energy, more area
    assert [each.y for each in best] == sorted((each.y for each in best), reverse=True)
    assert drawn[1].radius < drawn[0].radius  # its constraint does not hold
    assert "3 on the front" in scene.description


def test_several_fronts_are_merged() -> None:
    studies = [read(), read("other", OTHER)]
    found = [(each.study, point.values["dim"], point.values["spad"]) for each, point in merged(studies)]
    wanted = [("other", 16, 8192), ("one", 16, 1024), ("one", 8, 2048), ("other", 4, 512)]
    assert found == wanted  # the point of 85 and 25 is beaten by that of 80 and 20, that of 100 and 10 by 95 and 5
    scene = front_scene(studies, None)
    assert sum(each.fill == "ink" for each in dots(scene)) == len(wanted)


def test_studies_of_one_name_are_told_apart() -> None:
    first, second = replace(read(), path="a/study.json"), replace(read(), path="b/study.json")
    assert [each.study for each in told_apart([first, second])] == ["a/study.json", "b/study.json"]
    assert told_apart([first, replace(second, study="other")])[0] is first
    with pytest.raises(CompileError, match="the study is given twice"):
        told_apart([first, second, first])


def test_fronts_of_other_objectives_are_not_merged() -> None:
    other = explored_of(study(objectives=["min energy_pj", "max area_um2"]), "other.json")
    with pytest.raises(CompileError, match="has other objectives"):
        merged([read(), other])


def test_what_is_to_be_large() -> None:
    points = [point(8, 1, 100.0, 10.0, True), point(16, 1, 120.0, 20.0, True)]
    found = explored_of(study("one", points, objectives=["max energy_pj", "max area_um2"]), "a.json")
    assert [each.values["dim"] for each in found.front] == [16, 8]
    assert [each.values["dim"] for _, each in merged([found])] == [16]


def test_a_heat_map_has_the_best_of_each_cell() -> None:
    scene = heat_scene(read(), ("dim", "flow"), "energy_pj")
    told = [mark.title for mark in scene.marks if mark.title]
    assert told == ["dim 8, flow ws: 80", "dim 16, flow ws: 60", "dim 32, flow ws: none"]
    cells = [shape for mark in scene.marks for shape in mark.shapes if isinstance(shape, Rect) and mark.title]
    assert [each.fill for each in cells] == ["h6", "h0", "paper"]


def test_energy_of_the_front_by_component() -> None:
    chart = energy_chart(read())
    assert [row.label for row in chart.rows] == [
        "dim 16, spad 1024, flow ws",
        "dim 8, spad 2048, flow ws",
        "dim 8, spad 1024, flow ws",
    ]
    assert [value for _, value in chart.rows[0].parts] == [45.0, 15.0]


LAYERS = ["threshold.a", "threshold.b", "weights.a", "activations.a"]


def pruned(thresholds: tuple[float, float], bits: tuple[int, int], zero: int, created: int) -> dict[str, Any]:
    """A point of the front whose layer `a` has 10 blocks and `b` 30, of which it prunes none."""
    blocks = {"zero_blocks": zero, "created_blocks": created, "kept_blocks": 40 - zero - created}
    of_a = {"zero_blocks.a": zero, "created_blocks.a": created, "kept_blocks.a": 10 - zero - created}
    of_b = {"zero_blocks.b": 0, "created_blocks.b": 0, "kept_blocks.b": 30}
    return {
        "point": dict(zip(LAYERS, (*thresholds, *bits), strict=True)),
        "objectives": [-float(created), 1.0],
        "feasible": True,
        "on_front": True,
        "figures": {**blocks, **of_a, **of_b},
    }


def of_layers(name: str = "layers") -> dict[str, Any]:
    points = [pruned((0.5, 0.0), (8, 6), 2, 2), pruned((1.5, 0.0), (4, 6), 2, 6)]
    return study(name, points, variables=[{"name": each} for each in LAYERS])


def test_thresholds_and_bits_of_layers_with_their_deviation() -> None:
    found = explored_of(of_layers(), "a.json")
    thresholds, bits = thresholds_chart(found), bits_chart(found)
    assert thresholds is not None
    assert bits is not None
    shown = [(row.label, row.parts, row.spread) for row in thresholds.rows]
    assert shown == [("a", (("c0", 1.0),), (0.5, 1.5)), ("b", (("c0", 0.0),), None)]
    shown = [(row.label, row.parts, row.spread) for row in bits.rows]
    assert shown == [("a weights", (("c0", 6.0),), (4.0, 8.0)), ("a activations", (("c1", 6.0),), None)]


def test_blocks_of_layers_and_of_several_studies() -> None:
    found = explored_of(of_layers(), "a.json")
    chart, several = blocks_chart([found]), blocks_chart([found, explored_of(of_layers("other"), "b.json")])
    assert chart is not None
    assert several is not None
    shown = [(row.label, [part for _, part in row.parts], row.spread) for row in chart.rows]
    assert shown == [("a", [20, 40], (40, 80)), ("b", [0, 0], None), ("all layers", [5, 10], (10, 20))]
    assert [(row.label, [part for _, part in row.parts]) for row in several.rows] == [
        ("layers", [5, 10]),
        ("other", [5, 10]),
    ]


def test_pictures_are_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, points in (("one", POINTS), ("two", OTHER)):
        (tmp_path / f"{name}.json").write_text(json.dumps(study(name, points)))
    paths = [str(tmp_path / "one.json"), str(tmp_path / "two.json")]
    out = printed(["plot", *paths, "-o", str(tmp_path / "both.svg")], capsys)
    assert "the front of 2 studies together" in out
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["two", "one", "one", "two"]
    printed(["plot", paths[0], "--kind", "heatmap", "-o", str(tmp_path / "map.svg")], capsys)
    printed(["plot", paths[0], "--kind", "stacked", "-o", str(tmp_path / "stacked.svg")], capsys)
    printed(["plot", paths[0], "--x", "area_um2", "--y", "dim", "-o", str(tmp_path / "other.svg")], capsys)
    (tmp_path / "layers.json").write_text(json.dumps(of_layers()))
    for kind in ("thresholds", "bits", "blocks"):
        printed(["plot", str(tmp_path / "layers.json"), "--kind", kind, "-o", str(tmp_path / f"{kind}.svg")], capsys)
    for name in ("both", "map", "stacked", "other", "thresholds", "bits", "blocks"):
        ElementTree.parse(tmp_path / f"{name}.svg")
    assert printed(["plot", paths[0], "-o", "-"], capsys).startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--kind", "roofline"], "--kind roofline is for statistics"),
        (["--kind", "stacked", "--x", "dim"], "--x has no effect on --kind stacked"),
        (["--figure", "dim"], "--figure has no effect on --kind front"),
        (["--memory", "dram"], "--memory has no effect on --kind front"),
        (["--x", "dim"], "--x and --y are given together"),
        (["--x", "dmi", "--y", "spad"], "did you mean 'dim'?"),
        (["--kind", "bits"], "the front of one has no bits of layers"),
        (["--kind", "blocks"], "the front of one has no blocks of layers"),
        (["--kind", "thresholds", "--y", "dim"], "--y has no effect on --kind thresholds"),
        (["--kind", "heatmap", "--x", "flw"], "did you mean 'flow'?"),
        (["--kind", "heatmap", "--figure", "energy"], "did you mean 'energy_pj'?"),
    ],
)
def test_what_is_refused(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.json").write_text(json.dumps(study()))
    assert told in refused(["plot", str(tmp_path / "one.json"), *words, "-o", str(tmp_path / "a.svg")], capsys)
    assert not (tmp_path / "a.svg").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "of the study dim differs"),
        (["--x", "dim"], "of the study dim differs"),
        (["--y", "dim"], "of the study dim differs"),
        (["--x", "dim", "--y", "dim"], "both are dim"),
    ],
)
def test_heat_maps_of_one_variable(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = study(points=[point(dim, 1024, 100.0 - dim, 10.0, True) for dim in (8, 16)])
    (tmp_path / "one.json").write_text(json.dumps(described))
    command = ["plot", str(tmp_path / "one.json"), "--kind", "heatmap", *words, "-o", str(tmp_path / "a.svg")]
    assert f"a heat map needs two variables, and {told}" in refused(command, capsys)


def test_the_other_axis_of_a_heat_map_is_another_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.json").write_text(json.dumps(study()))
    drawn: list[tuple[str, str]] = []
    real = plot_studies.heat_scene

    def heat_scene(of: Explored, names: tuple[str, str], figure: str) -> Scene:
        drawn.append(names)
        return real(of, names, figure)

    monkeypatch.setattr(plot_studies, "heat_scene", heat_scene)
    command = ["plot", str(tmp_path / "one.json"), "--kind", "heatmap", "-o", str(tmp_path / "a.svg")]
    for words in ([], ["--x", "dim"], ["--y", "dim"], ["--x", "spad"], ["--y", "spad"]):
        printed([*command, *words], capsys)
    assert all(x != y for x, y in drawn)
    assert drawn[1][0] == drawn[2][1] == "dim"
    assert drawn[3][0] == drawn[4][1] == "spad"


def test_statistics_have_no_fronts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('{"schema": "dnnc.stats/1"}')
    words = ["plot", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.svg")]
    assert "--kind front is for studies" in refused([*words, "--kind", "front"], capsys)
    assert "--x has no effect on --kind roofline" in refused([*words, "--x", "a"], capsys)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"points": 3}, "$.points is no list"),
        ({"points": [3]}, "$.points[0] is no table"),
        ({"objectives": [1]}, "$.objectives is no list of names"),
        ({"points": [POINTS[0] | {"objectives": [1.0]}]}, "$.points[0].objectives are 1; the study has 2"),
        ({"points": [POINTS[0] | {"figures": {"a": "b"}}]}, "$.points[0].figures.a is 'b', no number"),
        ({"points": [POINTS[0] | {"figures": {"a": float("nan")}}]}, "is nan, no number"),
        ({"variables": [{}]}, "$.variables[0].name is missing"),
    ],
)
def test_documents_of_strangers(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(CompileError) as error:
        explored_of(study() | changed, "study.json")
    assert told in str(error.value)


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_can_be_read_on_all_shades(dark: bool) -> None:
    """WCAG 2.1: 4.5 for text."""

    def luminance(name: str) -> float:
        text = palette.COLOURS[name][dark]
        channels = [int(text[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    shades = [luminance(f"h{number}") for number in range(7)]
    ink = luminance("ink")
    for shade in shades:
        assert (max(shade, ink) + 0.05) / (min(shade, ink) + 0.05) >= 4.5
    assert shades == sorted(shades, reverse=not dark)


def cell(corruption: str, severity: int, accuracy: float | None, saved: float | None = 0.25) -> dict[str, Any]:
    chosen = {"point": 3, "reported": accuracy, "saved": {"dram_bytes": saved, "energy_pj": -0.5}}
    return {
        "corruption": corruption,
        "severity": severity,
        "float": {"reported": 0.875},
        "reference": {"reported": 0.75},
        "chosen": None if accuracy is None else chosen,
    }


ROBUSTNESS = {
    "reference": "w8a8",
    "cells": [cell("clean", 0, 0.5), cell("fog", 1, 0.25), cell("fog", 3, None), cell("snow", 1, 0.375)],
}


def test_robustness_is_a_map_of_corruptions_and_severities() -> None:
    value = study(robustness=ROBUSTNESS)
    scene = robustness_scene(value, "study.json", "accuracy")
    told = [mark.title for mark in scene.marks if mark.title and mark.title.startswith("severity")]
    first = [each.splitlines()[0] for each in told]
    assert sorted(first) == [
        "severity 0, corruption fog: 0.5",
        "severity 0, corruption snow: 0.5",
        "severity 1, corruption fog: 0.25",
        "severity 1, corruption snow: 0.375",
        "severity 3, corruption fog: none",
        "severity 3, corruption snow: none",
    ]
    snow = next(each for each in told if each.startswith("severity 1, corruption snow"))
    assert snow.splitlines()[1:] == [
        "float 0.8750",
        "w8a8 0.7500",
        "chosen 0.3750",
        "point 3",
        "main memory bytes saved 25.0 %",
        "energy saved -50.0 %",
    ]
    for figure in ("float", "reference", "dram_saved", "energy_saved"):
        assert robustness_scene(value, "study.json", figure).marks


def test_robustness_refuses_what_it_cannot_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.json"
    words = ["plot", str(path), "--kind", "robustness", "-o", str(tmp_path / "r.svg")]
    path.write_text(json.dumps(study()))
    assert "the study is not of corruptions" in refused(words, capsys)
    path.write_text(json.dumps(study(robustness=ROBUSTNESS)))
    assert "did you mean 'float'" in refused([*words, "--figure", "flaot"], capsys)
    assert "--x has no effect" in refused([*words, "--x", "dim", "--y", "spad"], capsys)
    assert "draws one study" in refused([*words[:2], str(path), *words[2:]], capsys)
    printed(words, capsys)
    ElementTree.parse(tmp_path / "r.svg")
    for place, wrong in (
        ("$.robustness.cells[0].chosen.reported", [cell("fog", 1, "x")]),  # type: ignore[arg-type]
        ("$.robustness.cells[0].chosen", [cell("fog", 1, 0.5) | {"chosen": 3}]),
        ("$.robustness.cells[0].severity", [cell("fog", 1, 0.5) | {"severity": 1.5}]),
    ):
        path.write_text(json.dumps(study(robustness=ROBUSTNESS | {"cells": wrong})))
        assert place in refused(words, capsys)
