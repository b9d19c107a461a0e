"""What cost counts of the masks that a run has saved is what the run has counted, on pruned networks."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from dnnc.backends.accel.emit import emit_program
from dnnc.backends.cost.module import cost_module
from dnnc.benchmarks.odd_models import draw
from dnnc.driver.decisions import Options
from dnnc.driver.model import ModelInputs, load_model
from dnnc.driver.options import pass_options
from dnnc.driver.stats import document
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.module import Header
from dnnc.ir.stats import differences
from dnnc.passes.pipeline import PIPELINE, run_passes
from dnnc.runtime.machine import RunOptions, run_program
from support.pruning import NETWORKS, network_values


@pytest.mark.parametrize("machine", ["sparse_blox16", "sparse_blox8"])
@pytest.mark.parametrize(("family", "number", "meaning"), NETWORKS)
def test_networks(family: str, number: int, meaning: str, machine: str, tmp_path: Path) -> None:
    rng = random.Random(f"{machine} {number}")
    path = tmp_path / "m.onnx"
    onnx.save(draw(family, number).model, path)
    base = load_arch(machine)
    assert base.block_unit is not None
    for threshold, block, entries in (("0", "4x4", 3), ("0.5", "8x8", 6144), ("2", "3x5", 1)):
        arch = replace(base, block_unit=replace(base.block_unit, entries=entries, tables=rng.randint(1, 3)))
        spec = f"{rng.choice(CRITERIA)}:{threshold}@{block}:{meaning}"
        options = pass_options(Options(prune=spec), Header("", "", ""))
        module, options = load_model(str(path), arch, options, ModelInputs())
        module = run_passes(module, arch, options, PIPELINE)
        result = run_program(emit_program(module, arch), arch, network_values(module, number), RunOptions())
        assert differences(cost_module(module, arch, result.masks), result.layers) == []
        stats = document("run", "m", arch, 1, result.layers, [{} for _ in result.layers], ())
        assert all(0 <= each["utilization"] <= 1 for each in (stats["total"], *stats["layers"]))
