"""Operators of a graph as functions on batches of held values: which ones have a fast form, and what it is.

`step` makes a function of a node with its post chain. Each operator takes the fastest form that has its numbers:
onnxruntime's integer kernels and compiled loops; where there is none (floats, scales per channel, three spatial axes),
the graph interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.blocks import CRITERIA, matrices
from ...ir.frozen import dataclass
from ...ir.graph import Node
from ...ir.module import Module
from ...ir.types import Tensor
from ...runtime.blocks import Blocks
from . import elementwise, kernels, moves, weighted
from .codes import arranged, held_order
from .operands import Fast, are_codes, least_of, parameters_of
from .plain import Plain, Run, interpreted, not_by_rows, plain_operators
from .sessions import Sessions

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A node on the values of `reads`, of many runs. `slow` says what the graph interpreter does of it, and why samples
    are taken run by run, where that is so."""

    run: Run
    slow: tuple[str, ...]


def reads(module: Module, node: Node) -> tuple[str, ...]:
    """The values that a node and its post chain read, as often as they do, without constants."""
    names = (*node.inputs, *(each.operand for each in node.post))
    return tuple(name for name in names if name and module.tensor(name).constant is None)


def step(module: Module, node: Node, sessions: Sessions) -> Step:
    """The function of a node and its post chain; `sessions` has those of earlier steps."""
    runs: list[tuple[Run, int]] = []
    slow = []
    for place, plain in enumerate(plain_operators(module, node)):
        reason = not_by_rows(plain)
        fast = None if reason else _fast(plain, sessions)
        if fast is None:
            slow.append(f"{plain.node.op}: {reason or 'the graph interpreter'}")
        others = len(plain.fed) - (1 if place else 0)
        runs.append((interpreted(plain) if fast is None else _without_count(fast), others))

    def run(values: Sequence[Array], count: int) -> Array:
        running: list[Array] = []
        taken = 0
        for each, others in runs:
            running = [each([*running, *values[taken : taken + others]], count)]
            taken += others
        return running[0]

    return Step(run, tuple(slow))


def _without_count(fast: Fast) -> Run:
    return lambda values, _runs: fast(values)


def _fast(plain: Plain, sessions: Sessions) -> Fast | None:
    op = plain.node.op
    if any(0 in (each.shape or ()) for each in (*plain.fed, plain.result)):
        return None
    if op in _PRODUCTS:
        return _PRODUCTS[op](plain, sessions)
    fast = _FAST[op](plain) if op in _FAST else None
    if fast is None or op not in _ELEMENTWISE:
        return fast
    after = held_order(plain.result)
    before = [held_order(each) for each in plain.fed]
    if all(each == after for each in before):
        return fast
    found = fast
    return lambda values: found([arranged(x, order, after) for x, order in zip(values, before, strict=True)])


def prunes(node: Node, x: Tensor) -> bool:
    """Whether `pruned` takes this node."""
    return node.op == "prune" and are_codes(x) and len(x.shape or ()) >= 2 and held_order(x) == x.storage_order


def pruned(node: Node, x: Tensor, value: Array) -> tuple[Array, Blocks]:
    """A held value with its blocks pruned, and which blocks that are."""
    criterion, threshold, rows, cols = (node.attribute(name) for name in ("criterion", "threshold", "rows", "cols"))
    assert isinstance(criterion, str) and isinstance(threshold, int) and isinstance(rows, int) and isinstance(cols, int)
    matrix = value.reshape(matrices(value.shape))
    grid = len(matrix), -(-matrix.shape[1] // rows), -(-matrix.shape[2] // cols)
    y, mask, zero = np.empty_like(matrix), np.empty(grid, np.bool_), np.empty(grid, np.bool_)
    held_zero = parameters_of(x).zero_point - least_of(x)
    # Sums of a column of a block: of at most `rows` codes.
    sums = np.empty((2, matrix.shape[2]), np.int32 if rows << 8 * value.itemsize < 1 << 31 else np.int64)
    kept = np.empty(matrix.shape[2], np.bool_)
    size = np.array([rows, cols], np.int64)
    kernels.pruned_blocks(matrix, y, mask, zero, sums, kept, held_zero, CRITERIA.index(criterion), threshold, size)
    return y.reshape(value.shape), Blocks(mask, zero)


_PRODUCTS: Mapping[str, Callable[[Plain, Sessions], Fast | None]] = {
    "conv": weighted.conv,
    "conv_transpose": weighted.conv_transpose,
    "matmul": weighted.matmul,
}
_ELEMENTWISE = ("relu", "clip", "table", "requantize", "quantize", "dequantize", "add", "mul")
_FAST: Mapping[str, Callable[[Plain], Fast | None]] = {
    "pool": moves.pool,
    "im2col": moves.im2col,
    "reshape": moves.reshape,
    "transpose": moves.transpose,
    "relu": elementwise.activation,
    "clip": elementwise.activation,
    "table": elementwise.table,
    "requantize": elementwise.requantize,
    "quantize": elementwise.quantize,
    "dequantize": elementwise.dequantize,
    "add": elementwise.pairwise,
    "mul": elementwise.pairwise,
}
