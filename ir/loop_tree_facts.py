"""A loop tree with its workload and its machine, and what several rules (loop_tree_rules.py) ask of them."""

from __future__ import annotations

from functools import cached_property

from .diagnostics import NOWHERE, Diagnostic, Span
from .frozen import dataclass
from .hierarchy import Hierarchy
from .loop_tree import Keep, LoopTree, Spatial, Temporal, Workload
from .loop_tree_text import print_node


@dataclass(frozen=True)
class TreeMapping:
    """A mapping with what several rules ask of it."""

    workload: Workload
    machine: Hierarchy
    tree: LoopTree
    places: tuple[Span, ...]
    whole: Span

    def fault(self, place: int, message: str, help: str = "") -> Diagnostic:
        """A fault of the node at `place`; -1 is the mapping as a whole."""
        span = self.places[place] if 0 <= place < len(self.places) else self.whole
        head = f"`{print_node(self.tree.nodes[place])}`: " if place >= 0 else ""
        if place < 0 and self.whole == NOWHERE:  # no place says which mapping it is
            head = f"mapping of {self.workload.name!r}: "
        return Diagnostic(head + message, span, help)

    @cached_property
    def keeps(self) -> list[tuple[int, Keep]]:
        return [(place, node) for place, node in enumerate(self.tree.nodes) if isinstance(node, Keep)]

    @cached_property
    def loops(self) -> list[tuple[int, Temporal | Spatial]]:
        return [(place, node) for place, node in enumerate(self.tree.nodes) if not isinstance(node, Keep)]

    @cached_property
    def spatial(self) -> list[tuple[int, Spatial]]:
        return [(place, node) for place, node in self.loops if isinstance(node, Spatial)]

    @cached_property
    def index(self) -> dict[str, int]:
        """Places of levels in the machine."""
        return {level.name: number for number, level in enumerate(self.machine.levels)}

    @cached_property
    def pieces(self) -> list[dict[str, int]]:
        """Points of each dimension that reach the node at each place; at the end, those that no loop splits."""
        left = self.workload.extents
        found = [dict(left)]
        for node in self.tree.nodes:
            if not isinstance(node, Keep) and node.dim in left:
                left[node.dim] = min(left[node.dim], node.size)
            found.append(dict(left))
        return found

    def count(self, place: int, node: Temporal | Spatial) -> int:
        """Iterations of a loop over a full piece."""
        return -(-self.pieces[place][node.dim] // node.size)

    @cached_property
    def owned(self) -> dict[str, list[int]]:
        """Places of the loops of each level: spatial ones of their fan-out, temporal ones of the store kept last."""
        found: dict[str, list[int]] = {level.name: [] for level in self.machine.levels}
        store = self.machine.levels[0].name
        for place, node in enumerate(self.tree.nodes):
            if isinstance(node, Keep):
                store = node.store
            else:
                found[node.fanout if isinstance(node, Spatial) else store].append(place)
        return found
