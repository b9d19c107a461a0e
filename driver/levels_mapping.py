"""Mapping files of machines with levels inside the array: `cost --save-mapping` writes them, `--mapping` reads them.

    layers:
      conv1:
        tree:                                    # specs/hierarchy.md; the outermost node first
          - keep dram input weight output
          - temporal m 16
          - keep glb input output
          - ...
      conv2:
        levels:                                  # a part alone, which the mapper completes (frontend/level_pins.py)
          glb: {keeps: [input], loops: {factors: {m: 4}}}

A layer that is not named is left to the mapper.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..frontend.level_pins import LevelsPin
from ..frontend.yaml_faults import Faults
from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import LARGEST_BYTES, ListNode, MapNode, ScalarNode, read_yaml
from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.files import read_text_bounded
from ..ir.frozen import dataclass
from ..ir.hierarchy import Hierarchy
from ..ir.loop_tree import LoopTree, Workload
from ..ir.loop_tree_rules import loop_tree_faults
from ..ir.loop_tree_text import parse_what_is_sound, print_node

_BLANK = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class TreePin:
    """A layer's loop tree as it was given, the places of its nodes and of its layer; not complete where some nodes
    could not be read, which is told already."""

    tree: LoopTree
    places: tuple[Span, ...]
    span: Span
    is_complete: bool = True

    def faults(self, workload: Workload, machine: Hierarchy) -> list[Diagnostic]:
        """What is wrong with it for a layer."""
        found = loop_tree_faults(workload, machine, self.tree, self.places, self.span, is_complete=self.is_complete)
        return [replace(each, message=f"{workload.name}: {each.message}") for each in found]


@dataclass(frozen=True, slots=True)
class Given:
    """What a mapping file says of layers: the whole loop tree, or a part of it; and what is wrong with the text, to be
    raised with what is wrong with both."""

    trees: Mapping[str, TreePin]
    parts: Mapping[str, LevelsPin]
    faults: Faults


def read_given(path: str) -> Given:
    """Raises CompileError where there is nothing to read."""
    text = read_text_bounded(path, LARGEST_BYTES, "`dnnc cost --save-mapping` writes a mapping")
    source = text.splitlines()
    faults = Faults(text, path)
    root = read_yaml(text, faults)
    if not isinstance(root, MapNode):
        raise CompileError(Diagnostic("a mapping starts with `layers:`", root.span))
    top = Fields(root, faults)
    layers = top.fields("layers")
    trees, parts = {}, {}
    for name in layers.node.entries if layers is not None else ():
        assert layers is not None
        if (layer := layers.fields(name)) is not None:
            span = layers.node.key_spans[name]
            if layer.has("levels"):
                if (fields := layer.fields("levels")) is not None:
                    parts[name] = LevelsPin(fields, span)
                if layer.has("tree"):
                    message = f"{name}: `tree` is a whole mapping, and `levels` a part of one"
                    faults.add(message, layer.node.key_spans["levels"], "one of them")
            if (not layer.has("levels") or layer.has("tree")) and (pin := _tree(layer, span, source)) is not None:
                trees[name] = pin
            layer.done()
    top.done()
    return Given(trees, parts, faults)


def _tree(layer: Fields, span: Span, source: Sequence[str]) -> TreePin | None:
    node = layer.value("tree", "[keep dram input weight output, ...]")
    if node is None:
        return None
    if not isinstance(node, ListNode) or not all(isinstance(each, ScalarNode) for each in node.items):
        layer.fault("tree", f"{layer.name('tree')!r} must be a list of nodes", "`- keep dram input weight output`, ...")
        return None
    lines = [item for item in node.items if isinstance(item, ScalarNode)]
    text = "\n".join(_BLANK.sub(" ", line.text) for line in lines)
    tree, places, faults = parse_what_is_sound(text, layer.faults.file)
    for each in faults:
        layer.faults.add(each.message, _place(each.span, lines, source) if lines else node.span, each.help)
    return TreePin(tree, tuple(_place(each, lines, source) for each in places), span, not faults)


def _place(span: Span, lines: Sequence[ScalarNode], source: Sequence[str]) -> Span:
    """Where a place in the joined lines stands in the file, of lines `source`: text in quotes begins after one."""
    if not 0 < span.line <= len(lines):
        return lines[0].span
    start = lines[span.line - 1].span
    written = source[start.line - 1][start.column - 1 :] if start.line <= len(source) else ""
    return replace(start, column=start.column + written.startswith(("'", '"')) + max(0, span.column - 1))


def trees_text(trees: Mapping[str, LoopTree]) -> str:
    """The file for the loop trees of layers."""
    lines = ["layers:"]
    for name, tree in trees.items():
        lines += [f"  {json.dumps(name)}:", "    tree:"]
        lines += [f"      - {print_node(node)}" for node in tree.nodes]
    return "\n".join(lines) + "\n"
