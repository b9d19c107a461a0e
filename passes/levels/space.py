"""The declared map space of a workload on a hierarchy (specs/hierarchy.md, Map space): slots, chains of sizes, orders.

A *slot* is a place for one loop over each dimension: the temporal block of a store, or an axis of a fan-out. A *chain*
is what one dimension does in all slots, from the outermost inwards: the size of its pieces after each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ir.diagnostics import CompileError, Diagnostic
from ...ir.frozen import dataclass
from ...ir.hierarchy import OPERAND_ROLES, Constraint, FanOut, Hierarchy, Store, Tiles
from ...ir.loop_tree import Keep, LoopNode, LoopTree, Spatial, Temporal, Workload
from ...ir.nest import Role
from .stock import Stock

Ints = NDArray[np.int64]
UNLIMITED = 1 << 62
MOST_CHAINS = 1 << 18  # of a dimension


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


def pieces(reach: int, most: int, evenly: bool = False) -> list[int]:
    """Sizes of pieces of `reach` points, for 1 .. `most` pieces: the smallest for each number of them; only those
    without a short last piece if `evenly`."""
    if evenly:
        return [reach // count for count in range(1, min(reach, most) + 1) if reach % count == 0]
    sizes = []
    count = 1
    while count <= min(reach, most):
        size = -(-reach // count)
        sizes.append(size)
        count = -(-reach // (size - 1)) if size > 1 else reach + 1
    return sizes


@dataclass(frozen=True, slots=True)
class _Rule:
    """How many pieces of a dimension a slot may make: at most `most`, exactly `factor`, or (0) as many as points. Those
    of all slots of its store are judged together if it is `one_of_several`; those of both axes of a fan-out are at most
    `together`."""

    most: int
    factor: int | None
    one_of_several: bool = False
    together: int = UNLIMITED


def _rule(frame: Frame, slot: Slot, dim: str) -> _Rule:
    level = frame.level(slot)
    most, factor, together = slot.lanes if slot.axis else UNLIMITED, None, UNLIMITED
    if isinstance(level, FanOut):
        legal = level.row_dims if slot.axis == "rows" else level.col_dims
        if legal is not None and dim not in legal:
            most = 1
    for each in frame.pin.of(level):
        if each.dims is not None and dim not in each.dims:
            most = 1
        together = min(together, dict(each.most).get(dim, together))
        factor = dict(each.factors).get(dim, factor)
    most = min(most, together)
    if factor is not None:
        factor = min(factor, frame.workload.extents[dim])  # a layer with fewer points has them all there
    if factor == 1:
        most, factor = 1, None
    several = isinstance(level, Store) and sum(each.level == slot.level for each in frame.slots) > 1
    return _Rule(min(most, factor) if several and factor else most, factor, several, together)


_CHAINS = Stock(1 << 25)


def chains(frame: Frame, dim: str) -> Ints:
    """All chains of a dimension, a row each: sizes after every slot; the last is 1."""
    extent = frame.workload.extents[dim]
    rules = [_rule(frame, slot, dim) for slot in frame.slots]
    for place, rule in enumerate(rules):
        if dim in frame.still(place):
            rules[place] = _Rule(1, rule.factor, rule.one_of_several)

    def make() -> tuple[Ints]:
        made = _chains(extent, frame.slots, rules)
        if made is None:
            raise too_many(frame, (dim,))
        return (made,)

    (found,) = _CHAINS.of((extent, frame.slots, tuple(rules)), make)
    return found


def too_many(frame: Frame, dims: tuple[str, ...]) -> CompileError:
    """What is told where the ways to cut some dimensions are more than can be looked at."""
    named = " and ".join(f"{dim} ({frame.workload.extents[dim]} points)" for dim in dims)
    return CompileError(
        Diagnostic(
            f"{frame.workload.name or 'the layer'}: there are too many ways to cut {named} over the"
            f" {len(frame.slots)} places for loops of {frame.machine.name!r}",
            help="leave less to the mapper: `loops` of stores (`dims`, `factors`, `most`), `row_dims` and `col_dims`",
        )
    )


def _chains(extent: int, slots: tuple[Slot, ...], rules: list[_Rule]) -> Ints | None:
    """None where there are more than MOST_CHAINS."""
    # A fixed number of lanes may be spread over both axes of a fan-out: it is judged after the second.
    reducible = [1] * (len(rules) + 1)
    for place in range(len(rules) - 1, -1, -1):
        rule = rules[place]
        by = reducible[place + 1] * (UNLIMITED if rule.factor == 0 and not slots[place].axis else rule.most)
        reducible[place] = min(UNLIMITED, by)
    table: dict[tuple[int, bool], list[tuple[int, ...]]] = {(extent, False): [()]}
    for place, (slot, rule) in enumerate(zip(slots, rules, strict=True)):
        both = _both_axes(slots, place)
        after: dict[tuple[int, bool], list[tuple[int, ...]]] = {}
        for (reach, split), found in table.items():
            fixed = rule.factor is not None and not (rule.one_of_several and rule.factor == 0)
            for size in pieces(reach, rule.most, evenly=split and not slot.axis and not fixed):
                if size > reducible[place + 1]:
                    continue
                judged = not both and not rule.one_of_several
                if judged and rule.factor is not None and not _exactly(reach, size, rule.factor):
                    continue
                key = size, split or (not slot.axis and size < reach)
                after.setdefault(key, []).extend((*each, size) for each in found)
        if both and slot.axis == "cols" and (rule.factor is not None or rule.together < UNLIMITED):
            for key, found in after.items():
                after[key] = [each for each in found if _fits_both(each, place, extent, rule)]
        table = after
        if sum(map(len, table.values())) > MOST_CHAINS:
            return None
    done = [*table.get((1, False), []), *table.get((1, True), [])]
    rows: Ints = np.array(done, np.int64).reshape(len(done), len(rules))
    kept: Ints = rows[_judged_together(slots, rules, rows, extent)]
    return kept


def _judged_together(slots: tuple[Slot, ...], rules: list[_Rule], found: Ints, extent: int) -> NDArray[np.bool_]:
    """Which chains keep what a store with several slots says of the iterations of all of them."""
    legal = np.ones(len(found), bool)
    before = np.concatenate([np.full((len(found), 1), extent), found], axis=1)
    for level in {slot.level for slot, rule in zip(slots, rules, strict=True) if rule.one_of_several}:
        places = [place for place, slot in enumerate(slots) if slot.level == level]
        rule = rules[places[-1]]  # that of the store: the others may leave out dimensions
        iterations = np.prod([-(-before[:, place] // found[:, place]) for place in places], axis=0, dtype=np.int64)
        if rule.factor == 0:
            legal &= found[:, places[-1]] == 1
        elif rule.factor is not None:
            legal &= iterations == rule.factor
        legal &= iterations <= rule.most
    return legal


def _exactly(reach: int, size: int, factor: int) -> bool:
    return size == 1 if factor == 0 else -(-reach // size) == factor


def _both_axes(slots: tuple[Slot, ...], place: int) -> bool:
    slot = slots[place]
    return bool(slot.axis) and sum(each.level == slot.level for each in slots) == 2


def _fits_both(chain: tuple[int, ...], place: int, extent: int, rule: _Rule) -> bool:
    """Whether the pieces along both axes of a fan-out, of which the second is at `place`, are as many as they may be;
    where all points lie there lanes may stay idle."""
    before = chain[place - 2] if place >= 2 else extent
    pieces = -(-before // chain[place - 1]) * -(-chain[place - 1] // chain[place])
    if rule.factor is not None and (chain[place] > 1 if rule.factor == 0 else min(pieces, extent) != rule.factor):
        return False
    return pieces <= rule.together


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
