"""A pool with ceil_mode has as many positions as onnxruntime computes, which is not always what inference says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from support.onnx_models import FLOAT, check_import, operators, save_model


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("image", "pads", "stride"), [(2, 0, 2), (2, 1, 3), (5, 0, 5), (3, 1, 2), (6, 1, 3), (1, 0, 2), (4, 0, 3)]
)
@pytest.mark.parametrize("others", [False, True])
def test_windows_beyond_the_image_do_not_count(
    tmp_path: Path, op: str, image: int, pads: int, stride: int, others: bool
) -> None:
    kernel = pads + 1
    attributes = dict(kernel_shape=[kernel, 1], strides=[stride, 1], pads=[pads, 0, pads, 0], ceil_mode=1)
    nodes = [
        helper.make_node(op, ["x"], ["p"], **attributes),
        helper.make_node("Relu", ["p"], ["r"]),
        helper.make_node(op, ["r"], ["y"], **attributes),
    ]
    nodes = nodes if others else [helper.make_node(op, ["x"], ["y"], **attributes)]
    path = save_model(tmp_path / "pools.onnx", nodes, [("x", FLOAT, [1, 2, image, 3])], [("y", FLOAT, None)], opset=19)
    x = np.random.default_rng(0).normal(size=(1, 2, image, 3)).astype(np.float32)
    module = check_import(path, {"x": x}, tolerance=1e-6)
    assert "host" not in operators(module)
