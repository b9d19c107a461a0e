"""Why no mapping of a nest fits an executable machine: what is short, where the description says so, and what would do.

Told is what the smallest tiles need that a pin leaves, which is the nearest that there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..ir.arch import Arch
from ..ir.block_rules import block_steps
from ..ir.diagnostics import Diagnostic, ensure
from ..ir.frozen import dataclass
from ..ir.nest import CounterClass, Dataflow, Nest
from ..ir.nest_layout import local_layout
from ..ir.schedule_rules import EXTENT_LIMIT, schedule_faults
from .map_space import space
from .mapping import Pin
from .schedule import dims_of, make_schedule, needed_bytes

_ROOMY = 1 << 31  # bytes of a memory
_Tiles = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Short:
    """A memory with less than the smallest tiles take."""

    memory: str
    needed_bytes: int
    capacity_bytes: int
    held: str

    def __str__(self) -> str:
        more = self.needed_bytes - self.capacity_bytes
        return f"{self.needed_bytes} B of `{self.memory}`, {more} B more than its {self.capacity_bytes} B ({self.held})"


def misfit(nest: Nest, arch: Arch, dataflow: Dataflow, pin: Pin) -> Diagnostic:
    """The fault of a nest for which a search found nothing that fits, at the place of the pin, else at that of the
    memory in the machine's description."""
    is_pinned = bool(pin.tiles or pin.copies or pin.complete)
    begin = f"{nest.name}: no mapping fits {arch.name}: {'as pinned, ' if is_pinned else ''}"
    if none := _no_size(nest, arch, pin):
        return Diagnostic(begin + none[0], pin.span, none[1])
    tiles, blocked = _smallest(nest, arch, pin)
    roomy = replace(arch, memories=(arch.main, *(replace(each, capacity_bytes=_ROOMY) for each in arch.local)))
    tiled = replace(nest, schedule=make_schedule(nest, roomy, dataflow, tiles, dict(pin.copies)))
    if illegal := next(schedule_faults(tiled, roomy), None):  # whatever the room
        told = illegal.message.removeprefix(f"nest {nest.name!r}: ")
        return Diagnostic(begin + told, pin.span, illegal.help)
    shorts = list(_shorts(tiled, arch))
    ensure(shorts, f"the smallest tiles of {nest.name!r} are legal and fit, and no mapping was found")
    shown = ", ".join(f"{dim} {size} of {nest.extent(dim)}" for dim, size in tiles)
    message = f"the smallest tiles take {', and '.join(map(str, shorts))}; they are {shown or 'the whole nest as one'}"
    if blocked:
        message += f", as loops over {', '.join(blocked)} cannot be inside of the loop over a reduced dimension"
    first = arch.place(f"memories.{shorts[0].memory}.capacity_bytes")
    larger = []
    for each in shorts:
        place = str(arch.place(f"memories.{each.memory}.capacity_bytes").span) if is_pinned or len(shorts) > 1 else ""
        larger.append(f"`capacity_bytes: {each.needed_bytes}` of {each.memory!r}{place and f' ({place})'}")
    help = " and ".join(larger)
    if not is_pinned:
        help += "; or smaller blocks to prune" if nest.prune is not None else ""
        return Diagnostic(begin + message, first.span, help, first.line)
    would_do = ", or ".join(_less(nest, arch, dataflow, pin, blocked))
    help = f"{would_do} would do; or {help}" if would_do else f"smaller tiles, or {help}"
    return Diagnostic(begin + message, pin.span, help)


def _no_size(nest: Nest, arch: Arch, pin: Pin) -> tuple[str, str] | None:
    """A dimension that has no legal size, whatever the memories, and what would be one: commands cannot name its tiles,
    or those that are pinned cut blocks."""
    steps, pinned = block_steps(nest), dict(pin.tiles)
    for dim, sizes in zip(nest.domain, space(nest, arch, pin).sizes, strict=True):
        if len(sizes):
            continue
        step = steps.get(dim.name, dim.extent)
        size = pinned.get(dim.name, dim.extent if pin.complete else min(step, dim.extent))
        if size > EXTENT_LIMIT:
            more = f"{size - EXTENT_LIMIT} more than the {EXTENT_LIMIT} of a command"
            return f"a tile has {size} points of {dim.name}, {more}", f"tiles of at most {EXTENT_LIMIT} points"
        if nest.prune is not None and size < dim.extent and size % step:
            block = f"{nest.prune.test.rows} x {nest.prune.test.cols}"
            multiples = f"multiples of {step}, or all {dim.extent}" if step < dim.extent else f"all {dim.extent}"
            return f"tiles of {size} points of {dim.name} cut blocks of {block}", multiples
    return None


def _smallest(nest: Nest, arch: Arch, pin: Pin) -> tuple[_Tiles, list[str]]:
    """The smallest tiles that a pin leaves, in the order of their loops; and dimensions that are not tiled, as a loop
    over a reduced one is pinned, and others are inside of it."""
    found = space(nest, arch, pin)
    pinned = {dim for dim, _ in pin.tiles}
    steps = block_steps(nest)  # where none fits, the smallest that is legal
    smallest = {
        dim.name: int(sizes[0]) if len(sizes) else min(steps.get(dim.name, 1), dim.extent)
        for dim, sizes in zip(nest.domain, found.sizes, strict=True)
    }
    reduced = dims_of(nest, CounterClass.REDUCE)
    is_inside = any(dim in reduced and size < nest.extent(dim) for dim, size in pin.tiles)
    blocked = [dim for dim in smallest if is_inside and dim not in reduced and dim not in pinned]
    blocked = [dim for dim in blocked if smallest[dim] < nest.extent(dim)]
    order = [dim for dim in found.orders[0] if dim not in blocked]
    tiles = [(dim, smallest[dim]) for dim in order if smallest[dim] < nest.extent(dim) or dim in pinned]
    return tuple(tiles), blocked


def _shorts(tiled: Nest, arch: Arch) -> Iterator[_Short]:
    """The memories that a scheduled nest overfills."""
    assert tiled.schedule is not None
    copies = {buffer.operand: buffer.copies for buffer in tiled.schedule.buffers}
    for name, needed in needed_bytes(tiled, arch).items():
        memory = arch.memory(name)
        if needed > memory.capacity_bytes:
            held = []
            for access in (*tiled.reads, tiled.write):
                if arch.holder(access.role.value).name == name:
                    one = local_layout(tiled, access.operand, memory.word_bytes).tile_bytes
                    held.append(f"{access.operand} {copies[access.operand]} x {one} B")
            yield _Short(name, needed, memory.capacity_bytes, ", ".join(held))


def _less(nest: Nest, arch: Arch, dataflow: Dataflow, pin: Pin, blocked: list[str]) -> Iterator[str]:
    """What of a pin could be otherwise, alone, so that the smallest tiles fit: as a mapping file says it."""

    def fits(other: Pin) -> bool:
        tiles, _ = _smallest(nest, arch, other)
        tiled = replace(nest, schedule=make_schedule(nest, arch, dataflow, tiles, dict(other.copies)))
        return not any(_shorts(tiled, arch)) and not any(schedule_faults(tiled, arch))

    for number, (dim, size) in enumerate(pin.tiles):
        low, high = 0, size  # the greatest that fits lies between them, if any does
        while high - low > 1:
            middle = (low + high) // 2
            other = replace(pin, tiles=(*pin.tiles[:number], (dim, middle), *pin.tiles[number + 1 :]))
            low, high = (middle, high) if fits(other) else (low, middle)
        if low:
            yield f"`{{dim: {dim}, size: {low}}}`"
    for number, (operand, copies) in enumerate(pin.copies):
        if copies == 2 and fits(replace(pin, copies=(*pin.copies[:number], (operand, 1), *pin.copies[number + 1 :]))):
            yield f"`copies: {{{operand}: 1}}`"
    if pin.complete and fits(replace(pin, complete=False)):
        yield "`complete: false`"
    if blocked and fits(replace(pin, tiles=(*((dim, 1) for dim in blocked), *pin.tiles))):
        yield f"tiles of {', '.join(blocked)} before those that are pinned"
