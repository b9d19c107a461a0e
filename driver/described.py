"""What pictures need beside figures: the limits of the machine, and the loop nest that a mapping stands for.

Both are keys of the statistics (`dnnc.stats/1`): `machine` of a document and `nest` of a layer's `mapping`.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from ..ir.arch import MAIN_MEMORY, Arch
from ..ir.nest import Buffer, Loop, Nest, main_memory_loops, tile_sizes
from ..ir.nest_layout import local_layout, whole_bytes

Json = dict[str, Any]


def machine_json(arch: Arch) -> Json:
    """The roofs of a machine. `bytes_per_cycle` is null where the time model knows no limit: that of local memories."""
    rate = arch.dma.bandwidth_bytes_per_second / arch.clock_hz
    return {
        "clock_hz": arch.clock_hz,
        "macs_per_cycle": arch.array.rows * arch.array.cols,
        "memories": [
            {
                "name": memory.name,
                "capacity_bytes": memory.capacity_bytes,
                "bytes_per_cycle": rate if memory.name == MAIN_MEMORY else None,
            }
            for memory in arch.memories
        ],
    }


def nest_json(nest: Nest, arch: Arch) -> Json:
    """The scheduled nest as loops from the outermost to the innermost.

    A loop covers `extent` points of its dimensions (of their product, where there are several) in `iterations` steps of
    `tile`, the last of which may be short. `axis` is empty for a temporal loop. A buffer's `bytes` are those of one
    copy, which is filled anew inside the first `outer_loops` loops, of which there are none around what is there whole;
    where the output stays in local memory, it has a second buffer there. A nest without points has no buffers.
    """
    schedule = nest.schedule
    assert schedule is not None
    return {
        "dims": {dim.name: dim.extent for dim in nest.domain},
        "operands": [
            {"name": access.operand, "role": access.role.value, "dims": sorted(access.dims)}
            for access in (*nest.reads, nest.write)
        ],
        "loops": _loops(nest),
        "buffers": [] if nest.is_empty else [*(_buffer(nest, arch, each) for each in schedule.buffers), *_target(nest)],
    }


def _loops(nest: Nest) -> list[Json]:
    assert nest.schedule is not None
    outer = main_memory_loops(nest.schedule)
    tiles = tile_sizes(nest)
    covered: dict[tuple[str, ...], int] = {}  # points left to the loops inside, by the dimensions that run as one
    rows = [_loop(loop, nest.extent(loop.dims[0]), loop.size) for loop in outer]
    for loop in nest.schedule.loops:
        if loop in outer:
            continue
        extent = covered.get(loop.dims, prod(tiles[dim] for dim in loop.dims))
        if not loop.spatial:
            rows.append(_loop(loop, extent, loop.size))
        else:
            if extent > loop.size:  # a command goes over the vector unit's lanes by itself, as often as it takes
                rows.append(_loop(replace(loop, axis=""), extent, loop.size))
            rows.append(_loop(loop, min(loop.size, extent), 1))
        covered[loop.dims] = min(loop.size, extent)
    return rows


def _loop(loop: Loop, extent: int, size: int) -> Json:
    tile = min(size, extent)
    return {
        "level": loop.level,
        "dims": list(loop.dims),
        "extent": extent,
        "tile": tile,
        "iterations": -(-extent // tile) if tile else 0,
        "axis": loop.axis,
    }


def _buffer(nest: Nest, arch: Arch, buffer: Buffer) -> Json:
    assert nest.schedule is not None
    layout = local_layout(nest, buffer.operand, arch.memory(buffer.memory).word_bytes)
    return {
        "operand": buffer.operand,
        "memory": buffer.memory,
        "copies": buffer.copies,
        "bytes": layout.tile_bytes,
        "outer_loops": 0 if buffer.is_whole else len(main_memory_loops(nest.schedule)),
    }


def _target(nest: Nest) -> list[Json]:
    """Where the whole output stays, if it does."""
    assert nest.schedule is not None
    target = nest.schedule.target
    if target is None:
        return []
    size = whole_bytes(target.shape, target.margins, nest.write.type.bits, 1)
    return [{"operand": nest.write.operand, "memory": target.memory, "copies": 1, "bytes": size, "outer_loops": 0}]
