"""Compiled loops over batches of held codes (`codes`): the formulas of specs/arithmetic.md, in its order of roundings.

Every function writes into an array that the caller made. Codes are unsigned and held less the least code of their type;
`offset` is what is added to a held code to get the code. Bounds are integral float32 values of at most 17 bits, so that
they and all that lies between them are exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.compiled import compiled_entry, inlined
from ...runtime.fma import fma32, rint32
from .tile import tile_of_1, tile_of_8


@inlined
def _bounded(rounded: Any, low: Any, high: Any) -> Any:
    """An integral float32 of any size, or NaN, in the range of the bounds, less the lower one; NaN is the lower one."""
    above = rounded if rounded > low else low
    below = above if above < high else high
    return np.int32(below - low)


@compiled_entry
def quantised(x: Any, y: Any, scale: Any, low: Any, high: Any) -> None:
    """Real numbers to held codes; the bounds are the least and greatest code less the zero point."""
    for i in range(x.size):
        y[i] = _bounded(rint32(x[i] / scale), low, high)


@compiled_entry
def dequantised(x: Any, y: Any, scale: Any, offset: Any) -> None:
    """Held codes (or integers of 32 bits) to real numbers; the offset is less the zero point."""
    for i in range(x.size):
        y[i] = np.float32(np.int64(x[i]) + offset) * scale


@compiled_entry
def requantised(sums: Any, y: Any, factors: Any, low: Any, high: Any) -> None:
    """The first columns of sums [rows, columns], as many as y has, to held codes, with a factor per column; bounds as
    in `quantised`."""
    for row in range(y.shape[0]):
        for column in range(y.shape[1]):
            y[row, column] = _bounded(rint32(np.float32(sums[row, column]) * factors[column]), low, high)


@compiled_entry
def scaled(sums: Any, y: Any, factors: Any) -> None:
    """The first columns of sums [rows, columns], as many as y has, to real numbers, with a factor per column."""
    for row in range(y.shape[0]):
        for column in range(y.shape[1]):
            y[row, column] = np.float32(sums[row, column]) * factors[column]


@compiled_entry
def added(
    a: Any, b: Any, y: Any, offset_a: Any, offset_b: Any, ra: Any, rb: Any, base: Any, low: Any, high: Any
) -> None:
    """QLinearAdd of held codes; the bounds are the least and greatest code."""
    for i in range(y.size):
        of_a, of_b = np.float32(np.int32(a[i]) + np.int32(offset_a)), np.float32(np.int32(b[i]) + np.int32(offset_b))
        y[i] = _bounded(rint32(fma32(of_a, ra, fma32(of_b, rb, base))), low, high)


@compiled_entry
def multiplied(a: Any, b: Any, y: Any, offset_a: Any, offset_b: Any, m: Any, zero: Any, low: Any, high: Any) -> None:
    """QLinearMul of held codes; offsets are less the zero points, the bounds are the least and greatest code."""
    for i in range(y.size):
        exact = (np.int64(a[i]) + offset_a) * (np.int64(b[i]) + offset_b)
        y[i] = _bounded(rint32(np.float32(exact) * m + zero), low, high)


@compiled_entry
def depthwise(x: Any, weights: Any, bias: Any, y: Any, taps: Any, places: Any, zero: Any) -> None:
    """Sums of a convolution in which each channel of y [N, OH, OW, C] reads its own of x [N, H, W, C]: weights
    [taps, C] in int32, bias [C] and y in int32, to which sums wrap, or in int64. `taps` holds a kernel position's row
    and column per entry, `places` the strides, then what is added to output rows and columns to get those of the first
    tap."""
    for n in range(y.shape[0]):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                for c in range(y.shape[3]):
                    y[n, row, column, c] = bias[c]
                for tap in range(taps.shape[0]):
                    h = row * places[0] + places[2] + taps[tap, 0]
                    w = column * places[1] + places[3] + taps[tap, 1]
                    if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]:
                        for c in range(y.shape[3]):
                            centred = np.int32(x[n, h, w, c]) - np.int32(zero)
                            y[n, row, column, c] += centred * weights[tap, c]


@compiled_entry
def greatest(x: Any, y: Any, taps: Any, places: Any) -> None:
    """Max pool of held codes; padding never wins. `taps` and `places` as in `depthwise`."""
    for n in range(y.shape[0]):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                for c in range(y.shape[3]):
                    y[n, row, column, c] = 0
                for tap in range(taps.shape[0]):
                    h = row * places[0] + places[2] + taps[tap, 0]
                    w = column * places[1] + places[3] + taps[tap, 1]
                    if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]:
                        for c in range(y.shape[3]):
                            y[n, row, column, c] = max(y[n, row, column, c], x[n, h, w, c])


@compiled_entry
def averaged(
    x: Any, y: Any, total: Any, counts: Any, taps: Any, places: Any, zero: Any, scales: Any, low: Any, high: Any
) -> None:
    """QLinearAveragePool: `counts` [OH, OW] is what windows divide by, `total` [C] is room for sums, `zero` the held
    zero point of x; `scales` are those of x and y, then y's zero point."""
    for n in range(y.shape[0]):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                for c in range(y.shape[3]):
                    total[c] = np.float32(0)
                for tap in range(taps.shape[0]):
                    h = row * places[0] + places[2] + taps[tap, 0]
                    w = column * places[1] + places[3] + taps[tap, 1]
                    if 0 <= h < x.shape[1] and 0 <= w < x.shape[2]:
                        for c in range(y.shape[3]):
                            real = np.float32(np.int32(x[n, h, w, c]) - np.int32(zero)) * scales[0]
                            total[c] = total[c] + real
                count = counts[row, column]
                for c in range(y.shape[3]):
                    value = rint32(total[c] / count / scales[1] + scales[2])
                    y[n, row, column, c] = _bounded(value, low, high)


@compiled_entry
def averaged_globally(x: Any, y: Any, total: Any, zero: Any, factor: Any, low: Any, high: Any) -> None:
    """QLinearGlobalAveragePool of x [N, positions, C]; y [N, C], `total` [C] int64, `zero` the held zero point of x,
    bounds as in `quantised`."""
    for n in range(x.shape[0]):
        for c in range(x.shape[2]):
            total[c] = 0
        for position in range(x.shape[1]):
            for c in range(x.shape[2]):
                total[c] += np.int64(x[n, position, c])
        for c in range(x.shape[2]):
            exact = total[c] - np.int64(zero) * x.shape[1]
            y[n, c] = _bounded(rint32(np.float32(exact) * factor), low, high)


@compiled_entry
def products(x: Any, w: Any, bias: Any, y: Any, offsets: Any, strides: Any) -> None:
    """Sums of a convolution of words x [N, H, W, 2 * pairs] that holds its padding with w [blocks, taps, pairs, 16, 2],
    as int32 y [N, OH, OW, 16 * blocks], wrapped to 32 bits: `bias` [16 * blocks] joins them, `offsets` has the bytes
    from a window's first position to each tap."""
    taps, pairs = w.shape[1], w.shape[2]
    line = x.shape[2] * x.shape[3] * 2
    step, across = strides[1] * x.shape[3] * 2, y.shape[3] * 4
    for n in range(y.shape[0]):
        for row in range(y.shape[1]):
            source = x.ctypes.data + (n * x.shape[1] + row * strides[0]) * line
            target = y.ctypes.data + (n * y.shape[1] + row) * y.shape[2] * across
            for block in range(w.shape[0]):
                weights, start = w.ctypes.data + block * taps * pairs * 64, bias.ctypes.data + block * 64
                to, column = target + block * 64, 0
                while column + 8 <= y.shape[2]:
                    here, there = source + column * step, to + column * across
                    tile_of_8(here, weights, start, there, offsets.ctypes.data, taps, pairs, step, across)
                    column += 8
                while column < y.shape[2]:
                    here, there = source + column * step, to + column * across
                    tile_of_1(here, weights, start, there, offsets.ctypes.data, taps, pairs, step, across)
                    column += 1


@compiled_entry
def planes_joined(parts: Any, y: Any, planes: Any, bits: Any, constant: Any) -> None:
    """Sums y [rows, M], in int64 or wrapped to int32, of the parts [rows, columns] that the digits of the weights make:
    M columns a plane, each of which counts 2^bits times the one before; `constant` [M] joins them."""
    channels = y.shape[1]
    for row in range(y.shape[0]):
        for c in range(channels):
            y[row, c] = constant[c]
        for plane in range(planes):
            first, factor = plane * channels, np.int64(1) << (plane * bits)
            for c in range(channels):
                y[row, c] += np.int64(parts[row, first + c]) * factor


@compiled_entry
def pruned_blocks(
    x: Any, y: Any, mask: Any, was_zero: Any, sums: Any, kept: Any, zero: Any, measure: Any, threshold: Any, size: Any
) -> None:
    """Block pruning of held codes x [N, rows, columns] (specs/arithmetic.md, section 6): y with the held zero point in
    pruned blocks; `mask` and `was_zero` [N, block rows, block columns]. `measure` is the criterion's place in
    `ir.blocks.CRITERIA`, `size` the rows and columns of a block. `sums` [2, columns] and `kept` [columns] are room for
    what is known of each column of a row of blocks, whose rows are taken at once: its sum, that of magnitudes or the
    greatest one, and whether it stays."""
    columns = x.shape[2]
    for n in range(x.shape[0]):
        for block_row in range(mask.shape[1]):
            top, bottom = block_row * size[0], min(x.shape[1], (block_row + 1) * size[0])
            for c in range(columns):
                sums[0, c] = 0
                sums[1, c] = 0
            for row in range(top, bottom):
                if measure == 4:
                    for c in range(columns):
                        sums[1, c] = max(sums[1, c], abs(np.int32(x[n, row, c]) - np.int32(zero)))
                else:
                    for c in range(columns):
                        code = np.int32(x[n, row, c]) - np.int32(zero)
                        sums[0, c] += code
                        sums[1, c] += abs(code)
            for block_column in range(mask.shape[2]):
                left, right = block_column * size[1], min(columns, (block_column + 1) * size[1])
                total, magnitude, largest = np.int64(0), np.int64(0), np.int64(0)
                for c in range(left, right):
                    total += np.int64(sums[0, c])
                    magnitude += np.int64(sums[1, c])
                    largest = max(largest, np.int64(sums[1, c]))
                elements = (bottom - top) * (right - left)
                if measure == 0:
                    gone = 256 * total <= threshold
                elif measure == 1:
                    gone = 256 * abs(total) <= threshold * elements
                elif measure == 2:
                    gone = 256 * magnitude <= threshold
                elif measure == 3:
                    gone = 256 * magnitude <= threshold * elements
                else:
                    gone = 256 * largest <= threshold
                mask[n, block_row, block_column] = gone
                was_zero[n, block_row, block_column] = magnitude == 0
                for c in range(left, right):
                    kept[c] = not gone
            for row in range(top, bottom):
                for c in range(columns):
                    y[n, row, c] = x[n, row, c] if kept[c] else zero
