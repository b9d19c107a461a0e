"""The points that the loops of a schedule visit, by walking them: for proofs by enumeration on small nests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from dnnc.ir.nest import Loop, Nest

Point = tuple[int, ...]
Tile = Mapping[tuple[str, ...], Sequence[Point]]


def visited(nest: Nest) -> Counter[Point]:
    """How often the schedule visits each point of the domain. A loop over several dimensions runs over their product in
    order; a spatial loop runs block by block over what is left, and over the units of each block."""
    assert nest.schedule is not None
    tile: Tile = {(dim.name,): [(index,) for index in range(dim.extent)] for dim in nest.domain}
    names = [dim.name for dim in nest.domain]
    return Counter(
        tuple(point[name] for name in names) for left in _walk(nest.schedule.loops, tile) for point in _points(left)
    )


def _walk(loops: Sequence[Loop], tile: Tile) -> Iterator[Tile]:
    if not loops:
        yield tile
        return
    loop, inner = loops[0], loops[1:]
    rest = {dims: points for dims, points in tile.items() if not set(dims) & set(loop.dims)}
    points = tile.get(loop.dims)
    if points is None:
        points = [tuple(i for part in parts for i in part) for parts in product(*(tile[dim,] for dim in loop.dims))]
    for start in range(0, len(points), loop.size):
        block = points[start : start + loop.size]
        for piece in [[point] for point in block] if loop.spatial else [block]:
            yield from _walk(inner, {**rest, loop.dims: piece})


def _points(tile: Tile) -> Iterator[dict[str, int]]:
    """What no loop has walked yet: nothing, if the schedule covers its nest, so that there is one point."""
    assert all(len(points) == 1 for points in tile.values()), "the loops leave tiles of several points"
    yield {name: index for dims, points in tile.items() for name, index in zip(dims, points[0], strict=True)}
