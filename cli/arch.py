"""`dnnc arch`: the machine descriptions."""

from __future__ import annotations

import argparse

from ..ir.diagnostics import CompileError, Diagnostic
from .report import print_table

_EXAMPLES = """\
examples:
  dnnc arch list
  dnnc arch show gemmini16 > my_machine.yaml     the normalised description, with energy and area rows and their sources
  dnnc arch check my_machine.yaml                every fault with its line and column

The schema is specs/arch.md.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show A | check FILE | import FILE")
    actions.add_parser("list", help="the bundled machines")
    for name, text in (("show", "print a machine"), ("check", "check a description"), ("import", "comes later")):
        actions.add_parser(name, help=text).add_argument("arch", metavar="A", help="a bundled name or a file")


def run(arguments: argparse.Namespace) -> int:
    from ..frontend.arch_yaml import bundled, load_arch

    if arguments.action == "import":
        raise CompileError(Diagnostic("`dnnc arch import` comes later", help="write the description by specs/arch.md"))
    if arguments.action == "list":
        machines = [load_arch(name) for name in bundled()]
        rows = [
            [
                arch.name,
                f"{arch.array.rows}x{arch.array.cols}",
                f"{arch.array.inputs[0]}, sums {arch.array.accumulator}",
                f"{arch.clock_hz / 1e6:g} MHz",
                ", ".join(f"{memory.name} {memory.capacity_bytes // 1024} KiB" for memory in arch.local),
                f"{arch.dma.bandwidth_bytes_per_second / 1e9:g} GB/s",
                arch.kind,
            ]
            for arch in machines
        ]
        print_table(["name", "array", "types", "clock", "local memories", "main memory", "kind"], rows)
        return 0
    arch = load_arch(arguments.arch)
    if arguments.action == "show":
        print(arch.text, end="")
    else:
        print(f"{arguments.arch}: {arch.name} is a sound description")
    return 0
