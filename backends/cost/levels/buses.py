"""Elements that the buses of fan-outs carry, over the whole run and where the array has to wait for them.

A tile of a store that is `single` buffered is exchanged while nothing inside of it works. So at each such *exchange*
the array starts anew: the first tiles of what lies inside come in over their buses, and its last outputs go out, with
no work to hide them. specs/hierarchy.md says what of it takes how long.
"""

from __future__ import annotations

from collections.abc import Iterator

from ....ir.frozen import dataclass
from ....ir.hierarchy import Buffering, FanOut, Hierarchy
from ....ir.loop_tree import Keep, LoopTree, Operand, Spatial, Temporal, Workload
from ....ir.nest import Role
from .moves import Mover
from .steps import NO_TILE, Lanes, pairs, steps_of


@dataclass(frozen=True, slots=True)
class BusLoad:
    """What enters the first instance of `fanout` on its way from the store `outer` inwards; of outputs, what leaves it.

    `carried` are the elements of the whole run, `waited_for` those of them for which the array waits. `handed_on` are
    elements times lanes along the fan-out's chain: the hops that the array waits for.
    """

    role: Role
    outer: str
    fanout: str
    carried: int
    waited_for: int
    handed_on: int


def bus_loads(workload: Workload, machine: Hierarchy, tree: LoopTree) -> tuple[BusLoad, ...]:
    """The loads of all buses and chains; none where the machine has neither."""
    timed = timed_fanouts(machine)
    if not timed:
        return ()
    exchanging = _exchanging(workload, machine, tree)
    return tuple(
        load for operand in workload.operands for load in _loads(workload, machine, tree, operand, timed, exchanging)
    )


def timed_fanouts(machine: Hierarchy) -> dict[str, FanOut]:
    """By name, those that have buses or chains."""
    return {each.name: each for each in machine.fanouts if each.bus_bits or each.chain}


def _exchanging(workload: Workload, machine: Hierarchy, tree: LoopTree) -> int:
    """How many nodes lie outside of, or are, the innermost loop that exchanges a single-buffered tile; 0 for none.

    Of nested loops the inner ones start anew when an outer one advances: so this loop's tiles are exchanged whenever it
    or one outside of it advances."""
    single = {store.name for store in machine.stores if store.buffering is Buffering.SINGLE}
    found = 0
    for operand in workload.operands:
        for until, store in tree.keeps(operand.role):
            for place, node in enumerate(tree.nodes[:until] if store in single else ()):
                if not isinstance(node, Temporal) or node.dim not in operand.dims:
                    continue
                if _pieces(workload, tree, node.dim, place + 1) > _pieces(workload, tree, node.dim, place):
                    found = max(found, place + 1)
    return found


def _pieces(workload: Workload, tree: LoopTree, dim: str, until: int) -> int:
    """Pieces of a dimension that the first instance has of it outside of the node at `until`."""
    first = {place: Lanes.FIRST for place, node in enumerate(tree.nodes) if isinstance(node, Spatial)}
    return sum(pairs(steps_of(dim, tree.nodes, until, first), workload.extents[dim], NO_TILE, None).values())


def _loads(
    workload: Workload,
    machine: Hierarchy,
    tree: LoopTree,
    operand: Operand,
    timed: dict[str, FanOut],
    exchanging: int,
) -> Iterator[BusLoad]:
    role = operand.role
    clipped, whole = (Mover(workload, operand, tree.nodes, clips=clips) for clips in (True, False))
    single = {store.name for store in machine.stores if store.buffering is Buffering.SINGLE}
    keeps = list(tree.keeps(role))
    inner: list[tuple[int, str | None]] = [*keeps[1:], (len(tree.nodes), None)]
    for (place, outer), (until, name) in zip(keeps, inner, strict=True):
        between = [(at, node) for at, node in enumerate(tree.nodes) if isinstance(node, Spatial) and place < at < until]
        names = list(dict.fromkeys(node.fanout for _, node in between))
        for number, fanout in enumerate(names):
            if fanout not in timed:
                continue
            lanes = _lanes(machine, tree, role, names[number:], place, until)
            # Where there are several instances, the first one's padding counts.
            mover = whole if Lanes.FIRST in lanes.values() else clipped
            # Multipliers keep nothing: they take their operands at every point.
            carried = mover.taken(until, lanes) if name is not None else mover.visited(until, lanes)
            within = None if name in single else exchanging if until >= exchanging else 0
            hops = 0
            if role is Role.OUTPUT and timed[fanout].chain:
                one = mover.taken(until, dict.fromkeys(lanes, Lanes.FIRST), within, keeps=name is not None)
                hops = one * _chained(workload, tree, operand, timed[fanout])
            waited_for = mover.taken(until, lanes, within, keeps=name is not None)
            yield BusLoad(role, outer, fanout, carried, waited_for, hops)


def _lanes(
    machine: Hierarchy, tree: LoopTree, role: Role, entered: list[str], place: int, until: int
) -> dict[int, Lanes]:
    """How lanes count for what enters the first instance of the first fan-out of `entered`."""
    shares = {each.name: each.shares(role) for each in machine.fanouts}
    found = {}
    for at, node in enumerate(tree.nodes[:until]):
        if isinstance(node, Spatial):
            inside = at > place and node.fanout in entered
            found[at] = (Lanes.SHARED if shares[node.fanout] else Lanes.SUM) if inside else Lanes.FIRST
    return found


def _chained(workload: Workload, tree: LoopTree, operand: Operand, fanout: FanOut) -> int:
    """Lanes along the chain that add to the same outputs, at the first moment, when most are at work."""
    left, lanes = workload.extents, 1
    for node in tree.nodes:
        if isinstance(node, Keep):
            continue
        if isinstance(node, Spatial) and (node.fanout, node.axis) == (fanout.name, fanout.chain):
            lanes *= -(-left[node.dim] // node.size) if node.dim not in operand.dims else 1
        left[node.dim] = min(left[node.dim], node.size)
    return lanes
