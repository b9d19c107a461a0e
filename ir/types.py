"""Element types, quantisation parameters and the blob store: what every level of the IR shares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .diagnostics import ensure
from .frozen import dataclass


class ElementType(Enum):
    """The closed set of types that an accelerator computes on and stores.

    In the machine's memories and in programs elements are packed, `bits` each (ir/packing.py). In arrays and in the
    blobs of a module an integer of n bits takes a container of 1, 2, 4 or 8 bytes, the smallest that holds it.
    """

    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"
    I2 = "i2"
    I3 = "i3"
    I4 = "i4"
    I5 = "i5"
    I6 = "i6"
    I7 = "i7"
    I8 = "i8"
    I9 = "i9"
    I10 = "i10"
    I11 = "i11"
    I12 = "i12"
    I13 = "i13"
    I14 = "i14"
    I15 = "i15"
    I16 = "i16"
    U2 = "u2"
    U3 = "u3"
    U4 = "u4"
    U5 = "u5"
    U6 = "u6"
    U7 = "u7"
    U8 = "u8"
    U9 = "u9"
    U10 = "u10"
    U11 = "u11"
    U12 = "u12"
    U13 = "u13"
    U14 = "u14"
    U15 = "u15"
    U16 = "u16"
    I32 = "i32"
    I64 = "i64"

    @cached_property
    def is_float(self) -> bool:
        return "f" in self.value

    @cached_property
    def is_integer(self) -> bool:
        return not self.is_float

    @cached_property
    def is_signed(self) -> bool:
        return not self.value.startswith("u")

    @cached_property
    def bits(self) -> int:
        """Bits of an element."""
        return int(self.value.lstrip("biuf"))

    @cached_property
    def container_bytes(self) -> int:
        """Bytes of the container that holds one element in arrays and dumps."""
        return next(size for size in (1, 2, 4, 8) if 8 * size >= self.bits)

    @cached_property
    def minimum(self) -> int:
        """Least value of an integer type."""
        return -(1 << (self.bits - 1)) if self.is_signed else 0

    @cached_property
    def maximum(self) -> int:
        """Greatest value of an integer type."""
        return (1 << (self.bits - 1)) - 1 if self.is_signed else (1 << self.bits) - 1

    @property
    def container(self) -> np.dtype[np.generic]:
        """The numpy type of the container; bf16 is held as its uint16 bit pattern."""
        if self is ElementType.BF16:
            return np.dtype(np.uint16)
        if self.is_float:
            return np.dtype(f"float{self.bits}")
        return np.dtype(f"{'int' if self.is_signed else 'uint'}{8 * self.container_bytes}")

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class HostType:
    """Any ONNX type, carried opaquely by host regions; `spelling` is ONNX's own, such as `seq(tensor(int64))`."""

    spelling: str

    def __str__(self) -> str:
        return f'host<"{self.spelling}">'


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (code - zero_point). One entry per tensor, or one per slice along the logical `axis`.

    Every scale is the exact value of a float32.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    @property
    def per_tensor(self) -> bool:
        return self.axis is None


@dataclass(frozen=True, slots=True)
class BlobRef:
    """The name of immutable bytes in the blob store: their SHA-256 in hexadecimal. Sorted by it."""

    sha256: str

    def __lt__(self, other: BlobRef) -> bool:
        return self.sha256 < other.sha256

    def __str__(self) -> str:
        return f"sha256:{self.sha256}"


class Blobs(Mapping[BlobRef, bytes]):
    """Content-addressed bytes beside the text of a module: constants, serialised host regions. Grows, never changes."""

    def __init__(self, entries: Mapping[BlobRef, bytes] | None = None) -> None:
        self._entries: dict[BlobRef, bytes] = dict(entries or {})
        self._promised: dict[BlobRef, tuple[int, Callable[[], bytes]]] = {}  # their size, and what makes them

    def add(self, data: bytes) -> BlobRef:
        """Store `data` (once) and return its name."""
        reference = BlobRef(hashlib.sha256(data).hexdigest())
        self._entries.setdefault(reference, data)
        self._promised.pop(reference, None)
        return reference

    def add_array(self, array: NDArray[np.generic]) -> BlobRef:
        """Store the elements of `array` in row-major little-endian order."""
        array = np.ascontiguousarray(array)
        whole = array.base.base if isinstance(array.base, np.ndarray) else array.base
        if isinstance(whole, bytes) and len(whole) == array.nbytes:
            return self.add(whole)  # the array shows all of it, in order: nothing to copy
        return self.add(array.tobytes())

    def promise(self, reference: BlobRef, size: int, make: Callable[[], bytes]) -> None:
        """Store bytes of a known name and size that `make` makes when they are first asked for."""
        if reference not in self._entries:
            self._promised.setdefault(reference, (size, make))

    def size(self, reference: BlobRef) -> int:
        """How many bytes there are under a name; those that are promised are not made for that."""
        promised = self._promised.get(reference)
        return len(self._entries[reference]) if promised is None else promised[0]

    def __getitem__(self, reference: BlobRef) -> bytes:
        if reference in self._promised:
            size, make = self._promised[reference]
            data = make()
            ensure(len(data) == size and self.add(data) == reference, f"what was promised is not {reference}")
        return self._entries[reference]

    def __contains__(self, reference: object) -> bool:
        return reference in self._entries or reference in self._promised

    def __iter__(self) -> Iterator[BlobRef]:
        return iter((*self._entries, *self._promised))

    def __len__(self) -> int:
        return len(self._entries) + len(self._promised)


@dataclass(frozen=True)
class Tensor:
    """A value of the graph. `shape` is in the model's own (ONNX) axis order.

    `order` is the storage order: `order[i]` is the logical axis stored at position i, outermost first, so an NCHW
    tensor stored as NHWC has order (0, 2, 3, 1). `shape` is None only where a host value's shape is known at run time
    only; such tensors, and those with a HostType, never reach the accelerator.
    `minimum` and `maximum` are the range that calibration saw, where it ran.
    """

    name: str
    type: ElementType | HostType
    shape: tuple[int, ...] | None
    quantization: Quantization | None = None
    constant: BlobRef | None = None
    order: tuple[int, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None

    @cached_property
    def elements(self) -> int:
        """Number of elements; the shape must be known."""
        assert self.shape is not None
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @cached_property
    def bytes(self) -> int:
        """Bytes that the tensor takes in main memory, packed."""
        assert isinstance(self.type, ElementType)
        return -(-self.elements * self.type.bits // 8)

    @cached_property
    def container_bytes(self) -> int:
        """Bytes that its value takes as an array of containers."""
        assert isinstance(self.type, ElementType)
        return self.elements * self.type.container_bytes

    @cached_property
    def storage_order(self) -> tuple[int, ...]:
        assert self.shape is not None
        return self.order if self.order is not None else tuple(range(len(self.shape)))

    @cached_property
    def storage_shape(self) -> tuple[int, ...]:
        """Extents in storage order, outermost first."""
        assert self.shape is not None
        return tuple(self.shape[axis] for axis in self.storage_order)


def constant_array(tensor: Tensor, blobs: Mapping[BlobRef, bytes]) -> NDArray[np.generic]:
    """The value of a constant tensor in logical axis order, in its container type (read-only view)."""
    assert tensor.constant is not None and isinstance(tensor.type, ElementType)
    stored = np.frombuffer(blobs[tensor.constant], dtype=tensor.type.container).reshape(tensor.storage_shape)
    inverse = np.argsort(tensor.storage_order)
    return stored.transpose(inverse)
