"""Nests against numpy: the unscheduled meaning, the scheduled one, and the order of float sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dnnc.ir.affine import Affine
from dnnc.ir.block_rules import block_steps
from dnnc.ir.blocks import CRITERIA, BlockTest
from dnnc.ir.diagnostics import OurBug
from dnnc.ir.nest import VALUE, Access, Body, BodyOp, Dim, Nest, Post, PostOp, Prune, Role
from dnnc.ir.types import ElementType as T
from dnnc.runtime import arithmetic
from dnnc.runtime.arithmetic import Window
from dnnc.runtime.nest_interpreter import run_nest, run_scheduled, tiles
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.blocks import pruned_by_hand
from support.machines import float_machine, machine
from support.nests import conv_nest, matmul_nest, max_pool_nest

Array = NDArray[Any]
F32 = np.float32
of = Affine.of


def random_tensors(nest: Nest, seed: int = 0) -> dict[str, Array]:
    """Codes over the whole range of 8-bit types; wider integers and floats of moderate size."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for access in nest.reads:
        count = int(np.prod(access.shape))
        if access.type.is_float:
            values: Array = rng.standard_normal(count) * (0.01 if access.role is Role.AUX else 1)
        elif access.type.bits > 8:
            values = rng.integers(-3000, 3000, count)
        else:
            values = rng.integers(access.type.minimum, access.type.maximum + 1, count)
        tensors[access.tensor] = arithmetic.to_container(values, access.type)
    return tensors


def output_of(nest: Nest) -> Array:
    return np.zeros(int(np.prod(nest.write.shape)), nest.write.type.container)


def test_convolution_is_that_of_the_arithmetic_model() -> None:
    nest = conv_nest(machine(), n=2, stride=2, p=4, q=3, pad=1, zx=7, zw=-3, zy=5)
    t = random_tensors(nest)
    x = t["x"].reshape(nest.access("x").shape).transpose(0, 3, 1, 2)
    w = t["w"].reshape(nest.access("w").shape).transpose(3, 2, 0, 1)
    total = arithmetic.conv_sum(
        arithmetic.centred(x, 7), arithmetic.centred(w, -3), Window((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)), 1
    )
    channel = (1, -1, 1, 1)
    codes = arithmetic.requantize(total + t["bias"].reshape(channel), t["scale"].reshape(channel), 5, T.I8)
    expected = np.maximum(codes, 5).transpose(0, 2, 3, 1).ravel()
    assert np.array_equal(run_nest(nest, t, output_of(nest)), expected)


def test_raw_products_read_codes_as_they_are_stored() -> None:
    nest = conv_nest(machine(), zx=7, zw=-3, form="raw", pad=0)
    nest = replace(nest, post=(), write=replace(nest.write, type=T.I32))
    t = random_tensors(nest)
    x = t["x"].reshape(nest.access("x").shape).transpose(0, 3, 1, 2)
    w = t["w"].reshape(nest.access("w").shape).transpose(3, 2, 0, 1)
    total = arithmetic.conv_sum(x, w, Window((3, 3), (1, 1), (1, 1), (0,) * 4), 1)
    assert np.array_equal(run_nest(nest, t, output_of(nest)), total.transpose(0, 2, 3, 1).ravel())


def test_max_pool_pads_with_the_least_code() -> None:
    nest = max_pool_nest(machine())
    t = {"x": np.full(int(np.prod(nest.access("x").shape)), -128, np.int8)}
    t["x"][-1] = -5
    got = run_nest(nest, t, output_of(nest)).reshape(nest.write.shape)
    assert got[0, -1, -1, -1] == -5
    assert (got.ravel()[:-1] == -128).all()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_schedules_do_not_change_integers(data: st.DataObject) -> None:
    draw = data.draw
    size: dict[str, Any] = {
        name: draw(st.integers(1, top)) for name, top in dict(n=2, m=6, p=5, q=4, c=5, r=3, s=3).items()
    }
    stride = draw(st.integers(1, 3))
    pad = draw(st.integers(0, min(size["r"], size["s"]) - 1))
    h = max(1, (size["p"] - 1) * stride + size["r"] - 2 * pad)
    w = max(1, (size["q"] - 1) * stride + size["s"] - 2 * pad)
    outer = draw(st.permutations("nmpq"))[: draw(st.integers(0, 3))]
    inner = draw(st.permutations("crs"))[: draw(st.integers(0, 2))]
    arch = machine(draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    nest = conv_nest(
        arch,
        **size,
        stride=stride,
        pad=pad,
        h=h,
        w=w,
        zw=2,
        tiles=[(dim, draw(st.integers(1, size[dim]))) for dim in [*outer, *inner]],
        dataflow=draw(st.sampled_from(["ws", "os", "is"])),
    )
    t = random_tensors(nest)
    ran = run_scheduled(nest, arch, t, output_of(nest))
    assert np.array_equal(ran.out, run_nest(nest, t, output_of(nest)))
    assert ran.overflows == 0


def summed_by_hand(a: Array, b: Array, rows: int, tile: int, dataflow: str) -> Array:
    """The product a @ b in the order that specs/isa.md section 4 gives, scalar by scalar."""
    p, k, m = a.shape[0], a.shape[1], b.shape[1]
    out = np.zeros((p, m), F32)
    for i in range(p):
        for j in range(m):
            acc = None
            for start in range(0, k, tile):
                block = rows if dataflow != "os" else tile
                for first in range(start, min(k, start + tile), block):
                    partial = F32(0)
                    for each in range(first, min(k, start + tile, first + block)):
                        partial = F32(partial + F32(a[i, each] * b[each, j]))
                    acc = partial if acc is None else F32(acc + partial)
            out[i, j] = acc
    return out


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("tile", [5, 8, 23])
def test_float_sums_follow_the_schedule_bit_for_bit(dataflow: str, tile: int) -> None:
    arch = float_machine(3, 2)
    nest = matmul_nest(
        arch, p=4, k=23, m=5, tiles=[("m", 2), ("k", tile)], dataflow=dataflow, element=T.F32, accumulator=T.F32
    )
    t = random_tensors(nest, 4)
    a, b = t["a"].reshape(4, 23), t["b"].reshape(23, 5)
    ran = run_scheduled(nest, arch, t, output_of(nest)).out.reshape(4, 5)
    expected = summed_by_hand(a, b, 3, tile, dataflow)
    assert np.array_equal(ran.view(np.uint32), expected.view(np.uint32))
    unscheduled = run_nest(nest, t, output_of(nest)).reshape(4, 5)
    assert np.array_equal(unscheduled, (a.astype(np.float64) @ b.astype(np.float64)).astype(F32))
    assert not np.array_equal(ran, unscheduled)
    assert (np.abs(ran - unscheduled) <= 23 * 2.0**-24 * (np.abs(a) @ np.abs(b))).all()


def test_bf16_operands_are_widened_exactly_and_results_rounded() -> None:
    arch = machine(types=(T.BF16,), accumulator=T.F32)
    nest = matmul_nest(arch, p=3, k=7, m=4, element=T.BF16, accumulator=T.F32)
    nest = replace(nest, write=replace(nest.write, type=T.BF16))
    t = random_tensors(nest, 5)
    a, b = (arithmetic.bf16_values(t[name]) for name in "ab")
    expected = arithmetic.bf16_bits((a.reshape(3, 7).astype(np.float64) @ b.reshape(7, 4)).astype(F32))
    assert np.array_equal(run_nest(nest, t, output_of(nest)).reshape(3, 4), expected)


def test_overflow_is_counted_and_wraps() -> None:
    arch = machine(accumulator=T.I16)
    nest = matmul_nest(arch, p=2, k=6, m=2, tiles=[("k", 3)], accumulator=T.I16)
    t = {"a": np.full(12, 127, np.int8), "b": np.full(12, -128, np.int8)}
    ran = run_scheduled(nest, arch, t, output_of(nest))
    assert (ran.out == np.array(6 * 127 * -128).astype(np.int16)).all()
    assert ran.overflows == 4  # the first command's -48768 wraps to 16768; the second's sum, -32000, fits again
    assert np.array_equal(run_nest(nest, t, output_of(nest)), ran.out)


@pytest.mark.parametrize("empty", ["p", "k"])
def test_an_empty_schedule_writes_nothing(empty: str) -> None:
    size: dict[str, Any] = {"p": 3, "k": 4, empty: 0}
    nest = matmul_nest(machine(), **size)
    assert list(tiles(nest)) == []
    t = random_tensors(nest)
    out = np.full(size["p"] * 6, 9, np.int32)
    assert np.array_equal(run_scheduled(nest, machine(), t, out).out, out)
    # The definition gives an empty sum, 0, which is why lowering keeps such products away from the array.
    assert np.array_equal(run_nest(nest, t, out), np.zeros_like(out))


def elementwise(
    body: Body, post: tuple[Post, ...], *extra: Access, types: tuple[T, T] = (T.I8, T.I8), **kinds: T
) -> Nest:
    """y[i] = post(body(a[i], b[i])) over six elements."""
    line = (of({"i": 1}),)
    reads = [Access("a", "a", Role.INPUT, types[0], (6,), line), Access("b", "b", Role.INPUT, types[1], (6,), line)]
    write = Access("y", "y", Role.OUTPUT, kinds.get("result", T.I8), (6,), line)
    accumulator = kinds.get("accumulator", T.I32)
    used = reads if body.b else reads[:1]
    return Nest("e", (Dim("i", 6),), (*used, *extra), write, body, accumulator, post)


def test_qadd_in_the_body_and_in_the_post_chain_are_one_formula() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.integers(-128, 128, (2, 6)).astype(np.int8)
    scalars = (("ra", 0.375), ("rb", 1.25), ("base", -2.5))
    saturate = Post(PostOp.SATURATE, None, (("type", "i8"),))
    body = elementwise(Body(BodyOp.QADD, "a", "b", attributes=scalars), (saturate,))
    chained = elementwise(
        Body(BodyOp.COPY, "a"),
        (Post(PostOp.QADD, "b", (*scalars, ("type", "i8"))),),
        elementwise(Body(BodyOp.QADD, "a", "b"), ()).access("b"),
    )
    inner = arithmetic.fma32(b.astype(F32), F32(1.25), F32(-2.5))
    expected = arithmetic.saturate(np.rint(arithmetic.fma32(a.astype(F32), F32(0.375), inner)), 0, T.I8)
    for nest in (body, chained):
        assert np.array_equal(run_nest(nest, {"a": a, "b": b}, output_of(nest)), expected)


def test_a_table_is_indexed_by_the_running_value() -> None:
    entries = Access("t", "t", Role.AUX, T.I8, (256,), (of({VALUE: 1}, 128),))
    nest = elementwise(Body(BodyOp.COPY, "a"), (Post(PostOp.TABLE, "t", (("minimum", -128), ("type", "i8"))),), entries)
    a = np.array([-128, -1, 0, 1, 5, 127], np.int8)
    table = (np.arange(256) * 7 % 256 - 128).astype(np.int8)
    assert np.array_equal(run_nest(nest, {"a": a, "t": table}, output_of(nest)), table[a.astype(int) + 128])


STEPS: list[tuple[Post, Any]] = [
    (Post(PostOp.SCALE, None, (("multiplier", 0.3),)), lambda v: v * F32(0.3)),
    (Post(PostOp.DIVIDE, None, (("divisor", 9.0),)), lambda v: v / F32(9)),
    (Post(PostOp.CLAMP, None, (("minimum", -1.5), ("maximum", 2.25))), lambda v: np.clip(v, F32(-1.5), F32(2.25))),
    (Post(PostOp.LEAKY, None, (("alpha", 0.1),)), lambda v: np.where(v >= 0, v, v * F32(0.1))),
    (Post(PostOp.ADD, "b"), lambda v: v + np.arange(6, dtype=F32)),
    (Post(PostOp.MUL, "b"), lambda v: v * np.arange(6, dtype=F32)),
    (Post(PostOp.BIAS, "b"), lambda v: v + np.arange(6, dtype=F32)),
    (Post(PostOp.SCALE, "b"), lambda v: v * np.arange(6, dtype=F32)),
]


@pytest.mark.parametrize("case", range(len(STEPS)))
def test_float_steps_of_the_post_chain(case: int) -> None:
    step, meaning = STEPS[case]
    b = Access("b", "b", Role.AUX, T.F32, (6,), (of({"i": 1}),))
    extra = (b,) if step.operand else ()
    nest = elementwise(Body(BodyOp.COPY, "a"), (step,), *extra, types=(T.F32, T.F32), result=T.F32, accumulator=T.F32)
    a = np.random.default_rng(7).standard_normal(6).astype(F32) * 3
    got = run_nest(nest, {"a": a, "b": np.arange(6, dtype=F32)}, output_of(nest))
    assert np.array_equal(got, meaning(a).astype(F32))


def test_average_pool_of_codes_as_a_float_mac_and_divisions() -> None:
    """The chain that specs/arithmetic.md section 5 gives, against the formula, with the counts of a padded border."""
    rng = np.random.default_rng(8)
    sx, sy, zx, zy = F32(0.02), F32(0.02), 3, -9
    x = rng.integers(-128, 128, (1, 5, 4)).astype(np.int8)
    window = Window((3,), (2,), (1,), (1, 1))
    counts = arithmetic.pool_counts((4,), window, False)
    positions = len(counts)
    dims = (Dim("c", 5), Dim("p", positions), Dim("r", 3))
    scalar = ()
    reads = (
        Access("x", "x", Role.INPUT, T.I8, (5, 4), (of({"c": 1}), of({"p": 2, "r": 1}, -1)), zx, zx),
        Access("s", "s", Role.WEIGHT, T.F32, scalar, ()),
        Access("n", "n", Role.AUX, T.F32, (positions,), (of({"p": 1}),)),
        Access("z", "z", Role.AUX, T.F32, scalar, ()),
    )
    post = (
        Post(PostOp.DIVIDE, "n"),
        Post(PostOp.DIVIDE, None, (("divisor", float(sy)),)),
        Post(PostOp.ADD, "z"),
        Post(PostOp.QUANTIZE, None, (("scale", 1.0), ("zero_point", 0), ("type", "i8"))),
    )
    write = Access("y", "y", Role.OUTPUT, T.I8, (5, positions), (of({"c": 1}), of({"p": 1})))
    nest = Nest("pool", dims, reads, write, Body(BodyOp.MAC, "x", "s", "subtract"), T.F32, post)
    arch = machine()
    lanes = max_pool_nest(arch).schedule
    assert lanes is not None
    nest = replace(nest, schedule=replace(lanes, loops=(), buffers=()))
    tensors: dict[str, Array] = {
        "x": x.ravel(),
        "s": np.array([sx]),
        "n": counts.astype(F32),
        "z": np.array([zy], F32),
    }
    scales = arithmetic.Scale(float(sx), zx), arithmetic.Scale(float(sy), zy)
    expected = arithmetic.qlinear_average_pool(x, window, False, *scales, T.I8)
    assert np.array_equal(run_scheduled(nest, arch, tensors, output_of(nest)).out, expected.ravel())


def test_nests_that_write_parts_leave_the_rest() -> None:
    half = elementwise(Body(BodyOp.COPY, "a"), ())
    half = replace(half, write=replace(half.write, shape=(12,), index=(of({"i": 2}, 1),)))
    out = np.full(12, 7, np.int8)
    got = run_nest(half, {"a": np.arange(6, dtype=np.int8)}, out)
    assert got.tolist() == [7, 0, 7, 1, 7, 2, 7, 3, 7, 4, 7, 5]


@settings(max_examples=60, deadline=None)
@given(
    criterion=st.sampled_from(CRITERIA),
    block=st.sampled_from([(1, 16), (2, 3), (4, 4), (8, 8), (5, 2)]),
    threshold=st.sampled_from([0, 256 * 40, 256 * 700]),
    dataflow=st.sampled_from(["ws", "os", "is"]),
    data=st.data(),
)
def test_blocks_are_pruned_after_the_post_chain(
    criterion: str, block: tuple[int, int], threshold: int, dataflow: str, data: Any
) -> None:
    """Unscheduled and in tiles that hold whole blocks, as the nest without pruning, then pruned by hand."""
    arch = machine()
    prune = Prune(BlockTest(criterion, threshold, *block), 6 * 5, 8, -4)
    steps = block_steps(replace(conv_nest(arch, n=2), prune=prune))
    tiles_of = []
    for dim, extent in (("n", 2), ("m", 8), ("p", 6), ("q", 5), ("c", 6)):
        legal = [size for size in range(1, extent + 1) if size == extent or size % steps.get(dim, 1) == 0]
        tiles_of.append((dim, data.draw(st.sampled_from(legal))))
    plain = conv_nest(arch, n=2, tiles=tiles_of, dataflow=dataflow)
    tensors = random_tensors(plain)
    stored = run_nest(plain, tensors, output_of(plain)).reshape(2, 30, 8)
    expected = pruned_by_hand(stored, -4, criterion, threshold, *block)[0]
    nest = replace(plain, prune=prune)
    assert np.array_equal(run_nest(nest, tensors, output_of(nest)), expected.reshape(-1))
    assert np.array_equal(run_scheduled(nest, arch, tensors, output_of(nest)).out, expected.reshape(-1))


def test_a_tile_that_cuts_a_block_is_our_own_fault() -> None:
    nest = conv_nest(machine(), tiles=(("p", 4), ("q", 3)))
    nest = replace(nest, prune=Prune(BlockTest("sum", 0, 2, 2), 30, 8, -4))
    with pytest.raises(OurBug, match="a tile holds a part of a block"):
        run_scheduled(nest, machine(), random_tensors(nest), output_of(nest))
