"""Codes in main memory around an array of floats: what the pass writes, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import dnnc
import numpy as np
import pytest
from dnnc.frontend.arch_yaml import load_arch
from dnnc.ir.diagnostics import CompileError
from dnnc.ir.graph import Node, Stage, ValueType
from dnnc.ir.module import Module
from dnnc.ir.parser import parse_module
from dnnc.ir.precision import PrecisionSpec, layer_precision
from dnnc.ir.printer import print_module
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import constant_array
from dnnc.passes.converted_storage import converted_storage, float_of, is_decoding
from dnnc.passes.quantise import quantise
from support.commands import DIGITS, refused
from support.golden import golden
from support.graphs import Graph

ARCH = load_arch("converter48")
CONVERTER48 = (Path(dnnc.__file__).parent / "specs" / "arch" / "converter48.yaml").read_text()


def network(ranges: bool = True, scale: float = 1.0) -> Module:
    """x, convolved twice by one constant, the second time with the first result added; a reshape; a product."""

    def wide(low: float, high: float) -> tuple[float, float] | None:
        return (low, high) if ranges else None

    rng, floats = np.random.default_rng(5), ValueType(T.F32)
    graph = Graph()
    graph.input("x", (1, 3, 4, 4), range=wide(-3.0, 3.0))
    graph.tensor("a", (1, 3, 4, 4), range=wide(0.0, 6.0))
    graph.tensor("b", (1, 3, 4, 4), range=wide(-8.0, 8.0))
    graph.tensor("r", (1, 48), range=wide(-8.0, 8.0))
    graph.tensor("y", (1, 5), range=wide(-4.0, 4.0))
    w = graph.constant("w", rng.normal(size=(3, 3, 1, 1)) * scale)
    graph.conv(["x", w], "a", post=[Stage("relu", floats)], value=floats)
    graph.conv(["a", w], "b", post=[Stage("add", floats, "a")], value=floats)
    graph.node("reshape", ["b"], "r")
    v = graph.constant("v", rng.normal(size=(48, 5)))
    graph.node("matmul", ["r", v], "y", transpose_a=False, transpose_b=False)
    return graph.module(["y"])


def spec(default: str, **layers: str) -> PrecisionSpec:
    return PrecisionSpec.of(layer_precision(default), {name: layer_precision(text) for name, text in layers.items()})


def test_text() -> None:
    module = quantise(network(), ARCH, spec("w8a8", a_conv="w4a6:sym", b_conv="w3a5"))
    text = print_module(module)
    assert parse_module(text) == module
    golden("converted_storage.dnnir", text)


def test_weights_of_two_layers_have_codes_of_each() -> None:
    module = quantise(network(), ARCH, spec("w8a8", a_conv="w4a6", b_conv="w3a5"))
    codes = {each.name: each.type for each in module.tensors if each.constant is not None}
    assert {kind for name, kind in codes.items() if name.startswith("w.")} == {T.I4, T.I3}
    for name, kind in codes.items():
        if kind.is_integer:
            stored = constant_array(module.tensor(name), module.blobs)
            assert kind.minimum <= stored.min() <= stored.max() <= kind.maximum


def test_what_a_layer_reads_is_decoded_and_what_codes_are_read_is_quantised_at_the_end_of_its_chain() -> None:
    module = quantise(network(), ARCH, spec("w4a6"))
    nodes = {each.name: each for each in module.operations if isinstance(each, Node)}
    assert [stage.op for stage in nodes["b_conv"].post] == ["add", "quantize"]
    assert nodes["b_conv"].post[0].operand == "a.bf16"  # the residual comes from its codes, too
    assert module.tensor(nodes["r_reshape"].inputs[0]).type is T.I6  # codes are moved
    assert module.tensor("y").type is T.F32
    decoding = [each for each in nodes.values() if is_decoding(each, module, ARCH)]
    assert {module.tensor(each.outputs[0]).type for each in decoding} == {float_of(ARCH)} == {T.BF16}
    assert not any(is_decoding(each, module, replace(ARCH, converter=None)) for each in nodes.values())


def test_a_sum_of_two_products_is_one_chain_whose_other_operand_is_codes() -> None:
    rng, graph = np.random.default_rng(5), Graph()
    graph.input("x", (1, 3, 4, 4), range=(-3.0, 3.0))
    for name in ("a", "b", "s", "y"):
        graph.tensor(name, (1, 3, 4, 4), range=(-8.0, 8.0))
    for name in "ab":
        graph.conv(["x", graph.constant(f"w{name}", rng.normal(size=(3, 3, 1, 1)))], name)
    graph.node("add", ["a", "b"], "s")
    graph.conv(["s", graph.constant("wy", rng.normal(size=(3, 3, 1, 1)))], "y")
    module = quantise(graph.module(["y"]), ARCH, spec("w4a6"))
    nodes = [each for each in module.operations if isinstance(each, Node)]
    assert [each.op for each in nodes if each.op not in ("dequantize", "quantize")] == ["conv", "conv", "conv"]
    stored = [module.tensor(each.outputs[0]).type for each in nodes if each.op == "conv"]
    assert stored == [T.I6, T.I6, T.F32]


def test_what_is_in_codes_already_stays() -> None:
    once = quantise(network(), ARCH, spec("w4a6"))
    assert converted_storage(network(), ARCH, spec("w4a6")) == once
    assert dict(once.header.options)["tolerance"] == "none"


def test_without_a_precision_all_is_floats() -> None:
    """`auto` on an array of bf16: the converter is passed by."""
    module = quantise(network(), ARCH, "auto")
    assert not any(isinstance(each.type, T) and each.type.is_integer for each in module.tensors)


def test_ranges_that_are_missing_are_named_all() -> None:
    with pytest.raises(CompileError) as caught:
        quantise(network(ranges=False), ARCH, spec("w4a6"))
    said = [each.message for each in caught.value.diagnostics]
    assert said == [f"tensor {name!r} has no calibrated range" for name in ("x", "a", "b")]


def test_weights_that_are_not_finite_are_named() -> None:
    with pytest.raises(CompileError, match="weights of 'a_conv' are not finite"):
        quantise(network(scale=np.inf), ARCH, spec("w4a6"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_constants_that_are_not_finite_are_named(value: float) -> None:
    """Of what a residual adds, too, not of weights alone: no code stands for them."""
    rng, floats, graph = np.random.default_rng(5), ValueType(T.F32), Graph()
    graph.input("x", (1, 3, 4, 4), range=(-3.0, 3.0))
    graph.tensor("a", (1, 3, 4, 4), range=(0.0, 6.0))
    graph.tensor("y", (1, 3, 4, 4), range=(0.0, 6.0))
    terms = [graph.constant(name, np.full((1, 3, 4, 4), value)) for name in ("c", "d")]
    weights = graph.constant("w", rng.normal(size=(3, 3, 1, 1)))
    for before, result, term in zip("xa", "ay", terms, strict=True):
        post = [Stage("relu", floats), Stage("add", floats, term), Stage("relu", floats)]
        graph.conv([before, weights], result, post=post, value=floats)
    with pytest.raises(CompileError) as caught:
        quantise(graph.module(["y"]), ARCH, spec("w8a8"))
    said = [each.message for each in caught.value.diagnostics]
    assert said == [f"constant {name!r} holds values that are not finite, which no code stands for" for name in "cd"]


@pytest.mark.parametrize(
    ("default", "layer", "claimed"),
    [("w8a8", "w9a12", "range:0.1"), ("w8a8", "w7a8", "none"), ("w8a7", "w8a8", "none")],
)
def test_what_is_claimed_of_eight_bits_or_more(default: str, layer: str, claimed: str) -> None:
    module = quantise(network(), ARCH, spec(default, a_conv=layer))
    assert dict(module.header.options)["tolerance"] == claimed


def test_widths_are_those_of_the_converter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch, precision = tmp_path / "arch.yaml", tmp_path / "p.yaml"
    arch.write_text(re.sub("least_bits: 2, most_bits: 16", "least_bits: 4, most_bits: 12", CONVERTER48))
    precision.write_text("default: w8a8\nlayers:\n  conv1: w3a8\n  conv2: w4a13\n")
    text = refused(["cost", DIGITS, "--arch", str(arch), "--precision", str(precision)], capsys)
    assert f"{precision}:3:10: error: layer 'conv1': converter48's number converter takes no weights of 3 bits" in text
    assert f"{precision}:4:10: error: layer 'conv2': converter48's number converter takes no activations of 13" in text
    assert text.count("help: 4 to 12 bits") == 2
