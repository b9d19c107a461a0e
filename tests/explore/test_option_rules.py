"""Options of a study that its model or its machine cannot have: told where they stand, before anything is evaluated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dnnc.explore import option_rules
from dnnc.explore.study_yaml import read_study
from dnnc.explore.workers import evaluate
from dnnc.frontend.arch_yaml import arch_source
from dnnc.ir.diagnostics import CompileError, Diagnostic, TimeLimitError
from support.exploration import write_study
from support.judged import PRECISION, SPARSITY, write_judged

MACHINES = """\
model: model.onnx
arch: sparse_blox16
options: {calibrate: calibration.npz, OPTION}
architecture: {variables: {array.rows: [8, 16]}}
objectives: [min energy_pj]
"""
WIDTHS = PRECISION.replace("mixed16", "sparse_blox16").replace(
    "{weights: [3, 5, 8], activations: {start: 4, stop: 8, step: 2}}", "{weights: [8], activations: [8]}"
)
SIZES = MACHINES.replace("array.rows: [8, 16]", "memories.spad.capacity_bytes: [128 KiB, 256 KiB]")
FILES = {
    "prune.yaml": "layers:\n  cnv1: {criterion: sum, threshold: 1}\n",
    "bits.yaml": "layers:\n  cnv1: w4a4\n",
    "junk.yaml": "this: is no mapping\n",
    "list.yaml": "- one\n",
    "other.yaml": "layers:\n  cnv1: {dataflow: ws}\n",
    "group.yaml": "groups:\n  - {first: cnv1, last: conv2, stripes: 2}\n",
    "both.yaml": "layers: {cnv1: {dataflow: ws}}\ngroups:\n  - {first: conv1, last: conv2, stripes: 2}\n",
    "tiles.yaml": "layers: {conv1: {tiles: [{dim: zz, size: 2}]}}\n",
}


def given(text: str, option: str) -> str:
    usual = "{calibrate: calibration.npz"
    return text.replace("OPTION", option).replace(f"{usual}}}", f"{usual}, {option}}}")


def files(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)


@pytest.mark.parametrize("text", [SPARSITY, WIDTHS, MACHINES])
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("batch_size: 7", "the leading axis of input 'x' is fixed at 1"),
        ("shapes: {x: [1, 1, 9, 9]}", "the input has shape [1,1,8,8]"),
        ("mapping: junk.yaml", "junk.yaml:1:1: unknown key 'this'"),
        ("mapping: list.yaml", "list.yaml:1:1: a mapping starts with `layers:`"),
        ("prune: list.yaml", "list.yaml:1:1: a specification of pruning starts with"),
    ],
)
def test_what_no_machine_makes_right_is_a_fault_at_the_option(
    text: str, option: str, told: str, tmp_path: Path
) -> None:
    files(tmp_path)
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, given(text, option)))
    text = given(text, option)
    column = text.splitlines()[2].index(option) + option.index(": ") + 3
    assert all((each.span.line, each.span.column) == (3, column) for each in error.value.diagnostics)
    assert told in str(error.value)


OF_MACHINES = {
    "prune: prune.yaml": ("prune", "there is no layer 'cnv1' to prune"),
    "precision: bits.yaml": ("precision", "there is no layer 'cnv1'"),
    "mapping: other.yaml": ("mapping", "there is no layer 'cnv1' to map"),
    "mapping: group.yaml": ("mapping", "there is no layer 'cnv1' to run depth first"),
    "mapping: both.yaml": ("mapping", "there is no layer 'cnv1' to map"),
    "mapping: tiles.yaml": ("mapping", "conv1: there is no dimension 'zz' to tile"),
}


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("prune: prune.yaml", WIDTHS),
        ("precision: bits.yaml", SPARSITY),
        *((each, SIZES) for each in OF_MACHINES),
    ],
)
def test_what_the_machine_cannot_have_is_a_fault_at_the_option(option: str, text: str, tmp_path: Path) -> None:
    """Also where machines differ in what their memories hold, which changes no layer."""
    _, told = OF_MACHINES[option]
    files(tmp_path)
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, given(text, option)))
    (fault,) = error.value.diagnostics
    assert told in fault.message and fault.help
    assert fault.span.line == 3


@pytest.mark.parametrize(
    ("option", "text"),
    [*((each, MACHINES) for each in OF_MACHINES), ("mapping: other.yaml", WIDTHS), ("mapping: group.yaml", SPARSITY)],
)
def test_what_other_points_may_have_is_a_warning(option: str, text: str, tmp_path: Path) -> None:
    key, told = OF_MACHINES[option]
    files(tmp_path)
    study = read_study(write_judged(tmp_path, given(text, option)))
    assert study.warnings == (f"`options.{key}` on sparse_blox16 as it is: {told}",)
    assert getattr(study.base.options, key) is not None


def test_two_options_that_contradict_each_other(tmp_path: Path) -> None:
    text = given(SPARSITY, "batch_size: 2, shapes: {x: [3, 1, 8, 8]}")
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, text, batch=None))
    (fault,) = error.value.diagnostics
    assert "--batch-size 2" in fault.message and fault.span.line == 3


def test_a_criterion_that_only_other_machines_have(tmp_path: Path) -> None:
    """Samples are tried without what the study's own machine cannot have."""
    machine, _ = arch_source("sparse_blox16")
    (criteria,) = re.findall(r"criteria: \[.*?\]", machine)
    (tmp_path / "machine.yaml").write_text(machine.replace(criteria, "criteria: [sum]"))
    varied = "architecture: {variables: {block_unit.criteria: [[sum, l1_mean], [l1_mean]]}}\nprecision:"
    text = given(WIDTHS, 'prune: "l1_mean:0.1@8x8"').replace("sparse_blox16", "machine.yaml")
    study = read_study(write_judged(tmp_path, text.replace("precision:", varied)))
    assert study.warnings == (
        "`options.prune` on sparse_blox16 as it is: the block unit of sparse_blox16 has no criterion 'l1_mean'",
    )
    first = study.candidate(study.space.point((0,) * len(study.space.variables)))
    assert not evaluate(study.providers, first).reason


def test_a_mapping_may_name_what_a_problem_makes(tmp_path: Path) -> None:
    (tmp_path / "copy.yaml").write_text("layers: {conv2.prune: {dataflow: ws}}\n")
    text = SPARSITY.replace("block: [4, 4]", "block: [4, 4], meaning: consumer_im2col")
    (told,) = read_study(write_judged(tmp_path, given(text, "mapping: copy.yaml"))).warnings
    assert told == "`options.mapping` on sparse_blox16 as it is: there is no layer 'conv2.prune' to map"


def test_too_little_time_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> None:
        raise TimeLimitError(Diagnostic("no time is left"))

    monkeypatch.setattr(option_rules.session, "transform", late)
    with pytest.raises(TimeLimitError, match="no time is left"):
        read_study(write_judged(tmp_path, given(MACHINES, "prune: sum:1@8x8")))


def test_options_that_are_no_section_are_told_once(tmp_path: Path) -> None:
    with pytest.raises(CompileError) as error:
        read_study(write_judged(tmp_path, SPARSITY.replace("{calibrate: calibration.npz}", "[1, 2]")))
    assert [each.message for each in error.value.diagnostics] == ["'options' must hold keys, found a list"]


@pytest.mark.parametrize("text", [SPARSITY, PRECISION])
def test_ranges_of_made_up_samples_are_told(text: str, tmp_path: Path) -> None:
    study = read_study(write_judged(tmp_path, text.replace("options: {calibrate: calibration.npz}\n", "")))
    (told,) = study.warnings
    assert told.startswith("the model is quantised by synthetic data: expect no accuracy")
    assert not read_study(write_judged(tmp_path, text)).warnings


def test_a_mapping_of_a_machine_with_levels(tmp_path: Path) -> None:
    text = """\
model: model.onnx
arch: eyeriss_like
options: {mapping: junk.yaml}
architecture: {variables: {levels.glb.depth_words: [8192, 16384]}}
objectives: [min energy_pj]
"""
    files(tmp_path)
    with pytest.raises(CompileError) as error:
        read_study(write_study(tmp_path, text))
    assert [(each.span.line, each.span.column) for each in error.value.diagnostics] == [(3, 20)] * 2
    assert "junk.yaml:1:1: unknown key 'this'" in str(error.value)


def test_what_pruning_leaves_out_is_told_as_the_compiler_tells_it(tmp_path: Path) -> None:
    everywhere = SPARSITY.replace(", layers: [conv1, conv2]", "")
    study = read_study(write_judged(tmp_path, everywhere))
    left_out = "`sparsity` leaves out 1 layer: dense (its result is f32, and only codes of at most 16 bits are pruned)"
    assert study.warnings == (left_out,)
    assert read_study(write_judged(tmp_path, SPARSITY)).warnings == ()  # the layers are named


@pytest.mark.parametrize(
    ("text", "asked_by"),
    [
        (SPARSITY.replace("l1_mean, block: [4, 4]", "sum, block: [4, 4], meaning: consumer_im2col"), "sparsity"),
        (given(MACHINES, "prune: sum:0.1@8x8:consumer_im2col"), "prune"),
    ],
)
def test_sums_of_signed_values_are_told(text: str, asked_by: str, tmp_path: Path) -> None:
    (told,) = read_study(write_judged(tmp_path, text)).warnings
    what = f"`{asked_by}` tests them"
    assert told == f"negative values count against positive ones in its sums, where {what}, in 1 layer: conv1"
