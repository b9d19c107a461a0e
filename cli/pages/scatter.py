"""The mappings of a layer that the mapper evaluated, by cycles and energy; which of them no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence

from .axes import Scale, joules, short, some
from .bars import draw_legend
from .document import Layer
from .scene import Dot, Line, Mark, Rect, Scene, Text

MOST_POINTS = 2000
_LEFT, _RIGHT, _BOTTOM = 76.0, 16.0, 46.0
Point = tuple[float, float]


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other one is better than in one coordinate and not worse in the other, by cycles."""
    front: list[Point] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def sampled(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Distinct points, at most `most`: evenly spaced in their order, and all of the front."""
    distinct = sorted(set(points))
    front = pareto(distinct)[:most]
    room = most - len(front)
    if len(distinct) <= most or not room:
        return distinct[:most] if len(distinct) <= most else front
    return sorted({*front, *(distinct[number * len(distinct) // room] for number in range(room))})


def held(layer: Layer) -> list[Point]:
    """All points that the scales of a picture have to hold, that of the chosen mapping last."""
    return [*(layer.search.points if layer.search else ()), (layer.cycles, layer.total_pj)]


def draw(layer: Layer, width: float, values: Sequence[Point] | None = None) -> Scene:
    """The scatter of `layer`. `values` are points that the axes have to hold, where pictures are to be compared."""
    *points, chosen = held(layer)
    values = values or [*points, chosen]
    front, shown = pareto(points), sampled(points)
    legend, top = draw_legend(
        [("c4", some(len(set(points)), "mapping")), ("c1", "none is better in both"), ("accent", "the chosen one")],
        width,
        _LEFT,
    )
    top += 12
    height = top + (360 if width > 600 else 300)
    x_scale = _scale([x for x, _ in values], _LEFT, width - _RIGHT)
    y_scale = _scale([y for _, y in values], height - _BOTTOM, top)
    marks = [Mark((Rect(_LEFT, top, width - _RIGHT - _LEFT, height - _BOTTOM - top, stroke="rule"),)), legend]
    for tick in x_scale.ticks(70):
        x = x_scale.at(tick)
        label = Text(x, height - _BOTTOM + 17, short(tick), 11, "muted", "middle")
        marks.append(Mark((Line(((x, top), (x, height - _BOTTOM)), "grid"), label)))
    for tick in y_scale.ticks(36):
        y = y_scale.at(tick)
        label = Text(_LEFT - 7, y + 4, joules(tick), 11, "muted", "end")
        marks.append(Mark((Line(((_LEFT, y), (width - _RIGHT, y)), "grid"), label)))
    marks.append(Mark((Text((_LEFT + width - _RIGHT) / 2, height - 8, "cycles", 12, "muted", "middle"),)))
    marks.append(Mark((Text(14, (top + height - _BOTTOM) / 2, "energy", 12, "muted", "middle", turned=True),)))
    best = set(front)
    for point in (*(each for each in shown if each not in best), *front):
        colour, radius = ("c1", 4.0) if point in best else ("c4", 2.6)
        marks.append(Mark((Dot(x_scale.at(point[0]), y_scale.at(point[1]), radius, colour),), _words(point)))
    marks.append(Mark((Line(tuple((x_scale.at(x), y_scale.at(y)) for x, y in front), "c1", 1.5),)))
    dot = Dot(x_scale.at(chosen[0]), y_scale.at(chosen[1]), 6, "accent")
    marks.append(Mark((dot,), f"the chosen mapping\n{_words(chosen)}"))
    described = f"{some(len(set(points)), 'mapping')} of {layer.name} by cycles and energy"
    described += f", {len(front)} of which no other one beats; chosen: {_words(chosen)}" + (
        f"; {len(shown)} are drawn" if len(shown) < len(set(points)) else ""
    )
    return Scene(width, height, f"Mappings of {layer.name} that were evaluated", described, tuple(marks))


def _words(point: Point) -> str:
    return f"{short(point[0])} cycles, {joules(point[1])}"


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Logarithmic where values span more than a factor of eight, else linear; with room around the points."""
    low, high = min(values), max(values)
    if low > 0 and high > 8 * low:
        return Scale(low / 1.2, high * 1.2, start, end, log=True)
    margin = 0.06 * (high - low) or 0.1 * high or 1.0
    return Scale(max(0.0, low - margin), high + margin, start, end)
