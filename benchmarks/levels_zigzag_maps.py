"""Mappings of dnnc's on a hierarchy as ZigZag's, and the other way (levels_zigzag.py)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from math import ceil, isclose
from typing import Any

from dnnc.backends.cost.levels.cost import LevelCost, cost
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


def nearby(workload: Workload, machine: Hierarchy, tree: LoopTree) -> Iterator[LoopTree]:
    """The mapping with pieces that divide what reaches them: the next smaller ones, and the next larger ones."""
    if divides(workload, tree):
        return
    for choose in (_smaller, _larger):
        left = workload.extents
        nodes: list[LoopNode] = []
        for node in tree.nodes:
            if isinstance(node, Keep):
                nodes.append(node)
                continue
            left[node.dim] = choose(left[node.dim], node.size)
            nodes.append(replace(node, size=left[node.dim]))
        found = LoopTree(tuple(nodes))
        if not any(loop_tree_faults(workload, machine, found)):
            yield found


def _smaller(reach: int, size: int) -> int:
    return max(each for each in range(1, min(reach, size) + 1) if reach % each == 0)


def _larger(reach: int, size: int) -> int:
    return min(each for each in range(min(reach, size), reach + 1) if reach % each == 0)


def grown(workload: Workload, machine: Hierarchy, tree: LoopTree) -> Iterator[LoopTree]:
    """The mapping with tiles of the memory beside the array that begin as far outside as there is room for them, as
    long as neither energy nor cycles rise; the loop around a tile may be split for that. The operands begin as far
    inside as they can (the first mapping) and take turns, in each of their orders."""
    shared = machine.stores[1].name
    least = cost(workload, machine, tree)

    def moved(tree: LoopTree, role: Role, ways: Callable[..., Iterator[LoopTree]]) -> LoopTree:
        while True:
            found = (each for each in ways(workload, tree, role, shared) if _fits(workload, machine, each, least))
            after = next(found, None)
            if after is None:
                return tree
            tree = after

    small = tree
    for role in ROLES:
        small = moved(small, role, _inwards)
    yield small
    for roles in permutations(ROLES):
        large = small
        for role in roles:
            large = moved(large, role, _outwards)
        yield large


def _fits(workload: Workload, machine: Hierarchy, tree: LoopTree, least: LevelCost) -> bool:
    if any(loop_tree_faults(workload, machine, tree)):
        return False
    found = cost(workload, machine, tree)
    cheaper = found.total_energy_pj <= least.total_energy_pj * (1 + 1e-9)
    return cheaper and found.cycles.total <= least.cycles.total


def _outwards(workload: Workload, tree: LoopTree, role: Role, store: str) -> Iterator[LoopTree]:
    """The tile of an operand begins outside of the loop around it, or of a part of that, the largest first."""
    place = next(at for at, name in tree.keeps(role) if name == store)
    before, own, after = list(tree.nodes[: place - 1]), tree.nodes[place], tree.nodes[place + 1 :]
    assert isinstance(own, Keep)
    others = tuple(each for each in own.roles if each is not role)
    rest = ((Keep(store, others),) if others else ()) + after
    match tree.nodes[place - 1]:
        case Temporal(dim, size) as loop:
            reach = min([workload.extents[dim], *(n.size for n in before if not isinstance(n, Keep) and n.dim == dim)])
            yield LoopTree((*before, Keep(store, (role,)), loop, *rest))
            for larger in range(reach - 1, size, -1):
                if reach % larger == 0 and larger % size == 0:
                    yield LoopTree((*before, Temporal(dim, larger), Keep(store, (role,)), loop, *rest))
        case Keep(name, _) as node if name == store and others:
            yield LoopTree((*before, Keep(store, (role,)), node, *rest))
        case Keep(name, _) as node if name == store:
            yield LoopTree((*before, own, node, *rest))


def _inwards(workload: Workload, tree: LoopTree, role: Role, store: str) -> Iterator[LoopTree]:
    """The tile of an operand begins inside of the loop in it."""
    place = next(at for at, name in tree.keeps(role) if name == store)
    own, inner = tree.nodes[place : place + 2]
    assert isinstance(own, Keep)
    others = tuple(each for each in own.roles if each is not role)
    before = (*tree.nodes[:place], *((Keep(store, others),) if others else ()))
    if isinstance(inner, Temporal):
        yield LoopTree((*before, inner, Keep(store, (role,)), *tree.nodes[place + 2 :]))
    elif isinstance(inner, Keep) and inner.store == store:
        yield LoopTree((*before, replace(inner, roles=(*inner.roles, role)), *tree.nodes[place + 2 :]))
