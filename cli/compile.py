"""`dnnc compile`: a model to a program."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ..ir.diagnostics import CompileError, Diagnostic
from .arguments import add_json, add_model, add_options, add_sets
from .files import refuse_dump_name, refuse_output_kind, refuse_outputs, write_files

_SUFFIXES = {"program": ".dnnx", "asm": ".s", "ir": ".dnnir"}

_EXAMPLES = """\
examples:
  dnnc compile model.onnx --arch gemmini16                       writes model.dnnx here
  dnnc compile model.onnx --arch gemmini16 --calibrate data.npz -o out/model.dnnx
  dnnc compile model.onnx --arch my_machine.yaml --dump-ir dumps the module as text after each pass
  dnnc compile dumps/05-lower.dnnir -o model.dnnx                continues after that pass
  dnnc compile model.onnx --arch edge8 --emit asm -o model.s
  dnnc compile model.onnx --arch mixed16 --calibrate data.npz --sets sets.yaml   chosen at run time
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_model(parser)
    add_options(parser)
    add_sets(parser)
    parser.add_argument("-o", "--output", metavar="OUT.dnnx", help="default: the model's name in this folder")
    parser.add_argument(
        "--emit",
        choices=_SUFFIXES,
        default="program",
        help="what goes to -o: the program (.dnnx), its assembly text (.s) or the module's, with its blobs (.dnnir)",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..driver.session import with_program
    from ..driver.stats import host_price, json_bytes
    from ..ir.container import program_parts
    from ..ir.dump import write_dump
    from ..passes.pipeline import PIPELINE
    from .report import words_beside
    from .request import pictured_stats, prepare
    from .show import machine_name

    suffix = _SUFFIXES[arguments.emit]
    output = Path(arguments.output or Path(arguments.model).stem + suffix)
    refuse_output_kind(output, suffix)
    if arguments.sets:
        from .sets import compile_sets

        return compile_sets(arguments, output)
    if arguments.emit == "ir":
        refuse_dump_name(output)
    refuse_outputs([output, arguments.json], arguments)
    module, arch, report = prepare(arguments)
    # What can be refused comes before the first file is written.
    if arguments.emit == "ir":
        files = [(arguments.json, json_bytes(pictured_stats(arguments, module, arch)))] if arguments.json else []
        dump = write_dump(module, output.parent, output.name.removesuffix(suffix))
        write_files(files)
        with words_beside(arguments.json):
            print(dump)
        return 0
    if module.program is None and module.header.last_pass != PIPELINE[-1].name:
        message = f"the module stands after {module.header.last_pass!r}: there is no program of it yet"
        raise CompileError(Diagnostic(message, help=f"--emit ir, or let --passes end with {PIPELINE[-1].name}"))
    module = with_program(module, arch, dump_dir=arguments.dump_ir, report=report)
    program = module.program
    assert program is not None
    if arguments.emit == "asm":
        from ..backends.accel.disassembler import disassemble

        main: bytes | Iterable[bytes] = disassemble(program).encode()
    else:
        main = program_parts(program)
    stats = [(arguments.json, json_bytes(pictured_stats(arguments, module, arch)))] if arguments.json else []
    write_files([(output, main), *stats])
    on_host = sum(region.where == "host" for region in program.regions)
    machine = machine_name(arch.name, arguments.arch)
    with words_beside(arguments.json, str(output)):
        print(
            f"{output}: {program.instruction_count} instructions, {len({each.name for each in program.regions})} layers"
            f" ({on_host} on the host), {program.main_bytes} bytes of main memory, for {machine}"
        )
        if on_host:
            print(host_price(arch.host))
    return 0
