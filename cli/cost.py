"""`dnnc cost`: what a model costs on a machine, without a program."""

from __future__ import annotations

import argparse

from ..ir.diagnostics import CompileError, Diagnostic
from .arguments import add_json, add_model, add_options, limits
from .files import STANDARD_OUTPUT, refuse_outputs, write_files

_EXAMPLES = """\
examples:
  dnnc cost model.onnx --arch gemmini16
  dnnc cost model.onnx --arch gemmini16 --explain           why each layer is what it is
  dnnc cost model.onnx --arch gemmini16 --json cost.json --html cost.html
  dnnc cost model.onnx --arch gemmini16 --save-mapping m.yaml; dnnc cost model.onnx --arch gemmini16 --mapping m.yaml
  dnnc cost model.onnx --arch gemmini16 --limit cycles=1e6  exit status 1 if it takes more
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_model(parser)
    add_options(parser)
    add_json(parser)
    parser.add_argument("--html", metavar="F", help="the report as a page of its own")
    parser.add_argument("--save-mapping", metavar="F", help="all decisions, for --mapping")
    parser.add_argument("--explain", action="store_true", help="a line a layer: bound, intensity, schedule, reason")
    parser.add_argument("--masks", metavar="F", help="masks of pruned blocks (comes later)")
    parser.add_argument("--limit", action="append", default=[], metavar="cycles=N", help="or energy_pj=N")


def run(arguments: argparse.Namespace) -> int:
    from .mapping_file import mapping_text
    from .report import words_beside
    from .request import prepare
    from .session import cost_document
    from .show import explain, print_report
    from .stats import json_bytes

    if arguments.masks:
        raise CompileError(Diagnostic("`--masks` comes later: block pruning is not built yet"))
    bounds = limits(arguments.limit)
    outputs = [arguments.json, arguments.html, arguments.save_mapping]
    refuse_outputs(outputs, arguments)
    module, arch, _ = prepare(arguments)
    stats = cost_document(module, arch)
    written = []
    if arguments.json:
        written.append((arguments.json, json_bytes(stats)))
    if arguments.html:
        from .pages.page import html_page

        written.append((arguments.html, html_page(stats, arguments.arch).encode()))
    if arguments.save_mapping:
        written.append((arguments.save_mapping, mapping_text(module).encode()))
    write_files(written)
    exceeded = []
    for name, limit in bounds.items():
        value = stats["total"][name]
        if value is None or value > limit:
            exceeded.append(
                f"{name} is {'not known' if value is None else _digits(value)}; the limit is {_digits(limit)}"
            )
    with words_beside(*outputs):
        if arguments.json != STANDARD_OUTPUT:
            print_report(stats, arguments.arch)
        if arguments.explain:
            explain(stats, module, arch)
        for text in exceeded:
            print(text)
    return int(bool(exceeded))


def _digits(value: float) -> str:
    """Cycles to the last one, picojoules as far as a price means anything."""
    return f"{value:.7g}" if value != int(value) else str(int(value))
