"""A scene as PNG, drawn by matplotlib where that is installed: the shapes and places of the scene, no others."""

from __future__ import annotations

import io
import warnings
from importlib.util import find_spec
from typing import Any

from ...ir.diagnostics import CompileError, Diagnostic, Span
from .palette import COLOURS
from .scene import Dot, Line, Rect, Scene, Shape

_PIXELS_PER_INCH = 100.0  # of the scene; a point is 1/72 of an inch
_SCALE = 2  # pixels of the file for one of the scene
_MARGIN = 12.0
LARGEST_PIXELS = 32_000  # of a side: matplotlib refuses 65,536 and more
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def refuse_without_matplotlib(path: str) -> None:
    """Raise CompileError where PNG files cannot be written."""
    if find_spec("matplotlib") is None:
        help = "pip install 'dnnc[plots]', or name the file *.svg, which needs nothing"
        raise CompileError(Diagnostic("PNG files need matplotlib, which is not installed", Span(path), help))


def png(scene: Scene, path: str) -> bytes:
    """The bytes of the file `path`. Raises CompileError where the picture is too large for one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = scene.width + 2 * _MARGIN, scene.height + 2 * _MARGIN
    if max(width, height) * _SCALE > LARGEST_PIXELS:
        message = f"the picture would have {width * _SCALE:.0f} x {height * _SCALE:.0f} pixels"
        help = f"at most {LARGEST_PIXELS} a side; name the file *.svg, or choose layers: --layer NAME"
        raise CompileError(Diagnostic(message, Span(path), help))
    figure = Figure(figsize=(width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH), facecolor=COLOURS["paper"][0])
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-_MARGIN, width - _MARGIN)
    axes.set_ylim(height - _MARGIN, -_MARGIN)
    axes.axis("off")
    for number, shape in enumerate(shape for mark in scene.marks for shape in mark.shapes):
        _draw(axes, shape, number)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names may be in any script
        figure.savefig(file, format="png", dpi=_PIXELS_PER_INCH * _SCALE, metadata={"Software": None})
    del canvas
    return file.getvalue()


def _draw(axes: Any, shape: Shape, order: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

    point = 72 / _PIXELS_PER_INCH
    if isinstance(shape, Rect):
        if shape.fill == "hit":
            return
        look: dict[str, Any] = {
            "facecolor": _colour(shape.fill),
            "edgecolor": _colour(shape.stroke),
            "linewidth": point if shape.stroke else 0,
            "zorder": order,
        }
        corner, size = (shape.x, shape.y), (shape.width, shape.height)
        radius = min(shape.radius, shape.width / 2, shape.height / 2)
        if radius > 0:
            rounded = f"round,pad=0,rounding_size={radius}"
            axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=rounded, **look))
        else:
            axes.add_patch(Rectangle(corner, *size, **look))
    elif isinstance(shape, Line):
        # matplotlib counts dashes in widths of the line.
        style: Any = (0, tuple(length / shape.width for length in shape.dash)) if shape.dash else "solid"
        xs, ys = zip(*shape.points, strict=True)
        line = Line2D(xs, ys, color=_colour(shape.stroke), linewidth=shape.width * point, linestyle=style, zorder=order)
        axes.add_line(line)
    elif isinstance(shape, Dot):
        look = {"facecolor": _colour(shape.fill), "edgecolor": _colour("paper"), "linewidth": point, "zorder": order}
        axes.add_patch(Circle((shape.x, shape.y), shape.radius, **look))
    else:
        axes.text(
            shape.x,
            shape.y,
            shape.text,
            fontsize=shape.size * point,
            color=_colour(shape.fill),
            ha=_ANCHORS[shape.anchor],
            va="baseline",
            rotation=90 if shape.turned else 0,
            rotation_mode="anchor",
            fontweight="bold" if shape.bold else "normal",
            fontfamily="monospace" if shape.mono else "sans-serif",
            parse_math=False,
            zorder=order,
        )


def _colour(name: str) -> str:
    return COLOURS[name][0] if name else "none"
