"""`dnnc disasm`: a program to assembly text."""

from __future__ import annotations

import argparse
import sys


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  dnnc disasm model.dnnx | head\n  dnnc disasm model.dnnx -o model.s\n"
    parser.add_argument("program", metavar="OUT.dnnx")
    parser.add_argument("-o", "--output", metavar="F", help="default: standard output")


def run(arguments: argparse.Namespace) -> int:
    from ..backends.accel.disassembler import disassemble
    from ..ir.container import read_program
    from ..ir.files import save_whole

    text = disassemble(read_program(arguments.program))
    if arguments.output:
        save_whole(arguments.output, text.encode())
    else:
        sys.stdout.write(text)
    return 0
