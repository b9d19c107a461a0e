"""Quantised operators that a model spells DequantizeLinear -> float operator -> QuantizeLinear.

Such a unit becomes one operator on codes, with the meaning of the QLinear operator that onnxruntime fuses it to; where
onnxruntime does not fuse (4-bit and 16-bit codes, an activation that the result's codes do not imply), its meaning is
the fused one all the same. A MatMul or Gemm whose result is not quantised again keeps a float result.

A MatMulInteger and the Add of an i32 value behind it are a unit, too: a product with a bias.

Requires: every DequantizeLinear has one reader (`normalise.separate_dequantize`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.frozen import dataclass
from ..ir.types import ElementType, Quantization
from .convert import clip_bounds
from .convert_pools import add_global_pool, add_pool
from .convert_quantised import (
    EIGHT_BITS,
    UNIT,
    Bias,
    add_quantised_binary,
    add_quantised_conv,
    add_quantised_gemm,
    add_quantised_product,
    add_table,
    linear_quantization,
    require_codes,
    sum_operand,
)
from .draft import Draft, Operand, Refused
from .network import Network, OnnxNode, Shape
from .operands import element_type, known_shape, single_output

# Operators that map each element by itself: a table, when one operand comes from codes and the others are constants.
_UNARY = frozenset(
    [
        "Abs",
        "Celu",
        "Ceil",
        "Clip",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
        "com.microsoft.Gelu",
        "com.microsoft.QuickGelu",
        "com.microsoft.FastGelu",
    ]
)
_MOVES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose"})
_ACTIVATIONS = frozenset({"Relu", "Clip"})
# Operands that must come from a DequantizeLinear, by operator.
_OPERANDS = {
    "Conv": (0, 1),
    "MatMul": (0, 1),
    "Gemm": (0, 1),
    "Add": (0, 1),
    "Mul": (0, 1),
    "AveragePool": (0,),
    "GlobalAveragePool": (0,),
    "MaxPool": (0,),
    "QuantizeLinear": (0,),
}


@dataclass(frozen=True, slots=True)
class Unit:
    """`center` reads `operands` (by input index) and is followed by at most one `activation` and by `quantize`, or by
    `addition` alone."""

    center: OnnxNode
    operands: dict[int, OnnxNode]
    activation: OnnxNode | None
    quantize: OnnxNode | None
    addition: OnnxNode | None = None

    @property
    def members(self) -> list[OnnxNode]:
        """All nodes of the unit, in topological order."""
        last = (self.activation, self.quantize, self.addition)
        tail = [each for each in last if each is not None and each is not self.center]
        return [*self.operands.values(), self.center, *tail]


def find_units(network: Network) -> list[Unit]:
    """All units, disjoint, in the order of their centers."""
    producers, consumers = network.producers(), network.consumers()
    taken: set[int] = set()
    units = []
    for node in network.nodes:
        unit = _unit(network, node, producers, consumers)
        if unit is not None and not any(id(member) in taken for member in unit.members):
            taken.update(id(member) for member in unit.members)
            units.append(unit)
    return units


def _unit(
    network: Network, node: OnnxNode, producers: dict[str, OnnxNode], consumers: dict[str, list[OnnxNode]]
) -> Unit | None:
    kind = node.kind
    if kind == "MatMulInteger":
        addition = _only_reader(network, node, consumers)
        return Unit(node, {}, None, None, addition) if addition is not None and addition.kind == "Add" else None
    needed = _OPERANDS.get(kind, (0,) if kind in _MOVES or kind in _UNARY else None)
    if needed is None:
        return None
    operands = {}
    for index, name in enumerate(node.inputs):
        source = producers.get(name)
        if source is not None and source.kind == "DequantizeLinear" and name not in network.outputs:
            operands[index] = source
    if not set(needed) <= set(operands):
        return None
    if kind == "QuantizeLinear":
        return Unit(node, operands, None, node) if operands[0].input(0) not in network.constants else None
    if all(each.input(0) in network.constants for each in operands.values()):
        return None  # constants altogether
    activation, quantize = None, _only_reader(network, node, consumers)
    if quantize is not None and quantize.kind in _ACTIVATIONS:
        activation, quantize = quantize, _only_reader(network, quantize, consumers)
    if quantize is None or quantize.kind != "QuantizeLinear":
        return Unit(node, operands, None, None) if kind in ("MatMul", "Gemm") else None
    return Unit(node, operands, activation, quantize)


def _only_reader(network: Network, node: OnnxNode, consumers: dict[str, list[OnnxNode]]) -> OnnxNode | None:
    name = node.outputs[0]
    readers = consumers.get(name, [])
    if len(readers) != 1 or name in network.outputs or readers[0].input(0) != name or name in readers[0].captured:
        return None
    return readers[0]


def convert_unit(draft: Draft, unit: Unit) -> None:
    """Write the unit as operators on codes. Raises Refused where it has no such form."""
    kind = unit.center.kind
    if kind in _UNARY or kind == "QuantizeLinear":
        _table(draft, unit)
        return
    builders: dict[str, Callable[[Draft, Unit], None]] = {
        "Conv": _conv,
        "MatMul": _matmul,
        "MatMulInteger": _matmul_integer,
        "Gemm": _gemm,
        "Add": _binary,
        "Mul": _binary,
        "AveragePool": _average,
        "GlobalAveragePool": _average,
    }
    builders.get(kind, _selection)(draft, unit)


def _operand(network: Network, unit: Unit, index: int) -> Operand:
    source = unit.operands[index]
    if element_type(network, source.outputs[0]) is not ElementType.F32:
        raise Refused(f"it computes on {network.info(source.outputs[0]).spelling}")
    return Operand(source.input(0), linear_quantization(network, source))


def _final(network: Network, unit: Unit) -> Operand:
    assert unit.quantize is not None
    name = unit.quantize.outputs[0]
    require_codes(network, name)
    kind = linear_quantization(network, unit.quantize)
    if not kind.per_tensor:
        raise Refused("its result has a scale per channel")
    return Operand(name, kind)


class _Result:
    """Where the operator writes: the unit's result, or a temporary of the same type before an activation."""

    def __init__(self, draft: Draft, unit: Unit) -> None:
        network = draft.network
        self.draft, self.unit = draft, unit
        if unit.quantize is None:
            self.final = self.first = draft.value(unit.center.outputs[0])
            self.needs_activation = False
            return
        final = _final(network, unit)
        self.kind = element_type(network, final.name)
        self.final = draft.value(final.name, final.quantization)
        self.needs_activation = unit.activation is not None and not self._implied(final.quantization)
        self.first = self.final
        if self.needs_activation:
            shape = known_shape(network, final.name)
            self.first = draft.temporary(f"{final.name}.before", self.kind, shape, final.quantization)

    def _bounds(self) -> tuple[float, float]:
        assert self.unit.activation is not None
        if self.unit.activation.kind == "Relu":
            return 0.0, float("inf")
        return clip_bounds(self.draft.network, self.unit.activation)

    def _implied(self, quantization: Quantization) -> bool:
        """Whether saturation to the result's codes does what the activation does."""
        low, high = self._bounds()
        scale, zero = quantization.scale[0], quantization.zero_point[0]
        return low <= scale * (self.kind.minimum - zero) and high >= scale * (self.kind.maximum - zero)

    def finish(self) -> None:
        if not self.needs_activation:
            return
        low, high = self._bounds()
        if low == 0.0 and high == float("inf"):
            self.draft.add("relu", [self.first], self.final)
        else:
            self.draft.add("clip", [self.first], self.final, minimum=low, maximum=high)


def _bias(draft: Draft, unit: Unit, index: int) -> Bias:
    """Codes of a DequantizeLinear are taken as they are, as onnxruntime does; a float constant is rounded."""
    network, name = draft.network, unit.center.input(index)
    if not name:
        return Bias()
    if index in unit.operands:
        source = unit.operands[index]
        zeros = network.constants.get(source.input(2))
        if source.input(2) and (zeros is None or zeros.array.any()):
            raise Refused("its bias has a zero point")
        if element_type(network, source.input(0)) is not ElementType.I32:
            return _rounded_bias(network, source)
        return Bias(source.input(0))
    constant = network.constants.get(name)
    if constant is None:
        raise Refused("its bias is computed at run time")
    return Bias(name, constant.floats())


def _rounded_bias(network: Network, source: OnnxNode) -> Bias:
    codes = network.constants.get(source.input(0))
    if codes is None:
        raise Refused("its bias is computed at run time")
    kind = linear_quantization(network, source)
    reals = (codes.floats() - np.asarray(kind.zero_point)) * np.asarray(kind.scale)
    return Bias(source.outputs[0], reals)


def _conv(draft: Draft, unit: Unit) -> None:
    x, w = _operand(draft.network, unit, 0), _operand(draft.network, unit, 1)
    if w.quantization.axis not in (None, 0):
        raise Refused("its weights have scales along another axis than the output channels")
    result = _Result(draft, unit)
    add_quantised_conv(draft, unit.center, x, w, _bias(draft, unit, 2), result.first)
    result.finish()


def _matmul(draft: Draft, unit: Unit) -> None:
    network = draft.network
    a, b = _operand(network, unit, 0), _operand(network, unit, 1)
    if b.quantization.axis not in (None, len(known_shape(network, b.name)) - 1):
        raise Refused("its weights have scales along another axis than the columns")
    result = _Result(draft, unit)
    add_quantised_product(draft, a, b, result.first)
    result.finish()


def _matmul_integer(draft: Draft, unit: Unit) -> None:
    network = draft.network
    assert unit.addition is not None
    a, b = sum_operand(draft, unit.center, 0), sum_operand(draft, unit.center, 1)
    bias, y = unit.addition.input(1), unit.addition.outputs[0]
    if element_type(network, bias) is not ElementType.I32 or bias == unit.center.outputs[0]:
        raise Refused("it adds other than another i32 value")
    product, added = known_shape(network, unit.center.outputs[0]), known_shape(network, bias)
    if min(len(known_shape(network, each.name)) for each in (a, b)) < 2 or not _broadcasts(added, product):
        raise Refused("what it adds is larger than the product")
    add_quantised_product(draft, a, b, draft.value(y, UNIT), [draft.value(bias)])


def _broadcasts(small: Shape, large: Shape) -> bool:
    """Whether a value of shape `small` added to one of shape `large` gives the latter."""
    tail = large[len(large) - len(small) :] if small else ()
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small, tail, strict=True))


def _gemm(draft: Draft, unit: Unit) -> None:
    node = unit.center
    if node.attribute("alpha", 1.0) != 1.0 or (node.input(2) and node.attribute("beta", 1.0) != 1.0):
        raise Refused("its alpha or beta is not 1")
    transpose_a, transpose_b = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    a, b = _operand(draft.network, unit, 0), _operand(draft.network, unit, 1)
    if not a.quantization.per_tensor or b.quantization.axis not in (None, 0 if transpose_b else 1):
        raise Refused("its operands have scales along another axis than the columns")
    result = _Result(draft, unit)
    add_quantised_gemm(draft, a, b, _bias(draft, unit, 2), result.first, transpose_a, transpose_b)
    result.finish()


def _binary(draft: Draft, unit: Unit) -> None:
    network = draft.network
    a, b, y = _operand(network, unit, 0), _operand(network, unit, 1), _final(network, unit)
    if len({element_type(network, each.name) for each in (a, b, y)}) > 1:
        raise Refused("its operands and its result are codes of different types")
    result = _Result(draft, unit)
    add_quantised_binary(draft, unit.center.kind.lower(), a, b, result.first)
    result.finish()


def _average(draft: Draft, unit: Unit) -> None:
    x = _operand(draft.network, unit, 0)
    require_codes(draft.network, x.name)
    result = _Result(draft, unit)
    source = draft.value(x.name, x.quantization)
    if unit.center.kind == "AveragePool":
        add_pool(draft, unit.center, "average", source, result.first)
    else:
        add_global_pool(draft, "global_average", source, result.first)
    result.finish()


def _selection(draft: Draft, unit: Unit) -> None:
    """Max pool and moves act on codes as they are; a change of quantisation behind them is a table of its own."""
    network, node = draft.network, unit.center
    x, y = _operand(network, unit, 0), _final(network, unit)
    single_output(network, node)
    require_codes(network, x.name)
    kind, final_kind = element_type(network, x.name), element_type(network, y.name)
    source = draft.value(x.name, x.quantization)
    same = unit.activation is None and (kind, x.quantization) == (final_kind, y.quantization)
    if not x.quantization.per_tensor or (not same and {kind, final_kind} - EIGHT_BITS):
        raise Refused("it changes the quantisation of other than 8-bit codes")
    shape = known_shape(network, y.name)
    moved = (
        draft.value(y.name, y.quantization)
        if same
        else draft.temporary(f"{y.name}.before", kind, shape, x.quantization)
    )
    if node.kind == "MaxPool":
        add_pool(draft, node, "max", source, moved)
    elif node.kind == "Transpose":
        permutation = tuple(node.attribute("perm", None) or range(len(shape))[::-1])
        draft.add("transpose", [source], moved, permutation=permutation)
    else:
        draft.add("reshape", [source], moved)
    if not same:
        nodes = [
            unit.operands[0],
            *(each for each in unit.members if each is not node and each is not unit.operands[0]),
        ]
        _change_codes(draft, unit, nodes, x, y, moved)


def _change_codes(draft: Draft, unit: Unit, nodes: list[OnnxNode], x: Operand, y: Operand, source: str) -> None:
    """The table of DequantizeLinear, activation and QuantizeLinear, as if nothing stood between them."""
    import onnx

    chain: list[OnnxNode] = []
    value = nodes[0].outputs[0]
    for each in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(each.proto)
        if each is not nodes[0]:
            copy.input[0] = value
        value = each.outputs[0]
        chain.append(OnnxNode(each.label, copy, each.sources))
    add_table(draft, chain, x.name, x.quantization, y.name, y.quantization, source)


def _table(draft: Draft, unit: Unit) -> None:
    network = draft.network
    x, y = _operand(network, unit, 0), _final(network, unit)
    others = [name for index, name in enumerate(unit.center.inputs) if index and name]
    covered = {source.outputs[0] for source in unit.operands.values()}
    if any(name not in network.constants and name not in covered for name in others):
        raise Refused("it has an operand that is computed at run time")
    if not x.quantization.per_tensor:
        raise Refused("its operand has a scale per channel")
    add_table(draft, unit.members, x.name, x.quantization, y.name, y.quantization)
