"""A strict reader for the YAML files that users write: every value knows its line and column.

The subset is what a description needs: mappings, sequences and plain or quoted scalars. Anchors, aliases, tags,
duplicate keys and several documents are refused, and so is text beyond the limits below, so that reading is bounded in
time and memory. All faults are reported at once; only a fault of syntax ends the reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NoReturn

from ..ir.diagnostics import CompileError, Diagnostic, Span, close_match, closest, near
from ..ir.frozen import dataclass
from ..ir.quantities import UNITS
from .yaml_events import Event, KeptYaml, events_of

LARGEST_BYTES = 256 * 1024
LARGEST_DEPTH = 16
LARGEST_SCALAR = 4096
MOST_FAULTS = 100

Scalar = int | float | bool | str | None

_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
_QUANTITY = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)\s*([A-Za-z/0-9]+)")


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


class Faults:
    """Collects what is wrong with one text and shows each fault with its source line."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._lines = text.splitlines()
        self._found: list[Diagnostic] = []
        self.unsound: set[str] = set()  # paths of mappings with a fault inside, once they have been read
        self.wrong: set[str] = set()  # dotted names of keys that are missing or whose values are of no use

    def __len__(self) -> int:
        return len(self._found)

    def add(self, message: str, span: Span, help: str = "") -> None:
        if len(self._found) == MOST_FAULTS:
            self._found.append(Diagnostic("there are more faults, which are not listed", Span(self.file, span.line, 1)))
            self.raise_if_any()
        self._found.append(self.fault(message, span, help))

    def fault(self, message: str, span: Span, help: str) -> Diagnostic:
        """A fault with its source line; it is not collected."""
        excerpt = self._lines[span.line - 1][:200] if 0 < span.line <= len(self._lines) else ""
        return Diagnostic(message, span, help, excerpt)

    def refuse(self, message: str, span: Span, help: str) -> NoReturn:
        """A fault beyond which nothing is read. Raises CompileError with all that have been found."""
        self.add(message, span, help)
        self.raise_if_any()
        raise AssertionError

    def include(self, others: Iterable[Diagnostic]) -> None:
        """Faults of another file that this one names; they are told after its own."""
        self._found += list(others)[: max(0, MOST_FAULTS - len(self._found))]

    def in_order(self) -> list[Diagnostic]:
        """All that have been found, by their places."""
        return sorted(self._found, key=lambda e: (e.span.file != self.file, e.span.line, e.span.column))

    def raise_if_any(self) -> None:
        if self._found:
            raise CompileError(self.in_order())


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
            self._place(ScalarNode(_core_value(text) if kind == "plain" else text, text, span), span)

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


def _core_value(text: str) -> Scalar:
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


class Fields:
    """The keys of one mapping, taken one by one. What is wrong goes to `faults` and a stand-in value is returned, so
    that the rest is still checked; `done` reports keys that are missing and those that nobody asked for: of a missing
    key that is there under a name much like it, one fault.

    `path` is the dotted name of the mapping, empty at the top. `example` gives a line that is legal for a dotted name,
    or nothing.
    """

    def __init__(
        self, node: MapNode, faults: Faults, path: str = "", example: Callable[[str], str] = lambda name: ""
    ) -> None:
        self.node = node
        self.faults = faults
        self.path = path
        self.example = example
        self._known: dict[str, None] = {}
        self._missing: dict[str, str] = {}
        self._faults_before = -1

    def name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def span(self, key: str) -> Span:
        """Where the value of `key` stands, else where the mapping starts."""
        return self.node.entries[key].span if key in self.node.entries else self.node.span

    def has(self, key: str) -> bool:
        if self._faults_before < 0:
            self._faults_before = len(self.faults)
        self._known[key] = None
        return key in self.node.entries

    def fault(self, key: str, message: str, help: str = "", expected: str = "") -> None:
        """A fault of the value of `key`. Where `help` is not given it is an example: of `example`, else `expected`."""
        self.faults.wrong.add(self.name(key))
        self.faults.add(message, self.span(key), help or self._such_as(key, expected, "for example"))

    def _such_as(self, key: str, expected: str, intent: str) -> str:
        if line := self.example(self.name(key)) or (f"`{key}: {expected}`" if expected else ""):
            return f"{intent} {line}"
        return ""

    def _take(self, key: str, required: bool, expected: str) -> YamlNode | None:
        if self.has(key):
            return self.node.entries[key]
        if required:
            self.faults.wrong.add(self.name(key))
            self._missing[key] = self._such_as(key, expected, "add")
        return None

    def value(self, key: str, expected: str) -> YamlNode | None:
        """What stands at a key that must be there, for the caller to judge; None where it is not, which is told."""
        return self._take(key, True, expected)

    def integer(self, key: str, low: int, high: int, default: int | None = None, example: str = "") -> int:
        """An int in low..high; with a unit in its key, a quantity such as `256 KiB` as well."""
        expected = example or str(low)
        node = self._take(key, default is None, expected)
        stand_in = low if default is None else default
        if node is None:
            return stand_in
        found = self._number(key, node, expected)
        if found is None:
            return stand_in
        if found.denominator != 1:
            message = f"{self.name(key)!r} must be a whole number, found {_show(node)}"
            self.fault(key, message, expected=expected)
            return stand_in
        if not low <= found <= high:
            message = f"{self.name(key)!r} is {_show(node)}; it must lie between {low} and {high}"
            self.fault(key, message, expected=expected)
            return stand_in
        return int(found)

    def number(self, key: str, low: float, high: float) -> float:
        """A float in low..high, with a unit if its key names one."""
        node = self._take(key, True, "1.0")
        found = self._number(key, node, "1.0") if node is not None else None
        if found is None:
            return low
        if not low <= found <= high:
            message = f"{self.name(key)!r} is {_show(node)}; it must lie between {low:g} and {high:g}"
            self.fault(key, message, expected="1.0")
            return low
        return float(found)

    def _number(self, key: str, node: YamlNode, expected: str) -> Fraction | None:
        units = next((spellings for ending, spellings in UNITS.items() if f"_{key}".endswith(ending)), {})
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return Fraction(value) if abs(value) < 1e30 else Fraction(10**30)
        if isinstance(value, str) and units and (match := _QUANTITY.fullmatch(value)):
            if match[2] in units:
                return Fraction(match[1].replace("_", "")) * units[match[2]]
            help = f"{close_match(match[2], list(units))}units: {', '.join(units)}"
            self.fault(key, f"{self.name(key)!r} has the unit {match[2]!r}", help)
            return None
        self.fault(key, f"{self.name(key)!r} must be a number, found {_show(node)}", expected=expected)
        return None

    def boolean(self, key: str, default: bool) -> bool:
        node = self._take(key, False, "true")
        if node is None:
            return default
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            return node.value
        self.fault(key, f"{self.name(key)!r} must be true or false, found {_show(node)}", f"write `{key}: true`")
        return default

    def text(self, key: str, default: str | None = None, expected: str = '"..."') -> str:
        node = self._take(key, default is None, expected)
        if node is None:
            return default or ""
        if isinstance(node, ScalarNode) and node.value is not None and len(node.text) <= LARGEST_SCALAR:
            return node.text
        long = isinstance(node, ScalarNode) and node.value is not None
        message = f"{self.name(key)!r} must be a text, found {_show(node)}"
        self.fault(key, message, f"at most {LARGEST_SCALAR} characters" if long else "", expected)
        return default or ""

    def choice(self, key: str, legal: Sequence[str], default: str | None = None) -> str:
        """One of `legal`; without a default the key must be there."""
        found = self.text(key, default, legal[0])
        if self.name(key) in self.faults.wrong or not self.has(key):
            return legal[0] if default is None else default
        if found in legal:
            return found
        self.fault(key, f"{self.name(key)!r} is {found!r}", closest(found, legal))
        return default or legal[0]

    def words(self, key: str, legal: Sequence[str], default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A non-empty list of different words, each one of `legal`, in the written order."""
        node = self._take(key, default is None, f"[{', '.join(legal[:2])}]")
        if node is None:
            return default or ()
        if not isinstance(node, ListNode) or not node.items:
            message = f"{self.name(key)!r} must be a list of one word or more, found {_show(node)}"
            self.fault(key, message, expected=f"[{', '.join(legal[:2])}]")
            return default or ()
        found: list[str] = []
        for item in node.items:
            word = item.text if isinstance(item, ScalarNode) else ""
            if word in found:
                self.faults.add(f"{word!r} stands twice in {self.name(key)!r}", item.span, "write it once")
            elif word in legal:
                found.append(word)
            else:
                self.faults.add(f"{self.name(key)!r} does not know {_show(item)}", item.span, closest(word, legal))
        return tuple(found)

    def fields(self, key: str, required: bool = True) -> Fields | None:
        """The mapping at `key`."""
        node = self._take(key, required, "{...}")
        if node is None:
            return None
        if isinstance(node, MapNode):
            return Fields(node, self.faults, self.name(key), self.example)
        self.fault(key, f"{self.name(key)!r} must hold keys, found {_show(node)}", expected="{...}")
        return None

    def list_of_fields(self, key: str, required: bool = True, most: int = 1000) -> list[Fields]:
        """The mappings of the list at `key`."""
        node = self._take(key, required, "[{...}]")
        if node is None:
            return []
        if not isinstance(node, ListNode) or not 0 < len(node.items) <= most:
            found = f"one of {len(node.items)}" if isinstance(node, ListNode) else _show(node)
            message = f"{self.name(key)!r} must be a list of 1 to {most} entries, found {found}"
            self.fault(key, message, expected="[{...}]")
            return []
        result = []
        for number, item in enumerate(node.items):
            if isinstance(item, MapNode):
                result.append(Fields(item, self.faults, f"{self.name(key)}[{number}]", self.example))
            else:
                self.faults.wrong.add(f"{self.name(key)}[{number}]")
                help = self._such_as(f"{key}[{number}]", "", "for example") or "such as `- {name: value}`"
                self.faults.add(f"an entry of {self.name(key)!r} must hold keys, found {_show(item)}", item.span, help)
        return result

    def done(self) -> None:
        """Report keys that are missing and those that were never asked for, and note whether this mapping is sound."""
        where = f" in {self.path!r}" if self.path else ""
        for key, span in self.node.key_spans.items():
            if key in self._known:
                continue
            meant = near(key, list(self._missing))
            if meant:  # one fault, not two
                del self._missing[meant]
            help = f"did you mean {meant!r}?" if meant else closest(key, self._known)
            self.faults.add(f"unknown key {key[:80]!r}{where}", span, help)
        who = f"{self.path!r} lacks" if self.path else "the description lacks"
        for key, help in self._missing.items():
            self.faults.add(f"{who} the key {key!r}", self.node.span, help)
        if len(self.faults) > self._faults_before >= 0:
            self.faults.unsound.add(self.path)


def _show(node: YamlNode | None) -> str:
    if isinstance(node, ScalarNode):
        return repr(node.text[:60]) if node.text else "nothing"
    if isinstance(node, ListNode):
        return "a list" if node.items else "an empty list"
    return "keys"
