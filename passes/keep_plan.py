"""Which values stay in local memory together, and what the nests around them then look like: a part of passes/keep.py.

Values are tried one by one. A nest that writes or reads one, or whose tiles lack the room that it takes, is scheduled
anew, and the value is kept if the objective of the whole module falls, or stays and its energy falls: the result is
never worse than without.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property

from ..backends.cost.module import cost_host, counted, settled, settled_alike
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.frozen import dataclass
from ..ir.graph import HostRegion
from ..ir.module import Module, Operation
from ..ir.nest import Access, Nest, Target, main_memory_loops
from ..ir.schedule_rules import schedule_faults
from .allocate import Lifetime, pack_lifetimes
from .keep_found import NOTHING, Figures, Found, Known, Room, entry_of, restored
from .map_cache import MapCache
from .map_objective import objective_floor
from .mapping import Pin
from .objective import Objective
from .refit import Stay, refitted, remade, tile_room

_ROUNDING = 1e-9  # of sums of energies


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


@dataclass
class Plan:
    """What has been decided: kept values, and by operation the schedules that differ from those of `source`."""

    source: Module
    arch: Arch
    objective: Objective
    fixed: Collection[str]
    cache: MapCache  # of schedules; written, and read where the plan `is_trusting`
    is_trusting: bool = True
    known: Known = field(default_factory=Known)
    kept: dict[str, Candidate] = field(default_factory=dict)
    found: dict[int, Found] = field(default_factory=dict)

    def __post_init__(self) -> None:
        every = enumerate(self.source.operations)
        self.nests = {n: each for n, each in every if isinstance(each, Nest) and not each.is_empty}
        self.kind = {n: self.known.kind(nest) for n, nest in self.nests.items()}
        self.needed = {n: self.known.room(self.kind[n], nest, self.arch) for n, nest in self.nests.items()}
        self.others = [self._other(each) for n, each in enumerate(self.source.operations) if n not in self.nests]
        self.sum: Figures | None = None

    @property
    def total(self) -> Figures:
        """Of the module, as it is decided."""
        if self.sum is None:
            self.sum = self._total(self.found)
        return self.sum

    # -- the choice ---------------------------------------------------------------------------------------------------

    def choose(self, candidates: Sequence[Candidate]) -> None:
        """Keep what of `candidates` is better kept, beside what is kept already."""
        for candidate in candidates:
            kept = self.kept | {candidate.name: candidate}
            found = self._schedules(kept, candidate.users)
            if found is not None and self._are_within(found) and self._is_better({**self.found, **found}):
                self._accept(kept, found)

    def keeps(self, candidates: Sequence[Candidate]) -> bool:
        """Keep all of `candidates`, whatever that costs; False, and nothing changes, where they do not fit."""
        kept = self.kept | {each.name: each for each in candidates}
        found = self._schedules(kept, {number for each in candidates for number in each.users})
        if found is None:
            return False
        self._accept(kept, found)
        return True

    def insist(self, candidates: Sequence[Candidate], pins: Mapping[str, Pin]) -> None:
        """Keep values that pins keep. Raises CompileError where a nest that writes or reads one does not fit."""
        if not self.keeps(candidates):
            kept = {each.name: each for each in candidates}
            rooms = self._rooms(kept)
            stays = {n: self._stay(nest, kept) for n, nest in self.nests.items()}
            lacking = [n for n in self.nests if self._schedule(n, stays[n], rooms[n]) is None]
            help = "smaller tiles, one copy of a buffer, or less that stays"
            message = "as pinned it does not fit beside what stays in local memory"
            named = [(self.nests[n], self._short(n, stays[n], rooms[n])) for n in lacking]
            spans = [pins[each.name].span if each.name in pins else each.span for each, _ in named]
            raise CompileError(
                [
                    Diagnostic(f"{each.name}: {message}: {short}", span, help)
                    for (each, short), span in zip(named, spans, strict=True)
                ]
            )
        costs = [(self.nests[n], each.figures) for n, each in self.found.items()]
        shorts = [(nest, self.objective.short(cost.energy_pj, cost.cycles)) for nest, cost in costs]
        if any(short for _, short in shorts):
            placed = {name: pin.span for name, pin in pins.items()}
            raise CompileError(
                [short.fault(each.name, placed.get(each.name, each.span)) for each, short in shorts if short]
            )

    def _short(self, n: int, stay: Stay, room: Room) -> str:
        """What a nest lacks beside what stays: room for the tiles that it has, or a copy less of what stays."""
        nest, left = self.nests[n], self._by_memory(room)
        assert nest.schedule is not None
        copies = {buffer.operand: buffer.copies for buffer in nest.schedule.buffers}
        if twice := [operand for operand, _ in stay.reads if copies[operand] > 1]:
            return f"there are 2 copies of {', '.join(twice)}, and what stays has one"
        loops = [(loop.dims[0], loop.size) for loop in main_memory_loops(nest.schedule)]
        needed = tile_room(remade(nest, self.arch, stay, loops, copies), self.arch)
        shorts = [
            f"its tiles take {size} B of `{name}`, {size - left[name]} B more than the {left[name]} B that are left"
            for name, size in needed.items()
            if size > left[name]
        ]
        return "; ".join(shorts) or "what stays is not laid out as its tiles need it"

    def _accept(self, kept: dict[str, Candidate], found: Mapping[int, Found]) -> None:
        self.kept, self.found = kept, {**self.found, **found}
        self.sum = None
        for n, each in found.items():
            nest = replace(self.nests[n], schedule=each.schedule)
            self.needed[n] = self.known.room(self.kind[n], nest, self.arch)

    def _are_within(self, found: Mapping[int, Found]) -> bool:
        """Whether schedules keep the limits of the objective, as those before them did."""
        return all(self.objective.short(each.figures.energy_pj, each.figures.cycles) is None for each in found.values())

    def _is_better(self, found: Mapping[int, Found]) -> bool:
        """Whether schedules have a lower objective than those that are decided, or an equal one with less energy."""
        return self.is_beaten_by(self._total(found))

    def is_beaten_by(self, figures: Figures) -> bool:
        """Whether the module's figures would be better: a lower objective, or an equal one with less energy."""
        value, least = self.value(figures), self.value(self.total)
        less_energy = figures.energy_pj < self.total.energy_pj * (1 - _ROUNDING)
        return value < least * (1 - _ROUNDING) or (value <= least and less_energy)

    def _total(self, found: Mapping[int, Found]) -> Figures:
        all_of = [*self.others, *(found[n].figures if n in found else self.before(n) for n in self.nests)]
        return Figures(sum(each.cycles for each in all_of), sum(each.energy_pj for each in all_of))

    def figures(self, n: int) -> Figures:
        """Of an operation, as it is decided."""
        return self.found[n].figures if n in self.found else self.before(n)

    def before(self, n: int) -> Figures:
        """Of an operation with the schedule of `source`; of stripes it is rarely asked."""
        kind = self.kind[n]
        if kind not in self.known.figures:
            self.known.figures[kind] = Figures.of(settled_alike(self.known.bare[kind], self.arch), self.arch)
        return self.known.figures[kind]

    def value(self, figures: Figures) -> float:
        """The objective of figures."""
        return self.objective.value(figures.energy_pj, figures.cycles)

    # -- schedules ----------------------------------------------------------------------------------------------------

    def _rooms(self, kept: Mapping[str, Candidate]) -> dict[int, Room]:
        """Bytes for tiles in each local memory, by operation, as passes/allocate.py will give them."""
        rooms = {n: [memory.capacity_bytes for memory in self.arch.local] for n in self.nests}
        for place, memory in enumerate(self.arch.local):
            lives = [each.life for each in kept.values() if each.memory == memory.name]
            top = memory.capacity_bytes // memory.word_bytes * memory.word_bytes
            offsets = pack_lifetimes(lives, memory.word_bytes) if lives else {}
            for life in lives:
                least = top - offsets[life.name] - life.bytes
                for n in range(life.first, life.last + 1):
                    if n in rooms:
                        rooms[n][place] = min(rooms[n][place], least)
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

    def _schedules(self, kept: Mapping[str, Candidate], users: Collection[int]) -> dict[int, Found] | None:
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

    def _schedule(self, n: int, stay: Stay, room: Room) -> Found | None:
        """The best of the schedules that are tried for a nest; those of a fixed one keep its tiles and copies."""
        nest = self.nests[n]
        assert nest.schedule is not None
        fixed = nest.name in self.fixed
        if fixed and any(nest.schedule.buffer(operand).copies > 1 for operand, _ in stay.reads):
            return None
        key = (self.kind[n], fixed, stay, room)
        if key not in self.known.found:
            entry = "" if fixed else self.cache.key(self.digest(n), stay, room)
            told = self.cache.read(entry) if entry and self.is_trusting else None
            known = restored(nest, self.arch, stay, told)
            if known is None:
                known = self._best(n, stay, room, fixed)
                if entry:
                    self.cache.write(entry, entry_of(known))
            self.known.found[key] = known
        found = self.known.found[key]
        return None if found.schedule is None else found

    def _best(self, n: int, stay: Stay, room: Room, fixed: bool) -> Found:
        tried: list[tuple[Nest, Figures]] = []
        for each in refitted(self.nests[n], self.arch, stay, self._by_memory(room), fixed):
            tried.append((each, self._figures(each)))
            # The tiles of the fastest schedule mostly stay the best for speed; for energy there is more to gain.
            enough = not self.objective.needs_energy and self.nests[n].stripe is None
            if enough and tried[-1][1].cycles <= self.before(n).cycles:
                break
        if not fixed:  # a limit holds for each layer
            tried = [each for each in tried if self.objective.is_within(each[1].energy_pj, each[1].cycles)]
        if not tried:
            return NOTHING
        nest, figures = min(tried, key=lambda each: (self.value(each[1]), each[1].energy_pj))
        return Found(nest.schedule, figures, len(tried))

    def _other(self, operation: Operation) -> Figures:
        """Of a host region, or of a nest without points."""
        if isinstance(operation, HostRegion):
            return Figures.of(cost_host(operation, self.source, self.arch), self.arch)
        assert isinstance(operation, Nest)
        return self._figures(operation)

    def _figures(self, nest: Nest) -> Figures:
        return Figures.of(counted(nest, self.arch), self.arch)

    def digest(self, n: int) -> str:
        """Of all that decides the schedules of a nest but what stays and the room."""
        kind = self.kind[n]
        if kind not in self.known.digests:
            self.known.digests[kind] = self.cache.key("stay", self.known.bare[kind], self._setting, self.objective)
        return self.known.digests[kind]

    @cached_property
    def _setting(self) -> str:
        """A digest of the machine."""
        return self.cache.key(replace(self.arch, text="", digest="", sources=()))

    def holds(self) -> bool:
        """Whether the schedules that the cache has told of are legal and cost what it says."""
        for n, found in self.found.items():
            if not found.is_known and (self.kind[n], found.schedule) not in self.known.sound:
                nest = replace(self.nests[n], schedule=found.schedule)
                is_within = self.objective.is_within(found.figures.energy_pj, found.figures.cycles)
                if (
                    not is_within
                    or any(schedule_faults(nest, self.arch))
                    or Figures.of(settled(nest, self.arch), self.arch) != found.figures
                ):
                    return False
                self.known.sound.add((self.kind[n], found.schedule))
        return True

    # -- the outcome --------------------------------------------------------------------------------------------------

    def module(self) -> Module:
        """The module as it was decided."""
        operations: list[Operation] = list(self.source.operations)
        for n, found in self.found.items():
            operations[n] = self._explained(n, found)
        return replace(self.source, operations=tuple(operations))

    def _explained(self, n: int, found: Found) -> Nest:
        """The nest with its schedule, the reason, its own objective and what is proven of it: the floor of any."""
        nest, now = self.nests[n], found.figures
        before, schedule = nest.schedule, found.schedule
        assert before is not None and schedule is not None
        reason = f"{before.reason}; " if before.reason else ""
        reason += self.what_stays(nest)
        if nest.stripe is None:
            was = self.before(n)
            reason += f": {was.cycles} to {now.cycles} cycles, {was.energy_pj:.6g} to {now.energy_pj:.6g} pJ"
        value = self.value(now)
        floor = objective_floor(nest, self.arch, schedule.dataflow, self.objective, schedule.target is None)
        schedule = replace(
            schedule,
            reason=reason,
            objective=value,
            lower_bound=min(floor, value),
            bounds=before.bounds,
            evaluated=before.evaluated + found.tried,
            optimal=False,
        )
        return replace(nest, schedule=schedule)

    def what_stays(self, nest: Nest) -> str:
        """In a user's words."""
        stays = [access for access in (*nest.reads, nest.write) if access.tensor in self.kept]
        if not stays:
            return "less room beside what stays in local memory"
        memories = dict.fromkeys(self.kept[access.tensor].memory for access in stays)
        verb = "stays" if len(stays) == 1 else "stay"
        return f"{', '.join(access.operand for access in stays)} {verb} in {', '.join(memories)}"


def _margins_in(access: Access, candidate: Candidate) -> tuple[int, ...]:
    """The margins as the view of a reader has them: none of those without."""
    return candidate.margins if any(candidate.margins) else (0,) * (2 * len(access.shape))
