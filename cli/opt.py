"""`dnnc opt`: passes on the text of a module."""

from __future__ import annotations

import argparse

from ..ir.diagnostics import CompileError, Diagnostic
from .arguments import add_decisions
from .files import refuse_dump_name, refuse_other_kind, refuse_overwriting

_EXAMPLES = """\
examples:
  dnnc opt dumps/05-lower.dnnir --passes schedule,hold,allocate -o scheduled.dnnir
  dnnc opt module.dnnir                          verify only

The machine is the one that the module's header names, or --arch. The module goes to standard output without -o.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    from ..passes.pipeline import PIPELINE

    passes = "\n".join(f"  {each.name:14} {each.summary}" for each in PIPELINE)
    parser.epilog = f"passes, in the order of the pipeline:\n{passes}\n\n{_EXAMPLES}"
    parser.add_argument("module", metavar="IN.dnnir")
    parser.add_argument("-o", "--output", metavar="F", help="where to write the module, with its blobs beside it")
    add_decisions(parser)


def run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from ..driver.session import read_module, transform, with_options
    from ..ir.dump import SUFFIX, write_dump
    from ..ir.printer import print_module
    from ..passes.pipeline import named
    from . import arguments as command_line
    from .report import warn
    from .request import resolved, warn_of_layers

    refuse_other_kind(arguments.module, (SUFFIX,))
    if arguments.output:
        refuse_dump_name(arguments.output)
        refuse_overwriting([arguments.output], arguments)
    passes = named(arguments.passes or "")
    if arguments.dump_ir and not passes:
        raise CompileError(Diagnostic("--dump-ir writes after each pass, and no --passes are given"))
    module, arch = read_module(arguments.module, arguments.arch)
    given = command_line.options(arguments)
    options = resolved(given, module.header, arguments.module, passes, arguments.dump_ir)
    module = transform(with_options(module, options), arch, options, passes, dump_dir=arguments.dump_ir)
    warn_of_layers(module, arch, given, options.mapping.pins, warn)
    if arguments.output:
        path = Path(arguments.output)
        write_dump(module, path.parent, path.name.removesuffix(SUFFIX))
    else:
        print(print_module(module), end="")
    return 0
