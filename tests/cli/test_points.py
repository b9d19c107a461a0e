"""The mappings that were evaluated, in the statistics of executable machines: beside each layer's own figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dnnc
import pytest
from dnnc.backends.cost.price import leakage_pj
from dnnc.cli import request
from dnnc.cli.main import main
from dnnc.driver.stats import with_points
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import LeakageRow
from support.commands import DIGITS


def written(folder: Path, *words: str, arch: str = "gemmini16", command: str = "cost") -> dict[str, Any]:
    out = folder / "out.json"
    assert main([command, DIGITS, "--arch", arch, "--json", str(out), *words]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize("arch", ["gemmini16", "edge8"])
def test_layers_have_points_and_their_own_figures_last(tmp_path: Path, arch: str, objective: str) -> None:
    """None beats a layer by itself whose mapping is optimal."""
    layers = written(tmp_path, "--fuse", "off", "--objective", objective, arch=arch)["layers"]
    mapped = [layer for layer in layers if layer["where"] == "accelerator"]
    for layer in mapped:
        points = layer["mapping"]["points"]
        assert points[-1] == [layer["cycles"], sum(layer["energy_pj"].values())]
        assert layer["mapping"]["optimal"]
        if objective == "latency":
            assert layer["cycles"] == min(cycles for cycles, _ in points)
        else:
            leaked = [leakage_pj(cycles, load_arch(arch)) for cycles, _ in points]
            spent = [energy - each for (_, energy), each in zip(points, leaked, strict=True)]
            assert spent[-1] == pytest.approx(min(spent))
    if objective == "latency":
        assert any(len(layer["mapping"]["points"]) > 2 for layer in mapped)


def test_points_are_the_same_however_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and after a command that needs none, with the module at hand or without, and when they are kept."""
    fresh = written(tmp_path)
    assert all(layer["mapping"]["points"] for layer in fresh["layers"] if layer["mapping"])
    monkeypatch.setenv("DNNC_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["cost", DIGITS, "--arch", "gemmini16"]) == 0
    first = written(tmp_path)
    monkeypatch.setattr(request, "evaluated_points", lambda *rest: pytest.fail("they are kept"))
    assert fresh == first == written(tmp_path)
    monkeypatch.undo()
    assert written(tmp_path, "--save-mapping", str(tmp_path / "m.yaml")) == fresh
    assert written(tmp_path, "-o", str(tmp_path / "p.dnnx"), command="compile") == fresh
    with pytest.warns(UserWarning, match="synthetic"):
        asked = dnnc.cost(DIGITS, "gemmini16", points=True)
    assert asked == fresh
    with pytest.warns(UserWarning, match="synthetic"):
        plain = dnnc.cost(DIGITS, "gemmini16")
    for layer in (each for each in plain["layers"] if each["mapping"]):
        assert layer["mapping"]["points"] is None


def test_time_leaks_in_every_point() -> None:
    """A point that is the layer itself is not there twice; a layer of which nothing is known has none."""
    arch = replace(load_arch("gemmini16"), leakage=(LeakageRow("spad", 2.5, "test"),))
    own = 100 * 1e3 + leakage_pj(100, arch)
    row = {"cycles": 100, "energy_pj": {"all": own}, "mapping": {"points": None}}
    stats: dict[str, Any] = {"layers": [{"name": "a", **row}, {"name": "b", **row}, {"name": "host", "mapping": None}]}
    found = with_points(stats, {"a": [(100, 1e5), (200, 7e4)]}, arch)["layers"]
    assert found[0]["mapping"]["points"] == [[200, 7e4 + leakage_pj(200, arch)], [100, own]]
    assert found[1]["mapping"]["points"] == []
    assert found[2]["mapping"] is None
    assert leakage_pj(200, arch) > 0
    assert stats["layers"][0]["mapping"] == {"points": None}, "what is given stays as it is"


def test_pages_and_pictures_show_them(tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "picture.svg"
    layers = written(tmp_path, "--html", str(page))["layers"]
    many = max((each for each in layers if each["mapping"]), key=lambda each: len(each["mapping"]["points"]))
    words = ["--kind", "scatter", "--layer", many["name"], "-o", str(picture)]
    assert main(["plot", str(tmp_path / "out.json"), *words]) == 0
    count = len({tuple(point) for point in many["mapping"]["points"]})
    for text in (page.read_text(), picture.read_text()):
        assert f"{count} mappings of {many['name']} by cycles and energy" in text
