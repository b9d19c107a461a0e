"""Keep values in local memory between the nests that write and read them, where that is better than main memory.

before:  store of %t to main memory ; load of %t from there, tile by tile
after:   store %t to spad whole     ; buffer %t spad whole

A value is a candidate if nests alone know it, and its readers can walk all of it as it lies: in one view if they need
padding around it, else in any. Candidates are tried one by one, those that live shortest first: nests that write and
read it, and those whose tiles lack the room that it takes, get new schedules (passes/refit.py); it is kept if the
objective of the whole module falls, or stays and its energy falls. So the result is never worse than without.

Requires: every nest is scheduled, for a machine that executes programs.
Ensures:  values and their order of computation are those of before. What is kept fits beside the tiles of every nest
          while it lives; schedules that are pinned stay as they are; the reasons of schedules that change say why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..backends.cost.module import cost_host, counted, nameless
from ..backends.cost.price import energy_pj
from ..ir.arch import Arch
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.graph import HostRegion
from ..ir.module import Module, Operation
from ..ir.nest import VALUE, Access, Nest, Schedule, Target, reach_outside, split_axes, whole_bytes
from ..ir.stats import LayerCounts
from .allocate import Lifetime, in_main_memory, pack_lifetimes
from .map_search import objective_floor
from .mapping import MappingOptions, Pin
from .refit import Stay, refitted, tile_room

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


def candidates(module: Module, arch: Arch) -> list[Candidate]:
    """The values that could stay in local memory, those that live shortest first, of these the largest first."""
    uses: dict[str, list[tuple[int, Access, bool]]] = {}
    barred = {*module.inputs, *module.outputs, *(each.name for each in module.tensors if each.constant is not None)}
    for number, operation in enumerate(module.operations):
        if not isinstance(operation, Nest) or operation.is_empty:
            barred.update((*operation.inputs, *operation.outputs))
            continue
        for access in operation.reads:
            uses.setdefault(access.tensor, []).append((number, access, False))
        uses.setdefault(operation.write.tensor, []).append((number, operation.write, True))
    found = []
    for name, accesses in uses.items():
        if name not in barred and in_main_memory(module.tensor(name)) and not all(writes for _, _, writes in accesses):
            candidate = _candidate(module, arch, name, accesses)
            if candidate is not None:
                found.append(candidate)
    return sorted(found, key=lambda each: (each.users[-1] - each.users[0], -each.bytes, each.users))


def _candidate(module: Module, arch: Arch, name: str, uses: list[tuple[int, Access, bool]]) -> Candidate | None:
    reads = [(number, access) for number, access, writes in uses if not writes]
    writes = [access for _, access, writes in uses if writes]
    holders = {arch.holder(access.role.value).name for _, access in reads}
    if len(holders) != 1 or any(VALUE in axis.dims for _, access in reads for axis in access.index):
        return None
    shape, margins = writes[0].shape, (0,) * (2 * len(writes[0].shape))
    reached = [_margins(module.operations[number], access) for number, access in reads]
    if any(map(any, reached)):
        shape = reads[0][1].shape
        if any(access.shape != shape for _, access in reads):
            return None
        margins = tuple(map(max, zip(*reached, strict=True)))
    elif any(access.shape != shape for access in writes):
        return None
    if any(split_axes(access.shape, shape) is None for access in writes):
        return None
    memory = arch.memory(holders.pop())
    size = whole_bytes(shape, margins, writes[0].type.bytes, memory.word_bytes)
    users = tuple(sorted({number for number, _, _ in uses}))
    return Candidate(name, memory.name, size, shape, margins, users) if size < memory.capacity_bytes else None


def _margins(operation: object, access: Access) -> tuple[int, ...]:
    assert isinstance(operation, Nest)
    extents = {dim.name: dim.extent for dim in operation.domain}
    return tuple(side for sides in reach_outside(access, extents) for side in sides)


def keep_values(module: Module, arch: Arch, options: MappingOptions, given: Collection[str]) -> Module:
    """The module with what is better kept in local memory, and what pins say stays there. Nests that are `given` with a
    schedule keep its tiles and copies, as do those whose tiles or copies are pinned.

    Raises CompileError for what a pin keeps there and cannot be.
    """
    pins = {name: pin for name, pin in options.pins if pin.tiles or pin.copies or pin.complete}
    chosen = candidates(module, arch) if arch.kind == "executable" else []
    wanted = list(_wanted(module, pins, {each.name for each in chosen}))
    if not chosen:
        return module
    plan = _Plan(module, arch, options.objective, frozenset([*pins, *given]))
    if wanted:
        plan.insist([each for each in chosen if each.name in wanted], pins)
    for candidate in chosen:
        if candidate.name not in plan.kept:
            plan.consider([candidate])
    return plan.module()


def refuse_stays(options: MappingOptions) -> None:
    """Raise CompileError where a pin keeps something in local memory: nothing is to be kept."""
    faults = [
        Diagnostic(f"{name}: {', '.join(pin.stay)} is to stay in local memory, but fuse is off", pin.span, "fuse auto")
        for name, pin in options.pins
        if pin.stay
    ]
    if faults:
        raise CompileError(faults)


def _wanted(module: Module, pins: Mapping[str, Pin], possible: Collection[str]) -> Iterator[str]:
    """The values that pins keep in local memory. Raises CompileError where one can never be there."""
    faults = []
    for nest in module.operations:
        pin = pins.get(nest.name) if isinstance(nest, Nest) else None
        for operand in pin.stay if pin is not None else ():
            assert pin is not None and isinstance(nest, Nest)
            name = nest.access(operand).tensor
            if name not in possible:
                message = f"{nest.name}: {operand} cannot stay in local memory"
                help = "layers must write and read it, all in the same view if one pads it, and it must fit"
                faults.append(Diagnostic(message, pin.span, help))
            yield name
    if faults:
        raise CompileError(faults)


@dataclass
class _Plan:
    """What has been decided: kept values, and the operations with what they cost."""

    source: Module
    arch: Arch
    objective: str
    fixed: Collection[str]
    kept: dict[str, Candidate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.operations = list(self.source.operations)
        self.figures = [self._figures(each) for each in self.operations]
        self.needed = [tile_room(each, self.arch) if isinstance(each, Nest) else {} for each in self.operations]
        self.total = Figures(sum(each.cycles for each in self.figures), sum(each.energy_pj for each in self.figures))
        self.tried: dict[int, int] = {}  # schedules that were costed, by operation
        self.fitted: dict[tuple[object, ...], tuple[Schedule | None, Figures, int] | None] = {}

    def _figures(self, operation: object) -> Figures:
        if isinstance(operation, HostRegion):
            return Figures.of(cost_host(operation, self.source, self.arch), self.arch)
        assert isinstance(operation, Nest)
        return Figures.of(counted(operation, self.arch), self.arch)

    def consider(self, candidates: Sequence[Candidate]) -> None:
        """Keep values if that is possible and better."""
        kept = self.kept | {each.name: each for each in candidates}
        changes = self._changes(kept, {number for each in candidates for number in each.users})
        if any(found is None for found in changes.values()):
            return
        total = self.total
        for number, found in changes.items():
            assert found is not None
            total = total.plus(found[1], self.figures[number])
        if self._is_better(total):
            self._accept(kept, changes)

    def insist(self, candidates: Sequence[Candidate], pins: Mapping[str, Pin]) -> None:
        """Keep values that pins keep. Raises CompileError where a nest that writes or reads one does not fit."""
        kept = {each.name: each for each in candidates}
        changes = self._changes(kept, {number for each in candidates for number in each.users})
        lacking = [self.source.operations[number] for number, found in changes.items() if found is None]
        if lacking:
            help = "smaller tiles, one copy of a buffer, or less that stays"
            message = "as pinned it does not fit beside what stays in local memory"
            spans = [pins[each.name].span if each.name in pins else each.span for each in lacking]
            found = zip(lacking, spans, strict=True)
            raise CompileError([Diagnostic(f"{each.name}: {message}", span, help) for each, span in found])
        self._accept(kept, changes)

    def _changes(self, kept: Mapping[str, Candidate], users: Collection[int]) -> dict[int, tuple[Nest, Figures] | None]:
        """New schedules for `users` and nests whose tiles lack room beside `kept`, by operation; None: none fits."""
        rooms = self._rooms(kept)
        changes = {}
        for number, operation in enumerate(self.operations):
            if isinstance(operation, Nest) and not operation.is_empty:
                room = rooms[number]
                if number in users or any(size > room[name] for name, size in self.needed[number].items()):
                    changes[number] = self._refit(number, kept, room)
        return changes

    def _accept(self, kept: dict[str, Candidate], changes: Mapping[int, tuple[Nest, Figures] | None]) -> None:
        self.kept = kept
        for number, found in changes.items():
            assert found is not None
            nest, figures = found
            self.total = self.total.plus(figures, self.figures[number])
            self.operations[number], self.figures[number] = nest, figures
            self.needed[number] = tile_room(nest, self.arch)

    def _is_better(self, total: Figures) -> bool:
        before, after = self.total.objective(self.objective), total.objective(self.objective)
        slack = before * _ROUNDING
        less_energy = total.energy_pj < self.total.energy_pj * (1 - _ROUNDING)
        return after < before - slack or (after <= before and less_energy)

    def _rooms(self, kept: Mapping[str, Candidate]) -> list[dict[str, int]]:
        """Bytes for tiles in each memory, by operation, as passes/allocate.py will give them."""
        capacity = {memory.name: memory.capacity_bytes for memory in self.arch.local}
        rooms = [dict(capacity) for _ in self.operations]
        for memory in self.arch.local:
            lives = [each.life for each in kept.values() if each.memory == memory.name]
            top = memory.capacity_bytes // memory.word_bytes * memory.word_bytes
            for name, offset in pack_lifetimes(lives, memory.word_bytes).items():
                life = kept[name].life
                for number in range(life.first, life.last + 1):
                    rooms[number][memory.name] = min(rooms[number][memory.name], top - offset - life.bytes)
        return rooms

    def _refit(self, number: int, kept: Mapping[str, Candidate], room: dict[str, int]) -> tuple[Nest, Figures] | None:
        """The best of the schedules that are tried for a nest, from the one that it came with."""
        nest = self.source.operations[number]
        assert isinstance(nest, Nest)
        stay = self._stay(nest, kept)
        fixed = nest.name in self.fixed
        if fixed and nest.schedule is not None:
            doubled = {buffer.operand for buffer in nest.schedule.buffers if buffer.copies > 1}
            if doubled & {operand for operand, _ in stay.reads}:
                return None
        key = (nameless(nest), stay, tuple(sorted(room.items())), fixed)
        if key not in self.fitted:
            tried: list[tuple[Nest, Figures]] = []
            for each in refitted(nest, self.arch, stay, room, fixed):
                tried.append((each, self._figures(each)))
                # The tiles of the fastest schedule mostly stay the best for speed; for energy there is more to gain.
                if self.objective == "latency" and tried[-1][1].cycles <= self._figures(nest).cycles:
                    break
            best = min(tried, key=lambda each: self._rank(each[1]), default=None)
            self.fitted[key] = None if best is None else (best[0].schedule, best[1], len(tried))
        found = self.fitted[key]
        if found is None:
            return None
        schedule, figures, count = found
        self.tried[number] = self.tried.get(number, 0) + count
        return replace(nest, schedule=schedule), figures

    def _rank(self, figures: Figures) -> tuple[float, float]:
        return figures.objective(self.objective), figures.energy_pj

    @staticmethod
    def _stay(nest: Nest, kept: Mapping[str, Candidate]) -> Stay:
        reads = tuple(
            (access.operand, _margins_in(access, kept[access.tensor])) for access in nest.reads if access.tensor in kept
        )
        here = kept.get(nest.write.tensor)
        return Stay(reads, None if here is None else Target(here.memory, here.shape, here.margins))

    def module(self) -> Module:
        """The module as it was decided."""
        operations: list[Operation] = []
        for number, (before, after) in enumerate(zip(self.source.operations, self.operations, strict=True)):
            if isinstance(after, Nest) and after is not before:
                after = self._explained(number, after)  # noqa: PLW2901
            operations.append(after)
        return replace(self.source, operations=tuple(operations))

    def _explained(self, number: int, nest: Nest) -> Nest:
        """The schedule with its reason, its own objective and what is proven of it: the floor of any mapping."""
        before = self.source.operations[number]
        assert isinstance(before, Nest) and nest.schedule is not None and before.schedule is not None
        was, now = self._figures(before), self.figures[number]
        reason = f"{before.schedule.reason}; " if before.schedule.reason else ""
        reason += f"{self._what_stays(nest)}: {was.cycles} to {now.cycles} cycles, "
        reason += f"{was.energy_pj:.6g} to {now.energy_pj:.6g} pJ"
        value = now.objective(self.objective)
        is_stored = nest.schedule.target is None
        floor = objective_floor(nest, self.arch, nest.schedule.dataflow, self.objective, is_stored)
        schedule = replace(
            nest.schedule,
            reason=reason,
            objective=value,
            lower_bound=min(floor, value),
            evaluated=before.schedule.evaluated + self.tried[number],
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
