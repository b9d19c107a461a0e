"""Tables of a page: all cells escaped, numbers with the value that they are sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..report import cell_text
from .document import plain


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[object]],
    caption: str,
    *,
    kind: str,
    shares: bool = False,
) -> str:
    """A table that scrolls by itself where it is too large, and that the page's script lets people sort. In one of the
    kind `layers` each row is a layer of the model, in its order. With `shares` fractions are percentages."""
    numbers = [any(isinstance(row[column], int | float) for row in rows) for column in range(len(headers))]
    head = "".join(
        f'<th scope="col" data-sort{_kind("number" if number else "")}><span>{escape(header)}</span></th>'
        for header, number in zip(headers, numbers, strict=True)
    )
    body = "\n".join(
        (f'<tr data-layer="{place}">' if kind == "layers" else "<tr>")
        + "".join(
            _cell(cell, column == 0, number, shares)
            for column, (cell, number) in enumerate(zip(row, numbers, strict=True))
        )
        + "</tr>"
        for place, row in enumerate(rows)
    )
    label = escape(caption)
    return (
        f'<div class="table {kind}" role="region" aria-label="{label}" tabindex="0"><table><caption>{label}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(value: object, first: bool, number: bool, shares: bool) -> str:
    shown = f"{value:.1%}" if shares and isinstance(value, float) else cell_text(value)
    text = escape(plain(shown))
    if isinstance(value, int | float):
        return f'<td class="number" data-value="{value!r}">{text}</td>'
    if number:  # nothing sorts below everything
        return f'<td class="number" data-value="-1">{text}</td>'
    return f"<td{_kind('name' if first else 'words' if len(text) > 24 else '')}>{text}</td>"


def _kind(name: str) -> str:
    return f' class="{name}"' if name else ""
