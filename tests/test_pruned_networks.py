"""Block pruning of drawn networks, with hosts, groups, odd shapes and all: graph and nests agree on every value, dumps
read back, and schedules are legal."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from dnnc.benchmarks.odd_models import draw
from dnnc.driver.decisions import Options
from dnnc.driver.model import ModelInputs, load_model
from dnnc.driver.options import pass_options
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.graph import HostRegion, Node
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Nest
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.passes.pipeline import named, run_passes
from dnnc.runtime.graph_interpreter import run_module
from support.pruning import NETWORKS, network_values

MACHINE = load_arch("sparse_blox16")


def ran(module: Module, values: dict[str, Any]) -> dict[str, Any]:
    def host(region: HostRegion, inputs: list[Any]) -> list[Any]:
        made = onnxruntime.InferenceSession(module.blobs[region.model], providers=["CPUExecutionProvider"])
        results: list[Any] = made.run(list(region.outputs), dict(zip(region.inputs, inputs, strict=True)))
        return results

    return run_module(module, values, host)


@pytest.mark.parametrize(("family", "number", "meaning"), NETWORKS)
def test_graph_and_nests_agree(family: str, number: int, meaning: str, tmp_path: Path) -> None:
    rng = random.Random(number)
    path = tmp_path / "m.onnx"
    onnx.save(draw(family, number).model, path)
    spec = (
        f"{rng.choice(CRITERIA)}:{rng.choice(['0', '0.1', '2'])}@{rng.choice(['8x8', '4x4', '1x16', '3x5'])}:{meaning}"
    )
    options = pass_options(Options(prune=spec), Header("", "", ""))
    module, options = load_model(str(path), MACHINE, options, ModelInputs())
    pruned = run_passes(module, MACHINE, options, named("canonicalise,quantise,fuse,prune"))
    assert any(isinstance(each, Node) and each.op == "prune" for each in pruned.operations)
    lowered = run_passes(pruned, MACHINE, options, named("lower"))
    for each in (pruned, lowered):
        assert parse_module(print_module(each), blobs=each.blobs) == each
    values = network_values(module, number)
    graph, nests = ran(pruned, values), ran(lowered, values)
    for name, value in graph.items():
        np.testing.assert_array_equal(nests[name], value)
    scheduled = run_passes(lowered, MACHINE, options, named("schedule,hold,allocate"))
    tested = [each for each in scheduled.operations if isinstance(each, Nest) and each.prune is not None]
    assert len(tested) == sum(isinstance(each, Node) and each.op == "prune" for each in pruned.operations)
