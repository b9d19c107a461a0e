"""Rewrites of the ONNX graph, each exact, after which conversion can look at one node and its neighbours at a time.

expand_functions      local functions become plain nodes
drop_copies           Identity, Dropout at inference and Cast to the same type disappear
fold_pads             a zero Pad becomes part of the convolutions behind it
move_dequantize       DequantizeLinear of constant weights moves behind a Transpose, so that it is next to its operator
separate_dequantize   every DequantizeLinear has one reader, so that each quantised operator owns those that it fuses
fuse_softmax          DequantizeLinear, Softmax, QuantizeLinear of 8-bit codes become onnxruntime's QLinearSoftmax
split_zero_points     a MatMulInteger whose zero point is computed at run time becomes one without, and a correction
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.diagnostics import CompileError
from .evaluate import onnxruntime_message
from .messages import IR_VERSION, ModelProto, NodeProto, TensorProto
from .network import Constant, Network, OnnxNode, captured_values, inner_names, tensor_info, tensor_value_info


def normalise(network: Network) -> None:
    """Apply all rewrites below to a folded network. Ensures: same outputs, infos kept up to date."""
    for rewrite in (drop_copies, fold_pads, move_dequantize, separate_dequantize, fuse_softmax, split_zero_points):
        rewrite(network)
        network.drop_unused()


def expand_functions(network: Network) -> None:
    """Inline local functions. Those whose operator sets differ from the model's stay calls; the host runs them."""
    if not network.functions:
        return
    import onnx.inliner

    model = ModelProto(ir_version=IR_VERSION, functions=network.functions)
    for domain, version in network.opsets.items():
        model.opset_import.add(domain=domain, version=version)
    model.graph.name = "inline"
    for name, value in network.constants.items():  # seen as inputs: their values do not matter here
        model.graph.input.append(tensor_value_info(name, value.elem_type, value.shape))
    model.graph.input.extend(network.input_protos.values())
    model.graph.output.extend(network.output_protos.values())
    sources = {}
    for node in network.nodes:
        model.graph.node.append(node.proto)
        sources.update(dict.fromkeys(node.writes, node))
    try:
        inlined = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the inliner raises whatever its C++ code meets
        raise CompileError(
            network.fault(f"local functions cannot be expanded: {onnxruntime_message(error)}")
        ) from error
    caller: dict[str, OnnxNode] = dict(sources)
    nodes: list[OnnxNode] = []
    # A node of a function's body belongs to the call whose result it leads to: walk backwards from the results.
    for proto in reversed(inlined.graph.node):
        source = next((caller[name] for name in proto.output if name in caller), None)
        if source is None:
            continue
        caller.update(dict.fromkeys((name for name in proto.input if name and name not in sources), source))
        exact = set(proto.output) & set(source.proto.output) and proto.op_type == source.proto.op_type
        label = source.label if exact else f"{source.label}.{proto.op_type}_{len(nodes)}"
        nodes.append(OnnxNode(label, proto, source.sources, captured_values(proto)))
    network.nodes = nodes[::-1]
    network.functions = list(inlined.functions)
    network.opsets = {each.domain: each.version for each in inlined.opset_import}
    for node in network.nodes:
        network.names.update(node.writes)
        network.names.update(inner_names(node.proto))


def drop_copies(network: Network) -> None:
    """y = Identity(x) disappears: readers of y read x. A copy that makes an output stays."""
    renamed: dict[str, str] = {}
    kept = []
    for node in network.nodes:
        network.rename(node, renamed)
        copied = _copied_value(network, node)
        if copied and node.outputs[0] not in network.outputs:
            renamed[node.outputs[0]] = copied
        else:
            kept.append(node)
    network.nodes = kept


def _copied_value(network: Network, node: OnnxNode) -> str:
    """The operand that a node hands through unchanged as its first and only used output, or an empty string."""
    source = node.input(0)
    if node.kind == "Identity":
        return source
    if node.kind == "Cast":
        same = network.info(source).elem_type == node.attribute("to", 0) and "saturate" not in node.attributes
        return source if same else ""
    if node.kind == "Dropout" and is_inference_dropout(network, node):
        return source
    return ""


def is_inference_dropout(network: Network, node: OnnxNode) -> bool:
    """Whether a Dropout does nothing: it is not training, and nobody asks for its mask."""
    mask = node.outputs[1] if len(node.outputs) > 1 else ""
    if mask and (mask in network.outputs or network.consumers().get(mask)):
        return False
    training = node.input(2)
    return not training or (training in network.constants and not network.constants[training].array.any())


def fold_pads(network: Network) -> None:
    """Pad with zeros -> Conv becomes Conv with larger pads, where every reader of the padded value is such a Conv."""
    consumers = network.consumers()
    for node in network.nodes:
        pads = _zero_pads(network, node)
        readers = consumers.get(node.outputs[0], [])
        if pads is None or node.outputs[0] in network.outputs or not readers:
            continue
        rank = len(pads) // 2
        if any(pads[:2]) or any(pads[rank : rank + 2]) or min(pads) < 0:
            continue
        if not all(_takes_pads(reader, node.outputs[0]) for reader in readers):
            continue
        spatial = [*pads[2:rank], *pads[rank + 2 :]]
        for reader in readers:
            own = list(reader.attribute("pads", [0] * len(spatial)))
            _set_attribute(reader, "pads", [a + b for a, b in zip(own, spatial, strict=True)])
            _set_attribute(reader, "auto_pad", "NOTSET")
            reader.proto.input[0] = node.input(0)
            reader.sources = (*node.sources, *reader.sources)


def _takes_pads(reader: OnnxNode, padded: str) -> bool:
    return (
        reader.kind == "Conv"
        and reader.inputs.count(padded) == 1
        and reader.input(0) == padded
        and padded not in reader.captured
        and reader.attribute("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )


def _zero_pads(network: Network, node: OnnxNode) -> list[int] | None:
    """The pads of a Pad node that fills every axis with zeros; None for any other node."""
    if node.kind != "Pad" or node.attribute("mode", "constant") != "constant" or network.opset() < 2:
        return None
    if network.opset() < 11:
        return list(node.attribute("pads", [])) if node.attribute("value", 0.0) == 0 else None
    value = node.input(2)
    if value and (value not in network.constants or network.constants[value].array.any()):
        return None
    if node.input(3) or node.input(1) not in network.constants:
        return None
    return list(network.constants[node.input(1)].integers())


def _set_attribute(node: OnnxNode, name: str, value: object) -> None:
    from onnx import helper

    kept = [each for each in node.proto.attribute if each.name != name]
    del node.proto.attribute[:]
    node.proto.attribute.extend([*kept, helper.make_attribute(name, value)])
    node.__dict__.pop("attributes", None)


def move_dequantize(network: Network) -> None:
    """Transpose(DequantizeLinear(constant)) -> DequantizeLinear(transposed constant), per tensor or per axis."""
    producers = network.producers()
    for node in network.nodes:
        source = producers.get(node.input(0)) if node.kind == "Transpose" else None
        if source is None or source.kind != "DequantizeLinear" or source.attribute("block_size", 0):
            continue
        weights = network.constants.get(source.input(0))
        scale = network.constants.get(source.input(1))
        if weights is None or scale is None:
            continue
        rank = weights.array.ndim
        permutation = list(node.attribute("perm", range(rank)[::-1]))
        moved = network.fresh(f"{source.input(0)}.transposed")
        network.constants[moved] = Constant(
            weights.elem_type, np.ascontiguousarray(weights.array.transpose(permutation))
        )
        output = node.outputs[0]
        proto = NodeProto()
        proto.CopyFrom(source.proto)
        proto.input[0] = moved
        proto.output[0] = output
        node.proto = proto
        node.__dict__.pop("attributes", None)
        node.sources = (*source.sources, *node.sources)
        if scale.array.ndim == 1 and rank:
            _set_attribute(node, "axis", permutation.index(source.attribute("axis", 1) % rank))


def separate_dequantize(network: Network) -> None:
    """Copy each DequantizeLinear for all its readers but the first; one that makes an output keeps that for itself."""
    consumers = network.consumers()
    nodes: list[OnnxNode] = []
    for node in network.nodes:
        nodes.append(node)
        if node.kind != "DequantizeLinear":
            continue
        name = node.outputs[0]
        readers = [reader for reader in consumers.get(name, []) if name not in reader.captured]
        shared = name in network.outputs or len(readers) < len(consumers.get(name, []))
        for count, reader in enumerate(readers):
            if count == 0 and not shared:
                continue
            copy = NodeProto()
            copy.CopyFrom(node.proto)
            copy.output[0] = network.fresh(name)
            copy.name = ""
            network.infos[copy.output[0]] = network.info(name)
            nodes.append(OnnxNode(f"{node.label}~{count + 1}", copy, node.sources))
            index = reader.inputs.index(name)
            if count and not shared:  # the first reader keeps the original, also where one node reads it twice
                index = len(reader.inputs) - 1 - reader.inputs[::-1].index(name)
            reader.proto.input[index] = copy.output[0]
    network.nodes = nodes


def fuse_softmax(network: Network) -> None:
    """y = QuantizeLinear(Softmax(DequantizeLinear(x))) means onnxruntime's QLinearSoftmax, to which that fuses them; it
    rounds otherwise, so that a code may differ. Both types are int8 or both uint8; scales are constant, one for all."""
    producers, consumers = network.producers(), network.consumers()
    dropped: set[int] = set()
    fused: dict[int, OnnxNode] = {}
    for node in network.nodes:
        before = producers.get(node.input(0))
        readers = consumers.get(node.outputs[0], []) if node.kind == "Softmax" else []
        if before is None or len(readers) != 1 or node.outputs[0] in network.outputs:
            continue
        after = readers[0]
        chain = (before.kind, after.kind) == ("DequantizeLinear", "QuantizeLinear")
        if not chain or before.outputs[0] in network.outputs or len(consumers[before.outputs[0]]) > 1:
            continue
        kinds = [network.info(name).elem_type for name in (before.input(0), after.outputs[0])]
        parameters = [*before.inputs[1:3], *after.inputs[1:3]]
        constants = [network.constants.get(name) for name in parameters]
        single = len(constants) == 4 and all(each is not None and each.array.size == 1 for each in constants)
        if kinds[0] != kinds[1] or kinds[0] not in (TensorProto.INT8, TensorProto.UINT8) or not single:
            continue
        from onnx import helper

        opset = network.opset()
        proto = helper.make_node(
            "QLinearSoftmax",
            [before.input(0), *parameters],
            after.outputs,
            domain="com.microsoft",
            axis=int(node.attribute("axis", 1 if opset < 13 else -1)),
            opset=opset,
        )
        fused[id(after)] = OnnxNode(node.label, proto, (*before.sources, *node.sources, *after.sources))
        dropped |= {id(before), id(node)}
    if fused:
        network.opsets.setdefault("com.microsoft", 1)
        network.nodes = [fused.get(id(node), node) for node in network.nodes if id(node) not in dropped]


def split_zero_points(network: Network) -> None:
    """sum (a - za)(b - zb) = sum a (b - zb) + za * -sum (b - zb), for a `za` that is computed at run time.

    Holds exactly in 32-bit arithmetic that wraps around, in which MatMulInteger is defined.
    """
    nodes: list[OnnxNode] = []
    for node in network.nodes:
        b = network.constants.get(node.input(1))
        za = node.input(2)
        if node.kind != "MatMulInteger" or not za or za in network.constants or b is None or b.array.ndim < 2:
            nodes.append(node)
            continue
        zb = network.constants.get(node.input(3))
        scalar_za = network.info(za).shape in ((), (1,)) and len(network.info(node.input(0)).shape or ()) >= 2
        if (node.input(3) and zb is None) or not scalar_za:
            nodes.append(node)
            continue
        nodes.extend(_corrected_product(network, node, b, zb))
    network.nodes = nodes


def _corrected_product(network: Network, node: OnnxNode, b: Constant, zb: Constant | None) -> list[OnnxNode]:
    output, za = node.outputs[0], node.input(2)
    centred = b.array.astype(np.int64)
    if zb is not None:
        zero = zb.array.astype(np.int64)
        centred = centred - (zero[..., None, :] if zero.ndim == 1 else zero)
    sums = network.fresh(f"{output}.column_sums")
    network.constants[sums] = Constant(TensorProto.INT32, -centred.sum(axis=-2, keepdims=True).astype(np.int32))
    product = network.fresh(f"{output}.product")
    network.infos[product] = network.info(output)
    zero_int = network.fresh(f"{za}.int32")
    network.infos[zero_int] = tensor_info(TensorProto.INT32, network.info(za).shape)
    correction = network.fresh(f"{output}.correction")
    network.infos[correction] = tensor_info(TensorProto.INT32, network.constants[sums].shape)
    inputs = [node.input(0), node.input(1)]
    if node.input(3):
        inputs += ["", node.input(3)]
    from onnx import helper

    make: Callable[..., NodeProto] = helper.make_node
    protos = (
        make("MatMulInteger", inputs, [product]),
        make("Cast", [za], [zero_int], to=TensorProto.INT32),
        make("Mul", [zero_int, sums], [correction]),
        make("Add", [product, correction], [output]),
    )
    labels = (node.label, f"{node.label}.zero_point", f"{node.label}.correction", f"{node.label}.corrected")
    return [OnnxNode(label, proto, node.sources) for label, proto in zip(labels, protos, strict=True)]
