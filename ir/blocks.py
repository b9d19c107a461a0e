"""Blocks of a stored tensor: how it is cut into them, and the test that says which of them become zero.

A tensor is cut as it is stored: its outermost axis counts samples, its innermost one columns (channels, or K of a
matrix product), all between them, flattened row-major, are rows (pixels). A block lies in one sample; those at the ends
of rows and columns hold what is left. `specs/arithmetic.md` has the formula of each criterion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from .diagnostics import close_match
from .frozen import dataclass

CRITERIA = ("sum", "mean", "abs_sum", "l1_mean", "max_abs")
THRESHOLD_STEPS = 256  # a threshold counts in 1/256 of the tensor's scale
BLOCK_LIMIT = 1 << 16  # most elements of a block
# A greater one prunes no more than this: codes of 16 bits have |q| < 2^16, and a block has at most 2^16 of them.
THRESHOLD_LIMIT = (1 << 40) - 1
CODE_BITS = 16  # widest codes that are cut into blocks


@dataclass(frozen=True, slots=True)
class BlockTest:
    """Blocks of `rows` x `cols` elements whose measure is at most `threshold` (in 1/256 of the tensor's scale)."""

    criterion: str
    threshold: int
    rows: int
    cols: int


def matrices(storage_shape: Sequence[int]) -> tuple[int, int, int]:
    """Samples, rows a sample and columns of a tensor of at least two axes, given its extents as stored."""
    return storage_shape[0], prod(storage_shape[1:-1]), storage_shape[-1]


def block_count(storage_shape: Sequence[int], rows: int, cols: int) -> int:
    """How many blocks a tensor is cut into."""
    samples, points, columns = matrices(storage_shape)
    return samples * -(-points // rows) * -(-columns // cols)


def faults_of(test: BlockTest) -> Iterator[tuple[str, str]]:
    """What is wrong with a test, and what would be legal."""
    if test.criterion not in CRITERIA:
        help = f"{close_match(test.criterion, CRITERIA)}one of {', '.join(CRITERIA)}"
        yield f"there is no criterion {test.criterion!r}", help
    if not 0 <= test.threshold <= THRESHOLD_LIMIT:
        yield f"the threshold is {test.threshold}", f"0 to {THRESHOLD_LIMIT}"
    if min(test.rows, test.cols) < 1 or test.rows * test.cols > BLOCK_LIMIT:
        yield f"blocks have {test.rows} x {test.cols} elements", f"1 to {BLOCK_LIMIT}"
