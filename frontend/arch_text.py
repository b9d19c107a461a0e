"""Where descriptions lie and how they are spelled: the normalised text of a machine, lines of a bundled one to show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from functools import cache
from pathlib import Path
from typing import Any

from ..ir.arch import Arch
from ..ir.files import read_text_bounded
from .yaml_faults import Faults
from .yaml_reader import LARGEST_BYTES, ListNode, MapNode, ScalarNode, YamlNode, read_yaml

BUNDLED = Path(__file__).parents[1] / "specs" / "arch"
HIERARCHIES = BUNDLED.parent / "hierarchy"
_EXAMPLE = "gemmini16"  # the bundled machine whose lines are shown where one is missing or wrong


def bundled_hierarchies() -> tuple[str, ...]:
    """Names of the machines with levels inside the array that come with dnnc, sorted."""
    return tuple(sorted(path.stem for path in HIERARCHIES.glob("*.yaml")))


def hierarchy_source(name_or_path: str) -> tuple[str, str] | None:
    """The description and the file that it stands in, if it is one of a machine with `levels`; else nothing.

    Raises CompileError where the file cannot be read.
    """
    if name_or_path in bundled_hierarchies():
        path = HIERARCHIES / f"{name_or_path}.yaml"
        return path.read_text(encoding="utf-8"), path.name
    path = Path(name_or_path)
    if path.is_dir() or not path.exists():  # a folder may have the name of a bundled machine
        return None
    text = read_text_bounded(path, LARGEST_BYTES, "`dnnc arch show eyeriss_like` prints a description")
    return (text, str(path)) if re.search(r"^levels\s*:", text, re.MULTILINE) else None


def normalised_text(arch: Arch) -> str:
    """The one spelling of a machine: keys in schema order, base units, rows resolved."""
    lines = [f"name: {arch.name}", f"kind: {arch.kind}", f"clock_hz: {arch.clock_hz}"]
    for key in ("array", "dma", "queues", "vector", "post", "block_unit", "converter", "host"):
        if (unit := getattr(arch, key)) is not None:
            lines += [f"{key}:", *(f"  {line}" for line in _spelled(unit) if not line.endswith(": null"))]
    for section in ("memories", "energy", "area", "leakage"):
        if rows := getattr(arch, section):
            lines.append(f"{section}:")
            lines += [f"  - {{{', '.join(_spelled(row))}}}" for row in rows]
    if arch.sources:
        lines += ["sources:", *(f"  {key}: {json.dumps(value)}" for key, value in arch.sources)]
    return "\n".join(lines) + "\n"


def _spelled(part: Any) -> Iterator[str]:
    """The fields of a part of a machine, a dataclass."""
    for field in dataclass_fields(part):
        yield f"{field.name}: {_literal(getattr(part, field.name))}"


def _literal(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(each) for each in value)}]"
    if isinstance(value, str) and not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        return json.dumps(value)
    return str(value)


@cache
def _bundled_example() -> MapNode:
    text = (BUNDLED / f"{_EXAMPLE}.yaml").read_text(encoding="utf-8")
    root = read_yaml(text, Faults(text, _EXAMPLE))
    assert isinstance(root, MapNode)
    return root


def example_line(name: str) -> str:
    """What a bundled machine has for a dotted name, as a line of a description; nothing where it has none."""
    if name == "name":
        return ""
    node: YamlNode = _bundled_example()
    parts = re.findall(r"[^.\[\]]+", name)
    for part in parts:
        if isinstance(node, ListNode):
            node = node.items[min(int(part), len(node.items) - 1)]
        elif isinstance(node, MapNode) and part in node.entries:
            node = node.entries[part]
        else:
            return ""
    line = _spelled_node(node)
    line = f"- {line}" if name.endswith("]") else line if parts[-1].isdecimal() else f"{parts[-1]}: {line}"
    return f"`{line}`, as {_EXAMPLE} has it"


def _spelled_node(node: YamlNode) -> str:
    """A node on one line, without what only comments on it."""
    if isinstance(node, ScalarNode):
        return node.text
    if isinstance(node, ListNode):
        return f"[{', '.join(map(_spelled_node, node.items))}]"
    return f"{{{', '.join(f'{key}: {_spelled_node(value)}' for key, value in node.entries.items())}}}"
