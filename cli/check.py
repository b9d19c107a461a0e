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
    from ..ir.types import Blobs
    from ..passes.partition import acceptance
    from .report import print_table, progress
    from .session import resolved_precision

    if arguments.model.endswith(".dnnir"):
        return _check_dump(arguments.model)
    arch = load_arch(arguments.arch)
    precision = resolved_precision(arguments.model, arguments.precision)
    options = ImportOptions(arguments.batch_size, shapes(arguments))
    with progress("import"):
        judge, blobs = acceptance(arch, precision), Blobs()
        findings = classify(Path(arguments.model), lambda node, tensors: judge(node, tensors, blobs), options, blobs)
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


def _check_dump(path: str) -> int:
    """Of a dump the decisions have been taken: what runs where, and the reasons that the passes wrote down."""
    from pathlib import Path

    from ..ir.dump import read_dump
    from ..ir.graph import HostRegion
    from ..ir.nest import Nest
    from .report import print_table

    module = read_dump(Path(path))
    rows = []
    for each in module.operations:
        if isinstance(each, HostRegion):
            rows.append([each.name, ", ".join(dict.fromkeys(each.operators)), "host", each.reason])
        else:
            operator = each.operator or each.body.op.value if isinstance(each, Nest) else each.op
            rows.append([each.name, operator, "accelerator", each.reason])
    print_table(["layer", "operator", "where", "why"], rows, f"{path}, made for {module.header.arch}")
    return 0
