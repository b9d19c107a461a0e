"""Elements that are no whole bytes, through every witness: cost, machine, literal counter, race check, interpreter."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from dnnc.backends.accel.emit import emit_program
from dnnc.ir.nest import Nest
from dnnc.ir.packing import packed, unpacked
from dnnc.ir.types import ElementType as T
from dnnc.passes.allocate import allocate
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chains import chain
from support.equality import Proof
from support.machines import machine
from support.nests import NARROW, conv_nest, matmul_nest, max_pool_nest, narrowed
from support.programs import module_of

ARCH = machine(types=(T.I8, *NARROW), accumulator=T.I64)
ANY = st.sampled_from((T.I8, *NARROW))


def faults_of(nest: Nest) -> list[str]:
    return list(Proof([nest], ARCH).faults())


@settings(max_examples=60)
@given(ANY, ANY, ANY, st.data())
def test_convolutions(x: T, w: T, y: T, data: st.DataObject) -> None:
    draw = data.draw
    sizes = {name: draw(st.integers(1, most), label=name) for name, most in (("m", 9), ("p", 5), ("q", 5), ("c", 11))}
    tiles = [(name, draw(st.integers(1, size), label=f"tile of {name}")) for name, size in sizes.items()]
    window = draw(st.integers(1, 3), label="window")
    nest = conv_nest(
        ARCH,
        n=1,
        **sizes,
        r=window,
        s=window,
        pad=window // 2,
        stride=draw(st.integers(1, 2), label="stride"),
        tiles=[*draw(st.permutations([tile for tile in tiles if tile[0] != "c"])), tiles[-1]],
        dataflow=draw(st.sampled_from(("ws", "os", "is")), label="dataflow"),
        copies={name: draw(st.integers(1, 2), label=f"copies of {name}") for name in "xwy"},
    )
    nest = replace(narrowed(nest, x=x, w=w, y=y), accumulator=T.I64)
    assert faults_of(nest) == []


@settings(max_examples=30)
@given(ANY, ANY, st.integers(1, 9), st.integers(1, 20), st.integers(1, 9), st.sampled_from(("ws", "os", "is")))
def test_products(a: T, b: T, p: int, k: int, m: int, dataflow: str) -> None:
    nest = matmul_nest(ARCH, g=2, p=p, k=k, m=m, dataflow=dataflow, accumulator=T.I64, tiles=[("p", 3), ("k", 7)])
    assert faults_of(narrowed(nest, a=a, b=b)) == []


@pytest.mark.parametrize("kind", NARROW)
def test_pools(kind: T) -> None:
    nest = max_pool_nest(ARCH, p=3, q=4, c=5, tiles=[("p", 2)])
    assert faults_of(replace(narrowed(nest, x=kind, y=kind), accumulator=T.I64)) == []


@settings(max_examples=30)
@given(ANY, st.integers(1, 7), st.integers(1, 6), st.booleans())
def test_values_that_stay_in_local_memory(kind: T, c: int, rows: int, padded: bool) -> None:
    """Stores to local memory, tiles that begin inside a byte, margins around them."""
    first = conv_nest(ARCH, n=1, m=c, p=6, q=5, c=3, tiles=[("p", rows)])
    second = conv_nest(
        ARCH, n=1, m=4, p=6 if padded else 4, q=5 if padded else 3, c=c, pad=int(padded), tiles=[("p", 2)]
    )
    first = replace(narrowed(first, y=kind), accumulator=T.I64)
    second = replace(narrowed(second, x=kind), accumulator=T.I64)
    module = chain(ARCH, first, second)
    assert list(Proof(module, ARCH).faults()) == []


@given(st.sampled_from([each for each in T if each.is_integer]), st.integers(0, 40), st.integers(0, 2**32))
def test_packing_is_bit_by_bit(kind: T, count: int, seed: int) -> None:
    codes = (
        np.random.default_rng(seed).integers(kind.minimum, kind.maximum, count, endpoint=True).astype(kind.container)
    )
    found = packed(codes, kind)
    assert len(found) == -(-count * kind.bits // 8)
    number = sum((int(code) & ((1 << kind.bits) - 1)) << (k * kind.bits) for k, code in enumerate(codes))
    assert found == number.to_bytes(len(found), "little")
    np.testing.assert_array_equal(unpacked(np.frombuffer(found, np.uint8), count, kind), codes)


@pytest.mark.parametrize("kind", [T.I4, T.I3, T.I12])
def test_a_program_holds_packed_weights(kind: T) -> None:
    nest = narrowed(conv_nest(ARCH, m=5, c=7), w=kind)
    module = allocate(module_of([replace(nest, accumulator=T.I64)]), ARCH)
    program = emit_program(module, ARCH)
    weights = nest.access("w")
    at = dict(module.addresses)["conv.w"]
    data = program.blobs[dict(program.constants)[at]]
    assert len(data) == -(-prod(weights.shape) * kind.bits // 8)
