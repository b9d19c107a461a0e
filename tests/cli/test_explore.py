"""`dnnc explore` as a user gives it: tables, files, resuming, what was promised is observed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from dnnc.cli import explore_progress
from dnnc.cli.main import main
from dnnc.explore import results, survivors
from dnnc.explore.engine import Progress
from rich.console import Console
from support.commands import printed, refused
from support.exploration import STUDY, searched, square, write_study
from support.judged import PRECISION, SPARSITY, write_judged

HERE = ["--workers", "1"]


def explored(folder: Path, text: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return printed(["explore", write_study(folder, text), "-o", str(folder / "out"), *HERE, *words], capsys)


def test_a_study_from_the_file_to_the_executed_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = explored(tmp_path, STUDY + "constraints: [spad >= 64 * dim^2]\nrun: {survivors: 2}\n", capsys)
    stats = json.loads((tmp_path / "out" / "study.json").read_text())
    assert stats["schema"] == "dnnc.explore/1"
    assert stats["counts"]["space"] == 6
    assert stats["counts"]["dropped"] == {}
    runs = [each["run"] for each in stats["front"] if each["run"]]
    assert len(runs) == min(2, len(stats["front"]))
    for each in stats["front"]:
        if each["run"]:
            assert each["run"]["equal"]
            assert each["run"]["figures"] == each["figures"]
    assert "cost = run" in text
    assert "equal" in text
    with (tmp_path / "out" / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["dim"]) for row in rows] == [each["point"]["dim"] for each in stats["front"]]
    assert float(rows[0]["energy_pj"]) == stats["front"][0]["figures"]["energy_pj"]
    parts = [value for name, value in stats["front"][0]["figures"].items() if name.startswith("energy_pj.")]
    assert sum(parts) == pytest.approx(stats["front"][0]["figures"]["energy_pj"])


def test_its_figures_are_those_of_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explored(tmp_path, STUDY, capsys)
    stats = json.loads((tmp_path / "out" / "study.json").read_text())
    point = next(each for each in stats["points"] if each["point"] == {"dim": 8, "spad": 32768})
    out = printed(["cost", str(tmp_path / "model.onnx"), "--arch", "edge8", "--json", "-"], capsys)
    total = json.loads(out)["total"]
    assert total.pop("blocks") is total.pop("weight_blocks") is None  # nothing is pruned
    assert {name: point["figures"][name] for name in total} == total


def test_the_table_of_all_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet = import_module("pyarrow.parquet")
    explored(tmp_path, STUDY + "constraints: [spad != 8 KiB]\n", capsys)
    table = parquet.read_table(tmp_path / "out" / "points.parquet").to_pydict()
    assert table["dim"] == [4, 4, 8, 8, 4, 8]
    assert table["status"] == ["evaluated"] * 4 + ["dropped"] * 2
    assert table["reason"][4:] == ["constraint: spad != 8 KiB"] * 2
    assert all(text.startswith("name: edge8\n") for text in table["machine"][:4])
    assert table["figure.energy_pj"][4:] == [None, None]


def test_columns_of_the_table_are_of_one_kind_and_hide_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet = import_module("pyarrow.parquet")
    text = STUDY.replace("    dim:", "    seed:").replace("4 * dim", "4 * seed")
    text = text.replace("  fields:", "    clock: {values: [1 GHz, fast, true, 1.5], fields: clock_hz}\n  fields:")
    explored(tmp_path, text, capsys)
    table = parquet.read_table(tmp_path / "out" / "points.parquet").to_pydict()
    assert set(table["variable.seed"]) == {4, 8}
    assert set(table["seed"]) == {0}
    assert set(table["clock"]) == {"1000000000", "fast", "true", "1.5"}
    assert set(table["status"]) == {"evaluated", "dropped"}


def test_nothing_stays_that_the_study_does_not_say_any_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    explored(tmp_path, STUDY, capsys)
    first = sorted(path.relative_to(out) for path in out.rglob("*"))
    for name in ("sets.yaml", "robustness.csv", "points/90/arch.yaml", "points/91/mine.txt", "points/mine/arch.yaml"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("of an earlier end")
    explored(tmp_path, STUDY, capsys, "--resume")
    left = {"points/91", "points/91/mine.txt", "points/mine", "points/mine/arch.yaml"}
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == sorted([*first, *map(Path, left)])


def test_no_output_replaces_what_the_study_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_judged(tmp_path, PRECISION)
    for name in ("study.yaml", "model.onnx", "samples.npz", "calibration.npz"):
        before = (tmp_path / name).read_bytes()
        told = refused(["explore", path, "-o", str(tmp_path / "out"), "--json", str(tmp_path / name), *HERE], capsys)
        assert "this would overwrite what the command reads" in told
        assert (tmp_path / name).read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_no_result_replaces_what_the_study_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    printed(["explore", write_study(tmp_path), "-o", str(out), *HERE], capsys)
    own = STUDY.replace("arch: edge8", "arch: points/1/arch.yaml").replace("model: model", "model: ../model")
    (out / "again.yaml").write_text(own)
    told = refused(["explore", str(out / "again.yaml"), "-o", str(out), *HERE, "--resume"], capsys)
    assert "points/1/arch.yaml: error: this would overwrite what the command reads" in told


@pytest.mark.parametrize("name", ["edge8", "exhaustive", "."])
def test_a_folder_may_have_the_name_of_a_machine(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, STUDY + "algorithm: exhaustive\n")
    for more in ([], ["--resume"]):
        printed(["explore", "study.yaml", "-o", name, *HERE, *more], capsys)


@pytest.mark.parametrize("name", ["sets.yaml", "front.csv", "points/7/arch.yaml", "cells/fog-1/study.json"])
def test_files_of_nobodys_study_are_left_alone(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    told = refused(["explore", write_study(tmp_path), "-o", str(tmp_path / "out"), *HERE], capsys)
    assert f"{mine}: error: this would be overwritten, and no study is stored beside it" in told
    assert mine.read_text() == "mine" and not (tmp_path / "out" / "store.sqlite").exists()


@pytest.mark.parametrize("taken", ["points", "points/1"])
def test_a_file_where_a_folder_belongs_is_told(taken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path)
    printed(["explore", path, "-o", str(tmp_path / "out"), *HERE], capsys)
    shutil.rmtree(tmp_path / "out" / taken)
    (tmp_path / "out" / taken).write_text("a file")
    printed(["explore", path, "-o", str(tmp_path / "out"), *HERE, "--resume"], capsys, 2)


def test_the_table_has_the_options_and_data_of_each_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet = import_module("pyarrow.parquet")
    path = write_judged(tmp_path, SPARSITY.replace("generations: 2", "generations: 1"))
    printed(["explore", path, "-o", str(tmp_path / "out"), *HERE], capsys)
    table = parquet.read_table(tmp_path / "out" / "points.parquet").to_pydict()
    assert len(set(table["options"])) == len(table["options"])  # thresholds differ
    assert all("l1_mean" in each for each in table["options"])
    digests = [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("calibration.npz", "samples.npz")
    ]
    assert {*zip(table["calibrate_sha256"], table["samples_sha256"], strict=True)} == {tuple(digests)}


def test_a_study_of_which_no_point_has_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY + "constraints: [spad > 1 GiB]\n"
    told = refused(["explore", write_study(tmp_path, text), "-o", str(tmp_path / "out"), *HERE], capsys)
    assert "no point of the study could be evaluated; dropped: 6: constraint: spad > 1 GiB" in told
    assert not (tmp_path / "out").exists()  # so that the study with other values may have the folder


def test_what_is_not_kept_and_has_no_value_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY.replace("objectives: [", "objectives: [min energy_pj / (dim - 4), ")
    assert text != STUDY
    told = explored(tmp_path, text + "constraints: [cycles < 0]\n", capsys)
    assert "not kept: 6: constraint: cycles < 0" in told
    assert "not kept: 3: no value: min energy_pj / (dim - 4)" in told


def test_going_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explored(tmp_path, STUDY, capsys)
    first = (tmp_path / "out" / "front.csv").read_bytes()
    words = ["explore", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out"), *HERE]
    assert "--resume" in refused(words, capsys)
    assert "6 stored before" in printed([*words, "--resume"], capsys)
    assert (tmp_path / "out" / "front.csv").read_bytes() == first
    (tmp_path / "more.yaml").write_text(STUDY.replace("[4, 8]", "[4, 8, 16]") + "reuse: [out]\n")
    text = printed(["explore", str(tmp_path / "more.yaml"), "-o", str(tmp_path / "more"), *HERE], capsys)
    assert "3 evaluated now, 6 taken from other studies" in text


def test_a_run_that_is_not_what_was_promised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survivors, "differences", lambda cost, run: ["conv: cycles"])
    words = ["explore", write_study(tmp_path, STUDY + "run: {survivors: 1}\n"), "-o", str(tmp_path / "out"), *HERE]
    assert "NOT EQUAL: conv: cycles" in printed(words, capsys, status=1)


def test_differences_are_named() -> None:
    layer = {"name": "a", **dict.fromkeys(survivors.EQUAL, 1)}
    assert survivors.differences({"layers": [layer]}, {"layers": [layer]}) == []
    assert survivors.differences({"layers": [layer]}, {"layers": [layer | {"cycles": 2}]}) == ["a: cycles"]
    assert survivors.differences({"layers": [layer]}, {"layers": []}) == ["layers"]


def test_nothing_starts_with_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path, STUDY.replace("energy_pj", "energi"))
    assert "did you mean 'energy'?" in refused(["explore", study, "-o", str(tmp_path / "out"), *HERE], capsys)
    assert not (tmp_path / "out").exists()
    words = ["explore", write_study(tmp_path), "-o", str(tmp_path / "out"), *HERE, "--scheduler", "tcp://a:1"]
    assert "--workers has no effect beside --scheduler" in refused(words, capsys)
    assert not (tmp_path / "out").exists()


def test_without_pyarrow(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "find_spec", lambda name: None)
    assert main(["explore", write_study(tmp_path), "-o", str(tmp_path / "out"), *HERE]) == 0
    assert "pip install 'dnnc[explore]'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "points.parquet").exists()


def test_killed_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The process is killed for good once it has stored some points; see benchmarks/explore_killed.py for more."""
    text = STUDY.replace("{values: [4, 8],", "{start: 1, stop: 8,") + "algorithm: {name: nsga2, population: 6}\n"
    study = write_study(tmp_path, text)
    script = "import sys; from dnnc.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["explore", study, *HERE, "-o"]
    child = subprocess.Popen([sys.executable, "-c", script, *words, str(tmp_path / "killed")], env=os.environ)
    store = tmp_path / "killed" / "store.sqlite"
    while child.poll() is None and not (store.exists() and store.stat().st_size > 60_000):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    out = printed([*words, str(tmp_path / "killed"), "--resume"], capsys)
    printed([*words, str(tmp_path / "whole")], capsys)
    assert (tmp_path / "killed" / "front.csv").read_bytes() == (tmp_path / "whole" / "front.csv").read_bytes()
    assert "stored before" in out


def test_progress_shows_the_current_front(tmp_path: Path) -> None:
    study = square(most=3)
    shown: list[str] = []

    def report(progress: Progress) -> None:
        console = Console(file=StringIO(), width=120)
        console.print(explore_progress._picture(study, progress))
        shown.append(" ".join(console.file.getvalue().split()))  # type: ignore[attr-defined]

    searched(study, tmp_path, report=report)
    assert len(shown) == 15
    assert "square: 1 of 15 points, 1 dropped, 1 on the front" in shown[0]
    assert "min near" in shown[0]
    assert "square: 15 of 15 points, 1 dropped" in shown[-1]


def test_without_a_terminal_a_line_is_told_now_and_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends before the first of them is due tells none."""
    assert main(["explore", write_study(tmp_path), "-o", str(tmp_path / "out"), *HERE]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(explore_progress, "_SECONDS_OF_A_LINE", 0.0)
    assert main(["explore", write_study(tmp_path), "-o", str(tmp_path / "other"), *HERE]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[0] == "study: 1 of 6 points, 0 dropped, 1 on the front"


def test_a_store_that_refuses_starts_no_workers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    explored(tmp_path, STUDY, capsys)
    monkeypatch.setattr("dnnc.explore.cluster.local_cluster", lambda *given: pytest.fail("workers are started"))
    said = refused(["explore", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out"), "--workers", "2"], capsys)
    assert "points of a study are stored here already" in said


def test_points_and_reports_of_thresholds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_judged(tmp_path, SPARSITY)
    folder = tmp_path / "out"
    assert main(["explore", path, "-o", str(folder), "--workers", "1"]) == 0
    assert "points/" in capsys.readouterr().out
    stats = json.loads((folder / "study.json").read_text())
    header, *rows = csv.reader((folder / "front.csv").read_text().splitlines())
    place = header.index("report.accuracy")
    assert [float(row[place]) for row in rows] == [each["report"]["accuracy"] for each in stats["front"]]
    files = {str(each.relative_to(folder)) for each in folder.glob("points/*/*")}
    assert files == {f"points/{number}/prune.yaml" for number in range(1, len(rows) + 1)}
    first = str(folder / "points" / "1" / "prune.yaml")
    model = [str(tmp_path / "model.onnx"), "--arch", "sparse_blox16", "--calibrate", str(tmp_path / "calibration.npz")]
    assert main(["compile", *model, "--prune", first, "-o", str(tmp_path / "m.dnnx")]) == 0


JUDGED = PRECISION.replace(
    "algorithm: {name: nsga2, population: 6, generations: 2}\n", "algorithm: {name: random, evaluations: 2}\n"
)
WRONG = {
    "layers": ("precision: {", "precision: {layers: [conv9], ", "there is no layer 'conv9'", "5:22"),
    "bits": ("[3, 5, 8]", "[3, 5, 40]", "'precision.weights' has 40 bits", "5:22"),
    "array": ("arch: mixed16", "arch: sparse_blox16", "array takes no weights of 12 bits", "5:12"),
    "model": ("model: model.onnx", "model: other.onnx", "the model cannot be used", "1:8"),
    "labels": ("samples: 16", "labels: none", "needs labels, and the data have none", "4:18"),
    "shape": ("samples.npz", "wide.npz", "samples have shape [1, 8, 9], the model's input takes [1, 8, 8]", "4:18"),
    "corruption": (
        "samples: 16",
        "corruptions: {names: [fog]}",
        "float32 [1, 1, 8, 8] are no images to corrupt",
        "4:18",
    ),
    "map": ("samples: 16", "metric: map", "'accuracy' lacks the key 'boxes'", "4:11"),
    "folder": ("samples.npz", ".", "there are no images in", "4:18"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_studies_evaluate_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One diagnostic, with the place of the key and what would do, before any evaluation."""
    found, instead, told, place = WRONG[case]
    path = write_judged(tmp_path, JUDGED)
    np.savez(tmp_path / "wide.npz", x=np.zeros((48, 1, 8, 9), np.float32), y=np.arange(48) % 4)
    text = JUDGED.replace(found, instead)
    Path(path).write_text(text.replace("[3, 5, 8]", "[3, 12]") if case == "array" else text)
    monkeypatch.setattr("dnnc.explore.engine.evaluate", lambda *given: pytest.fail("something is evaluated"))
    said = refused(["explore", path, "-o", str(tmp_path / "out"), *HERE], capsys)
    assert said.count("error: ") == 1, said
    assert f"study.yaml:{place}: error: " in said, said
    assert told in said
    assert "help: " in said
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore")  # of what Dask leaves to the collector
def test_a_scheduler_that_does_not_answer_is_told_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the study is read: to find a limit of thresholds means to evaluate."""
    pytest.importorskip("distributed")
    monkeypatch.setattr("dnnc.explore.cluster.ANSWER_S", 1.0)
    monkeypatch.setattr("dnnc.explore.study_yaml.read_study", lambda *given: pytest.fail("the study is read"))
    path = write_judged(tmp_path, SPARSITY.replace(", limit: 1.0", ""))
    words = ["explore", path, "-o", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]
    said = refused(words, capsys)
    assert said.count("error: ") == 1
    assert "the scheduler at 'tcp://127.0.0.1:9' does not answer" in said
    assert "help: `dask scheduler` prints its address" in said
