"""Counts and cycles of a scheduled nest in closed form: specs/isa.md (sections 3 and 5) and specs/counts.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import field, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from ...ir.arch import MAIN_MEMORY, Arch
from ...ir.diagnostics import ensure
from ...ir.frozen import dataclass
from ...ir.nest import BodyOp, Dataflow, Nest, decoded, encodes
from ...ir.program import INSTRUCTION_BYTES
from ...ir.stats import BlockCounts, LayerCounts, Transfer, WeightBlocks
from . import maxplus as mp
from .blocks_held import Flags, Held, counts_of
from .classes import Grid, Ints, inside_points, whole_grid
from .commands import Computes, Loads, Stores, all_loads, computes, load_latency_cycles, stores
from .compressed import Expanded, expanding_loads
from .skipped_transfers import skipping_loads, skipping_stores
from .skipped_work import skipping_computes


class Traffic:
    """Bits by memory and role, while they are added up."""

    def __init__(self) -> None:
        self._read: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._written: defaultdict[tuple[str, str], int] = defaultdict(int)

    def read(self, memory: str, role: str, count_bits: int) -> None:
        self._read[memory, role] += count_bits

    def write(self, memory: str, role: str, count_bits: int) -> None:
        self._written[memory, role] += count_bits

    def table(self) -> dict[str, dict[str, Transfer]]:
        """Only what moved, memories and roles in the order of their names."""
        table: dict[str, dict[str, Transfer]] = {}
        for memory, role in sorted({*self._read, *self._written}):
            moved = Transfer(self._read[memory, role], self._written[memory, role])
            if moved != Transfer():
                table.setdefault(memory, {})[role] = moved
        return table


@dataclass(frozen=True)
class Observed:
    """What is known of blocks while a nest runs: by operand what the cache holds of it, and what it comes to hold of
    what is written, with the mask of that; None where it is not pruned. `nonzero` has the elements of compressed
    constants that are not zero."""

    reads: Mapping[str, Held]
    written: Held | None = None
    mask: NDArray[np.uint8] | None = None
    nonzero: Mapping[str, Flags] = field(default_factory=dict)


def cost_nest(nest: Nest, arch: Arch, observed: Observed | None = None) -> LayerCounts:
    """What the program of `nest` does on `arch`, exactly, with work that grows with loops and not with tiles.

    Without `observed`, as if every block were kept, and without the look-ups of blocks that are read, which depend on
    how they lie in another nest's output. With it, work grows with the tiles and their elements.

    Requires a schedule with at most one main-memory loop over a dimension and 1 or 2 copies of every operand.
    Raises CompileError where the nest is too large or too irregular to count in 64 bits and bounded memory.
    """
    schedule = nest.schedule
    assert schedule is not None, f"nest {nest.name!r} has no schedule"
    layer = LayerCounts(
        name=nest.name,
        op=nest.label,
        where="accelerator",
        dataflow=None if schedule.dataflow is Dataflow.VECTOR else schedule.dataflow.value,
        im2col=schedule.im2col,
    )
    traffic = Traffic()
    if nest.is_empty:
        traffic.read(MAIN_MEMORY, "instruction", 8 * INSTRUCTION_BYTES)
        return _with(layer, 0, 0, arch.queues.dispatch_cycles, {"fence": 1}, traffic, {})

    grid = Grid.of(nest) if observed is None else whole_grid(nest)
    moved = all_loads(grid, arch)
    done = computes(grid, arch)
    stored = stores(grid, arch)
    skipping, expanded = None, dict[str, Expanded]()
    if observed is not None:
        for number, each in enumerate(moved):
            if (nonzero := observed.nonzero.get(each.operand)) is not None:
                expanded[each.operand] = expanding_loads(grid, arch, nest.access(each.operand), each, nonzero)
                moved[number] = expanded[each.operand].loads
            elif (found := observed.reads.get(each.operand)) is not None:
                moved[number] = skipping_loads(grid, arch, nest.access(each.operand), each, found)
        left_out = {**observed.reads, **{operand: each.held for operand, each in expanded.items()}}
        skipping = skipping_computes(grid, arch, done, left_out)
        done = done if skipping is None else skipping.done
    on_vector = schedule.dataflow is Dataflow.VECTOR

    instructions = _instructions(grid, arch, moved, stored, on_vector)
    traffic.read(MAIN_MEMORY, "instruction", 8 * INSTRUCTION_BYTES * sum(instructions.values()))
    _load_traffic(grid, moved, traffic)
    _compute_traffic(grid, done, traffic, on_vector)
    positions = written = grid.total(stored.positions, stored.depth)
    if observed is not None and observed.written is not None:
        stored, left = skipping_stores(grid, arch, stored, observed.written)
        written = grid.total(left, stored.depth)
    _store_traffic(nest, positions, written, traffic)

    macs = issued = 0
    if nest.body.op is BodyOp.MAC:
        assert nest.body.b is not None
        macs = inside_points(nest, (nest.body.a, nest.body.b))
        busy = grid.total(done.duration - arch.queues.command_cycles)
        if on_vector:
            assert arch.vector is not None
            issued = arch.vector.lanes * (busy - arch.vector.startup_cycles * instructions["vector"])
        else:
            issued = arch.array.rows * arch.array.cols * busy
    points = grid.total(done.points)
    skipped = macs - skipping.useful if skipping is not None else 0
    actions = {"vector.op" if on_vector else "array.mac": points, "post.element": positions}
    configured = arch.queues.dispatch_cycles * sum(
        count for name, count in instructions.items() if name.startswith("configure.")
    )
    blocks = None
    if nest.prune is not None:
        blocks = BlockCounts(nest.prune.blocks(prod(nest.write.shape)))
        if observed is not None and observed.written is not None and observed.mask is not None:
            blocks = counts_of(observed.mask, observed.written)
        actions |= {
            "block_unit.element": positions,
            "block_unit.block": blocks.seen,
            "block_cache.write_entry": blocks.held,
        }
    weight_blocks = None
    if expanded:
        loaded = [(grid.total(e.blocks, e.loads.depth), grid.total(e.absent, e.loads.depth)) for e in expanded.values()]
        weight_blocks = WeightBlocks(sum(seen for seen, _ in loaded), sum(absent for _, absent in loaded))
        actions["block_unit.block"] = actions.get("block_unit.block", 0) + weight_blocks.seen
    if "configure.convert" in instructions:
        assert arch.converter is not None
        configured += arch.converter.switch_cycles
        converted = sum(grid.total(each.converted, each.depth) for each in moved)
        actions["converter.element"] = converted + encodes(nest) * positions
    cycles = _cycles(grid, arch, moved, done, stored, configured)
    actions = {name: count for name, count in actions.items() if count}
    counts = _with(layer, macs, issued, cycles, instructions, traffic, actions, skipped, blocks)
    return counts if weight_blocks is None else replace(counts, weight_blocks=weight_blocks)


def _with(
    layer: LayerCounts,
    macs: int,
    issued: int,
    cycles: int,
    instructions: dict[str, int],
    traffic: Traffic,
    actions: dict[str, int],
    macs_skipped: int = 0,
    blocks: BlockCounts | None = None,
) -> LayerCounts:
    return LayerCounts(
        name=layer.name,
        op=layer.op,
        where=layer.where,
        dataflow=layer.dataflow,
        im2col=layer.im2col,
        macs=macs,
        macs_issued=issued,
        macs_skipped=macs_skipped,
        cycles=cycles,
        instructions=instructions,
        traffic=traffic.table(),
        actions={name: count for name, count in actions.items() if count},
        blocks=blocks,
    )


def _instructions(grid: Grid, arch: Arch, moved: list[Loads], stored: Stores, on_vector: bool) -> dict[str, int]:
    nest = grid.nest
    counts = {
        "configure.load": len({each.operand for each in moved}),
        "configure.a": 1,
        "configure.b": int(nest.body.b is not None),
        "configure.c": 1,
        "configure.scalars": int(nest.body.op is BodyOp.QADD),
        "configure.store": 1,
        "configure.post": len(nest.post),
        "configure.prune": int(nest.prune is not None),
        "configure.skip": sum(access.skip is not None for access in nest.reads),
        "configure.expand": sum(access.compressed is not None for access in nest.reads),
        "configure.convert": 0 if arch.converter is None else len(decoded(nest)) + encodes(nest),
        "load": sum(grid.tiles(1, each.depth) for each in moved),
        "vector" if on_vector else "compute": grid.tiles(1, len(grid.loops)),
        "store": grid.tiles(1, stored.depth),
        "fence": 1,
    }
    return {name: count for name, count in counts.items() if count}


def _load_traffic(grid: Grid, moved: list[Loads], traffic: Traffic) -> None:
    nest = grid.nest
    assert nest.schedule is not None
    for each in moved:
        role = nest.access(each.operand).role.value
        traffic.read(MAIN_MEMORY, role, grid.total(each.read_bits, each.depth))
        memory = nest.schedule.buffer(each.operand).memory
        traffic.write(memory, role, grid.total(each.write_bits, each.depth))


def _compute_traffic(grid: Grid, done: Computes, traffic: Traffic, on_vector: bool) -> None:
    nest = grid.nest
    assert nest.schedule is not None
    for operand, elements in ((nest.body.a, done.a), (nest.body.b, done.b)):
        if operand is not None:
            access = nest.access(operand)
            memory = nest.schedule.buffer(operand).memory
            traffic.read(memory, access.role.value, grid.total(elements) * access.local_type.bits)
    accumulator = nest.schedule.buffer(nest.write.operand).memory
    written = grid.total(done.partial)
    # The first block of every output element sets it; all others add to what is there.
    outputs = 1
    for dim in nest.domain:
        if dim.name in nest.write.dims:
            outputs *= dim.extent
    overwrites = on_vector and not nest.body.op.reduces
    traffic.write(accumulator, "partial", written * nest.accumulator.bits)
    traffic.read(accumulator, "partial", 0 if overwrites else (written - outputs) * nest.accumulator.bits)


def _store_traffic(nest: Nest, positions: int, written: int, traffic: Traffic) -> None:
    """Of stores of so many positions, of which so many are written."""
    assert nest.schedule is not None
    traffic.read(nest.schedule.buffer(nest.write.operand).memory, "output", positions * nest.accumulator.bits)
    target = nest.schedule.target
    traffic.write(MAIN_MEMORY if target is None else target.memory, "output", written * nest.write.type.bits)
    for step in nest.post:
        if step.operand is not None:
            access = nest.access(step.operand)
            memory = nest.schedule.buffer(step.operand).memory
            traffic.read(memory, access.role.value, positions * access.local_type.bits)


def _cycles(grid: Grid, arch: Arch, moved: list[Loads], done: Computes, stored: Stores, configured: int) -> int:
    return mp.cycles(make_plan(grid, arch, moved, done, stored), configured)


def make_plan(grid: Grid, arch: Arch, moved: list[Loads], done: Computes, stored: Stores) -> mp.Plan:
    """The nest as the max-plus walk takes it: which wait stands for which distance, and the tables of durations."""
    nest = grid.nest
    assert nest.schedule is not None
    queues = (arch.queues.load, arch.queues.execute, arch.queues.store)
    # A wait farther than the farthest distance is written as the farthest. It is then mostly implied by the queue: the
    # command that waits was dispatched after the start of one so few places back that the one waited for was done.
    implied = (
        (mp.HISTORY - 2 - queues[1]) * int(done.duration.min()) >= int(done.tail.max()),
        (mp.HISTORY - 2 - queues[2]) * int(stored.duration.min()) >= stored.latency_cycles,
    )
    planned = [_load(grid, each, stored.depth, implied) for each in moved]
    needed = [any(load.waits[kind] == mp.WAIT_HISTORY for load in planned) for kind in (0, 1)]
    if any(needed) and any(loop.lengths[0] > 1 for loop in grid.loops):
        # Only the first version after that of iteration 0 has no wait: its step needs a class of its own.
        split = Grid.of(nest, split_first=True)
        return make_plan(split, arch, all_loads(split, arch), computes(split, arch), stores(split, arch))
    copies = nest.schedule.buffer(nest.write.operand).copies
    ensure(copies in (1, 2), f"{copies} copies of the output")
    rows = _Rows()
    recorded = [{load.depth for load in planned if load.waits[kind] == mp.WAIT_RECORDED} for kind in (0, 1)]
    records = [[rows.take(1) if d in depths else -1 for d in range(len(grid.loops) + 1)] for depths in recorded]
    store_resource = mp.BUS if nest.schedule.target is None else rows.take(1)
    queue_rows = [(rows.take(entries), entries) for entries in queues]
    histories = [rows.take(mp.HISTORY) if each else -1 for each in needed]
    return mp.Plan(
        dispatch_cycles=arch.queues.dispatch_cycles,
        load_latency_cycles=load_latency_cycles(nest, arch),
        lengths=[[], *(list(loop.lengths) for loop in grid.loops)],
        loads=planned,
        computes=_durations(done.duration),
        tails=_durations(done.tail),
        stores=_durations(stored.duration),
        store_resource=store_resource,
        store_latency_cycles=stored.latency_cycles,
        output_depth=stored.depth,
        output_free=mp.STORED if copies == 1 else mp.STORED_BEFORE,
        queues=queue_rows,
        records=records,
        histories=histories,
        rows=rows.count,
        patience=64 + 2 * max(queues) + mp.HISTORY * sum(needed),
    )


class _Rows:
    """Hands out the rows of the walk's state."""

    def __init__(self) -> None:
        self.count = mp.FIXED_ROWS

    def take(self, rows: int) -> int:
        """The first of so many more rows."""
        self.count += rows
        return self.count - rows


def _load(grid: Grid, moved: Loads, output_depth: int, implied: tuple[bool, bool]) -> mp.Load:
    """Where the loads of an operand are issued and what they wait for. `implied`: whether the queue implies a wait for
    a compute, and for a store, that lies beyond the farthest distance."""
    nest, count, depth = grid.nest, len(grid.loops), moved.depth
    assert nest.schedule is not None
    copies = nest.schedule.buffer(moved.operand).copies
    ensure(copies in (1, 2), f"{copies} copies of {moved.operand}")
    in_body = moved.operand in (nest.body.a, nest.body.b)
    in_post = any(step.operand == moved.operand for step in nest.post)
    steady = not in_post or depth <= output_depth
    ensure(steady, f"{moved.operand} of the post chain varies along a reduction loop")
    computes_back = grid.tiles(depth + 1, count)
    stores_back = computes_back // grid.tiles(output_depth + 1, count)
    waits = [mp.WAIT_NONE, mp.WAIT_NONE]
    for kind, (used, far) in enumerate(((in_body, computes_back), (in_post, stores_back))):
        if not used or depth == 0:
            continue
        if copies == 1:
            waits[kind] = mp.WAIT_LATEST
        elif far <= mp.HISTORY:
            waits[kind] = mp.WAIT_RECORDED
        elif not implied[kind]:
            waits[kind] = mp.WAIT_HISTORY
    place = mp.AHEAD if copies == 2 else mp.AFTER_STORE if in_post else mp.AFTER_COMPUTE
    return mp.Load(place, depth, (waits[0], waits[1]), _durations(moved.duration))


def _durations(table: Ints) -> mp.Durations:
    """The row-major table; its strides are 0 along loops whose classes take equally long."""
    strides = [0]  # of loop 0, which there is not
    pitch = table.size
    for classes in table.shape:
        pitch //= classes
        strides.append(pitch if classes > 1 else 0)
    return mp.Durations(table.reshape(-1).tolist(), strides)
