"""fuse keeps every value bit for bit, and folds only what the formula allows."""

from __future__ import annotations

import numpy as np
import pytest
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from dnnc.passes.fuse import fuse
from dnnc.runtime.graph_interpreter import run_graph
from support.graphs import Graph
from support.machines import machine

RNG = np.random.default_rng(11)
SHAPE = (1, 4, 5, 5)


def residual_block(first: str, quantised: bool, activation: bool = True) -> Module:
    """conv, then an addition with the convolution's result as operand `first`, then relu."""
    graph = Graph()
    kind = T.I8 if quantised else T.F32

    def q(scale: float, zero_point: int) -> Quantization | None:
        return Quantization((scale,), (zero_point,)) if quantised else None

    graph.input("x", SHAPE, kind, q(0.02, 3))
    graph.input("r", SHAPE, kind, q(0.03, -7))
    graph.tensor("t", SHAPE, kind, q(0.05, 11))
    graph.tensor("u", SHAPE, kind, q(0.04, -20))
    graph.tensor("y", SHAPE, kind, q(0.04, -20))
    weights = RNG.integers(-127, 128, (4, 4, 3, 3)) if quantised else RNG.normal(size=(4, 4, 3, 3))
    graph.conv(["x", graph.constant("w", weights, kind, q(0.01, 0))], "t", pad=1)
    graph.node("add", ["t", "r"] if first == "conv" else ["r", "t"], "u")
    if not activation:
        return graph.module(["u"])
    graph.node("relu", ["u"], "y")
    return graph.module(["y"])


def operands(module: Module) -> dict[str, np.ndarray]:
    if module.tensor("x").type is T.I8:
        return {name: RNG.integers(-128, 128, SHAPE).astype(np.int8) for name in "xr"}
    return {name: RNG.normal(size=SHAPE).astype(np.float32) for name in "xr"}


@pytest.mark.parametrize("quantised", [False, True])
def test_a_fused_addition_gives_the_same_bits(quantised: bool) -> None:
    before = residual_block("conv", quantised)
    after = fuse(before, machine())
    assert [each.op for each in after.operations] == ["conv", "relu"]  # type: ignore[union-attr]
    inputs = operands(before)
    old, new = (run_graph(module, inputs, lambda *_: [])["y"] for module in (before, after))
    np.testing.assert_array_equal(old, new)


def test_a_quantised_sum_whose_second_operand_is_the_product_is_not_symmetric_and_stays() -> None:
    before = residual_block("residual", True)
    assert len(fuse(before, machine()).operations) == len(before.operations)


def test_a_float_sum_is_symmetric() -> None:
    assert len(fuse(residual_block("residual", False), machine()).operations) == 2


def test_the_middle_keeps_its_quantise_point() -> None:
    before = residual_block("conv", True, activation=False)
    (node,) = fuse(before, machine()).operations
    assert node.value.quantization == before.tensor("t").quantization  # type: ignore[union-attr]
    assert node.post[0].result.quantization == before.tensor("u").quantization  # type: ignore[union-attr]
