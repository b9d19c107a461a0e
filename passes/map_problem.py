"""A nest on a machine as arrays of integers, for compiled code: all that decides what a mapping costs.

Operands are numbered as `reads` are, the output comes last; axes operand by operand, the outermost first; dimensions as
in the domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ir.arch import BLOCK_UNIT, Arch
from ..ir.nest import VALUE, BodyOp, CounterClass, Dataflow, Nest, counter_classes, decoded, encodes
from ..ir.nest_layout import axis_step
from ..ir.schedule_rules import EXTENT_LIMIT
from .schedule import blocked_dims, buffer_order

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# What `machine` holds, BUS and BURST in bits; SWITCH are cycles of dispatch that the number converter takes, LATENCY is
# that of main memory alone, BLOCK the elements of a block that the store tests (0: none), UNIT_LANES of them a cycle;
# QUEUES are the entries of three queues.
(
    COMMAND, DISPATCH_CYCLES, LATENCY, BUS, BURST, INFLIGHT, RATE_NUMERATOR, RATE_DENOMINATOR, ROWS, COLS, DRAIN, LANES,
    STARTUP, POST_LANES, CONFIGURES, REDUCES, LARGEST_EXTENT, SWITCH, LOAD_LATENCY, STORE_LATENCY, BLOCK, UNIT_LANES,
    QUEUES,
) = range(23)  # fmt: skip
# Columns of `operands`: bits of an element in main memory and locally, and of a word. OF_BODY: bit 0 for operand a,
# bit 1 for b. OF_LANES: elements a cycle that the number converter takes, 0 where it has no part. OF_INNERMOST and the
# three after it: the axis whose elements are neighbours in local memory, by dataflow.
(
    OF_BITS, OF_LOCAL_BITS, OF_MEMORY, OF_WORD, OF_FIRST_AXIS, OF_AXES, OF_BODY, OF_POSTS, OF_COPIES, OF_LANES,
    OF_INNERMOST,
) = range(11)  # fmt: skip
# Columns of `axes`. AXIS_STRIDE: bits in main memory between neighbouring positions; AXIS_RUN: between neighbouring
# positions of the view.
(
    AXIS_CONSTANT, AXIS_VIEW, AXIS_STEP, AXIS_VALUE, AXIS_CLIPPED, AXIS_RUN, AXIS_STRIDE,
) = range(7)  # fmt: skip
# `prices` in pJ; TESTING is that of all blocks of the output; from PER_MEMORY on those of each local memory, a word.
PER_MAC, PER_POST, PER_CONVERTED, PER_INSTRUCTION, PER_MAIN_READ, PER_MAIN_WRITTEN, TESTING, PER_MEMORY = range(8)

# `totals`: points of all dimensions of a kind, and of all.
BATCH, POINT, COLUMN, REDUCE, ALL = range(5)
# Columns of `blocked`: the dimension along rows, columns and lanes (-1: none), then the points of the other reduced
# dimensions, of the other columns and of all others.
ROW, COL, LANE, ROW_OTHERS, COL_OTHERS, LANE_OTHERS = range(6)

WS, OS, IS, VECTOR = range(4)
DATAFLOWS = (Dataflow.WS, Dataflow.OS, Dataflow.IS, Dataflow.VECTOR)
KINDS = (CounterClass.BATCH, CounterClass.POINT, CounterClass.COLUMN, CounterClass.REDUCE)


class Problem(NamedTuple):
    """`kinds` are positions in KINDS; `blocked` has a row for each dataflow; `relevant` says for each operand on which
    dimensions it depends. `capacities` are in bits. `prices` has for the array and for the vector unit a row, of which
    the first column differs.
    """

    machine: Ints
    extents: Ints
    kinds: Ints
    totals: Ints
    blocked: Ints
    operands: Ints
    relevant: Ints
    axes: Ints
    coefficients: Ints
    capacities: Ints
    prices: Floats


def problem_of(nest: Nest, arch: Arch, copies: Sequence[tuple[str, int]] = ()) -> Problem:
    """The nest, whose domain is not empty, with pinned `copies` of some operands."""
    names = [dim.name for dim in nest.domain]
    extents = {dim.name: dim.extent for dim in nest.domain}
    accesses = (*nest.reads, nest.write)
    memories = [memory.name for memory in arch.local]
    operands: list[list[int]] = []
    axes: list[list[int]] = []
    coefficients: list[list[int]] = []
    for access in accesses:
        holder = arch.holder(access.role.value)
        size = access.type.bits
        local = nest.accumulator.bits if access is nest.write else access.local_type.bits
        in_body = (access.operand == nest.body.a) + 2 * (access.operand == nest.body.b)
        posts = sum(step.operand == access.operand for step in nest.post)
        pinned = dict(copies).get(access.operand, 0)
        inner = []
        for dataflow in DATAFLOWS:
            order = buffer_order(nest, access.operand, dataflow) or tuple(range(len(access.index)))
            inner.append(order[-1] if order else 0)
        holding = [memories.index(holder.name), 8 * holder.word_bytes, len(axes), len(access.index)]
        converted = access.decode is not None or (access is nest.write and encodes(nest))
        lanes = arch.converter.lanes if arch.converter is not None and converted else 0
        operands.append([size, local, *holding, in_body, posts, pinned, lanes, *inner])
        run = size
        rows = []
        for axis, view in zip(reversed(access.index), reversed(access.shape), strict=True):
            reach = sum(c * (extents[dim] - 1) for dim, c in axis.terms if dim != VALUE)
            coefficients_of = dict(axis.terms)
            of_value = VALUE in coefficients_of
            step = 1 if of_value else axis_step(axis, extents)
            clipped = not of_value and (axis.constant < 0 or axis.constant + reach >= view)
            rows.append(
                (
                    [axis.constant, view, step, of_value, clipped, run, run * step],
                    [0 if of_value else coefficients_of.get(dim, 0) for dim in names],
                )
            )
            run *= view
        for figures, terms in reversed(rows):
            axes.append(figures)
            coefficients.append(terms)
    kinds = [KINDS.index(each) for each in counter_classes(nest, names)]
    totals = [prod(extents[name] for name, kind in zip(names, kinds, strict=True) if kind == k) for k in range(ALL)]
    return Problem(
        machine=_machine(nest, arch),
        extents=np.array(list(extents.values()), np.int64),
        kinds=np.array(kinds, np.int64),
        totals=np.array([*totals, prod(totals)], np.int64),
        blocked=np.array([_blocked(nest, arch, each, totals) for each in DATAFLOWS], np.int64),
        operands=np.array(operands, np.int64),
        relevant=np.array([[dim in dims for dim in names] for dims in [access.dims for access in accesses]], np.int64),
        axes=np.array(axes, np.int64).reshape(len(axes), AXIS_STRIDE + 1),
        coefficients=np.array(coefficients, np.int64).reshape(len(axes), len(names)),
        capacities=np.array([8 * memory.capacity_bytes for memory in arch.local], np.int64),
        prices=_prices(nest, arch),
    )


def _blocked(nest: Nest, arch: Arch, dataflow: Dataflow, totals: Sequence[int]) -> list[int]:
    names = [dim.name for dim in nest.domain]
    found = {} if dataflow is Dataflow.VECTOR and arch.vector is None else blocked_dims(nest, arch, dataflow)
    dims = [names.index(found[axis]) if axis in found else -1 for axis in ("rows", "cols", "lanes")]
    points = [totals[REDUCE], totals[COLUMN], prod(totals)]
    others = [total // (nest.domain[dim].extent if dim >= 0 else 1) for dim, total in zip(dims, points, strict=True)]
    return [*dims, *others]


def configures(nest: Nest, arch: Arch) -> int:
    """Configuration commands in front of a nest (specs/isa.md, section 5)."""
    body = nest.body
    own = len(nest.reads) + 3 + (body.b is not None) + (body.op is BodyOp.QADD) + len(nest.post)
    own += (nest.prune is not None) + sum(access.skip is not None for access in nest.reads)
    return own + (0 if arch.converter is None else len(decoded(nest)) + encodes(nest))


def _machine(nest: Nest, arch: Arch) -> Ints:
    dma, array, queues = arch.dma, arch.array, arch.queues
    numerator, denominator = dma.bus_bytes * arch.clock_hz, dma.bandwidth_bytes_per_second
    common = gcd(numerator, denominator)
    switch, inwards, outwards = 0, 0, 0
    if (unit := arch.converter) is not None:
        inwards, outwards = unit.latency_cycles * bool(decoded(nest)), unit.latency_cycles * encodes(nest)
        switch = unit.switch_cycles * (bool(decoded(nest)) or encodes(nest))
    block = 0 if nest.prune is None else nest.prune.test.rows * nest.prune.test.cols
    unit_lanes = 1 if arch.block_unit is None else arch.block_unit.lanes
    lanes, startup = (arch.vector.lanes, arch.vector.startup_cycles) if arch.vector else (1, 0)
    values = [
        queues.command_cycles, queues.dispatch_cycles, dma.latency_cycles, 8 * dma.bus_bytes, 8 * dma.burst_bytes,
        dma.requests_in_flight, numerator // common, denominator // common, array.rows, array.cols,
        array.drain_cycles - 1, lanes, startup, arch.post.lanes, configures(nest, arch), nest.body.op.reduces,
        EXTENT_LIMIT, switch, dma.latency_cycles + inwards, dma.latency_cycles + outwards, block, unit_lanes,
        queues.load, queues.execute, queues.store,
    ]  # fmt: skip
    return np.array(values, np.int64)


def _prices(nest: Nest, arch: Arch) -> Floats:
    """Two rows: on the array, on the vector unit."""
    rows: dict[tuple[str, str], float] = {}
    for row in arch.energy:
        rows[row.component, row.action] = rows.get((row.component, row.action), 0.0) + row.energy_pj
    main = arch.main.name
    testing = 0.0
    if nest.prune is not None:
        elements = prod(nest.write.shape)
        testing = elements * rows.get((BLOCK_UNIT, "element"), 0.0)
        testing += nest.prune.blocks(elements) * rows.get((BLOCK_UNIT, "block"), 0.0)
    shared: list[Any] = [
        ("post", "element"),
        ("converter", "element"),
        ("control", "instruction"),
        (main, "read_bit"),
        (main, "write_bit"),
    ]
    for memory in arch.local:
        shared += [(memory.name, "read_word"), (memory.name, "write_word")]
    units = (("array", "mac"), ("vector", "op"))
    found = np.array([[rows.get(each, 0.0) for each in (unit, *shared)] for unit in units], np.float64)
    return np.insert(found, TESTING, testing, axis=1)
