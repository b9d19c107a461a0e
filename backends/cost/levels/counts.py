"""Counts of a mapping on a hierarchy: cycles of the multipliers, and elements that cross each boundary between stores.

They are numbers of elements, before any convention of what is read or written for them (accesses.py) and before words
and prices. specs/hierarchy.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ....ir.frozen import dataclass
from ....ir.hierarchy import FanOut, Hierarchy
from ....ir.loop_tree import LoopTree, Operand, Spatial, Temporal, Workload
from ....ir.nest import Role
from .moves import Mover
from .steps import NO_TILE, Lanes, pairs, steps_of


@dataclass(frozen=True, slots=True)
class Crossing:
    """Elements at a boundary: `total` over all instances of the machine, `busiest` for the first and busiest one. Of
    several instances some meet padding and some do not: for the busiest one it counts as if it were stored."""

    total: int
    busiest: int


@dataclass(frozen=True, slots=True)
class Boundary:
    """What crosses from the store `outer` inwards to `inner` (None: the multipliers), for outputs the other way, too.

    `shared` counts an element once for all instances that take the same tile, where the network shares it: what
    `outer` reads, or of outputs what it is given. `each` counts it for every instance: what `inner` is given, or of
    outputs what it gives. `distinct` are the different elements of outputs that each instance of `outer` is ever given.
    `network` has, by fan-out between the two, the elements that enter it.
    """

    role: Role
    outer: str
    inner: str | None
    shared: Crossing
    each: Crossing
    distinct: Crossing
    network: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class LevelCounts:
    """`steps` are cycles of the busiest multiplier if nothing keeps it waiting, `points` products, `lanes` those that
    work at once at most. `tiles` are the elements of the largest tile by store and role."""

    points: int
    steps: int
    lanes: int
    boundaries: tuple[Boundary, ...]
    tiles: tuple[tuple[str, Role, int], ...]

    def tile(self, store: str, role: Role) -> int:
        return next(elements for name, kind, elements in self.tiles if (name, kind) == (store, role))


def count(
    workload: Workload, machine: Hierarchy, tree: LoopTree, *, by_hull: bool = False, slides: bool = True
) -> LevelCounts:
    """The counts of a legal mapping (ir/loop_tree_rules.py).

    With `by_hull`, what several fan-outs in a row share is judged at the first of them: each of its lanes takes the
    hull of what is inside of it, and lanes with equal hulls share it. Without `slides` a tile keeps a part of the one
    before it only where the innermost loop outside of it advances.
    """
    boundaries: list[Boundary] = []
    tiles: list[tuple[str, Role, int]] = []
    for operand in workload.operands:
        clipped = Mover(workload, operand, tree.nodes, slides=slides)
        whole = Mover(workload, operand, tree.nodes, clips=False, slides=slides)
        if whole.groups == clipped.groups:  # nothing is padded: what one has counted the other need not
            whole = clipped
        keeps = list(tree.keeps(operand.role))
        tiles += [(store, operand.role, whole.largest(place)) for place, store in keeps]
        inner: list[tuple[int, str | None]] = [*keeps[1:], (len(tree.nodes), None)]
        for (place, store), (until, name) in zip(keeps, inner, strict=True):
            boundaries.append(_boundary(clipped, whole, machine, tree, operand, (place, store), (until, name), by_hull))
    return LevelCounts(
        points=workload.points,
        steps=_steps(workload, tree),
        lanes=_lanes(workload, tree),
        boundaries=tuple(boundaries),
        tiles=tuple(tiles),
    )


def _boundary(
    clipped: Mover,
    whole: Mover,
    machine: Hierarchy,
    tree: LoopTree,
    operand: Operand,
    outer: tuple[int, str],
    inner: tuple[int, str | None],
    by_hull: bool,
) -> Boundary:
    role, until = operand.role, inner[0]
    fanouts = {each.name: each for each in machine.fanouts}
    spatial = {place: fanouts[node.fanout] for place, node in enumerate(tree.nodes) if isinstance(node, Spatial)}
    between = machine.fanouts_between(outer[1], inner[1])

    def how(outside: Lanes, within: Lanes | None, entered: int = 0) -> dict[int, Lanes]:
        """Lanes outside of the outer store count as `outside`; within it as `within`, or as the network shares them
        (from the `entered`-th fan-out on; every lane of those before it counts)."""
        found = {}
        for place, fanout in spatial.items():
            if place < outer[0]:
                found[place] = outside
            elif place < until:
                shares = fanout.shares(role) and between.index(fanout.name) >= entered
                found[place] = within or (Lanes.SHARED if shares else Lanes.SUM)
        return found

    def elements(mover: Mover, lanes: Mapping[int, Lanes], tile: int = until) -> int:
        # The multipliers keep nothing from one point to the next.
        return mover.taken(tile, lanes) if inner[1] is not None else mover.visited(tile, lanes)

    def crossing(within: Lanes | None, end: int, tile: int = until) -> Crossing:
        total = elements(clipped, how(Lanes.SUM, within), tile)
        if not any(place < end for place in spatial):
            return Crossing(total, total)
        return Crossing(total, elements(whole, how(Lanes.FIRST, within and Lanes.FIRST), tile))

    place = outer[0]
    shared_tile = _hull(tree, place, until) if by_hull else until
    is_output = role is Role.OUTPUT
    return Boundary(
        role=role,
        outer=outer[1],
        inner=inner[1],
        shared=crossing(None, place, shared_tile),
        each=crossing(Lanes.SUM, until),
        distinct=Crossing(
            clipped.distinct(place, _outside(spatial, place, Lanes.SUM)) if is_output else 0,
            clipped.distinct(place, _outside(spatial, place, Lanes.FIRST)) if is_output else 0,
        ),
        network=tuple((name, elements(clipped, how(Lanes.SUM, None, number))) for number, name in enumerate(between)),
    )


def _hull(tree: LoopTree, outer: int, until: int) -> int:
    """Where the lanes of the first fan-out between two stores begin, if no temporal loop lies further inside."""
    inside = list(enumerate(tree.nodes[:until]))[outer + 1 :]
    lanes = [(place, node.fanout) for place, node in inside if isinstance(node, Spatial)]
    if not lanes:
        return until
    end = 1 + max(place for place, fanout in lanes if fanout == lanes[0][1])
    return until if any(isinstance(node, Temporal) for place, node in inside if place >= end) else end


def _outside(spatial: Mapping[int, FanOut], place: int, lanes: Lanes) -> dict[int, Lanes]:
    return {each: lanes for each in spatial if each < place}


def _steps(workload: Workload, tree: LoopTree) -> int:
    """Cycles of the first instance, which never has less to do than another, at one point a cycle."""
    return prod(_pieces(workload, tree, Lanes.FIRST, dim) for dim in workload.extents)


def _lanes(workload: Workload, tree: LoopTree) -> int:
    """Multipliers at work in the first cycle, when most are."""
    first = {place: Lanes.SUM for place, node in enumerate(tree.nodes) if isinstance(node, Spatial)}
    total = 1
    for dim, extent in workload.dims:
        steps = steps_of(dim, tree.nodes, len(tree.nodes), first)
        total *= sum(pairs(steps, extent, -1, None).values())
    return total


def _pieces(workload: Workload, tree: LoopTree, lanes: Lanes, dim: str) -> int:
    how = {place: lanes for place, node in enumerate(tree.nodes) if isinstance(node, Spatial)}
    steps = steps_of(dim, tree.nodes, len(tree.nodes), how)
    return sum(pairs(steps, workload.extents[dim], NO_TILE, None).values())
