"""The keys of a mapping in YAML, taken one by one, each with what it may hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from ..ir.diagnostics import Span, close_match, closest, near
from ..ir.quantities import UNITS
from .yaml_faults import Faults
from .yaml_reader import LARGEST_SCALAR, ListNode, MapNode, ScalarNode, YamlNode

_QUANTITY = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)\s*([A-Za-z/0-9]+)")


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
