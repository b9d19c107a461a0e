"""Pictures as plain shapes: everything has its place, in pixels from the upper left corner, and colours have names.

Writers (`svg`, `raster`) draw shapes in order and decide nothing. The names of colours are those of `palette`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from ...ir.frozen import dataclass

GAP = 28.0  # between scenes that stand beside each other
_MONO = 0.61  # width of a character of a fixed width, in parts of the size


@dataclass(frozen=True, slots=True)
class Rect:
    x: float
    y: float
    width: float
    height: float
    fill: str = ""
    stroke: str = ""
    radius: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline through `points`, not filled; `dash` is the length of its dashes and of the gaps between them."""

    points: tuple[tuple[float, float], ...]
    stroke: str
    width: float = 1.0
    dash: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc, with a rim in the colour of the paper so that discs on one another can be told."""

    x: float
    y: float
    radius: float
    fill: str


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text with its baseline at `y`; `anchor` is start, middle or end; `turned` runs upwards."""

    x: float
    y: float
    text: str
    size: float = 12.0
    fill: str = "ink"
    anchor: str = "start"
    bold: bool = False
    mono: bool = False
    turned: bool = False


Shape = Rect | Line | Dot | Text


@dataclass(frozen=True, slots=True)
class Mark:
    """Shapes that stand for one thing: `title` is what a pointer is told about it, `layer` its place in the model."""

    shapes: tuple[Shape, ...]
    title: str = ""
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture. `title` names it and `description` says in words what it shows, for those who do not see it."""

    width: float
    height: float
    title: str
    description: str
    marks: tuple[Mark, ...]


def moved(shape: Shape, right: float, down: float) -> Shape:
    """The shape elsewhere."""
    if isinstance(shape, Line):
        return replace(shape, points=tuple((x + right, y + down) for x, y in shape.points))
    return replace(shape, x=shape.x + right, y=shape.y + down)


def beside(scenes: Sequence[Scene]) -> Scene:
    """Scenes side by side, each under its title."""
    marks: list[Mark] = []
    right, down = 0.0, 26.0
    for scene in scenes:
        marks.append(Mark((Text(right + 4, 17, fitted(scene.title, scene.width - 8, 14), 14, bold=True),)))
        marks += [replace(mark, shapes=tuple(moved(each, right, down) for each in mark.shapes)) for mark in scene.marks]
        right += scene.width + GAP
    height = down + max(scene.height for scene in scenes)
    title = "; ".join(each.title for each in scenes)
    description = ". ".join(each.description for each in scenes)
    return Scene(right - GAP, height, title, description, tuple(marks))


def text_width(text: str, size: float, mono: bool = False) -> float:
    """How wide a text is at most in the fonts that are asked for; DejaVu Sans is the widest of them."""
    return size * sum((_MONO if each.isascii() else 1.0) if mono else _advance(each) for each in text)


@cache
def _advance(character: str) -> float:
    """Of a character, in parts of the size."""
    if character in "mwMW@%…—":
        return 1.0
    if character in " iljI.,:;'|!()[]{}ftr-/":
        return 0.42
    if not character.isascii():
        return 1.0 if unicodedata.east_asian_width(character) in "WF" else 0.8
    return 0.78 if character.isupper() else 0.64


def fitted(text: str, width: float, size: float, mono: bool = False) -> str:
    """The text, or as much of its beginning and its end as fits: names of layers differ at their ends."""
    if text_width(text, size, mono) <= width:
        return text
    kept = len(text) - 1
    while kept > 1 and text_width(_cut(text, kept), size, mono) > width:
        kept -= max(1, kept // 16)
    return _cut(text, kept)


def wrapped(text: str, width: float, size: float, mono: bool = False) -> list[str]:
    """The text as lines that fit; what is too long for a line of its own is cut."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer, size, mono) <= width:
            lines[-1] = longer
        else:
            lines += [fitted(word, width, size, mono)]
    return [line for line in lines if line] or [""]


def _cut(text: str, kept: int) -> str:
    """`kept` characters of the text, from both ends."""
    end = kept // 2
    return f"{text[: kept - end]}…{text[len(text) - end :]}"
