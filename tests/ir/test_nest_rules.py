"""One wrong nest for each rule about nests, and the sound ones around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dnnc.ir.isl_questions import IslQuestions
from dnnc.ir.module import Module
from dnnc.ir.nest import Access, Body, BodyOp, Dim, Nest, Post, PostOp, Role
from dnnc.ir.nest_rules import sum_bound
from dnnc.ir.types import Blobs
from dnnc.ir.verifier import verify
from support.faults import (
    FLOAT_CLAMP,
    I8,
    MACHINE,
    NEST,
    A,
    Change,
    T,
    assert_fault,
    body,
    nest_with,
    only,
    post,
    read,
    small,
    write,
)
from support.machines import float_machine, machine
from support.nests import conv_nest, matmul_nest
from support.values import module_of


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nest_with(domain=(*NEST.domain, Dim("c", 2))), "dimension 'c' is declared 2 times"),
        (nest_with(domain=(*NEST.domain, Dim("z", -1))), "dimension 'z' has extent -1"),
        (nest_with(domain=(*NEST.domain, Dim("value", 2))), "a dimension is named 'value'"),
        (nest_with(reads=(*NEST.reads, NEST.reads[0])), "2 operands are named %x"),
        (body(a="q"), "there is no operand %q"),
        (nest_with(reads=(*NEST.reads, replace(NEST.reads[0], operand="q"))), "operand %q is read and not used"),
        (read("x", index=NEST.reads[0].index[1:]), "%x has 3 indices for 4 axes"),
        (read("bias", index=(A({"z": 1}),)), "%bias is indexed by 'z', which is no dimension"),
        (read("bias", index=(A({"value": 1}),)), "%bias is indexed by 'value', which is no dimension"),
        (read("bias", index=(A({"m": -1}, 7),)), "%bias is indexed by -m + 7"),
        (read("bias", shape=(-8,)), "%bias has shape [-8]"),
        (read("x", role=Role.OUTPUT), "%x has role output"),
        (write(role=Role.INPUT), "the output has role input"),
        (nest_with(domain=(*NEST.domain, *(Dim(f"d{k}", 1) for k in range(4)))), "11 dimensions"),
        (nest_with(post=NEST.post + NEST.post[2:] * 10), "13 post steps"),
        (nest_with(post=NEST.post[:2] * 3), "6 post steps with an operand"),
        (read("bias", shape=(8,) + (1,) * 5, index=(A({"m": 1}),) + (A(),) * 5), "6 axes of %bias"),
        (read("bias", tensor="q"), "names %q, which is no tensor"),
        (read("bias", shape=(9,)), "the view [9] of %bias has 9 elements"),
        (read("bias", type=T.I16), "%bias reads i16, %bias holds i32"),
        (read("x", pad=200), "the pad of %x is 200"),
        (read("x", zero_point=-129), "the zero point of %x is -129"),
        (read("scale", zero_point=1), "the zero point of %scale is 1"),
        (read("x", pad=None), "axis 1 of %x is indexed from -1 to 6"),
        (write(pad=0), "the output has a pad value"),
        (write(index=(A(), A({"p": 1}, 1), A({"q": 1}), A({"m": 1}))), "axis 1 of %y is indexed from 1 to 6"),
        (body(b=None), "body mac takes two operands"),
        (body(form=""), "body mac has form ''"),
        (body(multiplier="mul8s"), "there is no multiplier 'mul8s'"),
        (body(attributes=(("ra", 1.0),)), "body mac has scalars ['ra']"),
        (body(op=BodyOp.MUL, form=""), "body mul overwrites, but the output does not depend on 'r'"),
        (nest_with(accumulator=T.F32), "post step 0 (bias): operand %bias is of type i32"),
        (post(Post(PostOp.BIAS)), "(bias): it has no operand"),
        (post(Post(PostOp.CLAMP, "bias", NEST.post[2].attributes)), "(clamp): it has an operand"),
        (post(Post(PostOp.CLAMP, None, (("minimum", 0),))), "(clamp): it has attributes minimum"),
        (post(Post(PostOp.SATURATE, None, (("type", "i88"),))), "there is no type 'i88'"),
        (
            post(Post(PostOp.REQUANTIZE, None, (I8, ("zero_point", 0)))),
            "(requantize): it has attributes type, zero_point",
        ),
        (post(Post(PostOp.REQUANTIZE, "scale", (I8, ("zero_point", 0.0)))), "attribute 'zero_point' is 0.0"),
        (post(Post(PostOp.SCALE, None, (("multiplier", 0.1),))), "attribute 'multiplier' is 0.1"),
        (post(Post(PostOp.SCALE, "bias")), "operand %bias is of type i32"),
        (post(Post(PostOp.CLAMP, None, FLOAT_CLAMP)), "attribute 'minimum' is 0.0"),
        (post(Post(PostOp.LEAKY, None, (("alpha", 0.5),))), "(leaky): the running value is an integer"),
        (
            post(Post(PostOp.SCALE, "scale"), Post(PostOp.SATURATE, None, (I8,))),
            "(saturate): the running value is a float",
        ),
        (post(Post(PostOp.SCALE, "scale")), "the post chain makes a float, i8 is stored"),
        (only(Post(PostOp.SCALE, "scale"), Post(PostOp.BIAS, "bias")), "(bias): operand %bias is of type i32"),
        (
            nest_with(post=(*NEST.post, Post(PostOp.TABLE, "bias", (("minimum", 0), ("type", "i32"))))),
            "is not indexed by",
        ),
        (read("bias", shape=(3,), index=(A({"r": 1}),)), "%bias depends on r, the output does not"),
        (write(index=(A(), A({"p": 1, "q": 1}), A(), A({"m": 1}))), "several points write"),
    ],
)
def test_faults_of_nests(change: Change, message: str) -> None:
    changed = change(NEST)
    module = module_of(changed) if message.startswith("%bias depends") else module_of(NEST)
    assert_fault(replace(module, operations=(changed,)), message)


def test_writes_are_injective_by_isl_where_radices_do_not_decide() -> None:
    dims = (Dim("a", 2), Dim("b", 3))
    is_injective = IslQuestions().is_injective
    assert is_injective((A({"a": 3, "b": 2}),), (("a", 2), ("b", 3)))  # 0 2 4 3 5 7
    assert not is_injective((A({"a": 2, "b": 1}),), (("a", 2), ("b", 3)))  # 2 twice
    assert_fault(module_of(small((A({"a": 2, "b": 1}),), (6,), dims)), "several points write one element")
    assert verify(module_of(small((A({"a": 3, "b": 1}),), (6,), dims))) == []
    assert is_injective((A({"a": 1, "b": 1}), A({"b": 1})), (("a", 2), ("b", 3)))


def test_outputs_have_no_gaps() -> None:
    nest = small((A({"a": 4, "b": 1}),), (8,), (Dim("a", 2), Dim("b", 3)))
    assert_fault(module_of(nest), "leave gaps: 6 points, 7 positions")


def test_a_nest_without_points_writes_nothing() -> None:
    dims = (Dim("a", 3), Dim("k", 0))
    x = Access("x", "x", Role.INPUT, T.I8, (3, 0), (A({"a": 1}), A({"k": 1})))
    y = Access("y", "y", Role.OUTPUT, T.I8, (3,), (A({"a": 1}),))
    assert_fault(module_of(Nest("sum", dims, (x,), y, Body(BodyOp.SUM, "x"), T.I32)), "k has no points")
    assert verify(module_of(small((A({"a": 1}),), (0,), (Dim("a", 0),)))) == []


def phases(*nests: Nest) -> Module:
    module = module_of(*nests)
    tensors = {each.name: each for each in module.tensors}
    return replace(module, tensors=tuple(tensors.values()))


def test_several_nests_write_one_value_in_disjoint_parts() -> None:
    dims = (Dim("a", 4), Dim("b", 3))
    even = small((A({"a": 2}), A({"b": 1})), (8, 3), dims, "even")
    odd = small((A({"a": 2}, 1), A({"b": 1})), (8, 3), dims, "odd")
    assert verify(phases(even, odd)) == []
    assert_fault(phases(even), "12 elements of %y are written by 1 nests")
    assert_fault(phases(even, replace(even, name="again")), "'even' writes some of the same elements")
    left = small((A({"a": 1}), A({"b": 1})), (8, 3), dims, "left")
    right = small((A({"a": 1}, 4), A({"b": 1})), (8, 3), dims, "right")
    assert verify(phases(left, right)) == []
    flat = small((A({"a": 3, "b": 1}, 12),), (24,), dims, "flat")  # the same bytes as `right`, seen flat
    assert verify(phases(left, flat)) == []
    assert_fault(phases(right, flat), "'right' writes some of the same elements")


def test_sums_fit_the_accumulator() -> None:
    big = matmul_nest(machine(spad_bytes=1 << 22), k=140_000)
    assert sum_bound(module_of(big), big) == 140_000 * 128 * 128
    assert_fault(module_of(big), "a sum may reach 2293760000, i32 holds 2147483647", None)
    on_floats = matmul_nest(float_machine(), k=1025, accumulator=T.F32)
    assert_fault(module_of(on_floats), "a sum may reach 16793600, f32 holds 16777216", None)
    assert not any("a sum" in fault.message for fault in verify(module_of(matmul_nest(MACHINE, k=131_071))))


def test_sums_of_constants_are_bounded_by_their_values() -> None:
    nest = matmul_nest(MACHINE, k=140_000)
    module = module_of(nest)
    blobs = Blobs()
    weights = blobs.add_array(np.ones((1, 140_000, 6), np.int8))
    tensors = tuple(replace(each, constant=weights) if each.name == "b" else each for each in module.tensors)
    constant = replace(module, tensors=tensors, inputs=("a",), blobs=blobs)
    assert sum_bound(constant, nest) == 140_000 * 128
    assert not any("a sum" in fault.message for fault in verify(constant))


def test_whole_numbers_of_a_post_chain_fit_their_fields() -> None:
    nest = conv_nest(MACHINE)
    bias, requantize, clamp = nest.post
    wide = (("type", "i8"), ("zero_point", 1 << 40))
    post = (
        bias,
        replace(requantize, attributes=wide),
        replace(clamp, attributes=(("minimum", -(1 << 40)), ("maximum", 1))),
    )
    for value in (1 << 40, -(1 << 40)):
        assert_fault(module_of(replace(nest, post=post)), str(value))
