"""Text to modules: the inverse of `ir/printer.py`. A fault says where, what was found, what is legal, what was meant.

A text is cut into items first (an item begins where a line begins with a letter) and each item is parsed on its own,
so that one fault does not hide those of other items. Parsing is LALR(1) without recursion; its time and memory are
bounded by the limits below, which a text that the printer wrote for a network of some thousand layers stays far under.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diagnostics import FAULT_LIMIT, CompileError, Diagnostic, Span, close_match
from .graph import HostRegion, Node
from .module import Header, Module, Operation
from .nest import Nest
from .printer import TEXT_VERSION
from .program import Program
from .types import BlobRef, Blobs, Tensor

if TYPE_CHECKING:
    from lark import Lark
    from lark.exceptions import UnexpectedInput

    from .builder import Builder

TEXT_LIMIT = 64 << 20  # characters of a text
WORD_LIMIT = 500_000  # words and marks of a text; a list of numbers or a string is one

ITEMS = ("dnnir", "module", "input", "output", "tensor", "node", "host", "nest", "address", "program")

_ITEM_START = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")
_FOUND = re.compile(r'[A-Za-z0-9_.]+|[%@]?"(?:[^"\\\n]|\\.)*"|[%@][A-Za-z0-9_./-]*|.', re.DOTALL)

# How the terminals of the grammar that are not fixed words read to a person.
_TERMINALS = {
    "VALUE": "a value such as %x",
    "SYMBOL": "a name such as @conv",
    "STRING": "a string",
    "HOST_TYPE": 'a host type such as host<"tensor(int64)">',
    "NUMBER": "a number",
    "COUNT": "a whole number",
    "NUMBERS": "a list of numbers such as (1, 2)",
    "SHAPE": "a shape such as [1, 3]",
    "BLOB": "sha256: with 64 hexadecimal digits",
    "COPIES": "a number of copies such as x2",
    "CODE": "code N bytes { hexadecimal lines }",
    "PLUS_OR_MINUS": "'+' or '-'",
    "NAME": "a word",
    "$END": "the end",
}


def parse_module(text: str, file: str = "", blobs: Mapping[BlobRef, bytes] | None = None) -> Module:
    """The module that `text` spells. With `blobs`, every blob that it names must be there and comes along; without,
    the module has none. `file` is where the text came from, for diagnostics. Raises CompileError with all faults."""
    module, references = parse_with_references(text, file)
    if blobs is None:
        return module
    missing = [
        Diagnostic(f"{reference} is not among the blobs", span)
        for reference, span in references.items()
        if reference not in blobs
    ]
    if missing:
        raise CompileError(missing)
    return with_blobs(module, {reference: blobs[reference] for reference in references})


def with_blobs(module: Module, blobs: Mapping[BlobRef, bytes]) -> Module:
    """`module` with the bytes of the blobs that it names, in its program too."""
    program = module.program
    if program is not None:
        program = replace(program, blobs={reference: blobs[reference] for reference in program.blobs})
    return replace(module, program=program, blobs=Blobs(blobs))


def parse_with_references(text: str, file: str = "") -> tuple[Module, dict[BlobRef, Span]]:
    """The module without the bytes of its blobs, and each blob that it names with the place of its first mention."""
    from .builder import Builder

    _refuse_large(text, file)
    faults: list[Diagnostic] = []
    items: list[Any] = []
    builder = Builder(text, file, faults, WORD_LIMIT)
    for start, end, line in _cut(text, builder):
        value = _parse_item(text[start:end], line, builder, end == len(text))
        if value is not None:
            items.append(value)
    if not faults:
        module = _assembled(items, file, faults)
        if not faults:
            return module, builder.references
    raise CompileError(_sorted(faults))


def parse_nest(text: str, file: str = "") -> Nest:
    """The nest that `text` spells. Raises CompileError."""
    nest: Nest = _parse_one(text, file, (Nest,), "a nest")
    return nest


def parse_node(text: str, file: str = "") -> Node | HostRegion:
    """The operator or host region that `text` spells. Raises CompileError."""
    node: Node | HostRegion = _parse_one(text, file, (Node, HostRegion), "a node or a host region")
    return node


# ---------------------------------------------------------------------------------------------- items


def _parse_one(text: str, file: str, kinds: tuple[type, ...], what: str) -> Any:
    from .builder import Builder

    _refuse_large(text, file)
    faults: list[Diagnostic] = []
    value = _parse_item(text, 1, Builder(text, file, faults, WORD_LIMIT), True)
    if not faults and isinstance(value, kinds):
        return value
    raise CompileError(_sorted(faults or [Diagnostic(f"this is not {what}", Span(file, 1, 1))]))


def _refuse_large(text: str, file: str) -> None:
    if len(text) > TEXT_LIMIT:
        raise CompileError(Diagnostic(f"the text has {len(text)} characters", Span(file), f"at most {TEXT_LIMIT}"))


def _cut(text: str, builder: Builder) -> list[tuple[int, int, int]]:
    """The items of a text as (start, end, line of the start). Only comments may precede the first one."""
    starts = [match.start() for match in _ITEM_START.finditer(text)]
    blank = _BLANK.match(text)
    assert blank is not None
    if blank.end() < (starts[0] if starts else len(text)):
        line = text.count("\n", 0, blank.end()) + 1
        column = blank.end() - (text.rfind("\n", 0, blank.end()) + 1) + 1
        message = f"found {_found(text, blank.end())} before the first item"
        help = f"a module begins with: dnnir {TEXT_VERSION}; items begin at the start of a line"
        builder.faults.append(Diagnostic(message, Span(builder.file, line, column), help, builder.excerpt(line)))
    items, line, before = [], 1, 0
    for start, end in pairwise([*starts, len(text)]):
        line += text.count("\n", before, start)
        before = start
        items.append((start, end, line))
    return items


def _parse_item(text: str, line: int, builder: Builder, last: bool) -> Any:
    """The value of one item, perhaps the last of the text; None, and a fault more, where it is wrong."""
    from lark.exceptions import UnexpectedInput

    builder.first_line = line
    if len(builder.faults) >= FAULT_LIMIT:
        return None
    parser: Any = _lark().parse_interactive(text)  # lark declares no types of what is asked of it below
    try:
        for _ in parser.iter_parse():
            builder.words_left -= 1
            if builder.words_left < 0:
                raise CompileError(
                    Diagnostic("the text is too long", Span(builder.file), f"at most {WORD_LIMIT} words")
                )
        tree = parser.feed_eof()
    except UnexpectedInput as error:
        builder.faults.append(_syntax_fault(error, parser.accepts(), text, builder, last))
        return None
    return builder.transform(tree)


@lru_cache(maxsize=1)
def _lark() -> Lark:
    from lark import Lark

    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, start="item", parser="lalr", maybe_placeholders=True)


def _assembled(items: Sequence[Any], file: str, faults: list[Diagnostic]) -> Module:
    """The module of all items. `input`, `output` and `address` items come as (keyword, value) pairs."""
    tensors, operations, addresses = [], [], []
    ports: dict[str, list[str]] = {"input": [], "output": []}
    headers, programs = [], []
    versions = [item[1] for item in items if isinstance(item, tuple) and item[0] == "dnnir"]
    for item in items:
        match item:
            case Tensor():
                tensors.append(item)
            case Node() | HostRegion() | Nest():
                operations.append(item)
            case Header():
                headers.append(item)
            case Program():
                programs.append(item)
            case ("address", name, address):
                addresses.append((name, address))
            case ("input" | "output" as keyword, name):
                ports[keyword].append(name)
    if versions != [TEXT_VERSION] or items[0] != ("dnnir", TEXT_VERSION):
        found = f"version {versions[0]}" if versions and versions != [TEXT_VERSION] else "no version line at its start"
        help = f"a module of this version of dnnc begins with: dnnir {TEXT_VERSION}"
        faults.append(Diagnostic(f"the text has {found}", Span(file, 1, 1), help))
    if len(headers) != 1:
        faults.append(Diagnostic(f"the text has {len(headers)} module headers", Span(file, 1, 1), "exactly one"))
    if len(programs) > 1:
        faults.append(Diagnostic(f"the text has {len(programs)} programs", Span(file, 1, 1), "at most one"))
    if faults:
        headers = [Header("", "", "")]
    ordered: tuple[Operation, ...] = tuple(operations)
    return Module(
        headers[0],
        tuple(tensors),
        ordered,
        tuple(ports["input"]),
        tuple(ports["output"]),
        tuple(addresses),
        programs[0] if programs else None,
    )


# ---------------------------------------------------------------------------------------------- faults


def _sorted(faults: Sequence[Diagnostic]) -> list[Diagnostic]:
    return sorted(faults, key=lambda fault: (fault.span.line, fault.span.column))[:FAULT_LIMIT]


def _found(text: str, position: int) -> str:
    match = _FOUND.match(text, position)
    if match is None:
        return "the end of the text"
    found = match[0] if len(match[0]) <= 40 else match[0][:37] + "..."
    return repr(found)


def _syntax_fault(error: UnexpectedInput, legal: set[str], text: str, builder: Builder, last: bool) -> Diagnostic:
    """A fault of the grammar in words: the place, what stands there, what could, what was probably meant. Where the
    text ends too early, that is the fault."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    position = len(text)
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        position = error.token.start_pos or 0
    elif isinstance(error, UnexpectedCharacters):
        position = error.pos_in_stream or 0
    end = position >= len(text)
    if end:
        position = len(text.rstrip())
    line = text.count("\n", 0, position)
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    fixed, described = [], []
    for terminal in sorted(legal):
        if terminal in _TERMINALS:
            described.append(_TERMINALS[terminal])
        else:
            fixed.append(_fixed_word(terminal))
    match = _FOUND.match(text, position)
    missing = _never_closed(text, position) if last else ""
    if end:
        found = "the end of the text" if last else "the end of the item"
    else:
        found = f"the end of the text before {missing!r}" if missing else _found(text, position)
    if line == 0 and text[:position].strip() == "":
        fixed, described = list(ITEMS), []
    guess = close_match(match[0], fixed) if match and not end else ""
    legal_words = [*(repr(each) for each in fixed), *described]
    expected = " or ".join(filter(None, [", ".join(legal_words[:-1]), *legal_words[-1:]])) or "nothing more"
    span = Span(builder.file, builder.first_line + line, column)
    in_last_line = last and "\n" not in text[position:]  # what the printer wrote ends with a newline
    cut = "; the file may have been cut off" if missing or in_last_line or (end and last) else ""
    return Diagnostic(f"found {found}", span, f"{guess}expected {expected}{cut}", builder.excerpt(span.line))


def _never_closed(text: str, position: int) -> str:
    """The mark that ends what begins at `position` (a list, a string, code), if the text ends before it."""
    opening = next((each for each in ("(", "[", '"', "code") if text.startswith(each, position)), "")
    closing = {"(": ")", "[": "]", '"': '"', "code": "}"}.get(opening, "")
    return closing if closing and closing not in text[position + 1 :] else ""


def _fixed_word(terminal: str) -> str:
    pattern = _lark().get_terminal(terminal).pattern
    return str(pattern.value)
