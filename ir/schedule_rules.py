"""What holds of every schedule, by itself and on a machine. A part of `ir/verifier.py`.

The rules that name no machine keep the meaning of the nest (every point once, sums complete before they are stored);
the others say that the machine can do it: memories, the array, the vector unit, the fields of instructions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise
from math import isfinite, prod

from .arch import MAIN_MEMORY, Arch
from .block_rules import (
    machine_tests_the_blocks,
    pruned_values_lie_in_main_memory,
    tables_are_the_machines,
    tiles_hold_whole_blocks,
)
from .compressed_rules import compressed_operands_are_legal
from .converter_rules import machine_converts
from .diagnostics import Diagnostic, any_of, close_match
from .kept_rules import target_fits_its_memory, target_fits_the_output, whole_operands_are_legal
from .nest import (
    BodyOp,
    CounterClass,
    Dataflow,
    Loop,
    Nest,
    Schedule,
    counter_class,
    main_memory_loops,
    sum_has_an_order,
    tile_sizes,
)
from .nest_layout import axis_box, local_layout, whole_bytes
from .nest_rules import extents_of, fault
from .text import symbol
from .types import ElementType

LOOP_LIMIT = 64  # of a schedule
EXTENT_LIMIT = 65535  # of a counter and of an axis of a box
STRIDE_LIMIT = (1 << 32) - 1  # of a local stride, in elements
MAIN_STRIDE_LIMIT = (1 << 39) - 1  # of a stride in main memory, in elements
IM2COLS = ("explicit", "implicit", "none")
_AXES = {Dataflow.VECTOR: ("lanes",)}


_MOST_SOUND = 4096
_sound: dict[tuple[object, ...], Arch | None] = {}  # kinds of scheduled nests; the machine is held for its identity


def schedule_faults(nest: Nest, arch: Arch | None) -> Iterator[Diagnostic]:
    """All faults of the schedule of a nest that is sound otherwise. Of a kind of nests that was found sound in this
    process only what is a nest's own is looked at: the certificate and addresses."""
    schedule = nest.schedule
    assert schedule is not None
    if (yield from any_of(sizes_are_bounded(nest, schedule))):
        return
    kind = _kind(nest, schedule, arch)
    if kind in _sound:
        yield from certificate_is_of_counts(nest, schedule)
        if arch is not None and not (yield from any_of(target_fits_its_memory(nest, schedule, arch))):
            yield from addresses_are_apart(nest, schedule, arch)
    elif not (yield from any_of(_all_faults(nest, schedule, arch))):
        if len(_sound) >= _MOST_SOUND:
            _sound.clear()
        _sound[kind] = arch


def _kind(nest: Nest, schedule: Schedule, arch: Arch | None) -> tuple[object, ...]:
    """All that the rules look at but the certificate and addresses. Of names of tensors it matters which are equal."""
    numbers: dict[str, int] = {}
    accesses = [
        (
            each.operand,
            numbers.setdefault(each.tensor, len(numbers)),
            each.role,
            each.type,
            each.decode,
            each.skip,
            each.compressed,
            each.shape,
            each.index,
        )
        for each in (*nest.reads, nest.write)
    ]
    buffers = [(each.operand, each.memory, each.copies, each.order, each.margins) for each in schedule.buffers]
    target, body = schedule.target, nest.body
    return (
        id(arch),
        nest.domain,
        *accesses,
        (body.op, body.a, body.b, body.form),
        *[step.op for step in nest.post],
        nest.accumulator,
        nest.prune,
        (schedule.dataflow, schedule.im2col, schedule.loops),
        *buffers,
        None if target is None else (target.memory, target.shape, target.margins),
    )


def _all_faults(nest: Nest, schedule: Schedule, arch: Arch | None) -> Iterator[Diagnostic]:
    if (yield from any_of(chain(loops_are_legal(nest, schedule), every_operand_has_a_buffer(nest, schedule)))):
        return
    yield from certificate_is_of_counts(nest, schedule)
    yield from every_dimension_is_covered(nest, schedule)
    yield from reductions_are_innermost(nest, schedule)
    yield from ordered_sums_keep_their_order(nest, schedule)
    yield from spatial_loops_follow_the_dataflow(nest, schedule)
    yield from output_tiles_have_no_gaps(nest, schedule)
    yield from tiles_hold_whole_blocks(nest, schedule)
    yield from pruned_values_lie_in_main_memory(nest, schedule)
    if (yield from any_of(chain(whole_operands_are_legal(nest, schedule), target_fits_the_output(nest, schedule)))):
        return
    yield from compressed_operands_are_legal(nest, schedule, arch)
    yield from commands_fit_their_fields(nest)
    if arch is None:
        return
    yield from machine_runs_the_dataflow(nest, schedule, arch)
    yield from machine_tests_the_blocks(nest, arch)
    yield from tables_are_the_machines(nest, arch)
    yield from (fault(nest, *each) for each in machine_converts(nest, schedule, arch))
    yield from spatial_loops_fit_the_machine(nest, schedule, arch)
    if (yield from any_of(memories_hold_the_roles(nest, schedule, arch))):
        return
    if (yield from any_of(target_fits_its_memory(nest, schedule, arch))):
        return
    yield from buffers_fit_their_memories(nest, schedule, arch)
    yield from addresses_are_apart(nest, schedule, arch)


def certificate_is_of_counts(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """Objective and bound are finite and not negative, as what is counted and priced is."""
    for what, value in (("objective", schedule.objective), ("bound", schedule.lower_bound)):
        if not (isfinite(value) and value >= 0):
            yield fault(nest, f"the {what} of its mapping is {value}", "a finite number, at least 0")
    for count, what in ((schedule.bounds, "bounds were computed"), (schedule.evaluated, "mappings were evaluated")):
        if count < 0:
            yield fault(nest, f"{count} {what} for its schedule", "at least 0")


# ---------------------------------------------------------------------------------------------- loops


def sizes_are_bounded(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """No more loops, dimensions of a loop and buffers than a schedule can have use for."""
    operands = len(nest.reads) + 1
    for what, count, most in (
        ("loops", len(schedule.loops), LOOP_LIMIT),
        ("dimensions in a loop", max((len(loop.dims) for loop in schedule.loops), default=0), len(nest.domain)),
        ("buffers", len(schedule.buffers), 2 * operands),
    ):
        if count > most:
            yield fault(nest, f"a schedule with {count} {what}", f"at most {most}")


def loops_are_legal(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """Loops run over dimensions of the domain. Those at main memory come first, are temporal, over one dimension each
    and at most once over each, in tiles of 1 to all of its points."""
    extents = extents_of(nest)
    inside = False
    seen: set[str] = set()
    for loop in schedule.loops:
        where = f"the loop over {', '.join(loop.dims)} at {loop.level}"
        if not loop.dims:
            yield fault(nest, f"a loop at {loop.level} runs over no dimension")
        for dim in loop.dims:
            if dim not in extents:
                help = f"{close_match(dim, list(extents))}one of {', '.join(extents)}"
                yield fault(nest, f"{where}: there is no dimension {dim!r}", help)
        if len(set(loop.dims)) != len(loop.dims):
            yield fault(nest, f"{where} names a dimension twice")
        if loop.size < 1:
            yield fault(nest, f"{where} has tiles of {loop.size} points", "at least 1")
        if loop.level != MAIN_MEMORY:
            inside = True
            continue
        if inside:
            yield fault(nest, f"{where} is inside of a loop of a command", "loops at dram come first")
        if loop.spatial or len(loop.dims) != 1:
            yield fault(nest, f"{where} is spatial or over a product", "a loop at dram is temporal, over one dimension")
        for dim in loop.dims:
            if dim in seen:
                yield fault(nest, f"{where} is the second one over {dim}", "one loop at dram over each dimension")
            seen.add(dim)
            if dim in extents and loop.size > max(1, extents[dim]):
                yield fault(nest, f"{where} has tiles of {loop.size} points", f"at most {max(1, extents[dim])}")
    if schedule.im2col not in IM2COLS:
        help = f"{close_match(schedule.im2col, IM2COLS)}one of {', '.join(IM2COLS)}"
        yield fault(nest, f"there is no im2col {schedule.im2col!r}", help)


def every_operand_has_a_buffer(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """One buffer for each operand, of one or two copies, in an order of all axes of the access."""
    operands = [access.operand for access in (*nest.reads, nest.write)]
    held = [buffer.operand for buffer in schedule.buffers]
    for operand in operands:
        if held.count(operand) != 1:
            yield fault(nest, f"{symbol(operand)} has {held.count(operand)} buffers", "it needs one")
    for buffer in schedule.buffers:
        if buffer.operand not in operands:
            help = f"{close_match(buffer.operand, operands)}operands are {', '.join(map(symbol, operands))}"
            yield fault(nest, f"a buffer is for {symbol(buffer.operand)}, which is no operand", help)
            continue
        if buffer.copies not in (1, 2):
            yield fault(nest, f"the buffer of {symbol(buffer.operand)} has {buffer.copies} copies", "1 or 2")
        axes = list(range(len(nest.access(buffer.operand).index)))
        if buffer.order and sorted(buffer.order) != axes:
            yield fault(nest, f"the order {list(buffer.order)} of {symbol(buffer.operand)}", f"a permutation of {axes}")


def every_dimension_is_covered(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """Loops reach each point of each dimension: the innermost tile of a dimension is one point, or lies along an axis
    of the array or the lanes of the vector unit, which run over it block by block."""
    for dim in nest.domain:
        if dim.extent <= 1:
            continue
        left = dim.extent
        for loop in schedule.loops:
            if dim.name not in loop.dims:
                continue
            left = 1 if loop.spatial else min(left, loop.size)
        if left > 1:
            message = f"the loops leave tiles of {left} points of {dim.name}"
            yield fault(nest, message, f"a loop over {dim.name} at the array or the vector unit runs over them")


def reductions_are_innermost(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """No loop at main memory over a dimension of the output is inside of one over a reduced dimension: an output tile
    would be stored before its sum is complete."""
    extents = extents_of(nest)
    outside: list[str] = []
    for loop in main_memory_loops(schedule):
        (dim,) = loop.dims
        if extents[dim] <= loop.size:
            continue
        if dim not in nest.write.dims:
            outside.append(dim)
        elif outside:
            message = f"the loop over {dim} at dram is inside of the loop over {', '.join(outside)}, which is reduced"
            yield fault(nest, message, "loops over reduced dimensions are the innermost at dram")


def ordered_sums_keep_their_order(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """Where the order of a sum is defined, loops at main memory over what is reduced are in the order of the domain,
    and a dimension is tiled only if those before it are in tiles of one point."""
    if not sum_has_an_order(nest):
        return
    reduced = [dim.name for dim in nest.domain if dim.name not in nest.write.dims and dim.extent > 1]
    sizes = tile_sizes(nest)
    tiled = [dim for loop in main_memory_loops(schedule) for dim in loop.dims if dim in reduced]
    tiled = [dim for dim in tiled if sizes[dim] < nest.extent(dim)]
    if tiled:
        last = max(reduced.index(dim) for dim in tiled)
        if tiled != reduced[: last + 1] or any(sizes[dim] > 1 for dim in tiled[:-1]):
            message = f"the loops over {', '.join(tiled)} at dram change the order of a sum of codes"
            yield fault(nest, message, f"its order is {', '.join(reduced)}: the outer ones one by one")


def spatial_loops_follow_the_dataflow(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """What lies along rows, columns or lanes is what the dataflow puts there, and each axis is used once."""
    spatial = [loop for loop in schedule.loops if loop.spatial]
    legal = _AXES.get(schedule.dataflow, ("rows", "cols"))
    for loop in spatial:
        if loop.axis not in legal:
            help = f"{close_match(loop.axis, legal)}dataflow {schedule.dataflow.value} has {', '.join(legal)}"
            yield fault(nest, f"a loop is spread over {loop.axis!r}", help)
        elif len([each for each in spatial if each.axis == loop.axis]) > 1 and loop is not _first(spatial, loop.axis):
            yield fault(nest, f"two loops are spread over {loop.axis}", "one")
        elif wanted := _classes(schedule.dataflow).get(loop.axis):
            for dim in loop.dims:
                found = counter_class(nest, dim)
                if found is not wanted:
                    message = f"{dim} is a {found.value} dimension and lies along {loop.axis}"
                    yield fault(
                        nest, message, f"dataflow {schedule.dataflow.value} puts {wanted.value} dimensions there"
                    )
            if wanted is not CounterClass.POINT and len(loop.dims) > 1:
                yield fault(nest, f"a product of dimensions lies along {loop.axis}", "one dimension")
    if schedule.dataflow is not Dataflow.VECTOR and nest.body.op is not BodyOp.MAC:
        yield fault(nest, f"the array runs body {nest.body.op.value}", "mac, or the vector unit")


def _first(loops: list[Loop], axis: str) -> Loop:
    return next(loop for loop in loops if loop.axis == axis)


def _classes(dataflow: Dataflow) -> dict[str, CounterClass]:
    point, column, reduce = CounterClass.POINT, CounterClass.COLUMN, CounterClass.REDUCE
    return {
        Dataflow.WS: {"rows": reduce, "cols": column},
        Dataflow.OS: {"rows": point, "cols": column},
        Dataflow.IS: {"rows": reduce, "cols": point},
        Dataflow.VECTOR: {},
    }[dataflow]


def output_tiles_have_no_gaps(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """The box that stores a tile, full or the last one of its loop, holds the points of the tile and no others."""
    extents = extents_of(nest)
    if 0 in extents.values():
        return
    full = tile_sizes(nest)
    last = {dim: (extents[dim] - 1) % size + 1 for dim, size in full.items()}
    for number, axis in enumerate(nest.write.index):
        if len(axis.terms) < 2:  # a box along one dimension has no gaps
            continue
        for sizes in (full, last):
            box = axis_box(axis, nest.write.shape[number], extents, dict.fromkeys(extents, 0), sizes)
            points = prod(sizes[dim] for dim in axis.dims)
            if box.count != points:
                message = f"a tile has {points} points along output axis {number}, its box has {box.count} positions"
                yield fault(nest, message, f"tiles of the dimensions of {axis} must be without gaps")
                break


def commands_fit_their_fields(nest: Nest) -> Iterator[Diagnostic]:
    """Extents and strides of the commands of a full tile fit the fields of instructions (ir/program.py)."""
    extents = extents_of(nest)
    if 0 in extents.values():
        return
    sizes = tile_sizes(nest)
    for dim, size in sizes.items():
        if size > EXTENT_LIMIT:
            yield fault(
                nest, f"a tile has {size} points of {dim}", f"at most {EXTENT_LIMIT}: a loop at dram over {dim}"
            )
    for access in (*nest.reads, nest.write):
        layout = local_layout(nest, access.operand, 1, sizes)
        for number, count in enumerate(layout.counts):
            if count > EXTENT_LIMIT:
                message = f"the tile of {symbol(access.operand)} has {count} positions along axis {number}"
                yield fault(nest, message, f"at most {EXTENT_LIMIT}")
        if max(layout.strides, default=0) > STRIDE_LIMIT:
            yield fault(nest, f"the tile of {symbol(access.operand)} has {layout.tile_bytes} B", "it is too large")
        if prod(access.shape) > MAIN_STRIDE_LIMIT:
            yield fault(
                nest, f"{symbol(access.operand)} is too large to be addressed", f"at most {MAIN_STRIDE_LIMIT} elements"
            )


# ---------------------------------------------------------------------------------------------- the machine


def machine_runs_the_dataflow(nest: Nest, schedule: Schedule, arch: Arch) -> Iterator[Diagnostic]:
    """The array or the vector unit takes the operands' types and the body; the post unit has the steps."""
    body = nest.body
    a = nest.access(body.a)
    b = None if body.b is None else nest.access(body.b)
    for step in dict.fromkeys(step.op.value for step in nest.post):
        if step not in arch.post.ops:
            yield fault(nest, f"{arch.name} has no post step {step!r}", f"it has {', '.join(arch.post.ops) or 'none'}")
    if schedule.dataflow is Dataflow.VECTOR:
        if arch.vector is None:
            yield fault(nest, f"{arch.name} has no vector unit")
            return
        if body.op.value not in arch.vector.ops:
            help = f"it runs {', '.join(arch.vector.ops)}"
            yield fault(nest, f"the vector unit of {arch.name} does not run {body.op.value}", help)
        for access in (a, b):
            if access is not None and access.local_type not in arch.vector.inputs:
                message = f"the vector unit of {arch.name} does not read {access.local_type} ({symbol(access.operand)})"
                yield fault(nest, message, f"it reads {_spelled(arch.vector.inputs)}")
        return
    array = arch.array
    if schedule.dataflow.value not in array.dataflows:
        help = f"its dataflows are {', '.join(array.dataflows)}"
        yield fault(nest, f"{arch.name} does not run dataflow {schedule.dataflow.value}", help)
    if schedule.dataflow in (Dataflow.OS, Dataflow.IS) and not array.transposer:
        yield fault(
            nest, f"dataflow {schedule.dataflow.value} turns operands, {arch.name} has no transposer", "ws does not"
        )
    if a.local_type.is_integer and body.form and body.form not in array.mac_forms:
        yield fault(nest, f"the array of {arch.name} has no form {body.form!r}", f"it has {', '.join(array.mac_forms)}")
    for access, types, what in ((a, array.inputs, "inputs"), (b, array.weights, "weights")):
        if access is not None and access.local_type not in types:
            message = f"the array of {arch.name} takes no {what} of type {access.local_type} ({symbol(access.operand)})"
            yield fault(nest, message, f"it takes {_spelled(types)}")
    if nest.accumulator is not array.accumulator:
        yield fault(nest, f"sums are held in {nest.accumulator}", f"the array of {arch.name} has {array.accumulator}")


def _spelled(types: tuple[ElementType, ...]) -> str:
    return ", ".join(each.value for each in types)


def spatial_loops_fit_the_machine(nest: Nest, schedule: Schedule, arch: Arch) -> Iterator[Diagnostic]:
    """No loop is spread over more units than there are."""
    units = {"rows": arch.array.rows, "cols": arch.array.cols, "lanes": arch.vector.lanes if arch.vector else 0}
    for loop in schedule.loops:
        if loop.spatial and loop.size > units.get(loop.axis, loop.size):
            message = f"{', '.join(loop.dims)} is spread over {loop.size} {loop.axis}"
            yield fault(nest, message, f"{arch.name} has {units[loop.axis]}")
    levels = {arch.main.name, "array", "vector", *(memory.name for memory in arch.local)}
    for level in dict.fromkeys(loop.level for loop in schedule.loops):
        if level not in levels:
            guess = close_match(level, sorted(levels))
            yield fault(nest, f"{arch.name} has no level {level!r}", f"{guess}one of {', '.join(sorted(levels))}")


def memories_hold_the_roles(nest: Nest, schedule: Schedule, arch: Arch) -> Iterator[Diagnostic]:
    """Each buffer is in a local memory that holds operands of its role."""
    local = {memory.name: memory for memory in arch.local}
    for buffer in schedule.buffers:
        if buffer.memory not in local:
            help = f"{close_match(buffer.memory, list(local))}one of {', '.join(local)}"
            yield fault(nest, f"{arch.name} has no local memory {buffer.memory!r}", help)
            continue
        role = nest.access(buffer.operand).role.value
        if role not in local[buffer.memory].holds:
            message = f"{symbol(buffer.operand)} has role {role}, {buffer.memory!r} holds no such operands"
            yield fault(nest, message, f"it holds {', '.join(local[buffer.memory].holds)}")


def _held(nest: Nest, schedule: Schedule, arch: Arch) -> dict[str, int]:
    """Bytes of each operand's buffer, all copies."""
    sizes = tile_sizes(nest)
    words = {memory.name: memory.word_bytes for memory in arch.local}
    return {
        each.operand: each.copies * local_layout(nest, each.operand, words[each.memory], sizes).tile_bytes
        for each in schedule.buffers
    }


def buffers_fit_their_memories(nest: Nest, schedule: Schedule, arch: Arch) -> Iterator[Diagnostic]:
    """All copies of all tiles that share a memory fit into it, beside what lies or will lie there whole."""
    if nest.is_empty:
        return
    held = _held(nest, schedule, arch)
    for memory in arch.local:
        sizes: dict[str, int] = {}  # a value that is there whole may be read twice
        for buffer in schedule.buffers:
            if buffer.memory == memory.name:
                name = f"all of {nest.access(buffer.operand).tensor}" if buffer.is_whole else symbol(buffer.operand)
                sizes[name] = held[buffer.operand]
        if (target := schedule.target) is not None and target.memory == memory.name:
            size = whole_bytes(target.shape, target.margins, nest.write.type.bits, memory.word_bytes)
            sizes[f"all of {nest.write.tensor}"] = size
        needed = sum(sizes.values())
        if needed > memory.capacity_bytes:
            parts = ", ".join(f"{name} {size} B" for name, size in sizes.items())
            message = f"buffers need {needed} B, {memory.name!r} has {memory.capacity_bytes} B"
            yield fault(nest, message, f"they are {parts}")


def addresses_are_apart(nest: Nest, schedule: Schedule, arch: Arch) -> Iterator[Diagnostic]:
    """Once there are addresses, every buffer has one, at a word of its memory, inside it, and no two overlap."""
    placed = [buffer for buffer in schedule.buffers if buffer.address is not None]
    if not placed or nest.is_empty:
        return
    held = _held(nest, schedule, arch)
    for buffer in schedule.buffers:
        if buffer.address is None:
            yield fault(nest, f"the buffer of {symbol(buffer.operand)} has no address, others have")
    spans = []
    for buffer in placed:
        assert buffer.address is not None
        memory = arch.memory(buffer.memory)
        base, end = arch.base_address(buffer.memory), buffer.address + held[buffer.operand]
        if buffer.address < base or end > base + memory.capacity_bytes:
            message = f"the buffer of {symbol(buffer.operand)} lies at {buffer.address} to {end}"
            yield fault(nest, message, f"{memory.name!r} is {base} to {base + memory.capacity_bytes}")
        if (buffer.address - base) % memory.word_bytes:
            message = f"the buffer of {symbol(buffer.operand)} begins at {buffer.address}"
            yield fault(nest, message, f"a multiple of {memory.word_bytes} B from {base}")
        if not buffer.is_whole:  # values are held apart for as long as they live (ir/kept_rules.py)
            spans.append((buffer.address, end, buffer.operand))
    spans.sort()
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end:
            yield fault(nest, f"the buffers of {symbol(first)} and {symbol(second)} overlap at {start}")
