"""Which codes a value gets of those that its readers ask for, and which types stand for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from dnnc.ir.arch import Arch
from dnnc.ir.graph import Node
from dnnc.ir.module import Module
from dnnc.ir.precision import LayerPrecision, PrecisionSpec
from dnnc.ir.types import ElementType as T
from dnnc.passes.quantise import quantise
from dnnc.passes.widths import Form, activation_type, forms_of, nearest_to_eight, weight_type
from support.graphs import Graph
from support.machines import machine

ALL = tuple(each for each in T if each.is_integer and each.bits <= 16)


def branching() -> Module:
    """conv a; max pool and reshape of it; matmuls c and d of that; a's result is added to x as well."""
    graph = Graph()
    graph.input("x", (1, 2, 4, 4), range=(-1, 1))
    graph.tensor("a", (1, 2, 4, 4), range=(-2, 3))
    graph.tensor("p", (1, 2, 2, 2), range=(-2, 3))
    graph.tensor("r", (1, 8), range=(-2, 3))
    graph.tensor("c", (1, 3), range=(0, 4))
    graph.tensor("d", (1, 3), range=(-4, 4))
    graph.tensor("e", (1, 3), range=(-8, 8))
    ones = np.ones((2, 2, 1, 1))
    graph.conv(["x", graph.constant("wa", ones)], "a")
    window = {"kernel": (2, 2), "strides": (2, 2), "dilations": (1, 1), "pads": (0,) * 4, "count_include_pad": False}
    graph.node("pool", ["a"], "p", kind="max", **window)  # type: ignore[arg-type]
    graph.node("reshape", ["p"], "r")
    plain = {"transpose_a": False, "transpose_b": False}
    for name in "cd":
        graph.node("matmul", ["r", graph.constant(f"w{name}", np.eye(8, 3))], name, **plain)
    graph.node("add", ["c", "d"], "e")
    return graph.module(["e"])


def spec(**layers: str) -> PrecisionSpec:
    from dnnc.ir.precision import layer_precision

    return PrecisionSpec.of(LayerPrecision(8, 9), {name: layer_precision(text) for name, text in layers.items()})


def wide() -> Arch:
    return machine(types=ALL, accumulator=T.I64)


def test_a_value_has_the_widest_form_of_its_readers_and_what_moves_it_too() -> None:
    forms = forms_of(branching(), spec(a_conv="w4a3", c_matmul="w4a4:sym", d_matmul="w4a6"))
    assert forms["x"] == Form(3, False, "a_conv")
    assert forms["a"] == forms["p"] == forms["r"] == Form(6, False, "d_matmul")
    assert forms["c"] == forms["d"] == forms["e"] == Form(9, False)


def test_it_is_symmetric_where_all_ask_for_that() -> None:
    forms = forms_of(branching(), spec(c_matmul="w4a4:sym", d_matmul="w4a3:sym"))
    assert forms["r"] == Form(4, True, "c_matmul")


def test_the_reason_says_why_an_operand_is_wider() -> None:
    module = quantise(branching(), wide(), spec(a_conv="w4a3", c_matmul="w4a4", d_matmul="w4a6"))
    nodes = {each.name: each for each in module.operations if isinstance(each, Node)}
    assert nodes["a_conv"].reason == "w4a3"
    assert nodes["c_matmul"].reason == "w4a4, on 6 bits of 'r', which 'd_matmul' asks for"
    types = {each.name: each.type for each in module.tensors}
    assert (types["x.i3"], types["a.i6"], types["p.i6"], types["r.i6"]) == (T.I3, T.I6, T.I6, T.I6)
    assert types["wa.i4"] is T.I4
    assert dict(module.header.options)["tolerance"] == "none"


def test_int8_is_w8a8() -> None:
    arch = machine()
    words, values = quantise(branching(), arch, "int8"), quantise(branching(), arch, PrecisionSpec())
    bare = tuple(replace(each, reason="") if isinstance(each, Node) else each for each in values.operations)
    assert (words.tensors, words.operations) == (values.tensors, bare)
    assert words.header == values.header


def test_types_of_forms() -> None:
    arch = wide()
    assert activation_type(arch, Form(5, False), 0.0) is T.I5
    assert activation_type(arch, Form(5, True), 0.0) is T.U5  # a bit more where nothing is negative
    assert activation_type(arch, Form(5, True), -0.1) is T.I5
    unsigned = machine(types=(T.U4, T.U8))
    assert activation_type(unsigned, Form(4, False), -1.0) is T.U4
    assert activation_type(unsigned, Form(4, True), -1.0) is None
    assert activation_type(unsigned, Form(5, False), 0.0) is None
    assert weight_type(unsigned, LayerPrecision(4)) is None
    assert weight_type(unsigned, LayerPrecision(4, symmetric_weights=False)) is T.U4


def test_what_stands_for_all_widths() -> None:
    assert nearest_to_eight(ALL) is T.I8
    assert nearest_to_eight((T.U4, T.I16, T.U8)) is T.U8
    assert nearest_to_eight((T.U4, T.I3, T.F32)) is T.U4
    assert nearest_to_eight((T.I12, T.U10, T.F32)) is T.U10
    assert nearest_to_eight((T.F32,)) is None
