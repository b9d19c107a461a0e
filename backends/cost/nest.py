"""Counts and cycles of a scheduled nest in closed form: specs/isa.md (sections 3 and 5) and specs/counts.md."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from ...ir.arch import MAIN_MEMORY, Arch
from ...ir.diagnostics import ensure
from ...ir.nest import BodyOp, Dataflow, Nest
from ...ir.program import INSTRUCTION_BYTES
from ...ir.stats import LayerCounts, Transfer
from .classes import Grid, Ints, inside_points
from .commands import Computes, Loads, Stores, computes, loads, stores

if TYPE_CHECKING:
    from .maxplus import Plan


class Traffic:
    """Bytes by memory and role, while they are added up."""

    def __init__(self) -> None:
        self._read: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._written: defaultdict[tuple[str, str], int] = defaultdict(int)

    def read(self, memory: str, role: str, count_bytes: int) -> None:
        self._read[memory, role] += count_bytes

    def write(self, memory: str, role: str, count_bytes: int) -> None:
        self._written[memory, role] += count_bytes

    def table(self) -> dict[str, dict[str, Transfer]]:
        """Only what moved, memories and roles in the order of their names."""
        table: dict[str, dict[str, Transfer]] = {}
        for memory, role in sorted({*self._read, *self._written}):
            moved = Transfer(self._read[memory, role], self._written[memory, role])
            if moved != Transfer():
                table.setdefault(memory, {})[role] = moved
        return table


def cost_nest(nest: Nest, arch: Arch) -> LayerCounts:
    """What the program of `nest` does on `arch`, exactly, with work that grows with loops and not with tiles.

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
        traffic.read(MAIN_MEMORY, "instruction", INSTRUCTION_BYTES)
        return _with(layer, 0, 0, arch.queues.dispatch_cycles, {"fence": 1}, traffic, {})

    grid = Grid.of(nest)
    moved = [loads(grid, arch, access) for access in nest.reads]
    done = computes(grid, arch)
    stored = stores(grid, arch)
    on_vector = schedule.dataflow is Dataflow.VECTOR

    instructions = _instructions(grid, moved, stored, on_vector)
    traffic.read(MAIN_MEMORY, "instruction", INSTRUCTION_BYTES * sum(instructions.values()))
    _load_traffic(grid, moved, traffic)
    _compute_traffic(grid, done, traffic, on_vector)
    positions = grid.total(stored.positions, stored.depth)
    _store_traffic(nest, positions, traffic)

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
    actions = {"vector.op" if on_vector else "array.mac": points, "post.element": positions}
    configures = sum(count for name, count in instructions.items() if name.startswith("configure."))
    return _with(
        layer, macs, issued, _cycles(grid, arch, moved, done, stored, configures), instructions, traffic, actions
    )


def _with(
    layer: LayerCounts,
    macs: int,
    issued: int,
    cycles: int,
    instructions: dict[str, int],
    traffic: Traffic,
    actions: dict[str, int],
) -> LayerCounts:
    return LayerCounts(
        name=layer.name,
        op=layer.op,
        where=layer.where,
        dataflow=layer.dataflow,
        im2col=layer.im2col,
        macs=macs,
        macs_issued=issued,
        cycles=cycles,
        instructions=instructions,
        traffic=traffic.table(),
        actions=actions,
    )


def _instructions(grid: Grid, moved: list[Loads], stored: Stores, on_vector: bool) -> dict[str, int]:
    nest = grid.nest
    counts = {
        "configure.load": len(nest.reads),
        "configure.a": 1,
        "configure.b": int(nest.body.b is not None),
        "configure.c": 1,
        "configure.scalars": int(nest.body.op is BodyOp.QADD),
        "configure.store": 1,
        "configure.post": len(nest.post),
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
        traffic.read(MAIN_MEMORY, role, grid.total(each.read_bytes, each.depth))
        memory = nest.schedule.buffer(each.operand).memory
        traffic.write(memory, role, grid.total(each.write_bytes, each.depth))


def _compute_traffic(grid: Grid, done: Computes, traffic: Traffic, on_vector: bool) -> None:
    nest = grid.nest
    assert nest.schedule is not None
    for operand, elements in ((nest.body.a, done.a), (nest.body.b, done.b)):
        if operand is not None:
            access = nest.access(operand)
            memory = nest.schedule.buffer(operand).memory
            traffic.read(memory, access.role.value, grid.total(elements) * access.type.bytes)
    accumulator = nest.schedule.buffer(nest.write.operand).memory
    written = grid.total(done.partial)
    # The first block of every output element sets it; all others add to what is there.
    outputs = 1
    for dim in nest.domain:
        if dim.name in nest.write.dims:
            outputs *= dim.extent
    overwrites = on_vector and not nest.body.op.reduces
    traffic.write(accumulator, "partial", written * nest.accumulator.bytes)
    traffic.read(accumulator, "partial", 0 if overwrites else (written - outputs) * nest.accumulator.bytes)


def _store_traffic(nest: Nest, positions: int, traffic: Traffic) -> None:
    assert nest.schedule is not None
    traffic.read(nest.schedule.buffer(nest.write.operand).memory, "output", positions * nest.accumulator.bytes)
    traffic.write(MAIN_MEMORY, "output", positions * nest.write.type.bytes)
    for step in nest.post:
        if step.operand is not None:
            access = nest.access(step.operand)
            memory = nest.schedule.buffer(step.operand).memory
            traffic.read(memory, access.role.value, positions * access.type.bytes)


def _cycles(grid: Grid, arch: Arch, moved: list[Loads], done: Computes, stored: Stores, configures: int) -> int:
    from . import maxplus

    return maxplus.cycles(make_plan(grid, arch, moved, done, stored), configures)


def make_plan(grid: Grid, arch: Arch, moved: list[Loads], done: Computes, stored: Stores) -> Plan:
    """The nest as the max-plus kernel takes it: which wait stands for which distance, and the tables of durations."""
    from . import maxplus as mp

    nest, count = grid.nest, len(grid.loops)
    assert nest.schedule is not None
    post = {step.operand for step in nest.post}
    outputs_run = grid.tiles(stored.depth + 1, count)
    queues = (arch.queues.load, arch.queues.execute, arch.queues.store)

    # A wait farther than the farthest distance is written as the farthest. It is then mostly implied by the queue: the
    # command that waits was dispatched after the start of one so few places back that the one waited for was done.
    implied = (
        (mp.HISTORY - 2 - queues[1]) * int(done.duration.min()) >= int(done.tail.max()),
        (mp.HISTORY - 2 - queues[2]) * int(stored.duration.min()) >= arch.dma.latency_cycles,
    )
    rows = mp.FIXED_ROWS
    records = np.full((2, count + 1), -1, np.int64)
    need_history = [False, False]
    commands = np.zeros((len(moved) + 3, mp.STRIDES + count + 1), np.int64)
    for each, command in zip(moved, commands, strict=False):
        copies = nest.schedule.buffer(each.operand).copies
        ensure(copies in (1, 2), f"{copies} copies of {each.operand}")
        in_body, in_post = each.operand in (nest.body.a, nest.body.b), each.operand in post
        steady = not in_post or each.depth <= stored.depth
        ensure(steady, f"{each.operand} of the post chain varies along a reduction loop")
        distance = grid.tiles(each.depth + 1, count)
        waits = [mp.WAIT_NONE, mp.WAIT_NONE]
        for kind, (used, far) in enumerate(((in_body, distance), (in_post, distance // outputs_run))):
            if not used or each.depth == 0:
                continue
            if copies == 1:
                waits[kind] = mp.WAIT_LATEST
            elif far <= mp.HISTORY:
                waits[kind] = mp.WAIT_RECORDED
                if records[kind, each.depth] < 0:
                    records[kind, each.depth] = rows
                    rows += 1
            elif not implied[kind]:
                waits[kind] = mp.WAIT_HISTORY
                need_history[kind] = True
        command[mp.PLACE] = mp.AHEAD if copies == 2 else mp.AFTER_STORE if in_post else mp.AFTER_COMPUTE
        command[mp.DEPTH] = each.depth
        command[[mp.EXECUTE_WAIT, mp.STORE_WAIT]] = waits
    if any(need_history) and any(loop.lengths[0] > 1 for loop in grid.loops):
        # Only the first version after that of iteration 0 has no wait: its step needs a class of its own.
        split = Grid.of(nest, split_first=True)
        again = [loads(split, arch, access) for access in nest.reads]
        return make_plan(split, arch, again, computes(split, arch), stores(split, arch))

    tables = [*(each.duration for each in moved), done.duration, done.tail, stored.duration]
    offset = 0
    for table, command in zip(tables, commands, strict=True):
        command[mp.OFFSET] = offset
        command[mp.STRIDES :] = _strides(table)
        offset += table.size

    figures = np.zeros(mp.FIGURES, np.int64)
    figures[mp.LOOPS], figures[mp.READS] = count, len(moved)
    figures[mp.DISPATCH_CYCLES], figures[mp.LATENCY] = arch.queues.dispatch_cycles, arch.dma.latency_cycles
    figures[mp.OUTPUT_DEPTH] = stored.depth
    copies = nest.schedule.buffer(nest.write.operand).copies
    ensure(copies in (1, 2), f"{copies} copies of the output")
    figures[mp.OUTPUT_FREE] = mp.STORED if copies == 1 else mp.STORED_BEFORE
    figures[mp.PATIENCE] = 64 + 2 * max(queues) + mp.HISTORY * sum(need_history)
    for engine, entries in enumerate(queues):
        figures[mp.QUEUES + 2 * engine], figures[mp.QUEUES + 2 * engine + 1] = rows, entries
        rows += entries
    for kind, needed in enumerate(need_history):
        figures[mp.HISTORIES + kind] = rows if needed else -1
        rows += mp.HISTORY if needed else 0

    lengths = np.zeros((count + 1, 1 + max((len(loop.lengths) for loop in grid.loops), default=0)), np.int64)
    for number, loop in enumerate(grid.loops, 1):
        lengths[number, : 1 + len(loop.lengths)] = (len(loop.lengths), *loop.lengths)
    return mp.Plan(
        figures,
        lengths,
        commands,
        np.concatenate([table.reshape(-1) for table in tables]),
        records,
        _live_rows(figures, records, rows, [each.depth for each in moved], stored.depth),
    )


def _live_rows(figures: Ints, records: Ints, rows: int, depths: list[int], output_depth: int) -> Ints:
    """For each loop, the rows of the state that its body changes."""
    from . import maxplus as mp

    live = np.zeros((records.shape[1], rows), np.int64)
    for number in range(1, len(live)):
        loading, storing = any(depth >= number for depth in depths), number <= output_depth
        row = live[number]
        row[[mp.DISPATCH, mp.UNIT, mp.COMPUTED]] = 1
        row[mp.BUS] = loading or storing
        row[mp.LOADED] = loading
        row[[mp.STORED, mp.STORED_BEFORE]] = storing
        for engine, active in enumerate((loading, True, storing)):
            first, entries = figures[mp.QUEUES + 2 * engine : mp.QUEUES + 2 * engine + 2]
            row[first : first + entries] = active
        for kind, active in enumerate((True, storing)):
            if figures[mp.HISTORIES + kind] >= 0:
                row[figures[mp.HISTORIES + kind] :][: mp.HISTORY] = active
            row[records[kind, number:][records[kind, number:] >= 0]] = active
    return live


def _strides(values: Ints) -> Ints:
    """Entries of the row-major table of `values` that a step of each loop's class moves; 0 where they do not vary."""
    strides = np.zeros(values.ndim + 1, np.int64)
    pitch = 1
    for axis in range(values.ndim - 1, -1, -1):
        strides[axis + 1] = pitch if values.shape[axis] > 1 else 0
        pitch *= values.shape[axis]
    return strides
