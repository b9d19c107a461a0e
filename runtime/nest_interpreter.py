"""Executes a nest in numpy: as it is defined (`run_nest`), and tile by tile as it is scheduled (`run_scheduled`).

Tensors are flat arrays of containers in storage order: what an access's view covers. The unscheduled meaning knows no
machine; the scheduled one follows specs/isa.md sections 4 and 5, so that its floats are those of the machine, bit for
bit. For small inputs: a reduction point is one step in Python, over all outputs of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..ir.affine import Affine
from ..ir.arch import Arch
from ..ir.diagnostics import ensure
from ..ir.frozen import dataclass
from ..ir.nest import (
    VALUE,
    Access,
    BodyOp,
    CounterClass,
    Dataflow,
    Nest,
    Post,
    PostOp,
    Prune,
    counter_class,
    main_memory_loops,
    sum_has_an_order,
)
from ..ir.types import ElementType
from . import arithmetic, blocks
from .arithmetic import F32

Array = NDArray[Any]
Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of the iteration domain: per dimension the first point and the number of points. `indices` counts the
    tiles of each main-memory loop, the outermost first."""

    starts: Mapping[str, int]
    sizes: Mapping[str, int]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """The output's tensor after a nest, and how many accumulators overflowed (specs/isa.md section 4)."""

    out: Array
    overflows: int


def whole(nest: Nest) -> Tile:
    """The whole domain as one tile."""
    return Tile({dim.name: 0 for dim in nest.domain}, {dim.name: dim.extent for dim in nest.domain})


def tiles(nest: Nest) -> Iterator[Tile]:
    """The tiles of the main-memory loops in the schedule's order; the last of a loop may be short."""
    assert nest.schedule is not None
    if nest.is_empty:
        return
    loops = main_memory_loops(nest.schedule)

    def inside(depth: int, tile: Tile) -> Iterator[Tile]:
        if depth == len(loops):
            yield tile
            return
        dim, step = loops[depth].dims[0], loops[depth].size
        first, points = tile.starts[dim], tile.sizes[dim]
        for index, offset in enumerate(range(0, points, step)):
            starts = {**tile.starts, dim: first + offset}
            sizes = {**tile.sizes, dim: min(step, points - offset)}
            yield from inside(depth + 1, Tile(starts, sizes, (*tile.indices, index)))

    yield from inside(0, whole(nest))


def tile_key(nest: Nest, access: Access, tile: Tile) -> tuple[int, ...]:
    """What tells one tile of an operand from another: the indices of the loops over its dimensions."""
    assert nest.schedule is not None
    loops = main_memory_loops(nest.schedule)
    return tuple(
        index for loop, index in zip(loops, tile.indices, strict=True) if not access.dims.isdisjoint(loop.dims)
    )


def run_nest(nest: Nest, tensors: Tensors, out: Array) -> Array:
    """The unscheduled meaning: `out` (flat, storage order) with the elements that the nest writes replaced.

    Integer sums are exact and wrap once, at the end. Float sums are taken in float64 and rounded once, but for those
    whose order is defined (`sum_has_an_order`): they are float32, in the order of the domain.
    """
    result = out.copy()
    exact = not sum_has_an_order(nest)
    if 0 in nest.write.shape or any(nest.extent(dim) == 0 for dim in nest.write.dims):
        return result
    region = _Region(nest, tensors, whole(nest))
    reduce_dims = tuple(dim.name for dim in nest.domain if dim.name not in nest.write.dims)
    total = region.identity(exact=exact)
    for point in region.points(reduce_dims):
        total = region.step(total, point, exact=exact)
    if nest.accumulator.is_float:
        with np.errstate(over="ignore"):
            total = total.astype(F32)
    else:
        total = arithmetic.wrap(total, nest.accumulator)[0]
    region.store(total, result)
    return result


def run_scheduled(nest: Nest, arch: Arch, tensors: Tensors, out: Array) -> Ran:
    """The scheduled meaning: a command a tile, floats in the machine's order; an empty nest writes nothing."""
    result, overflows = out.copy(), 0
    done: tuple[_Region, Array] | None = None
    key: tuple[int, ...] | None = None
    for tile in tiles(nest):
        changes = key != (key := tile_key(nest, nest.write, tile))
        if changes and done is not None:
            done[0].store(done[1], result)
        region = _Region(nest, tensors, tile)
        before = None if changes or done is None else done[1]
        if nest.accumulator.is_float:
            sums = _float_command(region, arch, before)
        else:
            sums, wrapped = _integer_command(region, before)
            overflows += wrapped
        done = region, sums
    if done is not None:
        done[0].store(done[1], result)
    return Ran(result, overflows)


def _integer_command(region: _Region, before: Array | None) -> tuple[Array, int]:
    total = region.identity(exact=True) if before is None else before
    for point in region.points(region.reduce_dims):
        total = region.step(total, point, exact=True)
    return arithmetic.wrap(total, region.nest.accumulator)


def _float_command(region: _Region, arch: Arch, before: Array | None) -> Array:
    """Sums in the order of specs/isa.md section 4; `before` holds the accumulators where the command accumulates."""
    schedule = region.nest.schedule
    assert schedule is not None
    if schedule.dataflow is Dataflow.VECTOR:
        total = region.identity() if before is None else before
        for point in region.points(region.reduce_dims):
            total = region.step(total, point)
        return total
    total_or_none = before
    for block in _blocks(region, arch, schedule.dataflow):
        partial = region.identity()
        for point in block:
            partial = region.step(partial, point)
        total_or_none = partial if total_or_none is None else total_or_none + partial
    return region.identity() if total_or_none is None else total_or_none


def _blocks(region: _Region, arch: Arch, dataflow: Dataflow) -> Iterator[Iterator[Mapping[str, int]]]:
    """The reduction points of a command, in blocks that are summed on their own before they are accumulated."""
    if dataflow is Dataflow.OS:
        yield region.points(region.reduce_dims)
        return
    row = row_counter(region.nest)
    others = tuple(dim for dim in region.reduce_dims if dim != row)
    for outer in region.points(others):
        if row is None:
            yield iter([outer])
            continue
        start, size = region.tile.starts[row], region.tile.sizes[row]
        for first in range(0, size, arch.array.rows):
            last = min(first + arch.array.rows, size)
            yield ({**outer, row: start + k} for k in range(first, last))


def row_counter(nest: Nest) -> str | None:
    """The reduction dimension along array rows (ws and is), where the schedule has one."""
    assert nest.schedule is not None
    for loop in nest.schedule.loops:
        if loop.axis == "rows" and counter_class(nest, loop.dims[0]) is CounterClass.REDUCE:
            return loop.dims[0]
    return None


class _Region:
    """The points of one tile, with what they read. Arrays have an axis per dimension of the output, in domain order."""

    def __init__(self, nest: Nest, tensors: Tensors, tile: Tile) -> None:
        self.nest, self.tile = nest, tile
        self.views = {each.operand: tensors[each.tensor].reshape(each.shape) for each in nest.reads}
        self.out_dims = tuple(dim.name for dim in nest.domain if dim.name in nest.write.dims)
        self.reduce_dims = tuple(dim.name for dim in nest.domain if dim.name not in nest.write.dims)
        self.shape = tuple(tile.sizes[dim] for dim in self.out_dims)
        self.mesh: dict[str, Array] = {}
        for position, dim in enumerate(self.out_dims):
            line = np.arange(tile.starts[dim], tile.starts[dim] + tile.sizes[dim])
            self.mesh[dim] = line.reshape([-1 if i == position else 1 for i in range(len(self.out_dims))])

    def points(self, dims: tuple[str, ...]) -> Iterator[Mapping[str, int]]:
        """All points of the tile over `dims`, the last dimension fastest."""
        ranges = [range(self.tile.starts[dim], self.tile.starts[dim] + self.tile.sizes[dim]) for dim in dims]
        return (dict(zip(dims, values, strict=True)) for values in product(*ranges))

    def identity(self, exact: bool = False) -> Array:
        """What a reduction starts from: 0, or the least value for max. `exact`: in float64 or int64."""
        accumulator = self.nest.accumulator
        dtype: type[Any] = np.int64 if accumulator.is_integer else np.float64 if exact else F32
        least = accumulator.minimum if accumulator.is_integer else -np.inf
        return np.full(self.shape, least if self.nest.body.op is BodyOp.MAX else 0, dtype)

    def step(self, total: Array, point: Mapping[str, int], exact: bool = False) -> Array:
        """`total` after the body at one point of the reduction. `exact`: products and sums unrounded in float64."""
        body = self.nest.body
        op = body.op
        centred = op in (BodyOp.SUM, BodyOp.MUL) or (op is BodyOp.MAC and body.form == "subtract")
        a = self._operand(body.a, point, centred, exact)
        b = self._operand(body.b, point, centred, exact) if body.b is not None else a
        with np.errstate(all="ignore"):
            if op is BodyOp.MAC:
                return np.asarray(total + a * b)
            if op is BodyOp.SUM:
                return np.asarray(total + a)
            if op is BodyOp.MAX:
                return np.asarray(np.maximum(total, a))
            if op is BodyOp.QADD:
                value = self._qadd(a, b)
            else:
                value = {BodyOp.COPY: a, BodyOp.ADD: a + b, BodyOp.SUB: a - b, BodyOp.MUL: a * b}[op]
        return np.broadcast_to(value.astype(total.dtype), self.shape)

    def _qadd(self, a: Array, b: Array) -> Array:
        scalars = dict(self.nest.body.attributes)
        ra, rb, base = (F32(cast(float, scalars[name])) for name in ("ra", "rb", "base"))
        rounded = np.rint(arithmetic.fma32(a, ra, arithmetic.fma32(b, rb, base)))
        accumulator = self.nest.accumulator
        return arithmetic.saturate(rounded, 0, accumulator) if accumulator.is_integer else rounded

    def _operand(self, name: str, point: Mapping[str, int], centred: bool, exact: bool) -> Array:
        """An operand of the body: integers less their zero point if `centred`, in the accumulator's arithmetic."""
        access = self.nest.access(name)
        values = self.read(access, point)
        if access.local_type.is_integer:
            stored = self.nest.body.form == "raw" or not access.zero_point
            ensure(centred or stored, f"{name}: codes stay as they are")
            values = values.astype(np.int64) - (access.zero_point if centred else 0)
        if self.nest.accumulator.is_integer:
            return values
        return values.astype(F32).astype(np.float64) if exact else values.astype(F32)

    def read(self, access: Access, point: Mapping[str, int]) -> Array:
        """The operand at every output point, or its pad value outside the view; bf16 and f16 widened to float32."""
        coordinates = [self._coordinate(axis, point) for axis in access.index]
        inside: Array = np.ones((), bool)
        for coordinate, extent in zip(coordinates, access.shape, strict=True):
            inside = inside & (coordinate >= 0) & (coordinate < extent)
        held = access.pad is not None or bool(inside.all())
        ensure(held, f"{access.operand} is read outside its view and has no pad value")
        if 0 in access.shape:
            return np.full(inside.shape, access.pad)
        clipped = [np.clip(each, 0, extent - 1) for each, extent in zip(coordinates, access.shape, strict=True)]
        values = arithmetic.from_container(self.views[access.operand][tuple(clipped)], access.type)
        if (made := access.decode) is not None:
            real = arithmetic.dequantize(values, made.scale, made.zero_point)
            values = arithmetic.from_container(arithmetic.to_container(real, made.type), made.type)
        return (
            np.asarray(values) if access.pad is None else np.where(inside, values, np.array(access.pad, values.dtype))
        )

    def _coordinate(self, axis: Affine, point: Mapping[str, int]) -> Array:
        terms = [c * (self.mesh[dim] if dim in self.mesh else np.int64(point[dim])) for dim, c in axis.terms]
        return np.asarray(sum(terms, np.int64(axis.constant)))

    def store(self, accumulators: Array, out: Array) -> None:
        """Run the post chain and write the tile into `out`."""
        value = accumulators
        for step in self.nest.post:
            value = self._post(step, value)
        index = tuple(self._coordinate(axis, {}) for axis in self.nest.write.index)
        stored = arithmetic.to_container(value, self.nest.write.type)
        out.reshape(self.nest.write.shape)[index] = stored
        if self.nest.prune is not None:
            self._prune(self.nest.prune, index, out)

    def _prune(self, prune: Prune, index: tuple[Array, ...], out: Array) -> None:
        """Test the blocks that lie in this tile, each of which must be whole."""
        own = np.zeros(self.nest.write.shape, bool)
        own[index] = True
        matrix = (-1, prune.points, prune.columns)
        own, codes = own.reshape(matrix), out.reshape(matrix)
        is_pruned = blocks.tested(codes, prune.zero_point, prune.test).pruned
        held = blocks.spread(blocks.all_of(own, prune.test), prune.points, prune.columns, prune.test)
        ensure(bool((held == own).all()), f"{self.nest.name}: a tile holds a part of a block")
        codes[own & blocks.spread(is_pruned, prune.points, prune.columns, prune.test)] = prune.zero_point

    def _post(self, step: Post, v: Array) -> Array:
        attributes = dict(step.attributes)

        def number(name: str) -> Any:
            return cast(float, attributes[name])

        if step.op is PostOp.TABLE:
            return self._look_up(step, v, int(number("minimum")))
        operand = self.read(self.nest.access(step.operand), {}) if step.operand is not None else None
        element = ElementType(cast(str, attributes["type"])) if "type" in attributes else None
        with np.errstate(all="ignore"):
            match step.op:
                case PostOp.BIAS if v.dtype.kind == "i":
                    assert operand is not None
                    return arithmetic.wrap(v + operand.astype(np.int64), self.nest.accumulator)[0]
                case PostOp.BIAS | PostOp.ADD:
                    assert operand is not None
                    return v.astype(F32) + operand.astype(F32)
                case PostOp.MUL:
                    assert operand is not None
                    return v.astype(F32) * operand.astype(F32)
                case PostOp.REQUANTIZE:
                    assert element is not None
                    factor = operand if operand is not None else number("multiplier")
                    return arithmetic.requantize(v, factor, number("zero_point"), element).astype(np.int64)
                case PostOp.SCALE:
                    return v.astype(F32) * (operand if operand is not None else F32(number("multiplier")))
                case PostOp.DIVIDE:
                    return v.astype(F32) / (operand if operand is not None else F32(number("divisor")))
                case PostOp.CLAMP:
                    bounds = np.array([number("minimum"), number("maximum")], v.dtype)
                    return np.asarray(np.minimum(np.maximum(v, bounds[0]), bounds[1]))
                case PostOp.LEAKY:
                    return arithmetic.leaky_relu(v.astype(F32), number("alpha"))
                case PostOp.QADD:
                    assert operand is not None and element is not None
                    inner = arithmetic.fma32(operand.astype(F32), F32(number("rb")), F32(number("base")))
                    rounded = np.rint(arithmetic.fma32(v.astype(F32), F32(number("ra")), inner))
                    return arithmetic.saturate(rounded, 0, element).astype(np.int64)
                case PostOp.QUANTIZE:
                    assert element is not None
                    codes = arithmetic.quantize(v, number("scale"), number("zero_point"), element)
                    return codes.astype(np.int64)
                case PostOp.DEQUANTIZE:
                    return arithmetic.dequantize(v, number("scale"), number("zero_point"))
                case _:
                    assert step.op is PostOp.SATURATE and element is not None
                    return np.clip(v, element.minimum, element.maximum)

    def _look_up(self, step: Post, v: Array, minimum: int) -> Array:
        """The entry for each running value; the axis that VALUE indexes is the position in the table."""
        assert step.operand is not None
        access = self.nest.access(step.operand)
        index = [v - minimum if VALUE in axis.dims else self._coordinate(axis, {}) for axis in access.index]
        return np.asarray(self.views[access.operand][tuple(index)], np.int64)
