"""specs/explore.md: its study does what the page says, and its tables name what there is."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from dnnc.cli.main import main
from dnnc.driver.decisions import Options
from dnnc.driver.levels_model import unread_options
from dnnc.explore.algorithm_settings import ALGORITHMS, Settings
from dnnc.explore.costs import ALIASES, COST_FIGURES
from dnnc.explore.level_costs import LEVEL_FIGURES
from dnnc.explore.problems import PROBLEMS
from dnnc.explore.study_yaml import read_study
from dnnc.ir.hierarchy import Hierarchy

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "specs" / "explore.md").read_text()
STUDY, *_ = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)  # the others are sections that tests/explore reads


def written(folder: Path, text: str = STUDY) -> str:
    shutil.copy(ROOT / "specs" / "models" / "digits.onnx", folder)
    (folder / "study.yaml").write_text(text)
    return str(folder / "study.yaml")


@pytest.mark.filterwarnings("ignore:the model is quantised by synthetic data")
def test_the_study_of_the_page(tmp_path: Path) -> None:
    words = ["explore", written(tmp_path), "-o", str(tmp_path / "out"), "--workers", "1"]
    assert main(words) == 0
    stats = json.loads((tmp_path / "out" / "study.json").read_text())
    assert stats["counts"]["space"] == 18
    assert {each["point"]["spad"] for each in stats["points"]} == {8192, 16384, 32768}
    assert sum(each["run"] is not None for each in stats["front"]) == 2
    assert all(each["run"]["equal"] for each in stats["front"] if each["run"])
    assert all(each["figures"]["inferences_per_second"] >= 30 for each in stats["front"])
    for name in re.findall(r"^\| `([a-z_.]+)` \|", PAGE.partition("## What is written")[2].partition("\n## ")[0], re.M):
        assert (tmp_path / "out" / name).exists(), name


def test_every_key_of_the_table_is_read(tmp_path: Path) -> None:
    table = PAGE.partition("| key |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?`) \|", table, re.M)
    keys = {name for each in cells for name in re.findall(r"`(\w+)`", each)}
    text = STUDY.replace("algorithm: exhaustive", "algorithm: nsga2\npredefined: [8192]")
    text += "seed: 3\nreuse: [earlier]\n"
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "store.sqlite").write_bytes(b"")
    read_study(written(tmp_path, text))
    of_samples = {"precision", "sparsity", "accuracy"}  # whose studies need samples
    assert keys == set(re.findall(r"^(\w+):", text, re.M)) | of_samples
    assert set(PROBLEMS) <= keys


def test_the_figures_and_algorithms_of_the_page() -> None:
    for name in (*COST_FIGURES, *ALIASES):
        assert f"`{name}`" in PAGE, name
    table = PAGE.partition("## Algorithms")[2].partition("\n\nNo point")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == ["name", *ALGORITHMS]
    usual = Settings()
    for key, value in re.findall(r"`(\w+)` \(([\d.]+)", table):
        assert float(value) == getattr(usual, key), key


def test_the_study_of_machines_with_levels(tmp_path: Path) -> None:
    """It is read, its fields are set, and the page names no key of a level that cannot be."""
    section = PAGE.partition("## Machines with levels")[2].partition("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    study = read_study(written(tmp_path, text.replace("net.onnx", "digits.onnx")))
    machine = study.candidate(study.space.point((2, 0, 0, 1, 0))).arch
    assert isinstance(machine, Hierarchy)
    assert [(each.rows, each.cols) for each in machine.fanouts] == [(1, 8), (24, 1)]
    glb, psums = machine.stores[1], machine.stores[-1]
    assert (glb.depth_words, glb.banks) == (4096, 8)
    assert psums.constraint.order == ("p", "m")
    assert study.space.size == 3 * 3 * 4 * 2 * 2
    for figure in ("stopped_layers", *re.findall(r"`(\w+)` and `(\w+)`, and", section)[0]):
        assert (figure in LEVEL_FIGURES) == (figure == "stopped_layers")
    for option in read_options():
        assert option in ("time_limit_s", "objective", "mapping", "batch_size", "shapes")


def read_options() -> list[str]:
    """Options that studies of machines with levels take."""
    values = {"shapes": {"x": (1,)}, "batch_size": 1, "seed": 1, "time_limit_s": 1.0}
    names = [each.name for each in fields(Options)]
    return [name for name in names if not unread_options(Options(**{name: values.get(name, "energy")}))]
