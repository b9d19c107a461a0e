"""From a text in YAML to the events of which frontend/yaml_reader.py builds its nodes.

Parsing a description takes longer than all that a short command does with it, so that the events of texts without
faults are kept in the user's cache (ir/content_cache.py). A key is the SHA-256 of the text and of what parses it.

Two parsers come with PyYAML. The compiled one takes a tenth of the time of the other but does not have quite its
language (tabs, empty values at the end, some tags), so that it is asked only where both agree: about texts of plain
characters in which nothing is at fault and no value is empty. All others are for the one in Python.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.content_cache import ContentCache, folder_of_user
from ..ir.diagnostics import CompileError, Diagnostic, Span

if TYPE_CHECKING:
    from .yaml_faults import Faults

FORMAT = 1
MOST_ENTRIES = 256
MOST_BYTES = 32 << 20
LARGEST_ENTRY_BYTES = 4 << 20
_DEEPEST = 64  # far beyond what a description may have, and far below what makes a parser slow
# Printable ASCII and line feeds, without what begins block scalars, tags, anchors, aliases, directives, explicit keys
# and escapes.
_PLAIN = re.compile(r"[ -~\n]*")
_BEYOND_PLAIN = re.compile(r"[!&*?|>%@`\\]")
KINDS = ("map", "list", "end", "plain", "quoted")

Event = tuple[str, str, int, int]
"""What begins or stands in a text: one of KINDS, the text of a scalar, and the line and column, from 1."""


def events_of(text: str, faults: Faults) -> Iterator[Event]:
    """What is in a text, up to the first thing that no description has. Raises CompileError there."""
    quick = _quick_events(text)
    return iter(quick) if quick is not None else told_events(text, faults)


def _placed(text: str, loader: Any) -> Iterator[tuple[Any, int, int]]:
    """The events of nodes and of their ends, with line and column."""
    import yaml

    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            assert event.start_mark is not None
            yield event, event.start_mark.line + 1, event.start_mark.column + 1


def _quick_events(text: str) -> list[Event] | None:
    """The events of a text for which the compiled parser can stand in; None of any other."""
    import yaml

    if not yaml.__with_libyaml__ or not _PLAIN.fullmatch(text) or _BEYOND_PLAIN.search(text):
        return None
    events: list[Event] = []
    depth = 0
    try:
        for event, line, column in _placed(text, yaml.CSafeLoader):
            if isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                events.append(("end", "", line, column))
            elif isinstance(event, yaml.ScalarEvent):
                if not event.style and not event.value:
                    return None  # the two say different things about where it stands
                events.append(("quoted" if event.style else "plain", event.value, line, column))
            else:
                depth += 1
                if depth > _DEEPEST:
                    return None
                events.append(("map" if isinstance(event, yaml.MappingStartEvent) else "list", "", line, column))
    except yaml.YAMLError:
        return None
    return events


def told_events(text: str, faults: Faults) -> Iterator[Event]:
    """The same from the parser in Python, whose faults are told. Raises CompileError for them."""
    import yaml

    try:
        for event, line, column in _placed(text, yaml.SafeLoader):
            if isinstance(event, yaml.CollectionEndEvent):
                yield "end", "", line, column
                continue
            tag = event.tag if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) else None
            span = Span(faults.file, line, column)
            if isinstance(event, yaml.AliasEvent) or event.anchor:
                faults.refuse("anchors and aliases are not allowed", span, "write the value out")
            elif tag not in (None, "!"):
                faults.refuse(f"the tag {tag!r} is not allowed", span, "values have the type that they are written in")
            if isinstance(event, yaml.CollectionStartEvent):
                yield "map" if isinstance(event, yaml.MappingStartEvent) else "list", "", line, column
            elif isinstance(event, yaml.ScalarEvent):
                yield "plain" if event.style is None else "quoted", event.value, line, column
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Span(faults.file, mark.line + 1, mark.column + 1) if mark else Span(faults.file, 1, 1)
        message = f"not valid YAML: {error.problem or error.context}"
        faults.refuse(message, place, "look at brackets and indentation before")
    except (yaml.YAMLError, UnicodeError) as error:
        raise CompileError(Diagnostic(f"not valid YAML: {error}", Span(faults.file, 1, 1))) from None


class KeptYaml(ContentCache):
    """Entries in `folder`, or nothing at all where that is None."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder, MOST_ENTRIES, MOST_BYTES, LARGEST_ENTRY_BYTES)

    @staticmethod
    def of_user() -> KeptYaml:
        """The user's own, as the environment says; none where what parses cannot be told from another version."""
        return KeptYaml(folder_of_user("yaml") if _parser_digest() else None)

    def key(self, text: str) -> str:
        """Of a text, whatever its file."""
        if self.folder is None:
            return ""
        return hashlib.sha256(f"{FORMAT} {_parser_digest()}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()

    def read_events(self, key: str) -> list[Event] | None:
        """The events of a text, if they are known."""
        entry = self.read(key)
        if not isinstance(entry, list):
            return None
        events = []
        for each in entry:
            match each:
                case [str(kind), str(text), int(line), int(column)] if kind in KINDS and min(line, column) > 0:
                    events.append((kind, text, line, column))
                case _:
                    return None
        return events

    def write_events(self, key: str, events: Sequence[Event]) -> None:
        """Keep the events of a text without faults."""
        self.write(key, events)
        self.close()


@cache
def _parser_digest() -> str:
    """Of the file that states the version of the YAML package, and of this one; empty where they cannot be read."""
    spec = importlib.util.find_spec("yaml")
    digest = hashlib.sha256()
    try:
        for path in (Path(spec.origin if spec and spec.origin else ""), Path(__file__)):
            digest.update(path.read_bytes())
    except OSError:
        return ""
    return digest.hexdigest()
