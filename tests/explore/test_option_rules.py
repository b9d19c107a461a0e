"""Options of a study that its model or its machine cannot have: told where they stand, before anything is evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnnc.explore.study_yaml import read_study
from dnnc.ir.diagnostics import CompileError
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
FILES = {
    "prune.yaml": "layers:\n  cnv1: {criterion: sum, threshold: 1}\n",
    "bits.yaml": "layers:\n  cnv1: w4a4\n",
    "junk.yaml": "this: is no mapping\n",
    "list.yaml": "- one\n",
    "other.yaml": "layers:\n  cnv1: {dataflow: ws}\n",
    "group.yaml": "groups:\n  - {first: cnv1, last: conv2, stripes: 2}\n",
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
}


@pytest.mark.parametrize("option", [each for each in OF_MACHINES if "mapping" not in each])
def test_what_the_machine_cannot_have_is_a_fault_at_the_option(option: str, tmp_path: Path) -> None:
    _, told = OF_MACHINES[option]
    files(tmp_path)
    text = WIDTHS if "precision" not in option else SPARSITY
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
