"""Boxes along one axis of an access, for each choice of tile sizes: what tiles hold, and how their runs use the bus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir.affine import Affine
from ..ir.arch import Arch
from ..ir.nest import VALUE, Access, axis_step

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AxisTable:
    """Boxes along one axis of an access for each choice of tile sizes: arrays over the axis's own dimensions.

    `count` is the positions of a full tile, `inside` and `counts` the sums over all tiles of positions inside the
    tensor and of all positions, `whole` whether the one tile covers the tensor's axis; `beats` and `requests` are the
    sums of bus beats and bursts if this is the axis along which runs end. `ends` holds the positions inside, beats and
    requests of the first and of the last tile. Without `exact`, beats and requests are only lower bounds.
    """

    dims: tuple[str, ...]
    count: Ints
    inside: Ints
    counts: Ints
    whole: Ints
    beats: Ints
    requests: Ints
    ends: tuple[tuple[Ints, Ints, Ints], tuple[Ints, Ints, Ints]]
    exact: bool


def axis_tables(
    access: Access, extents: Mapping[str, int], sizes: Mapping[str, Ints], arch: Arch
) -> tuple[AxisTable, ...]:
    """A table for each axis of the access, the outermost first."""
    tables = []
    run_bytes = access.type.bytes
    for axis, view in zip(reversed(access.index), reversed(access.shape), strict=True):
        tables.append(_axis_table(axis, view, run_bytes, extents, sizes, arch))
        run_bytes *= view
    return tuple(tables[::-1])


def _axis_table(
    axis: Affine, view: int, run_bytes: int, extents: Mapping[str, int], sizes: Mapping[str, Ints], arch: Arch
) -> AxisTable:
    """`run_bytes` is what the axes inside take if they are covered whole."""
    dims = tuple(dim for dim in axis.dims if dim != VALUE)
    shape = tuple(len(sizes[dim]) for dim in dims)
    step = 1 if VALUE in axis.dims else axis_step(axis, extents)
    results: Any = np.zeros((12, *shape), np.int64)
    exact = True
    clipped = axis.constant < 0 or axis.constant + sum(axis.coefficient(d) * (extents[d] - 1) for d in dims) >= view
    for choice in product(*(range(length) for length in shape)):
        # Tiles by start, positions and how many there are; where nothing is clipped, starts do not matter.
        starts, counts, weights = np.array([axis.constant], np.int64), np.zeros(1, np.int64), np.ones(1, np.int64)
        full = 0
        for dim, position in zip(dims, choice, strict=True):
            size, c, extent = int(sizes[dim][position]), axis.coefficient(dim), extents[dim]
            tiles = -(-extent // size)
            if clipped:
                first = np.arange(0, extent, size, dtype=np.int64)
                points, times = np.minimum(size, extent - first), np.ones(tiles, np.int64)
            else:
                first = np.zeros(min(tiles, 2), np.int64)
                points = np.array([size, extent - (tiles - 1) * size][-len(first) :], np.int64)
                times = np.array([tiles - 1, 1][-len(first) :], np.int64)
            starts = (starts[:, None] + c * first).reshape(-1)
            counts = (counts[:, None] + c * (points - 1)).reshape(-1)
            weights = (weights[:, None] * times).reshape(-1)
            full += c * (size - 1)
        counts, count = counts // step + 1, full // step + 1
        if VALUE in axis.dims:
            counts, count = np.array([view], np.int64), view
        if clipped:
            before = np.clip(-(starts // step), 0, counts)
            beyond = np.maximum(0, -(-(view - starts) // step))
            inside = np.maximum(before, np.minimum(counts, beyond)) - before
        else:
            inside = counts
        covers = inside == view
        single = int(weights.sum()) == 1
        covered_early = bool(covers.any()) and not single
        exact &= not covered_early

        def pieces(unit: int, inside: Ints = inside, split: bool = covered_early) -> Ints:
            if split:  # some of several tiles cover the axis: their runs may go on outwards
                return inside * run_bytes // unit
            if step == 1:
                return -(-inside * run_bytes // unit)
            return inside * -(-run_bytes // unit)

        beats, requests = pieces(arch.dma.bus_bytes), pieces(arch.dma.burst_bytes)
        results[(slice(None), *choice)] = (
            count,
            (inside * weights).sum(),
            (counts * weights).sum(),
            single and covers[0] and (step == 1 or view == 1),
            (beats * weights).sum(),
            (requests * weights).sum(),
            inside[0],
            beats[0],
            requests[0],
            inside[-1],
            beats[-1],
            requests[-1],
        )
    ends = (results[6], results[7], results[8]), (results[9], results[10], results[11])
    count_, inside_, counts_, whole, beats_, requests_ = results[:6]
    return AxisTable(dims, count_, inside_, counts_, whole, beats_, requests_, ends, exact)
