"""Which groups of layers run depth first, and in how many stripes. A part of passes/depth_first.py.

Every run of up to MOST_LAYERS layers that makes a chain is a candidate. An estimate says what one would save: bytes of
main memory, less constants that are loaded for every stripe and rows that are computed twice. Of all sets of candidates
that do not overlap the best is taken (weighted intervals, by dynamic programming); those of its members that are only
estimated are cut, scheduled and counted, and the best set is taken again, until it has none. So what is chosen is
counted, and few candidates are. Of stripes as few as fit are tried, then more of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, field, replace
from functools import partial
from itertools import islice
from typing import Any

from ..backends.cost.module import counted
from ..backends.cost.price import energy_pj
from ..ir.arch import MAIN_MEMORY, Arch
from ..ir.clock import clock_s
from ..ir.frozen import dataclass
from ..ir.module import Module
from ..ir.nest import Nest
from ..ir.stats import LayerCounts
from .groups import Group, cost_of, known_costs, layer_digest
from .keep_found import Figures
from .keep_plan import Plan
from .map_cache import MapCache
from .stripes import Chain, NotAChain, Reach, Uses, cut

MOST_LAYERS = 8
MOST_TRIALS = 48  # groups that are cut, scheduled and counted for one module
MOST_CANDIDATES = 2000  # runs of layers that are looked at; in large models they are shorter
MOST_NESTS = 1024  # of one group, all stripes of all its layers
_TRIED_STRIPES = 3  # numbers of stripes for one group
_FILLED = 0.9  # of a local memory by values: tiles need room, too
_MORE = 1.4  # times the stripes of before


@dataclass(frozen=True, slots=True)
class _Base:
    """A layer as it is without groups."""

    figures: Figures
    main_pj: float  # of its energy, what bytes of main memory take
    bytes: int  # of main memory, instructions left out
    by_role: dict[str, int]
    busy: float  # cycles of the busiest unit

    @staticmethod
    def of(nest: Nest, arch: Arch) -> _Base:
        counts = counted(nest, arch)
        roles = counts.traffic.get(MAIN_MEMORY, {})
        by_role = {role: moved.read_bytes + moved.write_bytes for role, moved in roles.items() if role != "instruction"}
        main_pj = energy_pj(counts, arch).get(MAIN_MEMORY, 0.0)
        return _Base(Figures.of(counts, arch), main_pj, sum(by_role.values()), by_role, _busy(counts, arch))


def _busy(counts: LayerCounts, arch: Arch) -> float:
    lanes = 1 if arch.vector is None else arch.vector.lanes
    return max(
        counts.macs_issued / (arch.array.rows * arch.array.cols) if counts.dataflow else 0.0,
        counts.actions.get("vector.op", 0) / lanes,
        counts.actions.get("post.element", 0) / arch.post.lanes,
    )


@dataclass
class GroupSearch:
    """The search for groups of `module`, which `base` has planned without, beside those that are `pinned`; layers that
    are `fixed`, or in a pinned group, are in no other."""

    module: Module
    arch: Arch
    base: Plan
    cache: MapCache
    fixed: Collection[str]
    pinned: Sequence[Group] = ()
    until: float = float("inf")  # by clock_s: then candidates are left uncounted
    trials: int = 0
    stopped: set[str] = field(default_factory=set)  # layers that might be in groups, had there been more time
    _known: dict[object, Figures | None] = field(default_factory=dict)
    _digests: dict[int, bytes] = field(default_factory=dict)  # of layers, by kind

    def __post_init__(self) -> None:
        self._costs = known_costs(self.arch, self.base.objective)
        self.uses = Uses.of(self.module)
        self.fixed = {*self.fixed, *(name for group in self.pinned for name in group.layers)}
        wiring = [
            (self.base.digest(n) if n in self.base.nests else each.name, each.inputs, each.outputs)
            for n, each in enumerate(self.module.operations)
        ]
        pinned = [(each.first, each.last, each.stripes) for each in self.pinned]
        beside = (sorted(self.fixed), pinned, sorted(self.base.kept))
        self._key = self.cache.key("groups", self.base.objective, beside, self.module.outputs, wiring)
        self._told = self._earlier(self.cache.read(self._key) if self._key else None)

    def proposals(self) -> Iterator[list[Group]]:
        """Groups to try on the whole module, the most promising first: those that an earlier compilation took, then the
        best that are found now, then these without those that gain the least."""
        if self._told:
            yield self._told
        if self._told != []:
            found = self.best()
            for count in range(len(found), 0, -1):
                if count < len(found) and self._is_late():
                    self._stop(found[:count])
                    return
                yield found[:count]

    def accept(self, groups: Sequence[Group]) -> None:
        """Note for later compilations what was taken."""
        groups = sorted(groups, key=lambda each: each.first)
        if self._key and groups != self._told and not self.stopped:
            entry = [
                [each.first, each.last, each.stripes, *(astuple(link.reach) for link in each.chain.links)]
                for each in groups
            ]
            self.cache.write(self._key, {"groups": entry})

    def _earlier(self, entry: dict[str, Any] | None) -> list[Group] | None:
        """What an entry tells; None where it is not there or makes no sense."""
        match entry:
            case {"groups": list(told)} if all(map(_is_group, told)):
                pass
            case _:
                return None
        groups: list[Group] = []
        for first, last, stripes, *reaches in told:
            least = groups[-1].last + 1 if groups else 0
            if not (least <= first < last < len(self.module.operations) and stripes >= 2):
                return None
            try:
                known = [Reach(*each) for each in reaches]
                chain = Chain.of(self.module.operations, self.uses, first, last, known)
                if stripes not in stripe_counts(chain):
                    return None
                cut(chain, stripes, {})
            except NotAChain:
                return None
            groups.append(Group(first, last, stripes, chain))
        return groups

    def _is_late(self) -> bool:
        return clock_s() >= self.until

    def _stop(self, groups: Iterable[Group]) -> None:
        """Note that there was no time for these."""
        self.stopped.update(name for group in groups for name in group.layers)

    def best(self) -> list[Group]:
        """The groups that together save the most by the objective, those that save most first; none where none saves
        any."""
        self.layers = {n: _Base.of(self._planned(n), self.arch) for n in self.base.nests}
        candidates = islice(self._candidates(), MOST_CANDIDATES)
        estimated = {(group.first, group.last): (self._estimate(group), group) for group in candidates}
        gains = {window: gain for window, (gain, _) in estimated.items() if gain > 0}
        exact: dict[tuple[int, int], Group | None] = {}
        while True:
            chosen = apart(gains)
            open_ = [window for window in chosen if window not in exact]
            if not open_:
                counted = sorted(chosen, key=lambda window: -gains[window])
                return [group for window in counted if (group := exact[window]) is not None]
            for window in sorted(open_, key=lambda window: -gains[window]):
                if not self._is_late():
                    gains[window], exact[window] = self._counted(estimated[window][1])
            if self._is_late():
                self._stop(estimated[window][1] for window in gains if window not in exact)
            if self._is_late() or self.trials >= MOST_TRIALS:
                gains = {window: gain for window, gain in gains.items() if window in exact}

    # -- candidates ---------------------------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[Group]:
        """Chains with a value that does not stay in local memory whole, in the fewest stripes that may fit."""
        operations = self.module.operations
        layers = max(2, min(MOST_LAYERS, MOST_CANDIDATES // max(1, len(operations))))
        for first in range(len(operations)):
            for last in range(first + 1, min(first + layers, len(operations))):
                if operations[last].name in self.fixed or operations[first].name in self.fixed:
                    break
                try:
                    chain = Chain.of(operations, self.uses, first, last)
                except NotAChain:
                    continue
                if all(value in self.base.kept for value in chain.values):
                    continue
                fewest = next((n for n in stripe_counts(chain) if self._may_fit(chain, n)), None)
                if fewest is not None:
                    yield Group(first, last, fewest, chain)

    def _may_fit(self, chain: Chain, stripes: int) -> bool:
        """Whether the values of a stripe in the middle leave room for tiles."""
        ranges = chain.last_rows(stripes)
        rows = chain.rows_for(ranges[len(ranges) // 2])
        ends = {link.writer: link.reader for link in sorted(chain.links, key=lambda link: link.reader)}
        sizes = {}
        for writer in ends:
            write = chain.nests[writer].write
            share = (rows[writer][1] - rows[writer][0]) / chain.rows[writer]
            sizes[writer] = share * self.module.tensor(write.tensor).bytes
        role = chain.nests[-1].reads[0].role.value
        room = self.arch.holder(role).capacity_bytes * _FILLED
        alive = (
            sum(size for writer, size in sizes.items() if writer <= layer <= ends[writer])
            for layer in range(len(chain.nests))
        )
        return max(alive) <= room

    # -- figures ------------------------------------------------------------------------------------------------------

    def _planned(self, n: int) -> Nest:
        found = self.base.found.get(n)
        return self.base.nests[n] if found is None else replace(self.base.nests[n], schedule=found.schedule)

    def _gain(self, group: Group, figures: Figures) -> float:
        """By how much the objective of the module falls with a group of these figures."""
        was = [self.layers[n].figures for n in range(group.first, group.last + 1)]
        minus = Figures(sum(each.cycles for each in was), sum(each.energy_pj for each in was))
        return self.base.value(self.base.total) - self.base.value(self.base.total.plus(figures, minus))

    def _estimate(self, group: Group) -> float:
        chain, arch = group.chain, self.arch
        ranges = chain.last_rows(group.stripes)
        rows = chain.rows_for(ranges[len(ranges) // 2])
        inner = {(link.reader, link.operand) for link in chain.links}
        cycles = energy = 0.0
        for number, nest in enumerate(chain.nests):
            base = self.layers[group.first + number]
            again = max(1.0, group.stripes * (rows[number][1] - rows[number][0]) / chain.rows[number])
            shares = self._moved(nest, base)
            loaded = 0  # constants, for every stripe
            moved = 0.0
            for access in nest.reads:
                if (number, access.operand) in inner:
                    continue
                size = self.module.tensor(access.tensor).bytes
                if chain.dims[number] in access.dims:
                    moved += shares[access.operand] * again
                else:
                    loaded += size
                    moved += max(shares[access.operand], group.stripes * size)
            if number == len(chain.nests) - 1:
                moved += base.by_role.get("output", 0)
            per_byte = base.main_pj / base.bytes if base.bytes else self._byte_pj()
            energy += (base.figures.energy_pj - base.main_pj) * again + moved * per_byte
            rate = arch.dma.bandwidth_bytes_per_second / arch.clock_hz
            slower = base.figures.cycles / max(base.busy, base.bytes / rate, 1.0)
            cycles += slower * max(base.busy * again, moved / rate)
            cycles += group.stripes * (2 * arch.dma.latency_cycles + loaded / rate)
        return self._gain(group, Figures(int(cycles), energy))

    def _byte_pj(self) -> float:
        return 8 * max((row.energy_pj for row in self.arch.energy if row.component == MAIN_MEMORY), default=0.0)

    def _moved(self, nest: Nest, base: _Base) -> dict[str, float]:
        """Bytes of main memory for each operand: those of its role, in proportion to its size."""
        sizes = {access.operand: self.module.tensor(access.tensor).bytes for access in nest.reads}
        roles: dict[str, int] = {}
        for access in nest.reads:
            roles[access.role.value] = roles.get(access.role.value, 0) + sizes[access.operand]
        return {
            access.operand: base.by_role.get(access.role.value, 0)
            * sizes[access.operand]
            / (roles[access.role.value] or 1)
            for access in nest.reads
        }

    def _counted(self, group: Group) -> tuple[float, Group | None]:
        """The gain of the best number of stripes that is tried, and the group in so many; nothing where none fits."""
        best: tuple[float, Group | None] = (0.0, None)
        for stripes in self._tried(group):
            one = replace(group, stripes=stripes)
            figures = self._figures(one)
            gain = 0.0 if figures is None else self._gain(one, figures)
            if gain > best[0]:
                best = gain, one
            elif best[1] is not None:
                break
        return best

    @staticmethod
    def _tried(group: Group) -> Iterator[int]:
        """The stripes of a group, then more of them."""
        tried, least = 0, 0.0
        for stripes in stripe_counts(group.chain):
            if stripes >= max(group.stripes, least) and tried < _TRIED_STRIPES:
                yield stripes
                tried, least = tried + 1, stripes * _MORE

    def _figures(self, group: Group) -> Figures | None:
        kinds = tuple(self.base.kind[n] for n in range(group.first, group.last + 1))
        key = (kinds, group.chain.links, group.stripes)
        if key not in self._known:
            self.trials += 1
            cost = partial(cost_of, self.module, self.arch, group, self.base.objective, self.cache)
            self._known[key] = self._costs.of(group, list(map(self._digest, kinds)), cost)
        return self._known[key]

    def _digest(self, kind: int) -> bytes:
        if kind not in self._digests:
            self._digests[kind] = layer_digest(self.base.known.bare[kind])
        return self._digests[kind]


def _is_group(told: object) -> bool:
    """Whether it is a list of numbers, then lists of three."""
    match told:
        case [int(), int(), int(), *reaches]:
            return all(map(_is_triple, reaches))
    return False


def _is_triple(told: object) -> bool:
    return isinstance(told, list) and len(told) == 3 and all(type(number) is int for number in told)


def stripe_counts(chain: Chain) -> list[int]:
    """Numbers of stripes, 2 or more, with all but the last of one size, that do not make too many nests."""
    units = chain.rows[-1] // chain.unit
    most = min(units, MOST_NESTS // len(chain.nests))
    return [count for count in range(2, most + 1) if -(-units // -(-units // count)) == count]


def apart(gains: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Of windows with gains those that together gain the most and do not overlap."""
    ends: dict[int, list[tuple[int, int]]] = {}
    for window in gains:
        ends.setdefault(window[1], []).append(window)
    best: list[tuple[float, tuple[tuple[int, int], ...]]] = [(0.0, ())]  # by the number of operations before
    for last in range(max(ends, default=-1) + 1):
        found = best[-1]
        for window in ends.get(last, ()):
            gain = best[window[0]][0] + gains[window]
            if gain > found[0]:
                found = gain, (*best[window[0]][1], window)
        best.append(found)
    return list(best[-1][1])
