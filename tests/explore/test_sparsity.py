"""Studies of thresholds: variables, the limit that is found, figures, points as files, faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.driver import session
from dnnc.driver.decisions import Options
from dnnc.driver.model import load_model, model_inputs
from dnnc.driver.options import pass_options
from dnnc.driver.prune_file import read_prune
from dnnc.driver.stats import json_bytes
from dnnc.explore import limits
from dnnc.explore.costs import figures_of
from dnnc.explore.judge import REPORTED, SEARCHED, OpenedJudge
from dnnc.explore.layer_sqnr import SQNR_OF
from dnnc.explore.limits import settled
from dnnc.explore.points import point_files, reported
from dnnc.explore.results import document
from dnnc.explore.sparsity import MARGIN, Sparsity, thresholds
from dnnc.explore.store import Known, Store
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import Here, opened
from dnnc.ir.diagnostics import CompileError, Diagnostic, TimeLimitError
from dnnc.ir.graph import Node
from dnnc.ir.module import Header
from dnnc.passes.block_prune import block_prune
from dnnc.passes.pipeline import remaining
from dnnc.runtime.graph_interpreter import run_module
from dnnc.runtime.machine import RunOptions
from numpy.typing import NDArray
from support.exploration import of, searched
from support.judged import PRECISION, SPARSITY, judged, write_judged


def problem_of(study: Study) -> tuple[Sparsity, OpenedJudge]:
    found = study.problems[-1]
    assert isinstance(found, Sparsity)
    judge = opened(found.judge)
    assert isinstance(judge, OpenedJudge)
    return found, judge


def test_steps() -> None:
    assert thresholds(2.0, 4, "linear") == (0.0, 0.5, 1.0, 1.5, 2.0)
    assert thresholds(2.0, 4, "logarithmic") == pytest.approx((0.0, 0.002, 0.02, 0.2, 2.0))
    assert thresholds(2.0, 1, "logarithmic") == (0.0, 2.0)


def blocks_of(codes: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The 4 x 4 blocks of a value [1, channels, height, width]: rows are pixels, columns channels."""
    matrix = codes[0].reshape(codes.shape[1], -1).T
    for row in range(0, matrix.shape[0], 4):
        for column in range(0, matrix.shape[1], 4):
            yield matrix[row : row + 4, column : column + 4]


def test_figures_are_those_of_the_graph_interpreter(tmp_path: Path) -> None:
    study = judged(tmp_path, SPARSITY)
    _, judge = problem_of(study)
    assert [each.name for each in study.space.variables] == ["threshold.conv1", "threshold.conv2"]
    candidate = study.candidate({"threshold.conv1": 0.25, "threshold.conv2": 0.5})
    figures = judge(candidate)
    module = judge.module(candidate)
    nodes = [each for each in module.operations if isinstance(each, Node) and each.op == "prune"]
    names = [name for each in nodes for name in (each.inputs[0], each.outputs[0])]
    everything = replace(module, outputs=(*module.outputs, *names))
    data = np.load(tmp_path / "samples.npz")
    count = right = blocks = zero = kept = 0
    for place in judge.samples_of(SEARCHED):
        values = run_module(everything, {"x": data["x"][place][None]}, lambda region, inputs: inputs)
        count += 1
        right += int(values[module.outputs[0]].argmax() == data["y"][place])
        for node in nodes:
            quantization = module.tensor(node.inputs[0]).quantization
            assert quantization is not None
            (before,), (after,) = node.inputs, node.outputs
            for found, left in zip(blocks_of(values[before]), blocks_of(values[after]), strict=True):
                blocks += 1
                zero += bool((found == quantization.zero_point[0]).all())
                kept += bool((left != quantization.zero_point[0]).any())
    assert len(nodes) == 2
    assert figures["accuracy"] == right / count
    assert (figures["blocks"], figures["zero_blocks"]) == (blocks / count, zero / count)
    assert figures["kept_blocks"] == kept / count
    assert figures["created_blocks"] == (blocks - zero - kept) / count > 0
    assert figures["created_percent"] == 100 * (blocks - zero - kept) / blocks


def test_the_limit_is_where_nothing_is_left(tmp_path: Path) -> None:
    study, texts = judged(tmp_path, SPARSITY.replace(" limit: 1.0,", "")), list[str]()
    assert problem_of(study)[0].limit is None  # nothing is evaluated as a study is read
    with Store(tmp_path / "out", study, resume=False) as store:
        study = settled(study, store, Known(()), Here(study.providers), texts.append)
    assert texts == ["the limit of thresholds is looked for: at most 64 evaluations"]
    problem, judge = problem_of(study)
    assert problem.limit is not None
    assert study.space.variables[0].values[-1] == problem.limit

    def left(threshold: float) -> bool:
        prune = problem.spec(dict.fromkeys(problem.layers, threshold))
        figures = judge(replace(study.base, options=replace(study.base.options, prune=prune)))
        return figures["accuracy"] > judge.chance() and figures["kept_blocks"] > 0  # type: ignore[operator]

    dead = problem.limit / MARGIN
    assert not left(dead)
    assert left(dead * 0.9)


def test_a_limit_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SPARSITY.replace(" limit: 1.0,", "") + "predefined: [0, 1]\n"
    path = write_judged(tmp_path, text)
    found = []
    for _ in range(2):  # the second time the study is read again, and resumed
        study = read_study(path)
        with Store(tmp_path / "out", study, resume=True) as store:
            found.append(settled(study, store, Known(()), Here(study.providers)))
        monkeypatch.setattr(limits, "found_limit", lambda problem: pytest.fail("it is looked for again"))
    assert problem_of(found[0])[0].limit == problem_of(found[1])[0].limit
    assert found[0].space == found[1].space
    assert found[0].predefined == found[1].predefined
    assert len(found[0].predefined) == 2
    assert settled(found[0], store, Known(()), Here(study.providers)) is found[0]
    known = Known((str(tmp_path / "out"),))
    with closing(known), Store(tmp_path / "other", study, resume=False) as store:
        assert settled(study, store, known, Here(study.providers)).space == found[0].space  # another study's is taken


def test_a_limit_that_there_was_no_time_for_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = judged(tmp_path, SPARSITY.replace(" limit: 1.0,", ""))

    def late(*given: object) -> None:
        raise TimeLimitError(Diagnostic("it took too long"))

    with monkeypatch.context() as patch, Store(tmp_path / "out", study, resume=False) as store:
        patch.setattr(OpenedJudge, "__call__", late)
        with pytest.raises(CompileError, match="it took too long"):
            settled(study, store, Known(()), Here(study.providers))
    with Store(tmp_path / "out", study, resume=True) as store:
        assert problem_of(settled(study, store, Known(()), Here(study.providers)))[0].limit is not None


def test_a_limit_that_is_not_found_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = judged(tmp_path, SPARSITY.replace(" limit: 1.0,", ""))
    monkeypatch.setattr(OpenedJudge, "chance", lambda judge: -1.0)
    monkeypatch.setattr(OpenedJudge, "__call__", lambda *words: {"accuracy": 1.0, "kept_percent": 1.0})
    with (
        Store(tmp_path / "out", study, resume=False) as store,
        pytest.raises(CompileError, match="takes the accuracy away"),
    ):
        settled(study, store, Known(()), Here(study.providers))


def test_points_as_files_are_compiled_to_the_same_graph(tmp_path: Path) -> None:
    study = judged(tmp_path, SPARSITY)
    _, judge = problem_of(study)
    outcome = searched(study, tmp_path / "out")
    assert len(outcome.front) > 1
    files = point_files(study, outcome.front)
    assert sorted(files) == sorted(f"points/{n}/prune.yaml" for n in range(1, len(outcome.front) + 1))
    for number, row in enumerate(outcome.front, 1):
        path = tmp_path / f"{number}.yaml"
        path.write_bytes(files[f"points/{number}/prune.yaml"])
        spec = read_prune(str(path))
        assert spec == study.candidate(row.point).options.prune
        module = block_prune(judge.prefix(study.base), study.base.arch, spec)
        assert module.operations == judge.module(study.candidate(row.point)).operations
    with Store(tmp_path / "out", study, resume=True) as store:
        reports = reported(study, store, Here(study.providers), Known(()), outcome)
    assert len(reports) == len(outcome.front)
    best = study.candidate(outcome.front[0].point)
    ratios = {f"{SQNR_OF}{layer}": ratio for layer, ratio in judge.layer_sqnr(best).items()}
    assert reports[0] == {**judge(best, REPORTED), **ratios}
    assert of(searched(study, tmp_path / "again")) == of(outcome)


def test_a_point_runs_as_it_was_judged(tmp_path: Path) -> None:
    """The file of a point, compiled and executed: outputs and masks are those of the evaluator, and costs on the first
    sample of the search are those that the search was told."""
    study = judged(tmp_path, SPARSITY.replace("objectives: [max accuracy", "objectives: [min energy_pj, max accuracy"))
    _, judge = problem_of(study)
    outcome = searched(study, tmp_path / "out")
    row = max(outcome.front, key=lambda each: each.figures["created_blocks"] or 0)
    path = tmp_path / "prune.yaml"
    path.write_bytes(point_files(study, [row])["points/1/prune.yaml"])
    options = Options(prune=str(path))
    passes = pass_options(options, Header("", "", ""))
    given = model_inputs(options, {"x": np.load(tmp_path / "calibration.npz")["x"]})
    module, passes = load_model(str(tmp_path / "model.onnx"), study.base.arch, passes, given)
    module = session.transform(module, study.base.arch, passes, remaining(module.header.last_pass))
    program = session.with_program(module, study.base.arch).program
    assert program is not None
    data = np.load(tmp_path / "samples.npz")
    numbers = judge.samples_of(SEARCHED)
    candidate = study.candidate(row.point)
    outputs = judge.outputs(candidate, data["x"][numbers])["y"]
    graph, blocks, batch = judge.blocks(candidate)
    assert batch == 1
    layers = {node.name: node.name.removesuffix(".prune") for node in graph.operations if node.name in blocks}
    right, created = 0, 0
    for place, number in enumerate(numbers):
        result, stats = session.run(program, {"x": data["x"][number][None]}, RunOptions())
        np.testing.assert_array_equal(result.outputs["y"][0], outputs[place])
        right += int(result.outputs["y"].argmax() == data["y"][number])
        assert set(result.masks) == set(layers.values())
        for node, layer in layers.items():
            mask = result.masks[layer][0]
            created += int((mask == 1).sum())
            np.testing.assert_array_equal(mask != 0, blocks[node].pruned[place])
            np.testing.assert_array_equal(mask == 2, blocks[node].zero[place] & blocks[node].pruned[place])
        if not place:
            assert stats["total"]["energy_pj"] == row.figures["energy_pj"]
            assert figures_of(stats) == {name: row.figures[name] for name in figures_of(stats)}
    assert right / len(numbers) == row.figures["accuracy"]
    assert created / len(numbers) == row.figures["created_blocks"] > 0  # type: ignore[operator]


def test_halves_have_no_sample_in_common(tmp_path: Path) -> None:
    _, judge = problem_of(judged(tmp_path, SPARSITY))
    searched_on, reported_on = judge.samples_of(SEARCHED), judge.samples_of(REPORTED)
    assert (len(searched_on), len(reported_on)) == (16, 24)
    assert not set(searched_on) & set(reported_on)
    labels = np.load(tmp_path / "samples.npz")["y"]
    assert set(labels[searched_on]) == set(labels)


def test_jointly_with_precision_and_a_machine(tmp_path: Path) -> None:
    text = PRECISION.replace("arch: mixed16", "arch: sparse_blox16").replace("min mean_bits", "max created_blocks")
    sections = """\
sparsity: {criterion: l1_mean, block: [4, 4], steps: 8, limit: 1.0, layers: [conv1]}
architecture: {variables: {entries: {values: [64, 512], fields: block_unit.entries}}}
"""
    study = judged(tmp_path, text + sections)
    names = [each.name for each in study.space.variables]
    assert names[0] == "entries"
    assert names[-1] == "threshold.conv1"
    assert {"weights.conv1", "activations.dense"} <= set(names)
    assert len(study.providers) == 2  # bits, and one judge for both problems
    outcome = searched(study, tmp_path / "out")
    assert outcome.front
    files = point_files(study, outcome.front)
    assert {"points/1/precision.yaml", "points/1/prune.yaml"} <= set(files)


FAULTS = {
    "layers: [conv1, conv2]": ("layers: [conv1, konv2]", "there is no layer 'konv2'", "did you mean 'conv2'"),
    "criterion: l1_mean": ("criterion: l2", "'sparsity.criterion' is 'l2'", "l1_mean"),
    "block: [4, 4]": ("block: 4", "is no number of rows and columns", "[8, 8]"),
    "limit: 1.0": ("limit: -1", "it must lie between 0", "1.0"),
    "data: samples.npz": ("data: nowhere.npz", "nowhere.npz", ""),
    "samples: 16": ("samples: 2", "cannot have all 4 classes", "at least 4"),
    "data: samples.npz,": ("data: samples.npz, labels: z,", "no array 'z'", ""),
    "data: samples.npz, ": ("data: samples.npz, labels: none, ", "needs labels, and the data have none", "agreement"),
    "split: halves": ("split: halves, labels: flat", "not as many labels as samples", ""),
    "samples: 16,": ("samples: 16, metric: best,", "there is no metric 'best'", ""),
    "max created_blocks": ("max creatd_blocks", "neither a figure nor a variable 'creatd_blocks'", "created_blocks"),
    "arch: sparse_blox16": ("arch: gemmini16", "has no unit that prunes blocks", "sparse_blox16"),
}


def test_figures_of_layers_may_be_objectives(tmp_path: Path) -> None:
    study = judged(tmp_path, SPARSITY.replace("max created_blocks", "max created_blocks.conv2"))
    point = {"threshold.conv1": 0.25, "threshold.conv2": 0.5}
    figures = problem_of(study)[1](study.candidate(point))
    assert study.score(point, figures).objectives[1] == -(figures["created_blocks.conv2"] or 0) < 0
    with pytest.raises(CompileError, match=r"neither a figure nor a variable 'kept_blocks.dense'"):
        judged(tmp_path, SPARSITY.replace("max created_blocks", "min kept_blocks.dense"))


@pytest.mark.parametrize("found", FAULTS)
def test_a_fault_is_told_at_its_place(found: str, tmp_path: Path) -> None:
    instead, message, help = FAULTS[found]
    assert found in SPARSITY
    path = write_judged(tmp_path, SPARSITY.replace(found, instead))
    with pytest.raises(CompileError) as error:
        read_study(path)
    (fault,) = error.value.diagnostics
    assert message in fault.message
    assert help in fault.help
    line = SPARSITY[: SPARSITY.index(found)].count("\n") + 1
    assert fault.span.line in (line, *((5,) if "arch" in found else ()))


def test_faults_are_told_at_once(tmp_path: Path) -> None:
    text = SPARSITY.replace("criterion: l1_mean", "criterion: l2").replace("samples.npz", "nowhere.npz")
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, text.replace("max accuracy", "best accuracy")))
    assert [each.span.line for each in error.value.diagnostics] == [4, 5, 6]


def test_samples_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = write_judged(tmp_path, SPARSITY)
    np.savez(tmp_path / "samples.npz", x=np.zeros((40, 1, 9, 8), np.float32), y=np.arange(40) % 4)
    with pytest.raises(CompileError, match=r"samples have shape \[1, 9, 8\], the model's input takes \[1, 8, 8\]"):
        read_study(path)


def test_without_samples_no_blocks_are_counted(tmp_path: Path) -> None:
    text = SPARSITY.replace("accuracy: {data: samples.npz, samples: 16, split: halves}\n", "")
    with pytest.raises(CompileError, match="blocks are counted on samples, and the study has none"):
        read_study(write_judged(tmp_path, text))


def write_integers(path: Path, layers: int) -> None:
    """Convolutions of codes by the identity, one after the other: conv0, conv1, ..."""
    values = {"scale": np.float32(1), "zero": np.int8(0), "w": np.eye(4, dtype=np.int8).reshape(4, 4, 1, 1)}
    rest = ["scale", "zero", "w", "scale", "zero", "scale", "zero"]
    names = ["x", *(f"y{each}" for each in range(layers))]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("QLinearConv", [names[k], *rest], [names[k + 1]], f"conv{k}") for k in range(layers)],
        "integers",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT8, [1, 4, 4, 4])],
        [onnx.helper.make_tensor_value_info(names[-1], onnx.TensorProto.INT8, [1, 4, 4, 4])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def test_a_model_without_layers_to_prune(tmp_path: Path) -> None:
    write_integers(tmp_path / "model.onnx", 1)
    np.savez(tmp_path / "samples.npz", x=np.zeros((8, 4, 4, 4), np.int8), y=np.zeros(8, np.int64))
    text = "model: model.onnx\narch: sparse_blox16\naccuracy: {data: samples.npz, metric: sqnr}\n"
    (tmp_path / "study.yaml").write_text(f"{text}sparsity: {{limit: 1.0}}\nobjectives: [max accuracy]\n")
    with pytest.raises(CompileError, match="no layer of the model can be pruned: conv 'conv0'"):
        read_study(str(tmp_path / "study.yaml"))


def test_a_ratio_to_no_noise_is_not_known(tmp_path: Path) -> None:
    """The unpruned points of an integer model are equal to the reference: their figures are written and read again."""
    write_integers(tmp_path / "model.onnx", 2)
    x = np.random.default_rng(0).integers(-99, 99, (8, 4, 4, 4)).astype(np.int8)
    np.savez(tmp_path / "samples.npz", x=x, y=np.zeros(len(x), np.int64))
    (tmp_path / "study.yaml").write_text(
        "model: model.onnx\narch: sparse_blox16\naccuracy: {data: samples.npz, metric: sqnr}\n"
        "sparsity: {criterion: l1_mean, block: [4, 4], steps: 8, limit: 64.0}\n"
        "objectives: [max accuracy, max created_blocks]\n"
    )
    study = read_study(str(tmp_path / "study.yaml"))
    outcome = searched(study, tmp_path / "out")
    unpruned = {row.genome for row in outcome.rows if not row.figures["created_blocks"]}
    assert unpruned
    assert {row.genome for row in outcome.rows if row.figures["accuracy"] is None} == unpruned
    assert outcome.front
    reports = reported(study, Store(tmp_path / "more", study, resume=False), Here(study.providers), Known(()), outcome)
    json.loads(json_bytes(document(study, outcome, [], reports)))
    again = searched(study, tmp_path / "out", resume=True)
    assert again.evaluated == 0
    assert of(again) == of(outcome)
