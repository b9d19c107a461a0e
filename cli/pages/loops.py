"""The mapping of a layer as nested boxes: levels from main memory inwards, in each its buffers and its loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .axes import size_bytes
from .document import Buffer, Document, Layer, Loop, LoopNest, Operand
from .palette import component_colours, role_colour
from .scene import Mark, Rect, Scene, Shape, Text, fitted, text_width

_INDENT, _PAD, _LINE = 11.0, 7.0, 19.0
_CELLS = 16  # of a spatial loop that are drawn
_COPIES = 8  # of a buffer that are drawn
_STAYS = {"ws": "weight", "os": "output", "is": "input"}


@dataclass(frozen=True, slots=True)
class Level:
    """A box: buffers that are filled at the same place, by memory, and the loops between them and the next buffers. The
    array and main memory have no buffers."""

    name: str
    buffers: tuple[tuple[str, tuple[Buffer, ...]], ...]
    loops: tuple[Loop, ...]


def levels_of(nest: LoopNest, memories: Sequence[str]) -> list[Level]:
    """Levels from main memory inwards."""
    found: list[Level] = [Level(next(iter(memories), "main memory"), (), ())]
    for place in range(len(nest.loops) + 1):
        filled = [each for each in nest.buffers if each.outer_loops == place]
        names = sorted(
            {each.memory for each in filled},
            key=lambda name: (name not in memories, memories.index(name) if name in memories else 0, name),
        )
        if names:
            groups = tuple((name, tuple(each for each in filled if each.memory == name)) for name in names)
            found.append(Level(names[0], groups, ()))
        if place == len(nest.loops):
            break
        loop = nest.loops[place]
        if loop.level not in (found[-1].name, *(name for name, _ in found[-1].buffers)):
            found.append(Level(loop.level, (), ()))
        found[-1] = replace(found[-1], loops=(*found[-1].loops, loop))
    return found


def in_words(nest: LoopNest) -> str:
    """All loops with more than one step in a line, from the outermost."""
    words: list[str] = []
    level = ""
    for loop in nest.loops:
        if loop.iterations > 1:
            words.append(f"{f'{loop.level}: ' if loop.level != level else ''}{_dims(loop)} {_steps(loop)}")
            level = loop.level
    return " › ".join(words) or "one step"


def _dims(loop: Loop) -> str:
    return loop.dims[0] if len(loop.dims) == 1 else f"({', '.join(loop.dims)})"


def _steps(loop: Loop) -> str:
    if loop.axis:
        return f"{loop.iterations} along {loop.axis}"
    return f"{loop.iterations} × {loop.tile}" if loop.tile > 1 else str(loop.iterations)


def draw(document: Document, layer: Layer, width: float) -> Scene:
    """The loop nest of a layer that has one."""
    assert layer.search is not None and layer.search.nest is not None
    nest = layer.search.nest
    levels = levels_of(nest, document.memories)
    names = [name for level in levels for name in (level.name, *(memory for memory, _ in level.buffers))]
    colours = component_colours(list(dict.fromkeys(names)), document.memories)
    capacity = {each.name: each.capacity_bytes for each in document.machine.memories} if document.machine else {}
    sketch = _Sketch(width, {each.name: each for each in nest.operands}, colours, capacity)
    sketch.dimensions(nest)
    for level in levels:
        sketch.open_level(level)
        for loop in level.loops:
            if loop.iterations > 1:
                sketch.open_loop(loop, colours[level.name])
    sketch.core(layer)
    once = [_dims(loop) for loop in nest.loops if loop.iterations <= 1]
    note = f"loops of one step, over {', '.join(dict.fromkeys(once))}, are not drawn" if once else ""
    height, marks = sketch.finish(note)
    return Scene(width, height, f"Mapping of {layer.name}", f"from main memory inwards: {in_words(nest)}", marks)


class _Sketch:
    """Boxes that are open, and the shapes so far. A box is as high as what it holds, so it is drawn when it closes."""

    def __init__(
        self, width: float, operands: dict[str, Operand], colours: dict[str, str], capacity_bytes: dict[str, int]
    ) -> None:
        self._width = width
        self._operands = operands
        self._colours = colours
        self._capacity_bytes = capacity_bytes
        self._y = 4.0
        self._open: list[tuple[float, float, str, str, str]] = []  # x, y, fill, stroke, title
        self._marks: list[Mark] = []

    @property
    def _left(self) -> float:
        return 1 + _INDENT * len(self._open)

    @property
    def _right(self) -> float:
        return self._width - 1 - _INDENT * len(self._open)

    def dimensions(self, nest: LoopNest) -> None:
        words = "domain  " + "  ".join(f"{dim} {extent}" for dim, extent in nest.dims)
        self._text(1, words, fill="muted", room=self._width - 2)
        self._y += 4

    def _text(self, x: float, words: str, *, fill: str = "ink", bold: bool = False, room: float) -> None:
        mono = not bold
        self._marks.append(
            Mark((Text(x, self._y + 13, fitted(words, room, 12, mono), 12, fill, bold=bold, mono=mono),))
        )
        self._y += _LINE

    def _begin(self, fill: str, stroke: str, title: str) -> None:
        """Open a box; what follows lies in it."""
        self._open.append((self._left + _INDENT, self._y, fill, stroke, title))
        self._y += 3

    def open_level(self, level: Level) -> None:
        names = [name for name, _ in level.buffers] or [level.name]
        self._begin("panel", self._colours[names[0]], ", ".join(names))
        for name in names:
            buffers = dict(level.buffers).get(name, ())
            self._memory(name, buffers)

    def _memory(self, name: str, buffers: tuple[Buffer, ...]) -> None:
        """A memory with what it holds, or a level that holds nothing of its own."""
        capacity_bytes = self._capacity_bytes.get(name, 0)
        taken = sum(each.copies * each.bytes for each in buffers)
        used = " of ".join(size_bytes(count) for count in (taken, capacity_bytes) if count)
        x, right = self._left, self._right
        swatch = Rect(x, self._y + 3, 10, 10, self._colours[name], radius=2)
        self._marks.append(Mark((swatch, Text(right, self._y + 13, used, 12, "muted", "end"))))
        self._text(x + 16, name, bold=True, room=right - x - 16 - text_width(used, 12) - 8)
        if taken:
            self._occupancy(buffers, max(capacity_bytes, taken))
            self._buffers(buffers)

    def _occupancy(self, buffers: tuple[Buffer, ...], capacity_bytes: int) -> None:
        """How full a memory is, to scale: a segment a buffer, every copy of it."""
        x, right = self._left, self._right
        scale = (right - x) / capacity_bytes
        shapes: list[Shape] = [Rect(x, self._y + 1, right - x, 9, "grid", radius=2)]
        for buffer in buffers:
            for _ in range(min(buffer.copies, _COPIES)):
                shapes.append(
                    Rect(x, self._y + 1, max(0.2, scale * buffer.bytes - 0.6), 9, self._colour(buffer.operand))
                )
                x += scale * buffer.bytes
        self._marks.append(Mark(tuple(shapes)))
        self._y += 15

    def _colour(self, operand: str) -> str:
        known = self._operands.get(operand)
        return role_colour(known.role if known else "")

    def _buffers(self, buffers: tuple[Buffer, ...]) -> None:
        """Operands side by side, in as many lines as they need."""
        x = self._left
        for buffer in buffers:
            copies = f"{buffer.copies} × " if buffer.copies > 1 else ""
            words = f"{buffer.operand} {copies}{size_bytes(buffer.bytes)}"
            needed = 14 + text_width(words, 12, mono=True) + 16
            if x > self._left and x + needed > self._right:
                x, self._y = self._left, self._y + _LINE
            known = self._operands.get(buffer.operand)
            title = (
                f"{buffer.operand}: {known.role if known else 'operand'}, {buffer.copies} copies of {buffer.bytes} B"
            )
            shapes = (
                Rect(x, self._y + 4, 9, 9, self._colour(buffer.operand), radius=4.5),
                Text(x + 14, self._y + 13, fitted(words, self._right - x - 14, 12, mono=True), 12, mono=True),
            )
            self._marks.append(Mark(shapes, title))
            x += needed
        self._y += _LINE + 2

    def open_loop(self, loop: Loop, colour: str) -> None:
        stays = [each for each in self._operands.values() if not set(each.dims) & set(loop.dims)]
        last = loop.extent - loop.tile * (loop.iterations - 1)
        short = f", the last of {last}" if last < loop.tile else ""
        if loop.axis:
            words = f"{loop.iterations} × {_dims(loop)} along {loop.axis}"
        else:
            words = f"for {_dims(loop)} in {loop.iterations} steps of {loop.tile}{short}"
        self._begin("paper", colour, f"{words}; covers {loop.extent} points of {_dims(loop)}")
        x, right = self._left, self._right
        room = right - x
        if loop.axis:
            room -= self._cells(loop.iterations, colour)
            self._text(x, words, room=room - 6)
            return
        chips = sum(13 + text_width(each.name, 11, mono=True) + 9 for each in stays) + text_width("stays ", 11)
        beside = chips + text_width(words, 12, mono=True) + 12 < room
        self._text(x, words, room=room)
        if stays:
            self._stays(stays, right - chips if beside else x, self._y - _LINE if beside else self._y)
            self._y += 0 if beside else _LINE - 2

    def _stays(self, operands: list[Operand], x: float, y: float) -> None:
        """What this loop does not move, so that it can be used again."""
        shapes: list[Shape] = [Text(x, y + 13, "stays", 11, "muted")]
        x += text_width("stays ", 11)
        for each in operands:
            shapes.append(Rect(x, y + 5, 8, 8, role_colour(each.role), radius=4))
            shapes.append(Text(x + 12, y + 13, each.name, 11, mono=True))
            x += 13 + text_width(each.name, 11, mono=True) + 9
        names = ", ".join(each.name for each in operands)
        self._marks.append(Mark(tuple(shapes), f"{names}: the same in every step of this loop"))

    def _cells(self, count: int, colour: str) -> float:
        """Units that work side by side, as cells; and the width that they take."""
        shown = min(count, _CELLS)
        more = f"… {count}" if count > shown else ""
        width = 8.0 * shown + (text_width(more, 11) + 4 if more else 0)
        x = self._right - width
        shapes: list[Shape] = [Rect(x + 8 * each, self._y + 5, 6.5, 8, colour) for each in range(shown)]
        shapes += [Text(self._right, self._y + 13, more, 11, "muted", "end")] if more else []
        self._marks.append(Mark(tuple(shapes)))
        return width + 6

    def core(self, layer: Layer) -> None:
        """What the innermost step does, and what stays in the array while it does it."""
        role = _STAYS.get(layer.dataflow, "")
        names = [each.name for each in self._operands.values() if each.role == role]
        words = "multiply, accumulate" if layer.macs else layer.op
        words += f"; {', '.join(names)} stays in the array ({layer.dataflow})" if names else ""
        self._begin("paper", role_colour(role) if role else "rule", words)
        x = self._left
        self._marks.append(Mark((Rect(x, self._y + 4, 9, 9, self._open[-1][3], radius=4.5),)))
        self._text(x + 15, words, bold=True, room=self._right - x - 15)

    def finish(self, note: str) -> tuple[float, tuple[Mark, ...]]:
        """The height and all marks: boxes below what they hold, the outermost first."""
        bottom = self._y + 2
        boxes: list[Mark] = []
        for x, y, fill, stroke, title in reversed(self._open):
            boxes.insert(
                0, Mark((Rect(x - _INDENT, y, self._width - 2 * (x - _INDENT), bottom - y, fill, stroke, 5),), title)
            )
            bottom += _PAD
        self._open.clear()
        self._y = bottom - 2
        if note:
            self._text(1, note, fill="muted", room=self._width - 2)
        return self._y + 4, (*boxes, *self._marks)
