"""The roofline: what layers attain over their operational intensity, under the limits of array and memories.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore architectures",
CACM 52(4), 2009: attainable = min(peak, intensity x bandwidth), here in MACs and bytes at one memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from .axes import Scale, over_decades, short, some
from .bars import draw_legend
from .charts import bound_shares, share
from .document import Document
from .palette import BOUNDS
from .scene import Dot, Line, Mark, Rect, Scene, Shape, Text, fitted, text_width

_NAMED = 6  # layers whose names stand beside their points
_LEFT, _RIGHT, _BOTTOM = 62.0, 14.0, 46.0


def roofed(document: Document) -> list[str]:
    """Memories with a known bandwidth; without any, the outermost one alone."""
    known = [each.name for each in document.machine.memories if each.bytes_per_cycle] if document.machine else []
    return known or document.memories[:1]


def domain(document: Document, memory: str, chosen: Sequence[int]) -> tuple[list[float], list[float]]:
    """All values on either axis, intensities (MACs per byte) and rates: what the scales of a picture have to hold."""
    points, machine = _points(document, memory, chosen), document.machine
    across, up = [point[1] for point in points], [point[2] for point in points]
    if machine and machine.macs_per_cycle:
        up.append(machine.macs_per_cycle * _rate(document))
        across += [machine.macs_per_cycle / each.bytes_per_cycle for each in machine.memories if each.bytes_per_cycle]
    return across, up


def _rate(document: Document) -> float:
    """From MACs a cycle to what the axis says: billions a second where the clock is known."""
    return document.machine.clock_hz / 1e9 if document.machine else 1.0


def _points(document: Document, memory: str, chosen: Sequence[int]) -> list[tuple[int, float, float]]:
    """Place in the model, MACs per byte at `memory`, rate: of the layers that have all of them."""
    rate = _rate(document)
    found = []
    for number in chosen:
        layer = document.layers[number]
        moved = layer.data_bytes(memory)
        if layer.macs and moved and layer.cycles:
            found.append((number, layer.macs / moved, layer.macs / layer.cycles * rate))
    return found


def draw(
    document: Document,
    memory: str,
    chosen: Sequence[int],
    width: float,
    values: tuple[list[float], list[float]] | None = None,
) -> Scene:
    """The roofline at `memory`. `values` are those that the axes have to hold, where pictures are to be compared."""
    across, up = values or domain(document, memory, chosen)
    points = _points(document, memory, chosen)
    bounds = [name for name in BOUNDS if any(document.layers[number].bound == name for number, _, _ in points)]
    legend, top = draw_legend([(BOUNDS[name], f"{name}-bound") for name in bounds], width, _LEFT)
    top += 12
    height = top + (400 if width > 600 else 320)
    x_scale = over_decades(across, _LEFT, width - _RIGHT)
    y_scale = over_decades(up, height - _BOTTOM, top)
    marks = [*_grid(x_scale, y_scale), legend]
    unit = "GMAC/s" if document.machine else "MACs per cycle"
    words = f"MACs per byte of data at {memory}"
    marks.append(Mark((Text((_LEFT + width - _RIGHT) / 2, height - 8, words, 12, "muted", "middle"),)))
    marks.append(Mark((Text(14, (top + height - _BOTTOM) / 2, unit, 12, "muted", "middle", turned=True),)))
    taken: list[tuple[float, float, float, float]] = []
    if document.machine and document.machine.macs_per_cycle:
        marks += _roofs(document, memory, x_scale, y_scale, taken)
    total = sum(document.layers[number].cycles for number, _, _ in points) or 1
    placed = []
    for number, intensity, attained in sorted(points, key=lambda point: -document.layers[point[0]].cycles):
        layer = document.layers[number]
        radius = 3.5 + 10 * (layer.cycles / total) ** 0.5
        dot = Dot(x_scale.at(intensity), y_scale.at(attained), radius, BOUNDS.get(layer.bound, "c7"))
        peak = document.machine.macs_per_cycle * _rate(document) if document.machine else 0
        title = (
            f"{layer.name} ({layer.op})\n{intensity:.3g} MACs per byte of data at {memory}\n{attained:.3g} {unit}"
            + (f", {share(attained, peak)} of the peak" if peak else "")
            + f"\n{layer.bound}-bound, {short(layer.cycles)} cycles ({share(layer.cycles, total)})"
        )
        marks.append(Mark((dot,), title, number))
        placed.append((dot, layer.name))
    # Labels keep off the large points; those of small ones would leave no room.
    taken += [(each.x - 5, each.y - 5, each.x + 5, each.y + 5) for each, _ in placed[: 4 * _NAMED]]
    labels: list[Shape] = []
    for dot, name in placed[:_NAMED]:
        labels += _label(dot, name, (_LEFT, top, width - _RIGHT, height - _BOTTOM), taken)
    marks.append(Mark(tuple(labels)))
    left_out = len(chosen) - len(points)
    if not points:
        marks.append(Mark((Text(_LEFT + 12, top + 24, "No layer has MACs and traffic.", 12, "muted"),)))
    described = f"{some(len(points), 'layer')} as points, sized by their cycles; {bound_shares(document, chosen)}"
    described += f"; {some(left_out, 'layer')} without MACs or traffic left out" if left_out else ""
    return Scene(width, height, f"Roofline at {memory}", described, tuple(marks))


def _grid(x_scale: Scale, y_scale: Scale) -> list[Mark]:
    left, right, bottom, top = x_scale.start, x_scale.end, y_scale.start, y_scale.end
    marks = [Mark((Rect(left, top, right - left, bottom - top, stroke="rule"),))]
    for tick in x_scale.ticks(60):
        x = x_scale.at(tick)
        label = Text(x, bottom + 17, f"{tick:g}", 11, "muted", "middle")
        marks.append(Mark((Line(((x, top), (x, bottom)), "grid"), label)))
    for tick in y_scale.ticks(36):
        y = y_scale.at(tick)
        marks.append(
            Mark((Line(((left, y), (right, y)), "grid"), Text(left - 7, y + 4, f"{tick:g}", 11, "muted", "end")))
        )
    return marks


def _roofs(
    document: Document, memory: str, x_scale: Scale, y_scale: Scale, taken: list[tuple[float, float, float, float]]
) -> list[Mark]:
    """The flat roof of the array and the slopes of the memories; that of `memory` is the thick one."""
    machine, rate = document.machine, _rate(document)
    assert machine is not None
    peak = machine.macs_per_cycle * rate
    marks = []
    starts = [x_scale.high]
    alike: dict[float, list[str]] = {}  # memories of the same bandwidth have one roof
    for each in machine.memories:
        if each.bytes_per_cycle:
            alike.setdefault(each.bytes_per_cycle * rate, []).append(each.name)
    for slope, names in alike.items():  # GMAC/s of a MAC per byte
        ridge = peak / slope
        first = max(x_scale.low, y_scale.low / slope)
        if first >= min(ridge, x_scale.high):
            continue
        last = min(ridge, x_scale.high)
        starts.append(ridge)
        ends = ((x_scale.at(first), y_scale.at(first * slope)), (x_scale.at(last), y_scale.at(last * slope)))
        line = Line(ends, "ink" if memory in names else "rule", 2.0 if memory in names else 1.0)
        words = f"{', '.join(names)}: {short(slope * 1e9, 'B/s')}"
        marks.append(Mark((line, _slope_label(words, ends, taken)), words))
    ridge = min(starts)
    y = y_scale.at(peak)
    words = f"array: {short(peak * 1e9)}MAC/s"
    label = Text(x_scale.end - 6, y - 6, words, 11, "ink", "end")
    taken.append((label.x - text_width(words, 11), y - 17, label.x, y - 3))
    if ridge < x_scale.high:
        flat = Line(((x_scale.at(max(ridge, x_scale.low)), y), (x_scale.end, y)), "ink", 2.0)
        marks.append(Mark((flat, label), words))
    return marks


def _slope_label(
    words: str, ends: Sequence[tuple[float, float]], taken: list[tuple[float, float, float, float]]
) -> Text:
    """Above the middle of the slope, to its left."""
    x, y = (ends[0][0] + ends[1][0]) / 2 - 8, (ends[0][1] + ends[1][1]) / 2 - 8
    width = text_width(words, 11)
    if x - width < _LEFT + 2:
        x = _LEFT + 4 + width
        y = ends[0][1] + (ends[1][1] - ends[0][1]) * min(1.0, (x - ends[0][0]) / max(1.0, ends[1][0] - ends[0][0])) - 8
    taken.append((x - width, y - 11, x, y + 3))
    return Text(x, y, words, 11, "ink", "end")


def _label(
    dot: Dot,
    name: str,
    frame: tuple[float, float, float, float],
    taken: list[tuple[float, float, float, float]],
) -> list[Shape]:
    """The name beside its point where there is room for it, else nothing."""
    words = fitted(name, 150, 11)
    width, gap = text_width(words, 11), dot.radius + 4
    for x, y in (
        (dot.x + gap, dot.y + 4),
        (dot.x - gap - width, dot.y + 4),
        (dot.x - width / 2, dot.y + gap + 9),
        (dot.x - width / 2, dot.y - gap),
    ):
        box = (x, y - 10, x + width, y + 3)
        inside = box[0] > frame[0] and box[1] > frame[1] and box[2] < frame[2] and box[3] < frame[3]
        if inside and not any(box[0] < o[2] and o[0] < box[2] and box[1] < o[3] and o[1] < box[3] for o in taken):
            taken.append(box)
            return [Text(x, y, words, 11)]
    return []
