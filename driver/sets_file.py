"""Files of `--sets`: the precision sets of one program, and when each is taken.

    sets:
      - {name: clear, precision: w4a6, when: fog < 2}
      - {name: fog, precision: fog.yaml, prune: "sum:0.05@8x8", when: ["weather == 'fog'", "fog >= 2"]}
      - {name: safe, precision: w8a8}
    default: safe

`precision` and `prune` are what --precision and --prune take; files lie in the folder of this one, or below it. The
first set is taken whose comparisons all hold, else the default, which alone may do without any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike, fspath
from os.path import isfile, realpath
from pathlib import Path
from typing import TypeVar

from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import LARGEST_BYTES, ListNode, MapNode, ScalarNode, YamlNode, read_yaml
from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from ..ir.expressions import ExpressionFault
from ..ir.files import read_text_bounded
from ..ir.frozen import dataclass
from ..ir.precision import Precision
from ..ir.program_sets import MOST_CONDITIONS, MOST_SETS, NAME, NAME_RULE, condition
from ..passes.prune_spec import PruneSpec, short_form
from .precision_file import precision_of, read_precision
from .prune_file import read_prune

_ENDINGS = (".yaml", ".yml")
_Value = TypeVar("_Value")
_EXAMPLE = "`sets: [{name: clear, precision: w4a6, when: fog < 2}, {name: safe, precision: w8a8}]`, `default: safe`"


@dataclass(frozen=True, slots=True)
class SetEntry:
    """One set as its file has it: what --precision and --prune would say (None: nothing), and the comparisons that must
    all hold."""

    name: str
    precision: Precision | None
    prune: PruneSpec | None
    when: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class SetsFile:
    """The sets in the order in which they are asked, and the name of the default."""

    sets: tuple[SetEntry, ...]
    default: str


def read_sets(path: str | PathLike[str], before: Sequence[Diagnostic] = ()) -> SetsFile:
    """The sets of a file. Raises CompileError with every fault, those that were found `before` among them."""
    path = fspath(path)
    try:
        text = read_text_bounded(path, LARGEST_BYTES, "specs/precision.md says what stands in it")
        faults = Faults(text, path)
        root = read_yaml(text, faults)
    except CompileError as error:
        raise CompileError([*before, *error.diagnostics]) from None
    found = SetsFile((), "")
    if isinstance(root, MapNode):
        found = _sets(Fields(root, faults), Path(path).parent, faults)
    elif not len(faults):
        faults.add("precision sets start with `sets:`", root.span, _EXAMPLE)
    if before or len(faults):
        raise CompileError([*before, *faults.in_order()])
    return found


def _sets(top: Fields, folder: Path, faults: Faults) -> SetsFile:
    node = top.value("sets", "[{name: clear, precision: w4a6, when: fog < 2}, ...]")
    items: Sequence[YamlNode] = node.items if isinstance(node, ListNode) else ()
    if node is not None and not isinstance(node, ListNode):
        faults.add("'sets' must be a list", node.span, _EXAMPLE)
    elif node is not None and not 2 <= len(items) <= MOST_SETS:
        help = "one precision is given by --precision and --prune" if len(items) == 1 else f"2 to {MOST_SETS}"
        faults.add(f"there {'is 1 set' if len(items) == 1 else f'are {len(items)} sets'}", node.span, help)
        items = items[:MOST_SETS]
    default = top.text("default", expected="NAME")
    entries: list[SetEntry] = []
    for number, item in enumerate(items):
        if isinstance(item, MapNode):
            entry = _entry(Fields(item, faults, f"sets[{number}]"), folder, default, faults)
            if entry.name and entry.name in [each.name for each in entries]:
                faults.add(f"two sets are called {entry.name!r}", item.span, "each has a name of its own")
            entries.append(entry)
        else:
            faults.add(f"'sets[{number}]' must be keys and values", item.span, _EXAMPLE)
    top.done()
    names = [each.name for each in entries if each.name]
    if default and names and default not in names:
        faults.add(f"there is no set {default[:80]!r}", top.span("default"), closest(default, names))
    return SetsFile(tuple(entries), default)


def _entry(fields: Fields, folder: Path, default: str, faults: Faults) -> SetEntry:
    name = fields.text("name", expected="clear")
    if fields.has("name") and not NAME.fullmatch(name):
        fields.fault("name", f"{name[:80]!r} is no name of a set", NAME_RULE)
    precision, prune = _precision(fields, folder), _prune(fields, folder)
    when = _when(fields)
    if not fields.has("when") and name != default:
        faults.add(f"set {name[:80]!r} is never taken: it has no `when`, and is not the default", fields.node.span)
    fields.done()
    return SetEntry(name, precision, prune, when, fields.node.span)


def _precision(fields: Fields, folder: Path) -> Precision | None:
    """A word or a form, or the file that is named; None where there is none."""
    text = fields.text("precision") if fields.has("precision") else ""
    if not text:
        return None
    if _is_file(text, folder):
        path = _inside(fields, "precision", folder, text)
        return None if path is None else _read(fields, "precision", lambda: read_precision(path))
    return _read(fields, "precision", lambda: precision_of(text, fields.span("precision")))


def _prune(fields: Fields, folder: Path) -> PruneSpec | None:
    text = fields.text("prune") if fields.has("prune") else ""
    if not text:
        return None
    if _is_file(text, folder):
        path = _inside(fields, "prune", folder, text)
        return None if path is None else _read(fields, "prune", lambda: read_prune(path))
    return _read(fields, "prune", lambda: short_form(text))


def _is_file(text: str, folder: Path) -> bool:
    return text.endswith(_ENDINGS) or "/" in text or isfile(folder / text)


def _inside(fields: Fields, key: str, folder: Path, text: str) -> str | None:
    """The path of a file that lies in the folder or below; others, links to others included, are refused."""
    if "\0" in text or not Path(realpath(folder / text)).is_relative_to(realpath(folder)):
        message = f"{fields.name(key)}: {text[:80]!r} lies outside of the folder of this file"
        fields.fault(key, message, "name a file in it, or below it")
        return None
    return str(folder / text)


def _read(fields: Fields, key: str, given: Callable[[], _Value]) -> _Value | None:
    """What is given, with its faults told: those of a file at their places, others where the key stands."""
    try:
        found = given()
        told: Sequence[Diagnostic] = getattr(found, "faults", ())
    except CompileError as error:
        found, told = None, error.diagnostics
    others = [each for each in told if each.span.line and each.span.file != fields.faults.file]
    fields.faults.include(others)
    for each in told:
        if each not in others:
            where = f"{each.span.file}: " if each.span.file not in ("", fields.faults.file) else ""
            fields.faults.add(f"{fields.name(key)}: {where}{each.message}", fields.span(key), each.help)
    return found


def _when(fields: Fields) -> tuple[str, ...]:
    """One comparison, or a list of them."""
    if not fields.has("when"):
        return ()
    node = fields.node.entries["when"]
    items = node.items if isinstance(node, ListNode) else (node,)
    if not 1 <= len(items) <= MOST_CONDITIONS or not all(isinstance(each, ScalarNode) for each in items):
        message = f"{fields.name('when')!r} must be a comparison, or 1 to {MOST_CONDITIONS} of them in a list"
        fields.fault("when", message, "`when: fog >= 2`")
        return ()
    texts = tuple(each.text for each in items if isinstance(each, ScalarNode))
    for text, each in zip(texts, items, strict=True):
        try:
            condition(text)
        except ExpressionFault as fault:
            fields.faults.add(f"{fields.name('when')}: {fault}", each.span)
    return texts
