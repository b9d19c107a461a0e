"""Pictures of studies: fronts over two figures, a figure over two variables, energy of the front by component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .axes import Scale, joules, short, some
from .bars import Chart, Row, draw_legend
from .explored import Explored, Label, Point, merged
from .palette import component_colours
from .scene import Dot, Line, Mark, Rect, Scene, Text, fitted, text_width

MOST_POINTS = 4000  # of one picture; the front is always drawn
MOST_CELLS = 64  # of a side of a heat map
_LEFT, _RIGHT, _BOTTOM = 84.0, 16.0, 46.0
SHADES = 7  # h0 to h6 of the palette
_COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5", "c6", "c8")


def front_scene(studies: Sequence[Explored], axes: tuple[str, str] | None, width: float = 900.0) -> Scene:
    """Points and fronts over two of the objectives (or figures), all studies in one picture; of several, the front of
    all of them together is ringed. Raises CompileError where their objectives differ."""
    x_name, y_name = axes or _usual_axes(studies[0])
    best = {id(point) for _, point in merged(studies)}
    placed = [
        [(x, y, each) for each in study.points if (x := _at(study, each, x_name)) is not None
         and (y := _at(study, each, y_name)) is not None]
        for study in studies
    ]  # fmt: skip
    values = [(x, y) for points in placed for x, y, _ in points]
    several = len(studies) > 1
    entries = [(_COLOURS[number % len(_COLOURS)], f"{each.study}: {some(len(each.front), 'point')} on the front")
               for number, each in enumerate(studies)]  # fmt: skip
    entries.append(("c7", "dominated; small: a constraint does not hold"))
    if several:
        entries.append(("ink", f"{some(len(best), 'point')} on the front of all"))
    legend, top = draw_legend(entries, width, _LEFT)
    top += 12
    height = top + 440
    x_scale = _scale([x for x, _ in values], _LEFT, width - _RIGHT)
    y_scale = _scale([y for _, y in values], height - _BOTTOM, top)
    marks = [Mark((Rect(_LEFT, top, width - _RIGHT - _LEFT, height - _BOTTOM - top, stroke="rule"),)), legend]
    marks += _grid(x_scale, y_scale, top, height, width, x_name, y_name)
    for points in placed:
        others = [each for each in points if not each[2].on_front]
        for x, y, point in others[:: -(-len(others) // MOST_POINTS) or 1]:
            radius = 2.6 if point.feasible else 1.5
            marks.append(Mark((Dot(x_scale.at(x), y_scale.at(y), radius, "c7"),), _words(point)))
    for number, (study, points) in enumerate(zip(studies, placed, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        ends = sorted((x, y) for x, y, point in points if point.on_front)
        if len(study.objectives) == 2 and ends:
            marks.append(Mark((Line(tuple((x_scale.at(x), y_scale.at(y)) for x, y in ends), colour, 1.2),)))
        for x, y, point in points:
            if point.on_front:
                ring = (Dot(x_scale.at(x), y_scale.at(y), 6.2, "ink"),) if several and id(point) in best else ()
                dot = Dot(x_scale.at(x), y_scale.at(y), 4.2, colour)
                marks.append(Mark((*ring, dot), f"{study.study}\n{_words(point)}"))
    names = ", ".join(each.study for each in studies)
    title = f"{names}: {', '.join(studies[0].objectives)}"
    counts = [f"{each.study}: {some(len(each.points), 'point')}, {len(each.front)} on the front" for each in studies]
    counts += [f"{len(best)} on the front of all"] * several
    described = f"{y_name} over {x_name}. {'; '.join(counts)}"
    return Scene(width, height, title, described, tuple(marks))


def heat_scene(study: Explored, variables: tuple[str, str], figure: str, width: float = 900.0) -> Scene:
    """A figure over two variables; of the points that differ in others, the best one that keeps the constraints, by
    what the study is after: the largest where it is to be large, else the least."""
    x_name, y_name = variables
    largest = any(each.startswith("max ") and figure in each for each in study.objectives)
    cells: dict[tuple[Label, Label], float] = {}
    for point in study.points:
        value = _at(study, point, figure)
        if value is None or not point.feasible:
            continue
        key = (point.values[x_name], point.values[y_name])
        cells[key] = max(cells.get(key, value), value) if largest else min(cells.get(key, value), value)
    xs = _labels([each.values[x_name] for each in study.points])
    ys = _labels([each.values[y_name] for each in study.points])
    low, high = (min(cells.values()), max(cells.values())) if cells else (0.0, 1.0)
    best = f"the {'largest' if largest else 'least'} of the points that keep all constraints"
    described = f"{figure} over {x_name} and {y_name}: {best}, {short(low)} to {short(high)}"
    words = f"{study.study}: {figure}", described, "no point that keeps the constraints"
    return map_scene(cells, (xs, ys), variables, words, width=width)


def map_scene(
    cells: Mapping[tuple[Label, Label], float],
    labels: tuple[Sequence[Label], Sequence[Label]],
    names: tuple[str, str],
    words: tuple[str, str, str],
    told: Mapping[tuple[Label, Label], str] | None = None,
    *,
    left: float = _LEFT,
    width: float = 900.0,
) -> Scene:
    """A rectangle for each pair of labels (across, upwards), shaded by its value. `words` are the title, what is
    described, and what a pair without a value is; `told` has more of each."""
    (xs, ys), (x_name, y_name), (title, described, nothing) = labels, names, words
    low, high = (min(cells.values()), max(cells.values())) if cells else (0.0, 1.0)
    entries = [(f"h{shade}", _short(low + (high - low) * shade / (SHADES - 1))) for shade in range(SHADES)]
    legend, top = draw_legend([*entries, ("paper", nothing)], width, left)
    top += 12
    side_x, side_y = (width - _RIGHT - left) / max(1, len(xs)), max(18.0, min(46.0, 560.0 / max(1, len(ys))))
    bottom = top + side_y * len(ys)
    marks = [legend]
    for column, x in enumerate(xs):
        for row, y in enumerate(reversed(ys)):
            start, up = left + column * side_x, top + row * side_y
            value = cells.get((x, y))
            shade = "paper" if value is None else _shade(value, low, high)
            shapes: list[Rect | Text] = [Rect(start, up, side_x - 1, side_y - 1, shade, "grid")]
            text = "" if value is None else _short(value)
            if text and text_width(text, 11) < side_x - 4:
                shapes.append(Text(start + side_x / 2, up + side_y / 2 + 4, text, 11, "ink", "middle"))
            more = (told or {}).get((x, y), "")
            marks.append(Mark(tuple(shapes), f"{x_name} {_text(x)}, {y_name} {_text(y)}: {text or 'none'}{more}"))
        shown = fitted(_text(x), side_x - 2, 11)
        marks.append(Mark((Text(left + (column + 0.5) * side_x, bottom + 16, shown, 11, "muted", "middle"),)))
    for row, y in enumerate(reversed(ys)):
        shown = fitted(_text(y), left - 26, 11)
        marks.append(Mark((Text(left - 7, top + (row + 0.5) * side_y + 4, shown, 11, "muted", "end"),)))
    height = bottom + _BOTTOM
    marks.append(Mark((Text((left + width - _RIGHT) / 2, height - 8, x_name, 12, "muted", "middle"),)))
    marks.append(Mark((Text(14, (top + bottom) / 2, y_name, 12, "muted", "middle", turned=True),)))
    return Scene(width, height, title, described, tuple(marks))


def _shade(value: float, low: float, high: float) -> str:
    return f"h{round((value - low) / (high - low) * (SHADES - 1)) if high > low else 0}"


def energy_chart(study: Explored) -> Chart:
    """Energy of each point of the front, by component."""
    rows = []
    points = [(each, each.energy_parts()) for each in study.front]
    names = sorted({name for _, parts in points for name in parts})
    colours = component_colours(names, ("dram", "spad", "acc"))
    for point, parts in points:
        total = sum(parts.values())
        listed = "".join(f"\n{name} {joules(value)}" for name, value in parts.items() if value)
        label = ", ".join(f"{name} {_text(value)}" for name, value in point.values.items())
        shown = tuple((colours[name], parts[name]) for name in names if parts.get(name))
        rows.append(Row(label, joules(total), f"{label}: {joules(total)}{listed}", shown))
    legend = tuple((colours[name], name) for name in names)
    described = f"{some(len(rows), 'point')} of the front, by component: {', '.join(names)}"
    return Chart(f"{study.study}: energy of the front", described, legend, tuple(rows), joules)


def _usual_axes(study: Explored) -> tuple[str, str]:
    """The first two objectives; of one, with the first variable."""
    first, *others = study.objectives
    return (first, others[0]) if others else (study.variables[0], first)


def _at(study: Explored, point: Point, name: str) -> float | None:
    """A point's objective, figure or variable."""
    if name in study.objectives:
        return point.objectives[study.objectives.index(name)] if point.objectives else None
    return point.number(name)


def _grid(
    x_scale: Scale, y_scale: Scale, top: float, height: float, width: float, x_name: str, y_name: str
) -> list[Mark]:
    marks = []
    for tick in x_scale.ticks(70):
        x = x_scale.at(tick)
        label = Text(x, height - _BOTTOM + 17, _short(tick), 11, "muted", "middle")
        marks.append(Mark((Line(((x, top), (x, height - _BOTTOM)), "grid"), label)))
    for tick in y_scale.ticks(36):
        y = y_scale.at(tick)
        label = Text(_LEFT - 7, y + 4, _short(tick), 11, "muted", "end")
        marks.append(Mark((Line(((_LEFT, y), (width - _RIGHT, y)), "grid"), label)))
    marks.append(Mark((Text((_LEFT + width - _RIGHT) / 2, height - 8, x_name, 12, "muted", "middle"),)))
    marks.append(Mark((Text(14, (top + height - _BOTTOM) / 2, y_name, 12, "muted", "middle", turned=True),)))
    return marks


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Logarithmic where values span more than a factor of eight, else linear; with room around the points."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low > 0 and high > 8 * low:
        return Scale(low / 1.2, high * 1.2, start, end, log=True)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(low - margin if low < 0 else max(0.0, low - margin), high + margin, start, end)


def _short(value: float) -> str:
    return f"-{short(-value)}" if value < 0 else short(value)


def _words(point: Point) -> str:
    values = ", ".join(f"{name} {_text(value)}" for name, value in point.values.items())
    return f"{values}\n{', '.join(_short(each) for each in point.objectives)}"


def _labels(values: Sequence[Label]) -> list[Label]:
    """Numbers by size, before words; so many that they can be told apart."""
    distinct = sorted(set(values), key=lambda each: (isinstance(each, str), each))
    return distinct[:: -(-len(distinct) // MOST_CELLS) or 1]


def _text(value: Label) -> str:
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
