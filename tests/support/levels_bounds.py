"""Which mappings the tree of classes bounds: each must be in a class that permits it, and no bound on the way there may
be above what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from random import Random

import numpy as np
from dnnc.ir.hierarchy import Hierarchy
from dnnc.ir.loop_tree import Workload
from dnnc.passes.levels.exact_kernels import quantity
from dnnc.passes.levels.figures import figures_of
from dnnc.passes.levels.search import Node, Search, searches_of
from dnnc.passes.levels.space import Frame, Pin, frames
from dnnc.passes.levels.tables import Floats
from dnnc.passes.objective import parse_objective

_FRAMES = 3  # of a problem
_NEAR = 1e-9

Order = tuple[tuple[str, ...], ...]
Drawn = tuple[list[int], Order]  # candidates by group, and an order of loops by block


def unbounded(workload: Workload, machine: Hierarchy, seed: int, samples: int) -> tuple[int, list[Drawn]]:
    """How many random legal mappings were drawn, and those of them that no class bounds from below."""
    rng, drawn, lost = Random(seed), 0, list[Drawn]()
    for frame in islice(frames(workload, machine, Pin()), _FRAMES):
        for search in searches_of(frame, figures_of(frame), parse_objective("edp")):
            if search.tables.groups:
                mappings = _drawn(search, frame, rng, samples)
                drawn += len(mappings)
                lost += _lost(search, mappings)
    return drawn, lost


def _drawn(search: Search, frame: Frame, rng: Random, samples: int) -> list[Drawn]:
    groups, found = search.tables.groups, list[Drawn]()
    limits = np.array([slot.lanes if slot.axis else 1 for slot in frame.slots])
    for _ in range(samples):
        chosen = [rng.randrange(len(group)) for group in groups]
        lanes = np.prod([group.lanes[each] for group, each in zip(groups, chosen, strict=True)], axis=0)
        if (lanes <= limits).all():
            found.append((chosen, rng.choice(search.exact.orders_of(np.array(chosen)))))
    return found


def _lost(search: Search, mappings: Sequence[Drawn]) -> list[Drawn]:
    exact = [_quantities(search, mapping) for mapping in mappings]
    left = set(range(len(mappings)))

    def descend(node: Node, alive: set[int]) -> None:
        held = {each for each in alive & left if _holds(search, node, mappings[each][0], exact[each])}
        parts = search.children(node) if held else []
        if parts is None:
            preferred = tuple(choice.innermost for choice in node.chosen)
            for each in held:
                chosen, order = mappings[each]
                if order in search.exact.orders_of(np.array(chosen), preferred):
                    left.discard(each)
            return
        for part in parts:
            if held & left:
                descend(part, held)

    descend(Node((), ()), set(left))
    return [mappings[each] for each in sorted(left)]


def _quantities(search: Search, mapping: Drawn) -> Floats:
    """What each wanted quantity, and each that is taken off, is."""
    chosen, order = np.array(mapping[0], np.int64), mapping[1]
    columns, arguments = search.sieve.columns, search.exact.arguments
    groups = zip(search.tables.groups, chosen, strict=True)
    lanes = np.prod([group.lanes[each] for group, each in groups], axis=0)
    (ranks,), room, found = search.exact.ranks([order]), np.empty(64, np.int64), list[float]()
    for number in (*columns.wanted, *columns.less):
        whole, end = search.tables.figures.whole.get(number, (number, 0))
        counted = whole if lanes[:end].prod() > 1 else number
        found.append(float(quantity(counted, chosen, ranks, *arguments[2:9], room)))
    return np.array(found)


def _holds(search: Search, node: Node, chosen: list[int], exact: Floats) -> bool:
    """Whether a node has these candidates, with no bound above what they take."""
    linear, groups = search.linear, search.fronts.groups
    values, tiles, shares = linear.constants.copy(), linear.constants[linear.split], np.ones(len(linear.split))
    for key, each in zip(search.classes.keys(*node), chosen, strict=True):
        outline = groups.outline(key)
        row = np.flatnonzero(outline.places == each)
        if not len(row):
            return False
        one = groups.variants(key, outline.only(outline.places == each))
        values = values * outline.rows[row[0]]
        tiles, shares = tiles * one.tiles[0], shares * one.shares[0]
    wanted = linear.wanted
    values[:wanted] = np.maximum(values[:wanted], linear.floors)
    values[linear.split] = np.maximum(values[linear.split], tiles * (1 - shares))
    above = values[:wanted] > exact[:wanted] * (1 + _NEAR) + _NEAR
    below = values[wanted:] < exact[wanted:] * (1 - _NEAR) - _NEAR
    return not above.any() and not below.any()
