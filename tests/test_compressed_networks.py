"""Networks whose pruned weights are stored without their blocks of zeros, from the model to the run: values of the
dense program, counts of the cost model, a smaller file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from dnnc.backends.accel.emit import emit_program
from dnnc.backends.cost.module import cost_module
from dnnc.benchmarks.odd_models import draw
from dnnc.driver.decisions import Options
from dnnc.driver.model import ModelInputs, load_model
from dnnc.driver.options import pass_options
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.arch import Arch
from dnnc.ir.container import write_program
from dnnc.ir.module import Header, Module
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.stats import LayerCounts, differences
from dnnc.passes.pipeline import named, remaining, run_passes
from dnnc.runtime.machine import RunOptions, run_program
from support.commands import DIGITS
from support.pruning import network_values

SHARED = Path(__file__).parents[1] / ".." / "shared" / "models" / "quantized"
# Families and numbers of networks with weights that are constants.
DRAWN = (
    ("qlinear_conv", 1), ("qlinear_conv_deep", 2), ("qlinear_residual", 0), ("qlinear_matmul", 3), ("qgemm", 5),
    ("qdq_chain", 1), ("conv_integer", 5),
)  # fmt: skip


def compiled(path: Path, arch: Arch, weights: str, folder: Path, **others: Any) -> tuple[Module, Module]:
    """The allocated module with compressed weights, and the same without; scheduled once."""
    (folder / "prune.yaml").write_text(f"default: {{{weights}}}\n")
    options = pass_options(Options(prune=str(folder / "prune.yaml"), **others), Header("", "", ""))
    module, options = load_model(str(path), arch, options, ModelInputs())
    before = [each for each in remaining("") if each.name not in ("compress", "allocate")]
    scheduled = run_passes(module, arch, options, before)
    small, dense = (run_passes(scheduled, arch, options, named(each)) for each in ("compress,allocate", "allocate"))
    return small, dense


def check(small: Module, dense: Module, arch: Arch, values: dict[str, Any]) -> list[LayerCounts]:
    """Counts of the compressed module, after comparison of both runs."""
    assert parse_module(print_module(small), blobs=small.blobs) == small
    result = run_program(emit_program(small, arch), arch, values, RunOptions(check_races=True))
    other = run_program(emit_program(dense, arch), arch, values)
    for name, value in other.outputs.items():
        np.testing.assert_array_equal(result.outputs[name], value)
    assert result.races == ()
    counts = cost_module(small, arch, result.masks)
    assert differences(counts, result.layers) == []
    assert differences(cost_module(small, arch, result.masks, as_dense=True), other.layers) == []
    assert result.cycles <= other.cycles
    return counts


@pytest.mark.parametrize("machine", ["sparse_blox16", "sparse_blox8"])
@pytest.mark.parametrize(("family", "number"), DRAWN)
def test_drawn_networks(family: str, number: int, machine: str, tmp_path: Path) -> None:
    rng = Random(f"{family} {machine}")
    path, arch = tmp_path / "m.onnx", load_arch(machine)
    onnx.save(draw(family, number).model, path)
    weights = f"weights: {{fraction: {rng.choice([0.5, 0.8])}, block: {rng.choice([[1, 4], [2, 2], [4, 8]])}}}"
    if rng.random() < 0.5:
        weights += ", criterion: sum, threshold: 0.5, block: [4, 4]"
    small, dense = compiled(path, arch, weights, tmp_path)
    counts = check(small, dense, arch, network_values(small, number))
    assert any(each.weight_blocks is not None for each in counts) == bool(small.compressed_bytes)


def test_a_network_of_the_repository(tmp_path: Path) -> None:
    """Half of all blocks are zero: the file, what is moved and what is multiplied are about so much less."""
    arch = load_arch("sparse_blox8")
    small, dense = compiled(Path(DIGITS), arch, "weights: {fraction: 0.5, block: [8, 8]}", tmp_path)
    counts = check(small, dense, arch, network_values(small, 0))
    assert len(small.compressed_bytes) >= 2
    for name, stored in small.compressed_bytes.items():
        assert stored < 0.8 * dense.tensor(name).bytes
    saved = sum(dense.tensor(name).bytes - stored for name, stored in small.compressed_bytes.items())
    files = [len(write_program(emit_program(each, arch))) for each in (dense, small)]
    configured = 64 * len(small.compressed_bytes)
    less = files[0] - files[1]  # addresses are others, too, and compressed tensors have no placement
    assert saved - configured <= less <= saved + 256 * len(small.compressed_bytes)
    assert sum(each.macs_skipped for each in counts) > 0.2 * sum(each.macs for each in counts)
    without = replace(arch, block_unit=replace(arch.block_unit, compressed_weights=False))  # type: ignore[type-var]
    other, _ = compiled(Path(DIGITS), without, "weights: {fraction: 0.5, block: [8, 8]}", tmp_path)
    assert other.compressed_bytes == {}


@pytest.mark.parametrize("name", ["microkws_qoperator", "kws_dscnn_int8"])
def test_networks_of_others(name: str, tmp_path: Path) -> None:
    path, arch = SHARED / f"{name}.onnx", load_arch("sparse_blox16")
    if not path.exists():
        pytest.skip("../shared is not beside the repository")
    small, dense = compiled(path, arch, "weights: {fraction: 0.5}", tmp_path, fuse="off", dataflow="ws")
    counts = check(small, dense, arch, network_values(small, 0))
    assert small.compressed_bytes
    assert sum(each.macs_skipped for each in counts) > 0
