"""Statistics as one page for a browser."""

from __future__ import annotations

import html

from .report import cell_text
from .show import LAYER_COLUMNS, host_note, layer_rows, title_of, total_rows
from .described import Json


def html_page(stats: Json, arch_given: str | None = None) -> str:
    """The report as one file without scripts or links; bars compare the layers' cycles."""
    most = max((layer["cycles"] for layer in stats["layers"]), default=0) or 1
    head = "".join(f"<th>{html.escape(name)}</th>" for name in (*LAYER_COLUMNS, "cycles, of the longest layer"))
    body = ""
    for layer, row in zip(stats["layers"], layer_rows(stats), strict=True):
        cells = "".join(f"<td>{html.escape(cell_text(cell))}</td>" for cell in row)
        width = 100 * layer["cycles"] / most
        body += f'<tr>{cells}<td class="bar"><div style="width:{width:.1f}%"></div></td></tr>\n'
    totals = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in total_rows(stats)
    )
    sources = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(source)}</td></tr>"
        for name, source in stats["provenance"].items()
    )
    title = html.escape(title_of(stats, arch_given))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 2em }}
table {{ border-collapse: collapse; margin-bottom: 2em }}
td, th {{ padding: 2px 8px; text-align: left; border-bottom: 1px solid #ddd }}
.bar {{ width: 20em }}
.bar div {{ background: #48a; height: 1em }}
</style>
<h1>{title}</h1>
<table>{totals}</table>
<table><tr>{head}</tr>
{body}</table>
{f"<p>{html.escape(note)}</p>" if (note := host_note(stats)) else ""}
<h2>Where the figures come from</h2>
<table>{sources}</table>
</html>
"""
