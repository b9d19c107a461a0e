"""Gemmini's DMA requests and what of them the caches of its system miss, tile after tile, in closed form.

Sources: [dma] ucb-bar/gemmini src/main/scala/gemmini/DMA.scala (StreamReader, StreamWriter);
[soc] charleshong3/firesim-dosa and chipyard-dosa: a level 2 cache of 512 KiB (8 ways, 1024 sets, lines of 64 bytes) and
the last-level cache of FireSim's memory model (LastLevelCache.scala: 4 MiB, 8 ways, 4096 sets, blocks of 128 bytes);
both replace lines at random.
"""

from __future__ import annotations

import math
from functools import lru_cache

from ...ir.frozen import dataclass
from .gemmini_layer import BLOCK, Cache, ConvLayer, TiledLoops

LEVEL_2 = Cache(line_bytes=64, sets=1024, ways=8)
LAST_LEVEL = Cache(line_bytes=128, sets=4096, ways=8)
BEAT_BYTES = 16
REQUEST_BYTES = (16, 32, 64)  # sizes of requests; each is aligned to its size
SEGMENT_BYTES = REQUEST_BYTES[-1]  # the most that one row of a command moves
TENSORS = "WIO"
DIMS_OF = {"W": "KCRS", "I": "CPQRSN", "O": "KPQN"}
CONTIGUOUS = {"W": "K", "I": "C", "O": "K"}  # the dimension along which neighbours lie side by side in memory


@dataclass(frozen=True, slots=True)
class Requests:
    """For one row of a command, on average: requests, and cycles in which they occupy the bus."""

    count: float
    beats: float


def _starts(step: int, line: int, granule: int) -> list[int]:
    """Where rows may start in a line, each as likely as the others: rows that lie `step` bytes apart in an array that
    starts at some multiple of `granule`."""
    return [(base + i) % line for base in range(0, line, granule) for i in range(0, line, math.gcd(step, line))]


def granule_bytes(layer: ConvLayer) -> int:
    """Arrays of products are aligned to a row of the scratchpad (matmul_tilings.c), others to a word of the processor;
    where in a line of 64 bytes they start is the linker's choice."""
    return 16 if layer.is_product else 8


@lru_cache(maxsize=4096)
def requests(row_bytes: int, step: int, granule: int) -> Requests:
    """The DMA splits a row into aligned requests, each the smallest that fetches the most of what is left [dma]."""
    starts = _starts(step, SEGMENT_BYTES, granule)
    count = beats = 0
    for start in starts:
        at, left = start, row_bytes
        while left > 0:
            useful, size = max((min(size - at % size, left), -size) for size in REQUEST_BYTES)
            count += 1
            beats += -size // BEAT_BYTES
            at, left = at + useful, left - useful
    return Requests(count / len(starts), beats / len(starts))


@lru_cache(maxsize=4096)
def lines_of_row(row_bytes: int, step: int, line: int, granule: int) -> float:
    """Lines that a row of this size touches, on average."""
    starts = _starts(step, line, granule)
    return sum((start + row_bytes - 1) // line + 1 for start in starts) / len(starts)


@lru_cache(maxsize=4096)
def hit_share(load: float) -> float:
    """Of lines that are touched again and again in a circle, those that are still there, where the circle is `load`
    times what the cache holds and every miss replaces a line at random.

    A line survives (1 - h) * load * capacity random replacements with the probability exp(-(1 - h) * load), which is
    its share h of hits again: the fixed point below 1, which exists where the circle is larger than the cache.
    """
    if load <= 1:
        return 1.0
    share = 0.0
    for _ in range(200):
        share = math.exp(-(1 - share) * load)
    return share


class _Footprints:
    """Lines that each tensor touches in the loops so far, and the misses in them; grows loop by loop, inner first."""

    def __init__(self, layer: ConvLayer, loops: TiledLoops, store: Cache) -> None:
        self.layer, self.store = layer, store
        self.extents = layer.extents()
        self.size = {dim: min(loops.tile[dim], extent) for dim, extent in self.extents.items()}
        self.stride = {"W": layer.k, "I": layer.c, "O": layer.k}
        self.lines = {each: self._rows(each) * self._per_row(each, self.covered(each)) for each in TENSORS}
        self.misses = dict(self.lines)
        if not layer.is_product:
            self.misses["W"] += self._weights_again()

    def covered(self, tensor: str) -> int:
        """Bytes of each row that the loops so far touch."""
        return min(self.size[CONTIGUOUS[tensor]], self.stride[tensor])

    def _rows(self, tensor: str) -> int:
        size, stride = self.size, self.layer.stride
        if tensor == "W":
            return size["R"] * size["S"] * size["C"]
        if tensor == "O":
            return size["P"] * size["Q"] * size["N"]
        columns = min((size["P"] - 1) * stride + size["R"], self.layer.input_side)
        rows = 1 if self.layer.is_product else min((size["Q"] - 1) * stride + size["S"], self.layer.input_side)
        return columns * rows * size["N"]

    def _per_row(self, tensor: str, covered: int) -> float:
        line, stride = self.store.line_bytes, self.stride[tensor]
        if covered >= stride:  # row after row without a gap
            return stride / line
        return lines_of_row(covered, math.gcd(stride, covered), line, granule_bytes(self.layer))

    def _reach(self, tensor: str, covered: int) -> int:
        """Lines that the cache can hold of rows that lie a power of two or the like apart: they share few sets."""
        stride, store = self.stride[tensor], self.store
        if covered >= stride or stride % store.line_bytes:
            return store.lines
        chunks = store.sets // math.gcd(stride // store.line_bytes, store.sets)
        return store.ways * min(store.sets, chunks * math.ceil(covered / store.line_bytes))

    def _weights_again(self) -> float:
        """Misses of a weight tile beyond its lines: it is loaded in columns of 64 bytes, each through all rows, and a
        line that two columns share is gone by the second where the rows do not fit."""
        covered = self.covered("W")
        columns = math.ceil(covered / SEGMENT_BYTES)
        if columns == 1:
            return 0.0
        column = self._rows("W") * self._per_row("W", SEGMENT_BYTES)
        shared = max(0.0, column * columns - self.lines["W"])
        return shared * (1 - hit_share(round(column / self._reach("W", SEGMENT_BYTES), 3)))

    def kept(self, tensor: str) -> float:
        """Of the lines that the loops so far touch, those that are still there when they start again."""
        crowd = sum(self.lines.values()) / self.store.lines
        own = self.lines[tensor] / self._reach(tensor, self.covered(tensor))
        return hit_share(round(max(crowd, own), 3))

    def _again(self, tensor: str, dim: str, trips: float) -> float:
        """Of the lines of one iteration over `dim`, those that the next one touches again."""
        if dim not in DIMS_OF[tensor]:
            return 1.0
        if dim == CONTIGUOUS[tensor]:
            after = self._per_row(tensor, min(self.extents[dim], self.stride[tensor]))
            grown = after / self._per_row(tensor, self.covered(tensor))
            return min(1.0, max(0.0, (trips - grown) / (trips - 1)))
        if tensor != "I" or dim in "N":
            return 0.0
        output, kernel = ("P", "R") if dim in "PR" else ("Q", "S")
        extent = (self.size[output] - 1) * self.layer.stride + self.size[kernel]
        step = self.size[dim] * (self.layer.stride if dim == output else 1)
        return max(0.0, (extent - step) / extent)

    def loop(self, dim: str) -> None:
        """Add the loop over `dim` around those so far; outputs are written only once a reduction is complete."""
        exact = self.extents[dim] / self.size[dim]
        if exact <= 1:
            return
        kept = {each: self.kept(each) for each in TENSORS}
        grown = dict(self.lines)
        for each in TENSORS:
            if each == "O" and dim in "CRS":
                continue
            # A loop that repeats the same lines does so in its short last iteration, too.
            trips = exact if dim in DIMS_OF[each] and dim not in "RS" else math.ceil(exact)
            again = self._again(each, dim, trips)
            once_more = max(0.0, self.misses[each] - self.lines[each]) + self.lines[each] * (1 - again * kept[each])
            self.misses[each] += (trips - 1) * once_more
            grown[each] = self.lines[each] * (1 + (trips - 1) * (1 - again))
        self.lines = grown
        self.size[dim] = self.extents[dim]


@dataclass(frozen=True, slots=True)
class Misses:
    """Lines of a tensor that are not in the cache when a tile wants them, in the whole layer; and those of a tile."""

    total: float
    lines_of_tile: float


def misses(layer: ConvLayer, loops: TiledLoops, store: Cache, warm: bool) -> dict[str, Misses]:
    """The misses of each tensor. `warm`: the same layer ran just before, and what fits is still there."""
    prints = _Footprints(layer, loops, store)
    of_tile = prints.lines
    for dim in loops.order:
        prints.loop(dim)
    found = {}
    for each in TENSORS:
        first = prints.lines[each] * (1 - prints.kept(each) if warm else 1.0)
        found[each] = Misses(max(0.0, prints.misses[each] - prints.lines[each]) + first, of_tile[each])
    return found


def segments(channels: int, most: int = SEGMENT_BYTES) -> tuple[int, ...]:
    """Bytes of the pieces in which a command moves a row of int8 channels."""
    return (*[most] * (channels // most), *([channels % most] if channels % most else ()))


def blocks(extent: int) -> tuple[int, ...]:
    """Sizes of the blocks of 16 in which an extent is loaded, computed and stored."""
    return segments(extent, BLOCK)
