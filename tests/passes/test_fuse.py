"""fuse keeps every value bit for bit, and folds only what the formula allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dnnc.ir.module import Module
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Quantization
from dnnc.passes import fuse as fuse_pass
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
    assert [each.op for each in after.operations] == ["conv", "relu"]
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
    assert node.value.quantization == before.tensor("t").quantization
    assert node.post[0].result.quantization == before.tensor("u").quantization


def residual_chain(blocks: int) -> Module:
    """x + conv(x), again and again; every second sum has the product second, which in floats is the same."""
    graph = Graph()
    graph.input("v0", (1, 2, 1, 1), T.F32)
    weights = graph.constant("w", RNG.normal(size=(2, 2, 1, 1)), T.F32)
    for number in range(blocks):
        graph.tensor(f"t{number}", (1, 2, 1, 1), T.F32)
        graph.tensor(f"v{number + 1}", (1, 2, 1, 1), T.F32)
        graph.conv([f"v{number}", weights], f"t{number}")
        sum_of = [f"t{number}", f"v{number}"]
        graph.node("add", sum_of[:: -1 if number % 2 else 1], f"v{number + 1}")
    return graph.module([f"v{blocks}"])


def test_a_long_chain_is_fused_in_one_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in proportion: the module is rebuilt once, and no pair is judged twice."""
    before = residual_chain(5_000)
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        plain = getattr(fuse_pass, name)

        def counted(*arguments: Any) -> Any:
            calls[name] += 1
            return plain(*arguments)

        return counted

    for name in ("rebuilt", "readers", "writers", "_legal"):
        monkeypatch.setattr(fuse_pass, name, counting(name))
    after = fuse(before, machine())
    assert len(before.operations) == 10_000 and len(after.operations) == 5_000
    assert calls == {"rebuilt": 1, "readers": 1, "writers": 1, "_legal": 5_000}


def test_of_two_products_one_takes_the_sum_and_no_second_one() -> None:
    graph = Graph()
    graph.input("x", SHAPE, T.F32)
    weights = graph.constant("w", RNG.normal(size=(4, 4, 1, 1)), T.F32)
    for name in "abcuv":
        graph.tensor(name, SHAPE, T.F32)
    for name in "abc":
        graph.conv(["x", weights], name)
    graph.node("add", ["a", "b"], "u")
    graph.node("add", ["u", "c"], "v")
    before = graph.module(["v"])
    after = fuse(before, machine())
    assert [(each.op, len(each.post)) for each in after.operations] == [("conv", 0), ("conv", 1), ("conv", 1)]
    inputs = {"x": RNG.normal(size=SHAPE).astype(np.float32)}
    old, new = (run_graph(module, inputs, lambda *_: [])["v"] for module in (before, after))
    np.testing.assert_array_equal(old, new)
