"""Modules around single nests, for tests of rules and passes that take modules."""

from __future__ import annotations

from dnnc.ir.module import Header, Module
from dnnc.ir.nest import Nest
from dnnc.ir.types import Tensor


def module_of(*nests: Nest) -> Module:
    """The nests in their order; what none of them writes is an input, what none of them reads an output."""
    accesses = [access for nest in nests for access in (*nest.reads, nest.write)]
    tensors = {access.tensor: Tensor(access.tensor, access.type, access.shape) for access in accesses}
    written = [name for nest in nests for name in nest.outputs]
    read = [name for nest in nests for name in nest.inputs]
    inputs = tuple(dict.fromkeys(name for name in read if name not in written))
    outputs = tuple(dict.fromkeys(name for name in written if name not in read))
    return Module(Header("test", "", ""), tuple(tensors.values()), nests, inputs, outputs)
