"""What a mapping on a hierarchy costs: words of each store and link, cycles, and energy (specs/hierarchy.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from ....ir.frozen import dataclass
from ....ir.hierarchy import Buffering, FanOut, Hierarchy, Store, cycles_at
from ....ir.loop_tree import LoopTree, Workload
from ....ir.nest import Role
from .accesses import NATIVE, Accesses, Convention, accesses
from .buses import BusLoad, bus_loads
from .counts import Boundary, Crossing, LevelCounts, count


@dataclass(frozen=True, slots=True)
class WordCounts:
    """Words that a store reads and writes for one operand: in all, and at the busiest instance."""

    store: str
    role: Role
    read: Crossing
    write: Crossing


@dataclass(frozen=True, slots=True)
class Cycles:
    """`steps` of the multipliers, what each store and each fan-out with buses needs at its rates (`busy`), what cannot
    overlap with use, and the first tiles' way in and the last one's way out."""

    steps: int
    busy: tuple[tuple[str, int], ...]
    alternating: int
    fill: int
    drain: int

    @property
    def total(self) -> int:
        return max(self.steps + self.alternating, *(each for _, each in self.busy)) + self.fill + self.drain

    @property
    def bound(self) -> str:
        """`mac`, or the store or fan-out whose transfers take longest."""
        name, longest = max(self.busy, key=lambda each: each[1])
        return name if longest > self.steps + self.alternating else "mac"


@dataclass(frozen=True, slots=True)
class LevelCost:
    """A mapping's figures; `actions` are counted by component and action, `energy_pj` is their price by component.
    `lanes` are the machine's multipliers. All follows from `counts` and `loads`, whose counting takes nearly all the
    time."""

    counts: LevelCounts
    loads: tuple[BusLoad, ...]
    accesses: tuple[Accesses, ...]
    words: tuple[WordCounts, ...]
    cycles: Cycles
    actions: Mapping[tuple[str, str], int]
    energy_pj: Mapping[str, float]
    lanes: int

    @property
    def total_energy_pj(self) -> float:
        return sum(self.energy_pj.values())

    @property
    def utilization(self) -> float:
        """Products over the slots that all multipliers of the machine have in the cycles of the busiest."""
        return self.counts.points / (self.counts.steps * self.lanes)


def cost(workload: Workload, machine: Hierarchy, tree: LoopTree, convention: Convention = NATIVE) -> LevelCost:
    """The figures of a legal mapping."""
    counts = count(workload, machine, tree, by_hull=convention.by_hull, slides=convention.slides)
    return costed(workload, machine, counts, bus_loads(workload, machine, tree), convention)


def costed(
    workload: Workload,
    machine: Hierarchy,
    counts: LevelCounts,
    loads: tuple[BusLoad, ...],
    convention: Convention = NATIVE,
) -> LevelCost:
    """The figures of a legal mapping that is counted already."""
    touched = accesses(counts, convention)
    words = tuple(_words(workload, machine, each) for each in touched)
    actions = {key: times for key, times in _actions(workload, machine, counts, words).items() if times}
    return LevelCost(
        counts=counts,
        loads=loads,
        accesses=touched,
        words=words,
        cycles=_cycles(workload, machine, counts, words, loads, convention),
        actions=actions,
        energy_pj=priced(actions, machine),
        lanes=machine.lanes,
    )


def carried_bits(workload: Workload, machine: Hierarchy, role: Role) -> int:
    """Bits of an element on its way; outputs travel and lie as partial sums."""
    if role is Role.OUTPUT and machine.partial_bits is not None:
        return machine.partial_bits
    return workload.operand(role).bits


def _words(workload: Workload, machine: Hierarchy, each: Accesses) -> WordCounts:
    """Words of each kind of access are rounded up over the whole run."""
    (store,) = [level for level in machine.stores if level.name == each.store]
    bits = carried_bits(workload, machine, each.role)

    def packed(*kinds: Crossing) -> Crossing:
        return Crossing(
            sum(store.words(kind.total, bits) for kind in kinds), sum(store.words(kind.busiest, bits) for kind in kinds)
        )

    if each.role is Role.OUTPUT and machine.partial_bits is not None and store is machine.levels[0]:
        final = workload.operand(each.role).bits  # the last update of an element is the finished one
        partial = each.reads.total
        whole = store.words(each.updates.total - partial, final) + store.words(partial, bits)
        return WordCounts(each.store, each.role, packed(each.reads), Crossing(whole, whole))
    return WordCounts(each.store, each.role, packed(each.reads, each.drains), packed(each.fills, each.updates))


def _actions(
    workload: Workload, machine: Hierarchy, counts: LevelCounts, words: tuple[WordCounts, ...]
) -> dict[tuple[str, str], int]:
    happened = {("mac", "mac"): counts.points}
    for each in words:
        for action, crossing in (("read_word", each.read), ("write_word", each.write)):
            key = each.store, action
            happened[key] = happened.get(key, 0) + crossing.total
    for boundary in counts.boundaries:
        bits = carried_bits(workload, machine, boundary.role)
        for fanout, leaving in _left(boundary, machine):
            per_link = max(1, fanout.link_bits // bits)
            key = fanout.name, "hop_bit"
            happened[key] = happened.get(key, 0) + -(-leaving // per_link) * max(bits, fanout.link_bits)
    return happened


def _left(boundary: Boundary, machine: Hierarchy) -> Iterator[tuple[FanOut, int]]:
    """Fan-outs of a boundary, each with the elements that leave it: every instance gets its own over one link."""
    entered = [*boundary.network, ("", boundary.each.total)]
    fanouts = {each.name: each for each in machine.fanouts}
    for (name, _), (_, leaving) in pairwise(entered):
        yield fanouts[name], leaving


def _cycles(
    workload: Workload,
    machine: Hierarchy,
    counts: LevelCounts,
    words: tuple[WordCounts, ...],
    loads: tuple[BusLoad, ...],
    convention: Convention,
) -> Cycles:
    busy = []
    for store in machine.stores:
        own = [each for each in words if each.store == store.name]
        if not own:
            continue
        read, write = sum(each.read.busiest for each in own), sum(each.write.busiest for each in own)
        busy.append((store.name, max(cycles_at(read, store.read_words_per_cycle),
                                     cycles_at(write, store.write_words_per_cycle),
                                     cycles_at(read + write, store.shared_words_per_cycle))))  # fmt: skip
    carried, waits = _bus_times(workload, machine, loads)
    busy += list(carried.items())
    stores = {each.name: each for each in machine.stores}
    alternating = fill = drain = 0
    for boundary in counts.boundaries if convention.ramps else ():
        outer, inner = stores[boundary.outer], stores.get(boundary.inner or "")
        wait = waits.get((boundary.role, boundary.outer), 0)
        bits = carried_bits(workload, machine, boundary.role)
        if inner is None:
            first = 1
        else:
            tile = outer.words(counts.tile(inner.name, boundary.role), bits)
            first = 1 if inner.buffering is Buffering.BUFFET else tile
            if inner.buffering is Buffering.SINGLE:
                wait = max(wait, _rate_time(outer, outer.words(boundary.each.busiest, bits), boundary.role))
        alternating += wait
        if boundary.role is Role.OUTPUT:
            drain += _rate_time(outer, first, boundary.role) + outer.latency_cycles
        else:
            fill += _rate_time(outer, first, boundary.role)
    if convention.ramps:
        fill += sum(store.latency_cycles for store in machine.stores)
    return Cycles(counts.steps, tuple(busy), alternating, fill, drain)


def _bus_times(
    workload: Workload, machine: Hierarchy, loads: tuple[BusLoad, ...]
) -> tuple[dict[str, int], dict[tuple[Role, str], int]]:
    """Cycles that each fan-out's busiest bus needs for the whole run; and, by operand and the store that it comes from,
    cycles that the array waits: for the slowest of the buses on the way, and for the chains."""
    fanouts = {each.name: each for each in machine.fanouts}
    busy: dict[tuple[str, Role], int] = {}
    slowest: dict[tuple[Role, str], int] = {}
    for load in loads:
        bits = carried_bits(workload, machine, load.role)
        fanout, way = fanouts[load.fanout], (load.role, load.outer)
        key = load.fanout, load.role
        if fanout.bus_bits:
            busy[key] = busy.get(key, 0) + fanout.bus_cycles(load.role, load.carried, bits)
        slowest[way] = max(slowest.get(way, 0), fanout.bus_cycles(load.role, load.waited_for, bits))
    for load in loads:
        slowest[load.role, load.outer] += load.handed_on
    return {name: max(time for (each, _), time in busy.items() if each == name) for name, _ in busy}, slowest


def _rate_time(store: Store, words: int, role: Role) -> int:
    """Cycles in which a store passes `words` on inwards, or takes them from there."""
    own = store.write_words_per_cycle if role is Role.OUTPUT else store.read_words_per_cycle
    return max(cycles_at(words, own), cycles_at(words, store.shared_words_per_cycle))


def priced(actions: Mapping[tuple[str, str], int], machine: Hierarchy) -> dict[str, float]:
    """Sum over actions of count x energy per action, by component."""
    energy: dict[str, float] = {}
    for row in machine.energy:
        times = actions.get((row.component, row.action), 0)
        if times:
            energy[row.component] = energy.get(row.component, 0.0) + times * row.energy_pj
    return energy
