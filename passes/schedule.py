"""The schedule that a mapping decision stands for: loops at main memory, the loops that the dataflow implies inside a
command, and a buffer for each operand.

before:  nest over m 64, p 56, q 56, c 64, r 3, s 3
after:   dram  temporal p 28, m 16
         spad  temporal r 1, s 1 ; m 16 ; c 16                      (ws on a 16x16 array)
         array rows c 16, cols m 16 ; temporal (p, q)
         buffer %x spad x2 ; %w spad x2 ; %y acc x2

Requires: at most one tile size a dimension, between 1 and its extent; loops over reduced dimensions come last.
Ensures:  the schedule of specs/isa.md, section 5, with every operand in the memory that holds its role. Whether it fits
          its memories is for the caller to ask (`overfull`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir.arch import Arch
from ..ir.nest import Buffer, CounterClass, Dataflow, Loop, Nest, Schedule, counter_classes
from ..ir.nest_layout import local_layout


def dims_of(nest: Nest, kind: CounterClass) -> list[str]:
    """Dimensions of a class, in the order of the domain."""
    names = [dim.name for dim in nest.domain]
    return [name for name, each in zip(names, counter_classes(nest, names), strict=True) if each is kind]


def blocked_dims(nest: Nest, arch: Arch, dataflow: Dataflow) -> dict[str, str]:
    """The dimension along `rows`, `cols` or `lanes` where it is one: that which leaves the fewest blocks, the last of
    equals. Point dimensions lie there as one product and are not listed."""
    if dataflow is Dataflow.VECTOR:
        assert arch.vector is not None
        dims = [dim.name for dim in nest.domain if dim.name in nest.write.dims]
        return {"lanes": _fewest_blocks(nest, dims, arch.vector.lanes)} if dims else {}
    found = {}
    reduce, column = dims_of(nest, CounterClass.REDUCE), dims_of(nest, CounterClass.COLUMN)
    if reduce and dataflow is not Dataflow.OS:
        found["rows"] = _fewest_blocks(nest, reduce, arch.array.rows)
    if column and dataflow is not Dataflow.IS:
        found["cols"] = _fewest_blocks(nest, column, arch.array.cols)
    return found


def _fewest_blocks(nest: Nest, dims: Sequence[str], size: int) -> str:
    def blocks(dim: str) -> float:
        extent = max(1, nest.extent(dim))
        return -(-extent // size) / extent

    return min(reversed(dims), key=blocks)


def make_schedule(
    nest: Nest,
    arch: Arch,
    dataflow: Dataflow,
    tiles: Sequence[tuple[str, int]],
    copies: Mapping[str, int],
    im2col: str = "none",
    reason: str = "",
) -> Schedule:
    """The schedule of `nest` with main-memory loops `tiles`, the outermost first; operands that `copies` leaves out
    have one."""
    outer = [Loop(arch.main.name, (dim,), size) for dim, size in tiles]
    inner = _vector_loops(nest, arch) if dataflow is Dataflow.VECTOR else _array_loops(nest, arch, dataflow)
    buffers = []
    for access in (*nest.reads, nest.write):
        memory = arch.holder(access.role.value).name
        order = buffer_order(nest, access.operand, dataflow)
        buffers.append(Buffer(access.operand, memory, copies.get(access.operand, 1), order))
    return Schedule(dataflow, im2col, (*outer, *inner), tuple(buffers), reason)


def buffer_order(nest: Nest, operand: str, dataflow: Dataflow) -> tuple[int, ...]:
    """The element order of an operand's tile. With `is` a row of results runs along the points, so the output lies
    column by column and the store transposes; everything else lies in the order of its axes."""
    if dataflow is not Dataflow.IS or operand != nest.write.operand:
        return ()
    column = set(dims_of(nest, CounterClass.COLUMN))
    axes = range(len(nest.write.index))
    first = [axis for axis in axes if column & set(nest.write.index[axis].dims)]
    order = (*first, *(axis for axis in axes if axis not in first))
    return () if order == tuple(axes) else order


def _vector_loops(nest: Nest, arch: Arch) -> list[Loop]:
    assert arch.vector is not None
    lane = blocked_dims(nest, arch, Dataflow.VECTOR).get("lanes")
    loops = [Loop("vector", (dim.name,), 1) for dim in nest.domain if dim.name != lane]
    return [*loops, Loop("vector", (lane,), arch.vector.lanes, "lanes")] if lane else loops


def _array_loops(nest: Nest, arch: Arch, dataflow: Dataflow) -> list[Loop]:
    """One by one over what the array does not hold, block by block over what it does, then the array itself."""
    rows, cols = arch.array.rows, arch.array.cols
    memory = arch.holder("input").name
    blocked = blocked_dims(nest, arch, dataflow)
    point, column = tuple(dims_of(nest, CounterClass.POINT)), tuple(dims_of(nest, CounterClass.COLUMN))
    batch, reduce = tuple(dims_of(nest, CounterClass.BATCH)), tuple(dims_of(nest, CounterClass.REDUCE))
    row: tuple[str, ...] = (blocked["rows"],) if "rows" in blocked else ()
    col: tuple[str, ...] = (blocked["cols"],) if "cols" in blocked else ()
    if dataflow is Dataflow.WS:
        along_rows, along_cols, streamed, order = row, col, point, (col, row)
        stepped = (*batch, *column, *reduce)
    elif dataflow is Dataflow.OS:
        along_rows, along_cols, streamed, order = point, col, reduce, (col, point)
        stepped = (*batch, *column)
    else:
        along_rows, along_cols, streamed, order = row, point, column, (point, row)
        stepped = (*batch, *reduce)
    size = {along_rows: rows, along_cols: cols}
    loops = [Loop(memory, (dim,), 1) for dim in stepped if (dim,) not in (along_rows, along_cols)]
    loops += [Loop(memory, dims, size[dims]) for dims in order if dims]
    loops += [Loop("array", along_rows, rows, "rows")] if along_rows else []
    loops += [Loop("array", along_cols, cols, "cols")] if along_cols else []
    loops += [Loop("array", streamed, 1)] if streamed else []
    return loops


def needed_bytes(nest: Nest, arch: Arch) -> dict[str, int]:
    """Bytes that the buffers of a scheduled nest take in each local memory."""
    assert nest.schedule is not None
    needed = dict.fromkeys((memory.name for memory in arch.local), 0)
    for buffer in nest.schedule.buffers:
        layout = local_layout(nest, buffer.operand, arch.memory(buffer.memory).word_bytes)
        needed[buffer.memory] += buffer.copies * layout.tile_bytes
    return needed


def overfull(nest: Nest, arch: Arch) -> list[str]:
    """For each local memory that the schedule overfills: "needs 9216 B, `acc` has 8192 B"."""
    return [
        f"needs {needed} B, `{name}` has {arch.memory(name).capacity_bytes} B"
        for name, needed in needed_bytes(nest, arch).items()
        if needed > arch.memory(name).capacity_bytes
    ]
