"""Schedules of nests beside what stays in local memory: what they cost, and how the user's cache tells of them. A part
of passes/keep.py.

An entry of the cache (passes/map_cache.py) is not trusted: the schedule that it names is checked and costed again
before a module has it.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from ..backends.cost.module import nameless
from ..backends.cost.price import energy_pj
from ..ir.arch import Arch
from ..ir.frozen import dataclass
from ..ir.nest import Nest, Schedule, main_memory_loops
from ..ir.stats import LayerCounts
from .map_entry import is_count
from .mapping import Pin, pin_faults
from .refit import Stay, remade, tile_room

MOST_ENERGY_PJ = 1e30  # of an entry; no objective of it is beyond what floats can say


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a layer or of all: cycles and pJ."""

    cycles: int
    energy_pj: float

    @staticmethod
    def of(counts: LayerCounts, arch: Arch) -> Figures:
        return Figures(counts.cycles, sum(energy_pj(counts, arch).values()))

    def plus(self, other: Figures, minus: Figures) -> Figures:
        return Figures(self.cycles + other.cycles - minus.cycles, self.energy_pj + other.energy_pj - minus.energy_pj)


@dataclass(frozen=True, slots=True)
class Found:
    """A schedule for a nest, what it costs, and how many were costed to find it; None where there is none that fits.
    `is_known` says that figures were counted here; else the cache says so."""

    schedule: Schedule | None
    figures: Figures
    tried: int
    is_known: bool = True


NOTHING = Found(None, Figures(0, 0.0), 0)
Room = tuple[int, ...]  # bytes for tiles in each local memory


@dataclass
class Known:
    """What plans for one machine and objective have learned of nests, for one another. Nests that differ in names alone
    are of one kind, which is a number."""

    bare: list[Nest] = field(default_factory=list)  # without names, by kind
    figures: dict[int, Figures] = field(default_factory=dict)  # by kind, with the schedules that they came with
    digests: dict[int, str] = field(default_factory=dict)
    found: dict[tuple[int, bool, Stay, Room], Found] = field(default_factory=dict)  # by kind and whether it is fixed
    sound: set[tuple[int, Schedule | None]] = field(default_factory=set)  # what a cache told of, and it holds
    _kinds: dict[Nest, int] = field(default_factory=dict)
    _seen: dict[int, tuple[Nest, int]] = field(default_factory=dict)  # by identity
    _rooms: dict[tuple[int, int], tuple[object, Room]] = field(default_factory=dict)  # by kind and identity

    def kind(self, nest: Nest) -> int:
        """Its number."""
        if id(nest) not in self._seen:
            bare = nameless(nest)
            kind = self._kinds.setdefault(bare, len(self.bare))
            if kind == len(self.bare):
                self.bare.append(bare)
            self._seen[id(nest)] = nest, kind
        return self._seen[id(nest)][1]

    def room(self, kind: int, nest: Nest, arch: Arch) -> Room:
        """Bytes that the tiles of a nest, which is of this kind but for its schedule, take in each local memory."""
        key = kind, id(nest.schedule)
        if key not in self._rooms:
            self._rooms[key] = nest.schedule, tuple(tile_room(nest, arch).values())
        return self._rooms[key][1]


def entry_of(found: Found) -> dict[str, Any]:
    """What the cache is told."""
    if found.schedule is None:
        return {"tiles": None}
    return {
        "tiles": [[*loop.dims, loop.size] for loop in main_memory_loops(found.schedule)],
        "copies": [[buffer.operand, buffer.copies] for buffer in found.schedule.buffers],
        "cycles": found.figures.cycles,
        "energy_pj": found.figures.energy_pj,
        "tried": found.tried,
    }


def restored(nest: Nest, arch: Arch, stay: Stay, entry: dict[str, Any] | None) -> Found | None:
    """What an entry tells of a nest; None where it is not there or makes no sense."""
    match entry:
        case {"tiles": None}:
            return NOTHING
        case {
            "tiles": list(tiles),
            "copies": list(copies),
            "cycles": int(cycles),
            "energy_pj": int() | float() as energy,
            "tried": int(tried),
        } if all(map(is_count, (*tiles, *copies, ["", tried], ["", cycles]))) and 0 <= energy <= MOST_ENERGY_PJ:
            pin = Pin(tiles=tuple((dim, size) for dim, size in tiles), copies=tuple((name, n) for name, n in copies))
            if not any(pin_faults(nest, pin)):
                made = remade(nest, arch, stay, pin.tiles, dict(pin.copies))
                return Found(made.schedule, Figures(cycles, energy), tried, is_known=False)
    return None
