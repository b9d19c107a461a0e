"""Study files: what they mean, and every fault with its place before anything is evaluated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from dnnc.explore.algorithm_settings import Settings
from dnnc.explore.study import RunStage, Study
from dnnc.explore.study_yaml import read_study
from dnnc.explore.variables import counted
from dnnc.frontend.arch_yaml import arch_source, load_arch
from dnnc.ir.diagnostics import CompileError
from support.exploration import STUDY, write_study


def read(folder: Path, more: str = "", text: str = STUDY) -> Study:
    return read_study(write_study(folder, text + more))


def test_what_a_study_says(tmp_path: Path) -> None:
    more = """\
constraints: [4 * dim <= spad, inferences_per_second >= 30]
algorithm: {name: nsga2, population: 6, generations: 3, mutation_eta: 7}
predefined: [{dim: 8, spad: 16 KiB}, 9000]
options: {objective: energy, dataflow: ws, batch_size: 2}
seed: 7
run: {survivors: 2}
"""
    study = read(tmp_path, more)
    assert [each.name for each in study.space.variables] == ["dim", "spad"]
    assert study.settings == Settings("nsga2", population=6, offspring=6, generations=3, mutation_eta=7.0, seed=7)
    assert study.predefined == ((1, 1), (1, 0))
    assert study.base.options.batch_size == 2
    assert study.run == RunStage(2, None, 7)
    assert [each.text for each in study.early] == ["4 * dim <= spad"]
    assert [each.text for each in study.objectives] == ["min energy_pj", "min area_um2"]


def test_a_machine_of_a_point(tmp_path: Path) -> None:
    study = read(tmp_path)
    arch = study.candidate({"dim": 4, "spad": 8192}).arch
    usual = load_arch("edge8")
    assert (arch.array.rows, arch.array.cols) == (4, 4)
    assert [each.capacity_bytes for each in arch.local] == [8192, 8192]
    assert [each.word_bytes for each in arch.local] == [8, 16]
    assert arch.dma == usual.dma
    assert dict(arch.sources)["memories.spad.capacity_bytes"].startswith("chosen by a study")
    area = {row.component: row.area_um2 for row in arch.area}
    assert area["spad"] < {row.component: row.area_um2 for row in usual.area}["spad"]  # priced by its own size


def test_variables_that_are_paths_and_lists(tmp_path: Path) -> None:
    text = STUDY.replace("dim: {values: [4, 8], fields: [array.rows, array.cols]}", "array.rows: [4, 8]")
    text = text.replace("fields: {memories.acc.word_bytes: 4 * dim}", "").replace(
        "    spad:", "    memories.acc.ports: [1, 2]\n    spad:"
    )
    study = read(
        tmp_path, "", text.replace("    array.rows", "    array.dataflows: {permutation: [ws, os]}\n    array.rows")
    )
    arch = study.candidate(
        {"array.rows": 4, "array.dataflows": ("os", "ws"), "memories.acc.ports": 1, "spad": 8192}
    ).arch
    assert (arch.array.rows, arch.array.cols, arch.array.dataflows) == (4, 8, ("os", "ws"))
    assert arch.local[1].ports == 1


FAULTS = {
    "model: model.onnx": ("model: absent.onnx", "the model cannot be used", 1),
    "arch: edge8": ("arch: edge9", "there is no bundled architecture 'edge9'", 2),
    "dim: {values": ("cycles: {values", "the variable 'cycles' has the name of a figure", 4),
    "[array.rows, array.cols]": ("[array.rows, array.columns]", "'array.columns' is no field of edge8.yaml", 5),
    "memories.spad.capacity_bytes": ("memories.spadd.capacity_bytes", "'memories.spadd.capacity_bytes' is no field", 6),
    "memories.acc.word_bytes": ("array.rows", "'array.rows' is set twice", 7),
    "4 * dim": ("4 * dimm", "there is no variable 'dimm'", 7),
    "values: [4, 8]": ("values: [4, 4]", "4 stands twice", 5),
    "min energy_pj": ("min energi", "neither a figure nor a variable 'energi'", 8),
    "[min energy_pj,": ("[minimal energy_pj,", "an objective is 'minimal energy_pj'", 8),
    "min area_um2": ("min area_um2 <= 3", "'min area_um2 <= 3' compares", 8),
    "architecture:": ("architectur:", "unknown key 'architectur'", 3),
}


@pytest.mark.parametrize("found", FAULTS)
def test_faults_of_what_is_there(found: str, tmp_path: Path) -> None:
    instead, told, line = FAULTS[found]
    with pytest.raises(CompileError) as error:
        read(tmp_path, "", STUDY.replace(found, instead))
    assert told in str(error.value)
    assert any(each.span.line == line and told in each.message for each in error.value.diagnostics)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("constraints: [dim +]", "found the end"),
        ("constraints: [dim + 1]", "compares nothing"),
        ("constraints: [accuracy >= 0.5]", "neither a figure nor a variable 'accuracy'"),
        ("constraints: dim", "must be a list"),
        ("algorithm: nsga3", "'algorithm' is 'nsga3'"),
        ("algorithm: random", "`random` needs a number of points"),
        ("algorithm: {name: random}", "lacks the key 'evaluations'"),
        ("algorithm: {name: exhaustive, population: 4}", "unknown key 'population'"),
        ("algorithm: {name: nsga2, population: 1}", "must lie between 2"),
        ("algorithm: {name: nsga2, crossover_probability: 2}", "must lie between 0 and 1"),
        ("predefined: [{dim: 8, spad: 8 KiB}]", "has no effect on 'exhaustive'"),
        ("algorithm: nsga2\npredefined: [{dim: 5, spad: 8 KiB}]", "variable 'dim' has no such value"),
        ("algorithm: nsga2\npredefined: [{dim: 8}]", "variable 'spad' is missing"),
        ("algorithm: nsga2\npredefined: [{dim: 8, spad: 8 KiB, acc: 1}]", "there is no variable 'acc'"),
        ("options: {precision: int9}", "option 'precision' is 'int9'"),
        ("options: {batch_size: 0}", "option 'batch_size' is '0'"),
        ("options: {calibrate: absent.npz}", "there is no such file"),
        ("options: {precison: auto}", "unknown key 'precison'"),
        ("reuse: [absent]", "'absent' is no folder of a study"),
        ("run: {inputs: absent.npz}", "there is no such file"),
        ("run: {survivors: 0}", "must lie between 1"),
        ("seed: -1", "must lie between 0"),
    ],
)
def test_faults_of_more(more: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError) as error:
        read(tmp_path, more + "\n")
    assert told in str(error.value)
    assert all(re.match(r".*study\.yaml:\d+:\d+: error", str(each)) for each in error.value.diagnostics)


def test_an_objective_is_of_a_point(tmp_path: Path) -> None:
    text = STUDY.replace("min energy_pj", "min 1/2, max 3")
    with pytest.raises(CompileError) as error:
        read_study(write_study(tmp_path, text))
    assert str(error.value).count("is the same for every point") == 2


def test_a_constraint_is_of_a_point(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="'1 < 2' is the same for every point"):
        read(tmp_path, "constraints: [1 < 2]\n")


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = STUDY.replace("values: [4, 8]", "values: []").replace("energy_pj", "energi").replace("4 * dim", "4 *")
    with pytest.raises(CompileError) as error:
        read(tmp_path, "seed: x\n", text)
    assert [each.span.line for each in error.value.diagnostics] == [5, 7, 8, 9]


def test_a_space_too_large_to_list(tmp_path: Path) -> None:
    text = (
        STUDY.replace("values: [4, 8]", "start: 1, stop: 2000").replace("8 KiB", "1").replace("factor: 2", "step: 10")
    )
    with pytest.raises(CompileError, match="an exhaustive search takes at most 1000000"):
        read(tmp_path, "", text)
    assert read(tmp_path, "algorithm: nsga2\n", text).space.size > 10**6


def test_a_space_beyond_all_floats_is_counted_in_words() -> None:
    assert [counted(each) for each in (7, 10**15 - 1, 10**15, 3 * 10**400)] == [
        "7",
        "999999999999999",
        "about 10^15",
        "about 10^400",
    ]


def test_what_a_study_of_a_float_model_calibrates_by(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x0=np.zeros((2, 31, 1, 8), np.int8))
    study = read(tmp_path, "options: {calibrate: data.npz}\n")
    assert study.costs.calibrate is not None
    first = study.key(study.base)
    np.savez(tmp_path / "data.npz", x0=np.ones((2, 31, 1, 8), np.int8))
    second = read(tmp_path, "options: {calibrate: data.npz}\n")
    assert first != second.key(second.base)  # the samples decide, not their file's name
    assert first == study.key(study.base)


def test_samples_that_do_not_fit_the_model_are_told_where_they_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", y=np.zeros((2, 3), np.float32))
    with pytest.raises(CompileError) as error:
        read(tmp_path, "options: {calibrate: data.npz}\n")
    named, missing = error.value.diagnostics
    assert named.message == "calibration data names 'y', which is no input"
    assert missing.message == "calibration data has nothing for input 'x0'"
    assert named.span == missing.span
    assert (named.span.line, named.span.column) == (9, 22)


def test_all_faults_of_a_model_are_told(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as error:
        read(tmp_path, "options: {shapes: {nowhere: [1, 2], neither: [3]}}\n")
    told = [each.message for each in error.value.diagnostics if each.span.line == 9]
    assert [name for name in ("nowhere", "neither") if any(name in each for each in told)] == ["nowhere", "neither"]


def test_machines_without_programs_are_not_executed(tmp_path: Path) -> None:
    text, _ = arch_source("edge8")
    (tmp_path / "counted.yaml").write_text(text.replace("clock_hz:", "kind: cost_only\nclock_hz:", 1))
    study = STUDY.replace("arch: edge8", "arch: counted.yaml")
    assert read(tmp_path, "", study).base.arch.kind == "cost_only"
    with pytest.raises(CompileError, match="there are no programs for it"):
        read(tmp_path, "run: true\n", study)


def test_remarks_and_where_to_look_change_no_study(tmp_path: Path) -> None:
    first = read(tmp_path).identity
    assert read(tmp_path, "# a remark\nrun: true\n").identity == first
    assert read(tmp_path, "seed: 1\n").identity != first
