"""Nests one behind the other, between which values stay in local memory, for tests of all who read such modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dnnc.ir.arch import Arch
from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Access, Nest, Post, PostOp, Role, Target
from dnnc.ir.nest_layout import reach_outside
from dnnc.ir.types import ElementType, Tensor
from dnnc.passes.allocate import allocate

from support.nests import conv_nest

Wires = Mapping[tuple[int, str], int]  # the nest whose output an operand of a nest is


def linked(nests: Sequence[Nest], wires: Wires) -> Module:
    """The nests in their order; what nobody reads is an output. Tensors are renamed to `nest.tensor`."""
    names = [f"{nest.name}{number}" for number, nest in enumerate(nests)]
    tensors: dict[str, Tensor] = {}
    operations = []
    for number, nest in enumerate(nests):

        def tensor_of(access: Access, number: int = number) -> str:
            maker = wires.get((number, access.operand))
            return (
                f"{names[number]}.{access.tensor}" if maker is None else f"{names[maker]}.{nests[maker].write.tensor}"
            )

        reads = tuple(replace(each, tensor=tensor_of(each)) for each in nest.reads)
        write = replace(nest.write, tensor=f"{names[number]}.{nest.write.tensor}")
        operations.append(replace(nest, name=names[number], reads=reads, write=write))
        for each in (*reads, write):
            tensors.setdefault(each.tensor, Tensor(each.tensor, each.type, each.shape))
    written = [nest.write.tensor for nest in operations]
    read = {name for nest in operations for name in nest.inputs}
    inputs = tuple(name for name in tensors if name not in written)
    outputs = tuple(name for name in written if name not in read)
    return Module(Header("chain", "", ""), tuple(tensors.values()), tuple(operations), inputs, outputs)


def kept(module: Module, name: str, shape: tuple[int, ...], margins: tuple[int, ...]) -> Module:
    """The module with a value in `spad`; a reader without padding has no margins, if nobody has."""

    def changed(nest: Nest) -> Nest:
        schedule = nest.schedule
        assert schedule is not None
        reads = {access.operand: access for access in nest.reads if access.tensor == name}
        buffers = tuple(
            replace(each, copies=1, margins=margins if any(margins) else (0,) * (2 * len(reads[each.operand].shape)))
            if each.operand in reads
            else each
            for each in schedule.buffers
        )
        target = Target("spad", shape, margins) if nest.write.tensor == name else schedule.target
        return replace(nest, schedule=replace(schedule, buffers=buffers, target=target))

    return replace(module, operations=tuple(changed(each) for each in module.operations if isinstance(each, Nest)))


def margins_of(nest: Nest, operand: str, more: int = 0) -> tuple[int, ...]:
    """The margins that a nest needs around an operand, and `more` where it needs some."""
    extents = {dim.name: dim.extent for dim in nest.domain}
    outside = reach_outside(nest.access(operand), extents)
    return tuple(side + more * (side > 0) for sides in outside for side in sides)


def flat_conv(arch: Arch, **sizes: Any) -> Nest:
    """A 1x1 convolution over pixels in one row: x i8[p,c], y i8[p,m]."""
    nest = conv_nest(arch, n=1, q=1, r=1, s=1, pad=0, **sizes)
    x, y = nest.access("x"), nest.write
    x = replace(x, shape=(x.shape[1], x.shape[3]), index=(x.index[1], x.index[3]), pad=None)
    y = replace(y, shape=(y.shape[1], y.shape[3]), index=(y.index[1], y.index[3]))
    return replace(nest, reads=(x, *nest.reads[1:]), write=y)


def with_residual(nest: Nest, copies: int = 1) -> Nest:
    """The nest with a value of its output's shape added by the store."""
    schedule = nest.schedule
    assert schedule is not None
    residual = Access("residual", "residual", Role.AUX, ElementType.I8, nest.write.shape, nest.write.index)
    scalars = (("ra", 0.5), ("rb", 0.25), ("base", 3.0), ("type", "i8"))
    buffer = replace(schedule.buffer("bias"), operand="residual", copies=copies)
    return replace(
        nest,
        reads=(*nest.reads, residual),
        post=(*nest.post, Post(PostOp.QADD, "residual", scalars)),
        schedule=replace(schedule, buffers=(*schedule.buffers, buffer)),
    )


def chain(arch: Arch, *nests: Nest, more: int = 0) -> Module:
    """Nests that each read the output of the one before as `x`, allocated, with all of that kept."""
    module = linked(nests, {(number, "x"): number - 1 for number in range(1, len(nests))})
    for maker, reader in zip(module.operations, nests[1:], strict=False):
        module = kept(module, maker.outputs[0], reader.access("x").shape, margins_of(reader, "x", more))
    return allocate(module, arch)


def chains(arch: Arch) -> Iterator[Module]:
    """Modules that together use every rule about kept values of specs/isa.md."""
    for dataflow in ("ws", "os", "is"):
        first = conv_nest(arch, m=6, p=6, q=5, c=5, tiles=[("p", 2), ("m", 4)], dataflow=dataflow)
        padded = conv_nest(arch, m=7, p=6, q=5, c=6, tiles=[("m", 4), ("p", 4)], dataflow=dataflow)
        yield chain(arch, first, padded)
        yield chain(arch, first, padded, more=1)
    # Rows of pixels that the reader takes apart: the target splits an axis, tiles hold whole rows.
    flat = flat_conv(arch, p=30, c=9, m=6, tiles=[("p", 10), ("c", 4)])
    strided = conv_nest(arch, m=5, p=3, q=3, c=6, stride=2, h=6, w=5, tiles=[("p", 1), ("c", 4)], copies={"y": 1})
    yield _split(arch, flat, strided)
    # A stride beyond the window; no padding, so that the views may differ.
    sparse = conv_nest(arch, m=4, p=2, q=2, c=6, r=1, s=1, stride=3, pad=0, h=6, w=5, tiles=[("q", 1)])
    yield _dense(arch, flat, sparse)
    # A value that is an operand of the store as well, of several layers later.
    one = conv_nest(arch, m=6, p=5, q=4, c=3, tiles=[("p", 3)])
    two = conv_nest(arch, m=6, p=5, q=4, c=6, tiles=[("p", 2), ("m", 4)])
    three = with_residual(conv_nest(arch, m=6, p=5, q=4, c=6, tiles=[("m", 4), ("p", 3)], copies={"x": 1}))
    module = linked([one, two, three], {(1, "x"): 0, (2, "x"): 1, (2, "residual"): 0})
    for number in (0, 1):
        name = module.operations[number].outputs[0]
        module = kept(module, name, (1, 5, 4, 6), (0, 0, 1, 1, 1, 1, 0, 0))
    yield allocate(module, arch)


def _split(arch: Arch, flat: Nest, reader: Nest) -> Module:
    """The reader's image without its axis of one, which the writer does not have."""
    x = reader.access("x")
    x = replace(x, shape=x.shape[1:], index=x.index[1:])
    return chain(arch, flat, replace(reader, reads=(x, *reader.reads[1:])))


def _dense(arch: Arch, first: Nest, second: Nest) -> Module:
    module = linked([first, second], {(1, "x"): 0})
    return allocate(kept(module, module.operations[0].outputs[0], first.write.shape, (0,) * 4), arch)
