"""What is wrong with a text in YAML, collected and shown with its source lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from ..ir.diagnostics import CompileError, Diagnostic, Span

MOST_FAULTS = 100


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
