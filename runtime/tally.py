"""What a command that has been carried out took and moved: cycles of its resource, traffic and counters of its layer.

Compiled. `traffic` and `counters` are those of the layer (see `layout`), `plan` is what the command's checks noted.
"""

from __future__ import annotations

from ..ir.compiled import compiled
from .block_unit import COLS, ROWS, TESTED, BlockUnit, moved_cycles
from .elements import Blocks, Local
from .layout import (
    A_BLOCK_LANES,
    A_COLS,
    A_COMMAND,
    A_CONVERTER_LANES,
    A_LANES,
    A_POST_LANES,
    A_ROWS,
    A_STARTUP,
    BATCH,
    BODY_MAC,
    C_BODY,
    C_CLASS,
    C_COL,
    C_DATAFLOW,
    C_ROW,
    C_TYPE,
    COLUMN,
    COMPUTE_ACCUMULATE,
    COMPUTE_EXTENT,
    CONFIG_A,
    CONFIG_B,
    CONFIG_C,
    CONFIG_ENCODE,
    CONFIG_POST,
    CONFIG_STORE,
    CONVERT_MADE,
    FLOW_IS,
    FLOW_OS,
    LOAD_BEFORE,
    LOAD_MAIN,
    LOAD_MAIN_BIT,
    MAIN_MEMORY,
    N_ARRAY_MACS,
    N_CONVERTED,
    N_LOOKUPS,
    N_MACS,
    N_MACS_ISSUED,
    N_MACS_SKIPPED,
    N_OVERFLOWS,
    N_POST_ELEMENTS,
    N_TESTED,
    N_VECTOR_POINTS,
    OP_COMPUTE,
    OPERAND_ROLE,
    OPERAND_TYPE,
    PLAN_BUSY,
    PLAN_INSIDE,
    PLAN_LEFT_OUT,
    PLAN_MACS,
    PLAN_MEMORY,
    PLAN_MEMORY_A,
    PLAN_MEMORY_B,
    PLAN_OVERFLOWS,
    PLAN_POSITIONS,
    PLAN_READ_BACK,
    PLAN_READS_A,
    PLAN_READS_B,
    PLAN_SKIPPED,
    PLAN_SKIPS,
    PLAN_STEP_MEMORY,
    PLAN_TARGET,
    PLAN_WRITES,
    POINT,
    POST_OPERAND_TYPE,
    POST_ROLE,
    POST_SLOT,
    READ,
    REDUCE,
    ROLE_OUTPUT,
    ROLE_PARTIAL,
    SLOTS,
    STORE_ACCUMULATOR,
    STORE_EXTENT,
    STORE_MAIN,
    STORE_MAIN_BIT,
    STORE_MAIN_STRIDE,
    STORE_STEPS,
    STORE_TARGET,
    STORE_TYPE,
    STREAM_BITS,
    STREAM_MAIN_STRIDE,
    STREAM_ROLE,
    TYPE_BITS,
    TYPES,
    WRITE,
    Integers,
)
from .product import COUNTERS, class_extent
from .timing import ceil_div, compute_cycles, compute_elements, transfer_cycles, vector_cycles, word_cycles
from .transfer import AXES, box_positions
from .vector import reduces_output, uses_b


@compiled
def tally_load(
    stream: Integers,
    convert: Integers,
    unit: BlockUnit,
    slot: int,
    blocks: Blocks,
    row: Integers,
    plan: Integers,
    arch: Integers,
    traffic: Integers,
    counters: Integers,
) -> int:
    """Cycles that a load which `load_box` has carried out holds the bus; what it moved is added to the layer's traffic,
    what was converted and looked up to its counters. `slot` is that of the blocks that the stream skips, or -1."""
    size, inside = stream[STREAM_BITS], plan[PLAN_INSIDE : PLAN_INSIDE + AXES]
    strides = stream[STREAM_MAIN_STRIDE : STREAM_MAIN_STRIDE + AXES]
    busy = transfer_cycles(arch, inside, strides, size)
    if plan[PLAN_POSITIONS]:
        moved, local_size = box_positions(inside, plan[PLAN_POSITIONS]), size
        written = plan[PLAN_POSITIONS]
        if slot >= 0 and moved:
            source = 8 * row[LOAD_MAIN] + row[LOAD_MAIN_BIT]
            for axis in range(AXES):
                blocks.counters[0, axis] = axis
                source += row[LOAD_BEFORE + axis] * strides[axis] * size
            busy, kept, lookups = moved_cycles(
                unit, slot, arch, inside, strides, source, moved, size,
                blocks.counters[0], blocks.counters[1], blocks.offsets[0],
            )  # fmt: skip
            written -= moved - kept
            moved = kept
            counters[N_LOOKUPS] += lookups
        if convert[0]:
            local_size = TYPES[convert[CONVERT_MADE], TYPE_BITS]
            counters[N_CONVERTED] += moved
            busy = max(busy, ceil_div(moved, arch[A_CONVERTER_LANES]))
        traffic[MAIN_MEMORY, stream[STREAM_ROLE], READ] += moved * size
        traffic[1 + plan[PLAN_MEMORY], stream[STREAM_ROLE], WRITE] += written * local_size
    return int(arch[A_COMMAND] + busy)


@compiled
def tally_store(
    row: Integers,
    local: Local,
    unit: BlockUnit,
    blocks: Blocks,
    config: Integers,
    plan: Integers,
    arch: Integers,
    traffic: Integers,
    counters: Integers,
) -> int:
    """The same of a store that `run_store` has carried out; one to local memory holds the post unit, not the bus."""
    store, tested_busy = config[CONFIG_STORE], -1
    positions = plan[PLAN_POSITIONS]
    if positions:
        size = TYPES[store[STORE_ACCUMULATOR], TYPE_BITS]
        traffic[1 + plan[PLAN_MEMORY], ROLE_OUTPUT, READ] += positions * size
        written = 1 + plan[PLAN_TARGET] if store[STORE_TARGET] else MAIN_MEMORY
        moved = positions
        if unit.state[TESTED] >= 0:
            slot, bits = unit.state[TESTED], TYPES[store[STORE_TYPE], TYPE_BITS]
            for axis in range(AXES):
                blocks.counters[0, axis] = axis
            tested_busy, moved, _ = moved_cycles(
                unit, slot, arch, row[STORE_EXTENT : STORE_EXTENT + AXES],
                store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES], 8 * row[STORE_MAIN] + row[STORE_MAIN_BIT],
                positions, bits, blocks.counters[0], blocks.counters[1], blocks.offsets[0],
            )  # fmt: skip
            counters[N_TESTED] += positions
            block = unit.geometry[slot, ROWS] * unit.geometry[slot, COLS]
            lanes = arch[A_BLOCK_LANES]
            tested_busy = max(tested_busy, ceil_div(positions, lanes) + ceil_div(min(positions, block), lanes))
        traffic[written, ROLE_OUTPUT, WRITE] += moved * TYPES[store[STORE_TYPE], TYPE_BITS]
        for place in range(store[STORE_STEPS]):
            step = config[CONFIG_POST + place]
            if step[POST_SLOT] < SLOTS:
                size = TYPES[step[POST_OPERAND_TYPE], TYPE_BITS]
                traffic[1 + plan[PLAN_STEP_MEMORY + place], step[POST_ROLE], READ] += positions * size
        counters[N_POST_ELEMENTS] += positions
    extents = row[STORE_EXTENT : STORE_EXTENT + AXES]
    main_stride = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
    size = TYPES[store[STORE_TYPE], TYPE_BITS]
    if tested_busy >= 0:
        busy = tested_busy
    elif store[STORE_TARGET] == 0:
        busy = transfer_cycles(arch, extents, main_stride, size)
    elif positions:
        busy = word_cycles(extents, main_stride, size, local.words[plan[PLAN_TARGET]])
    else:
        busy = 0
    busy = max(busy, ceil_div(positions, arch[A_POST_LANES]))
    if config[CONFIG_ENCODE, 0]:
        counters[N_CONVERTED] += positions
        busy = max(busy, ceil_div(positions, arch[A_CONVERTER_LANES]))
    return int(arch[A_COMMAND] + busy)


@compiled
def tally_execute(
    row: Integers, config: Integers, plan: Integers, arch: Integers, traffic: Integers, counters: Integers
) -> tuple[int, int]:
    """Duration and latency of a compute or vector command that has been carried out; what it did is added to the
    traffic and counters of its layer."""
    total = plan[PLAN_POSITIONS]
    if total == 0:
        return int(arch[A_COMMAND]), 0
    config_a, config_b, config_c = config[CONFIG_A], config[CONFIG_B], config[CONFIG_C]
    body, flow = config_c[C_BODY], config_c[C_DATAFLOW]
    extents = row[COMPUTE_EXTENT : COMPUTE_EXTENT + COUNTERS]
    classes = config_c[C_CLASS : C_CLASS + COUNTERS]
    groups, points = class_extent(extents, classes, BATCH), class_extent(extents, classes, POINT)
    columns, reduces = class_extent(extents, classes, COLUMN), class_extent(extents, classes, REDUCE)
    outputs = groups * points * columns
    accumulates = row[COMPUTE_ACCUMULATE] != 0
    row_counter, col_counter = config_c[C_ROW], config_c[C_COL]
    col_extent = extents[col_counter] if col_counter < COUNTERS else 1
    if row[0] == OP_COMPUTE:
        row_extent = extents[row_counter] if row_counter < COUNTERS and flow != FLOW_OS else 1
        if flow == FLOW_IS:
            col_extent = 1
        duration, latency = compute_cycles(arch, flow, groups, points, columns, reduces, row_extent, col_extent)
        reads_a, reads_b, writes = compute_elements(
            arch, flow, groups, points, columns, reduces, row_extent, col_extent
        )
        written = outputs * writes
        read_back = written if accumulates else written - outputs
        if plan[PLAN_SKIPS]:
            duration = arch[A_COMMAND] + plan[PLAN_BUSY]
            duration += min(arch[A_ROWS], row_extent) if flow != FLOW_OS else 0
            reads_a, reads_b = plan[PLAN_READS_A], plan[PLAN_READS_B]
            written, read_back = plan[PLAN_WRITES], plan[PLAN_READ_BACK]
        counters[N_MACS_ISSUED] += arch[A_ROWS] * arch[A_COLS] * (duration - arch[A_COMMAND])
        counters[N_ARRAY_MACS] += total - (plan[PLAN_LEFT_OUT] if plan[PLAN_SKIPS] else 0)
    else:
        duration, latency = vector_cycles(arch, total, col_extent), 0
        reads_a = reads_b = total
        written = outputs if reduces_output(body) else total
        read_back = outputs if accumulates and reduces_output(body) else 0
        if plan[PLAN_SKIPS]:
            duration = arch[A_COMMAND] + arch[A_STARTUP] + plan[PLAN_BUSY]
            reads_a, reads_b = plan[PLAN_READS_A], plan[PLAN_READS_B]
        if body == BODY_MAC:
            counters[N_MACS_ISSUED] += arch[A_LANES] * (duration - arch[A_COMMAND] - arch[A_STARTUP])
        counters[N_VECTOR_POINTS] += total - (plan[PLAN_LEFT_OUT] if plan[PLAN_SKIPS] else 0)
    counters[N_OVERFLOWS] += plan[PLAN_OVERFLOWS]
    counters[N_MACS] += plan[PLAN_MACS]
    if plan[PLAN_SKIPS]:
        counters[N_MACS_SKIPPED] += plan[PLAN_SKIPPED]
    size = TYPES[config_c[C_TYPE], TYPE_BITS]
    traffic[1 + plan[PLAN_MEMORY], ROLE_PARTIAL, WRITE] += written * size
    traffic[1 + plan[PLAN_MEMORY], ROLE_PARTIAL, READ] += read_back * size
    size = TYPES[config_a[OPERAND_TYPE], TYPE_BITS]
    traffic[1 + plan[PLAN_MEMORY_A], config_a[OPERAND_ROLE], READ] += reads_a * size
    if uses_b(body):
        size = TYPES[config_b[OPERAND_TYPE], TYPE_BITS]
        traffic[1 + plan[PLAN_MEMORY_B], config_b[OPERAND_ROLE], READ] += reads_b * size
    return duration, latency
