"""Mappings of dnnc's on a hierarchy as ZigZag's, and the other way (levels_zigzag.py)."""

from __future__ import annotations

import sys
from math import ceil, isclose
from typing import Any

from dnnc.ir.hierarchy import FanOut, Hierarchy
from dnnc.ir.loop_tree import Keep, LoopNode, LoopTree, Spatial, Temporal, Workload
from dnnc.ir.loop_tree_rules import loop_tree_faults
from dnnc.ir.nest import Role

# ZigZag's names for our dimensions, outermost first, and its letters for the operands.
DIMS = {"m": "K", "c": "C", "p": "OY", "q": "OX", "r": "FY", "s": "FX"}
OURS = {name: dim for dim, name in DIMS.items()}
ROLES = {Role.INPUT: "I", Role.WEIGHT: "W", Role.OUTPUT: "O"}


def lanes_of(answer: dict[str, Any]) -> dict[str, int]:
    """ZigZag's lanes, which are whole for these layers."""
    lanes = {OURS[name]: round(count) for name, count in answer["lanes"].items()}
    if not all(isclose(lanes[OURS[name]], count) for name, count in answer["lanes"].items()):
        sys.exit(f"lanes are not whole: {answer['lanes']}")
    return lanes


def tree_of(workload: Workload, machine: Hierarchy, answer: dict[str, Any]) -> LoopTree:
    """ZigZag's mapping as a loop tree: one order of loops, and in it where each operand's tiles begin.

    Loops inside of the registers move no output, so that their tile may as well begin further inside: the fan-out to
    them must lie inside of all tiles of the memory around it.
    """
    loops = [(OURS[name], factor) for level in answer["loops"]["I"] for name, factor in level]
    main, shared, registers = (store.name for store in machine.stores)
    outer, inner = machine.fanouts
    lanes = lanes_of(answer)
    begins = {role: sum(map(len, answer["loops"][name][:-1])) for role, name in ROLES.items()}
    registers_begin = min(len(answer["loops"]["O"][0]), *begins.values())
    size = dict.fromkeys(workload.extents, 1)
    nodes: list[LoopNode] = []  # from the innermost outwards

    def spread(fanout: FanOut) -> None:
        for dims, axis in ((fanout.row_dims, "rows"), (fanout.col_dims, "cols")):
            for dim in dims or ():
                nodes.append(Spatial(dim, size[dim], fanout.name, axis))
                size[dim] *= lanes.get(dim, 1)

    for place in range(len(loops) + 1):
        if place == registers_begin:
            spread(inner)
            nodes.append(Keep(registers, (Role.OUTPUT,)))
            spread(outer)
        if kept := tuple(role for role in ROLES if begins[role] == place):
            nodes.append(Keep(shared, kept))
        if place < len(loops):
            dim, factor = loops[place]
            nodes.append(Temporal(dim, size[dim]))
            size[dim] *= factor
    nodes.append(Keep(main, tuple(ROLES)))
    tree = LoopTree(tuple(reversed(nodes)))
    if faults := list(loop_tree_faults(workload, machine, tree)):
        sys.exit(f"{workload.name}: ZigZag's mapping breaks a rule: {faults[0].message}")
    return tree


def loops_of(workload: Workload, tree: LoopTree) -> dict[str, Any]:
    """Our mapping as temporal loops of ZigZag's, by operand and level from the innermost. A short last piece counts as
    a whole one there."""
    left = workload.extents
    found: dict[str, list[list[tuple[str, int]]]] = {name: [[]] for name in ROLES.values()}
    for node in tree.nodes[1:]:
        if isinstance(node, Keep):
            for role in node.roles:
                found[ROLES[role]].append([])
            continue
        count = ceil(left[node.dim] / node.size)
        left[node.dim] = node.size
        if isinstance(node, Temporal):
            for levels in found.values():
                levels[-1].append((DIMS[node.dim], count))
    return {name: [level[::-1] for level in reversed(levels)] for name, levels in found.items()}


def divides(workload: Workload, tree: LoopTree) -> bool:
    """Whether no piece is short: ZigZag counts short ones as whole."""
    left = workload.extents
    for node in tree.nodes:
        if not isinstance(node, Keep):
            if left[node.dim] % node.size:
                return False
            left[node.dim] = node.size
    return True
