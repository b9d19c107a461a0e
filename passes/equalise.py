"""Equalise the weights of layers that follow one another: each channel between them is divided by a factor of its own,
so that its row in one layer and its column in the next have one range.

before:  t = conv(x, w1, b1) then relu ; y = conv(t, w2)
after:   t' = conv(x, w1 / s, b1 / s) then relu ; y = conv(t', w2 * s)        s = sqrt(r1 / r2), channel by channel

r1 and r2 are the greatest magnitudes of a channel's weights in both layers. Pairs are taken in turn until no factor
changes any more. (Nagel et al., Data-free quantization through weight equalization and bias correction, ICCV 2019,
equations 9 to 11.)

Requires: a float graph, canonical (factors that follow a product are in its weights), before calibration: the values
          between the layers are others afterwards, `Equalised.factors` times smaller.
Ensures:  the graph computes the same function, up to the rounding of its floats: between the two are only operators f
          with f(s x) = s f(x) for s > 0, channel by channel (relu, leaky_relu, pools), and nothing else reads t. A clip
          is none of these (ReLU6), nor is what changes channels (reshape, transpose).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.frozen import dataclass
from ..ir.graph import Node
from ..ir.module import Module
from ..ir.types import ElementType, Tensor, constant_array
from .rewrite import PRODUCTS, fresh_name, readers, rebuilt, writers

Array = NDArray[Any]
_HOMOGENEOUS = ("relu", "leaky_relu")
# Factors settle quickly: further sweeps change them by less than this part.
_SETTLED = 1e-3
_MOST_SWEEPS = 50


@dataclass(frozen=True, slots=True)
class Equalised:
    """The module, and by the name of each value that is another now what it was divided by (it broadcasts to it)."""

    module: Module
    factors: dict[str, Array]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two products and the values between them, from the first one's result to the second one's operand."""

    first: Node
    second: Node
    between: tuple[str, ...]


def equalise(module: Module) -> Equalised:
    """The module with equalised weights, wherever two layers allow it."""
    pairs = list(_pairs(module))
    weights = {node.name: _weights(module, node) for pair in pairs for node in (pair.first, pair.second)}
    factors = [np.ones(_channels(weights[pair.first.name], pair.first)) for pair in pairs]
    for _ in range(_MOST_SWEEPS):
        greatest = 0.0
        for number, pair in enumerate(pairs):
            step = _factor(pair, weights[pair.first.name], weights[pair.second.name])
            weights[pair.first.name] = _scaled(pair.first, weights[pair.first.name], 1 / step, is_output=True)
            weights[pair.second.name] = _scaled(pair.second, weights[pair.second.name], step, is_output=False)
            factors[number] = factors[number] * step
            greatest = max(greatest, float(np.abs(np.log(step)).max(initial=0.0)))
        if greatest < _SETTLED:
            break
    return _rewritten(module, pairs, weights, factors)


def _pairs(module: Module) -> Iterator[_Pair]:
    read_by, written_by = readers(module), writers(module)
    for second in module.operations:
        if not isinstance(second, Node) or not _is_sound(module, second):
            continue
        between, name, pooled = [second.inputs[0]], second.inputs[0], False
        while _is_private(module, name, read_by):
            first = written_by.get(name)
            if not isinstance(first, Node):
                break
            if first.op in PRODUCTS:
                if _is_sound(module, first) and _passes_factors(first) and _fits(module, first, second, pooled):
                    yield _Pair(first, second, tuple(reversed(between)))
                break
            if first.op not in ("pool", *_HOMOGENEOUS) or not _passes_factors(first):
                break
            pooled = pooled or first.op == "pool"
            name = first.inputs[0]
            between.append(name)


def _is_private(module: Module, name: str, read_by: Any) -> bool:
    return name not in module.outputs and len(read_by[name]) == 1 and module.tensor(name).constant is None


def _passes_factors(node: Node) -> bool:
    return all(stage.op in _HOMOGENEOUS for stage in node.post)


def _is_sound(module: Module, node: Node) -> bool:
    """A float product of constant weights with channels of their own, and a constant bias or none."""
    if node.op not in PRODUCTS or any(module.tensor(name).constant is None for name in node.inputs[1:]):
        return False
    if node.op == "conv_transpose" and node.attribute("group") != 1:
        return False
    weights = module.tensor(node.inputs[1])
    if node.op == "matmul" and (len(weights.shape or ()) != 2 or node.attribute("transpose_a")):
        return False
    kinds = {module.tensor(name).type for name in node.inputs}
    if kinds != {ElementType.F32} or not weights.elements:
        return False
    return all(np.isfinite(constant_array(module.tensor(name), module.blobs)).all() for name in node.inputs[1:])


def _fits(module: Module, first: Node, second: Node, pooled: bool) -> bool:
    """Whether the result's channels are the operand's: both along one axis, which no pool runs along, and a bias has
    one entry for each."""
    if (first.op == "matmul") != (second.op == "matmul") or (pooled and first.op == "matmul"):
        return False
    channels = _channels(_weights(module, first), first)
    biases = [module.tensor(name).shape for name in first.inputs[2:]]
    return all(shape is not None and shape[-1:] in ((channels,), (1,)) for shape in biases)


def _weights(module: Module, node: Node) -> Array:
    return constant_array(module.tensor(node.inputs[1]), module.blobs).astype(np.float64)


def _axes(node: Node) -> tuple[int, int]:
    """Of the weights of a product that is not grouped, the axes of its output and input channels."""
    if node.op == "matmul":
        return (0, 1) if node.attribute("transpose_b") else (1, 0)
    return (1, 0) if node.op == "conv_transpose" else (0, 1)


def _channels(weights: Array, node: Node) -> int:
    return int(weights.shape[_axes(node)[0]])


def _groups(node: Node) -> int:
    group = dict(node.attributes).get("group", 1)
    assert isinstance(group, int)
    return group


def _reach(node: Node, weights: Array, *, is_output: bool) -> Array:
    """The greatest magnitude of each channel's weights."""
    if is_output or _groups(node) == 1:
        return np.asarray(
            np.abs(np.moveaxis(weights, _axes(node)[0 if is_output else 1], 0))
            .reshape(weights.shape[_axes(node)[0 if is_output else 1]], -1)
            .max(axis=1)
        )
    grouped = weights.reshape(_groups(node), -1, weights.shape[1], int(np.prod(weights.shape[2:])))
    return np.asarray(np.abs(grouped).max(axis=(1, 3)).reshape(-1))


def _scaled(node: Node, weights: Array, factor: Array, *, is_output: bool) -> Array:
    """The weights with each channel times its factor."""
    if is_output or _groups(node) == 1:
        shape = [1] * weights.ndim
        shape[_axes(node)[0 if is_output else 1]] = -1
        return np.asarray(weights * factor.reshape(shape))
    groups = _groups(node)
    rows = np.repeat(factor.reshape(groups, -1), weights.shape[0] // groups, axis=0)
    return np.asarray(weights * rows.reshape(*rows.shape, *([1] * (weights.ndim - 2))))


def _factor(pair: _Pair, first: Array, second: Array) -> Array:
    """sqrt(r1 / r2); 1 for a channel that either layer leaves at 0."""
    r1, r2 = _reach(pair.first, first, is_output=True), _reach(pair.second, second, is_output=False)
    used = (r1 > 0) & (r2 > 0)
    return np.where(used, np.sqrt(np.where(used, r1, 1) / np.where(used, r2, 1)), 1.0)


def _rewritten(module: Module, pairs: list[_Pair], weights: dict[str, Array], factors: list[Array]) -> Equalised:
    taken = set(module.tensor_by_name)
    tensors: list[Tensor] = []
    divided: dict[str, Array] = {}
    divisors: dict[str, Array] = {}  # of biases, by product
    for pair, factor in zip(pairs, factors, strict=True):
        divisors[pair.first.name] = factor
        for name in pair.between:
            rank = len(module.tensor(name).shape or ())
            shape = (-1,) if pair.first.op == "matmul" else (-1, *([1] * (rank - 2)))
            divided[name] = np.asarray(factor.reshape(shape), np.float32)

    def constant(wish: str, array: Array) -> str:
        name = fresh_name(taken, wish)
        reference = module.blobs.add_array(array.astype(np.float32))
        tensors.append(Tensor(name, ElementType.F32, tuple(array.shape), constant=reference))
        return name

    def equalised(node: Node) -> Node:
        data, wide, *bias = node.inputs
        names = [data, constant(f"{wide}.equalised", weights[node.name])]
        for name in bias:
            array = constant_array(module.tensor(name), module.blobs).astype(np.float64)
            divisor = divisors.get(node.name)
            names.append(name if divisor is None else constant(f"{name}.equalised", array / divisor))
        return replace(node, inputs=tuple(names))

    operations = [
        equalised(each) if isinstance(each, Node) and each.name in weights else each for each in module.operations
    ]
    return Equalised(rebuilt(module, operations, tensors), divided)
