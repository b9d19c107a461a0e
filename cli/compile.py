"""`dnnc compile`: a model to a program."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import add_json, add_model, add_options

_EXAMPLES = """\
examples:
  dnnc compile model.onnx --arch gemmini16                       writes model.dnnx here
  dnnc compile model.onnx --arch gemmini16 --calibrate data.npz -o out/model.dnnx
  dnnc compile model.onnx --arch my_machine.yaml --dump-ir dumps the module as text after each pass
  dnnc compile dumps/04-lower.dnnir -o model.dnnx                continues after that pass
  dnnc compile model.onnx --arch edge8 --emit asm -o model.s
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    add_model(parser)
    add_options(parser)
    parser.add_argument("-o", "--output", metavar="OUT.dnnx", help="default: the model's name in this folder")
    parser.add_argument("--emit", choices=["program", "asm", "ir"], default="program")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..ir.container import program_parts
    from ..ir.dump import write_dump
    from ..ir.files import refuse_unwritable, save_whole
    from .report import words_beside
    from .request import prepare
    from .session import cost_document, with_program
    from .stats import json_text, write_text

    suffix = {"program": ".dnnx", "asm": ".s", "ir": ".dnnir"}[arguments.emit]
    output = Path(arguments.output or Path(arguments.model).stem + suffix)
    refuse_unwritable([output, None if arguments.json == "-" else arguments.json])
    module, arch, report = prepare(arguments)
    # What can be refused comes before the first file is written.
    stats = json_text(cost_document(module, arch)) if arguments.json else ""
    if arguments.emit == "ir":
        dump = write_dump(module, output.parent, output.name.removesuffix(suffix))
        if stats:
            write_text(arguments.json, stats)
        with words_beside(arguments.json):
            print(dump)
        return 0
    module = with_program(module, arch, dump_dir=arguments.dump_ir, report=report)
    program = module.program
    assert program is not None
    if arguments.emit == "asm":
        from ..backends.accel.disassembler import disassemble

        save_whole(output, disassemble(program).encode())
    else:
        save_whole(output, program_parts(program))
    if stats:
        write_text(arguments.json, stats)
    on_host = sum(region.where == "host" for region in program.regions)
    with words_beside(arguments.json):
        print(
            f"{output}: {program.instruction_count} instructions, {len(program.regions)} layers"
            f" ({on_host} on the host), {program.main_bytes} bytes of main memory, for {arch.name}"
        )
    return 0
