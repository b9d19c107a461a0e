"""Durations and traffic of commands, and the max-plus clock: sections 3 of specs/isa.md and specs/counts.md, compiled.

Everything is an integer. `arch` is the array of parameters whose places `layout` names (A_...).
"""

from __future__ import annotations

from ..ir.compiled import compiled
from .faults import BAD_WAIT, OK, TOO_LONG, fail
from .layout import (
    A_BANDWIDTH,
    A_BURST,
    A_BUS,
    A_CLOCK,
    A_COLS,
    A_COMMAND,
    A_DISPATCH,
    A_DRAIN,
    A_LANES,
    A_LATENCY,
    A_REQUESTS,
    A_ROWS,
    A_STARTUP,
    ENGINES,
    FLOW_IS,
    FLOW_OS,
    FLOW_WS,
    HISTORY,
    T_DISPATCH,
    T_SINCE_FENCE,
    WAITS,
    Integers,
)

LIMIT = 1 << 61


@compiled
def ceil_div(n: int, d: int) -> int:
    return (n + d - 1) // d


@compiled
def ceil_mul_div(n: int, c: int, d: int) -> int:
    """ceil(n * c / d) without leaving 64 bits, for 0 <= n, c < 2^46 and 0 < d < 2^46; LIMIT where it is larger."""
    if float(n) * float(c) / float(d) > float(LIMIT):
        return LIMIT
    quotient, rest = n // d, n % d
    high, low = c >> 16, c & 0xFFFF
    # rest * c / d in two steps of at most 62 bits: c = high * 2^16 + low.
    first, first_rest = _mul_divmod(rest, high, d)
    return quotient * c + (first << 16) + ceil_div((first_rest << 16) + rest * low, d)


@compiled
def _mul_divmod(n: int, c: int, d: int) -> tuple[int, int]:
    """divmod(n * c, d) for n < d < 2^46 and c < 2^30, 16 bits of c at a time."""
    high, low = c >> 16, c & 0xFFFF
    first = n * high
    quotient, rest = first // d, first % d
    second = (rest << 16) + n * low
    return (quotient << 16) + second // d, second % d


@compiled
def runs_of(inside: Integers, stride: Integers) -> tuple[int, int]:
    """How many runs without gaps a box of `inside` positions per axis with strides in elements has, and the elements
    of each."""
    run = 1
    axis = len(inside) - 1
    while axis >= 0 and (inside[axis] == 1 or stride[axis] == run):
        run *= inside[axis]
        axis -= 1
    runs = 1
    while axis >= 0:
        runs *= inside[axis]
        axis -= 1
    return runs, run


@compiled
def word_cycles(extents: Integers, stride: Integers, element_bits: int, word_bytes: int) -> int:
    """Words of a local memory that a store's box takes, one a cycle; extents are at least 1."""
    runs, run = runs_of(extents, stride)
    return int(runs * ceil_div(run * element_bits, 8 * word_bytes))


@compiled
def transfer_cycles(arch: Integers, inside: Integers, stride: Integers, element_bits: int) -> int:
    """Cycles of the bus for a box of `inside` positions per axis with main-memory strides in elements."""
    for axis in range(len(inside)):
        if inside[axis] == 0:
            return 0
    runs, run = runs_of(inside, stride)
    beats = runs * ceil_div(run * element_bits, 8 * arch[A_BUS])
    requests = runs * ceil_div(run * element_bits, 8 * arch[A_BURST])
    return bus_time(arch, beats, requests)


@compiled
def bus_time(arch: Integers, beats: int, requests: int) -> int:
    """Cycles that so many beats and bursts hold the bus."""
    bandwidth = ceil_mul_div(beats * arch[A_BUS], arch[A_CLOCK], arch[A_BANDWIDTH])
    in_flight = ceil_mul_div(requests, arch[A_LATENCY], arch[A_REQUESTS])
    return max(beats, bandwidth, in_flight)


@compiled
def _blocks(n: int, size: int, least: int) -> int:
    """The sum over the blocks of at most `size` of n of max(least, block)."""
    total = (n // size) * max(least, size)
    if n % size:
        total += max(least, n % size)
    return total


@compiled
def compute_cycles(
    arch: Integers, flow: int, groups: int, points: int, columns: int, reduces: int, row_extent: int, col_extent: int
) -> tuple[int, int]:
    """(T, L) of an array command. Extents are at least 1; a counter that is not there has extent 1."""
    rows, cols = arch[A_ROWS], arch[A_COLS]
    fold = groups * (columns // col_extent) * ceil_div(col_extent, cols)
    if flow == FLOW_WS:
        busy = min(rows, row_extent) + fold * (reduces // row_extent) * _blocks(row_extent, rows, points)
        tail = min(rows, row_extent) + min(cols, col_extent)
    elif flow == FLOW_OS:
        busy = fold * _blocks(points, rows, reduces)
        tail = 2 * min(rows, points) + min(cols, col_extent)
    else:
        passes = groups * (reduces // row_extent) * ceil_div(points, cols)
        busy = min(rows, row_extent) + passes * _blocks(row_extent, rows, columns)
        tail = min(rows, row_extent) + min(cols, points)
    return arch[A_COMMAND] + busy, tail - 1 + arch[A_DRAIN]


@compiled
def compute_elements(
    arch: Integers, flow: int, groups: int, points: int, columns: int, reduces: int, row_extent: int, col_extent: int
) -> tuple[int, int, int]:
    """Elements that an array command reads of a and of b, and times that it writes each output element."""
    rows, cols = arch[A_ROWS], arch[A_COLS]
    reads_a = groups * points * reduces
    reads_b = groups * reduces * columns
    writes = 1
    if flow != FLOW_IS:
        reads_a *= (columns // col_extent) * ceil_div(col_extent, cols)
    else:
        reads_b *= ceil_div(points, cols)
    if flow == FLOW_OS:
        reads_b *= ceil_div(points, rows)
    else:
        writes = (reduces // row_extent) * ceil_div(row_extent, rows)
    return reads_a, reads_b, writes


@compiled
def vector_cycles(arch: Integers, total: int, lane_extent: int) -> int:
    """T of a vector command of `total` points whose lane counter has `lane_extent`."""
    return int(arch[A_COMMAND] + arch[A_STARTUP] + (total // lane_extent) * ceil_div(lane_extent, arch[A_LANES]))


@compiled
def dispatch(
    arch: Integers, queues: Integers, clock: Integers, started: Integers, issued: Integers, engine: int
) -> int:
    """Advance the dispatch time to that of the next command of `engine` (-1: of no engine) and return it."""
    time = clock[T_DISPATCH] + arch[A_DISPATCH]
    if engine >= 0 and issued[engine] >= queues[engine]:
        time = max(time, started[engine, (issued[engine] - queues[engine]) % started.shape[1]])
    clock[T_DISPATCH] = time
    return int(time)


@compiled
def ready_time(row: Integers, completed: Integers, issued: Integers, fault: Integers) -> int:
    """The completion of all that the command in `row` waits for; -1 after a fault."""
    ready = 0
    for engine in range(ENGINES):
        distance = row[WAITS + engine]
        if distance:
            if distance > issued[engine]:
                fail(fault, BAD_WAIT, distance, engine, issued[engine], 0)
                return -1
            ready = max(ready, completed[engine, (issued[engine] - distance) % HISTORY])
    return ready


@compiled
def issue(
    clock: Integers,
    resource: int,
    started: Integers,
    completed: Integers,
    issued: Integers,
    engine: int,
    ready: int,
    duration: int,
    latency: int,
    fault: Integers,
) -> int:
    """Carry out one command's times: it was dispatched and is `ready`; `resource` is the place of its resource in the
    clock. Returns a fault's code or OK."""
    start = max(clock[T_DISPATCH], ready, clock[resource])
    if start > LIMIT or duration >= LIMIT:
        return fail(fault, TOO_LONG, 0, 0, 0, 0)
    clock[resource] = start + duration
    finish = start + duration + latency
    number = issued[engine]
    if number:
        finish = max(finish, completed[engine, (number - 1) % HISTORY])
    completed[engine, number % HISTORY] = finish
    started[engine, number % started.shape[1]] = start
    issued[engine] = number + 1
    clock[T_SINCE_FENCE] += 1
    return OK


@compiled
def now(clock: Integers, completed: Integers, issued: Integers) -> int:
    """When everything that was dispatched so far is complete."""
    time = clock[T_DISPATCH]
    for engine in range(ENGINES):
        if issued[engine]:
            time = max(time, completed[engine, (issued[engine] - 1) % HISTORY])
    return int(time)
