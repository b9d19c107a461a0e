"""Statistics as one page for a browser: a file of its own, which needs no network and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from ...driver.described import Json
from ...ir.frozen import dataclass
from ..gains import PARTS, gain_table
from ..show import has_instructions, host_note, layer_table, title_of
from . import bars, charts, loops, palette, roofline, scatter, svg
from .axes import joules, short, some
from .document import Document, Layer, plain
from .reader import document_of
from .scene import Scene, fitted
from .tables import table

_FOLDER = Path(__file__).parent
_TALL_ROWS = 24  # of bars: a picture with more scrolls by itself
_NAMED = 3  # layers that share a mapping, in its summary
_SECTIONS = (
    ("roofline", "Roofline"),
    ("cycles", "Cycles"),
    ("energy", "Energy"),
    ("traffic", "Traffic"),
    ("mappings", "Mappings"),
    ("help", "What would help"),
    ("layers", "Layers"),
    ("sources", "Sources"),
)


def html_page(stats: Json, arch_given: str | None = None) -> str:
    """The report of a document of statistics. `arch_given` is the machine as it was asked for: a name or a file."""
    document = document_of(stats)
    everything = range(len(document.layers))
    pictures = _Pictures()
    title = escape(plain(title_of(stats, arch_given)))
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _cards(stats))
    parts = {
        "roofline": pictures.rooflines(document, everything),
        "cycles": pictures.bars(charts.cycles_chart(document, everything)),
        "energy": pictures.bars(charts.energy_chart(document, everything)),
        "traffic": pictures.traffic(document, everything),
        "mappings": _mappings(document, pictures),
        "help": _help(stats),
        "layers": _layers(stats),
        "sources": _sources(stats),
    }
    body = "\n".join(
        f'<section id="{name}" aria-labelledby="h-{name}"><h2 id="h-{name}">{words}</h2>\n{parts[name]}</section>'
        for name, words in _SECTIONS
        if parts[name]
    )
    links = "".join(f'<li><a href="#{name}">{words}</a></li>' for name, words in _SECTIONS if parts[name])
    note = host_note(stats)
    style = palette.variables() + svg.RULES + "\n" + (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>
<p class="quiet">{escape(_sentence(charts.bound_shares(document, everything)))}</p>
<dl class="cards">{cards}</dl>
{f'<p class="quiet">{escape(note)}</p>' if note else ""}</header>
<nav aria-label="Parts of the report"><ul>{links}</ul></nav>
<main>
{body}
</main>
<footer>Written by dnnc. A point at a layer shows its figures and marks it in every picture.</footer>
<script>{script}</script>
</body>
</html>
"""


def _cards(stats: Json) -> Iterator[tuple[str, str]]:
    """The totals: counts to the last digit, in groups of three; measures to three digits."""
    total = stats["total"]
    yield "cycles", _grouped(total["cycles"])
    yield "time", short(total["seconds"], "s")
    yield "energy", _known(total["energy_pj"], joules)
    yield "power", _known(total["power_w"], lambda value: short(value, "W"))
    yield "utilization", f"{total['utilization']:.1%}"
    yield "MACs", _grouped(total["macs"])
    if has_instructions(stats):
        yield "instructions", _grouped(total["instructions"])
    yield "inferences per second", _known(total["inferences_per_second"], short)
    yield "area", _known(total["area_um2"], lambda value: f"{value * 1e-6:.3g} mm²")
    yield "machine", stats["kind"].replace("_", " ")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", "\u2009")


def _known(value: float | None, words: Callable[[float], str]) -> str:
    return "not known" if value is None else words(value)


def _digest(text: str) -> str:
    """What the page's policy knows its own style and script by: a name in a model that got through would not run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@dataclass
class _Pictures:
    """Figures with two pictures, of which a browser shows the one that fits; each with ids of its own."""

    count: int = 0

    def figure(self, wide: Scene, narrow: Scene, *, tall: bool = False, described: bool = True) -> str:
        self.count += 1
        both = svg.inline(wide, f"p{self.count}w", "wide") + svg.inline(narrow, f"p{self.count}n", "narrow")
        label = escape(wide.title)
        held = f'<div class="tall" tabindex="0" role="region" aria-label="{label}">{both}</div>' if tall else both
        caption = f"<figcaption>{escape(_sentence(wide.description))}</figcaption>\n" if described else ""
        return f"<figure>{caption}{held}</figure>\n"

    def bars(self, chart: bars.Chart) -> str:
        wide, narrow = bars.draw(chart, bars.WIDE), bars.draw(chart, bars.NARROW)
        return self.figure(wide, narrow, tall=len(chart.rows) > _TALL_ROWS)

    def rooflines(self, document: Document, chosen: Sequence[int]) -> str:
        """That of the outermost memory, and those of others to be opened."""
        figures: list[str] = []
        for memory in roofline.roofed(document):
            wide, narrow = (roofline.draw(document, memory, chosen, width) for width in (bars.WIDE, bars.NARROW))
            drawn = self.figure(wide, narrow)
            title = f"<summary>{escape(wide.title)}</summary>"
            figures.append(f"<details>{title}\n{drawn}</details>\n" if figures else drawn)
        return "".join(figures)

    def traffic(self, document: Document, chosen: Sequence[int]) -> str:
        totals = self.bars(charts.traffic_totals_chart(document, chosen))
        parts: list[str] = []
        for memory in document.memories:
            chart = charts.traffic_chart(document, memory, chosen)
            shown = " open" if not parts else ""
            parts.append(f"<details{shown}><summary>{escape(chart.title)}</summary>\n{self.bars(chart)}</details>\n")
        return totals + "".join(parts)


def _mappings(document: Document, pictures: _Pictures) -> str:
    """Each mapping once, with the layers that have it: networks repeat their blocks."""
    found: dict[object, list[int]] = {}
    for number, layer in enumerate(document.layers):
        if layer.search is not None and (layer.search.nest is not None or layer.search.points):
            total = (layer.cycles, layer.total_pj) if layer.search.stripes > 1 else None  # it is told
            same = (layer.op, layer.dataflow, layer.search, total)
            found.setdefault(same, []).append(number)
    if not found:
        return "<p>These statistics have no mappings: <code>dnnc cost</code> writes them.</p>"
    parts: list[str] = []
    longest = max(found.values(), key=lambda numbers: sum(document.layers[number].cycles for number in numbers))
    for numbers in found.values():
        layer = document.layers[numbers[0]]
        assert layer.search is not None
        drawn = ""
        if layer.search.nest is not None:
            wide, narrow = (loops.draw(document, layer, width) for width in (bars.WIDE, bars.NARROW))
            drawn = pictures.figure(wide, narrow, described=False)  # the summary has the same words
        if len(layer.search.points) > 1:
            wide, narrow = (scatter.draw(layer, width) for width in (bars.WIDE, bars.NARROW))
            drawn += pictures.figure(wide, narrow)
        names = ", ".join(fitted(document.layers[number].name, 420, 15) for number in numbers[:_NAMED])
        more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
        words = loops.in_words(layer.search.nest) if layer.search.nest else ""
        shown = " open" if numbers is longest else ""
        parts.append(
            f'<details data-layers="{" ".join(map(str, numbers))}"{shown}>'
            f"<summary><b>{escape(names + more)}</b> {escape(_certificate(layer, document.memories))}"
            f"<br><code>{escape(words)}</code></summary>\n{drawn}</details>\n"
        )
    layers = some(sum(map(len, found.values())), "layer")
    words = f"{some(len(parts), 'mapping')} of {layers}, each drawn once."
    if any(len(search.points) > 1 for layer in document.layers if (search := layer.search) is not None):
        words += " What the mapper evaluated is of each layer by itself."
    return f"<p>{words}</p>\n" + "".join(parts)


def _certificate(layer: Layer, memories: Sequence[str]) -> str:
    """How good the mapping is known to be; of a layer in stripes what it is in all, and which of them is drawn."""
    assert layer.search is not None
    search = layer.search
    kind = layer.op + (f", {layer.dataflow}" if layer.dataflow else "")
    if search.stripes > 1:
        kind += f"; {loops.in_stripes(layer, memories)}, stripe {loops.drawn_stripe(layer)} is drawn"
    costed = f"{some(search.evaluated, 'mapping')} costed"
    if search.pinned == "part":
        kind += "; pinned in part"
    if search.optimal:
        return f"({kind}; optimal, {costed})"
    gap = f", the bound is {1 - search.lower_bound / search.objective:.1%} below" if search.objective else ""
    return f"({kind}; not proven optimal{gap}, {costed})"


def _help(stats: Json) -> str:
    """What doubled parts of the machine would save, where `--explain` has found it out."""
    parts, rows = gain_table(stats)
    if not rows:
        return ""
    listed = ", ".join(f"{PARTS[each]} ({each})" for each in parts)
    words = f"Shares of a layer's cycles that are saved where it is mapped anew with twice the {listed}."
    if left_out := sum(layer["where"] == "accelerator" for layer in stats["layers"]) - len(rows):
        words += f" The time did not suffice for {some(left_out, 'layer')}."
    headers = ("layer", "cycles", *parts)
    return f"<p>{escape(words)}</p>\n{table(headers, rows, 'Cycles saved by twice the part', kind='help', shares=True)}"


def _layers(stats: Json) -> str:
    tools = (
        '<div class="tools" hidden><label>Filter layers '
        '<input type="search" id="filter" placeholder="name, op, bound"></label>'
        ' <span id="matches" role="status"></span></div>\n'
    )
    return tools + table(*layer_table(stats), "All layers; a click on a heading sorts", kind="layers")


def _sources(stats: Json) -> str:
    rows = list(stats["provenance"].items())
    return table(("figure", "where it comes from"), rows, "Where the figures come from", kind="sources")
