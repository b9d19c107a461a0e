"""What holds of values that stay in local memory between the nests that write and read them. A part of
`ir/verifier.py`.

The first rules are about one nest: where its stores go (`Target`) and operands that are there whole. The others are
about a module: all nests say the same of a kept value, and nothing else touches its bytes while it lives.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator

from .arch import Arch
from .diagnostics import Diagnostic, any_of, close_match
from .frozen import dataclass
from .module import Module, Operation
from .nest import VALUE, Access, Buffer, Nest, Schedule, Target, tile_sizes
from .nest_layout import local_layout, reach_outside, split_axes, whole_bytes, whole_rows
from .nest_rules import extents_of, fault
from .program import BOX_AXES
from .text import symbol
from .types import ElementType

MARGIN_LIMIT = 65535  # positions of a margin, and of an axis with its margins


def whole_operands_are_legal(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """An operand that is there whole is read, by an index that stays within its margins, from one copy in the order of
    its axes."""
    for buffer in schedule.buffers:
        if buffer.margins is None:
            continue
        what = f"the whole of {symbol(buffer.operand)}"
        if buffer.operand == nest.write.operand:
            yield fault(nest, f"{what} is kept as accumulators", "only what is read can be there whole")
            continue
        access = nest.access(buffer.operand)
        if buffer.copies != 1 or buffer.order:
            yield fault(nest, f"{what} has copies or an order of its own", "one copy, in the order of its axes")
        if any(VALUE in axis.dims for axis in access.index):
            yield fault(nest, f"{what} is a table", "a table is loaded")
        elif not (yield from any_of(_margins_are_legal(nest, what, access.shape, buffer.margins))):
            outside = reach_outside(access, extents_of(nest))
            for axis, reached in enumerate(outside):
                around = buffer.margins[2 * axis : 2 * axis + 2]
                if reached[0] > around[0] or reached[1] > around[1]:
                    message = f"{what} is read {reached[0]} before and {reached[1]} beyond axis {axis}"
                    yield fault(nest, message, f"its margins there are {around[0]} and {around[1]}")


def _margins_are_legal(nest: Nest, what: str, shape: tuple[int, ...], margins: tuple[int, ...]) -> Iterator[Diagnostic]:
    if len(margins) != 2 * len(shape):
        yield fault(nest, f"{what} has {len(margins)} margins", f"two an axis: {2 * len(shape)}")
    elif min(margins, default=0) < 0 or max(margins, default=0) > MARGIN_LIMIT:
        yield fault(nest, f"{what} has margins {list(margins)}", f"0 to {MARGIN_LIMIT}")
    elif any(margins):
        for extent, before, after in zip(shape, margins[::2], margins[1::2], strict=True):
            if before + extent + after > MARGIN_LIMIT:
                yield fault(
                    nest, f"{what} has an axis of {before + extent + after} positions", f"at most {MARGIN_LIMIT}"
                )


def target_fits_the_output(nest: Nest, schedule: Schedule) -> Iterator[Diagnostic]:
    """What stores write to local memory has the output's axes, each whole or split in two; tiles hold whole rows of an
    axis that is split."""
    target = schedule.target
    if target is None:
        return
    what = f"the target of {symbol(nest.write.operand)}"
    if nest.is_empty:
        yield fault(nest, f"{what} receives nothing", "a nest without points keeps nothing")
    if len(target.shape) > BOX_AXES:
        yield fault(nest, f"{what} has {len(target.shape)} axes", f"at most {BOX_AXES}")
        return
    splits = split_axes(nest.write.shape, target.shape)
    if splits is None:
        message = f"{what} has shape {list(target.shape)}"
        yield fault(nest, message, f"{list(nest.write.shape)}, where an axis may be split in two")
        return
    yield from _margins_are_legal(nest, what, target.shape, target.margins)
    sizes, extents = tile_sizes(nest), extents_of(nest)
    for axis, inner in zip(nest.write.index, splits, strict=True):
        if inner > 1 and not (whole_rows(axis, inner, extents) and whole_rows(axis, inner, sizes)):
            yield fault(nest, f"tiles along {axis} cut rows of {inner} of {what}", f"multiples of {inner} points")


def target_fits_its_memory(nest: Nest, schedule: Schedule, arch: Arch) -> Iterator[Diagnostic]:
    """The target is in a local memory and, once it has an address, inside it, from a word on."""
    target = schedule.target
    if target is None:
        return
    what = f"the target of {symbol(nest.write.operand)}"
    local = {memory.name: memory for memory in arch.local}
    if target.memory not in local:
        help = f"{close_match(target.memory, list(local))}one of {', '.join(local)}"
        yield fault(nest, f"{arch.name} has no local memory {target.memory!r} for {what}", help)
        return
    memory, base = local[target.memory], arch.base_address(target.memory)
    size = whole_bytes(target.shape, target.margins, nest.write.type.bits, memory.word_bytes)
    start = base if target.address is None else target.address
    if start < base or start + size > base + memory.capacity_bytes:
        message = f"{what} lies at {start} to {start + size}"
        yield fault(nest, message, f"{memory.name!r} is {base} to {base + memory.capacity_bytes}")
    if (start - base) % memory.word_bytes:
        yield fault(nest, f"{what} begins at {start}", f"a multiple of {memory.word_bytes} B from {base}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an operation says that a kept value lies."""

    nest: Nest
    shape: tuple[int, ...]
    margins: tuple[int, ...]
    memory: str
    address: int | None
    element: ElementType


def _places(module: Module) -> dict[str, list[tuple[int, _Place]]]:
    """By kept value, every nest that says so, with its number."""
    places: dict[str, list[tuple[int, _Place]]] = {name: [] for name in module.kept}
    for number, nest in enumerate(module.operations):
        if not isinstance(nest, Nest) or nest.schedule is None:
            continue
        for access, place in _kept_by(nest, nest.schedule):
            where = _Place(nest, _shape(access, place), place.margins or (), place.memory, place.address, access.type)
            places[access.tensor].append((number, where))
    return places


def _kept_by(nest: Nest, schedule: Schedule) -> Iterator[tuple[Access, Buffer | Target]]:
    if schedule.target is not None:
        yield nest.write, schedule.target
    for buffer in schedule.buffers:
        if buffer.is_whole:
            yield nest.access(buffer.operand), buffer


def _shape(access: Access, place: Buffer | Target) -> tuple[int, ...]:
    return place.shape if isinstance(place, Target) else access.shape


def kept_values_agree(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """A value that stays in local memory is no input, output or constant; the nests that write it all store it there,
    those that read it all read it there, at one place and in one layout, and nothing else knows it."""
    places = _places(module)
    if not places:
        return
    outside = {*module.inputs, *module.outputs, *(each.name for each in module.tensors if each.constant is not None)}
    addressed = {name for name, _ in module.addresses}
    for name, said in places.items():
        first = said[0][1]
        if name in outside or name in addressed:
            message = f"{symbol(name)} stays in local memory"
            known = "outside of the nests" if name in outside else "by an address in main memory"
            yield fault(first.nest, message, f"it is known {known}")
        for _, place in said[1:]:
            if _layout(place) != _layout(first):
                message = f"{symbol(name)} lies elsewhere than {first.nest.name!r} says, or in another form"
                yield fault(place.nest, message, "one memory, address and shape with its margins")
    for operation in module.operations:
        for name in dict.fromkeys(_mentions(operation)):
            if name in places:
                first = places[name][0][1]
                message = f"{operation.name!r} does not find {symbol(name)} in main memory"
                yield Diagnostic(message, operation.span, f"{first.nest.name!r} keeps it in {first.memory!r}")


def _mentions(operation: Operation) -> Iterator[str]:
    """The values that an operation reads from main memory or writes there, as far as it says so."""
    if not isinstance(operation, Nest) or operation.schedule is None:
        yield from (*operation.inputs, *operation.outputs)
        return
    kept = {access.operand for access, _ in _kept_by(operation, operation.schedule)}
    yield from (access.tensor for access in (*operation.reads, operation.write) if access.operand not in kept)


def _layout(place: _Place) -> tuple[object, ...]:
    """What nests must agree on. Without margins any view of the bytes is the same."""
    shape = (place.shape, place.margins) if any(place.margins) else ()
    return place.memory, place.address, place.element, shape


def kept_values_stay_whole(module: Module, arch: Arch | None) -> Iterator[Diagnostic]:
    """Once there are addresses, nothing else lies in the bytes of a kept value from the first nest that writes it to
    the last that reads it."""
    if arch is None or not module.kept:
        return
    memories = {memory.name: memory for memory in arch.local}
    begin: defaultdict[int, list[tuple[int, int, str]]] = defaultdict(list)  # first byte, end and name, by operation
    end: defaultdict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for name, said in _places(module).items():
        place = said[0][1]
        if place.memory in memories and place.address is not None:
            word = memories[place.memory].word_bytes
            size = whole_bytes(place.shape, place.margins, place.element.bits, word)
            span = (place.address, place.address + size, symbol(name))
            begin[said[0][0]].append(span)
            end[said[-1][0]].append(span)
    alive: list[tuple[int, int, str]] = []  # apart, in their order
    for number, nest in enumerate(module.operations):
        if not isinstance(nest, Nest) or nest.schedule is None:
            continue
        for span in begin[number]:
            if (yield from any_of(_overlaps(nest, alive, span))):
                end[number] = [each for each in end[number] if each != span]
            else:
                insort(alive, span)
        for buffer in nest.schedule.buffers:
            if buffer.address is not None and not buffer.is_whole and buffer.memory in memories:
                layout = local_layout(nest, buffer.operand, memories[buffer.memory].word_bytes)
                last = buffer.address + buffer.copies * layout.tile_bytes
                yield from _overlaps(nest, alive, (buffer.address, last, f"the buffer of {symbol(buffer.operand)}"))
        for span in end[number]:
            place_of = bisect_left(alive, span)
            if alive[place_of : place_of + 1] == [span]:
                del alive[place_of]


def _overlaps(nest: Nest, alive: list[tuple[int, int, str]], span: tuple[int, int, str]) -> Iterator[Diagnostic]:
    """Whether bytes overlap those of a value that is alive; those are apart."""
    place = bisect_left(alive, span)
    for start, end, name in alive[max(0, place - 1) : place + 1]:
        if start < span[1] and span[0] < end:
            message = f"{span[2]} and {name} overlap at {max(start, span[0])}"
            yield fault(nest, message, f"{name} is still needed")
