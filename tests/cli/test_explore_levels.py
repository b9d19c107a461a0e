"""`dnnc explore` on machines with levels inside the array, as a user gives it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dnnc.cli.main import main
from dnnc.passes.levels import kept, mapper
from support.commands import printed, refused
from support.levels_models import save_small

STUDY = """\
model: m.onnx
arch: small.yaml
options: {objective: energy}
architecture:
  variables:
    rows: {values: [1, 2], fields: levels.pe.rows}
    depth: {values: [1, 4, 64], fields: levels.glb.depth_words}
objectives: [min energy_pj, min cycles, min area_um2]
"""


def explored(folder: Path, text: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    (save_small(folder) / "study.yaml").write_text(text)
    return printed(["explore", str(folder / "study.yaml"), "-o", str(folder / "out"), "--workers", "1", *words], capsys)


def test_each_point_is_what_cost_says_of_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = explored(tmp_path, STUDY, capsys)
    assert "4 points of a space of 6 (4 evaluated now), 4 keep all constraints" in said
    assert "dropped: 2: one element each of input, output needs 2 words, 'glb' has 1" in said
    stats = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [each["run"] for each in stats["front"]] == [None] * len(stats["front"])
    with (tmp_path / "out" / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(stats["front"]) > 1
    assert "instructions" not in rows[0]
    for number, each in enumerate(stats["front"], 1):
        machine = str(tmp_path / "out" / "points" / str(number) / "arch.yaml")
        output = tmp_path / f"{number}.json"
        words = ["cost", str(tmp_path / "m.onnx"), "--arch", machine, "--objective", "energy", "--json", str(output)]
        assert main(words) == 0
        total = json.loads(output.read_text())["total"]
        shared = set(total) & set(each["figures"])
        assert {"energy_pj", "cycles", "area_um2", "utilization", "gops_per_w"} <= shared
        assert {name: total[name] for name in shared} == {name: each["figures"][name] for name in shared}
    for kind in ("front", "heatmap", "stacked"):
        words = ["plot", str(tmp_path / "out" / "study.json"), "--kind", kind, "-o", str(tmp_path / f"{kind}.svg")]
        assert main(words if kind != "front" else [*words[:2], *words[4:]]) == 0
    again = explored(tmp_path, STUDY, capsys, "--resume")
    assert "(4 stored before)" in again


def test_searches_that_time_ended_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def map_levels(*words: Any, **named: Any) -> mapper.LevelMapping | None:
        found = mapper.map_levels(*words, **named)
        return found and replace(found, stopped=True)

    monkeypatch.setattr(kept, "map_levels", map_levels)
    (save_small(tmp_path) / "study.yaml").write_text(STUDY)
    assert main(["explore", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out"), "--workers", "1"]) == 0
    told = capsys.readouterr().err
    assert "the time limit ended searches of 4 of 4 points" in told
    assert "time_limit_s" in told


def test_they_are_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (save_small(tmp_path) / "study.yaml").write_text(f"{STUDY}run: true\n")
    told = refused(["explore", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out")], capsys)
    assert "study.yaml:9:6: error: 'small' has levels inside the array: it is costed, and there are no programs" in told
    assert "help: leave `run` out; `dnnc cost MODEL --arch points/1/arch.yaml`" in told
    assert not (tmp_path / "out").exists()
