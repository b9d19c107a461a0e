"""Modules that the verifier finds fault with: a sound nest, changes of it, and what is expected of the faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dnnc.ir.affine import Affine
from dnnc.ir.arch import Arch
from dnnc.ir.module import Module
from dnnc.ir.nest import Access, Body, BodyOp, Dim, Nest, Post, Role
from dnnc.ir.types import ElementType
from dnnc.ir.verifier import verify

from support.machines import machine
from support.nests import conv_nest

T = ElementType
A = Affine.of
MACHINE = machine()


def assert_fault(module: Module, message: str, arch: Arch | None = MACHINE, help: str = "") -> None:
    faults = verify(module, arch)
    assert any(message in fault.message and help in fault.help for fault in faults), "\n".join(map(str, faults))


NEST = conv_nest(MACHINE, tiles=(("m", 4), ("p", 3)))
assert NEST.schedule is not None
SCHEDULE = NEST.schedule
Change = Callable[[Nest], Nest]


def read(name: str, **changes: Any) -> Change:
    return lambda nest: replace(
        nest, reads=tuple(replace(each, **changes) if each.operand == name else each for each in nest.reads)
    )


def write(**changes: Any) -> Change:
    return lambda nest: replace(nest, write=replace(nest.write, **changes))


def nest_with(**changes: Any) -> Change:
    return lambda nest: replace(nest, **changes)


def body(**changes: Any) -> Change:
    return lambda nest: replace(nest, body=replace(nest.body, **changes))


def post(*steps: Post) -> Change:
    return lambda nest: replace(nest, post=(*nest.post, *steps))


def only(*steps: Post) -> Change:
    return lambda nest: replace(
        nest,
        post=steps,
        reads=tuple(each for each in nest.reads if each.operand in ("x", "w", *(s.operand for s in steps))),
    )


FLOAT_CLAMP = (("minimum", 0.0), ("maximum", 1.0))
I8 = ("type", "i8")


def small(index: tuple[Affine, ...], shape: tuple[int, ...], dims: tuple[Dim, ...], name: str = "copy") -> Nest:
    """A copy of `x` to `y` with this output index."""
    x = Access("x", "x", Role.INPUT, T.I8, tuple(d.extent for d in dims), tuple(A({d.name: 1}) for d in dims))
    return Nest(name, dims, (x,), Access("y", "y", Role.OUTPUT, T.I8, shape, index), Body(BodyOp.COPY, "x"), T.I32)
