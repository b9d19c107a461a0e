"""`dnnc asm`: assembly text to a program."""

from __future__ import annotations

import argparse

from .files import refuse_other_kind, refuse_output_kind

_EXAMPLES = """\
examples:
  dnnc disasm model.dnnx -o model.s
  dnnc asm model.s -o again.dnnx                 the same bytes as model.dnnx
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("source", metavar="IN.s")
    parser.add_argument("-o", "--output", metavar="OUT.dnnx", required=True)


def run(arguments: argparse.Namespace) -> int:
    from ..backends.accel.assembler import MAX_SOURCE_CHARACTERS, assemble
    from ..ir.container import program_parts
    from ..ir.files import read_bounded, save_whole

    refuse_other_kind(arguments.source, (".s",))
    refuse_output_kind(arguments.output, ".dnnx")
    program = assemble(read_bounded(arguments.source, MAX_SOURCE_CHARACTERS), arguments.source)
    save_whole(arguments.output, program_parts(program))
    return 0
