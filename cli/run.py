"""`dnnc run`: execute a program on the reference machine, and compare with onnxruntime."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ..ir.diagnostics import CompileError, Diagnostic, Span
from .arguments import add_json, mebibytes, seconds
from .files import STANDARD_OUTPUT, program_file, refuse_other_kind, refuse_outputs, refuse_overwriting, write_files

_EXAMPLES = """\
examples:
  dnnc run model.dnnx --inputs inputs.npz --outputs outputs.npz
  dnnc run model.dnnx --inputs inputs.npz --check model.onnx               against onnxruntime, on the same inputs
  dnnc run model.dnnx --inputs folder --check model.onnx --tolerance range:0.01
  dnnc run model.dnnx --inputs inputs.npz --save-masks masks.npz           which blocks were pruned, for `dnnc cost`
  dnnc run model.dnnx --inputs inputs.npz --condition fog=3                 which of several precision sets runs
  dnnc run model.dnnx --inputs inputs.npz --conditions c.npz               a value for each pass
  dnnc run model.dnnx --inputs inputs.npz --trace trace.json               open it in https://ui.perfetto.dev
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES
    parser.add_argument("program", metavar="OUT.dnnx", type=program_file)
    parser.add_argument("--inputs", metavar="IN.npz|DIR", required=True)
    parser.add_argument("--outputs", metavar="OUT.npz|DIR")
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of a program with several precision sets: what chooses one, for all passes; may be repeated",
    )
    parser.add_argument("--conditions", metavar="C.npz", help="the same, by name, with a value for each pass")
    add_json(parser)
    parser.add_argument(
        "--trace",
        metavar="F",
        help="for Perfetto: a bar from a command's start until its unit is free again; args.completed is when"
        " its result is there",
    )
    parser.add_argument("--check", metavar="MODEL.onnx", help="the model that the program was compiled from")
    parser.add_argument(
        "--tolerance",
        metavar="SPEC",
        help="exact, absolute:X, relative:X or range:X; default: the program's own. A range is the greatest less the"
        " least value of the reference output, or the magnitude of that value where all are equal",
    )
    parser.add_argument("--save-masks", metavar="F", help="which blocks each layer kept, for `dnnc cost --masks F`")
    parser.add_argument("--time-limit", type=seconds, metavar="S", default=600.0, help="default: 600")
    parser.add_argument(
        "--memory-limit",
        type=mebibytes,
        metavar="MIB",
        help="of memories, values and host regions (and of onnxruntime for --check); default: 1536 MiB and 16 times the"
        " size of the program",
    )
    parser.add_argument("--races", action="store_true", help="prove that no two commands race")


def run(arguments: argparse.Namespace) -> int:
    from ..driver import session
    from ..driver.stats import json_bytes
    from ..driver.values import npz_parts, program_inputs, refuse_npz, write_values
    from ..ir.container import read_container
    from ..ir.program import NO_TOLERANCE, Program
    from ..runtime.machine import RunOptions
    from .compare import check_outputs, parse_tolerance, print_checks
    from .reference import reference_outputs
    from .report import progress, words_beside
    from .show import print_report

    if arguments.tolerance and not arguments.check:
        raise CompileError(
            Diagnostic("--tolerance is not used without --check", help="name the model: --check MODEL.onnx")
        )
    if arguments.check:
        help = "onnxruntime runs the model itself: give the .onnx file that this program was compiled from"
        refuse_other_kind(arguments.check, (".onnx",), help)
    archive = arguments.outputs if (arguments.outputs or "").endswith(".npz") else None
    refuse_outputs([arguments.json, arguments.trace, archive, arguments.save_masks], arguments)
    if arguments.outputs and not archive:
        refuse_overwriting([arguments.outputs], arguments)
    program = read_container(arguments.program)
    if not isinstance(program, Program):
        from .run_sets import run_program_sets

        return run_program_sets(arguments, program)
    if arguments.condition or arguments.conditions:
        option = "--condition" if arguments.condition else "--conditions"
        message = f"{option} has nothing to choose: the program has one precision"
        raise CompileError(Diagnostic(message, Span(arguments.program), "dnnc compile --sets makes one of several"))
    if arguments.check and not arguments.tolerance and program.tolerance == NO_TOLERANCE:
        message = "the program was compiled at fewer than 8 bits, for which no tolerance is claimed"
        raise CompileError(Diagnostic(message, help="say what it is held to: --tolerance range:0.2, for example"))
    tolerance = parse_tolerance(arguments.tolerance or (program.tolerance if arguments.check else "exact"))
    inputs = program_inputs(arguments.inputs, program)
    options = RunOptions(
        time_limit_s=arguments.time_limit,
        memory_limit_bytes=arguments.memory_limit,
        check_races=arguments.races,
        trace_events=1_000_000 if arguments.trace else 0,
    )
    with progress(f"run {program.instruction_count} instructions"):
        result, stats = session.run(program, inputs, options)
    if arguments.save_masks and not result.masks:
        message = "--save-masks has nothing to write: the program prunes no blocks"
        raise CompileError(Diagnostic(message, help="compile it with --prune, or leave the option out"))
    checks = None
    if arguments.check:
        with progress("onnxruntime"):
            reference = reference_outputs(arguments.check, inputs, arguments.time_limit, arguments.memory_limit)
        checks = check_outputs(result.outputs, reference, tolerance)
    # Nothing that can be refused comes after the first file is written.
    files: list[tuple[str, bytes | Iterator[bytes]]] = [(arguments.json, json_bytes(stats))] if arguments.json else []
    if arguments.trace:
        from ..runtime.trace import perfetto_json

        trace = perfetto_json(program, session.program_arch(program), result)
        files.append((arguments.trace, trace.encode()))
    if archive:
        refuse_npz(result.outputs)
        files.append((archive, npz_parts(result.outputs)))
    elif arguments.outputs:
        write_values(arguments.outputs, result.outputs)
    if arguments.save_masks:
        files.append((arguments.save_masks, npz_parts(result.masks)))
    write_files(files)
    with words_beside(arguments.json, arguments.trace, arguments.save_masks):
        if arguments.json != STANDARD_OUTPUT:
            print_report(stats)
        if arguments.races:
            print("\n".join(str(race) for race in result.races) or "no races")
        if checks is not None:
            print_checks(checks, tolerance)
    failed = checks is not None and not all(check.holds for check in checks)
    return int(failed or bool(result.races))
