"""Loads and stores as memory accesses: which bytes a box touches, and copying one into local memory. Compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .elements import Local
from .faults import (
    BAD_BOX,
    BOX_TOO_LARGE,
    FAULT_CODE,
    MISALIGNED,
    NOT_CONFIGURED,
    OK,
    OUTSIDE_LOCAL,
    OUTSIDE_MAIN,
    STOPPED,
    fail,
)
from .layout import (
    LOAD_AFTER,
    LOAD_BEFORE,
    LOAD_EXTENT,
    LOAD_LOCAL,
    LOAD_MAIN,
    LOAD_STREAM,
    OP_CONFIGURE_LOAD,
    PLAN_INSIDE,
    PLAN_MEMORY,
    PLAN_POSITIONS,
    STREAM_BYTES,
    STREAM_FILL,
    STREAM_LOCAL_STRIDE,
    STREAM_MAIN_STRIDE,
    Integers,
)

AXES = 5


@compiled
def memory_of(local: Local, low: int, high: int) -> int:
    """Number of the local memory that holds bytes low..high-1, or -1 where no single one does."""
    if low < 0:
        return -1
    for number in range(len(local.ends)):
        if low < local.ends[number]:
            return number if high <= local.ends[number] else -1
    return -1


@compiled
def check_local(local: Local, low: int, high: int, size: int, fault: Integers) -> int:
    """Number of the memory that holds bytes low..high-1 of elements of `size` bytes, or -1 after a fault."""
    number = memory_of(local, low, high)
    if number < 0:
        fail(fault, OUTSIDE_LOCAL, low, high - 1, local.ends[-1], 0)
    elif low % size:
        fail(fault, MISALIGNED, low, size, 0, 0)
        return -1
    return number


@compiled
def span(extents: Integers, strides: Integers) -> int:
    """Largest offset that a box of non-negative strides reaches. Extents are at least 1."""
    reach = 0
    for axis in range(len(extents)):
        reach += (extents[axis] - 1) * strides[axis]
    return reach


@compiled
def main_range(extents: Integers, first: Integers, strides: Integers, main: int, size: int) -> tuple[int, int]:
    """First byte and one past the last byte in main memory of positions first[k] .. first[k] + extents[k] - 1."""
    low = high = main
    for axis in range(len(extents)):
        near = first[axis] * strides[axis]
        far = (first[axis] + extents[axis] - 1) * strides[axis]
        low += min(near, far)
        high += max(near, far)
    return low, high + size


@compiled
def box_positions(extents: Integers, limit: int) -> int:
    """Number of positions, or -1 where it exceeds `limit`."""
    total = 1
    for axis in range(len(extents)):
        total *= extents[axis]
        if total == 0:
            return 0
    total = 1
    for axis in range(len(extents)):
        total *= extents[axis]
        if total > limit:
            return -1
    return total


@compiled
def load_box(
    main: NDArray[np.uint8],
    local: Local,
    stream: Integers,
    row: Integers,
    plan: Integers,
    counters: Integers,
    stop: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Check and carry out one load: a fault's code or OK. Notes in `plan` the box's positions, those inside the tensor
    per axis and the target memory. `counters` is room to work in."""
    if stream[0] != OP_CONFIGURE_LOAD:
        return fail(fault, NOT_CONFIGURED, row[LOAD_STREAM], -1, -1, 0)
    size = stream[STREAM_BYTES]
    extents, before, after = counters[0, :AXES], counters[1, :AXES], counters[2, :AXES]
    main_stride, local_stride = counters[3, :AXES], counters[4, :AXES]
    for axis in range(AXES):
        extents[axis] = row[LOAD_EXTENT + axis]
        before[axis] = row[LOAD_BEFORE + axis]
        after[axis] = row[LOAD_AFTER + axis]
        main_stride[axis] = stream[STREAM_MAIN_STRIDE + axis]
        local_stride[axis] = stream[STREAM_LOCAL_STRIDE + axis]
    inside = plan[PLAN_INSIDE : PLAN_INSIDE + AXES]
    for axis in range(AXES):
        inside[axis] = extents[axis] - before[axis] - after[axis]
        if inside[axis] < 0:
            return fail(fault, BAD_BOX, axis, extents[axis], before[axis], after[axis])
    positions = box_positions(extents, local.ends[-1])
    plan[PLAN_POSITIONS] = positions
    if positions == 0:
        return OK
    if positions < 0:
        return fail(fault, BOX_TOO_LARGE, local.ends[-1], 0, 0, 0)
    start = row[LOAD_LOCAL]
    plan[PLAN_MEMORY] = check_local(local, start, start + size * (span(extents, local_stride) + 1), size, fault)
    if plan[PLAN_MEMORY] < 0:
        return int(fault[FAULT_CODE])
    if box_positions(inside, positions):
        low, high = main_range(inside, before, main_stride, row[LOAD_MAIN], size)
        if low < 0 or high > len(main):
            return fail(fault, OUTSIDE_MAIN, low, high - 1, len(main), 0)
    _merge(extents, before, after, main_stride, local_stride)
    _copy(
        main, local, size, stream[STREAM_FILL], row[LOAD_MAIN], start,
        extents, before, after, main_stride, local_stride, stop,
    )  # fmt: skip
    if stop[0]:
        return fail(fault, STOPPED, 0, 0, 0, 0)
    return OK


@compiled
def _merge(extents: Integers, before: Integers, after: Integers, main_stride: Integers, local_stride: Integers) -> None:
    """Join each axis with the next outer one where both memories run on without a gap, so that runs get long."""
    inner = AXES - 1
    for outer in range(AXES - 2, -1, -1):
        alone = extents[outer] == 1 and before[outer] == 0 and after[outer] == 0
        single = extents[inner] == 1
        runs_on = (
            main_stride[outer] == main_stride[inner] * extents[inner]
            and local_stride[outer] == local_stride[inner] * extents[inner]
        )
        whole = before[inner] == 0 and after[inner] == 0
        if alone:
            continue
        if whole and (single or runs_on):
            before[inner] = before[outer] * extents[inner]
            after[inner] = after[outer] * extents[inner]
            if single:
                main_stride[inner], local_stride[inner] = main_stride[outer], local_stride[outer]
            extents[inner] *= extents[outer]
        else:
            inner -= 1
            extents[inner], before[inner], after[inner] = extents[outer], before[outer], after[outer]
            main_stride[inner], local_stride[inner] = main_stride[outer], local_stride[outer]
    for axis in range(inner):
        extents[axis], before[axis], after[axis] = 1, 0, 0
        main_stride[axis], local_stride[axis] = 0, 0


@compiled
def _copy(
    main: NDArray[np.uint8],
    local: Local,
    size: int,
    fill: int,
    source: int,
    target: int,
    extents: Integers,
    before: Integers,
    after: Integers,
    main_stride: Integers,
    local_stride: Integers,
    stop: NDArray[np.uint8],
) -> None:
    inner = AXES - 1
    for i0 in range(extents[0]):
        in0 = before[0] <= i0 < extents[0] - after[0]
        for i1 in range(extents[1]):
            in1 = in0 and before[1] <= i1 < extents[1] - after[1]
            if stop[0]:
                return
            for i2 in range(extents[2]):
                in2 = in1 and before[2] <= i2 < extents[2] - after[2]
                for i3 in range(extents[3]):
                    first, last = extents[inner], extents[inner]
                    if in2 and before[3] <= i3 < extents[3] - after[3]:
                        first, last = before[inner], extents[inner] - after[inner]
                    from_byte = (
                        source + i0 * main_stride[0] + i1 * main_stride[1] + i2 * main_stride[2] + i3 * main_stride[3]
                    )
                    to_byte = target + size * (
                        i0 * local_stride[0] + i1 * local_stride[1] + i2 * local_stride[2] + i3 * local_stride[3]
                    )
                    step = size * local_stride[inner]
                    _fill(local, fill, size, to_byte, step, 0, first)
                    if main_stride[inner] == size and step == size:
                        from_first, to_first = from_byte + first * size, to_byte + first * size
                        for j in range((last - first) * size):
                            local.data[to_first + j] = main[from_first + j]
                        for j in range((last - first) * size):
                            local.marks[to_first + j] = 0
                    else:
                        for k in range(first, last):
                            for j in range(size):
                                local.data[to_byte + k * step + j] = main[from_byte + k * main_stride[inner] + j]
                                local.marks[to_byte + k * step + j] = 0
                    _fill(local, fill, size, to_byte, step, last, extents[inner])


@compiled
def _fill(local: Local, fill: int, size: int, to_byte: int, step: int, first: int, last: int) -> None:
    """Write the fill pattern to positions first..last-1 and mark them. 8-byte elements extend its sign."""
    pattern = fill
    if size == 8 and fill >= 1 << 31:
        pattern = fill - (1 << 32)
    for k in range(first, last):
        for j in range(size):
            local.data[to_byte + k * step + j] = (pattern >> (8 * j)) & 0xFF
            local.marks[to_byte + k * step + j] = 1
