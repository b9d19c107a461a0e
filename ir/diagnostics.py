"""What we tell a user about wrong input: a place, what was found, what is legal, what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable, Sequence

from .frozen import dataclass

FAULT_LIMIT = 100  # faults of one text that are reported


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text: file name, line and column, both counted from 1; 0 means "not in a text"."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Span()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault of the input. `message` says what is wrong and what was found, `help` what would be legal or was meant.

    `excerpt` is the offending source line, without its newline, where there is one.
    """

    message: str
    span: Span = NOWHERE
    help: str = ""
    excerpt: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        place = str(self.span)
        lines = [f"{place}: {self.severity}: {self.message}" if place else f"{self.severity}: {self.message}"]
        if self.excerpt:
            lines.append(f"  {self.excerpt.expandtabs(1)}")
            if self.span.column:
                lines.append("  " + " " * (self.span.column - 1) + "^")
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)


def any_of(faults: Iterable[Diagnostic]) -> Generator[Diagnostic, None, bool]:
    """Yields the faults as they are found and returns whether there was one: `if (yield from any_of(...)): return`."""
    found = False
    for fault in faults:
        yield fault
        found = True
    return found


class CompileError(Exception):
    """The input is wrong (exit status 2). Carries every fault that was found, in source order."""

    def __init__(self, diagnostics: Sequence[Diagnostic] | Diagnostic) -> None:
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("\n".join(str(each) for each in self.diagnostics))

    @property
    def summary(self) -> str:
        """One line: the first fault, and how many there are beside it."""
        first, *others = self.diagnostics
        return f"{first.message} (and {len(others)} more)" if others else first.message


class TimeLimitError(CompileError):
    """A time limit ended the work: the same input may do on a machine that has less else to do, or with more time."""


class OurBug(AssertionError):
    """Something does not hold on which results for the user depend: our bug (exit status 3), never the user's."""


def ensure(holds: object, message: str) -> None:
    """Raise OurBug unless `holds`. Unlike an assertion it is there under `python -O` too; `assert` is for the types
    that a checker cannot see."""
    if not holds:
        raise OurBug(message)


class BrokenPass(OurBug):
    """A pass wrote a module that the verifier rejects: our bug (exit status 3), never the user's."""

    def __init__(self, name: str, faults: Sequence[Diagnostic]) -> None:
        self.name = name
        self.faults = tuple(faults)
        super().__init__(f"after pass {name!r}:\n" + "\n".join(str(each) for each in faults))


_GUESSED_AMONG = 1000  # names
_LISTED = 16  # names in a help line


def near(word: str, legal: Sequence[str]) -> str:
    """The legal word that was probably meant, first of all one in other letters' case; empty where none is like it."""
    if alike := [each for each in legal[:_GUESSED_AMONG] if each.lower() == word[:80].lower()]:
        return alike[0]
    found = difflib.get_close_matches(word[:80], legal[:_GUESSED_AMONG], 1, 0.6)
    return found[0] if found else ""


def close_match(word: str, legal: Sequence[str]) -> str:
    """That guess as the beginning of a help line; empty where there is none."""
    meant = near(word, legal)
    return f"did you mean {meant!r}? " if meant else ""


def closest(word: str, legal: Iterable[str]) -> str:
    """A help line: the legal word that was probably meant, else those that there are, or the first of them."""
    names = sorted(set(legal))
    if guess := close_match(word, names):
        return guess.strip()
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"legal: {', '.join(names[:_LISTED])}{more}"


# What onnxruntime says where it gets no memory; it has no class of errors for that.
_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "Cannot allocate memory")


def wants_memory(text: str) -> bool:
    """Whether a message of onnxruntime is about memory that it did not get."""
    return any(words in text for words in _NO_MEMORY)
