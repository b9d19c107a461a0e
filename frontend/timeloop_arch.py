"""Timeloop's architectures -> hierarchies: the form that nests subtrees (0.2, 0.3). What has no meaning is named."""

from __future__ import annotations

import re
from dataclasses import replace

from ..ir.frozen import dataclass
from ..ir.hierarchy import OPERAND_ROLES, FanOut, Hierarchy, Store
from ..ir.nest import Role
from .foreign_yaml import Foreign, Imported
from .timeloop_nodes import read_nodes
from .timeloop_prices import components, misspelt
from .timeloop_store import COMPUTE, limit_of_main, read_store, row_words
from .yaml_faults import Faults
from .yaml_reader import read_yaml

_RANGE = re.compile(r"(.*?)\[(\d+)\.\.(\d+)\]")
_NODE_TAG = re.compile(r"^\s*-\s*!(Component|Container)\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Part:
    """A store or a multiplier as it stands: how many there are of it, how many of them side by side along X, and the
    attributes that it was read from."""

    store: Store | None
    instances: int
    across: int
    attributes: Foreign


def read_arch(text: str, file: str) -> Imported:
    """The hierarchy of an architecture file of version 0.2, 0.3 or 0.4. Raises CompileError with every fault."""
    if _NODE_TAG.search(text):
        return read_nodes(text, file)
    faults = Faults(text, file)
    top = Foreign(read_yaml(text, faults), faults)
    root = top["architecture"]
    if not root.present:
        top.fault("there is no `architecture`", "`architecture: {version: 0.3, subtree: [...]}`")
        faults.raise_if_any()
    version = root["version"].text("0.3")
    if version not in ("0.2", "0.3", "0.4"):
        root["version"].fault(f"the version is {version[:20]}", "0.2, 0.3 or 0.4")
    parts: list[_Part] = []
    word_bits: list[int] = []
    for subtree in root["subtree"].items():
        _read_subtree(subtree, 1, 1, parts, word_bits)
    stores = [part for part in parts if part.store is not None]
    if not stores:
        root.fault("there is no memory", "a component of class DRAM, SRAM, regfile, ... in `local`")
    if not any(part.store is None for part in parts):
        root.fault("there is no compute", "a component of class intmac, compute, ... in `local`")
    faults.raise_if_any()
    bits = word_bits[0] if word_bits else 16
    machine = Hierarchy(
        name="timeloop",
        clock_hz=10**9,
        levels=_levels(parts),
        bits=tuple((role, bits) for role in OPERAND_ROLES),
    )
    limits = limit_of_main(machine, [part.store for part in stores if part.store is not None])
    main = min(stores, key=lambda part: part.instances)
    words = {part.store.name: row_words(part.attributes) for part in stores if part.store is not None}
    section = components(root, main.attributes, machine, words)
    return Imported(machine, (*limits, *misspelt(root), *top.ignored_fields()), section)


def _read_subtree(tree: Foreign, instances: int, across: int, parts: list[_Part], word_bits: list[int]) -> None:
    _, count = _ranged(tree["name"])
    instances *= count
    for part in tree["local"].items():
        _read_part(part, instances, across, parts, word_bits)
    for each in tree["subtree"].items():
        _read_subtree(each, instances, across, parts, word_bits)


def _ranged(name: Foreign) -> tuple[str, int]:
    text = name.text()
    found = _RANGE.fullmatch(text)
    if not found:
        return text, 1
    count = int(found[3]) - int(found[2]) + 1
    if not 1 <= count <= 1 << 24:
        name.fault(f"{text[:40]!r} stands for {count} instances", "1 to 2^24")
        count = 1
    return found[1], count


def _read_part(part: Foreign, instances: int, across: int, parts: list[_Part], word_bits: list[int]) -> None:
    name, count = _ranged(part["name"])
    kind, attributes = part["class"].text(), part["attributes"]
    instances *= count
    mesh = attributes["meshX"].integer(0, 0, 1 << 24) or instances
    if instances % mesh:
        attributes["meshX"].fault(f"meshX is {mesh}, of {instances} instances", "a divisor of the instances")
    if COMPUTE.search(kind):
        word_bits.insert(0, attributes["datawidth"].integer(attributes["word-bits"].integer(16, 1, 64), 1, 64))
        parts.append(_Part(None, instances, mesh, attributes))
        return
    store = read_store(name, attributes)
    if kind == "dummy_storage":  # a place for spatial loops
        store = replace(store, holds=())
    word_bits.append(store.word_bits)
    parts.append(_Part(store, instances, mesh, attributes))


def _levels(parts: list[_Part]) -> tuple[Store | FanOut, ...]:
    """Stores from the outermost, with fan-outs where the number of instances grows, the multipliers last."""
    ordered = [part for part in parts if part.store is not None]
    ordered.sort(key=lambda part: part.instances)
    ordered += [part for part in parts if part.store is None][:1]
    levels: list[Store | FanOut] = []
    instances = across = 1
    for part in ordered:
        lanes = part.instances // instances
        if lanes > 1:
            cols = max(1, part.across // across) if part.across >= across else lanes
            cols = cols if lanes % cols == 0 else lanes
            inside = part.store.name if part.store is not None else "mac"
            levels.append(FanOut(f"to_{inside}", lanes // cols, cols, multicast=(Role.INPUT, Role.WEIGHT), reduce=True))
        if part.store is not None:
            levels.append(part.store)
        instances, across = part.instances, part.across
    return _outermost_unlimited(levels)


def _outermost_unlimited(levels: list[Store | FanOut]) -> tuple[Store | FanOut, ...]:
    first = levels[0]
    assert isinstance(first, Store)
    return (replace(first, keeps=OPERAND_ROLES, depth_words=None), *levels[1:])
