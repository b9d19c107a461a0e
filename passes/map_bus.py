"""What each operand moves, over all cells of a map space at once: its bytes, and at least the cycles that it takes on
the bus. Runs are those of full tiles, which is exact except where a tile that is not the only one covers an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.arch import Arch
from ..ir.nest import Nest, axis_step
from .map_axis import Ints
from .map_space import MapSpace


def ceil(value: Any, divisor: int) -> Any:
    return -(-value // divisor)


@dataclass(frozen=True, slots=True)
class Transfers:
    """The loads of an operand, or the stores, over cells: how often, in all their cycles of the bus, bytes in main
    memory and locally, the least cycles of the first, of the last and of all but the first, and the most of any."""

    times: Ints
    cycles: Ints
    main_bytes: Ints
    local_bytes: Ints
    first: Ints
    last: Ints
    later: Ints
    most: Ints


def tiles_of(space: MapSpace, dims: Sequence[str]) -> Ints:
    """Tiles of the product of `dims`, by cell."""
    tiles: Ints = np.prod([np.ones(len(space), np.int64), *(space.tiles(dim) for dim in dims)], axis=0)
    return tiles


class BusFigures:
    """What each operand moves, over the cells of a space, for each loop order."""

    def __init__(self, space: MapSpace) -> None:
        self.space = space
        self.nest: Nest = space.nest
        self.arch: Arch = space.arch
        self._known: dict[tuple[str, ...], dict[str, Transfers]] = {}

    def transfers(self, order: tuple[str, ...]) -> dict[str, Transfers]:
        """By operand, for one order of the main-memory loops."""
        if order not in self._known:
            accesses = (*self.nest.reads, self.nest.write)
            self._known[order] = {access.operand: self._transfers(access.operand, order) for access in accesses}
        return self._known[order]

    def _repeats(self, operand: str, order: tuple[str, ...]) -> Ints:
        """How often every tile of an operand is moved: iterations of loops that it does not depend on and that are
        outside of one that changes its tile."""
        access = self.nest.access(operand)
        repeats = np.ones(len(self.space), np.int64)
        changes = np.zeros(len(self.space), bool)
        for dim in reversed(order):
            tiles = self.space.tiles(dim)
            if dim in access.dims:
                changes |= tiles > 1
            else:
                repeats = np.where(changes, repeats * tiles, repeats)
        return repeats

    def _transfers(self, operand: str, order: tuple[str, ...]) -> Transfers:
        space, arch = self.space, self.arch
        access = self.nest.access(operand)
        tables = space.tables[operand]
        one = np.ones(len(space), np.int64)
        inside, counts = one, one
        sums = [one, one]
        ends = [[one, one], [one, one]]
        inner_whole = np.ones(len(space), bool)
        for number, table in reversed(list(enumerate(tables))):
            whole = space.at(table, table.whole) > 0
            ending = inner_whole if number == 0 else inner_whole & ~whole
            passing = inner_whole & whole
            moved = space.at(table, table.inside)
            inside, counts = inside * moved, counts * space.at(table, table.counts)
            for kind, pieces in enumerate((table.beats, table.requests)):
                sums[kind] = sums[kind] * np.where(ending, space.at(table, pieces), np.where(passing, 1, moved))
                for end, of_end in zip(ends, table.ends, strict=True):
                    there = space.at(table, of_end[0])
                    end[kind] = end[kind] * np.where(
                        ending, space.at(table, of_end[1 + kind]), np.where(passing, 1, there)
                    )
            inner_whole = inner_whole & whole
        if not tables:
            sums = [one * ceil(one * access.type.bytes, unit) for unit in (arch.dma.bus_bytes, arch.dma.burst_bytes)]
            ends = [list(sums), list(sums)]
        repeats = self._repeats(operand, order)
        times = repeats * tiles_of(space, [dim for dim in order if dim in access.dims])
        command = arch.queues.command_cycles
        size = access.type.bytes
        element = self.nest.accumulator.bytes if access is self.nest.write else size
        cycles = times * command + repeats * self._bus(*sums)
        first = command + self._bus(*ends[0])
        most = self._most(operand)
        exact = all(table.exact for table in tables)
        later = np.maximum(0, cycles - (first if exact else most))
        main, local = repeats * inside * size, repeats * counts * element
        return Transfers(times, cycles, main, local, first, command + self._bus(*ends[1]), later, most)

    def _most(self, operand: str) -> Ints:
        """Cycles that no load or store of the operand exceeds: those of a full box in which no axes merge."""
        access, dma = self.nest.access(operand), self.arch.dma
        pieces = [np.ones(len(self.space), np.int64)] * 2
        positions = pieces[0]
        for number, table in reversed(list(enumerate(self.space.tables[operand]))):
            count = self.space.at(table, table.count)
            innermost = number == len(access.index) - 1
            merges = innermost and axis_step(access.index[number], self.space.extents) == 1
            for kind, unit in enumerate((dma.bus_bytes, dma.burst_bytes)):
                run = ceil(count * access.type.bytes, unit) if merges else count * ceil(access.type.bytes, unit)
                pieces[kind] = pieces[kind] * (run if innermost else count)
            positions = positions * count
        cycles = self._bus(*pieces) + 1  # the bandwidth's rounding
        if access is self.nest.write:
            cycles = np.maximum(cycles, ceil(positions, self.arch.post.lanes))
        most: Ints = self.arch.queues.command_cycles + cycles
        return most

    def _bus(self, beats: Ints, requests: Ints) -> Ints:
        """At least the cycles that commands of so many beats and requests together hold the bus."""
        dma = self.arch.dma
        limited = np.ceil(beats * (dma.bus_bytes * self.arch.clock_hz / dma.bandwidth_bytes_per_second) * (1 - 1e-12))
        waiting = ceil(requests * dma.latency_cycles, dma.requests_in_flight)
        cycles: Ints = np.maximum(np.maximum(beats, limited.astype(np.int64)), waiting)
        return cycles
