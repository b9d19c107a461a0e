"""The declared map space of a workload on a hierarchy (specs/hierarchy.md, Map space): what is kept where, the slots
that this leaves, and orders of loops; chains of sizes are in chains.py.

A *slot* is a place for one loop over each dimension: the temporal block of a store, or an axis of a fan-out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.frozen import dataclass
from ...ir.hierarchy import OPERAND_ROLES, Constraint, FanOut, Hierarchy, Store, Tiles
from ...ir.loop_tree import Keep, LoopNode, LoopTree, Spatial, Temporal, Workload
from ...ir.nest import Role

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for loops at `level` of the machine: temporal, or along `axis` of a fan-out with `lanes` along it."""

    level: int
    axis: str = ""
    lanes: int = 0


@dataclass(frozen=True, slots=True)
class Pin:
    """What a partial mapping fixes: constraints by level, which hold beside the machine's own, and by store the roles
    that it keeps."""

    constraints: tuple[tuple[str, Constraint], ...] = ()
    keeps: tuple[tuple[str, tuple[Role, ...]], ...] = ()

    def of(self, level: Store | FanOut) -> tuple[Constraint, ...]:
        return (level.constraint, *[each for name, each in self.constraints if name == level.name])


@dataclass(frozen=True)
class Frame:
    """Which stores keep which roles, and the slots that this leaves: a store that keeps nothing has no loops.

    `keeps` are, from the outermost inwards, the store's place in the machine, its roles and how many slots lie outside.
    A store with uneven tiles has one for each role, each followed by a slot of its own.
    """

    workload: Workload
    machine: Hierarchy
    pin: Pin
    keeps: tuple[tuple[int, tuple[Role, ...], int], ...]
    slots: tuple[Slot, ...]
    apart: bool = False  # whether uneven tiles may begin at different places

    def level(self, slot: Slot) -> Store | FanOut:
        return self.machine.levels[slot.level]

    @property
    def blocks(self) -> list[int]:
        """Places of the temporal slots."""
        return [place for place, slot in enumerate(self.slots) if not slot.axis]

    def still(self, place: int) -> frozenset[str]:
        """Dimensions that have no loops at the slot at `place`: behind an operand's node those that do not move its
        tile, where another node of the same store follows."""
        own = [(number, roles) for number, roles, outside in self.keeps if outside == place]
        for number, roles in own:
            if any(other == number and outside > place for other, _, outside in self.keeps):
                moving = self.workload.operand(roles[0]).dims
                return frozenset(dim for dim, _ in self.workload.dims if dim not in moving)
        return frozenset()

    def positions(self, role: Role) -> list[tuple[Store, int]]:
        """Stores that keep `role`, each with the number of slots outside of it."""
        found = []
        for place, roles, outside in self.keeps:
            level = self.machine.levels[place]
            if role in roles and isinstance(level, Store):
                found.append((level, outside))
        return found


Entry = tuple[int, tuple[Role, ...]]  # a level's place in the machine; of a store, roles whose tiles begin together


def frames(workload: Workload, machine: Hierarchy, pin: Pin) -> Iterator[Frame]:
    """One frame for each choice of the roles that stores keep, and for each order in which uneven tiles may begin; the
    ones with most kept come first. Before all that, where there are uneven tiles, those in which none is: they are a
    part of the others, and a small one, so that the others' search begins with a good mapping."""
    if any(isinstance(level, Store) and level.tiles is Tiles.UNEVEN for level in machine.levels):
        yield from _frames(workload, machine, pin, apart=False)
        yield from _frames(workload, machine, pin, apart=True)
        return
    yield from _frames(workload, machine, pin, apart=False)


def _frames(workload: Workload, machine: Hierarchy, pin: Pin, apart: bool) -> Iterator[Frame]:
    present = tuple(each.role for each in workload.operands)
    choices: list[list[tuple[Role, ...]]] = []
    pinned = dict(pin.keeps)
    for number, level in enumerate(machine.levels):
        if not isinstance(level, Store):
            choices.append([()])
            continue
        held = [role for role in present if role in level.holds]
        must = [role for role in held if number == 0 or role in level.keeps]
        free = [role for role in held if role not in must]
        if level.name in pinned:
            choices.append([tuple(role for role in present if role in pinned[level.name])])
            continue
        kept = [frozenset(some) for count in range(len(free), -1, -1) for some in combinations(free, count)]
        choices.append([tuple(role for role in held if role in must or role in some) for some in kept])
    for chosen in product(*choices):
        entries = [entry for number, roles in enumerate(chosen) for entry in _entries(machine, number, roles, apart)]
        for ordered in _arrangements(machine, entries) if apart else (tuple(entries),):
            keeps: list[tuple[int, tuple[Role, ...], int]] = []
            slots: list[Slot] = []
            for number, roles in ordered:
                level = machine.levels[number]
                if isinstance(level, FanOut):
                    axes = (("rows", level.rows), ("cols", level.cols))
                    slots += [Slot(number, axis, lanes) for axis, lanes in axes if lanes > 1]
                else:
                    keeps.append((number, roles, len(slots)))
                    slots.append(Slot(number))
            yield Frame(workload, machine, pin, tuple(keeps), tuple(slots), apart)


def _entries(machine: Hierarchy, number: int, roles: tuple[Role, ...], apart: bool) -> list[Entry]:
    level = machine.levels[number]
    if isinstance(level, FanOut):
        return [(number, ())]
    if apart and level.tiles is Tiles.UNEVEN:
        return [(number, (role,)) for role in roles]
    return [(number, roles)] if roles else []


def _arrangements(machine: Hierarchy, entries: list[Entry]) -> Iterator[tuple[Entry, ...]]:
    """The orders of `entries`, which stand in the machine's: that one first."""
    if not entries:
        yield ()
        return
    for place, entry in enumerate(entries):
        if not any(_stays_outside(machine, other, entry) for other in entries[:place]):
            for rest in _arrangements(machine, [*entries[:place], *entries[place + 1 :]]):
                yield (entry, *rest)


def _stays_outside(machine: Hierarchy, outer: Entry, inner: Entry) -> bool:
    """Whether an entry that stands outside of another in the machine does so in every order: main memory, fan-outs,
    stores of the same operand, and stores none of which is uneven."""
    levels = [machine.levels[number] for number, _ in (outer, inner)]
    uneven = any(isinstance(level, Store) and level.tiles is Tiles.UNEVEN for level in levels)
    if not outer[0] or any(isinstance(level, FanOut) for level in levels) or not uneven:
        return True
    return bool(set(outer[1]) & set(inner[1]))


def orders(frame: Frame, slot: Slot) -> list[tuple[str, ...]]:
    """The declared orders of a temporal block, each from the outermost loop to the innermost.

    Those of `innermost` dimensions that the same operands depend on, or all others, come last; among each of the two
    parts the dimensions are in the workload's order, but for one that slides, which may be the last of its part.
    """
    dims = [dim for dim, extent in frame.workload.dims if extent > 1]
    fixed: list[str] = []
    for each in frame.pin.of(frame.level(slot)):
        fixed += [dim for dim in each.order if dim in dims and dim not in fixed]
    free = [dim for dim in dims if dim not in fixed]
    found: dict[tuple[str, ...], None] = {}
    kinds = list(dict.fromkeys(signature(frame.workload, dim) for dim in free))
    sliding = sliding_dims(frame.workload)
    for kind in kinds:
        inner = [dim for dim in free if signature(frame.workload, dim) == kind]
        outer = [dim for dim in free if dim not in inner]
        for out in _last(outer, sliding):
            for ins in _last(inner, sliding):
                found[(*out, *ins, *reversed(fixed))] = None
    return list(found) or [tuple(reversed(fixed))]


def _last(dims: list[str], sliding: frozenset[str]) -> list[list[str]]:
    return [dims, *[[*[d for d in dims if d != dim], dim] for dim in dims if dim in sliding and dim != dims[-1]]]


def signature(workload: Workload, dim: str) -> frozenset[Role]:
    """The roles whose operands depend on `dim`."""
    return frozenset(each.role for each in workload.operands if dim in each.dims)


def sliding_dims(workload: Workload) -> frozenset[str]:
    """Dimensions of more than one point that share an axis with another."""
    extents = workload.extents
    found: set[str] = set()
    for operand in workload.operands:
        for axis in operand.axes:
            moving = [dim for dim, _ in axis.index.terms if extents[dim] > 1]
            found |= set(moving) if len(moving) > 1 else set()
    return frozenset(found)


def tree_of(frame: Frame, sizes: Mapping[str, Any], order: Mapping[int, tuple[str, ...]]) -> LoopTree:
    """The loop tree of a chain for each dimension and an order for each temporal slot (by its place). What one store
    keeps from the same place on stands in one node."""
    nodes: list[LoopNode] = []
    reach = frame.workload.extents
    keeps = {outside: (frame.machine.levels[place].name, roles) for place, roles, outside in frame.keeps}
    for place, slot in enumerate(frame.slots):
        if place in keeps and not slot.axis:
            store, roles = keeps[place]
            if nodes and isinstance(last := nodes[-1], Keep) and last.store == store:
                roles = tuple(role for role in OPERAND_ROLES if role in (*last.roles, *roles))
                nodes.pop()
            nodes.append(Keep(store, roles))
        for dim in reach if slot.axis else order[place]:
            size = int(sizes[dim][place]) if dim in sizes else 1
            if size < reach[dim]:
                name = frame.level(slot).name
                nodes.append(Spatial(dim, size, name, slot.axis) if slot.axis else Temporal(dim, size))
                reach[dim] = size
    return LoopTree(tuple(nodes))
