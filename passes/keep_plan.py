"""Which values stay in local memory together, and what the nests around them then look like: a part of passes/keep.py.

Values are tried one by one. A nest that writes or reads one, or whose tiles lack the room that it takes, is scheduled
anew, and the value is kept if the objective of the whole module falls, or stays and its energy falls: the result is
never worse than without.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..backends.cost.module import cost_host, counted, nameless
from ..backends.cost.price import energy_pj
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.graph import HostRegion
from ..ir.module import Module, Operation
from ..ir.nest import Access, Nest, Schedule, Target
from ..ir.stats import LayerCounts
from .allocate import Lifetime, pack_lifetimes
from .map_search import objective_floor
from .mapping import Pin
from .refit import Stay, refitted, tile_room

_ROUNDING = 1e-9  # of sums of energies
Room = tuple[int, ...]  # bytes for tiles in each local memory


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that could stay in `memory`, from operation `first` to `last`; `users` write or read it."""

    name: str
    memory: str
    bytes: int
    shape: tuple[int, ...]
    margins: tuple[int, ...]
    users: tuple[int, ...]

    @property
    def life(self) -> Lifetime:
        return Lifetime(self.name, self.bytes, self.users[0], self.users[-1])


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a layer or of all: cycles and pJ."""

    cycles: int
    energy_pj: float

    @staticmethod
    def of(counts: LayerCounts, arch: Arch) -> Figures:
        return Figures(counts.cycles, sum(energy_pj(counts, arch).values()))

    def objective(self, name: str) -> float:
        if name == "latency":
            return float(self.cycles)
        return self.energy_pj if name == "energy" else self.energy_pj * self.cycles

    def plus(self, other: Figures, minus: Figures) -> Figures:
        return Figures(self.cycles + other.cycles - minus.cycles, self.energy_pj + other.energy_pj - minus.energy_pj)


@dataclass(frozen=True, slots=True)
class _Found:
    """A schedule for a nest, what it costs, and how many were costed to find it."""

    schedule: Schedule | None
    figures: Figures
    tried: int


@dataclass
class Plan:
    """What has been decided: kept values, and by operation the schedules that differ from those of `source`."""

    source: Module
    arch: Arch
    objective: str
    fixed: Collection[str]
    kept: dict[str, Candidate] = field(default_factory=dict)
    found: dict[int, _Found] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds: dict[Nest, int] = {}
        self.nests = {n: each for n, each in enumerate(self.source.operations) if isinstance(each, Nest)}
        # Nests that differ in names alone are one kind.
        self.kind = {n: kinds.setdefault(nameless(nest), n) for n, nest in self.nests.items()}
        costs = {n: Figures.of(counted(self.nests[n], self.arch), self.arch) for n in kinds.values()}
        self.before = {n: costs[kind] for n, kind in self.kind.items()}
        self.needed = {n: self._needs(nest) for n, nest in self.nests.items()}
        hosts = [each for each in self.source.operations if isinstance(each, HostRegion)]
        self.hosts = [Figures.of(cost_host(each, self.source, self.arch), self.arch) for each in hosts]
        self.known: dict[tuple[int, Stay, Room], _Found | None] = {}
        self.total = self._total({})

    # -- the choice ---------------------------------------------------------------------------------------------------

    def choose(self, candidates: Sequence[Candidate]) -> None:
        """Keep what of `candidates` is better kept, beside what is kept already."""
        for candidate in candidates:
            kept = self.kept | {candidate.name: candidate}
            found = self._schedules(kept, candidate.users)
            if found is not None and self._is_better({**self.found, **found}):
                self._accept(kept, found)

    def insist(self, candidates: Sequence[Candidate], pins: Mapping[str, Pin]) -> None:
        """Keep values that pins keep. Raises CompileError where a nest that writes or reads one does not fit."""
        kept = {each.name: each for each in candidates}
        found = self._schedules(kept, {number for each in candidates for number in each.users})
        if found is None:
            rooms = self._rooms(kept)
            stays = {n: self._stay(nest, kept) for n, nest in self.nests.items()}
            lacking = [nest for n, nest in self.nests.items() if self._schedule(n, stays[n], rooms[n]) is None]
            help = "smaller tiles, one copy of a buffer, or less that stays"
            message = "as pinned it does not fit beside what stays in local memory"
            spans = [pins[each.name].span if each.name in pins else each.span for each in lacking]
            named = zip(lacking, spans, strict=True)
            raise CompileError([Diagnostic(f"{each.name}: {message}", span, help) for each, span in named])
        self._accept(kept, found)

    def _accept(self, kept: dict[str, Candidate], found: Mapping[int, _Found]) -> None:
        self.kept, self.found = kept, {**self.found, **found}
        self.total = self._total(self.found)
        for n, each in found.items():
            self.needed[n] = self._needs(replace(self.nests[n], schedule=each.schedule))

    def _needs(self, nest: Nest) -> Room:
        return tuple(tile_room(nest, self.arch).values())

    def _is_better(self, found: Mapping[int, _Found]) -> bool:
        """Whether schedules have a lower objective than those that are decided, or an equal one with less energy."""
        figures = self._total(found)
        value, least = self._value(figures), self._value(self.total)
        less_energy = figures.energy_pj < self.total.energy_pj * (1 - _ROUNDING)
        return value < least * (1 - _ROUNDING) or (value <= least and less_energy)

    def _total(self, found: Mapping[int, _Found]) -> Figures:
        all_of = [*self.hosts, *(found[n].figures if n in found else self.before[n] for n in self.nests)]
        return Figures(sum(each.cycles for each in all_of), sum(each.energy_pj for each in all_of))

    def _value(self, figures: Figures) -> float:
        return figures.objective(self.objective)

    # -- schedules ----------------------------------------------------------------------------------------------------

    def _rooms(self, kept: Mapping[str, Candidate]) -> dict[int, Room]:
        """Bytes for tiles in each local memory, by operation, as passes/allocate.py will give them."""
        rooms = {n: [memory.capacity_bytes for memory in self.arch.local] for n in self.nests}
        for place, memory in enumerate(self.arch.local):
            lives = [each.life for each in kept.values() if each.memory == memory.name]
            top = memory.capacity_bytes // memory.word_bytes * memory.word_bytes
            for name, offset in pack_lifetimes(lives, memory.word_bytes).items():
                life = kept[name].life
                for n in range(life.first, life.last + 1):
                    if n in rooms:
                        rooms[n][place] = min(rooms[n][place], top - offset - life.bytes)
        return {n: tuple(room) for n, room in rooms.items()}

    @staticmethod
    def _stay(nest: Nest, kept: Mapping[str, Candidate]) -> Stay:
        reads = tuple(
            (access.operand, _margins_in(access, kept[access.tensor])) for access in nest.reads if access.tensor in kept
        )
        here = kept.get(nest.write.tensor)
        return Stay(reads, None if here is None else Target(here.memory, here.shape, here.margins))

    def _by_memory(self, room: Room) -> dict[str, int]:
        return {memory.name: size for memory, size in zip(self.arch.local, room, strict=True)}

    def _schedules(self, kept: Mapping[str, Candidate], users: Collection[int]) -> dict[int, _Found] | None:
        """New schedules for `users` and for nests whose tiles lack room beside `kept`; None where none fits."""
        rooms = self._rooms(kept)
        found = {}
        for n, nest in self.nests.items():
            if n in users or any(size > left for size, left in zip(self.needed[n], rooms[n], strict=True)):
                schedule = self._schedule(n, self._stay(nest, kept), rooms[n])
                if schedule is None:
                    return None
                found[n] = schedule
        return found

    def _schedule(self, n: int, stay: Stay, room: Room) -> _Found | None:
        """The best of the schedules that are tried for a nest; those of a fixed one keep its tiles and copies."""
        nest = self.nests[n]
        assert nest.schedule is not None
        fixed = nest.name in self.fixed
        if fixed and any(nest.schedule.buffer(operand).copies > 1 for operand, _ in stay.reads):
            return None
        key = (n if fixed else self.kind[n], stay, room)
        if key not in self.known:
            tried: list[tuple[Nest, Figures]] = []
            for each in refitted(nest, self.arch, stay, self._by_memory(room), fixed):
                tried.append((each, Figures.of(counted(each, self.arch), self.arch)))
                # The tiles of the fastest schedule mostly stay the best for speed; for energy there is more to gain.
                if self.objective == "latency" and tried[-1][1].cycles <= self.before[n].cycles:
                    break
            best = min(tried, key=lambda each: (self._value(each[1]), each[1].energy_pj), default=None)
            self.known[key] = None if best is None else _Found(best[0].schedule, best[1], len(tried))
        return self.known[key]

    # -- the outcome --------------------------------------------------------------------------------------------------

    def module(self) -> Module:
        """The module as it was decided."""
        operations: list[Operation] = list(self.source.operations)
        for n, found in self.found.items():
            operations[n] = self._explained(n, found)
        return replace(self.source, operations=tuple(operations))

    def _explained(self, n: int, found: _Found) -> Nest:
        """The nest with its schedule, the reason, its own objective and what is proven of it: the floor of any."""
        nest, was, now = self.nests[n], self.before[n], found.figures
        before, schedule = nest.schedule, found.schedule
        assert before is not None and schedule is not None
        reason = f"{before.reason}; " if before.reason else ""
        reason += f"{self._what_stays(nest)}: {was.cycles} to {now.cycles} cycles, "
        reason += f"{was.energy_pj:.6g} to {now.energy_pj:.6g} pJ"
        value = self._value(now)
        floor = objective_floor(nest, self.arch, schedule.dataflow, self.objective, schedule.target is None)
        schedule = replace(
            schedule,
            reason=reason,
            objective=value,
            lower_bound=min(floor, value),
            evaluated=before.evaluated + found.tried,
            optimal=False,
        )
        return replace(nest, schedule=schedule)

    def _what_stays(self, nest: Nest) -> str:
        stays = [access for access in (*nest.reads, nest.write) if access.tensor in self.kept]
        if not stays:
            return "less room beside what stays in local memory"
        memories = dict.fromkeys(self.kept[access.tensor].memory for access in stays)
        verb = "stays" if len(stays) == 1 else "stay"
        return f"{', '.join(access.operand for access in stays)} {verb} in {', '.join(memories)}"


def _margins_in(access: Access, candidate: Candidate) -> tuple[int, ...]:
    """The margins as the view of a reader has them: none of those without."""
    return candidate.margins if any(candidate.margins) else (0,) * (2 * len(access.shape))
