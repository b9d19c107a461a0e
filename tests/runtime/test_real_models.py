"""Quantised models as published: the graph interpreter equals onnxruntime on every element of every output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dnnc.frontend.importer import import_model
from dnnc.ir.graph import HostRegion
from dnnc.runtime.graph_interpreter import run_graph
from support.reference import session

MODELS = Path(__file__).parents[2] / ".." / "shared" / "models" / "quantized"


@pytest.mark.parametrize(
    "name", ["resnet8_cifar10_int8", "kws_dscnn_int8", "microkws_qoperator", "mobilenetv2-12-int8", "conv_int4_qdq"]
)
def test_every_output_equals_onnxruntime(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    module = import_model(path, lambda _node, _tensors: "")
    rng = np.random.default_rng(0)
    feeds = {}
    for each in module.inputs:
        shape = module.tensor(each).shape
        assert shape is not None
        feeds[each] = rng.standard_normal(shape).astype(np.float32)

    def host(region: HostRegion, values: list[Any]) -> list[Any]:
        feeds_of_region = dict(zip(region.inputs, values, strict=True))
        results: list[Any] = session(module.blobs[region.model]).run(list(region.outputs), feeds_of_region)
        return results

    got = run_graph(module, feeds, host)
    for output, expected in zip(
        module.outputs, session(path.read_bytes()).run(list(module.outputs), feeds), strict=True
    ):
        assert np.array_equal(got[output], expected)
