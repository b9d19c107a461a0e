"""A number converter in front of main memory, through every witness: cost, machine, literal counter, interpreter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnnc.ir.arch import Converter
from dnnc.ir.parser import parse_module
from dnnc.ir.printer import print_module
from dnnc.ir.types import ElementType as T
from hypothesis import given, settings
from hypothesis import strategies as st
from support.equality import Proof, module_of
from support.machines import machine
from support.nests import conv_nest, converted, matmul_nest

CODES = [each for each in T if each.is_integer and each.bits <= 16]
UNIT = Converter(lanes=2, least_bits=2, most_bits=16, latency_cycles=12, switch_cycles=25)
ARCH = replace(machine(name="converting", types=(T.BF16, T.F32), accumulator=T.F32, bus_bytes=16), converter=UNIT)
KINDS = st.sampled_from(CODES)


@settings(max_examples=50)
@given(KINDS, KINDS, KINDS, st.sampled_from(("ws", "os", "is")), st.data())
def test_convolutions(x: T, w: T, y: T, dataflow: str, data: st.DataObject) -> None:
    sizes = {
        name: data.draw(st.integers(1, most), label=name) for name, most in (("m", 7), ("p", 5), ("q", 4), ("c", 9))
    }
    tiles = [(name, data.draw(st.integers(1, size), label=f"tile of {name}")) for name, size in sizes.items()]
    nest = conv_nest(ARCH, n=1, **sizes, tiles=tiles, dataflow=dataflow)
    assert list(Proof([converted(nest, {"x": x, "w": w}, y)], ARCH).faults()) == []


@settings(max_examples=20)
@given(KINDS, st.booleans(), st.sampled_from(("ws", "os", "is")))
def test_some_operands_pass_by(kind: T, of_a: bool, dataflow: str) -> None:
    nest = matmul_nest(ARCH, p=6, k=11, m=5, element=T.F32, accumulator=T.F32, tiles=[("p", 4)], dataflow=dataflow)
    nest = converted(nest, {"a" if of_a else "b": kind}, T.I5)
    assert list(Proof([nest], ARCH).faults()) == []


def test_text_keeps_what_is_decoded() -> None:
    nest = converted(conv_nest(ARCH, n=1), {"x": T.U6, "w": T.I3}, T.U4)
    module = module_of([nest], ARCH)
    text = print_module(module)
    assert "decode bf16 scale 0.0625 zero 1 pad 0.0" in text
    assert parse_module(text, "m.dnnir") == module


@pytest.mark.parametrize("lanes", [1, 4, 64])
def test_the_converter_bounds_a_layer(lanes: int) -> None:
    arch = replace(ARCH, converter=replace(UNIT, lanes=lanes))
    nest = converted(matmul_nest(arch, p=64, k=64, m=1, element=T.F32, accumulator=T.F32), {"a": T.I8}, T.I8)
    proof = Proof([nest], arch)
    assert list(proof.faults()) == []
    (layer,) = proof.counted
    assert layer.actions["converter.element"] == 64 * 64 + 64
    assert (layer.cycles >= 64 * 64 // lanes) and (lanes > 1 or layer.cycles < 2 * 64 * 64)
