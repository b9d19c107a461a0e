"""Small ONNX models that hold one of every operator that the accelerator takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from support.onnx_models import FLOAT, INT8, UINT8, save_model

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """A model; `write` puts it into a folder and returns its path and inputs."""

    name: str
    integer: bool
    write: Callable[[Path], tuple[Path, Feeds]]


class Quantised:
    """A chain of quantised operators on codes, with the constants that they need."""

    def __init__(self, seed: int, kind: Any = np.int8) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind = kind
        self.low, self.high = np.iinfo(kind).min, np.iinfo(kind).max
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def codes(self, *shape: int) -> NDArray[Any]:
        return self.rng.integers(self.low, self.high + 1, shape).astype(self.kind)

    def quantization(self, value: str, scale: float, zero: int) -> list[str]:
        self.constants[f"{value}.scale"] = np.float32(scale)
        self.constants[f"{value}.zero"] = self.kind(zero)
        return [f"{value}.scale", f"{value}.zero"]

    def conv(self, x: str, y: str, m: int, c: int, kernel: int = 3, scale: float = 0.4, **attributes: Any) -> None:
        """Per-channel weights, bias; x and y have been given their quantization."""
        self.constants[f"{y}.w"] = self.rng.integers(-128, 128, (m, c, kernel, kernel)).astype(np.int8)
        self.constants[f"{y}.ws"] = self.rng.uniform(0.004, 0.01, m).astype(np.float32)
        self.constants[f"{y}.wz"] = np.zeros(m, np.int8)
        self.constants[f"{y}.b"] = self.rng.integers(-3000, 3000, m).astype(np.int32)
        out = self.quantization(y, scale, 3 if self.kind is np.int8 else 120)
        inputs = [x, f"{x}.scale", f"{x}.zero", f"{y}.w", f"{y}.ws", f"{y}.wz", *out, f"{y}.b"]
        self.nodes.append(helper.make_node("QLinearConv", inputs, [y], y, **attributes))

    def matmul(self, x: str, y: str, k: int, m: int) -> None:
        self.constants[f"{y}.w"] = self.codes(k, m)
        weight = self.quantization(f"{y}.w", 0.01, -2 if self.kind is np.int8 else 126)
        out = self.quantization(y, 0.3, 1)
        inputs = [x, f"{x}.scale", f"{x}.zero", f"{y}.w", *weight, *out]
        self.nodes.append(helper.make_node("QLinearMatMul", inputs, [y], y))

    def microsoft(self, op: str, values: list[str], y: str, **attributes: Any) -> None:
        inputs = [name for x in values for name in (x, f"{x}.scale", f"{x}.zero")]
        inputs += self.quantization(y, 0.35, 5)
        self.nodes.append(helper.make_node(op, inputs, [y], y, domain="com.microsoft", **attributes))


def quantised(folder: Path) -> tuple[Path, Feeds]:
    """int8, batch 2: strided, padded, grouped, depthwise and dilated convolutions, a residual, pools, a product."""
    q = Quantised(1)
    q.quantization("x", 0.05, -7)
    q.conv("x", "a", 6, 3, strides=[2, 2], pads=[1, 1, 1, 1])  # 9 x 7 -> 5 x 4
    q.conv("a", "b", 6, 3, group=2, pads=[1, 0, 1, 2], scale=0.5)  # grouped, odd padding
    q.conv("a", "c", 6, 1, group=6, pads=[2, 2, 2, 2], dilations=[2, 2])  # depthwise, dilated
    q.microsoft("QLinearAdd", ["b", "c"], "d")
    q.nodes.append(
        helper.make_node("MaxPool", ["d"], ["e"], "e", kernel_shape=[2, 2], strides=[2, 1], pads=[0, 1, 1, 0])
    )
    q.constants["e.scale"], q.constants["e.zero"] = q.constants["d.scale"], q.constants["d.zero"]
    q.microsoft("QLinearGlobalAveragePool", ["e"], "f", channels_last=0)
    q.nodes.append(helper.make_node("Flatten", ["f"], ["g"], "g"))
    q.constants["g.scale"], q.constants["g.zero"] = q.constants["f.scale"], q.constants["f.zero"]
    q.matmul("g", "y", 6, 5)
    path = save_model(
        folder / "quantised.onnx", q.nodes, [("x", INT8, (2, 3, 9, 7))], [("y", INT8, (2, 5)), ("d", INT8, None)],
        q.constants,
    )  # fmt: skip
    return path, {"x": q.codes(2, 3, 9, 7)}


def unsigned(folder: Path) -> tuple[Path, Feeds]:
    """uint8 activations: a pointwise convolution beyond its kernel's stride, a batched product of computed values."""
    q = Quantised(2, np.uint8)
    q.quantization("x", 0.02, 128)
    q.conv("x", "a", 5, 4, kernel=1, strides=[3, 2])
    q.quantization("l", 0.03, 100)
    q.quantization("r", 0.02, 140)
    out = q.quantization("y", 0.2, 110)
    inputs = ["l", "l.scale", "l.zero", "r", "r.scale", "r.zero", *out]
    q.nodes.append(helper.make_node("QLinearMatMul", inputs, ["y"], "y"))
    values = [("x", UINT8, (2, 4, 7, 5)), ("l", UINT8, (2, 5, 7)), ("r", UINT8, (2, 7, 3))]
    path = save_model(folder / "unsigned.onnx", q.nodes, values, [("a", UINT8, None), ("y", UINT8, None)], q.constants)
    return path, {"x": q.codes(2, 4, 7, 5), "l": q.codes(2, 5, 7), "r": q.codes(2, 7, 3)}


def floats(folder: Path) -> tuple[Path, Feeds]:
    """float32, batch 2: convolution, transposed convolution, pools, residual, Gemm, a product of computed values."""
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> NDArray[Any]:
        return rng.normal(size=shape).astype(np.float32)

    constants = {"w": normal(4, 3, 3, 3), "b": normal(4), "t": normal(4, 3, 2, 3), "m": normal(3, 5), "n": normal(5)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "c", pads=[1, 1, 1, 1], strides=[2, 1]),
        helper.make_node("Relu", ["c"], ["d"], "d"),
        helper.make_node("ConvTranspose", ["d", "t"], ["e"], "e", strides=[2, 2], pads=[0, 1, 0, 0]),
        helper.make_node("AveragePool", ["e"], ["f"], "f", kernel_shape=[3, 2], strides=[2, 2]),
        helper.make_node("MaxPool", ["e"], ["g"], "g", kernel_shape=[3, 2], strides=[2, 2]),
        helper.make_node("Add", ["f", "g"], ["h"], "h"),
        helper.make_node("GlobalAveragePool", ["h"], ["i"], "i"),
        helper.make_node("Flatten", ["i"], ["j"], "j"),
        helper.make_node("Gemm", ["j", "m", "n"], ["k"], "k"),
        helper.make_node("Transpose", ["h"], ["s"], "s", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["h", "s"], ["y"], "y"),
        helper.make_node("Softmax", ["k"], ["z"], "z"),
    ]
    outputs = [("z", FLOAT, None), ("y", FLOAT, None)]
    path = save_model(folder / "floats.onnx", nodes, [("x", FLOAT, (2, 3, 6, 5))], outputs, constants)
    return path, {"x": normal(2, 3, 6, 5)}


MODELS = (Case("quantised", True, quantised), Case("unsigned", True, unsigned), Case("floats", False, floats))
