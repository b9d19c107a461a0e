"""Charts of horizontal bars, stacked or in one another, and the legends of all pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir.frozen import dataclass
from .axes import from_zero
from .scene import Line, Mark, Rect, Scene, Shape, Text, fitted, text_width

WIDE, NARROW = 1040.0, 360.0
_STACKED_BELOW = 600.0  # pixels: narrower pictures have names above bars
_BAR = 13.0


@dataclass(frozen=True, slots=True)
class Row:
    """`parts` follow one another along the bar; those of `inner` lie in it, one under the other, from its start.
    `layer` is the place in the model. `spread` is a line over the bar, from its lower to its upper end."""

    label: str
    value: str
    title: str
    parts: tuple[tuple[str, float], ...]
    inner: tuple[tuple[str, float], ...] = ()
    layer: int | None = None
    spread: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars to be laid out: the `legend` is (colour, words), `unit` writes a tick."""

    title: str
    description: str
    legend: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    unit: Callable[[float], str]

    @property
    def most(self) -> float:
        """The longest bar."""
        lengths = [
            max(sum(part for _, part in row.parts), *(part for _, part in row.inner), *(row.spread or ()), 0, 0)
            for row in self.rows
        ]
        return max(lengths, default=0)


def draw(chart: Chart, width: float, most: float | None = None) -> Scene:
    """The chart at a width. `most` is the end of the axis where charts are to be compared."""
    narrow = width < _STACKED_BELOW
    values = max([text_width(row.value, 12) for row in chart.rows], default=0.0) + 8
    names = (
        0.0 if narrow else min(0.3 * width, max([text_width(row.label, 12) for row in chart.rows], default=0.0) + 10)
    )
    left, right = (names or 2.0), width - (12 if narrow else values + 4)
    pitch = 38.0 if narrow else 20.0
    scale = from_zero(chart.most if most is None else most, left, right)
    legend, top = draw_legend(chart.legend, width)
    top += 22
    bottom = top + pitch * len(chart.rows) + 4
    marks = [legend]
    for tick in scale.ticks(70):
        x = scale.at(tick)
        anchor = "end" if x > right - 8 else "middle" if x > left + 12 else "start"
        marks.append(
            Mark((Line(((x, top - 4), (x, bottom)), "grid"), Text(x, top - 9, chart.unit(tick), 11, "muted", anchor)))
        )
    for number, row in enumerate(chart.rows):
        y = top + pitch * number
        bar = y + (21 if narrow else 3.5)
        shapes: list[Shape] = [Rect(0, y, width, pitch, fill="hit")]
        if narrow:
            shapes.append(Text(left, y + 15, fitted(row.label, width - values - 12, 12)))
            shapes.append(Text(width - 10, y + 15, row.value, 12, "muted", "end"))
        else:
            shapes.append(Text(left - 8, y + 14, fitted(row.label, names - 10, 12), anchor="end"))
        x = left
        for colour, part in row.parts:
            length = scale.at(part) - left
            if length >= 0.05:  # a hair's breadth of paper between segments, so that they can be told without colour
                shapes.append(Rect(x, bar, max(length - 0.8, 0.4), _BAR, colour, "rule" if colour == "grid" else ""))
            x += length
        for place, (colour, part) in enumerate(row.inner):
            shapes.append(Rect(left, bar + 2 + 5 * place, scale.at(part) - left, 4, colour))
        if row.spread is not None:
            low, high = (scale.at(end) for end in row.spread)
            middle = bar + _BAR / 2
            shapes.append(Line(((low, middle), (high, middle)), "ink", 1.2))
            shapes += [Line(((end, middle - 3.5), (end, middle + 3.5)), "ink", 1.2) for end in (low, high)]
            x = max(x, high)
        if not narrow:
            shapes.append(Text(min(x, right) + 6, y + 14, row.value, 12, "muted"))
        marks.append(Mark(tuple(shapes), row.title, row.layer))
    if not chart.rows:
        marks.append(Mark((Text(left, top + 14, "There is nothing to show.", 12, "muted"),)))
        bottom += 24
    marks.append(Mark((Line(((left, top - 4), (left, bottom)), "rule"),)))
    return Scene(width, bottom + 4, chart.title, chart.description, tuple(marks))


def draw_legend(entries: Sequence[tuple[str, str]], width: float, left: float = 2.0) -> tuple[Mark, float]:
    """Swatches with words, in as many lines as they need; and where the lines end."""
    shapes: list[Shape] = []
    x, y = left, 2.0
    for colour, words in entries:
        needed = 16 + text_width(words, 12) + 14
        if x > left and x + needed > width:
            x, y = left, y + 18
        shapes.append(Rect(x, y, 11, 11, colour, "rule" if colour == "grid" else "", 2))
        shapes.append(Text(x + 16, y + 10, fitted(words, width - 20, 12), 12, "muted"))
        x += needed
    return Mark(tuple(shapes)), y + (16 if entries else 0)
