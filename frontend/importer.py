"""From an ONNX file to a module of graph nodes and host regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path

from ..ir.frozen import dataclass
from ..ir.graph import HostRegion, Node
from ..ir.module import Header, Module
from ..ir.types import Blobs, HostType, Tensor
from .convert import CONVERTERS
from .convert_quantised import quantised_converters
from .draft import Draft, Graph, Refused
from .fold import fold, is_dequantize
from .host import Flow, Item, assign_levels, build_region, demote
from .load import load_network
from .macs import node_macs
from .messages import NodeProto
from .network import CROSSING_TYPES, Network, OnnxNode
from .normalise import expand_functions, normalise
from .operations import operations_of
from .qdq import Unit, convert_unit, find_units
from .shapes import bind_inputs, infer
from .storage import with_storage_orders

# Converters know the operators from this opset on; before it, broadcasting had attributes of its own.
OLDEST_CONVERTED_OPSET = 7

# "" if the accelerator takes this node, else why the host must.
Accepts = Callable[[Node, Mapping[str, Tensor]], str]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """`batch_size` binds symbolic leading axes of inputs (1 if None), `shapes` whole inputs by name; `time_limit_s`
    bounds calibration. (Constants are folded without a clock: `fold` bounds the work of each node beforehand.)"""

    batch_size: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    time_limit_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a node of the file runs: `accelerator`, `host` (and why), or `constant` where it is computed at compile
    time, or not needed. `macs` is null where they are not counted: see `macs.node_macs`."""

    node: str
    op: str
    where: str
    reason: str
    macs: int | None


def import_model(
    path: Path, accepts: Accepts, options: ImportOptions | None = None, blobs: Blobs | None = None
) -> Module:
    """The model at `path` with the operators that `accepts` takes as graph nodes, all others in host regions.

    Constants are put into `blobs` before `accepts` is asked about a node, so that a predicate that holds the same store
    can look at their values; the module gets a store of its own, with what it needs.

    Ensures: inputs and outputs keep the file's names; host regions are convex and as few as the order of operators
    allows. Raises CompileError with every fault that was found in the file or in `options`.
    """
    return import_network(prepare(path, options or ImportOptions()), accepts, blobs)


def import_network(
    network: Network, accepts: Accepts, blobs: Blobs | None = None, *, counts_operations: bool = False
) -> Module:
    """`import_model` of what `prepare` made of a file; the network can be calibrated afterwards, or imported again.
    `counts_operations`: host regions say how many they take."""
    return _Import(network, accepts, blobs).module(counts_operations)


def classify(
    path: Path, accepts: Accepts, options: ImportOptions | None = None, blobs: Blobs | None = None
) -> list[Finding]:
    """Where each node of the file runs, in the file's order, for `dnnc check`. Raises what `import_model` raises."""
    network = prepare(path, options or ImportOptions())
    return _Import(network, accepts, blobs).findings()


def prepare(path: Path, options: ImportOptions) -> Network:
    """The file read, checked, shaped, folded and normalised: what both import and calibration start from."""
    network = load_network(path)
    expand_functions(network)
    bind_inputs(network, options.batch_size, options.shapes)
    infer(network)
    network.drop_unused()
    fold(network)
    normalise(network)
    wanted = {id(source) for unit in find_units(network) for source in unit.operands.values()}
    fold(network, lambda node: is_dequantize(node) and id(node) in wanted)
    _name_constant_outputs(network)
    return network


def _name_constant_outputs(network: Network) -> None:
    """An output that is a constant or an input is written by an Identity, so that every output has a writer of its own.

    The constant gets another name. An input that is an output keeps its name: nothing is computed.
    """
    for name in network.outputs:
        if name not in network.constants:
            continue
        value = network.fresh(f"{name}.value")
        network.infos[name] = network.constants[name].info
        network.constants[value] = network.constants.pop(name)
        for node in network.nodes:
            network.rename(node, {name: value})
        network.nodes.append(
            OnnxNode(f"{name}.constant", NodeProto(op_type="Identity", input=[value], output=[name]), ())
        )


class _Import:
    """One import: what the accelerator takes becomes drafts, the rest host regions."""

    def __init__(self, network: Network, accepts: Accepts, blobs: Blobs | None) -> None:
        self.network = network
        self.accepts = accepts
        self.blobs = Blobs() if blobs is None else blobs
        self.graph = Graph(network, self.blobs)
        self.converters = {**CONVERTERS, **quantised_converters(CONVERTERS)}
        self.drafts: dict[int, Draft] = {}  # by id of each node that a draft covers
        self.judged: dict[int, dict[str, Tensor]] = {}  # what each draft was accepted with, by its id
        self.reasons: dict[int, str] = {}  # by id of each node that stays on the host
        for unit in find_units(network):
            self._convert_unit(unit)
        for node in network.nodes:
            if id(node) not in self.drafts and id(node) not in self.reasons:
                self._convert_node(node)
        self._give_moved_codes_their_meaning()
        self.flow = self._settled_flow()
        assign_levels(self.flow)

    def _convert_unit(self, unit: Unit) -> None:
        """The whole unit goes to the accelerator or to the host; one that has no form is left to its members, and so is
        a refused product with an addition: both are exact on their own."""
        draft = Draft(self.graph, unit.members, unit.center.label)
        try:
            convert_unit(draft, unit)
        except Refused:
            draft.discard()
            return
        if unit.addition is not None and self._refusal(draft):
            draft.discard()
            return
        self._offer(draft)

    def _convert_node(self, node: OnnxNode) -> None:
        converter = self.converters.get(node.kind)
        if 0 < self.network.opset() < OLDEST_CONVERTED_OPSET:
            self.reasons[id(node)] = f"it is of opset {self.network.opset()}, older than {OLDEST_CONVERTED_OPSET}"
            return
        if converter is None:
            self.reasons[id(node)] = "it has no accelerator form"
            return
        draft = Draft(self.graph, [node], node.label)
        try:
            converter(draft, node)
        except Refused as refusal:
            draft.discard()
            self.reasons[id(node)] = str(refusal)
            return
        self._offer(draft)

    def _refusal(self, draft: Draft) -> str:
        return next(filter(None, (self.accepts(node, draft.visible) for node in draft.nodes)), "")

    def _offer(self, draft: Draft) -> None:
        reason = self._refusal(draft)
        if reason:
            draft.discard()
            self.reasons.update((id(node), reason) for node in draft.covers)
            return
        names = dict.fromkeys(name for node in draft.nodes for name in (*node.inputs, *node.outputs) if name)
        self.judged[id(draft)] = {name: draft.visible[name] for name in names}
        draft.settle()
        self.drafts.update((id(node), draft) for node in draft.covers)

    def _give_moved_codes_their_meaning(self) -> None:
        """What only moves or selects codes keeps their scale: one that a reader has told of the result holds for the
        operand, too, where whatever wrote that stays on the host and tells none. A draft that the accelerator does not
        take, now that more is known of its operands, goes to the host."""
        settled = self.graph.settled
        drafts = list(dict.fromkeys(self.drafts[id(node)] for node in self.network.nodes if id(node) in self.drafts))
        for draft in reversed(drafts):
            for node in reversed(draft.nodes):
                operand, result = settled[node.inputs[0]], settled[node.outputs[0]]
                known = result.quantization
                if _keeps_codes(node) and operand.quantization is None and known is not None and known.axis is None:
                    settled[operand.name] = replace(operand, quantization=known)
        for draft in drafts:
            if all(settled[name] is tensor for name, tensor in self.judged[id(draft)].items()):
                continue
            draft.tensors = {name: settled[name] for name in draft.tensors}
            if reason := self._refusal(draft):
                draft.discard()
                for covered in draft.covers:
                    del self.drafts[id(covered)]
                    self.reasons[id(covered)] = reason

    # -- accelerator or host ----------------------------------------------------------------------------------------

    def _settled_flow(self) -> Flow:
        """Drafts go to the host, too, where that is better or where a value could not cross, until nothing changes."""
        while True:
            flow = self._flow()
            demoted = demote(flow) or self._demote_crossing_codes(flow)
            if not demoted:
                return flow
            for item in flow.items:
                if id(item) in demoted:
                    assert item.draft is not None
                    item.draft.discard()
                    for node in item.covers:
                        del self.drafts[id(node)]
                        self.reasons[id(node)] = demoted[id(item)]

    def _flow(self) -> Flow:
        last = {
            id(self.drafts[id(node)]): place for place, node in enumerate(self.network.nodes) if id(node) in self.drafts
        }
        items = []
        for place, node in enumerate(self.network.nodes):
            draft = self.drafts.get(id(node))
            if draft is None:
                left = self.network.unfolded.get(node.label)
                reason = self.reasons[id(node)] + (f" (it could be folded, but {left})" if left else "")
                items.append(Item(None, node, reason, position=place))
            elif last[id(draft)] == place:
                items.append(Item(draft, None, position=place))
        return Flow(items, frozenset(self.network.outputs))

    def _demote_crossing_codes(self, flow: Flow) -> dict[int, str]:
        """4-bit codes have no common form with onnxruntime: one side must both write and read them."""
        demoted = {}
        for item in flow.items:
            if item.draft is None:
                continue
            for name in (*item.reads, *item.writes):
                info = self.network.info(name)
                if info.element_type is None or info.elem_type in CROSSING_TYPES or name in self.network.constants:
                    continue
                ends = [flow.writer.get(name), *flow.readers.get(name, ())]
                if name in self.network.outputs or any(each is None or each.on_host for each in ends):
                    demoted[id(item)] = f"{name!r} holds 4-bit codes, which do not cross to the host"
        return demoted

    # -- results ----------------------------------------------------------------------------------------------------

    def module(self, counts_operations: bool = False) -> Module:
        network = self.network
        operations: list[tuple[tuple[int, int, int], HostRegion | Node]] = []
        constants: dict[str, Tensor] = {}
        regions: dict[int, list[Item]] = {}
        for item in self.flow.items:
            if item.draft is None:
                regions.setdefault(item.level, []).append(item)
                continue
            for index, node in enumerate(item.draft.nodes):
                operations.append(((item.level, item.position, index), node))
        for level, members in regions.items():
            kinds = list(dict.fromkeys(item.node.proto.op_type for item in members if item.node is not None))
            name = self.graph.node_name(f"host{level}_{kinds[0]}")
            region, outside = build_region(network, self.flow, members, name, self.blobs)
            if counts_operations:
                count = operations_of(network, [item.node for item in members if item.node is not None])
                region = replace(region, operations=count)
            operations.append(((level, -1, 0), region))
            for value in outside:
                draft = Draft(self.graph, [], name)
                constants[value] = draft.visible[draft.value(value)]
        operations.sort(key=lambda each: each[0])
        ordered = [operation for _, operation in operations]
        tensors = self._tensors(ordered, constants)
        nodes = [each for each in ordered if isinstance(each, Node)]
        tensors = with_storage_orders(tensors, nodes)
        stored = {each.constant for each in tensors.values() if each.constant is not None}
        stored |= {each.model for each in ordered if isinstance(each, HostRegion)}
        return Module(
            header=Header(network.path.stem, "", "", network.batch, "import"),
            tensors=tuple(tensors.values()),
            operations=tuple(ordered),
            inputs=tuple(network.inputs),
            outputs=tuple(network.outputs),
            blobs=Blobs({reference: self.blobs[reference] for reference in sorted(stored)}),
        )

    def _tensors(self, operations: list[HostRegion | Node], constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that operations, inputs and outputs name, each once, in the order of their first use."""
        names = [*self.network.inputs]
        for operation in operations:
            names += [*operation.inputs, *operation.outputs]
        found: dict[str, Tensor] = {}
        for name in dict.fromkeys((*names, *self.network.outputs)):
            found[name] = self.graph.settled.get(name) or constants.get(name) or self._host_tensor(name)
        return found

    def _host_tensor(self, name: str) -> Tensor:
        """A value that the accelerator does not see: of an element type where it lies in main memory all the same."""
        info = self.network.info(name)
        kind = info.element_type
        if kind is None or info.shape is None or info.elem_type not in CROSSING_TYPES:
            return Tensor(name, HostType(info.spelling), info.shape)
        return Tensor(name, kind, info.shape)

    def findings(self) -> list[Finding]:
        found: dict[str, Finding] = {}
        operators = dict(self.network.originals)
        macs = self._macs_of_sources(operators)
        for item in self.flow.items:
            where = "host" if item.on_host else "accelerator"
            for node in item.covers:
                for source in node.sources:
                    known = found.get(source)
                    if known is None or (known.where == "host" and where == "accelerator"):
                        found[source] = Finding(source, operators[source], where, item.reason, macs.get(source, 0))
        gone = "its result is known at compile time or not used"
        return [
            found.get(label) or Finding(label, op, "constant", self.network.empty.get(label, gone), 0)
            for label, op in self.network.originals
        ]

    def _macs_of_sources(self, operators: Mapping[str, str]) -> dict[str, int | None]:
        """MACs of the file's nodes. A node that stands for several has its own with the one of its operator (a product
        that has taken in a scale, say); those of a function's nodes are together those of its call."""
        found: dict[str, int | None] = {}
        for node in {id(node): node for item in self.flow.items for node in item.covers}.values():
            own = node.kind.split(".")[-1]
            source = next((each for each in node.sources if operators[each] == own), next(iter(node.sources), None))
            if source is not None:
                before, macs = found.get(source, 0), node_macs(self.network, node)
                found[source] = None if before is None or macs is None else before + macs
        return found


def _keeps_codes(node: Node) -> bool:
    """Whether the results of a node are codes of its operand, as they are."""
    if node.value is not None or node.post:
        return False
    return node.op in ("reshape", "transpose") or (node.op == "pool" and node.attribute("kind") == "max")
