"""How much of each layer's result is left: the ratio of signal to quantisation noise, layer by layer, in decibels.

Of convolutions and matrix products: their results as the machine computes them, behind activation and pruning, against
those of the calibrated float graph on the same samples. A layer whose result has no counterpart there is left out, and
so is one without noise or without signal, of which the ratio is no number.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.graph import Node
from ..ir.module import Module
from ..passes.rewrite import PRODUCTS
from .accuracy.evaluator import Evaluator
from .accuracy.metrics import sqnr_by_value

MOST_SAMPLES = 32
MOST_BYTES = 1 << 28  # of the values of layers, as float32; fewer samples are taken where all would take more
SQNR_OF = "sqnr_db."  # a figure's name: this, followed by that of a layer


def has_codes(module: Module) -> bool:
    """Whether a product of the module hands on codes."""
    return any(module.tensor(name).quantization is not None for name in _results(module).values())


def layer_sqnr(module: Module, float_module: Module, x: NDArray[Any], threads: int | None = None) -> dict[str, float]:
    """The ratio of each product of `module`, a quantised one before it is lowered, by the layer's name. `x` are samples
    of its only input, of which the first ones are taken."""
    results = _results(module)
    elements = sum(prod(module.tensor(name).shape or ()) for name in results.values())
    batch = max(1, (module.tensor(module.inputs[0]).shape or (1,))[0])
    samples = max(batch, min(MOST_SAMPLES, MOST_BYTES * batch // max(1, 4 * elements)))
    data = {module.inputs[0]: np.ascontiguousarray(x[: samples // batch * batch])}
    with Evaluator(data, threads=threads) as evaluator:
        found = evaluator.values(module, list(results.values()))
        reference = evaluator.values(float_module, _named_alike(float_module, module, results.values()))
    ratios = sqnr_by_value(module.tensor_by_name, found, reference)
    return {
        layer: round(ratios[name], 3) for layer, name in results.items() if name in ratios and isfinite(ratios[name])
    }


def _results(module: Module) -> dict[str, str]:
    """The value that each product hands on, by the product's name: behind the test of its blocks where there is one."""
    pruned = {
        each.inputs[0]: each.outputs[0] for each in module.operations if isinstance(each, Node) and each.op == "prune"
    }
    return {
        each.name: pruned.get(each.outputs[0], each.outputs[0])
        for each in module.operations
        if isinstance(each, Node) and each.op in PRODUCTS
    }


def _named_alike(float_module: Module, module: Module, names: Iterable[str]) -> list[str]:
    """Values of the float graph that the names of quantised ones begin with (`y.i8` is of `y`)."""
    written = {name for each in float_module.operations for name in each.outputs}
    bare = [name.removesuffix(f".{module.tensor(name).type}") for name in names]
    return sorted({each for each in (*names, *bare) if each in written})
