"""A small module and its program, for tests of the container, the assembler and the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from dnnc.backends.accel.emit import emit_program
from dnnc.ir.arch import Arch
from dnnc.ir.graph import HostRegion
from dnnc.ir.module import Header, Module, Operation
from dnnc.ir.nest import Nest
from dnnc.ir.program import Program
from dnnc.ir.types import Blobs, HostType, Tensor
from dnnc.passes.allocate import allocate

from support.machines import machine
from support.nests import conv_nest, max_pool_nest

ARCH_TEXT = "name: small # a \"machine\"\nrows: 4\n\n  nested: 'µm²'\n"


def module_of(nests: Sequence[Nest], seed: int = 0) -> Module:
    """A module of nests that are independent of one another: constants for what is no `x`, `a` or output.

    The tensors of each nest are renamed to `nest.tensor`.
    """
    rng = np.random.default_rng(seed)
    blobs = Blobs()
    tensors: list[Tensor] = []
    operations: list[Operation] = []
    inputs, outputs = [], []
    for nest in nests:
        for access in (*nest.reads, nest.write):
            tensor = Tensor(f"{nest.name}.{access.tensor}", access.type, access.shape)
            if access is nest.write:
                outputs.append(tensor.name)
            elif access.tensor in "xa":
                inputs.append(tensor.name)
            else:
                low, high = -99, 99
                if access.type.is_integer:
                    low, high = max(low, access.type.minimum), min(high, access.type.maximum + 1)
                values = rng.integers(low, high, access.shape).astype(access.type.container)
                tensor = replace(tensor, constant=blobs.add_array(values))
            tensors.append(tensor)
        operations.append(
            replace(
                nest,
                reads=tuple(replace(each, tensor=f"{nest.name}.{each.tensor}") for each in nest.reads),
                write=replace(nest.write, tensor=f"{nest.name}.{nest.write.tensor}"),
            )
        )
    header = Header("two layers", "small", "")
    return Module(header, tuple(tensors), tuple(operations), tuple(inputs), tuple(outputs), blobs=blobs)


def small_module(arch: Arch) -> Module:
    """A tiled convolution, a pool and a host region that yields a value which only the host knows."""
    conv = conv_nest(arch, tiles=[("m", 4), ("p", 2), ("c", 4)])
    module = module_of([conv, max_pool_nest(arch, tiles=[("p", 2)])])
    host = HostRegion("labels", ("pool.y",), ("text",), module.blobs.add(b"no ONNX model" * 20), ("ZipMap",))
    return replace(
        module,
        tensors=(*module.tensors, Tensor("text", HostType("seq(map(string, tensor(float)))"), None)),
        operations=(*module.operations, host),
        outputs=(*module.outputs, "text"),
    )


def small_program() -> Program:
    arch = replace(machine(), text=ARCH_TEXT)
    return emit_program(allocate(small_module(arch), arch), arch)
