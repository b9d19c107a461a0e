"""Narrow a float graph to what the array computes on: integers with scales from calibration, or bfloat16.

before:  y: f32 = conv(x: f32, w: f32, b: f32) then relu
after:   x.q: i8 = quantize(x); y.q: i8 = conv(x.q, w.q: i8 per channel, b.q: i32) then relu; y: f32 = dequantize(y.q)

Requires: for integers, a calibrated range on every float activation (`Tensor.minimum`, `.maximum`).
Ensures:  host regions and the module's own inputs and outputs keep their types. A product that only they read
          leaves the accumulator as f32, without a rounding to codes, where the post unit scales. Operators that move or
          select values (reshape, transpose, max pool, relu, clip) keep the parameters of their operand.

Widths are 8 bits, or what a `PrecisionSpec` asks of each layer (widths.py). Activations are asymmetric over the
calibrated range, widened to hold 0, unless they are asked to be symmetric; weights are symmetric, per output channel,
unless they are asked not to be (weights.py); a bias is int32 in the scale of the product, int64 where only that holds
it and the accumulator has 64 bits. (Jacob et al., CVPR 2018, sections 2.1 and 2.3; Wu et al. 2020, section 4.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.graph import Node, Stage, ValueType
from ..ir.module import Module, Operation
from ..ir.precision import LayerPrecision, Precision, PrecisionSpec
from ..ir.types import BlobRef, ElementType, Quantization, Tensor, constant_array
from .codes import activation_parameters, bf16_pattern, codes_of, leaky_entries
from .converted_storage import converted_storage
from .precision_rules import layer_faults
from .rewrite import PRODUCTS, fresh_name, readers, rebuilt
from .weights import rounded_weights
from .widths import (
    Form,
    activation_type,
    claimed_tolerance,
    forms_of,
    integer,
    keeps_parameters,
    layer_of,
    spec_of,
    target_type,
    weight_type,
    width_refused,
)

# Sums of products of codes on the vector unit are held in so many bits (passes/lower_context.py).
_PRODUCT_BITS = 31
_TABLE_BITS = 8  # of what a table is looked up by, and of its entries


Rounded = tuple[BlobRef, Quantization]
"""A constant's codes, stored, and their parameters."""
KnownWeights = dict[tuple[str, LayerPrecision], Rounded]
"""Weights that were rounded before, by layer and form: of many precisions of one module most ask for the same."""


def quantise(module: Module, arch: Arch, precision: Precision, known: KnownWeights | None = None) -> Module:
    """The module with every float node in the machine's type. `known` keeps rounded weights for the next call with the
    same constants.

    Raises CompileError naming every tensor without a range, where one is needed.
    """
    if arch.converter is not None and isinstance(precision, PrecisionSpec):
        return converted_storage(module, arch, precision)
    target = target_type(arch, precision)
    if target is None:
        return module
    spec = spec_of(precision)
    forms = forms_of(module, spec) if target.is_integer else {}
    tells = isinstance(precision, PrecisionSpec) and target.is_integer
    narrowing = _Narrowing(module, arch, target, spec, forms, tells, {} if known is None else known)
    narrowed = narrowing.run()
    if tells and (faults := layer_faults(narrowed, arch, spec, narrowing.narrowed)):
        raise CompileError(faults)
    if target.is_integer and narrowed.operations != module.operations:
        options = dict(narrowed.header.options) | {"tolerance": claimed_tolerance(spec)}
        narrowed = replace(narrowed, header=replace(narrowed.header, options=tuple(sorted(options.items()))))
    return narrowed


def _fits(array: NDArray[np.float32], parameters: Quantization, kind: ElementType) -> bool:
    """Whether no code of a bias is cut."""
    with np.errstate(over="ignore"):
        codes = np.abs(np.asarray(array, np.float64) / np.asarray(parameters.scale))
    return bool((codes <= kind.maximum).all())


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
    arch: Arch
    target: ElementType  # of floats; of integers, what stands for all widths
    spec: PrecisionSpec
    forms: Mapping[str, Form]
    tells: bool  # whether nodes say which precision they have
    known: KnownWeights
    twins: dict[str, Tensor] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    faults: list[Diagnostic] = field(default_factory=list)

    def run(self) -> Module:
        self.scales_sums = "scale" in self.arch.post.ops  # the post unit turns a sum into a float
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

    def _kind(self, tensor: Tensor, form: Form | None) -> ElementType:
        """The type of a tensor's narrow form."""
        if form is None:
            return self.target
        found = activation_type(self.arch, form, tensor.minimum)
        if found is None:
            self._fault_of_width(f"tensor {tensor.name!r}", form.bits, "inputs", form.widest)
        return found or self.target

    def _fault_of_width(self, who: str, bits: int, takes: str, layer: str) -> None:
        legal = self.arch.array.inputs if takes == "inputs" else self.arch.array.weights
        self.faults.append(width_refused(who, bits, self.arch.name, takes, legal, layer_of(self.spec, layer)))

    def _parameters(self, tensor: Tensor, kind: ElementType) -> Quantization | None:
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
        return activation_parameters(tensor.minimum, tensor.maximum, kind, self.forms[tensor.name].symmetric)

    def _twin(self, name: str) -> Tensor:
        """The narrow form of a tensor that a node reads, made with a `quantize` node where nothing has written it."""
        if name in self.twins:
            return self.twins[name]
        tensor = self.module.tensor(name)
        if tensor.constant is not None:
            return self._constant_twin(tensor)
        twin = self._new_twin(tensor)
        node_name = fresh_name(self.taken, f"{name}.quantize")
        self.operations.append(Node(node_name, "quantize", (name,), (twin.name,)))
        return twin

    def _new_twin(self, tensor: Tensor, like: Tensor | None = None) -> Tensor:
        """The narrow form of a computed value; `like` another that it moves or selects the codes of."""
        kind = self._kind(tensor, self.forms.get(tensor.name)) if like is None else like.type
        assert isinstance(kind, ElementType)
        parameters = self._parameters(tensor, kind) if like is None else like.quantization
        name = fresh_name(self.taken, f"{tensor.name}.{kind}")
        twin = replace(tensor, name=name, type=kind, quantization=parameters, constant=None)
        self.twins[tensor.name] = twin
        self.tensors.append(twin)
        return twin

    def _constant_twin(self, tensor: Tensor, most_bits: int = _PRODUCT_BITS) -> Tensor:
        """A constant operand of an elementwise operator or of a product's data side: one scale for all of it."""
        array = self._reals(tensor)
        return self._narrow_constant(tensor, array, self.forms.get(tensor.name), most_bits)

    def _narrow_constant(
        self, tensor: Tensor, array: NDArray[np.float32], form: Form | None, most_bits: int = _PRODUCT_BITS
    ) -> Tensor:
        if form is None:
            return self._constant(tensor, self._narrow_floats(array), self.target, None)
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        kind = self._kind(replace(tensor, minimum=low), form)
        if kind.bits > most_bits:  # the nearest that the sum of a product of codes holds
            kind = integer(most_bits, kind.is_signed)
        parameters = activation_parameters(low, high, kind, form.symmetric)
        return self._constant(tensor, codes_of(array, parameters, kind), kind, parameters)

    def _narrow_floats(self, array: NDArray[np.float32]) -> NDArray[np.generic]:
        return bf16_pattern(array) if self.target is ElementType.BF16 else array.astype(np.float16)

    def _constant(
        self, like: Tensor, codes: NDArray[np.generic], type: ElementType, parameters: Quantization | None
    ) -> Tensor:
        reference = self.module.blobs.add_array(codes.transpose(like.storage_order))
        return self._stored(like, reference, type, parameters)

    def _stored(self, like: Tensor, reference: BlobRef, type: ElementType, parameters: Quantization | None) -> Tensor:
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
            self._narrow_leaky(node, result)
        elif node.op == "sub" and self.target.is_integer:
            self._narrow_difference(node, result)
        else:
            inputs = self._factors(node) if node.op == "mul" else tuple(self._twin(name) for name in node.inputs)
            twin = self._new_twin(result, inputs[0] if keeps_parameters(node) else None)
            names = tuple(each.name for each in inputs)
            self._finish(replace(node, inputs=names, outputs=(twin.name,)), twin, result)

    def _factors(self, node: Node) -> tuple[Tensor, ...]:
        """The operands of a product of codes, of which the vector unit holds so many bits: a wide constant is cut."""
        widths = [self.forms[name].bits if self.target.is_integer else 0 for name in node.inputs]
        return tuple(
            self._constant_twin(tensor, _PRODUCT_BITS - other)
            if (tensor := self.module.tensor(name)).constant is not None and name not in self.twins
            else self._twin(name)
            for name, other in zip(node.inputs, reversed(widths), strict=True)
        )

    def _finish(self, node: Node, twin: Tensor, result: Tensor) -> None:
        """Append a node whose post chain still speaks of floats, and the float form of its result where it is read."""
        assert isinstance(twin.type, ElementType)
        kind = ValueType(twin.type, twin.quantization)
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
        node = replace(node, inputs=tuple(names), reason=self._reason(node, data) if self.tells else node.reason)
        if self._wanted_narrow(result.name) or (self.target.is_integer and not self.scales_sums):
            twin = self._new_twin(result)
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

    def _reason(self, node: Node, data: Tensor) -> str:
        """Which precision a layer has, and why its input has more bits than it asks for."""
        layer, form = layer_of(self.spec, node.name), self.forms[node.inputs[0]]
        told = str(layer)
        if form.bits != layer.activations:
            told += f", on {form.bits} bits of {node.inputs[0]!r}, which {form.widest!r} asks for"
        return f"{node.reason}; {told}" if node.reason else told

    def _weights(self, node: Node, tensor: Tensor) -> Tensor:
        if not self.target.is_integer:
            return self._constant(tensor, self._narrow_floats(self._reals(tensor)), self.target, None)
        layer = layer_of(self.spec, node.name)
        kind = weight_type(self.arch, layer) if self.tells else ElementType.I8
        if kind is None:
            self._fault_of_width(f"layer {node.name!r}", layer.weights, "weights", node.name)
            kind = integer(layer.weights, True)
        key = (node.name, replace(layer, activations=ElementType.I8.bits, symmetric_activations=False))
        if key not in self.known:
            codes, parameters = rounded_weights(node, self._reals(tensor), layer, kind)
            self.known[key] = self.module.blobs.add_array(codes.transpose(tensor.storage_order)), parameters
        reference, parameters = self.known[key]
        return self._stored(tensor, reference, kind, parameters)

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
        kind = ElementType.I32
        if self.tells and not _fits(array, parameters, kind):
            kind = self.arch.array.accumulator
            if kind is not ElementType.I64:
                layer = layer_of(self.spec, node.name)
                message = f"layer {node.name!r} ({layer}): its bias takes more than 32 bits in the scale of its product"
                self.faults.append(Diagnostic(message, layer.span, "fewer bits, or an accumulator of 64"))
        return self._constant(bias, codes_of(array, parameters, kind), kind, parameters).name

    def _narrow_leaky(self, node: Node, result: Tensor) -> None:
        """leaky_relu on codes: a table of all codes, or by way of the real numbers where these are too many."""
        source = self._twin(node.inputs[0])
        twin = self._new_twin(result)
        assert source.quantization is not None and isinstance(source.type, ElementType)
        assert twin.quantization is not None and isinstance(twin.type, ElementType)
        if max(source.type.bits, twin.type.bits) > _TABLE_BITS:
            self._finish(replace(node, inputs=(source.name,), outputs=(twin.name,)), twin, result)
            return
        alpha = node.attribute("alpha")
        assert isinstance(alpha, float)
        entries = leaky_entries(alpha, source.type, source.quantization, twin.type, twin.quantization)
        table = Tensor(
            fresh_name(self.taken, f"{node.name}.table"),
            twin.type,
            (len(entries),),
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
        form = self.forms[node.inputs[1]]
        operand = self._narrow_constant(replace(constant, name=name, constant=reference), negated, form)
        source = self._twin(node.inputs[0])
        twin = self._new_twin(result)
        inputs = (source.name, operand.name)
        self._finish(replace(node, op="add", inputs=inputs, outputs=(twin.name,)), twin, result)
