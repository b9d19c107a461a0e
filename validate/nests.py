"""Nests of layers that are known by their shapes, and what the cost model says of their commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..backends.cost.classes import Grid
from ..backends.cost.commands import computes
from ..ir.affine import Affine
from ..ir.arch import MAIN_MEMORY, Arch
from ..ir.nest import Access, Body, BodyOp, Dataflow, Dim, Nest, Post, PostOp, Role
from ..ir.types import ElementType
from ..passes.schedule import make_schedule
from .networks import Conv

_A = Affine.of


def conv_nest(layer: Conv) -> Nest:
    """The convolution of one image in int8 as it slides (no matrix of windows), with bias, requantisation and ReLU."""
    extents = {
        "m": layer.m,
        "p": layer.p,
        "q": layer.q,
        "r": layer.kernel,
        "s": layer.kernel,
        "c": layer.c,
    }
    x = Access("x", "x", Role.INPUT, ElementType.I8, (layer.h, layer.w, layer.c), (*_window(layer), _A({"c": 1})), 0)
    w = Access("w", "w", Role.WEIGHT, ElementType.I8, *_axes("rscm", extents))
    bias = Access("bias", "bias", Role.BIAS, ElementType.I32, *_axes("m", extents))
    scale = Access("scale", "scale", Role.AUX, ElementType.F32, *_axes("m", extents))
    y = Access("y", "y", Role.OUTPUT, ElementType.I8, *_axes("pqm", extents))
    post = (
        Post(PostOp.BIAS, "bias"),
        Post(PostOp.REQUANTIZE, "scale", (("type", "i8"), ("zero_point", 0))),
        Post(PostOp.CLAMP, None, (("minimum", 0), ("maximum", 127))),
    )
    body = Body(BodyOp.MAC, "x", "w", "subtract")
    return Nest(layer.name, _domain(extents), (x, w, bias, scale), y, body, ElementType.I32, post)


def max_pool_nest(window: Conv) -> Nest:
    """A max pool of int8 with the window of a convolution, whose `m` is left out."""
    extents = {"p": window.p, "q": window.q, "c": window.c, "r": window.kernel, "s": window.kernel}
    shape = (window.h, window.w, window.c)
    x = Access("x", "x", Role.INPUT, ElementType.I8, shape, (*_window(window), _A({"c": 1})), -128)
    y = Access("y", "y", Role.OUTPUT, ElementType.I8, *_axes("pqc", extents))
    post = (Post(PostOp.SATURATE, None, (("type", "i8"),)),)
    return Nest(window.name, _domain(extents), (x,), y, Body(BodyOp.MAX, "x"), ElementType.I32, post)


def _window(layer: Conv) -> tuple[Affine, Affine]:
    return (_A({"p": layer.stride, "r": 1}, -layer.pad), _A({"q": layer.stride, "s": 1}, -layer.pad))


def _domain(extents: dict[str, int]) -> tuple[Dim, ...]:
    return tuple(Dim(name, extent) for name, extent in extents.items())


def product_nest(p: int, k: int, m: int) -> Nest:
    """A matrix product of p x k inputs and k x m weights in int8 with int32 results."""
    extents = {"p": p, "m": m, "k": k}
    a = Access("a", "a", Role.INPUT, ElementType.I8, *_axes("pk", extents))
    b = Access("b", "b", Role.WEIGHT, ElementType.I8, *_axes("km", extents))
    y = Access("y", "y", Role.OUTPUT, ElementType.I32, *_axes("pm", extents))
    return Nest(f"{p}x{k}x{m}", _domain(extents), (a, b), y, Body(BodyOp.MAC, "a", "b", "subtract"), ElementType.I32)


def im2col_nest(layer: Conv) -> Nest:
    """The convolution as a product with the matrix of its windows."""
    return product_nest(layer.p * layer.q, layer.kernel**2 * layer.c, layer.m)


def _axes(dims: str, extents: dict[str, int]) -> tuple[tuple[int, ...], tuple[Affine, ...]]:
    return tuple(extents[dim] for dim in dims), tuple(_A({dim: 1}) for dim in dims)


def with_array(arch: Arch, rows: int, cols: int) -> Arch:
    """The machine with an array of another size, and nothing between its commands."""
    array = replace(arch.array, rows=rows, cols=cols, drain_cycles=0)
    return replace(arch, array=array, queues=replace(arch.queues, command_cycles=0))


def scheduled(nest: Nest, arch: Arch, dataflow: Dataflow, tiles: Sequence[tuple[str, int]] = ()) -> Nest:
    """The nest with main-memory loops `tiles` (none: one command), operands in one copy each. Whether that fits the
    machine's memories is not asked: what a command takes does not depend on it."""
    return replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, {}))


def blocks(nest: Nest, arch: Arch, dataflow: Dataflow) -> int:
    """How many blocks of the array's size its stationary operand has, each counted whole."""
    loops = scheduled(nest, arch, dataflow).schedule
    assert loops is not None
    inside = [loop for loop in loops.loops if loop.level not in (MAIN_MEMORY, "array")]
    return prod(-(-prod(nest.extent(dim) for dim in loop.dims) // loop.size) for loop in inside)


def compute_cycles(nest: Nest, arch: Arch) -> tuple[int, int]:
    """Cycles for which the commands of a scheduled nest hold the array (T of specs/isa.md, section 3), and cycles from
    there until their results have left it (L), each summed over the commands."""
    grid = Grid.of(nest)
    done = computes(grid, arch)
    return grid.total(done.duration), grid.total(done.tail)
