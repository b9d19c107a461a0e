"""The kinds of pictures that `dnnc plot` draws: of one document, or of several on the same scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from . import bars, charts, loops, roofline, scatter
from .document import Document
from .scene import Scene, beside

_BESIDE = 640.0  # the width of one picture of several
Chosen = Sequence[Sequence[int]]


def picture(kind: str, documents: Sequence[Document], chosen: Chosen, memory: str | None = None) -> Scene:
    """One picture of all `documents`. `chosen` are the places of the layers to draw, by document; kinds of one layer
    take one. `memory` is that of a roofline or of traffic."""
    width = bars.WIDE if len(documents) == 1 else _BESIDE
    if kind == "roofline":
        scenes = _rooflines(documents, chosen, width, memory)
    elif kind == "mapping":
        scenes = [
            loops.draw(each, each.layers[places[0]], width) for each, places in zip(documents, chosen, strict=True)
        ]
    elif kind == "scatter":
        scenes = _scatters(documents, chosen, width)
    else:
        scenes = _bars(_CHARTS[kind], documents, chosen, width, memory)
    if len(scenes) == 1:
        return scenes[0]
    return beside(
        [
            replace(scene, title=f"{document.model} on {document.arch}: {scene.title}")
            for scene, document in zip(scenes, documents, strict=True)
        ]
    )


def _traffic(document: Document, chosen: Sequence[int], memory: str | None) -> bars.Chart:
    if memory is None:
        return charts.traffic_totals_chart(document, chosen)
    return charts.traffic_chart(document, memory, chosen)


_CHARTS: dict[str, Callable[[Document, Sequence[int], str | None], bars.Chart]] = {
    "energy": lambda document, chosen, memory: charts.energy_chart(document, chosen),
    "cycles": lambda document, chosen, memory: charts.cycles_chart(document, chosen),
    "traffic": _traffic,
}


def _bars(
    chart_of: Callable[[Document, Sequence[int], str | None], bars.Chart],
    documents: Sequence[Document],
    chosen: Chosen,
    width: float,
    memory: str | None,
) -> list[Scene]:
    found = [chart_of(document, places, memory) for document, places in zip(documents, chosen, strict=True)]
    most = max(chart.most for chart in found)
    return [bars.draw(chart, width, most) for chart in found]


def _rooflines(documents: Sequence[Document], chosen: Chosen, width: float, memory: str | None) -> list[Scene]:
    memories = [memory or next(iter(roofline.roofed(document)), "") for document in documents]
    domains = [
        roofline.domain(document, name, places)
        for document, name, places in zip(documents, memories, chosen, strict=True)
    ]
    values = [each for across, _ in domains for each in across], [each for _, up in domains for each in up]
    return [
        roofline.draw(document, name, places, width, values)
        for document, name, places in zip(documents, memories, chosen, strict=True)
    ]


def _scatters(documents: Sequence[Document], chosen: Chosen, width: float) -> list[Scene]:
    layers = [document.layers[places[0]] for document, places in zip(documents, chosen, strict=True)]
    points = [point for layer in layers for point in scatter.held(layer)]
    return [scatter.draw(layer, width, points) for layer in layers]
