"""Loads and stores as memory accesses: which bytes a box touches, and copying one into local memory. Compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ir.compiled import compiled
from .block_unit import ZERO, BlockUnit, is_held
from .elements import Local, float_pattern, read_bits, write_bits
from .faults import (
    BAD_BOX,
    BAD_DECODE,
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
from .fma import float32_of_bits
from .layout import (
    CONVERT_MADE,
    CONVERT_SCALE,
    CONVERT_TYPE,
    CONVERT_ZERO,
    LOAD_AFTER,
    LOAD_BEFORE,
    LOAD_EXTENT,
    LOAD_LOCAL,
    LOAD_LOCAL_BIT,
    LOAD_MAIN,
    LOAD_MAIN_BIT,
    LOAD_STREAM,
    OP_CONFIGURE_LOAD,
    PLAN_INSIDE,
    PLAN_MEMORY,
    PLAN_POSITIONS,
    STREAM_BITS,
    STREAM_FILL,
    STREAM_LOCAL_STRIDE,
    STREAM_MAIN_STRIDE,
    TYPE_BITS,
    TYPE_HIGH,
    TYPE_KIND,
    TYPES,
    Integers,
)

AXES = 5
FAR = 1 << 54  # elements: beyond every main memory, and 64 bits each still fit 64 bits


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
def check_local(local: Local, low: int, high: int, bits: int, fault: Integers) -> int:
    """Number of the memory that holds bits low..high-1 of elements of `bits` bits, or -1 after a fault."""
    first, last = low >> 3, (high - 1) >> 3
    number = memory_of(local, first, last + 1)
    if number < 0:
        fail(fault, OUTSIDE_LOCAL, first, last, local.ends[-1], 0)
    elif bits % 8 == 0 and low % bits:
        fail(fault, MISALIGNED, first, low & 7, bits, 0)
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
def main_range(extents: Integers, first: Integers, strides: Integers, main: int, bits: int) -> tuple[int, int]:
    """First bit and one past the last bit in main memory of positions first[k] .. first[k] + extents[k] - 1 of a box
    whose position 0 is at bit `main`; FAR stands for whatever lies farther."""
    low = high = 0
    for axis in range(len(extents)):
        near = first[axis] * strides[axis]
        far = (first[axis] + extents[axis] - 1) * strides[axis]
        low += min(near, far)
        high += max(near, far)
    return main + bits * max(low, -FAR), main + bits * (min(high, FAR) + 1)


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
    convert: Integers,
    unit: BlockUnit,
    slot: int,
    row: Integers,
    plan: Integers,
    counters: Integers,
    stop: NDArray[np.uint8],
    fault: Integers,
) -> int:
    """Check and carry out one load: a fault's code or OK. Notes in `plan` the box's positions, those inside the tensor
    per axis and the target memory. `convert` is what the number converter makes of the stream, `slot` that of
    the block unit whose blocks the stream skips (-1: none), `counters` is room to work in."""
    if stream[0] != OP_CONFIGURE_LOAD:
        return fail(fault, NOT_CONFIGURED, row[LOAD_STREAM], -1, -1, 0)
    bits, source = stream[STREAM_BITS], 8 * row[LOAD_MAIN] + row[LOAD_MAIN_BIT]
    local_bits = bits
    if convert[0]:
        if TYPES[convert[CONVERT_TYPE], TYPE_BITS] != bits:
            return fail(fault, BAD_DECODE, TYPES[convert[CONVERT_TYPE], TYPE_BITS], bits, 0, 0)
        local_bits = TYPES[convert[CONVERT_MADE], TYPE_BITS]
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
    limit = 8 * local.ends[-1] // min(8, local_bits)
    positions = box_positions(extents, limit)
    plan[PLAN_POSITIONS] = positions
    if positions == 0:
        return OK
    if positions < 0:
        return fail(fault, BOX_TOO_LARGE, limit, 0, 0, 0)
    start = 8 * row[LOAD_LOCAL] + row[LOAD_LOCAL_BIT]
    plan[PLAN_MEMORY] = check_local(
        local, start, start + local_bits * (span(extents, local_stride) + 1), local_bits, fault
    )
    if plan[PLAN_MEMORY] < 0:
        return int(fault[FAULT_CODE])
    if box_positions(inside, positions):
        low, high = main_range(inside, before, main_stride, source, bits)
        if low < 0 or high > 8 * len(main):
            return fail(fault, OUTSIDE_MAIN, low >> 3, (high - 1) >> 3, len(main), 0)
        if bits % 8 == 0 and source & 7:
            return fail(fault, MISALIGNED, source >> 3, source & 7, bits, 0)
    if len(local.tags):
        _tag(local, unit, slot, bits, local_bits, source, start, extents, before, after, main_stride, local_stride)
    _merge(extents, before, after, main_stride, local_stride)
    _copy(
        main, local, bits, local_bits, convert, stream[STREAM_FILL], source, start,
        extents, before, after, main_stride, local_stride, stop,
    )  # fmt: skip
    if stop[0]:
        return fail(fault, STOPPED, 0, 0, 0, 0)
    if slot >= 0:
        for axis in range(AXES):  # merging has changed them
            extents[axis] = row[LOAD_EXTENT + axis]
            before[axis] = row[LOAD_BEFORE + axis]
            after[axis] = row[LOAD_AFTER + axis]
            main_stride[axis] = stream[STREAM_MAIN_STRIDE + axis]
            local_stride[axis] = stream[STREAM_LOCAL_STRIDE + axis]
        _fill_zeros(local, unit, slot, bits, source, start, extents, before, after, main_stride, local_stride)
    return OK


@compiled
def _tag(
    local: Local,
    unit: BlockUnit,
    slot: int,
    bits: int,
    local_bits: int,
    source: int,
    target: int,
    extents: Integers,
    before: Integers,
    after: Integers,
    main_stride: Integers,
    local_stride: Integers,
) -> None:
    """Tag the elements of a box whose blocks the cache holds, and no others."""
    for i0 in range(extents[0]):
        for i1 in range(extents[1]):
            for i2 in range(extents[2]):
                for i3 in range(extents[3]):
                    outer = (
                        before[0] <= i0 < extents[0] - after[0]
                        and before[1] <= i1 < extents[1] - after[1]
                        and before[2] <= i2 < extents[2] - after[2]
                        and before[3] <= i3 < extents[3] - after[3]
                    )
                    main = i0 * main_stride[0] + i1 * main_stride[1] + i2 * main_stride[2] + i3 * main_stride[3]
                    here = i0 * local_stride[0] + i1 * local_stride[1] + i2 * local_stride[2] + i3 * local_stride[3]
                    for i4 in range(extents[4]):
                        inside = slot >= 0 and outer and before[4] <= i4 < extents[4] - after[4]
                        skipped = inside and is_held(unit, slot, source + bits * (main + i4 * main_stride[4]))
                        at = target + local_bits * (here + i4 * local_stride[4])
                        write_bits(local.tags, at, 1, 1 if skipped else 0)


@compiled
def _fill_zeros(
    local: Local,
    unit: BlockUnit,
    slot: int,
    bits: int,
    source: int,
    target: int,
    extents: Integers,
    before: Integers,
    after: Integers,
    main_stride: Integers,
    local_stride: Integers,
) -> None:
    """What lies in main memory in a block that the cache holds is no value: local memory holds its zero point."""
    zero = unit.geometry[slot, ZERO]
    for i0 in range(before[0], extents[0] - after[0]):
        for i1 in range(before[1], extents[1] - after[1]):
            for i2 in range(before[2], extents[2] - after[2]):
                for i3 in range(before[3], extents[3] - after[3]):
                    main = i0 * main_stride[0] + i1 * main_stride[1] + i2 * main_stride[2] + i3 * main_stride[3]
                    here = i0 * local_stride[0] + i1 * local_stride[1] + i2 * local_stride[2] + i3 * local_stride[3]
                    for i4 in range(before[4], extents[4] - after[4]):
                        if is_held(unit, slot, source + bits * (main + i4 * main_stride[4])):
                            write_bits(local.data, target + bits * (here + i4 * local_stride[4]), bits, zero)


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
    bits: int,
    local_bits: int,
    convert: Integers,
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
    """Copy the merged box from bit `source` of main memory to bit `target` of local memory."""
    inner, size = AXES - 1, bits >> 3
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
                    from_bit = source + bits * (
                        i0 * main_stride[0] + i1 * main_stride[1] + i2 * main_stride[2] + i3 * main_stride[3]
                    )
                    to_bit = target + local_bits * (
                        i0 * local_stride[0] + i1 * local_stride[1] + i2 * local_stride[2] + i3 * local_stride[3]
                    )
                    if convert[0]:
                        _copy_decoded(
                            main, local, bits, local_bits >> 3, convert, fill, from_bit, to_bit >> 3,
                            main_stride[inner], local_stride[inner], first, last, extents[inner],
                        )  # fmt: skip
                        continue
                    if bits % 8:
                        _copy_packed(
                            main, local, bits, fill, from_bit, to_bit, bits * main_stride[inner],
                            bits * local_stride[inner], first, last, extents[inner],
                        )  # fmt: skip
                        continue
                    from_byte, to_byte = from_bit >> 3, to_bit >> 3
                    main_step, step = size * main_stride[inner], size * local_stride[inner]
                    _fill(local, fill, size, to_byte, step, 0, first)
                    if main_step == size and step == size:
                        from_first, to_first = from_byte + first * size, to_byte + first * size
                        for j in range((last - first) * size):
                            local.data[to_first + j] = main[from_first + j]
                        for j in range((last - first) * size):
                            local.marks[to_first + j] = 0
                    else:
                        for k in range(first, last):
                            for j in range(size):
                                local.data[to_byte + k * step + j] = main[from_byte + k * main_step + j]
                                local.marks[to_byte + k * step + j] = 0
                    _fill(local, fill, size, to_byte, step, last, extents[inner])


@compiled
def _copy_decoded(
    main: NDArray[np.uint8],
    local: Local,
    bits: int,
    local_size: int,
    convert: Integers,
    fill: int,
    from_bit: int,
    to_byte: int,
    main_stride: int,
    local_stride: int,
    first: int,
    last: int,
    extent: int,
) -> None:
    """A run of a box whose codes become floats: float32(code - zero point) * scale, rounded to what is made."""
    scale, zero = float32_of_bits(np.uint32(convert[CONVERT_SCALE])), convert[CONVERT_ZERO]
    high, kind = TYPES[convert[CONVERT_TYPE], TYPE_HIGH], TYPES[convert[CONVERT_MADE], TYPE_KIND]
    step = local_size * local_stride
    _fill(local, fill, local_size, to_byte, step, 0, first)
    for k in range(first, last):
        code = read_bits(main, from_bit + k * main_stride * bits, bits)
        if code > high:
            code -= 1 << bits
        pattern = float_pattern(np.float32(code - zero) * scale, kind)
        for j in range(local_size):
            local.data[to_byte + k * step + j] = (pattern >> (8 * j)) & 0xFF
            local.marks[to_byte + k * step + j] = 0
    _fill(local, fill, local_size, to_byte, step, last, extent)


@compiled
def _copy_packed(
    main: NDArray[np.uint8],
    local: Local,
    bits: int,
    fill: int,
    from_bit: int,
    to_bit: int,
    main_step: int,
    local_step: int,
    first: int,
    last: int,
    extent: int,
) -> None:
    """A run of a box of elements that are no whole bytes: positions first..last-1 from main memory, the others filled
    and marked."""
    for k in range(extent):
        at, inside = to_bit + k * local_step, first <= k < last
        write_bits(local.data, at, bits, read_bits(main, from_bit + k * main_step, bits) if inside else fill)
        write_bits(local.marks, at, 1, 0 if inside else 1)


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
