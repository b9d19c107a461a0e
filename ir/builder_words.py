"""Words of an item to values, and the faults of both: what the builders of all levels share. A part of `ir/parser.py`.

A word that is grammatical but means nothing (a type that does not exist, a tile count that does not follow) is noted as
a fault and stands for something harmless, so that the rest of the item is looked at too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from lark import Token, Transformer, v_args

from .diagnostics import FAULT_LIMIT, Diagnostic, Span, close_match
from .graph import Attribute
from .text import LIST_LIMIT, TextFault, read_number, read_number_list, unquote
from .types import BlobRef, ElementType, HostType

EXCERPT_LIMIT = 200  # a longer line is not shown
_SHAPE_LIMIT = 1000  # characters
_TYPES = {each.value: each for each in ElementType}
_SHAPE = re.compile(r"\[\s*(?:-?[0-9]{1,20}\s*(?:,\s*-?[0-9]{1,20}\s*)*)?\]")

_NO_NUMBERS: tuple[int | float, ...] = ()

T = TypeVar("T")


class Words(Transformer[Token, Any]):
    """Words to values. `first_line` is where the current item begins in the text."""

    def __init__(self, text: str, file: str, faults: list[Diagnostic], word_limit: int) -> None:
        super().__init__(visit_tokens=False)
        self.file = file
        self.faults = faults
        self.first_line = 1
        self.words_left = word_limit
        self.references: dict[BlobRef, Span] = {}
        self._text = text
        self._lines: list[str] | None = None
        self._numbers_left = LIST_LIMIT

    def excerpt(self, line: int) -> str:
        """The line of the text with this number; empty where it is too long to show."""
        if self._lines is None:
            self._lines = self._text.split("\n")
        text = self._lines[line - 1].rstrip("\r") if line <= len(self._lines) else ""
        return text if len(text) <= EXCERPT_LIMIT else ""

    def span(self, token: Token, offset: int = 0) -> Span:
        head = str(token)[:offset]
        newlines = head.count("\n")
        column = (token.column or 1) + offset if not newlines else offset - head.rfind("\n")
        return Span(self.file, self.first_line + (token.line or 1) - 1 + newlines, column)

    def fault(self, token: Token, message: str, help: str = "", offset: int = 0) -> None:
        if len(self.faults) >= FAULT_LIMIT:
            return
        span = self.span(token, offset)
        self.faults.append(Diagnostic(message, span, help, self.excerpt(span.line)))

    def _read(self, token: Token, read: Callable[[str], T], otherwise: T) -> T:
        try:
            return read(token)
        except TextFault as fault:
            self.fault(token, fault.message, fault.help, fault.offset)
            return otherwise

    def _choose(self, token: Token, what: str, legal: dict[str, T], otherwise: T) -> T:
        if token in legal:
            return legal[token]
        if len(self.faults) >= FAULT_LIMIT:
            return otherwise
        names = ", ".join(legal)
        self.fault(token, f"there is no {what} {str(token)[:60]!r}", f"{close_match(token, list(legal))}one of {names}")
        return otherwise

    def _string(self, token: Token) -> str:
        return self._read(token, unquote, "")

    def _word(self, token: Token) -> str:
        return self._string(token) if token.startswith('"') else str(token)

    def _symbol(self, token: Token) -> str:
        if not token.startswith('"', 1):
            return str(token[1:])
        try:
            return unquote(token[1:])
        except TextFault as fault:
            self.fault(token, fault.message, fault.help, fault.offset + 1)
            return ""

    def _number(self, token: Token, otherwise: int | float = 0) -> int | float:
        return self._read(token, read_number, otherwise)

    def _whole(self, token: Token) -> int:
        value = self._number(token)
        if isinstance(value, int):
            return value
        self.fault(token, f"{token} is not a whole number")
        return 0

    def _real(self, token: Token) -> float:
        value = self._number(token, 0.0)
        if isinstance(value, float):
            return value
        self.fault(token, f"{token} is a whole number; a real number is needed", f"write {token}.0")
        return 0.0

    def _list(self, token: Token) -> tuple[int | float, ...]:
        values = self._read(token, lambda text: read_number_list(text, self._numbers_left), _NO_NUMBERS)
        self._numbers_left -= len(values)
        return values

    def _wholes(self, token: Token) -> tuple[int, ...]:
        values = self._list(token)
        if not all(isinstance(value, int) for value in values):
            self.fault(token, "the list holds whole numbers only")
        return tuple(int(value) for value in values if isinstance(value, int))

    def _reals(self, token: Token) -> tuple[float, ...]:
        values = self._list(token)
        if not all(isinstance(value, float) for value in values):
            self.fault(token, "the list holds real numbers only", "write 1.0 for 1")
        return tuple(value for value in values if isinstance(value, float))

    def _shape(self, token: Token) -> tuple[int, ...]:
        if len(token) > _SHAPE_LIMIT or not _SHAPE.fullmatch(token):
            self.fault(token, "a shape is a list of some whole numbers", "such as [1, 3, 224, 224] or []")
            return ()
        body = token[1:-1]
        return tuple(map(int, body.split(","))) if body.strip() else ()

    def _type(self, token: Token) -> ElementType:
        return self._choose(token, "type", _TYPES, ElementType.I8)

    def _blob(self, token: Token) -> BlobRef:
        reference = BlobRef(str(token[len("sha256:") :]))
        self.references.setdefault(reference, self.span(token))
        return reference


@v_args(inline=True)
class SharedRules(Words):
    """The rules of the grammar that items of several levels have in common."""

    def type(self, name: Token, shape: Token | None) -> tuple[ElementType, tuple[int, ...] | None]:
        return self._type(name), None if shape is None else self._shape(shape)

    def host_type(self, spelling: Token, shape: Token | None) -> tuple[HostType, tuple[int, ...] | None]:
        text = self._read(spelling, lambda token: unquote(token[len("host<") : -1]), "")
        return HostType(text), None if shape is None else self._shape(shape)

    def operands(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(self._symbol, names))

    def no_results(self) -> tuple[str, ...]:
        return ()

    def results(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return names

    def attributes(self, *pairs: tuple[str, Attribute] | None) -> tuple[tuple[str, Attribute], ...]:
        return tuple(pair for pair in pairs if pair is not None)

    def attribute(self, name: Token, value: Token) -> tuple[str, Attribute]:
        if value.type == "NUMBER":
            return self._word(name), self._number(value)
        if value.type == "NUMBERS":
            numbers = self._list(value)
            if len({isinstance(number, int) for number in numbers}) > 1:
                self.fault(value, "a list holds whole numbers or real numbers, not both", "write 1.0 for 1")
            return self._word(name), numbers  # of one kind, or a fault is noted
        if value in ("true", "false"):
            return self._word(name), value == "true"
        return self._word(name), self._word(value)

    def source(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(self._string, names))

    def reason(self, text: Token) -> str:
        return self._string(text)

    def words(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(self._word, names))
