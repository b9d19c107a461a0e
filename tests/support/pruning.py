"""A machine that prunes blocks, graphs to prune, and what pruning by hand makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from dnnc.ir.arch import Arch, BlockUnit
from dnnc.ir.blocks import CRITERIA
from dnnc.ir.graph import Stage, ValueType
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from dnnc.runtime.graph_interpreter import run_module
from numpy.typing import NDArray

from support.graphs import Graph
from support.machines import machine

Array = NDArray[Any]
PRUNES: Arch = replace(machine(), block_unit=BlockUnit(4, CRITERIA, 64, 16))
QX, QY, QZ = Quantization((0.5,), (3,)), Quantization((1.0,), (-128,)), Quantization((2.0,), (-100,))
WHOLE = Quantization((1.0,), (0,))

# Families, numbers and meanings of networks of which the machine prunes something.
NETWORKS = (
    ("qlinear_conv", 1, "producer_tile"),
    ("qlinear_conv", 4, "consumer_im2col"),
    ("qlinear_conv_deep", 2, "consumer_im2col"),
    ("qlinear_residual", 0, "producer_tile"),
    ("qlinear_residual", 3, "consumer_im2col"),
    ("conv_integer", 5, "consumer_im2col"),
    ("matmul_integer", 3, "consumer_im2col"),
    ("qlinear_matmul", 3, "producer_tile"),
    ("qgemm", 5, "consumer_im2col"),
    ("qdq_chain", 1, "consumer_im2col"),
    ("float_conv", 3, "producer_tile"),
    ("float_matmul", 1, "consumer_im2col"),
    ("float_gemm", 4, "consumer_im2col"),
    ("float_residual", 5, "producer_tile"),
    ("float_residual", 2, "consumer_im2col"),
)


def two_layers(
    *,
    n: int = 1,
    c: int = 3,
    m: int = 5,
    image: tuple[int, int] = (5, 6),
    kernel: int = 3,
    stride: int = 1,
    pad: int = 1,
    second: int = 3,
    pooled: bool = False,
    output: bool = False,
    seed: int = 0,
) -> Module:
    """conv1 [c to m channels] with a ReLU, a max pool that reads it too if `pooled`, and conv2, which reads conv1.

    Outputs are conv2's result, the pool's, and conv1's where it is one."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    graph.input("x", (n, c, *image), T.I8, QX)
    graph.constant("w1", rng.integers(-9, 10, (m, c, kernel, kernel)), T.I8, WHOLE)
    graph.constant(
        "w2", rng.integers(-9, 10, (4, m, second, second)), T.I8, Quantization((1.0, 0.5, 0.25, 2.0), (0,) * 4, 0)
    )
    sizes = tuple((each + 2 * pad - kernel) // stride + 1 for each in image)
    graph.tensor("y", (n, m, *sizes), T.I8, QY)
    graph.tensor("z", (n, 4, *sizes), T.I8, QZ)
    value = ValueType(T.I8, QY)
    graph.conv(["x", "w1"], "y", stride=stride, pad=pad, post=[Stage("relu", value)], value=value)
    graph.conv(["y", "w2"], "z", pad=second // 2)
    outputs = ["z"]
    if pooled:
        graph.tensor("p", (n, m, sizes[0] - 1, sizes[1] - 1), T.I8, QY)
        window = {"kernel": (2, 2), "strides": (1, 1), "dilations": (1, 1), "pads": (0,) * 4}
        graph.node("pool", ["y"], "p", kind="max", count_include_pad=False, **window)  # type: ignore[arg-type]
        outputs.append("p")
    if output:
        outputs.append("y")
    module = graph.module(outputs)
    return replace(module, tensors=tuple(replace(each, order=None) for each in module.tensors))


def values_of(module: Module, seed: int = 0) -> dict[str, Array]:
    """Codes for the inputs of a module, many of them at their zero point."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in module.inputs:
        tensor = module.tensor(name)
        assert isinstance(tensor.type, T)
        assert tensor.shape is not None
        assert tensor.quantization is not None
        codes = rng.integers(tensor.type.minimum, tensor.type.maximum + 1, tensor.shape)
        rows = rng.random((*tensor.shape[:-1], 1)) < 0.4
        found[name] = np.where(rows, tensor.quantization.zero_point[0], codes).astype(tensor.type.container)
    return found


def ran(module: Module, values: Mapping[str, Array]) -> dict[str, Array]:
    found: dict[str, Array] = run_module(module, values, lambda region, inputs: inputs)
    return found


def network_values(module: Module, seed: int) -> dict[str, Array]:
    """Values for the inputs of a network, floats or codes."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name in module.inputs:
        tensor = module.tensor(name)
        assert isinstance(tensor.type, T)
        assert tensor.shape is not None
        if tensor.type.is_float:
            found[name] = (rng.random(tensor.shape) * 2 - 1).astype(np.float32)
        else:
            codes = rng.integers(tensor.type.minimum, tensor.type.maximum + 1, tensor.shape)
            found[name] = codes.astype(tensor.type.container)
    return found
