"""The mapping of a layer as nested boxes: levels from main memory inwards, in each its buffers and its loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ...ir.frozen import dataclass
from .axes import joules, size_bytes, some
from .document import Buffer, Document, Layer, Loop, LoopNest, Operand
from .palette import component_colours, role_colour
from .scene import Line, Mark, Rect, Scene, Shape, Text, fitted, text_width, wrapped

_PAD, _LINE = 7.0, 19.0
_INDENTS = {True: (7.0, 3.0), False: (11.0, 11.0)}  # of a box in another one, left and right; narrow or not
_NARROW = 500.0  # pixels
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
    """Levels from main memory inwards. Memories that are filled at one place share a box; main memory has its own."""
    main = next(iter(memories), "main memory")
    found = [Level(main, _groups(nest, memories, 0, [main]), ())]
    for place in range(len(nest.loops) + 1):
        filled = {each.memory for each in nest.buffers if each.outer_loops == place} - ({main} if not place else set())
        if filled:
            groups = _groups(nest, memories, place, filled)
            found.append(Level(groups[0][0], groups, ()))
        if place == len(nest.loops):
            break
        loop = nest.loops[place]
        if loop.level not in (found[-1].name, *(name for name, _ in found[-1].buffers)):
            found.append(Level(loop.level, (), ()))
        found[-1] = replace(found[-1], loops=(*found[-1].loops, loop))
    return found


def _groups(
    nest: LoopNest, memories: Sequence[str], place: int, names: Iterable[str]
) -> tuple[tuple[str, tuple[Buffer, ...]], ...]:
    """What is filled inside the first `place` loops in the memories of these names, in the machine's order."""
    known = {name: number for number, name in enumerate(memories)}
    ordered = sorted(names, key=lambda name: (known.get(name, len(known)), name))
    held = ((name, tuple(e for e in nest.buffers if (e.memory, e.outer_loops) == (name, place))) for name in ordered)
    return tuple((name, buffers) for name, buffers in held if buffers)


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
    steps = f"{loop.iterations} × {loop.tile}" if loop.tile > 1 else str(loop.iterations)
    return f"{steps} along {loop.axis}" if loop.axis else steps


def draw(document: Document, layer: Layer, width: float) -> Scene:
    """The loop nest of a layer that has one."""
    assert layer.search is not None and layer.search.nest is not None
    nest = layer.search.nest
    levels = levels_of(nest, document.memories)
    names = [name for level in levels for name in (level.name, *(memory for memory, _ in level.buffers))]
    colours = component_colours(list(dict.fromkeys(names)), document.memories)
    memories = document.machine.memories if document.machine else ()
    capacity = {each.name: each.capacity_bytes or 0 for each in memories}
    sketch = _Sketch(width, {each.name: each for each in nest.operands}, colours, capacity)
    if layer.search.stripes > 1:
        sketch.note(f"{in_stripes(layer, document.memories)}; drawn is stripe {drawn_stripe(layer)}")
    sketch.dimensions(nest)
    if layer.search.stripes > 1:
        sketch.open_stripes(layer.search.stripes, colours[levels[0].name])
    for level in levels:
        sketch.open_level(level)
        for loop in level.loops:
            if loop.iterations > 1:
                sketch.open_loop(loop, colours[level.name])
    sketch.core(layer)
    once = [_dims(loop) for loop in nest.loops if loop.iterations <= 1]
    note = f"loops of one step, over {', '.join(dict.fromkeys(once))}, are not drawn" if once else ""
    height, marks = sketch.finish(note)
    title = f"Mapping of {layer.name}"
    title += f", stripe {drawn_stripe(layer)} of {layer.search.stripes}" if layer.search.stripes > 1 else ""
    return Scene(width, height, title, f"from main memory inwards: {in_words(nest)}", marks)


def in_stripes(layer: Layer, memories: Sequence[str]) -> str:
    """What the stripes of a layer take together: the figures of the layer."""
    assert layer.search is not None
    main = next(iter(memories), "")
    moved = f", {size_bytes(layer.moved_bytes(main))} of {main}" if main else ""
    return f"{layer.search.stripes} stripes take {layer.cycles} cycles, {joules(layer.total_pj)}{moved} together"


def drawn_stripe(layer: Layer) -> int:
    """The number of the stripe whose nest statistics tell, the one in the middle (driver/stats.py)."""
    assert layer.search is not None
    return layer.search.stripes // 2 + 1


class _Sketch:
    """Boxes that are open, and the shapes so far. A box is as high as what it holds, so it is drawn when it closes."""

    def __init__(
        self, width: float, operands: dict[str, Operand], colours: dict[str, str], capacity_bytes: dict[str, int]
    ) -> None:
        self._width = width
        self._operands = operands
        self._colours = colours
        self._capacity_bytes = capacity_bytes
        self._indents = _INDENTS[width < _NARROW]
        self._y = 4.0
        self._open: list[tuple[float, float, float, str, str]] = []  # left, right, y, fill, stroke
        self._marks: list[Mark] = []

    @property
    def _left(self) -> float:
        return 1 + self._indents[0] * len(self._open)

    @property
    def _right(self) -> float:
        return self._width - 1 - self._indents[1] * len(self._open)

    def note(self, words: str) -> None:
        """A line above the picture, in as many as it needs."""
        self._text(1, words, fill="muted", room=self._width - 2)

    def open_stripes(self, count: int, colour: str) -> None:
        self._begin("paper", colour)
        words = f"for each of {count} stripes, in turn with those of the other layers of the group"
        self._text(self._left, words, room=self._right - self._left)

    def dimensions(self, nest: LoopNest) -> None:
        words = "domain  " + "  ".join(f"{dim} {extent}" for dim, extent in nest.dims)
        self._text(1, words, fill="muted", room=self._width - 2)
        self._y += 4

    def _text(self, x: float, words: str, *, fill: str = "ink", bold: bool = False, room: float) -> float:
        """Words from the current line on, in as many lines as they need; and the width of the last one."""
        mono = not bold
        lines = wrapped(words, room, 12, mono)
        for line in lines:
            self._marks.append(Mark((Text(x, self._y + 13, line, 12, fill, bold=bold, mono=mono),)))
            self._y += _LINE
        return text_width(lines[-1], 12, mono)

    def _begin(self, fill: str, stroke: str) -> None:
        """Open a box; what follows lies in it."""
        self._open.append((self._left, self._right, self._y, fill, stroke))
        self._y += 3

    def open_level(self, level: Level) -> None:
        names = [name for name, _ in level.buffers] or [level.name]
        self._begin("panel", self._colours[names[0]])
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
        """The operands that a memory holds, with their copies and bytes."""
        chips, titles = [], []
        for buffer in buffers:
            copies = f"{buffer.copies} × " if buffer.copies > 1 else ""
            known = self._operands.get(buffer.operand)
            role = known.role if known else "operand"
            titles.append(f"{buffer.operand}: {role}, {some(buffer.copies, 'buffer')} of {buffer.bytes} B")
            chips.append((self._colour(buffer.operand), f"{buffer.operand} {copies}{size_bytes(buffer.bytes)}"))
        self._marks += map(Mark, self._chips(chips, self._left, 12), titles)
        self._y += 2

    def _chips(self, chips: list[tuple[str, str]], x: float, size: float) -> list[tuple[Shape, ...]]:
        """Discs with words (colour, words) side by side, in as many lines as they need; the shapes of each."""
        found: list[tuple[Shape, ...]] = []
        first = x
        for colour, words in chips:
            shown = fitted(words, self._right - self._left - 14, size, mono=True)
            needed = 13 + text_width(shown, size, mono=True)
            if x > first and x + needed > self._right + 1:
                x, self._y = self._left, self._y + _LINE
                first = x
            disc = Rect(x, self._y + 5, 8, 8, colour, radius=4)
            found.append((disc, Text(x + 12, self._y + 13, shown, size, mono=True)))
            x += needed + 12
        self._y += _LINE
        return found

    def open_loop(self, loop: Loop, colour: str) -> None:
        last = loop.extent - loop.tile * (loop.iterations - 1)
        short = f", the last of {last}" if last < loop.tile else ""
        if loop.axis:
            each = f" of {loop.tile}" if loop.tile > 1 else ""
            words = f"{loop.iterations} × {_dims(loop)}{each} along {loop.axis}"
        else:
            words = f"for {_dims(loop)} in {loop.iterations} steps of {loop.tile}{short}"
        self._begin("paper", colour)
        taken = self._text(self._left, words, room=self._right - self._left)
        if loop.axis:
            self._cells(loop.iterations, colour, self._right - self._left - taken - 16)
        else:
            self._stays([each for each in self._operands.values() if not set(each.dims) & set(loop.dims)], taken)

    def _stays(self, operands: list[Operand], taken: float) -> None:
        """What a loop does not move, so that it can be used again: beside its words, `taken` wide, or below them."""
        if not operands:
            return
        word = text_width("stays ", 11)
        x = self._right - word + 12 - sum(25 + text_width(each.name, 11, mono=True) for each in operands)
        if x > self._left + taken + 12:
            self._y -= _LINE
        else:
            x = self._left
        label = Text(x, self._y + 13, "stays", 11, "muted")
        chips = self._chips([(role_colour(each.role), each.name) for each in operands], x + word, 11)
        title = f"{', '.join(each.name for each in operands)}: the same in every step of this loop"
        self._marks.append(Mark((label, *(shape for chip in chips for shape in chip)), title))

    def _cells(self, count: int, colour: str, room: float) -> None:
        """Units that work side by side, as cells beside the words, as many as there is room for."""
        more = f"… {count}" if count > _CELLS else ""
        width = 8.0 * min(count, _CELLS) + (text_width(more, 11) + 4 if more else 0)
        if width > room:
            return
        x, y = self._right - width, self._y - _LINE
        end = x + 8 * min(count, _CELLS) - 1
        shapes: list[Shape] = [Line(((x, y + 9), (end, y + 9)), colour, 8, (7, 1))]
        shapes += [Text(self._right, y + 13, more, 11, "muted", "end")] if more else []
        self._marks.append(Mark(tuple(shapes)))

    def core(self, layer: Layer) -> None:
        """What the innermost step does, and what stays in the array while it does it."""
        role = _STAYS.get(layer.dataflow, "")
        names = [each.name for each in self._operands.values() if each.role == role]
        words = "multiply, accumulate" if layer.macs else layer.op
        words += f"; {', '.join(names)} stays in the array ({layer.dataflow})" if names else ""
        self._begin("paper", role_colour(role) if role else "rule")
        x = self._left
        self._marks.append(Mark((Rect(x, self._y + 4, 9, 9, self._open[-1][4], radius=4.5),)))
        self._text(x + 15, words, bold=True, room=self._right - x - 15)

    def finish(self, note: str) -> tuple[float, tuple[Mark, ...]]:
        """The height and all marks: boxes below what they hold, the outermost first."""
        bottom = self._y + 2
        boxes: list[Mark] = []
        for left, right, y, fill, stroke in reversed(self._open):
            boxes.insert(0, Mark((Rect(left, y, right - left, bottom - y, fill, stroke, 5),)))
            bottom += _PAD
        self._open.clear()
        self._y = bottom - 2
        if note:
            self._text(1, note, fill="muted", room=self._width - 2)
        return self._y + 4, (*boxes, *self._marks)
