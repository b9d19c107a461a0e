"""A scene as SVG text: the same bytes for the same scene. Names come from models of strangers; all text is escaped."""

from __future__ import annotations

from html import escape

from .palette import style
from .scene import Dot, Line, Mark, Rect, Scene, Shape

SANS = "system-ui,-apple-system,Segoe UI,Roboto,Noto Sans,DejaVu Sans,sans-serif"
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace"
# What the classes of texts and lines mean, whatever the colours are.
RULES = (
    f"svg{{font-size:12px}}text{{font-family:{SANS};stroke:none}}.mono{{font-family:{MONO}}}.bold{{font-weight:600}}"
    ".mid{text-anchor:middle}.end{text-anchor:end}.none{fill:none}.f-hit{fill:transparent}"
)


def inline(scene: Scene, identity: str, kind: str = "") -> str:
    """For a page: `identity` makes the ids of title and description unique, `kind` is a class of the element."""
    label = f' aria-labelledby="{identity}-t {identity}-d"' if identity else ""
    return (
        f'<svg class="{kind}" role="img"{label} viewBox="0 0 {_n(scene.width)} {_n(scene.height)}"'
        f' width="{_n(scene.width)}" height="{_n(scene.height)}">'
        f'<title id="{identity}-t">{escape(scene.title)}</title>'
        f'<desc id="{identity}-d">{escape(scene.description)}</desc>{_body(scene)}</svg>'
    )


def standalone(scene: Scene) -> str:
    """A file of its own, on light paper: figures of papers and slides."""
    margin = 12.0
    width, height = scene.width + 2 * margin, scene.height + 2 * margin
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="t d"'
        f' width="{_n(width)}" height="{_n(height)}"'
        f' viewBox="{_n(-margin)} {_n(-margin)} {_n(width)} {_n(height)}">\n'
        f'<title id="t">{escape(scene.title)}</title>\n<desc id="d">{escape(scene.description)}</desc>\n'
        f"<style>{RULES}{style()}</style>\n"
        f'<rect class="f-paper" x="{_n(-margin)}" y="{_n(-margin)}" width="{_n(width)}" height="{_n(height)}"/>\n'
        f"{_body(scene)}\n</svg>\n"
    )


def _body(scene: Scene) -> str:
    return "\n".join(map(_mark, scene.marks))


def _mark(mark: Mark) -> str:
    shapes = "".join(map(_shape, mark.shapes))
    if not mark.title and mark.layer is None:
        return shapes
    layer = "" if mark.layer is None else f' data-layer="{mark.layer}"'
    title = f"<title>{escape(mark.title)}</title>" if mark.title else ""
    return f'<g class="mark"{layer}>{title}{shapes}</g>'


def _shape(shape: Shape) -> str:
    if isinstance(shape, Rect):
        radius = f' rx="{_n(shape.radius)}"' if shape.radius else ""
        classes = _classes(f"f-{shape.fill}" if shape.fill else "none", _stroke(shape.stroke))
        size = f'width="{_n(shape.width)}" height="{_n(shape.height)}"'
        return f'<rect{classes} x="{_n(shape.x)}" y="{_n(shape.y)}" {size}{radius}/>'
    if isinstance(shape, Line):
        points = " ".join(f"{_n(x)},{_n(y)}" for x, y in shape.points)
        width = f' stroke-width="{_n(shape.width)}"' if shape.width != 1 else ""
        dash = f' stroke-dasharray="{_n(shape.dash[0])} {_n(shape.dash[1])}"' if shape.dash else ""
        return f'<polyline{_classes("none", _stroke(shape.stroke))} points="{points}"{width}{dash}/>'
    if isinstance(shape, Dot):
        return f'<circle class="f-{shape.fill} s-paper" cx="{_n(shape.x)}" cy="{_n(shape.y)}" r="{_n(shape.radius)}"/>'
    anchor = {"start": "", "middle": "mid", "end": "end"}[shape.anchor]
    classes = _classes(f"f-{shape.fill}", anchor, "mono" if shape.mono else "", "bold" if shape.bold else "")
    size = f' font-size="{_n(shape.size)}"' if shape.size != 12 else ""
    turn = f' transform="rotate(-90 {_n(shape.x)} {_n(shape.y)})"' if shape.turned else ""
    return f'<text{classes} x="{_n(shape.x)}" y="{_n(shape.y)}"{size}{turn}>{escape(shape.text)}</text>'


def _classes(*names: str) -> str:
    return f' class="{" ".join(filter(None, names))}"'


def _stroke(colour: str) -> str:
    return f"s-{colour}" if colour else ""


def _n(value: float) -> str:
    """Tenths of a pixel, without a zero that says nothing."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
