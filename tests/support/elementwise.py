"""Random pools and post chains for tests of lowering and partition."""

from __future__ import annotations

import numpy as np
from dnnc.ir.graph import Stage, ValueType
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization

from support.graphs import Graph
from support.lowering import q


def pool_graph(
    kind: str,
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...] | None = None,
    count_include_pad: bool = False,
    element: T = T.I8,
    result: T | None = None,
    same: bool = False,
) -> Graph | None:
    """One pool of x [2, 3, image]; None where it has no output."""
    rank = len(kernel)
    dilations = dilations or (1,) * rank
    out = [
        (image[i] + pads[i] + pads[i + rank] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    ]
    if min(out) < 1:
        return None
    graph = Graph()
    result = result or element
    x_quantization = q(0.1, 11) if element.is_integer else None
    graph.input("x", (2, 3, *image), element, x_quantization)
    graph.tensor("y", (2, 3, *out), result, (x_quantization if same else q(0.13, 7)) if result.is_integer else None)
    graph.node(
        "pool",
        ["x"],
        "y",
        kind=kind,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        count_include_pad=count_include_pad,
    )
    return graph


CHAIN_X = (2, 4, 5, 3)


def chain_graph(
    stages: list[Stage], result: ValueType, value: ValueType, operands: dict[str, ValueType], group: int = 1
) -> Graph:
    """A convolution of 4 to 4 channels with a post chain; operands are residuals of the result's shape."""
    rng = np.random.default_rng(5)
    graph = Graph()
    real = value.type.is_float and value.quantization is None and result.type.is_float and not operands.get("codes")
    graph.input("x", CHAIN_X, T.F32 if real else T.I8, None if real else q(0.1, 3))
    shape = (4, 4 // group, 1, 1)
    graph.constant("w", rng.normal(size=shape) if real else rng.integers(-99, 99, shape), *_kind(real))
    for name, kind in operands.items():
        if name.startswith("table"):
            graph.constant(name, rng.permutation(256) - 128, kind.type)
        else:
            graph.input(name, CHAIN_X, kind.type, kind.quantization)
    graph.tensor("y", CHAIN_X, result.type, result.quantization)
    graph.conv(["x", "w"], "y", group=group, post=stages, value=value)
    return graph


def _kind(real: bool) -> tuple[T, Quantization | None]:
    return (T.F32, None) if real else (T.I8, q(0.05))


CODE = ValueType(T.I8, q(0.5, 5))
OTHER = ValueType(T.I8, q(0.8, -9))
REAL = ValueType(T.F32)
