"""The words of a line of assembly: its tokens, one after the other, and the values of an instruction's fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import islice
from typing import NoReturn

from ...ir.program import Opcode
from ...ir.types import BlobRef
from .syntax import CORE, INSTRUCTIONS, FieldText, InstructionText, number

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[(),]|[^\s(),"#]+|#.*')
# Per opcode: its fields by name, and its waits by engine.
_FIELDS: dict[Opcode, tuple[dict[str, FieldText], dict[str, FieldText]]] = {
    opcode: (
        {each.name: each for each in form.fields if not each.name.startswith("wait_")},
        {each.name.removeprefix("wait_"): each for each in form.fields if each.name.startswith("wait_")},
    )
    for opcode, form in INSTRUCTIONS.items()
}


class Fault(Exception):
    """Wrong at a token of the line, counted from 0."""

    def __init__(self, token: int, message: str, help: str = "") -> None:
        super().__init__(message)
        self.token = token
        self.message = message
        self.help = help


def column_of(text: str, token: int) -> int:
    """Where a token of a line begins, both counted from 0; where the line ends if it has fewer."""
    starts = (match.start() for match in _TOKEN.finditer(text) if not match[0].startswith("#"))
    return next(islice(starts, token, None), len(text.rstrip()))


class Line:
    """The tokens of a line, taken one after the other."""

    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        if self.tokens and self.tokens[-1].startswith("#"):
            self.tokens.pop()
        self.at = 0

    def done(self) -> bool:
        return self.at >= len(self.tokens)

    def take(self, what: str) -> str:
        if self.done():
            raise Fault(self.at, f"the line ends where {what} is expected")
        self.at += 1
        return str(self.tokens[self.at - 1])

    def fail(self, message: str, help: str = "") -> NoReturn:
        """A fault at the token that was taken last."""
        raise Fault(self.at - 1, message, help)

    def end(self) -> None:
        if not self.done():
            raise Fault(self.at, f"{self.tokens[self.at][:40]!r} where the line should end")

    def accept(self, word: str) -> bool:
        """Take `word` if it is next."""
        if not self.done() and self.tokens[self.at] == word:
            self.at += 1
            return True
        return False

    def text(self, what: str) -> str:
        token = self.take(f"{what} in quotes")
        if len(token) < 2 or token[0] != '"':
            self.fail(f"{token[:40]!r} where {what} in quotes is expected")
        try:
            return str(json.loads(token))
        except ValueError:
            self.fail(f"{token[:40]} is no text in quotes", help="backslashes are as in JSON")

    def number(self, what: str) -> int:
        token = self.take(what)
        try:
            value = number(token)
        except ValueError as error:
            self.fail(str(error))
        if not 0 <= value < 1 << 62:
            self.fail(f"{what} {value} is not in 0..2^62-1")
        return value

    def list_of(self, what: str, entry: Callable[[str], object]) -> list[object]:
        """Entries between parentheses, with commas between them and perhaps after the last."""
        if self.take(f"a list of {what}") != "(":
            self.fail(f"a list of {what} starts with '('")
        entries: list[object] = []
        while not self.accept(")"):
            if entries and self.take("',' or ')'") != ",":
                self.fail(f"{self.tokens[self.at - 1][:40]!r} where ',' or ')' is expected")
            if not self.accept(")"):
                entries.append(entry(what))
            else:
                break
        return entries

    def texts(self, what: str) -> tuple[str, ...]:
        return tuple(str(each) for each in self.list_of(what, self.text))

    def numbers(self, what: str) -> tuple[int, ...]:
        return tuple(each for each in self.list_of(what, self.number) if isinstance(each, int))

    def blob(self) -> BlobRef:
        token = self.take("a blob")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", token):
            self.fail(f"{token[:80]!r} names no blob", help="a blob is sha256: and 64 hexadecimal digits")
        return BlobRef(token.removeprefix("sha256:"))


def field_values(form: InstructionText, tokens: list[str]) -> tuple[list[int | tuple[int, ...]], int]:
    """The values of an instruction's fields, and its core. This is the inner loop: it is written for speed."""
    values = list(form.defaults)
    names, waits = _FIELDS[form.opcode]
    core = 0
    seen: set[str] = set()
    at, count = 1, len(tokens)
    while at < count:
        word = tokens[at]
        if word in seen:
            raise Fault(at, f"{word!r} appears twice")
        seen.add(word)
        each = names.get(word)
        if word == "wait" and waits:
            at = _wait(waits, values, tokens, at + 1)
        elif word == "core":
            core = _one(CORE, _next(tokens, at + 1, word), at + 1)
            at += 2
        elif each is None and word[0] == "s" and word[1:].isdecimal() and "stream" in names and "stream" not in seen:
            seen.add("stream")
            each = names["stream"]
            values[each.index] = _one(each, word[1:], at)
            at += 1
        elif each is None:
            raise Fault(at, f"{form.mnemonic} has no field {word[:40]!r}", f"one of: {', '.join(names)}")
        elif each.field.count == 1:
            values[each.index] = _one(each, _next(tokens, at + 1, word), at + 1)
            at += 2
        else:
            entries, following = _entries(each, tokens, at + 1)
            missing = (each.default,) * (each.field.count - len(entries))
            values[each.index] = (*missing, *entries) if each.front else (*entries, *missing)
            at = following
    return values, core


def _wait(waits: dict[str, FieldText], values: list[int | tuple[int, ...]], tokens: list[str], at: int) -> int:
    """What follows `wait`: engines with distances. Returns the token after them."""
    if _next(tokens, at, "wait") not in waits:
        raise Fault(at, f"{tokens[at][:40]!r} is no engine", f"one of: {', '.join(waits)}")
    while at < len(tokens) and tokens[at] in waits:
        each = waits[tokens[at]]
        if values[each.index]:
            raise Fault(at, f"{tokens[at]!r} is waited for twice")
        values[each.index] = _one(each, _next(tokens, at + 1, tokens[at]), at + 1)
        at += 2
    return at


def _next(tokens: list[str], at: int, name: str) -> str:
    if at >= len(tokens):
        raise Fault(at, f"the line ends where a value of {name!r} is expected")
    return tokens[at]


def _one(each: FieldText, token: str, at: int) -> int:
    try:
        return each.parse(token)
    except ValueError as error:
        raise Fault(at, str(error)) from None


def _entries(each: FieldText, tokens: list[str], at: int) -> tuple[list[int], int]:
    """The entries of a list between parentheses, and the token after it."""
    if _next(tokens, at, each.name) != "(":
        raise Fault(at, f"{each.name} is a list of at most {each.field.count}, between '(' and ')'")
    entries: list[int] = []
    at += 1
    while _next(tokens, at, each.name) != ")":
        if len(entries) == each.field.count:
            raise Fault(at, f"{each.name} has at most {each.field.count} entries")
        entries.append(_one(each, tokens[at], at))
        at += 1
        if _next(tokens, at, each.name) == ",":
            at += 1
        elif tokens[at] != ")":
            raise Fault(at, f"{tokens[at][:40]!r} where ',' or ')' is expected")
    return entries, at + 1
