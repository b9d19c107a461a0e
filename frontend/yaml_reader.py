"""A strict reader for the YAML files that users write: every value knows its line and column.

The subset is what a description needs: mappings, sequences and plain or quoted scalars. Anchors, aliases, tags,
duplicate keys and several documents are refused, and so is text beyond the limits below, so that reading is bounded in
time and memory. All faults are reported at once; only a fault of syntax ends the reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.frozen import dataclass
from .yaml_events import Event, KeptYaml, events_of
from .yaml_faults import Faults

LARGEST_BYTES = 256 * 1024
LARGEST_DEPTH = 16
LARGEST_SCALAR = 4096

Scalar = int | float | bool | str | None

_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9][0-9_]*)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A leaf: its value by YAML's core rules, and the text that was written."""

    value: Scalar
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[YamlNode, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping in written order; `key_spans` are the places of the keys."""

    entries: Mapping[str, YamlNode]
    key_spans: Mapping[str, Span]
    span: Span


YamlNode = ScalarNode | ListNode | MapNode


def read_yaml(text: str, faults: Faults) -> YamlNode:
    """The single document of `text`. Raises CompileError at once where it is not YAML or beyond the limits."""
    if len(text.encode("utf-8", "replace")) > LARGEST_BYTES:
        raise CompileError(Diagnostic(f"the file is larger than {LARGEST_BYTES} bytes", Span(faults.file, 1, 1)))
    kept = KeptYaml.of_user()
    key = kept.key(text)
    known = _built(kept.read_events(key), faults.file)
    if known is not None:
        return known
    before, builder, events = len(faults), _Builder(faults), []
    for event in events_of(text, faults):
        events.append(event)
        builder.feed(event)
    if builder.root is None:
        raise CompileError(Diagnostic("the file is empty", Span(faults.file, 1, 1)))
    if len(faults) == before:
        kept.write_events(key, events)
    return builder.root


def _built(events: Sequence[Event] | None, file: str) -> YamlNode | None:
    """The document of kept events; None where they are none of a sound one."""
    builder = _Builder(Faults("", file))
    try:
        for event in events or ():
            builder.feed(event)
    except (CompileError, IndexError):
        return None
    return None if len(builder.faults) or builder.is_open else builder.root


class _Builder:
    """Builds nodes from parse events with a stack of its own, so that nesting cannot exhaust ours."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.root: YamlNode | None = None
        self._open: list[_Open] = []

    @property
    def is_open(self) -> bool:
        """Whether a mapping or sequence has not ended."""
        return bool(self._open)

    def feed(self, event: Event) -> None:
        kind, text, line, column = event
        span = Span(self.faults.file, line, column)
        if kind == "end":
            self._place(self._open.pop().close(), span)
        elif kind in ("map", "list"):
            if len(self._open) == LARGEST_DEPTH:
                self.faults.refuse(f"nested deeper than {LARGEST_DEPTH} levels", span, "no description needs that")
            self._open.append(_Open(kind == "map", span))
        else:
            self._place(ScalarNode(plain_value(text) if kind == "plain" else text, text, span), span)

    def _place(self, node: YamlNode, span: Span) -> None:
        if not self._open:
            if self.root is not None:
                self.faults.refuse("a second document", node.span, "one file describes one thing")
            self.root = node
            return
        parent = self._open[-1]
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is None:
            if not isinstance(node, ScalarNode):
                self.faults.refuse("a key must be a plain word", node.span, "such as `rows: 16`")
            parent.key, parent.key_span = node.text, node.span
        else:
            if parent.key in parent.entries:
                first = parent.key_spans[parent.key].line
                self.faults.add(
                    f"key {parent.key!r} is given twice", parent.key_span, f"it stands on line {first} already"
                )
            parent.entries[parent.key] = node
            parent.key_spans[parent.key] = parent.key_span
            parent.key = None


class _Open:
    """A mapping or sequence whose end has not been read yet."""

    def __init__(self, is_map: bool, span: Span) -> None:
        self.is_map = is_map
        self.span = span
        self.items: list[YamlNode] = []
        self.entries: dict[str, YamlNode] = {}
        self.key_spans: dict[str, Span] = {}
        self.key: str | None = None
        self.key_span = span

    def close(self) -> YamlNode:
        if self.is_map:
            return MapNode(self.entries, self.key_spans, self.span)
        return ListNode(tuple(self.items), self.span)


def plain_value(text: str) -> Scalar:
    """YAML 1.2's core schema: no `yes`, no octal, no sexagesimal; so `1:30` and `off` stay words."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if len(text) <= 40:
        if _INTEGER.fullmatch(text):
            return int(text.replace("_", ""), 16 if text.startswith("0x") else 10)
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
    return text


def quoted(text: str) -> str:
    """A word of YAML, which, unlike JSON, does not write characters beyond U+FFFF as two."""
    inside = (f"\\U{ord(each):08x}" if ord(each) > 0xFFFF else json.dumps(each)[1:-1] for each in text)
    return f'"{"".join(inside)}"'
