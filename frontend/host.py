"""Host regions: what the accelerator does not take, in as few subgraphs as can be, each a model of its own.

Every node has a level: the number of host regions that must have run before it can. Host nodes of one level make one
region. No path leaves a region and comes back to it, since a path through the accelerator raises the level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import cached_property

from ..ir.frozen import dataclass
from ..ir.graph import HostRegion
from ..ir.types import Blobs, ElementType
from .draft import Draft
from .network import CROSSING_TYPES, Constant, Network, OnnxNode, serialised

# A serialised model must stay well below protobuf's 2 GiB, and is copied a few times on its way; beyond this, the
# largest constants become inputs of the region.
MOST_CONSTANT_BYTES = 1 << 28


@dataclass(eq=False)
class Item:
    """A step of the model: a draft on the accelerator, or one ONNX node on the host for a reason."""

    draft: Draft | None
    node: OnnxNode | None
    reason: str = ""
    level: int = 0
    position: int = 0

    @property
    def on_host(self) -> bool:
        return self.draft is None

    @property
    def covers(self) -> Sequence[OnnxNode]:
        if self.draft is not None:
            return self.draft.covers
        assert self.node is not None
        return (self.node,)

    @cached_property
    def reads(self) -> list[str]:
        """Values from outside, each once."""
        written = set(self.writes)
        return list(dict.fromkeys(name for node in self.covers for name in node.reads if name not in written))

    @cached_property
    def writes(self) -> list[str]:
        return [name for node in self.covers for name in node.writes]


@dataclass
class Flow:
    """Items in an order in which each follows what it reads, and who writes and reads each value."""

    items: list[Item]
    outputs: frozenset[str]
    writer: dict[str, Item] = field(default_factory=dict)
    readers: dict[str, list[Item]] = field(default_factory=dict)
    _before: dict[int, list[Item]] = field(default_factory=dict)
    _after: dict[int, list[Item]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for item in self.items:
            self.writer.update(dict.fromkeys(item.writes, item))
            for name in item.reads:
                self.readers.setdefault(name, []).append(item)
        for item in self.items:
            self._before[id(item)] = [self.writer[name] for name in item.reads if name in self.writer]
            self._after[id(item)] = [reader for name in item.writes for reader in self.readers.get(name, ())]

    def before(self, item: Item) -> list[Item]:
        """Who wrote what `item` reads."""
        return self._before[id(item)]

    def after(self, item: Item) -> list[Item]:
        """Who reads what `item` writes."""
        return self._after[id(item)]

    def makes_output(self, item: Item) -> bool:
        return any(name in self.outputs for name in item.writes)


_HEAVY = frozenset({"conv", "conv_transpose", "matmul"})
_LIGHT = frozenset({"add", "sub", "mul", "relu", "clip", "leaky_relu", "reshape", "transpose", "dequantize"})
_ARITHMETIC = frozenset({"add", "sub", "mul"})


def demote(flow: Flow) -> dict[int, str]:
    """Drafts that are better off on the host, by id of their item, with the reason. They do little work, and taking
    them there makes fewer values cross:

    - reshapes and transposes that have only host operators around them;
    - a quantize or dequantize that only the host reads, a quantize of what the host wrote;
    - float arithmetic on what the host wrote, if its other operands are on the host already (the end of a GELU);
    - float arithmetic that only the host reads, unless it follows a product (the mean of a layer normalisation).
    """
    demoted: dict[int, str] = {}

    def hosted(item: Item) -> bool:
        return item.on_host or id(item) in demoted

    changed = True
    while changed:
        changed = False
        for group in _move_groups(flow, hosted):
            around = [each for item in group for each in (*flow.before(item), *flow.after(item)) if each not in group]
            if around and all(hosted(each) for each in around):
                demoted.update((id(item), "it only moves values between host operators") for item in group)
                changed = True
        for item in flow.items:
            reason = "" if hosted(item) else _better_on_host(flow, item, hosted)
            if reason:
                demoted[id(item)] = reason
                changed = True
    return demoted


def _better_on_host(flow: Flow, item: Item, hosted: Callable[[Item], bool]) -> str:
    kinds, readers, writers = _kinds(item), flow.after(item), flow.before(item)
    only_host_reads = bool(readers) and all(map(hosted, readers)) and not flow.makes_output(item)
    host_wrote = any(map(hosted, writers))
    if len(kinds) == 1 and kinds <= {"quantize", "dequantize"} and only_host_reads:
        return "only host operators read its result"
    if kinds == {"quantize"} and host_wrote:
        return "its operand comes from the host"
    if not _is_float(item):
        return ""
    mean = _is_mean(item)
    if (
        (kinds <= _LIGHT or mean)
        and host_wrote
        and all(_on_host_already(flow, item, name, hosted) for name in item.reads)
    ):
        return "its operands are on the host"
    if (kinds <= _ARITHMETIC or mean) and only_host_reads and not any(_kinds(each) & _HEAVY for each in writers):
        return "only host operators read its result"
    return ""


def _on_host_already(flow: Flow, item: Item, name: str, hosted: Callable[[Item], bool]) -> bool:
    writer = flow.writer.get(name)
    if writer is None or hosted(writer):
        return True
    return any(hosted(reader) for reader in flow.readers.get(name, ()) if reader is not item)


def _is_float(item: Item) -> bool:
    """Whether all that the draft computes is float: moving that to the host changes no code."""
    assert item.draft is not None
    visible = item.draft.visible
    return all(visible[node.outputs[0]].type is ElementType.F32 for node in item.draft.nodes)


def _is_mean(item: Item) -> bool:
    return any(node.kind == "ReduceMean" for node in item.covers) and "pool" in _kinds(item)


def _kinds(item: Item) -> set[str]:
    return {node.op for node in item.draft.nodes} if item.draft is not None else set()


def _move_groups(flow: Flow, hosted: Callable[[Item], bool]) -> list[list[Item]]:
    """Connected reshapes and transposes on the accelerator."""
    moves = {id(item): item for item in flow.items if not hosted(item) and _kinds(item) <= {"reshape", "transpose"}}
    groups = []
    seen: set[int] = set()
    for start in moves.values():
        if id(start) in seen:
            continue
        group, pending = [], [start]
        seen.add(id(start))
        while pending:
            item = pending.pop()
            group.append(item)
            for each in (*flow.before(item), *flow.after(item)):
                if id(each) in moves and id(each) not in seen:
                    seen.add(id(each))
                    pending.append(each)
        groups.append(group)
    return groups


def assign_levels(flow: Flow) -> None:
    """Levels as early as can be; then host nodes that only later host nodes read move to the first of them, so that
    their values need not cross between regions."""
    for item in flow.items:
        before = flow.before(item)
        if item.on_host:
            item.level = max((each.level + (not each.on_host) for each in before), default=1)
            item.level = max(item.level, 1)
        else:
            item.level = max((each.level for each in before), default=0)
    for item in reversed(flow.items):
        readers = flow.after(item)
        if item.on_host and readers and not flow.makes_output(item) and all(each.on_host for each in readers):
            item.level = min(each.level for each in readers)


def build_region(
    network: Network, flow: Flow, members: Sequence[Item], name: str, blobs: Blobs
) -> tuple[HostRegion, dict[str, Constant]]:
    """The region of `members`, and the constants that are too large for its model and become its inputs."""
    inside = {id(item) for item in members}
    nodes = [item.node for item in members if item.node is not None]
    written = {value for node in nodes for value in node.writes}
    reads = list(dict.fromkeys(value for node in nodes for value in node.reads if value not in written))
    constants = {value: network.constants[value] for value in reads if value in network.constants}
    inputs = [value for value in reads if value not in constants]
    outside: dict[str, Constant] = {}
    total = sum(each.array.nbytes for each in constants.values())
    movable = [each for each, constant in constants.items() if constant.elem_type in CROSSING_TYPES]
    for value in sorted(movable, key=lambda each: -constants[each].array.nbytes):
        if total <= MOST_CONSTANT_BYTES:
            break
        total -= constants[value].array.nbytes
        outside[value] = constants.pop(value)
    inputs += outside
    outputs = [
        value
        for node in nodes
        for value in node.writes
        if value in network.outputs or any(id(reader) not in inside for reader in flow.readers.get(value, ()))
    ]
    # onnxruntime may refuse fixed extents that contradict the branch of an If that is never taken.
    shapes = not any(node.has_subgraph for node in nodes)
    model = serialised(network, nodes, inputs, outputs, name, constants, shapes=shapes)
    region = HostRegion(
        name=name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        model=blobs.add(model.SerializeToString(deterministic=True)),
        operators=tuple(node.kind for node in nodes),
        reason="; ".join(_reasons(members)),
    )
    return region, outside


def _reasons(members: Sequence[Item]) -> list[str]:
    """One line per operator and reason, with how often they occur."""
    counts = Counter((item.node.kind, item.reason) for item in members if item.node is not None)
    return [f"{kind}{f' x{count}' if count > 1 else ''}: {reason}" for (kind, reason), count in counts.items()]
