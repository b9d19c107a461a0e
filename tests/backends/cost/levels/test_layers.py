"""Layers on a hierarchy, derived by hand: what passes main memory besides the operands of products, and how long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.backends.cost.levels.cost import cost
from dnnc.backends.cost.levels.layers import host_layer, post_chain_pj, product_layer, vector_layer
from dnnc.ir.affine import Affine
from dnnc.ir.arch import EnergyRow
from dnnc.ir.hierarchy import OPERAND_ROLES, Hierarchy, Store
from dnnc.ir.loop_tree import Keep, LoopTree, Temporal, workload_of
from dnnc.ir.nest import Access, Body, BodyOp, Dim, Nest, Post, PostOp, Role
from dnnc.ir.stats import Transfer
from dnnc.ir.types import ElementType

A = Affine.of
MACHINE = Hierarchy(
    name="one_level",
    clock_hz=10**9,
    levels=(Store("dram", OPERAND_ROLES, 64, shared_words_per_cycle=1.0),),
    bits=tuple((role, 8) for role in OPERAND_ROLES),
    energy=(
        EnergyRow("mac", "mac", 1.0, "test"),
        EnergyRow("dram", "read_word", 10.0, "test"),
        EnergyRow("dram", "write_word", 20.0, "test"),
    ),
    vector_lanes=4,
)
X = Access("x", "x", Role.INPUT, ElementType.I8, (2, 3), (A({"p": 1}), A({"k": 1})))
W = Access("w", "w", Role.WEIGHT, ElementType.I8, (3, 4), (A({"k": 1}), A({"m": 1})))
BIAS = Access("b", "b", Role.BIAS, ElementType.I32, (4,), (A({"m": 1}),))
Y = Access("y", "y", Role.OUTPUT, ElementType.I32, (2, 4), (A({"p": 1}), A({"m": 1})))
PRODUCT = Nest(
    "product",
    (Dim("p", 2), Dim("m", 4), Dim("k", 3)),
    (X, W, BIAS),
    Y,
    Body(BodyOp.MAC, "x", "w", "subtract"),
    ElementType.I32,
    (Post(PostOp.BIAS, "b"),),
)
TREE = LoopTree((Keep("dram", OPERAND_ROLES), Temporal("p", 1), Temporal("m", 1), Temporal("k", 1)))


def test_a_product_takes_its_bias_from_main_memory() -> None:
    """Without a store inside every product reads both operands: 24 bytes each, three words; outputs are updated 24
    times and read again 16 times; 4 biases of 32 bits are two words. All 3 + 3 + 3 + 2 + 2 words pass at one a cycle,
    which the 24 steps hide."""
    workload = workload_of(PRODUCT, dict(MACHINE.bits))
    layer = product_layer(PRODUCT, MACHINE, cost(workload, MACHINE, TREE))
    assert layer.macs == 24
    assert layer.slots == 24
    assert layer.traffic["dram"] == {
        "input": Transfer.of_bytes(24, 0),
        "weight": Transfer.of_bytes(24, 0),
        "output": Transfer.of_bytes(16, 24),
        "bias": Transfer.of_bytes(16, 0),
    }
    assert layer.energy_pj == {"mac": 24.0, "dram": (3 + 3 + 2 + 2) * 10.0 + 3 * 20.0}
    assert layer.bound == "mac"


@pytest.mark.parametrize("step", [PostOp.ADD, PostOp.MUL, PostOp.QADD])
def test_a_residual_has_the_width_of_inputs_folded_or_not(step: PostOp) -> None:
    """8 elements of 8 bits are a word, whatever type the model has for them; the same in a layer of its own."""
    residual = Access("r", "r", Role.AUX, ElementType.F32, (2, 4), (A({"p": 1}), A({"m": 1})))
    nest = replace(PRODUCT, reads=(X, W, residual), post=(Post(step, "r"),))
    layer = product_layer(nest, MACHINE, cost(workload_of(nest, dict(MACHINE.bits)), MACHINE, TREE))
    assert layer.traffic["dram"]["aux"] == Transfer.of_bytes(8, 0)
    assert post_chain_pj(nest, MACHINE) == 10.0
    pooled = replace(nest, reads=(X, residual), body=Body(BodyOp.SUM, "x"))
    assert vector_layer(pooled, MACHINE).traffic["dram"]["aux"] == Transfer.of_bytes(8, 0)


def test_the_unit_beside_the_array_may_be_the_slowest() -> None:
    slow = replace(MACHINE, vector_lanes=1, levels=(replace(MACHINE.stores[0], shared_words_per_cycle=None),))
    tree = LoopTree((Keep("dram", OPERAND_ROLES), Temporal("p", 1), Temporal("m", 1)))
    nest = replace(
        PRODUCT,
        domain=(Dim("p", 2), Dim("m", 4)),
        reads=(replace(X, shape=(2,), index=(A({"p": 1}),)), replace(W, shape=(4,), index=(A({"m": 1}),))),
        post=(),
    )
    layer = product_layer(nest, replace(slow, vector_lanes=1), cost(workload_of(nest, dict(slow.bits)), slow, tree))
    assert layer.cycles == 8  # as many outputs as products
    assert layer.bound == "mac"


def test_a_layer_without_products_moves_every_operand_once() -> None:
    """A sum of two: 8 points at 4 a cycle are 2 cycles, which three words of main memory take longer than."""
    nest = replace(
        PRODUCT,
        domain=(Dim("p", 2), Dim("m", 4)),
        reads=(
            replace(X, operand="a", tensor="a", shape=(2, 4), index=(A({"p": 1}), A({"m": 1}))),
            replace(X, operand="b", tensor="b", shape=(2, 4), index=(A({"p": 1}), A({"m": 1}))),
        ),
        body=Body(BodyOp.ADD, "a", "b"),
        post=(),
    )
    layer = vector_layer(nest, MACHINE)
    assert (layer.macs, layer.cycles, layer.bound) == (0, 3, "dram")
    assert layer.traffic["dram"] == {"input": Transfer.of_bytes(16, 0), "output": Transfer.of_bytes(0, 8)}
    assert layer.energy_pj == {"dram": 2 * 10.0 + 20.0}


def test_what_the_host_moves_has_the_price_of_main_memory() -> None:
    """20 bytes in and 9 out are 3 and 2 words of eight."""
    layer = host_layer({"input": Transfer.of_bytes(20, 0), "output": Transfer.of_bytes(0, 9)}, 0, 1234, MACHINE)
    assert (layer.cycles, layer.bound, layer.macs) == (1234, "host", 0)
    assert layer.traffic == {"dram": {"input": Transfer.of_bytes(24, 0), "output": Transfer.of_bytes(0, 16)}}
    assert layer.energy_pj == {"dram": 3 * 10.0 + 2 * 20.0}


def test_operations_of_the_host_have_a_price_of_their_own_where_there_is_one() -> None:
    row = EnergyRow("host", "operation", 1.5, "t")
    for machine, energy in ((MACHINE, {}), (replace(MACHINE, energy=(*MACHINE.energy, row)), {"host": 60.0})):
        layer = host_layer({"input": Transfer.of_bytes(8, 0)}, 40, 7, machine)
        assert layer.actions["host", "operation"] == 40
        assert layer.energy_pj == {"dram": 10.0} | energy
