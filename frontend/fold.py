"""Constant folding: everything that depends on constants and on known shapes only becomes a constant.

onnxruntime computes the values, in this process. That is safe because only nodes are folded whose work is bounded
beforehand: no control flow, no randomness, results of known and moderate size, and no more operations than
`MOST_OPERATIONS`. The whole model has bounds, too: on bytes, on operations, and on how often shapes are inferred anew.
What is left out stays in the graph and is computed when the program runs; `Network.unfolded` says what a bound of the
whole model has left out, and `dnnc check` shows it.

DequantizeLinear of a constant is left alone as long as the caller says so, because the fusion of quantised operators
needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np

from ..ir.diagnostics import CompileError, Diagnostic
from .evaluate import create_session, onnxruntime_message
from .macs import node_macs
from .messages import TensorProto
from .network import NUMPY_TYPES, Constant, Network, OnnxNode, numpy_type, plain_domain, serialised
from .shapes import infer

# Bytes of one folded value, and of all values that one model may have folded.
LARGEST_VALUE_BYTES = 1 << 28
MOST_FOLDED_BYTES = 1 << 29
# Bound on the multiplications of a node other than an elementwise one: operand elements times result elements.
MOST_OPERATIONS = 10**10
# Bound on the operations of all that one model may have folded: seconds on one slow core. Elements that an operator
# passes over count as several, since most of them cost more than a multiplication.
MOST_FOLDED_OPERATIONS = 10**10
OPERATIONS_AN_ELEMENT = 8
# Every round infers the shapes of all nodes that are left, at some 0.1 ms a node. Real models need a few rounds.
MOST_INFERRED_NODES = 30_000
LEAST_ROUNDS = 2

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
# Their result has an extent that depends on values, but never more than rank times the operand's elements.
_SELECTING = frozenset({"NonZero", "Unique", "Compress"})
# Work proportional to operands and result.
_LINEAR = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "BitShift",
        "Cast",
        "CastLike",
        "Ceil",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Cos",
        "CumSum",
        "DequantizeLinear",
        "Div",
        "Dropout",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "EyeLike",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "IsInf",
        "IsNaN",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "OneHot",
        "Or",
        "Pad",
        "Pow",
        "QuantizeLinear",
        "Range",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Sigmoid",
        "Sign",
        "Sin",
        "Slice",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tanh",
        "Tile",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
        "Xor",
    ]
)


def is_dequantize(node: OnnxNode) -> bool:
    return node.kind == "DequantizeLinear"


def fold(network: Network, keep: Callable[[OnnxNode], bool] = is_dequantize) -> None:
    """Fold all but the nodes to `keep` until nothing more follows, inferring shapes anew after each round.

    Requires: `shapes.infer` has run. Ensures: infos are up to date.
    Raises CompileError where a node fails on its constants: it would fail on every input.
    """
    rounds = 0
    while _fold_round(network, keep):
        rounds += 1
        if rounds >= LEAST_ROUNDS and network.inferred_nodes + len(network.nodes) > MOST_INFERRED_NODES:
            infer(network)
            _leave_the_rest(network, keep)
            return
        network.inferred_nodes += len(network.nodes)
        infer(network)


def _leave_the_rest(network: Network, keep: Callable[[OnnxNode], bool]) -> None:
    """Note which nodes another round would have folded."""
    for node in network.nodes:
        if _shape_value(network, node) is not None or _ready_bytes(network, node, keep, network.constants) is not None:
            network.unfolded[node.label] = "shapes have been inferred anew as often as a model of its size may ask for"


def _ready_bytes(
    network: Network, node: OnnxNode, keep: Callable[[OnnxNode], bool], known: Container[str]
) -> int | None:
    """`_bounded_bytes` of a node whose operands are known; None for one that is to stay or has to wait."""
    if keep(node) or not all(name in known for name in node.reads):
        return None
    return _bounded_bytes(network, node)


def _fold_round(network: Network, keep: Callable[[OnnxNode], bool]) -> bool:
    folded: dict[str, Constant] = {}
    known = set(network.constants)
    chosen: list[OnnxNode] = []
    total, operations = network.folded_bytes, network.folded_operations
    for node in network.nodes:
        shape = _shape_value(network, node)
        if shape is not None:
            folded[node.outputs[0]] = shape
            continue
        if nothing := _empty_values(network, node):
            folded.update(nothing)
            name, value = next(iter(nothing.items()))
            reason = f"its result {name!r} is empty: its shape is {list(value.array.shape)}"
            network.empty.update(dict.fromkeys(node.sources, reason))
            continue
        size = _ready_bytes(network, node, keep, known)
        if size is None:
            continue
        work = _operations(network, node)
        if total + size > MOST_FOLDED_BYTES:
            network.unfolded[node.label] = f"folded constants hold {total} bytes of at most {MOST_FOLDED_BYTES}"
        elif operations + work > MOST_FOLDED_OPERATIONS:
            network.unfolded[node.label] = (
                f"folding has taken {operations} of at most {MOST_FOLDED_OPERATIONS} operations"
            )
        else:
            total, operations = total + size, operations + work
            chosen.append(node)
            known.update(node.writes)
    if chosen:
        folded.update(_evaluate(network, chosen))
    if not folded:
        return False
    network.folded_bytes, network.folded_operations = total, operations
    done = {id(node) for node in network.nodes if all(name in folded for name in node.writes)}
    network.nodes = [node for node in network.nodes if id(node) not in done]
    network.constants.update(folded)
    network.drop_unused()
    return True


def _shape_value(network: Network, node: OnnxNode) -> Constant | None:
    """The value of a Shape or Size node whose operand's shape is known."""
    if node.kind not in ("Shape", "Size"):
        return None
    shape = network.info(node.input(0)).shape
    if shape is None:
        return None
    if node.kind == "Size":
        return Constant(TensorProto.INT64, np.array(int(np.prod(shape, dtype=object)), np.int64))
    start, end = node.attribute("start", 0), node.attribute("end", None)
    return Constant(TensorProto.INT64, np.array(shape[start:end], np.int64))


def _empty_values(network: Network, node: OnnxNode) -> dict[str, Constant]:
    """The results of a node that yields no elements at all: known whatever it reads, and safe, where onnxruntime's
    kernels are not (QLinearAdd of two empty vectors ends its process)."""
    infos = {name: network.info(name) for name in node.writes}
    if any(info.elements != 0 or info.elem_type not in NUMPY_TYPES for info in infos.values()):
        return {}
    return {
        name: Constant(info.elem_type, np.zeros(info.shape or (), numpy_type(info.elem_type)))
        for name, info in infos.items()
    }


def _bounded_bytes(network: Network, node: OnnxNode) -> int | None:
    """Bytes of the results of a node that may be folded; None for one that may not."""
    operator = node.proto.op_type
    if node.has_subgraph or operator in _RANDOM or plain_domain(node.proto.domain) not in ("", "com.microsoft"):
        return None
    if any(
        (plain_domain(each.domain), each.name) == (plain_domain(node.proto.domain), operator)
        for each in network.functions
    ):
        return None
    operands = 0
    for name in node.reads:
        elements = network.info(name).elements
        if elements is None:
            return None
        operands += elements
    total = 0
    results = 0
    for name in node.writes:
        info = network.info(name)
        elements = info.elements
        if operator in _SELECTING:
            elements = operands * max(1, len(network.info(node.input(0)).shape or ()))
        if elements is None or info.elem_type not in NUMPY_TYPES:
            return None
        size = 8 * elements
        if size > LARGEST_VALUE_BYTES:
            return None
        total += size
        results += elements
    if operator not in _LINEAR and operator not in _SELECTING and operands * max(1, results) > MOST_OPERATIONS:
        return None
    return total


def _operations(network: Network, node: OnnxNode) -> int:
    """Multiplications of a product, elements that a linear operator passes over, and for others a bound on either.

    Requires: shapes are known, as `_bounded_bytes` demands.
    """
    operands, results = (
        sum(network.info(name).elements or 0 for name in names) for names in (list(node.reads), list(node.writes))
    )
    passed = OPERATIONS_AN_ELEMENT * (operands + results)
    if node.proto.op_type in _LINEAR or node.proto.op_type in _SELECTING:
        return passed
    macs = node_macs(network, node)
    return passed + macs if macs else operands * max(1, results)


def _evaluate(network: Network, nodes: list[OnnxNode]) -> dict[str, Constant]:
    """The results of `nodes` that are read outside of them."""
    inside = {id(node) for node in nodes}
    written = [name for node in nodes for name in node.writes]
    read_outside = {name for node in network.nodes if id(node) not in inside for name in node.reads}
    read_outside.update(network.outputs)
    wanted = [name for name in written if name in read_outside]
    if not wanted:
        network.drop_unused()
        return {}
    try:
        return _run(network, nodes, wanted)
    except Exception as error:  # onnxruntime's errors share no base class
        raise CompileError(_culprit(network, nodes, error)) from error


def _run(network: Network, nodes: list[OnnxNode], wanted: list[str]) -> dict[str, Constant]:
    needed = {name for node in nodes for name in node.reads}
    constants = {name: value for name, value in network.constants.items() if name in needed}
    model = serialised(network, nodes, [], [], "fold", {})
    for name in wanted:
        model.graph.output.add(name=name)
    session = create_session(model, constants)
    values = session.run(wanted, {})
    return {
        name: Constant(network.info(name).elem_type, np.asarray(value))
        for name, value in zip(wanted, values, strict=True)
    }


def _culprit(network: Network, nodes: list[OnnxNode], whole: Exception) -> list[Diagnostic]:
    known = dict(network.constants)
    for node in nodes:
        trial = Network(**{**vars(network), "constants": known})
        try:
            known.update(_run(trial, [node], list(node.writes)))
        except Exception as error:  # onnxruntime's errors share no base class
            return [
                network.fault(f"node {node.label!r} ({node.kind}) fails on constants: {onnxruntime_message(error)}")
            ]
    return [network.fault(f"constants cannot be folded: {onnxruntime_message(whole)}")]
