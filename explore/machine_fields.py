"""Descriptions of machines with some of their fields replaced.

A field is named by its dotted path: `array.rows`, `memories.spad.capacity_bytes` (memories by their names),
`levels.glb.loops.factors.m` (stores and fan-outs by theirs), `components.technology_nm`. The text that comes out says
of each replaced field that a study chose it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_reader import ListNode, MapNode, ScalarNode, YamlNode, plain_value, quoted, read_yaml
from ..ir.diagnostics import Span, ensure
from .variables import Value, spelled

CHOSEN = "chosen by a study: a variable, or computed of variables"
NAMES = ("name", "store", "fanout")  # the keys that name an item of a list
# Sections of a level that may be left out: a field in one brings it.
_LEFT_OUT = ("loops", "factors", "most", "bus_bits")
# Two spellings of one thing: setting the one takes the other's place.
SPELLINGS = {"depth_words": "capacity_bytes", "capacity_bytes": "depth_words"}
_UNSOURCED = ("name", "kind", "sources", "components", "energy", "area", "leakage")
_WORD = re.compile(r"[A-Za-z0-9_./+-]+( [A-Za-z0-9_./+-]+)*")


@lru_cache(maxsize=8)  # of a study's machine, which each of its points changes; a copy, as `_set` makes one
def read_description(text: str, file: str) -> MapNode:
    """The tree of a description that has been found to be sound."""
    root = read_yaml(text, Faults(text, file))
    ensure(isinstance(root, MapNode), "a sound description holds keys")
    assert isinstance(root, MapNode)
    return root


def paths(node: MapNode, prefix: str = "") -> Iterator[str]:
    """All fields that a description gives."""
    for key, value in node.entries.items():
        if not prefix and key in ("sources", "energy", "area", "leakage"):
            continue
        if isinstance(value, MapNode):
            yield from paths(value, f"{prefix}{key}.")
        elif isinstance(value, ListNode) and any(isinstance(each, MapNode) for each in value.items):
            for item in value.items:
                if isinstance(item, MapNode) and (name := _name(item)):
                    yield from (each for each in paths(item, f"{prefix}{key}.{name}.") if not _is_name(node, each))
        else:
            yield f"{prefix}{key}"


def _is_name(root: MapNode, path: str) -> bool:
    """Whether a path leads to the name of an item of a list."""
    first, *rest = path.split(".")
    return isinstance(root.entries.get(first), ListNode) and len(rest) == 2 and rest[1] in NAMES


def may_be_set(root: MapNode, path: str) -> bool:
    """Whether the section that a field belongs to is there, or comes with it, and the field names nothing."""
    if path.partition(".")[0] in ("name", "kind", "sources") or _is_name(root, path):
        return False
    node: YamlNode | None = root
    parts = path.split(".")
    for place, part in enumerate(parts[:-1]):
        child = _child(node, part)
        if child is None and parts[0] == "levels" and place > 1:
            return isinstance(node, MapNode) and set(parts[place:-1]) <= set(_LEFT_OUT)
        node = child
    return isinstance(node, MapNode)


def with_fields(root: MapNode, values: Mapping[str, Value]) -> str:
    """The text of a description in which each path has its value. Requires: `may_be_set` of each."""
    for path, value in values.items():
        root = _set(root, path.split("."), value)
    sections = {key: value for key, value in root.entries.items() if key != "sources"}
    lines = [f"{key}: {_spelled(value)}" for key, value in sections.items()]
    sources = root.entries.get("sources")
    told = {key: _spelled(node) for key, node in sources.entries.items()} if isinstance(sources, MapNode) else {}
    told |= {path: json.dumps(CHOSEN) for path in values if path.partition(".")[0] not in _UNSOURCED}
    lines += ["sources:", *(f"  {key}: {text}" for key, text in told.items())] if told else []
    return "\n".join(lines) + "\n"


def _name(item: MapNode) -> str:
    found = (item.entries.get(key) for key in NAMES)
    return next((name.text for name in found if isinstance(name, ScalarNode)), "")


def _child(node: YamlNode | None, part: str) -> YamlNode | None:
    if isinstance(node, MapNode):
        return node.entries.get(part)
    if isinstance(node, ListNode):
        return next((each for each in node.items if isinstance(each, MapNode) and _name(each) == part), None)
    return None


def _set(node: MapNode, parts: list[str], value: Value) -> MapNode:
    first, *rest = parts
    if not rest:
        kept = {key: each for key, each in node.entries.items() if key != SPELLINGS.get(first)}
        return replace(node, entries={**kept, first: _node(value)})
    child = node.entries.get(first, MapNode({}, {}, Span()))
    if isinstance(child, ListNode):
        items = tuple(
            _set(each, rest[1:], value) if isinstance(each, MapNode) and _name(each) == rest[0] else each
            for each in child.items
        )
        return replace(node, entries={**node.entries, first: ListNode(items, child.span)})
    assert isinstance(child, MapNode)
    return replace(node, entries={**node.entries, first: _set(child, rest, value)})


def _node(value: Value) -> YamlNode:
    if isinstance(value, tuple):
        return ListNode(tuple(map(_node, value)), Span())
    return ScalarNode(value, spelled(value), Span())


def _spelled(node: YamlNode) -> str:
    """On one line."""
    if isinstance(node, ListNode):
        return f"[{', '.join(map(_spelled, node.items))}]"
    if isinstance(node, MapNode):
        return f"{{{', '.join(f'{key}: {_spelled(value)}' for key, value in node.entries.items())}}}"
    needs_quotes = isinstance(node.value, str) and not (
        _WORD.fullmatch(node.text) and plain_value(node.text) == node.text
    )
    return quoted(node.text) if needs_quotes else node.text
