"""Where in its description a machine with levels inside the array says something: for faults that show later, when a
layer does not fit."""

from __future__ import annotations

from ..ir.diagnostics import Span
from ..ir.hierarchy import Hierarchy
from .yaml_faults import Faults
from .yaml_reader import ListNode, MapNode, ScalarNode, YamlNode, read_yaml

_CAPACITIES = ("depth_words", "capacity_bytes")


def place_of(machine: Hierarchy, level: str, key: str) -> tuple[Span, str]:
    """Place and line of a key of a level, as `loops.most.k`; `capacity` is that of a store, however it is spelled. Of
    what is not there the place is that of what it would stand in; of a machine without a text there is none."""
    if not machine.text or not machine.file:
        return Span(), ""
    faults = Faults(machine.text, machine.file)
    root = read_yaml(machine.text, faults)
    levels = root.entries.get("levels") if isinstance(root, MapNode) else None
    node: YamlNode | None = levels if levels is not None else root
    for each in levels.items if isinstance(levels, ListNode) else ():
        if isinstance(each, MapNode) and level in (_text(each, "store"), _text(each, "fanout")):
            node = node_at(each, key)
    assert node is not None
    lines = machine.text.splitlines()
    return node.span, lines[node.span.line - 1][:200] if 0 < node.span.line <= len(lines) else ""


def _text(node: MapNode, key: str) -> str:
    value = node.entries.get(key)
    return value.text if isinstance(value, ScalarNode) else ""


def node_at(node: YamlNode, key: str) -> YamlNode:
    """The value that a dotted key leads to, as far as it does."""
    for word in key.split("."):
        if not isinstance(node, MapNode):
            break
        names = _CAPACITIES if word == "capacity" else (word,)
        found = next((node.entries[name] for name in names if name in node.entries), None)
        if found is None:
            break
        node = found
    return node
