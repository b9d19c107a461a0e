"""Files of `--prune`: what they mean, and every fault with its place."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import dnnc
import numpy as np
import pytest
from dnnc.cli.main import main
from dnnc.driver.prune_file import prune_spec, read_prune
from dnnc.explore.points import prune_text
from dnnc.ir.diagnostics import CompileError
from dnnc.passes.prune_spec import (
    SHORT_FORM,
    ActivationPruning,
    LayerPruning,
    PruneSpec,
    WeightPruning,
    short_form,
)
from support.commands import DIGITS, SPECS, said

TEXT = """\
default: {criterion: sum, threshold: 0.05, block: [8, 8], weights: {fraction: 0.25}}
layers:
  conv1: {threshold: 1}
  conv2: {meaning: consumer_im2col, block: [1, 16], weights: {threshold: 0.5, criterion: max_abs, block: [4, 2]}}
  "a:b": {skip: true}
"""


def written(folder: Path, text: str) -> str:
    (folder / "p.yaml").write_text(text)
    return str(folder / "p.yaml")


def test_entries_say_what_differs_from_default(tmp_path: Path) -> None:
    quarter = WeightPruning(fraction=0.25)
    assert read_prune(written(tmp_path, TEXT)) == PruneSpec(
        LayerPruning(ActivationPruning("sum", 0.05, (8, 8)), quarter),
        (
            ("conv1", LayerPruning(ActivationPruning("sum", 1.0, (8, 8)), quarter, inherited=("weights",))),
            (
                "conv2",
                LayerPruning(
                    ActivationPruning("sum", 0.05, (1, 16), "consumer_im2col"),
                    WeightPruning("max_abs", 0.5, None, (4, 2)),
                ),
            ),
            ("a:b", LayerPruning()),
        ),
    )


def test_the_example_of_the_page(tmp_path: Path) -> None:
    page = (SPECS / "pruning.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, re.S | re.M)
    spec = read_prune(written(tmp_path, example))
    assert not spec.faults
    assert [name for name, _ in spec.layers] == ["conv1", "conv2", "conv3", "dense"]
    dense = dict(spec.layers)["dense"]
    assert dense.weights == WeightPruning("l1_mean", None, 0.5, (16, 16))
    assert dense.activations == spec.default.activations == ActivationPruning("sum", 0.05, (8, 8))


def test_what_an_entry_inherits_is_that_of_default(tmp_path: Path) -> None:
    text = "default: {criterion: sum, threshold: 0.05, block: [4, 4]}\nlayers:\n  last: {weights: {fraction: 0.5}}\n"
    spec = read_prune(written(tmp_path, text))
    for each in (spec, read_prune(written(tmp_path, prune_text(spec)))):
        ((_, entry),) = each.layers
        assert entry.inherited == ("activations",)
        assert entry.activations == spec.default.activations
        assert each == spec
    itself = read_prune(written(tmp_path, text.replace("last: {", "last: {threshold: 0.05, ")))
    assert itself != spec and repr(itself) != repr(spec)  # what it asks for itself is refused where it cannot be


def test_layers_alone(tmp_path: Path) -> None:
    spec = read_prune(written(tmp_path, "layers: {fc: {criterion: mean, threshold: 0}}\n"))
    assert spec == PruneSpec(layers=(("fc", LayerPruning(ActivationPruning("mean", 0.0))),))
    (_, layer), *_ = spec.layers
    assert (layer.span.line, layer.span.column) == (1, 14)


def test_what_a_specification_may_be(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    assert prune_spec(path) == prune_spec(Path(path)) == read_prune(path)
    assert prune_spec("sum:1") == short_form("sum:1")
    assert prune_spec(short_form("sum:1")) == short_form("sum:1")
    (tmp_path / "sum").write_text(TEXT)
    assert prune_spec(str(tmp_path / "sum")) == read_prune(str(tmp_path / "sum"))
    with pytest.raises(CompileError, match=r"there.yaml"):
        prune_spec("not/there.yaml")


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[]", ["1:1 a specification of pruning starts with `default:` or `layers:`"]),
        ("{}", ["1:1 the description lacks the key 'layers'"]),
        ("layers: {a: {}}", ["1:13 'layers.a' prunes nothing"]),
        ("layers: {a: {criterion: sum}}", ["1:25 'layers.a' has 'criterion' and no threshold"]),
        ("layers: {a: {threshold: 1}}", ["1:13 'layers.a' lacks the key 'criterion'"]),
        ("layers: {a: {skip: true, weights: {fraction: 1}}}", ["1:13 'layers.a' is skipped, and has 'weights'"]),
        (
            "layers: {a: {weights: {fraction: 2}}}",
            ["1:34 'layers.a.weights.fraction' is '2'; it must lie between 0 and 1"],
        ),
        ("layers: {a: {weights: {fraction: 1, criterion: l2}}}", ["1:48 'layers.a.weights.criterion' is 'l2'"]),
        ("dfault: {criterion: sum, threshold: 1}\nlayers: {}", ["1:1 unknown key 'dfault'"]),
        (
            "layers: {a: {weights: {}}}",
            ["1:23 layers.a.weights: the pruning of weights has neither a threshold nor a fraction"],
        ),
        (
            "default: {criterion: sun, threshold: -1, block: [0, 8], meaning: tile}\nlayers: {a: {treshold: 2}}",
            [
                "1:22 'default.criterion' is 'sun'",
                "1:38 'default.threshold' is '-1'; it must lie between 0 and 1e+30",
                "1:49 'default.block' is no number of rows and columns",
                "1:66 'default.meaning' is 'tile'",
                "2:14 unknown key 'treshold' in 'layers.a'",
            ],
        ),
        (
            "layers: {a: {criterion: sum, threshold: 1, block: [999, 999]}}",
            ["1:13 layers.a: blocks have 999 x 999 elements"],
        ),
        (
            "layers: {a: {criterion: sum, threshold: 1, block: 8}}",
            ["1:51 'layers.a.block' is no number of rows and columns"],
        ),
    ],
)
def test_wrong_files(text: str, faults: list[str], tmp_path: Path) -> None:
    try:
        found = read_prune(written(tmp_path, text)).faults
    except CompileError as error:
        found = error.diagnostics
    assert [f"{each.span.line}:{each.span.column} {each.message}" for each in found] == faults
    assert all(each.help for each in found)


def test_the_command_line_tells_faults_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(
        tmp_path, "layers:\n  conv1: {criterion: sun, threshold: 1}\n  cnv2: {criterion: sum, threshold: 1}\n"
    )
    text = said(["cost", DIGITS, "--arch", "sparse_blox8", "--prune", path], 2, capsys)
    assert f"{path}:2:22: error: 'layers.conv1.criterion' is 'sun'" in text
    assert f"{path}:3:9: error: there is no layer 'cnv2' to prune" in text
    assert "help: did you mean 'conv2'?" in text


def test_a_folder_is_no_specification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(["cost", DIGITS, "--arch", "sparse_blox8", "--prune", str(tmp_path)], 2, capsys)
    assert f"{tmp_path}: error: this is a folder" in text and SHORT_FORM in text


def costed(spec: str | PruneSpec | None) -> tuple[Any, list[str]]:
    """The statistics, and what was told besides that the data are synthetic."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        stats = dnnc.cost(DIGITS, "sparse_blox8", dnnc.Options(prune=spec))
    return stats, [str(each.message) for each in told if "synthetic" not in str(each.message)]


def test_cost_of_a_pruned_model() -> None:
    pruned, told = costed("sum:0.05@8x8")
    assert (pruned, told) == costed(short_form("sum:0.05@8x8"))
    assert told == [
        "--prune leaves out 1 layer: dense (its result is f32, and only codes of at most 16 bits are pruned)"
    ]
    plain, _ = costed(None)
    assert pruned != plain
    assert [each["macs"] for each in pruned["layers"]] == [each["macs"] for each in plain["layers"]]
    _, told = costed("sum:0.05@8x8:consumer_im2col")
    assert told == [
        "negative values count against positive ones in its sums, where --prune tests them, in 1 layer: conv1.im2col"
    ]


def test_what_is_pruned_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", DIGITS, "--arch", "sparse_blox8", "--prune", "max_abs:0.5@4x4", "--explain"]) == 0
    text = capsys.readouterr().out
    assert "  producer_tile: blocks of 4 x 4 with max_abs <= 0.5 become zero on the way to main memory" in text
    assert "  not pruned: its result is f32" in text


def test_machines_that_do_not_prune(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(["cost", DIGITS, "--arch", "gemmini16", "--prune", "sum:1"], 2, capsys)
    assert "gemmini16 has no unit that prunes blocks" in text


def test_blocks_of_zeros_alone_change_no_output() -> None:
    """Threshold 0 of a magnitude: what is pruned is zero already."""
    rng = np.random.default_rng(0)
    calibrate = {"image": rng.normal(size=(4, 1, 8, 8)).astype(np.float32)}
    plain = dnnc.compile(DIGITS, "sparse_blox8", dnnc.Options(calibrate=calibrate))
    with pytest.warns(UserWarning, match="leaves out 1 layer"):
        pruned = dnnc.compile(DIGITS, "sparse_blox8", dnnc.Options(calibrate=calibrate, prune="max_abs:0@1x2"))
    placement = next(each for each in plain.placements if each.name in plain.inputs)
    inputs = {placement.name: rng.normal(size=placement.shape).astype(np.float32)}
    for name, value in dnnc.run(plain, inputs).outputs.items():
        np.testing.assert_array_equal(dnnc.run(pruned, inputs).outputs[name], value)


def test_an_option_of_another_kind() -> None:
    with pytest.raises(CompileError, match="option 'prune' is '7'"):
        dnnc.Options(prune=7)  # type: ignore[arg-type]


def test_machines_with_levels_prune_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(["cost", DIGITS, "--arch", "eyeriss_like", "--prune", "sum:1"], 2, capsys)
    assert "--prune has no meaning on a machine with levels inside the array" in text
