"""The second stage: which points are executed, on which inputs, and what is told of them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.explore import costs, shared_files, survivors
from dnnc.explore.cluster import packed
from dnnc.explore.costs import opened_costs
from dnnc.explore.engine import Outcome
from dnnc.explore.judge import OpenedJudge
from dnnc.explore.problem import Provider
from dnnc.explore.shared_files import SharedFile
from dnnc.explore.store import Row, RunRow, Store
from dnnc.explore.study import RunStage, Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import Here, Task, evaluate, opened
from dnnc.frontend import calibrate
from dnnc.ir.diagnostics import CompileError
from support.exploration import STUDY, searched, write_study
from support.judged import PRECISION, SPARSITY, write_judged

FEW = re.compile("algorithm: .*\n")
FEW_POINTS = "algorithm: {name: random, evaluations: 4}\nrun: {survivors: 2}\n"


def executed(folder: Path, more: str) -> tuple[Study, Outcome, list[RunRow]]:
    return executed_study(read_study(write_study(folder, STUDY + more)), folder)


def executed_study(study: Study, folder: Path) -> tuple[Study, Outcome, list[RunRow]]:
    outcome = searched(study, folder / "out", resume=True)
    with Store(folder / "out", study, resume=True) as store:
        found = survivors.run_survivors(study, store, Here(study.providers), outcome)
        assert set(store.runs()) >= {row.genome for row, run in found if run.run}
    return study, outcome, [run for _, run in found]


def executed_rows(outcome: Outcome, runs: list[RunRow]) -> list[tuple[Row, RunRow]]:
    rows = {row.genome: row for row in outcome.front}
    return [(rows[each.genome], each) for each in runs]


def other_inputs(folder: Path, batch: int) -> Path:
    """A file of zeros: blocks of them are skipped that those of samples are not."""
    np.savez(folder / "zeros.npz", x=np.zeros((batch, 1, 8, 8), np.float32))
    return folder / "zeros.npz"


def inputs(folder: Path) -> dict[str, np.ndarray]:
    (value,) = onnx.load(folder / "model.onnx").graph.input
    shape = [each.dim_value or 1 for each in value.type.tensor_type.shape.dim]
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return {value.name: np.ones(shape, kind)}


def test_the_front_is_executed_and_equal(tmp_path: Path) -> None:
    _, outcome, runs = executed(tmp_path, "run: true\n")
    assert [each.genome for each in runs] == [row.genome for row in outcome.front]
    for row, run in zip(outcome.front, runs, strict=True):
        assert run.differences == ()
        assert run.cost == run.run == row.figures
        assert run.inputs == "made up by seed 0"


@pytest.mark.parametrize("batch", [1, 3, 20])
def test_a_pruned_point_is_executed_on_the_samples_that_it_was_counted_on(batch: int, tmp_path: Path) -> None:
    """Of 16 samples a pass takes one, or three, or more than there are."""
    text = FEW.sub("", SPARSITY).replace("objectives: [max accuracy", "objectives: [min energy_pj, max accuracy")
    text = text.replace("calibration.npz}", f"calibration.npz, batch_size: {batch}}}") + FEW_POINTS
    path = write_judged(tmp_path, text, batch=None)
    study, outcome, runs = executed_study(read_study(path), tmp_path)
    assert runs
    for row, run in executed_rows(outcome, runs):
        assert run.differences == ()
        assert run.cost == run.run == {name: row.figures[name] for name in run.run}
        assert run.inputs == "the first samples of the search"
    assert any(row.figures["macs_skipped"] for row in outcome.front)
    made_up = replace(study, run=RunStage(inputs=SharedFile.of(other_inputs(tmp_path, batch))))
    _, _, others = executed_study(made_up, tmp_path)
    assert all(each.differences == () and each.cost == each.run for each in others)
    assert any(each.run["cycles"] != row.figures["cycles"] for row, each in executed_rows(outcome, others))


def test_a_point_of_bits_is_executed_as_it_was_promised(tmp_path: Path) -> None:
    text = FEW.sub("", PRECISION).replace("min mean_bits", "min dram_bytes") + FEW_POINTS
    path = write_judged(tmp_path, text)
    _, outcome, runs = executed_study(read_study(path), tmp_path)
    for row, run in executed_rows(outcome, runs):
        assert run.differences == ()
        assert run.cost == run.run == {name: row.figures[name] for name in run.run}


@pytest.mark.parametrize("text", [SPARSITY, PRECISION])
def test_a_promise_that_is_not_kept_is_told(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FEW.sub("", text).replace("max accuracy", "max accuracy, min cycles") + FEW_POINTS
    study = read_study(write_judged(tmp_path, text))
    outcome = searched(study, tmp_path / "out")
    first, *others = outcome.front
    dearer = replace(first, figures={**first.figures, "cycles": first.figures["cycles"] + 1})  # type: ignore[operator]
    usual = OpenedJudge.outputs
    wrong = lambda *words: {name: value + 1 for name, value in usual(*words).items()}  # noqa: E731
    with Store(tmp_path / "out", study, resume=True) as store:
        changed = replace(outcome, front=(dearer, *others))
        (_, told), *_ = survivors.run_survivors(study, store, Here(study.providers), changed)
        assert told.differences == ("promised cycles",)
        monkeypatch.setattr(OpenedJudge, "outputs", wrong)
        found = survivors.execute((study.costs, *study.providers), study.candidate(first.point), RunStage())
        assert found.outputs == ("y",)


def test_nothing_is_executed_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert executed(tmp_path, "")[2] == []


def test_what_was_executed_is_not_executed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, first = executed(tmp_path, "run: {survivors: 1}\n")
    seconds = [each.seconds for each in first]
    _, _, again = executed(tmp_path, "run: {survivors: 1}\n")
    assert [each.seconds for each in again] == seconds
    _, _, other = executed(tmp_path, "run: {survivors: 1, seed: 5}\n")
    assert other[0].inputs == "made up by seed 5"
    assert [each.seconds for each in other] != seconds


class Elsewhere(Here):
    """Workers of a machine on which none of the files is, and other ones have their names."""

    def __init__(self, providers: tuple[Provider, ...], folder: Path) -> None:
        super().__init__(packed(providers))
        self.folder = folder

    def each(self, task: Task, jobs: Iterable[tuple[int, tuple[Any, ...]]]) -> Iterator[tuple[int, Any]]:
        sent = [(number, pickle.loads(pickle.dumps((self._providers, *arguments)))) for number, arguments in jobs]
        for each in self.folder.glob("*.*"):
            each.write_bytes(b"of another study")
        for known in (opened, opened_costs, shared_files._local, shared_files._local_folder):
            known.cache_clear()
        for number, arguments in sent:
            yield number, task(*arguments)

    def of(self, providers: tuple[Provider, ...]) -> Elsewhere:
        return Elsewhere(providers, self.folder)


@pytest.mark.parametrize("how", ["run: {survivors: 1, inputs: in.npz}\n", "run: {survivors: 1}\n"])
def test_files_are_sent_to_where_points_are_executed(how: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, STUDY + how)
    np.savez(tmp_path / "in.npz", **inputs(tmp_path))
    study = read_study(path)
    outcome = searched(study, tmp_path / "out", resume=True)
    with Store(tmp_path / "out", study, resume=True) as store:
        ((_, run),) = survivors.run_survivors(study, store, Elsewhere(study.providers, tmp_path), outcome)
    assert run.differences == ()
    assert run.run


def test_on_given_inputs(tmp_path: Path) -> None:
    write_study(tmp_path)
    np.savez(tmp_path / "in.npz", **inputs(tmp_path))
    _, _, runs = executed(tmp_path, "run: {survivors: 1, inputs: in.npz}\n")
    assert runs[0].differences == ()
    assert runs[0].inputs.startswith("file ")


def test_inputs_that_do_not_fit_are_told_before_anything_is_evaluated(tmp_path: Path) -> None:
    write_study(tmp_path)
    ((name, value),) = inputs(tmp_path).items()
    wrong = {
        "other": ({"other": value}, [f"input {name!r} is missing", "the model has no input 'other'"]),
        "shape": ({name: value[..., :1]}, [f"input {name!r} has shape {[*value.shape[:-1], 1]}"]),
        "kind": ({name: value.astype(np.float64)}, [f"input {name!r} has type float64"]),
    }
    for file, (arrays, told) in wrong.items():
        np.savez(tmp_path / f"{file}.npz", **arrays)
        with pytest.raises(CompileError) as error:
            read_study(write_study(tmp_path, STUDY + f"run: {{survivors: 1, inputs: {file}.npz}}\n"))
        assert [each.message for each in error.value.diagnostics] == [f"'{file}.npz': {each}" for each in told]
        assert {each.span.line for each in error.value.diagnostics} == {9}
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(CompileError, match=r"not a readable .npz file"):
        read_study(write_study(tmp_path, STUDY + "run: {inputs: text.npz}\n"))


def test_a_seed_that_makes_up_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"`run.seed` has no effect: what is executed are the first samples"):
        read_study(write_judged(tmp_path, SPARSITY + "run: {seed: 5}\n"))


def test_a_float_model_is_calibrated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    usual = calibrate.calibrate
    monkeypatch.setattr(calibrate, "calibrate", lambda *words: seen.append(words) or usual(*words))
    write_study(tmp_path)
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    weights = onnx.numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")
    kinds = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 8]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "test", kinds[:1], kinds[1:], [weights])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10),
        tmp_path / "model.onnx",
    )
    study = read_study(str(tmp_path / "study.yaml"))
    found = [evaluate((study.costs,), study.candidate(study.space.point(each))) for each in study.space.genomes()]
    assert len(found) == 6
    assert all(each.figures["cycles"] for each in found)
    assert len(seen) == 1
    fresh = costs.Opened(study.costs)
    point = study.space.point((1, 1))
    alone = costs.figures_of(survivors.session.cost_document(*fresh.scheduled(study.candidate(point))))
    assert alone in [each.figures for each in found]


def test_a_run_that_took_too_long_is_tried_again(tmp_path: Path) -> None:
    _, _, late = executed(tmp_path, "run: {survivors: 1, time_limit_s: 0.001}\n")
    assert "took longer than" in late[0].differences[0]
    _, _, again = executed(tmp_path, "run: {survivors: 1}\n")
    assert again[0].differences == ()
    assert again[0].run
