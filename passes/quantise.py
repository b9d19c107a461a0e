"""Narrow a float graph to what the array computes on: int8 with scales from calibration, or bfloat16.

before:  y: f32 = conv(x: f32, w: f32, b: f32) then relu
after:   x.q: i8 = quantize(x); y.q: i8 = conv(x.q, w.q: i8 per channel, b.q: i32) then relu; y: f32 = dequantize(y.q)

Requires: for int8, a calibrated range on every float activation (`Tensor.minimum`, `.maximum`).
Ensures:  host regions and the module's own inputs and outputs keep their types. A product that only they read
          leaves the accumulator as f32, without a rounding to int8, where the post unit scales. Operators that move or
          select values (reshape, transpose, max pool, relu, clip) keep the parameters of their operand.

Activations are asymmetric over the calibrated range, widened to hold 0; weights are symmetric, per output channel;
a bias is int32 in the scale of the product. (Jacob et al., CVPR 2018, sections 2.1 and 2.3; Wu et al. 2020, section 4.)
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
from ..ir.types import ElementType, Quantization, Tensor, constant_array
from .rewrite import PRODUCTS, fresh_name, readers, rebuilt

# What `run --check` holds a model to that was quantised here: of the range of each output, an assumption that the
# accuracy of a model (benchmarks/accuracy.py) must confirm.
INT8_TOLERANCE = "range:0.1"

_KEEPS_PARAMETERS = ("reshape", "transpose", "relu", "clip")


def target_type(arch: Arch, precision: str) -> ElementType | None:
    """What float activations become on this machine: i8 (or u8), bf16, f16, or None where they stay f32.

    `precision` is auto, keep, exact or int8; see passes.pipeline.Options.
    """
    if precision in ("keep", "exact"):
        return None
    inputs = arch.array.inputs
    if arch.array.accumulator.is_integer or precision == "int8":
        return next((each for each in (ElementType.I8, ElementType.U8) if each in inputs), None)
    if ElementType.F32 in inputs:
        return None
    return next((each for each in (ElementType.BF16, ElementType.F16) if each in inputs), None)


def quantise(module: Module, arch: Arch, precision: str) -> Module:
    """The module with every float node in the machine's type.

    Raises CompileError naming every tensor without a range, where one is needed.
    """
    target = target_type(arch, precision)
    if target is None:
        return module
    narrowed = _Narrowing(module, target, "scale" in arch.post.ops).run()
    if target.is_integer and narrowed.operations != module.operations:
        options = dict(narrowed.header.options) | {"tolerance": INT8_TOLERANCE}
        narrowed = replace(narrowed, header=replace(narrowed.header, options=tuple(sorted(options.items()))))
    return narrowed


def activation_parameters(minimum: float, maximum: float, type: ElementType) -> Quantization:
    """Scale and zero point that map [minimum, maximum], widened to hold 0, onto all codes of `type`."""
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    levels = type.maximum - type.minimum
    scale = np.float32((high - low) / levels)
    if not np.isfinite(scale) or scale < np.finfo(np.float32).tiny:
        scale = np.float32(1.0)
    zero_point = int(np.clip(np.rint(type.minimum - low / float(scale)), type.minimum, type.maximum))
    return Quantization((float(scale),), (zero_point,))


def weight_parameters(array: NDArray[np.float32], axis: int | None) -> Quantization:
    """Symmetric 8-bit parameters: the largest magnitude, of the tensor or of each slice along `axis`, maps to 127."""
    largest = (
        np.abs(array).max(initial=0.0)
        if axis is None
        else np.abs(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)).max(axis=1, initial=0.0)
    )
    scale = np.atleast_1d(np.asarray(largest, np.float32) / np.float32(127))
    scale = np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale).astype(np.float32)
    return Quantization(tuple(float(each) for each in scale), (0,) * len(scale), axis)


def _codes(array: NDArray[np.float32], quantization: Quantization, type: ElementType) -> NDArray[np.generic]:
    scale = np.asarray(quantization.scale, np.float32)
    zero_point = np.asarray(quantization.zero_point, np.float64)
    if quantization.axis is not None:
        shape = [1] * array.ndim
        shape[quantization.axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    rounded = np.rint(array / scale) + zero_point
    codes: NDArray[np.generic] = np.clip(rounded, type.minimum, type.maximum).astype(type.container)
    return codes.reshape(array.shape)  # a scalar has met a scale of shape [1]


def rounded_weights(node: Node, array: NDArray[np.float32]) -> tuple[NDArray[np.generic], Quantization]:
    """Codes and parameters of a product's weights: a scale for each output channel where weights have such an axis."""
    axis: int | None = 0
    if node.op == "matmul":
        axis = None if array.ndim != 2 else 0 if node.attribute("transpose_b") else 1
    elif node.op == "conv_transpose":
        axis = 1 if node.attribute("group") == 1 else None
    parameters = weight_parameters(array, axis)
    return _codes(array, parameters, ElementType.I8), parameters


def dequantised(codes: NDArray[np.generic], parameters: Quantization) -> NDArray[np.float32]:
    """The real values of symmetric codes."""
    shape = [1] * codes.ndim
    if parameters.axis is not None:
        shape[parameters.axis] = -1
    return codes.astype(np.float32) * np.asarray(parameters.scale, np.float32).reshape(shape)


def bf16_pattern(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Bit patterns of the nearest bfloat16 values, ties to even; a NaN stays a NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).reshape(np.shape(array))  # scalars stay scalars
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(array), np.uint32(0x7FC0), rounded).astype(np.uint16)


def _is_bias(reader: Operation, name: str) -> bool:
    """Whether a product reads `name` as its bias and as nothing else."""
    return (
        isinstance(reader, Node)
        and reader.op in PRODUCTS
        and name in reader.inputs[2:]
        and name not in reader.inputs[:2]
    )


@dataclass
class _Narrowing:
    """The state of one run: twins by tensor name, what has been written so far, and the faults."""

    module: Module
    target: ElementType
    scales_sums: bool  # whether the post unit turns a sum into a float
    twins: dict[str, Tensor] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    faults: list[Diagnostic] = field(default_factory=list)

    def run(self) -> Module:
        self.taken = set(self.module.tensor_by_name) | {each.name for each in self.module.operations}
        self.read_by = readers(self.module)
        self.narrowed = {
            each.name for each in self.module.operations if isinstance(each, Node) and self._is_float(each)
        }
        for operation in self.module.operations:
            if operation.name in self.narrowed:
                assert isinstance(operation, Node)
                self._narrow(operation)
            else:
                self.operations.append(operation)
        if self.faults:
            raise CompileError(self.faults)
        return rebuilt(self.module, self.operations, self.tensors)

    def _is_float(self, node: Node) -> bool:
        """Computes on f32 activations and is not itself a conversion."""
        if node.op in ("quantize", "dequantize", "requantize", "table"):
            return False
        return self.module.tensor(node.inputs[0]).type is ElementType.F32

    # -- activations ------------------------------------------------------------------------------------------------

    def _parameters(self, tensor: Tensor) -> Quantization | None:
        if not self.target.is_integer:
            return None
        if tensor.minimum is None or tensor.maximum is None:
            self.faults.append(
                Diagnostic(
                    f"tensor {tensor.name!r} has no calibrated range, so it cannot be quantised",
                    help="calibrate with --calibrate DATA.npz, or keep the types with --precision keep",
                )
            )
            return Quantization((1.0,), (0,))
        return activation_parameters(tensor.minimum, tensor.maximum, self.target)

    def _twin(self, name: str) -> Tensor:
        """The narrow form of a tensor that a node reads, made with a `quantize` node where nothing has written it."""
        if name in self.twins:
            return self.twins[name]
        tensor = self.module.tensor(name)
        if tensor.constant is not None:
            return self._constant_twin(tensor)
        twin = self._new_twin(tensor, self._parameters(tensor))
        node_name = fresh_name(self.taken, f"{name}.quantize")
        self.operations.append(Node(node_name, "quantize", (name,), (twin.name,)))
        return twin

    def _new_twin(self, tensor: Tensor, parameters: Quantization | None) -> Tensor:
        name = fresh_name(self.taken, f"{tensor.name}.{self.target}")
        twin = replace(tensor, name=name, type=self.target, quantization=parameters, constant=None)
        self.twins[tensor.name] = twin
        self.tensors.append(twin)
        return twin

    def _constant_twin(self, tensor: Tensor) -> Tensor:
        """A constant operand of an elementwise operator or of a product's data side: one scale for all of it."""
        array = self._reals(tensor)
        if self.target.is_integer:
            low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
            parameters = activation_parameters(low, high, self.target)
            return self._constant(tensor, _codes(array, parameters, self.target), self.target, parameters)
        return self._constant(tensor, self._narrow_floats(array), self.target, None)

    def _narrow_floats(self, array: NDArray[np.float32]) -> NDArray[np.generic]:
        return bf16_pattern(array) if self.target is ElementType.BF16 else array.astype(np.float16)

    def _constant(
        self, like: Tensor, codes: NDArray[np.generic], type: ElementType, parameters: Quantization | None
    ) -> Tensor:
        reference = self.module.blobs.add_array(codes.transpose(like.storage_order))
        name = fresh_name(self.taken, f"{like.name}.{type}")
        constant = replace(like, name=name, type=type, quantization=parameters, constant=reference)
        self.tensors.append(constant)
        return constant

    def _wanted_narrow(self, name: str) -> bool:
        """Whether any node will read the narrow form of this value."""
        return any(reader.name in self.narrowed and not _is_bias(reader, name) for reader in self.read_by[name])

    def _wanted_wide(self, name: str) -> bool:
        """Whether anything will read the float form of this value; where the target is a float, a bias is one."""
        return name in self.module.outputs or any(
            reader.name not in self.narrowed or _is_bias(reader, name) for reader in self.read_by[name]
        )

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _narrow(self, node: Node) -> None:
        result = self.module.tensor(node.outputs[0])
        if node.op in PRODUCTS:
            self._narrow_product(node, result)
        elif node.op == "leaky_relu" and self.target.is_integer:
            self._narrow_table(node, result)
        elif node.op == "sub" and self.target.is_integer:
            self._narrow_difference(node, result)
        else:
            keeps = node.op in _KEEPS_PARAMETERS or (node.op == "pool" and node.attribute("kind") == "max")
            inputs = tuple(self._twin(name) for name in node.inputs)
            parameters = inputs[0].quantization if keeps and not node.post else self._parameters(result)
            twin = self._new_twin(result, parameters)
            names = tuple(each.name for each in inputs)
            self._finish(replace(node, inputs=names, outputs=(twin.name,)), twin, result)

    def _finish(self, node: Node, twin: Tensor, result: Tensor) -> None:
        """Append a node whose post chain still speaks of floats, and the float form of its result where it is read."""
        kind = ValueType(self.target, twin.quantization)
        if node.post and self.target.is_integer and any(stage.op == "leaky_relu" for stage in node.post):
            floats = ValueType(ElementType.F32)
            stages = (*(replace(stage, result=floats) for stage in node.post), Stage("quantize", kind))
            node = replace(node, post=stages, value=floats)
        elif node.post:
            node = replace(node, post=tuple(replace(stage, result=kind) for stage in node.post), value=kind)
        self.operations.append(node)
        if self._wanted_wide(result.name):
            name = fresh_name(self.taken, f"{result.name}.dequantize")
            self.operations.append(Node(name, "dequantize", (twin.name,), (result.name,)))

    def _narrow_product(self, node: Node, result: Tensor) -> None:
        data = self._twin(node.inputs[0])
        weights = self.module.tensor(node.inputs[1])
        weights = self._weights(node, weights) if weights.constant is not None else self._twin(weights.name)
        names = [data.name, weights.name]
        if len(node.inputs) > 2:
            names.append(self._bias(node, self.module.tensor(node.inputs[2]), data, weights))
        node = replace(node, inputs=tuple(names))
        if self._wanted_narrow(result.name) or (self.target.is_integer and not self.scales_sums):
            twin = self._new_twin(result, self._parameters(result))
            self._finish(replace(node, outputs=(twin.name,)), twin, result)
        else:  # the accumulator, scaled, is the float result
            self.operations.append(node)

    def _reals(self, tensor: Tensor) -> NDArray[np.float32]:
        """The values of a constant; a fault where they are to become integers and are not finite."""
        array = np.asarray(constant_array(tensor, self.module.blobs), np.float32)
        if self.target.is_integer and not np.isfinite(array).all():
            message = f"constant {tensor.name!r} holds values that are not finite, which no integer stands for"
            self.faults.append(Diagnostic(message, help="--precision keep leaves the model as it is"))
            return np.zeros_like(array)
        return array

    def _weights(self, node: Node, tensor: Tensor) -> Tensor:
        array = self._reals(tensor)
        if not self.target.is_integer:
            return self._constant(tensor, self._narrow_floats(array), self.target, None)
        codes, parameters = rounded_weights(node, array)
        return self._constant(tensor, codes, ElementType.I8, parameters)

    def _bias(self, node: Node, bias: Tensor, data: Tensor, weights: Tensor) -> str:
        """The bias in the scale of the product, one scale per channel or one for all."""
        if not self.target.is_integer:
            return bias.name
        assert data.quantization is not None and weights.quantization is not None
        assert bias.constant is not None and bias.shape is not None, "partition takes constant biases only"
        array = self._reals(bias)
        scales = np.float32(data.quantization.scale[0]) * np.asarray(weights.quantization.scale, np.float32)
        if not np.isfinite(scales).all():
            self.faults.append(
                Diagnostic(
                    f"node {node.name!r}: operands as large as these cannot be quantised", help="--precision keep"
                )
            )
            scales = np.ones_like(scales)
        axis = None if len(scales) == 1 or array.ndim == 0 or array.shape[-1] == 1 else array.ndim - 1
        if axis is None and len(scales) > 1:
            array = np.broadcast_to(array.reshape(-1)[:1], (len(scales),))
            axis, bias = 0, replace(bias, shape=(len(scales),), order=None)
        parameters = Quantization(tuple(float(each) for each in scales), (0,) * len(scales), axis)
        return self._constant(bias, _codes(array, parameters, ElementType.I32), ElementType.I32, parameters).name

    def _narrow_table(self, node: Node, result: Tensor) -> None:
        """leaky_relu on codes is a table of all codes."""
        source = self._twin(node.inputs[0])
        twin = self._new_twin(result, self._parameters(result))
        assert source.quantization is not None and twin.quantization is not None
        codes = np.arange(self.target.minimum, self.target.maximum + 1)
        reals = (codes - source.quantization.zero_point[0]).astype(np.float32) * np.float32(
            source.quantization.scale[0]
        )
        alpha = node.attribute("alpha")
        assert isinstance(alpha, float)
        mapped = np.where(reals >= 0, reals, reals * np.float32(alpha)).astype(np.float32)
        entries = _codes(mapped, twin.quantization, self.target)
        table = Tensor(
            fresh_name(self.taken, f"{node.name}.table"),
            self.target,
            (len(codes),),
            constant=self.module.blobs.add_array(entries),
        )
        self.tensors.append(table)
        operands = (source.name, table.name)
        self._finish(replace(node, op="table", inputs=operands, outputs=(twin.name,), attributes=()), twin, result)

    def _narrow_difference(self, node: Node, result: Tensor) -> None:
        """a - constant is a + (-constant): codes have an addition, but no subtraction."""
        constant = self.module.tensor(node.inputs[1])
        assert constant.constant is not None, "partition takes differences with a constant only"
        negated = -self._reals(constant)
        name = fresh_name(self.taken, f"{constant.name}.negated")
        reference = self.module.blobs.add_array(negated.transpose(constant.storage_order))
        operand = self._constant_twin_of(replace(constant, name=name, constant=reference), negated)
        source = self._twin(node.inputs[0])
        twin = self._new_twin(result, self._parameters(result))
        inputs = (source.name, operand.name)
        self._finish(replace(node, op="add", inputs=inputs, outputs=(twin.name,)), twin, result)

    def _constant_twin_of(self, tensor: Tensor, array: NDArray[np.float32]) -> Tensor:
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        parameters = activation_parameters(low, high, self.target)
        return self._constant(tensor, _codes(array, parameters, self.target), self.target, parameters)
