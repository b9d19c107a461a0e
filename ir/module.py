"""The module: one form for all levels at once. A lowered model is graph, host regions, nests and a program together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property

from .frozen import dataclass
from .graph import HostRegion, Node
from .nest import Nest
from .program import Program
from .types import Blobs, Tensor

Operation = Node | HostRegion | Nest


@dataclass(frozen=True, slots=True)
class Header:
    """What a continued compilation needs to know: `last_pass` has run (empty: none), for the machine with this digest,
    under these `options` (sorted pairs, as the pipeline spells them)."""

    model: str
    arch: str
    arch_digest: str
    batch: int = 1
    last_pass: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Module:
    """Operations in an order in which each follows what it reads. Tensors are unique by name; every value that is read
    is an input of the module, a constant, or written by one earlier operation, or by several nests that write disjoint
    parts of it and together all of it.

    `addresses` gives main-memory byte addresses once allocated. Blobs do not decide equality: their names do.
    """

    header: Header
    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    addresses: tuple[tuple[str, int], ...] = ()
    program: Program | None = None
    blobs: Blobs = field(default_factory=Blobs, compare=False, repr=False)

    @cached_property
    def tensor_by_name(self) -> Mapping[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def tensor(self, name: str) -> Tensor:
        return self.tensor_by_name[name]

    @cached_property
    def kept(self) -> frozenset[str]:
        """The values that stay in local memory between the nests that write and read them, and have no address."""
        names: set[str] = set()
        for nest in self.operations:
            if isinstance(nest, Nest) and nest.schedule is not None:
                whole = {buffer.operand for buffer in nest.schedule.buffers if buffer.is_whole}
                names.update(access.tensor for access in nest.reads if access.operand in whole)
                names.update(nest.outputs if nest.schedule.target is not None else ())
        return frozenset(names)

    @cached_property
    def compressed_bytes(self) -> Mapping[str, int]:
        """By name, what constants that are stored without their blocks of zeros take in main memory."""
        return {
            access.tensor: access.compressed.bytes
            for nest in self.operations
            if isinstance(nest, Nest)
            for access in nest.reads
            if access.compressed is not None
        }

    def main_bytes(self, tensor: Tensor) -> int:
        """What a tensor of the accelerator takes in main memory."""
        return self.compressed_bytes.get(tensor.name, tensor.bytes)

    def after(self, pass_name: str) -> Module:
        """The same module, with `pass_name` noted as the last pass that ran."""
        return replace(self, header=replace(self.header, last_pass=pass_name))
