"""`compile` and `cost` of several precision sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..driver.stats import exceeded, json_bytes
from ..ir.diagnostics import CompileError, Diagnostic
from ..ir.program_sets import ProgramSets
from . import arguments as command_line
from .arguments import limits
from .files import STANDARD_OUTPUT, refuse_outputs, write_files
from .report import print_table, progress, warn, words_beside
from .sets_request import ScheduledSets, scheduled_sets
from .show import machine_name
from .show_sets import print_sets, when_text


def refuse_beside_sets(arguments: argparse.Namespace, options: Sequence[str]) -> None:
    """Raise CompileError for options that say something of one module: `--sets` makes several."""
    given = [name for name in options if getattr(arguments, name, None)]
    if given:
        help = "for one set: give its --precision and --prune in the place of --sets"
        named = (f"--{name.replace('_', '-')}" for name in given)
        raise CompileError([Diagnostic(f"{name} is not for --sets", help=help) for name in named])


def _scheduled(arguments: argparse.Namespace) -> ScheduledSets:
    with progress("import") as update:
        return scheduled_sets(
            arguments.model,
            arguments.arch,
            command_line.options(arguments),
            arguments.sets,
            dump_dir=arguments.dump_ir,
            report=update,
            warn=warn,
        )


def compile_sets(arguments: argparse.Namespace, output: Path) -> int:
    """`dnnc compile --sets`."""
    from ..backends.accel.disassembler import disassemble
    from ..ir.container import program_parts

    refuse_beside_sets(arguments, ("passes",))
    if arguments.emit == "ir":
        raise CompileError(Diagnostic("--emit ir is of one set", help="--dump-ir DIR writes a folder for each set"))
    refuse_outputs([output, arguments.json], arguments)
    asked = _scheduled(arguments)
    program = asked.program(arguments.dump_ir)
    size = sum(map(len, program_parts(program)))
    alone = sum(len(part) for each in program.sets for part in program_parts(each.program))
    main = [disassemble(program).encode()] if arguments.emit == "asm" else program_parts(program)
    stats = [(arguments.json, json_bytes(asked.stats()))] if arguments.json else []
    write_files([(output, main), *stats])
    machine = machine_name(asked.arch.name, arguments.arch)
    with words_beside(arguments.json, str(output)):
        print(
            f"{output}: {len(program.sets)} sets, {program.main_bytes} bytes of main memory, for {machine};"
            f" a program of {size} bytes, where one for each set has {alone} together"
        )
        rows = [
            [each.name, when_text(each.when, each.name, program.default), *_sizes(program, k)]
            for k, each in enumerate(program.sets)
        ]
        print_table(["set", "when", "instructions", "main memory bytes", "constants bytes", "tolerance"], rows)
    return 0


def _sizes(program: ProgramSets, number: int) -> list[object]:
    own = program.sets[number].program
    constants = sum(len(own.blobs[blob]) for _, blob in own.constants)
    return [own.instruction_count, own.main_bytes, constants, own.tolerance]


def cost_sets(arguments: argparse.Namespace) -> int:
    """`dnnc cost --sets`."""
    refuse_beside_sets(arguments, ("passes", "html", "save_mapping", "accelergy", "explain", "masks"))
    bounds = limits(arguments.limit)
    refuse_outputs([arguments.json], arguments)
    asked = _scheduled(arguments)
    found = asked.stats()
    if arguments.json:
        write_files([(arguments.json, json_bytes(found))])
    beyond = [f"set {each['name']}: {text}" for each in found["sets"] for text in exceeded(each["stats"], bounds)]
    with words_beside(arguments.json):
        if arguments.json != STANDARD_OUTPUT:
            print_sets(found, arguments.arch)
        for text in beyond:
            print(text)
    return int(bool(beyond))
