"""Loop trees as text, a node a line (specs/hierarchy.md), and back, exactly.

    keep dram input weight output
      temporal m 16
        keep glb input output
          spatial m 1 pe.rows

Every line is read on its own, so that one fault does not hide the others; time and memory are bounded by the limits
below. Indentation is for people: the order of the lines is the order of the nodes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diagnostics import FAULT_LIMIT, CompileError, Diagnostic, OurBug, Span, close_match
from .hierarchy import OPERAND_ROLES
from .loop_tree import Keep, LoopNode, LoopTree, Spatial, Temporal
from .nest import Role
from .text import NUMBER_DIGITS, TextFault, quote, unquote

if TYPE_CHECKING:
    from lark import Lark, Token
    from lark.exceptions import UnexpectedInput

NODE_LIMIT = 256  # nodes of a tree
TEXT_LIMIT = 1 << 18  # characters of a text
_EXCERPT_LIMIT = 160  # characters of a line that is shown
_INDENT_LIMIT = 40  # steps of indentation

_KEYWORDS = ("keep", "temporal", "spatial")
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = frozenset({*_KEYWORDS, "input", "weight", "output", "rows", "cols"})
# A line as the printer writes it where no name needs quotes: read without the parser, which takes longer to make than
# all trees of a model take to read.
_PRINTED = re.compile(
    r" *(?:keep (?P<store>\w+)(?P<roles>(?: (?:input|weight|output))+)"
    r"|temporal (?P<dim>\w+) (?P<size>[0-9]{1,9})"
    r"|spatial (?P<along>\w+) (?P<piece>[0-9]{1,9}) (?P<fanout>\w+)\.(?P<axis>rows|cols))",
    re.ASCII,
)
_KEEP = re.compile(r"\s*keep\s+([A-Za-z_][A-Za-z0-9_]*)\s([^/]*)")
_ROLES = frozenset(role.value for role in OPERAND_ROLES)
_FOUND = re.compile(r'"(?:[^"\\\n]|\\.)*"|[A-Za-z0-9_]+|.')
_BEFORE_COMMENT = re.compile(r'(?:"(?:[^"\\]|\\.)*"|(?!//).)*')
_WORD = re.compile(r"[A-Za-z0-9_]*")
_BLANK = re.compile(r"\s*(?://.*)?")
_TERMINALS = {
    "NAME": ["a name"],
    "STRING": ["a name in quotes"],
    "SIZE": ["a number of points"],
    "ROLE": ["'input'", "'weight'", "'output'"],
    "AXIS": ["'rows'", "'cols'"],
    "KEEP": ["'keep'"],
    "TEMPORAL": ["'temporal'"],
    "SPATIAL": ["'spatial'"],
    "DOT": ["'.'"],
    "$END": ["the end of the line"],
}


# ---------------------------------------------------------------------------------------------- printing


def print_loop_tree(tree: LoopTree) -> str:
    """The text of `tree`, which `parse_loop_tree` reads back as an equal one."""
    return "".join(f"{'  ' * min(depth, _INDENT_LIMIT)}{print_node(node)}\n" for depth, node in enumerate(tree.nodes))


def print_node(node: LoopNode) -> str:
    """The line of one node."""
    match node:
        case Keep():
            return " ".join(("keep", _word(node.store), *(role.value for role in node.roles)))
        case Temporal():
            return f"temporal {_word(node.dim)} {node.size}"
        case Spatial():
            return f"spatial {_word(node.dim)} {node.size} {_word(node.fanout)}.{node.axis}"


def _word(name: str) -> str:
    return name if _BARE.fullmatch(name) and name not in _TAKEN else quote(name)


# ---------------------------------------------------------------------------------------------- reading


def parse_loop_tree(text: str, file: str = "") -> LoopTree:
    """The tree that `text` spells. Raises CompileError with every fault and its place in `file`."""
    return parse_with_places(text, file)[0]


def parse_with_places(text: str, file: str = "") -> tuple[LoopTree, tuple[Span, ...]]:
    """The tree, and where each of its nodes stands."""
    tree, places, faults = parse_what_is_sound(text, file)
    if faults:
        raise CompileError(faults)
    return tree, places


def parse_what_is_sound(text: str, file: str = "") -> tuple[LoopTree, tuple[Span, ...], list[Diagnostic]]:
    """The nodes that can be read, in all or in part, where each of them stands, and the faults of the text."""
    if len(text) > TEXT_LIMIT:
        fault = Diagnostic(f"the mapping has {len(text)} characters", Span(file), f"at most {TEXT_LIMIT}")
        return LoopTree(()), (), [fault]
    nodes: list[LoopNode] = []
    places: list[Span] = []
    faults: list[Diagnostic] = []
    for number, line in enumerate(text.split("\n"), 1):
        if _BLANK.fullmatch(line):
            continue
        if len(nodes) == NODE_LIMIT:
            faults.append(Diagnostic("the mapping is too long", Span(file, number, 1), f"at most {NODE_LIMIT} nodes"))
        if len(faults) >= FAULT_LIMIT or len(nodes) == NODE_LIMIT:
            break
        place = Span(file, number, len(line) - len(line.lstrip()) + 1)
        node = _parse_line(line, place, faults)
        if node is not None:
            nodes.append(node)
            places.append(place)
    if not nodes and not faults:
        faults.append(Diagnostic("the mapping is empty", Span(file), "it begins with: keep, and the outermost store"))
    return LoopTree(tuple(nodes)), tuple(places), faults


@lru_cache(maxsize=1)
def _lark() -> Lark:
    from lark import Lark

    grammar = Path(__file__).with_name("loop_tree.lark").read_text(encoding="utf-8")
    return Lark(grammar, start="node", parser="lalr")


def _printed_node(line: str) -> LoopNode | None:
    """The node of a line that the printer may have written; None for any other line, legal or not."""
    found = _PRINTED.fullmatch(line)
    if found is None:
        return None
    names = [found[name] for name in ("store", "dim", "along", "fanout") if found[name] is not None]
    if any(_word(name) != name for name in names):
        return None
    if found["store"] is not None:
        return Keep(found["store"], tuple(Role(word) for word in found["roles"].split()))
    if found["dim"] is not None:
        return Temporal(found["dim"], int(found["size"]))
    return Spatial(found["along"], int(found["piece"]), found["fanout"], found["axis"])


def _parse_line(line: str, place: Span, faults: list[Diagnostic]) -> LoopNode | None:
    if (node := _printed_node(line)) is not None:
        return node
    from lark.exceptions import UnexpectedInput

    parser: Any = _lark().parse_interactive(line)  # lark declares no types of what is asked of it below
    try:
        parser.exhaust_lexer()
        tree = parser.feed_eof()
    except UnexpectedInput as error:
        faults.append(_syntax_fault(error, parser.accepts(), line, place))
        return _kept_so_far(line)
    found = len(faults)
    words = [_value(each, line, place, faults) for each in tree.scan_values(lambda _: True)]
    if len(faults) > found:
        return None
    match tree.data, words:
        case "keep", [str(store), *roles]:
            return Keep(store, tuple([role for role in roles if isinstance(role, Role)]))
        case "temporal", [str(dim), int(size)]:
            return Temporal(dim, size)
        case _, [str(dim), int(size), str(fanout), str(axis)]:
            return Spatial(dim, size, fanout, axis)
    raise OurBug(f"the grammar has a line {tree.data!r} that makes no node")


def _kept_so_far(line: str) -> Keep | None:
    """The store and the operands of a faulty line that keeps something, as far as they can be told."""
    found = _KEEP.match(line)
    roles = [Role(word) for word in found[2].split() if word in _ROLES] if found else []
    return Keep(found[1], tuple(roles)) if found and roles and found[1] not in _TAKEN else None


def _value(token: Token, line: str, place: Span, faults: list[Diagnostic]) -> str | int | Role:
    at = Span(place.file, place.line, token.column or 1)
    if token.type == "ROLE":
        return Role(str(token))
    if token.type == "SIZE":
        if len(token) > NUMBER_DIGITS:
            faults.append(
                Diagnostic(f"a size of {len(token)} digits", at, f"at most {NUMBER_DIGITS} digits", _excerpt(line))
            )
            return 0
        return int(token)
    if token.type == "STRING":
        try:
            return unquote(str(token))
        except TextFault as fault:
            at = Span(at.file, at.line, at.column + fault.offset)
            faults.append(Diagnostic(fault.message, at, fault.help, _excerpt(line)))
            return ""
    return str(token)


def _syntax_fault(error: UnexpectedInput, legal: set[str], line: str, place: Span) -> Diagnostic:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    words = _BEFORE_COMMENT.match(line)
    end = position = len(words[0].rstrip()) if words else 0
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        position = error.token.start_pos or 0
    elif isinstance(error, UnexpectedCharacters):
        position = error.pos_in_stream or 0
    while 0 < position < end and _WORD.fullmatch(line[position - 1 : position + 1]):
        position -= 1  # the beginning of a word whose end is what no rule takes
    match = _FOUND.match(line, position) if position < end else None
    expected = [words for terminal in sorted(legal) for words in _TERMINALS[terminal]]
    guess = close_match(match[0], [each.strip("'") for each in expected if each.startswith("'")]) if match else ""
    found = "the end of the line" if match is None else repr(match[0][:40])
    help = f"{guess}expected {' or '.join(filter(None, [', '.join(expected[:-1]), expected[-1]]))}"
    return Diagnostic(f"found {found}", Span(place.file, place.line, position + 1), help, _excerpt(line))


def _excerpt(line: str) -> str:
    return line.rstrip() if len(line) <= _EXCERPT_LIMIT else ""
