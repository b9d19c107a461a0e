"""How values are held while a batch is evaluated.

An integer of at most 16 bits is held as its code less the least code of its type, in one unsigned byte or two: so
signed and unsigned tensors take the same kernels (onnxruntime's are many times faster on unsigned bytes), saturation at
the least code costs nothing, and a held code is its index in a table. Values of other types are held in their
containers. Arrays lie in the tensor's storage order where its outermost axis is the first one, along which samples
follow each other, else in logical order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.types import ElementType, Tensor

Array = NDArray[Any]
_MOST_BITS = 16


def is_code(kind: ElementType) -> bool:
    """Whether values of this type are held as codes less the least one."""
    return kind.is_integer and kind.bits <= _MOST_BITS


def held_dtype(kind: ElementType) -> np.dtype[Any]:
    """The numpy type in which values of this type are held."""
    return np.dtype(f"uint{8 * kind.container_bytes}") if is_code(kind) else kind.container


def hold(stored: Array, kind: ElementType) -> Array:
    """Values in their container as they are held; unsigned codes and other types are not copied."""
    if not is_code(kind) or not kind.is_signed:
        return stored
    unsigned = held_dtype(kind)
    shifted: Array = stored.view(unsigned) + unsigned.type(-kind.minimum)  # modulo the container's width: exact
    return shifted


def release(held: Array, kind: ElementType) -> Array:
    """The inverse of `hold`."""
    if not is_code(kind) or not kind.is_signed:
        return held
    stored: Array = (held - held.dtype.type(-kind.minimum)).view(kind.container)
    return stored


def held_order(tensor: Tensor) -> tuple[int, ...]:
    """The order of axes in which values of a tensor are held."""
    order = tensor.storage_order
    return order if not order or order[0] == 0 else tuple(range(len(order)))


def arranged(array: Array, before: tuple[int, ...], after: tuple[int, ...]) -> Array:
    """An array whose axes lie in the order `before` with its axes in the order `after`, contiguous."""
    if before == after:
        return np.ascontiguousarray(array) if array.ndim else array
    return np.ascontiguousarray(array.transpose([before.index(axis) for axis in after]))
