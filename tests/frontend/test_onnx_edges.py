"""Import of odd operators: what onnxruntime's own rules make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dnnc.frontend.importer import import_model
from onnx import helper
from support.onnx_models import FLOAT, check_import, operators, save_model, take_none


@pytest.mark.parametrize("pads", [(1, 0, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0)])
@pytest.mark.parametrize("dilations", [(1, 1), (2, 1)])
def test_average_pool_that_counts_padding_but_not_what_ceil_mode_adds(
    tmp_path: Path, pads: tuple[int, ...], dilations: tuple[int, ...]
) -> None:
    node = helper.make_node(
        "AveragePool",
        ["x"],
        ["y"],
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=pads,
        dilations=dilations,
        ceil_mode=1,
        count_include_pad=1,
    )
    path = save_model(tmp_path / "m.onnx", [node], [("x", FLOAT, [1, 2, 9, 8])], [("y", FLOAT, None)], opset=19)
    x = np.random.default_rng(0).normal(size=(1, 2, 9, 8)).astype(np.float32)
    module = check_import(path, {"x": x}, tolerance=1e-6)
    assert "host" not in operators(module)


def test_a_model_without_elements_has_a_batch_all_the_same(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save_model(tmp_path / "m.onnx", [node], [("x", FLOAT, [0, 3])], [("y", FLOAT, [0, 3])])
    assert import_model(path, take_none).header.batch == 1
