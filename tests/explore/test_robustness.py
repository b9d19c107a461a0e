"""Studies of corruptions: cells are plain studies of corrupted files; the table by brute force; sets of one program;
nothing is evaluated twice."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import dnnc
import numpy as np
import onnx
import onnxruntime
import pytest
from dnnc.cli.main import main
from dnnc.driver import session
from dnnc.driver.precision_file import read_precision
from dnnc.explore import workers
from dnnc.explore.accuracy.samples import Preprocess, preprocessed
from dnnc.explore.corruptions.corrupt import NAMES, Corruption, Corruptions, corrupted
from dnnc.explore.judge import SEARCHED, OpenedJudge
from dnnc.explore.robustness import Cell, judge_of
from dnnc.explore.robustness_results import condition, points_of, sets_text
from dnnc.explore.store import EVALUATED, Row
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import opened
from dnnc.frontend.yaml_faults import Faults
from dnnc.frontend.yaml_reader import MapNode, read_yaml
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.expressions import parse_expression
from dnnc.ir.program_sets import chosen, condition_names
from numpy.typing import NDArray
from onnx import numpy_helper
from support.exploration import square
from support.judged import write_judged

SIDE = 32
CORRUPTIONS = "{names: [defocus_blur, snow], severities: [3, 5], seed: 4, margin: 0.05}"
STUDY = f"""\
model: model.onnx
arch: mixed16
options: {{calibrate: calibration.npz}}
accuracy:
  data: samples.npz
  split: halves
  preprocess: {{scale: 0.00392156862745098, layout: nhwc}}
  corruptions: {CORRUPTIONS}
precision: {{layers: [conv2, dense], weights: [2, 8], activations: [3, 8], weighting: per_layer}}
objectives: [max accuracy, min weighted_bits]
seed: 3
"""


def written(folder: Path, text: str = STUDY) -> str:
    """The small network on grey images of 32 x 32 bytes, which it labels itself."""
    path = write_judged(folder, text)
    model = onnx.load(folder / "model.onnx")
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = SIDE
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (24, SIDE // 4, SIDE // 4, 1), np.uint8)
    x = low.repeat(4, axis=1).repeat(4, axis=2)
    real = x.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(0.00392156862745098)
    (bias,) = [each for each in model.graph.initializer if each.name == "b3"]
    mean = scores_of(model, real).mean(axis=0)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) - mean, "b3"))  # so that every class is there
    onnx.save(model, folder / "model.onnx")
    scores = scores_of(model, real)
    np.savez(folder / "calibration.npz", x=real[:8])
    np.savez(folder / "samples.npz", x=x, y=scores.argmax(axis=1))
    return path


def scores_of(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    run = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([run.run(None, {"x": each[None]})[0] for each in x])


def explored(path: str, out: Path, *words: str) -> dict[str, Any]:
    assert main(["explore", path, "-o", str(out), "--workers", "1", *words]) == 0
    found: dict[str, Any] = json.loads((out / "study.json").read_text())
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that has been explored, in `out`."""
    folder = tmp_path_factory.mktemp("whole")
    explored(written(folder), folder / "out")
    return folder


def cell_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The document of each cell, by `clean` or its folder's name."""
    found = {"clean": json.loads((folder / "out" / "study.json").read_text())}
    for each in sorted((folder / "out" / "cells").iterdir()):
        found[each.name] = json.loads((each / "study.json").read_text())
    return found


def test_a_cell_is_a_plain_study_of_a_corrupted_file(whole: Path, tmp_path: Path) -> None:
    written(tmp_path, STUDY.replace(f"  corruptions: {CORRUPTIONS}\n", ""))
    with np.load(tmp_path / "samples.npz") as file:
        x, y = file["x"], file["y"]
    for name, cell in cell_files(whole).items():
        stored = x
        if name != "clean":
            kind, severity = name.split("-")
            stored = corrupted(x, Corruption(kind, int(severity), 4))
        np.savez(tmp_path / "samples.npz", x=stored, y=y)
        plain = explored(str(tmp_path / "study.yaml"), tmp_path / name)
        assert [(each["point"], each["figures"]["accuracy"]) for each in plain["points"]] == [
            (each["point"], each["figures"]["accuracy"]) for each in cell["points"]
        ]
        assert [each["report"]["accuracy"] for each in plain["front"]] == [
            each["report"]["accuracy"] for each in cell["front"]
        ]


def test_the_table_by_brute_force(whole: Path) -> None:
    cells = cell_files(whole)
    table = cells["clean"]["robustness"]
    rows = {
        "clean" if each["corruption"] == "clean" else f"{each['corruption']}-{each['severity']}": each
        for each in table["cells"]
    }
    assert rows.keys() == cells.keys()
    assert table["reference"] == "w8a8"
    assert table["cost"] == "min weighted_bits"
    clean = rows["clean"]["float"]["accuracy"]
    assert clean == 1.0  # its own labels
    assert len({each["float"]["accuracy"] for each in rows.values()}) > 1
    for name, row in rows.items():
        points = [each["figures"] for each in cells[name]["points"]]
        assert len(points) == 16
        most = next(
            each["figures"] for each in cells[name]["points"] if all(value == 8 for value in each["point"].values())
        )
        reference = {"accuracy": most["accuracy"], "dram_bytes": most["dram_bytes"], "energy_pj": most["energy_pj"]}
        assert {key: row["reference"][key] for key in reference} == reference  # the point of 8 bits is the reference
        for choice, wanted in (("restores", clean), ("keeps", row["float"]["accuracy"])):
            enough = [each for each in points if each["accuracy"] >= wanted - 0.05]
            if not enough:
                assert row[choice] is None
                continue
            least = min(each["weighted_bits"] for each in enough)
            found = row[choice]
            assert (found["accuracy"], found["dram_bytes"], found["energy_pj"]) in [
                (each["accuracy"], each["dram_bytes"], each["energy_pj"])
                for each in enough
                if each["weighted_bits"] == least
            ]
            for figure in ("dram_bytes", "energy_pj"):
                assert found["saved"][figure] == pytest.approx(1 - found[figure] / reference[figure])
        best = max(points, key=lambda each: each["accuracy"])["accuracy"]
        assert row["chosen"] == (row["restores"] or row["keeps"] or row["chosen"])
        assert row["restores"] or row["keeps"] or row["chosen"]["accuracy"] == best
    assert any(each["restores"] is None for each in rows.values())  # bits do not restore what corruption takes
    assert any(each["restores"] is not None for name, each in rows.items() if name != "clean") or any(
        each["keeps"] is not None for name, each in rows.items() if name != "clean"
    )
    with (whole / "out" / "robustness.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [each["corruption"] for each in listed] == [each["corruption"] for each in table["cells"]]
    for line, row in zip(listed, table["cells"], strict=True):
        assert float(line["float.reported"]) == row["float"]["reported"]
        for choice in ("restores", "keeps", "chosen"):
            found = row[choice]
            assert line[f"{choice}.point"] == ("" if found is None else str(found["point"]))
            assert line[f"{choice}.saved.dram_bytes"] == ("" if found is None else str(found["saved"]["dram_bytes"]))


def test_points_are_numbered_and_the_sets_name_them(whole: Path) -> None:
    out = whole / "out"
    document = json.loads((out / "study.json").read_text())
    numbers = sorted(int(each.name) for each in (out / "points").iterdir())
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= len(document["front"])
    chosen = {each["chosen"]["point"] for each in document["robustness"]["cells"]}
    assert chosen <= set(numbers)
    path = out / "sets.yaml"
    assert path.exists() == (len(chosen) > 1)
    assert path.exists()  # or this model tests less than it should
    root = read_yaml(path.read_text(), Faults(path.read_text(), str(path)))
    assert isinstance(root, MapNode)
    assert (out / "points" / "1" / "precision.yaml").read_text().startswith("default:")


def test_the_sets_are_one_program(whole: Path) -> None:
    """What the study writes is what `--sets` takes: each corruption takes a set at least as costly as its own point."""
    out = whole / "out"
    options = dnnc.Options(calibrate=whole / "calibration.npz")
    program = dnnc.compile(whole / "model.onnx", "mixed16", options, sets=out / "sets.yaml")
    asked = condition_names(program.sets)
    assert set(asked) <= {"defocus_blur", "snow"}
    table = json.loads((out / "study.json").read_text())["robustness"]["cells"]
    order = [each.name for each in program.sets]  # the costliest first
    for cell in table:
        severities = {name: cell["severity"] if name == cell["corruption"] else 0 for name in asked}
        taken = chosen(program, severities).name
        assert order.index(taken) <= order.index(f"point{cell['chosen']['point']}")
        if cell["corruption"] == "clean":
            assert taken == program.default == f"point{cell['chosen']['point']}"
    for each in program.sets:
        bits = out / "points" / each.name.removeprefix("point") / "precision.yaml"
        assert dnnc.compile(whole / "model.onnx", "mixed16", replace(options, precision=bits)) == each.program


def test_costs_are_counted_once_and_a_killed_study_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 points and a reference: 17 costs for 5 cells. Killed in the third cell, the resumed study
    evaluates what is left, and ends with the same files."""
    path = written(tmp_path)
    counted: list[str] = []
    document, evaluate = session.cost_document, workers.evaluate

    def counting(*arguments: Any) -> Any:
        counted.append("cost")
        return document(*arguments)

    def killed(providers: Any, candidate: Any, known: Any = ()) -> Any:
        counted.append("point")
        if counted.count("point") == 40:
            raise KeyboardInterrupt
        return evaluate(providers, candidate, known)

    monkeypatch.setattr(session, "cost_document", counting)
    for module in ("dnnc.explore.engine.evaluate", "dnnc.explore.robustness.evaluate"):
        monkeypatch.setattr(module, killed)
    assert main(["explore", path, "-o", str(tmp_path / "out"), "--workers", "1"]) == 130  # interrupted
    stopped = counted.count("point")
    assert stopped == 40
    assert main(["explore", path, "-o", str(tmp_path / "out"), "--workers", "1", "--resume"]) == 0
    assert counted.count("cost") == 17
    # 16 points in each of 5 cells; the reference is asked for once a cell, and again where it was known.
    assert 5 * 16 <= counted.count("point") <= 5 * 17 + 3
    names = ("robustness.csv", "sets.yaml", "front.csv", "cells/snow-5/front.csv")
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (whole / "out" / name).read_bytes()


def test_more_severities_go_on_from_those_that_are_there(whole: Path, tmp_path: Path) -> None:
    path = written(tmp_path)
    first = explored(path, tmp_path / "out")
    text = STUDY.replace("severities: [3, 5]", "severities: [1, 3, 5]")
    (tmp_path / "study.yaml").write_text(text)
    second = explored(path, tmp_path / "out", "--resume")
    assert second["counts"]["evaluated"] == 0
    by_cell = {(each["corruption"], each["severity"]): each for each in second["robustness"]["cells"]}
    for each in first["robustness"]["cells"]:
        for key in ("float", "reference"):
            assert by_cell[each["corruption"], each["severity"]][key] == each[key]
    assert len(by_cell) == 7
    counts = json.loads((tmp_path / "out" / "cells" / "snow-1" / "study.json").read_text())["counts"]
    assert counts["evaluated"] == 16
    # An own study takes a cell's points as they are.
    one = STUDY.replace(f"corruptions: {CORRUPTIONS}", "corruption: {name: snow, severity: 1, seed: 4}")
    (tmp_path / "one.yaml").write_text(
        one.replace("min weighted_bits", "min dram_bytes") + "reuse: [out/cells/snow-1]\n"
    )
    assert explored(str(tmp_path / "one.yaml"), tmp_path / "one")["counts"]["reused"] == 16


def row(cost: int, accuracy: float) -> Row:
    return Row((cost,), {"x": cost, "y": 0}, EVALUATED, "", {"near": cost, "far": 0, "accuracy": accuracy}, "", 0.0, "")


@pytest.mark.parametrize("seed", range(30))
def test_sets_hold_from_the_severities_that_chose_them(seed: int) -> None:
    """For all severities of all corruptions alone: the first set whose condition holds is the costliest that the
    corruption chose up to that severity; for several corruptions at once it costs no less than each alone asks for."""
    rng = Random(seed)
    study = replace(square(), corruptions=Corruptions(("fog", "snow", "rain"), (1, 3, 4)))
    own = study.corruptions
    assert own is not None
    chosen = {(each.name, each.severity): rng.randint(0, 4) for each in own.each}
    default = rng.randint(0, 4)

    def cell(corruption: Corruption | None, cost: int) -> Cell:
        outcome: Any = type("Outcome", (), {"rows": (), "front": ()})()
        return Cell(corruption, study, outcome, 0.0, 0.0, {}, None, None, row(cost, 0.5), None)

    cells = [cell(None, default), *(cell(each, chosen[each.name, each.severity]) for each in own.each)]
    rows = points_of(cells)
    files = [f"points/{number}/precision.yaml" for number in range(1, len(rows) + 1)]
    text = sets_text(cells, files)
    if len({*chosen.values(), default}) == 1:
        assert text is None
        return
    if text is None:  # what others chose is dominated before it holds: one set is left
        assert {max(chosen[name, 1] for name in own.names), default} == {default}
        return
    sets, name = parsed(text)

    def taken(values: dict[str, int]) -> int:
        for entry in sets:
            if "when" in entry and parse_expression(entry["when"]).violation(values) == 0:
                return cost(entry["name"])
        return cost(name)

    def cost(name: str) -> int:
        return rows[int(name.removeprefix("point")) - 1].genome[0]

    for corruption in own.names:
        for severity in range(6):
            reached = [chosen[corruption, each] for each in own.severities if each <= severity]
            values = dict.fromkeys(own.names, 0) | {corruption: severity}
            assert taken(values) == (max(reached) if reached else default), (text, values)
    for _ in range(20):
        values = {each: rng.randint(0, 5) for each in own.names}
        alone = [
            chosen[each, severity] for each in own.names for severity in own.severities if severity <= values[each]
        ]
        assert taken(values) == max(alone, default=default)


def test_of_points_that_cost_the_same_each_severity_has_its_own() -> None:
    study = replace(square(), corruptions=Corruptions(("fog",), (1, 3)))
    rows = [replace(row(2, 0.5), genome=(2, place)) for place in range(3)]
    outcome: Any = type("Outcome", (), {"rows": (), "front": ()})()
    fogs = (None, Corruption("fog", 1), Corruption("fog", 3))
    cells = [
        Cell(each, study, outcome, 0.0, 0.0, {}, None, None, chosen, None)
        for each, chosen in zip(fogs, (rows[0], rows[2], rows[1]), strict=True)
    ]
    files = [f"points/{number}/precision.yaml" for number in (1, 2, 3)]
    text = sets_text(cells, files)
    assert text is not None
    sets, default = parsed(text)
    numbered = points_of(cells)
    found = [(numbered[int(each["name"].removeprefix("point")) - 1].genome, each.get("when")) for each in sets]
    assert found == [((2, 1), "fog >= 3"), ((2, 2), "fog >= 1"), ((2, 0), None)]
    assert numbered[int(default.removeprefix("point")) - 1].genome == (2, 0)


@pytest.mark.parametrize("seed", range(40))
def test_of_points_that_cost_the_same_each_severity_of_each_corruption_has_its_own(seed: int) -> None:
    """The last one that was chosen up to a severity and costs no less than those below it."""
    rng = Random(seed)
    names = NAMES[: rng.choice((1, 2, 3, len(NAMES)))]
    study = replace(square(), corruptions=Corruptions(names, (1, 2, 3, 4, 5)))
    own = study.corruptions
    assert own is not None
    rows = [replace(row(place // 3, 0.5), genome=(place // 3, place)) for place in range(6)]  # of two costs
    chosen = {(each.name, each.severity): rng.choice(rows) for each in own.each}
    default = rng.choice(rows)
    outcome: Any = type("Outcome", (), {"rows": (), "front": ()})()
    cells = [Cell(None, study, outcome, 0.0, 0.0, {}, None, None, default, None)]
    for each in own.each:
        found = chosen[each.name, each.severity]
        cells.append(Cell(each, study, outcome, 0.0, 0.0, {}, None, None, found, None))
    numbered = points_of(cells)
    text = sets_text(cells, [])
    assert text is not None
    sets, last = parsed(text)
    assert len({each["name"] for each in sets}) == len(sets)
    for name in names:
        wanted = default
        for severity in range(6):
            if severity:
                here = chosen[name, severity]
                wanted = here if severity == 1 or here.genome[0] >= wanted.genome[0] else wanted
            values = dict.fromkeys(names, 0) | {name: severity}
            holding = (each for each in sets if "when" in each and not parse_expression(each["when"]).violation(values))
            taken = next((each["name"] for each in holding), last)
            number = int(taken.removeprefix("point").partition(".")[0])
            assert numbered[number - 1] == wanted, (text, values)


def parsed(text: str) -> tuple[list[dict[str, str]], str]:
    """The sets as a YAML file has them: each line holds JSON."""
    lines = text.splitlines()
    entries = [json.loads(each.removeprefix("  - ")) for each in lines[1:-1]]
    return entries, json.loads(lines[-1].removeprefix("default: "))


def test_conditions_are_one_comparison() -> None:
    for severities in ({"fog": 3}, {"fog": 3, "snow": 3}, {"fog": 3, "snow": 5}):
        expression = parse_expression(condition(severities))
        for fog in range(6):
            for snow in range(6):
                values = {"fog": fog, "snow": snow}
                expected = any(values[name] >= severity for name, severity in severities.items())
                assert (expression.violation(values) == 0) == expected


@pytest.mark.parametrize(
    ("found", "instead", "told", "place"),
    [
        ("_blur, snow", "_blur, fgo", "did you mean 'fog'", "fgo"),
        ("_blur, snow", "_blur, defocus_blur", "stands twice", "defocus_blur]"),
        ("[3, 5]", "[3, 6]", "different whole numbers, 1 to 5", "[3, 6]"),
        ("[3, 5]", "[3, 3]", "different whole numbers, 1 to 5", "[3, 3]"),
        ("margin: 0.05", "margin: 2", "must lie between 0 and 1", "2"),
        ("margin: 0.05", "reference: w9", "is no form such as w4a8", "w9"),
        ("margin: 0.05", "reference: w8a17", "17", "w8a17"),
        ("margin: 0.05", "margn: 0.05", "unknown key 'margn'", "margn"),
        ("  split: halves", "  metric: sqnr", "tells of no accuracy", "{names"),
        ("  split: halves", "  corruption: {name: fog, severity: 1}", "stands beside 'corruption'", "{names"),
        ("min weighted_bits", "min 1 - accuracy", "no objective says what one costs", "{names"),
    ],
)
def test_faults_have_their_place(tmp_path: Path, found: str, instead: str, told: str, place: str) -> None:
    text = STUDY.replace(found, instead)
    path = written(tmp_path, text)
    with pytest.raises(CompileError) as error:
        read_study(path)
    (fault,) = error.value.diagnostics
    assert told in f"{fault.message} {fault.help}"
    assert fault.help
    line = text.splitlines()[fault.span.line - 1]
    assert line[fault.span.column - 1 :].startswith(place), line


def test_samples_that_are_no_images_and_other_machines(tmp_path: Path) -> None:
    path = written(tmp_path)
    np.savez(tmp_path / "samples.npz", x=np.zeros((8, SIDE, SIDE, 1), np.float32), y=np.arange(8) % 4)
    with pytest.raises(CompileError, match="are no images to corrupt"):
        read_study(path)
    varied = STUDY.replace("seed: 3\n", "architecture: {variables: {array.rows: [8, 16]}}\n")
    with pytest.raises(CompileError, match="the study varies the machine"):
        read_study(written(tmp_path, varied))


def test_the_sets_in_one_program_do_what_the_table_says(whole: Path) -> None:
    """From the study to the program to its run: images of all cells one after the other, with their conditions; the
    machine takes the set of each, and is right as often as that cell's search said of its point."""
    out = whole / "out"
    cells = cell_files(whole)
    study = read_study(str(whole / "study.yaml"))
    program = dnnc.compile(
        whole / "model.onnx", "mixed16", dnnc.Options(calibrate=str(whole / "calibration.npz")), sets=out / "sets.yaml"
    )
    judge = opened(judge_of(study))
    assert isinstance(judge, OpenedJudge)
    searched = judge.samples_of(SEARCHED)
    with np.load(whole / "samples.npz") as file:
        x, y = file["x"], file["y"][searched]
    kinds = [name.partition("-") for name in cells]
    how = Preprocess(scale=0.00392156862745098, layout="nhwc")
    images = [
        preprocessed((corrupted(x, Corruption(kind, int(severity), 4)) if severity else x)[searched], how)
        for kind, _, severity in kinds
    ]
    names = {name for each in program.sets for text in each.when for name in parse_expression(text).names}
    severities = {name: [int(severity) if kind == name else 0 for kind, _, severity in kinds] for name in names}
    conditions = {name: np.repeat(each, len(searched)).tolist() for name, each in severities.items()}
    result = dnnc.run(program, {"x": np.concatenate(images)}, conditions=conditions)
    right = result.outputs["y"].argmax(axis=1).reshape(len(cells), len(searched)) == y
    taken = np.array([each["set"] for each in result.stats["passes"]]).reshape(len(cells), len(searched))
    for (name, document), cell, hits, sets in zip(cells.items(), taken, right, taken, strict=True):
        assert len(set(cell)) == 1
        number = sets[0].removeprefix("point")
        spec = read_precision(str(out / "points" / number / "precision.yaml"))
        (point,) = [
            each["figures"] for each in document["points"] if study.candidate(each["point"]).options.precision == spec
        ]
        assert hits.mean() == pytest.approx(point["accuracy"]), name
    assert len(set(taken[:, 0])) > 1
