"""`dnnc plot`: one picture of statistics, or of several side by side on the same scales."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.diagnostics import CompileError, Diagnostic, Span, closest
from .files import STANDARD_OUTPUT, refuse_other_kind, refuse_outputs, write_files
from .plot_kinds import KINDS, STUDY_KINDS

if TYPE_CHECKING:
    from .pages.document import Document
    from .pages.scene import Scene

_EXAMPLES = """\
examples:
  dnnc cost model.onnx --arch gemmini16 --json a.json
  dnnc plot a.json -o roofline.svg
  dnnc plot a.json --kind energy -o energy.png
  dnnc plot a.json b.json --kind cycles -o both.svg        side by side, on the same scales
  dnnc plot a.json --kind mapping --layer conv1 -o conv1.svg
  dnnc plot a.json --kind traffic --memory spad -o spad.svg
  dnnc plot study-explored/study.json -o front.svg          of what `dnnc explore` found: its front
  dnnc plot a/study.json b/study.json -o both.svg           fronts of several studies, and the front of all of them
  dnnc plot study.json --kind heatmap --x dim --y spad --figure energy_pj -o map.svg
  dnnc plot study.json --kind stacked -o energy.svg
  dnnc plot study.json --kind robustness --figure dram_saved -o saved.svg
  dnnc plot 4x4/study.json 8x8/study.json --kind blocks -o blocks.svg

SVG needs nothing; PNG needs matplotlib: pip install 'dnnc[plots]'.
"""
_WHERE = {
    "mapping": "those of `dnnc cost` have one for each layer of the accelerator",
    "scatter": "those of `dnnc cost` have them, of layers that the mapper searched for by themselves",
}
MOST_DOCUMENTS = 8
STUDIES = "dnnc.explore/1"  # the schema of what `dnnc explore` writes
_HELP = "`dnnc cost MODEL --arch A --json F` writes statistics, `dnnc explore` study.json"


def configure(parser: argparse.ArgumentParser) -> None:
    kinds, of_studies = (
        "\n".join(f"  {name:10} {words}" for name, words in each.items()) for each in (KINDS, STUDY_KINDS)
    )
    parser.epilog = f"kinds, of statistics:\n{kinds}\nof studies:\n{of_studies}\n\n{_EXAMPLES}"
    parser.add_argument(
        "statistics",
        nargs="+",
        type=_statistics_file,
        metavar="STATS.json",
        help="as --json of cost and run writes; or study.json, as explore does",
    )
    parser.add_argument("--kind", choices=[*KINDS, *STUDY_KINDS], help="default: roofline; of studies: front")
    parser.add_argument(
        "--layer", action="append", default=[], metavar="NAME", help="this layer alone; may be repeated"
    )
    parser.add_argument("--memory", metavar="NAME", help="of --kind roofline or traffic (default: main memory; all)")
    parser.add_argument("--x", metavar="NAME", help="of studies: the axis across")
    parser.add_argument("--y", metavar="NAME", help="of studies: the axis upwards")
    parser.add_argument(
        "--figure",
        metavar="NAME",
        help="of --kind heatmap (default: what the first objective names) or robustness (accuracy)",
    )
    parser.add_argument("-o", "--output", required=True, metavar="F.svg|F.png", help="- is standard output, as SVG")


def run(arguments: argparse.Namespace) -> int:
    from .pages.json_reader import read_json, schema_of
    from .pages.raster import png, refuse_without_matplotlib
    from .pages.svg import standalone

    output = arguments.output
    kind = ".svg" if output == STANDARD_OUTPUT else Path(output).suffix.lower()
    if kind not in (".svg", ".png"):
        help = f"for example {Path(output).with_suffix('.svg')}" if Path(output).name else "F.svg or F.png"
        raise CompileError(Diagnostic("the picture's name ends neither in .svg nor in .png", Span(output), help))
    if len(arguments.statistics) > MOST_DOCUMENTS:
        message = f"{len(arguments.statistics)} documents are too many for one picture"
        raise CompileError(Diagnostic(message, help=f"at most {MOST_DOCUMENTS}"))
    if kind == ".png":
        refuse_without_matplotlib(output)
    refuse_outputs([output], arguments)
    values = [(read_json(path, _HELP), path) for path in arguments.statistics]
    if any(schema_of(value) == STUDIES for value, _ in values):
        from .plot_studies import study_scene

        scene = study_scene(arguments, values)
    else:
        scene = _scene(arguments, values)
    write_files([(output, png(scene, output) if kind == ".png" else standalone(scene).encode())])
    return 0


def _scene(arguments: argparse.Namespace, values: Sequence[tuple[object, str]]) -> Scene:
    """The picture of statistics."""
    from .pages.kinds import picture
    from .pages.reader import document_of

    kind = arguments.kind or "roofline"
    faults = []
    if kind in STUDY_KINDS:
        faults.append(Diagnostic(f"--kind {kind} is for studies", help="`dnnc explore STUDY.yaml` writes study.json"))
    if arguments.memory is not None and kind not in ("roofline", "traffic"):
        help = "leave it out, or --kind roofline or traffic"
        faults.append(Diagnostic(f"--memory has no effect on --kind {kind}", help=help))
    for option in ("x", "y", "figure"):
        if getattr(arguments, option) is not None:
            faults.append(Diagnostic(f"--{option} has no effect on --kind {kind}", help="it is for studies"))
    if faults:
        raise CompileError(faults)
    documents = [document_of(value, path) for value, path in values]
    arguments.kind = kind
    return picture(kind, documents, _chosen(arguments, documents), arguments.memory)


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
