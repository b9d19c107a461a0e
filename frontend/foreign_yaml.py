"""Reading the YAML of other tools: what is read is marked, so that the rest can be named as ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..ir.diagnostics import Span
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from .yaml_faults import Faults
from .yaml_reader import ListNode, MapNode, ScalarNode, YamlNode


@dataclass(frozen=True, slots=True)
class Imported:
    """A machine that was read from a foreign description, and the paths of the fields that have no meaning here.
    `components` is the section of that name that the description asks for; empty where it does not say enough."""

    machine: Hierarchy
    ignored: tuple[str, ...]
    components: str = ""


def level_name(text: str) -> str:
    """A foreign name as a name of ours: lower-case letters, digits and _, a letter first, 32 at most."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return (name if name[:1].isalpha() else f"x{name}")[:32]


class Foreign:
    """A value of a foreign file, with its dotted path. Missing keys read as nothing, wrong kinds are faults. Faults of
    what is missing stand at `around`, the nearest that is there; of what is missing in what is no mapping (`is_told`)
    there are none."""

    def __init__(
        self,
        node: YamlNode | None,
        faults: Faults,
        path: str = "",
        seen: set[str] | None = None,
        around: Span | None = None,
        *,
        is_told: bool = False,
    ) -> None:
        self.node = node
        self.faults = faults
        self.path = path
        self._seen: set[str] = set() if seen is None else seen
        self._around = around or Span(faults.file, 1, 1)
        self._is_told = is_told
        self._is_refused = False  # as it is no mapping

    @property
    def span(self) -> Span:
        return self.node.span if self.node is not None else self._around

    @property
    def present(self) -> bool:
        return self.node is not None

    def __getitem__(self, key: str) -> Foreign:
        """The entry `key` of a mapping; one that is not there reads as nothing."""
        path = f"{self.path}.{key}" if self.path else key
        entry = self.node.entries.get(key) if isinstance(self.node, MapNode) else None
        if self.node is not None and not isinstance(self.node, MapNode) and not self._is_refused:
            self._is_refused = True
            self.fault(f"{self.path or 'the file'!r} is not a mapping", "`key: value` lines")
        is_told = self._is_told or self._is_refused
        return Foreign(entry, self.faults, path, self._seen, self.span, is_told=is_told)

    def items(self) -> Iterator[Foreign]:
        """The items of a list; a single value is a list of one."""
        if isinstance(self.node, ListNode):
            for number, item in enumerate(self.node.items):
                yield Foreign(item, self.faults, f"{self.path}[{number}]", self._seen)
        elif self.node is not None:
            yield self

    def names(self) -> tuple[str, ...]:
        """The keys of a mapping, in the written order."""
        return tuple(self.node.entries) if isinstance(self.node, MapNode) else ()

    def text(self, default: str | None = None) -> str:
        """The text of a scalar. Without a default it must be there."""
        if self.node is None:
            if default is None and not self._is_told:
                self.fault(f"{self.path!r} is missing")
            return default or ""
        self._seen.add(self.path)
        if not isinstance(self.node, ScalarNode):
            self.fault(f"{self.path!r} is not a single value")
            return default or ""
        return self.node.text.strip()

    @property
    def is_text(self) -> bool:
        """Whether it is a scalar, be it an empty one."""
        return isinstance(self.node, ScalarNode)

    def peek(self) -> str:
        """The text of a scalar, which stays unread; nothing where there is none."""
        return self.node.text.strip() if isinstance(self.node, ScalarNode) else ""

    def integer(self, default: int | None = None, low: int = 0, high: int = 1 << 60) -> int:
        text = self.text("" if default is None else str(default))
        if not self.present and default is not None:
            return default
        try:
            value = int(text)
        except ValueError:
            self.fault(f"{self.path!r} is {text[:40]!r}", "a whole number")
            return default if default is not None else low
        if not low <= value <= high:
            self.fault(f"{self.path!r} is {value}", f"{low} to {high}")
            return low
        return value

    def number(self, default: float | None = None, low: float = 0.0, high: float = 1e18) -> float:
        text = self.text("" if default is None else str(default))
        if not self.present and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            self.fault(f"{self.path!r} is {text[:40]!r}", "a number")
            return default if default is not None else low
        if not low <= value <= high:
            self.fault(f"{self.path!r} is {value:g}", f"{low:g} to {high:g}")
            return low
        return value

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text("") for item in self.items())

    def fault(self, message: str, help: str = "") -> None:
        self.faults.add(message, self.span, help)

    def all_of(self, key: str) -> Iterator[Foreign]:
        """The single values with the key `key`, however deep inside."""
        for path, node in _leaves(self.node, self.path):
            if path.rpartition(".")[2] == key:
                yield Foreign(node, self.faults, path, self._seen)

    def skip(self) -> None:
        """Mark the value and all inside as read, without a use for it."""
        for path, _ in _leaves(self.node, self.path):
            self._seen.add(path)

    def ignored(self) -> tuple[tuple[str, Span], ...]:
        """Paths and places of the values that nobody has read."""
        return tuple((path, leaf.span) for path, leaf in _leaves(self.node, self.path) if path not in self._seen)

    def ignored_fields(self) -> tuple[str, ...]:
        """The same in words, with what stands alike in several items of a list named once."""
        found: dict[str, list[int]] = {}
        for path, span in self.ignored():
            found.setdefault(re.sub(r"\[\d+\]", "", path), []).append(span.line)
        return tuple(
            f"{path} (line {lines[0]}{f' and {len(lines) - 1} more' if len(lines) > 1 else ''})"
            for path, lines in found.items()
        )


def _leaves(node: YamlNode | None, path: str) -> Iterator[tuple[str, YamlNode]]:
    waiting: list[tuple[YamlNode | None, str]] = [(node, path)]
    while waiting:
        each, where = waiting.pop(0)
        if isinstance(each, MapNode):
            waiting[:0] = [(value, f"{where}.{key}" if where else key) for key, value in each.entries.items()]
        elif isinstance(each, ListNode):
            waiting[:0] = [(value, f"{where}[{number}]") for number, value in enumerate(each.items)]
        elif each is not None:
            yield where, each
