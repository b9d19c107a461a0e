"""What a command that has been carried out took and moved: cycles of its resource, traffic and counters of its layer.

Compiled. `traffic` and `counters` are those of the layer (see `layout`), `plan` is what the command's checks noted.
"""

from __future__ import annotations

from ..ir.compiled import compiled
from .elements import Local
from .layout import (
    A_COLS,
    A_COMMAND,
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
    CONFIG_POST,
    CONFIG_STORE,
    FLOW_IS,
    FLOW_OS,
    MAIN_MEMORY,
    N_ARRAY_MACS,
    N_MACS,
    N_MACS_ISSUED,
    N_OVERFLOWS,
    N_POST_ELEMENTS,
    N_VECTOR_POINTS,
    OP_COMPUTE,
    OPERAND_ROLE,
    OPERAND_TYPE,
    PLAN_INSIDE,
    PLAN_MACS,
    PLAN_MEMORY,
    PLAN_MEMORY_A,
    PLAN_MEMORY_B,
    PLAN_OVERFLOWS,
    PLAN_POSITIONS,
    PLAN_STEP_MEMORY,
    PLAN_TARGET,
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
    STORE_MAIN_STRIDE,
    STORE_STEPS,
    STORE_TARGET,
    STORE_TYPE,
    STREAM_BYTES,
    STREAM_MAIN_STRIDE,
    STREAM_ROLE,
    TYPE_BYTES,
    TYPES,
    WRITE,
    Integers,
)
from .product import COUNTERS, class_extent
from .timing import ceil_div, compute_cycles, compute_elements, transfer_cycles, vector_cycles, word_cycles
from .transfer import AXES, box_positions
from .vector import reduces_output, uses_b


@compiled
def tally_load(stream: Integers, plan: Integers, arch: Integers, traffic: Integers) -> int:
    """Cycles that a load which `load_box` has carried out holds the bus; its bytes are added to the layer's traffic."""
    size, inside = stream[STREAM_BYTES], plan[PLAN_INSIDE : PLAN_INSIDE + AXES]
    if plan[PLAN_POSITIONS]:
        moved = box_positions(inside, plan[PLAN_POSITIONS])
        traffic[MAIN_MEMORY, stream[STREAM_ROLE], READ] += moved * size
        traffic[1 + plan[PLAN_MEMORY], stream[STREAM_ROLE], WRITE] += plan[PLAN_POSITIONS] * size
    main_stride = stream[STREAM_MAIN_STRIDE : STREAM_MAIN_STRIDE + AXES]
    return int(arch[A_COMMAND] + transfer_cycles(arch, inside, main_stride, size))


@compiled
def tally_store(
    row: Integers,
    local: Local,
    config: Integers,
    plan: Integers,
    arch: Integers,
    traffic: Integers,
    counters: Integers,
) -> int:
    """The same of a store that `run_store` has carried out; one to local memory holds the post unit, not the bus."""
    store = config[CONFIG_STORE]
    positions = plan[PLAN_POSITIONS]
    if positions:
        size = TYPES[store[STORE_ACCUMULATOR], TYPE_BYTES]
        traffic[1 + plan[PLAN_MEMORY], ROLE_OUTPUT, READ] += positions * size
        written = 1 + plan[PLAN_TARGET] if store[STORE_TARGET] else MAIN_MEMORY
        traffic[written, ROLE_OUTPUT, WRITE] += positions * TYPES[store[STORE_TYPE], TYPE_BYTES]
        for place in range(store[STORE_STEPS]):
            step = config[CONFIG_POST + place]
            if step[POST_SLOT] < SLOTS:
                size = TYPES[step[POST_OPERAND_TYPE], TYPE_BYTES]
                traffic[1 + plan[PLAN_STEP_MEMORY + place], step[POST_ROLE], READ] += positions * size
        counters[N_POST_ELEMENTS] += positions
    extents = row[STORE_EXTENT : STORE_EXTENT + AXES]
    main_stride = store[STORE_MAIN_STRIDE : STORE_MAIN_STRIDE + AXES]
    size = TYPES[store[STORE_TYPE], TYPE_BYTES]
    if store[STORE_TARGET] == 0:
        busy = transfer_cycles(arch, extents, main_stride, size)
    elif positions:
        busy = word_cycles(extents, main_stride, size, local.words[plan[PLAN_TARGET]])
    else:
        busy = 0
    busy = max(busy, ceil_div(positions, arch[A_POST_LANES]))
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
        counters[N_MACS_ISSUED] += arch[A_ROWS] * arch[A_COLS] * (duration - arch[A_COMMAND])
        counters[N_ARRAY_MACS] += total
    else:
        duration, latency = vector_cycles(arch, total, col_extent), 0
        reads_a = reads_b = total
        written = outputs if reduces_output(body) else total
        read_back = outputs if accumulates and reduces_output(body) else 0
        if body == BODY_MAC:
            counters[N_MACS_ISSUED] += arch[A_LANES] * (duration - arch[A_COMMAND] - arch[A_STARTUP])
        counters[N_VECTOR_POINTS] += total
    counters[N_OVERFLOWS] += plan[PLAN_OVERFLOWS]
    counters[N_MACS] += plan[PLAN_MACS]
    size = TYPES[config_c[C_TYPE], TYPE_BYTES]
    traffic[1 + plan[PLAN_MEMORY], ROLE_PARTIAL, WRITE] += written * size
    traffic[1 + plan[PLAN_MEMORY], ROLE_PARTIAL, READ] += read_back * size
    size = TYPES[config_a[OPERAND_TYPE], TYPE_BYTES]
    traffic[1 + plan[PLAN_MEMORY_A], config_a[OPERAND_ROLE], READ] += reads_a * size
    if uses_b(body):
        size = TYPES[config_b[OPERAND_TYPE], TYPE_BYTES]
        traffic[1 + plan[PLAN_MEMORY_B], config_b[OPERAND_ROLE], READ] += reads_b * size
    return duration, latency
