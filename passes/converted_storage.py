"""Codes in main memory, floats everywhere else: what a machine with a number converter makes of a precision.

before:  y: f32 = conv(x: f32, w: f32, b: f32) then relu ; z: f32 = conv(y, v, d)
after:   x.u8 = quantize(x) ; x.bf16 = dequantize(x.u8) ; w.bf16 = dequantize(w.i6)
         y.u5 = conv(x.bf16, w.bf16, b) : f32 then relu : f32 then quantize : u5
         y.bf16 = dequantize(y.u5) ; z: f32 = conv(y.bf16, v.bf16, d)

The array computes in its own float type. A `dequantize` to that type becomes what a load does, the `quantize` at the
end of a chain what a store does (lower.py, ir/nest.py `Decode`, `encodes`). (Hotfilter, Efficient Optimization of
Convolutional Neural Networks for Modern Embedded High-Performance Applications, dissertation, KIT, 2024, section 6.5.)

Requires: a float graph with ranges; a machine with a number converter.
Ensures:  every value that a node writes and a node reads lies in main memory as codes of the width that its readers
          ask for (widths.py); weights too, with one scale a layer, as the converter has one scale a stream. Biases, and
          what only the host or nobody reads, stay f32. Residual additions have joined the chains of products.
"""

from __future__ import annotations

from dataclasses import field, replace

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.graph import Node, Stage, ValueType
from ..ir.module import Module, Operation
from ..ir.precision import PrecisionSpec
from ..ir.types import ElementType, Quantization, Tensor, constant_array
from .codes import activation_parameters, codes_of
from .fuse import fuse
from .rewrite import PRODUCTS, fresh_name, readers, rebuilt
from .weights import rounded_weights
from .widths import Form, claimed_tolerance, forms_of, integer, keeps_parameters, layer_of

_MOVES = ("reshape", "transpose")
_CONVERSIONS = ("quantize", "dequantize", "requantize", "table")


def float_of(arch: Arch) -> ElementType:
    """The float that the array computes in: what the converter makes of codes."""
    inputs = arch.array.inputs
    return next(each for each in (ElementType.BF16, ElementType.F16, ElementType.F32) if each in inputs)


def is_decoding(node: Node, module: Module, arch: Arch) -> bool:
    """Whether a node is a conversion that loads make: of codes to a float, on a machine with a number converter."""
    if arch.converter is None or node.op != "dequantize" or node.post:
        return False
    source, result = module.tensor(node.inputs[0]), module.tensor(node.outputs[0])
    quantization = source.quantization
    is_plain = quantization is not None and quantization.per_tensor and isinstance(source.type, ElementType)
    return is_plain and result.type is float_of(arch)


def converted_storage(module: Module, arch: Arch, spec: PrecisionSpec) -> Module:
    """The module with codes in main memory. Raises CompileError naming every tensor without a range."""
    module = fuse(module, arch)  # what joins a chain here never becomes codes in between
    stored = _Storing(module, arch, spec, forms_of(module, spec)).run()
    if stored.operations == module.operations:
        return module
    options = dict(stored.header.options) | {"tolerance": claimed_tolerance(spec)}
    return replace(stored, header=replace(stored.header, options=tuple(sorted(options.items()))))


@dataclass
class _Storing:
    """The state of one run: codes and their float form by the name of a float value, and what has been written."""

    module: Module
    arch: Arch
    spec: PrecisionSpec
    forms: dict[str, Form]
    codes: dict[str, Tensor] = field(default_factory=dict)
    decoded: dict[str, str] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    faults: list[Diagnostic] = field(default_factory=list)

    def run(self) -> Module:
        self.taken = set(self.module.tensor_by_name) | {each.name for each in self.module.operations}
        self.read_by = readers(self.module)
        self.mine = {each.name for each in self.module.operations if isinstance(each, Node) and self._is_float(each)}
        for operation in self.module.operations:
            if operation.name not in self.mine:
                self.operations.append(operation)
                continue
            assert isinstance(operation, Node)
            if operation.op in _MOVES and not operation.post:
                self._move(operation)
            else:
                self._compute(operation)
        if self.faults:
            raise CompileError(self.faults)
        return rebuilt(self.module, self.operations, self.tensors)

    def _is_float(self, node: Node) -> bool:
        return node.op not in _CONVERSIONS and self.module.tensor(node.inputs[0]).type is ElementType.F32

    # -- values -----------------------------------------------------------------------------------------------------

    def _parameters(self, tensor: Tensor) -> tuple[ElementType, Quantization]:
        """The codes of a value: unsigned where none is negative."""
        form = self.forms[tensor.name]
        if tensor.minimum is None or tensor.maximum is None:
            help = "calibrate with --calibrate DATA.npz"
            self.faults.append(Diagnostic(f"tensor {tensor.name!r} has no calibrated range", help=help))
            return integer(form.bits, True), Quantization((1.0,), (0,))
        kind = integer(form.bits, tensor.minimum < 0)
        return kind, activation_parameters(tensor.minimum, tensor.maximum, kind, form.symmetric)

    def _coded(self, tensor: Tensor, kind: ElementType, parameters: Quantization) -> Tensor:
        name = fresh_name(self.taken, f"{tensor.name}.{kind}")
        coded = replace(tensor, name=name, type=kind, quantization=parameters, constant=None)
        self.codes[tensor.name] = coded
        self.tensors.append(coded)
        return coded

    def _codes_of(self, name: str) -> Tensor:
        """The codes of a value that a node reads, made by a `quantize` node where nothing has written them."""
        if name not in self.codes:
            tensor = self.module.tensor(name)
            if tensor.constant is not None:
                return self._constant(tensor, *self._constant_codes(tensor))
            coded = self._coded(tensor, *self._parameters(tensor))
            self.operations.append(Node(fresh_name(self.taken, f"{name}.quantize"), "quantize", (name,), (coded.name,)))
        return self.codes[name]

    def _constant_codes(self, tensor: Tensor) -> tuple[NDArray[np.generic], ElementType, Quantization]:
        values = np.asarray(constant_array(tensor, self.module.blobs), np.float32)
        if not np.isfinite(values).all():
            message = f"constant {tensor.name!r} holds values that are not finite, which no code stands for"
            self.faults.append(Diagnostic(message, help="--precision keep leaves the model as it is"))
            values = np.zeros_like(values)
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        form = self.forms[tensor.name]
        kind = integer(form.bits, low < 0)
        parameters = activation_parameters(low, high, kind, form.symmetric)
        return codes_of(values, parameters, kind), kind, parameters

    def _constant(
        self, tensor: Tensor, codes: NDArray[np.generic], kind: ElementType, parameters: Quantization
    ) -> Tensor:
        coded = self._coded(tensor, kind, parameters)
        reference = self.module.blobs.add_array(codes.transpose(tensor.storage_order))
        self.tensors[-1] = self.codes[tensor.name] = replace(coded, constant=reference)
        return self.codes[tensor.name]

    def _operand(self, name: str) -> str:
        """The float that the converter makes of a value's codes."""
        if name not in self.decoded:
            coded, kind = self._codes_of(name), float_of(self.arch)
            made = fresh_name(self.taken, f"{name}.{kind}")
            self.tensors.append(replace(coded, name=made, type=kind, quantization=None, constant=None))
            node = fresh_name(self.taken, f"{name}.decode")
            self.operations.append(Node(node, "dequantize", (coded.name,), (made,)))
            self.decoded[name] = made
        return self.decoded[name]

    def _is_read_as_codes(self, name: str) -> bool:
        """By anything but a host, an output or a product that it is the bias of alone."""
        return any(
            name in (*each.inputs[:2], *(stage.operand for stage in each.post))
            for each in self.read_by[name]
            if isinstance(each, Node) and each.name in self.mine
        )

    def _is_read_as_floats(self, name: str) -> bool:
        return name in self.module.outputs or any(
            each.name not in self.mine or (isinstance(each, Node) and name in each.inputs[2:])
            for each in self.read_by[name]
        )

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _move(self, node: Node) -> None:
        source, result = self._codes_of(node.inputs[0]), self.module.tensor(node.outputs[0])
        assert isinstance(source.type, ElementType) and source.quantization is not None
        coded = self._coded(result, source.type, source.quantization)
        self.operations.append(replace(node, inputs=(source.name,), outputs=(coded.name,)))
        self._floats(result, coded)

    def _floats(self, result: Tensor, coded: Tensor) -> None:
        """The f32 form of a value where something reads it."""
        if self._is_read_as_floats(result.name):
            name = fresh_name(self.taken, f"{result.name}.dequantize")
            self.operations.append(Node(name, "dequantize", (coded.name,), (result.name,)))

    def _compute(self, node: Node) -> None:
        source, result, floats = node.inputs[0], self.module.tensor(node.outputs[0]), ValueType(ElementType.F32)
        operands = [
            self._weights(node) if self._is_weight(node, number) else self._operand(name)
            for number, name in enumerate(node.inputs[:2])
        ]
        made = replace(
            node,
            inputs=(*operands, *node.inputs[2:]),
            post=tuple(self._stage(stage) for stage in node.post),
            value=floats,
            reason=self._reason(node),
        )
        if not self._is_read_as_codes(result.name):
            self.operations.append(made if node.post else replace(made, value=None))
            return
        if keeps_parameters(node):
            kind, parameters = self.codes[source].type, self.codes[source].quantization
            assert isinstance(kind, ElementType) and parameters is not None
        else:
            kind, parameters = self._parameters(result)
        coded = self._coded(result, kind, parameters)
        self.operations.append(
            replace(made, outputs=(coded.name,), post=(*made.post, Stage("quantize", ValueType(kind, parameters))))
        )
        self._floats(result, coded)

    def _stage(self, stage: Stage) -> Stage:
        return stage if stage.operand is None else replace(stage, operand=self._operand(stage.operand))

    def _is_weight(self, node: Node, number: int) -> bool:
        return node.op in PRODUCTS and number == 1 and self.module.tensor(node.inputs[1]).constant is not None

    def _weights(self, node: Node) -> str:
        """The float form of a layer's weights, whose codes have one scale."""
        tensor = self.module.tensor(node.inputs[1])
        layer = replace(layer_of(self.spec, node.name, node.source), per_channel=False)
        values = np.asarray(constant_array(tensor, self.module.blobs), np.float32)
        if not np.isfinite(values).all():
            self.faults.append(
                Diagnostic(f"weights of {node.name!r} are not finite", help="codes are of finite numbers")
            )
            return tensor.name
        kind = integer(layer.weights, True)
        self.codes.pop(tensor.name, None)  # another layer may ask for other codes of the same weights
        self.decoded.pop(tensor.name, None)
        codes, parameters = rounded_weights(node, values, layer, kind)
        self._constant(tensor, codes, kind, parameters)
        return self._operand(tensor.name)

    def _reason(self, node: Node) -> str:
        if node.op not in PRODUCTS:
            return node.reason
        layer = layer_of(self.spec, node.name, node.source)
        bits = self.forms[node.inputs[0]].bits
        return "; ".join(filter(None, (node.reason, f"weights of {layer.weights} bits, input of {bits}, converted")))
