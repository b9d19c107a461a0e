"""Computes that leave out what would add nothing (specs/isa.md, section 7), tile by tile.

An element is *tagged* where its block was skipped by the load; work whose elements are all tagged is left out. What a
command does depends on the tags of its two tiles: those are folded to blocks once a tile, and put together once a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from ...ir.arch import Arch
from ...ir.diagnostics import CompileError, Diagnostic
from ...ir.frozen import dataclass
from ...ir.nest import BodyOp, CounterClass, Dataflow, Nest, counter_class, tile_sizes
from .blocks_held import Flags, Held
from .classes import Grid, Ints
from .commands import Computes, blocked_dim

POINT_LIMIT = 1 << 27  # of a command for one operand, each of which is looked at
WORK_LIMIT = 1 << 36  # of all commands of a nest
_FOLDS = 256  # tiles whose folded tags are remembered


@dataclass(frozen=True, slots=True)
class Skipping:
    """The computes, without what they leave out, and the products of all of them whose operands are no padding."""

    done: Computes
    useful: int


@dataclass(frozen=True, slots=True)
class _Work:
    """Of a command: cycles of its passes; elements of a and b that are read; sums that are written, and output elements
    that nothing is added to; products, and those of them without padding."""

    cycles: int
    a: int
    b: int
    partial: int
    untouched: int
    products: int
    useful: int


_Where = Mapping[str, int]
_Walk = Callable[[_Where, _Where], _Work]
_Blocks = Callable[[_Where], Ints]


def skipping_computes(grid: Grid, arch: Arch, plain: Computes, found: Mapping[str, Held]) -> Skipping | None:
    """The computes (or vector commands) of a nest, some operands of which have tables; None where they take no notice.
    `plain` are those that leave nothing out. The grid has all tiles split.

    Raises CompileError where there is more to look at than the limits.
    """
    nest = grid.nest
    assert nest.schedule is not None
    on_vector = nest.schedule.dataflow is Dataflow.VECTOR
    if nest.body.op is not BodyOp.MAC or not {nest.body.a, nest.body.b} & set(found):
        return None
    if on_vector and blocked_dim(grid, "lanes") is None:
        return None
    walk = _vector_walk(grid, arch, found) if on_vector else _array_walk(grid, arch, found)
    fields = {name: np.zeros([loop.tiles for loop in grid.loops], np.int64) for name in _Work.__slots__}
    known: dict[object, _Work] = {}
    placed = [each for each in (nest.body.a, nest.body.b) if each is not None and _place_matters(nest, each, found)]
    dims = [[dim.name for dim in nest.domain if dim.name in nest.access(each).dims] for each in placed]
    for tile in np.ndindex(*fields["cycles"].shape):
        starts, sizes = dict.fromkeys(grid.extents, 0), dict(grid.extents)
        for loop, number in zip(grid.loops, tile, strict=True):
            starts[loop.dim] = number * loop.size
            sizes[loop.dim] = min(loop.size, grid.extents[loop.dim] - starts[loop.dim])
        key = (*sizes.values(), *(starts[dim] for each in dims for dim in each))
        if key not in known:
            known[key] = walk(starts, sizes)
        for name, table in fields.items():
            table[tile] = getattr(known[key], name)
        if any(starts[loop.dim] for loop in grid.loops if loop.dim not in nest.write.dims):
            fields["untouched"][tile] = 0  # the command accumulates
    fixed: int | Ints = arch.queues.command_cycles
    if on_vector:
        assert arch.vector is not None
        fixed += arch.vector.startup_cycles
    elif nest.schedule.dataflow is not Dataflow.OS:
        row = _along(grid, "rows", CounterClass.REDUCE)
        fixed = fixed + np.minimum(arch.array.rows, grid.sizes(row) if row else 1)
    done = replace(
        plain,
        a=fields["a"],
        b=fields["b"],
        partial=fields["partial"] + fields["untouched"],
        points=fields["products"],
        duration=fixed + fields["cycles"],
    )
    return Skipping(done, int(fields["useful"].sum()))


def _place_matters(nest: Nest, operand: str, found: Mapping[str, Held]) -> bool:
    """Whether where a tile of an operand lies decides anything beside its size: it has tags, or padding."""
    access = nest.access(operand)
    clipped = any(
        axis.constant < 0 or axis.constant + sum(c * (nest.extent(dim) - 1) for dim, c in axis.terms) >= view
        for axis, view in zip(access.index, access.shape, strict=True)
    )
    return operand in found or clipped


def _along(grid: Grid, axis: str, kind: CounterClass) -> str | None:
    """The dimension that the schedule spreads over `rows` or `cols`, if it is of the class that the array blocks."""
    dim = blocked_dim(grid, axis)
    return dim if dim is not None and counter_class(grid.nest, dim) is kind else None


@dataclass(frozen=True)
class _Tags:
    """An operand of a body over the points of a tile: an axis for each of `groups`, whose dimensions are one row-major
    counter."""

    nest: Nest
    operand: str
    groups: tuple[tuple[str, ...], ...]
    found: Held | None

    def of(self, starts: _Where, sizes: _Where) -> tuple[Flags, Flags]:
        """What is tagged, and what lies inside the tensor."""
        access = self.nest.access(self.operand)
        dims = [dim for group in self.groups for dim in group]
        inside: Flags = np.ones([1] * len(dims), dtype=bool)
        place: Ints = np.zeros([1] * len(dims), np.int64)
        for axis, view in zip(access.index, access.shape, strict=True):
            at: Ints = np.full([1] * len(dims), axis.constant, np.int64)
            for dim, coefficient in axis.terms:
                along = [1] * len(dims)
                along[dims.index(dim)] = sizes[dim]
                at = at + coefficient * (starts[dim] + np.arange(sizes[dim], dtype=np.int64)).reshape(along)
            inside = inside & (at >= 0) & (at < view)
            place = place * view + np.clip(at, 0, view - 1)
        tagged = np.zeros_like(inside) if self.found is None else self.found.skipped[place] & inside
        whole = [sizes[dim] for dim in dims]
        flat = [prod(sizes[dim] for dim in group) for group in self.groups]
        return np.broadcast_to(tagged, whole).reshape(flat), np.broadcast_to(inside, whole).reshape(flat)


def _edges(counters: tuple[str, ...], block: int, blocked: str | None) -> _Blocks:
    """Where blocks of a flat counter begin: of `block` points of its last dimension, if that is `blocked`; of single
    points if nothing is."""

    def edges(sizes: _Where) -> Ints:
        inner = sizes[blocked] if blocked is not None else 1
        outer = prod(sizes[dim] for dim in counters) // inner
        return (np.arange(outer)[:, None] * inner + np.arange(0, inner, block)).reshape(-1)

    return edges


def _flat_edges(counters: tuple[str, ...], block: int) -> _Blocks:
    """The same of blocks of the flat counter itself."""
    return lambda sizes: np.arange(0, prod(sizes[dim] for dim in counters), block)


def _lengths(edges: Ints, end: int) -> Ints:
    return np.diff(edges, append=end)


def _check_work(grid: Grid, groups: tuple[tuple[str, ...], ...]) -> None:
    sizes = tile_sizes(grid.nest)
    points = prod(sizes[dim] for group in groups for dim in group)
    if points > POINT_LIMIT or points * grid.tiles(1, len(grid.loops)) > WORK_LIMIT:
        message = f"nest {grid.nest.name!r} has {points} points a command in which zeros are looked for"
        raise CompileError(
            Diagnostic(
                message, grid.nest.span, f"at most {POINT_LIMIT}, {WORK_LIMIT} in all: without masks there is no limit"
            )
        )


def check_work(grid: Grid, arch: Arch) -> None:
    """Raises CompileError where the products of a nest have more elements to look at than the limits."""
    assert grid.nest.schedule is not None
    walk = _vector_walk if grid.nest.schedule.dataflow is Dataflow.VECTOR else _array_walk
    if walk is _array_walk or blocked_dim(grid, "lanes") is not None:
        walk(grid, arch, {})


def _array_walk(grid: Grid, arch: Arch, found: Mapping[str, Held]) -> _Walk:
    """The work of a compute at these starts and sizes."""
    nest, rows, cols = grid.nest, arch.array.rows, arch.array.cols
    assert nest.schedule is not None
    assert nest.body.b is not None
    row, col = _along(grid, "rows", CounterClass.REDUCE), _along(grid, "cols", CounterClass.COLUMN)
    kinds: dict[CounterClass, list[str]] = {kind: [] for kind in CounterClass}
    for dim in nest.domain:
        kinds[counter_class(nest, dim.name)].append(dim.name)
    batch, point = tuple(kinds[CounterClass.BATCH]), tuple(kinds[CounterClass.POINT])
    column = tuple(sorted(kinds[CounterClass.COLUMN], key=lambda dim: dim == col))
    reduce = tuple(sorted(kinds[CounterClass.REDUCE], key=lambda dim: dim == row))
    a = _Tags(nest, nest.body.a, (batch, point, reduce), found.get(nest.body.a))
    b = _Tags(nest, nest.body.b, (batch, column, reduce), found.get(nest.body.b))
    _check_work(grid, a.groups)
    _check_work(grid, b.groups)
    by_rows, by_cols = _edges(reduce, rows, row), _edges(column, cols, col)
    dataflow = nest.schedule.dataflow
    if dataflow is Dataflow.OS:
        return _Stepwise(_Folded(a, _flat_edges(point, rows)), _Folded(b, by_cols)).work
    if dataflow is Dataflow.WS:
        return _Passes(_Folded(a, None, by_rows), _Folded(b, by_cols, by_rows), False).work
    return _Passes(_Folded(b, None, by_rows), _Folded(a, _flat_edges(point, cols), by_rows), True).work


class _Folded:
    """Tags of tiles of an operand, [batch, x, reduce], folded to blocks of x and of the reduce counter."""

    def __init__(self, tags: _Tags, of_x: _Blocks | None, of_reduce: _Blocks | None = None) -> None:
        self._tags, self._of_x, self._of_reduce = tags, of_x, of_reduce
        self._known: dict[tuple[int, ...], tuple[Flags, Ints, Ints, Ints]] = {}

    def at(self, starts: _Where, sizes: _Where) -> tuple[Flags, Ints, Ints, Ints]:
        """What is not left out, [batch, blocks of x, blocks of reduce]; of that the points of x in a block without
        padding, [batch, blocks of x, reduce]; lengths of the blocks of x, and of those of reduce."""
        dims = [dim for group in self._tags.groups for dim in group]
        key = (*(starts[dim] for dim in dims), *(sizes[dim] for dim in dims))
        if key not in self._known:
            if len(self._known) == _FOLDS:
                self._known.clear()
            self._known[key] = self._fold(starts, sizes)
        return self._known[key]

    def _fold(self, starts: _Where, sizes: _Where) -> tuple[Flags, Ints, Ints, Ints]:
        tagged, inside = self._tags.of(starts, sizes)
        _, along_x, along_reduce = tagged.shape
        x = np.arange(along_x) if self._of_x is None else self._of_x(sizes)
        k = np.arange(along_reduce) if self._of_reduce is None else self._of_reduce(sizes)
        of_x, of_k = _lengths(x, along_x), _lengths(k, along_reduce)
        out = np.logical_and.reduceat(np.logical_and.reduceat(tagged, x, axis=1), k, axis=2)
        points = np.add.reduceat(inside.astype(np.int64), x, axis=1)
        return ~out, points * ~np.repeat(out, of_k, axis=2), of_x, of_k


class _Passes:
    """Dataflows with passes: `still` lies in the array, `stream` passes it. A pass is a block of both counters of
    `still`; what is left out of it are single points of `stream`."""

    def __init__(self, stream: _Folded, still: _Folded, a_is_still: bool) -> None:
        self._stream, self._still, self._a_is_still = stream, still, a_is_still

    def work(self, starts: _Where, sizes: _Where) -> _Work:
        left, streamed, _, of_k = self._stream.at(starts, sizes)  # [g, x, kb], [g, x, k]
        kept, loaded, of_y, _ = self._still.at(starts, sizes)  # [g, yb, kb], [g, yb, k]
        times = left.sum(axis=1)  # [g, kb]: how many points of the stream a pass takes
        taken = kept * times[:, None, :]
        lasting = np.where(times > 0, np.maximum(times, of_k), 0)
        still = (kept * (times > 0)[:, None, :] * of_k * of_y[:, None]).sum()
        stream = (taken * of_k).sum()
        sums = np.matmul(left.astype(np.float64), kept.astype(np.float64).transpose(0, 2, 1))  # [g, x, yb]
        useful = (loaded * streamed.sum(axis=1)[:, None, :]).sum()
        return _Work(
            cycles=int((kept * lasting[:, None, :]).sum()),
            a=int(still if self._a_is_still else stream),
            b=int(stream if self._a_is_still else still),
            partial=int((sums * of_y).sum()),
            untouched=int(((sums == 0) * of_y).sum()),
            products=int((taken * of_k * of_y[:, None]).sum()),
            useful=int(useful),
        )


class _Stepwise:
    """Outputs stay: in a block of points and columns single steps of the reduce counter are left out."""

    def __init__(self, a: _Folded, b: _Folded) -> None:
        self._a, self._b = a, b

    def work(self, starts: _Where, sizes: _Where) -> _Work:
        left, of_a, points, _ = self._a.at(starts, sizes)  # [g, pb, k]
        kept, of_b, columns, _ = self._b.at(starts, sizes)  # [g, cb, k]
        steps = np.matmul(left.astype(np.float64), kept.astype(np.float64).transpose(0, 2, 1)).astype(np.int64)
        lasting = np.where(steps > 0, np.maximum(steps, points[:, None]), 0)  # [g, pb, cb]
        batch = steps.shape[0]
        return _Work(
            cycles=int(lasting.sum()),
            a=int((steps * points[:, None]).sum()),
            b=int((steps * columns).sum()),
            partial=int(batch * points.sum() * columns.sum()),
            untouched=0,
            products=int((steps * points[:, None] * columns).sum()),
            useful=int((of_a.sum(axis=1) * of_b.sum(axis=1)).sum()),
        )


def _vector_walk(grid: Grid, arch: Arch, found: Mapping[str, Held]) -> _Walk:
    """The work of a vector command: groups of at most `lanes` values of the counter that is blocked by lanes."""
    nest = grid.nest
    lane = blocked_dim(grid, "lanes")
    assert lane is not None
    assert nest.body.b is not None
    assert arch.vector is not None
    lanes = arch.vector.lanes
    groups = (tuple(dim.name for dim in nest.domain if dim.name != lane), (lane,))
    a, b = (_Tags(nest, each, groups, found.get(each)) for each in (nest.body.a, nest.body.b))
    _check_work(grid, groups)

    def work(starts: _Where, sizes: _Where) -> _Work:
        (tagged_a, inside_a), (tagged_b, inside_b) = a.of(starts, sizes), b.of(starts, sizes)
        edges = np.arange(0, sizes[lane], lanes)
        lengths = _lengths(edges, sizes[lane])
        left = ~np.logical_and.reduceat(tagged_a, edges, axis=1) & ~np.logical_and.reduceat(tagged_b, edges, axis=1)
        points = int((left * lengths).sum())
        useful = int((np.add.reduceat((inside_a & inside_b).astype(np.int64), edges, axis=1) * left).sum())
        outputs = prod(sizes[dim] for dim in sizes if dim in nest.write.dims)
        return _Work(int(left.sum()), points, points, outputs, 0, points, useful)

    return work
