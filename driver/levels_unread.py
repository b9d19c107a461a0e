"""What a description of a machine with levels inside the array says, and some layers' mappings do not read: told, as it
looks like a constraint and is none there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..frontend.hierarchy_places import place_of
from ..ir.hierarchy import Constraint, FanOut, Hierarchy, Store
from ..ir.loop_tree import Keep, LoopTree, Workload

_MOST_NAMED = 4  # layers
# Dimensions of layers whose sum, or batch, has been split, and the one that they are parts of (specs/mapping.md).
_PARTS = {"k0": "k", "k1": "k", "g1": "g", "g2": "g"}
_COUNTS = ("loops.factors", "loops.most", "loops.order")  # what is not named is free there, and barred elsewhere
_SUMS = ("k", "k0")  # what matrix products sum over, where convolutions have c


def unread(machine: Hierarchy, layers: Sequence[tuple[Workload, LoopTree]]) -> Iterator[str]:
    """A sentence for each."""
    yield from _idle(machine)
    for store in machine.stores:
        if store.constraint == Constraint():
            continue
        free = [work.name for work, tree in layers if store.name not in _keeping(tree)]
        if free:
            yield (
                f"{store.name!r} keeps nothing of {_listed(free)}: it has no loops there, and its `loops` do not bind;"
                " `keeps` says what must lie there"
            )
    for level in machine.levels:
        for key, names in _lists(level):
            for part, whole in _PARTS.items():
                if whole in names and part not in names and (having := _having(part, layers)):
                    yield _unheld(key, level.name, whole, part, f"the part of it that {having}")
            if "c" in names and not set(_SUMS) & set(names):
                for dim in _SUMS:
                    if having := _having(dim, layers):
                        yield _unheld(key, level.name, "c", dim, f"which {having} in its place")


def _having(dim: str, layers: Sequence[tuple[Workload, LoopTree]]) -> str:
    """The layers that have a dimension, as `conv1 has`; empty where none has."""
    names = [work.name for work, _ in layers if work.extents.get(dim, 1) > 1]
    return f"{_listed(names)} {'has' if len(names) == 1 else 'have'}" if names else ""


def _unheld(key: str, level: str, named: str, dim: str, which: str) -> str:
    effect = "it does not hold there" if key in _COUNTS else f"no loop over {dim} may lie there"
    return f"`{key}` of {level!r} names {named}, and not {dim}, {which}: {effect}"


def _idle(machine: Hierarchy) -> Iterator[str]:
    """Levels that no mapping can use, whatever the layer; with their places."""
    for level in machine.levels:
        if isinstance(level, Store) and not level.holds:
            place, _ = place_of(machine, level.name, "holds")
            yield f"{place}: nothing may lie in {level.name!r}: no mapping uses it"
        if isinstance(level, FanOut) and level.row_dims == () == level.col_dims and level.instances > 1:
            place, _ = place_of(machine, level.name, "row_dims")
            says = "`row_dims` and `col_dims` let nothing be unrolled"
            yield f"{place}: {says}: of the {level.instances} instances of {level.name!r} one works"


def _keeping(tree: LoopTree) -> set[str]:
    return {node.store for node in tree.nodes if isinstance(node, Keep)}


def _lists(level: Store | FanOut) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The keys of a level that name dimensions."""
    if isinstance(level, FanOut):
        yield "row_dims", level.row_dims or ()
        yield "col_dims", level.col_dims or ()
    yield "loops.dims", level.constraint.dims or ()
    yield "loops.factors", tuple(dim for dim, _ in level.constraint.factors)
    yield "loops.most", tuple(dim for dim, _ in level.constraint.most)
    yield "loops.order", level.constraint.order


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more layers" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
