"""`dnnc check`: where each node of a model runs, and why."""

from __future__ import annotations

import argparse

from .arguments import add_model, shapes

_EXAMPLES = """\
examples:
  dnnc check model.onnx --arch edge8
  dnnc check model.onnx --precision keep --arch gemmini16       as it is, without quantisation
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_model(parser)
    parser.add_argument("--arch", metavar="A", default="gemmini16", help="default: gemmini16")
    parser.add_argument("--precision", choices=["auto", "keep", "int8"], default="auto")


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from ..frontend.arch_yaml import load_arch
    from ..frontend.importer import ImportOptions, classify
    from ..passes.partition import acceptance
    from .report import print_table, progress
    from .session import resolved_precision

    arch = load_arch(arguments.arch)
    precision = resolved_precision(arguments.model, arguments.precision)
    options = ImportOptions(arguments.batch_size, shapes(arguments), arguments.time_limit or 300.0)
    with progress("import"):
        findings = classify(Path(arguments.model), acceptance(arch, precision), options)
    print_table(
        ["node", "operator", "where", "MACs", "why"],
        [[each.node, each.op, each.where, each.macs, each.reason] for each in findings],
        f"{arguments.model} on {arch.name}",
    )
    computed = [each for each in findings if each.where != "constant"]
    on_array = [each for each in computed if each.where == "accelerator"]
    macs = sum(each.macs or 0 for each in computed)
    share = sum(each.macs or 0 for each in on_array) / macs if macs else 0.0
    print()
    print(f"accelerator: {len(on_array)} of {len(computed)} nodes, {share:.2%} of {macs} MACs")
    if unknown := sum(each.macs is None for each in computed):
        print(f"the MACs of {unknown} nodes are known only at run time")
    return 0
