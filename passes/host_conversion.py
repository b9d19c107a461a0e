"""Conversions at the edges of a narrowed graph that the machine cannot run, as host regions.

before:  x.i8 = quantize(x: f32); y.i8 = conv(x.i8, ...); y: f32 = dequantize(y.i8)      (no vector unit for f32)
after:   x.i8 = host QuantizeLinear(x); y.i8 = conv(x.i8, ...); y = host DequantizeLinear(y.i8)

Requires: `quantize` and `dequantize` between f32 and integers of at most 16 bits (one scale for all), bf16 or f16,
          without post chains: what `passes.quantise` writes.
Ensures:  every conversion that the machine runs stays; a region holds conversions of what one operation wrote, or of
          inputs of the model, so that no path leaves it and comes back. Codes are those of the machine: QuantizeLinear
          and DequantizeLinear compute `quantize` and `dequantize` to the last bit (specs/arithmetic.md).
"""

from __future__ import annotations

from ..ir.arch import Arch
from ..ir.diagnostics import ensure
from ..ir.graph import HostRegion, Node
from ..ir.module import Module, Operation
from ..ir.types import ElementType, Tensor
from .converted_storage import is_decoding
from .partition import acceptance
from .rewrite import fresh_name, rebuilt, writers

_CONVERSIONS = ("quantize", "dequantize")
_OPSET = 13  # the first with bfloat16 casts; QuantizeLinear and DequantizeLinear of 8 bits have not changed since
_IR_VERSION = 8
_OPSET_OF_WIDE = 21  # the first with codes of 16 bits
_IR_VERSION_OF_WIDE = 10


def with_conversions_on_host(module: Module, arch: Arch) -> Module:
    """The module with every conversion that `arch` refuses in a host region; the region says why."""
    judge = acceptance(arch, "keep")
    written_by = writers(module)
    groups: dict[tuple[str, str], list[Node]] = {}
    reasons: dict[tuple[str, str], list[str]] = {}
    group_of: dict[str, tuple[str, str]] = {}
    for node in module.operations:
        if isinstance(node, Node) and is_decoding(node, module, arch):
            continue
        if isinstance(node, Node) and node.op in _CONVERSIONS and (why := judge(node, module.tensor_by_name)):
            writer = written_by.get(node.inputs[0])
            key = (node.op, writer.name if writer is not None else "")
            groups.setdefault(key, []).append(node)
            reasons.setdefault(key, []).append(why)
            group_of[node.name] = key
    if not groups:
        return module
    operations: list[Operation] = []
    for operation in module.operations:
        found = group_of.get(operation.name)
        if found is None:
            operations.append(operation)
        elif operation is groups[found][0]:
            why = "; ".join(dict.fromkeys(reasons[found]))
            operations.append(_region(module, groups[found], why, arch.host.operations_per_second is not None))
    return rebuilt(module, operations)


def _region(module: Module, nodes: list[Node], why: str, is_counted: bool) -> HostRegion:
    """The conversions of one writer's values as one ONNX model, an operation an element if they are counted."""
    from onnx import TensorProto, ValueInfoProto, helper

    containers = {
        (True, 1): TensorProto.INT8,
        (False, 1): TensorProto.UINT8,
        (True, 2): TensorProto.INT16,
        (False, 2): TensorProto.UINT16,
    }
    element = {
        ElementType.F32: TensorProto.FLOAT,
        ElementType.BF16: TensorProto.BFLOAT16,
        ElementType.F16: TensorProto.FLOAT16,
    } | {
        each: containers[each.is_signed, each.container_bytes]
        for each in ElementType
        if each.is_integer and each.bits <= 16
    }
    taken = {each for node in nodes for each in (*node.inputs, *node.outputs)}
    protos, constants = [], []
    for number, node in enumerate(nodes):
        source, result = module.tensor(node.inputs[0]), module.tensor(node.outputs[0])
        codes = result if node.op == "quantize" else source
        if codes.quantization is None:
            protos.append(helper.make_node("Cast", [source.name], [result.name], to=element[_type(result)]))
            continue
        ensure(len(codes.quantization.scale) == 1 and not node.post, f"{node.name}: more than a conversion")
        scale, zero_point = (fresh_name(taken, f"{word}{number}") for word in ("scale", "zero_point"))
        constants.append(helper.make_tensor(scale, TensorProto.FLOAT, [], codes.quantization.scale))
        constants.append(helper.make_tensor(zero_point, element[_type(codes)], [], codes.quantization.zero_point))
        operator = "QuantizeLinear" if node.op == "quantize" else "DequantizeLinear"
        kind, parameters = _type(codes), [source.name, scale, zero_point]
        if node.op == "dequantize" or kind.bits == 8 * kind.container_bytes:
            protos.append(helper.make_node(operator, parameters, [result.name]))
            continue
        # Codes of the container, cut to those of the type: saturation is monotonic. (Clip takes no 16 bits.)
        wide, whole, cut = (fresh_name(taken, f"{word}{number}") for word in ("wide", "whole", "cut"))
        low, high = (fresh_name(taken, f"{word}{number}") for word in ("low", "high"))
        constants.append(helper.make_tensor(low, TensorProto.INT32, [], [kind.minimum]))
        constants.append(helper.make_tensor(high, TensorProto.INT32, [], [kind.maximum]))
        protos.append(helper.make_node(operator, parameters, [wide]))
        protos.append(helper.make_node("Cast", [wide], [whole], to=TensorProto.INT32))
        protos.append(helper.make_node("Clip", [whole, low, high], [cut]))
        protos.append(helper.make_node("Cast", [cut], [result.name], to=element[kind]))
    reads = list(dict.fromkeys(node.inputs[0] for node in nodes))
    writes = [node.outputs[0] for node in nodes]

    def ends(names: list[str]) -> list[ValueInfoProto]:
        tensors = [module.tensor(name) for name in names]
        return [helper.make_tensor_value_info(each.name, element[_type(each)], each.shape) for each in tensors]

    graph = helper.make_graph(protos, nodes[0].name, ends(reads), ends(writes), constants)
    kinds = [_type(module.tensor(name)) for name in (*reads, *writes)]
    is_wide = any(each.is_integer and each.container_bytes == 2 for each in kinds)
    opset, version = (_OPSET_OF_WIDE, _IR_VERSION_OF_WIDE) if is_wide else (_OPSET, _IR_VERSION)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version)
    operator = protos[0].op_type
    return HostRegion(
        name=nodes[0].name,
        inputs=tuple(reads),
        outputs=tuple(writes),
        model=module.blobs.add(model.SerializeToString(deterministic=True)),
        operators=tuple(each.op_type for each in protos),
        reason=f"{operator}{f' x{len(nodes)}' if len(nodes) > 1 else ''}: {why}",
        operations=sum(module.tensor(each).elements for each in writes) if is_counted else None,
    )


def _type(tensor: Tensor) -> ElementType:
    assert isinstance(tensor.type, ElementType)
    return tensor.type
