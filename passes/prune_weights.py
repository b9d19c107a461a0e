"""Zero the blocks of a layer's constant weights that have the least measure: what is zero is known before a run.

before:  w [M, C, R, S], as a matrix [M, R*S*C] in blocks of rows x cols
after:   the same with zero points in every block whose measure is at most the threshold, or is among the least

Measures are of real numbers, code - zero point times the scale of the channel, in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..ir.blocks import CODE_BITS
from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.module import Module
from ..ir.types import ElementType, Tensor, constant_array
from .prune_spec import WeightPruning

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class PrunedWeights:
    """Codes in logical axis order, and of their blocks how many there are, were zero and have become so."""

    codes: Array
    blocks: int
    zero: int
    created: int


def weights_refusal(module: Module, node: Node) -> str:
    """Why the weights of a product have no blocks to prune, in a user's words; empty if they have."""
    weights = module.tensor(node.inputs[1])
    kind = weights.type
    if weights.constant is None:
        return "its weights are computed"
    if not isinstance(kind, ElementType) or kind.is_float or kind.bits > CODE_BITS or weights.quantization is None:
        return f"its weights are {kind}, and only codes are pruned"
    if node.op == "matmul" and len(weights.shape or ()) != 2:
        return "its weights are no matrix"
    if node.op == "conv_transpose" and node.attribute("group") != 1:
        return "its weights are of several groups"
    return ""


def pruned_weights(module: Module, node: Node, wanted: WeightPruning, block: tuple[int, int]) -> PrunedWeights:
    """The weights of a product that `weights_refusal` does not refuse, in blocks of `block`."""
    weights = module.tensor(node.inputs[1])
    codes = constant_array(weights, module.blobs)
    matrix = _matrix(node, np.arange(codes.size).reshape(codes.shape))  # where each element of the matrix lies
    centred, real = _values(weights, codes)
    measures = _measures(wanted.criterion, real.reshape(-1)[matrix], block)
    was_zero = _measures("max_abs", centred.reshape(-1)[matrix], block) == 0
    if wanted.threshold is not None:
        pruned = measures <= wanted.threshold
    else:
        assert wanted.fraction is not None
        pruned = np.zeros(measures.size, bool)
        pruned[np.argsort(measures, axis=None, kind="stable")[: round(wanted.fraction * measures.size)]] = True
        pruned = pruned.reshape(measures.shape)
    cells = np.repeat(np.repeat(pruned, block[0], axis=0), block[1], axis=1)[: matrix.shape[0], : matrix.shape[1]]
    left = np.where(_as_array(cells, matrix, codes.shape), codes.astype(np.int64) - centred, codes).astype(codes.dtype)
    return PrunedWeights(left, measures.size, int(was_zero.sum()), int((pruned & ~was_zero).sum()))


def _matrix(node: Node, array: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weights as [M, K], K in the order in which a nest stores it: taps row-major, of each tap the channels."""
    if node.op == "matmul":
        return array if node.attribute("transpose_b") else array.T
    channels = 1 if node.op == "conv" else 0
    turned = np.moveaxis(array, channels, -1)
    return turned.reshape(turned.shape[0], -1)


def _values(weights: Tensor, codes: Array) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Codes less their zero points, and the real numbers that they stand for."""
    quantization = weights.quantization
    assert quantization is not None
    shape = [1] * codes.ndim
    if quantization.axis is not None:
        shape[quantization.axis] = -1
    centred = codes.astype(np.int64) - np.asarray(quantization.zero_point, np.int64).reshape(shape)
    return centred, centred * np.asarray(quantization.scale, np.float64).reshape(shape)


def _as_array(cells: NDArray[np.bool_], matrix: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    flat = np.zeros(matrix.size, bool)
    flat[matrix.reshape(-1)] = cells.reshape(-1)
    return flat.reshape(shape)


def _measures(criterion: str, matrix: NDArray[np.generic], block: tuple[int, int]) -> NDArray[np.float64]:
    """The measure of each block, of a matrix that has elements."""
    values = np.asarray(matrix, np.float64)
    starts = tuple(np.arange(0, extent, size) for extent, size in zip(values.shape, block, strict=True))

    def over(combine: np.ufunc, of: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(combine.reduceat(combine.reduceat(of, starts[0], axis=0), starts[1], axis=1))

    cells = over(np.add, np.ones_like(values))
    measure: dict[str, Callable[[], NDArray[np.float64]]] = {
        "sum": lambda: over(np.add, values),
        "mean": lambda: np.abs(over(np.add, values)) / cells,
        "abs_sum": lambda: over(np.add, np.abs(values)),
        "l1_mean": lambda: over(np.add, np.abs(values)) / cells,
        "max_abs": lambda: over(np.maximum, np.abs(values)),
    }
    return measure[criterion]()
