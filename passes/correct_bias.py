"""Take the mean error that rounding the weights of a product will make off its bias: the mean over calibration data.

before:  y = conv(x, w, b)
after:   y = conv(x, w, b - E[conv(x, w.q - w)])          w.q: the weights as `quantise` will round them

A product is linear: the mean of its error is its error on the mean of its operand. One sample is computed, per output
channel over all positions, padding included. (Nagel et al., Data-free quantization through weight equalization and bias
correction, ICCV 2019, section 4.2, with means from data; Banner et al., Post training 4-bit quantization of
convolutional networks for rapid-deployment, NeurIPS 2019.)

Requires: float products, before `quantise`, with all factors that `canonicalise` folds into their weights, which change
          how weights are rounded that share a scale. The means are data, which no module holds: it is a part of
          calibration.
Ensures:  where operands come without an error of their own, each output channel of the quantised product has the mean
          of the float product over the calibration data, whatever the width and the form of its weights.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.graph import Node
from ..ir.module import Module, Operation
from ..ir.precision import LayerPrecision, PrecisionSpec
from ..ir.types import ElementType, Tensor, constant_array
from .codes import dequantised
from .partition import Acceptance
from .rewrite import PRODUCTS, fresh_name, integers, rebuilt
from .weights import rounded_weights
from .widths import layer_of, weight_type

Array = NDArray[Any]


def product_inputs(module: Module) -> set[str]:
    """The values whose means `with_corrected_biases` wants."""
    return {node.inputs[0] for node in module.operations if isinstance(node, Node) and _has_weights(module, node)}


Corrections = dict[tuple[str, LayerPrecision], "NDArray[np.float32] | None"]
"""Biases that were computed before, by layer and form of its weights; None where there is none."""


def with_corrected_biases(
    module: Module,
    means: Mapping[str, Array],
    judge: Acceptance,
    spec: PrecisionSpec | None = None,
    known: Corrections | None = None,
) -> Module:
    """`module` with the biases of all float products with constant weights corrected, where `means` has their operand:
    by name its mean over the leading axis and all calibration data. Products stay as they are that the machine does
    not run with such a bias: it may add none. `spec` says how weights are rounded (else to int8); `known` keeps biases
    for the next call with the same module and means."""
    found: Corrections = {} if known is None else known
    tensors_of = dict(module.tensor_by_name)
    taken = set(tensors_of)
    tensors: list[Tensor] = []
    operations: list[Operation] = []
    for operation in module.operations:
        operations.append(operation)
        if isinstance(operation, Node) and operation.inputs[0] in means and _has_weights(module, operation):
            layer = layer_of(spec or PrecisionSpec(), operation.name)
            layer = replace(layer, activations=ElementType.I8.bits, symmetric_activations=False)
            key = (operation.name, layer)
            is_new = key not in found
            if is_new:
                mean = np.asarray(means[operation.inputs[0]], np.float64)
                found[key] = _corrected(module, operation, mean, layer, weight_type(judge.arch, layer))
            bias = found[key]
            if bias is None:
                continue
            name = fresh_name(taken, f"{operation.name}.corrected_bias")
            tensor = Tensor(name, ElementType.F32, bias.shape, constant=module.blobs.add_array(bias))
            changed = replace(operation, inputs=(*operation.inputs[:2], name))
            if is_new and judge(changed, ChainMap({name: tensor}, tensors_of), module.blobs):
                found[key] = None
                continue
            tensors.append(tensor)
            operations[-1] = changed
    return rebuilt(module, operations, tensors)


def _has_weights(module: Module, node: Node) -> bool:
    """Computes on floats, has constant weights that are rounded per output channel, and a constant bias or none."""
    if node.op not in PRODUCTS:
        return False
    data, weights = (module.tensor(name) for name in node.inputs[:2])
    shaped = node.op != "conv_transpose" or node.attribute("group") == 1
    if node.op == "matmul":
        shaped = len(weights.shape or ()) == 2 and not node.attribute("transpose_a")
    constant = all(module.tensor(name).constant is not None for name in node.inputs[1:])
    floats = data.type is ElementType.F32 and weights.type is ElementType.F32
    return floats and constant and shaped and len(data.shape or ()) >= 2


def _corrected(
    module: Module, node: Node, mean: Array, layer: LayerPrecision, type: ElementType | None
) -> NDArray[np.float32] | None:
    """The corrected bias; None where nothing is computed, or not on finite numbers, or the array takes no such type."""
    data, weights, result = (module.tensor(name) for name in (*node.inputs[:2], *node.outputs))
    assert data.shape is not None and result.shape is not None
    if mean.shape != data.shape[1:] or not mean.size or not result.elements or type is None:
        return None
    kernel = constant_array(weights, module.blobs).astype(np.float32)
    if not (np.isfinite(mean).all() and np.isfinite(kernel).all()):
        return None
    error = dequantised(*rounded_weights(node, kernel, layer, type)) - kernel
    shift = _mean_product(node, mean, error, result.shape)
    bias = np.zeros(1, np.float32)
    if len(node.inputs) > 2:
        bias = constant_array(module.tensor(node.inputs[2]), module.blobs).astype(np.float32)
    return np.asarray(bias - shift, np.float32)


def _mean_product(node: Node, mean: Array, weights: Array, result: tuple[int, ...]) -> Array:
    """The product of one sample with `weights`, without bias: its mean per output channel over all positions."""
    if node.op == "matmul":
        row = mean.reshape(-1, mean.shape[-1]).mean(axis=0)
        return np.asarray(row @ (weights.T if node.attribute("transpose_b") else weights))
    taps = np.stack([_seen_by_tap(node, mean, tap, result[2:]) for tap in np.ndindex(*weights.shape[2:])], axis=-1)
    if node.op == "conv_transpose":
        return np.asarray(np.einsum("ct,cmt->m", taps, weights.reshape(*weights.shape[:2], -1)))
    groups = node.attribute("group")
    assert isinstance(groups, int)
    taps = taps.reshape(groups, -1, taps.shape[-1])
    return np.asarray(np.einsum("gct,gmct->gm", taps, weights.reshape(groups, -1, *taps.shape[1:]))).reshape(-1)


def _seen_by_tap(node: Node, mean: Array, tap: tuple[int, ...], result: tuple[int, ...]) -> Array:
    """Per input channel, what a kernel tap multiplies: the mean over the positions of the result."""
    chosen = mean
    for axis, (place, extent) in enumerate(zip(tap, result, strict=True)):
        stride, dilation, pad = (integers(node, name)[axis] for name in ("strides", "dilations", "pads"))
        if node.op == "conv":
            positions = np.arange(extent) * stride + place * dilation - pad
            positions = positions[(positions >= 0) & (positions < mean.shape[axis + 1])]
        else:
            landed = np.arange(mean.shape[axis + 1]) * stride + place * dilation - pad
            positions = np.flatnonzero((landed >= 0) & (landed < extent))
        chosen = chosen.take(positions, axis=axis + 1)
    return np.asarray(chosen.reshape(len(mean), -1).sum(axis=1) / prod(result))
