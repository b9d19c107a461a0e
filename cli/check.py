"""`dnnc check`: where each node of a model runs, and why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..driver.decisions import agrees
from ..driver.legal import LEGAL
from ..ir.diagnostics import CompileError, Diagnostic, Span
from ..ir.dump import SUFFIX
from .arguments import add_model, shapes

if TYPE_CHECKING:
    from ..ir.module import Module, Operation
    from ..ir.nest import Nest

_DEFAULT_ARCH = "gemmini16"
_EXAMPLES = """\
examples:
  dnnc check model.onnx --arch edge8
  dnnc check dumps/06-schedule.dnnir                            what the passes have decided
  dnnc check model.onnx --precision keep --arch gemmini16       as it is, without quantisation
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_model(parser)
    parser.add_argument(
        "--arch", metavar="A", help=f"default: {_DEFAULT_ARCH}, or the machine that a dump was made for"
    )
    parser.add_argument("--precision", metavar="SPEC", help="as of `compile` (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    return _check_dump(arguments) if arguments.model.endswith(SUFFIX) else _check_model(arguments)


def _check_model(arguments: argparse.Namespace) -> int:
    from ..driver.model import already_quantised, resolved_precision
    from ..driver.precision_file import precision_of
    from ..frontend.arch_yaml import load_arch
    from ..frontend.draft import plain_name
    from ..frontend.importer import ImportOptions, classify
    from ..frontend.quantised import is_quantised
    from ..ir.precision import PrecisionSpec
    from ..ir.types import Blobs
    from ..passes.partition import acceptance
    from ..passes.precision_rules import PRODUCT_OPERATORS, spec_faults
    from .report import print_table, progress
    from .show import machine_name

    arch = load_arch(arguments.arch or _DEFAULT_ARCH)
    precision = resolved_precision(arguments.model, precision_of(arguments.precision or "auto"))
    if isinstance(precision, PrecisionSpec) and is_quantised(Path(arguments.model)):
        raise CompileError(already_quantised(arguments.model))
    options = ImportOptions(arguments.batch_size, shapes(arguments))
    with progress("import"):
        judge, blobs = acceptance(arch, precision), Blobs()
        findings = classify(Path(arguments.model), lambda node, tensors: judge(node, tensors, blobs), options, blobs)
    if isinstance(precision, PrecisionSpec):
        products = [each.node for each in findings if each.op in PRODUCT_OPERATORS and each.where == "accelerator"]
        layers = {name: label for label in products for name in (label, plain_name(label))}
        if faults := spec_faults(precision, layers, arch, {each.node: each.op for each in findings}):
            raise CompileError(faults)
    print_table(
        ["node", "operator", "where", "MACs", "why"],
        [[each.node, each.op, each.where, each.macs, each.reason] for each in findings],
        f"{arguments.model} on {machine_name(arch.name, arguments.arch)}",
    )
    computed = [each for each in findings if each.where != "constant"]
    _print_shares("nodes", [(each.where, each.macs) for each in computed])
    return 0


def _print_shares(noun: str, counted: list[tuple[str, int | None]]) -> None:
    """How many nodes or layers, and how much of the MACs, the accelerator takes. `counted` has where each runs and its
    MACs."""
    on_array = [macs for where, macs in counted if where == "accelerator"]
    total = sum(macs or 0 for _, macs in counted)
    share = sum(macs or 0 for macs in on_array) / total if total else 0.0
    print()
    unknown = sum(macs is None for _, macs in counted)
    rest = (
        f"; those of {unknown} {noun if unknown > 1 else noun.removesuffix('s')} (-) are not counted" if unknown else ""
    )
    print(f"accelerator: {len(on_array)} of {len(counted)} {noun}, {share:.2%} of {total} MACs{rest}")
    if unknown:
        print("not counted: control flow, operators that consist of many products, shapes known only at run time")


def _check_dump(arguments: argparse.Namespace) -> int:
    """Of a dump the decisions have been taken: what runs where, and the reasons that the passes wrote down."""
    from ..driver.session import read_module
    from .report import print_table
    from .show import machine_name

    path = arguments.model
    module, arch = read_module(path, arguments.arch)
    _refuse_late_decisions(arguments, module)
    rows = [_layer(each, module) for each in module.operations]
    print_table(
        ["layer", "operator", "where", "MACs", "why"],
        rows,
        f"{path}, made for {machine_name(arch.name, arguments.arch)}",
    )
    _print_shares("layers", [(where, macs) for _, _, where, macs, _ in rows])
    return 0


def _layer(operation: Operation, module: Module) -> tuple[str, str, str, int | None, str]:
    """Name, operator, place, MACs and reason of one layer."""
    from ..frontend.macs import graph_node_macs, region_macs
    from ..ir.graph import HostRegion
    from ..ir.nest import Nest

    if isinstance(operation, HostRegion):
        operators = ", ".join(dict.fromkeys(operation.operators))
        return operation.name, operators, "host", region_macs(module.blobs[operation.model]), operation.reason
    if isinstance(operation, Nest):
        operator = operation.label
        return operation.name, operator, "accelerator", _nest_macs(operation), operation.reason
    return operation.name, operation.op, "accelerator", graph_node_macs(module, operation), operation.reason


def _nest_macs(nest: Nest) -> int:
    from ..backends.cost.classes import inside_points
    from ..ir.nest import BodyOp

    if nest.body.op is not BodyOp.MAC or any(dim.extent == 0 for dim in nest.domain):
        return 0
    assert nest.body.b is not None
    return inside_points(nest, (nest.body.a, nest.body.b))


def _refuse_late_decisions(arguments: argparse.Namespace, module: Module) -> None:
    """Raise CompileError for every option that would have decided about a model, and says otherwise than the dump."""
    recorded = dict(module.header.options).get("precision", LEGAL["precision"][0])
    given = arguments.precision
    late = [] if given is None or agrees(recorded, given) else [f"--precision {given}"]
    if arguments.batch_size not in (None, module.header.batch):
        late.append(f"--batch-size {arguments.batch_size}")
    late += [f"--shape {text}" for text in arguments.shape]
    help = f"start from the model: {module.header.model}.onnx"
    faults = [Diagnostic(f"{each} comes too late: the module is a dump", Span(arguments.model), help) for each in late]
    if faults:
        raise CompileError(faults)
