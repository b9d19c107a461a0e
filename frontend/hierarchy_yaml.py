"""Machines with levels inside the array: YAML text -> ir.hierarchy.Hierarchy, every fault with its place.

specs/hierarchy.md is the schema; the bundled machines are specs/hierarchy/*.yaml.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TypeVar

from ..ir.diagnostics import CompileError, Diagnostic, closest
from ..ir.hierarchy import (
    ASSUMED_HOST,
    AXES,
    FASTEST_RATE,
    OPERAND_ROLES,
    SLOWEST_RATE,
    Buffering,
    Constraint,
    FanOut,
    Hierarchy,
    Packing,
    Store,
    Tiles,
)
from ..ir.nest import Role
from .arch_text import HIERARCHIES, bundled_hierarchies, hierarchy_source
from .arch_yaml import read_host
from .hierarchy_prices import with_prices
from .hierarchy_rules import check_hierarchy
from .yaml_faults import Faults
from .yaml_fields import Fields
from .yaml_reader import ListNode, MapNode, ScalarNode, read_yaml

# Dimensions of the layers that dnnc makes (specs/mapping.md).
DIMENSIONS = ("n", "m", "d", "p", "q", "c", "t", "r", "s", "g", "k", "k0", "k1", "g1", "g2")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_RESERVED = ("mac", "host")  # components with prices of their own
_ROLES = tuple(role.value for role in OPERAND_ROLES)
_LARGEST_SIDE = 4096
_MOST_LEVELS = 24
_E = TypeVar("_E", bound=Enum)


def load_hierarchy(name_or_path: str) -> Hierarchy | None:
    """A bundled machine by its name, else the description at a path; nothing where that is none of a machine with
    `levels`. Raises CompileError naming every fault."""
    source = hierarchy_source(name_or_path)
    folder = HIERARCHIES if name_or_path in bundled_hierarchies() else Path(name_or_path).parent
    return None if source is None else parse_hierarchy(*source, folder)


def parse_hierarchy(text: str, file: str, folder: Path | None = None) -> Hierarchy:
    """The machine that `text` describes. Raises CompileError with all faults, each with line and column in `file`.

    A table of prices that it names is looked for in `folder`, and is refused where that is None.
    """
    faults = Faults(text, file)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        help = "`dnnc arch show eyeriss_like` prints a description"
        raise CompileError(Diagnostic("a description starts with keys such as `name: my_machine`", root.span, help))
    top = Fields(root, faults)
    machine = _read(top)
    entries = root.entries.get("levels")
    spans = [item.span for item in entries.items] if isinstance(entries, ListNode) else []
    if machine.levels and len(spans) == len(machine.levels):
        check_hierarchy(machine, faults, spans)
    machine = with_prices(top, machine, folder)
    top.done()
    faults.raise_if_any()
    return replace(machine, text=text, file=file, digest=hashlib.sha256(text.encode()).hexdigest())


def _read(top: Fields) -> Hierarchy:
    name = top.text("name", expected="my_machine")
    if top.has("name") and not _NAME.fullmatch(name):
        top.fault("name", f"'name' is {name[:40]!r}", "lower-case letters, digits and _, starting with a letter")
    top.choice("kind", ("cost_only",), "cost_only")
    bits: tuple[tuple[Role, int], ...] = tuple((role, 8) for role in OPERAND_ROLES)
    partial = None
    if (section := top.fields("bits")) is not None:
        bits = tuple((role, section.integer(role.value, 1, 64, example="8")) for role in OPERAND_ROLES)
        partial = section.integer("partial", 1, 64) if section.has("partial") else None
        sound = not top.faults.wrong & {section.name("partial"), section.name(Role.OUTPUT.value)}
        if sound and partial is not None and partial < (least := dict(bits)[Role.OUTPUT]):
            message = f"partial sums of {partial} bits are narrower than the outputs of {least} bits that they become"
            section.fault("partial", message, f"{least} or more")
        section.done()
    host = ASSUMED_HOST
    if (section := top.fields("host", required=False)) is not None:
        host = read_host(section)
        section.done()
    levels = [_level(each) for each in top.list_of_fields("levels", most=_MOST_LEVELS)]
    return Hierarchy(
        name=name,
        clock_hz=top.integer("clock_hz", 1, 10**12, example="1 GHz"),
        levels=tuple(level for level in levels if level is not None),
        bits=bits,
        partial_bits=partial,
        vector_lanes=top.integer("vector_lanes", 1, _LARGEST_SIDE, 16),
        host=host,
        sources=_sources(top),
    )


def _level(fields: Fields) -> Store | FanOut | None:
    if fields.has("store") == fields.has("fanout"):
        message = "a level is either a store or a fan-out"
        fields.faults.add(message, fields.node.span, "`- {store: NAME, ...}` or `- {fanout: NAME, ...}`")
        return None
    kind = "store" if fields.has("store") else "fanout"
    name = fields.text(kind)
    if not _NAME.fullmatch(name) or name in _RESERVED:
        help = f"lower-case letters, digits and _; {' and '.join(f'`{each}`' for each in _RESERVED)} are taken"
        fields.fault(kind, f"a level cannot be named {name[:40]!r}", help)
    level = _store(fields, name) if kind == "store" else _fanout(fields, name)
    fields.done()
    return level


def _store(fields: Fields, name: str) -> Store:
    word_bits = fields.integer("word_bits", 1, 1 << 16, example="64")
    depth = None
    if fields.has("depth_words") and fields.has("capacity_bytes"):
        fields.fault("depth_words", "'depth_words' and 'capacity_bytes' both say how large the store is", "one of them")
    if fields.has("depth_words"):
        depth = fields.integer("depth_words", 1, 1 << 48)
    elif fields.has("capacity_bytes"):
        capacity_bits = 8 * fields.integer("capacity_bytes", 1, 1 << 50)
        if capacity_bits % word_bits and not fields.faults.wrong & {
            fields.name("capacity_bytes"),
            fields.name("word_bits"),
        }:
            message = f"{name!r} holds {capacity_bits} bits, which is no whole number of its words"
            fields.fault("capacity_bytes", message, f"words have {word_bits} bits")
        depth = max(1, capacity_bits // word_bits)
    holds = read_roles(fields, "holds", OPERAND_ROLES)
    return Store(
        name=name,
        holds=holds,
        word_bits=word_bits,
        depth_words=depth,
        keeps=read_roles(fields, "keeps", ()),
        packing=_word(fields, "packing", Packing, Packing.WHOLE),
        buffering=_word(fields, "buffering", Buffering, Buffering.BUFFET),
        read_words_per_cycle=_rate(fields, "read_words_per_cycle"),
        write_words_per_cycle=_rate(fields, "write_words_per_cycle"),
        shared_words_per_cycle=_rate(fields, "shared_words_per_cycle"),
        latency_cycles=fields.integer("latency_cycles", 0, 10**6, 0),
        banks=fields.integer("banks", 1, 1 << 16, 1),
        ports=fields.integer("ports", 1, 64, 1),
        tiles=_word(fields, "tiles", Tiles, Tiles.EVEN),
        constraint=read_loops(fields),
    )


def _fanout(fields: Fields, name: str) -> FanOut:
    return FanOut(
        name=name,
        rows=fields.integer("rows", 1, _LARGEST_SIDE, example="16"),
        cols=fields.integer("cols", 1, _LARGEST_SIDE, example="16"),
        multicast=read_roles(fields, "multicast", (Role.INPUT, Role.WEIGHT)),
        reduce=fields.boolean("reduce", True),
        link_bits=fields.integer("link_bits", 1, 1 << 16, 16),
        hop_mm=fields.number("hop_mm", 0, 1000) if fields.has("hop_mm") else 0.0,
        row_dims=read_dims(fields, "row_dims"),
        col_dims=read_dims(fields, "col_dims"),
        constraint=read_loops(fields),
        bus_bits=_buses(fields),
        chain=fields.choice("chain", AXES) if fields.has("chain") else "",
    )


def _buses(fields: Fields) -> tuple[tuple[Role, int], ...]:
    """Bits a cycle by role; only the roles that are named have a bus."""
    section = fields.fields("bus_bits", required=False)
    if section is None:
        return ()
    found = tuple(
        (role, section.integer(role.value, 1, 1 << 16, example="64"))
        for role in OPERAND_ROLES
        if section.has(role.value)
    )
    section.done()
    return found


def read_roles(fields: Fields, key: str, default: tuple[Role, ...]) -> tuple[Role, ...]:
    """A list of roles in their fixed order; `[]` is none, where that is the default's meaning."""
    node = fields.node.entries.get(key)
    if isinstance(node, ListNode) and not node.items:
        fields.has(key)
        return ()
    words = fields.words(key, _ROLES, tuple(role.value for role in default))
    return tuple(role for role in OPERAND_ROLES if role.value in words)


def _word(fields: Fields, key: str, words: type[_E], default: _E) -> _E:
    return words(fields.choice(key, [each.value for each in words], default.value))


def _rate(fields: Fields, key: str) -> float | None:
    if not fields.has(key):
        return None
    node = fields.node.entries[key]
    if isinstance(node, ScalarNode) and node.value in (0, 0.0):
        fields.fault(key, f"{fields.name(key)!r} is 0: nothing would ever pass", "leave it out for no limit")
        return None
    return fields.number(key, SLOWEST_RATE, FASTEST_RATE)


def read_loops(fields: Fields, legal: Sequence[str] = DIMENSIONS) -> Constraint:
    """What the key `loops` of a level says, if it is there; of `legal` dimensions."""
    section = fields.fields("loops", required=False)
    if section is None:
        return Constraint()
    constraint = Constraint(
        dims=read_dims(section, "dims", legal),
        factors=_numbers(section, "factors", legal),
        most=_numbers(section, "most", legal),
        order=section.words("order", legal) if section.has("order") else (),
    )
    factors = dict(constraint.factors)
    for dim, most in constraint.most:
        if factors.get(dim, 0) > most:
            message = f"loops over {dim!r} have {factors[dim]} iterations and at most {most}"
            section.fault("most", message, "`factors` and `most` must agree")
    outside = [dim for dim, factor in factors.items() if factor != 1 and dim not in (constraint.dims or (dim,))]
    if outside:
        message = f"{outside[0]!r} has a factor, but is none of the dimensions that may have loops here"
        section.fault("dims", message, f"add {outside[0]}, or drop its factor")
    section.done()
    return constraint


def read_dims(fields: Fields, key: str, legal: Sequence[str] = DIMENSIONS) -> tuple[str, ...] | None:
    """The dimensions that may have loops; `[]` for none, nothing for all."""
    if not fields.has(key):
        return None
    node = fields.node.entries[key]
    return () if isinstance(node, ListNode) and not node.items else fields.words(key, legal)


def _numbers(section: Fields, key: str, legal: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """A mapping from dimensions to numbers of iterations."""
    inner = section.fields(key, required=False)
    if inner is None:
        return ()
    found = []
    for dim in inner.node.entries:
        if dim not in legal:
            inner.fault(dim, f"{section.name(key)!r} knows no dimension {dim[:40]!r}", closest(dim, legal))
            inner.has(dim)
        else:
            found.append((dim, inner.integer(dim, 0 if key == "factors" else 1, 1 << 40)))
    inner.done()
    return tuple(found)


def _sources(top: Fields) -> tuple[tuple[str, str], ...]:
    section = top.fields("sources", required=False)
    if section is None:
        return ()
    return tuple((key, section.text(key)) for key in section.node.entries)


def spelled_kind(machine: Hierarchy) -> str:
    """The levels in a line, as lists show them."""
    parts = []
    for level in machine.levels[1:]:
        if isinstance(level, FanOut):
            parts.append(f"x {level.rows}x{level.cols}")
        elif level.depth_words is not None:
            parts.append(f"{level.name} {level.depth_words * level.word_bits / 8:g} B")
        else:
            parts.append(level.name)
    return " ".join(parts)
