"""`dnnc asm`: assembly text to a program."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ..ir.diagnostics import CompileError, Diagnostic, Span
from .files import refuse_other_kind, refuse_output_kind, refuse_overwriting

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
    from ..backends.accel.assembler import MAX_SOURCE_CHARACTERS, assemble_any
    from ..frontend.arch_yaml import parse_arch
    from ..ir.container import program_parts
    from ..ir.files import read_bounded, save_whole
    from ..ir.program_sets import ProgramSets

    refuse_other_kind(arguments.source, (".s",))
    refuse_output_kind(arguments.output, ".dnnx")
    refuse_overwriting([arguments.output], arguments)
    source = read_bounded(arguments.source, MAX_SOURCE_CHARACTERS)
    program = assemble_any(source, arguments.source)
    try:
        shared = program.first if isinstance(program, ProgramSets) else program
        parse_arch(shared.arch_text, arguments.source)
    except CompileError as error:
        raise CompileError([_in_source(each, source) for each in error.diagnostics]) from None
    save_whole(arguments.output, program_parts(program))
    return 0


def _in_source(fault: Diagnostic, source: bytes) -> Diagnostic:
    """A fault of the machine's description at its place in the assembly text, whose lines with a bar are its lines."""
    lines = source.split(b"\n")
    before = next(number for number, line in enumerate(lines) if line.split(b"#")[0].strip() == b".arch") + 1
    line, column = before + fault.span.line, fault.span.column + 1
    return replace(fault, span=Span(fault.span.file, line, column), excerpt=fault.excerpt and f"|{fault.excerpt}")
