"""`dnnc cost`: what a model costs on a machine, without a program."""

from __future__ import annotations

import argparse

from .arguments import add_json, add_model, add_options, limits

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
    from ..ir.diagnostics import CompileError, Diagnostic
    from ..ir.files import refuse_unwritable
    from .mapping_file import mapping_text
    from .report import words_beside
    from .request import prepare
    from .session import cost_document
    from .show import explain, html_page, print_report
    from .stats import json_text, write_text

    if arguments.masks:
        raise CompileError(Diagnostic("`--masks` comes later: block pruning is not built yet"))
    bounds = limits(arguments.limit)
    refuse_unwritable(each for each in (arguments.json, arguments.html, arguments.save_mapping) if each != "-")
    module, arch, _ = prepare(arguments)
    stats = cost_document(module, arch)
    if arguments.json:
        write_text(arguments.json, json_text(stats))
    if arguments.html:
        write_text(arguments.html, html_page(stats))
    if arguments.save_mapping:
        write_text(arguments.save_mapping, mapping_text(module))
    exceeded = []
    for name, limit in bounds.items():
        value = stats["total"][name]
        if value is None or value > limit:
            exceeded.append(f"{name} is {'not known' if value is None else value}; the limit is {limit:g}")
    with words_beside(arguments.json, arguments.html, arguments.save_mapping):
        if arguments.json != "-":
            print_report(stats, arch.kind)
            if arguments.explain:
                explain(stats, module, arch)
        for text in exceeded:
            print(text)
    return int(bool(exceeded))
