"""The ONNX model again, its graph as it was, with tuned weights for those that it had.

A product takes its tuned weights and bias as new initialisers. What the compiler folds into a product (a batch
normalisation, a constant factor, a constant term) is in the tuned weights already, and becomes the identity, but for
the bias, which stays where the model has a place for one:

before:  Conv(x, w) -> BatchNormalization(scale, B, mean, var)
after:   Conv(x, w.tuned) -> BatchNormalization(1, bias.tuned, 0, 1 - epsilon)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frontend import load
from ...ir.diagnostics import CompileError, Diagnostic, Span
from ...ir.graph import Node
from ...ir.module import Module

F32 = np.float32
Array = NDArray[Any]
_FOLDED = ("BatchNormalization", "Add", "Mul")
_BATCH_NORMALIZATION_EPSILON = 1e-5  # ONNX's default
_LEAST_IR_VERSION = 4  # from which on initialisers need not be inputs


def tuned_model(path: Path, floats: Module, tuned: Mapping[str, tuple[Array, Array | None]]) -> bytes:
    """The model at `path`, which `floats` (the canonical float graph) was made of, with `tuned` weights and biases by
    the names of its products. Raises CompileError naming every product that the model has no place for."""
    from onnx.external_data_helper import load_external_data_for_model

    load.load_network(path)  # what lies beside the model is in its folder, and as large as the model says
    model = load.parse(path)
    load_external_data_for_model(model, str(path.parent))
    writer = _Writer(model, path)
    for node in floats.operations:
        if isinstance(node, Node) and node.name in tuned:
            writer.write(node, *tuned[node.name])
    if writer.faults:
        raise CompileError(writer.faults)
    model.ir_version = max(model.ir_version, _LEAST_IR_VERSION)
    writer.drop_unread()
    return bytes(model.SerializeToString())


class _Writer:
    def __init__(self, model: Any, path: Path) -> None:
        self.graph = model.graph
        self.place = Span(str(path))
        self.nodes = {load.node_label(node, index): node for index, node in enumerate(self.graph.node)}
        self.taken = {each.name for each in self.graph.initializer} | {
            name for node in self.graph.node for name in (*node.input, *node.output)
        }
        self.faults: list[Diagnostic] = []

    def write(self, product: Node, weights: Array, bias: Array | None) -> None:
        sources = [self.nodes[label] for label in dict.fromkeys(product.source) if label in self.nodes]
        if not sources or sources[0].op_type not in ("Conv", "Gemm", "MatMul"):
            self._refuse(product, "it is no Conv, Gemm or MatMul of the model")
            return
        onnx_product, folded = sources[0], _affine(sources)
        for node in folded:
            if node.op_type not in _FOLDED:
                self._refuse(product, f"{node.op_type} {node.name!r} is folded into it")
                return
        if onnx_product.op_type == "Gemm":
            for attribute in onnx_product.attribute:
                if attribute.name in ("alpha", "beta"):
                    attribute.f = 1.0
        self._give(onnx_product, 1, weights)
        own_bias = onnx_product.op_type != "MatMul"
        biased = [node for node in folded if node.op_type != "Mul"][-1:]
        if own_bias and bias is not None and (len(onnx_product.input) > 2 or not biased):
            self._give(onnx_product, 2, np.zeros(bias.size, F32) if biased else np.ravel(bias))
        elif bias is not None and not biased:
            self._refuse(product, "the model has no place for its bias")
        ones = (1,) * (weights.ndim - 2) if product.op == "conv" else ()
        before = onnx_product.output[0]
        for node in folded:
            here = bias if biased and node is biased[0] else None
            if node.op_type == "BatchNormalization":
                self._make_identity(node, bias.size if bias is not None else 0, here)
            else:
                at = 1 if node.input[0] == before else 0
                plain = np.ones(1, F32) if node.op_type == "Mul" else np.zeros(1, F32)
                channels = here.reshape(-1, *ones) if here is not None and product.op == "conv" else here
                self._give(node, at, plain if channels is None else channels)
            before = node.output[0]

    def _make_identity(self, node: Any, channels: int, bias: Array | None) -> None:
        epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), _BATCH_NORMALIZATION_EPSILON)
        one, zero = np.ones(channels, F32), np.zeros(channels, F32)
        values = one, zero if bias is None else np.ravel(bias), zero, one - F32(epsilon)
        for place, value in enumerate(values, 1):
            self._give(node, place, value)

    def _give(self, node: Any, place: int, value: Array) -> None:
        """A new initialiser as an operand: others may read the one that was there."""
        from onnx import numpy_helper

        while len(node.input) <= place:
            node.input.append("")
        base = f"{node.input[place] or node.output[0]}.tuned"
        name, number = base, 1
        while name in self.taken:
            name, number = f"{base}.{number}", number + 1
        self.taken.add(name)
        node.input[place] = name
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, F32), name))

    def _refuse(self, product: Node, why: str) -> None:
        message = f"tuned weights of {product.op} {product.name!r} cannot be written: {why}"
        self.faults.append(Diagnostic(message, self.place, "fold constants of the model before it is tuned"))

    def drop_unread(self) -> None:
        """Initialisers that only products read before, and their entries among the inputs."""
        from onnx import AttributeProto

        def names(graph: Any) -> set[str]:
            found = {each.name for each in graph.output}
            for node in graph.node:
                found |= set(node.input)
                for attribute in node.attribute:
                    if attribute.type == AttributeProto.GRAPH:
                        found |= names(attribute.g)
            return found

        read = names(self.graph)
        dropped = {each.name for each in self.graph.initializer} - read
        for held in (self.graph.initializer, self.graph.input):
            kept = [each for each in held if each.name not in dropped]
            del held[:]
            held.extend(kept)


def _affine(sources: Sequence[Any]) -> list[Any]:
    """The nodes behind a product up to its first activation."""
    found = []
    for node in sources[1:]:
        if node.op_type in ("Relu", "Clip", "LeakyRelu", "Reshape", "Flatten", "Squeeze", "Identity"):
            break
        found.append(node)
    return found
