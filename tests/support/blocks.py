"""Block pruning as a person would do it by hand: one block after the other, one element after the other."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def pruned_by_hand(
    stored: NDArray[np.generic], zero_point: int, criterion: str, threshold: int, rows: int, cols: int
) -> tuple[NDArray[np.generic], int, int, int]:
    """`stored` (storage order) pruned, and how many blocks there are, are pruned, were zero."""
    left = stored.copy()
    columns = stored.shape[-1]
    matrices = left.reshape(stored.shape[0], -1, columns) if stored.size else left.reshape(0, 1, 1)
    blocks = pruned = zero = 0
    for matrix in matrices:
        for first_row in range(0, len(matrix), rows):
            for first_column in range(0, columns, cols):
                cells = [
                    (row, column)
                    for row in range(first_row, min(first_row + rows, len(matrix)))
                    for column in range(first_column, min(first_column + cols, columns))
                ]
                codes = [int(matrix[cell]) - zero_point for cell in cells]
                blocks += 1
                zero += not any(codes)
                if measure(criterion, codes) <= Fraction(threshold, 256):
                    pruned += 1
                    for cell in cells:
                        matrix[cell] = zero_point
    return left, blocks, pruned, zero


def measure(criterion: str, codes: list[int]) -> Fraction:
    """The measure of a block, in units of the scale."""
    match criterion:
        case "sum":
            return Fraction(sum(codes))
        case "mean":
            return Fraction(abs(sum(codes)), len(codes))
        case "abs_sum":
            return Fraction(sum(map(abs, codes)))
        case "l1_mean":
            return Fraction(sum(map(abs, codes)), len(codes))
    return Fraction(max(map(abs, codes)))
