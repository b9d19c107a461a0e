"""The numpy model of block pruning (specs/arithmetic.md, section 6): measures, the test, what becomes zero.

Arrays are matrices as `ir.blocks` cuts a stored tensor into them: [samples, rows, columns] of codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.blocks import THRESHOLD_STEPS, BlockTest
from ..ir.frozen import dataclass

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Per block of each sample: whether it is `pruned`, and whether it was `zero` (every code the zero point) before.

    Both have shape [samples, rows of blocks, columns of blocks].
    """

    pruned: Mask
    zero: Mask


def tested(codes: Array, zero_point: int, test: BlockTest) -> Blocks:
    """Which blocks of `codes` the test prunes. Exact: nothing is divided, nothing is rounded."""
    samples, points, columns = codes.shape
    grid = (samples, -(-points // test.rows), -(-columns // test.cols))
    if 0 in grid:
        return Blocks(np.zeros(grid, bool), np.zeros(grid, bool))
    centred = codes.astype(np.int64) - zero_point
    magnitudes = np.abs(centred)
    greatest = _over_blocks(np.maximum, magnitudes, test)
    match test.criterion:
        case "sum":
            measure = _over_blocks(np.add, centred, test)
        case "mean":
            measure = np.abs(_over_blocks(np.add, centred, test))
        case "abs_sum" | "l1_mean":
            measure = _over_blocks(np.add, magnitudes, test)
        case _:
            measure = greatest
    bound: Any = test.threshold
    if test.criterion in ("mean", "l1_mean"):
        bound = bound * np.outer(_sizes(points, test.rows), _sizes(columns, test.cols))
    return Blocks(THRESHOLD_STEPS * measure <= bound, greatest == 0)


def pruned(codes: Array, zero_point: int, test: BlockTest) -> Array:
    """`codes` with the zero point in every element of every block that the test prunes."""
    _, points, columns = codes.shape
    return np.where(spread(tested(codes, zero_point, test).pruned, points, columns, test), zero_point, codes).astype(
        codes.dtype
    )


def all_of(mask: Mask, test: BlockTest) -> Mask:
    """Per block whether a value per element, [samples, points, columns], holds of all its elements."""
    return _over_blocks(np.logical_and, mask, test)


def spread(mask: Mask, points: int, columns: int, test: BlockTest) -> Mask:
    """A value per block as one per element, [samples, points, columns]."""
    return np.repeat(np.repeat(mask, _sizes(points, test.rows), axis=1), _sizes(columns, test.cols), axis=2)


def _over_blocks(combine: np.ufunc, values: Array, test: BlockTest) -> Array:
    rows = combine.reduceat(values, range(0, values.shape[1], test.rows), axis=1)
    combined: Array = combine.reduceat(rows, range(0, values.shape[2], test.cols), axis=2)
    return combined


def _sizes(extent: int, size: int) -> NDArray[np.int64]:
    """Extents of the blocks along an axis; the last may be short."""
    starts = np.arange(0, extent, size)
    return np.minimum(size, extent - starts)
