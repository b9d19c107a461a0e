"""What must hold of a graph before its types are looked at: every fault is found, each names its node.

Operators are those that the pinned onnxruntime has a definition for, or that the model defines as local functions.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from ..ir.diagnostics import Diagnostic, Span
from .known_types import Operators, cache_of_user, read_operators, write_operators
from .messages import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto
from .network import captured_values, plain_domain, subgraphs

# Operators of older opsets than `converters` know stay on the host; onnxruntime says whether it runs them.
OLDEST_OPSET = 1
# The newest released opset of the pinned onnxruntime; it refuses those that are still being drafted.
NEWEST_OPSET = 26
# Nodes of a model whose local functions are expanded: functions that call functions may grow without bound.
MOST_EXPANDED_NODES = 1_000_000
# They are counted up to this: a chain of functions multiplies.
MOST_COUNTED_NODES = 1 << 62


def structural_faults(model: ModelProto, path: Path) -> list[Diagnostic]:
    """Everything that is wrong with names, operators, opsets and order; the list is empty where all is well."""
    place = Span(str(path))
    checker = _Checker(model, place)
    checker.check_opsets()
    checker.check_functions()
    checker.check_graph(model.graph, frozenset(), "")
    return checker.faults


class _Checker:
    def __init__(self, model: ModelProto, place: Span) -> None:
        self.model = model
        self.place = place
        self.faults: list[Diagnostic] = []
        self.opsets = {plain_domain(each.domain): each.version for each in model.opset_import}
        self.functions = {(plain_domain(each.domain), each.name): each for each in model.functions}

    def fault(self, message: str, help: str = "") -> None:
        self.faults.append(Diagnostic(message, self.place, help))

    def check_opsets(self) -> None:
        if not self.model.opset_import:
            self.fault("the model imports no operator set", "it is older than ONNX IR version 3; export it anew")
        version = self.opsets.get("")
        if version is not None and not OLDEST_OPSET <= version <= NEWEST_OPSET:
            self.fault(
                f"the model uses opset {version}; opsets {OLDEST_OPSET} to {NEWEST_OPSET} are supported",
                "convert it: onnx.version_converter.convert_version(model, 17)",
            )

    def check_functions(self) -> None:
        """Local functions must not call themselves and must not expand beyond measure."""
        for function in self.model.functions:
            for index, node in _with_inner_nodes(function.node):
                self._check_scan(node, f"{_label(node, index)} (in the function {function.name!r})")
        nodes = {
            name: [_operator(node) for _, node in _with_inner_nodes(each.node)] for name, each in self.functions.items()
        }
        calls = {name: [each for each in operators if each in nodes] for name, operators in nodes.items()}
        sizes: dict[tuple[str, str], int] = {}

        def expanded(operators: Iterable[tuple[str, str]]) -> int:
            return min(sum(sizes.get(each, 1) for each in operators), MOST_COUNTED_NODES)

        try:
            for name in TopologicalSorter(calls).static_order():
                sizes[name] = expanded(nodes[name])
        except CycleError as error:
            cycle = [name for _, name in reversed(error.args[1])]
            self.fault(f"local function {cycle[0]!r} calls itself: {' -> '.join(cycle)}")
            return
        total = expanded(_operator(node) for _, node in _with_inner_nodes(self.model.graph.node))
        if sizes and total > MOST_EXPANDED_NODES:
            more = " or more" if total == MOST_COUNTED_NODES else ""
            self.fault(f"local functions expand to {total}{more} nodes; at most {MOST_EXPANDED_NODES} are read")

    def _check_scan(self, node: NodeProto, label: str) -> None:
        """onnxruntime takes room for as many scan inputs as the attribute says before it looks at the node."""
        if _operator(node) != ("", "Scan"):
            return
        for attribute in node.attribute:
            if attribute.name != "num_scan_inputs":
                continue
            if attribute.ref_attr_name:
                self.fault(
                    f"node {label!r}: num_scan_inputs is that of a function's call, which is not supported",
                    f"state it in the function: 1 to {len(node.input)}, its inputs",
                )
            elif not 1 <= attribute.i <= len(node.input):
                self.fault(
                    f"node {label!r}: num_scan_inputs is {attribute.i}", f"it is 1 to {len(node.input)}, its inputs"
                )

    def check_graph(self, graph: GraphProto, outer: frozenset[str], inside: str) -> None:
        """Names of one graph; `outer` are those that it may read from around it."""
        where = f" (in {inside})" if inside else ""
        given = [each.name for each in graph.input]
        initialised = [each.name for each in graph.initializer]
        for kind, names in (("input", given), ("initialiser", initialised)):
            for name in _repeated(names):
                self.fault(f"{kind} {name!r} is declared more than once{where}")
        defined: dict[str, str] = dict.fromkeys([*given, *initialised], "an input or initialiser")
        labels = {}
        for index, node in enumerate(graph.node):
            label = _label(node, index)
            labels[index] = label
            self._check_operator(node, label + where)
            self._check_scan(node, label + where)
            for attribute in node.attribute:
                if attribute.ref_attr_name:
                    self.fault(
                        f"node {label!r}{where}: attribute {attribute.name!r} is that of a function's call",
                        "only the body of a local function refers to the attributes of its call",
                    )
            for name in node.output:
                if name in defined:
                    self.fault(f"node {label!r}{where} defines {name!r}, which is already defined by {defined[name]}")
                elif name:
                    defined[name] = f"node {label!r}"
        visible = outer | frozenset(defined)
        for index, node in enumerate(graph.node):
            for name in dict.fromkeys(node.input):
                if name and name not in visible:
                    self.fault(
                        f"node {labels[index]!r}{where} reads {name!r}, which nothing defines", _near(name, visible)
                    )
            for inner in subgraphs(node):
                self.check_graph(inner, visible, f"the body of {labels[index]!r}{where}")
        for each in graph.output:
            if each.name not in visible:
                self.fault(f"output {each.name!r}{where} is defined by no node", _near(each.name, visible))
        self._check_types(graph, bool(inside), where)
        if not inside:
            for name in _repeated([each.name for each in graph.output]):
                self.fault(f"output {name!r} is declared more than once")
            if not graph.output:
                self.fault("the model has no outputs")
        sorted_nodes = {index for index, _ in order_nodes(graph)}
        stuck = [index for index in labels if index not in sorted_nodes]
        if stuck:
            self.fault(f"nodes form a cycle{where}: " + ", ".join(repr(labels[index]) for index in stuck))

    def _check_types(self, graph: GraphProto, inner: bool, where: str) -> None:
        """Declared types must exist; a body may leave types of its inputs open."""
        initialised = {each.name for each in graph.initializer}
        for kind, values in (("input", graph.input), ("output", graph.output)):
            for value in values:
                if not value.type.WhichOneof("value"):
                    if kind == "input" and not inner and value.name not in initialised:
                        self.fault(f"input {value.name!r} has no type")
                elif not _is_type(value.type):
                    self.fault(f"{kind} {value.name!r}{where} is of a type that ONNX does not have")
                else:
                    # Exporters write -1 for an axis that is open; onnxruntime takes it so, too.
                    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                        if dim.dim_value < -1:
                            message = f"axis {axis} of {kind} {value.name!r}{where} has {dim.dim_value} elements"
                            self.fault(message, "0 or more, or a name for an axis that is bound later")

    def _check_operator(self, node: NodeProto, label: str) -> None:
        domain, operator = _operator(node)
        if not operator:
            self.fault(f"node {label!r} has no operator")
            return
        if (domain, operator) in self.functions:
            return
        full = f"{domain}.{operator}" if domain else operator
        known = known_operators().get(domain)
        if known is None:
            self.fault(
                f"node {label!r}: operator {full!r} is of the unknown domain {domain!r}",
                "express it with ONNX operators or as a local function of the model",
            )
            return
        versions = known.get(operator)
        if versions is None:
            guesses = difflib.get_close_matches(operator, known, 1)
            legal = f"the operators of ONNX's domain {domain or 'ai.onnx'!r}, or a local function of the model"
            help = f"did you mean {guesses[0]!r}?" if guesses else legal
            self.fault(f"node {label!r}: unknown operator {full!r}", help)
            return
        imported = self.opsets.get(domain)
        if imported is None:
            # onnxruntime imports com.microsoft by itself; every other domain must be named.
            if domain != "com.microsoft":
                self.fault(f"node {label!r}: operator {full!r} is of a domain that the model does not import")
            return
        usable = [(version, deprecated) for version, deprecated in versions if version <= imported]
        if not usable:
            self.fault(
                f"node {label!r}: operator {full!r} came with opset {min(versions)[0]}; the model imports {imported}"
            )
        elif max(usable)[1]:
            self.fault(f"node {label!r}: operator {full!r} was removed in opset {max(usable)[0]}")


def _with_inner_nodes(nodes: Iterable[NodeProto]) -> Iterator[tuple[int, NodeProto]]:
    """Nodes with their places in their graph, and those of their bodies."""
    for index, node in enumerate(nodes):
        yield index, node
        for graph in subgraphs(node):
            yield from _with_inner_nodes(graph.node)


def _is_type(proto: TypeProto) -> bool:
    """Whether a type is complete, down to known element types."""
    known = range(1, max(TensorProto.DataType.values()) + 1)
    match proto.WhichOneof("value"):
        case "tensor_type":
            return proto.tensor_type.elem_type in known
        case "sparse_tensor_type":
            return proto.sparse_tensor_type.elem_type in known
        case "sequence_type":
            return _is_type(proto.sequence_type.elem_type)
        case "optional_type":
            return _is_type(proto.optional_type.elem_type)
        case "map_type":
            return proto.map_type.key_type in known and _is_type(proto.map_type.value_type)
    return False


def _operator(node: NodeProto) -> tuple[str, str]:
    """What a node calls: an operator or a local function, with its domain in front."""
    return plain_domain(node.domain), node.op_type


def _label(node: NodeProto, index: int) -> str:
    return node.name or f"{node.op_type or 'node'}_{index}"


def _repeated(names: list[str]) -> list[str]:
    seen: set[str] = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))  # type: ignore[func-returns-value]


def _near(name: str, names: frozenset[str]) -> str:
    if len(names) > 2000:  # a guess is not worth a search over a large model
        return ""
    guesses = difflib.get_close_matches(name, sorted(names), 1, 0.8)
    return f"did you mean {guesses[0]!r}?" if guesses else ""


def order_nodes(graph: GraphProto) -> list[tuple[int, NodeProto]]:
    """Nodes with their places in the file, each after what it reads, otherwise in file order. Those on a cycle, and
    those behind one, are left out."""
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    waiting: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        sources = {producer[name] for name in (*node.input, *captured_values(node)) if name in producer}
        waiting[index] = len(sources)
        for source in sources:
            readers.setdefault(source, []).append(index)
    ready = [index for index, count in waiting.items() if not count]
    heapq.heapify(ready)
    ordered = []
    while ready:
        index = heapq.heappop(ready)
        ordered.append((index, graph.node[index]))
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    return ordered


@cache
def known_operators() -> Operators:
    """Domain -> operator -> (opset since, whether it was removed then), of the onnxruntime that is installed."""
    kept = cache_of_user()
    found = read_operators(kept)
    if found is None:
        from onnxruntime.capi import onnxruntime_pybind11_state

        found = {}
        for schema in onnxruntime_pybind11_state.get_all_operator_schema():
            operators = found.setdefault(plain_domain(schema.domain), {})
            operators.setdefault(schema.name, []).append((schema.since_version, schema.deprecated))
        write_operators(kept, found)
    return found
