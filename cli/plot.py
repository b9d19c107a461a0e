"""`dnnc plot`: one picture of statistics, or of several side by side on the same scales."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from .files import STANDARD_OUTPUT, refuse_other_kind, refuse_outputs, write_files

if TYPE_CHECKING:
    from .pages.document import Document

_EXAMPLES = """\
examples:
  dnnc cost model.onnx --arch gemmini16 --json a.json
  dnnc plot a.json -o roofline.svg
  dnnc plot a.json --kind energy -o energy.png
  dnnc plot a.json b.json --kind cycles -o both.svg        side by side, on the same scales
  dnnc plot a.json --kind mapping --layer conv1 -o conv1.svg
  dnnc plot a.json --kind traffic --memory spad -o spad.svg

SVG needs nothing; PNG needs matplotlib: pip install 'dnnc[plots]'.
"""
KINDS = {
    "roofline": "MACs per second over MACs per byte, a point a layer, under the machine's limits",
    "energy": "a bar a layer, by component",
    "cycles": "a bar a layer, with what array and main memory alone would take",
    "traffic": "bytes by operand: of all memories, or with --memory a bar a layer",
    "mapping": "the loop nest of a layer, from main memory inwards",
    "scatter": "the mappings of a layer that the mapper evaluated, by cycles and energy",
}
_WHERE = {
    "mapping": "those of `dnnc cost` have one for each layer of the accelerator",
    "scatter": "those of `dnnc cost` have them, of layers that the mapper searched for by themselves",
}
MOST_DOCUMENTS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    kinds = "\n".join(f"  {name:9} {words}" for name, words in KINDS.items())
    parser.epilog = f"kinds:\n{kinds}\n\n{_EXAMPLES}"
    parser.add_argument(
        "statistics", nargs="+", type=_statistics_file, metavar="STATS.json", help="as --json of cost and run writes"
    )
    parser.add_argument("--kind", choices=KINDS, default="roofline", help="default: roofline")
    parser.add_argument(
        "--layer", action="append", default=[], metavar="NAME", help="this layer alone; may be repeated"
    )
    parser.add_argument("--memory", metavar="NAME", help="of --kind roofline or traffic (default: main memory; all)")
    parser.add_argument("-o", "--output", required=True, metavar="F.svg|F.png", help="- is standard output, as SVG")


def run(arguments: argparse.Namespace) -> int:
    from .pages.kinds import picture
    from .pages.raster import png, refuse_without_matplotlib
    from .pages.reader import read_document
    from .pages.svg import standalone

    output = arguments.output
    kind = ".svg" if output == STANDARD_OUTPUT else Path(output).suffix.lower()
    if kind not in (".svg", ".png"):
        help = f"for example {Path(output).with_suffix('.svg')}" if Path(output).name else "F.svg or F.png"
        raise CompileError(Diagnostic("the picture's name ends neither in .svg nor in .png", Span(output), help))
    if arguments.memory is not None and arguments.kind not in ("roofline", "traffic"):
        message = f"--memory has no effect on --kind {arguments.kind}"
        raise CompileError(Diagnostic(message, help="leave it out, or --kind roofline or traffic"))
    if len(arguments.statistics) > MOST_DOCUMENTS:
        message = f"{len(arguments.statistics)} documents are too many for one picture"
        raise CompileError(Diagnostic(message, help=f"at most {MOST_DOCUMENTS}"))
    if kind == ".png":
        refuse_without_matplotlib(output)
    refuse_outputs([output], arguments)
    documents = [read_document(path) for path in arguments.statistics]
    chosen = _chosen(arguments, documents)
    scene = picture(arguments.kind, documents, chosen, arguments.memory)
    write_files([(output, png(scene, output) if kind == ".png" else standalone(scene).encode())])
    return 0


def _statistics_file(path: str) -> str:
    refuse_other_kind(path, (".json",))
    return path


def _chosen(arguments: argparse.Namespace, documents: Sequence[Document]) -> list[list[int]]:
    """The places of the layers that are drawn, by document. Raises CompileError for names that there are not, and where
    one layer is to be chosen and is not."""
    from .pages.document import plain

    faults = []
    found = []
    if arguments.memory is not None:
        faults += [
            Diagnostic(
                f"no bytes move at a memory {arguments.memory!r}", Span(path), closest(arguments.memory, memories)
            )
            for path, memories in zip(arguments.statistics, (each.memories for each in documents), strict=True)
            if arguments.memory not in memories
        ]
    for path, document in zip(arguments.statistics, documents, strict=True):
        names = [layer.name for layer in document.layers]
        wanted = [plain(name) for name in arguments.layer]
        faults += [
            Diagnostic(f"there is no layer {name!r}", Span(path), closest(name, names))
            for name in wanted
            if name not in names
        ]
        places = [number for number, name in enumerate(names) if not wanted or name in wanted]
        if arguments.kind in _WHERE:
            drawable = [number for number in places if _has(document, number, arguments.kind)]
            if not drawable and places:
                what = "mapping" if arguments.kind == "mapping" else "points of the search"
                whose = f"layer {names[places[0]]!r} has" if wanted else "these statistics have"
                help = _WHERE[arguments.kind]
                faults.append(Diagnostic(f"{whose} no {what} to draw", Span(path), help))
            elif len(drawable) > 1:
                message = f"--kind {arguments.kind} draws one layer, and there are {len(drawable)}"
                help = f"--layer NAME; {closest('', [names[number] for number in drawable])}"
                faults.append(Diagnostic(message, Span(path), help))
            places = drawable
        found.append(places)
    if faults:
        raise CompileError(faults)
    return found


def _has(document: Document, number: int, kind: str) -> bool:
    search = document.layers[number].search
    return search is not None and bool(search.nest is not None if kind == "mapping" else search.points)
