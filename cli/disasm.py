"""`dnnc disasm`: a program to assembly text."""

from __future__ import annotations

import argparse

from .files import STANDARD_OUTPUT, program_file, refuse_overwriting, write_files


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  dnnc disasm model.dnnx | head\n  dnnc disasm model.dnnx -o model.s\n"
    parser.add_argument("program", metavar="OUT.dnnx", type=program_file)
    parser.add_argument("-o", "--output", metavar="F", help="default: standard output")


def run(arguments: argparse.Namespace) -> int:
    from ..backends.accel.disassembler import disassemble
    from ..ir.container import read_container

    if arguments.output:
        refuse_overwriting([arguments.output], arguments)
    text = disassemble(read_container(arguments.program))
    write_files([(arguments.output or STANDARD_OUTPUT, text.encode())])
    return 0
