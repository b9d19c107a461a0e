"""Chains of nests whose outputs are pruned, for tests of tables, skipped blocks and their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from dnnc.ir.affine import Affine
from dnnc.ir.arch import MAIN_MEMORY, Arch, BlockUnit
from dnnc.ir.blocks import CRITERIA, BlockTest
from dnnc.ir.module import Header, Module, Operation
from dnnc.ir.nest import Access, Buffer, Dataflow, Dim, Loop, Nest, Post, PostOp, Prune, Role
from dnnc.ir.types import ElementType as T
from dnnc.ir.types import Tensor

from support.machines import machine

ZERO = -4


def unit_machine(tables: int = 2, entries: int = 64, lanes: int = 4, arch: Arch | None = None) -> Arch:
    """A small machine with a block unit."""
    return replace(arch or machine(), block_unit=BlockUnit(lanes, CRITERIA, entries, 16, tables))


def joined(nest: Nest, name: str, x: str, y: str, *, other: str = "", rows: int = 0, cols: int = 0) -> Nest:
    """A convolution as layer `name` of a module: it reads `x`, adds `other` to its sums if there is one, and writes
    `y`, of which it prunes blocks of `rows` x `cols`."""
    reads = [replace(each, tensor=x if each.operand == "x" else f"{name}.{each.tensor}") for each in nest.reads]
    post, schedule = list(nest.post), nest.schedule
    assert schedule is not None
    if other:
        reads.append(Access("other", other, Role.INPUT, T.I8, nest.write.shape, nest.write.index))
        attributes = (("ra", 0.5), ("rb", 0.5), ("base", 0.0), ("type", "i8"))
        post.append(Post(PostOp.QADD, "other", attributes))
        schedule = replace(schedule, buffers=(*schedule.buffers, Buffer("other", "spad")))
    shape = nest.write.shape
    prune = Prune(BlockTest("max_abs", 0, rows, cols), prod(shape[1:-1]), shape[-1], ZERO) if rows else None
    write = replace(nest.write, tensor=y)
    return replace(nest, name=name, reads=tuple(reads), write=write, post=tuple(post), schedule=schedule, prune=prune)


def module_of(arch: Arch, operations: Sequence[Operation], outputs: Sequence[str]) -> Module:
    """A module of these; what none of them writes are its inputs. Not allocated."""
    tensors: dict[str, Tensor] = {}
    for each in operations:
        if isinstance(each, Nest):
            for access in (*each.reads, each.write):
                tensors.setdefault(access.tensor, Tensor(access.tensor, access.type, access.shape))
        else:
            for name in each.outputs:
                tensors.setdefault(name, Tensor(name, T.I8, (1,)))
    written = {name for each in operations for name in each.outputs}
    inputs = tuple(name for name in tensors if name not in written)
    return Module(Header("held", arch.name, ""), tuple(tensors.values()), tuple(operations), inputs, tuple(outputs))


def depthwise_nest(arch: Arch, plain: Nest) -> Nest:
    """A convolution of each channel by itself on the vector unit, of the extents of `plain`, without its tiles: x and y
    as there, w i8[r,s,c]."""
    (x, w, bias, scale), schedule = plain.reads, plain.schedule
    assert schedule is not None
    extents = {dim.name: dim.extent for dim in plain.domain}
    channels = extents["c"]
    dims = tuple(Dim(name, extents[name]) for name in "npqcrs")
    of_channel = (Affine.of({"c": 1}),)
    w = replace(w, shape=(extents["r"], extents["s"], channels), index=tuple(Affine.of({d: 1}) for d in "rsc"))
    reads = (x, w, *(replace(each, shape=(channels,), index=of_channel) for each in (bias, scale)))
    shape = (extents["n"], extents["p"], extents["q"], channels)
    write = replace(plain.write, shape=shape, index=tuple(Affine.of({d: 1}) for d in "npqc"))
    assert arch.vector is not None
    loops = [Loop("vector", (name,), 1) for name in "npqrs"] + [Loop("vector", ("c",), arch.vector.lanes, "lanes")]
    vector = replace(schedule, dataflow=Dataflow.VECTOR, im2col="none", loops=tuple(loops))
    return replace(plain, name="depthwise", domain=dims, reads=reads, write=write, schedule=vector)


def tiled(nest: Nest, tiles: Sequence[tuple[str, int]]) -> Nest:
    """The nest with these main-memory loops in the place of its own."""
    schedule = nest.schedule
    assert schedule is not None
    inner = [loop for loop in schedule.loops if loop.level != MAIN_MEMORY]
    outer = [Loop(MAIN_MEMORY, (dim,), size) for dim, size in tiles]
    return replace(nest, schedule=replace(schedule, loops=(*outer, *inner)))
