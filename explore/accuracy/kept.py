"""What is kept from one candidate to the next, in a bounded number of bytes, and the names under which it is kept.

The name of a value follows from all that decides it: operators, types, shapes, orders, quantisation, constants, and the
names of the values that are read, down to the samples. So candidates that begin alike share what they have in common.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...ir.graph import HostRegion, Node
from ...ir.module import Module
from ...ir.types import Quantization, Tensor

Array = NDArray[Any]
Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by name, of at most `limit_bytes` together; what has not been used for longest goes first."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._values: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def get(self, name: bytes) -> Value | None:
        """The value, which has been used now."""
        if name not in self._values:
            return None
        self._values.move_to_end(name)
        return self._values[name][0]

    def put(self, name: bytes, value: Value, size_bytes: int) -> None:
        """Keep a value, unless it alone is larger than the limit."""
        if name in self._values:
            self.held_bytes -= self._values.pop(name)[1]
        if size_bytes > self.limit_bytes:
            return
        self._values[name] = value, size_bytes
        self.held_bytes += size_bytes
        while self.held_bytes > self.limit_bytes:
            _, (_, freed) = self._values.popitem(last=False)
            self.held_bytes -= freed


def data_name(data: Mapping[str, Array], names: Sequence[str]) -> dict[str, bytes]:
    """A name for the samples of each input."""
    found = {}
    for name in names:
        array = np.ascontiguousarray(data[name])
        digest = hashlib.blake2b(f"{array.dtype} {array.shape}".encode(), digest_size=16)
        digest.update(array.data if array.size else b"")
        found[name] = digest.digest()
    return found


def operation_name(module: Module, operation: Node | HostRegion) -> bytes:
    """A name for what an operation computes, whatever it reads and whatever its values are called."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(operation, HostRegion):
        parts: list[Any] = [operation.model, operation.inputs, operation.outputs]
        names: Sequence[str | None] = (*operation.inputs, *operation.outputs)
    else:
        stages = [(each.op, each.attributes, each.result.type) for each in operation.post]
        parts = [operation.op, operation.attributes, stages, operation.value and operation.value.type]
        quantised = [*(each.result.quantization for each in operation.post)]
        quantised.append(operation.value.quantization if operation.value is not None else None)
        for each in quantised:
            _add_quantization(digest, each)
        names = (*operation.inputs, *(each.operand for each in operation.post), *operation.outputs)
    digest.update(repr(parts).encode())
    for name in names:
        if name:
            _add_tensor(digest, module.tensor(name))
        else:
            digest.update(b"none")
    return digest.digest()


def _add_tensor(digest: Any, tensor: Tensor) -> None:
    digest.update(repr((str(tensor.type), tensor.shape, tensor.order, tensor.constant)).encode())
    _add_quantization(digest, tensor.quantization)


def _add_quantization(digest: Any, quantization: Quantization | None) -> None:
    if quantization is None:
        digest.update(b"-")
        return
    digest.update(f"{quantization.axis} {len(quantization.scale)}".encode())
    digest.update(np.array(quantization.scale, np.float64).tobytes())
    digest.update(np.array(quantization.zero_point, np.int64).tobytes())


def value_names(module: Module, inputs: Mapping[str, bytes], operations: Mapping[str, bytes]) -> dict[str, bytes]:
    """A name for every value that an operation writes, given those of the module's inputs and of its operations."""
    names = dict(inputs)
    for operation in module.operations:
        assert isinstance(operation, Node | HostRegion)
        read = operation.inputs
        if isinstance(operation, Node):
            read = (*read, *(each.operand for each in operation.post if each.operand is not None))
        digest = hashlib.blake2b(operations[operation.name], digest_size=16)
        for name in read:
            digest.update(names.get(name, b"constant"))
        for place, name in enumerate(operation.outputs):
            names[name] = digest.digest() + bytes([place % 256, place // 256])
    return names
