"""Words, link bits and times of a mapping that was walked: what specs/hierarchy.md says of them, word by word.

The second witness of backends/cost/levels/{accesses,cost}.py under dnnc's own convention; it shares nothing with them
but `ir`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import ceil

from ..ir.frozen import dataclass
from ..ir.hierarchy import Buffering, Hierarchy, Store, cycles_at
from ..ir.loop_tree import Workload
from ..ir.nest import Role
from .level_walker import Walk, Walked

Both = tuple[int, int]  # of all instances, and of the first one


@dataclass(frozen=True, slots=True)
class Figures:
    """Words read and written by store and operand, cycles that each store, and each fan-out with
    buses, is busy, and bits over each fan-out's links. Then cycles of the first tiles' way in, of the last ones' way
    out, and of transfers that alternate with use; of these those that wait for buses are not walked."""

    read: Mapping[tuple[str, Role], Both]
    written: Mapping[tuple[str, Role], Both]
    busy: Mapping[str, int]
    hop_bits: Mapping[str, int]
    fill: int
    drain: int
    alternating: int


def figures(workload: Workload, machine: Hierarchy, walk: Walk) -> Figures:
    """The figures of `walk`."""
    stores = {store.name: store for store in machine.stores}
    read: dict[tuple[str, Role], Both] = {}
    written: dict[tuple[str, Role], Both] = {}

    def add(to: dict[tuple[str, Role], Both], store: str, role: Role, elements: Both, bits: int) -> None:
        had = to.get((store, role), (0, 0))
        words = [stores[store].words(each, bits) for each in elements]
        to[store, role] = had[0] + words[0], had[1] + words[1]

    for each in walk.boundaries:
        bits = _bits(workload, machine, each.role)
        if each.role is not Role.OUTPUT:
            add(read, each.outer, each.role, each.shared, bits)
            if each.inner is not None:
                add(written, each.inner, each.role, each.each, bits)
            continue
        # What an output's store was given before, it reads: to add to it, or to hand it back.
        again = each.shared[0] - each.distinct[0], each.shared[1] - each.distinct[1]
        add(read, each.outer, each.role, again, bits)
        final = machine.partial_bits is not None and stores[each.outer] is machine.levels[0]
        if final:  # the last update of each element is the finished one
            add(written, each.outer, each.role, each.distinct, workload.operand(each.role).bits)
            add(written, each.outer, each.role, again, bits)
        else:
            add(written, each.outer, each.role, each.shared, bits)
        if each.inner is not None:
            add(read, each.inner, each.role, each.each, bits)
            come_back = again[0], each.each[1] - _first_kept(walk, each.inner)
            add(written, each.inner, each.role, come_back, bits)
    busy = _busy(machine, read, written) | _bus_busy(workload, machine, walk)
    return Figures(read, written, busy, _hop_bits(workload, machine, walk), *_ramps(workload, machine, walk))


def _bits(workload: Workload, machine: Hierarchy, role: Role) -> int:
    """Bits of an element as it travels: outputs are partial sums."""
    if role is Role.OUTPUT and machine.partial_bits is not None:
        return machine.partial_bits
    return workload.operand(role).bits


def _first_kept(walk: Walk, store: str) -> int:
    """Different outputs that the first instance of a store is ever given."""
    (inside,) = [each for each in walk.boundaries if (each.outer, each.role) == (store, Role.OUTPUT)]
    return inside.distinct[1]


def _busy(
    machine: Hierarchy, read: Mapping[tuple[str, Role], Both], written: Mapping[tuple[str, Role], Both]
) -> dict[str, int]:
    """Cycles that the first instance of each store needs for its words, at the slowest of its rates."""
    found = {}
    for store in machine.stores:
        reads = sum(both[1] for (name, _), both in read.items() if name == store.name)
        writes = sum(both[1] for (name, _), both in written.items() if name == store.name)
        if any(name == store.name for name, _ in (*read, *written)):
            found[store.name] = max(cycles_at(words, rate) for words, rate in _at_rates(store, reads, writes))
    return found


def _bus_busy(workload: Workload, machine: Hierarchy, walk: Walk) -> dict[str, int]:
    """Cycles that the busiest bus into the first instance of each fan-out needs."""
    loads: Counter[tuple[str, Role]] = Counter()
    for fanout in machine.fanouts:
        for each in walk.boundaries:
            for name, elements in each.entering if fanout.bus_bits else ():
                bits, wide = _bits(workload, machine, each.role), dict(fanout.bus_bits).get(each.role)
                if name == fanout.name:
                    together = 0 if wide is None else wide // bits
                    slow = 0 if wide is None else ceil(bits / wide)
                    loads[name, each.role] += ceil(elements / together) if together else elements * slow
    return {name: max(loads[each] for each in loads if each[0] == name) for name, _ in loads}


def _at_rates(store: Store, reads: int, writes: int) -> list[tuple[int, float | None]]:
    return [
        (reads, store.read_words_per_cycle),
        (writes, store.write_words_per_cycle),
        (reads + writes, store.shared_words_per_cycle),
    ]


def _ramps(workload: Workload, machine: Hierarchy, walk: Walk) -> tuple[int, int, int]:
    """Fill, drain and alternating cycles: what passes from an outer store to what is inside, in the outer one's words
    at its rates. The first word alone lets a buffet, or the multipliers, begin."""
    stores = {store.name: store for store in machine.stores}
    tiles = {(store, role): elements for store, role, elements in walk.tiles}
    fill = sum(store.latency_cycles for store in machine.stores)
    drain = alternating = 0
    for each in walk.boundaries:
        outer, bits, outwards = stores[each.outer], _bits(workload, machine, each.role), each.role is Role.OUTPUT
        kind = Buffering.BUFFET if each.inner is None else stores[each.inner].buffering
        first = 1 if kind is Buffering.BUFFET else outer.words(tiles[each.inner or "", each.role], bits)
        moved = outer.words(each.each[1], bits) if kind is Buffering.SINGLE else 0
        times = []
        for words in (first, moved):
            reads, writes = (0, words) if outwards else (words, 0)
            times.append(max(cycles_at(count, rate) for count, rate in _at_rates(outer, reads, writes)))
        if outwards:
            drain += times[0] + outer.latency_cycles
        else:
            fill += times[0]
        alternating += times[1]
    return fill, drain, alternating


def _hop_bits(workload: Workload, machine: Hierarchy, walk: Walk) -> dict[str, int]:
    """Each element that leaves a fan-out crosses a link, packed into what a link carries at a time."""
    found: Counter[str] = Counter()
    links = {fanout.name: fanout.link_bits for fanout in machine.fanouts}
    for each in walk.boundaries:
        bits = _bits(workload, machine, each.role)
        for name, leaving in _leaving(each):
            together = max(1, links[name] // bits)
            found[name] += -(-leaving // together) * max(bits, links[name])
    return dict(found)


def _leaving(each: Walked) -> list[tuple[str, int]]:
    """What leaves each fan-out of a boundary: what enters the next one, or what the instances take."""
    names = [name for name, _ in each.network]
    entering = [elements for _, elements in each.network]
    return list(zip(names, [*entering, each.each[0]][1:], strict=True))
