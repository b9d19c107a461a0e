"""Cycles of a convolution or a matrix product that Gemmini's loop instructions run tile by tile.

Each tile is one LOOP_CONV_WS or LOOP_WS. Sources, besides those of gemmini_layer.py and gemmini_memory.py, all in
ucb-bar/gemmini src/main/scala/gemmini: [conv] LoopConv.scala, [product] LoopMatmul.scala, [load] LoadController.scala,
[execute] ExecuteController.scala, [mesh] MeshWithDelays.scala, [zero] ZeroWriter.scala.

- Two loops are in flight, each with half of both memories; a third one starts when the first is complete. Within a
  convolution's tile nothing is computed before all of its loads are issued, and nothing is stored before all is
  computed [conv]; a product computes a block of input channels as soon as it is loaded [product].
- Loads: two commands of at most 16 rows are in flight, and 16 requests [load, dma]. Zeros (padding, the absent bias)
  take a cycle a row of 16 [zero].
- Compute: a block of 16 x 16 weights enters in 16 rows, beside the first rows of inputs; others take as many cycles as
  they have rows, at least 4 [execute]; 6 operations are in flight in the array [mesh].
- Stores: one row of 16 channels a request of a convolution [conv], of up to 64 of a product [product].
- What the caches miss takes the time for which it occupies the last-level cache, in the tiles that touch other lines
  than the tile before them; what is more than these can miss, spread over all tiles.

The runs that the constants were calibrated on had memories of 4 MiB each (DummyGemminiConfig of
charleshong3/gemmini-dosa), so that every tile fits twice; the model has no rule for tiles that do not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np

from ...ir.diagnostics import ensure
from ...ir.frozen import dataclass
from .gemmini_layer import BLOCK, DIMS, MOST_TILES, Constants, ConvLayer, TiledLoops
from .gemmini_memory import (
    CONTIGUOUS,
    DIMS_OF,
    LAST_LEVEL,
    LEVEL_2,
    SEGMENT_BYTES,
    TENSORS,
    Requests,
    blocks,
    granule_bytes,
    misses,
    requests,
    segments,
)

REQUESTS_IN_FLIGHT = 16
COMMANDS_IN_FLIGHT = 2
MESH_OPERATIONS = 6  # entries of the array's queue of tags: five operations and one more [mesh]
LEAST_ROWS = 4
ROWS_SIMULATED = 16  # output rows of a weight block that are walked one by one; more take the time of the last ones
# A line of outputs is fetched before it is written in parts, and written back later.
OUTPUT_LINE_MOVES = 2


@dataclass(frozen=True, slots=True)
class LoopCycles:
    """The time of a layer, and for how long each stage was busy; all in cycles."""

    total: float
    load: float
    compute: float
    store: float
    tiles: int

    @property
    def overhead(self) -> float:
        """What the busiest stage does not explain: first and last tiles, waiting for one another, commands."""
        return self.total - max(self.load, self.compute, self.store)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Input pixels of a tile along one axis of the image: those that exist, and zeros before and after them."""

    pixels: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class _Tile:
    """What the cycles of a tile depend on; `first` and `last` of its reduction."""

    sizes: tuple[int, ...]  # in the order of DIMS
    columns: _Axis
    rows: _Axis
    first: bool
    last: bool
    fresh: frozenset[str]  # tensors of which it touches other lines than the tile before


def loop_cycles(layer: ConvLayer, loops: TiledLoops, constants: Constants, *, warm: bool = True) -> LoopCycles:
    """The cycles of a layer; `warm` where it ran just before and the caches hold of its data what fits.

    Requires: at most MOST_TILES tiles; time and memory grow with them.
    """
    ensure(math.prod(loops.trips(layer).values()) <= MOST_TILES, f"more than {MOST_TILES} tiles")
    kinds, sequence = _tiles(layer, tuple(loops.tile[dim] for dim in DIMS), loops.order)
    runs = Counter(sequence)
    stages = _Stages(layer, loops, constants, [(kind, runs[i]) for i, kind in enumerate(kinds)], warm)
    times = [stages.times(each) for each in kinds]
    timeline = _product_timeline if layer.is_product else _conv_timeline
    total = timeline((times[i] for i in sequence), constants) + constants.start_cycles
    load, compute, store = (
        sum(runs[i] * busy for i, busy in enumerate(stage))
        for stage in zip(*((each.load, each.compute, each.store) for each in times), strict=True)
    )
    return LoopCycles(total, load, compute, store, len(sequence))


@lru_cache(maxsize=256)
def _tiles(layer: ConvLayer, tile: tuple[int, ...], order: str) -> tuple[list[_Tile], list[int]]:
    """The different tiles, and which of them runs when."""
    sizes = {dim: list(_split(layer.extents()[dim], size)) for dim, size in zip(DIMS, tile, strict=True)}
    columns, rows = (_axes(layer, sizes[output], sizes[kernel]) for output, kernel in ("PR", "QS"))
    shape = [len(sizes[dim]) for dim in reversed(order)]
    places = np.unravel_index(np.arange(math.prod(shape)), shape)
    at = dict(zip(reversed(order), places, strict=True))
    # What distinguishes tiles, each as a whole number: their pixels, whether they are the short last ones along a
    # dimension, begin or end a reduction, touch other lines than the tile before.
    marks = [_kinds(columns)[at["P"], at["R"]], _kinds(rows)[at["Q"], at["S"]]]
    marks += [at[dim] == len(sizes[dim]) - 1 for dim in DIMS]
    marks.append(np.all([at[dim] == 0 for dim in "CRS"], axis=0))
    marks += [_touches_others(each, at, sizes) for each in TENSORS]
    code = np.zeros(math.prod(shape), dtype=np.int64)
    for mark in marks:
        code = code * (int(mark.max()) + 1) + mark
    _, firsts, sequence = np.unique(code, return_index=True, return_inverse=True)
    kinds = []
    for first in firsts:
        r, s, p, q, *_ = here = [int(at[dim][first]) for dim in DIMS]
        kinds.append(
            _Tile(
                tuple(sizes[dim][i] for dim, i in zip(DIMS, here, strict=True)),
                columns[p][r],
                rows[q][s],
                first=all(at[dim][first] == 0 for dim in "CRS"),
                last=all(at[dim][first] == len(sizes[dim]) - 1 for dim in "CRS"),
                fresh=frozenset(
                    each for each, fresh in zip(TENSORS, marks[-len(TENSORS) :], strict=True) if fresh[first]
                ),
            )
        )
    return kinds, sequence.ravel().tolist()


def _kinds(axes: list[list[_Axis]]) -> np.ndarray:
    """The same number for tiles with the same pixels."""
    numbers: dict[_Axis, int] = {}
    return np.array([[numbers.setdefault(each, len(numbers)) for each in row] for row in axes])


def _touches_others(tensor: str, at: Mapping[str, np.ndarray], sizes: Mapping[str, list[int]]) -> np.ndarray:
    """Whether a tile touches other lines of 64 bytes than the tile before; neighbours may share them."""
    changed = np.zeros(len(at["N"]), dtype=bool)
    changed[0] = True
    for dim in DIMS_OF[tensor]:
        number = at[dim] * sizes[dim][0] // SEGMENT_BYTES if dim == CONTIGUOUS[tensor] else at[dim]
        changed[1:] |= number[1:] != number[:-1]
    return changed


def _split(extent: int, size: int) -> Iterator[int]:
    return (min(size, extent - start) for start in range(0, extent, size))


def _axes(layer: ConvLayer, outputs: list[int], kernels: list[int]) -> list[list[_Axis]]:
    """Input pixels by tile of outputs and tile of the kernel, as tiled_conv cuts them [sw]."""
    found = []
    for i, output in enumerate(outputs):
        row = []
        for j, kernel in enumerate(kernels):
            start = sum(outputs[:1]) * i * layer.stride + sum(kernels[:1]) * j - layer.padding
            count = output * layer.stride + kernel - 1
            before, after = max(0, -start), max(0, start + count - layer.input_side)
            row.append(_Axis(max(0, count - before - after), before, after))
        found.append(row)
    return found


@dataclass(frozen=True, slots=True)
class _StageTimes:
    """Cycles of a tile's stages; `steps`: pieces in which its loads come and can be computed."""

    load: float
    compute: float
    store: float
    steps: int


class _Stages:
    """Cycles of the three stages of a tile; `kinds`: the different tiles, and how many there are of each."""

    def __init__(
        self, layer: ConvLayer, loops: TiledLoops, constants: Constants, kinds: Sequence[tuple[_Tile, int]], warm: bool
    ) -> None:
        self.layer, self.loops, self.constants = layer, loops, constants
        level_2 = misses(layer, loops, LEVEL_2, warm)
        last_level = misses(layer, loops, LAST_LEVEL, warm)
        # Cycles of the last-level cache for each byte that a tile moves of a tensor: in any tile, and besides where
        # its lines are others than those of the tile before.
        self.anywhere, self.fresh = dict.fromkeys(TENSORS, 0.0), dict.fromkeys(TENSORS, 0.0)
        for each in TENSORS:
            missed = level_2[each]
            busy = constants.last_level_cycles * missed.total
            busy += constants.memory_cycles * min(missed.total, last_level[each].total)
            busy *= OUTPUT_LINE_MOVES if each == "O" else 1
            moved = sum(count * self._bytes(kind)[each] for kind, count in kinds)
            moved_fresh = sum(count * self._bytes(kind)[each] for kind, count in kinds if each in kind.fresh)
            new_lines = sum(count for kind, count in kinds if each in kind.fresh) * missed.lines_of_tile
            share = min(1.0, new_lines / missed.total) if missed.total and moved_fresh else 0.0
            self.fresh[each] = share * busy / moved_fresh if share else 0.0
            self.anywhere[each] = (1 - share) * busy / moved if moved else 0.0

    def times(self, tile: _Tile) -> _StageTimes:
        steps = len(segments(tile.sizes[DIMS.index("C")]))
        return _StageTimes(self.load(tile), self.compute(tile), self.store(tile), steps)

    def _bytes(self, tile: _Tile) -> dict[str, int]:
        r, s, p, q, c, k, n = tile.sizes
        pixels = p if self.layer.is_product else tile.columns.pixels * tile.rows.pixels
        return {"W": r * s * c * k, "I": pixels * n * c, "O": p * q * n * k if tile.last else 0}

    def _asked(self, piece: int, stride: int, dim: str) -> Requests:
        """Requests of a piece of a row of channels: pieces start at multiples of themselves in tiles of `dim`."""
        step = math.gcd(stride, self.loops.tile[dim], BLOCK if piece < SEGMENT_BYTES else SEGMENT_BYTES)
        return requests(piece, step, granule_bytes(self.layer))

    def _commands(self, lengths: Sequence[int], channels: int, stride: int, dim: str) -> float:
        """Loads of as many rows as each of `lengths` says, in pieces of their channels."""
        latency = self.constants.request_latency_cycles
        total = 0.0
        for piece in segments(channels):
            asked = self._asked(piece, stride, dim)
            a_row = max(asked.beats, asked.count * latency / REQUESTS_IN_FLIGHT)
            total += sum(max(length * a_row, latency / COMMANDS_IN_FLIGHT) for length in lengths)
        return total

    def load(self, tile: _Tile) -> float:
        r, s, p, q, c, k, n = tile.sizes
        layer = self.layer
        columns, rows = (p, 1) if layer.is_product else (tile.columns.pixels, tile.rows.pixels * n)
        inputs = rows * self._commands(blocks(columns), c, layer.c, "C")
        weights = r * s * self._commands(blocks(c), k, layer.k, "K")
        zeros = 0
        if not layer.is_product:
            width = columns + tile.columns.before + tile.columns.after
            height = rows + (tile.rows.before + tile.rows.after) * n
            zeros = (width * height - columns * rows) * len(blocks(c))
            zeros += p * q * n * len(blocks(k)) if tile.first else 0
        return max(inputs, self._missed(tile, "I")) + max(weights, self._missed(tile, "W")) + zeros

    def _missed(self, tile: _Tile, tensor: str) -> float:
        """Cycles in which the last-level cache is busy with what the tile misses."""
        fresh = self.fresh[tensor] if tensor in tile.fresh else 0.0
        return self._bytes(tile)[tensor] * (self.anywhere[tensor] + fresh)

    def compute(self, tile: _Tile) -> float:
        r, s, p, q, c, k, n = tile.sizes
        weight_blocks = r * s * len(blocks(c)) * len(blocks(k))
        return weight_blocks * _weight_block(blocks(p), q * n, self.constants.mesh_latency_cycles)

    def store(self, tile: _Tile) -> float:
        if not tile.last:
            return 0.0
        _, _, p, q, _, k, n = tile.sizes
        pieces = segments(k) if self.layer.is_product else blocks(k)
        cycles = 0.0
        for piece in pieces:
            asked = self._asked(piece, self.layer.k, "K")
            limit = asked.count * self.constants.request_latency_cycles / REQUESTS_IN_FLIGHT
            cycles += p * q * n * max(asked.beats, limit)
        return max(cycles, self._missed(tile, "O"))


@lru_cache(maxsize=4096)
def _weight_block(row: tuple[int, ...], rows: int, latency: float) -> float:
    """Cycles for which a block of weights occupies the array, one after another: `rows` output rows of these pieces.

    The operation that is MESH_OPERATIONS back must have left the array before the next one enters.
    """
    walked = min(rows, ROWS_SIMULATED)

    def steady(count: int) -> float:
        operations = row * count
        leaves: list[float] = []
        now, marks = 0.0, []
        for i in range(3 * len(operations)):
            length = operations[i % len(operations)]
            if i >= MESH_OPERATIONS:
                now = max(now, leaves[i - MESH_OPERATIONS])
            now += max(length, BLOCK if i % len(operations) == 0 else LEAST_ROWS)
            leaves.append(now + latency)
            if (i + 1) % len(operations) == 0:
                marks.append(now)
        return marks[2] - marks[1]

    found = steady(walked)
    if rows > walked:
        found += (rows - walked) * (found - steady(walked // 2)) / (walked - walked // 2)
    return found


def _conv_timeline(tiles: Iterable[_StageTimes], constants: Constants) -> float:
    """When the last tile is stored: load, compute and store of a tile follow one another, tiles overlap [conv]."""
    loaded = computed = stored = stored_before = 0.0
    for tile in tiles:
        loaded = max(max(loaded, stored_before) + tile.load, loaded + constants.tile_cycles)
        computed = max(loaded + constants.request_latency_cycles, computed) + tile.compute
        drain = constants.mesh_latency_cycles if tile.store else 0.0
        stored, stored_before = max(computed + drain, stored) + tile.store, stored
    return max(computed, stored)


def _product_timeline(tiles: Iterable[_StageTimes], constants: Constants) -> float:
    """The same, where computing follows the loads of a tile by one of their steps [product]."""
    loaded = computed = stored = stored_before = 0.0
    for tile in tiles:
        begun = max(loaded, stored_before)
        loaded = max(begun + tile.load, loaded + constants.tile_cycles)
        follows = begun + tile.load / tile.steps + constants.request_latency_cycles
        computed = max(max(follows, computed) + tile.compute, loaded + tile.compute / tile.steps)
        drain = constants.mesh_latency_cycles if tile.store else 0.0
        stored, stored_before = max(computed + drain, stored) + tile.store, stored
    return max(computed, stored)
