"""A small network with samples that it labels itself: what tests of studies with an accuracy search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from dnnc.explore.study import Study
from dnnc.explore.study_yaml import read_study
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES, SAMPLES = 4, 48
LAYERS = ("conv1", "conv2", "dense")
SPARSITY = """\
model: model.onnx
arch: sparse_blox16
options: {calibrate: calibration.npz}
accuracy: {data: samples.npz, samples: 16, split: halves}
sparsity: {criterion: l1_mean, block: [4, 4], steps: 8, limit: 1.0, layers: [conv1, conv2]}
objectives: [max accuracy, max created_blocks]
constraints: [accuracy >= 0.1]
algorithm: {name: nsga2, population: 6, generations: 2}
seed: 3
"""
PRECISION = """\
model: model.onnx
arch: mixed16
options: {calibrate: calibration.npz}
accuracy: {data: samples.npz, samples: 16, split: halves}
precision: {weights: [3, 5, 8], activations: {start: 4, stop: 8, step: 2}}
objectives: [max accuracy, min mean_bits]
algorithm: {name: nsga2, population: 6, generations: 2}
seed: 3
"""


def write_judged(folder: Path, text: str, batch: int | None = 1) -> str:
    """The model, which takes so many samples (None: any number), samples of it and a study; the study's path."""
    rng = np.random.default_rng(5)
    weights = {
        "w1": rng.normal(0, 0.4, (8, 1, 3, 3)),
        "b1": rng.normal(0, 0.1, 8),
        "w2": rng.normal(0, 0.2, (8, 8, 3, 3)),
        "b2": rng.normal(0, 0.1, 8),
        "w3": rng.normal(0, 0.5, (CLASSES, 8)),
        "b3": np.zeros(CLASSES),
    }
    x = rng.normal(0, 1, (SAMPLES, 1, 8, 8)).astype(np.float32)
    scores = _scores(folder, weights, x)
    weights["b3"] = -scores.mean(axis=0)  # so that every class is there
    labels = _scores(folder, weights, x, batch).argmax(axis=1)
    np.savez(folder / "samples.npz", x=x, y=labels, flat=labels[:5])
    np.savez(folder / "calibration.npz", x=x[:16])
    path = folder / "study.yaml"
    path.write_text(text)
    return str(path)


def _scores(
    folder: Path, weights: dict[str, NDArray[Any]], x: NDArray[np.float32], batch: int | None = 1
) -> NDArray[Any]:
    """What the network says of `x`; the model is left in the folder."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], "mean"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], "dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "judged",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": each[None]})[0] for each in x])


def judged(folder: Path, text: str) -> Study:
    return read_study(write_judged(folder, text))
