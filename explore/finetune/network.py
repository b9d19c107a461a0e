"""A graph module in PyTorch: its nodes computed on real numbers, rounded wherever the module has codes.

It is our graph that is interpreted, not the ONNX model: which operators are folded, where values are rounded and with
which parameters is then the compiler's own word. Operators beside OPERATORS, and host regions but a last softmax, are
refused by name.

What the machine computes on integers is computed here in float32, so that a value within the rounding of float32 of the
border between two codes may get the other one: the two differ by one code there, and by what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ...ir.diagnostics import CompileError, Diagnostic
from ...ir.frozen import dataclass
from ...ir.graph import HostRegion, Node, ValueType
from ...ir.module import Module
from ...ir.precision import PrecisionSpec
from ...ir.types import ElementType, Tensor, constant_array
from ...passes.codes import dequantised
from ...passes.rewrite import integers
from ...passes.weights import channel_axis
from ...passes.widths import layer_of
from .fake_quantise import fake_quantised, rounded_bias, rounded_weights

if TYPE_CHECKING:
    Values = Any  # torch.Tensor

PRODUCTS = ("conv", "matmul")
_SOFTMAX = (("Softmax",), ("LogSoftmax",))
_STAGES = ("add", "mul", "relu", "clip", "leaky_relu", "quantize", "dequantize")


@dataclass(frozen=True, slots=True)
class Trained:
    """The weights and the bias of a product, float32 tensors of torch that are trained."""

    weights: Values
    bias: Values | None


def trained_of(module: Module, device: str) -> dict[str, Trained]:
    """Those of each product of a float module with constant weights, by the node's name. A constant that two products
    read is one tensor."""
    import torch

    tensors: dict[str, Values] = {}

    def tensor(name: str) -> Values:
        if name not in tensors:
            array = np.array(constant_array(module.tensor(name), module.blobs), np.float32)
            tensors[name] = torch.from_numpy(array).to(device).requires_grad_()
        return tensors[name]

    return {
        node.name: Trained(tensor(node.inputs[1]), tensor(node.inputs[2]) if len(node.inputs) > 2 else None)
        for node in module.operations
        if isinstance(node, Node) and node.op in PRODUCTS and module.tensor(node.inputs[1]).constant is not None
    }


class Network:
    """A module with the weights of `trained` (by the node's name), in `spec`'s precision where the module has codes.
    Raises CompileError naming every operation that it has not."""

    def __init__(self, module: Module, floats: Module, trained: Mapping[str, Trained], spec: PrecisionSpec) -> None:
        """`floats` is the module before quantisation: operators that codes look up in tables are computed as there."""
        self._module = module
        self._trained = trained
        self._spec = spec
        self._floats = {each.name: each for each in floats.operations if isinstance(each, Node)}
        self._batch = (module.tensor(module.inputs[0]).shape or (1,))[0]
        self._constants: dict[tuple[str, Any], Values] = {}
        self.output = module.outputs[0]
        operations = list(module.operations)
        last = operations[-1] if operations else None
        if isinstance(last, HostRegion) and last.operators in _SOFTMAX and last.outputs == module.outputs:
            self.output = last.inputs[0]  # losses and classes follow from what it reads
            operations.pop()
        self._nodes = [each for each in operations if isinstance(each, Node)]
        self._must_be_known(operations)

    def _must_be_known(self, operations: list[Any]) -> None:
        module = self._module
        faults = []
        if len(module.inputs) != 1 or len(module.outputs) != 1:
            message = f"the model has {len(module.inputs)} inputs and {len(module.outputs)} outputs"
            faults.append(Diagnostic(message, help="fine-tuning takes models of one input and one output"))
        for each in operations:
            if isinstance(each, HostRegion):
                message = f"{', '.join(each.operators)} of {each.name!r} is computed by the host: {each.reason}"
                faults.append(Diagnostic(message, each.span, "fine-tuning takes models that the machine runs"))
            elif each.op not in OPERATORS:
                message = f"{each.op} {each.name!r} cannot be fine-tuned"
                faults.append(Diagnostic(message, each.span, f"operators are {', '.join(OPERATORS)}"))
            elif each.op in PRODUCTS and each.name not in self._trained and self._is_constant(each.inputs[1]):
                faults.append(
                    Diagnostic(f"{each.op} {each.name!r} has weights that the float model has not", each.span)
                )
            elif left := [stage.op for stage in each.post if stage.op not in _STAGES]:
                faults.append(Diagnostic(f"{left[0]} behind {each.op} {each.name!r} cannot be fine-tuned", each.span))
            elif each.op == "reshape" and not self._keeps_samples(each):
                message = f"reshape {each.name!r} does not keep the axis of samples"
                faults.append(Diagnostic(message, each.span, "fine-tuning takes batches of any size"))
        if faults:
            raise CompileError(faults)

    def _is_constant(self, name: str) -> bool:
        return self._module.tensor(name).constant is not None

    def _keeps_samples(self, node: Node) -> bool:
        shapes = [self._module.tensor(name).shape or () for name in (*node.inputs, *node.outputs)]
        return all(each[:1] == (self._batch,) for each in shapes)

    def scores(self, x: Values) -> Values:
        """The output for samples x, [samples, ...] of any number: what a last softmax reads, where there is one."""
        return self.values(x)[self.output]

    def values(self, x: Values) -> dict[str, Values]:
        """Every value by name, real numbers."""
        found = {self._module.inputs[0]: x}
        for node in self._nodes:
            found[node.outputs[0]] = self.value(node, found)
        return found

    def value(self, node: Node, known: Mapping[str, Values]) -> Values:
        """The result of one node, its post chain included."""
        result = self._module.tensor(node.outputs[0])
        own = node.value or _kind(result)
        y = _rounded(OPERATORS[node.op](self, node, known), own)
        for stage in node.post:
            attributes = dict(stage.attributes)
            if stage.operand is not None:
                other = self.operand(stage.operand, known, y)
                y = y + other if stage.op == "add" else y * other
            elif stage.op not in ("quantize", "dequantize"):
                y = _activation(stage.op, y, attributes)
            y = _rounded(y, stage.result)
        return y

    def operand(self, name: str, known: Mapping[str, Values], like: Values) -> Values:
        """A value, or the real numbers of a constant."""
        if name in known:
            return known[name]
        key = (name, like.device)
        if key not in self._constants:
            import torch

            tensor = self._module.tensor(name)
            array = constant_array(tensor, self._module.blobs)
            real = array if tensor.quantization is None else dequantised(array, tensor.quantization)
            self._constants[key] = torch.from_numpy(np.array(real, np.float32)).to(like.device)
        return self._constants[key]

    def weights(self, node: Node, x: Values, known: Mapping[str, Values]) -> tuple[Values, Values | None]:
        """Second operand and bias of a product, rounded where the module has codes."""
        if not self._is_constant(node.inputs[1]):
            third = self.operand(node.inputs[2], known, x) if len(node.inputs) > 2 else None
            return known[node.inputs[1]], third
        trained, kind = self._trained[node.name], self._module.tensor(node.inputs[1]).type
        if not isinstance(kind, ElementType) or not kind.is_integer:
            return trained.weights, trained.bias
        layer = layer_of(self._spec, node.name)
        axis = channel_axis(node, trained.weights.detach().cpu().numpy()) if layer.per_channel else None
        w, parameters = rounded_weights(trained.weights, axis, layer, kind)
        quantization = self._module.tensor(node.inputs[0]).quantization
        assert quantization is not None, "codes have a scale"
        bias = None if trained.bias is None else rounded_bias(trained.bias, quantization.scale[0], parameters)
        return w, bias


def _kind(tensor: Tensor) -> ValueType:
    assert isinstance(tensor.type, ElementType)
    return ValueType(tensor.type, tensor.quantization)


def _rounded(y: Values, kind: ValueType) -> Values:
    return y if kind.quantization is None else fake_quantised(y, kind.quantization, kind.type)


def _padded(x: Values, pads: tuple[int, ...], value: float) -> Values:
    """With ONNX pads, (begins..., ends...) of the axes behind the first two."""
    import torch

    if not any(pads):
        return x
    axes = len(pads) // 2
    backwards = [each for axis in reversed(range(axes)) for each in (pads[axis], pads[axes + axis])]
    return torch.nn.functional.pad(x, backwards, value=value)


def _conv(network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    import torch

    x = known[node.inputs[0]]
    w, bias = network.weights(node, x, known)
    functions = torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d
    return functions[w.ndim - 3](
        _padded(x, integers(node, "pads"), 0.0),
        w,
        bias,
        stride=integers(node, "strides"),
        dilation=integers(node, "dilations"),
        groups=cast(int, node.attribute("group")),
    )


def _matmul(network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    a = network.operand(node.inputs[0], known, next(iter(known.values())))
    b, bias = network.weights(node, a, known)
    a = a.swapaxes(-1, -2) if node.attribute("transpose_a") else a
    b = b.swapaxes(-1, -2) if node.attribute("transpose_b") else b
    return a @ b if bias is None else a @ b + bias


def _pool(_network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    import torch

    x = known[node.inputs[0]]
    if node.attribute("kind") == "global_average":
        return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)
    kernel, pads = integers(node, "kernel"), integers(node, "pads")
    strides, dilations = integers(node, "strides"), integers(node, "dilations")
    if node.attribute("kind") == "max":
        pools = torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d
        return pools[len(kernel) - 1](_padded(x, pads, -inf), kernel, strides, 0, dilations)
    convs = torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d
    ones, channels = torch.ones((x.shape[1], 1, *kernel), device=x.device), x.shape[1]

    def sums(of: Values) -> Values:
        return convs[len(kernel) - 1](_padded(of, pads, 0.0), ones, None, strides, 0, dilations, channels)

    if node.attribute("count_include_pad"):
        return sums(x) / ones[0].numel()
    return sums(x) / sums(torch.ones_like(x[:1]))


def _add(network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    a, b = _both(network, node, known)
    return a + b


def _mul(network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    a, b = _both(network, node, known)
    return a * b


def _sub(network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    a, b = _both(network, node, known)
    return a - b


def _both(network: Network, node: Node, known: Mapping[str, Values]) -> tuple[Values, Values]:
    like = next(iter(known.values()))
    return network.operand(node.inputs[0], known, like), network.operand(node.inputs[1], known, like)


def _elementwise(network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    source = network._floats.get(node.name, node)  # the operator that a table holds
    return _activation(source.op, known[node.inputs[0]], dict(source.attributes))


def _activation(op: str, x: Values, attributes: Mapping[str, Any]) -> Values:
    import torch

    if op == "clip":
        return torch.clamp(x, attributes["minimum"], attributes["maximum"])
    return torch.where(x >= 0, x, x * attributes["alpha"]) if op == "leaky_relu" else torch.relu(x)


def _reshape(network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    x = known[node.inputs[0]]
    return x.reshape(len(x), *(network._module.tensor(node.outputs[0]).shape or ())[1:])


def _transpose(_network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    return known[node.inputs[0]].permute(integers(node, "permutation"))


def _same(_network: Network, node: Node, known: Mapping[str, Values]) -> Values:
    return known[node.inputs[0]]


OPERATORS = {
    "conv": _conv,
    "matmul": _matmul,
    "pool": _pool,
    "add": _add,
    "mul": _mul,
    "sub": _sub,
    "relu": _elementwise,
    "clip": _elementwise,
    "leaky_relu": _elementwise,
    "table": _elementwise,
    "reshape": _reshape,
    "transpose": _transpose,
    "quantize": _same,
    "dequantize": _same,
}
