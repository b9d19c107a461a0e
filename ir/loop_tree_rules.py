"""What holds of every loop tree, by itself and on a machine with levels inside the array (specs/hierarchy.md).

Rules that name no machine keep the meaning of the workload: every point once. The others say that the machine can do
it: what stores may keep and have room for, what fan-outs may spread, what their constraints leave free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import gcd, prod

from .diagnostics import NOWHERE, Diagnostic, Span, any_of, closest
from .hierarchy import AXES, Buffering, Hierarchy
from .loop_tree import Keep, LoopTree, Operand, Spatial, Temporal, Workload
from .loop_tree_constraints import constraints_hold
from .loop_tree_facts import TreeMapping
from .loop_tree_text import NODE_LIMIT, print_node
from .nest import Role


def loop_tree_faults(
    workload: Workload,
    machine: Hierarchy,
    tree: LoopTree,
    places: Sequence[Span] = (),
    whole: Span = NOWHERE,
    *,
    is_complete: bool = True,
) -> Iterator[Diagnostic]:
    """All faults of a mapping on a sound machine; `places` are those of the nodes, if they stand in a text, and `whole`
    is that of what no node is to blame for.

    Where nodes name what there is not, or are not there because they cannot be read (`is_complete` False), of the
    others is told what no further node could mend.
    """
    mapping = TreeMapping(workload, machine, tree, tuple(places), whole)
    if (yield from any_of(outputs_are_written_once(mapping))):
        return
    if (yield from any_of(size_is_bounded(mapping))):
        return
    misnamed = {place for place in range(len(tree.nodes)) if next(_unknown_names(mapping, place), None)}
    yield from names_exist(mapping)
    resized = yield from any_of(sizes_shrink(mapping))
    if misnamed or resized or not is_complete:
        known = [place for place in range(len(tree.nodes)) if place not in misnamed]
        rest = replace(
            mapping,
            tree=LoopTree(tuple(tree.nodes[place] for place in known)),
            places=tuple(places[place] for place in known) if places else (),
        )
        yield from stores_hold_what_they_may(rest)
        yield from stores_are_in_order(rest)
        yield from fanouts_are_in_order(rest)
        return
    yield from every_point_is_reached(mapping)
    yield from main_memory_keeps_everything(mapping)
    yield from stores_hold_what_they_may(mapping)
    yield from stores_keep_what_they_must(mapping)
    yield from stores_are_in_order(mapping)
    yield from fanouts_are_in_order(mapping)
    yield from lanes_fit(mapping)
    yield from lanes_may_be_spread(mapping)
    yield from constraints_hold(mapping)
    yield from tiles_fit(mapping)


# ---------------------------------------------------------------------------------------------- the tree by itself


def outputs_are_written_once(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """No two dimensions share an axis of the output: which outputs a tile has is else not told by its box."""
    extents = mapping.workload.extents
    for operand in mapping.workload.operands:
        for axis in operand.axes:
            dims = [dim for dim, _ in axis.index.terms if extents[dim] > 1]
            if operand.role is Role.OUTPUT and len(dims) > 1:
                message = f"outputs lie along {axis.index}"
                yield mapping.fault(-1, message, "one dimension along each axis of the output")


def size_is_bounded(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """No more nodes than a mapping can have use for."""
    if len(mapping.tree.nodes) > NODE_LIMIT:
        yield mapping.fault(-1, f"{len(mapping.tree.nodes)} nodes", f"at most {NODE_LIMIT}")


def names_exist(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """Loops are over dimensions of the workload, and stores, fan-outs and operands are those that there are."""
    for place in range(len(mapping.tree.nodes)):
        yield from _unknown_names(mapping, place)


def _unknown_names(mapping: TreeMapping, place: int) -> Iterator[Diagnostic]:
    machine, extents = mapping.machine, mapping.workload.extents
    stores = [level.name for level in machine.stores]
    fanouts = [level.name for level in machine.fanouts]
    roles = [operand.role for operand in mapping.workload.operands]
    node = mapping.tree.nodes[place]
    if isinstance(node, Keep):
        if node.store not in stores:
            yield mapping.fault(place, f"there is no store {node.store!r}", closest(node.store, stores))
        if not node.roles:
            yield mapping.fault(place, "it keeps nothing", f"some of {_listed(roles)}")
        for role in node.roles:
            if role not in roles:
                message = f"the workload has no {role.value} operand"
                yield mapping.fault(place, message, f"its operands are {_listed(roles)}")
        return
    if node.dim not in extents:
        yield mapping.fault(place, f"the workload has no dimension {node.dim!r}", closest(node.dim, extents))
    if isinstance(node, Spatial):
        if node.fanout not in fanouts:
            yield mapping.fault(
                place,
                f"there is no fan-out {node.fanout!r}",
                closest(node.fanout, fanouts) if fanouts else "the machine has none",
            )
        if node.axis not in AXES:
            yield mapping.fault(place, f"there is no axis {node.axis!r}", closest(node.axis, AXES))


def sizes_shrink(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """Pieces have a point at least, and no more than there are; of dimensions that there are."""
    for place, node in mapping.loops:
        if node.dim not in mapping.workload.extents:
            continue
        reaching = mapping.pieces[place][node.dim]
        if not 1 <= node.size <= reaching:
            yield mapping.fault(place, f"{reaching} points of {node.dim} reach it", f"pieces of 1 to {reaching} points")


def every_point_is_reached(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """What is inside of all loops is one point."""
    for dim, left in mapping.pieces[-1].items():
        if left > 1:
            message = f"pieces of {left} points of {dim} are left inside of all loops"
            instead = "" if mapping.whole == NOWHERE else "; to fix a part of a mapping give `levels:`, not `tree:`"
            yield mapping.fault(-1, message, f"a loop `temporal {dim} 1` runs over them{instead}")


# ---------------------------------------------------------------------------------------------- stores


def main_memory_keeps_everything(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """The outermost store keeps every operand before the first loop."""
    outermost = mapping.machine.levels[0].name
    first_loop = mapping.loops[0][0] if mapping.loops else len(mapping.tree.nodes)
    kept = {
        role for place, node in mapping.keeps if place < first_loop and node.store == outermost for role in node.roles
    }
    roles = [operand.role for operand in mapping.workload.operands]
    if missing := [role for role in roles if role not in kept]:
        message = f"{outermost!r} does not keep {_listed(missing)} outside of all loops"
        yield mapping.fault(-1, message, f"it begins with `{print_node(Keep(outermost, tuple(roles)))}`")


def stores_hold_what_they_may(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """A store keeps operands that it may hold, each once."""
    stores = {level.name: level for level in mapping.machine.stores}
    kept: dict[str, list[Role]] = {name: [] for name in stores}
    for place, node in mapping.keeps:
        for role in dict.fromkeys(node.roles):
            if role not in stores[node.store].holds:
                message = f"{node.store!r} may not hold {role.value}"
                yield mapping.fault(place, message, f"it may hold {_listed(stores[node.store].holds)}")
            if role in kept[node.store] or node.roles.count(role) > 1:
                yield mapping.fault(place, f"{node.store!r} keeps {role.value} a second time", "once")
            kept[node.store].append(role)


def stores_keep_what_they_must(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """A store keeps all operands of the workload that the machine says it keeps."""
    kept = {(node.store, role) for _, node in mapping.keeps for role in node.roles}
    roles = [operand.role for operand in mapping.workload.operands]
    for store in mapping.machine.stores:
        if missing := [role for role in store.keeps if role in roles and (store.name, role) not in kept]:
            yield mapping.fault(-1, f"{store.name!r} does not keep {_listed(missing)}", "the machine says that it must")


def stores_are_in_order(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """The stores of an operand follow one another as they do in the machine."""
    for operand in mapping.workload.operands:
        chain = [(place, node.store) for place, node in mapping.keeps if operand.role in node.roles]
        for (_, outer), (place, inner) in pairwise(chain):
            if mapping.index[inner] < mapping.index[outer]:
                message = f"{inner!r} keeps {operand.role.value} inside of {outer!r}"
                yield mapping.fault(place, message, f"in the machine {inner!r} lies outside of {outer!r}")


# ---------------------------------------------------------------------------------------------- fan-outs


def fanouts_are_in_order(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """Loops of a fan-out lie inside of the stores and loops of fan-outs outside of it, outside of those inside."""
    seen: list[str] = []
    for place, node in enumerate(mapping.tree.nodes):
        if isinstance(node, Temporal):
            continue
        name = node.store if isinstance(node, Keep) else node.fanout
        # Stores are compared with one another operand by operand.
        others = [
            each for each in seen if isinstance(node, Spatial) or each in {f.name for f in mapping.machine.fanouts}
        ]
        if wrong := [each for each in others if mapping.index[each] > mapping.index[name]]:
            message = f"it is inside of {wrong[0]!r}"
            yield mapping.fault(place, message, f"in the machine {name!r} lies outside of {wrong[0]!r}")
        seen.append(name)


def lanes_fit(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """The pieces along each axis of a fan-out are as many as it has lanes, or fewer."""
    for fanout in mapping.machine.fanouts:
        for axis, lanes in zip(AXES, (fanout.rows, fanout.cols), strict=True):
            along = [
                (place, node) for place, node in mapping.spatial if (node.fanout, node.axis) == (fanout.name, axis)
            ]
            counts = [mapping.count(place, node) for place, node in along]
            if prod(counts) > lanes:
                product = " x ".join(map(str, counts))
                message = f"{product}{f' = {prod(counts)}' if len(counts) > 1 else ''} lanes along {fanout.name}.{axis}"
                yield mapping.fault(along[-1][0], message, f"{fanout.name!r} has {lanes}")


def lanes_may_be_spread(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """Along an axis of a fan-out lie dimensions that may be unrolled there."""
    fanouts = {level.name: level for level in mapping.machine.fanouts}
    for place, node in mapping.spatial:
        fanout = fanouts[node.fanout]
        legal = fanout.row_dims if node.axis == "rows" else fanout.col_dims
        if legal is not None and node.dim not in legal and mapping.count(place, node) > 1:
            message = f"{node.dim} lies along {node.fanout}.{node.axis}"
            yield mapping.fault(place, message, f"only {', '.join(legal) or 'nothing'} may")


# ---------------------------------------------------------------------------------------------- capacities


def tiles_fit(mapping: TreeMapping) -> Iterator[Diagnostic]:
    """Each store has room for the tiles that it keeps, twice if it is double buffered."""
    for store in mapping.machine.stores:
        if store.depth_words is None:
            continue
        copies = 2 if store.buffering is Buffering.DOUBLE else 1
        parts, at = [], -1
        for place, node in mapping.keeps:
            for role in node.roles if node.store == store.name else ():
                operand = mapping.workload.operand(role)
                elements = tile_elements(mapping.workload, operand, mapping.pieces[place])
                parts.append((role, copies * store.words(elements, _bits(mapping, operand))))
                at = place
        if (needed := sum(words for _, words in parts)) > store.depth_words:
            listed = ", ".join(f"{role.value} {words}" for role, words in parts)
            twice = ", two copies each" if copies == 2 else ""
            message = f"it needs {needed} words ({listed}{twice})"
            yield mapping.fault(at, message, f"{store.name!r} has {store.depth_words}")


def tile_elements(workload: Workload, operand: Operand, pieces: Mapping[str, int]) -> int:
    """Elements of the box of an operand in a tile with `pieces` points of each dimension, padding included."""
    total = 1
    for axis in operand.axes:
        terms = [(dim, c) for dim, c in axis.index.terms if workload.extents[dim] > 1]
        step = 1 if axis.dense else gcd(*[c for _, c in terms]) or 1
        total *= sum(c // step * (pieces[dim] - 1) for dim, c in terms) + 1
    return total


def _bits(mapping: TreeMapping, operand: Operand) -> int:
    """Outputs lie in stores as partial sums."""
    partial = mapping.machine.partial_bits
    return partial if operand.role is Role.OUTPUT and partial is not None else operand.bits


def _listed(roles: Sequence[Role]) -> str:
    return ", ".join(role.value for role in roles)
